//! Contractions of operands rounded to bf16.

use crate::support::{Sketch, axes, check, rounded_operands, run, shape, ways_in_bf16};
use visage_compiler::{
    autodiff::gradients,
    axis::Axis,
    generate::{Options, graph},
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp},
    language::{Overrides, ProgramKind, Spec},
    plan::{self, Layout, PlanOptions, Stage, Step},
    random::RandomKey,
    reference::{Feeds, Rounding, evaluate, evaluate_rounded},
    simplify::simplify,
    tensor::Tensor,
    training::gradient_program,
};
use visage_runtime::{
    checkpoint::Checkpoint,
    executor::{ExecuteOptions, Precision},
};

/// The contractions of a plan in bf16, and those in `f32`.
fn contractions(graph: &Graph) -> (usize, usize) {
    let options = PlanOptions { precision: plan::Precision::Bf16, ..PlanOptions::default() };
    let plan = plan::plan(&simplify(graph), &options).unwrap();
    assert_eq!(plan.verify(), Ok(()));
    let packed = plan.buffers.iter().filter(|buffer| matches!(buffer.layout, Layout::Strips { .. })).count();
    let kernels = plan.steps.iter().filter_map(|step| match step {
        Step::Kernel(kernel) => Some(kernel),
        _ => None,
    });
    let products = kernels.flat_map(|kernel| &kernel.stages).filter_map(|stage| match stage {
        Stage::Contract { pairs, .. } => Some(pairs.is_some()),
        Stage::AccumulateContract { precision, .. } => Some(*precision == plan::Precision::Bf16),
        _ => None,
    });
    let (rounded, others): (Vec<_>, Vec<_>) = products.partition(|in_bf16| *in_bf16);
    (rounded.len(), others.len() + packed)
}

/// The same values without their signs.
fn magnitudes(feeds: &Feeds) -> Feeds {
    let absolute = |tensor: &Tensor| Tensor { data: tensor.data.iter().map(|x| x.abs()).collect(), ..tensor.clone() };
    let of = |values: &std::collections::HashMap<String, Tensor>| {
        values.iter().map(|(name, tensor)| (name.clone(), absolute(tensor))).collect()
    };
    Feeds { inputs: of(&feeds.inputs), parameters: of(&feeds.parameters) }
}

/// Checks a product and its gradients by both operands, each a contraction of given values: element by element against sums
/// of exact products of rounded operands. `depths` says how many products each of the three adds up.
///
/// A sum of d products in `f32`, in whatever order, is off by less than d · 2⁻²⁴ · Σ |w · x| to first order, and what is
/// stored in between by a rounding more. One operand that is not rounded makes it 2⁻⁹ / √d of that.
fn check_products(sketch: &mut Sketch, result: NodeId, leaves: &[NodeId], depths: [usize; 3]) {
    let sizes: Vec<(String, usize)> =
        sketch.graph.shape(result).iter().map(|(axis, size)| (axis.to_string(), size)).collect();
    let sizes: Vec<(&str, usize)> = sizes.iter().map(|(axis, size)| (axis.as_str(), *size)).collect();
    let cotangent = sketch.float("cotangent", &sizes);
    let weighted = sketch.map(ScalarOp::Mul, &[result, cotangent]);
    let all = sketch.graph.shape(weighted).axes().collect();
    let loss = sketch.add(Op::Reduce { combine: Combine::Sum, axes: all }, &[weighted]);
    sketch.graph.set_output("product", result);
    for (k, gradient) in gradients(&mut sketch.graph, loss, leaves).unwrap().into_iter().enumerate() {
        sketch.graph.set_output(&format!("gradient {k}"), gradient);
    }
    let graph = &sketch.graph;
    assert_eq!(contractions(graph), (3, 0), "{graph}");
    let (feeds, key) = (&sketch.feeds, RandomKey::default());
    let exact = evaluate_rounded(&rounded_operands(graph), feeds, key, Rounding::AsTyped).unwrap();
    let magnitude = evaluate(graph, &magnitudes(feeds), key).unwrap();
    for way in ways_in_bf16() {
        let one = run(graph, feeds, &way);
        let two = run(graph, feeds, &ExecuteOptions { threads: Some(2), ..way.clone() });
        for ((name, exact), depth) in exact.iter().zip(depths) {
            assert!(one[name] == two[name], "`{name}` depends on the number of threads, {way:?}\n{graph}");
            let found = one[name].to_tensor().reordered(&exact.ty.shape);
            let magnitude = magnitude[name].reordered(&exact.ty.shape);
            for (k, ((found, exact), magnitude)) in found.data.iter().zip(&exact.data).zip(&magnitude.data).enumerate()
            {
                let bound = (depth + 2) as f64 * 2f64.powi(-24) * magnitude;
                assert!(
                    (found - exact).abs() <= bound,
                    "`{name}`, element {k}: {found} for {exact}, off by more than {bound:e}, {way:?}\n{graph}"
                );
            }
        }
    }
}

fn product(left: &[(&str, usize)], right: &[(&str, usize)], over: &[&str]) {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", left);
    let w = sketch.weight("w", right);
    let product = sketch.add(Op::Contract { over: axes(over) }, &[x, w]);
    let of = |sizes: &[(&str, usize)], others: &[(&str, usize)], summed: bool| -> usize {
        let both = |axis: &str| others.iter().any(|(other, _)| *other == axis);
        let wanted = sizes.iter().filter(|(axis, _)| if summed { over.contains(axis) } else { !both(axis) });
        wanted.map(|(_, size)| size).product()
    };
    check_products(
        &mut sketch,
        product,
        &[x, w],
        [of(left, right, true), of(right, left, false), of(left, right, false)],
    );
}

#[test]
fn products_of_many_shapes_and_their_gradients() {
    product(&[("m", 77), ("k", 19)], &[("k", 19), ("n", 33)], &["k"]);
    product(&[("k", 19), ("m", 300)], &[("n", 47), ("k", 19)], &["k"]);
    product(&[("m", 200), ("k", 131)], &[("k", 131), ("n", 70)], &["k"]);
    product(&[("m", 1000), ("k", 7)], &[("k", 7), ("n", 5)], &["k"]);
    product(&[("m", 333), ("k", 2)], &[("k", 2), ("n", 3)], &["k"]);
    product(&[("m", 37), ("k", 9), ("j", 4)], &[("j", 4), ("n", 17), ("k", 9)], &["k", "j"]);
}

#[test]
fn products_in_batches() {
    product(&[("b", 3), ("m", 37), ("k", 33)], &[("b", 3), ("k", 33), ("n", 36)], &["k"]);
    product(&[("m", 67), ("b", 2), ("k", 40)], &[("k", 40), ("n", 37), ("b", 2), ("p", 2)], &["k"]);
}

fn window(axis: &str, position: &str, tap: &str) -> Op {
    let [axis, position, tap] = [axis, position, tap].map(Axis::new);
    Op::Window { axis, position, tap, taps: 3, stride: 1, dilation: 1 }
}

/// Convolutions of 3 × 3 taps: all of them in one block, and of so many channels that each tap is a block.
#[test]
fn convolutions() {
    for channels in [3, 41, 150] {
        let mut sketch = Sketch::new();
        let image = sketch.float("image", &[("y", 9), ("x", 37), ("c", channels)]);
        let taps = sketch.weight("taps", &[("n", 18), ("c", channels), ("ty", 3), ("tx", 3)]);
        let pad = |axis| Op::Pad { axis: Axis::new(axis), before: 1, after: 1, value: 0.0 };
        let padded = sketch.add(pad("y"), &[image]);
        let padded = sketch.add(pad("x"), &[padded]);
        let tall = sketch.add(window("y", "v", "ty"), &[padded]);
        let wide = sketch.add(window("x", "u", "tx"), &[tall]);
        let result = sketch.add(Op::Contract { over: axes(&["c", "ty", "tx"]) }, &[wide, taps]);
        check_products(&mut sketch, result, &[image, taps], [9 * channels, 9 * 18, 9 * 37]);
    }
}

/// A perceptron over many rows: the result of one contraction is rounded for the next, in tile memory and in parts.
#[test]
fn chains_and_their_gradients() {
    let mut sketch = Sketch::perceptron(&[("ray", 128), ("sample", 32)], 47);
    sketch.differentiate();
    // Forward, backward by the activations and by the weights.
    assert_eq!(contractions(&sketch.graph), (6, 0), "{}", sketch.graph);
    check(&sketch.graph, &sketch.feeds, &ways_in_bf16());
}

/// Small matrices along the result's rows and squared norms are sums of products, which nothing rounds: their bits are those in
/// `f32`.
#[test]
fn sums_of_products_stay_in_single_precision() {
    for (left, right, over) in [
        (&[("m", 70), ("k", 8)][..], &[("m", 70), ("k", 8)][..], "m"),
        (&[("k", 40)], &[("k", 40)], "k"),
        (&[("m", 12)], &[("n", 45)], ""),
    ] {
        let mut sketch = Sketch::new();
        let x = sketch.float("x", left);
        let w = sketch.weight("w", right);
        let over = if over.is_empty() { Vec::new() } else { axes(&[over]) };
        sketch.show(Op::Contract { over: over.clone() }, &[x, w]);
        sketch.show(Op::Contract { over: left.iter().map(|(axis, _)| Axis::new(axis)).collect() }, &[x, x]);
        assert_eq!(contractions(&sketch.graph), (0, 0), "{}", sketch.graph);
        for way in ways_in_bf16() {
            let exact = run(&sketch.graph, &sketch.feeds, &ExecuteOptions { precision: Precision::F32, ..way.clone() });
            assert!(run(&sketch.graph, &sketch.feeds, &way) == exact, "{way:?}\n{}", sketch.graph);
        }
    }
}

/// Operands that are rounded to infinity, are NaN, or lie below the normal range.
#[test]
fn operands_that_are_no_ordinary_numbers() {
    let mut sketch = Sketch::new();
    let special = [f64::from(f32::MAX), f64::NAN, 1e-40, f64::NEG_INFINITY, 0.0];
    let data = (0..40 * 35).map(|k| if k / 35 < 5 && k % 35 == 34 { special[k / 35] } else { 0.5 }).collect();
    let x = sketch.given("x", DType::F32, shape(&[("m", 40), ("k", 35)]), data);
    let w = sketch.given("w", DType::F32, shape(&[("k", 35), ("n", 20)]), vec![1.0; 700]);
    sketch.show(Op::Contract { over: axes(&["k"]) }, &[x, w]);
    assert_eq!(contractions(&sketch.graph), (1, 0), "{}", sketch.graph);
    for way in ways_in_bf16() {
        let found = run(&sketch.graph, &sketch.feeds, &way);
        let found = found[0].to_tensor().reordered(&shape(&[("m", 40), ("n", 20)])).data;
        let expected = |row: usize| [f64::INFINITY, f64::NAN, 17.0, f64::NEG_INFINITY, 17.0, 17.5][row.min(5)];
        for (k, found) in found.into_iter().enumerate() {
            let expected = expected(k / 20);
            assert!(found == expected || found.is_nan() && expected.is_nan(), "row {}: {found}, {way:?}", k / 20);
        }
    }
}

/// Random graphs and their gradients, each fused and in turn one other way.
#[test]
fn random_graphs() {
    let cases = std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let ways = ways_in_bf16();
    let mut products = 0;
    for seed in 0..cases {
        let operations = 4 + seed as usize % 20;
        let options = Options { operations, dtype: DType::F32, elements: 3000, ..Options::default() };
        let (mut graph, feeds) = graph(seed, &options);
        if let (0, Some(loss)) = (seed % 2, graph.output("loss")) {
            let is_leaf = |id: &NodeId| matches!(graph.op(*id), Op::Input(_) | Op::Parameter(_));
            let leaves: Vec<_> = graph.ids().filter(is_leaf).filter(|id| graph.ty(*id).dtype == DType::F32).collect();
            for (k, gradient) in gradients(&mut graph, loss, &leaves).unwrap().into_iter().enumerate() {
                graph.set_output(&format!("gradient.{k}"), gradient);
            }
        }
        if contractions(&graph).0 > 0 {
            products += 1;
            let other = 1 + products % (ways.len() - 1);
            check(&graph, &feeds, &[ways[0].clone(), ways[other].clone()]);
        }
    }
    println!("{products} of {cases} graphs have products in bf16");
    assert!(products * 10 > cases as usize, "{products} of {cases} graphs have products in bf16");
}

/// NeRF's outputs and gradients, of which the latter are far from exact ones, behind rectifiers that rounding turns: they are
/// those of a network whose operands are rounded. What is left are operands that lie where rounding changes, and the sums along
/// rays, which are no products of matrices and rounded in the reference alone.
#[test]
fn gradients_of_nerf_are_those_of_rounded_operands() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("VISAGE_SHARED").map_or_else(|| root.join("../shared"), std::path::PathBuf::from);
    let Ok(golden) = Checkpoint::read(&folder.join("golden/nerf.safetensors")) else {
        eprintln!("skipped: golden/nerf.safetensors is not in {}", folder.display());
        return;
    };
    let spec = Spec::load(root.join("graphs/nerf/nerf.ron")).unwrap();
    let sizes = [("coarse", "16"), ("fine", "32"), ("hidden", "64"), ("ray", "8"), ("white_background", "false")];
    let overrides = sizes.iter().fold(Overrides::none(), |overrides, (name, value)| overrides.set(name, value));
    let given = ["rays_o", "rays_d", "t_rand", "u", "target"].map(str::to_owned).into_iter().collect();
    let program = spec.program(ProgramKind::Loss, "photometric", &overrides, &given).unwrap();
    let system = spec.system(&overrides).unwrap();
    let graph = gradient_program(&program, &system.parameters).unwrap().program.graph.pruned();
    let mut feeds = Feeds::default();
    for id in graph.ids() {
        let ty = graph.ty(id);
        let value = |name: &str| Tensor::new(ty.dtype, ty.shape.clone(), golden.tensor(name).unwrap().to_f64());
        match graph.op(id) {
            Op::Input(name) => drop(feeds.inputs.insert(name.clone(), value(&format!("in.{name}")))),
            Op::Parameter(name) => drop(feeds.parameters.insert(name.clone(), value(&format!("w.{name}")))),
            _ => {}
        }
    }
    let rounded = evaluate_rounded(&rounded_operands(&graph), &feeds, RandomKey::default(), Rounding::AsTyped).unwrap();
    let exact = evaluate(&graph, &feeds, RandomKey::default()).unwrap();
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let found = run(&graph, &feeds, &ways_in_bf16()[1]);
    let mut farthest = 0.0_f64;
    for (name, rounded) in &rounded {
        let shape = &exact[name].ty.shape;
        let rounded = &rounded.reordered(shape).data;
        let found = found[name].to_tensor().reordered(shape).data;
        let exact = &exact[name].data;
        let apart = |x: &[f64], y: &[f64]| norm(&mut x.iter().zip(y).map(|(x, y)| x - y));
        let scale = norm(&mut exact.iter().copied());
        let (error, rounding) = (apart(&found, rounded) / scale, apart(exact, rounded) / scale);
        assert!(error <= 1e-2, "`{name}` is off by {error:e}, where rounding costs {rounding:e}");
        farthest = farthest.max(rounding);
    }
    assert!(farthest > 0.1, "rounding costs {farthest:e} at most");
}
