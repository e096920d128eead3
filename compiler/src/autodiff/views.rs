//! Gradients of views: each goes back the way its elements came.

use super::{Builder, Site};
use crate::{
    axis::Axis,
    graph::{NodeId, Op},
};

pub(super) fn rule(b: &mut Builder, site: &Site, op: &Op) -> Option<NodeId> {
    let (x, cotangent) = (site.operand(), site.cotangent);
    let shape = b.shape(site.node);
    Some(match op {
        Op::Rename(pairs) => {
            let back = pairs.iter().filter(|(_, to)| b.has(cotangent, *to)).map(|(from, to)| (*to, *from)).collect();
            b.add(Op::Rename(back), &[cotangent])
        }
        Op::Split { axis, into } => {
            let axes: Vec<Axis> = into.iter().map(|(axis, _)| *axis).collect();
            if axes.iter().all(|part| !b.has(cotangent, *part)) {
                return Some(cotangent);
            }
            let full = b.along(cotangent, &shape, &axes);
            b.add(Op::Merge { axes, into: *axis }, &[full])
        }
        Op::Merge { axes, into } => {
            if !b.has(cotangent, *into) {
                return Some(cotangent);
            }
            let into_axes = axes.iter().map(|axis| (*axis, b.size(x, *axis))).collect();
            b.add(Op::Split { axis: *into, into: into_axes }, &[cotangent])
        }
        Op::Slice { axis, start, size, step } => {
            let full = b.along(cotangent, &shape, &[*axis]);
            return unslice(b, full, *axis, Span { start: *start, size: *size, step: *step, whole: b.size(x, *axis) });
        }
        Op::Pad { axis, before, .. } => slice_of(b, cotangent, *axis, *before, b.size(x, *axis)),
        Op::Concat { axis } => {
            let sizes: Vec<usize> = site.operands.iter().map(|operand| b.size(*operand, *axis)).collect();
            let (start, size) = (sizes[..site.position].iter().sum(), sizes[site.position]);
            let part = slice_of(b, cotangent, *axis, start, size);
            let from = shape.replaced(*axis, &[(*axis, size)]);
            let to = b.shape(x);
            b.sum_to_shape(part, &from, &to)
        }
        Op::Window { axis, position, tap, stride, dilation, .. } => {
            let full = b.along(cotangent, &shape, &[*position, *tap]);
            let size = b.size(x, *axis);
            let (axis, position, tap, stride, dilation) = (*axis, *position, *tap, *stride, *dilation);
            b.add(Op::Fold { axis, size, position, tap, stride, dilation }, &[full])
        }
        Op::Fold { axis, position, tap, stride, dilation, .. } => {
            if !b.has(cotangent, *axis) {
                return Some(cotangent);
            }
            let (positions, taps) = (b.size(x, *position), b.size(x, *tap));
            let (axis, position, tap, stride, dilation) = (*axis, *position, *tap, *stride, *dilation);
            let windows = b.add(Op::Window { axis, position, tap, taps, stride, dilation }, &[cotangent]);
            slice_of(b, windows, position, 0, positions)
        }
        _ => unreachable!("`{op}` passes no gradient"),
    })
}

/// `size` elements of an axis from `start`; the value itself if it has no such axis.
fn slice_of(b: &mut Builder, x: NodeId, axis: Axis, start: usize, size: usize) -> NodeId {
    match b.shape(x).size(axis) {
        None => x,
        Some(whole) if whole == size => x,
        Some(_) => b.add(Op::Slice { axis, start, size, step: 1 }, &[x]),
    }
}

/// The elements that a slice takes from an axis of `whole` elements.
struct Span {
    start: usize,
    size: usize,
    step: isize,
    whole: usize,
}

/// The adjoint of a slice: its elements put back to where they came from, among zeros. `None` if the slice is empty.
fn unslice(b: &mut Builder, x: NodeId, axis: Axis, span: Span) -> Option<NodeId> {
    let Span { start, size, step, whole } = span;
    if size == 0 {
        return None;
    }
    if step < 0 {
        let reversed = b.add(Op::Slice { axis, start: size - 1, size, step: -1 }, &[x]);
        let start = start - (size - 1) * step.unsigned_abs();
        return unslice(b, reversed, axis, Span { start, size, step: -step, whole });
    }
    if step == 1 || size == 1 {
        let padding = Op::Pad { axis, before: start, after: whole - start - size, value: 0.0 };
        return Some(b.add(padding, &[x]));
    }
    let tap = {
        let shape = b.shape(x);
        axis.fresh(|taken| shape.contains(taken))
    };
    let tapped = b.add(Op::Spread(std::iter::once((tap, 1)).collect()), &[x]);
    let stride = step.unsigned_abs();
    let spaced = b.add(Op::Fold { axis, size: whole - start, position: axis, tap, stride, dilation: 1 }, &[tapped]);
    Some(b.add(Op::Pad { axis, before: start, after: 0, value: 0.0 }, &[spaced]))
}
