//! Gradients of gathers, scatters and sorting: each is the other's adjoint.

use super::{Builder, Site};
use crate::{
    axis::Axis,
    graph::{NodeId, Op},
};

/// Every element read adds its cotangent to where it was read.
pub(super) fn gather(b: &mut Builder, site: &Site, axis: Axis) -> NodeId {
    let (x, index) = (site.operands[0], site.operands[1]);
    let kept = b.shape(x).without(&[axis]);
    let over = b.shape(index).axes().filter(|own| !kept.contains(*own)).collect();
    let size = b.size(x, axis);
    b.add(Op::ScatterAdd { axis, size, over }, &[site.cotangent, index])
}

/// Every update reads the cotangent at its position.
pub(super) fn scatter_add(b: &mut Builder, site: &Site, axis: Axis) -> NodeId {
    let (updates, index) = (site.operands[0], site.operands[1]);
    let shape = b.shape(site.node);
    let full = b.along(site.cotangent, &shape, &[axis]);
    let read = b.add(Op::Gather { axis }, &[full, index]);
    let (updates, index) = (b.shape(updates), b.shape(index));
    let joint = updates.union(&index).unwrap_or_else(|conflict| unreachable!("{conflict}"));
    b.sum_to_shape(read, &joint, &updates)
}

/// Every element's cotangent goes back to the position it was sorted from.
pub(super) fn sort(b: &mut Builder, site: &Site, axis: Axis) -> NodeId {
    if !b.has(site.cotangent, axis) {
        return site.cotangent;
    }
    let x = site.operand();
    let size = b.size(x, axis);
    let order = b.add(Op::ArgSort { axis }, &[x]);
    b.add(Op::ScatterAdd { axis, size, over: vec![axis] }, &[site.cotangent, order])
}
