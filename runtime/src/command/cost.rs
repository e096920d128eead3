//! What a program costs, from its graph alone.

use visage_compiler::{
    graph::{Graph, NodeId, Op},
    system::Program,
};

/// Work and traffic of a program, before any fusion.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations of contractions, a multiplication and an addition being two.
    pub contractions: f64,
    /// Element operations of everything else.
    pub elements: f64,
    /// Bytes of the values that operations (not views) give.
    pub bytes: f64,
}

/// The cost of a program.
pub fn of(program: &Program) -> Cost {
    let graph = &program.graph;
    let roots: Vec<NodeId> = graph.outputs().map(|(_, node)| node).collect();
    let mut cost = Cost::default();
    for node in graph.reachable(&roots) {
        let elements = graph.shape(node).elements() as f64;
        match graph.op(node) {
            Op::Contract { over } => {
                let operand = graph.operands(node)[0];
                let summed: usize = over.iter().filter_map(|axis| graph.shape(operand).size(*axis)).product();
                cost.contractions += 2.0 * elements * summed as f64;
            }
            Op::Constant(_) | Op::Input(_) | Op::Parameter(_) => continue,
            Op::Rename(_)
            | Op::Split { .. }
            | Op::Merge { .. }
            | Op::Slice { .. }
            | Op::Window { .. }
            | Op::Spread(_) => {
                continue;
            }
            Op::Reduce { .. } | Op::ArgReduce { .. } => cost.elements += operand_elements(graph, node),
            _ => cost.elements += elements,
        }
        cost.bytes += elements * graph.ty(node).dtype.bytes() as f64;
    }
    cost
}

fn operand_elements(graph: &Graph, node: NodeId) -> f64 {
    graph.operands(node).first().map_or(0.0, |operand| graph.shape(*operand).elements() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use indexmap::IndexMap;
    use visage_compiler::{
        axis::{Axis, Shape},
        graph::{DType, Type},
    };

    #[test]
    fn a_matrix_product_is_two_operations_a_term() {
        let (m, k, n) = (Axis::new("m"), Axis::new("k"), Axis::new("n"));
        let mut graph = Graph::new();
        let x = graph.input("x", Type::new(DType::F32, Shape::new([(m, 4), (k, 5)])));
        let y = graph.input("y", Type::new(DType::F32, Shape::new([(k, 5), (n, 6)])));
        let z = graph.add(Op::Contract { over: vec![k] }, &[x, y]);
        graph.set_output("z", z);
        let program = Program { graph, inputs: IndexMap::new(), parameters: IndexMap::new(), outputs: IndexMap::new() };
        assert_eq!(of(&program), Cost { contractions: 240.0, elements: 0.0, bytes: 96.0 });
    }
}
