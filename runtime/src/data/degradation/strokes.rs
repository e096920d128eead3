//! Brush strokes over a picture, as masks of what is to be painted in again.

use std::f64::consts::{PI, TAU};

use crate::data::Draws;
use crate::media::{Picture, solid_polyline};

/// What brush strokes are drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strokes {
    /// How often there are any.
    pub probability: f64,
    /// Between which widths, in pixels.
    pub width: [f64; 2],
}

impl Strokes {
    /// One to three white strokes of 8 to 27 points each, which go to and fro as they wander; a step's mean
    /// length is an eighth of the diagonal (CodeFormer's masks for inpainting).
    pub fn apply(&self, picture: &mut Picture, draws: &mut Draws) {
        let size = [picture.width as f64, picture.height as f64];
        let mean_step = size[0].hypot(size[1]) / 8.0;
        for _ in 0..draws.whole(1..4) {
            let count = draws.whole(8..28);
            let mean = TAU / 5.0;
            let angles = [mean - draws.between([0.0, PI / 6.0]), mean + draws.between([0.0, PI / 6.0])];
            let mut at = size.map(|size| draws.between([0.0, size]).floor());
            let mut points = vec![at];
            for number in 1..count {
                let turn = draws.between(angles);
                let angle = if number % 2 == 1 { TAU - turn } else { turn };
                let step = (mean_step + (mean_step / 2.0).floor() * draws.normal()).clamp(0.0, 2.0 * mean_step);
                let moved = [at[0] + step * angle.cos(), at[1] + step * angle.sin()];
                at = [moved[0].clamp(0.0, size[0]), moved[1].clamp(0.0, size[1])];
                points.push(at);
            }
            let points: Vec<[f32; 2]> = points.iter().map(|point| point.map(|x| x as f32)).collect();
            let width = draws.between(self.width).floor().max(1.0);
            solid_polyline(picture, &points, width as f32, [1.0; 3]);
        }
    }
}
