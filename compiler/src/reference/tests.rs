use super::*;
use crate::{
    axis::Axis,
    graph::{Combine, Distribution, ScalarOp},
};

const KEY: RandomKey = RandomKey { seed: 1, step: 0 };

fn axis(name: &str) -> Axis {
    Axis::new(name)
}

/// A tensor over the axes `a`, `b`, … of the given sizes.
fn tensor(dtype: DType, sizes: &[usize], data: &[f64]) -> Tensor {
    let axes = ["a", "b", "c"].into_iter().zip(sizes).map(|(name, size)| (axis(name), *size));
    Tensor::new(dtype, Shape::new(axes), data.to_vec())
}

fn floats(sizes: &[usize], data: &[f64]) -> Tensor {
    tensor(DType::F64, sizes, data)
}

fn integers(sizes: &[usize], data: &[f64]) -> Tensor {
    tensor(DType::I32, sizes, data)
}

/// What `op` makes of the operands.
fn run(op: Op, operands: &[Tensor]) -> Tensor {
    let types: Vec<Type> = operands.iter().map(|operand| operand.ty.clone()).collect();
    let ty = crate::graph::type_of(&op, &types).unwrap();
    evaluate_op(&op, &ty, &operands.iter().collect::<Vec<_>>(), KEY)
}

#[track_caller]
fn check(op: Op, operands: &[Tensor], shape: &str, data: &[f64]) {
    let result = run(op, operands);
    assert_eq!(result.shape().to_string(), shape);
    let same = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan());
    assert!(result.data.iter().zip(data).all(same) && result.data.len() == data.len(), "{:?}", result.data);
}

#[track_caller]
fn check_map(op: ScalarOp, operands: &[Tensor], data: &[f64]) {
    let result = run(Op::Map(op), operands);
    let same = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan());
    assert!(result.data.iter().zip(data).all(same) && result.data.len() == data.len(), "{:?}", result.data);
}

const NAN: f64 = f64::NAN;

#[test]
fn maps_align_axes_by_name() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = Tensor::new(DType::F64, Shape::new([(axis("b"), 3)]), vec![10.0, 20.0, 30.0]);
    check(Op::Map(ScalarOp::Add), &[x.clone(), y.clone()], "[a=2, b=3]", &[11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
    check(Op::Map(ScalarOp::Sub), &[y, x], "[b=3, a=2]", &[9.0, 6.0, 18.0, 15.0, 27.0, 24.0]);
}

#[test]
fn scalar_edges_are_as_documented() {
    let pair = |x: &[f64], y: &[f64]| [floats(&[x.len()], x), floats(&[y.len()], y)];
    check_map(ScalarOp::Max, &pair(&[NAN, 0.0, 1.0], &[0.0, NAN, 2.0]), &[NAN, 0.0, 2.0]);
    check_map(ScalarOp::Min, &pair(&[NAN, 0.0, 1.0], &[0.0, NAN, 2.0]), &[NAN, 0.0, 1.0]);
    check_map(ScalarOp::Mod, &pair(&[-1.0, 5.5, 5.5], &[3.0, 2.0, -2.0]), &[2.0, 1.5, -0.5]);
    check_map(ScalarOp::Sign, &[floats(&[3], &[-2.0, 0.0, NAN])], &[-1.0, 0.0, 0.0]);
    check_map(ScalarOp::Round, &[floats(&[3], &[0.5, 1.5, -2.5])], &[0.0, 2.0, -2.0]);
    check_map(ScalarOp::Softplus, &[floats(&[2], &[-1e4, 1e4])], &[0.0, 1e4]);
    check_map(ScalarOp::Sigmoid, &[floats(&[3], &[-1e4, 0.0, 1e4])], &[0.0, 0.5, 1.0]);
    let wide = floats(&[5], &[3e9, -3e9, NAN, -1.9, 1.9]);
    check_map(ScalarOp::Cast(DType::I32), &[wide], &[2147483647.0, -2147483648.0, 0.0, -1.0, 1.0]);
    check_map(ScalarOp::Cast(DType::Bool), &[floats(&[3], &[0.0, NAN, -2.0])], &[0.0, 1.0, 1.0]);
    let ints = |x: &[f64], y: &[f64]| [integers(&[x.len()], x), integers(&[y.len()], y)];
    let (x, y) = ([-7.0, 7.0, -7.0, 7.0, 3.0], [2.0, -2.0, -2.0, 2.0, 0.0]);
    check_map(ScalarOp::Div, &ints(&x, &y), &[-4.0, -4.0, 3.0, 3.0, 0.0]);
    check_map(ScalarOp::Mod, &ints(&x, &y), &[1.0, -1.0, -1.0, 1.0, 0.0]);
    check_map(ScalarOp::Mul, &ints(&[65536.0, 46341.0], &[65536.0, 46341.0]), &[0.0, -2147479015.0]);
}

#[test]
fn the_error_function_agrees_with_tables() {
    let table = [(0.1, 0.112_462_916_018_284_9), (0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9)];
    let tail = [(2.0, 0.995_322_265_018_952_7), (3.0, 0.999_977_909_503_001_4), (-1.0, -0.842_700_792_949_714_9)];
    for (x, expected) in table.into_iter().chain(tail) {
        assert!((scalar::erf(x) - expected).abs() < 1e-15, "erf({x}) = {}", scalar::erf(x));
    }
    assert_eq!([scalar::erf(7.0), scalar::erf(f64::NEG_INFINITY), scalar::erf(0.0)], [1.0, -1.0, 0.0]);
}

#[test]
fn reductions() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, NAN, 6.0]);
    let reduce = |combine, axes: &[&str]| Op::Reduce { combine, axes: axes.iter().map(|a| axis(a)).collect() };
    check(reduce(Combine::Sum, &["a"]), std::slice::from_ref(&x), "[b=3]", &[5.0, NAN, 9.0]);
    check(reduce(Combine::Max, &["b"]), std::slice::from_ref(&x), "[a=2]", &[3.0, 6.0]);
    check(reduce(Combine::Min, &["a", "b"]), std::slice::from_ref(&x), "[]", &[1.0]);
    check(reduce(Combine::Prod, &["b", "a"]), &[floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])], "[]", &[24.0]);
    check(reduce(Combine::Max, &["a"]), &[floats(&[0], &[])], "[]", &[f64::NEG_INFINITY]);
    let y = floats(&[4], &[NAN, 3.0, 3.0, 1.0]);
    check(Op::ArgReduce { largest: true, axis: axis("a") }, std::slice::from_ref(&y), "[]", &[1.0]);
    check(Op::ArgReduce { largest: false, axis: axis("a") }, &[y], "[]", &[3.0]);
}

#[test]
fn scans() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let scan = |combine, along, exclusive, reverse| Op::Scan { combine, axis: axis(along), exclusive, reverse };
    let on = |op, data: &[f64]| check(op, std::slice::from_ref(&x), "[a=2, b=3]", data);
    on(scan(Combine::Sum, "b", false, false), &[1.0, 3.0, 6.0, 4.0, 9.0, 15.0]);
    on(scan(Combine::Sum, "b", true, true), &[5.0, 3.0, 0.0, 11.0, 6.0, 0.0]);
    on(scan(Combine::Prod, "a", true, false), &[1.0, 1.0, 1.0, 1.0, 2.0, 3.0]);
    on(scan(Combine::Min, "b", false, true), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[test]
fn contractions_sum_products() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = Tensor::new(DType::F64, Shape::new([(axis("c"), 2), (axis("b"), 3)]), vec![1.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
    check(Op::Contract { over: vec![axis("b")] }, &[x, y], "[a=2, c=2]", &[4.0, 4.0, 10.0, 13.0]);
}

#[test]
fn views_move_elements() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let on = |op, shape: &str, data: &[f64]| check(op, std::slice::from_ref(&x), shape, data);
    let (a, b, c) = (axis("a"), axis("b"), axis("c"));
    on(Op::Rename(vec![(a, b), (b, a)]), "[b=2, a=3]", &x.data);
    on(Op::Merge { axes: vec![b, a], into: c }, "[c=6]", &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    on(Op::Split { axis: b, into: vec![(c, 3), (b, 1)] }, "[a=2, c=3, b=1]", &x.data);
    on(Op::Slice { axis: b, start: 2, size: 2, step: -2 }, "[a=2, b=2]", &[3.0, 1.0, 6.0, 4.0]);
    on(
        Op::Pad { axis: a, before: 1, after: 0, value: 9.0 },
        "[a=3, b=3]",
        &[9.0, 9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    );
    on(Op::Spread(Shape::new([(c, 2)])), "[c=2, a=2, b=3]", &[1., 2., 3., 4., 5., 6., 1., 2., 3., 4., 5., 6.]);
    let window = Op::Window { axis: b, position: b, tap: c, taps: 2, stride: 1, dilation: 1 };
    let windows = [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0];
    on(window, "[a=2, b=2, c=2]", &windows);
    let fold = Op::Fold { axis: b, size: 4, position: b, tap: c, stride: 1, dilation: 1 };
    check(fold, &[floats(&[2, 2, 2], &windows)], "[a=2, b=4]", &[1.0, 4.0, 3.0, 0.0, 4.0, 10.0, 6.0, 0.0]);
    let lone = Tensor::new(DType::F64, Shape::new([(b, 1)]), vec![7.0]);
    check(Op::Concat { axis: b }, &[x.clone(), lone], "[a=2, b=4]", &[1.0, 2.0, 3.0, 7.0, 4.0, 5.0, 6.0, 7.0]);
}

#[test]
fn gathers_and_scatters_ignore_what_is_outside() {
    let x = floats(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let (a, b, c) = (axis("a"), axis("b"), axis("c"));
    let over_c = Tensor::new(DType::I32, Shape::new([(c, 3)]), vec![2.0, -1.0, 3.0]);
    check(Op::Gather { axis: b }, &[x.clone(), over_c], "[a=2, c=3]", &[3.0, 0.0, 0.0, 6.0, 0.0, 0.0]);
    let lanes = Tensor::new(DType::I32, Shape::new([(b, 2), (a, 2)]), vec![0.0, 1.0, 2.0, 0.0]);
    check(Op::Gather { axis: b }, &[x.clone(), lanes], "[a=2, b=2]", &[1.0, 3.0, 5.0, 4.0]);
    let into = Tensor::new(DType::I32, Shape::new([(b, 3)]), vec![1.0, 1.0, 5.0]);
    let scatter = Op::ScatterAdd { axis: c, size: 2, over: vec![b] };
    check(scatter, &[x.clone(), into.clone()], "[a=2, c=2]", &[0.0, 3.0, 0.0, 9.0]);
    let same_name = Op::ScatterAdd { axis: b, size: 2, over: vec![b, a] };
    check(same_name, &[x, into], "[b=2]", &[0.0, 12.0]);
}

#[test]
fn sorting_is_stable_and_puts_nan_last() {
    let x = floats(&[5], &[2.0, NAN, 0.0, 2.0, -0.0]);
    check(Op::Sort { axis: axis("a") }, std::slice::from_ref(&x), "[a=5]", &[0.0, -0.0, 2.0, 2.0, NAN]);
    check(Op::ArgSort { axis: axis("a") }, &[x], "[a=5]", &[2.0, 4.0, 0.0, 3.0, 1.0]);
    let sorted = floats(&[4], &[1.0, 2.0, 2.0, 3.0]);
    let values = Tensor::new(DType::F64, Shape::new([(axis("b"), 4)]), vec![0.0, 2.0, 2.5, 9.0]);
    let search = |right| Op::SearchSorted { axis: axis("a"), right };
    check(search(false), &[sorted.clone(), values.clone()], "[b=4]", &[0.0, 1.0, 3.0, 4.0]);
    check(search(true), &[sorted, values], "[b=4]", &[0.0, 3.0, 3.0, 4.0]);
}

#[test]
fn random_draws_do_not_depend_on_reading_order() {
    let (a, b) = (axis("a"), axis("b"));
    let draw = |axes: &[(Axis, usize)]| {
        let shape = Shape::new(axes.iter().copied());
        run(Op::Random { distribution: Distribution::Normal, stream: 4, shape }, &[])
    };
    let (one, other) = (draw(&[(a, 2), (b, 3)]), draw(&[(b, 3), (a, 2)]));
    assert_eq!(one, other.reordered(one.shape()));
}

#[test]
fn feeds_are_reordered_rounded_and_checked() {
    let mut graph = Graph::new();
    let (a, b) = (axis("a"), axis("b"));
    let x = graph.input("x", Type::new(DType::F32, Shape::new([(a, 2), (b, 1)])));
    let tenth = graph.constant(0.1, DType::F32);
    let y = graph.map(ScalarOp::Mul, &[x, tenth]);
    graph.set_output("y", y);
    let mut feeds = Feeds::default();
    let missing = evaluate(&graph, &feeds, KEY).unwrap_err();
    assert_eq!(missing.to_string(), "no value is given for input `x`");
    feeds.inputs.insert("x".into(), floats(&[2], &[1.0, 2.0]));
    let misfit = evaluate(&graph, &feeds, KEY).unwrap_err();
    assert_eq!(misfit.to_string(), "input `x` has the axes [a=2, b=1], but its value has [a=2]");
    let value = Tensor::new(DType::F64, Shape::new([(b, 1), (a, 2)]), vec![1.0, 3.0]);
    feeds.inputs.insert("x".into(), value);
    assert_eq!(evaluate(&graph, &feeds, KEY).unwrap()["y"].data, [0.1, 3.0 * 0.1]);
    let typed = evaluate_rounded(&graph, &feeds, KEY, Rounding::AsTyped).unwrap();
    assert_eq!(typed["y"].data, [f64::from(0.1_f32), f64::from(3.0 * 0.1_f32)]);
}
