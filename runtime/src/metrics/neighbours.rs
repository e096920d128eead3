//! Precision and recall: Kynkäänniemi, Karras, Laine, Lehtinen and Aila, NeurIPS 2019.
//!
//! A set of pictures stands for all that is as near to one of them as its k-th nearest neighbour in the set is.

use super::Features;
use rayon::prelude::*;

/// Squared distances of each picture to its k-th nearest neighbour, itself not counted.
///
/// # Panics
/// If there are no more than `k` pictures, or `k` is 0.
pub fn radii(features: &Features, k: usize) -> Vec<f64> {
    assert!(k > 0 && k < features.count(), "a picture has so many neighbours");
    let radius = |i: usize| {
        let others = (0..features.count()).filter(|j| *j != i);
        let mut distances: Vec<f64> = others.map(|j| squared_distance(features.of(i), features.of(j))).collect();
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    };
    (0..features.count()).into_par_iter().map(radius).collect()
}

/// The share of `pictures` that are among what `set`, with its [`radii`], stands for. Of made pictures among real ones it
/// is the precision of their making, of real ones among made ones the recall.
///
/// # Panics
/// If there are no pictures, a radius is missing, or the numbers of features differ.
pub fn covered(pictures: &Features, set: &Features, radii: &[f64]) -> f64 {
    assert_eq!(set.count(), radii.len(), "every picture has a radius");
    assert_eq!(pictures.width(), set.width(), "sets to compare have the same features");
    assert!(pictures.count() > 0, "a share is one of some pictures");
    let inside = |i: &usize| (0..set.count()).any(|j| squared_distance(pictures.of(*i), set.of(j)) <= radii[j]);
    let found = (0..pictures.count()).into_par_iter().filter(inside).count();
    found as f64 / pictures.count() as f64
}

fn squared_distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_on_a_line() {
        let set = Features::new(1, vec![0.0, 1.0, 3.0, 10.0]);
        assert_eq!(radii(&set, 1), [1.0, 1.0, 4.0, 49.0]);
        assert_eq!(radii(&set, 2), [9.0, 4.0, 9.0, 81.0]);
        // Around 0 up to 1, around 1 from 0 to 2, around 3 from 1 to 5, around 10 from 3 to 17.
        let radii = radii(&set, 1);
        for (place, inside) in [(-1.0, 1.0), (-1.5, 0.0), (5.5, 1.0), (17.0, 1.0), (17.5, 0.0)] {
            assert_eq!(covered(&Features::new(1, vec![place]), &set, &radii), inside, "{place}");
        }
        assert_eq!(covered(&Features::new(1, vec![-2.0, 2.0, 4.0, 18.0, 19.0]), &set, &radii), 0.4);
    }

    /// Pictures of one kind only are all real, but not all that is real.
    #[test]
    fn a_collapse_is_precise_and_recalls_little() {
        let ring = |i: usize| (i as f32 * std::f32::consts::TAU / 24.0).sin_cos();
        let real = Features::new(2, (0..24).flat_map(|i| [ring(i).0, ring(i).1]).collect());
        let made = Features::new(2, (0..24).flat_map(|i| [0.01 * i as f32 / 24.0, 1.0]).collect());
        let precision = covered(&made, &real, &radii(&real, 3));
        let recall = covered(&real, &made, &radii(&made, 3));
        assert_eq!(precision, 1.0);
        assert!(recall <= 1.0 / 24.0, "{recall}");
    }

    /// A picture that is there twice is its own twin's nearest neighbour.
    #[test]
    fn equal_pictures_are_at_no_distance() {
        let set = Features::new(2, vec![0.1, 0.2, 0.1, 0.2, 0.7, 0.2]);
        assert_eq!(&radii(&set, 1)[..2], [0.0, 0.0]);
        assert_eq!(covered(&Features::new(2, vec![0.1, 0.2]), &set.chosen([0, 1]), &[0.0, 0.0]), 1.0);
    }
}
