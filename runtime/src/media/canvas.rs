//! Anti-aliased lines, filled boxes and text on a picture.

use std::ops::Range;

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
    let all: Vec<[f32; 2]> = lines.iter().flat_map(|l| l.iter().copied()).collect();
    let (columns, rows) = around(picture, &all, margin);
    if columns.is_empty() || rows.is_empty() {
        return;
    }
    let ((x0, y0), width) = ((columns.start, rows.start), columns.len());
    let mut mask = vec![0.0f32; width * rows.len()];
    for line in lines {
        for [a, b] in segments(line) {
            let (columns, rows) = around(picture, &[a, b], margin);
            for y in rows {
                for x in columns.clone() {
                    let covered = radius + 0.5 - distance(middle(x, y), a, b);
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

/// Draws a polyline with round ends and joints without smoothing: a pixel whose middle is no farther than
/// half the `thickness` from the line has exactly the colour, every other stays as it is.
pub fn solid_polyline(picture: &mut Picture, points: &[[f32; 2]], thickness: f32, colour: [f32; 3]) {
    let radius = thickness / 2.0;
    for [a, b] in segments(points) {
        let (columns, rows) = around(picture, &[a, b], radius);
        for y in rows {
            for x in columns.clone().filter(|x| distance(middle(*x, y), a, b) <= radius) {
                picture.pixel_mut(x, y)[..3].copy_from_slice(&colour);
            }
        }
    }
}

/// The pieces of a polyline; a single point is a dot.
fn segments(line: &[[f32; 2]]) -> impl Iterator<Item = [[f32; 2]; 2]> {
    let dot = line.first().filter(|_| line.len() == 1).map(|p| [*p, *p]);
    line.windows(2).map(|w| [w[0], w[1]]).chain(dot)
}

/// Columns and rows of the pixels within `margin` of the box round some points.
fn around(picture: &Picture, points: &[[f32; 2]], margin: f32) -> (Range<usize>, Range<usize>) {
    let along = |k: usize, size: usize| {
        let low = points.iter().map(|p| p[k]).fold(f32::INFINITY, f32::min) - margin;
        let high = points.iter().map(|p| p[k]).fold(f32::NEG_INFINITY, f32::max) + margin;
        let clip = |v: f32| v.clamp(0.0, size as f32) as usize;
        clip(low)..clip(high.ceil())
    };
    (along(0, picture.width), along(1, picture.height))
}

fn middle(x: usize, y: usize) -> [f32; 2] {
    [x as f32 + 0.5, y as f32 + 0.5]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solid_lines_cover_the_pixels_whose_middles_are_near() {
        let points = [[3.0, 4.0], [20.5, 9.0], [11.0, 27.0]];
        let mut picture = Picture::from_fn(24, 30, 3, |x, y, c| (x + y + c) as f32 / 60.0);
        let before = picture.clone();
        solid_polyline(&mut picture, &points, 5.0, [1.0, 0.5, 0.25]);
        let mut covered = 0;
        for y in 0..30 {
            for x in 0..24 {
                // The nearest of many points along the line.
                let near = |a: [f32; 2], b: [f32; 2]| {
                    let along = (0..=4000).map(|i| f64::from(i) / 4000.0);
                    along.map(move |t| {
                        let at = |k: usize| f64::from(a[k]) * (1.0 - t) + f64::from(b[k]) * t;
                        (x as f64 + 0.5 - at(0)).hypot(y as f64 + 0.5 - at(1))
                    })
                };
                let distance = near(points[0], points[1]).chain(near(points[1], points[2])).fold(f64::MAX, f64::min);
                let inside = picture.pixel(x, y) == [1.0, 0.5, 0.25];
                assert!((distance - 2.5).abs() < 1e-3 || inside == (distance < 2.5), "({x}, {y}) {distance}");
                assert!(inside || picture.pixel(x, y) == before.pixel(x, y));
                covered += usize::from(inside);
            }
        }
        // Two sides of 18.2 and 20.4 pixels, five wide, with round ends.
        assert!((195..230).contains(&covered), "{covered}");
        let mut dot = Picture::new(5, 5, 3);
        solid_polyline(&mut dot, &[[2.5, 2.5]], 2.0, [1.0; 3]);
        assert_eq!(dot.values.iter().sum::<f32>(), 15.0);
        solid_polyline(&mut dot, &[], 2.0, [1.0; 3]);
        assert_eq!(dot.values.iter().sum::<f32>(), 15.0);
    }
}
