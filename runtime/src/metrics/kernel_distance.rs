//! The kernel distance (KID): Bińkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs, ICLR 2018.

use super::Features;
use crate::data::{Shuffle, mix};
use faer::{Mat, MatRef};
use rayon::prelude::*;

/// The squared maximum mean discrepancy between two sets, over subsets of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelDistance {
    /// The mean over subsets.
    pub mean: f64,
    /// The standard deviation over subsets.
    pub deviation: f64,
}

/// The kernel distance of two sets of features, with the kernel (x · y / features + 1)³ and without bias: in the mean 0 where both
/// come from one distribution. Taken of `subsets` pairs of random subsets of `size`; of the sets themselves where they are
/// as small as that.
///
/// # Panics
/// If `size` is less than 2 or more than there are, there are no subsets, or the numbers of features differ.
pub fn kernel_distance(a: &Features, b: &Features, subsets: usize, size: usize, seed: u64) -> KernelDistance {
    assert!(size >= 2 && size <= a.count().min(b.count()) && subsets > 0, "subsets are of two pictures or more");
    assert_eq!(a.width(), b.width(), "sets to compare have the same features");
    let only_one = size == a.count() && size == b.count();
    let subsets = if only_one { 1 } else { subsets };
    let distances: Vec<f64> = (0..subsets as u64)
        .into_par_iter()
        .map(|number| {
            let subset = |features: &Features, side: u64| {
                let order = Shuffle::new(features.count() as u64, mix(seed ^ mix(2 * number + side)));
                features.chosen((0..size as u64).map(|place| order.at(place) as usize)).matrix()
            };
            discrepancy(&subset(a, 0), &subset(b, 1))
        })
        .collect();
    let mean = distances.iter().sum::<f64>() / subsets as f64;
    let variance = distances.iter().map(|distance| (distance - mean).powi(2)).sum::<f64>() / subsets as f64;
    KernelDistance { mean, deviation: variance.sqrt() }
}

/// The unbiased estimate: pairs of an element with itself are left out.
fn discrepancy(x: &Mat<f64>, y: &Mat<f64>) -> f64 {
    let pairs = |n: usize| (n * (n - 1)) as f64;
    let (within_x, within_y) = (kernel(x, x), kernel(y, y));
    let across = total(kernel(x, y).as_ref()) / (x.nrows() * y.nrows()) as f64;
    (total(within_x.as_ref()) - trace(&within_x)) / pairs(x.nrows())
        + (total(within_y.as_ref()) - trace(&within_y)) / pairs(y.nrows())
        - 2.0 * across
}

fn kernel(x: &Mat<f64>, y: &Mat<f64>) -> Mat<f64> {
    let features = x.ncols() as f64;
    let products = x * y.transpose();
    Mat::from_fn(x.nrows(), y.nrows(), |i, j| (products[(i, j)] / features + 1.0).powi(3))
}

fn total(matrix: MatRef<'_, f64>) -> f64 {
    matrix.col_iter().map(|column| column.iter().sum::<f64>()).sum()
}

fn trace(matrix: &Mat<f64>) -> f64 {
    (0..matrix.nrows()).map(|i| matrix[(i, i)]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers without a pattern, around `middle`.
    fn scattered(count: usize, width: usize, middle: f32, seed: u64) -> Features {
        let value = |i: usize| (mix(seed ^ mix(i as u64)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5 + middle;
        Features::new(width, (0..count * width).map(value).collect())
    }

    /// The definition, pair by pair.
    fn by_pairs(a: &Features, b: &Features) -> f64 {
        let kernel = |x: &[f32], y: &[f32]| {
            let product: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            (product / x.len() as f64 + 1.0).powi(3)
        };
        let mean = |a: &Features, b: &Features, same: bool| {
            let (mut sum, mut pairs) = (0.0, 0.0);
            for i in 0..a.count() {
                for j in (0..b.count()).filter(|j| !same || i != *j) {
                    sum += kernel(a.of(i), b.of(j));
                    pairs += 1.0;
                }
            }
            sum / pairs
        };
        mean(a, a, true) + mean(b, b, true) - 2.0 * mean(a, b, false)
    }

    #[test]
    fn whole_sets_have_the_distance_of_the_definition() {
        let (a, b) = (scattered(40, 7, 0.0, 1), scattered(40, 7, 0.4, 2));
        let found = kernel_distance(&a, &b, 10, 40, 3);
        assert!((found.mean - by_pairs(&a, &b)).abs() < 1e-12, "{found:?}");
        assert_eq!(found.deviation, 0.0);
    }

    /// Three points by hand: in one dimension with x = 1, −1 and y = 0, 2 the kernel is (x y + 1)³.
    #[test]
    fn four_points_by_hand() {
        let (a, b) = (Features::new(1, vec![1.0, -1.0]), Features::new(1, vec![0.0, 2.0]));
        // k(1, −1) = 0; k(0, 2) = 1; k(1, 0) = 1, k(1, 2) = 27, k(−1, 0) = 1, k(−1, 2) = −1: their mean is 7.
        assert_eq!(kernel_distance(&a, &b, 1, 2, 0).mean, 0.0 + 1.0 - 2.0 * 7.0);
    }

    #[test]
    fn subsets_scatter_about_the_distance_of_the_sets() {
        let (a, b) = (scattered(300, 5, 0.0, 1), scattered(300, 5, 0.3, 2));
        let (found, whole) = (kernel_distance(&a, &b, 60, 50, 4), by_pairs(&a, &b));
        assert!((found.mean - whole).abs() < 0.3 * whole, "{found:?} {whole}");
        assert!(found.deviation > 0.0 && found.deviation < whole);
        let same = kernel_distance(&a, &scattered(300, 5, 0.0, 9), 60, 50, 4);
        assert!(same.mean.abs() < 0.1 * whole, "{same:?} {whole}");
        assert_eq!(kernel_distance(&a, &b, 60, 50, 4), found);
        assert_ne!(kernel_distance(&a, &b, 60, 50, 5), found);
    }
}
