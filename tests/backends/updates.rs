//! Programs that update the state: the same bits whether new values are written over the old ones or beside them, with
//! one thread and with two.

use crate::{
    support::{check_bits, program},
    widths::{random, shipped},
};
use indexmap::IndexMap;
use visage_compiler::{
    autodiff::gradients,
    generate::{Options, graph},
    graph::{DType, Distribution, Graph, NodeId, Op, ScalarOp},
    language::Overrides,
    plan::Decision,
    random::RandomKey,
    system::Program,
    training::step_program,
};
use visage_runtime::{
    buffer::{Buffer, State},
    executor::{Executable, ExecuteOptions},
};

/// Outputs, and the state after some runs.
fn run(
    program: &Program,
    updates: &IndexMap<String, String>,
    (state, inputs): (&State, &IndexMap<String, Buffer>),
    options: &ExecuteOptions,
) -> IndexMap<String, Buffer> {
    let mut executable = Executable::new(program, updates, options).unwrap();
    let mut state = state.clone();
    let mut found = IndexMap::new();
    for step in 0..3 {
        found = executable.run(&mut state, inputs, RandomKey { seed: 3, step }).unwrap();
    }
    assert!(updates.values().all(|output| !found.contains_key(output)), "an update came back as an output");
    found.extend(state.into_iter().map(|(name, value)| (format!("state {name}"), value)));
    found
}

/// Runs a program with updates both ways.
fn check(program: &Program, updates: &IndexMap<String, String>, state: &State, inputs: &IndexMap<String, Buffer>) {
    for fuse in [true, false] {
        let base = ExecuteOptions { threads: Some(1), fuse, ..ExecuteOptions::default() };
        let beside = ExecuteOptions { without: [Decision::Replace].into_iter().collect(), ..base.clone() };
        let beside = run(program, updates, (state, inputs), &beside);
        for options in [
            base.clone(),
            ExecuteOptions { threads: Some(2), ..base.clone() },
            ExecuteOptions { segment_bytes: 0, segment_tiles: 1, ..base },
        ] {
            let over = run(program, updates, (state, inputs), &options);
            check_bits(("over the old value", &over), ("beside it", &beside));
        }
    }
}

/// Adds what an optimiser with momentum does with the gradient of the loss by each parameter. Parameters without one are
/// updated by the old value of the one before: nobody may write over that too early.
fn optimise(graph: &mut Graph) -> IndexMap<String, String> {
    let parameters: Vec<_> = graph
        .ids()
        .filter_map(|id| match graph.op(id) {
            Op::Parameter(name) if graph.ty(id).dtype == DType::F32 => Some((name.clone(), id)),
            _ => None,
        })
        .collect();
    let leaves: Vec<_> = parameters.iter().map(|(_, id)| *id).collect();
    let found = match graph.output("loss") {
        Some(loss) => gradients(graph, loss, &leaves).unwrap(),
        None => leaves.clone(),
    };
    let mut updates = IndexMap::new();
    for ((name, value), gradient) in parameters.iter().zip(found) {
        let momentum = graph.parameter(&format!("momentum.{name}"), graph.ty(*value).clone());
        let [keep, rate] = [0.9, 1e-3].map(|factor| graph.constant(factor, DType::F32));
        let kept = graph.map(ScalarOp::Mul, &[momentum, keep]);
        let moved = graph.map(ScalarOp::Add, &[kept, gradient]);
        let change = graph.map(ScalarOp::Mul, &[moved, rate]);
        let new = graph.map(ScalarOp::Sub, &[*value, change]);
        for (state, new) in [(format!("momentum.{name}"), moved), (name.clone(), new)] {
            graph.set_output(&format!("new.{state}"), new);
            updates.insert(state.clone(), format!("new.{state}"));
        }
    }
    updates
}

#[test]
fn random_graphs_update_their_parameters() {
    let mut updated = 0;
    for seed in 0..150 {
        let elements = if seed % 3 == 0 { 96 } else { 3000 };
        let operations = 4 + seed as usize % 20;
        let sizes = Options { operations, dtype: DType::F32, elements, ..Options::default() };
        let (mut graph, feeds) = graph(seed, &sizes);
        let updates = optimise(&mut graph);
        updated += updates.len();
        let mut feeds = feeds;
        for id in graph.ids() {
            if let Op::Parameter(name) = graph.op(id)
                && let Some(of) = name.strip_prefix("momentum.")
            {
                let start = feeds.parameters[of].clone();
                feeds.parameters.insert(name.clone(), start);
            }
        }
        let graph = graph.pruned();
        let (program, state, inputs) = program(&graph, &feeds);
        let caught = std::panic::catch_unwind(|| check(&program, &updates, &state, &inputs));
        if let Err(cause) = caught {
            eprintln!("the graph of seed {seed}:\n{graph}");
            std::panic::resume_unwind(cause);
        }
    }
    assert!(updated > 150, "{updated} updates");
}

/// The training step of an autoencoder of convolutions, down to few pixels and many channels.
#[test]
fn an_autoencoder_is_trained_in_place() {
    let sizes = [("side", "32"), ("image", "1"), ("critic_layers", "2"), ("perceptual", "false"), ("adversity", "0")];
    let small = Overrides { preset: Some("small".to_owned()), ..Overrides::none() };
    let overrides = sizes.iter().fold(small, |overrides, (name, value)| overrides.set(name, value));
    let system = shipped("codeformer", &overrides);
    let declared = &system.training.steps["autoencoder"];
    let step = step_program(&system.losses[&declared.loss], declared, &system.parameters).unwrap();
    let value = |(i, (name, node)): (u32, (&String, &NodeId))| {
        let factor = if name.starts_with("adam.") { 0.0 } else { 0.1 };
        (name.clone(), random(step.program.graph.ty(*node), i, Distribution::Normal, factor))
    };
    let state: State = (0..).zip(&step.program.parameters).map(value).collect();
    let inputs: IndexMap<String, Buffer> = (1000..)
        .zip(&step.program.inputs)
        .map(|(i, (name, input))| (name.clone(), random(&input.ty, i, Distribution::Uniform, 1.0)))
        .collect();
    check(&step.program, &step.updates, &state, &inputs);
}
