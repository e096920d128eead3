//! Made pictures against real ones, by their features.

use super::{
    Features, MetricError,
    frechet::Gaussian,
    kernel_distance::kernel_distance,
    neighbours::{covered, radii},
};
use crate::data::Shuffle;
use faer::Mat;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What figures are taken with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssessmentOptions {
    /// Which neighbour of a picture sets how far it reaches, for precision and recall.
    pub neighbours: usize,
    /// Pairs of subsets that the kernel distance is taken of.
    pub subsets: usize,
    /// Pictures of a subset, where there are as many.
    pub subset: usize,
    /// Of the subsets.
    pub seed: u64,
}

/// How far made pictures are from real ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The kernel distance.
    pub kid: f64,
    /// Its standard deviation over subsets.
    pub kid_deviation: f64,
    /// The Fréchet distance.
    pub fid: f64,
    /// The share of made pictures that are like real ones.
    pub precision: f64,
    /// The share of real pictures that are like made ones.
    pub recall: f64,
}

impl Figures {
    /// Their names, in order.
    pub const NAMES: [&str; 5] = ["kid", "kid deviation", "fid", "precision", "recall"];

    /// Their values, in the order of the names.
    pub fn values(&self) -> [f64; 5] {
        [self.kid, self.kid_deviation, self.fid, self.precision, self.recall]
    }
}

/// A set of pictures with what every comparison with it needs.
#[derive(Clone, Debug)]
struct Set {
    features: Features,
    fit: Gaussian,
    radii: Vec<f64>,
}

impl Set {
    fn new(features: Features, options: &AssessmentOptions) -> Result<Set, MetricError> {
        let (count, needed) = (features.count(), least(options));
        if count < needed {
            return Err(MetricError::TooFew { count, needed });
        }
        if !features.are_finite() {
            return Err(MetricError::NotFinite);
        }
        let (fit, radii) = (Gaussian::of(&features), radii(&features, options.neighbours));
        Ok(Set { features, fit, radii })
    }

    fn figures(&self, root: &Mat<f64>, made: &Set, options: &AssessmentOptions) -> Result<Figures, MetricError> {
        let size = options.subset.min(self.features.count()).min(made.features.count());
        let kid = kernel_distance(&made.features, &self.features, options.subsets, size, options.seed);
        Ok(Figures {
            kid: kid.mean,
            kid_deviation: kid.deviation,
            fid: self.fit.distance(root, &made.fit)?,
            precision: covered(&made.features, &self.features, &self.radii),
            recall: covered(&self.features, &made.features, &made.radii),
        })
    }
}

/// How many pictures a set has at least: each has so many neighbours.
pub fn least(options: &AssessmentOptions) -> usize {
    (options.neighbours + 1).max(2)
}

/// The real pictures that made ones are compared with.
#[derive(Clone, Debug)]
pub struct Reference {
    set: Set,
    /// The root of the covariance.
    root: Mat<f64>,
    options: AssessmentOptions,
    /// The figures of one half of the pictures against the other: what they are where nothing is wrong with the pictures made.
    pub floor: Figures,
}

impl Reference {
    /// Real pictures, by their features.
    ///
    /// # Errors
    /// There are too few for two halves, or features are not finite.
    pub fn new(features: Features, options: AssessmentOptions) -> Result<Reference, MetricError> {
        let (count, needed) = (features.count(), 2 * least(&options));
        if count < needed {
            return Err(MetricError::TooFew { count, needed });
        }
        let order = Shuffle::new(count as u64, options.seed);
        let half = |range: std::ops::Range<usize>| {
            let chosen = range.map(|place| order.at(place as u64) as usize);
            Set::new(features.chosen(chosen), &options)
        };
        let (first, second) = (half(0..count / 2)?, half(count / 2..count)?);
        let floor = second.figures(&second.fit.root()?, &first, &options)?;
        let set = Set::new(features, &options)?;
        let root = set.fit.root()?;
        Ok(Reference { set, root, options, floor })
    }

    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.set.features.count()
    }

    /// How far made pictures are from these.
    ///
    /// # Errors
    /// There are too few of them, or features are not finite.
    ///
    /// # Panics
    /// If they have another number of features.
    pub fn figures(&self, made: Features) -> Result<Figures, MetricError> {
        assert_eq!(made.width(), self.set.features.width(), "sets to compare have the same features");
        self.set.figures(&self.root, &Set::new(made, &self.options)?, &self.options)
    }
}

/// References that are there already, by name.
#[derive(Clone, Debug, Default)]
pub struct References(Arc<Mutex<BTreeMap<String, Kept>>>);

/// A reference, with the key of what it was made from.
#[derive(Debug)]
struct Kept {
    key: blake3::Hash,
    reference: Arc<Reference>,
}

impl References {
    /// The reference called `name` if it was made from what has this key; or else the one that `make` makes.
    ///
    /// # Errors
    /// What `make` says.
    pub fn get<E>(
        &self,
        name: &str,
        key: blake3::Hash,
        make: impl FnOnce() -> Result<Reference, E>,
    ) -> Result<Arc<Reference>, E> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept().get(name).filter(|kept| kept.key == key) {
            return Ok(kept.reference.clone());
        }
        let reference = Arc::new(make()?);
        kept().insert(name.to_owned(), Kept { key, reference: reference.clone() });
        Ok(reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: AssessmentOptions = AssessmentOptions { neighbours: 2, subsets: 20, subset: 30, seed: 1 };

    fn scattered(count: usize, middle: f32, seed: u64) -> Features {
        let value = |i: u64| (crate::data::mix(seed ^ crate::data::mix(i)) >> 40) as f32 / (1u64 << 24) as f32 + middle;
        Features::new(4, (0..4 * count as u64).map(value).collect())
    }

    #[test]
    fn like_pictures_are_at_the_floor_and_others_are_not() {
        let reference = Reference::new(scattered(200, 0.0, 1), OPTIONS).unwrap();
        let like = reference.figures(scattered(100, 0.0, 2)).unwrap();
        let unlike = reference.figures(scattered(100, 3.0, 3)).unwrap();
        let floor = reference.floor;
        assert!(like.kid.abs() < 0.1 && floor.kid.abs() < 0.1 && unlike.kid > 10.0, "{like:?} {unlike:?}");
        assert!(like.fid < 0.1 && floor.fid < 0.1 && (unlike.fid - 36.0).abs() < 2.0, "{like:?} {floor:?} {unlike:?}");
        assert!(like.precision > 0.6 && floor.precision > 0.6 && unlike.precision == 0.0);
        assert!(like.recall > 0.6 && floor.recall > 0.6 && unlike.recall == 0.0);
    }

    #[test]
    fn too_few_pictures_are_said_to_be_so() {
        let message = |result: Result<Figures, MetricError>| result.unwrap_err().to_string();
        let floor = |count| Reference::new(scattered(count, 0.0, 1), OPTIONS).map(|reference| reference.floor);
        assert_eq!(message(floor(5)), "5 pictures are too few: at least 6 are needed");
        let reference = Reference::new(scattered(6, 0.0, 1), OPTIONS).unwrap();
        assert_eq!(message(reference.figures(scattered(2, 0.0, 2))), "2 pictures are too few: at least 3 are needed");
        let infinite = Features::new(4, [vec![f32::INFINITY], vec![0.0; 15]].concat());
        assert_eq!(message(reference.figures(infinite)), "features are not finite");
    }

    #[test]
    fn a_reference_is_made_once() {
        let (references, key) = (References::default(), blake3::hash(b"weights"));
        let make = || Reference::new(scattered(20, 0.0, 1), OPTIONS);
        let first = references.get("a", key, make).unwrap();
        let again = references.get("a", key, || Err(MetricError::NotFinite)).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = references.get("a", blake3::hash(b"other weights"), make).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert!(references.get("b", key, || Err(MetricError::NotFinite)).is_err());
    }
}
