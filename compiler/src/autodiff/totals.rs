//! Gradients of reductions, scans and contractions.

use super::{Builder, Site};
use crate::{
    axis::Axis,
    graph::{Combine, DType, NodeId, Op, ScalarOp},
};

/// Where and how a scan runs.
#[derive(Clone, Copy)]
pub(super) struct Along {
    pub(super) axis: Axis,
    pub(super) exclusive: bool,
    pub(super) reverse: bool,
}

/// Sum: the cotangent, the same all along the axes. Maximum: shared evenly among the largest elements.
/// Product: times the product of all other elements, as that of those before times that of those after.
pub(super) fn reduce(b: &mut Builder, site: &Site, combine: Combine, axes: &[Axis]) -> NodeId {
    let (x, cotangent) = (site.operand(), site.cotangent);
    match combine {
        Combine::Sum => cotangent,
        Combine::Max | Combine::Min => {
            let chosen = b.map(ScalarOp::Equal, &[x, site.node]);
            let (one, zero) = (b.like(x, 1.0), b.like(x, 0.0));
            let ones = b.map(ScalarOp::Select, &[chosen, one, zero]);
            let count = b.sum(ones, axes.to_vec());
            let share = b.map(ScalarOp::Div, &[cotangent, count]);
            b.where_(chosen, true, share)
        }
        Combine::Prod => {
            let others = product_of_others(b, x, axes);
            b.mul(cotangent, others)
        }
    }
}

fn product_of_others(b: &mut Builder, x: NodeId, axes: &[Axis]) -> NodeId {
    let shape = b.shape(x);
    let (row, axis) = match axes {
        [] => return b.like(x, 1.0),
        [axis] => (x, *axis),
        [first, ..] => {
            let into = first.fresh(|axis| shape.contains(axis));
            (b.add(Op::Merge { axes: axes.to_vec(), into }, &[x]), into)
        }
    };
    let exclusive = |reverse| Op::Scan { combine: Combine::Prod, axis, exclusive: true, reverse };
    let (before, after) = (b.add(exclusive(false), &[row]), b.add(exclusive(true), &[row]));
    let others = b.mul(before, after);
    if axes.len() == 1 {
        return others;
    }
    let into = axes.iter().map(|axis| (*axis, b.size(x, *axis))).collect();
    b.add(Op::Split { axis, into }, &[others])
}

pub(super) fn scan(b: &mut Builder, site: &Site, along: &Along, combine: Combine) -> Option<NodeId> {
    let shape = b.shape(site.node);
    let cotangent = b.along(site.cotangent, &shape, &[along.axis]);
    if combine == Combine::Sum {
        let back = Op::Scan { combine, axis: along.axis, exclusive: along.exclusive, reverse: !along.reverse };
        return Some(b.add(back, &[cotangent]));
    }
    // An exclusive scan is the inclusive one moved on by one element: its cotangent is moved back.
    let cotangent = match (along.exclusive, b.size(site.node, along.axis)) {
        (false, _) => cotangent,
        (true, 0 | 1) => return None,
        (true, _) => b.shifted(cotangent, along.axis, 1, along.reverse),
    };
    Some(match combine {
        Combine::Prod => scan_product(b, site, along, cotangent),
        _ => scan_extremum(b, site, along, combine, cotangent),
    })
}

/// yᵢ = ∏_{k ≤ i} xₖ gives x̄ⱼ = ∏_{k < j} xₖ · Sⱼ with Sⱼ = Σ_{i ≥ j} ȳᵢ ∏_{j < k ≤ i} xₖ, which satisfies
/// Sⱼ = ȳⱼ + xⱼ₊₁ Sⱼ₊₁.
///
/// The recurrence is solved by doubling (Hillis & Steele 1986): after the step of distance d, every element
/// holds its part of the sum over the next 2d elements and the product of as many factors. That is
/// n log n products and sums and no division, so zeros are exact and tiny factors cost no precision.
fn scan_product(b: &mut Builder, site: &Site, along: &Along, cotangent: NodeId) -> NodeId {
    let (x, axis) = (site.operand(), along.axis);
    let size = b.size(x, axis);
    let before = if along.exclusive {
        site.node
    } else {
        let exclusive = Op::Scan { combine: Combine::Prod, axis, exclusive: true, reverse: along.reverse };
        b.add(exclusive, &[x])
    };
    let mut sum = cotangent;
    let mut distance = 1;
    let mut factor = None;
    while distance < size {
        let factors = match factor {
            None => b.shifted(x, axis, 1, along.reverse),
            Some(half) => {
                let next = b.shifted(half, axis, distance / 2, along.reverse);
                b.mul(half, next)
            }
        };
        let ahead = b.shifted(sum, axis, distance, along.reverse);
        let more = b.mul(factors, ahead);
        sum = b.map(ScalarOp::Add, &[sum, more]);
        factor = Some(factors);
        distance *= 2;
    }
    b.mul(before, sum)
}

/// A running maximum passes every cotangent to the element that holds the maximum there. Elements that set
/// a new maximum are numbered; the cotangents are summed by number, and each such element reads its sum.
fn scan_extremum(b: &mut Builder, site: &Site, along: &Along, combine: Combine, cotangent: NodeId) -> NodeId {
    let (x, Along { axis, reverse, .. }) = (site.operand(), *along);
    let size = b.size(x, axis);
    let held = b.add(Op::Scan { combine, axis, exclusive: true, reverse }, &[x]);
    let sets_record = match combine {
        Combine::Max => b.map(ScalarOp::Less, &[held, x]),
        _ => b.map(ScalarOp::Less, &[x, held]),
    };
    let ones = b.map(ScalarOp::Cast(DType::I32), &[sets_record]);
    let count = b.add(Op::Scan { combine: Combine::Sum, axis, exclusive: false, reverse }, &[ones]);
    let one = b.like(count, 1.0);
    let record = b.map(ScalarOp::Sub, &[count, one]);
    let shape = b.shape(x);
    let records = axis.fresh(|taken| shape.contains(taken));
    let sums = b.add(Op::ScatterAdd { axis: records, size, over: vec![axis] }, &[cotangent, record]);
    let own = b.add(Op::Gather { axis: records }, &[sums, record]);
    b.where_(sets_record, true, own)
}

/// The cotangent contracted with the other operand over the axes that only the other one has.
pub(super) fn contract(b: &mut Builder, site: &Site) -> NodeId {
    let (own, cotangent) = (b.shape(site.operand()), site.cotangent);
    let other = site.operands[1 - site.position];
    let (present, absent) =
        b.shape(other).axes().filter(|axis| !own.contains(*axis)).partition(|axis| b.has(cotangent, *axis));
    let other = b.sum(other, absent);
    b.contract(cotangent, other, present)
}
