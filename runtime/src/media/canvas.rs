//! Anti-aliased lines, filled boxes and text on a picture.

use super::{Picture, font};

/// Where a text's given point lies within it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Align {
    Left,
    Middle,
    Right,
}

/// Draws a polyline through `points` (pixels, x right, y down) of the given `thickness` with round
/// ends, as one coat of colour: where it crosses itself it is not darker.
pub fn polyline(picture: &mut Picture, points: &[[f32; 2]], thickness: f32, colour: [f32; 3], opacity: f32) {
    strokes(picture, &[points], thickness, colour, opacity);
}

/// Several polylines as one coat of colour.
fn strokes(picture: &mut Picture, lines: &[&[[f32; 2]]], thickness: f32, colour: [f32; 3], opacity: f32) {
    let radius = thickness / 2.0;
    let margin = radius + 1.0;
    let all = || lines.iter().flat_map(|l| l.iter());
    let low = |k: usize| all().map(|p| p[k]).fold(f32::INFINITY, f32::min) - margin;
    let high = |k: usize| all().map(|p| p[k]).fold(f32::NEG_INFINITY, f32::max) + margin;
    let clip = |v: f32, size: usize| v.clamp(0.0, size as f32) as usize;
    let (x0, x1) = (clip(low(0), picture.width), clip(high(0).ceil(), picture.width));
    let (y0, y1) = (clip(low(1), picture.height), clip(high(1).ceil(), picture.height));
    if x1 <= x0 || y1 <= y0 {
        return;
    }
    let width = x1 - x0;
    let mut mask = vec![0.0f32; width * (y1 - y0)];
    for line in lines {
        // A single point is a dot.
        let dot = line.first().filter(|_| line.len() == 1).map(|p| [*p, *p]);
        for [a, b] in line.windows(2).map(|w| [w[0], w[1]]).chain(dot) {
            let left = clip(a[0].min(b[0]) - margin, picture.width).max(x0);
            let right = clip((a[0].max(b[0]) + margin).ceil(), picture.width).min(x1);
            let top = clip(a[1].min(b[1]) - margin, picture.height).max(y0);
            let bottom = clip((a[1].max(b[1]) + margin).ceil(), picture.height).min(y1);
            for y in top..bottom {
                for x in left..right {
                    let covered = radius + 0.5 - distance([x as f32 + 0.5, y as f32 + 0.5], a, b);
                    let cell = &mut mask[(y - y0) * width + x - x0];
                    *cell = cell.max(covered.clamp(0.0, 1.0) * thickness.min(1.0));
                }
            }
        }
    }
    for (i, covered) in mask.iter().enumerate().filter(|(_, m)| **m > 0.0) {
        blend(picture.pixel_mut(x0 + i % width, y0 + i / width), colour, covered * opacity);
    }
}

/// Fills the box between two corners (pixels, may be fractional).
pub fn fill(picture: &mut Picture, from: [f32; 2], to: [f32; 2], colour: [f32; 3], opacity: f32) {
    let (x1, y1) = (to[0].min(picture.width as f32), to[1].min(picture.height as f32));
    for y in from[1].max(0.0) as usize..y1.max(0.0).ceil() as usize {
        for x in from[0].max(0.0) as usize..x1.max(0.0).ceil() as usize {
            let share = |p: usize, a: f32, b: f32| (b.min(p as f32 + 1.0) - a.max(p as f32)).clamp(0.0, 1.0);
            let covered = share(x, from[0], x1) * share(y, from[1], y1);
            blend(picture.pixel_mut(x, y), colour, covered * opacity);
        }
    }
}

/// Width of a text in pixels, for capitals of `size` pixels.
pub fn text_width(text: &str, size: f32) -> f32 {
    let unit = size / font::CAPITAL;
    (text.chars().count() as f32 * font::ADVANCE - (font::ADVANCE - 4.0)).max(0.0) * unit
}

/// Writes one line of text: capitals of `size` pixels, `at` on the base line.
pub fn text(picture: &mut Picture, text: &str, at: [f32; 2], size: f32, align: Align, colour: [f32; 3]) {
    write(picture, text, at, size, align, colour, |x, y| [x, -y]);
}

/// Writes upwards: the text turned left by a quarter, `at` on its base line.
pub fn text_upwards(picture: &mut Picture, text: &str, at: [f32; 2], size: f32, align: Align, colour: [f32; 3]) {
    write(picture, text, at, size, align, colour, |x, y| [-y, -x]);
}

/// `turn` takes (along the line, above the line) to (right, down).
fn write(
    picture: &mut Picture,
    text: &str,
    at: [f32; 2],
    size: f32,
    align: Align,
    colour: [f32; 3],
    turn: impl Fn(f32, f32) -> [f32; 2],
) {
    let unit = size / font::CAPITAL;
    let start = match align {
        Align::Left => 0.0,
        Align::Middle => -text_width(text, size) / 2.0,
        Align::Right => -text_width(text, size),
    };
    let mut lines = Vec::new();
    for (i, character) in text.chars().enumerate() {
        let left = start + i as f32 * font::ADVANCE * unit;
        for mut stroke in font::strokes(character) {
            for point in &mut stroke {
                let [dx, dy] = turn(left + point[0] * unit, (point[1] - font::BASE) * unit);
                *point = [at[0] + dx, at[1] + dy];
            }
            lines.push(stroke);
        }
    }
    let lines: Vec<&[[f32; 2]]> = lines.iter().map(Vec::as_slice).collect();
    strokes(picture, &lines, (size * 0.14).max(1.0), colour, 1.0);
}

fn blend(pixel: &mut [f32], colour: [f32; 3], opacity: f32) {
    for (p, c) in pixel.iter_mut().zip(colour) {
        *p += (c - *p) * opacity;
    }
}

fn distance(p: [f32; 2], a: [f32; 2], b: [f32; 2]) -> f32 {
    let (d, q) = ([b[0] - a[0], b[1] - a[1]], [p[0] - a[0], p[1] - a[1]]);
    let length = d[0] * d[0] + d[1] * d[1];
    let t = if length > 0.0 { ((q[0] * d[0] + q[1] * d[1]) / length).clamp(0.0, 1.0) } else { 0.0 };
    (q[0] - t * d[0]).hypot(q[1] - t * d[1])
}
