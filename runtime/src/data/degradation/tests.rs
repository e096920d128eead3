//! Each stage against its definition in double precision, and all of them together.

use super::blur::{Kernel, blurred};
use super::*;

fn noise(width: usize, height: usize) -> Picture {
    let mut draws = Draws::new(3, 1, "picture");
    let mut picture = Picture::new(width, height, 3);
    picture.values.iter_mut().for_each(|value| *value = draws.between([0.0, 1.0]) as f32);
    picture
}

/// A picture that varies slowly, as faces do.
fn smooth(side: usize) -> Picture {
    Picture::from_fn(side, side, 3, |x, y, c| {
        let (x, y) = (x as f32 / side as f32, y as f32 / side as f32);
        0.5 + 0.2 * (3.0 * x + c as f32).sin() + 0.2 * (4.0 * y - x).cos()
    })
}

fn mean_square(a: &Picture, b: &Picture) -> f64 {
    let squares = a.values.iter().zip(&b.values).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / a.values.len() as f64
}

/// The sum over the kernel, point by point, of a picture that is reflected at its outermost pixels.
fn direct(picture: &Picture, weight: impl Fn(f64, f64) -> f64, taps: usize) -> Vec<f64> {
    let reach = (taps / 2) as isize;
    let reflected = |mut i: isize, size: usize| {
        let last = size as isize - 1;
        while last > 0 && !(0..=last).contains(&i) {
            i = if i < 0 { -i } else { 2 * last - i };
        }
        if last == 0 { 0 } else { i as usize }
    };
    let offsets = || (-reach..=reach).flat_map(|y| (-reach..=reach).map(move |x| (x, y)));
    let total: f64 = offsets().map(|(x, y)| weight(x as f64, y as f64)).sum();
    let mut out = Vec::new();
    for y in 0..picture.height as isize {
        for x in 0..picture.width as isize {
            for c in 0..3 {
                let value = |dx: isize, dy: isize| {
                    picture.pixel(reflected(x + dx, picture.width), reflected(y + dy, picture.height))[c]
                };
                let sum: f64 = offsets().map(|(dx, dy)| weight(dx as f64, dy as f64) * f64::from(value(dx, dy))).sum();
                out.push(sum / total);
            }
        }
    }
    out
}

#[track_caller]
fn assert_close(found: &Picture, wanted: &[f64], tolerance: f64) {
    assert_eq!(found.values.len(), wanted.len());
    let worst = found.values.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "{worst}");
}

#[test]
fn round_blur_is_the_direct_sum() {
    for (size, sigma, taps) in [((29, 37), 4.0, 41), ((12, 9), 15.0, 41), ((20, 20), 0.1, 41), ((1, 7), 2.0, 5)] {
        let picture = noise(size.0, size.1);
        let wanted = direct(&picture, |x, y| (-0.5 * (x * x + y * y) / (sigma * sigma)).exp(), taps);
        assert_close(&blurred(&picture, Kernel::Round(sigma), taps), &wanted, 1e-6);
    }
}

#[test]
fn oblique_blur_is_the_direct_sum() {
    let cases = [
        ((29, 37), [12.0, 1.0], 0.6, 41),
        ((12, 9), [2.0, 7.0], -2.9, 21),
        ((25, 16), [0.3, 5.0], 1.5, 41),
        ((3, 1), [1.0, 2.0], 0.2, 7),
    ];
    for (size, sigma, angle, taps) in cases {
        let picture = noise(size.0, size.1);
        // Coordinates along the kernel's own axes.
        let (sin, cos) = f64::sin_cos(angle);
        let weight = |x: f64, y: f64| {
            let (along, across) = (cos * x + sin * y, cos * y - sin * x);
            (-0.5 * ((along / sigma[0]).powi(2) + (across / sigma[1]).powi(2))).exp()
        };
        let wanted = direct(&picture, weight, taps);
        assert_close(&blurred(&picture, Kernel::oblique(sigma, angle), taps), &wanted, 2e-6);
    }
}

#[test]
fn half_of_the_kernels_are_round() {
    let blur = Blur { sigma: [1.0, 3.0], taps: 9 };
    let picture = noise(9, 9);
    // A round kernel treats a picture and its transpose alike.
    let transposed = Picture::from_fn(9, 9, 3, |x, y, c| picture.pixel(y, x)[c]);
    let round = (0..200).filter(|sample| {
        let of = |picture: &Picture| blur.apply(picture, &mut Draws::new(0, *sample, "blur"));
        let (one, other) = (of(&picture), of(&transposed));
        (0..81).all(|i| (one.pixel(i % 9, i / 9)[0] - other.pixel(i / 9, i % 9)[0]).abs() < 1e-5)
    });
    let round = round.count();
    assert!((75..125).contains(&round), "{round}");
}

#[test]
fn noise_has_the_deviation_drawn() {
    let degradation = Degradation { noise: Some([10.0, 10.0]), ..Degradation::default() };
    let grey = Picture { values: vec![0.5; 64 * 64 * 3], ..Picture::new(64, 64, 3) };
    let noisy = degradation.apply(&grey, 5, 8, "low");
    let values: Vec<f64> = noisy.values.iter().map(|v| (f64::from(*v) - 0.5) * 255.0).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
    // Four standard errors; rounding to bytes adds 1/12 to the variance.
    assert!(mean.abs() < 4.0 * 10.0 / count.sqrt(), "{mean}");
    assert!((deviation - (100.0f64 + 1.0 / 12.0).sqrt()).abs() < 4.0 * 10.0 / (2.0 * count).sqrt(), "{deviation}");
    let neighbours: f64 = values.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / count / 100.0;
    assert!(neighbours.abs() < 4.0 / count.sqrt(), "{neighbours}");
    let strong = Degradation { noise: Some([255.0, 255.0]), ..Degradation::default() };
    assert!(strong.apply(&grey, 5, 8, "low").values.iter().all(|v| (0.0..=1.0).contains(v)));
}

#[test]
fn compression_loses_more_at_lower_quality_and_shows_its_blocks() {
    let mut picture = smooth(64);
    // Noise that the coarsest tables cannot hold.
    add_noise(&mut picture, [12.0, 12.0], &mut Draws::new(0, 0, "noise"));
    let losses =
        [100, 80, 40, 10].map(|quality| mean_square(&picture, &jpeg::compressed(&picture, quality)).sqrt() * 255.0);
    assert!(losses.windows(2).all(|pair| pair[0] < pair[1]), "{losses:?}");
    assert!(losses[3] > 8.0, "{losses:?}");
    // Without colour the best quality loses no more than rounding.
    let mut plain = picture.clone();
    colour::grey(&mut plain);
    let loss = mean_square(&plain, &jpeg::compressed(&plain, 100)).sqrt() * 255.0;
    assert!((0.1..1.0).contains(&loss), "{loss}");
    // Steps between neighbours are larger where blocks of eight meet.
    let blocky = jpeg::compressed(&plain, 5);
    let steps = |border: bool| {
        let places = (1..64).filter(|x| (x % 8 == 0) == border).flat_map(|x| (0..64).map(move |y| (x, y)));
        let steps: Vec<f32> = places.map(|(x, y)| (blocky.pixel(x, y)[1] - blocky.pixel(x - 1, y)[1]).abs()).collect();
        steps.iter().sum::<f32>() / steps.len() as f32
    };
    assert!(steps(true) > 2.0 * steps(false), "{} {}", steps(true), steps(false));
}

#[test]
fn compression_halves_the_size_of_colour() {
    // Columns of equal luma in two colours: all that differs is chrominance, and neighbours share it.
    let stripes = Picture::from_fn(32, 32, 3, |x, _, c| match (x % 2, c) {
        (0, 0) => 0.8,
        (1, 1) => 0.8 * 0.299 / 0.587,
        _ => 0.0,
    });
    let out = jpeg::compressed(&stripes, 100);
    let apart = (out.pixel(16, 16)[0] - out.pixel(17, 16)[0]).abs();
    assert!(apart < 0.1, "{apart}");
    // Columns that differ in luma stay apart.
    let grey = Picture::from_fn(32, 32, 3, |x, _, _| if x % 2 == 0 { 0.8 } else { 0.2 });
    let out = jpeg::compressed(&grey, 100);
    assert!((out.pixel(16, 16)[0] - 0.8).abs() < 0.02 && (out.pixel(17, 16)[0] - 0.2).abs() < 0.02);
}

#[test]
fn shrinking_is_bilinear_down_and_up() {
    let picture = noise(33, 33);
    let degradation = Degradation { shrink: Some([4.0, 4.0]), ..Degradation::default() };
    let mut wanted = picture.bilinear(8, 8).bilinear(33, 33);
    wanted.values.iter_mut().for_each(|v| *v = (*v * 255.0).round() / 255.0);
    assert_eq!(degradation.apply(&picture, 0, 0, "low"), wanted);
    let gone = Degradation { shrink: Some([100.0, 100.0]), ..Degradation::default() };
    let flat = gone.apply(&picture, 0, 0, "low");
    assert!(flat.values.chunks_exact(3).all(|pixel| pixel == flat.pixel(0, 0)));
}

/// Hue (in turns), saturation and value, by definition.
fn hsv(pixel: &[f32]) -> [f64; 3] {
    let [r, g, b] = [0, 1, 2].map(|k| f64::from(pixel[k]));
    let (high, low) = (r.max(g).max(b), r.min(g).min(b));
    let hue = match high - low {
        0.0 => 0.0,
        chroma if high == r => (g - b) / chroma / 6.0,
        chroma if high == g => (b - r) / chroma / 6.0 + 1.0 / 3.0,
        chroma => (r - g) / chroma / 6.0 + 2.0 / 3.0,
    };
    [hue.rem_euclid(1.0), if high > 0.0 { (high - low) / high } else { 0.0 }, high]
}

#[test]
fn hue_turns_and_nothing_else() {
    let primaries = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for (i, colour) in primaries.iter().enumerate() {
        let mut one = Picture { values: colour.to_vec(), ..Picture::new(1, 1, 3) };
        colour::hue(&mut one, 1.0 / 3.0);
        one.values.iter().zip(primaries[(i + 1) % 3]).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{one:?}"));
    }
    let picture = noise(16, 16);
    for turns in [-0.5, -0.1, 0.0, 0.07, 0.4] {
        let mut turned = picture.clone();
        colour::hue(&mut turned, turns);
        for (before, after) in picture.values.chunks_exact(3).zip(turned.values.chunks_exact(3)) {
            let (before, after) = (hsv(before), hsv(after));
            let apart = (after[0] - before[0] - turns).rem_euclid(1.0);
            assert!(apart.min(1.0 - apart) < 1e-4, "{before:?} {after:?}");
            assert!((before[1] - after[1]).abs() < 1e-5 && (before[2] - after[2]).abs() < 1e-6);
        }
    }
}

#[test]
fn colours_change_as_defined() {
    let picture = noise(16, 16);
    let luma = |pixel: &[f32]| 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]);
    let mean = picture.values.chunks_exact(3).map(luma).sum::<f64>() / 256.0;
    let changed = |change: &dyn Fn(&mut Picture)| {
        let mut out = picture.clone();
        change(&mut out);
        out
    };
    let wanted = |value: &dyn Fn(&[f32], f64) -> f64| -> Vec<f64> {
        let each =
            |pixel: &[f32]| pixel.iter().map(|x| value(pixel, f64::from(*x)).clamp(0.0, 1.0)).collect::<Vec<_>>();
        picture.values.chunks_exact(3).flat_map(each).collect()
    };
    assert_close(&changed(&|p| colour::brightness(p, 1.4)), &wanted(&|_, x| 1.4 * x), 1e-6);
    assert_close(&changed(&|p| colour::contrast(p, 0.6)), &wanted(&|_, x| 0.6 * x + 0.4 * mean), 1e-6);
    assert_close(&changed(&|p| colour::saturation(p, 1.5)), &wanted(&|p, x| 1.5 * x - 0.5 * luma(p)), 1e-6);
    assert_close(&changed(&colour::grey), &wanted(&|p, _| luma(p)), 1e-6);
    let shifted: Vec<f64> = picture
        .values
        .iter()
        .zip([0.1, -0.2, 0.0].iter().cycle())
        .map(|(x, by)| (f64::from(*x) + by).clamp(0.0, 1.0))
        .collect();
    assert_close(&changed(&|p| colour::shift(p, [0.1, -0.2, 0.0])), &shifted, 1e-6);
}

#[test]
fn colour_stages_happen_as_often_as_asked() {
    let picture = noise(4, 4);
    let often = |degradation: Degradation| {
        let rounded = Degradation::default().apply(&picture, 0, 0, "low");
        (0..1000).filter(|sample| degradation.apply(&picture, 0, *sample, "low") != rounded).count()
    };
    let jitter = Jitter {
        probability: 0.3,
        brightness: [0.5, 1.5],
        contrast: [0.5, 1.5],
        saturation: [0.0, 1.5],
        hue: [-0.1, 0.1],
    };
    assert!((250..350).contains(&often(Degradation { shift: Some([0.3, 20.0]), ..Degradation::default() })));
    assert!((250..350).contains(&often(Degradation { grey: 0.3, ..Degradation::default() })));
    assert!((250..350).contains(&often(Degradation { jitter: Some(jitter), ..Degradation::default() })));
    assert_eq!(often(Degradation { shift: Some([0.0, 20.0]), grey: 0.0, ..Degradation::default() }), 0);
}

#[test]
fn a_shift_moves_whole_channels_by_no_more_than_asked() {
    let grey = Picture { values: vec![0.5; 8 * 8 * 3], ..Picture::new(8, 8, 3) };
    let degradation = Degradation { shift: Some([1.0, 20.0]), ..Degradation::default() };
    let (mut farthest, mut differ): (f32, usize) = (0.0, 0);
    for sample in 0..100 {
        let shifted = degradation.apply(&grey, 1, sample, "low");
        let pixel = shifted.pixel(0, 0).to_vec();
        assert!(shifted.values.chunks_exact(3).all(|other| other == pixel));
        differ += usize::from(pixel[0] != pixel[1]);
        farthest = pixel.iter().map(|v| (v * 255.0 - 127.5).abs()).fold(farthest, f32::max);
    }
    assert!((18.0..=20.5).contains(&farthest) && differ > 80, "{farthest} {differ}");
}

#[test]
fn strokes_are_white_and_leave_the_rest() {
    let picture = smooth(128);
    let degradation =
        Degradation { strokes: Some(Strokes { probability: 1.0, width: [8.0, 18.0] }), ..Degradation::default() };
    let rounded = Degradation::default().apply(&picture, 0, 0, "mask");
    let mut shares = Vec::new();
    for sample in 0..60 {
        let drawn = degradation.apply(&picture, 9, sample, "mask");
        let white = drawn.values.chunks_exact(3).zip(rounded.values.chunks_exact(3)).filter(|(after, before)| {
            // Nothing lies between: a pixel is white or as it was.
            assert!(*after == [1.0; 3] || after == before, "{after:?} {before:?}");
            after != before
        });
        shares.push(white.count() as f64 / (128.0 * 128.0));
    }
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    // At least one stroke of eight points; never everything.
    assert!(shares.iter().all(|share| (0.01..0.9).contains(share)), "{shares:?}");
    assert!((0.1..0.4).contains(&mean), "{mean}");
}

fn everything() -> Degradation {
    Degradation {
        blur: Some(Blur { sigma: [0.5, 4.0], taps: 21 }),
        shrink: Some([1.0, 6.0]),
        noise: Some([0.0, 15.0]),
        quality: Some([30.0, 80.0]),
        shift: Some([0.5, 20.0]),
        grey: 0.2,
        jitter: None,
        strokes: None,
    }
}

#[test]
fn what_comes_out_are_bytes_and_a_function_of_seed_sample_and_name() {
    let picture = smooth(40);
    let apply = |seed, sample, name| everything().apply(&picture, seed, sample, name);
    let first = apply(1, 2, "low");
    assert_eq!(first, apply(1, 2, "low"));
    assert!(first != apply(2, 2, "low") && first != apply(1, 3, "low") && first != apply(1, 2, "high"));
    assert!(first.values.iter().all(|v| (v * 255.0).round() / 255.0 == *v && (0.0..=1.0).contains(v)));
}

#[test]
fn stages_draw_independently_of_one_another() {
    // Blur and shrinking change nothing of a plain picture, and must not change its noise either.
    let grey = Picture { values: vec![0.5; 32 * 32 * 3], ..Picture::new(32, 32, 3) };
    let noise = Degradation { noise: Some([5.0, 20.0]), ..Degradation::default() };
    let all = Degradation { blur: everything().blur, shrink: Some([1.0, 1.0]), ..noise.clone() };
    for sample in 0..4 {
        let (one, other) = (noise.apply(&grey, 0, sample, "low"), all.apply(&grey, 0, sample, "low"));
        let same = one.values.iter().zip(&other.values).filter(|(a, b)| a == b).count();
        // Where blur rounds otherwise, a byte may be its neighbour.
        assert!(same * 100 > one.values.len() * 99, "{same}");
    }
}
