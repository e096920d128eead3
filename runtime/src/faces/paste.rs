//! Putting a face back into its photograph.

use super::{Border, Similarity, warp};
use crate::{
    media::Picture,
    metrics::{blur, gaussian},
};

/// Lays a square `face` over `onto`; `place` takes pixels of the face to those of the picture. What shows is the smaller of two
/// masks: `mask`, if there is one, which is a picture of one channel and of the face's size; and the face's square, moved
/// inwards and blurred by a twentieth of its side. `upscale` is how much larger than the photograph the picture is: by as
/// many pixels the square's border is cut off first, since there the face has seen what was beyond the photograph.
///
/// # Panics
/// If the face or the mask has other channels than that.
pub fn paste(onto: &mut Picture, face: &Picture, mask: Option<&Picture>, place: &Similarity, upscale: f64) {
    assert!(face.channels >= 3 && onto.channels >= 3, "colours are laid over colours");
    let Some(window) = Window::around(face, place) else { return };
    // Where the window lies beyond the picture there is nothing to be seen; the mask knows the whole square all the same.
    let inwards = Similarity::scaled(1.0, window.corner).then(&place.inverse());
    let mut weights = window.square(face, &inwards, upscale);
    if let Some(mask) = mask {
        assert_eq!((mask.width, mask.height, mask.channels), (face.width, face.height, 1), "a mask is of its face");
        let seen = warp(mask, &inwards, window.width, window.height, Border::Colour([0.0; 3]));
        weights.iter_mut().zip(&seen.values).for_each(|(weight, mask)| *weight = weight.min(*mask));
    }
    let seen = warp(face, &inwards, window.width, window.height, Border::Repeat);
    for (i, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        let at = [window.corner[0] + (i % window.width) as f64, window.corner[1] + (i / window.width) as f64];
        if at[0] < 0.0 || at[1] < 0.0 || at[0] >= onto.width as f64 || at[1] >= onto.height as f64 {
            continue;
        }
        let colours = seen.pixel(i % window.width, i / window.width);
        for (under, over) in onto.pixel_mut(at[0] as usize, at[1] as usize).iter_mut().zip(&colours[..3]) {
            *under += weight * (over - *under);
        }
    }
}

/// The longest side of a square that is pasted, in pixels.
const LARGEST: f64 = 16384.0;

/// The pixels around a face's square.
struct Window {
    /// The left upper one; whole numbers.
    corner: [f64; 2],
    width: usize,
    height: usize,
}

impl Window {
    /// None for a square that is no larger than nothing or too large for any picture.
    fn around(face: &Picture, place: &Similarity) -> Option<Window> {
        let (width, height) = (face.width as f64, face.height as f64);
        let ends = [[0.0, 0.0], [width, 0.0], [0.0, height], [width, height]].map(|end| place.apply(end));
        let least = [0, 1].map(|k| ends.iter().map(|end| end[k]).fold(f64::INFINITY, f64::min).floor() - 1.0);
        let most = [0, 1].map(|k| ends.iter().map(|end| end[k]).fold(f64::NEG_INFINITY, f64::max).ceil() + 1.0);
        let sides = [0, 1].map(|k| most[k] - least[k]);
        let possible = sides.iter().all(|side| (3.0..LARGEST).contains(side));
        possible.then(|| Window { corner: least, width: sides[0] as usize, height: sides[1] as usize })
    }

    /// The soft square.
    fn square(&self, face: &Picture, inwards: &Similarity, upscale: f64) -> Vec<f32> {
        // A bilinear sample of ones on the face's pixels, and of zeros around them.
        let covered = |at: f64, side: usize| (at + 0.5).min(side as f64 + 0.5 - at).clamp(0.0, 1.0);
        let pixels = (0..self.height).flat_map(|y| (0..self.width).map(move |x| [x as f64 + 0.5, y as f64 + 0.5]));
        let hard = pixels.map(|pixel| {
            let [x, y] = inwards.apply(pixel);
            (covered(x, face.width) * covered(y, face.height)) as f32
        });
        let cut = eroded(&hard.collect::<Vec<_>>(), self.width, upscale.round() as usize);
        let area: f64 = cut.iter().map(|value| f64::from(*value)).sum();
        let edge = area.sqrt() as usize / 20;
        let core = eroded(&cut, self.width, edge);
        // The deviation that OpenCV gives a kernel of this size.
        let kernel = gaussian(2 * edge + 1, 0.3 * (edge as f64 - 1.0) + 0.8);
        let (width, height) = (self.width + 2 * edge, self.height + 2 * edge);
        let mut padded = vec![0.0; width * height];
        for (y, line) in core.chunks_exact(self.width).enumerate() {
            let start = (y + edge) * width + edge;
            padded[start..start + self.width].iter_mut().zip(line).for_each(|(p, value)| *p = f64::from(*value));
        }
        blur(&padded, width, height, &kernel, &kernel).into_iter().map(|value| value as f32).collect()
    }
}

/// The least value up to `reach` pixels away in both directions, zeros being around the picture: what is there loses as many
/// pixels on each side.
fn eroded(values: &[f32], width: usize, reach: usize) -> Vec<f32> {
    let across: Vec<f32> = values.chunks_exact(width).flat_map(|line| least(line, reach)).collect();
    let column = |x: usize| across.iter().skip(x).step_by(width).copied().collect::<Vec<_>>();
    let mut out = vec![0.0; values.len()];
    for x in 0..width {
        for (y, value) in least(&column(x), reach).into_iter().enumerate() {
            out[y * width + x] = value;
        }
    }
    out
}

/// The least of each value and its neighbours up to `reach` away: least ones of ever more neighbours, by doubling.
fn least(line: &[f32], reach: usize) -> Vec<f32> {
    let count = 2 * reach + 1;
    let mut run: Vec<f32> = std::iter::repeat_n(0.0, reach).chain(line.iter().copied()).collect();
    run.resize(line.len() + 2 * reach, 0.0);
    let mut seen = 1;
    while seen < count {
        let step = seen.min(count - seen);
        for i in 0..run.len() - step {
            run[i] = run[i].min(run[i + step]);
        }
        seen += step;
    }
    run.truncate(line.len());
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photograph(width: usize, height: usize) -> Picture {
        Picture::from_fn(width, height, 3, |x, y, c| {
            let (x, y) = (x as f32, y as f32);
            0.5 + 0.2 * (x * 0.05 + c as f32).sin() + 0.2 * (y * 0.04).cos()
        })
    }

    fn constant(width: usize, height: usize, channels: usize, value: f32) -> Picture {
        Picture::from_fn(width, height, channels, |_, _, _| value)
    }

    #[test]
    fn a_face_that_is_not_changed_changes_nothing() {
        let original = photograph(220, 180);
        for (angle, scale) in [(0.0, 1.0), (0.3, 0.7), (-1.2, 0.4), (2.9, 1.3)] {
            let turn = [scale * f64::cos(angle), scale * f64::sin(angle)];
            let centred = Similarity { turn, shift: [0.0; 2] };
            let [x, y] = centred.apply([48.0, 48.0]);
            let place = Similarity { shift: [110.3 - x, 90.4 - y], ..centred };
            let face = warp(&original, &place, 96, 96, Border::Repeat);
            let mut again = original.clone();
            paste(&mut again, &face, None, &place, 1.0);
            let worst = again.values.iter().zip(&original.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Two bilinear samples of curves whose second derivative is at most 0.2 * 0.05²: an eighth of it each, in both
            // directions, at the coarser of the two scales.
            let bound = 2.0 * 2.0 * 0.2 * 0.05f32.powi(2) / 8.0 * (scale as f32).max(1.0).powi(2) + 1e-5;
            assert!(worst > 0.0 && worst < bound, "{angle} {scale}: {worst} is not below {bound}");
        }
    }

    /// Along an axis the mask of an upright square is known from plain loops.
    #[test]
    fn the_mask_is_the_square_moved_inwards_and_blurred() {
        let mut onto = constant(260, 260, 3, 0.0);
        paste(&mut onto, &constant(200, 200, 3, 1.0), None, &Similarity::scaled(1.0, [30.0, 30.0]), 1.0);
        let edge = 9; // A twentieth of 198, the side that is left.
        let inside = |x: isize| if (30..230).contains(&x) { 1.0 } else { 0.0 };
        let eroded = |values: &dyn Fn(isize) -> f64, x: isize, reach: isize| {
            (x - reach..=x + reach).map(values).fold(1.0, f64::min)
        };
        let core = |x: isize| eroded(&|x| eroded(&inside, x, 1), x, edge);
        let sigma = 0.3 * (edge as f64 - 1.0) + 0.8;
        let bell = |i: isize| (-(i * i) as f64 / (2.0 * sigma * sigma)).exp();
        let total: f64 = (-edge..=edge).map(bell).sum();
        let line: Vec<f64> = (0..260).map(|x| (-edge..=edge).map(|i| bell(i) / total * core(x + i)).sum()).collect();
        for (x, y) in (0..260).flat_map(|y| (0..260).map(move |x| (x, y))) {
            let (found, expected) = (f64::from(onto.pixel(x, y)[0]), line[x] * line[y]);
            assert!((found - expected).abs() < 1e-6, "{x} {y}: {found} is not {expected}");
        }
        assert!(line[30] == 0.0 && line[229] == 0.0 && (line[130] - 1.0).abs() < 1e-12);
    }

    /// Where the photograph ends there is no seam to hide.
    #[test]
    fn the_border_of_the_photograph_is_no_border_of_the_face() {
        let mut onto = constant(100, 100, 3, 0.0);
        paste(&mut onto, &constant(100, 100, 3, 1.0), None, &Similarity::scaled(1.0, [-40.0, 0.0]), 1.0);
        assert!((onto.pixel(0, 50)[0] - 1.0).abs() < 1e-6);
        assert_eq!(onto.pixel(59, 50), [0.0; 3]);
    }

    #[test]
    fn the_smaller_of_two_masks_shows() {
        let mut onto = constant(100, 100, 4, 0.25);
        let mask = Picture::from_fn(100, 100, 1, |x, _, _| if x < 50 { 0.5 } else { 0.0 });
        paste(&mut onto, &constant(100, 100, 3, 1.0), Some(&mask), &Similarity::IDENTITY, 1.0);
        assert_eq!(onto.pixel(30, 50), [0.625, 0.625, 0.625, 0.25]);
        assert_eq!(onto.pixel(70, 50), [0.25; 4]);
        assert_eq!(onto.pixel(0, 50), [0.25; 4]);
    }

    #[test]
    fn squares_of_no_size_are_left_out() {
        let original = photograph(20, 20);
        for scale in [1e-9, 1e9, f64::NAN] {
            let mut again = original.clone();
            paste(&mut again, &constant(16, 16, 3, 1.0), None, &Similarity::scaled(scale, [5.0, 5.0]), 1.0);
            assert!(again == original, "{scale}");
        }
    }

    #[test]
    fn least_values_are_those_of_a_loop() {
        let line: Vec<f32> = (0..23).map(|i| ((i * 37 + 11) % 23) as f32).collect();
        for reach in 0..=15isize {
            let value = |i: isize| usize::try_from(i).ok().and_then(|i| line.get(i)).copied().unwrap_or(0.0);
            let slow: Vec<f32> =
                (0..23).map(|i: isize| (i - reach..=i + reach).map(value).fold(f32::INFINITY, f32::min)).collect();
            assert_eq!(least(&line, reach.unsigned_abs()), slow, "{reach}");
        }
    }
}
