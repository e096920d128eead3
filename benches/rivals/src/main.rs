//! Matrix products of `benches/grid.txt` by the crate `gemm`: one line of JSON.
//!
//! ```text
//! rivals THREADS [BEGINNING OF NAMES]
//! ```
//!
//! Results go to memory that was there before. One product is shared by the threads; of a batch, each thread takes
//! whole products.

use gemm::Parallelism;
use rayon::prelude::*;
use std::time::Instant;

/// How long a product is measured, in seconds; one round at least.
const BUDGET: f64 = 0.3;

/// How long a round lasts at least, in seconds: short products run many times in one.
const ROUND: f64 = 0.01;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(1, |count| count.parse().expect("the number of threads"));
    let only = arguments.next().unwrap_or_default();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads start");
    let products: Vec<_> = include_str!("../../grid.txt")
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split('#').next()?.split_whitespace().collect();
            let &[name, batch, m, n, k, form] = fields.as_slice() else { return None };
            if !name.starts_with(&only) {
                return None;
            }
            let sizes = [batch, m, n, k].map(|size| size.parse().expect("the grid holds numbers"));
            let gflops = measure(threads, sizes, [form.starts_with('t'), form.ends_with('t')]);
            Some(format!("\"{name}\": {{\"gflops\": {gflops:.3}}}"))
        })
        .collect();
    println!("{{\"threads\": {threads}, \"products\": {{{}}}}}", products.join(", "));
}

/// GFLOP/s of c[batch, m, n] = a · b, where a and b may lie transposed.
fn measure(threads: usize, [batch, m, n, k]: [usize; 4], transposed: [bool; 2]) -> f64 {
    let numbers = |count: usize| (0..count).map(|i| (i % 251) as f32 / 251.0 - 0.5).collect::<Vec<_>>();
    let (a, b, mut c) = (numbers(batch * m * k), numbers(batch * k * n), vec![0.0_f32; batch * m * n]);
    // (from column to column, from row to row)
    let steps = |rows: usize, columns: usize, transposed: bool| {
        if transposed { (rows as isize, 1) } else { (1, columns as isize) }
    };
    let (of_a, of_b) = (steps(m, k, transposed[0]), steps(k, n, transposed[1]));
    let product = |at: usize, c: &mut [f32], parallelism: Parallelism| {
        let (a, b) = (&a[at * m * k..][..m * k], &b[at * k * n..][..k * n]);
        assert_eq!(c.len(), m * n);
        // SAFETY: a, b and c hold m · k, k · n and m · n elements, which the steps above do not leave.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                of_a.0,
                of_a.1,
                b.as_ptr(),
                of_b.0,
                of_b.1,
                0.0_f32,
                1.0_f32,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    let mut run = || {
        if batch == 1 {
            let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
            product(0, &mut c, parallelism);
        } else {
            c.par_chunks_mut(m * n).enumerate().for_each(|(at, c)| product(at, c, Parallelism::None));
        }
        std::hint::black_box(&mut c);
    };
    let started = Instant::now();
    run();
    let repeat = (ROUND / started.elapsed().as_secs_f64()).ceil().max(1.0) as usize;
    let mut seconds = Vec::new();
    let began = Instant::now();
    while seconds.is_empty() || began.elapsed().as_secs_f64() < BUDGET {
        let started = Instant::now();
        for _ in 0..repeat {
            run();
        }
        seconds.push(started.elapsed().as_secs_f64() / repeat as f64);
    }
    seconds.sort_by(f64::total_cmp);
    2e-9 * (batch * m * n * k) as f64 / seconds[seconds.len() / 2]
}
