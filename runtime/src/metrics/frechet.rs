//! The Fréchet distance of two Gaussians (FID): Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter, NeurIPS 2017.

use super::{Features, MetricError};
use faer::{Mat, Side};

/// The normal distribution with the mean and the covariance of a set of features.
#[derive(Clone, Debug)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// Without bias: divided by one less than there are pictures.
    covariance: Mat<f64>,
}

impl Gaussian {
    /// The distribution of these features.
    ///
    /// # Panics
    /// If there are fewer than two pictures.
    pub fn of(features: &Features) -> Gaussian {
        let count = features.count();
        assert!(count >= 2, "a covariance is one of two pictures or more");
        let mut centred = features.matrix();
        let mut mean = Vec::with_capacity(features.width());
        for feature in 0..features.width() {
            let middle = centred.col(feature).iter().sum::<f64>() / count as f64;
            centred.col_mut(feature).iter_mut().for_each(|value| *value -= middle);
            mean.push(middle);
        }
        let products = centred.transpose() * &centred;
        let (width, degrees) = (features.width(), (count - 1) as f64);
        Gaussian { mean, covariance: Mat::from_fn(width, width, |i, j| products[(i, j)] / degrees) }
    }

    /// The symmetric root of the covariance.
    ///
    /// # Errors
    /// Its eigenvalues are not found.
    pub fn root(&self) -> Result<Mat<f64>, MetricError> {
        let found = self.covariance.self_adjoint_eigen(Side::Lower).map_err(|_| MetricError::Eigenvalues)?;
        let (vectors, values) = (found.U(), found.S().column_vector());
        let scaled = Mat::from_fn(vectors.nrows(), vectors.ncols(), |i, j| vectors[(i, j)] * values[j].max(0.0).sqrt());
        Ok(scaled * vectors.transpose())
    }

    /// ‖μ − ν‖² + tr(C + D − 2 (C D)^½), where `root` is C^½. The trace of the root of C D is that of the symmetric
    /// C^½ D C^½.
    ///
    /// # Errors
    /// Eigenvalues are not found.
    ///
    /// # Panics
    /// If the numbers of features differ.
    pub fn distance(&self, root: &Mat<f64>, other: &Gaussian) -> Result<f64, MetricError> {
        assert_eq!(self.mean.len(), other.mean.len(), "sets to compare have the same features");
        let apart: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let product = root * &other.covariance * root;
        let values = product.self_adjoint_eigenvalues(Side::Lower).map_err(|_| MetricError::Eigenvalues)?;
        let shared: f64 = values.into_iter().map(|value| value.max(0.0).sqrt()).sum();
        let spread: f64 = (0..self.mean.len()).map(|i| self.covariance[(i, i)] + other.covariance[(i, i)]).sum();
        Ok(apart + spread - 2.0 * shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(a: &Features, b: &Features) -> f64 {
        let (a, b) = (Gaussian::of(a), Gaussian::of(b));
        let forth = a.distance(&a.root().unwrap(), &b).unwrap();
        let back = b.distance(&b.root().unwrap(), &a).unwrap();
        assert!((forth - back).abs() < 1e-6 * (1.0 + forth.abs()), "{forth} {back}");
        forth
    }

    /// In one dimension it is (μ − ν)² + (σ − τ)².
    #[test]
    fn one_feature_has_a_closed_form() {
        // Means 2 and 5; variances 2 and 18.
        let (a, b) = (Features::new(1, vec![1.0, 3.0]), Features::new(1, vec![2.0, 8.0]));
        let expected = 9.0 + (2f64.sqrt() - 18f64.sqrt()).powi(2);
        assert!((distance(&a, &b) - expected).abs() < 1e-12);
        assert!(distance(&a, &a).abs() < 1e-12);
    }

    /// Two features whose covariances do not commute. The root of a 2 × 2 matrix has the trace √(tr M + 2 √det M).
    #[test]
    fn two_features_have_a_closed_form() {
        let a = Features::new(2, vec![1.0, 0.0, -1.0, 0.5, 0.0, 2.0, 3.0, -1.0]);
        let b = Features::new(2, vec![0.0, 1.0, 2.0, 2.0, -1.0, 4.0, 1.0, 0.25, 0.5, 0.5]);
        let moments = |set: &Features| {
            let n = set.count() as f64;
            let column = |k: usize| (0..set.count()).map(move |i| f64::from(set.of(i)[k]));
            let mean = [0, 1].map(|k| column(k).sum::<f64>() / n);
            let covariance = [(0, 0), (0, 1), (1, 1)].map(|(k, l)| {
                column(k).zip(column(l)).map(|(x, y)| (x - mean[k]) * (y - mean[l])).sum::<f64>() / (n - 1.0)
            });
            (mean, covariance)
        };
        let ((m, [c, d, e]), (n, [p, q, r])) = (moments(&a), moments(&b));
        let trace = c * p + 2.0 * d * q + e * r;
        let determinant = (c * e - d * d) * (p * r - q * q);
        let apart = (m[0] - n[0]).powi(2) + (m[1] - n[1]).powi(2);
        let expected = apart + c + e + p + r - 2.0 * (trace + 2.0 * determinant.sqrt()).sqrt();
        assert!((distance(&a, &b) - expected).abs() < 1e-9, "{} {expected}", distance(&a, &b));
    }

    /// Of two pictures, a covariance is u uᵀ, and the root of the product of two such has the trace |u · v|.
    #[test]
    fn fewer_pictures_than_features() {
        let a = Features::new(5, vec![0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 0.0, -2.0, 6.0]);
        let b = Features::new(5, vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 5.0, 1.0, -1.0]);
        // u = (2, 4, 0, −2, 6) / √2, v = (0, 2, 4, 0, −2) / √2; the means are (1, 2, 0, −1, 3) and (1, 2, 3, 1, 0).
        let expected = (9.0 + 4.0 + 9.0) + 60.0 / 2.0 + 24.0 / 2.0 - 2.0 * (8.0f64 - 12.0).abs() / 2.0;
        assert!((distance(&a, &b) - expected).abs() < 1e-6, "{}", distance(&a, &b));
    }
}
