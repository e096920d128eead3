//! Reductions of reductions; sums of products as contractions.

use super::store::{Id, Store};
use crate::{
    axis::Axis,
    graph::{Combine, Op, ScalarOp},
};

pub(super) fn rule(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    match op {
        Op::Reduce { axes, .. } if axes.is_empty() => Some(operands[0]),
        Op::Reduce { combine, axes } => {
            let (single, rest) = single(s, axes, operands[0]);
            if single.is_empty() {
                return reduce(s, *combine, axes, operands[0]);
            }
            let x = without(s, &single, operands[0]);
            Some(s.make(Op::Reduce { combine: *combine, axes: rest }, vec![x]))
        }
        Op::Scan { combine, axis, exclusive, .. } if s.size(operands[0], *axis) == 1 => {
            if !exclusive {
                return Some(operands[0]);
            }
            let ty = s.type_of(op, operands);
            let identity = s.constant(combine.identity(ty.dtype), ty.dtype);
            Some(s.fit(identity, &ty.shape))
        }
        Op::Contract { over } => contract(s, over, operands[0], operands[1]),
        _ => None,
    }
}

/// The axes of one element, along which there is nothing to combine, and the others.
fn single(s: &Store, axes: &[Axis], x: Id) -> (Vec<Axis>, Vec<Axis>) {
    axes.iter().partition(|axis| s.size(x, **axis) == 1)
}

/// `x` without some axes of one element.
fn without(s: &mut Store, single: &[Axis], x: Id) -> Id {
    single.iter().fold(x, |x, axis| s.make(Op::Split { axis: *axis, into: Vec::new() }, vec![x]))
}

fn reduce(s: &mut Store, combine: Combine, axes: &[Axis], x: Id) -> Option<Id> {
    match s.op(x).clone() {
        Op::Reduce { combine: same, axes: first } if same == combine => {
            Some(s.make(Op::Reduce { combine, axes: [axes, &first].concat() }, vec![s.inner(x)]))
        }
        Op::Rename(pairs) => {
            let back = |axis: &Axis| pairs.iter().find(|(_, to)| to == axis).map_or(*axis, |(from, _)| *from);
            let own = axes.iter().map(back).collect();
            let total = s.make(Op::Reduce { combine, axes: own }, vec![s.inner(x)]);
            let rest = pairs.iter().copied().filter(|(_, to)| !axes.contains(to)).collect();
            Some(s.make(Op::Rename(rest), vec![total]))
        }
        _ if combine == Combine::Sum => sum(s, axes, x),
        _ => None,
    }
}

fn sum(s: &mut Store, axes: &[Axis], x: Id) -> Option<Id> {
    if let Some((factor, rest)) = s.with_constant(ScalarOp::Mul, x) {
        let total = s.sum(rest, axes.to_vec());
        return Some(s.scaled(total, factor));
    }
    if let Some(inner) = s.unary_of(ScalarOp::Neg, x) {
        let total = s.sum(inner, axes.to_vec());
        return Some(s.map(ScalarOp::Neg, &[total]));
    }
    match s.op(x).clone() {
        Op::Pad { axis, value: 0.0, .. } if axes.contains(&axis) => Some(s.sum(s.inner(x), axes.to_vec())),
        Op::Map(ScalarOp::Mul) if s.is_used_once(x) && s.dtype(x).is_float() => product(s, &[], axes, x),
        Op::Contract { over } if s.is_used_once(x) => product(s, &over, axes, x),
        _ => None,
    }
}

/// The sum over `axes` of a product, itself summed over `over`: the axes that only one factor has are
/// summed in that factor alone.
fn product(s: &mut Store, over: &[Axis], axes: &[Axis], x: Id) -> Option<Id> {
    let [left, right] = *s.item(x).operands.as_slice() else { return None };
    let has = |s: &Store, id: Id, axis: &Axis| s.shape(id).contains(*axis);
    let both = axes.iter().copied().filter(|axis| has(s, left, axis) && has(s, right, axis));
    let over: Vec<Axis> = over.iter().copied().chain(both).collect();
    if !has_free_axes(s, left, right) && !axes.iter().any(|axis| !over.contains(axis)) {
        return None;
    }
    let alone = |s: &mut Store, own: Id, other: Id| {
        let axes = axes.iter().copied().filter(|axis| has(s, own, axis) && !has(s, other, axis)).collect();
        s.sum(own, axes)
    };
    let (new_left, new_right) = (alone(s, left, right), alone(s, right, left));
    Some(s.make(Op::Contract { over }, vec![new_left, new_right]))
}

/// Whether one of two factors has an axis that the other lacks: only then is a sum of their products one of matrices.
fn has_free_axes(s: &Store, x: Id, y: Id) -> bool {
    let lacks = |own: Id, other: Id| s.shape(own).axes().any(|axis| !s.shape(other).contains(axis));
    lacks(x, y) || lacks(y, x)
}

fn contract(s: &mut Store, over: &[Axis], x: Id, y: Id) -> Option<Id> {
    if over.is_empty() {
        return Some(s.map(ScalarOp::Mul, &[x, y]));
    }
    if !has_free_axes(s, x, y) {
        let product = s.map(ScalarOp::Mul, &[x, y]);
        return Some(s.sum(product, over.to_vec()));
    }
    let (single, rest) = single(s, over, x);
    if !single.is_empty() {
        let (x, y) = (without(s, &single, x), without(s, &single, y));
        return Some(s.make(Op::Contract { over: rest }, vec![x, y]));
    }
    for (x, y) in [(x, y), (y, x)] {
        if let Some((factor, rest)) = s.with_constant(ScalarOp::Mul, x) {
            let total = s.make(Op::Contract { over: over.to_vec() }, vec![rest, y]);
            return Some(s.scaled(total, factor));
        }
        if let Some(inner) = s.unary_of(ScalarOp::Neg, x) {
            let total = s.make(Op::Contract { over: over.to_vec() }, vec![inner, y]);
            return Some(s.map(ScalarOp::Neg, &[total]));
        }
    }
    None
}
