//! The gradient of a convolution as a convolution.
//!
//! Differentiating `y[p] = Σₜ x[p·s + t·d] w[t]` by `x` gives products `ȳ[p] w[t]` for every position and tap, and adds each
//! into the element that it came from: a [`Fold`](Op::Fold). Here each element gathers what is its own instead:
//! `x̄[a] = Σₜ ȳ[(a − t·d) / s] w[t]`, a window over the cotangent with the taps in reverse, and no product is stored.

use super::store::{Id, Store};
use crate::{axis::Axis, graph::Op};

pub(super) fn rule(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    let x = *operands.first()?;
    match op {
        Op::Fold { axis, size, position, tap, stride, dilation } if matches!(s.op(x), Op::Rename(_)) => {
            // The other names come afterwards.
            let Op::Rename(pairs) = s.op(x).clone() else { return None };
            let inner = s.inner(x);
            let before = |axis: Axis| pairs.iter().find(|(_, to)| *to == axis).map_or(axis, |(from, _)| *from);
            let (own_position, own_tap) = (before(*position), before(*tap));
            if s.shape(inner).axes().any(|own| own == *axis && own != own_position && own != own_tap) {
                return None;
            }
            let (axis, size, stride, dilation) = (*axis, *size, *stride, *dilation);
            let fold = Op::Fold { axis, size, position: own_position, tap: own_tap, stride, dilation };
            let folded = s.make(fold, vec![inner]);
            let rest = pairs.iter().copied().filter(|(_, to)| to != position && to != tap).collect();
            Some(s.make(Op::Rename(rest), vec![folded]))
        }
        // What a convolution with a stride gives along one axis is put together after the sum along the other one.
        Op::Fold { axis, position, tap, .. } if is_apart(s, x, *position, *tap) && leads_to_product(s, x) => {
            let (view, inner) = (s.op(x).clone(), s.inner(x));
            if s.shape(inner).axes().any(|own| own == *axis && own != *position && own != *tap) {
                return None;
            }
            let folded = s.make(op.clone(), vec![inner]);
            Some(s.make(view, vec![folded]))
        }
        Op::Fold { axis, size, position, tap, stride, dilation } if s.is_used_once(x) => {
            let fold = Fold { axis: *axis, size: *size, position: *position, tap: *tap };
            let Op::Contract { over } = s.op(x).clone() else { return None };
            let [first, second] = *s.item(x).operands.as_slice() else { return None };
            let has = |id: Id, axis: Axis| s.shape(id).contains(axis);
            // One factor has the positions, the other the taps.
            let (g, w) = [(first, second), (second, first)].into_iter().find(|(g, w)| {
                has(*g, *position) && !has(*w, *position) && has(*w, *tap) && !has(*g, *tap) && !has(*w, *axis)
            })?;
            if *axis != *position && has(g, *axis) {
                return None;
            }
            match (*stride, *dilation) {
                (1, dilation) => Some(fold.dense(s, over, (g, w), dilation)),
                (stride, 1) => Some(fold.strided(s, over, (g, w), stride)),
                _ => None,
            }
        }
        Op::Slice { axis, start, size, step } => slice(s, *axis, (*start, *size, *step), x),
        _ => None,
    }
}

/// Whether a value is a part or a merging of axes other than two.
fn is_apart(s: &Store, x: Id, position: Axis, tap: Axis) -> bool {
    let touches = match s.op(x) {
        Op::Slice { axis, .. } => [*axis].to_vec(),
        Op::Merge { axes, into } => [&axes[..], &[*into]].concat(),
        _ => return false,
    };
    s.is_used_once(x) && !touches.contains(&position) && !touches.contains(&tap)
}

/// Whether there is a product behind slices and mergings that nobody else reads.
fn leads_to_product(s: &Store, x: Id) -> bool {
    match s.op(x) {
        Op::Contract { .. } => s.is_used_once(x),
        Op::Slice { .. } | Op::Merge { .. } => s.is_used_once(x) && leads_to_product(s, s.inner(x)),
        _ => false,
    }
}

struct Fold {
    axis: Axis,
    size: usize,
    position: Axis,
    tap: Axis,
}

impl Fold {
    /// Every position is an element's: `x̄[a] = Σₜ ȳ[a − t·d] w[t]`.
    fn dense(&self, s: &mut Store, mut over: Vec<Axis>, (g, w): (Id, Id), dilation: usize) -> Id {
        let taps = s.size(w, self.tap);
        let reach = (taps - 1) * dilation;
        let after = self.size - s.size(g, self.position);
        let padded = s.make(Op::Pad { axis: self.position, before: reach, after, value: 0.0 }, vec![g]);
        let window = Op::Window { axis: self.position, position: self.axis, tap: self.tap, taps, stride: 1, dilation };
        let windows = s.make(window, vec![padded]);
        let reversed = s.make(reversal(self.tap, taps), vec![w]);
        over.push(self.tap);
        s.make(Op::Contract { over }, vec![windows, reversed])
    }

    /// Only every `stride`-th tap reaches an element, which ones depends on where it lies between two positions: with
    /// a = q·s + φ and t = j·s + φ, `x̄[q, φ] = Σⱼ ȳ[q − j] w[j, φ]`.
    fn strided(&self, s: &mut Store, mut over: Vec<Axis>, (g, w): (Id, Id), stride: usize) -> Id {
        let taps = s.size(w, self.tap);
        let steps = taps.div_ceil(stride);
        let taken: Vec<Axis> = s.shape(g).axes().chain(s.shape(w).axes()).collect();
        let step = self.tap.fresh(|axis| axis == self.axis || taken.contains(&axis));
        let phase = step.fresh(|axis| axis == step || axis == self.axis || taken.contains(&axis));
        let full = Op::Pad { axis: self.tap, before: 0, after: steps * stride - taps, value: 0.0 };
        let full = s.make(full, vec![w]);
        let parts = Op::Split { axis: self.tap, into: vec![(step, steps), (phase, stride)] };
        let parts = s.make(parts, vec![full]);
        let reversed = s.make(reversal(step, steps), vec![parts]);
        let whole = self.size.div_ceil(stride);
        let after = whole - s.size(g, self.position);
        let padded = s.make(Op::Pad { axis: self.position, before: steps - 1, after, value: 0.0 }, vec![g]);
        let window =
            Op::Window { axis: self.position, position: self.axis, tap: step, taps: steps, stride: 1, dilation: 1 };
        let windows = s.make(window, vec![padded]);
        over.push(step);
        let phases = s.make(Op::Contract { over }, vec![windows, reversed]);
        let merged = s.make(Op::Merge { axes: vec![self.axis, phase], into: self.axis }, vec![phases]);
        s.make(Op::Slice { axis: self.axis, start: 0, size: self.size, step: 1 }, vec![merged])
    }
}

fn reversal(axis: Axis, size: usize) -> Op {
    Op::Slice { axis, start: size - 1, size, step: -1 }
}

/// A part of a product is the product of parts, and a part of the windows are the windows of a part: what a padding added
/// before a convolution is not computed only to be cut off.
fn slice(s: &mut Store, axis: Axis, (start, size, step): (usize, usize, isize), x: Id) -> Option<Id> {
    match s.op(x).clone() {
        Op::Contract { over } if s.is_used_once(x) => {
            let part = Op::Slice { axis, start, size, step };
            let parts = s.item(x).operands.clone().into_iter();
            let parts = parts.map(|id| if s.shape(id).contains(axis) { s.make(part.clone(), vec![id]) } else { id });
            let parts = parts.collect();
            Some(s.make(Op::Contract { over }, parts))
        }
        Op::Window { axis: seen, position, tap, taps, stride, dilation }
            if position == axis && step == 1 && size > 0 =>
        {
            let width = (size - 1) * stride + (taps - 1) * dilation + 1;
            let part = s.make(Op::Slice { axis: seen, start: start * stride, size: width, step: 1 }, vec![s.inner(x)]);
            Some(s.make(Op::Window { axis: seen, position, tap, taps, stride, dilation }, vec![part]))
        }
        _ => None,
    }
}
