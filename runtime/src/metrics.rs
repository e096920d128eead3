//! How close two pictures are, and how close two sets of them.

mod assessment;
mod features;
mod frechet;
mod kernel_distance;
mod neighbours;

pub use assessment::{AssessmentOptions, Figures, Reference, References, least};
pub use features::Features;
pub use frechet::Gaussian;
pub use kernel_distance::{KernelDistance, kernel_distance};
pub use neighbours::{covered, radii};

use crate::media::Picture;
use rayon::prelude::*;
use thiserror::Error;

/// Why sets of pictures cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MetricError {
    /// A set is too small.
    #[error("{count} pictures are too few: at least {needed} are needed")]
    TooFew {
        /// How many there are.
        count: usize,
        /// How many there have to be.
        needed: usize,
    },
    /// A feature is infinite or not a number.
    #[error("features are not finite")]
    NotFinite,
    /// Eigenvalues of a covariance were not found.
    #[error("the eigenvalues of the features' covariance are not found")]
    Eigenvalues,
}

/// Peak signal-to-noise ratio in decibels, `−10 · log10(mean squared difference)`, for values in
/// `[0, 1]`; infinite for equal inputs.
///
/// # Panics
/// If the lengths differ or are zero.
pub fn psnr(a: &[f32], b: &[f32]) -> f64 {
    assert!(a.len() == b.len() && !a.is_empty(), "pictures to compare have one size");
    let sum: f64 = a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum();
    psnr_of_error(sum / a.len() as f64)
}

/// The ratio in decibels of a mean squared error.
pub fn psnr_of_error(mean_squared_error: f64) -> f64 {
    -10.0 * mean_squared_error.log10()
}

/// Structural similarity in `[-1, 1]`, the mean over positions and channels.
///
/// Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 13(4), 2004, eq. 13: Gaussian window of 11x11 with
/// σ = 1.5, K₁ = 0.01, K₂ = 0.03, dynamic range 1. Only windows that lie wholly inside count (as in
/// the authors' program); in pictures smaller than the window it shrinks to what fits.
///
/// # Panics
/// If sizes or channels differ, or the pictures are empty.
pub fn ssim(a: &Picture, b: &Picture) -> f64 {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels), "pictures to compare have one size");
    assert!(!a.values.is_empty(), "pictures to compare have pixels");
    let channels: Vec<f64> = (0..a.channels)
        .into_par_iter()
        .map(|c| {
            let plane = |p: &Picture| -> Vec<f64> {
                p.values.iter().skip(c).step_by(p.channels).map(|&v| f64::from(v)).collect()
            };
            ssim_plane(&plane(a), &plane(b), a.width, a.height)
        })
        .collect();
    channels.iter().sum::<f64>() / channels.len() as f64
}

fn ssim_plane(a: &[f64], b: &[f64], width: usize, height: usize) -> f64 {
    const C1: f64 = 0.01 * 0.01;
    const C2: f64 = 0.03 * 0.03;
    let across = gaussian(11.min(width), 1.5);
    let down = gaussian(11.min(height), 1.5);
    let product = |x: &[f64], y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x * y).collect() };
    let blur = |x: &[f64]| blur(x, width, height, &across, &down);
    let (mean_a, mean_b) = (blur(a), blur(b));
    let (aa, bb, ab) = (blur(&product(a, a)), blur(&product(b, b)), blur(&product(a, b)));
    let mut sum = 0.0;
    for i in 0..mean_a.len() {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (va, vb, cov) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
        sum += ((2.0 * ma * mb + C1) * (2.0 * cov + C2)) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
    }
    sum / mean_a.len() as f64
}

/// A normalised Gaussian of `taps` taps.
pub(crate) fn gaussian(taps: usize, sigma: f64) -> Vec<f64> {
    let middle = (taps as f64 - 1.0) / 2.0;
    let raw: Vec<f64> = (0..taps).map(|i| (-(i as f64 - middle).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|v| v / sum).collect()
}

/// The windows that lie wholly inside, separably: `[height − down + 1][width − across + 1]`.
pub(crate) fn blur(x: &[f64], width: usize, height: usize, across: &[f64], down: &[f64]) -> Vec<f64> {
    let (w, h) = (width + 1 - across.len(), height + 1 - down.len());
    let mut lines = Vec::with_capacity(height * w);
    for y in 0..height {
        let line = &x[y * width..][..width];
        lines.extend((0..w).map(|i| across.iter().zip(&line[i..]).map(|(k, v)| k * v).sum::<f64>()));
    }
    let mut out = vec![0.0; h * w];
    for (y, line) in out.chunks_exact_mut(w).enumerate() {
        for (k, weight) in down.iter().enumerate() {
            let source = &lines[(y + k) * w..][..w];
            line.iter_mut().zip(source).for_each(|(o, s)| *o += weight * s);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_of_a_constant_difference() {
        assert!((psnr(&[0.5; 12], &[0.6; 12]) - 20.0).abs() < 1e-5);
        assert_eq!(psnr(&[0.3; 4], &[0.3; 4]), f64::INFINITY);
        assert!((psnr_of_error(0.001) - 30.0).abs() < 1e-12);
    }

    #[test]
    fn ssim_of_known_pictures() {
        let wave = Picture::from_fn(24, 20, 3, |x, y, c| 0.5 + 0.3 * ((x + 2 * y + c) as f32 * 0.7).sin());
        assert!((ssim(&wave, &wave) - 1.0).abs() < 1e-12);
        // Constants have no variance: (2ab + C1) / (a² + b² + C1).
        let flat = |v: f32| Picture::from_fn(16, 16, 1, |_, _, _| v);
        let (a, b) = (f64::from(0.4f32), f64::from(0.8f32));
        let expected = (2.0 * a * b + 1e-4) / (a * a + b * b + 1e-4);
        assert!((ssim(&flat(0.4), &flat(0.8)) - expected).abs() < 1e-9);
        // A picture against its negative about the mean: covariance = −variance.
        let negative = Picture { values: wave.values.iter().map(|v| 1.0 - v).collect(), ..wave.clone() };
        assert!(ssim(&wave, &negative) < -0.5);
        // Smaller than the window.
        assert!((ssim(&flat(0.4).resize(5, 3), &flat(0.4).resize(5, 3)) - 1.0).abs() < 1e-12);
    }

    /// SSIM of an 11x11 picture has one window: the sums can be written out.
    #[test]
    fn one_window_by_hand() {
        let a = Picture::from_fn(11, 11, 1, |x, y, _| (x * 3 + y * 7) as f32 % 11.0 / 10.0);
        let b = Picture::from_fn(11, 11, 1, |x, y, _| (x * 5 + y * 2) as f32 % 13.0 / 12.0);
        let mut weights = Vec::new();
        for y in -5i32..=5 {
            for x in -5i32..=5 {
                weights.push((-f64::from(x * x + y * y) / 4.5).exp());
            }
        }
        let total: f64 = weights.iter().sum();
        let mean = |f: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(i, w)| w / total * f(i)).sum::<f64>();
        let (va, vb) = (|i: usize| f64::from(a.values[i]), |i: usize| f64::from(b.values[i]));
        let (ma, mb) = (mean(&va), mean(&vb));
        let saa = mean(&|i| (va(i) - ma).powi(2));
        let sbb = mean(&|i| (vb(i) - mb).powi(2));
        let sab = mean(&|i| (va(i) - ma) * (vb(i) - mb));
        let expected = (2.0 * ma * mb + 1e-4) * (2.0 * sab + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (saa + sbb + 9e-4));
        assert!((ssim(&a, &b) - expected).abs() < 1e-9);
    }
}
