//! Views of views, and views that change nothing.

use super::store::{Id, Store};
use crate::{
    axis::Axis,
    graph::{Combine, Op},
};

pub(super) fn rule(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    let x = *operands.first()?;
    match op {
        Op::Rename(pairs) => rename(s, pairs, x),
        Op::Split { axis, into } => split(s, *axis, into, x),
        Op::Merge { axes, into } => merge(s, axes, *into, x),
        Op::Slice { axis, start, size, step } => slice(s, *axis, Run { start: *start, size: *size, step: *step }, x),
        Op::Pad { axis, before, after, value } => {
            if before + after == 0 {
                return Some(x);
            }
            match *s.op(x) {
                Op::Pad { axis: same, before: b, after: a, value: v } if same == *axis && v == *value => {
                    let padding = Op::Pad { axis: *axis, before: before + b, after: after + a, value: *value };
                    Some(s.make(padding, vec![s.inner(x)]))
                }
                _ => None,
            }
        }
        Op::Concat { axis } => concat(s, *axis, operands),
        Op::Window { axis, position, tap, taps: 1, stride, .. } => {
            let size = s.type_of(op, operands).shape.size(*position)?;
            let every = s.make(Op::Slice { axis: *axis, start: 0, size, step: *stride as isize }, vec![x]);
            let named = s.make(Op::Rename(vec![(*axis, *position)]), vec![every]);
            Some(s.make(Op::Spread([(*tap, 1)].into_iter().collect()), vec![named]))
        }
        Op::Fold { axis, size, position, tap, stride, .. } => {
            let positions = s.size(x, *position);
            if s.size(x, *tap) != 1 || *stride != 1 {
                return None;
            }
            let tapped = s.make(Op::Reduce { combine: Combine::Sum, axes: vec![*tap] }, vec![x]);
            let named = s.make(Op::Rename(vec![(*position, *axis)]), vec![tapped]);
            Some(s.make(Op::Pad { axis: *axis, before: 0, after: size - positions, value: 0.0 }, vec![named]))
        }
        _ => None,
    }
}

fn rename(s: &mut Store, pairs: &[(Axis, Axis)], x: Id) -> Option<Id> {
    if pairs.iter().all(|(from, to)| from == to) {
        return Some(x);
    }
    let then = |axis| pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
    match s.op(x).clone() {
        Op::Rename(first) => {
            let inner = s.inner(x);
            let before = |axis| first.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
            let both = s.shape(inner).axes().map(|axis| (axis, then(before(axis)))).filter(|(from, to)| from != to);
            let both = both.collect();
            Some(s.make(Op::Rename(both), vec![inner]))
        }
        Op::Iota { axis, size } => Some(s.make(Op::Iota { axis: then(axis), size }, vec![])),
        _ if pairs.iter().any(|(from, to)| from == to) => {
            let changed = pairs.iter().copied().filter(|(from, to)| from != to).collect();
            Some(s.make(Op::Rename(changed), vec![x]))
        }
        _ => None,
    }
}

fn split(s: &mut Store, axis: Axis, into: &[(Axis, usize)], x: Id) -> Option<Id> {
    if let [(only, _)] = into {
        return Some(s.make(Op::Rename(vec![(axis, *only)]), vec![x]));
    }
    let inner = *s.item(x).operands.first()?;
    if let (Op::Rename(pairs), []) = (s.op(x).clone(), into) {
        let own = pairs.iter().find(|(_, to)| *to == axis).map_or(axis, |(from, _)| *from);
        let rest = pairs.into_iter().filter(|(from, _)| *from != own).collect();
        let dropped = s.make(Op::Split { axis: own, into: Vec::new() }, vec![inner]);
        return Some(s.make(Op::Rename(rest), vec![dropped]));
    }
    let Op::Merge { axes, into: merged } = s.op(x).clone() else { return None };
    let sizes = axes.iter().map(|axis| s.size(inner, *axis));
    if merged != axis || !sizes.eq(into.iter().map(|(_, size)| *size)) {
        return None;
    }
    let pairs = axes.into_iter().zip(into.iter().map(|(axis, _)| *axis)).collect();
    Some(s.make(Op::Rename(pairs), vec![inner]))
}

fn merge(s: &mut Store, axes: &[Axis], into: Axis, x: Id) -> Option<Id> {
    if let [only] = axes {
        return Some(s.make(Op::Rename(vec![(*only, into)]), vec![x]));
    }
    match s.op(x).clone() {
        Op::Split { axis, into: parts } if parts.iter().map(|(axis, _)| axis).eq(axes) => {
            Some(s.make(Op::Rename(vec![(axis, into)]), vec![s.inner(x)]))
        }
        _ => None,
    }
}

/// Elements `start`, `start + step`, … of an axis.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    size: usize,
    step: isize,
}

impl Run {
    /// The lowest and the highest position, unless the run is empty.
    fn range(self) -> Option<(usize, usize)> {
        let last = self.start.checked_add_signed((self.size.checked_sub(1)?) as isize * self.step)?;
        Some((self.start.min(last), self.start.max(last)))
    }
}

fn slice(s: &mut Store, axis: Axis, run: Run, x: Id) -> Option<Id> {
    let Run { start, size, step } = run;
    if start == 0 && step == 1 && size == s.size(x, axis) {
        return Some(x);
    }
    let (low, high) = run.range()?;
    match s.op(x).clone() {
        Op::Slice { axis: same, start: first, step: stride, .. } if same == axis => {
            let start = first.checked_add_signed(start as isize * stride)?;
            Some(s.make(Op::Slice { axis, start, size, step: step * stride }, vec![s.inner(x)]))
        }
        Op::Pad { axis: same, before, value, .. } if same == axis => {
            let inner = s.inner(x);
            let end = before + s.size(inner, axis);
            if low >= before && high < end {
                return Some(s.make(Op::Slice { axis, start: start - before, size, step }, vec![inner]));
            }
            // The part that lies inside is sliced first, so that slices meet slices and paddings paddings.
            let (first, last) = (low.max(before), (high + 1).min(end));
            if step != 1 || first >= last {
                return None;
            }
            let inside = Op::Slice { axis, start: first - before, size: last - first, step: 1 };
            let part = s.make(inside, vec![inner]);
            let (before, after) = (first - low, high + 1 - last);
            Some(s.make(Op::Pad { axis, before, after, value }, vec![part]))
        }
        Op::Concat { axis: same } if same == axis => {
            let shape = s.shape(x).replaced(axis, &[(axis, size)]);
            let mut first = 0;
            for operand in s.item(x).operands.clone() {
                let end = first + s.size(operand, axis);
                if low >= first && high < end {
                    let part = s.make(Op::Slice { axis, start: start - first, size, step }, vec![operand]);
                    return Some(s.fit(part, &shape));
                }
                first = end;
            }
            None
        }
        _ => None,
    }
}

fn concat(s: &mut Store, axis: Axis, operands: &[Id]) -> Option<Id> {
    if let [only] = operands {
        return Some(*only);
    }
    let nested = |id: &Id| matches!(s.op(*id), Op::Concat { axis: same } if *same == axis);
    if operands.iter().any(nested) {
        let flat = operands.iter().flat_map(|id| if nested(id) { s.item(*id).operands.clone() } else { vec![*id] });
        let flat = flat.collect();
        let shape = s.type_of(&Op::Concat { axis }, operands).shape;
        let joined = s.make(Op::Concat { axis }, flat);
        return Some(s.fit(joined, &shape));
    }
    let run = |s: &Store, id: Id| match *s.op(id) {
        Op::Slice { axis: same, start, size, step: 1 } if same == axis => Some((s.inner(id), start, size)),
        _ => None,
    };
    for k in 1..operands.len() {
        if let (Some((x, start, size)), Some((y, next, more))) = (run(s, operands[k - 1]), run(s, operands[k]))
            && x == y
            && start + size == next
        {
            let joined = s.make(Op::Slice { axis, start, size: size + more, step: 1 }, vec![x]);
            let rest = [&operands[..k - 1], &[joined], &operands[k + 1..]].concat();
            return Some(s.make(Op::Concat { axis }, rest));
        }
    }
    None
}
