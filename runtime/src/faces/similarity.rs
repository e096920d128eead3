//! Turning, scaling and shifting the plane.

/// The map (x, y) ↦ (a·x − b·y + t₀, b·x + a·y + t₁), with four degrees of freedom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// Scale times cosine, and scale times sine.
    pub turn: [f64; 2],
    /// Where the origin goes.
    pub shift: [f64; 2],
}

/// Outliers are farther off than this share of the points' root mean square distance from their mean, however well the
/// others fit: detectors are not more exact than that.
const PRECISION: f64 = 0.02;

impl Similarity {
    /// What leaves everything where it is.
    pub const IDENTITY: Similarity = Similarity { turn: [1.0, 0.0], shift: [0.0, 0.0] };

    /// About the origin, by a positive factor, then shifted.
    pub fn scaled(factor: f64, shift: [f64; 2]) -> Similarity {
        Similarity { turn: [factor, 0.0], shift }
    }

    /// Where a point goes.
    pub fn apply(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [a, b] = self.turn;
        [a * x - b * y + self.shift[0], b * x + a * y + self.shift[1]]
    }

    /// What takes everything back. Fit maps have a scale above 0, hence an inverse.
    pub fn inverse(&self) -> Similarity {
        let [a, b] = self.turn;
        let square = a * a + b * b;
        let back = Similarity { turn: [a / square, -b / square], shift: [0.0; 2] };
        let [x, y] = back.apply(self.shift);
        Similarity { shift: [-x, -y], ..back }
    }

    /// This map, and then another.
    pub fn then(&self, next: &Similarity) -> Similarity {
        let [[a, b], [c, d]] = [self.turn, next.turn];
        Similarity { turn: [a * c - b * d, a * d + b * c], shift: next.apply(self.shift) }
    }

    /// How much longer lengths become.
    pub fn scale(&self) -> f64 {
        self.turn[0].hypot(self.turn[1])
    }

    /// The map of least squared distances between where `from` goes and `to`, pair by pair; none where a set of points is
    /// a single place, or numbers are not finite.
    ///
    /// # Panics
    /// If the numbers of points differ.
    pub fn fitted(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Similarity> {
        assert_eq!(from.len(), to.len(), "points come in pairs");
        let (middle, aim) = (mean(from), mean(to));
        let (mut along, mut across, mut square) = (0.0, 0.0, 0.0);
        for (p, q) in from.iter().zip(to) {
            let [x, y] = [p[0] - middle[0], p[1] - middle[1]];
            let [u, v] = [q[0] - aim[0], q[1] - aim[1]];
            along += x * u + y * v;
            across += x * v - y * u;
            square += x * x + y * y;
        }
        let turned = Similarity { turn: [along / square, across / square], shift: [0.0; 2] };
        let [x, y] = turned.apply(middle);
        let scale = turned.scale();
        (scale.is_finite() && scale > 0.0).then_some(Similarity { shift: [aim[0] - x, aim[1] - y], ..turned })
    }

    /// As [`fitted`](Similarity::fitted), without the pairs that do not fit: of the maps through two pairs that one is
    /// taken whose median residual is least (least median of squares, Rousseeuw 1984), and the map is fit to the pairs
    /// within 2.5 robust standard deviations of it. With fewer than four pairs no pair can be told to be wrong.
    ///
    /// # Panics
    /// If the numbers of points differ.
    pub fn robust(from: &[[f64; 2]], to: &[[f64; 2]]) -> Option<Similarity> {
        let count = from.len();
        if count < 4 {
            return Similarity::fitted(from, to);
        }
        let pairs = (0..count).flat_map(|i| (i + 1..count).map(move |j| [i, j]));
        let candidates = pairs.filter_map(|pair| {
            let map = Similarity::fitted(&pair.map(|i| from[i]), &pair.map(|i| to[i]))?;
            let residuals: Vec<f64> = from.iter().zip(to).map(|(p, q)| distance(map.apply(*p), *q)).collect();
            let mut sorted = residuals.clone();
            sorted.sort_by(f64::total_cmp);
            Some((sorted[count / 2], residuals))
        });
        let (median, residuals) = candidates.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let aim = mean(to);
        let spread = (to.iter().map(|q| distance(*q, aim).powi(2)).sum::<f64>() / count as f64).sqrt();
        // The deviation of a normal distribution from the median of so few residuals (Rousseeuw & Leroy 1987, p. 202).
        let deviation = 1.4826 * (1.0 + 5.0 / (count as f64 - 2.0)) * median;
        let limit = (2.5 * deviation).max(PRECISION * spread);
        let inlying = |points: &[[f64; 2]]| -> Vec<[f64; 2]> {
            points.iter().zip(&residuals).filter(|(_, residual)| **residual <= limit).map(|(p, _)| *p).collect()
        };
        Similarity::fitted(&inlying(from), &inlying(to))
    }
}

fn mean(points: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|k| points.iter().map(|p| p[k]).sum::<f64>() / points.len() as f64)
}

fn distance(p: [f64; 2], q: [f64; 2]) -> f64 {
    (p[0] - q[0]).hypot(p[1] - q[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::template;
    use proptest::prelude::*;

    fn points() -> [[f64; 2]; 5] {
        template(512.0, 5).unwrap().try_into().unwrap()
    }

    #[track_caller]
    fn assert_near(found: &Similarity, expected: &Similarity, bound: f64) {
        let values = |map: &Similarity| [map.turn, map.shift].concat();
        let worst = values(found).iter().zip(values(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst <= bound, "{found:?} is not {expected:?}: {worst:e}");
    }

    #[test]
    fn points_of_the_template_stay_where_they_are() {
        assert_near(&Similarity::robust(&points(), &points()).unwrap(), &Similarity::IDENTITY, 1e-12);
        assert_near(&Similarity::fitted(&points(), &points()).unwrap(), &Similarity::IDENTITY, 1e-12);
    }

    proptest! {
        #[test]
        fn a_map_is_found_from_what_it_does(
            angle in -3.2..3.2f64, scale in 0.02..20.0f64, shift in prop::array::uniform2(-2000.0..2000.0f64),
            outlier in 0usize..5, off in prop::array::uniform2(-400.0..400.0f64),
        ) {
            let turn: [f64; 2] = [scale * f64::cos(angle), scale * f64::sin(angle)];
            let map = Similarity { turn, shift };
            let there = points().map(|p| map.apply(p));
            let bound = 1e-9 * (1.0 + scale.max(1.0 / scale));
            assert_near(&Similarity::fitted(&points(), &there).unwrap(), &map, bound);
            assert_near(&Similarity::robust(&points(), &there).unwrap(), &map, bound);
            assert_near(&map.then(&map.inverse()), &Similarity::IDENTITY, bound);
            prop_assert!((map.scale() - scale).abs() < 1e-12 * scale);

            // One wrong point changes nothing, if it is off by more than points may be.
            let mut wrong = there;
            let far = off[0].hypot(off[1]) > 10.0;
            wrong[outlier] = [0, 1].map(|k| wrong[outlier][k] + scale * off[k]);
            if far {
                assert_near(&Similarity::robust(&points(), &wrong).unwrap(), &map, bound);
            }
        }
    }

    /// The least of squares: no map nearby is better.
    #[test]
    fn the_squares_are_least() {
        let there = [[10.0, 5.0], [40.0, 38.0], [8.0, 42.0], [-24.0, 40.0], [2.0, 71.0]];
        let total = |map: &Similarity| -> f64 {
            points().iter().zip(&there).map(|(p, q)| distance(map.apply(*p), *q).powi(2)).sum()
        };
        let best = Similarity::fitted(&points(), &there).unwrap();
        for (k, step) in (0..4).flat_map(|k| [(k, -1e-4), (k, 1e-4)]) {
            let mut other = best;
            if k < 2 {
                other.turn[k] += step
            } else {
                other.shift[k - 2] += step
            }
            assert!(total(&other) > total(&best));
        }
    }

    #[test]
    fn one_place_has_no_direction() {
        assert_eq!(Similarity::robust(&[[3.0, 4.0]; 5], &points()), None);
        assert_eq!(Similarity::fitted(&points(), &[[3.0, 4.0]; 5]), None);
        assert_eq!(Similarity::robust(&[[f64::NAN; 2]; 5], &points()), None);
    }
}
