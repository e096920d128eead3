//! Contractions: calls of micro-kernels, or the same loops in Cranelift.

use super::{
    Contraction,
    emitter::{Emitter, GROUPS, WIDTH, flags},
    library,
};
use crate::plan::{Access, BufferId, LANES, Source};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    types::{F32, F32X4, I64},
};
use visage_kernels::strips;

/// `c[n][row] = Σₖ w[n][k] · x[k][row]` for every panel of the tile, with weights in strips.
pub(super) fn rows(
    e: &mut Emitter<'_>,
    weights: BufferId,
    (n, k): (usize, usize),
    (x, x_stride): (&Access, usize),
    (c, c_stride): (&Access, usize),
) {
    let packed = e.base(Source::Buffer(weights));
    let all = strips(n, e.micro.max_strip);
    let (ahead, parts) = (std::mem::take(&mut e.ahead), all.len());
    for (part, (start, height)) in all.enumerate() {
        let w = e.b.ins().iadd_imm_s(packed, (start * k * 4) as i64);
        e.panels(&mut |e| {
            let from = e.address(x);
            let to = e.address(c);
            let to = e.b.ins().iadd_imm_s(to, (start * c_stride * 4) as i64);
            let depth = e.b.ins().iconst(I64, k as i64);
            tile(e, height, depth, (w, from, x_stride), (to, c_stride), false);
        });
        super::stage::prefetch(e, &ahead, part, parts);
    }
}

/// `partial[n][k] += Σ_row g[n][row] · x[k][row]`: rows become the depth of the contraction, so both
/// operands are turned first, x into panels of k and g into strips.
pub(super) fn accumulate(
    e: &mut Emitter<'_>,
    (g, g_stride, n): (&Access, usize, usize),
    (x, x_stride, k): (&Access, usize, usize),
    (strips_source, turned_source): (Source, Source),
    target: BufferId,
) {
    let depth = e.kernel.tile_panels * LANES;
    let strips_base = e.base(strips_source);
    let turned_base = e.base(turned_source);
    e.panels(&mut |e| {
        let valid = e.valid_lanes();
        let offset = e.b.ins().imul_imm_s(e.panel, LANES as i64);
        let from = e.address(g);
        let (count, stride) = (e.word(n), e.word(g_stride));
        let (unit, capacity) = (e.word(1), e.word(depth));
        let pack = e.micro.pack_strips as usize;
        library::call(e, pack, &[count, valid, from, stride, unit, strips_base, capacity, offset]);
        let from = e.address(x);
        let row = e.b.ins().imul_imm_s(e.panel, (LANES * LANES * 4) as i64);
        let to = e.b.ins().iadd(turned_base, row);
        let (count, stride, to_stride) = (e.word(k), e.word(x_stride), e.word(LANES * depth));
        let transpose = e.micro.transpose_panel as usize;
        library::call(e, transpose, &[count, from, stride, to, to_stride]);
    });
    let partial = e.partial_address(target, &[], &[]);
    // Rows of this tile, without those that fill up the last panel.
    let first = e.b.ins().imul_imm_s(e.first_panel, LANES as i64);
    let all = e.word(e.kernel.row_count());
    let rest = e.b.ins().isub(all, first);
    let most = e.word(depth);
    let rows = e.b.ins().smin(rest, most);
    let heights: Vec<(usize, usize)> = strips(n, e.micro.max_strip).collect();
    e.repeat(k.div_ceil(LANES), &mut |e, panel| {
        let offset = e.b.ins().imul_imm_s(panel, (LANES * depth * 4) as i64);
        let x = e.b.ins().iadd(turned_base, offset);
        let offset = e.b.ins().imul_imm_s(panel, (n * LANES * 4) as i64);
        let c = e.b.ins().iadd(partial, offset);
        for &(start, height) in &heights {
            let w = e.b.ins().iadd_imm_s(strips_base, (start * depth * 4) as i64);
            let to = e.b.ins().iadd_imm_s(c, (start * LANES * 4) as i64);
            tile(e, height, rows, (w, x, LANES), (to, LANES), true);
        }
    });
}

/// One register tile: `c[m][lane] (+)= Σₖ w[k][m] · x[k][lane]`.
fn tile(
    e: &mut Emitter<'_>,
    height: usize,
    depth: Value,
    (w, x, x_stride): (Value, Value, usize),
    (c, c_stride): (Value, usize),
    accumulate: bool,
) {
    if e.contraction == Contraction::Cranelift {
        return generated(e, height, depth, (w, x, x_stride), (c, c_stride), accumulate);
    }
    let function = e.micro.strip(height) as usize;
    let x_stride = e.b.ins().iconst(I64, x_stride as i64);
    let c_stride = e.b.ins().iconst(I64, c_stride as i64);
    let accumulate = e.b.ins().iconst(I64, i64::from(accumulate));
    library::call(e, function, &[depth, w, x, x_stride, c, c_stride, accumulate]);
}

/// Outputs in flight at a time in generated contractions.
const BLOCK: usize = 2;

/// The same tile as Cranelift code.
fn generated(
    e: &mut Emitter<'_>,
    height: usize,
    depth: Value,
    (w, x, x_stride): (Value, Value, usize),
    (c, c_stride): (Value, usize),
    accumulate: bool,
) {
    let half = GROUPS / 2;
    for first in (0..height).step_by(BLOCK) {
        let block = BLOCK.min(height - first);
        e.lanes(half, &mut |e, offset| {
            let to = e.b.ins().iadd(c, offset);
            let place = |m: usize, group: usize| (((first + m) * c_stride + group * WIDTH) * 4) as i32;
            let mut sums = Vec::new();
            for m in 0..block {
                for group in 0..half {
                    let start = if accumulate {
                        e.b.ins().load(F32X4, flags(), to, place(m, group))
                    } else {
                        super::scalar::splat(&mut e.b, 0.0, crate::graph::DType::F32)
                    };
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
                    let weight = e.b.ins().load(F32, flags(), weights, ((first + m) * 4) as i32);
                    let weight = e.b.ins().splat(F32X4, weight);
                    for group in 0..half {
                        let value = e.b.ins().load(F32X4, flags(), from, (group * WIDTH * 4) as i32);
                        let before = e.b.use_var(sums[m * half + group]);
                        let after = e.b.ins().fma(weight, value, before);
                        e.b.def_var(sums[m * half + group], after);
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
