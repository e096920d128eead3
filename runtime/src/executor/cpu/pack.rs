//! Weights into the strips that micro-kernels read.

use visage_compiler::plan::Step;
use visage_kernels::{MicroKernels, strips};

/// Elements that one piece of the work packs, roughly.
const PIECE: usize = 1 << 14;

/// Where the elements of one or more matrices are in a plain array.
pub(super) struct Matrix {
    /// Where each of them starts.
    starts: Vec<u32>,
    n: Offsets,
    k: Offsets,
}

/// Distances of a line of elements from its first.
enum Offsets {
    /// `start + i · stride`.
    Even {
        start: usize,
        stride: usize,
        count: usize,
    },
    Any(Vec<u32>),
}

impl Offsets {
    fn of(offsets: &[u32]) -> Offsets {
        let start = offsets.first().copied().unwrap_or(0) as usize;
        let stride = offsets.get(1).map_or(1, |second| (*second as usize).wrapping_sub(start));
        let even = offsets
            .iter()
            .enumerate()
            .all(|(i, offset)| *offset as usize == start.wrapping_add(i.wrapping_mul(stride)));
        match even {
            true => Offsets::Even { start, stride, count: offsets.len() },
            false => Offsets::Any(offsets.to_vec()),
        }
    }

    fn count(&self) -> usize {
        match self {
            Offsets::Even { count, .. } => *count,
            Offsets::Any(offsets) => offsets.len(),
        }
    }

    fn at(&self, i: usize) -> usize {
        match self {
            Offsets::Even { start, stride, .. } => start.wrapping_add(i.wrapping_mul(*stride)),
            Offsets::Any(offsets) => offsets[i] as usize,
        }
    }
}

impl Matrix {
    /// The matrix that a step packs, if it packs one.
    pub fn of(step: &Step) -> Option<Matrix> {
        match step {
            Step::Pack { m_offsets, n_offsets, k_offsets, .. } => {
                Some(Matrix { starts: m_offsets.clone(), n: Offsets::of(n_offsets), k: Offsets::of(k_offsets) })
            }
            _ => None,
        }
    }

    /// Pieces of the work, each with strips of its own.
    pub fn pieces(&self, micro: &MicroKernels) -> usize {
        self.starts.len() * self.pieces_a_matrix(micro)
    }

    fn pieces_a_matrix(&self, micro: &MicroKernels) -> usize {
        strips(self.n.count(), micro.max_strip).len().div_ceil(self.strips_a_piece(micro))
    }

    fn strips_a_piece(&self, micro: &MicroKernels) -> usize {
        (PIECE / (self.k.count() * micro.max_strip).max(1)).max(1)
    }

    /// Packs the strips of one piece.
    pub fn pack(&self, piece: usize, micro: &MicroKernels, source: *const u8, target: *mut u8) {
        let (k, count) = (self.k.count(), self.strips_a_piece(micro));
        let (matrix, piece) = (piece / self.pieces_a_matrix(micro), piece % self.pieces_a_matrix(micro));
        let source = source.cast::<f32>().wrapping_add(self.starts[matrix] as usize);
        let target = target.cast::<f32>().wrapping_add(matrix * self.n.count() * k);
        for (start, height) in strips(self.n.count(), micro.max_strip).skip(piece * count).take(count) {
            // SAFETY: strips are disjoint parts of the target, which has room for all of them.
            let to = unsafe { target.add(start * k) };
            if let (Offsets::Even { stride: n_stride, .. }, Offsets::Even { start: first, stride: k_stride, .. }) =
                (&self.n, &self.k)
            {
                // SAFETY: the planner's offsets are inside the source; a strip of at most the largest height is
                // packed as one.
                unsafe {
                    let from = source.add(self.n.at(start) + first);
                    (micro.pack_strips)(height, k, from, *n_stride, *k_stride, to, k, 0);
                }
                continue;
            }
            for step in 0..k {
                for m in 0..height {
                    // SAFETY: as above.
                    unsafe { *to.add(step * height + m) = *source.add(self.n.at(start + m) + self.k.at(step)) };
                }
            }
        }
    }
}
