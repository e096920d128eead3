//! Random graphs and their gradients.
//!
//! `VISAGE_CASES` sets the number of graphs; the default is what every run of the tests affords.

use crate::support::{check, check_widths, ways, ways_as_ptx};
use visage_compiler::{
    autodiff::gradients,
    generate::{Options, graph},
    graph::{DType, Graph, Op},
    plan::{Decision, PlanOptions, plan},
    reference::Feeds,
    simplify::simplify,
};
use visage_runtime::executor::ExecuteOptions;

fn cases() -> u64 {
    std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

/// Adds the gradients of the loss by all leaves.
fn differentiate(graph: &mut Graph) {
    let Some(loss) = graph.output("loss") else { return };
    let leaves: Vec<_> = graph
        .ids()
        .filter(|id| matches!(graph.op(*id), Op::Input(_) | Op::Parameter(_)))
        .filter(|id| graph.ty(*id).dtype.is_float())
        .collect();
    for (k, gradient) in gradients(graph, loss, &leaves).unwrap().into_iter().enumerate() {
        graph.set_output(&format!("gradient.{k}"), gradient);
    }
}

fn check_seed(seed: u64, graph: &Graph, feeds: &Feeds, ways: &[ExecuteOptions]) {
    let caught = std::panic::catch_unwind(|| check(graph, feeds, ways));
    if let Err(cause) = caught {
        eprintln!("the graph of seed {seed}:\n{graph}");
        std::panic::resume_unwind(cause);
    }
}

/// Each graph is run fused with micro-kernels and, in turn, one other way.
fn graphs(part: u64, dtype: DType) {
    let cases = cases();
    let all = [ways(), ways_as_ptx()].concat();
    for seed in (0..cases).filter(|seed| seed % 2 == part) {
        let elements = if seed % 3 == 0 { 96 } else { 3000 };
        let options = Options { operations: 4 + seed as usize % 20, dtype, elements, ..Options::default() };
        let (mut graph, feeds) = graph(seed, &options);
        if seed / 2 % 2 == 0 {
            differentiate(&mut graph);
        }
        let other = 1 + (seed / 4) as usize % (all.len() - 1);
        check_seed(seed, &graph, &feeds, &[all[0].clone(), all[other].clone()]);
    }
}

#[test]
fn even_seeds() {
    graphs(0, DType::F32);
}

#[test]
fn odd_seeds() {
    graphs(1, DType::F32);
}

#[test]
fn even_seeds_in_double_precision() {
    graphs(0, DType::F64);
}

#[test]
fn odd_seeds_in_double_precision() {
    graphs(1, DType::F64);
}

/// Every element has the same bits whether maps are computed at 512 or at 128 bits.
#[test]
fn both_widths() {
    for seed in 0..cases() {
        let dtype = if seed % 5 == 4 { DType::F64 } else { DType::F32 };
        let elements = if seed % 3 == 0 { 96 } else { 3000 };
        let options = Options { operations: 4 + seed as usize % 20, dtype, elements, ..Options::default() };
        let (mut graph, feeds) = graph(seed, &options);
        if seed % 2 == 0 {
            differentiate(&mut graph);
        }
        if let Err(cause) = std::panic::catch_unwind(|| check_widths(&graph, &feeds)) {
            eprintln!("the graph of seed {seed}:\n{graph}");
            std::panic::resume_unwind(cause);
        }
    }
}

/// Graphs with an axis that is long enough to be cut, or two, in as many parts as there can be. Half of them without
/// unions of kernels, so that there are more values between kernels; graphs without any are passed over.
#[test]
fn in_parts() {
    let cases = 2 * cases();
    let mut parted = 0;
    for seed in 0..cases {
        let dtype = if seed % 5 == 4 { DType::F64 } else { DType::F32 };
        let long = if seed % 2 == 0 { 64 } else { 128 };
        let operations = 6 + seed as usize % 20;
        let sizes = Options { operations, dtype, elements: 40_000, bound: 12.0, long };
        let (mut graph, feeds) = graph(seed, &sizes);
        if seed % 3 != 0 {
            differentiate(&mut graph);
        }
        let without = [Decision::Merge, Decision::Recompute].into_iter().filter(|_| seed / 2 % 2 == 0).collect();
        let options = PlanOptions { without, segment_bytes: 0, segment_tiles: 1, ..PlanOptions::default() };
        let plan = plan(&simplify(&graph.pruned()), &options).unwrap_or_else(|error| panic!("{error}\n{graph}"));
        if !plan.segments.is_empty() {
            parted += 1;
            let PlanOptions { segment_bytes, segment_tiles, .. } = options;
            let way = ExecuteOptions { without, segment_bytes, segment_tiles, ..ExecuteOptions::default() };
            check_seed(seed, &graph, &feeds, &[ExecuteOptions { threads: Some(1), ..way }]);
        }
    }
    println!("{parted} of {cases} graphs run in parts");
    assert!(parted * 25 > cases, "{parted} of {cases} graphs run in parts");
}
