//! Operations under construction: every one is there once.

use super::{algebra, convolution, spread, totals, views};
use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp, Type, type_of},
};
use rustc_hash::{FxHashMap, FxHasher};
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A position in a [`Store`]; operands come before their users.
pub(super) type Id = u32;

/// An operation with its operands.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) op: Op,
    pub(super) operands: Vec<Id>,
    pub(super) ty: Type,
    pub(super) label: Option<Arc<str>>,
}

/// Operations in topological order, no two of them alike.
pub(super) struct Store {
    items: Vec<Item>,
    index: FxHashMap<u64, Vec<Id>>,
    /// How many uses of the previous pass's graph each operation stands for; 0 for one that a rule made.
    uses: Vec<usize>,
    counted: bool,
    rewrites: usize,
}

impl Store {
    /// A store without operations. `counted`: whether the use counts that it will be told may be relied on.
    pub(super) fn new(counted: bool) -> Store {
        Store { items: Vec::new(), index: FxHashMap::default(), uses: Vec::new(), counted, rewrites: 0 }
    }

    /// The number of operations.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many rules have applied.
    pub(super) fn rewrites(&self) -> usize {
        self.rewrites
    }

    pub(super) fn item(&self, id: Id) -> &Item {
        &self.items[id as usize]
    }

    pub(super) fn op(&self, id: Id) -> &Op {
        &self.item(id).op
    }

    /// The only operand of an operation.
    pub(super) fn inner(&self, id: Id) -> Id {
        self.item(id).operands[0]
    }

    pub(super) fn shape(&self, id: Id) -> &Shape {
        &self.item(id).ty.shape
    }

    pub(super) fn dtype(&self, id: Id) -> DType {
        self.item(id).ty.dtype
    }

    pub(super) fn size(&self, id: Id, axis: Axis) -> usize {
        self.shape(id).size(axis).unwrap_or_else(|| unreachable!("`{axis}` is an axis of the operand"))
    }

    /// The value of a constant.
    pub(super) fn constant_of(&self, id: Id) -> Option<f64> {
        match self.op(id) {
            Op::Constant(value) => Some(*value),
            _ => None,
        }
    }

    /// The operands of a map that applies `op`.
    pub(super) fn map_of(&self, op: ScalarOp, id: Id) -> Option<&[Id]> {
        (*self.op(id) == Op::Map(op)).then(|| self.item(id).operands.as_slice())
    }

    /// The operand of a map that applies a function of one number.
    pub(super) fn unary_of(&self, op: ScalarOp, id: Id) -> Option<Id> {
        self.map_of(op, id).map(|operands| operands[0])
    }

    /// The constant and the rest of a product or sum with a constant.
    pub(super) fn with_constant(&self, op: ScalarOp, id: Id) -> Option<(f64, Id)> {
        let [x, y] = *self.map_of(op, id)? else { return None };
        match (self.constant_of(x), self.constant_of(y)) {
            (Some(value), _) => Some((value, y)),
            (_, Some(value)) => Some((value, x)),
            _ => None,
        }
    }

    /// Whether at most one operation uses this one.
    pub(super) fn is_used_once(&self, id: Id) -> bool {
        self.counted && self.uses[id as usize] <= 1
    }

    /// Adds a leaf.
    pub(super) fn leaf(&mut self, op: Op, ty: Type) -> Id {
        self.intern(Item { op, operands: Vec::new(), ty, label: None })
    }

    pub(super) fn constant(&mut self, value: f64, dtype: DType) -> Id {
        self.leaf(Op::Constant(value), Type::new(dtype, Shape::SCALAR))
    }

    /// The simplest known equal of an operation.
    pub(super) fn make(&mut self, op: Op, operands: Vec<Id>) -> Id {
        let op = canonical(op);
        let rewritten = algebra::rule(self, &op, &operands)
            .or_else(|| spread::rule(self, &op, &operands))
            .or_else(|| views::rule(self, &op, &operands))
            .or_else(|| convolution::rule(self, &op, &operands))
            .or_else(|| totals::rule(self, &op, &operands));
        if let Some(id) = rewritten {
            self.rewrites += 1;
            return id;
        }
        let ty = self.type_of(&op, &operands);
        self.intern(Item { op, operands, ty, label: None })
    }

    /// The type of an operation that is applicable.
    pub(super) fn type_of(&self, op: &Op, operands: &[Id]) -> Type {
        let types: Vec<Type> = operands.iter().map(|id| self.item(*id).ty.clone()).collect();
        type_of(op, &types).unwrap_or_else(|error| panic!("`{op}`: {error}"))
    }

    pub(super) fn map(&mut self, op: ScalarOp, operands: &[Id]) -> Id {
        self.make(Op::Map(op), operands.to_vec())
    }

    /// `x * factor`.
    pub(super) fn scaled(&mut self, x: Id, factor: f64) -> Id {
        let factor = self.constant(factor, self.dtype(x));
        self.map(ScalarOp::Mul, &[factor, x])
    }

    pub(super) fn sum(&mut self, x: Id, axes: Vec<Axis>) -> Id {
        self.make(Op::Reduce { combine: Combine::Sum, axes }, vec![x])
    }

    /// `x` repeated along the axes of `shape` that it lacks.
    pub(super) fn fit(&mut self, x: Id, shape: &Shape) -> Id {
        let own = self.shape(x);
        let missing: Shape = shape.iter().filter(|(axis, _)| !own.contains(*axis)).collect();
        if missing.rank() == 0 { x } else { self.make(Op::Spread(missing), vec![x]) }
    }

    /// Makes an operation stand for one of the previous pass, with its label and uses.
    pub(super) fn take_over(&mut self, id: Id, label: &Option<Arc<str>>, uses: usize) {
        self.uses[id as usize] += uses;
        let own = &mut self.items[id as usize].label;
        if own.is_none() {
            own.clone_from(label);
        }
    }

    /// How often every operation is used by those that the outputs depend on, being an output included; 0 if
    /// they do not depend on it.
    pub(super) fn uses(&self, outputs: &[Id]) -> Vec<usize> {
        let mut uses = vec![0; self.items.len()];
        outputs.iter().for_each(|output| uses[*output as usize] += 1);
        for (id, item) in self.items.iter().enumerate().rev() {
            if uses[id] > 0 {
                item.operands.iter().for_each(|operand| uses[*operand as usize] += 1);
            }
        }
        uses
    }

    fn intern(&mut self, item: Item) -> Id {
        let hash = hash(&item);
        let found = self.index.get(&hash).and_then(|same| same.iter().find(|id| is_same(self.item(**id), &item)));
        if let Some(id) = found {
            return *id;
        }
        let id = self.items.len() as Id;
        self.items.push(item);
        self.uses.push(0);
        self.index.entry(hash).or_default().push(id);
        id
    }
}

/// The operation with its sets of axes in alphabetical order.
fn canonical(mut op: Op) -> Op {
    if let Op::Reduce { axes, .. } | Op::Contract { over: axes } | Op::ScatterAdd { over: axes, .. } = &mut op {
        axes.sort_unstable();
    }
    op
}

fn is_commutative(op: &Op) -> bool {
    use ScalarOp::{Add, And, Equal, Mul, NotEqual, Or};
    matches!(op, Op::Contract { .. } | Op::Map(Add | Mul | Equal | NotEqual | And | Or))
}

fn hash(item: &Item) -> u64 {
    let mut hasher = FxHasher::default();
    std::mem::discriminant(&item.op).hash(&mut hasher);
    match &item.op {
        Op::Constant(value) => value.to_bits().hash(&mut hasher),
        Op::Input(name) | Op::Parameter(name) => name.hash(&mut hasher),
        Op::Map(scalar) => scalar.hash(&mut hasher),
        Op::Slice { start, size, .. } => (start, size).hash(&mut hasher),
        Op::Iota { axis, .. } => axis.hash(&mut hasher),
        _ => {}
    }
    let mut operands = item.operands.clone();
    if is_commutative(&item.op) {
        operands.sort_unstable();
    }
    operands.hash(&mut hasher);
    hasher.finish()
}

fn is_same(x: &Item, y: &Item) -> bool {
    let op = match (&x.op, &y.op) {
        (Op::Constant(a), Op::Constant(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    };
    let operands = x.operands == y.operands
        || is_commutative(&x.op) && x.operands.len() == 2 && x.operands.iter().eq(y.operands.iter().rev());
    op && operands && x.ty == y.ty
}

/// A graph's nodes, which are added operands first, and where each went.
pub(super) fn read(graph: &Graph, erase_stops: bool) -> (Store, FxHashMap<NodeId, Id>) {
    let mut store = Store::new(false);
    let mut copies: FxHashMap<NodeId, Id> = FxHashMap::default();
    for id in graph.ids() {
        let node = graph.node(id).clone();
        let operands: Vec<Id> = graph.operands(id).iter().map(|operand| copies[operand]).collect();
        if erase_stops && node.op == Op::Map(ScalarOp::Stop) {
            copies.insert(id, operands[0]);
            continue;
        }
        copies.insert(id, store.items.len() as Id);
        store.items.push(Item { op: node.op, operands, ty: node.ty, label: node.label });
    }
    (store, copies)
}

/// The graph of what the outputs depend on.
pub(super) fn write<'a>(store: &Store, outputs: impl Iterator<Item = (&'a str, Id)>) -> Graph {
    let outputs: Vec<_> = outputs.collect();
    let ids: Vec<Id> = outputs.iter().map(|(_, id)| *id).collect();
    let uses = store.uses(&ids);
    let mut graph = Graph::new();
    let mut copies = FxHashMap::default();
    for (id, item) in store.items.iter().enumerate().filter(|(id, _)| uses[*id] > 0) {
        let operands: Vec<_> = item.operands.iter().map(|operand| copies[operand]).collect();
        let node = match &item.op {
            Op::Constant(_) | Op::Input(_) | Op::Parameter(_) => graph.leaf(item.op.clone(), item.ty.clone()),
            op => graph.add(op.clone(), &operands),
        };
        if let Some(label) = &item.label {
            graph.set_label(node, label.clone());
        }
        copies.insert(id as Id, node);
    }
    for (name, id) in outputs {
        graph.set_output(name, copies[&id]);
    }
    graph
}
