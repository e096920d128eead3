//! Photographs without colour.

use crate::media::Picture;

/// The mean variance of the differences of two channels up to which a photograph counts as grey, for values in 0..255.
const GREY: f64 = 10.0;

/// Shares of red, green and blue in the brightness (ITU-R BT.601).
const LUMA: [f32; 3] = [0.2989, 0.5870, 0.1140];

/// Whether a picture of three channels has no colour, or one colour cast: differences of channels hardly vary.
pub fn is_grey(picture: &Picture) -> bool {
    let variance = |a: usize, b: usize| {
        let differences = picture.values.chunks_exact(picture.channels).map(|p| 255.0 * f64::from(p[a] - p[b]));
        moments(differences)[1]
    };
    picture.channels < 3 || (variance(0, 1) + variance(0, 2) + variance(1, 2)) / 3.0 <= GREY
}

/// The brightness of `face` in the tones of `original`: each channel has the mean and the deviation of the original's
/// (Huang & Belongie 2017, on pixels). Values stay in 0..1.
///
/// # Panics
/// If one of them has not three channels.
pub fn greyed(face: &Picture, original: &Picture) -> Picture {
    assert!(face.channels == 3 && original.channels == 3, "tones are those of three channels");
    let luma = |p: &[f32]| p.iter().zip(LUMA).map(|(p, share)| p * share).sum::<f32>();
    let brightness: Vec<f32> = face.values.chunks_exact(3).map(luma).collect();
    let [mean, variance] = moments(brightness.iter().map(|value| f64::from(*value)));
    // As in 0..255, where 1e-5 is added to variances.
    let deviation = |variance: f64| (variance + 1e-5 / (255.0 * 255.0)).sqrt();
    let tones = [0, 1, 2].map(|c| {
        let [aim, spread] = moments(original.values.iter().skip(c).step_by(3).map(|value| f64::from(*value)));
        (aim, deviation(spread) / deviation(variance))
    });
    let values = brightness
        .iter()
        .flat_map(|value| tones.map(|(aim, gain)| (aim + gain * (f64::from(*value) - mean)).clamp(0.0, 1.0) as f32));
    Picture { values: values.collect(), ..*face }
}

/// Mean and population variance.
fn moments(values: impl Iterator<Item = f64> + Clone) -> [f64; 2] {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    [mean, values.map(|value| (value - mean).powi(2)).sum::<f64>() / count]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tinted(cast: [f32; 3], colour: f32) -> Picture {
        Picture::from_fn(40, 30, 3, |x, y, c| {
            0.2 + cast[c] + 0.5 * ((x * 7 + y * 3) % 40) as f32 / 40.0 + colour * ((x * c) % 5) as f32
        })
    }

    #[test]
    fn casts_are_grey_and_colours_are_not() {
        assert!(is_grey(&tinted([0.0; 3], 0.0)));
        assert!(is_grey(&tinted([0.1, 0.05, 0.0], 0.0)));
        assert!(!is_grey(&tinted([0.0; 3], 0.02)));
        assert!(is_grey(&Picture::new(3, 3, 1)));
    }

    #[test]
    fn tones_are_those_of_the_original() {
        let (face, original) = (tinted([0.0; 3], 0.03), tinted([0.1, 0.05, 0.0], 0.0));
        let grey = greyed(&face, &original);
        assert!(is_grey(&grey));
        let channel = |picture: &Picture, c: usize| {
            moments(
                picture.values.iter().skip(c).step_by(3).map(|value| f64::from(*value)).collect::<Vec<_>>().into_iter(),
            )
        };
        for c in 0..3 {
            let (found, expected) = (channel(&grey, c), channel(&original, c));
            assert!(
                (found[0] - expected[0]).abs() < 1e-5 && (found[1] - expected[1]).abs() < 1e-5,
                "{found:?} {expected:?}"
            );
        }
    }

    /// A face of stronger contrast than its photograph allows for is cut off, not wrapped around.
    #[test]
    fn tones_stay_between_black_and_white() {
        let bright = Picture::from_fn(16, 16, 3, |x, _, _| if x < 8 { 1.0 } else { 0.0 });
        let spike = Picture::from_fn(16, 16, 3, |x, y, _| if (x, y) == (0, 0) { 1.0 } else { 0.3 });
        let grey = greyed(&spike, &bright);
        assert!(grey.values.iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(grey.pixel(0, 0), [1.0; 3]);
    }
}
