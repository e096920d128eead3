//! The graph: a closed set of operations on tensors with named axes.
//!
//! A [`Graph`] is a directed acyclic petgraph whose nodes are [operations](Op) with their
//! [types](Type) and whose edges carry operand positions. It says what is computed and nothing about
//! how: no memory order, no tiles, no threads.
//!
//! ```
//! use visage_compiler::{axis::{Axis, Shape}, graph::{DType, Graph, Op, Combine, ScalarOp, Type}};
//!
//! let (ray, sample) = (Axis::new("ray"), Axis::new("sample"));
//! let mut graph = Graph::new();
//! let weight = graph.input("weight", Type::new(DType::F32, Shape::new([(ray, 4), (sample, 8)])));
//! let total = graph.add(Op::Reduce { combine: Combine::Sum, axes: vec![sample] }, &[weight]);
//! let missing = graph.constant(1.0, DType::F32);
//! let missing = graph.add(Op::Map(ScalarOp::Sub), &[missing, total]);
//! graph.set_output("missing", missing);
//! assert_eq!(graph.ty(missing).to_string(), "f32[ray=4]");
//! graph.verify().unwrap();
//! ```

mod dtype;
mod op;
mod scalar;
mod type_rule;

pub use dtype::DType;
pub use op::{Combine, Distribution, Op, Type};
pub use scalar::ScalarOp;
pub use type_rule::{TypeError, type_of};

use crate::axis::{Axis, Shape};
use indexmap::IndexMap;
use petgraph::{
    Direction,
    algo::toposort,
    stable_graph::{NodeIndex, StableDiGraph},
    visit::{Dfs, EdgeRef, Reversed},
};
use std::{fmt, sync::Arc};
use thiserror::Error;

/// A node of a [`Graph`].
pub type NodeId = NodeIndex<u32>;

/// An operation with its type.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// What comes out.
    pub ty: Type,
    /// What the spec calls it, where it has a name: shown in listings and in reports of non-finite values.
    pub label: Option<Arc<str>>,
}

/// A directed acyclic graph of operations, with named outputs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: StableDiGraph<Node, u32>,
    outputs: IndexMap<String, NodeId>,
}

/// A broken invariant of a graph: always a defect of the pass that made it.
#[derive(Debug, Error)]
#[error("node %{}: {problem}", node.index())]
pub struct VerifyError {
    /// The offending node.
    pub node: NodeId,
    /// What is wrong with it.
    pub problem: String,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// Adds a leaf of the given type: a constant, an input or a parameter.
    pub fn leaf(&mut self, op: Op, ty: Type) -> NodeId {
        self.nodes.add_node(Node { op, ty, label: None })
    }

    /// Adds a scalar constant.
    pub fn constant(&mut self, value: f64, dtype: DType) -> NodeId {
        self.leaf(Op::Constant(value), Type::new(dtype, Shape::SCALAR))
    }

    /// Adds a value given at run time.
    pub fn input(&mut self, name: &str, ty: Type) -> NodeId {
        self.leaf(Op::Input(name.to_owned()), ty)
    }

    /// Adds a stored value; the shape lists its axes in storage order.
    pub fn parameter(&mut self, name: &str, ty: Type) -> NodeId {
        self.leaf(Op::Parameter(name.to_owned()), ty)
    }

    /// Adds an operation on existing nodes, if it can be applied to them.
    pub fn try_add(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, TypeError> {
        let types: Vec<Type> = operands.iter().map(|id| self.ty(*id).clone()).collect();
        let ty = type_of(&op, &types)?;
        let node = self.nodes.add_node(Node { op, ty, label: None });
        for (position, operand) in operands.iter().enumerate() {
            self.nodes.add_edge(*operand, node, position as u32);
        }
        Ok(node)
    }

    /// Adds an operation that the caller knows to be applicable.
    ///
    /// # Panics
    /// If it is not: a defect of the calling pass.
    pub fn add(&mut self, op: Op, operands: &[NodeId]) -> NodeId {
        let shown = op.to_string();
        self.try_add(op, operands).unwrap_or_else(|error| panic!("`{shown}`: {error}"))
    }

    /// Adds a scalar operation on existing nodes; see [`add`](Graph::add).
    pub fn map(&mut self, op: ScalarOp, operands: &[NodeId]) -> NodeId {
        self.add(Op::Map(op), operands)
    }

    /// Adds another node that does with these operands, of the same types, what a node does with its own.
    pub(crate) fn add_like(&mut self, node: NodeId, operands: &[NodeId]) -> NodeId {
        let copy = self.nodes.add_node(self.nodes[node].clone());
        for (position, operand) in operands.iter().enumerate() {
            self.nodes.add_edge(*operand, copy, position as u32);
        }
        copy
    }

    /// Has a node read another value of the same type.
    pub(crate) fn set_operand(&mut self, node: NodeId, position: usize, operand: NodeId) {
        let old = self.nodes.edges_directed(node, Direction::Incoming).find(|edge| *edge.weight() == position as u32);
        if let Some(old) = old.map(|edge| edge.id()) {
            self.nodes.remove_edge(old);
        }
        self.nodes.add_edge(operand, node, position as u32);
    }

    /// Names a node after what the spec calls it.
    pub fn set_label(&mut self, node: NodeId, label: impl Into<Arc<str>>) {
        self.nodes[node].label = Some(label.into());
    }

    /// Notes what a value is, unless that is known.
    pub fn set_label_if_none(&mut self, node: NodeId, label: &str) {
        self.nodes[node].label.get_or_insert_with(|| label.into());
    }

    /// Makes a node an output under `name`, replacing an earlier output of that name.
    pub fn set_output(&mut self, name: &str, node: NodeId) {
        self.outputs.insert(name.to_owned(), node);
    }

    /// The outputs, in the order they were set.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, NodeId)> + '_ {
        self.outputs.iter().map(|(name, node)| (name.as_str(), *node))
    }

    /// The output called `name`.
    pub fn output(&self, name: &str) -> Option<NodeId> {
        self.outputs.get(name).copied()
    }

    /// A node with its operation and type.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// A node's operation.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.nodes[id].op
    }

    /// A node's type.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.nodes[id].ty
    }

    /// A node's shape.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.nodes[id].ty.shape
    }

    /// A node's operands, in order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut operands: Vec<_> =
            self.nodes.edges_directed(id, Direction::Incoming).map(|edge| (*edge.weight(), edge.source())).collect();
        operands.sort_unstable();
        operands.into_iter().map(|(_, source)| source).collect()
    }

    /// The nodes that use a node, one entry a use.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<_> = self.nodes.neighbors_directed(id, Direction::Outgoing).collect();
        users.sort_unstable();
        users
    }

    /// All nodes, in the order they were added.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.node_indices()
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether the graph has no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, operands before users.
    pub fn topological(&self) -> Vec<NodeId> {
        toposort(&self.nodes, None).unwrap_or_else(|cycle| panic!("a cycle through %{}", cycle.node_id().index()))
    }

    /// The nodes that the given ones depend on, themselves included, operands before users.
    pub fn reachable(&self, roots: &[NodeId]) -> Vec<NodeId> {
        let reversed = Reversed(&self.nodes);
        let mut seen = vec![false; self.nodes.node_indices().next_back().map_or(0, |last| last.index() + 1)];
        for root in roots {
            let mut search = Dfs::new(reversed, *root);
            while let Some(node) = search.next(reversed) {
                if std::mem::replace(&mut seen[node.index()], true) && node != *root {
                    continue;
                }
            }
        }
        self.topological().into_iter().filter(|node| seen[node.index()]).collect()
    }

    /// A copy that holds only what the outputs depend on, with nodes numbered in topological order.
    pub fn pruned(&self) -> Graph {
        let roots: Vec<_> = self.outputs.values().copied().collect();
        let mut pruned = Graph::new();
        let mut copies = rustc_hash::FxHashMap::default();
        for id in self.reachable(&roots) {
            let copy = pruned.nodes.add_node(self.nodes[id].clone());
            for (position, operand) in self.operands(id).into_iter().enumerate() {
                pruned.nodes.add_edge(copies[&operand], copy, position as u32);
            }
            copies.insert(id, copy);
        }
        for (name, node) in &self.outputs {
            pruned.outputs.insert(name.clone(), copies[node]);
        }
        pruned
    }

    /// Checks every invariant: operands present and in order, every type as its rule says, no cycle.
    pub fn verify(&self) -> Result<(), VerifyError> {
        for node in self.ids() {
            let fail = |problem: String| Err(VerifyError { node, problem });
            let mut positions: Vec<_> =
                self.nodes.edges_directed(node, Direction::Incoming).map(|edge| *edge.weight()).collect();
            positions.sort_unstable();
            if positions.iter().enumerate().any(|(i, position)| i as u32 != *position) {
                return fail(format!("operand positions are {positions:?}"));
            }
            if matches!(self.op(node), Op::Constant(_) | Op::Input(_) | Op::Parameter(_)) {
                continue;
            }
            let types: Vec<_> = self.operands(node).into_iter().map(|id| self.ty(id).clone()).collect();
            match type_of(self.op(node), &types) {
                Err(error) => return fail(format!("`{}`: {error}", self.op(node))),
                Ok(ty) if ty != *self.ty(node) => {
                    return fail(format!("`{}` gives {ty}, not {}", self.op(node), self.ty(node)));
                }
                Ok(_) => {}
            }
        }
        for (name, node) in &self.outputs {
            if !self.nodes.contains_node(*node) {
                return Err(VerifyError { node: *node, problem: format!("output `{name}` does not exist") });
            }
        }
        match toposort(&self.nodes, None) {
            Ok(_) => Ok(()),
            Err(cycle) => Err(VerifyError { node: cycle.node_id(), problem: "is part of a cycle".into() }),
        }
    }
}

/// Axes for a listing: `ray` or `ray, sample`.
fn axis_list(axes: &[Axis]) -> String {
    axes.iter().map(|axis| axis.name()).collect::<Vec<_>>().join(", ")
}

/// One node a line, operands before users: `%3 = mul %1, %2 : f32[ray=4]  # weight`.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in self.topological() {
            let node = self.node(id);
            write!(f, "%{} = {}", id.index(), node.op)?;
            for (i, operand) in self.operands(id).into_iter().enumerate() {
                write!(f, "{} %{}", if i == 0 { "" } else { "," }, operand.index())?;
            }
            write!(f, " : {}", node.ty)?;
            match &node.label {
                Some(label) => writeln!(f, "  # {label}")?,
                None => writeln!(f)?,
            }
        }
        for (name, node) in &self.outputs {
            writeln!(f, "output {name} = %{}", node.index())?;
        }
        Ok(())
    }
}
