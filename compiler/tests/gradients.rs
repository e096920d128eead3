//! First and second derivatives of random graphs against finite differences.
//!
//! `VISAGE_CASES` sets the number of graphs; the default is what every run of the tests affords.

use proptest::{prelude::*, test_runner::TestRunner};
use std::cell::Cell;
use visage_compiler::{
    autodiff::erase_stops,
    differences::{DifferenceError, check},
    generate::{Options, graph},
};

fn cases(default: u32) -> u32 {
    std::env::var("VISAGE_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}

#[test]
fn gradients_agree_with_finite_differences() {
    let config = ProptestConfig { cases: cases(2000), failure_persistence: None, ..ProptestConfig::default() };
    let (checked, curved) = (Cell::new(0_u32), Cell::new(0_u32));
    let strategy = (any::<u64>(), 1_usize..24);
    let outcome = TestRunner::new(config).run(&strategy, |(seed, operations)| {
        let (graph, feeds) = graph(seed, &Options { operations, ..Options::default() });
        let graph = erase_stops(&graph);
        let loss = graph.output("loss").ok_or_else(|| TestCaseError::fail("no loss"))?;
        match check(&graph, loss, &feeds, seed) {
            Ok(derivatives) if derivatives.first.is_finite() && derivatives.second.is_finite() => {
                checked.set(checked.get() + 1);
                curved.set(curved.get() + u32::from(derivatives.second != 0.0));
                Ok(())
            }
            Ok(derivatives) => Err(TestCaseError::fail(format!("{derivatives:?}\n{graph}"))),
            Err(error @ DifferenceError::Mismatch { .. }) => Err(TestCaseError::fail(format!("{error}\n{graph}"))),
            Err(error) => Err(TestCaseError::fail(error.to_string())),
        }
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    let (checked, curved) = (checked.get(), curved.get());
    assert!(2 * curved > checked, "only {curved} of {checked} graphs have a second derivative");
}
