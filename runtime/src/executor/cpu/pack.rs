//! Weights into the strips that micro-kernels read, of `f32` or of bf16 pairs.

use visage_compiler::{
    cpu::Compiled,
    plan::{Layout, Plan, Step},
};
use visage_kernels::{
    LANES, MicroKernels, PairKernels,
    pairs::{BLOCK, pairs},
    strips,
    winograd::{PLACES, TAPS},
};

/// Elements that one piece of the work packs, roughly.
const PIECE: usize = 1 << 14;

/// Where the elements of one or more matrices are in a plain array.
pub(super) struct Matrix {
    /// Where each of them starts.
    starts: Vec<u32>,
    n: Offsets,
    k: Offsets,
    /// The steps of k in the order in which they lie in the array, where their strides differ.
    walk: Option<Walk>,
    /// Blocks of the k that are packed as pairs; none for strips of `f32`.
    blocks: Option<usize>,
    /// Whether what starts are nine taps, from which sixteen matrices are made.
    winograd: bool,
}

/// Steps of k as they lie in memory: weights of a convolution have their taps side by side, and are multiplied tap by tap.
struct Walk {
    /// The steps, by their offsets.
    steps: Vec<u32>,
    /// Offsets that follow one another: the first, and how many.
    runs: Vec<(u32, usize)>,
}

impl Walk {
    /// Of offsets that mostly lie side by side.
    fn of(offsets: &[u32]) -> Option<Walk> {
        let mut steps: Vec<u32> = (0..offsets.len() as u32).collect();
        steps.sort_by_key(|step| offsets[*step as usize]);
        let mut runs: Vec<(u32, usize)> = Vec::new();
        for step in &steps {
            let offset = offsets[*step as usize];
            match runs.last_mut() {
                Some((first, count)) if *first + *count as u32 == offset => *count += 1,
                _ => runs.push((offset, 1)),
            }
        }
        (offsets.len() >= LONG_RUN * runs.len()).then_some(Walk { steps, runs })
    }
}

/// Elements side by side at least, on average, that are worth transposes: the side of the largest tile.
const LONG_RUN: usize = 16;

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
    pub fn of(plan: &Plan, step: &Step) -> Option<Matrix> {
        match step {
            Step::Pack { target, m_offsets, n_offsets, k_offsets, winograd, .. } => Some(Matrix {
                winograd: *winograd,
                starts: m_offsets.clone(),
                n: Offsets::of(n_offsets),
                k: Offsets::of(k_offsets),
                walk: match Offsets::of(k_offsets) {
                    Offsets::Even { .. } => None,
                    Offsets::Any(offsets) => Walk::of(&offsets),
                },
                blocks: match plan.buffers[target.0 as usize].layout {
                    Layout::Pairs { blocks, .. } => Some(blocks),
                    _ => None,
                },
            }),
            _ => None,
        }
    }

    /// Pieces of the work, each with strips of its own.
    pub fn pieces(&self, compiled: &Compiled) -> usize {
        let matrices = if self.winograd { 1 } else { self.starts.len() };
        matrices * self.pieces_a_matrix(compiled)
    }

    fn pieces_a_matrix(&self, compiled: &Compiled) -> usize {
        let strips = match self.blocks {
            None => strips(self.n.count(), compiled.micro.max_strip).len(),
            Some(_) => compiled.pairs.strips(self.n.count()).len(),
        };
        strips.div_ceil(self.strips_a_piece(compiled))
    }

    fn strips_a_piece(&self, compiled: &Compiled) -> usize {
        let height = if self.blocks.is_some() { compiled.pairs.max_strip } else { compiled.micro.max_strip };
        (PIECE / (self.k.count() * height).max(1)).max(1)
    }

    /// Packs the strips of one piece.
    pub fn pack(&self, piece: usize, compiled: &Compiled, source: *const u8, target: *mut u8) {
        let (n, count) = (self.n.count(), self.strips_a_piece(compiled));
        let (matrix, piece) = (piece / self.pieces_a_matrix(compiled), piece % self.pieces_a_matrix(compiled));
        if self.winograd {
            for strip in strips(n, compiled.micro.max_strip).skip(piece * count).take(count) {
                self.pack_squares(strip, compiled.micro, source.cast(), target.cast());
            }
            return;
        }
        let source = source.cast::<f32>().wrapping_add(self.starts[matrix] as usize);
        match self.blocks {
            None => {
                let target = target.cast::<f32>().wrapping_add(matrix * n * self.k.count());
                for strip in strips(n, compiled.micro.max_strip).skip(piece * count).take(count) {
                    self.pack_strip(strip, compiled.micro, source, target);
                }
            }
            Some(blocks) => {
                let capacity = blocks * pairs(self.k.count() / blocks);
                let target = target.cast::<u32>().wrapping_add(matrix * n * capacity);
                for strip in compiled.pairs.strips(n).skip(piece * count).take(count) {
                    self.pack_pairs(strip, blocks, compiled.pairs, source, target);
                }
            }
        }
    }

    /// Packs the strip of `height` outputs from `start` on.
    fn pack_strip(&self, (start, height): (usize, usize), micro: &MicroKernels, source: *const f32, target: *mut f32) {
        let k = self.k.count();
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
            return;
        }
        if let (Offsets::Even { stride, .. }, Some(walk)) = (&self.n, &self.walk) {
            // SAFETY: as above.
            return unsafe { walk.pack(height, *stride, micro, source.add(self.n.at(start)), to) };
        }
        for (step, line) in (0..k).map(|step| (step, to.wrapping_add(step * height))) {
            let from = source.wrapping_add(self.k.at(step));
            match self.n {
                Offsets::Even { stride, .. } => {
                    let from = from.wrapping_add(self.n.at(start));
                    // SAFETY: as above.
                    (0..height).for_each(|m| unsafe { *line.add(m) = *from.add(m * stride) });
                }
                // SAFETY: as above.
                Offsets::Any(_) => (0..height).for_each(|m| unsafe { *line.add(m) = *from.add(self.n.at(start + m)) }),
            }
        }
    }

    /// Transforms and packs the strip of `height` outputs from `start` on of all sixteen matrices.
    fn pack_squares(
        &self,
        (start, height): (usize, usize),
        micro: &MicroKernels,
        source: *const f32,
        target: *mut f32,
    ) {
        let (n, k) = (self.n.count(), self.k.count());
        // The taps of a weight side by side, in some order, are transposed; others are read one by one.
        let first_tap = self.starts.iter().copied().min().unwrap_or(0);
        let together = self.starts.iter().all(|tap| tap - first_tap < TAPS as u32);
        let order: [usize; TAPS] = std::array::from_fn(|tap| match together {
            true => (self.starts[tap] - first_tap) as usize,
            false => tap,
        });
        let mut taps = [0.0; TAPS * HEIGHT + LANES];
        let mut lines = [[0.0; FEW_STEPS * HEIGHT]; PLACES];
        for first in (0..k).step_by(FEW_STEPS) {
            let count = FEW_STEPS.min(k - first);
            for step in 0..count {
                let feature = source.wrapping_add(self.k.at(first + step));
                // SAFETY: the planner's offsets are inside the source; a strip is not higher than the lines.
                unsafe {
                    match self.n {
                        Offsets::Even { stride, .. } if together => {
                            let from = feature.add(first_tap as usize + self.n.at(start));
                            (micro.pack_strips)(height, TAPS, from, stride, 1, taps.as_mut_ptr(), TAPS, 0);
                        }
                        _ => {
                            for (tap, values) in order.iter().zip(taps.chunks_exact_mut(height)) {
                                let from = feature.add(self.starts[*tap] as usize);
                                for (value, output) in values.iter_mut().zip(start..) {
                                    *value = *from.add(self.n.at(output));
                                }
                            }
                        }
                    }
                    let to = lines.as_mut_ptr().cast::<f32>().add(step * height);
                    (micro.transform_taps)(taps.as_ptr(), &order, height, to, FEW_STEPS * HEIGHT);
                }
            }
            for (place, line) in lines.iter().enumerate() {
                // SAFETY: strips are disjoint parts of the target, which has room for all of them.
                unsafe {
                    let to = target.add(place * n * k + start * k + first * height);
                    std::ptr::copy_nonoverlapping(line.as_ptr(), to, count * height);
                }
            }
        }
    }

    /// Rounds and packs the strip of `height` outputs from `start` on, each block of the k by itself.
    fn pack_pairs(
        &self,
        (start, height): (usize, usize),
        blocks: usize,
        kernels: &PairKernels,
        source: *const f32,
        target: *mut u32,
    ) {
        let block = self.k.count() / blocks;
        let capacity = blocks * pairs(block);
        // SAFETY: strips are disjoint parts of the target, which has room for all of them.
        let to = unsafe { target.add(start * capacity) };
        for at in 0..blocks {
            let offset = at * pairs(block);
            if let (Offsets::Even { stride: n_stride, .. }, Offsets::Even { stride: k_stride, .. }) = (&self.n, &self.k)
            {
                // SAFETY: the planner's offsets are inside the source; a strip of at most the largest height is
                // packed as one.
                unsafe {
                    let from = source.add(self.n.at(start) + self.k.at(at * block));
                    (kernels.pack)(height, block, from, *n_stride, *k_stride, to, capacity, offset);
                }
                continue;
            }
            for first in (0..block).step_by(DEPTH) {
                let depth = DEPTH.min(block - first);
                let mut elements = [0.0; HEIGHT * DEPTH];
                for (m, step) in (0..height).flat_map(|m| (0..depth).map(move |step| (m, step))) {
                    let element = self.n.at(start + m) + self.k.at(at * block + first + step);
                    // SAFETY: as above.
                    elements[m * DEPTH + step] = unsafe { *source.add(element) };
                }
                // SAFETY: as above; the elements are those of the strip.
                unsafe { (kernels.pack)(height, depth, elements.as_ptr(), DEPTH, 1, to, capacity, offset + first / 2) };
            }
        }
    }
}

impl Walk {
    /// Packs a strip: a few steps of a run at a time are transposed, and then put where they belong.
    ///
    /// # Safety
    /// `height` outputs of all steps are readable from `source` on, `stride` apart, and as many elements writable in the
    /// strip `to`.
    unsafe fn pack(&self, height: usize, stride: usize, micro: &MicroKernels, source: *const f32, to: *mut f32) {
        let mut lines = [0.0; STEPS * HEIGHT];
        let mut done = 0;
        for (first, count) in &self.runs {
            for start in (0..*count).step_by(STEPS) {
                let count = STEPS.min(count - start);
                let steps = &self.steps[done + start..][..count];
                // SAFETY: the caller's contract; a strip is not higher than the lines.
                unsafe {
                    let from = source.add(*first as usize + start);
                    (micro.pack_strips)(height, count, from, stride, 1, lines.as_mut_ptr(), count, 0);
                    for (line, step) in lines.chunks_exact(height).zip(steps) {
                        copy_line(line, to.add(*step as usize * height));
                    }
                }
            }
            done += count;
        }
    }
}

/// Copies a line of a strip in two vectors, which may overlap.
///
/// # Safety
/// The line is writable at `to` and is not there already.
unsafe fn copy_line(line: &[f32], to: *mut f32) {
    // SAFETY: the caller's contract; both vectors lie in the line.
    unsafe {
        match (line.first_chunk::<8>(), line.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                to.cast::<[f32; 8]>().write_unaligned(*first);
                to.add(line.len() - 8).cast::<[f32; 8]>().write_unaligned(*last);
            }
            _ => std::ptr::copy_nonoverlapping(line.as_ptr(), to, line.len()),
        }
    }
}

/// Steps that are transposed at a time.
const STEPS: usize = 64;

/// Steps whose transformed taps are put in order at a time: sixteen matrices have them in cache.
const FEW_STEPS: usize = 16;

/// Steps of k that take a whole block of pairs.
const DEPTH: usize = 2 * BLOCK;

/// Outputs of a strip at most.
const HEIGHT: usize = 32;
