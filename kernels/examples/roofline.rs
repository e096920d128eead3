//! The limits of this machine, and how near to them each strip height of each instruction set comes.

use std::time::Instant;

use visage_kernels::memory::measure::{copy_gigabytes, peak_gflops};
use visage_kernels::{Isa, LANES, micro_kernels};

fn main() {
    for threads in 1..=2 {
        println!(
            "copy, {threads} thread(s): {:.1} GB/s ordinary, {:.1} GB/s streaming",
            copy_gigabytes(threads, false),
            copy_gigabytes(threads, true)
        );
    }
    for isa in Isa::available() {
        let peak = peak_gflops(isa, 1);
        println!("{isa}: {peak:.1} GFLOP/s on one thread, {:.1} on two", peak_gflops(isa, 2));
        let kernels = micro_kernels(isa);
        for k in [64, 256, 1024] {
            print!("  k {k}:");
            for height in 1..=kernels.max_strip {
                let rate = strip_gflops(isa, height, k);
                print!(" {height}: {:.0} %", 100.0 * rate / peak);
            }
            println!();
        }
    }
}

/// The best of several timings of one strip against one panel, in cache, in GFLOP/s.
fn strip_gflops(isa: Isa, height: usize, k: usize) -> f64 {
    let strip = micro_kernels(isa).strip(height);
    let aligned = |count: usize| vec![[1.0_f32; 16]; count.div_ceil(16)];
    let (w, x, mut c) = (aligned(k * height), aligned(k * LANES), aligned(height * LANES));
    let calls = 2_000_000 / (height * k) + 1;
    let seconds = (0..20)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                // SAFETY: the buffers hold the strip, the panel and the tile.
                unsafe {
                    strip(k, w.as_ptr().cast(), x.as_ptr().cast(), LANES, c.as_mut_ptr().cast(), LANES, 0);
                }
            }
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    (2 * height * k * LANES * calls) as f64 / seconds / 1e9
}
