//! Rows around other rows: what a convolution reads, as panels.
//!
//! The 32 rows of a panel of outputs, seen through one tap, are 32 rows of a stored image: a few runs of neighbours, cut
//! where a line of the image ends, with zeros past its edges. [`LoadWindow`] puts them side by side again, a feature
//! at a time.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use crate::{LANES, pack::Tiles};

/// Row axes of a [`Geometry`] at most.
pub const MOST_AXES: usize = 4;

/// Where the rows of a panel are in a stored value.
///
/// Row number `r` has an index along each axis, the last fastest; its position there is `index * hop + start`, which is
/// inside where `low <= position < high`, and reads element `position / divide`, `unit` rows (or, without panels,
/// words) from the one before. A row that is outside along any axis is zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Geometry {
    /// The number of rows; lanes past them are zero.
    pub rows: i64,
    /// Words from panel to panel of the stored value; 0 where its rows do not lie in panels.
    pub panel: i64,
    /// The number of axes.
    pub count: i64,
    /// The axes, the last fastest.
    pub axes: [Line; MOST_AXES],
}

/// One axis of a [`Geometry`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    /// Rows along it.
    pub size: i64,
    /// Positions from row to row.
    pub hop: i64,
    /// The position of row 0.
    pub start: i64,
    /// The first position inside.
    pub low: i64,
    /// The position after the last one inside.
    pub high: i64,
    /// Positions that read the same element.
    pub divide: i64,
    /// Rows, or words, from element to element.
    pub unit: i64,
}

/// Reads 32 rows through a window: `out[feature][lane] = source[place(first + lane) + feature * feature_stride]`.
///
/// Arguments: `(geometry, first, features, source, feature_stride, out, out_stride)`.
///
/// # Safety
///
/// The machine has the instruction set; `geometry` points to one whose places, as its documentation has them, are
/// readable for all features from `source`; 32 elements of each of `features` rows of `out` are writable and apart from them.
pub type LoadWindow = unsafe extern "C" fn(
    geometry: *const Geometry,
    first: usize,
    features: usize,
    source: *const f32,
    feature_stride: isize,
    out: *mut f32,
    out_stride: usize,
);

/// Reads 32 rows through a window at successive positions of it:
/// `out[i][lane] = source[place(first + lane)]` where axis number `axis` starts `i * step` positions further on.
///
/// Arguments: `(geometry, first, axis, step, count, source, out, out_stride)`. The rows of the last axis lie side by side and
/// stay where they are: it is another one than `axis`, with a hop and a unit of 1, and nothing is in panels. Along `axis` no
/// position is repeated (`divide` is 1), and `step * unit` is not negative.
///
/// # Safety
///
/// The machine has the instruction set; `geometry` points to one as described, whose places are readable from `source`
/// for all positions; 32 elements of each of `count` rows of `out` are writable and apart from them.
pub type SlideWindow = unsafe extern "C" fn(
    geometry: *const Geometry,
    first: usize,
    axis: usize,
    step: isize,
    count: usize,
    source: *const f32,
    out: *mut f32,
    out_stride: usize,
);

/// Neighbouring lanes that read neighbouring words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first lane.
    pub lane: usize,
    /// The number of lanes.
    pub length: usize,
    /// The word that the first lane reads.
    pub word: isize,
}

/// The runs of a panel; lanes of none are zero.
pub(crate) struct Runs {
    runs: [Run; LANES],
    count: usize,
}

impl Runs {
    pub fn as_slice(&self) -> &[Run] {
        &self.runs[..self.count]
    }

    fn push(&mut self, run: Run) {
        if let Some(last) = self.runs[..self.count].last_mut()
            && last.lane + last.length == run.lane
            && last.word + last.length as isize == run.word
        {
            last.length += run.length;
            return;
        }
        self.runs[self.count] = run;
        self.count += 1;
    }
}

impl Geometry {
    /// The runs of the 32 rows from `first` on.
    pub(crate) fn runs(&self, first: usize) -> Runs {
        let mut runs = Runs { runs: [Run::default(); LANES], count: 0 };
        let count = self.count as usize;
        let Some((inner, outer)) = self.axes[..count].split_last() else { return runs };
        let mut row = first as i64;
        let end = (first + LANES).min(self.rows as usize) as i64;
        while row < end {
            let index = row % inner.size;
            let length = (inner.size - index).min(end - row);
            let lane = (row - first as i64) as usize;
            if let Some(base) = place(outer, row / inner.size) {
                self.line(inner, (index, length), lane, base, &mut runs);
            }
            row += length;
        }
        runs
    }

    /// The runs of `length` rows of one line from `index` on, of which the first is in `lane`.
    fn line(&self, axis: &Line, (index, length): (i64, i64), lane: usize, base: i64, runs: &mut Runs) {
        let position = |at: i64| (index + at) * axis.hop + axis.start;
        if axis.hop == 1 && axis.divide == 1 {
            let from = (axis.low - position(0)).clamp(0, length);
            let to = (axis.high - position(0)).clamp(from, length);
            if axis.unit == 1 {
                return self.consecutive(lane + from as usize, (to - from) as usize, base + position(from), runs);
            }
            if self.panel == 0 {
                for at in from..to {
                    runs.push(Run {
                        lane: lane + at as usize,
                        length: 1,
                        word: (base + position(at) * axis.unit) as isize,
                    });
                }
                return;
            }
        }
        for at in 0..length {
            let position = position(at);
            if (axis.low..axis.high).contains(&position) {
                self.consecutive(lane + at as usize, 1, base + position / axis.divide * axis.unit, runs);
            }
        }
    }

    /// The runs of lanes that read consecutive rows from `row` on: cut where a panel ends.
    fn consecutive(&self, mut lane: usize, mut length: usize, mut row: i64, runs: &mut Runs) {
        if self.panel == 0 {
            if length > 0 {
                runs.push(Run { lane, length, word: row as isize });
            }
            return;
        }
        while length > 0 {
            let at = row % LANES as i64;
            let part = length.min(LANES - at as usize);
            runs.push(Run { lane, length: part, word: (row / LANES as i64 * self.panel + at) as isize });
            lane += part;
            length -= part;
            row += part as i64;
        }
    }
}

impl Geometry {
    /// The place of a row along all axes but the last so many; none if it is outside.
    pub(crate) fn before(&self, inner: usize, row: i64) -> Option<i64> {
        place(&self.axes[..self.count as usize - inner], row)
    }
}

/// The place of a row along some axes; none if it is outside.
fn place(axes: &[Line], mut row: i64) -> Option<i64> {
    let mut place = 0;
    for axis in axes.iter().rev() {
        let position = row % axis.size * axis.hop + axis.start;
        row /= axis.size;
        if !(axis.low..axis.high).contains(&position) {
            return None;
        }
        place += position / axis.divide * axis.unit;
    }
    Some(place)
}

/// [`LoadWindow`] in plain Rust.
pub(crate) unsafe extern "C" fn load_window(
    geometry: *const Geometry,
    first: usize,
    features: usize,
    source: *const f32,
    feature_stride: isize,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: the caller's contract.
    let runs = unsafe { &*geometry }.runs(first);
    for feature in 0..features {
        let from = source.wrapping_offset(feature as isize * feature_stride);
        // SAFETY: as above; runs lie in the panel.
        unsafe {
            let to = out.add(feature * out_stride);
            to.write_bytes(0, LANES);
            for run in runs.as_slice() {
                std::ptr::copy_nonoverlapping(from.wrapping_offset(run.word), to.add(run.lane), run.length);
            }
        }
    }
}

/// The lanes of a panel that a window slides over together.
struct Sliding {
    run: Run,
    /// The positions at which they are inside.
    inside: std::ops::Range<usize>,
}

impl Geometry {
    /// The lanes of the 32 rows from `first` on that have the same index along all axes but the last, each with the word
    /// that its first lane would read at position 0 of `axis`, as [`SlideWindow`] takes them.
    fn sliding(&self, first: usize, axis: usize, step: i64, count: usize) -> impl Iterator<Item = Sliding> {
        let lines = &self.axes[..self.count as usize];
        let inner = lines[lines.len() - 1];
        let moving = lines[axis];
        let mut still = self.axes;
        still[axis] = Line { size: moving.size, high: 1, divide: 1, ..Line::default() };
        let behind: i64 = lines[axis + 1..].iter().map(|line| line.size).product();
        let outer = lines.len() - 1;
        let end = (first + LANES).min(self.rows as usize) as i64;
        let mut row = first as i64;
        std::iter::from_fn(move || {
            while row < end {
                let (index, line) = (row % inner.size, row / inner.size);
                let (start, length) = (row, (inner.size - index).min(end - row));
                row += length;
                let Some(base) = place(&still[..outer], line) else { continue };
                let position = index + inner.start;
                let from = (inner.low - position).clamp(0, length);
                let to = (inner.high - position).clamp(from, length);
                let origin = start / behind % moving.size * moving.hop + moving.start;
                // The first step from which on a bound is reached.
                let reached =
                    |bound: i64| ((bound - origin + step - 1).div_euclid(step)).clamp(0, count as i64) as usize;
                let run = Run {
                    lane: (start + from) as usize - first,
                    length: (to - from) as usize,
                    word: (base + position + from + origin * moving.unit) as isize,
                };
                return Some(Sliding { run, inside: reached(moving.low)..reached(moving.high) });
            }
            None
        })
    }
}

/// [`SlideWindow`] by copies of tiles.
pub(crate) unsafe extern "C" fn slide_window<T: Tiles>(
    geometry: *const Geometry,
    first: usize,
    axis: usize,
    step: isize,
    count: usize,
    source: *const f32,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: the caller's contract.
    let geometry = unsafe { &*geometry };
    let sliding = || geometry.sliding(first, axis, step as i64, count);
    let stride = step * geometry.axes[axis].unit as isize;
    if sliding().map(|lanes| lanes.run.length * lanes.inside.len()).sum::<usize>() < count * LANES {
        for at in 0..count {
            // SAFETY: the caller's contract.
            unsafe { out.add(at * out_stride).write_bytes(0, LANES) };
        }
    }
    for Sliding { run, inside } in sliding() {
        let from = source.wrapping_offset(run.word + inside.start as isize * stride);
        for lane in (0..run.length).step_by(T::SIDE) {
            let width = T::SIDE.min(run.length - lane);
            // SAFETY: the caller's contract: these positions of these lanes are inside.
            unsafe {
                let to = out.add(inside.start * out_stride + run.lane + lane);
                T::copy(inside.len(), width, from.wrapping_add(lane), stride as usize, to, out_stride);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, micro_kernels};

    /// Rows of (tap down, tap right, channel) of a row-major image, at all positions of a line: what reading them position
    /// by position gives.
    #[test]
    fn a_window_slides_along_a_line() {
        let (height, width) = (4_i64, 7_i64);
        for (channels, step, padding) in [(32_i64, 1_i64, 1_i64), (5, 1, 1), (48, 2, 1), (33, 1, 0), (40, 3, 2)] {
            let count = ((width + 2 * padding - 3) / step + 1) as usize;
            let image: Vec<f32> = (0..height * width * channels).map(|at| at as f32 + 1.0).collect();
            for y in -padding..height {
                let line = |size, start, high, unit| Line { size, hop: 1, start, low: 0, high, divide: 1, unit };
                let mut geometry = Geometry { rows: 9 * channels, panel: 0, count: 3, ..Geometry::default() };
                geometry.axes[0] = line(3, y, height, width * channels);
                geometry.axes[1] = line(3, -padding, width, channels);
                geometry.axes[2] = line(channels, 0, channels, 1);
                for (isa, first) in
                    Isa::available().flat_map(|isa| (0..9 * channels as usize).step_by(LANES).map(move |f| (isa, f)))
                {
                    let kernels = micro_kernels(isa);
                    let mut found = vec![f32::NAN; count * LANES];
                    let mut expected = found.clone();
                    // SAFETY: the places of the geometry are in the image.
                    unsafe {
                        let (source, out) = (image.as_ptr(), found.as_mut_ptr());
                        (kernels.slide_window)(&geometry, first, 1, step as isize, count, source, out, LANES);
                        for at in 0..count {
                            let mut moved = geometry;
                            moved.axes[1].start += at as i64 * step;
                            let out = expected.as_mut_ptr().add(at * LANES);
                            (kernels.load_window)(&moved, first, 1, source, 1, out, LANES);
                        }
                    }
                    assert_eq!(found, expected, "{isa}, {channels} channels, step {step}, line {y}, row {first}");
                }
            }
        }
    }

    /// The same rows from a row-major image, features side by side.
    #[test]
    fn windows_read_rows_of_features() {
        let (height, width) = (3_i64, 21_i64);
        for (features, ty, tx) in [5_usize, 37].into_iter().flat_map(|f| (0..9).map(move |tap| (f, tap / 3, tap % 3))) {
            let image: Vec<f32> = (0..(height * width) as usize * features).map(|at| at as f32 + 1.0).collect();
            let unit = features as i64;
            let line = |size, start, unit| Line { size, hop: 1, start, low: 0, high: size, divide: 1, unit };
            let mut geometry = Geometry { rows: height * width, panel: 0, count: 2, ..Geometry::default() };
            geometry.axes[..2].copy_from_slice(&[line(height, ty - 1, width * unit), line(width, tx - 1, unit)]);
            for isa in Isa::available() {
                for first in (0..(height * width) as usize).step_by(LANES) {
                    let mut out = vec![f32::NAN; features * LANES];
                    let load = micro_kernels(isa).load_window;
                    // SAFETY: the places of the geometry are in the image.
                    unsafe { load(&geometry, first, features, image.as_ptr(), 1, out.as_mut_ptr(), LANES) }
                    for (feature, lane) in (0..out.len()).map(|at| (at / LANES, at % LANES)) {
                        let row = (first + lane) as i64;
                        let (y, x) = (row / width + ty - 1, row % width + tx - 1);
                        let inside = row < height * width && (0..height).contains(&y) && (0..width).contains(&x);
                        let expected = if inside { image[(y * width + x) as usize * features + feature] } else { 0.0 };
                        assert_eq!(out[feature * LANES + lane], expected, "{isa}, tap {ty} {tx}, row {row}");
                    }
                }
            }
        }
    }

    /// An image of 3 × `width` in panels, 5 features, seen through every tap of 3 × 3 with a border of zeros.
    #[test]
    fn windows_read_neighbours_and_zeros() {
        for (width, hop, divide) in [(7_usize, 1_i64, 1_i64), (32, 1, 1), (50, 1, 1), (8, 2, 1), (6, 1, 2)] {
            let (height, features) = (3_usize, 5);
            let rows = height * width;
            let panel = features * LANES;
            let mut image = vec![f32::NAN; rows.div_ceil(LANES) * panel];
            let value = |row: usize, feature: usize| (row * 10 + feature) as f32;
            for row in 0..rows {
                for feature in 0..features {
                    image[row / LANES * panel + feature * LANES + row % LANES] = value(row, feature);
                }
            }
            let positions = |size: usize| (size as i64 * divide - 1) / hop + 1;
            let (tall, wide) = (positions(height), positions(width));
            for (ty, tx) in (0..9).map(|tap| (tap / 3, tap % 3)) {
                let line = |size, start, high: usize, unit| Line {
                    size,
                    hop,
                    start,
                    low: 0,
                    high: high as i64 * divide,
                    divide,
                    unit,
                };
                let axes = [line(tall, ty - 1, height, width as i64), line(wide, tx - 1, width, 1)];
                let mut geometry = Geometry { rows: tall * wide, panel: panel as i64, count: 2, ..Geometry::default() };
                geometry.axes[..2].copy_from_slice(&axes);
                for isa in Isa::available() {
                    for first in (0..(tall * wide) as usize).step_by(LANES) {
                        let mut out = vec![f32::NAN; panel];
                        let load = micro_kernels(isa).load_window;
                        // SAFETY: the places of the geometry are in the image.
                        unsafe {
                            load(&geometry, first, features, image.as_ptr(), LANES as isize, out.as_mut_ptr(), LANES)
                        }
                        for (feature, lane) in (0..panel).map(|at| (at / LANES, at % LANES)) {
                            let row = (first + lane) as i64;
                            let (y, x) = (row / wide * hop + ty - 1, row % wide * hop + tx - 1);
                            let inside = row < tall * wide
                                && (0..height as i64 * divide).contains(&y)
                                && (0..width as i64 * divide).contains(&x);
                            let at = (y / divide) * width as i64 + x / divide;
                            let expected = if inside { value(at as usize, feature) } else { 0.0 };
                            let found = out[feature * LANES + lane];
                            assert_eq!(found, expected, "{isa}, width {width}, tap {ty} {tx}, row {row}");
                        }
                    }
                }
            }
        }
    }
}
