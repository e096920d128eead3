//! Repetition moves outwards, past every operation that can be done once.

use super::store::{Id, Store};
use crate::{
    axis::{Axis, Shape},
    graph::{Combine, Op, ScalarOp},
};

pub(super) fn rule(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    match op {
        Op::Spread(extra) if extra.rank() == 0 => Some(operands[0]),
        Op::Map(_) | Op::Concat { .. } => aligned(s, op, operands),
        Op::Contract { over } => contract(s, over, operands[0], operands[1]),
        Op::Gather { axis } => gather(s, *axis, operands[0], operands[1]),
        Op::ScatterAdd { axis, size, over } => scatter_add(s, *axis, *size, over, operands),
        Op::SearchSorted { .. } => None,
        _ => {
            let (extra, inner) = spread_of(s, *operands.first()?)?;
            of_spread(s, op, &extra, inner)
        }
    }
}

/// The repeated axes and the repeated value.
fn spread_of(s: &Store, id: Id) -> Option<(Shape, Id)> {
    match s.op(id) {
        Op::Spread(extra) => Some((extra.clone(), s.inner(id))),
        _ => None,
    }
}

/// The axes of `shape` for which the test holds.
fn only(shape: &Shape, test: impl Fn(Axis) -> bool) -> Shape {
    shape.iter().filter(|(axis, _)| test(*axis)).collect()
}

/// Maps and concatenations repeat their operands by themselves.
fn aligned(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    let needed = |axis| matches!(op, Op::Concat { axis: along } if *along == axis);
    let mut stripped = Vec::new();
    for id in operands {
        stripped.push(match spread_of(s, *id) {
            Some((extra, inner)) if extra.axes().any(|axis| !needed(axis)) => s.fit(inner, &only(&extra, needed)),
            _ => *id,
        });
    }
    if stripped == operands {
        return None;
    }
    let shape = s.type_of(op, operands).shape;
    let result = s.make(op.clone(), stripped);
    Some(s.fit(result, &shape))
}

/// A summed axis along which one factor is repeated is summed in the other factor alone.
fn contract(s: &mut Store, over: &[Axis], x: Id, y: Id) -> Option<Id> {
    for (x, y) in [(x, y), (y, x)] {
        if let Some((extra, inner)) = spread_of(s, x) {
            let shape = s.type_of(&Op::Contract { over: over.to_vec() }, &[x, y]).shape;
            let (alone, both) = over.iter().partition(|axis| extra.contains(**axis));
            let y = s.sum(y, alone);
            let result = s.make(Op::Contract { over: both }, vec![inner, y]);
            return Some(s.fit(result, &shape));
        }
    }
    None
}

fn gather(s: &mut Store, axis: Axis, x: Id, index: Id) -> Option<Id> {
    let op = Op::Gather { axis };
    let shape = s.type_of(&op, &[x, index]).shape;
    let result = match (spread_of(s, x), spread_of(s, index)) {
        (Some((extra, inner)), _) if extra.axes().any(|own| own != axis) => {
            let x = s.fit(inner, &only(&extra, |own| own == axis));
            s.make(op, vec![x, index])
        }
        (_, Some((_, inner))) => s.make(op, vec![x, inner]),
        _ => return None,
    };
    Some(s.fit(result, &shape))
}

/// An axis along which both are repeated adds the same update as often as it is long if it is summed, and
/// repeats the result if it is not.
fn scatter_add(s: &mut Store, axis: Axis, size: usize, over: &[Axis], operands: &[Id]) -> Option<Id> {
    let [updates, index] = *operands else { return None };
    let op = |over| Op::ScatterAdd { axis, size, over };
    let shape = s.type_of(&op(over.to_vec()), operands).shape;
    let (extra, stripped, other) = match (spread_of(s, updates), spread_of(s, index)) {
        (Some((extra, inner)), _) => (extra, vec![inner, index], index),
        (_, Some((extra, inner))) => (extra, vec![updates, inner], updates),
        _ => return None,
    };
    let lost = only(&extra, |own| over.contains(&own) && !s.shape(other).contains(own));
    let over = over.iter().copied().filter(|own| !lost.contains(*own)).collect();
    let result = s.make(op(over), stripped);
    let result = s.scaled(result, lost.elements() as f64);
    Some(s.fit(result, &shape))
}

/// Operations on one operand that is repeated.
fn of_spread(s: &mut Store, op: &Op, extra: &Shape, inner: Id) -> Option<Id> {
    let spread = |s: &mut Store, axes: Vec<(Axis, usize)>| s.make(Op::Spread(Shape::new(axes)), vec![inner]);
    let rest = |axes: &[Axis]| extra.without(axes).iter().collect::<Vec<_>>();
    match op {
        Op::Spread(more) => Some(spread(s, more.iter().chain(extra.iter()).collect())),
        Op::Reduce { combine, axes } => reduce(s, *combine, axes, extra, inner),
        Op::Rename(pairs) => {
            let to = |axis| pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
            let own = pairs.iter().copied().filter(|(from, _)| s.shape(inner).contains(*from)).collect();
            let renamed = s.make(Op::Rename(own), vec![inner]);
            let extra = extra.iter().map(|(axis, size)| (to(axis), size)).collect();
            Some(s.make(Op::Spread(extra), vec![renamed]))
        }
        Op::Slice { axis, size, .. } if extra.contains(*axis) => {
            Some(spread(s, [rest(&[*axis]), vec![(*axis, *size)]].concat()))
        }
        Op::Split { axis, into } if extra.contains(*axis) => Some(spread(s, [rest(&[*axis]), into.clone()].concat())),
        Op::Merge { axes, into } if axes.iter().all(|axis| extra.contains(*axis)) => {
            let size = axes.iter().filter_map(|axis| extra.size(*axis)).product();
            Some(spread(s, [rest(axes), vec![(*into, size)]].concat()))
        }
        Op::Window { axis, position, tap, taps, stride, dilation } if extra.contains(*axis) => {
            let positions = (extra.size(*axis)? - (taps - 1) * dilation - 1) / stride + 1;
            Some(spread(s, [rest(&[*axis]), vec![(*position, positions), (*tap, *taps)]].concat()))
        }
        _ => {
            let touched = touched(op)?;
            let (held, free) = extra.iter().partition::<Vec<_>, _>(|(axis, _)| touched.contains(axis));
            if free.is_empty() {
                return None;
            }
            let x = s.fit(inner, &held.into_iter().collect());
            let result = s.make(op.clone(), vec![x]);
            Some(s.make(Op::Spread(free.into_iter().collect()), vec![result]))
        }
    }
}

/// The operand's axes that an operation does something along; along all others it does the same.
fn touched(op: &Op) -> Option<Vec<Axis>> {
    match op {
        Op::ArgReduce { axis, .. }
        | Op::Scan { axis, .. }
        | Op::Split { axis, .. }
        | Op::Slice { axis, .. }
        | Op::Pad { axis, .. }
        | Op::Window { axis, .. }
        | Op::Sort { axis }
        | Op::ArgSort { axis } => Some(vec![*axis]),
        Op::Merge { axes, .. } => Some(axes.clone()),
        Op::Fold { position, tap, .. } => Some(vec![*position, *tap]),
        _ => None,
    }
}

fn reduce(s: &mut Store, combine: Combine, axes: &[Axis], extra: &Shape, inner: Id) -> Option<Id> {
    let repeated = only(extra, |axis| axes.contains(&axis));
    let count = repeated.elements();
    let float = s.dtype(inner).is_float();
    if count == 0 || count > 1 && combine == Combine::Prod && !float {
        return None;
    }
    let own = axes.iter().copied().filter(|axis| !extra.contains(*axis)).collect();
    let once = s.make(Op::Reduce { combine, axes: own }, vec![inner]);
    let total = match combine {
        Combine::Sum => s.scaled(once, count as f64),
        Combine::Prod if count > 1 => {
            let exponent = s.constant(count as f64, s.dtype(once));
            s.map(ScalarOp::Pow, &[once, exponent])
        }
        _ => once,
    };
    let rest = only(extra, |axis| !axes.contains(&axis));
    Some(s.fit(total, &rest))
}
