//! Rows around other rows: what a convolution reads, as panels.
//!
//! The 32 rows of a panel of outputs, seen through one tap, are 32 rows of a stored image: a few runs of neighbours, cut
//! where a line of the image ends, with zeros past its edges. [`LoadWindow`] puts them side by side again, a feature
//! at a time.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;

use crate::LANES;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, micro_kernels};

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
