//! What this machine can do at best: the two lines of a roofline, measured in a fraction of a second each.
//!
//! Theory is no guide here: clocks move with temperature and vector width, and a virtual machine shares its memory bus.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::{Isa, MicroKernels, micro_kernels};

/// How long a measurement runs, warm-up excluded.
const DURATION: Duration = Duration::from_millis(150);

/// The measured peak of fused multiply-adds, in GFLOP/s (two a lane and instruction) summed over the threads.
///
/// Each thread keeps independent sums in registers; memory plays no part.
///
/// # Panics
///
/// If this machine lacks the instruction set, or `threads` is zero.
pub fn peak_gflops(isa: Isa, threads: usize) -> f64 {
    assert!(isa.is_available(), "this machine has no {isa} instructions");
    let burst: unsafe fn(usize) -> f32 = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => x86::burst_avx512,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => x86::burst_avx2,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => burst_neon,
        _ => burst_portable,
    };
    let flops = match isa {
        Isa::Avx512 => 2 * 16 * SUMS,
        Isa::Avx2 => 2 * 8 * SUMS,
        Isa::Neon | Isa::Portable => 2 * 4 * SUMS,
    };
    const STEPS: usize = 10_000;
    rate(threads, || {
        // SAFETY: the instruction set was found on this machine.
        std::hint::black_box(unsafe { burst(std::hint::black_box(STEPS)) });
        (flops * STEPS) as f64
    })
}

/// The measured bandwidth of a copy between arrays far larger than the caches, in GB/s: bytes read plus bytes written, summed over
/// the threads.
///
/// `streaming` uses [`MicroKernels::copy_streaming`] of the best instruction set, and otherwise the standard
/// library's copy is timed. The read that an ordinary store makes of the line it overwrites is not counted: it is the copy's loss.
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

/// Work per second, in units of 10⁹, of `threads` threads that repeat `work`, each call of which says how much it did.
fn rate(threads: usize, work: impl Fn() -> f64 + Sync) -> f64 {
    rate_with(threads, || (), |()| work())
}

/// [`rate`] with a state of its own for each thread, made before the clock starts.
fn rate_with<S>(threads: usize, state: impl Fn() -> S + Sync, work: impl Fn(&mut S) -> f64 + Sync) -> f64 {
    assert!(threads > 0, "a measurement needs a thread");
    let barrier = Barrier::new(threads);
    let measure = || {
        let mut state = state();
        work(&mut state);
        barrier.wait();
        let start = Instant::now();
        let mut done = 0.0;
        while start.elapsed() < DURATION {
            done += work(&mut state);
        }
        done / start.elapsed().as_secs_f64() / 1e9
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(measure)).collect();
        let own = measure();
        own + workers.into_iter().map(|worker| worker.join().expect("a measurement does not panic")).sum::<f64>()
    })
}

/// Independent sums in flight: enough to hide four to five cycles of latency on two multipliers, few enough for 16 registers.
const SUMS: usize = 12;

/// Multiply and add without fusing: what plain Rust gets from a baseline build.
fn burst_portable(steps: usize) -> f32 {
    let (a, b) = std::hint::black_box((0.999_f32, 0.001_f32));
    let mut sums = [0.0_f32; 4 * SUMS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * a + b;
        }
    }
    sums.iter().sum()
}

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
