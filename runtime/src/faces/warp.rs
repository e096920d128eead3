//! Resampling pictures.

use super::Similarity;
use crate::media::Picture;
use rayon::prelude::*;

/// What lies beyond the border of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Border {
    /// A colour: the first channels of it.
    Colour([f32; 3]),
    /// The nearest pixel.
    Repeat,
}

/// A picture of `width` by `height` pixels, each of which is what lies at its middle after `place`, a map into the
/// original. Samples are bilinear. Where an original pixel is smaller than a new one by a whole factor, as many samples in
/// each direction are averaged, so that nothing fine turns into something coarse.
pub fn warp(picture: &Picture, place: &Similarity, width: usize, height: usize, border: Border) -> Picture {
    let samples = (place.scale() as usize).clamp(1, 64);
    let middles: Vec<f64> = (0..samples).map(|i| (i as f64 + 0.5) / samples as f64).collect();
    let share = 1.0 / (samples * samples) as f32;
    let channels = picture.channels;
    let mut values = vec![0.0; width * height * channels];
    values.par_chunks_mut((width * channels).max(1)).enumerate().for_each(|(y, line)| {
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            for (down, right) in middles.iter().flat_map(|down| middles.iter().map(move |right| (down, right))) {
                add_sample(picture, place.apply([x as f64 + right, y as f64 + down]), border, share, pixel);
            }
        }
    });
    Picture { width, height, channels, values }
}

/// The picture at another size: means of areas where it becomes smaller in both directions, bilinear samples otherwise.
///
/// # Panics
/// If a size is zero.
pub fn resample(picture: &Picture, width: usize, height: usize) -> Picture {
    if width <= picture.width && height <= picture.height {
        return picture.resize(width, height);
    }
    let steps = [picture.width as f64 / width as f64, picture.height as f64 / height as f64];
    let channels = picture.channels;
    let mut values = vec![0.0; width * height * channels];
    values.par_chunks_mut(width * channels).enumerate().for_each(|(y, line)| {
        for (x, pixel) in line.chunks_exact_mut(channels).enumerate() {
            let at = [(x as f64 + 0.5) * steps[0], (y as f64 + 0.5) * steps[1]];
            add_sample(picture, at, Border::Repeat, 1.0, pixel);
        }
    });
    Picture { width, height, channels, values }
}

/// Adds `share` of the bilinear sample at a place.
fn add_sample(picture: &Picture, at: [f64; 2], border: Border, share: f32, pixel: &mut [f32]) {
    let corner = at.map(|x| (x - 0.5).floor());
    let [right, down] = [0, 1].map(|k| (at[k] - 0.5 - corner[k]) as f32);
    for (dy, weight) in [(0.0, 1.0 - down), (1.0, down)] {
        for (dx, weight) in [(0.0, weight * (1.0 - right)), (1.0, weight * right)] {
            let (x, y) = (corner[0] + dx, corner[1] + dy);
            let last = [picture.width as f64 - 1.0, picture.height as f64 - 1.0];
            let inside = (0.0..=last[0]).contains(&x) && (0.0..=last[1]).contains(&y);
            let weight = share * weight;
            match border {
                Border::Colour(colour) if !inside => {
                    pixel.iter_mut().zip(colour).for_each(|(p, c)| *p += weight * c);
                }
                _ => {
                    let nearest = picture.pixel(x.clamp(0.0, last[0]) as usize, y.clamp(0.0, last[1]) as usize);
                    pixel.iter_mut().zip(nearest).for_each(|(p, c)| *p += weight * c);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Picture {
        Picture::from_fn(width, height, 3, |x, y, c| ((x * 31 + y * 57 + c * 91 + x * y) % 256) as f32 / 255.0)
    }

    #[test]
    fn nothing_changes_where_nothing_moves() {
        let picture = noise(13, 9);
        assert_eq!(warp(&picture, &Similarity::IDENTITY, 13, 9, Border::Repeat), picture);
        assert_eq!(resample(&picture, 13, 9), picture);
    }

    #[test]
    fn quarter_turns_and_shifts_move_pixels() {
        let picture = noise(8, 8);
        // A quarter turn about the middle.
        let turn = Similarity { turn: [0.0, 1.0], shift: [8.0, 0.0] };
        let turned = warp(&picture, &turn, 8, 8, Border::Repeat);
        for (x, y) in (0..8).flat_map(|y| (0..8).map(move |x| (x, y))) {
            let worst = turned.pixel(x, y).iter().zip(picture.pixel(7 - y, x)).map(|(a, b)| (a - b).abs());
            assert!(worst.fold(0.0, f32::max) < 1e-6, "{x} {y}");
        }
        let colour = [0.25, 0.5, 0.75];
        let shifted = warp(&picture, &Similarity::scaled(1.0, [3.0, -2.0]), 8, 8, Border::Colour(colour));
        assert_eq!(shifted.pixel(0, 2), picture.pixel(3, 0));
        assert_eq!(shifted.pixel(4, 7), picture.pixel(7, 5));
        assert_eq!(shifted.pixel(5, 2), colour);
        assert_eq!(shifted.pixel(0, 1), colour);
        // Half a pixel beyond the border is half of either.
        let half = warp(&picture, &Similarity::scaled(1.0, [-0.5, 0.0]), 1, 1, Border::Colour(colour));
        let expected = [0, 1, 2].map(|c| (picture.pixel(0, 0)[c] + colour[c]) / 2.0);
        assert_eq!(half.pixel(0, 0), expected);
    }

    #[test]
    fn straight_lines_stay_straight() {
        let ramp = |x: f64, y: f64| 0.1 + 0.02 * x - 0.01 * y;
        let picture = Picture::from_fn(40, 30, 1, |x, y, _| ramp(x as f64 + 0.5, y as f64 + 0.5) as f32);
        let place = Similarity { turn: [0.37, 0.21], shift: [12.0, 4.0] };
        let seen = warp(&picture, &place, 20, 20, Border::Repeat);
        for (x, y) in (0..20).flat_map(|y| (0..20).map(move |x| (x, y))) {
            let [u, v] = place.apply([x as f64 + 0.5, y as f64 + 0.5]);
            assert!((f64::from(seen.pixel(x, y)[0]) - ramp(u, v)).abs() < 1e-6);
        }
        let large = resample(&picture, 100, 45);
        assert!((f64::from(large.pixel(50, 20)[0]) - ramp(50.5 * 0.4, 20.5 / 1.5)).abs() < 1e-6);
    }

    /// A checkerboard seen from far away is grey.
    #[test]
    fn fine_patterns_are_averaged() {
        let board = Picture::from_fn(64, 64, 1, |x, y, _| ((x + y) % 2) as f32);
        let far = warp(&board, &Similarity::scaled(4.0, [0.0; 2]), 16, 16, Border::Repeat);
        assert!(far.values.iter().all(|value| (value - 0.5).abs() < 1e-6));
    }
}
