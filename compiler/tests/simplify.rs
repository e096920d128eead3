//! Simplified random graphs, and their gradients, compute what they did before.
//!
//! `VISAGE_CASES` sets the number of graphs; the default is what every run of the tests affords.

use proptest::{prelude::*, test_runner::TestRunner};
use visage_compiler::{
    autodiff::{erase_stops, gradients},
    generate::{Options, graph},
    graph::{Graph, NodeId, Op},
    random::RandomKey,
    reference::{Feeds, evaluate},
    simplify::simplify,
};

/// Compares every output of a graph and of its simplified form.
fn check(graph: &Graph, feeds: &Feeds) -> Result<(), TestCaseError> {
    let fail = |problem: String| TestCaseError::fail(problem);
    let simple = simplify(graph);
    simple.verify().map_err(|error| fail(format!("{error}\n{graph}\n{simple}")))?;
    let again = simplify(&simple);
    prop_assert_eq!(simple.to_string(), again.to_string(), "not settled");
    let value = |graph: &Graph| evaluate(graph, feeds, RandomKey::default()).map_err(|error| fail(error.to_string()));
    let (before, after) = (value(graph)?, value(&simple)?);
    for (name, expected) in before {
        let found = after[&name].reordered(expected.shape());
        let scale = 1.0 + expected.data.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
        let close = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-8 * scale || x == y;
        prop_assert!(expected.data.iter().zip(&found.data).all(close), "{}:\n{}\n{}", name, graph, simple);
    }
    Ok(())
}

#[test]
fn values_survive_simplification() {
    let cases = std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(1500);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(&(any::<u64>(), 1_usize..30), |(seed, operations)| {
        let (mut graph, feeds) = graph(seed, &Options { operations, ..Options::default() });
        check(&graph, &feeds)?;
        let loss = graph.output("loss").ok_or_else(|| TestCaseError::fail("no loss"))?;
        let parameters: Vec<NodeId> = graph.ids().filter(|id| matches!(graph.op(*id), Op::Parameter(_))).collect();
        let found = gradients(&mut graph, loss, &parameters).map_err(|error| TestCaseError::fail(error.to_string()))?;
        for (k, gradient) in found.into_iter().enumerate() {
            graph.set_output(&format!("gradient.{k}"), gradient);
        }
        check(&erase_stops(&graph.pruned()), &feeds)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
