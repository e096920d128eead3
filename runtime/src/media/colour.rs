//! Numbers as colours.

use super::Picture;

/// The "turbo" colour map, blue to green to red: three sRGB values in `[0, 1]` for `t` in `[0, 1]`
/// (clipped; NaN counts as 0).
///
/// Coefficients of the degree-5 polynomial fit: A. Mikhailov, "Turbo, an improved rainbow
/// colormap", Google AI blog, 2019.
pub fn turbo(t: f32) -> [f32; 3] {
    const RED: [f32; 6] = [0.135_721_4, 4.615_392_6, -42.660_324, 132.131_08, -152.942_39, 59.286_38];
    const GREEN: [f32; 6] = [0.091_402_61, 2.194_188_4, 4.842_966_6, -14.185_033, 4.277_298_6, 2.829_566];
    const BLUE: [f32; 6] = [0.106_673_3, 12.641_946, -60.582_05, 110.362_77, -89.903_11, 27.348_25];
    let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, 1.0) };
    [RED, GREEN, BLUE].map(|c| c.iter().rev().fold(0.0, |sum, k| sum * t + k).clamp(0.0, 1.0))
}

/// A depth map `[height][width]` in colour: `near` is red, `far` blue, equal steps of *inverse* depth
/// equal steps of colour, as disparity maps are drawn. Depths that are not positive are black.
///
/// # Panics
/// If `depth` does not hold `width · height` numbers.
pub fn depth_picture(depth: &[f32], width: usize, height: usize, near: f32, far: f32) -> Picture {
    assert_eq!(depth.len(), width * height);
    let (first, last) = (1.0 / near.max(1e-6), 1.0 / far.max(1e-6));
    paint(depth, width, height, |z| if z > 0.0 { turbo((1.0 / z - last) / (first - last)) } else { [0.0; 3] })
}

/// Numbers `[height][width]` in colour, `low` blue to `high` red.
///
/// # Panics
/// If `values` does not hold `width · height` numbers.
pub fn scalar_picture(values: &[f32], width: usize, height: usize, low: f32, high: f32) -> Picture {
    assert_eq!(values.len(), width * height);
    paint(values, width, height, |v| turbo((v - low) / (high - low)))
}

fn paint(values: &[f32], width: usize, height: usize, colour: impl Fn(f32) -> [f32; 3]) -> Picture {
    let values = values.iter().flat_map(|&v| colour(v)).collect();
    Picture { width, height, channels: 3, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turbo_runs_from_blue_to_red() {
        let ([r0, _, b0], [r1, _, b1], [_, g, _]) = (turbo(0.1), turbo(0.9), turbo(0.5));
        assert!(b0 > r0 && r1 > b1 && g > 0.9);
        assert_eq!(turbo(f32::NAN), turbo(-3.0));
    }

    #[test]
    fn near_is_red_and_nothing_is_black() {
        let p = depth_picture(&[2.0, 6.0, 0.0], 3, 1, 2.0, 6.0);
        assert_eq!(p.pixel(0, 0), turbo(1.0));
        assert_eq!(p.pixel(1, 0), turbo(0.0));
        assert_eq!(p.pixel(2, 0), [0.0; 3]);
        assert_eq!(scalar_picture(&[0.5], 1, 1, 0.0, 1.0).pixel(0, 0), turbo(0.5));
    }
}
