//! Changes of colour. All take RGB pictures with values in `[0, 1]` and keep them there.

use crate::data::Draws;
use crate::media::Picture;

/// What a change of brightness, contrast, saturation and hue is drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// How often there is one.
    pub probability: f64,
    /// Factors of all values.
    pub brightness: [f64; 2],
    /// Factors of the distance from the picture's mean luma.
    pub contrast: [f64; 2],
    /// Factors of the distance from each pixel's luma.
    pub saturation: [f64; 2],
    /// Parts of a full turn of the hue.
    pub hue: [f64; 2],
}

/// Luma of ITU-R BT.601.
fn luma(pixel: &[f32]) -> f32 {
    0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

fn pixels(picture: &mut Picture) -> impl Iterator<Item = &mut [f32]> {
    picture.values.chunks_exact_mut(3)
}

/// Adds a number to every channel.
pub fn shift(picture: &mut Picture, by: [f64; 3]) {
    for pixel in pixels(picture) {
        for (value, by) in pixel.iter_mut().zip(by) {
            *value = (*value + by as f32).clamp(0.0, 1.0);
        }
    }
}

/// Every channel becomes the luma.
pub fn grey(picture: &mut Picture) {
    for pixel in pixels(picture) {
        pixel.fill(luma(pixel));
    }
}

/// `factor · x + (1 − factor) · towards`.
fn blend(pixel: &mut [f32], towards: f32, factor: f64) {
    for value in pixel {
        *value = (towards + (*value - towards) * factor as f32).clamp(0.0, 1.0);
    }
}

/// Multiplies every value.
pub fn brightness(picture: &mut Picture, factor: f64) {
    pixels(picture).for_each(|pixel| blend(pixel, 0.0, factor));
}

/// Multiplies every value's distance from the mean luma.
pub fn contrast(picture: &mut Picture, factor: f64) {
    let sum: f64 = picture.values.chunks_exact(3).map(|pixel| f64::from(luma(pixel))).sum();
    let mean = (sum / (picture.width * picture.height) as f64) as f32;
    pixels(picture).for_each(|pixel| blend(pixel, mean, factor));
}

/// Multiplies every value's distance from its pixel's luma.
pub fn saturation(picture: &mut Picture, factor: f64) {
    pixels(picture).for_each(|pixel| blend(pixel, luma(pixel), factor));
}

/// Turns the hue of hue, saturation and value by so many full turns.
pub fn hue(picture: &mut Picture, turns: f64) {
    for pixel in pixels(picture) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]];
        let (high, low) = (r.max(g).max(b), r.min(g).min(b));
        let chroma = high - low;
        if chroma == 0.0 {
            continue;
        }
        // In sixths of a turn, from red.
        let sixths = if high == r {
            (g - b) / chroma
        } else if high == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        };
        let turned = (f64::from(sixths) + 6.0 * turns).rem_euclid(6.0) as f32;
        for (value, offset) in pixel.iter_mut().zip([5.0, 3.0, 1.0]) {
            let k = (offset + turned) % 6.0;
            *value = high - chroma * k.min(4.0 - k).clamp(0.0, 1.0);
        }
    }
}

impl Jitter {
    /// The four changes in a random order.
    pub fn apply(&self, picture: &mut Picture, draws: &mut Draws) {
        let amounts = [self.brightness, self.contrast, self.saturation, self.hue].map(|range| draws.between(range));
        let mut order = [0, 1, 2, 3];
        for last in (1..order.len()).rev() {
            order.swap(last, draws.whole(0..last + 1));
        }
        for which in order {
            [brightness, contrast, saturation, hue][which](picture, amounts[which]);
        }
    }
}
