//! Matrix products of many shapes: those of `benches/grid.txt`, which `benches/rivals` and `benches/peers.py` measure,
//! too.

use super::{buffers, executable, median, program};
use serde_json::{Map, json};
use std::time::Instant;
use visage_compiler::{
    axis::{Axis, Shape},
    graph::Op,
    random::RandomKey,
};
use visage_kernels::{
    Isa,
    memory::measure::{copy_gigabytes, peak_gflops},
};
use visage_runtime::{buffer::State, executor::Precision};

/// How long a product is measured, in seconds; one round at least.
const BUDGET: f64 = 0.3;

/// How long a round lasts at least, in seconds: short products run many times in one.
const ROUND: f64 = 0.01;

/// c[batch, m, n] = Σₖ a · b.
struct Product {
    name: &'static str,
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// Of each operand, whether it lies the other way around than [m, k] and [k, n].
    transposed: [bool; 2],
}

/// What a round measured, in seconds a product.
struct Seconds {
    /// In the steps of the program.
    steps: f64,
    /// In the whole call, which makes memory for the result as well.
    call: f64,
}

impl Product {
    fn all() -> impl Iterator<Item = Product> {
        include_str!("../grid.txt").lines().filter_map(|line| {
            let fields: Vec<_> = line.split('#').next()?.split_whitespace().collect();
            let &[name, batch, m, n, k, form] = fields.as_slice() else { return None };
            let size = |text: &str| text.parse().expect("the grid holds numbers");
            let transposed = [form.starts_with('t'), form.ends_with('t')];
            Some(Product { name, batch: size(batch), m: size(m), n: size(n), k: size(k), transposed })
        })
    }

    fn flops(&self) -> f64 {
        2.0 * (self.batch * self.m * self.n * self.k) as f64
    }

    /// Each operand read once, the result written once.
    fn bytes(&self) -> f64 {
        4.0 * (self.batch * (self.m * self.k + self.k * self.n + self.m * self.n)) as f64
    }

    /// The inputs, axes in the order in which they lie.
    fn inputs(&self) -> [(&'static str, Shape); 2] {
        let shape = |first: (&str, usize), second: (&str, usize), swapped: bool| {
            let axis = |(name, size): (&str, usize)| (Axis::new(name), size);
            let [first, second] = if swapped { [second, first] } else { [first, second] };
            let batch = (self.batch > 1).then_some(("batch", self.batch));
            Shape::new(batch.into_iter().chain([first, second]).map(axis))
        };
        let [a, b] = self.transposed;
        [("a", shape(("m", self.m), ("k", self.k), a)), ("b", shape(("k", self.k), ("n", self.n), b))]
    }

    fn measure(&self, threads: usize) -> Seconds {
        let inputs = self.inputs();
        let program = program(&inputs, |graph, nodes| {
            let result = graph.add(Op::Contract { over: vec![Axis::new("k")] }, nodes);
            graph.set_output("c", result);
        });
        let mut executable = executable(&program, threads, Precision::F32);
        let inputs = buffers(&inputs);
        let started = Instant::now();
        executable.run(&mut State::new(), &inputs, RandomKey::default()).expect("it runs");
        let repeat = (ROUND / started.elapsed().as_secs_f64()).ceil().max(1.0) as usize;
        let (mut steps, mut calls) = (Vec::new(), Vec::new());
        let began = Instant::now();
        while steps.is_empty() || began.elapsed().as_secs_f64() < BUDGET {
            executable.forget_profile();
            let started = Instant::now();
            for _ in 0..repeat {
                executable.run(&mut State::new(), &inputs, RandomKey::default()).expect("it runs");
            }
            calls.push(started.elapsed().as_secs_f64() / repeat as f64);
            // A profile tells what a step takes in one run.
            steps.push(executable.profile().iter().map(|step| step.seconds).sum::<f64>());
        }
        Seconds { steps: median(steps), call: median(calls) }
    }
}

/// Measures every product whose name begins with `only`; with `as_json`, one line of JSON says it all.
///
/// A product is held by memory where its bytes at the bandwidth of a copy past the caches take longer than its
/// arithmetic at the peak. Both are measured beside it.
pub fn grid(threads: usize, only: &str, as_json: bool) {
    let bandwidth = 1e9 * copy_gigabytes(threads, true);
    if !as_json {
        println!(
            "  {:<26}{:>9}{:>10}{:>10}{:>9}{:>12}",
            "product", "GFLOP/s", "in calls", "of peak", "GB/s", "bound by"
        );
    }
    let mut found = Map::new();
    for product in Product::all().filter(|product| product.name.starts_with(only)) {
        let peak = 1e9 * peak_gflops(Isa::detect(), threads);
        let seconds = product.measure(threads);
        let (rate, in_calls) = (product.flops() / seconds.steps, product.flops() / seconds.call);
        let memory_bound = product.bytes() / bandwidth > product.flops() / peak;
        if as_json {
            let entry = json!({
                "gflops": 1e-9 * rate,
                "gflops_in_calls": 1e-9 * in_calls,
                "of_peak": rate / peak,
                "memory_bound": memory_bound,
            });
            found.insert(product.name.to_owned(), entry);
        } else {
            println!(
                "  {:<26}{:>9.1}{:>10.1}{:>8.0} %{:>9.1}{:>12}",
                product.name,
                1e-9 * rate,
                1e-9 * in_calls,
                100.0 * rate / peak,
                1e-9 * product.bytes() / seconds.steps,
                if memory_bound { "memory" } else { "arithmetic" }
            );
        }
    }
    if as_json {
        println!("{}", json!({ "threads": threads, "products": found }));
    }
}
