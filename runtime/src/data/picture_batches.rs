//! Samples of pictures for training, each a function of the seed and its number alone.

use std::sync::Arc;

use indexmap::IndexMap;

use super::DataError;
use super::degradation::Degradation;
use super::draws::Draws;
use super::pictures::Pictures;
use super::poses::PoseLabel;
use super::shuffle::{Shuffle, mix};
use crate::media::Picture;

/// Pictures in a random order, with what is done to them.
#[derive(Clone, Debug)]
pub struct PictureBatches {
    /// What is drawn from.
    pub pictures: Arc<Pictures>,
    /// Whether every second one is mirrored, left for right.
    pub flip: bool,
    /// Worse versions of each picture, by name.
    pub degradations: IndexMap<String, Degradation>,
    /// Of everything that is drawn.
    pub seed: u64,
}

/// One picture of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its number among all samples.
    pub number: u64,
    /// The number of its picture.
    pub index: usize,
    /// Whether it is mirrored.
    pub flipped: bool,
    /// The picture, RGB.
    pub picture: Picture,
    /// Where its camera stood, mirrored as it is.
    pub pose: Option<PoseLabel>,
}

impl PictureBatches {
    /// The sample of a number. Every picture comes once before any comes again, in another order.
    pub fn sample(&self, number: u64) -> Sample {
        let total = self.pictures.count() as u64;
        let order = Shuffle::new(total, mix(self.seed ^ mix(number / total)));
        let index = order.at(number % total) as usize;
        let flipped = self.flip && Draws::new(self.seed, number, "flip").chance(0.5);
        let picture = self.pictures.picture(index);
        let picture = if flipped { picture.mirrored() } else { picture };
        let pose = self.pictures.pose(index);
        let pose = if flipped { pose.map(PoseLabel::mirrored) } else { pose };
        Sample { number, index, flipped, picture, pose }
    }

    /// A sample of a held-out picture: as it is, and always made worse in the same way.
    ///
    /// # Errors
    /// Its file cannot be read, or gives no square.
    ///
    /// # Panics
    /// If no more than `index` are held out.
    pub fn held_out(&self, index: usize) -> Result<Sample, DataError> {
        // Far from the numbers that training comes to.
        let number = u64::MAX - index as u64;
        Ok(Sample { number, index, flipped: false, picture: self.pictures.held_out_picture(index)?, pose: None })
    }

    /// A sample made worse by the degradation of a name; `None` if there is none of that name.
    pub fn degraded(&self, sample: &Sample, name: &str) -> Option<Picture> {
        let degradation = self.degradations.get(name)?;
        Some(degradation.apply(&sample.picture, self.seed, sample.number, name))
    }
}
