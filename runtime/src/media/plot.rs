//! Line plots of what a training run logs.

use super::Picture;
use super::canvas::{self, Align};

const INK: [f32; 3] = [0.16, 0.17, 0.20];
const GRID: [f32; 3] = [0.89, 0.90, 0.92];
const FAINT: [f32; 3] = [0.45, 0.47, 0.51];
/// Colours that people with any colour vision tell apart (M. Okabe and K. Ito, 2008), reordered.
const COLOURS: [[u8; 3]; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [230, 159, 0], [86, 180, 233]];

/// One axis of a plot.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// Equal steps for equal ratios. Values that are not positive are left out.
    pub log: bool,
}

/// One line of a plot.
#[derive(Clone, Debug)]
pub struct Series {
    /// Shown in the legend; empty leaves it out of the legend.
    pub name: String,
    /// `(x, y)` in the order of x. Points that are not finite interrupt the line.
    pub points: Vec<(f64, f64)>,
    /// The weight in `[0, 1)` of the past in an exponential mean. The mean is drawn firmly and the
    /// values themselves faintly behind; 0 draws the values alone.
    pub smoothing: f64,
}

/// A plot of lines over two axes.
///
/// ```
/// use visage_runtime::media::{Axis, LinePlot, Series};
/// let loss = (1..500).map(|i| (f64::from(i), 1.0 / f64::from(i))).collect();
/// let plot = LinePlot {
///     title: "loss".into(),
///     x: Axis { label: "step".into(), log: false },
///     y: Axis { label: "mean squared error".into(), log: true },
///     series: vec![Series { name: "training".into(), points: loss, smoothing: 0.9 }],
/// };
/// assert_eq!(plot.draw(800, 500).width, 800);
/// ```
#[derive(Clone, Debug, Default)]
pub struct LinePlot {
    /// Above the plot.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, drawn in this order in the colours of the palette.
    pub series: Vec<Series>,
}

/// An axis with its range chosen: takes values to `[0, 1]`.
struct Scale {
    log: bool,
    low: f64,
    high: f64,
}

impl Scale {
    fn position(&self, value: f64) -> Option<f64> {
        let v = self.transform(value);
        v.is_finite().then(|| (v - self.low) / (self.high - self.low))
    }

    fn transform(&self, value: f64) -> f64 {
        if !self.log {
            value
        } else if value > 0.0 {
            value.log10()
        } else {
            f64::NAN
        }
    }

    /// The range of the values, widened a little; `[0, 1]` where there are none.
    fn of(log: bool, margin: f64, values: impl Iterator<Item = f64>) -> Scale {
        let mut scale = Scale { log, low: f64::INFINITY, high: f64::NEG_INFINITY };
        for v in values.map(|v| scale.transform(v)).filter(|v| v.is_finite()).collect::<Vec<_>>() {
            scale.low = scale.low.min(v);
            scale.high = scale.high.max(v);
        }
        if scale.low > scale.high {
            (scale.low, scale.high) = (0.0, 1.0);
        }
        let least = if log { 0.05 } else { scale.low.abs().max(1e-12) * 1e-3 };
        let span = (scale.high - scale.low).max(least);
        scale.low -= span * margin;
        scale.high += span * margin;
        scale
    }

    /// Ticks: position in `[0, 1]`, label, and an exponent to be raised behind the label.
    fn ticks(&self, about: usize) -> Vec<(f64, String, Option<String>)> {
        let place = |v: f64| (v - self.low) / (self.high - self.low);
        let decades = self.high.floor() - self.low.ceil();
        if self.log && decades >= 1.0 {
            let step = ((decades + 1.0) / about as f64).ceil().max(1.0);
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step).floor() as i64;
            return (first..=last)
                .map(|i| i as f64 * step)
                .map(|e| (place(e), "10".to_string(), Some(format!("{e}"))))
                .collect();
        }
        let (low, high) = if self.log { (10f64.powf(self.low), 10f64.powf(self.high)) } else { (self.low, self.high) };
        let step = round_step((high - low) / about as f64);
        let first = (low / step - 1e-9).ceil() as i64;
        let last = (high / step + 1e-9).floor() as i64;
        (first..=last)
            .map(|i| i as f64 * step)
            .filter_map(|v| Some((self.position(v)?, number(v, step), None)))
            .collect()
    }

    /// Faint lines between the ticks of a logarithmic axis.
    fn minor(&self) -> Vec<f64> {
        if !self.log || self.high - self.low > 6.0 || self.high.floor() - self.low.ceil() < 1.0 {
            return Vec::new();
        }
        (self.low.floor() as i32..=self.high.ceil() as i32)
            .flat_map(|e| (2..10).map(move |m| f64::from(m) * 10f64.powi(e)))
            .filter_map(|v| self.position(v))
            .filter(|p| (0.0..=1.0).contains(p))
            .collect()
    }
}

/// The nearest of 1, 2, 5 times a power of ten that is not smaller.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= step * 0.999).unwrap_or(step)
}

/// A tick's number with as many digits as the step needs; thousands and millions as k and M.
fn number(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let (scale, suffix) = match value.abs().max(step) {
        v if v >= 1e6 => (1e6, "M"),
        v if v >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if step < 1e-4 {
        return format!("{value:.1e}");
    }
    let digits = (-(step / scale).log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{:.*}", digits, value / scale);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

/// The exponential mean of the finite values, without the pull of its start.
fn smooth(points: &[(f64, f64)], weight: f64) -> Vec<(f64, f64)> {
    let (mut sum, mut total) = (0.0, 0.0);
    points
        .iter()
        .map(|&(x, y)| {
            if !y.is_finite() {
                return (x, y);
            }
            sum = weight * sum + (1.0 - weight) * y;
            total = weight * total + (1.0 - weight);
            (x, sum / total)
        })
        .collect()
}

impl LinePlot {
    /// Draws the plot.
    ///
    /// # Panics
    /// If it is smaller than 160 by 120 pixels.
    pub fn draw(&self, width: usize, height: usize) -> Picture {
        assert!(width >= 160 && height >= 120, "a plot needs at least 160 by 120 pixels");
        let size = (height as f32 / 50.0).clamp(7.0, 16.0);
        let mut picture = Picture::new(width, height, 3);
        picture.values.fill(1.0);
        let visible = || self.series.iter().flat_map(|s| s.points.iter());
        let x = Scale::of(self.x.log, 0.0, visible().map(|p| p.0));
        let y = Scale::of(self.y.log, 0.05, visible().map(|p| p.1));
        let frame = Frame {
            left: size * 7.5,
            right: width as f32 - size * 2.5,
            top: if self.title.is_empty() { size * 2.0 } else { size * 4.2 },
            bottom: height as f32 - size * 5.2,
            size,
        };
        frame.draw_grid(&mut picture, &x, &y);
        for (i, series) in self.series.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()].map(|c| f32::from(c) / 255.0);
            let thickness = (size / 5.5).max(1.4);
            if series.smoothing > 0.0 {
                frame.draw_line(&mut picture, &x, &y, &series.points, thickness * 0.7, colour, 0.28);
                let mean = smooth(&series.points, series.smoothing.min(0.9999));
                frame.draw_line(&mut picture, &x, &y, &mean, thickness, colour, 1.0);
            } else {
                frame.draw_line(&mut picture, &x, &y, &series.points, thickness, colour, 1.0);
            }
        }
        self.draw_words(&mut picture, &frame, &x, &y);
        picture
    }

    fn draw_words(&self, picture: &mut Picture, frame: &Frame, x: &Scale, y: &Scale) {
        let size = frame.size;
        let middle = (frame.left + frame.right) / 2.0;
        canvas::text(picture, &self.title, [middle, size * 2.7], size * 1.25, Align::Middle, INK);
        let below = picture.height as f32 - size * 1.1;
        canvas::text(picture, &self.x.label, [middle, below], size, Align::Middle, INK);
        let beside = [size * 1.9, (frame.top + frame.bottom) / 2.0];
        canvas::text_upwards(picture, &self.y.label, beside, size, Align::Middle, INK);

        let named: Vec<(usize, &str)> = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, s)| !s.name.is_empty())
            .map(|(i, s)| (i, s.name.as_str()))
            .collect();
        if named.is_empty() {
            return;
        }
        let widest = named.iter().map(|(_, n)| canvas::text_width(n, size)).fold(0.0, f32::max);
        let (box_width, line) = (widest + size * 5.0, size * 2.0);
        let box_height = line * named.len() as f32 + size;
        // On the right, above or below: where fewer points are hidden.
        let left = frame.right - box_width - size;
        let hidden = |top: f32| {
            let points = self.series.iter().flat_map(|s| s.points.iter());
            let places = points.filter_map(|p| Some(frame.place(x.position(p.0)?, y.position(p.1)?)));
            places.filter(|p| p[0] > left && (top..top + box_height).contains(&p[1])).count()
        };
        let (above, below) = (frame.top + size, frame.bottom - size - box_height);
        let corner = [left, if hidden(below) < hidden(above) { below } else { above }];
        let end = [corner[0] + box_width, corner[1] + box_height];
        canvas::fill(picture, corner, end, [1.0; 3], 0.85);
        let outline = [corner, [end[0], corner[1]], end, [corner[0], end[1]], corner];
        canvas::polyline(picture, &outline, 1.0, GRID, 1.0);
        for (row, (i, name)) in named.into_iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()].map(|c| f32::from(c) / 255.0);
            let base = corner[1] + line * (row as f32 + 1.0);
            let dash = [[corner[0] + size, base - size * 0.45], [corner[0] + size * 3.0, base - size * 0.45]];
            canvas::polyline(picture, &dash, size / 4.0, colour, 1.0);
            canvas::text(picture, name, [corner[0] + size * 4.0, base], size, Align::Left, INK);
        }
    }
}

/// The rectangle that lines are drawn in, in pixels.
struct Frame {
    left: f32,
    right: f32,
    top: f32,
    bottom: f32,
    size: f32,
}

impl Frame {
    fn place(&self, x: f64, y: f64) -> [f32; 2] {
        [self.left + (self.right - self.left) * x as f32, self.bottom - (self.bottom - self.top) * y as f32]
    }

    fn draw_grid(&self, picture: &mut Picture, x: &Scale, y: &Scale) {
        let size = self.size;
        for p in y.minor() {
            canvas::polyline(picture, &[self.place(0.0, p), self.place(1.0, p)], 0.4, GRID, 1.0);
        }
        for p in x.minor() {
            canvas::polyline(picture, &[self.place(p, 0.0), self.place(p, 1.0)], 0.4, GRID, 1.0);
        }
        let columns = ((self.right - self.left) / (size * 9.0)).max(2.0) as usize;
        for (p, label, exponent) in x.ticks(columns) {
            let foot = self.place(p, 0.0);
            canvas::polyline(picture, &[foot, self.place(p, 1.0)], 1.0, GRID, 1.0);
            canvas::polyline(picture, &[foot, [foot[0], foot[1] + size * 0.5]], 1.0, FAINT, 1.0);
            let raised = canvas::text_width(exponent.as_deref().unwrap_or(""), size * 0.7);
            let end = [foot[0] + (canvas::text_width(&label, size) - raised) / 2.0, foot[1] + size * 2.0];
            power(picture, &label, exponent.as_deref(), end, size);
        }
        let rows = ((self.bottom - self.top) / (size * 4.5)).max(2.0) as usize;
        for (p, label, exponent) in y.ticks(rows) {
            let foot = self.place(0.0, p);
            canvas::polyline(picture, &[foot, self.place(1.0, p)], 1.0, GRID, 1.0);
            canvas::polyline(picture, &[foot, [foot[0] - size * 0.5, foot[1]]], 1.0, FAINT, 1.0);
            let raised = exponent.as_ref().map_or(0.0, |e| canvas::text_width(e, size * 0.7) + size * 0.3);
            power(picture, &label, exponent.as_deref(), [foot[0] - size - raised, foot[1] + size * 0.5], size);
        }
        let corner = [self.place(0.0, 1.0), self.place(0.0, 0.0), self.place(1.0, 0.0)];
        canvas::polyline(picture, &corner, 1.2, FAINT, 1.0);
    }

    #[expect(clippy::too_many_arguments, reason = "a line has this many properties")]
    fn draw_line(
        &self,
        picture: &mut Picture,
        x: &Scale,
        y: &Scale,
        points: &[(f64, f64)],
        thickness: f32,
        colour: [f32; 3],
        opacity: f32,
    ) {
        let mut run: Vec<[f32; 2]> = Vec::new();
        for &(px, py) in points {
            match x.position(px).zip(y.position(py)) {
                Some((px, py)) => run.push(self.place(px, py)),
                None => {
                    canvas::polyline(picture, &run, thickness, colour, opacity);
                    run.clear();
                }
            }
        }
        canvas::polyline(picture, &run, thickness, colour, opacity);
    }
}

/// A label that ends at `end`, and an exponent raised behind it.
fn power(picture: &mut Picture, label: &str, exponent: Option<&str>, end: [f32; 2], size: f32) {
    canvas::text(picture, label, end, size, Align::Right, FAINT);
    if let Some(exponent) = exponent {
        let at = [end[0] + size * 0.3, end[1] - size * 0.55];
        canvas::text(picture, exponent, at, size * 0.7, Align::Left, FAINT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(log: bool, values: &[f64], about: usize) -> Vec<String> {
        Scale::of(log, 0.0, values.iter().copied())
            .ticks(about)
            .into_iter()
            .map(|(_, l, e)| e.map_or(l.clone(), |e| format!("{l}^{e}")))
            .collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(false, &[0.0, 1.0], 5), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(false, &[0.0, 200_000.0], 4), ["0", "50k", "100k", "150k", "200k"]);
        assert_eq!(labels(true, &[1e-4, 1.0], 5), ["10^-4", "10^-3", "10^-2", "10^-1", "10^0"]);
        assert_eq!(labels(true, &[20.0, 41.0], 4), ["20", "30", "40"]);
    }

    #[test]
    fn smoothing_has_no_pull_from_its_start() {
        let points: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i), 3.0)).collect();
        assert!(smooth(&points, 0.95).iter().all(|p| (p.1 - 3.0).abs() < 1e-12));
        assert!(smooth(&[(0.0, f64::NAN), (1.0, 2.0)], 0.5)[0].1.is_nan());
    }

    #[test]
    fn lines_appear_where_their_values_are() {
        let series = |points| vec![Series { name: String::new(), points, smoothing: 0.0 }];
        let mut plot = LinePlot { series: series(vec![(0.0, 0.0), (10.0, 10.0)]), ..LinePlot::default() };
        let blue = |p: &Picture, x: usize, y: usize| p.pixel(x, y)[0] < 0.3 && p.pixel(x, y)[2] > 0.5;
        let picture = plot.draw(400, 300);
        let count = (0..400).flat_map(|x| (0..300).map(move |y| (x, y))).filter(|&(x, y)| blue(&picture, x, y)).count();
        assert!(count > 250, "{count}");
        // The legend gives way to a line that rises into its corner.
        let mut rising = plot.clone();
        rising.series[0].name = "rising".into();
        let with_legend = rising.draw(400, 300);
        assert_eq!(with_legend.pixel(370, 40), picture.pixel(370, 40));
        assert_ne!(with_legend.values, picture.values);
        // Nothing to draw, one point, values that are not numbers: still a picture.
        for points in [vec![], vec![(1.0, 1.0)], vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, -1.0)]] {
            plot.series = series(points);
            plot.y.log = !plot.y.log;
            assert!(plot.draw(200, 150).values.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
