//! Reverse-mode differentiation, from graph to graph.
//!
//! [`gradients`] adds to a graph the nodes that compute the derivative of a scalar. The new nodes are
//! operations of the same closed set, so they can be differentiated again, and pass through the same
//! simplifier, planner and backends.
//!
//! Each operation has one rule: from the *cotangent* of its result (the derivative of the loss with
//! respect to it) to the cotangent of one operand. A cotangent has no other axes than its value, but it
//! may lack some: then it is the same all along them, and whoever sums over such an axis multiplies by
//! its size. So the gradient of a sum costs nothing until something uses it element by element.
//!
//! What calculus leaves open is settled as follows.
//!
//! * `max(x, c)` and `min(x, c)`, where the loss depends on `x` alone: nothing passes on a tie, so
//!   `max(x, 0)` has slope 0 at 0. If it depends on both, a tie goes to the first operand.
//! * `max` and `min` over axes share a tie evenly. Running ones give it to the earliest element.
//! * `abs` has slope 0 at 0, `sqrt` has slope 0 at 0 and below: the gradient of the Euclidean norm of a zero vector is the zero
//!   vector. `atan2` has gradient 0 at the origin.
//! * `pow(x, p)` has slope 0 in `p` where `x` is not positive.
//! * `floor`, `ceil`, `round`, `sign`, `stop`, comparisons, positions and integers pass nothing.
//! * `mod(x, y)` is `x - y * floor(x / y)` with the floor held.
//! * Products along an axis never divide by an element, so their gradients hold at zeros and keep
//!   their relative precision next to tiny factors.

mod indexed;
mod map;
mod totals;
mod views;

use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp},
};
use rustc_hash::{FxHashMap, FxHashSet};
use thiserror::Error;

/// Why a graph cannot be differentiated as asked.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AutodiffError {
    #[error("a gradient is taken of a single number, and this value has the axes {shape}")]
    NotScalar { shape: Shape },
    #[error("only floating-point values have gradients, and this is {dtype}")]
    NotFloat { dtype: DType },
}

/// Adds the gradient of `loss` with respect to each node of `wrt` and returns the gradients' nodes, each over
/// all the axes of its node. Where the loss does not depend on a node, the gradient is zero.
///
/// A node of `wrt` may be any floating-point value of the graph; the gradient is what a small change of it alone
/// does to the loss, through everything computed from it.
pub fn gradients(graph: &mut Graph, loss: NodeId, wrt: &[NodeId]) -> Result<Vec<NodeId>, AutodiffError> {
    let found = reached_gradients(graph, loss, wrt)?;
    let mut builder = Builder { graph };
    let zeros = |(node, gradient): (&NodeId, Option<NodeId>)| {
        gradient.unwrap_or_else(|| {
            let zero = builder.like(*node, 0.0);
            builder.spread_like(zero, *node)
        })
    };
    Ok(wrt.iter().zip(found).map(zeros).collect())
}

/// As [`gradients`], but `None` for a node on which the loss does not depend.
pub fn reached_gradients(
    graph: &mut Graph,
    loss: NodeId,
    wrt: &[NodeId],
) -> Result<Vec<Option<NodeId>>, AutodiffError> {
    if graph.shape(loss).rank() > 0 {
        return Err(AutodiffError::NotScalar { shape: graph.shape(loss).clone() });
    }
    if let Some(node) = wrt.iter().chain([&loss]).find(|node| !graph.ty(**node).dtype.is_float()) {
        return Err(AutodiffError::NotFloat { dtype: graph.ty(*node).dtype });
    }
    let order = graph.reachable(&[loss]);
    let mut active: FxHashSet<NodeId> = wrt.iter().copied().collect();
    for node in &order {
        if graph.operands(*node).iter().enumerate().any(|(k, x)| active.contains(x) && passes(graph, *node, k, *x)) {
            active.insert(*node);
        }
    }
    let mut builder = Builder { graph };
    let mut cotangents: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    if active.contains(&loss) {
        cotangents.insert(loss, builder.like(loss, 1.0));
    }
    for node in order.into_iter().rev().filter(|node| active.contains(node)) {
        let Some(cotangent) = cotangents.get(&node).copied() else { continue };
        builder.name_cotangent(cotangent, node);
        let operands = builder.graph.operands(node);
        for (position, operand) in operands.iter().enumerate() {
            if !active.contains(operand) || !passes(builder.graph, node, position, *operand) {
                continue;
            }
            let site = Site { node, operands: &operands, position, cotangent, active: &active };
            let Some(contribution) = builder.rule(&site) else { continue };
            let total = match cotangents.get(operand) {
                Some(sum) => builder.map(ScalarOp::Add, &[*sum, contribution]),
                None => contribution,
            };
            cotangents.insert(*operand, total);
        }
    }
    let full = |node: &NodeId| cotangents.get(node).map(|cotangent| builder.spread_like(*cotangent, *node));
    Ok(wrt.iter().map(full).collect())
}

/// A copy in which every `stop(x)` is `x`: to differentiation alone do they matter.
pub fn erase_stops(graph: &Graph) -> Graph {
    let mut erased = Graph::new();
    let mut copies: FxHashMap<NodeId, NodeId> = FxHashMap::default();
    for id in graph.topological() {
        let node = graph.node(id);
        let operands: Vec<NodeId> = graph.operands(id).iter().map(|operand| copies[operand]).collect();
        let copy = match &node.op {
            Op::Map(ScalarOp::Stop) => operands[0],
            Op::Constant(_) | Op::Input(_) | Op::Parameter(_) => erased.leaf(node.op.clone(), node.ty.clone()),
            op => erased.add(op.clone(), &operands),
        };
        if let (Some(label), None) = (&node.label, &erased.node(copy).label) {
            erased.set_label(copy, label.clone());
        }
        copies.insert(id, copy);
    }
    for (name, node) in graph.outputs() {
        erased.set_output(name, copies[&node]);
    }
    erased
}

/// Whether a change of the operand at `position` changes the result of `op` continuously at all.
pub fn is_differentiable(op: &Op, position: usize) -> bool {
    use ScalarOp::{Ceil, Floor, Round, Select, Sign, Stop};
    match op {
        Op::Map(Stop | Sign | Floor | Ceil | Round) => false,
        Op::Map(Select) => position > 0,
        Op::Map(scalar) => !scalar.is_predicate(),
        Op::Gather { .. } | Op::ScatterAdd { .. } => position == 0,
        Op::ArgReduce { .. } | Op::ArgSort { .. } | Op::SearchSorted { .. } => false,
        _ => true,
    }
}

fn passes(graph: &Graph, node: NodeId, position: usize, operand: NodeId) -> bool {
    let float = |id| graph.ty(id).dtype.is_float();
    float(node) && float(operand) && is_differentiable(graph.op(node), position)
}

/// What a rule sees: a node, the cotangent of its result, and the operand whose share is asked for.
struct Site<'a> {
    node: NodeId,
    operands: &'a [NodeId],
    position: usize,
    cotangent: NodeId,
    active: &'a FxHashSet<NodeId>,
}

impl Site<'_> {
    /// The operand whose share is asked for.
    fn operand(&self) -> NodeId {
        self.operands[self.position]
    }
}

/// Adds the nodes of the backward pass.
struct Builder<'g> {
    graph: &'g mut Graph,
}

impl Builder<'_> {
    /// The operand's share of the cotangent; `None` if it is zero.
    fn rule(&mut self, site: &Site) -> Option<NodeId> {
        match self.graph.op(site.node).clone() {
            Op::Map(scalar) => Some(map::rule(self, site, scalar)),
            Op::Spread(_) => {
                let operand = site.operand();
                Some(self.sum_to(site.cotangent, site.node, operand))
            }
            Op::Reduce { combine, axes } => Some(totals::reduce(self, site, combine, &axes)),
            Op::Scan { combine, axis, exclusive, reverse } => {
                totals::scan(self, site, &totals::Along { axis, exclusive, reverse }, combine)
            }
            Op::Contract { .. } => Some(totals::contract(self, site)),
            Op::Gather { axis } => Some(indexed::gather(self, site, axis)),
            Op::ScatterAdd { axis, .. } => Some(indexed::scatter_add(self, site, axis)),
            Op::Sort { axis } => Some(indexed::sort(self, site, axis)),
            op => views::rule(self, site, &op),
        }
    }

    fn name_cotangent(&mut self, cotangent: NodeId, node: NodeId) {
        if let (Some(label), None) = (&self.graph.node(node).label, &self.graph.node(cotangent).label) {
            let label = format!("d/d {label}");
            self.graph.set_label(cotangent, label);
        }
    }

    fn shape(&self, node: NodeId) -> Shape {
        self.graph.shape(node).clone()
    }

    fn size(&self, node: NodeId, axis: Axis) -> usize {
        self.graph.shape(node).size(axis).unwrap_or_else(|| unreachable!("`{axis}` is an axis of the operand"))
    }

    fn has(&self, node: NodeId, axis: Axis) -> bool {
        self.graph.shape(node).contains(axis)
    }

    fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        self.graph.add(op, operands)
    }

    fn map(&mut self, op: ScalarOp, operands: &[NodeId]) -> NodeId {
        self.graph.map(op, operands)
    }

    fn mul(&mut self, x: NodeId, y: NodeId) -> NodeId {
        self.map(ScalarOp::Mul, &[x, y])
    }

    fn neg(&mut self, x: NodeId) -> NodeId {
        self.map(ScalarOp::Neg, &[x])
    }

    /// A constant of the same element type as `node`.
    fn like(&mut self, node: NodeId, value: f64) -> NodeId {
        let dtype = self.graph.ty(node).dtype;
        self.graph.constant(value, dtype)
    }

    /// `x * factor`.
    fn scaled(&mut self, x: NodeId, factor: f64) -> NodeId {
        if factor == 1.0 {
            return x;
        }
        let factor = self.like(x, factor);
        self.mul(x, factor)
    }

    /// 1 / x where x is positive, otherwise 0: its own derivatives are finite wherever x is not tiny.
    fn guarded_recip(&mut self, x: NodeId) -> NodeId {
        let (zero, infinity) = (self.like(x, 0.0), self.like(x, f64::INFINITY));
        let positive = self.map(ScalarOp::Less, &[zero, x]);
        let guarded = self.map(ScalarOp::Select, &[positive, x, infinity]);
        self.map(ScalarOp::Recip, &[guarded])
    }

    /// `cotangent` where the condition holds (or does not), otherwise 0.
    fn where_(&mut self, condition: NodeId, holds: bool, cotangent: NodeId) -> NodeId {
        let zero = self.like(cotangent, 0.0);
        let [x, y] = if holds { [cotangent, zero] } else { [zero, cotangent] };
        self.map(ScalarOp::Select, &[condition, x, y])
    }

    /// The sum of `x` over `axes`, none of which it lacks.
    fn sum(&mut self, x: NodeId, axes: Vec<Axis>) -> NodeId {
        if axes.is_empty() { x } else { self.add(Op::Reduce { combine: Combine::Sum, axes }, &[x]) }
    }

    /// The adjoint of repetition: the sum of a cotangent of `from` over the axes that `to` does not have.
    fn sum_to(&mut self, cotangent: NodeId, from: NodeId, to: NodeId) -> NodeId {
        let (from, to) = (self.shape(from), self.shape(to));
        self.sum_to_shape(cotangent, &from, &to)
    }

    /// As [`sum_to`](Builder::sum_to), between shapes.
    fn sum_to_shape(&mut self, cotangent: NodeId, from: &Shape, to: &Shape) -> NodeId {
        let own = self.shape(cotangent);
        let (present, absent): (Vec<_>, Vec<_>) =
            from.iter().filter(|(axis, _)| !to.contains(*axis)).partition(|(axis, _)| own.contains(*axis));
        let repeats: usize = absent.into_iter().map(|(_, size)| size).product();
        let sum = self.sum(cotangent, present.into_iter().map(|(axis, _)| axis).collect());
        self.scaled(sum, repeats as f64)
    }

    /// `x` repeated along those of `axes` that it lacks, at the sizes that they have in `shape`.
    fn along(&mut self, x: NodeId, shape: &Shape, axes: &[Axis]) -> NodeId {
        let own = self.shape(x);
        let missing = shape.iter().filter(|(axis, _)| axes.contains(axis) && !own.contains(*axis)).collect::<Shape>();
        if missing.rank() == 0 { x } else { self.add(Op::Spread(missing), &[x]) }
    }

    /// `x` over all the axes of `node`.
    fn spread_like(&mut self, x: NodeId, node: NodeId) -> NodeId {
        let shape = self.shape(node);
        let axes: Vec<_> = shape.axes().collect();
        self.along(x, &shape, &axes)
    }

    /// The sum of the products over `over`, which both have.
    fn contract(&mut self, x: NodeId, y: NodeId, over: Vec<Axis>) -> NodeId {
        if over.is_empty() { self.mul(x, y) } else { self.add(Op::Contract { over }, &[x, y]) }
    }

    /// Elements of an axis moved towards its start by `by`, with zeros moving in; `reverse`: towards its end.
    fn shifted(&mut self, x: NodeId, axis: Axis, by: usize, reverse: bool) -> NodeId {
        let size = self.size(x, axis) - by;
        let (start, before, after) = if reverse { (0, by, 0) } else { (by, 0, by) };
        let rest = self.add(Op::Slice { axis, start, size, step: 1 }, &[x]);
        self.add(Op::Pad { axis, before, after, value: 0.0 }, &[rest])
    }
}

#[cfg(test)]
mod tests;
