//! Sixteen squares in a register of AVX-512.

use super::{VECTOR, Vector};
use std::arch::x86_64::*;

/// A register.
#[derive(Clone, Copy)]
pub(super) struct Wide(__m512);

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1_u32 << count) - 1) as __mmask16
}

// SAFETY of all blocks: values of this type are used where the machine has AVX-512 F; addresses are the caller's.
impl Vector for Wide {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Wide {
        // SAFETY: see above.
        Wide(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        // SAFETY: see above.
        unsafe {
            match count {
                VECTOR => _mm512_storeu_ps(to, self.0),
                _ => _mm512_mask_storeu_ps(to, first(count), self.0),
            }
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const f32) -> [Wide; 2] {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(VECTOR)));
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            [Wide(_mm512_permutex2var_ps(low, even, high)), Wide(_mm512_permutex2var_ps(low, odd, high))]
        }
    }

    #[inline(always)]
    fn woven(even: Wide, odd: Wide) -> [Wide; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [Wide(_mm512_permutex2var_ps(even.0, low, odd.0)), Wide(_mm512_permutex2var_ps(even.0, high, odd.0))]
        }
    }

    #[inline(always)]
    fn zero() -> Wide {
        // SAFETY: see above.
        Wide(unsafe { _mm512_setzero_ps() })
    }

    #[inline(always)]
    fn plus(self, other: Wide) -> Wide {
        // SAFETY: see above.
        Wide(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn minus(self, other: Wide) -> Wide {
        // SAFETY: see above.
        Wide(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn half(self) -> Wide {
        // SAFETY: see above.
        Wide(unsafe { _mm512_mul_ps(self.0, _mm512_set1_ps(0.5)) })
    }

    #[inline(always)]
    unsafe fn copy_few(from: *const f32, to: *mut f32, count: usize) {
        // SAFETY: see above.
        unsafe { _mm512_mask_storeu_ps(to, first(count), _mm512_maskz_loadu_ps(first(count), from)) }
    }
}
