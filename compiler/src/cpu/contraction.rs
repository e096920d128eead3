//! Contractions: calls of micro-kernels, or the same loops in Cranelift.

use super::{
    Contraction,
    emitter::{Emitter, GROUPS, WIDTH, flags},
    library::{self, Callee},
};
use crate::plan::{Access, BufferId, LANES, Loop, Precision, Source, Tap, Window};
use cranelift_codegen::ir::{
    InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value,
    condcodes::IntCC,
    types::{F32X4, I32, I32X4, I64, I64X2},
};
use visage_kernels::{strips, window::Line};

/// `c[n][row] = Σₖ w[n][k] · x[k][row]` for every panel of the tile, with weights in strips: a matrix for each index of the
/// loops.
pub(super) fn rows(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    weights: BufferId,
    (n, k): (usize, usize),
    (x, x_stride): (&Access, usize),
    (c, c_stride): (&Access, usize),
    window: Option<&Window>,
) {
    let packed = e.base(Source::Buffer(weights));
    let all = strips(n, e.micro.max_strip);
    let mut ahead = std::mem::take(&mut e.ahead);
    let parts = all.len();
    let block = window.map_or(k, |window| k / window.blocks());
    let geometry = window.map(|window| Geometry::new(e, window));
    e.nest(loops, &mut |e| {
        let matrix = number(e, loops);
        let matrix = e.b.ins().imul_imm_s(matrix, (n * k * 4) as i64);
        let packed = e.b.ins().iadd(packed, matrix);
        let outer = window.map_or_else(Vec::new, |window| loops_of(&window.taps[..window.outer]));
        e.nest(&outer, &mut |e| {
            if let (Some(window), Some(geometry)) = (window, &geometry) {
                e.panels(&mut |e| geometry.load(e, window, x));
            }
            let at = number(e, &outer);
            let zero = e.b.ins().iconst(I64, 0);
            let is_first = e.b.ins().icmp(IntCC::Equal, at, zero);
            let accumulate = e.b.ins().bxor_imm_u(is_first, 1);
            let accumulate = e.b.ins().uextend(I64, accumulate);
            let depth = e.b.ins().iconst(I64, block as i64);
            let ahead = std::mem::take(&mut ahead);
            for (part, (start, height)) in all.clone().enumerate() {
                let distance = e.b.ins().imul_imm_s(at, (block * height * 4) as i64);
                let w = e.b.ins().iadd_imm_s(packed, (start * k * 4) as i64);
                let w = e.b.ins().iadd(w, distance);
                e.panels(&mut |e| {
                    let from = e.address(x);
                    let to = e.address(c);
                    let to = e.b.ins().iadd_imm_s(to, (start * c_stride * 4) as i64);
                    tile(e, height, depth, (w, from, x_stride), (to, c_stride), accumulate);
                });
                super::stage::prefetch(e, &ahead, part, parts);
            }
        });
    });
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

pub(super) fn loops_of(taps: &[Tap]) -> Vec<Loop> {
    taps.iter().map(|tap| (tap.axis, tap.size)).collect()
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
        let size = size_of::<visage_kernels::window::Geometry>() as u32;
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

    /// Fills the current panel of `x` with a block: the taps that are not loops already, and all features.
    pub fn load(&self, e: &mut Emitter<'_>, window: &Window, x: &Access) {
        let inner = loops_of(&window.taps[window.outer..]);
        // Features that lie behind one another in the stored value are read at a time.
        let (mut together, mut stride) = (1, 0);
        let mut apart = window.features.len();
        for (_, size, own) in window.features.iter().rev() {
            if together > 1 && *own != stride * together as isize {
                break;
            }
            if together == 1 {
                stride = *own;
            }
            together *= size;
            apart -= 1;
        }
        let features: Vec<Loop> = window.features[..apart].iter().map(|(axis, size, _)| (*axis, *size)).collect();
        e.nest(&inner, &mut |e| {
            for (row, start) in window.rows.iter().map(|row| row.start).enumerate() {
                let mut position = e.b.ins().iconst(I64, start as i64);
                let taps = window.taps.iter().filter(|tap| tap.row == row);
                for tap in taps {
                    let step = e.b.ins().imul_imm_s(e.indices[&tap.axis], tap.step as i64);
                    position = e.b.ins().iadd(position, step);
                }
                let at = HEAD + row * LINE + std::mem::offset_of!(Line, start);
                e.b.ins().stack_store(I64, position, self.0, at as i32);
            }
            e.nest(&features, &mut |e| {
                let mut from = e.base(Source::Buffer(window.source));
                from = e.b.ins().iadd_imm_s(from, (window.offset * 4) as i64);
                let steps = window.features.iter().map(|(axis, _, stride)| (axis, stride));
                for (axis, stride) in steps.chain(window.strides.iter().map(|(axis, stride)| (axis, stride))) {
                    if let Some(index) = e.indices.get(axis).copied() {
                        let distance = e.b.ins().imul_imm_s(index, (*stride * 4) as i64);
                        from = e.b.ins().iadd(from, distance);
                    }
                }
                let (first, to) = (e.first_row(), e.address(x));
                let geometry = e.b.ins().stack_addr(I64, self.0, 0);
                let (count, to_stride) = (e.word(together), e.word(LANES));
                let stride = e.b.ins().iconst(I64, stride as i64);
                library::call(e, Callee::LoadWindow, &[geometry, first, count, from, stride, to, to_stride]);
            });
        });
    }
}

/// What the sums over rows are of: `g[n][row]` and `x[k][row]`.
pub(super) struct Factors<'a> {
    pub g: (&'a Access, usize, usize),
    pub x: (&'a Access, usize, usize),
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
    let Factors { g: (g, g_stride, n), x: (x, x_stride, k), window } = *factors;
    let depth = e.kernel.tile_panels * LANES;
    let strips_base = e.base(strips_source);
    let turned_base = e.base(turned_source);
    let block = window.map_or(k, |window| k / window.blocks());
    let geometry = window.map(|window| Geometry::new(e, window));
    let outer = window.map_or_else(Vec::new, |window| loops_of(&window.taps[..window.outer]));
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
            let from = e.address(g);
            let (count, stride) = (e.word(n), e.word(g_stride));
            let (unit, capacity) = (e.word(1), e.word(depth));
            library::call(e, Callee::PackStrips, &[count, valid, from, stride, unit, strips_base, capacity, offset]);
        });
        e.nest(&outer, &mut |e| {
            e.panels(&mut |e| {
                if let (Some(window), Some(geometry)) = (window, &geometry) {
                    geometry.load(e, window, x);
                }
                let from = e.address(x);
                let row = e.b.ins().imul_imm_s(e.panel, (LANES * LANES * 4) as i64);
                let to = e.b.ins().iadd(turned_base, row);
                let (count, stride, to_stride) = (e.word(block), e.word(x_stride), e.word(LANES * depth));
                library::call(e, Callee::TransposePanel, &[count, from, stride, to, to_stride]);
            });
            let at = number(e, &[loops, &outer].concat());
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
