//! Contractions of operands rounded to bf16, in pairs along k: calls of the kernels for pairs, or the same loops in
//! Cranelift.

use super::{
    Contraction,
    contraction::{Factors, Geometry, Matrices, blocks, generated, number},
    emitter::Emitter,
    library::{self, Callee},
};
use crate::plan::{Access, BufferId, LANES, Loop, Precision, Source, Window};
use cranelift_codegen::ir::{
    InstBuilder, StackSlot, StackSlotData, StackSlotKind, Value, condcodes::IntCC, types::I64,
};
use std::mem::offset_of;
use visage_kernels::pairs::{BLOCK, Product, pairs};

/// Calls of the kernel that a contraction is cut into while the next tile is asked for from memory.
const PREFETCHES: usize = 8;

/// `c[n][row] = Σₖ w[n][k] · x[k][row]` for every panel of the tile, as [`super::contraction::rows`]: each block of each
/// panel is rounded once, and then multiplied by all strips.
pub(super) fn rows(
    e: &mut Emitter<'_>,
    matrices: &Matrices<'_>,
    (x, x_stride): (&Access, usize),
    rounded: Source,
    (c, c_stride): (&Access, usize),
    window: Option<&Window>,
) {
    let Matrices { n, k, .. } = *matrices;
    let rounded = e.base(rounded);
    let count = window.map_or(1, Window::blocks);
    let block = k / count;
    let (depth, capacity) = (pairs(block), count * pairs(block));
    let call = Call::new(e, n, capacity);
    let geometry = window.map(|window| Geometry::new(e, window));
    let mut ahead = std::mem::take(&mut e.ahead);
    e.nest(matrices.loops, &mut |e| {
        blocks(e, window, &mut |e, at| {
            e.panels(&mut |e| {
                if let (Some(window), Some(geometry)) = (window, &geometry) {
                    geometry.load(e, window, at, x);
                }
                let from = e.address(x);
                let distance = e.b.ins().imul_imm_s(e.panel, (depth * LANES * 4) as i64);
                let to = e.b.ins().iadd(rounded, distance);
                let (count, stride) = (e.word(block), e.word(x_stride));
                library::call(e, Callee::RoundPanel, &[count, from, stride, to]);
            });
            let offset = e.b.ins().imul_imm_s(at, depth as i64);
            let zero = e.b.ins().iconst(I64, 0);
            let is_first = e.b.ins().icmp(IntCC::Equal, at, zero);
            let accumulate = e.b.ins().bxor_imm_u(is_first, 1);
            let accumulate = e.b.ins().uextend(I64, accumulate);
            let count = e.word(block.div_ceil(2));
            let c_panel = c.panel_stride;
            let ahead = std::mem::take(&mut ahead);
            if matrices.batch.is_none() {
                e.panel = zero;
                let (to, w, panels) = (e.address(c), matrices.address(e, zero, n * capacity), e.panel_count);
                let operands = Operands { w, offset, x: rounded, x_panel: depth * LANES };
                return call.emit(
                    e,
                    (count, panels),
                    &operands,
                    &Result { c: to, c_stride, c_panel, accumulate },
                    &ahead,
                );
            }
            // Panels may meet different matrices.
            super::stage::prefetch(e, &ahead, 0, 1);
            let one = e.word(1);
            e.panels(&mut |e| {
                let to = e.address(c);
                let distance = e.b.ins().imul_imm_s(e.panel, (depth * LANES * 4) as i64);
                let x = e.b.ins().iadd(rounded, distance);
                matrices.each(e, n, (to, c_stride), &mut |e, element, (c, c_stride)| {
                    let w = matrices.address(e, element, n * capacity);
                    let operands = Operands { w, offset, x, x_panel: depth * LANES };
                    call.emit(e, (count, one), &operands, &Result { c, c_stride, c_panel, accumulate }, &[]);
                });
            });
        });
    });
}

/// `partial[n][k] += Σ_row g[n][row] · x[k][row]` for each index of the loops, as [`super::contraction::accumulate`]: pairs
/// are of rows, and both operands are rounded as they are turned.
pub(super) fn accumulate(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    factors: &Factors<'_>,
    (strips, turned): (Source, Source),
    target: BufferId,
) {
    let Factors { g, x, window } = *factors;
    let (n, k) = (g.features, x.features);
    let capacity = e.kernel.tile_panels * BLOCK;
    let (strips, turned) = (e.base(strips), e.base(turned));
    let call = Call::new(e, n, capacity);
    let block = window.map_or(k, |window| k / window.blocks());
    let geometry = window.map(|window| Geometry::new(e, window));
    let columns = window.map_or(1, Window::blocks);
    let all = e.partial_address(target, &[], &[]);
    // The pairs of all panels of this tile: lanes that are not rows are zeros.
    let count = e.b.ins().imul_imm_s(e.panel_count, BLOCK as i64);
    e.nest(loops, &mut |e| {
        e.panels(&mut |e| {
            let valid = e.valid_lanes();
            let offset = e.b.ins().imul_imm_s(e.panel, BLOCK as i64);
            let from = e.address(&g.access);
            let [outputs, stride, unit, capacity] =
                [n, g.feature_stride, g.row_stride, capacity].map(|word| e.word(word));
            library::call(e, Callee::PackPairs, &[outputs, valid, from, stride, unit, strips, capacity, offset]);
        });
        let matrix = number(e, loops);
        let first = e.b.ins().imul_imm_s(matrix, columns as i64);
        blocks(e, window, &mut |e, at| {
            e.panels(&mut |e| {
                if let (Some(window), Some(geometry)) = (window, &geometry) {
                    geometry.load(e, window, at, &x.access);
                }
                let (valid, from) = (e.valid_lanes(), e.address(&x.access));
                let row = e.b.ins().imul_imm_s(e.panel, (BLOCK * LANES * 4) as i64);
                let to = e.b.ins().iadd(turned, row);
                let (features, stride, to_stride) = (e.word(block), e.word(x.feature_stride), e.word(LANES * capacity));
                library::call(e, Callee::TurnPanel, &[features, valid, from, stride, to, to_stride]);
            });
            let at = e.b.ins().iadd(first, at);
            let distance = e.b.ins().imul_imm_s(at, (n * block.next_multiple_of(LANES) * 4) as i64);
            let partial = e.b.ins().iadd(all, distance);
            let (columns, offset, accumulate) = (e.word(block.div_ceil(LANES)), e.word(0), e.word(1));
            let operands = Operands { w: strips, offset, x: turned, x_panel: capacity * LANES };
            let result = Result { c: partial, c_stride: LANES, c_panel: n * LANES, accumulate };
            call.emit(e, (count, columns), &operands, &result, &[]);
        });
    });
}

/// Strips and panels of a product.
struct Operands {
    w: Value,
    /// The first pair of each strip.
    offset: Value,
    x: Value,
    x_panel: usize,
}

/// Where a product goes.
struct Result {
    c: Value,
    c_stride: usize,
    c_panel: usize,
    accumulate: Value,
}

/// The description of a product in the stack frame of a kernel.
struct Call {
    slot: StackSlot,
    n: usize,
    capacity: usize,
}

impl Call {
    fn new(e: &mut Emitter<'_>, n: usize, capacity: usize) -> Call {
        let size = size_of::<Product>() as u32;
        let slot = e.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3));
        Call { slot, n, capacity }
    }

    /// Multiplies all strips by some panels, and asks meanwhile for what the next tile moves.
    fn emit(
        &self,
        e: &mut Emitter<'_>,
        (count, panels): (Value, Value),
        operands: &Operands,
        result: &Result,
        ahead: &[super::stage::Traffic],
    ) {
        if e.contraction == Contraction::Cranelift {
            return self.generate(e, (count, panels), operands, result);
        }
        let [n, capacity, x_panel, c_stride, c_panel] =
            [self.n, self.capacity, operands.x_panel, result.c_stride, result.c_panel].map(|word| e.word(word));
        for (at, value) in [
            (offset_of!(Product, n), n),
            (offset_of!(Product, pairs), count),
            (offset_of!(Product, w), operands.w),
            (offset_of!(Product, capacity), capacity),
            (offset_of!(Product, offset), operands.offset),
            (offset_of!(Product, panels), panels),
            (offset_of!(Product, x), operands.x),
            (offset_of!(Product, x_panel), x_panel),
            (offset_of!(Product, c), result.c),
            (offset_of!(Product, c_stride), c_stride),
            (offset_of!(Product, c_panel), c_panel),
            (offset_of!(Product, accumulate), result.accumulate),
        ] {
            e.b.ins().stack_store(I64, value, self.slot, at as i32);
        }
        let strips = e.pairs.strips(self.n).len();
        let parts = if ahead.is_empty() { 1 } else { strips.clamp(1, PREFETCHES) };
        for part in 0..parts {
            let (first, end) = (e.word(part * strips / parts), e.word((part + 1) * strips / parts));
            e.b.ins().stack_store(I64, first, self.slot, offset_of!(Product, first) as i32);
            e.b.ins().stack_store(I64, end, self.slot, offset_of!(Product, end) as i32);
            let product = e.b.ins().stack_addr(I64, self.slot, 0);
            library::call(e, Callee::MultiplyPairs, &[product]);
            super::stage::prefetch(e, ahead, part, parts);
        }
    }

    /// The same as Cranelift code.
    fn generate(&self, e: &mut Emitter<'_>, (count, panels): (Value, Value), operands: &Operands, result: &Result) {
        let zero = e.b.ins().iconst(I64, 0);
        for (start, height) in e.pairs.strips(self.n) {
            let offset = e.b.ins().imul_imm_s(operands.offset, (height * 4) as i64);
            let w = e.b.ins().iadd(operands.w, offset);
            let w = e.b.ins().iadd_imm_s(w, (start * self.capacity * 4) as i64);
            e.between(zero, panels, &mut |e, panel| {
                let distance = e.b.ins().imul_imm_s(panel, (operands.x_panel * 4) as i64);
                let x = e.b.ins().iadd(operands.x, distance);
                let distance = e.b.ins().imul_imm_s(panel, (result.c_panel * 4) as i64);
                let c = e.b.ins().iadd(result.c, distance);
                let c = e.b.ins().iadd_imm_s(c, (start * result.c_stride * 4) as i64);
                let to = (c, result.c_stride);
                generated(e, height, count, (w, x, LANES), to, result.accumulate, Precision::Bf16);
            });
        }
    }
}
