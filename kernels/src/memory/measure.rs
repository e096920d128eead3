//! What this machine can do at best: the two lines of a roofline, measured in a fraction of a second each.
//!
//! Theory is no guide here: clocks move with temperature and vector width, and a virtual machine shares its memory
//! bus.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Isa, LANES, MicroKernels, Unit, micro_kernels, pair_kernels, pairs};

/// A measurement is the best of this many slices of time: what the machine can do when nothing else runs on it.
const SLICES: usize = 8;

/// How long a slice lasts at least.
const SLICE: Duration = Duration::from_millis(20);

/// The measured peak of fused multiply-adds, in GFLOP/s (two a lane and instruction) summed over the threads.
///
/// Each thread keeps independent sums in registers; memory plays no part. Portable code has no instructions of its
/// own to be measured by: its peak is the rate of its tallest strip on operands in the first-level cache.
///
/// # Panics
///
/// If this machine lacks the instruction set, or `threads` is zero.
pub fn peak_gflops(isa: Isa, threads: usize) -> f64 {
    let kernels = micro_kernels(isa);
    let (burst, lanes): (unsafe fn(usize) -> f32, usize) = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (x86::burst_avx512, 16),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (x86::burst_avx2, 8),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => (burst_neon, 4),
        _ => return strip_gflops(kernels, threads),
    };
    const STEPS: usize = 10_000;
    rate(threads, || {
        // SAFETY: the instruction set was found on this machine.
        std::hint::black_box(unsafe { burst(std::hint::black_box(STEPS)) });
        (2 * lanes * SUMS * STEPS) as f64
    })
}

/// The measured peak of products of bf16 pairs, in GFLOP/s (two a product) summed over the threads: as [`peak_gflops`].
///
/// # Panics
///
/// If this machine lacks the unit, or `threads` is zero.
pub fn peak_pair_gflops(unit: Unit, threads: usize) -> f64 {
    let kernels = pair_kernels(unit);
    const STEPS: usize = 10_000;
    let (burst, operations): (unsafe fn(usize), usize) = match unit {
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512 => (pairs::avx512::burst, pairs::avx512::BURST),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Unit::Amx => (pairs::amx::burst, pairs::amx::BURST),
        _ => {
            let (n, k) = (kernels.max_strip, 128);
            return rate_with(
                threads,
                || (vec![0; n * pairs::pairs(k)], vec![0; pairs::pairs(k) * LANES], vec![0.0; n * LANES]),
                |(w, x, c)| {
                    kernels.contract(n, k, w, x, c, LANES, false);
                    (2 * n * k * LANES) as f64
                },
            );
        }
    };
    rate(threads, || {
        // SAFETY: the unit was found on this machine.
        unsafe { burst(std::hint::black_box(STEPS)) };
        (operations * STEPS) as f64
    })
}

/// The rate of the tallest strip, in GFLOP/s, on operands in the first-level cache.
fn strip_gflops(kernels: &MicroKernels, threads: usize) -> f64 {
    const STEPS: usize = 64;
    let n = kernels.max_strip;
    rate_with(
        threads,
        || (vec![1.0; STEPS * n], vec![1.0; STEPS * LANES], vec![0.0; n * LANES]),
        |(w, x, c)| {
            kernels.contract(n, STEPS, w, x, LANES, c, LANES, false);
            (2 * n * STEPS * LANES) as f64
        },
    )
}

/// The measured bandwidth of a copy between arrays far larger than the caches, in GB/s: bytes read plus bytes
/// written, summed over the threads.
///
/// `streaming` uses [`MicroKernels::copy_streaming`] of the best instruction set, and otherwise the standard
/// library's copy is timed. The read that an ordinary store makes of the line it overwrites is not counted: it is the
/// copy's loss.
///
/// # Panics
///
/// If `threads` is zero.
pub fn copy_gigabytes(threads: usize, streaming: bool) -> f64 {
    const BYTES: usize = 64 << 20;
    let kernels: &MicroKernels = micro_kernels(Isa::detect());
    // Ones rather than zeros: untouched zero pages would all be one page, and in the cache.
    let from = vec![1.0_f32; BYTES / size_of::<f32>()];
    rate_with(
        threads,
        || vec![0.0_f32; from.len()],
        |to: &mut Vec<f32>| {
            if streaming {
                kernels.copy_past_caches(&from, to);
            } else {
                to.copy_from_slice(&from);
            }
            std::hint::black_box(to);
            (2 * BYTES) as f64
        },
    )
}

/// Work per second, in units of 10⁹, of `threads` threads that repeat `work`, each call of which says how much it
/// did.
fn rate(threads: usize, work: impl Fn() -> f64 + Sync) -> f64 {
    rate_with(threads, || (), |()| work())
}

/// [`rate`] with a state of its own for each thread, made before the clock starts.
///
/// All threads work through a slice at the same time, so that the rates of a slice may be summed.
fn rate_with<S>(threads: usize, state: impl Fn() -> S + Sync, work: impl Fn(&mut S) -> f64 + Sync) -> f64 {
    assert!(threads > 0, "a measurement needs a thread");
    let barrier = Barrier::new(threads);
    let measure = || {
        let mut state = state();
        work(&mut state);
        [(); SLICES].map(|()| {
            barrier.wait();
            let start = Instant::now();
            let mut done = 0.0;
            while start.elapsed() < SLICE {
                done += work(&mut state);
            }
            done / start.elapsed().as_secs_f64() / 1e9
        })
    };
    let rates: Vec<[f64; SLICES]> = thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(measure)).collect();
        let own = measure();
        let others = workers.into_iter().map(|worker| worker.join().expect("a measurement does not panic"));
        others.chain([own]).collect()
    });
    (0..SLICES).map(|slice| rates.iter().map(|rates| rates[slice]).sum()).fold(0.0, f64::max)
}

/// Independent sums in flight: enough to hide four to five cycles of latency on two multipliers, few enough for 16
/// registers.
const SUMS: usize = 12;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::SUMS;
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub(super) fn burst_avx512(steps: usize) -> f32 {
        let (a, b) = (_mm512_set1_ps(0.999), _mm512_set1_ps(0.001));
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn burst_avx2(steps: usize) -> f32 {
        let (a, b) = (_mm256_set1_ps(0.999), _mm256_set1_ps(0.001));
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        sums.into_iter().map(|sum| _mm256_cvtss_f32(sum)).sum()
    }
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn burst_neon(steps: usize) -> f32 {
    use std::arch::aarch64::*;
    let (a, b) = (vdupq_n_f32(0.999), vdupq_n_f32(0.001));
    let mut sums = [vdupq_n_f32(0.0); SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = vfmaq_f32(b, *sum, a);
        }
    }
    sums.into_iter().map(|sum| vaddvq_f32(sum)).sum()
}
