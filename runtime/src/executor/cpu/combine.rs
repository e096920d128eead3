//! Partial results of the chunks into one, in order.

use std::ops::{Add, Mul};
use visage_compiler::{
    graph::{Combine, DType},
    plan::Arrangement,
};
use visage_kernels::LANES;

/// Elements that one piece of the work combines.
const PIECE: usize = 4096;

/// Pieces of the work, each with elements of its own.
pub(super) fn pieces(arrangement: &Arrangement) -> usize {
    match arrangement {
        Arrangement::Same { elements } => elements.div_ceil(PIECE),
        Arrangement::Panels { m_offsets, n_offsets, k_offsets, .. } => {
            m_offsets.len() * n_offsets.len().div_ceil(rows(k_offsets.len()))
        }
    }
}

/// Rows of `k` elements in a piece: enough that what is read lies in stretches of some kilobytes.
fn rows(k: usize) -> usize {
    PIECE.div_ceil(k.max(1)).max(16)
}

/// Combines one piece of `chunks` partial results.
pub(super) fn combine(
    piece: usize,
    from: *const u8,
    to: *mut u8,
    (how, dtype): (Combine, DType),
    chunks: usize,
    arrangement: &Arrangement,
) {
    if dtype == DType::I32 {
        let operation = match how {
            Combine::Sum => i32::wrapping_add,
            Combine::Prod => i32::wrapping_mul,
            Combine::Max => |x: i32, y: i32| x.max(y),
            Combine::Min => |x: i32, y: i32| x.min(y),
        };
        return arranged(piece, from as *const i32, to as *mut i32, chunks, arrangement, operation);
    }
    match dtype {
        DType::F64 => numbers(piece, from as *const f64, to as *mut f64, how, chunks, arrangement),
        _ => numbers(piece, from as *const f32, to as *mut f32, how, chunks, arrangement),
    }
}

/// [`combine`] of floating-point numbers.
fn numbers<T: Copy + PartialOrd + Add<Output = T> + Mul<Output = T>>(
    piece: usize,
    from: *const T,
    to: *mut T,
    how: Combine,
    chunks: usize,
    arrangement: &Arrangement,
) {
    // A match outside of the loops, so that each loop is one operation.
    match how {
        Combine::Sum => arranged(piece, from, to, chunks, arrangement, |x, y| x + y),
        Combine::Prod => arranged(piece, from, to, chunks, arrangement, |x, y| x * y),
        Combine::Max => arranged(piece, from, to, chunks, arrangement, |x, y| if y > x { y } else { x }),
        Combine::Min => arranged(piece, from, to, chunks, arrangement, |x, y| if y < x { y } else { x }),
    }
}

fn arranged<T: Copy>(
    piece: usize,
    from: *const T,
    to: *mut T,
    chunks: usize,
    arrangement: &Arrangement,
    operation: impl Fn(T, T) -> T,
) {
    let stored = match arrangement {
        Arrangement::Same { elements } => *elements,
        Arrangement::Panels { block, m_offsets, n_offsets, k_offsets } => {
            m_offsets.len() * k_offsets.len() / (*block).max(1) * block.next_multiple_of(LANES) * n_offsets.len()
        }
    };
    let chunk = stored.next_multiple_of(LANES);
    match arrangement {
        Arrangement::Same { elements } => {
            let end = (*elements).min((piece + 1) * PIECE);
            for start in (piece * PIECE..end).step_by(LANES) {
                // SAFETY: chunks have whole panels, and the target has these elements, which nobody else writes.
                unsafe {
                    let totals = totals(from.add(start), chunks, chunk, &operation);
                    std::ptr::copy_nonoverlapping(totals.as_ptr(), to.add(start), LANES.min(end - start));
                }
            }
        }
        Arrangement::Panels { block, m_offsets, n_offsets, k_offsets } => {
            let (n, k) = (n_offsets.len(), k_offsets.len());
            let pieces = n.div_ceil(rows(k));
            let (matrix, piece) = (piece / pieces, piece % pieces);
            let padded = block.next_multiple_of(LANES);
            let first = matrix * (k / block) * padded * n;
            let own = piece * rows(k)..n.min((piece + 1) * rows(k));
            // Panels of every block lie behind one another, all rows of one before the next.
            let panels = k_offsets.chunks(*block).flat_map(|block| block.chunks(LANES)).enumerate();
            for (panel, columns) in panels {
                let side_by_side = columns.windows(2).all(|pair| pair[0] + 1 == pair[1]);
                for row in own.clone() {
                    let start = m_offsets[matrix] as usize + n_offsets[row] as usize;
                    // SAFETY: as above; offsets are places in the target, each of one element.
                    unsafe {
                        let totals = totals(from.add(first + (panel * n + row) * LANES), chunks, chunk, &operation);
                        if side_by_side {
                            let to = to.add(start + columns[0] as usize);
                            std::ptr::copy_nonoverlapping(totals.as_ptr(), to, columns.len());
                        } else {
                            for (value, column) in totals.iter().zip(columns) {
                                *to.add(start + *column as usize) = *value;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A panel of elements of all chunks, combined in order.
///
/// # Safety
///
/// A panel is readable from `from` on, and at `chunk` elements from each other `chunks` of them.
unsafe fn totals<T: Copy>(from: *const T, chunks: usize, chunk: usize, operation: &impl Fn(T, T) -> T) -> [T; LANES] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut totals = *from.cast::<[T; LANES]>();
        for c in 1..chunks {
            let own = &*from.add(c * chunk).cast::<[T; LANES]>();
            totals.iter_mut().zip(own).for_each(|(total, own)| *total = operation(*total, *own));
        }
        totals
    }
}
