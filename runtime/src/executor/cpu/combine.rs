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

/// Rows of `k` elements in a piece.
fn rows(k: usize) -> usize {
    PIECE.div_ceil(k.max(1))
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
    let total = |i: usize| {
        // SAFETY: every chunk has an element `i`.
        unsafe { (1..chunks).fold(*from.add(i), |sum, c| operation(sum, *from.add(c * chunk + i))) }
    };
    let put = |i: usize, value: T| {
        // SAFETY: the target has an element `i`, and nobody else writes it.
        unsafe { *to.add(i) = value };
    };
    match arrangement {
        Arrangement::Same { elements } => {
            for i in piece * PIECE..(*elements).min((piece + 1) * PIECE) {
                put(i, total(i));
            }
        }
        Arrangement::Panels { block, m_offsets, n_offsets, k_offsets } => {
            let (n, k) = (n_offsets.len(), k_offsets.len());
            let pieces = n.div_ceil(rows(k));
            let (matrix, piece) = (piece / pieces, piece % pieces);
            let padded = block.next_multiple_of(LANES);
            let first = matrix * (k / block) * padded * n;
            for (row, offset) in n_offsets.iter().enumerate().skip(piece * rows(k)).take(rows(k)) {
                let start = m_offsets[matrix] as usize + *offset as usize;
                for (column, offset) in k_offsets.iter().enumerate() {
                    let (at, column) = (column / block, column % block);
                    let panel = at * padded / LANES + column / LANES;
                    let value = total(first + (panel * n + row) * LANES + column % LANES);
                    put(start + *offset as usize, value);
                }
            }
        }
    }
}
