//! Batches of matrices: contractions whose operands and result have axes in common.
//!
//! There is a product of matrices for each element of these axes. Some of them can be rows, before the rows of the
//! matrices themselves: tiles, and so threads, then divide the batch, and a kernel whose rows begin with such axes, as one
//! over tokens of several images, goes on through the product. The others are loops inside of a tile.

use super::{
    rows::{AxisOrder, Contraction, accumulates, contraction, path, rows_through},
    window::reads_window,
};
use crate::{
    axis::Axis,
    graph::{Graph, NodeId, Op},
};

/// The axes that both operands of a contraction have and that are not summed: there is one product for each of their
/// elements.
pub(super) fn batch_axes(graph: &Graph, node: NodeId) -> Vec<(Axis, usize)> {
    let Op::Contract { over } = graph.op(node) else { return Vec::new() };
    let operands = graph.operands(node);
    let (first, second) = (graph.shape(operands[0]), graph.shape(operands[1]));
    first.iter().filter(|(axis, _)| second.contains(*axis) && !over.contains(axis)).collect()
}

/// The axes of the batch with which `rows` begin, where they go on with the rows `own` of each matrix; nothing where a
/// contraction of operand `x` cannot be computed along such rows.
pub(super) fn leading<'r>(graph: &Graph, node: NodeId, x: usize, own: &[Axis], rows: &'r [Axis]) -> Option<&'r [Axis]> {
    let leading = rows.strip_suffix(own)?;
    let batch = batch_axes(graph, node);
    let is_batch = |axis: &Axis| batch.iter().any(|(other, _)| other == axis);
    // What is read through a window is read along the rows of each matrix.
    (leading.is_empty() || leading.iter().all(is_batch) && !reads_window(graph, node, x)).then_some(leading)
}

/// The rows along which a contraction of operand `x` with rows `own` is computed best: behind those axes of the batch that
/// are rows of what the operand is computed from, or behind all of them where nothing says how it comes.
pub(super) fn batched_rows(graph: &Graph, node: NodeId, x: usize, own: Vec<Axis>, order: &AxisOrder) -> Vec<Axis> {
    let operand = graph.operands(node)[x];
    let batch = batch_axes(graph, node).into_iter().filter(|(_, size)| *size > 1).map(|(axis, _)| axis);
    let all = [order.sorted(batch), own.clone()].concat();
    if all == own || leading(graph, node, x, &own, &all).is_none() {
        return own;
    }
    match rows_of(graph, operand, order) {
        Some(rows) if leading(graph, node, x, &own, &rows).is_some() => rows,
        _ => all,
    }
}

/// The rows of the contraction that a value comes from by maps and the like, as the value calls them.
fn rows_of(graph: &Graph, value: NodeId, order: &AxisOrder) -> Option<Vec<Axis>> {
    let path = path(graph, value);
    let rows = match graph.op(path.base) {
        Op::Contract { .. } => match contraction(graph, path.base, order) {
            Contraction::Rows { x, rows } => batched_rows(graph, path.base, x, rows, order),
            _ => return None,
        },
        Op::Map(_) | Op::Reduce { .. } | Op::Scan { .. } if !accumulates(graph, path.base) => {
            let operands = graph.operands(path.base).into_iter();
            rows_of(graph, operands.max_by_key(|operand| graph.shape(*operand).elements())?, order)?
        }
        _ => return None,
    };
    let along = rows.iter().all(|row| graph.shape(path.base).contains(*row));
    rows_through(graph, &path, &rows).filter(|_| along)
}
