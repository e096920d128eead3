//! Gaussian blur with kernels of any shape and direction.

use std::f64::consts::PI;

use rustfft::{Fft, FftPlanner, num_complex::Complex};

use crate::data::Draws;
use crate::media::Picture;

/// What the standard deviations of a blur are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blur {
    /// Between which standard deviations, in pixels, above 0.
    pub sigma: [f64; 2],
    /// Width and height of the kernel in pixels, odd.
    pub taps: usize,
}

/// A Gaussian on the integer grid, cut to `taps` × `taps` and of sum 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernel {
    /// The same in all directions, of this standard deviation.
    Round(f64),
    /// exp(−½ xᵀ S⁻¹ x) with `S⁻¹ = [[a, b], [b, c]]`.
    Oblique([f64; 3]),
}

impl Kernel {
    /// The Gaussian with these standard deviations along two axes that are turned by an angle, in radians:
    /// S = R(angle) · diag(σ²) · R(angle)ᵀ.
    pub fn oblique(sigma: [f64; 2], angle: f64) -> Kernel {
        let (sin, cos) = angle.sin_cos();
        let [p, q] = sigma.map(|s| 1.0 / (s * s));
        Kernel::Oblique([cos * cos * p + sin * sin * q, sin * cos * (p - q), sin * sin * p + cos * cos * q])
    }

    /// A round or an oblique one, each half the time.
    fn drawn(sigma: [f64; 2], draws: &mut Draws) -> Kernel {
        if draws.chance(0.5) {
            return Kernel::Round(draws.between(sigma));
        }
        let both = [draws.between(sigma), draws.between(sigma)];
        Kernel::oblique(both, draws.between([-PI, PI]))
    }
}

impl Blur {
    /// The picture, blurred by a kernel that is drawn.
    pub fn apply(&self, picture: &Picture, draws: &mut Draws) -> Picture {
        blurred(picture, Kernel::drawn(self.sigma, draws), self.taps)
    }
}

/// A picture convolved with a kernel. Beyond its border it is mirrored, the outermost pixels not repeated.
pub fn blurred(picture: &Picture, kernel: Kernel, taps: usize) -> Picture {
    match kernel {
        Kernel::Round(sigma) => separable(picture, &half_profile(sigma, taps / 2)),
        Kernel::Oblique(inverse) => by_spectrum(picture, inverse, taps),
    }
}

/// The position inside `0..size` that a mirrored position stands for.
fn mirrored(position: isize, size: usize) -> usize {
    let period = (2 * (size as isize - 1)).max(1);
    let inside = position.rem_euclid(period);
    inside.min(period - inside) as usize
}

/// The weights of a Gaussian along a line, from the middle outwards, of which those too small for an `f32`
/// of the sum are left out.
fn half_profile(sigma: f64, reach: usize) -> Vec<f32> {
    let weight = |i: usize| (-0.5 * (i as f64 / sigma).powi(2)).exp();
    let sum = 1.0 + 2.0 * (1..=reach).map(weight).sum::<f64>();
    let shares = (0..=reach).map(|i| weight(i) / sum);
    shares.take_while(|share| *share > 1e-9).map(|share| share as f32).collect()
}

/// Along rows, then along columns.
fn separable(picture: &Picture, half: &[f32]) -> Picture {
    let Picture { width, height, channels, ref values } = *picture;
    let (reach, line) = (half.len() - 1, width * channels);
    let mut across = vec![0.0f32; values.len()];
    let mut padded = vec![0.0f32; (width + 2 * reach) * channels];
    for (row, out) in values.chunks_exact(line).zip(across.chunks_exact_mut(line)) {
        for (i, pixel) in padded.chunks_exact_mut(channels).enumerate() {
            let from = mirrored(i as isize - reach as isize, width) * channels;
            pixel.copy_from_slice(&row[from..from + channels]);
        }
        let shifted = |by: isize| {
            let start = (reach as isize + by) as usize * channels;
            &padded[start..start + line]
        };
        accumulate(out, half, shifted);
    }
    let mut out = Picture::new(width, height, channels);
    for (y, row) in out.values.chunks_exact_mut(line).enumerate() {
        let shifted = |by: isize| {
            let start = mirrored(y as isize + by, height) * line;
            &across[start..start + line]
        };
        accumulate(row, half, shifted);
    }
    out
}

/// Adds up a line with its neighbours on both sides, weighted.
fn accumulate<'a>(out: &mut [f32], half: &[f32], shifted: impl Fn(isize) -> &'a [f32]) {
    for (o, v) in out.iter_mut().zip(shifted(0)) {
        *o = half[0] * v;
    }
    for (i, weight) in half.iter().enumerate().skip(1) {
        let (before, after) = (shifted(-(i as isize)), shifted(i as isize));
        for ((o, a), b) in out.iter_mut().zip(before).zip(after) {
            *o += weight * (a + b);
        }
    }
}

/// The least size from `least` up that Fourier transforms are fast at.
fn fast_size(least: usize) -> usize {
    let smooth = |mut n: usize| {
        for factor in [2, 3, 5] {
            while n.is_multiple_of(factor) {
                n /= factor;
            }
        }
        n == 1
    };
    (least..).find(|n| smooth(*n)).unwrap_or(least)
}

/// A plane of complex numbers and the transforms of its rows and columns.
struct Spectrum {
    width: usize,
    height: usize,
    rows: std::sync::Arc<dyn Fft<f32>>,
    columns: std::sync::Arc<dyn Fft<f32>>,
    back: [std::sync::Arc<dyn Fft<f32>>; 2],
}

type Plane = Vec<Complex<f32>>;

impl Spectrum {
    fn new(width: usize, height: usize) -> Spectrum {
        let mut planner = FftPlanner::new();
        let (rows, columns) = (planner.plan_fft_forward(width), planner.plan_fft_forward(height));
        let back = [planner.plan_fft_inverse(width), planner.plan_fft_inverse(height)];
        Spectrum { width, height, rows, columns, back }
    }

    /// The spectrum, transposed. Only the rows that hold anything need to be there.
    fn of(&self, mut plane: Plane) -> Plane {
        self.rows.process(&mut plane);
        plane.resize(self.width * self.height, Complex::default());
        let mut turned = vec![Complex::default(); plane.len()];
        transpose::transpose(&plane, &mut turned, self.width, self.height);
        self.columns.process(&mut turned);
        turned
    }

    /// The first rows of the plane of a transposed spectrum, times its size.
    fn plane(&self, mut spectrum: Plane, rows: usize) -> Plane {
        self.back[1].process(&mut spectrum);
        let mut plane = vec![Complex::default(); spectrum.len()];
        transpose::transpose(&spectrum, &mut plane, self.height, self.width);
        plane.truncate(self.width * rows);
        self.back[0].process(&mut plane);
        plane
    }
}

/// By the convolution theorem, two channels at a time as real and imaginary parts: the kernel is real.
fn by_spectrum(picture: &Picture, [a, b, c]: [f64; 3], taps: usize) -> Picture {
    let Picture { width, height, channels, .. } = *picture;
    let reach = (taps / 2) as isize;
    let (padded, rows) = (width + taps - 1, height + taps - 1);
    let spectrum = Spectrum::new(fast_size(padded), fast_size(rows));
    let weight = |x: isize, y: isize| {
        let (x, y) = (x as f64, y as f64);
        (-0.5 * (a * x * x + 2.0 * b * x * y + c * y * y)).exp()
    };
    let offsets = || (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (x, y)));
    let total: f64 = offsets().map(|(x, y)| weight(x, y)).sum();
    // What the transforms leave as a factor is taken out here.
    let scale = 1.0 / (total * (spectrum.width * spectrum.height) as f64);
    // The kernel lies in the corner of the plane, so that the blurred picture does, too.
    let mut kernel = vec![Complex::default(); spectrum.width * taps];
    for (x, y) in offsets() {
        let at = (y + reach) as usize * spectrum.width + (x + reach) as usize;
        kernel[at].re = (weight(x, y) * scale) as f32;
    }
    let kernel = spectrum.of(kernel);
    let columns: Vec<usize> = (0..padded).map(|x| mirrored(x as isize - reach, width)).collect();
    let mut out = Picture::new(width, height, channels);
    for first in (0..channels).step_by(2) {
        let second = (first + 1 < channels).then_some(first + 1);
        let mut plane = vec![Complex::default(); spectrum.width * rows];
        for (y, line) in plane.chunks_exact_mut(spectrum.width).enumerate() {
            let y = mirrored(y as isize - reach, height);
            for (value, x) in line.iter_mut().zip(&columns) {
                let pixel = picture.pixel(*x, y);
                *value = Complex::new(pixel[first], second.map_or(0.0, |second| pixel[second]));
            }
        }
        let mut product = spectrum.of(plane);
        for (value, k) in product.iter_mut().zip(&kernel) {
            *value *= k;
        }
        let plane = spectrum.plane(product, rows);
        for y in 0..height {
            let start = (y + taps - 1) * spectrum.width + taps - 1;
            for (x, value) in plane[start..start + width].iter().enumerate() {
                let pixel = out.pixel_mut(x, y);
                pixel[first] = value.re;
                if let Some(second) = second {
                    pixel[second] = value.im;
                }
            }
        }
    }
    out
}
