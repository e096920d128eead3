//! The limits of this machine, and how near to them each strip height of each instruction set comes.

use std::time::Instant;

use visage_kernels::memory::measure::{copy_gigabytes, peak_gflops, peak_pair_gflops};
use visage_kernels::{Isa, LANES, Unit, micro_kernels, pair_kernels};

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
        for size in [64, 128, 256, 512] {
            println!("  layer {size} x {size}: {:.0} %", 100.0 * layer_gflops(isa, size) / peak);
        }
        let (pack, transpose, load) = rearrangements(isa);
        println!("  GB/s written: {pack:.1} packing strips, {transpose:.1} transposing a panel, {load:.1} loading one");
    }
    for unit in Unit::available() {
        let peak = peak_pair_gflops(unit, 1);
        println!("bf16, {unit}: {peak:.1} GFLOP/s on one thread, {:.1} on two", peak_pair_gflops(unit, 2));
        for size in [64, 128, 256, 512] {
            let (product, whole) = pair_layer_gflops(unit, size);
            println!("  layer {size} x {size}: {product:.0} GFLOP/s, {whole:.0} with the rounding of panels");
        }
    }
}

/// [`layer_gflops`] of pairs: the product alone, and with the rounding of each panel.
fn pair_layer_gflops(unit: Unit, size: usize) -> (f64, f64) {
    let kernels = pair_kernels(unit);
    let packed = kernels.packed(size, size, &vec![1.0; size * size], size, 1);
    let panels = vec![vec![1.0_f32; size * LANES]; 16];
    let mut rounded = kernels.rounded_panel(size, &panels[0], LANES);
    let mut c = vec![0.0_f32; size * LANES];
    let product = best(|| {
        for _ in &panels {
            kernels.contract(size, size, &packed, &rounded, &mut c, LANES, false);
        }
    });
    let whole = best(|| {
        for x in &panels {
            // SAFETY: `x` has `size` rows, and `rounded` room for their pairs.
            unsafe { (kernels.round)(size, x.as_ptr(), LANES, rounded.as_mut_ptr()) };
            kernels.contract(size, size, &packed, &rounded, &mut c, LANES, false);
        }
    });
    let rate = |seconds: f64| (2 * size * size * LANES * panels.len()) as f64 / seconds / 1e9;
    (rate(product), rate(whole))
}

/// The best of several timings of a square layer over 16 panels, one after the other, in GFLOP/s.
fn layer_gflops(isa: Isa, size: usize) -> f64 {
    let kernels = micro_kernels(isa);
    let packed = kernels.packed_strips(size, size, &vec![1.0; size * size], size, 1);
    let panels = vec![vec![1.0_f32; size * LANES]; 16];
    let mut c = vec![0.0_f32; size * LANES];
    let seconds = best(|| {
        for x in &panels {
            kernels.contract(size, size, &packed, x, LANES, &mut c, LANES, false);
        }
    });
    (2 * size * size * LANES * panels.len()) as f64 / seconds / 1e9
}

/// Packing a 256 x 256 matrix, transposing and loading a panel of 256 features, in GB/s of the result.
fn rearrangements(isa: Isa) -> (f64, f64, f64) {
    const SIZE: usize = 256;
    let kernels = micro_kernels(isa);
    let w = vec![1.0_f32; SIZE * SIZE];
    let mut packed = vec![0.0_f32; SIZE * SIZE];
    let mut panel = vec![0.0_f32; SIZE * LANES];
    let rate = |elements: usize, seconds: f64| (4 * elements) as f64 / seconds / 1e9;
    let pack = best(|| kernels.pack_strips_at(SIZE, SIZE, &w, SIZE, 1, &mut packed, SIZE, 0));
    let transpose = best(|| {
        // SAFETY: `packed` holds eight column panels of 32 rows, `w` a panel of 256 features.
        unsafe { (kernels.transpose_panel)(SIZE, w.as_ptr(), LANES, packed.as_mut_ptr(), LANES * LANES) }
    });
    let load = best(|| kernels.load_rows(LANES, SIZE, &w, SIZE, &mut panel, LANES));
    (rate(SIZE * SIZE, pack), rate(SIZE * LANES, transpose), rate(SIZE * LANES, load))
}

/// The shortest of several timings, in seconds, each of enough calls to be timed.
fn best(mut work: impl FnMut()) -> f64 {
    const CALLS: usize = 20;
    (0..30)
        .map(|_| {
            let start = Instant::now();
            (0..CALLS).for_each(|_| work());
            start.elapsed().as_secs_f64() / CALLS as f64
        })
        .fold(f64::INFINITY, f64::min)
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
