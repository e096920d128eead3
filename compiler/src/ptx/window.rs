//! Windows: the rows around a panel's own into a panel of tile memory.

use super::{
    emitter::{Emitter, WARPS},
    text::{Class, Operand, Register},
};
use crate::{
    graph::DType,
    plan::{Access, LANES, Loop, RowWindow, Source, Window},
};

/// Emits `body` for every block of a window, with its number: once where nothing is read through one. `x` has been filled
/// with the block.
pub(super) fn blocks(
    e: &mut Emitter<'_>,
    window: Option<&Window>,
    x: &Access,
    body: &mut dyn FnMut(&mut Emitter<'_>, Operand),
) {
    let Some(window) = window else { return body(e, Operand::Integer(0)) };
    let outer: Vec<Loop> = window.taps[..window.outer].iter().map(|tap| (tap.axis, tap.size)).collect();
    e.nest(&outer, &mut |e| {
        let at = e.number(&outer);
        let at = e.times(at, window.stretches());
        e.stepping(Operand::Integer(0), window.stretches().into(), 1, &mut |e, stretch| {
            e.barrier();
            let first = e.times(stretch, window.stretch);
            load(e, window, first, x);
            e.barrier();
            let block = e.plus(at, stretch);
            body(e, block);
        });
    });
}

/// Fills `x` with a block, of which the taps outside are loops already: its own taps, of the first those from `first` on,
/// and all features. What is outside of the stored value is zero.
fn load(e: &mut Emitter<'_>, window: &Window, first: Operand, x: &Access) {
    let inner = window.inside();
    let features: Vec<Loop> = window.features.iter().map(|(axis, size, _)| (*axis, *size)).collect();
    let taps: usize = inner.iter().map(|(_, size)| size).product();
    // Where a row is, is found once for all features of a tap, if the taps suffice for all warps.
    let (apart, along) = match taps * e.kernel.tile_panels < WARPS {
        true => ([inner, features].concat(), Vec::new()),
        false => (inner, features),
    };
    e.share(&apart, &mut |e| {
        let (distance, inside) = place(e, window, first);
        e.nest(&along, &mut |e| {
            let strides = window.features.iter().map(|(axis, _, stride)| (*axis, *stride));
            let mut parts: Vec<(Operand, isize)> = strides
                .chain(window.strides.iter().copied())
                .filter_map(|(axis, stride)| Some((e.indices.get(&axis).copied()?, stride)))
                .collect();
            parts.push((distance.into(), 1));
            let start = e.start(Source::Buffer(window.source));
            let from = e.further(start, &parts, window.offset);
            let value = e.load_where(inside, from, DType::F32);
            let to = e.place(x, DType::F32);
            e.store(to, DType::F32, value, None);
        });
    });
}

/// The words before what the thread's row reads at the current taps, and whether that is inside of the stored value.
fn place(e: &mut Emitter<'_>, window: &Window, first: Operand) -> (Register, Register) {
    let row = e.row().number;
    let axes: Vec<_> = e.kernel.rows.iter().map(|(axis, _)| *axis).collect();
    let mut inside = None;
    let mut distance = e.t.variable(Class::Bits32, Operand::Integer(0));
    for (number, (axis, line)) in axes.into_iter().zip(&window.rows).enumerate() {
        let index = e.row_index(axis, row.into());
        let position = position(e, window, first, number, index, line);
        for (comparison, bound) in [("ge", line.low), ("lt", line.high)] {
            let opcode = format!("setp.{comparison}.s32");
            let holds = e.t.value(Class::Predicate, &opcode, &[position.into(), (bound as i64).into()]);
            inside = Some(match inside {
                None => holds,
                Some(before) => e.t.value(Class::Predicate, "and.pred", &[holds.into(), Register::into(before)]),
            });
        }
        let element = match line.divide {
            1 => position,
            divide => e.t.value(Class::Bits32, "div.s32", &[position.into(), (divide as i64).into()]),
        };
        let operands = [element.into(), (line.unit as i64).into(), distance.into()];
        distance = e.t.value(Class::Bits32, "mad.lo.s32", &operands);
    }
    if window.panel != 0 {
        // Rows of panels: so many words a panel, and a lane.
        let panel = e.t.value(Class::Bits32, "shr.s32", &[distance.into(), 5_i64.into()]);
        let lane = e.t.value(Class::Bits32, "and.b32", &[distance.into(), (LANES - 1).into()]);
        distance = e.t.value(Class::Bits32, "mad.lo.s32", &[panel.into(), window.panel.into(), lane.into()]);
    }
    let inside = inside.unwrap_or_else(|| super::scalar::constant(&mut e.t, 1.0, DType::Bool));
    (distance, inside)
}

/// index · hop + start + Σ tap · step, where the first tap inside of a block counts from `first`.
fn position(
    e: &mut Emitter<'_>,
    window: &Window,
    first: Operand,
    number: usize,
    index: Operand,
    line: &RowWindow,
) -> Register {
    let mut position = e.t.variable(Class::Bits32, Operand::Integer(line.start as i64));
    let taps = window.taps.iter().enumerate().filter(|(_, tap)| tap.row == number);
    let start = |at: usize| if at == window.outer { first } else { Operand::Integer(0) };
    let taps: Vec<_> = taps.map(|(at, tap)| (e.indices[&tap.axis], start(at), tap.step)).collect();
    let taps: Vec<(Operand, isize)> = taps.into_iter().map(|(tap, start, step)| (e.plus(tap, start), step)).collect();
    for (index, step) in [(index, line.hop)].into_iter().chain(taps) {
        position = e.t.value(Class::Bits32, "mad.lo.s32", &[index, (step as i64).into(), position.into()]);
    }
    position
}
