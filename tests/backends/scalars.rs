//! Every scalar operation, element by element, at ordinary and at special values.

use crate::support::{Sketch, shape, ways_as_ptx};
use visage_compiler::graph::{DType, Op, ScalarOp};
use visage_runtime::executor::ExecuteOptions;

fn pairs(values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    values.iter().flat_map(|x| values.iter().map(move |y| (*x, *y))).unzip()
}

/// Every operation on one or two numbers that takes them.
fn sketch(dtype: DType, values: &[f64]) -> Sketch {
    let mut sketch = Sketch::new();
    let (left, right) = pairs(values);
    let axes = shape(&[("k", left.len())]);
    let x = sketch.given("x", dtype, axes.clone(), left);
    let y = sketch.given("y", dtype, axes, right);
    for op in ScalarOp::ALL {
        let operands = &[x, y][..op.arity().min(2)];
        if sketch.graph.clone().try_add(Op::Map(op), operands).is_ok() {
            sketch.show(Op::Map(op), operands);
        }
    }
    for to in [DType::I32, DType::Bool, DType::F64] {
        sketch.show(Op::Map(ScalarOp::Cast(to)), &[x]);
    }
    sketch
}

/// Whether a sketch is not of doubles.
fn is_single(sketch: &Sketch) -> bool {
    sketch.graph.ty(sketch.graph.output("0: stop").unwrap()).dtype != DType::F64
}

fn check(sketch: &Sketch) {
    sketch.check_widths();
    let single = is_single(sketch);
    let on_processor = ExecuteOptions { threads: Some(1), ..ExecuteOptions::default() };
    check_way(sketch, &on_processor, if single { 4e6 } else { f64::INFINITY });
    for way in ways_as_ptx() {
        check_way(sketch, &way, if single { 4e6 } else { 2e15 });
    }
}

/// Checks every element on one way to run the sketch. Beyond `phase_limit` the circular functions give up on the phase.
fn check_way(sketch: &Sketch, way: &ExecuteOptions, phase_limit: f64) {
    let operand = |name: &str, k: usize| sketch.feeds.inputs[name].data[k];
    let single = is_single(sketch);
    let mut wrong = Vec::new();
    for (name, expected, found) in sketch.run_as(way) {
        for (k, (expected, found)) in expected.data.iter().zip(&found.data).enumerate() {
            let (x, y) = (operand("x", k), operand("y", k));
            let beyond = ["sin", "cos", "tan"].iter().any(|function| name.ends_with(function)) && x.abs() > phase_limit;
            // The remainder of a quotient that is not exact is that of the rounded one.
            let wrapped = name.ends_with("mod")
                && (x.abs() > 1e6 || ((expected - found).abs() - y.abs()).abs() <= 1e-5 * (1.0 + x.abs()));
            let bound = if single { 1e-6 + 4e-6 * expected.abs() } else { 1e-14 + 1e-14 * expected.abs() };
            let bound = if name.ends_with("f32") { 1e-6 * expected.abs() } else { bound };
            let close = beyond || wrapped || (expected - found).abs() <= bound;
            if !(close || expected == found || expected.is_nan() && found.is_nan()) {
                wrong.push(format!("{name} of {x}, {y}: {found} for {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} elements, {way:?}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ordinary_numbers() {
    for dtype in [DType::F32, DType::F64] {
        check(&sketch(dtype, &[-7.5, -2.5, -1.0, -0.7, -0.1, -1e-4, 1e-4, 0.3, 0.5, 1.0, 1.5, 2.0, 3.7, 12.0]));
    }
}

#[test]
fn special_numbers() {
    for dtype in [DType::F32, DType::F64] {
        let infinite = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let finite = [0.0, 1.0, -1.0, 0.5, -2.5, 88.0, -104.0, 1e30, -3e9];
        check(&sketch(dtype, &[&infinite[..], &finite].concat()));
    }
}

#[test]
fn whole_numbers() {
    let ends = [f64::from(i32::MIN), f64::from(i32::MAX)];
    check(&sketch(DType::I32, &[-7.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 7.0, 100_000.0, ends[0], ends[1]]));
}
