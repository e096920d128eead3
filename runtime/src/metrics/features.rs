//! Pictures as points: what a network says of each.

use faer::Mat;

/// Features of pictures, `[picture][feature]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    width: usize,
    values: Vec<f32>,
}

impl Features {
    /// Features of several pictures, one after another, `width` of each.
    ///
    /// # Panics
    /// If they are not whole pictures.
    pub fn new(width: usize, values: Vec<f32>) -> Features {
        assert!(width > 0 && values.len().is_multiple_of(width), "every picture has all features");
        Features { width, values }
    }

    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// How many features a picture has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Those of one picture.
    ///
    /// # Panics
    /// If there are no more than `index`.
    pub fn of(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..][..self.width]
    }

    /// Those of some pictures.
    ///
    /// # Panics
    /// If one of them is not there.
    pub fn chosen(&self, indices: impl IntoIterator<Item = usize>) -> Features {
        let values = indices.into_iter().flat_map(|index| self.of(index).iter().copied()).collect();
        Features { width: self.width, values }
    }

    /// Whether all of them are finite.
    pub fn are_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }

    /// `[picture, feature]` in double precision.
    pub(super) fn matrix(&self) -> Mat<f64> {
        Mat::from_fn(self.count(), self.width, |picture, feature| f64::from(self.of(picture)[feature]))
    }
}
