//! Finding the operation whose value first became infinite or not a number.
//!
//! A program is run once more with an output for every operation: how many of its elements are not
//! finite. That is a program like any other, so it runs at full speed on any device and never holds
//! more than the program itself does.

use crate::{
    buffer::{Buffer, State},
    executor::{Executable, ExecuteError, ExecuteOptions},
};
use indexmap::IndexMap;
use visage_compiler::{
    axis::{Axis, Shape},
    graph::{Combine, DType, NodeId, Op, ScalarOp},
    random::RandomKey,
    system::Program,
};

/// An operation with values that are not finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Culprit {
    /// The node.
    pub node: NodeId,
    /// The operation, its operands and its type, as a listing of the graph shows them, with the name that
    /// the spec has for it.
    pub shown: String,
    /// How many of its elements are not finite.
    pub elements: usize,
    /// How many elements it has.
    pub of: usize,
}

/// Runs programs with every operation observed.
#[derive(Debug)]
pub struct Detector {
    executable: Executable,
    /// Observed nodes with the outputs that count for them, operands before users.
    observed: Vec<(NodeId, String)>,
    program: Program,
}

impl Detector {
    /// Prepares to observe a program.
    ///
    /// # Errors
    /// The device cannot run the observed program.
    pub fn new(program: &Program, options: &ExecuteOptions) -> Result<Detector, ExecuteError> {
        let (instrumented, observed) = instrument(program);
        let executable = Executable::new(&instrumented, &IndexMap::new(), options)?;
        Ok(Detector { executable, observed, program: program.clone() })
    }

    /// How many elements of each observed node are not finite.
    fn counts(
        &mut self,
        state: &mut State,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
    ) -> Result<Vec<usize>, ExecuteError> {
        let outputs = self.executable.run(state, inputs, key)?;
        Ok(self.observed.iter().map(|(_, output)| outputs[output].value() as usize).collect())
    }

    /// The first operation, operands before users, with values that are not finite. Operations that have
    /// such values on the `healthy` run as well (a mask applied later, say) are passed over if any other
    /// is found.
    ///
    /// # Errors
    /// The device fails.
    pub fn first(
        &mut self,
        healthy: Option<(&mut State, &IndexMap<String, Buffer>, RandomKey)>,
        broken: (&mut State, &IndexMap<String, Buffer>, RandomKey),
    ) -> Result<Option<Culprit>, ExecuteError> {
        let usual = match healthy {
            Some((state, inputs, key)) => self.counts(state, inputs, key)?,
            None => vec![0; self.observed.len()],
        };
        let counts = self.counts(broken.0, broken.1, broken.2)?;
        let found = |unusual: bool| {
            let mut places = 0..counts.len();
            places.find(|place| counts[*place] > 0 && (!unusual || usual[*place] == 0))
        };
        Ok(found(true).or_else(|| found(false)).map(|place| {
            let node = self.observed[place].0;
            let graph = &self.program.graph;
            Culprit {
                node,
                shown: show(&self.program, node),
                elements: counts[place],
                of: graph.shape(node).elements(),
            }
        }))
    }
}

/// The program with an output for each operation on floating-point numbers: the number of elements that
/// are not finite.
fn instrument(program: &Program) -> (Program, Vec<(NodeId, String)>) {
    let mut graph = program.graph.clone();
    let roots: Vec<NodeId> = graph.outputs().map(|(_, node)| node).collect();
    let nodes = graph.reachable(&roots);
    let mut outputs = IndexMap::new();
    let mut observed = Vec::new();
    for node in nodes {
        let ty = graph.ty(node).clone();
        if !ty.dtype.is_float() || matches!(graph.op(node), Op::Constant(_)) {
            continue;
        }
        let size = graph.map(ScalarOp::Abs, &[node]);
        let most = if ty.dtype == DType::F64 { f64::MAX } else { f64::from(f32::MAX) };
        let largest = graph.constant(most, ty.dtype);
        // Comparisons with NaN are false, so what is not at most the largest number is not finite.
        let finite = graph.map(ScalarOp::LessEqual, &[size, largest]);
        let broken = graph.map(ScalarOp::Not, &[finite]);
        let broken = graph.map(ScalarOp::Cast(DType::F32), &[broken]);
        let axes: Vec<Axis> = ty.shape.axes().collect();
        let count = match axes.is_empty() {
            true => broken,
            false => graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[broken]),
        };
        let output = format!("not finite %{}", node.index());
        graph.set_output(&output, count);
        outputs.insert(output.clone(), Shape::SCALAR);
        observed.push((node, output));
    }
    outputs.extend(program.outputs.iter().map(|(name, shape)| (name.clone(), shape.clone())));
    (Program { graph, outputs, ..program.clone() }, observed)
}

/// `%12 = log %7 : f32[ray=4]  # weight`
fn show(program: &Program, node: NodeId) -> String {
    let graph = &program.graph;
    let operands: Vec<String> = graph.operands(node).iter().map(|operand| format!("%{}", operand.index())).collect();
    let label = graph.node(node).label.as_ref().map_or(String::new(), |label| format!("  # {label}"));
    format!("%{} = {} {} : {}{label}", node.index(), graph.op(node), operands.join(", "), graph.ty(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::graph::{Graph, Type};
    use visage_compiler::system::Input;

    /// y = sqrt(x), z = 1 / 0 masked by x < 2.
    fn program() -> Program {
        let shape = Shape::new([(Axis::new("ray"), 3)]);
        let ty = Type::new(DType::F32, shape.clone());
        let mut graph = Graph::new();
        let x = graph.input("x", ty.clone());
        let zero = graph.map(ScalarOp::Sub, &[x, x]);
        let infinite = graph.map(ScalarOp::Recip, &[zero]);
        let two = graph.constant(2.0, DType::F32);
        let small = graph.map(ScalarOp::Less, &[x, two]);
        let masked = graph.map(ScalarOp::Select, &[small, x, infinite]);
        let root = graph.map(ScalarOp::Sqrt, &[masked]);
        graph.set_label(root, "root");
        graph.set_output("y", root);
        let input =
            Input { ty, size_names: vec!["ray".into()], about: String::new(), optional: false, schedule: false };
        Program {
            graph,
            inputs: [("x".to_owned(), input)].into_iter().collect(),
            parameters: IndexMap::new(),
            outputs: [("y".to_owned(), shape)].into_iter().collect(),
        }
    }

    fn inputs(values: [f32; 3]) -> IndexMap<String, Buffer> {
        let shape = Shape::new([(Axis::new("ray"), 3)]);
        [("x".to_owned(), Buffer::from_f32(shape, &values))].into_iter().collect()
    }

    #[test]
    fn the_first_unusual_operation_is_found() {
        let mut detector = Detector::new(&program(), &ExecuteOptions::default()).unwrap();
        let key = RandomKey { seed: 0, step: 0 };
        let (good, bad) = (inputs([0.5, 1.0, 1.5]), inputs([0.5, -1.0, 1.5]));
        let found = detector.first(Some((&mut State::new(), &good, key)), (&mut State::new(), &bad, key));
        let culprit = found.unwrap().unwrap();
        assert!(culprit.shown.contains("sqrt") && culprit.shown.ends_with("# root"), "{}", culprit.shown);
        assert_eq!((culprit.elements, culprit.of), (1, 3));
        // Without a healthy run the masked infinity comes first.
        let found = detector.first(None, (&mut State::new(), &bad, key));
        assert!(found.unwrap().unwrap().shown.contains("recip"));
    }
}
