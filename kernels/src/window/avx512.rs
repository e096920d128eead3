//! Windows by masked loads: a vector of 16 lanes is put together from the runs that it takes part in.

use super::{Geometry, Run};
use crate::{LANES, pack::avx512::transposed};
use std::arch::x86_64::*;

/// Lanes of a vector.
const WIDTH: usize = 16;

/// Runs in half a panel beyond which elements are gathered one by one.
const MOST_RUNS: usize = 4;

/// The part of a run in one vector: the lanes, and the word that lane 0 would read.
#[derive(Clone, Copy, Default)]
struct Part {
    lanes: __mmask16,
    word: isize,
}

/// [`super::LoadWindow`] by masked loads, or by gathers where runs are short.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe extern "C" fn load_window(
    geometry: *const Geometry,
    first: usize,
    features: usize,
    source: *const f32,
    feature_stride: isize,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: the caller's contract.
    let runs = unsafe { &*geometry }.runs(first);
    for half in 0..LANES / WIDTH {
        let mut parts = [Part::default(); WIDTH];
        let mut count = 0;
        for run in runs.as_slice() {
            if let Some(part) = part(run, half * WIDTH) {
                parts[count] = part;
                count += 1;
            }
        }
        let to = out.wrapping_add(half * WIDTH);
        let parts = &parts[..count];
        // SAFETY: the caller's contract: masked lanes are not touched.
        unsafe {
            match parts {
                [whole] if whole.lanes == !0 => {
                    let from = source.wrapping_offset(whole.word);
                    for feature in 0..features {
                        let value = _mm512_loadu_ps(from.wrapping_offset(feature as isize * feature_stride));
                        _mm512_storeu_ps(to.add(feature * out_stride), value);
                    }
                }
                [a, b] => {
                    let (first, second) = (source.wrapping_offset(a.word), source.wrapping_offset(b.word));
                    for feature in 0..features {
                        let distance = feature as isize * feature_stride;
                        let value = _mm512_maskz_loadu_ps(a.lanes, first.wrapping_offset(distance));
                        let value = _mm512_mask_loadu_ps(value, b.lanes, second.wrapping_offset(distance));
                        _mm512_storeu_ps(to.add(feature * out_stride), value);
                    }
                }
                _ if count > MOST_RUNS && feature_stride == 1 && features >= WIDTH => {
                    rows(parts, features, source, to, out_stride)
                }
                _ if count <= MOST_RUNS => {
                    for feature in 0..features {
                        let from = source.wrapping_offset(feature as isize * feature_stride);
                        let mut value = _mm512_setzero_ps();
                        for part in parts {
                            value = _mm512_mask_loadu_ps(value, part.lanes, from.wrapping_offset(part.word));
                        }
                        _mm512_storeu_ps(to.add(feature * out_stride), value);
                    }
                }
                _ => gather(parts, features, source, feature_stride, to, out_stride),
            }
        }
    }
}

/// The part of a run in the vector that starts at lane `start`.
fn part(run: &Run, start: usize) -> Option<Part> {
    let (from, to) = (run.lane.max(start), (run.lane + run.length).min(start + WIDTH));
    if from >= to {
        return None;
    }
    let lanes = ((1_u32 << (to - from)) - 1) << (from - start);
    Some(Part { lanes: lanes as __mmask16, word: run.word + start as isize - run.lane as isize })
}

/// Rows whose features lie side by side: sixteen of each at a time, transposed.
///
/// # Safety
/// As [`super::LoadWindow`], for the lanes of `parts`.
#[target_feature(enable = "avx512f")]
unsafe fn rows(parts: &[Part], features: usize, source: *const f32, out: *mut f32, out_stride: usize) {
    let mut words = [0_isize; WIDTH];
    let mut lanes: __mmask16 = 0;
    for part in parts {
        for (lane, word) in words.iter_mut().enumerate().filter(|(lane, _)| part.lanes >> lane & 1 == 1) {
            *word = part.word + lane as isize;
        }
        lanes |= part.lanes;
    }
    for start in (0..features).step_by(WIDTH) {
        let count = WIDTH.min(features - start);
        let inside = ((1_u32 << count) - 1) as __mmask16;
        let mut lines = [_mm512_setzero_ps(); WIDTH];
        for (lane, (line, word)) in lines.iter_mut().zip(words).enumerate() {
            let mask = if lanes >> lane & 1 == 1 { inside } else { 0 };
            // SAFETY: the caller's contract: masked elements are not touched.
            *line = unsafe { _mm512_maskz_loadu_ps(mask, source.wrapping_offset(word + start as isize)) };
        }
        for (feature, value) in transposed(lines).into_iter().enumerate().take(count) {
            // SAFETY: the caller's contract.
            unsafe { _mm512_storeu_ps(out.add((start + feature) * out_stride), value) };
        }
    }
}

/// One element a lane.
///
/// # Safety
/// As [`super::LoadWindow`], for the lanes of `parts`; their words are within 2³¹ of each other.
#[target_feature(enable = "avx512f")]
unsafe fn gather(
    parts: &[Part],
    features: usize,
    source: *const f32,
    feature_stride: isize,
    out: *mut f32,
    out_stride: usize,
) {
    let Some(origin) = parts.first().map(|part| part.word) else { return };
    let mut words = [0_i32; WIDTH];
    let mut lanes: __mmask16 = 0;
    for part in parts {
        for (lane, word) in words.iter_mut().enumerate().filter(|(lane, _)| part.lanes >> lane & 1 == 1) {
            *word = (part.word - origin) as i32 + lane as i32;
        }
        lanes |= part.lanes;
    }
    let from = source.wrapping_offset(origin);
    // SAFETY: the caller's contract.
    unsafe {
        let words = _mm512_loadu_si512(words.as_ptr().cast());
        for feature in 0..features {
            let base = from.wrapping_offset(feature as isize * feature_stride);
            let value = _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), lanes, words, base);
            _mm512_storeu_ps(out.add(feature * out_stride), value);
        }
    }
}
