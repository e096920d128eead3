//! Contractions of many shapes, and their gradients.

use crate::support::{Sketch, axes, run, shape};
use visage_compiler::{
    axis::Axis,
    graph::{Combine, DType, NodeId, Op, ScalarOp},
    plan::{Decision, Plan, PlanOptions, Stage, Step, plan},
    simplify::simplify,
};
use visage_runtime::executor::ExecuteOptions;

fn product(left: &[(&str, usize)], right: &[(&str, usize)], over: &[&str]) {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", left);
    let w = sketch.weight("w", right);
    let product = sketch.add(Op::Contract { over: axes(over) }, &[x, w]);
    sketch.conclude_scaled(product, 0.1);
}

#[test]
fn skinny_tall_and_odd_matrices() {
    product(&[("m", 77), ("k", 19)], &[("k", 19), ("n", 33)], &["k"]);
    product(&[("m", 1), ("k", 50)], &[("k", 50), ("n", 3)], &["k"]);
    product(&[("k", 5), ("m", 65)], &[("n", 1), ("k", 5)], &["k"]);
    product(&[("m", 31), ("k", 1)], &[("k", 1), ("n", 2)], &["k"]);
    product(&[("k", 40)], &[("k", 40)], &["k"]);
}

#[test]
fn large_matrices() {
    product(&[("m", 200), ("k", 300)], &[("k", 300), ("n", 70)], &["k"]);
}

#[test]
fn batches_and_general_contractions() {
    product(&[("b", 3), ("m", 37), ("k", 9)], &[("b", 3), ("k", 9), ("n", 17)], &["k"]);
    product(&[("m", 37), ("b", 3), ("k", 9)], &[("k", 9), ("n", 17), ("b", 3), ("p", 2)], &["k"]);
    product(&[("b", 2), ("k", 300), ("m", 9), ("c", 3)], &[("n", 17), ("k", 300), ("c", 3), ("b", 2)], &["k"]);
    product(&[("m", 37), ("k", 9), ("j", 4)], &[("j", 4), ("n", 17), ("k", 9)], &["k", "j"]);
    product(&[("m", 40), ("b", 2), ("p", 5), ("k", 6)], &[("k", 6), ("b", 2), ("n", 7), ("q", 3)], &["k"]);
    product(&[("m", 12)], &[("n", 45)], &[]);
    product(&[("m", 70), ("k", 8)], &[("m", 70), ("k", 8)], &["m"]);
}

/// Many matrices each with rows of their own: whole panels, panels that two or more of them share, and rows that lie side
/// by side.
#[test]
fn batches_whose_axes_are_rows() {
    for rows in [64, 45, 20] {
        product(&[("b", 9), ("m", rows), ("k", 12)], &[("b", 9), ("k", 12), ("n", 17)], &["k"]);
        product(&[("b", 5), ("k", 8), ("m", rows)], &[("b", 5), ("n", 17), ("k", 8)], &["k"]);
        product(&[("b", 3), ("m", rows), ("c", 2), ("k", 7)], &[("c", 2), ("n", 9), ("b", 3), ("k", 7)], &["k"]);
    }
    product(&[("m", 40), ("b", 6), ("k", 9)], &[("k", 9), ("b", 6), ("n", 33)], &["k"]);
}

/// What rows of a perceptron compute goes on through products of matrices, one for each index of some of these rows.
#[test]
fn batches_of_computed_rows() {
    for tokens in [32, 21] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("image", 3), ("token", tokens), ("from", 9)]);
        let weight = sketch.weight("weight", &[("head", 2), ("part", 5), ("from", 9)]);
        let keys = sketch.float("keys", &[("image", 3), ("head", 2), ("other", 11), ("part", 5)]);
        let queries = sketch.add(Op::Contract { over: axes(&["from"]) }, &[x, weight]);
        let queries = sketch.map(ScalarOp::Sin, &[queries]);
        let scores = sketch.add(Op::Contract { over: axes(&["part"]) }, &[queries, keys]);
        sketch.graph.set_output("scores", scores);
        let plan = plan(&simplify(&sketch.graph), &PlanOptions::default()).unwrap();
        let kernels = plan.steps.iter().filter(|step| matches!(step, Step::Kernel(_))).count();
        assert_eq!(kernels, 1, "{plan}");
        sketch.differentiate();
        sketch.check();
    }
}

/// Sums over rows of values that lie row-major, in a slice, in groups and in both orders.
#[test]
fn sums_over_rows_as_they_lie() {
    product(&[("k", 300), ("m", 33)], &[("k", 300), ("n", 70)], &["k"]);
    product(&[("b", 3), ("k", 200), ("m", 40)], &[("b", 3), ("k", 200), ("n", 15)], &["k"]);
    product(&[("j", 9), ("k", 50), ("m", 40)], &[("j", 9), ("k", 50), ("n", 15)], &["k", "j"]);
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("k", 500), ("m", 40)]);
    let y = sketch.float("y", &[("k", 301), ("n", 20)]);
    let slice = |axis, start, size, step| Op::Slice { axis: Axis::new(axis), start, size, step };
    let x = sketch.add(slice("k", 400, 200, -2), &[x]);
    let x = sketch.add(slice("m", 7, 33, 1), &[x]);
    let y = sketch.add(slice("k", 50, 200, 1), &[y]);
    sketch.show(Op::Contract { over: axes(&["k"]) }, &[x, y]);
    sketch.differentiate();
    sketch.check();
}

/// A perceptron over 1000 rows: the gradients of its weights are sums over all of them.
#[test]
fn weight_gradients_over_many_rows() {
    let mut sketch = Sketch::perceptron(&[("row", 1000)], 33);
    sketch.differentiate();
    sketch.check();
}

/// What each image is given, for all of its points: whole panels of one value, and the gradients that sum over them.
#[test]
fn values_of_an_image_for_its_points() {
    for points in [64, 40] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("image", 3), ("point", points), ("from", 9)]);
        let weight = sketch.weight("weight", &[("to", 17), ("from", 9)]);
        let frequency = sketch.float("frequency", &[("image", 3), ("to", 17)]);
        let phase = sketch.float("phase", &[("to", 17), ("image", 3)]);
        let hidden = sketch.add(Op::Contract { over: axes(&["from"]) }, &[x, weight]);
        let hidden = sketch.map(ScalarOp::Mul, &[hidden, frequency]);
        let hidden = sketch.map(ScalarOp::Add, &[hidden, phase]);
        let result = sketch.map(ScalarOp::Sin, &[hidden]);
        sketch.conclude(result);
    }
}

/// A loss of rays with samples and its gradients, in parts. What is computed for each ray has the same bits as it has
/// whole; sums over rays are added up in another order.
#[test]
fn rays_in_parts() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("ray", 128), ("sample", 32), ("in", 7)]);
    let first = sketch.weight("first", &[("hidden", 33), ("in", 7)]);
    let second = sketch.weight("second", &[("hidden", 33)]);
    let hidden = sketch.add(Op::Contract { over: axes(&["in"]) }, &[x, first]);
    let zero = sketch.graph.constant(0.0, DType::F32);
    let hidden = sketch.map(ScalarOp::Max, &[hidden, zero]);
    let density = sketch.add(Op::Contract { over: axes(&["hidden"]) }, &[hidden, second]);
    let density = sketch.map(ScalarOp::Sigmoid, &[density]);
    let scan = Op::Scan { combine: Combine::Prod, axis: Axis::new("sample"), exclusive: true, reverse: false };
    let arriving = sketch.add(scan, &[density]);
    let seen = sketch.add(Op::Contract { over: axes(&["sample"]) }, &[arriving, density]);
    let mean = sketch.add(Op::Reduce { combine: Combine::Sum, axes: axes(&["ray"]) }, &[seen]);
    let scale = sketch.graph.constant(1e-2, DType::F32);
    let mean = sketch.map(ScalarOp::Mul, &[mean, scale]);
    sketch.graph.set_output("seen", seen);
    sketch.graph.set_output("mean", mean);
    sketch.differentiate();
    let options = PlanOptions { segment_bytes: 0, segment_tiles: 1, ..PlanOptions::default() };
    let plan = plan(&simplify(&sketch.graph), &options).unwrap();
    assert!(!plan.segments.is_empty(), "{plan}");
    sketch.check();
    let whole = ExecuteOptions { threads: Some(1), ..ExecuteOptions::default() };
    for threads in [1, 2, 3] {
        let parts = ExecuteOptions { threads: Some(threads), segment_bytes: 0, segment_tiles: 1, ..whole.clone() };
        let [parts, whole] = [&parts, &whole].map(|options| run(&sketch.graph, &sketch.feeds, options));
        assert!(parts["seen"] == whole["seen"], "with {threads} threads");
    }
}

/// Two layers whose gradient waits for a sum over all rows: with little memory to keep them in they are computed again, and
/// give the same.
#[test]
fn activations_computed_again() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("pixel", 96), ("sample", 8), ("in", 3)]);
    let first = sketch.weight("first", &[("hidden", 33), ("in", 3)]);
    let second = sketch.weight("second", &[("out", 31), ("hidden", 33)]);
    let last = sketch.weight("last", &[("out", 31)]);
    let judge = sketch.weight("judge", &[("score", 2), ("pixel", 96)]);
    let hidden = sketch.add(Op::Contract { over: axes(&["in"]) }, &[x, first]);
    let hidden = sketch.map(ScalarOp::Sin, &[hidden]);
    let out = sketch.add(Op::Contract { over: axes(&["hidden"]) }, &[hidden, second]);
    let out = sketch.map(ScalarOp::Sin, &[out]);
    let colour = sketch.add(Op::Contract { over: axes(&["out"]) }, &[out, last]);
    let picture = sketch.add(Op::Reduce { combine: Combine::Sum, axes: axes(&["sample"]) }, &[colour]);
    let score = sketch.add(Op::Contract { over: axes(&["pixel"]) }, &[picture, judge]);
    sketch.graph.set_output("score", score);
    sketch.differentiate();
    let lean = PlanOptions { segment_bytes: 0, segment_tiles: 1, ..PlanOptions::default() };
    let kept = PlanOptions { without: [Decision::Rematerialise].into_iter().collect(), ..lean };
    let [lean, kept] = [lean, kept].map(|options| {
        let plan = plan(&simplify(&sketch.graph), &options).unwrap();
        plan.verify().unwrap();
        plan
    });
    let flops = |plan: &Plan| -> f64 {
        let kernels = plan.steps.iter().filter_map(|step| match step {
            Step::Kernel(kernel) => Some(kernel.flops),
            _ => None,
        });
        kernels.sum()
    };
    assert!(lean.arena_bytes * 2 <= kept.arena_bytes, "{} of {} bytes", lean.arena_bytes, kept.arena_bytes);
    assert!(flops(&lean) > 1.2 * flops(&kept), "nothing is computed again\n{lean}");
    sketch.check();
}

fn window(axis: &str, position: &str, tap: &str, taps: usize, stride: usize, dilation: usize) -> Op {
    let [axis, position, tap] = [axis, position, tap].map(Axis::new);
    Op::Window { axis, position, tap, taps, stride, dilation }
}

/// An image through convolutions: padded, seen by windows of `taps`, summed.
fn convolved(
    sketch: &mut Sketch,
    image: NodeId,
    weights: NodeId,
    taps: usize,
    (stride, dilation): (usize, usize),
) -> NodeId {
    let reach = (taps - 1) * dilation / 2;
    let pad = |axis| Op::Pad { axis: Axis::new(axis), before: reach, after: reach, value: 0.0 };
    let padded = sketch.add(pad("y"), &[image]);
    let padded = sketch.add(pad("x"), &[padded]);
    let tall = sketch.add(window("y", "v", "ty", taps, stride, dilation), &[padded]);
    let wide = sketch.add(window("x", "u", "tx", taps, stride, dilation), &[tall]);
    sketch.add(Op::Contract { over: axes(&["c", "ty", "tx"]) }, &[wide, weights])
}

/// A convolution of an image of 11 × 13 with 3 × 3 taps; its gradient folds.
#[test]
fn convolution() {
    for (stride, dilation) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        let mut sketch = Sketch::new();
        let image = sketch.float("image", &[("b", 2), ("y", 11), ("x", 13), ("c", 5)]);
        let taps = sketch.weight("taps", &[("n", 6), ("c", 5), ("ty", 3), ("tx", 3)]);
        let result = convolved(&mut sketch, image, taps, 3, (stride, dilation));
        sketch.conclude(result);
    }
}

/// Two convolutions with a bias and a rectifier between: what the second one reads lies in panels. The image has its
/// channels first, as pictures have; wide ones are read in blocks of taps.
#[test]
fn convolutions_after_one_another() {
    for (channels, (height, width)) in [(7, (9, 37)), (40, (12, 16)), (150, (5, 33))] {
        let mut sketch = Sketch::new();
        let image = sketch.float("image", &[("c", 3), ("y", height), ("x", width)]);
        let first = sketch.weight("first", &[("n", channels), ("c", 3), ("ty", 3), ("tx", 3)]);
        let bias = sketch.weight("bias", &[("n", channels)]);
        let second = sketch.weight("second", &[("n", 4), ("c", channels), ("ty", 3), ("tx", 3)]);
        let hidden = convolved(&mut sketch, image, first, 3, (1, 1));
        let hidden = sketch.map(ScalarOp::Add, &[hidden, bias]);
        let zero = sketch.graph.constant(0.0, DType::F32);
        let hidden = sketch.map(ScalarOp::Max, &[hidden, zero]);
        let names = [("n", "c"), ("v", "y"), ("u", "x")].map(|(from, to)| (Axis::new(from), Axis::new(to)));
        let hidden = sketch.add(Op::Rename(names.to_vec()), &[hidden]);
        let result = convolved(&mut sketch, hidden, second, 3, (1, 1));
        sketch.conclude_scaled(result, 1e-2);
    }
}

/// Convolutions with fewer products, forward and for the gradient of the picture: pictures with their channels first or last, in
/// panels and enlarged, lines that panels cut, several pictures. Odd pictures are convolved by all products.
#[test]
fn convolutions_in_squares() {
    let squares = |plan: &Plan| {
        let kernels = plan.steps.iter().filter_map(|step| match step {
            Step::Kernel(kernel) => Some(&kernel.stages),
            _ => None,
        });
        kernels.flatten().filter(|stage| matches!(stage, Stage::Winograd { .. })).count()
    };
    for (images, (height, width), channels, enlarged, least) in [
        (1, (32, 32), 16, false, 3),
        (2, (12, 24), 33, false, 3),
        (3, (14, 18), 40, false, 3),
        (1, (64, 8), 17, false, 3),
        (1, (4, 160), 20, false, 3),
        (1, (20, 26), 24, true, 2),
        (1, (23, 32), 16, false, 0),
    ] {
        let mut sketch = Sketch::new();
        let sizes = [("b", images), ("c", channels), ("y", height), ("x", width)];
        // Channels first, or last.
        let order = if images == 2 { [0, 2, 3, 1] } else { [0, 1, 2, 3] };
        let image = sketch.float("image", &order.map(|at| sizes[at]));
        let first = sketch.weight("first", &[("n", channels + 2), ("c", channels), ("ty", 3), ("tx", 3)]);
        let second = sketch.weight("second", &[("n", 16), ("c", channels + 2), ("ty", 3), ("tx", 3)]);
        let hidden = convolved(&mut sketch, image, first, 3, (1, 1));
        let hidden = sketch.map(ScalarOp::Sin, &[hidden]);
        let names = [("n", "c"), ("v", "y"), ("u", "x")].map(|(from, to)| (Axis::new(from), Axis::new(to)));
        let mut hidden = sketch.add(Op::Rename(names.to_vec()), &[hidden]);
        for axis in ["y", "x"].map(Axis::new).into_iter().filter(|_| enlarged) {
            let pair = sketch.add(Op::Spread(shape(&[("twice", 2)])), &[hidden]);
            hidden = sketch.add(Op::Merge { axes: vec![axis, Axis::new("twice")], into: axis }, &[pair]);
        }
        let result = convolved(&mut sketch, hidden, second, 3, (1, 1));
        let scale = sketch.graph.constant(1e-2, DType::F32);
        let result = sketch.map(ScalarOp::Mul, &[result, scale]);
        sketch.graph.set_output("result", result);
        sketch.differentiate();
        let plan = plan(&simplify(&sketch.graph), &PlanOptions::default()).unwrap();
        plan.verify().unwrap();
        let found = squares(&plan);
        let right = if least == 0 { found == 0 } else { found >= least };
        assert!(right, "{found} for {height} x {width}, {channels} channels\n{plan}");
        sketch.check();
    }
}

/// A convolution of an image enlarged by repeating its elements, and one in groups of channels.
#[test]
fn enlarged_and_grouped_convolutions() {
    let mut sketch = Sketch::new();
    let image = sketch.float("image", &[("y", 9), ("x", 20), ("c", 5)]);
    let zero = sketch.graph.constant(0.0, DType::F32);
    let image = sketch.map(ScalarOp::Max, &[image, zero]);
    let taps = sketch.weight("taps", &[("n", 6), ("c", 5), ("ty", 3), ("tx", 3)]);
    let mut large = image;
    for axis in ["y", "x"] {
        let twice = Axis::new("twice");
        let pair = sketch.add(Op::Spread(shape(&[("twice", 2)])), &[large]);
        let axis = Axis::new(axis);
        large = sketch.add(Op::Merge { axes: vec![axis, twice], into: axis }, &[pair]);
    }
    let result = convolved(&mut sketch, large, taps, 3, (1, 1));
    sketch.graph.set_output("enlarged", result);
    let groups = sketch.float("groups", &[("g", 3), ("y", 11), ("x", 13), ("c", 4)]);
    let taps = sketch.weight("grouped", &[("g", 3), ("n", 5), ("c", 4), ("ty", 3), ("tx", 3)]);
    let result = convolved(&mut sketch, groups, taps, 3, (1, 1));
    sketch.graph.set_output("grouped", result);
    sketch.differentiate();
    sketch.check();
}

/// Gradients of weights that are computed along their own elements, since the channels of the image lie together and there
/// are more weights than pixels: with panels across taps, strides, several images, and blocks of a line and of some.
#[test]
fn weights_along_their_own_elements() {
    for (images, side, channels, outputs, taps, stride, dilation) in [
        (1, 8, 32, 20, 3, 1, 1),
        (1, 8, 40, 17, 3, 2, 1),
        (3, 6, 64, 5, 3, 1, 2),
        (2, 30, 48, 16, 3, 1, 1),
        (12, 5, 33, 9, 3, 1, 1),
    ] {
        let mut sketch = Sketch::new();
        let image = sketch.float("image", &[("image", images), ("y", side), ("x", side), ("c", channels)]);
        let weights = sketch.weight("taps", &[("n", outputs), ("c", channels), ("ty", taps), ("tx", taps)]);
        let result = convolved(&mut sketch, image, weights, taps, (stride, dilation));
        sketch.conclude_scaled(result, 1e-2);
    }
}

/// More weights than a tile writes one by one: they are put into their order by a step of their own.
#[test]
fn many_weights_along_their_own_elements() {
    let mut sketch = Sketch::new();
    let image = sketch.float("image", &[("y", 4), ("x", 5), ("c", 80)]);
    let weights = sketch.weight("taps", &[("n", 93), ("c", 80), ("ty", 3), ("tx", 3)]);
    let result = convolved(&mut sketch, image, weights, 3, (1, 1));
    sketch.conclude(result);
}

#[test]
fn fold() {
    for (stride, dilation) in [(1, 1), (2, 1), (3, 2)] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("p", 40), ("c", 3), ("t", 4)]);
        let [axis, position, tap] = ["a", "p", "t"].map(Axis::new);
        let size = 39 * stride + 3 * dilation + 2;
        sketch.show(Op::Fold { axis, size, position, tap, stride, dilation }, &[x]);
        sketch.differentiate();
        sketch.check();
    }
}

/// Attention: a product of two computed values, a softmax over the axis that the next product sums.
#[test]
fn attention() {
    let mut sketch = Sketch::new();
    let query = sketch.float("query", &[("head", 2), ("q", 35), ("d", 8)]);
    let keys = sketch.float("keys", &[("head", 2), ("s", 41), ("d", 8)]);
    let values = sketch.float("values", &[("head", 2), ("s", 41), ("e", 6)]);
    let scores = sketch.add(Op::Contract { over: axes(&["d"]) }, &[query, keys]);
    let top = sketch.add(Op::Reduce { combine: Combine::Max, axes: axes(&["s"]) }, &[scores]);
    let top = sketch.map(ScalarOp::Stop, &[top]);
    let shifted = sketch.map(ScalarOp::Sub, &[scores, top]);
    let powers = sketch.map(ScalarOp::Exp, &[shifted]);
    let total = sketch.add(Op::Reduce { combine: Combine::Sum, axes: axes(&["s"]) }, &[powers]);
    let weights = sketch.map(ScalarOp::Div, &[powers, total]);
    sketch.show(Op::Contract { over: axes(&["s"]) }, &[weights, values]);
    sketch.differentiate();
    sketch.check();
    assert_eq!(sketch.graph.shape(weights), &shape(&[("head", 2), ("q", 35), ("s", 41)]));
}
