//! Contractions: calls of micro-kernels, or the same loops in Cranelift.

use super::{
    Contraction,
    emitter::{Emitter, GROUPS, WIDTH, flags},
    library::{self, Callee},
};
use crate::plan::{Access, Batch, BufferId, Factor, LANES, Loop, Precision, Source, Window};
use cranelift_codegen::ir::{
    InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value,
    condcodes::IntCC,
    types::{F32X4, I32, I32X4, I64, I64X2},
};
use std::mem::offset_of;
use visage_kernels::{strips, window::Line, winograd::Convolution};

/// The weights of a contraction: `[n][k]` for each matrix of the batch and each index of the loops.
#[derive(Clone, Copy)]
pub(super) struct Matrices<'a> {
    pub loops: &'a [Loop],
    pub batch: Option<Batch>,
    pub weights: BufferId,
    pub n: usize,
    pub k: usize,
}

/// Where a contraction of the current panel puts its result, and the stride from output to output.
type Target = (Value, usize);

impl Matrices<'_> {
    /// Where the matrix of an element of the batch is, inside of the loops; one takes so many words.
    pub fn address(&self, e: &mut Emitter<'_>, element: Value, words: usize) -> Value {
        let count: usize = self.loops.iter().map(|(_, size)| size).product();
        let looped = number(e, self.loops);
        let before = e.b.ins().imul_imm_s(element, count as i64);
        let matrix = e.b.ins().iadd(before, looped);
        let distance = e.b.ins().imul_imm_s(matrix, (words * 4) as i64);
        let start = e.base(Source::Buffer(self.weights));
        e.b.ins().iadd(start, distance)
    }

    /// Emits `multiply`, which computes so many outputs of the current panel, for every element of the batch that has rows
    /// in it.
    pub fn each(
        &self,
        e: &mut Emitter<'_>,
        outputs: usize,
        (c, c_stride): Target,
        multiply: &mut dyn FnMut(&mut Emitter<'_>, Value, Target),
    ) {
        let Some(batch) = self.batch else {
            let first = e.word(0);
            return multiply(e, first, (c, c_stride));
        };
        let start = e.first_row();
        let first = e.b.ins().udiv_imm_u(start, batch.rows as i64);
        let Some(apart) = batch.apart else { return multiply(e, first, (c, c_stride)) };
        let valid = e.valid_lanes();
        let end = e.b.ins().iadd(start, valid);
        let last = e.b.ins().iadd_imm_s(end, -1);
        let last = e.b.ins().udiv_imm_u(last, batch.rows as i64);
        let apart = e.base(apart);
        let is_alone = e.b.ins().icmp(IntCC::Equal, first, last);
        let [alone, several, done] = [(); 3].map(|()| e.b.create_block());
        e.b.ins().brif(is_alone, alone, &[], several, &[]);
        e.b.switch_to_block(alone);
        multiply(e, first, (c, c_stride));
        e.b.ins().jump(done, &[]);
        e.b.switch_to_block(several);
        let after = e.b.ins().iadd_imm_s(last, 1);
        e.between(first, after, &mut |e, element| {
            multiply(e, element, (apart, LANES));
            let from = e.b.ins().imul_imm_s(element, batch.rows as i64);
            let from = e.b.ins().isub(from, start);
            let to = e.b.ins().iadd_imm_s(from, batch.rows as i64);
            copy_rows(e, outputs, (from, to), apart, (c, c_stride));
        });
        e.b.ins().jump(done, &[]);
        e.b.switch_to_block(done);
    }
}

/// Copies the lanes `from..to` of so many features of a panel, and leaves the others as they are.
fn copy_rows(e: &mut Emitter<'_>, features: usize, (from, to): (Value, Value), source: Value, (c, c_stride): Target) {
    e.lanes(1, &mut |e, offset| {
        let lane = e.b.ins().ushr_imm_u(offset, 2);
        let [before, end] = [from, to].map(|bound| {
            let bound = e.b.ins().isub(bound, lane);
            let bound = e.b.ins().ireduce(I32, bound);
            e.b.ins().splat(I32X4, bound)
        });
        let steps = e.integers([0, 1, 2, 3]);
        let is_from = e.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, steps, before);
        let is_to = e.b.ins().icmp(IntCC::SignedLessThan, steps, end);
        let taken = e.b.ins().band(is_from, is_to);
        e.repeat(features, &mut |e, feature| {
            let distance = e.b.ins().imul_imm_s(feature, (LANES * 4) as i64);
            let own = e.b.ins().iadd(source, distance);
            let own = e.b.ins().iadd(own, offset);
            let own = e.b.ins().load(I32X4, flags(), own, 0);
            let distance = e.b.ins().imul_imm_s(feature, (c_stride * 4) as i64);
            let place = e.b.ins().iadd(c, distance);
            let place = e.b.ins().iadd(place, offset);
            let other = e.b.ins().load(I32X4, flags(), place, 0);
            let both = e.b.ins().bitselect(taken, own, other);
            e.b.ins().store(flags(), both, place, 0);
        });
    });
}

/// `c[n][row] = Σₖ w[n][k] · x[k][row]` for every panel of the tile, with weights in strips.
pub(super) fn rows(
    e: &mut Emitter<'_>,
    matrices: &Matrices<'_>,
    (x, x_stride): (&Access, usize),
    (c, c_stride): (&Access, usize),
    window: Option<&Window>,
) {
    let Matrices { n, k, .. } = *matrices;
    let all = strips(n, e.micro.max_strip);
    let mut ahead = std::mem::take(&mut e.ahead);
    let parts = all.len();
    let block = window.map_or(k, |window| k / window.blocks());
    let geometry = window.map(|window| Geometry::new(e, window));
    e.nest(matrices.loops, &mut |e| {
        blocks(e, window, &mut |e, at| {
            if let (Some(window), Some(geometry)) = (window, &geometry) {
                e.panels(&mut |e| geometry.load(e, window, at, x));
            }
            let zero = e.b.ins().iconst(I64, 0);
            let is_first = e.b.ins().icmp(IntCC::Equal, at, zero);
            let accumulate = e.b.ins().bxor_imm_u(is_first, 1);
            let accumulate = e.b.ins().uextend(I64, accumulate);
            let depth = e.b.ins().iconst(I64, block as i64);
            let ahead = std::mem::take(&mut ahead);
            for (part, (start, height)) in all.clone().enumerate() {
                let distance = e.b.ins().imul_imm_s(at, (block * height * 4) as i64);
                e.panels(&mut |e| {
                    let from = e.address(x);
                    let to = e.address(c);
                    let to = e.b.ins().iadd_imm_s(to, (start * c_stride * 4) as i64);
                    matrices.each(e, height, (to, c_stride), &mut |e, element, to| {
                        let w = matrices.address(e, element, n * k);
                        let w = e.b.ins().iadd_imm_s(w, (start * k * 4) as i64);
                        let w = e.b.ins().iadd(w, distance);
                        tile(e, height, depth, (w, from, x_stride), to, accumulate);
                    });
                });
                super::stage::prefetch(e, &ahead, part, parts);
            }
        });
    });
}

/// A convolution of three taps by three in squares, for all rows of the tile.
pub(super) fn squares(
    e: &mut Emitter<'_>,
    (weights, n, k): (BufferId, usize, usize),
    window: &Window,
    [x, products]: [Source; 2],
    (c, c_stride): (&Access, usize),
) {
    let Geometry(slot) = Geometry::within(e, window, size_of::<Convolution>());
    let stride = Features::of(window).stride as i64;
    let words = [
        (offset_of!(Convolution, features), k as i64),
        (offset_of!(Convolution, feature_stride), stride),
        (offset_of!(Convolution, outputs), n as i64),
        (offset_of!(Convolution, output_stride), c_stride as i64),
        (offset_of!(Convolution, output_panel), c.panel_stride as i64),
    ];
    for (at, word) in words {
        let word = e.b.ins().iconst(I64, word);
        e.b.ins().stack_store(I64, word, slot, at as i32);
    }
    e.panel = e.word(0);
    let first = e.first_row();
    let count = e.word(e.kernel.row_count());
    let rest = e.b.ins().isub(count, first);
    let most = e.word(e.kernel.tile_panels * LANES);
    let rows = e.b.ins().smin(rest, most);
    let convolution = e.b.ins().stack_addr(I64, slot, 0);
    let from = source(e, window);
    let [weights, x, products] = [Source::Buffer(weights), x, products].map(|source| e.base(source));
    let to = e.address(c);
    library::call(e, Callee::Winograd, &[convolution, first, rows, from, weights, x, products, to]);
}

/// The number of the current index of some loops, read as one.
pub(super) fn number(e: &mut Emitter<'_>, loops: &[Loop]) -> Value {
    let mut number = e.b.ins().iconst(I64, 0);
    for (axis, size) in loops {
        number = e.b.ins().imul_imm_s(number, *size as i64);
        number = e.b.ins().iadd(number, e.indices[axis]);
    }
    number
}

/// Emits `body` for every block of a window, with its number: once where nothing is read through one.
pub(super) fn blocks(e: &mut Emitter<'_>, window: Option<&Window>, body: &mut dyn FnMut(&mut Emitter<'_>, Value)) {
    let outer: Vec<Loop> = window
        .map_or_else(Vec::new, |window| window.taps[..window.outer].iter().map(|tap| (tap.axis, tap.size)).collect());
    let stretches = window.map_or(1, Window::stretches);
    e.nest(&outer, &mut |e| {
        let at = number(e, &outer);
        let at = e.b.ins().imul_imm_s(at, stretches as i64);
        e.repeat(stretches, &mut |e, stretch| {
            let at = e.b.ins().iadd(at, stretch);
            body(e, at);
        });
    });
}

/// The description of a window in the stack frame of a kernel, and the places of what changes with the taps.
pub(super) struct Geometry(StackSlot);

/// Bytes before the first axis of a [`visage_kernels::window::Geometry`].
const HEAD: usize = std::mem::offset_of!(visage_kernels::window::Geometry, axes);

/// Bytes of an axis.
const LINE: usize = size_of::<Line>();

impl Geometry {
    /// Writes what stays the same.
    pub fn new(e: &mut Emitter<'_>, window: &Window) -> Geometry {
        Geometry::within(e, window, size_of::<visage_kernels::window::Geometry>())
    }

    /// The same at the start of something of so many bytes.
    fn within(e: &mut Emitter<'_>, window: &Window, size: usize) -> Geometry {
        let size = size as u32;
        let slot = e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        let rows = e.kernel.rows.clone();
        let head = [e.kernel.row_count(), window.panel, rows.len()].map(|word| word as isize);
        let lines = rows.iter().zip(&window.rows).flat_map(|((_, size), row)| {
            // In the order of the fields of a line.
            [*size as isize, row.hop, row.start, row.low, row.high, row.divide, row.unit]
        });
        for (at, word) in head.into_iter().chain(lines).enumerate() {
            let word = e.b.ins().iconst(I64, word as i64);
            e.b.ins().stack_store(I64, word, slot, (at * 8) as i32);
        }
        Geometry(slot)
    }

    /// Fills the current panel of `x` with a block, of which the taps outside are loops already: its own taps, and all
    /// features.
    pub fn load(&self, e: &mut Emitter<'_>, window: &Window, block: Value, x: &Access) {
        let inner = window.inside();
        let features = Features::of(window);
        // Where rows lie side by side, those of many positions are read at a time; else, many features of the rows.
        let slide = window.sliding_tap().filter(|_| inner.last().is_some_and(|(_, size)| *size > features.together));
        let taps = &inner[..inner.len() - usize::from(slide.is_some())];
        let apart = if slide.is_some() { window.features.len() } else { features.apart };
        let apart: Vec<Loop> = window.features[..apart].iter().map(|(axis, size, _)| (*axis, *size)).collect();
        let stretch = (window.stretches() > 1).then(|| {
            let number = e.b.ins().urem_imm_u(block, window.stretches() as i64);
            e.b.ins().imul_imm_s(number, window.stretch as i64)
        });
        e.nest(taps, &mut |e| {
            self.place(e, window, stretch);
            e.nest(&apart, &mut |e| {
                let from = source(e, window);
                let (first, to) = (e.first_row(), e.address(x));
                let geometry = e.b.ins().stack_addr(I64, self.0, 0);
                if let Some(tap) = slide {
                    let (axis, step) = (e.word(tap.row), e.b.ins().iconst(I64, tap.step as i64));
                    let count = e.word(inner.last().map_or(1, |(_, size)| *size));
                    let to_stride = e.b.ins().iconst(I64, x.stride(tap.axis) as i64);
                    let arguments = [geometry, first, axis, step, count, from, to, to_stride];
                    return library::call(e, Callee::SlideWindow, &arguments);
                }
                let (count, to_stride) = (e.word(features.together), e.word(LANES));
                let stride = e.b.ins().iconst(I64, features.stride as i64);
                library::call(e, Callee::LoadWindow, &[geometry, first, count, from, stride, to, to_stride]);
            });
        });
    }

    /// Writes where row 0 is for the current taps; those of a block cut short start at `stretch`.
    fn place(&self, e: &mut Emitter<'_>, window: &Window, stretch: Option<Value>) {
        for (row, start) in window.rows.iter().map(|row| row.start).enumerate() {
            let mut position = e.b.ins().iconst(I64, start as i64);
            for (at, tap) in window.taps.iter().enumerate().filter(|(_, tap)| tap.row == row) {
                let stretch = stretch.filter(|_| at == window.outer);
                for index in e.indices.get(&tap.axis).copied().into_iter().chain(stretch) {
                    let step = e.b.ins().imul_imm_s(index, tap.step as i64);
                    position = e.b.ins().iadd(position, step);
                }
            }
            let at = HEAD + row * LINE + std::mem::offset_of!(Line, start);
            e.b.ins().stack_store(I64, position, self.0, at as i32);
        }
    }
}

/// The address of the current features of a window's stored value.
fn source(e: &mut Emitter<'_>, window: &Window) -> Value {
    let from = e.base(Source::Buffer(window.source));
    let mut from = e.b.ins().iadd_imm_s(from, (window.offset * 4) as i64);
    let features = window.features.iter().map(|(axis, _, stride)| (axis, stride));
    for (axis, stride) in features.chain(window.strides.iter().map(|(axis, stride)| (axis, stride))) {
        if let Some(index) = e.indices.get(axis).copied() {
            let distance = e.b.ins().imul_imm_s(index, (*stride * 4) as i64);
            from = e.b.ins().iadd(from, distance);
        }
    }
    from
}

/// The features of a window that lie behind one another in the stored value, and are read at a time.
struct Features {
    /// How many of the axes are loops around them.
    apart: usize,
    together: usize,
    stride: isize,
}

impl Features {
    fn of(window: &Window) -> Features {
        let mut features = Features { apart: window.features.len(), together: 1, stride: 0 };
        for (_, size, own) in window.features.iter().rev() {
            if features.together > 1 && *own != features.stride * features.together as isize {
                break;
            }
            if features.together == 1 {
                features.stride = *own;
            }
            features.together *= size;
            features.apart -= 1;
        }
        features
    }
}

/// What the sums over rows are of: `g[n][row]` and `x[k][row]`.
pub(super) struct Factors<'a> {
    pub g: &'a Factor,
    pub x: &'a Factor,
    pub window: Option<&'a Window>,
}

/// `partial[n][k] += Σ_row g[n][row] · x[k][row]` for each index of the loops: rows become the depth of the contraction, so
/// both operands are turned first, x into panels of k and g into strips.
pub(super) fn accumulate(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    factors: &Factors<'_>,
    (strips_source, turned_source): (Source, Source),
    target: BufferId,
) {
    let Factors { g, x, window } = *factors;
    let (n, k) = (g.features, x.features);
    let depth = e.kernel.tile_panels * LANES;
    let strips_base = e.base(strips_source);
    let turned_base = e.base(turned_source);
    let block = window.map_or(k, |window| k / window.blocks());
    let geometry = window.map(|window| Geometry::new(e, window));
    let columns = window.map_or(1, Window::blocks);
    let all = e.partial_address(target, &[], &[]);
    // Rows of this tile, without those that fill up the last panel.
    let first = e.b.ins().imul_imm_s(e.first_panel, LANES as i64);
    let count = e.word(e.kernel.row_count());
    let rest = e.b.ins().isub(count, first);
    let most = e.word(depth);
    let rows = e.b.ins().smin(rest, most);
    let heights: Vec<(usize, usize)> = strips(n, e.micro.max_strip).collect();
    e.nest(loops, &mut |e| {
        e.panels(&mut |e| {
            let valid = e.valid_lanes();
            let offset = e.b.ins().imul_imm_s(e.panel, LANES as i64);
            let from = e.address(&g.access);
            let [count, stride, step, capacity] = [n, g.feature_stride, g.row_stride, depth].map(|word| e.word(word));
            library::call(e, Callee::PackStrips, &[count, valid, from, stride, step, strips_base, capacity, offset]);
        });
        let matrix = number(e, loops);
        let first = e.b.ins().imul_imm_s(matrix, columns as i64);
        blocks(e, window, &mut |e, at| {
            e.panels(&mut |e| {
                if let (Some(window), Some(geometry)) = (window, &geometry) {
                    geometry.load(e, window, at, &x.access);
                }
                let row = e.b.ins().imul_imm_s(e.panel, (LANES * LANES * 4) as i64);
                let to = e.b.ins().iadd(turned_base, row);
                turn(e, x, block, (to, LANES * depth));
            });
            let at = e.b.ins().iadd(first, at);
            let distance = e.b.ins().imul_imm_s(at, (n * block.next_multiple_of(LANES) * 4) as i64);
            let partial = e.b.ins().iadd(all, distance);
            e.repeat(block.div_ceil(LANES), &mut |e, panel| {
                let offset = e.b.ins().imul_imm_s(panel, (LANES * depth * 4) as i64);
                let x = e.b.ins().iadd(turned_base, offset);
                let offset = e.b.ins().imul_imm_s(panel, (n * LANES * 4) as i64);
                let c = e.b.ins().iadd(partial, offset);
                let accumulate = e.word(1);
                for &(start, height) in &heights {
                    let w = e.b.ins().iadd_imm_s(strips_base, (start * depth * 4) as i64);
                    let to = e.b.ins().iadd_imm_s(c, (start * LANES * 4) as i64);
                    tile(e, height, rows, (w, x, LANES), (to, LANES), accumulate);
                }
            });
        });
    });
}

/// The features of the current panel as lanes: a column panel for each 32 of them.
fn turn(e: &mut Emitter<'_>, x: &Factor, features: usize, (to, to_stride): (Value, usize)) {
    let from = e.address(&x.access);
    let [features, feature_stride, row_stride, to_stride] =
        [features, x.feature_stride, x.row_stride, to_stride].map(|word| e.word(word));
    if x.access.lanes {
        return library::call(e, Callee::TransposePanel, &[features, from, feature_stride, to, to_stride]);
    }
    let rows = e.valid_lanes();
    library::call(e, Callee::StackRows, &[rows, features, from, row_stride, to, to_stride]);
}

/// One register tile: `c[m][lane] (+)= Σₖ w[k][m] · x[k][lane]`.
fn tile(
    e: &mut Emitter<'_>,
    height: usize,
    depth: Value,
    (w, x, x_stride): (Value, Value, usize),
    (c, c_stride): (Value, usize),
    accumulate: Value,
) {
    if e.contraction == Contraction::Cranelift {
        return generated(e, height, depth, (w, x, x_stride), (c, c_stride), accumulate, Precision::F32);
    }
    let x_stride = e.b.ins().iconst(I64, x_stride as i64);
    let c_stride = e.b.ins().iconst(I64, c_stride as i64);
    library::call(e, Callee::Strip(height), &[depth, w, x, x_stride, c, c_stride, accumulate]);
}

/// Outputs in flight at a time in generated contractions.
const BLOCK: usize = 2;

/// The same tile as Cranelift code; in bf16 a step is a pair, in one word of `w` and `x`.
pub(super) fn generated(
    e: &mut Emitter<'_>,
    height: usize,
    depth: Value,
    (w, x, x_stride): (Value, Value, usize),
    (c, c_stride): (Value, usize),
    accumulate: Value,
    precision: Precision,
) {
    // What is there is added if the sum goes on: its bits are kept or cleared.
    let kept = e.b.ins().ineg(accumulate);
    let kept = e.b.ins().splat(I64X2, kept);
    let half = GROUPS / 2;
    for first in (0..height).step_by(BLOCK) {
        let block = BLOCK.min(height - first);
        e.lanes(half, &mut |e, offset| {
            let to = e.b.ins().iadd(c, offset);
            let place = |m: usize, group: usize| (((first + m) * c_stride + group * WIDTH) * 4) as i32;
            let mut sums = Vec::new();
            for m in 0..block {
                for group in 0..half {
                    let start = e.b.ins().load(I64X2, flags(), to, place(m, group));
                    let start = e.b.ins().band(start, kept);
                    let start = super::scalar::cast_bits(&mut e.b, start, F32X4);
                    let variable = e.b.declare_var(F32X4);
                    e.b.def_var(variable, start);
                    sums.push(variable);
                }
            }
            let zero = e.b.ins().iconst(I64, 0);
            e.between(zero, depth, &mut |e, k| {
                let row = e.b.ins().imul_imm_s(k, (x_stride * 4) as i64);
                let from = e.b.ins().iadd(x, row);
                let from = e.b.ins().iadd(from, offset);
                let column = e.b.ins().imul_imm_s(k, (height * 4) as i64);
                let weights = e.b.ins().iadd(w, column);
                for m in 0..block {
                    let weight = e.b.ins().load(I32, flags(), weights, ((first + m) * 4) as i32);
                    let weight = e.b.ins().splat(I32X4, weight);
                    let factors_of_weight = numbers(e, weight, precision);
                    for group in 0..half {
                        let value = e.b.ins().load(I32X4, flags(), from, (group * WIDTH * 4) as i32);
                        let values = numbers(e, value, precision);
                        let mut sum = e.b.use_var(sums[m * half + group]);
                        for (weight, value) in factors_of_weight.iter().zip(values) {
                            sum = e.b.ins().fma(*weight, value, sum);
                        }
                        e.b.def_var(sums[m * half + group], sum);
                    }
                }
            });
            for m in 0..block {
                for group in 0..half {
                    let value = e.b.use_var(sums[m * half + group]);
                    e.b.ins().store(flags(), value, to, place(m, group));
                }
            }
        });
    }
}

/// The numbers in words: one in each, or the two of a pair.
fn numbers(e: &mut Emitter<'_>, words: Value, precision: Precision) -> Vec<Value> {
    let bits = match precision {
        Precision::F32 => vec![words],
        Precision::Bf16 => {
            let even = e.b.ins().ishl_imm_u(words, 16);
            let high = e.integers([0xffff_0000_u32.cast_signed(); WIDTH]);
            vec![even, e.b.ins().band(words, high)]
        }
    };
    bits.into_iter().map(|bits| super::scalar::cast_bits(&mut e.b, bits, F32X4)).collect()
}
