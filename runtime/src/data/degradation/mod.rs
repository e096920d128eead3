//! Good pictures made bad, so that a method learns the way back.
//!
//! The stages follow one another as in blind face restoration (CodeFormer, NeurIPS 2022, section 4 and its
//! program): blur, shrinking, noise, compression, enlargement to the old size; then changes of colour; then
//! brush strokes. What comes out has bytes for values, as if it had been read from a file.

mod blur;
mod colour;
mod jpeg;
mod strokes;

#[cfg(test)]
mod tests;

pub use blur::Blur;
pub use colour::Jitter;
pub use strokes::Strokes;

use super::Draws;
use crate::media::{Picture, nearest_byte};

/// What is done to a picture, in the order of the fields. A stage that is not there is left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Degradation {
    /// Gaussian blur.
    pub blur: Option<Blur>,
    /// Between which factors width and height are divided, from 1 up: bilinear, nothing averaged.
    pub shrink: Option<[f64; 2]>,
    /// Between which standard deviations of Gaussian noise for every value, of 255.
    pub noise: Option<[f64; 2]>,
    /// Between which qualities of JPEG, 1 to 100, cut to whole numbers.
    pub quality: Option<[f64; 2]>,
    /// How often every channel is shifted by a number of its own, and by at most how much, of 255.
    pub shift: Option<[f64; 2]>,
    /// How often colours become grey.
    pub grey: f64,
    /// Brightness, contrast, saturation and hue.
    pub jitter: Option<Jitter>,
    /// White brush strokes.
    pub strokes: Option<Strokes>,
}

impl Degradation {
    /// An RGB picture made worse, of the same size; every value is a whole number of 1/255. All draws are a
    /// function of the seed, the sample's number and the name; those of a stage do not depend on other stages.
    ///
    /// # Panics
    /// If the picture has other than three channels or no pixels, or ranges are not as the fields say.
    pub fn apply(&self, picture: &Picture, seed: u64, sample: u64, name: &str) -> Picture {
        let draws = |stage: &str| Draws::new(seed, sample, &format!("{name}.{stage}"));
        let Picture { width, height, .. } = *picture;
        let mut out = match self.blur {
            Some(blur) => blur.apply(picture, &mut draws("blur")),
            None => picture.clone(),
        };
        if let Some(factors) = self.shrink {
            let factor = draws("shrink").between(factors);
            let small = |size: usize| ((size as f64 / factor) as usize).max(1);
            out = out.bilinear(small(width), small(height));
        }
        if let Some(deviations) = self.noise {
            add_noise(&mut out, deviations, &mut draws("noise"));
        }
        if let Some(qualities) = self.quality {
            out = jpeg::compressed(&out, draws("quality").between(qualities) as u8);
        }
        out = out.bilinear(width, height);
        if let Some([probability, most]) = self.shift {
            let mut draws = draws("shift");
            if draws.chance(probability) {
                colour::shift(&mut out, [(); 3].map(|()| draws.between([-most / 255.0, most / 255.0])));
            }
        }
        if draws("grey").chance(self.grey) {
            colour::grey(&mut out);
        }
        if let Some(jitter) = &self.jitter {
            let mut draws = draws("jitter");
            if draws.chance(jitter.probability) {
                jitter.apply(&mut out, &mut draws);
            }
        }
        if let Some(strokes) = &self.strokes {
            let mut draws = draws("strokes");
            if draws.chance(strokes.probability) {
                strokes.apply(&mut out, &mut draws);
            }
        }
        out.values.iter_mut().for_each(|value| *value = f32::from(nearest_byte(*value)) / 255.0);
        out
    }
}

/// Adds noise of a deviation that is drawn first, and keeps values in `[0, 1]`.
fn add_noise(picture: &mut Picture, deviations: [f64; 2], draws: &mut Draws) {
    let deviation = draws.between(deviations) / 255.0;
    for value in &mut picture.values {
        *value = (*value + (deviation * draws.normal()) as f32).clamp(0.0, 1.0);
    }
}
