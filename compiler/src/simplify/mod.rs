//! Simplification: from graph to graph, the same values in fewer and cheaper operations.
//!
//! The graph is rebuilt operand first through `Store::make`, which tries the rules on an operation
//! before it is added and shares what is already there. A rule sees operands that are simplified
//! themselves. Passes repeat until one changes nothing.
//!
//! The rules, one file a group:
//!
//! * `algebra`: constants, identities of arithmetic and logic.
//! * `spread`: repetition moves outwards, past everything that can be computed once, until it
//!   disappears: maps align by name and need none.
//! * `views`: views of views become one view, views that change nothing disappear.
//! * `convolution`: the gradient of a convolution is a convolution.
//! * `totals`: reductions of reductions, and sums of products as contractions.
//!
//! Values are those of the graph up to rounding and with the algebra of finite numbers: `x * 0` is 0, whatever x
//! may become at run time, and the sign of a zero is not kept. Rewrites that depend on nothing else
//! using a value wait for the second pass, when duplicates have become one.

mod algebra;
mod convolution;
mod spread;
mod store;
mod totals;
mod views;

use crate::{
    graph::{Graph, NodeId, Op},
    system::Program,
};
use store::Store;

/// Passes after which simplification stops even if rules still apply. Each rule makes a graph smaller
/// or moves an operation in one direction, so that a handful is enough.
const MOST_PASSES: usize = 16;

/// An equal graph in fewer and cheaper operations, holding only what the outputs depend on. Axes of a value
/// may be listed in another order.
pub fn simplify(graph: &Graph) -> Graph {
    let outputs: Vec<_> = graph.outputs().map(|(name, node)| (name.to_owned(), node)).collect();
    settled(graph, &outputs, false)
}

/// The simplified graph of some nodes of a graph that will not be differentiated any more: every
/// `stop(x)` is `x`, and the outputs are the given ones alone.
pub fn finished(graph: &Graph, outputs: &[(String, NodeId)]) -> Graph {
    settled(graph, outputs, true)
}

fn settled(graph: &Graph, named: &[(String, NodeId)], erase_stops: bool) -> Graph {
    let (mut store, copies) = store::read(graph, erase_stops);
    let mut outputs: Vec<store::Id> = named.iter().map(|(_, node)| copies[node]).collect();
    for pass in 0..MOST_PASSES {
        let (next, moved) = rewrite(&store, &outputs, pass > 0);
        let settled = pass > 0 && next.rewrites() == 0 && next.len() == store.len();
        (store, outputs) = (next, moved);
        if settled {
            break;
        }
    }
    store::write(&store, named.iter().map(|(name, _)| name.as_str()).zip(outputs))
}

/// One pass: every live operation rebuilt.
fn rewrite(store: &Store, outputs: &[store::Id], counted: bool) -> (Store, Vec<store::Id>) {
    let uses = store.uses(outputs);
    let mut next = Store::new(counted);
    let mut copies = vec![store::Id::MAX; store.len()];
    for id in (0..store.len()).filter(|id| uses[*id] > 0) {
        let item = store.item(id as store::Id);
        let operands = item.operands.iter().map(|operand| copies[*operand as usize]).collect();
        let copy = match &item.op {
            Op::Constant(_) | Op::Input(_) | Op::Parameter(_) => next.leaf(item.op.clone(), item.ty.clone()),
            op => next.make(op.clone(), operands),
        };
        next.take_over(copy, &item.label, uses[id]);
        copies[id] = copy;
    }
    let outputs = outputs.iter().map(|output| copies[*output as usize]).collect();
    (next, outputs)
}

/// The program with its graph simplified.
pub fn simplified(program: &Program) -> Program {
    let graph = simplify(&program.graph);
    let parameters = graph.ids().filter_map(|id| match graph.op(id) {
        Op::Parameter(name) => Some((name.clone(), id)),
        _ => None,
    });
    Program {
        parameters: parameters.collect(),
        inputs: program.inputs.clone(),
        outputs: program.outputs.clone(),
        graph,
    }
}

#[cfg(test)]
mod tests;
