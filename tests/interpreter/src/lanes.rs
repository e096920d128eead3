//! Values of the 32 lanes of a warp, and functions applied to all of them.
//!
//! A register holds 64 bits a lane whatever its type; bits above the size of its type are zero. An
//! instruction is computed for all lanes, then kept for the active ones: the loops have a constant length
//! and no branches, and the compiler vectorises most of them.

use half::{bf16, f16};

/// Lanes in a warp.
pub(crate) const WARP: usize = 32;

/// The value of a register in every lane, as bits.
pub(crate) type Lanes = [u64; WARP];

/// A set of lanes, one bit each.
pub(crate) type Mask = u32;

/// A type of values that a lane can hold.
pub(crate) trait Scalar: Copy {
    /// The value that the low bits are.
    fn of(bits: u64) -> Self;
    /// Its bits, with zeros above.
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($signed:ty = $unsigned:ty),*) => {$(
        impl Scalar for $unsigned {
            fn of(bits: u64) -> $unsigned { bits as $unsigned }
            fn bits(self) -> u64 { self as u64 }
        }
        impl Scalar for $signed {
            fn of(bits: u64) -> $signed { bits as $signed }
            fn bits(self) -> u64 { self as $unsigned as u64 }
        }
    )*};
}

integers!(i8 = u8, i16 = u16, i32 = u32, i64 = u64);

/// The NaN that instructions on `f32` return, whatever NaN they read.
pub(crate) const NAN_F32: u32 = 0x7fff_ffff;
/// The same for `f16` and `bf16`.
pub(crate) const NAN_16: u16 = 0x7fff;

impl Scalar for f32 {
    fn of(bits: u64) -> f32 {
        f32::from_bits(bits as u32)
    }
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { NAN_F32 } else { self.to_bits() })
    }
}

impl Scalar for f64 {
    fn of(bits: u64) -> f64 {
        f64::from_bits(bits)
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Scalar for f16 {
    fn of(bits: u64) -> f16 {
        f16::from_bits(bits as u16)
    }
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { NAN_16 } else { self.to_bits() })
    }
}

impl Scalar for bf16 {
    fn of(bits: u64) -> bf16 {
        bf16::from_bits(bits as u16)
    }
    fn bits(self) -> u64 {
        u64::from(if self.is_nan() { NAN_16 } else { self.to_bits() })
    }
}

/// `f` of every lane.
#[inline(always)]
pub(crate) fn map1<A: Scalar, R: Scalar>(a: &Lanes, f: impl Fn(A) -> R) -> Lanes {
    let mut result = [0; WARP];
    for (result, a) in result.iter_mut().zip(a) {
        *result = f(A::of(*a)).bits();
    }
    result
}

/// `f` of two registers, lane by lane.
#[inline(always)]
pub(crate) fn map2<A: Scalar, B: Scalar, R: Scalar>(a: &Lanes, b: &Lanes, f: impl Fn(A, B) -> R) -> Lanes {
    let mut result = [0; WARP];
    for lane in 0..WARP {
        result[lane] = f(A::of(a[lane]), B::of(b[lane])).bits();
    }
    result
}

/// `f` of three registers, lane by lane.
#[inline(always)]
pub(crate) fn map3<A: Scalar, B: Scalar, C: Scalar, R: Scalar>(
    a: &Lanes,
    b: &Lanes,
    c: &Lanes,
    f: impl Fn(A, B, C) -> R,
) -> Lanes {
    let mut result = [0; WARP];
    for lane in 0..WARP {
        result[lane] = f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).bits();
    }
    result
}

/// The lanes in which `f` holds.
#[inline(always)]
pub(crate) fn test2<A: Scalar>(a: &Lanes, b: &Lanes, f: impl Fn(A, A) -> bool) -> Mask {
    let mut result = 0;
    for lane in 0..WARP {
        result |= u32::from(f(A::of(a[lane]), A::of(b[lane]))) << lane;
    }
    result
}

/// The lanes of a mask, lowest first.
pub(crate) fn lanes_of(mut mask: Mask) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let lane = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            lane
        })
    })
}
