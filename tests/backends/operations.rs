//! Reductions, scans, views, indexing and draws at sizes beyond one panel.

use crate::support::{Sketch, axes, shape};
use visage_compiler::{
    axis::Axis,
    graph::{Combine, DType, Distribution, NodeId, Op, ScalarOp},
};

const COMBINES: [Combine; 4] = [Combine::Sum, Combine::Prod, Combine::Max, Combine::Min];

#[test]
fn reductions() {
    for over in [&["a"][..], &["b"], &["a", "b"]] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("a", 77), ("b", 35)]);
        let i = sketch.integer("i", &[("a", 77), ("b", 35)], -9, 10);
        for combine in COMBINES {
            for operand in [x, i] {
                sketch.show(Op::Reduce { combine, axes: axes(over) }, &[operand]);
            }
        }
        for largest in [true, false] {
            for operand in [x, i] {
                sketch.show(Op::ArgReduce { largest, axis: Axis::new(over[0]) }, &[operand]);
            }
        }
        sketch.check();
    }
}

#[test]
fn a_long_sum_and_its_gradient() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("a", 5003)]);
    sketch.show(Op::Reduce { combine: Combine::Sum, axes: axes(&["a"]) }, &[x]);
    sketch.show(Op::Reduce { combine: Combine::Max, axes: axes(&["a"]) }, &[x]);
    sketch.differentiate();
    sketch.check();
}

/// Sums over the pixels of each image: whole panels an image, a panel that is not full, several panels a tile and one.
#[test]
fn sums_over_rows() {
    for (images, height, width, over) in [
        (3, 32, 32, &["y", "x", "part"][..]),
        (1, 33, 20, &["y", "x", "part"]),
        (2, 33, 20, &["y", "x"]),
        (2, 96, 64, &["y", "x"]),
        (2, 96, 64, &["image", "y", "x"]),
    ] {
        let mut sketch = Sketch::new();
        let sizes = [("image", images), ("y", height), ("x", width), ("group", 5), ("part", 3)];
        let x = sketch.float("x", &sizes);
        let i = sketch.integer("i", &sizes, -9, 10);
        let double = sketch.map(ScalarOp::Cast(DType::F64), &[x]);
        let column = sketch.add(Op::Iota { axis: Axis::new("x"), size: width }, &[]);
        let column = sketch.map(ScalarOp::Cast(DType::F32), &[column]);
        let column = sketch.add(Op::Spread(shape(&[sizes[0], sizes[1], sizes[3], sizes[4]])), &[column]);
        let slope = sketch.map(ScalarOp::Mul, &[x, column]);
        for combine in COMBINES {
            // A product of thousands of numbers above one is infinite.
            for operand in [x, i, double, slope].into_iter().take(if combine == Combine::Prod { 2 } else { 4 }) {
                sketch.show(Op::Reduce { combine, axes: axes(over) }, &[operand]);
            }
        }
        sketch.check();
    }
}

/// Channels in groups, each less its mean and over its deviation in an image.
#[test]
fn normalisation_in_groups() {
    for (images, side, channels) in [(2, 32, 12), (1, 19, 40)] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("image", images), ("y", side), ("x", side), ("channel", channels)]);
        let weight = sketch.weight("weight", &[("channel", channels)]);
        let bias = sketch.weight("bias", &[("channel", channels)]);
        let (group, part) = ((Axis::new("group"), 4), (Axis::new("part"), channels / 4));
        let parts = sketch.add(Op::Split { axis: Axis::new("channel"), into: vec![group, part] }, &[x]);
        let over = Op::Reduce { combine: Combine::Sum, axes: axes(&["y", "x", "part"]) };
        let pixels = shape(&[("y", side), ("x", side), ("part", channels / 4)]);
        let scale = sketch.graph.constant(1.0 / pixels.elements() as f64, DType::F32);
        let mean = |sketch: &mut Sketch, of: NodeId| {
            let sum = sketch.add(over.clone(), &[of]);
            let mean = sketch.map(ScalarOp::Mul, &[sum, scale]);
            sketch.add(Op::Spread(pixels.clone()), &[mean])
        };
        let centre = mean(&mut sketch, parts);
        let centred = sketch.map(ScalarOp::Sub, &[parts, centre]);
        let square = sketch.map(ScalarOp::Mul, &[centred, centred]);
        let variance = mean(&mut sketch, square);
        let factor = sketch.map(ScalarOp::Rsqrt, &[variance]);
        let unit = sketch.map(ScalarOp::Mul, &[centred, factor]);
        let merged = Op::Merge { axes: axes(&["group", "part"]), into: Axis::new("channel") };
        let unit = sketch.add(merged, &[unit]);
        let around = shape(&[("image", images), ("y", side), ("x", side)]);
        let [weight, bias] = [weight, bias].map(|node| sketch.add(Op::Spread(around.clone()), &[node]));
        let scaled = sketch.map(ScalarOp::Mul, &[unit, weight]);
        let result = sketch.map(ScalarOp::Add, &[scaled, bias]);
        let result = sketch.map(ScalarOp::Tanh, &[result]);
        sketch.graph.set_output("result", result);
        sketch.differentiate();
        sketch.check();
    }
}

#[test]
fn scans_in_both_directions() {
    for axis in axes(&["a", "b"]) {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("a", 130), ("b", 37)]);
        let i = sketch.integer("i", &[("a", 130), ("b", 37)], -9, 10);
        for combine in COMBINES {
            for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
                // The identity of the largest and smallest integer is infinite, which an integer is not.
                let integers = !exclusive || matches!(combine, Combine::Sum | Combine::Prod);
                for operand in [Some(x), integers.then_some(i)].into_iter().flatten() {
                    sketch.show(Op::Scan { combine, axis, exclusive, reverse }, &[operand]);
                }
            }
        }
        sketch.check();
    }
}

#[test]
fn gradients_of_scans() {
    for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("a", 40), ("b", 37)]);
        for combine in [Combine::Sum, Combine::Prod] {
            sketch.show(Op::Scan { combine, axis: Axis::new("a"), exclusive, reverse }, &[x]);
        }
        sketch.differentiate();
        sketch.check();
    }
}

#[test]
fn sorting_and_searching() {
    for axis in axes(&["a", "b"]) {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", &[("a", 45), ("b", 70)]);
        let i = sketch.integer("i", &[("a", 45), ("b", 70)], -5, 6);
        for operand in [x, i] {
            sketch.show(Op::Sort { axis }, &[operand]);
            sketch.show(Op::ArgSort { axis }, &[operand]);
        }
        let other = if axis == Axis::new("a") { ("b", 70) } else { ("a", 45) };
        let values = sketch.float("values", &[("c", 9), other]);
        let sorted = sketch.show(Op::Sort { axis }, &[x]);
        for right in [false, true] {
            sketch.show(Op::SearchSorted { axis, right }, &[sorted, values]);
        }
        sketch.check();
    }
}

#[test]
fn sorting_backwards_and_in_double_precision() {
    let axis = Axis::new("b");
    for dtype in [DType::F32, DType::F64, DType::I32] {
        let mut sketch = Sketch::new();
        let numbers = (0..45 * 7).map(|k| f64::from(k * 37 % 101) - 50.0).collect();
        let x = sketch.given("x", dtype, shape(&[("a", 45), ("b", 7)]), numbers);
        // A value of the kernel itself, so that it is read through the view and not loaded.
        let doubled = sketch.map(ScalarOp::Add, &[x, x]);
        let reversed = sketch.add(Op::Slice { axis, start: 6, size: 7, step: -1 }, &[doubled]);
        sketch.show(Op::Sort { axis }, &[reversed]);
        sketch.show(Op::ArgSort { axis }, &[reversed]);
        sketch.check();
    }
}

#[test]
fn one_conversion_read_along_either_row_axis() {
    let [i, j, f] = axes(&["i", "j", "f"])[..] else { unreachable!() };
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("i", 8), ("j", 8), ("f", 3)]);
    let k = sketch.integer("k", &[("i", 8)], -9, 9);
    let k = sketch.map(ScalarOp::Cast(DType::F32), &[k]);
    let sum = sketch.add(Op::Reduce { combine: Combine::Sum, axes: vec![f] }, &[x]);
    let swapped = sketch.add(Op::Rename(vec![(i, j), (j, i)]), &[sum]);
    // Both products are in one stage; to the second, the kernel's rows have each other's names.
    sketch.show(Op::Map(ScalarOp::Mul), &[sum, k]);
    sketch.show(Op::Map(ScalarOp::Mul), &[swapped, k]);
    sketch.check();
}

#[test]
fn gathering_and_scattering() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("a", 50), ("c", 6)]);
    // Some positions lie outside.
    let shared = sketch.integer("shared", &[("p", 90)], -2, 53);
    let own = sketch.integer("own", &[("p", 90), ("c", 6)], 0, 50);
    let lanes = sketch.integer("lanes", &[("a", 50), ("q", 4)], -1, 7);
    sketch.show(Op::Gather { axis: Axis::new("a") }, &[x, shared]);
    sketch.show(Op::Gather { axis: Axis::new("a") }, &[x, own]);
    sketch.show(Op::Gather { axis: Axis::new("c") }, &[x, lanes]);
    let updates = sketch.float("updates", &[("p", 90), ("c", 6)]);
    let scatter = |size, over: &[&str]| Op::ScatterAdd { axis: Axis::new("s"), size, over: axes(over) };
    sketch.show(scatter(50, &["p"]), &[updates, shared]);
    sketch.show(scatter(47, &["p", "c"]), &[updates, own]);
    sketch.show(scatter(9, &["c"]), &[updates, own]);
    sketch.show(scatter(50, &[]), &[updates, shared]);
    sketch.differentiate();
    sketch.check();
}

#[test]
fn views_of_rows_and_of_features() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("a", 45), ("b", 34)]);
    let y = sketch.float("y", &[("a", 20), ("b", 34)]);
    let z = sketch.float("z", &[("a", 45), ("b", 7)]);
    let i = sketch.integer("i", &[("a", 45), ("b", 34)], -9, 9);
    for axis in axes(&["a", "b"]) {
        sketch.show(Op::Pad { axis, before: 3, after: 35, value: 0.5 }, &[x]);
        sketch.show(Op::Pad { axis, before: 1, after: 0, value: 3.0 }, &[i]);
        sketch.show(Op::Slice { axis, start: 2, size: 10, step: 3 }, &[x]);
        sketch.show(Op::Slice { axis, start: 33, size: 33, step: -1 }, &[x]);
    }
    sketch.show(Op::Concat { axis: Axis::new("a") }, &[x, y, x]);
    sketch.show(Op::Concat { axis: Axis::new("b") }, &[z, x]);
    sketch.show(Op::Merge { axes: axes(&["a", "b"]), into: Axis::new("m") }, &[x]);
    let turned = sketch.show(Op::Merge { axes: axes(&["b", "a"]), into: Axis::new("m") }, &[x]);
    let into = vec![(Axis::new("u"), 9), (Axis::new("v"), 170)];
    sketch.show(Op::Split { axis: Axis::new("m"), into }, &[turned]);
    sketch.show(Op::Rename(vec![(Axis::new("a"), Axis::new("r")), (Axis::new("b"), Axis::new("a"))]), &[x]);
    sketch.show(Op::Spread(shape(&[("s", 3)])), &[x]);
    sketch.show(Op::Iota { axis: Axis::new("a"), size: 70 }, &[]);
    sketch.differentiate();
    sketch.check();
}

#[test]
fn draws() {
    let mut sketch = Sketch::new();
    let draw = |distribution, stream| Op::Random { distribution, stream, shape: shape(&[("b", 77), ("a", 35)]) };
    sketch.show(draw(Distribution::Uniform, 3), &[]);
    sketch.show(draw(Distribution::Normal, 4), &[]);
    sketch.check();
    for (name, expected, found) in sketch.run() {
        let bound = if name.contains("uniform") { 0.0 } else { 1e-5 };
        for (expected, found) in expected.data.iter().zip(&found.data) {
            assert!((expected - found).abs() <= bound, "{name}: {found} for {expected}");
        }
    }
}

#[test]
fn truth_values_and_choices() {
    let mut sketch = Sketch::new();
    let sizes = [("a", 50), ("b", 7)];
    let x = sketch.float("x", &sizes);
    let y = sketch.float("y", &[("a", 50)]);
    let (p, q) = (sketch.truth("p", &sizes), sketch.truth("q", &[("b", 7)]));
    let (i, j) = (sketch.integer("i", &sizes, -4, 5), sketch.integer("j", &sizes, -4, 5));
    let show = |sketch: &mut Sketch, op, operands: &[NodeId]| sketch.show(Op::Map(op), operands);
    for op in [ScalarOp::And, ScalarOp::Or] {
        show(&mut sketch, op, &[p, q]);
    }
    show(&mut sketch, ScalarOp::Not, &[p]);
    for to in [DType::F32, DType::I32, DType::Bool] {
        for operand in [x, i, p] {
            show(&mut sketch, ScalarOp::Cast(to), &[operand]);
        }
    }
    show(&mut sketch, ScalarOp::Select, &[p, x, y]);
    show(&mut sketch, ScalarOp::Select, &[q, i, j]);
    show(&mut sketch, ScalarOp::Select, &[q, p, q]);
    for axis in axes(&["a", "b"]) {
        show(&mut sketch, ScalarOp::NotEqual, &[i, j]);
        sketch.show(Op::Slice { axis, start: 1, size: 5, step: 1 }, &[p]);
        sketch.show(Op::Concat { axis }, &[p, p]);
    }
    sketch.differentiate();
    sketch.check();
}
