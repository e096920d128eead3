//! The reference evaluator: every operation in plain loops over `f64`.
//!
//! This is the definition of what a graph means. Backends, passes and gradients are tested against it.
//! What the names of the operations leave open is settled as follows.
//!
//! * `max(a, b)` is `b` where `b > a` and otherwise `a`; `min(a, b)` is `b` where `b < a` and otherwise `a`. A
//!   NaN in the first operand stays, one in the second is passed over. Reductions and scans start from
//!   the identity and take elements as second operand: they pass over NaN, and are −∞ or ∞ on nothing.
//! * `argmax` and `argmin` never choose a NaN unless there is nothing else, then the first position.
//! * Sorting puts NaN last. Equal elements (−0 and 0 are equal) keep their order.
//! * Comparisons with NaN are false, except `not_equal`. `sign(NaN)` is 0.
//! * Integers are 32 bits wide and wrap around. Their quotient is rounded towards −∞, so that
//!   `x = y * (x / y) + mod(x, y)`; quotient and remainder by zero are 0.
//! * `mod(x, y)` is `x - y * floor(x / y)` for floating-point numbers too.
//! * A float becomes an integer by truncation towards zero, saturated at the ends of the range; NaN becomes
//!   0. A number becomes a truth value by comparison with zero (NaN is true), a truth value becomes 0 or 1.
//! * `gather` from a position outside the axis reads 0; `scatter_add` to one adds nothing.
//! * `search_sorted` on an axis that is not ascending is some position in range.
//! * Sums, products and contractions accumulate in `f64`, in row-major order of the axes they run over.

mod scalar;
mod shuffle;
mod table;
mod totals;

use crate::{
    axis::Shape,
    graph::{DType, Graph, NodeId, Op, Type},
    random::{self, RandomKey},
    tensor::Tensor,
};
use indexmap::IndexMap;
use std::{collections::HashMap, rc::Rc};
use table::Table;
use thiserror::Error;

/// Values of a graph's leaves, by name. Axes may come in any order.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// Values of the inputs.
    pub inputs: HashMap<String, Tensor>,
    /// Values of the parameters.
    pub parameters: HashMap<String, Tensor>,
}

/// How precisely floating-point values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// As `f64`, whatever the node's type says.
    #[default]
    Exact,
    /// Every node's result is rounded to its type once it is computed: what a backend that computes each
    /// operation perfectly would store. Decisions (comparisons, rounding, sorting) then fall as they do
    /// on that backend.
    AsTyped,
}

/// Why a graph cannot be evaluated on the given values.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ReferenceError {
    #[error("no value is given for {kind} `{name}`")]
    Missing { kind: &'static str, name: String },
    #[error("{kind} `{name}` has the axes {expected}, but its value has {found}")]
    Shape { kind: &'static str, name: String, expected: Shape, found: Shape },
}

/// The outputs of a graph, by name, evaluated exactly.
pub fn evaluate(graph: &Graph, feeds: &Feeds, key: RandomKey) -> Result<IndexMap<String, Tensor>, ReferenceError> {
    evaluate_rounded(graph, feeds, key, Rounding::Exact)
}

/// The outputs of a graph, by name.
pub fn evaluate_rounded(
    graph: &Graph,
    feeds: &Feeds,
    key: RandomKey,
    rounding: Rounding,
) -> Result<IndexMap<String, Tensor>, ReferenceError> {
    let (names, nodes): (Vec<_>, Vec<_>) = graph.outputs().unzip();
    let values = evaluate_nodes_rounded(graph, feeds, key, rounding, &nodes)?;
    Ok(names.into_iter().map(str::to_owned).zip(values).collect())
}

/// The values of some nodes, evaluated exactly. Each has the axes in its node's reading order.
pub fn evaluate_nodes(
    graph: &Graph,
    feeds: &Feeds,
    key: RandomKey,
    nodes: &[NodeId],
) -> Result<Vec<Tensor>, ReferenceError> {
    evaluate_nodes_rounded(graph, feeds, key, Rounding::Exact, nodes)
}

/// The values of some nodes. Each has the axes in its node's reading order.
pub fn evaluate_nodes_rounded(
    graph: &Graph,
    feeds: &Feeds,
    key: RandomKey,
    rounding: Rounding,
    nodes: &[NodeId],
) -> Result<Vec<Tensor>, ReferenceError> {
    let order = graph.reachable(nodes);
    let mut uses: HashMap<NodeId, usize> = HashMap::new();
    let operands: Vec<Vec<NodeId>> = order.iter().map(|id| graph.operands(*id)).collect();
    for id in operands.iter().flatten().chain(nodes) {
        *uses.entry(*id).or_default() += 1;
    }
    let mut values: HashMap<NodeId, Rc<Tensor>> = HashMap::new();
    for (id, operands) in order.into_iter().zip(operands) {
        let given: Vec<Rc<Tensor>> = operands.iter().map(|operand| values[operand].clone()).collect();
        let given: Vec<&Tensor> = given.iter().map(Rc::as_ref).collect();
        let node = graph.node(id);
        let mut value = match &node.op {
            Op::Input(name) => fed("input", name, &feeds.inputs, &node.ty)?,
            Op::Parameter(name) => fed("parameter", name, &feeds.parameters, &node.ty)?,
            op => evaluate_op(op, &node.ty, &given, key),
        };
        if rounding == Rounding::AsTyped {
            value.data.iter_mut().for_each(|element| *element = node.ty.dtype.round(*element));
        }
        values.insert(id, Rc::new(value));
        for operand in operands {
            let left = uses.get_mut(&operand).unwrap_or_else(|| unreachable!("every operand is counted"));
            *left -= 1;
            if *left == 0 {
                values.remove(&operand);
            }
        }
    }
    Ok(nodes.iter().map(|id| values[id].as_ref().clone()).collect())
}

fn fed(kind: &'static str, name: &str, values: &HashMap<String, Tensor>, ty: &Type) -> Result<Tensor, ReferenceError> {
    let value = values.get(name).ok_or_else(|| ReferenceError::Missing { kind, name: name.to_owned() })?;
    if *value.shape() != ty.shape {
        let (expected, found) = (ty.shape.clone(), value.shape().clone());
        return Err(ReferenceError::Shape { kind, name: name.to_owned(), expected, found });
    }
    let mut value = value.reordered(&ty.shape);
    value.ty.dtype = ty.dtype;
    Ok(value)
}

/// The value of one operation of type `ty` on the values of its operands. Inputs and parameters have
/// no value of their own.
pub(crate) fn evaluate_op(op: &Op, ty: &Type, operands: &[&Tensor], key: RandomKey) -> Tensor {
    let result = |data| Tensor { ty: ty.clone(), data };
    match op {
        Op::Input(_) | Op::Parameter(_) => unreachable!("leaves are fed"),
        Op::Constant(value) => result(vec![if ty.dtype.is_float() { *value } else { ty.dtype.round(*value) }]),
        Op::Iota { size, .. } => result((0..*size).map(|i| i as f64).collect()),
        Op::Random { distribution, stream, shape } => {
            let elements = Table::of(&shape.canonical(), ty.shape.axes()).offsets();
            let draw = |element: usize| random::draw(*distribution, key, *stream, element as u32);
            result(elements.into_iter().map(draw).collect())
        }
        Op::Map(scalar) => result(map(*scalar, ty, operands)),
        Op::Reduce { .. } | Op::ArgReduce { .. } | Op::Scan { .. } | Op::Contract { .. } => {
            result(totals::evaluate(op, ty, operands))
        }
        _ => result(shuffle::evaluate(op, ty, operands)),
    }
}

/// The value of an operation on floating-point scalars, as every target's `f64` has it.
pub(crate) fn elementary_function(op: crate::graph::ScalarOp, operands: &[f64]) -> f64 {
    scalar::apply(op, scalar::Kind::Float, operands)
}

fn map(op: crate::graph::ScalarOp, ty: &Type, operands: &[&Tensor]) -> Vec<f64> {
    let from = operands[0].ty.dtype;
    let elements = ty.shape.elements();
    let tables: Vec<Option<Vec<usize>>> = operands
        .iter()
        .map(|operand| {
            let same_order = operand.shape().axes().eq(ty.shape.axes());
            (!same_order).then(|| Table::of(operand.shape(), ty.shape.axes()).sized(&ty.shape).offsets())
        })
        .collect();
    let at = |k: usize, i: usize| operands[k].data[tables[k].as_ref().map_or(i, |table| table[i])];
    let kind = if from == DType::I32 { scalar::Kind::Integer } else { scalar::Kind::Float };
    let compute: Box<dyn Fn(usize) -> f64> = match operands.len() {
        1 => Box::new(|i| scalar::apply(op, kind, &[at(0, i)])),
        2 => Box::new(|i| scalar::apply(op, kind, &[at(0, i), at(1, i)])),
        _ => Box::new(|i| scalar::apply(op, kind, &[at(0, i), at(1, i), at(2, i)])),
    };
    (0..elements).map(compute).collect()
}

#[cfg(test)]
mod tests;
