//! What PTX has beside what every backend has: families, precisions, sums as threads come, state that stays on a device.

use crate::{
    interpreter,
    support::{Sketch, axes, program, run, shape, ways_as_ptx},
    widths::{nerf, random, shipped},
};
use indexmap::IndexMap;
use visage_compiler::{
    axis::Axis,
    generate::{Options, graph},
    graph::{DType, Distribution, NodeId, Op},
    language::Overrides,
    plan::plan_ordered,
    ptx::{self, Family, PtxOptions},
    random::RandomKey,
    simplify::simplified,
    system::Program,
    tensor::Tensor,
    training::{gradient_program, step_program},
};
use visage_runtime::{
    buffer::{Buffer, State},
    executor::{Device, Executable, ExecuteOptions, Precision},
};

fn text(program: &Program, options: &PtxOptions) -> String {
    let plan = plan_ordered(&simplified(program).graph, &program.outputs, &options.family.plan_options()).unwrap();
    ptx::compile(&plan, options).unwrap().module()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// How far a value is from another, as a part of that one, or of `least` where that is more.
fn apart(found: &Tensor, expected: &Tensor, least: f64) -> f64 {
    let found = found.reordered(&expected.ty.shape);
    let error = norm(found.data.iter().zip(&expected.data).map(|(x, y)| x - y));
    error / norm(expected.data.iter().copied()).max(least)
}

/// The same program gives the same text, and the families differ in their heads and in what fits into shared memory.
#[test]
fn the_text_is_the_same_each_time() {
    let system = nerf(&Overrides::none());
    let program = &system.losses["photometric"];
    for family in Family::ALL {
        let options = PtxOptions { family, ..PtxOptions::default() };
        let first = text(program, &options);
        assert!(first == text(program, &options));
        assert!(first.contains(&format!(".target {family}\n")));
    }
}

/// A training step packs weights, combines partial results and updates parameters in few launches, each of which says which
/// steps it is.
#[test]
fn small_steps_are_launched_together() {
    let system = nerf(&Overrides::none());
    let step = &system.training.steps["fit"];
    let program = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap().program;
    let plan = plan_ordered(&simplified(&program).graph, &program.outputs, &Family::Sm90.plan_options()).unwrap();
    let compiled = ptx::compile(&plan, &PtxOptions::default()).unwrap();
    let steps: Vec<usize> = compiled.launches.iter().flat_map(|launch| launch.steps.clone()).collect();
    assert!(steps.into_iter().eq(0..plan.steps.len()));
    assert!(compiled.launches.len() * 2 < plan.steps.len(), "{} of {}", compiled.launches.len(), plan.steps.len());
    let most = compiled.launches.iter().map(|launch| launch.steps.len()).max();
    assert!(most > Some(40), "{most:?}");
}

/// An operand rounded to 11 bits is off by 2⁻¹² of itself at most, so a product by a little more than 2⁻¹¹ of it; and by more
/// than in `f32`, since it was rounded.
#[test]
fn products_in_tf32() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("m", 77), ("k", 131)]);
    let w = sketch.weight("w", &[("k", 131), ("n", 33)]);
    sketch.show(Op::Contract { over: axes(&["k"]) }, &[x, w]);
    let [single, rounded] = [Precision::F32, Precision::Tf32].map(|precision| {
        let way = ExecuteOptions { precision, ..ways_as_ptx()[0].clone() };
        run(&sketch.graph, &sketch.feeds, &way)[0].to_tensor()
    });
    let exact = sketch.run()[0].1.clone();
    let magnitude: f64 = {
        let all = [&sketch.feeds.inputs["x"], &sketch.feeds.parameters["w"]];
        all.iter().map(|tensor| tensor.data.iter().map(|x| x.abs()).sum::<f64>() / tensor.data.len() as f64).product()
    };
    let worst = |found: &Tensor| {
        let found = found.reordered(&exact.ty.shape);
        found.data.iter().zip(&exact.data).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    };
    let bound = 2f64.powi(-11) * 131.0 * magnitude * 2.0;
    assert!(worst(&rounded) < bound, "{:e} of {bound:e}", worst(&rounded));
    assert!(worst(&rounded) > 20.0 * worst(&single), "{:e}, in f32 {:e}", worst(&rounded), worst(&single));
    assert!(apart(&single, &exact, 0.0) < 1e-6, "{:e}", apart(&single, &exact, 0.0));
}

/// Scattered sums over rows are atomic unless they are to have one order; the sums are the same but for rounding.
#[test]
fn scattered_sums_as_threads_come_and_in_order() {
    let mut sketch = Sketch::new();
    let updates = sketch.float("updates", &[("row", 300), ("f", 5)]);
    let index = sketch.integer("index", &[("row", 300)], -2, 12);
    let table =
        sketch.add(Op::ScatterAdd { axis: Axis::new("cell"), size: 10, over: axes(&["row"]) }, &[updates, index]);
    sketch.graph.set_output("table", table);
    let (program, ..) = program(&sketch.graph, &sketch.feeds);
    let exact = sketch.run()[0].1.clone();
    for deterministic in [true, false] {
        let atomics = text(&program, &PtxOptions { deterministic, ..PtxOptions::default() }).contains("red.global");
        assert_eq!(atomics, !deterministic);
        let way = ExecuteOptions { deterministic, ..ways_as_ptx()[0].clone() };
        let found = run(&sketch.graph, &sketch.feeds, &way)[0].to_tensor();
        assert!(apart(&found, &exact, 0.0) < 1e-6);
    }
}

/// Random graphs for the larger shared memory of the later family.
#[test]
fn random_graphs_for_hopper() {
    for seed in 0..60 {
        let options =
            Options { operations: 4 + seed as usize % 20, dtype: DType::F32, elements: 3000, ..Options::default() };
        let (graph, feeds) = graph(seed, &options);
        let (program, mut state, inputs) = program(&graph, &feeds);
        let none = IndexMap::new();
        let [old, new] = Family::ALL.map(|family| {
            let device = interpreter::device(family);
            let options = ExecuteOptions { deterministic: true, ..ExecuteOptions::default() };
            let mut executable = Executable::on(&device, &program, &none, &options).unwrap();
            let found = executable.run(&mut state, &inputs, RandomKey::default());
            found.unwrap_or_else(|error| panic!("seed {seed} for {family}: {error}\n{graph}"))
        });
        for (name, old) in &old {
            let (old, new) = (old.to_tensor(), new[name].to_tensor());
            let close =
                |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-3 * (1.0 + y.abs()) || x == y || x.is_nan() && y.is_nan();
            assert!(new.data.iter().zip(&old.data).all(close), "`{name}` of seed {seed}\n{graph}");
        }
    }
}

/// Whether a parameter is the bias of keys, which changes no attention: Adam makes whole steps of the rounding in its gradient.
fn is_noise(name: &str) -> bool {
    name.ends_with(".k.bias") || name.ends_with("in_proj_bias")
}

/// Some runs of a program on the processor and as PTX: every output and all state are close after each. What an optimiser
/// keeps starts from zeros. Each step makes a hundred times of what rounding was in the one before, of which ten times are
/// allowed: Adam divides gradients by their size.
fn check(name: &str, program: &Program, updates: &IndexMap<String, String>, bound: f64) {
    let value = |(i, (name, node)): (u32, (&String, &NodeId))| {
        let factor = if name.starts_with("adam.") { 0.0 } else { 0.1 };
        (name.clone(), random(program.graph.ty(*node), i, Distribution::Normal, factor))
    };
    let state: State = (0..).zip(&program.parameters).map(value).collect();
    let inputs: IndexMap<String, Buffer> = (1000..)
        .zip(&program.inputs)
        .map(|(i, (name, input))| (name.clone(), random(&input.ty, i, Distribution::Uniform, 1.0)))
        .collect();
    for fuse in [true, false] {
        let options = ExecuteOptions { fuse, deterministic: true, ..ExecuteOptions::default() };
        let cpu = ExecuteOptions { device: Device::Cpu, ..options.clone() };
        let device = interpreter::device(Family::Sm90);
        let mut executables = [
            Executable::new(program, updates, &cpu).unwrap(),
            Executable::on(&device, program, updates, &options).unwrap(),
        ];
        let mut states = [state.clone(), state.clone()];
        for step in 0..if updates.is_empty() { 1 } else { 3 } {
            let mut found = [IndexMap::new(), IndexMap::new()];
            for ((executable, state), found) in executables.iter_mut().zip(&mut states).zip(&mut found) {
                let key = RandomKey { seed: 3, step };
                *found = executable.run(state, &inputs, key).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            let [expected, found] = &found;
            let of_state = |name: &String| Some((states[1].get(name)?, states[0].get(name)?));
            let updated = updates.keys().filter_map(of_state).zip(updates.keys());
            // Some gradients are nothing but rounding.
            let norms = expected.values().map(|value| norm(value.to_tensor().data.into_iter()));
            let least = 1e-5 * norms.fold(0.0, f64::max);
            let outputs = found.iter().map(|(name, value)| ((value, &expected[name]), name));
            for ((found, expected), value) in outputs.chain(updated).filter(|(_, name)| !is_noise(name)) {
                let error = apart(&found.to_tensor(), &expected.to_tensor(), least);
                let bound = bound * 10_f64.powi(step as i32);
                assert!(error <= bound, "{name}, step {step}: `{value}` is off by {error:e}");
            }
        }
    }
}

/// Every program of NeRF: tasks, the loss with its gradients, and three steps of training, whose state stays on the device.
#[test]
fn nerf_as_ptx() {
    let sizes = [("coarse", "6"), ("fine", "9"), ("hidden", "24"), ("ray", "5"), ("point", "33")];
    let overrides = sizes.iter().fold(Overrides::none(), |overrides, (name, value)| overrides.set(name, value));
    let system = nerf(&overrides);
    let none = IndexMap::new();
    for (name, task) in &system.tasks {
        check(name, &task.program, &none, 1e-4);
    }
    for (name, loss) in &system.losses {
        check(name, &gradient_program(loss, &system.parameters).unwrap().program, &none, 1e-3);
    }
    for (name, step) in &system.training.steps {
        let step = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap();
        // Rounding turns a rectifier now and then, and steps amplify that.
        check(name, &step.program, &step.updates, 1e-3);
    }
}

/// CodeFormer's networks, losses with their gradients, and steps of its stages, at sizes that change nothing of their kind.
#[test]
fn codeformer_as_ptx() {
    let sizes = [
        ("side", "16"),
        ("width", "8"),
        ("levels", "3"),
        ("depth", "1"),
        ("groups", "4"),
        ("code", "16"),
        ("feature", "8"),
        ("hidden", "16"),
        ("head", "2"),
        ("wide", "24"),
        ("layers", "1"),
        ("coarsest", "1"),
        ("critic_width", "4"),
        ("critic_layers", "2"),
        ("image", "2"),
        ("perceptual", "false"),
    ];
    let of_stage = |stage: &str| {
        let overrides = sizes.iter().fold(Overrides::none(), |overrides, (name, value)| overrides.set(name, value));
        shipped("codeformer", &overrides.set("stage", stage))
    };
    let system = of_stage("3");
    let none = IndexMap::new();
    for name in ["restore", "nn", "decode", "inpaint", "colourise"] {
        check(name, &system.tasks[name].program, &none, 1e-4);
    }
    for (name, loss) in &system.losses {
        check(name, &gradient_program(loss, &system.parameters).unwrap().program, &none, 1e-3);
    }
    for (system, name) in [(&of_stage("1"), "autoencoder"), (&system, "fusion")] {
        let step = &system.training.steps[name];
        let step = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap();
        check(name, &step.program, &step.updates, 1e-3);
    }
}

/// The two systems of generative radiance fields: pictures, and both losses with their gradients (R1's is of second order), at
/// sizes that change nothing of their kind.
#[test]
fn generators_as_ptx() {
    let common = [("image", "2"), ("side", "8"), ("hidden", "16"), ("latent", "8"), ("mapping", "8"), ("layers", "3")];
    let narrow = [("narrowest", "4"), ("widest", "8"), ("draws", "4"), ("point", "32")];
    let own = [("pigan", &[("samples", "4")][..]), ("gram", &[("samples", "8"), ("levels", "3"), ("scalar", "8")])];
    for (name, sizes) in own {
        let sizes = common.iter().chain(&narrow).chain(sizes);
        let system =
            shipped(name, &sizes.fold(Overrides::none(), |overrides, (name, value)| overrides.set(name, value)));
        let none = IndexMap::new();
        for task in ["random", "codes", "mean_codes", "mesh"] {
            check(&format!("{name} {task}"), &system.tasks[task].program, &none, 1e-3);
        }
        for loss in ["discriminator", "generator"] {
            // Sines of many turns amplify rounding.
            let program = gradient_program(&system.losses[loss], &system.parameters).unwrap().program;
            check(&format!("{name} {loss}"), &program, &none, 5e-2);
        }
    }
}

/// A large output whose rows and features both lie apart in the order of its file: written in panels, and put in order by a
/// step of its own.
#[test]
fn large_outputs_in_an_order_of_their_own() {
    let mut sketch = Sketch::new();
    let x = sketch.float("x", &[("y", 80), ("x", 80), ("image", 4), ("from", 5)]);
    let weights = sketch.weight("weights", &[("to", 3), ("from", 5)]);
    let product = sketch.add(Op::Contract { over: axes(&["from"]) }, &[x, weights]);
    sketch.graph.set_output("product", product);
    let (mut program, ..) = program(&sketch.graph, &sketch.feeds);
    let order = [("image", 4), ("to", 3), ("y", 80), ("x", 80)];
    program.outputs.insert("product".to_owned(), shape(&order));
    check("product", &program, &IndexMap::new(), 1e-5);
}
