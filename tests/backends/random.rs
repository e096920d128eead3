//! Random graphs and their gradients.
//!
//! `VISAGE_CASES` sets the number of graphs; the default is what every run of the tests affords.

use crate::support::{check, ways};
use visage_compiler::{
    autodiff::gradients,
    generate::{Options, graph},
    graph::{DType, Op},
};

/// Each graph is run fused with micro-kernels and, in turn, one other way.
fn graphs(part: u64, dtype: DType) {
    let cases = std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    let all = ways();
    for seed in (0..cases).filter(|seed| seed % 2 == part) {
        let elements = if seed % 3 == 0 { 96 } else { 3000 };
        let options = Options { operations: 4 + seed as usize % 20, dtype, elements, ..Options::default() };
        let (mut graph, feeds) = graph(seed, &options);
        if let (true, Some(loss)) = (seed / 2 % 2 == 0, graph.output("loss")) {
            let leaves: Vec<_> = graph
                .ids()
                .filter(|id| matches!(graph.op(*id), Op::Input(_) | Op::Parameter(_)))
                .filter(|id| graph.ty(*id).dtype.is_float())
                .collect();
            for (k, gradient) in gradients(&mut graph, loss, &leaves).unwrap().into_iter().enumerate() {
                graph.set_output(&format!("gradient.{k}"), gradient);
            }
        }
        let other = 1 + (seed / 4) as usize % 3;
        let caught = std::panic::catch_unwind(|| check(&graph, &feeds, &[all[0], all[other]]));
        if let Err(cause) = caught {
            eprintln!("the graph of seed {seed}:\n{graph}");
            std::panic::resume_unwind(cause);
        }
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
