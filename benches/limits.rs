//! Compiled programs against what this machine can do at best, measured in the same run.
//!
//! ```text
//! cargo bench --bench limits
//! cargo bench --bench limits -- contraction    # only the part of this name: contraction, map, maps or compilation
//! cargo bench --bench limits -- grid           # matrix products of many shapes, which is no part of the rest
//! cargo bench --bench limits -- grid=layer --threads=2 --json    # those whose names begin so; as one line of JSON
//! ```
//!
//! Contractions are compared with the peak of fused multiply-adds, a fused map over arrays far larger than the
//! caches with a copy of arrays of the same size. Every figure is the median of interleaved rounds.

use indexmap::IndexMap;
use memmap2::MmapMut;
use std::{path::Path, time::Instant};
use visage_compiler::{
    axis::{Axis, Shape},
    graph::{DType, Graph, Op, ScalarOp, Type},
    language::{Overrides, Spec},
    plan::{PlanOptions, Target, plan},
    random::RandomKey,
    simplify::simplified,
    system::{Input, Program},
    training::step_program,
};
use visage_kernels::{
    Isa, Unit,
    memory::measure::{peak_gflops, peak_pair_gflops},
    micro_kernels,
};
use visage_runtime::{
    buffer::{Buffer, State},
    executor::{Executable, ExecuteOptions, Maps, Precision},
};

#[path = "limits/grid.rs"]
mod grid;

const ROUNDS: usize = 15;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    let threads = arguments.iter().find_map(|argument| argument.strip_prefix("--threads="));
    let threads = threads.map(|count| count.parse().expect("--threads is a number"));
    if let Some(of_grid) = only.and_then(|only| only.strip_prefix("grid")) {
        let as_json = arguments.iter().any(|argument| argument == "--json");
        for threads in threads.map_or(vec![1, 2], |threads| vec![threads]) {
            if !as_json {
                println!("{threads} thread{}", if threads == 1 { "" } else { "s" });
            }
            grid::grid(threads, of_grid.trim_start_matches('='), as_json);
        }
        return;
    }
    for threads in threads.map_or(vec![1, 2], |threads| vec![threads]) {
        println!("{threads} thread{}", if threads == 1 { "" } else { "s" });
        if wanted("contraction") {
            for (m, n, k) in [(4096, 256, 256), (1024, 1024, 1024)] {
                contraction(threads, (m, n, k));
            }
        }
        if wanted("map") {
            map(threads);
        }
        if wanted("maps") {
            maps(threads);
        }
    }
    if wanted("compilation") {
        compilation();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A program of one input a shape.
fn program(inputs: &[(&str, Shape)], build: impl FnOnce(&mut Graph, &[visage_compiler::graph::NodeId])) -> Program {
    let mut graph = Graph::new();
    let ty = |shape: &Shape| Type::new(DType::F32, shape.clone());
    let nodes: Vec<_> = inputs.iter().map(|(name, shape)| graph.input(name, ty(shape))).collect();
    build(&mut graph, &nodes);
    let input = |shape: &Shape| Input {
        ty: ty(shape),
        size_names: Vec::new(),
        about: String::new(),
        optional: false,
        schedule: false,
    };
    let outputs = graph.outputs().map(|(name, node)| (name.to_owned(), graph.shape(node).clone())).collect();
    Program {
        inputs: inputs.iter().map(|(name, shape)| ((*name).to_owned(), input(shape))).collect(),
        parameters: IndexMap::new(),
        outputs,
        graph,
    }
}

fn buffers(inputs: &[(&str, Shape)]) -> IndexMap<String, Buffer> {
    let numbers = |shape: &Shape| (0..shape.elements()).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect::<Vec<_>>();
    inputs.iter().map(|(name, shape)| ((*name).to_owned(), Buffer::from_f32(shape.clone(), &numbers(shape)))).collect()
}

fn executable(program: &Program, threads: usize, precision: Precision) -> Executable {
    let options = ExecuteOptions { threads: Some(threads), precision, ..ExecuteOptions::default() };
    Executable::new(program, &IndexMap::new(), &options).expect("the program compiles")
}

/// c[m, n] = max(Σₖ a[m, k] · b[n, k], 0), in f32 and in bf16: packing of b, loading of a and storing of c included.
fn contraction(threads: usize, (m, n, k): (usize, usize, usize)) {
    let axis = |name, size| (Axis::new(name), size);
    let inputs = [("a", Shape::new([axis("m", m), axis("k", k)])), ("b", Shape::new([axis("n", n), axis("k", k)]))];
    let program = program(&inputs, |graph, nodes| {
        let product = graph.add(Op::Contract { over: vec![Axis::new("k")] }, nodes);
        let zero = graph.constant(0.0, DType::F32);
        let result = graph.map(ScalarOp::Max, &[product, zero]);
        graph.set_output("c", result);
    });
    let mut executables = [Precision::F32, Precision::Bf16].map(|precision| executable(&program, threads, precision));
    let inputs = buffers(&inputs);
    let (mut reached, mut peaks) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        for (executable, reached) in executables.iter_mut().zip(&mut reached) {
            executable.forget_profile();
            for _ in 0..4 {
                executable.run(&mut State::new(), &inputs, RandomKey::default()).expect("the program runs");
            }
            let seconds: f64 = executable.profile().iter().map(|step| step.seconds).sum();
            reached.push(2e-9 * (m * n * k) as f64 / seconds);
        }
        peaks[0].push(peak_gflops(Isa::detect(), threads));
        peaks[1].push(peak_pair_gflops(Unit::detect(), threads));
    }
    let gain = median(reached[1].iter().zip(&reached[0]).map(|(rounded, exact)| rounded / exact).collect());
    let told = reached.into_iter().zip(peaks).map(|(reached, peaks)| {
        let share = median(reached.iter().zip(&peaks).map(|(reached, peak)| 100.0 * reached / peak).collect());
        format!("{:.0} of {:.0} GFLOP/s, {share:.0} % of peak", median(reached), median(peaks))
    });
    let [exact, rounded]: [String; 2] = told.collect::<Vec<_>>().try_into().expect("two precisions");
    println!("  contraction {m}x{n}x{k}: {exact}; in bf16 {rounded}, {gain:.1} times as fast");
}

/// y = max(1.5 x + 1.5, 0) over 256 MiB, against a copy of the same arrays.
fn map(threads: usize) {
    let elements = 64 << 20;
    let inputs = [("x", Shape::new([(Axis::new("i"), elements)]))];
    let program = program(&inputs, |graph, nodes| {
        let c = graph.constant(1.5, DType::F32);
        let zero = graph.constant(0.0, DType::F32);
        let scaled = graph.map(ScalarOp::Mul, &[nodes[0], c]);
        let shifted = graph.map(ScalarOp::Add, &[scaled, c]);
        let result = graph.map(ScalarOp::Max, &[shifted, zero]);
        graph.set_output("y", result);
    });
    let mut executable = executable(&program, threads, Precision::F32);
    let inputs = buffers(&inputs);
    // In large pages, as the arena of a program is.
    let mut target = MmapMut::map_anon(4 * elements).expect("there is memory");
    #[cfg(target_os = "linux")]
    let _ = target.advise(memmap2::Advice::HugePage);
    let (mut reached, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS.min(7) {
        executable.forget_profile();
        executable.run(&mut State::new(), &inputs, RandomKey::default()).expect("the program runs");
        let seconds: f64 = executable.profile().iter().map(|step| step.seconds).sum();
        reached.push(8e-9 * elements as f64 / seconds);
        copies
            .push(8e-9 * elements as f64 / copy(inputs["x"].as_f32(), bytemuck::cast_slice_mut(&mut target), threads));
    }
    let share = median(reached.iter().zip(&copies).map(|(reached, copy)| 100.0 * reached / copy).collect());
    let (reached, copy) = (median(reached), median(copies));
    println!("  map over 256 MiB: {reached:.1} of {copy:.1} GB/s, {share:.0} % of a streaming copy");
}

/// Elementwise functions of an array in the second-level cache, at 512 and at 128 bits.
fn maps(threads: usize) {
    let elements = 64 << 10;
    let inputs = [("x", Shape::new([(Axis::new("i"), elements)]))];
    for op in [ScalarOp::Sin, ScalarOp::Exp, ScalarOp::Softplus, ScalarOp::Abs] {
        let program = program(&inputs, |graph, nodes| {
            let result = graph.map(op, nodes);
            graph.set_output("y", result);
        });
        let mut executables = [Maps::Wide, Maps::Cranelift].map(|maps| {
            let options = ExecuteOptions { threads: Some(threads), maps, ..ExecuteOptions::default() };
            Executable::new(&program, &IndexMap::new(), &options).expect("the program compiles")
        });
        let inputs = buffers(&inputs);
        let mut reached = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (executable, reached) in executables.iter_mut().zip(&mut reached) {
                executable.forget_profile();
                for _ in 0..64 {
                    executable.run(&mut State::new(), &inputs, RandomKey::default()).expect("the program runs");
                }
                let seconds: f64 = executable.profile().iter().map(|step| step.seconds).sum();
                reached.push(64e-9 * elements as f64 / seconds);
            }
        }
        let [wide, narrow] = reached.map(median);
        println!(
            "  {} of {elements} elements: {wide:.2} Gelem/s at 512 bits, {narrow:.2} at 128, {:.1} times",
            op.name(),
            wide / narrow
        );
    }
}

/// Seconds that a streaming copy takes, in pieces of a page, one half a thread.
fn copy(from: &[f32], to: &mut [f32], threads: usize) -> f64 {
    let kernels = micro_kernels(Isa::detect());
    let piece = from.len() / threads;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (from, to) in from.chunks(piece).zip(to.chunks_mut(piece)) {
            scope.spawn(move || kernels.copy_past_caches(from, to));
        }
    });
    started.elapsed().as_secs_f64()
}

/// NeRF's whole training step from the text of its spec to a program that runs: without a code cache and with one that
/// has everything. What is not code generation is told part by part; the last part, with the code, is all that an
/// executable has: its arena, threads and addresses.
fn compilation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/nerf/nerf.ron");
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let parts = ["read and elaborated", "differentiated", "simplified", "planned", "code, cold", "code, warm"];
    let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); parts.len()];
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    let mut about = String::new();
    for round in 0..ROUNDS {
        let mut started = Instant::now();
        let mut lap = || std::mem::replace(&mut started, Instant::now()).elapsed().as_secs_f64();
        let system = Spec::load(&path).expect("the spec parses").system(&Overrides::none()).expect("the spec is right");
        let elaborated = lap();
        let step = &system.training.steps["fit"];
        let step = step_program(&system.losses[&step.loss], step, &system.parameters).expect("it has a gradient");
        let differentiated = lap();
        let simple = simplified(&step.program);
        let simplified = lap();
        let plan = plan(&simple.graph, &PlanOptions { target: Target::host(), ..PlanOptions::default() });
        let planned = lap();
        let plan = plan.expect("it can be planned");
        about = format!("{} operations, {} steps", step.program.graph.ids().count(), plan.steps.len());
        // An executable simplifies and plans, too.
        let prepared = |cache: &Path| {
            let code_cache = Some(cache.to_owned());
            let options = ExecuteOptions { threads: Some(2), code_cache, ..ExecuteOptions::default() };
            let started = Instant::now();
            let executable = Executable::new(&step.program, &step.updates, &options).expect("it compiles");
            let took = started.elapsed().as_secs_f64();
            (took, executable.reuse())
        };
        let cache = folder.path().join(round.to_string());
        let ((first, none), (second, all)) = (prepared(&cache), prepared(&cache));
        assert!(none.reused == 0 && all.reused == all.kernels, "the second time, all code is there");
        about = format!("{about}, {} kernels", all.kernels);
        let before = elaborated + differentiated;
        cold.push(before + first);
        warm.push(before + second);
        let rest = simplified + planned;
        let taken = [elaborated, differentiated, simplified, planned, first - rest, second - rest];
        seconds.iter_mut().zip(taken).for_each(|(all, one)| all.push(one));
    }
    println!("NeRF's training step, {about}: {:.1} ms cold, {:.1} ms warm", 1e3 * median(cold), 1e3 * median(warm));
    for (part, seconds) in parts.into_iter().zip(seconds) {
        println!("  {part:<20}{:>6.1} ms", 1e3 * median(seconds));
    }
}
