//! Every rule to second order on a small graph of its own; the points that calculus leaves open.

use super::*;
use crate::{
    differences,
    graph::Type,
    random::RandomKey,
    reference::{Feeds, evaluate_nodes},
    tensor::Tensor,
};

/// Parameters over the axes `a`, `b`, … in turn, an expression of them, and a check of the gradient of the sum of
/// its sines to second order.
struct Case {
    graph: Graph,
    feeds: Feeds,
}

impl Case {
    fn new() -> Case {
        Case { graph: Graph::new(), feeds: Feeds::default() }
    }

    /// A parameter with the given elements.
    fn parameter(&mut self, axes: &[(&str, usize)], data: &[f64]) -> NodeId {
        let shape: Shape = axes.iter().map(|(name, size)| (Axis::new(name), *size)).collect();
        let name = format!("p{}", self.feeds.parameters.len());
        let value = Tensor::new(DType::F64, shape.clone(), data.to_vec());
        self.feeds.parameters.insert(name.clone(), value);
        self.graph.parameter(&name, Type::new(DType::F64, shape))
    }

    /// A parameter whose elements are distinct and lie in (0.2, 0.9).
    fn mixed(&mut self, axes: &[(&str, usize)]) -> NodeId {
        let elements: usize = axes.iter().map(|(_, size)| size).product();
        let salt = 0.13 * self.feeds.parameters.len() as f64;
        let data: Vec<f64> = (0..elements).map(|i| 0.2 + 0.7 * (0.618_034 * i as f64 + salt).fract()).collect();
        self.parameter(axes, &data)
    }

    /// An `i32` input with the given elements.
    fn index(&mut self, axes: &[(&str, usize)], data: &[f64]) -> NodeId {
        let shape: Shape = axes.iter().map(|(name, size)| (Axis::new(name), *size)).collect();
        let value = Tensor::new(DType::I32, shape.clone(), data.to_vec());
        self.feeds.inputs.insert("index".into(), value);
        self.graph.input("index", Type::new(DType::I32, shape))
    }

    /// A smooth scalar of a value, with slopes that differ from element to element.
    fn loss(&mut self, value: NodeId) -> NodeId {
        let mut phase = value;
        let axes: Vec<(Axis, usize)> = self.graph.shape(value).iter().collect();
        for (axis, size) in &axes {
            let iota = self.graph.add(Op::Iota { axis: *axis, size: *size }, &[]);
            let iota = self.graph.map(ScalarOp::Cast(DType::F64), &[iota]);
            phase = self.graph.map(ScalarOp::Add, &[phase, iota]);
        }
        let bent = self.graph.map(ScalarOp::Sin, &[phase]);
        self.graph
            .add(Op::Reduce { combine: Combine::Sum, axes: axes.into_iter().map(|(axis, _)| axis).collect() }, &[bent])
    }

    #[track_caller]
    fn check(mut self, value: NodeId) {
        let loss = self.loss(value);
        for seed in 0..3 {
            if let Err(error) = differences::check(&self.graph, loss, &self.feeds, seed) {
                panic!("{error}\n{}", self.graph);
            }
        }
    }

    /// The gradient of the sum of a value's elements with respect to the parameters.
    fn slopes(mut self, value: NodeId, wrt: &[NodeId]) -> Vec<Vec<f64>> {
        let axes = self.graph.shape(value).axes().collect();
        let sum = self.graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[value]);
        let found = gradients(&mut self.graph, sum, wrt).unwrap();
        self.graph.verify().unwrap();
        let values = evaluate_nodes(&self.graph, &self.feeds, RandomKey::default(), &found).unwrap();
        values.into_iter().map(|value| value.data).collect()
    }
}

fn axis(name: &str) -> Axis {
    Axis::new(name)
}

#[track_caller]
fn check_one(axes: &[(&str, usize)], op: Op) {
    let mut case = Case::new();
    let x = case.mixed(axes);
    let y = case.graph.add(op, &[x]);
    case.check(y);
}

#[test]
fn scalar_operations() {
    for op in ScalarOp::ALL.into_iter().filter(|op| !op.is_predicate() && *op != ScalarOp::Select) {
        if matches!(op, ScalarOp::Cast(_) | ScalarOp::Stop) {
            continue;
        }
        let mut case = Case::new();
        let x = case.mixed(&[("a", 2), ("b", 3)]);
        let y = case.mixed(&[("b", 3), ("c", 2)]);
        let operands = if op.arity() == 1 { vec![x] } else { vec![x, y] };
        let result = case.graph.map(op, &operands);
        case.check(result);
    }
}

#[test]
fn negative_operands() {
    use ScalarOp::*;
    for op in [Abs, Sin, Cos, Tan, Asin, Acos, Atan, Tanh, Sigmoid, Softplus, Erf, Expm1, Log1p, Recip, Exp] {
        let mut case = Case::new();
        let x = case.parameter(&[("a", 3)], &[-0.8, -0.3, 0.6]);
        let result = case.graph.map(op, &[x]);
        case.check(result);
    }
    let mut case = Case::new();
    let (x, y) = (case.parameter(&[("a", 2)], &[-0.8, -0.3]), case.parameter(&[("b", 2)], &[-0.7, 0.45]));
    let (angle, rest) = (case.graph.map(Atan2, &[x, y]), case.graph.map(Mod, &[x, y]));
    let sum = case.graph.map(Add, &[angle, rest]);
    case.check(sum);
}

#[test]
fn selection_and_casts() {
    let mut case = Case::new();
    let (x, y) = (case.mixed(&[("a", 3)]), case.mixed(&[("b", 4)]));
    let less = case.graph.map(ScalarOp::Less, &[x, y]);
    let chosen = case.graph.map(ScalarOp::Select, &[less, x, y]);
    let narrow = case.graph.map(ScalarOp::Cast(DType::F32), &[chosen]);
    let wide = case.graph.map(ScalarOp::Cast(DType::F64), &[narrow]);
    case.check(wide);
}

#[test]
fn constant_exponents() {
    for exponent in [0.0, 1.0, 2.0, 3.0, -1.0, 0.5] {
        let mut case = Case::new();
        let x = case.mixed(&[("a", 3)]);
        let p = case.graph.constant(exponent, DType::F64);
        let y = case.graph.map(ScalarOp::Pow, &[x, p]);
        case.check(y);
    }
}

#[test]
fn reductions() {
    for combine in [Combine::Sum, Combine::Prod, Combine::Max, Combine::Min] {
        for axes in [vec![], vec![axis("b")], vec![axis("c"), axis("a")]] {
            check_one(&[("a", 2), ("b", 3), ("c", 2)], Op::Reduce { combine, axes });
        }
    }
}

#[test]
fn scans() {
    for combine in [Combine::Sum, Combine::Prod, Combine::Max, Combine::Min] {
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            for size in [1, 2, 5, 8] {
                let mut case = Case::new();
                let x = case.mixed(&[("a", 2), ("b", size)]);
                let mut y = case.graph.add(Op::Scan { combine, axis: axis("b"), exclusive, reverse }, &[x]);
                if exclusive && matches!(combine, Combine::Max | Combine::Min) {
                    // The first element is infinite.
                    let (start, size) = (usize::from(!reverse), size - 1);
                    y = case.graph.add(Op::Slice { axis: axis("b"), start, size, step: 1 }, &[y]);
                }
                case.check(y);
            }
        }
    }
}

#[test]
fn contractions() {
    let shapes: [[&[(&str, usize)]; 2]; 4] = [
        [&[("a", 2), ("k", 3)], &[("k", 3), ("b", 2)]],
        [&[("a", 2), ("k", 3), ("l", 2)], &[("l", 2), ("a", 2), ("k", 3)]],
        [&[("k", 3)], &[("k", 3)]],
        [&[("k", 3), ("a", 2)], &[("k", 3)]],
    ];
    for [left, right] in shapes {
        let mut case = Case::new();
        let (x, y) = (case.mixed(left), case.mixed(right));
        let z = case.graph.add(Op::Contract { over: vec![axis("k")] }, &[x, y]);
        case.check(z);
    }
    let mut case = Case::new();
    let x = case.mixed(&[("a", 2), ("k", 3)]);
    let square = case.graph.add(Op::Contract { over: vec![axis("k")] }, &[x, x]);
    case.check(square);
}

#[test]
fn views() {
    let (a, b, c) = (axis("a"), axis("b"), axis("c"));
    let shape: &[(&str, usize)] = &[("a", 2), ("b", 6)];
    let slice = |start, size, step| Op::Slice { axis: b, start, size, step };
    let ops = [
        Op::Spread(Shape::new([(c, 3)])),
        Op::Rename(vec![(a, b), (b, a)]),
        Op::Split { axis: b, into: vec![(c, 2), (b, 3)] },
        Op::Merge { axes: vec![b, a], into: c },
        slice(1, 3, 1),
        slice(1, 3, 2),
        slice(5, 3, -2),
        slice(5, 6, -1),
        slice(3, 0, 1),
        Op::Pad { axis: b, before: 1, after: 2, value: 0.3 },
    ];
    for op in ops {
        check_one(shape, op);
    }
    for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        check_one(shape, Op::Window { axis: b, position: b, tap: c, taps: 3, stride, dilation });
        let size = (6 - 1) * stride + dilation + 1 + stride;
        check_one(shape, Op::Fold { axis: c, size, position: b, tap: a, stride, dilation });
    }
    let mut case = Case::new();
    let (x, y) = (case.mixed(shape), case.mixed(&[("b", 2), ("c", 2)]));
    let joined = case.graph.add(Op::Concat { axis: b }, &[x, y, x]);
    case.check(joined);
}

/// A cotangent that is the same along some axes must be counted once an element.
#[test]
fn cotangents_that_lack_axes() {
    let (a, b, c) = (axis("a"), axis("b"), axis("c"));
    let slice = |size, step| Op::Slice { axis: b, start: 0, size, step };
    let ops = [
        Op::Spread(Shape::new([(c, 3)])),
        Op::Split { axis: b, into: vec![(c, 2), (b, 3)] },
        Op::Merge { axes: vec![b, a], into: c },
        slice(3, 1),
        slice(3, 2),
        Op::Pad { axis: b, before: 1, after: 2, value: 0.3 },
        Op::Window { axis: b, position: b, tap: c, taps: 3, stride: 1, dilation: 1 },
        Op::Fold { axis: b, size: 9, position: b, tap: a, stride: 1, dilation: 2 },
        Op::Sort { axis: b },
        Op::Scan { combine: Combine::Sum, axis: b, exclusive: true, reverse: false },
        Op::Scan { combine: Combine::Prod, axis: b, exclusive: false, reverse: false },
        Op::Scan { combine: Combine::Max, axis: b, exclusive: false, reverse: false },
    ];
    for op in ops {
        let mut case = Case::new();
        let x = case.mixed(&[("a", 2), ("b", 6)]);
        let square = case.graph.map(ScalarOp::Mul, &[x, x]);
        let y = case.graph.add(op, &[square]);
        let axes = case.graph.shape(y).axes().collect();
        let sum = case.graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[y]);
        case.check(sum);
    }
    let mut case = Case::new();
    let (x, y) = (case.mixed(&[("a", 2), ("b", 3)]), case.mixed(&[("b", 3), ("c", 2)]));
    let index = case.index(&[("b", 3), ("d", 2)], &[0.0, 1.0, 1.0, -1.0, 1.0, 0.0]);
    let read = case.graph.add(Op::Gather { axis: a }, &[x, index]);
    let written = case.graph.add(Op::ScatterAdd { axis: a, size: 2, over: vec![b] }, &[y, index]);
    let joint = case.graph.map(ScalarOp::Add, &[read, written]);
    let axes = case.graph.shape(joint).axes().collect();
    let sum = case.graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[joint]);
    case.check(sum);
}

#[test]
fn gathers_scatters_and_sorting() {
    let (a, b) = (axis("a"), axis("b"));
    let mut case = Case::new();
    let x = case.mixed(&[("a", 3), ("b", 2)]);
    let index = case.index(&[("b", 2), ("c", 4)], &[0.0, 2.0, 2.0, 7.0, 1.0, -1.0, 0.0, 1.0]);
    let read = case.graph.add(Op::Gather { axis: a }, &[x, index]);
    case.check(read);

    let mut case = Case::new();
    let x = case.mixed(&[("a", 3), ("b", 2)]);
    let index = case.index(&[("a", 3)], &[2.0, 0.0, 2.0]);
    let lanes = case.graph.add(Op::Gather { axis: a }, &[x, index]);
    case.check(lanes);

    let mut case = Case::new();
    let x = case.mixed(&[("a", 3), ("b", 2)]);
    let index = case.index(&[("b", 2), ("c", 2)], &[0.0, 2.0, 2.0, 7.0]);
    let written = case.graph.add(Op::ScatterAdd { axis: axis("d"), size: 3, over: vec![b] }, &[x, index]);
    case.check(written);

    check_one(&[("a", 5), ("b", 2)], Op::Sort { axis: a });
}

#[test]
fn open_points_are_settled_as_documented() {
    let unary = |op, data: &[f64]| {
        let mut case = Case::new();
        let x = case.parameter(&[("a", data.len())], data);
        let y = case.graph.map(op, &[x]);
        case.slopes(y, &[x]).remove(0)
    };
    assert_eq!(unary(ScalarOp::Abs, &[0.0, -2.0]), [0.0, -1.0]);
    assert_eq!(unary(ScalarOp::Sqrt, &[0.0, 4.0]), [0.0, 0.25]);

    let mut case = Case::new();
    let x = case.parameter(&[("a", 3)], &[-1.0, 0.0, 1.0]);
    let zero = case.graph.constant(0.0, DType::F64);
    let (left, right) = (case.graph.map(ScalarOp::Max, &[x, zero]), case.graph.map(ScalarOp::Max, &[zero, x]));
    let both = case.graph.map(ScalarOp::Add, &[left, right]);
    assert_eq!(case.slopes(both, &[x]), [[0.0, 0.0, 2.0]]);

    let mut case = Case::new();
    let (x, y) = (case.parameter(&[("a", 2)], &[1.0, 1.0]), case.parameter(&[("a", 2)], &[1.0, 2.0]));
    let least = case.graph.map(ScalarOp::Min, &[x, y]);
    assert_eq!(case.slopes(least, &[x, y]), [[1.0, 1.0], [0.0, 0.0]]);

    let mut case = Case::new();
    let x = case.parameter(&[("a", 4)], &[3.0, 1.0, 3.0, 2.0]);
    let largest = case.graph.add(Op::Reduce { combine: Combine::Max, axes: vec![axis("a")] }, &[x]);
    assert_eq!(case.slopes(largest, &[x]), [[0.5, 0.0, 0.5, 0.0]]);

    let mut case = Case::new();
    let x = case.parameter(&[("a", 4)], &[3.0, 1.0, 3.0, 5.0]);
    let running = Op::Scan { combine: Combine::Max, axis: axis("a"), exclusive: false, reverse: false };
    let largest = case.graph.add(running, &[x]);
    assert_eq!(case.slopes(largest, &[x]), [[3.0, 0.0, 0.0, 1.0]]);

    let mut case = Case::new();
    let (x, y) = (case.parameter(&[], &[0.0]), case.parameter(&[], &[0.0]));
    let angle = case.graph.map(ScalarOp::Atan2, &[x, y]);
    assert_eq!(case.slopes(angle, &[x, y]), [[0.0], [0.0]]);
}

#[test]
fn products_hold_at_zeros_and_next_to_tiny_factors() {
    let gradient = |exclusive, data: &[f64]| {
        let mut case = Case::new();
        let x = case.parameter(&[("a", data.len())], data);
        let op = Op::Scan { combine: Combine::Prod, axis: axis("a"), exclusive, reverse: false };
        let y = case.graph.add(op, &[x]);
        case.slopes(y, &[x]).remove(0)
    };
    // y = (x₀, x₀x₁, x₀x₁x₂) at (2, 0, 3): slopes 1 + x₁ + x₁x₂, x₀ + x₀x₂, x₀x₁.
    assert_eq!(gradient(false, &[2.0, 0.0, 3.0]), [1.0, 8.0, 0.0]);
    assert_eq!(gradient(false, &[0.0, 0.0, 3.0]), [1.0, 0.0, 0.0]);
    assert_eq!(gradient(true, &[2.0, 0.0, 3.0]), [1.0, 2.0, 0.0]);
    // y = (1, x₀, x₀x₁, x₀x₁x₂) with x = (0.5, 1e-10, 1e-10, 7).
    let tiny = gradient(true, &[0.5, 1e-10, 1e-10, 7.0]);
    let expected = [1.0 + 1e-10 + 1e-20, 0.5 + 0.5e-10, 0.5e-10, 0.0];
    assert!(tiny.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 1e-15 * y), "{tiny:?}");

    let mut case = Case::new();
    let x = case.parameter(&[("a", 2), ("b", 2)], &[2.0, 0.0, 3.0, 5.0]);
    let product = case.graph.add(Op::Reduce { combine: Combine::Prod, axes: vec![axis("a"), axis("b")] }, &[x]);
    assert_eq!(case.slopes(product, &[x]), [[0.0, 30.0, 0.0, 0.0]]);
}

#[test]
fn nothing_passes_where_nothing_should() {
    let mut case = Case::new();
    let (x, y) = (case.parameter(&[("a", 2)], &[1.5, 2.5]), case.parameter(&[("a", 2)], &[1.0, 1.0]));
    let stopped = case.graph.map(ScalarOp::Stop, &[x]);
    let whole = case.graph.map(ScalarOp::Floor, &[x]);
    let sum = case.graph.map(ScalarOp::Add, &[stopped, whole]);
    let axes = vec![axis("a")];
    let loss = case.graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[sum]);
    assert_eq!(reached_gradients(&mut case.graph, loss, &[x, y]).unwrap(), [None, None]);
    let erased = erase_stops(&case.graph);
    assert!(erased.ids().all(|id| *erased.op(id) != Op::Map(ScalarOp::Stop)));
    assert_eq!(case.slopes(sum, &[x, y]), [[0.0, 0.0], [0.0, 0.0]]);
}

#[test]
fn only_float_scalars_are_differentiated() {
    let mut case = Case::new();
    let x = case.mixed(&[("a", 2)]);
    let error = gradients(&mut case.graph, x, &[x]).unwrap_err();
    assert_eq!(error.to_string(), "a gradient is taken of a single number, and this value has the axes [a=2]");
    let index = case.index(&[], &[1.0]);
    let error = gradients(&mut case.graph, index, &[x]).unwrap_err();
    assert_eq!(error.to_string(), "only floating-point values have gradients, and this is i32");
}
