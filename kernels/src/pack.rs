//! Rearrangements around the contraction: weights into strips, panels into transposed panels, and row-major arrays
//! into panels and back.
//!
//! All of them are transposes or copies of small tiles, so an instruction set supplies those two
//! (`Tiles`): 16 x 16 in registers on AVX-512, 8 x 8 on AVX2, 4 x 4 on NEON.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod portable;

use crate::contract::{MicroKernels, assert_panel, strips};
use crate::winograd::{TransformTaps, Winograd};
use crate::{
    LANES,
    memory::{CopyStreaming, PrefetchRows, Settle},
    window::LoadWindow,
};

/// Packs a matrix into strips: `out[strip][step][m] = w[n * n_stride + k * k_stride]`.
///
/// Arguments: `(n, k, w, n_stride, k_stride, out, capacity, offset)`. The `n` outputs are cut by
/// [`strips`] with the table's `max_strip`; the strip that starts at output `s` starts at
/// `out[s * capacity]` and holds `capacity` steps, of which this call fills `offset .. offset + k`. Thus
/// a whole matrix is packed with `capacity = k, offset = 0`, and a gradient panel `g[n][32 rows]` becomes rows
/// `offset..offset + 32` of a longer contraction over rows with `n_stride` = its stride, `k_stride = 1, k = 32`.
///
/// Fast when either stride is 1. Strides are in elements.
///
/// # Safety
///
/// The machine has the instruction set; every named element of `w` is readable, `out` has `n * capacity` writable
/// elements that overlap none of them, and `offset + k <= capacity`.
pub type PackStrips = unsafe extern "C" fn(
    n: usize,
    k: usize,
    w: *const f32,
    n_stride: usize,
    k_stride: usize,
    out: *mut f32,
    capacity: usize,
    offset: usize,
);

/// Makes the features of a panel its lanes: `out[feature / 32][row][feature % 32] = panel[feature][row]`.
///
/// Arguments: `(features, panel, panel_stride, out, out_stride)`. The result is one *column panel* of 32 rows for
/// each 32 features, `out_stride` elements from one to the next, its rows contiguous at 32 elements; lanes past the
/// last feature are zero. Column panels of several row panels are stacked for a longer contraction over rows with
/// `out + 32 * first_row` and `out_stride = 32 * rows`.
///
/// # Safety
///
/// The machine has the instruction set; `features` panel rows are readable; the 32 x 32 elements of every column
/// panel are writable and overlap no panel row.
pub type TransposePanel =
    unsafe extern "C" fn(features: usize, panel: *const f32, panel_stride: usize, out: *mut f32, out_stride: usize);

/// Makes the features of rows lanes: `out[feature / 32][row][feature % 32] = source[row * source_stride + feature]`, what
/// [`TransposePanel`] makes of a panel of these rows.
///
/// Arguments: `(rows, features, source, source_stride, out, out_stride)`. Column panels are as in [`TransposePanel`], of
/// `rows` rows each; lanes past the last feature are zero.
///
/// # Safety
///
/// The machine has the instruction set; `rows` x `features` elements of the source are readable (none beyond them are
/// read); `rows` x 32 elements of every column panel are writable and overlap none of them.
pub type StackRows = unsafe extern "C" fn(
    rows: usize,
    features: usize,
    source: *const f32,
    source_stride: usize,
    out: *mut f32,
    out_stride: usize,
);

/// The inverse of [`TransposePanel`]: `panel[feature][row] = columns[feature / 32][row][feature % 32]`.
///
/// Arguments: `(features, columns, columns_stride, panel, panel_stride)`.
///
/// # Safety
///
/// The machine has the instruction set; the 32 rows of every column panel are readable up to the last feature,
/// `features` panel rows are writable and overlap none of them.
pub type UntransposePanel = unsafe extern "C" fn(
    features: usize,
    columns: *const f32,
    columns_stride: usize,
    panel: *mut f32,
    panel_stride: usize,
);

/// Reads rows of a row-major array into a panel: `panel[feature][row] = source[row * source_stride + feature]`.
///
/// Arguments: `(rows, features, source, source_stride, panel, panel_stride)`. `rows` is at most 32; the lanes past it
/// become zero.
///
/// # Safety
///
/// The machine has the instruction set; `rows` x `features` elements of the source are readable (none beyond
/// them are read), 32 x `features` of the panel writable and apart from them; `rows <= 32`.
pub type LoadPanel = unsafe extern "C" fn(
    rows: usize,
    features: usize,
    source: *const f32,
    source_stride: usize,
    panel: *mut f32,
    panel_stride: usize,
);

/// Writes a panel into rows of a row-major array: `target[row * target_stride + feature] = panel[feature][row]`.
///
/// Arguments: `(rows, features, panel, panel_stride, target, target_stride)`. `rows` is at most 32; nothing else of
/// the target is touched.
///
/// # Safety
///
/// The machine has the instruction set; the first `rows` lanes of `features` panel rows are readable, `rows` x
/// `features` elements of the target writable and apart from them; `rows <= 32`.
pub type StorePanel = unsafe extern "C" fn(
    rows: usize,
    features: usize,
    panel: *const f32,
    panel_stride: usize,
    target: *mut f32,
    target_stride: usize,
);

/// What an instruction set supplies: a transpose and a copy of a tile, each at most [`Tiles::SIDE`] wide.
pub(crate) trait Tiles {
    /// The side of a tile.
    const SIDE: usize;

    /// The reading through windows of the instruction set.
    const LOAD_WINDOW: LoadWindow = crate::window::load_window;

    /// The convolution of the instruction set.
    const WINOGRAD: Winograd;

    /// The transform of its weights.
    const TRANSFORM_TAPS: TransformTaps;

    /// The streaming copy of the instruction set.
    const COPY_STREAMING: CopyStreaming;

    /// What ends streaming copies.
    const SETTLE: Settle;

    /// The hint about rows that are needed next.
    const PREFETCH_ROWS: PrefetchRows;

    /// Writes `cols` lines of `width`: `to[c * to_stride + r] = from[r * from_stride + c]` for `r < rows`, and zero
    /// for `rows <= r < width`.
    ///
    /// # Safety
    ///
    /// The machine has the instruction set; `rows <= width`, and `width` and `cols` are at most `SIDE`; the elements
    /// named are readable and writable.
    unsafe fn transpose(tile: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);

    /// Copies `lines` lines of `width` elements, `width` at most `SIDE`.
    ///
    /// # Safety
    ///
    /// The machine has the instruction set; the elements named are readable and writable.
    unsafe fn copy(lines: usize, width: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize);
}

/// The sizes of a transpose: `rows` x `cols` become `cols` x `width`, zeros past `rows`.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub rows: usize,
    pub cols: usize,
    pub width: usize,
}

/// Transposes a matrix of any size, tile by tile.
///
/// # Safety
///
/// As [`Tiles::transpose`], without the limit on sizes.
unsafe fn transpose<T: Tiles>(whole: Shape, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
    for col in (0..whole.cols).step_by(T::SIDE) {
        for row in (0..whole.width).step_by(T::SIDE) {
            let tile = Shape {
                rows: whole.rows.saturating_sub(row).min(T::SIDE),
                cols: (whole.cols - col).min(T::SIDE),
                width: (whole.width - row).min(T::SIDE),
            };
            let from = from.wrapping_add(row * from_stride + col);
            // SAFETY: the tile lies inside the matrix; where it has no rows, `from` is not read.
            unsafe { T::transpose(tile, from, from_stride, to.add(col * to_stride + row), to_stride) }
        }
    }
}

/// [`PackStrips`] in strips of at most `MAX`.
pub(crate) unsafe extern "C" fn pack_strips<T: Tiles, const MAX: usize>(
    n: usize,
    k: usize,
    w: *const f32,
    n_stride: usize,
    k_stride: usize,
    out: *mut f32,
    capacity: usize,
    offset: usize,
) {
    const { assert!(MAX <= T::SIDE, "a strip fits a tile") };
    for (start, height) in strips(n, MAX) {
        // SAFETY: the caller's contract covers `k` steps of `height` outputs from `start`, in and out.
        unsafe {
            let from = w.wrapping_add(start * n_stride);
            let to = out.add(start * capacity + offset * height);
            if k_stride == 1 {
                transpose::<T>(Shape { rows: height, cols: k, width: height }, from, n_stride, to, height);
            } else if n_stride == 1 {
                T::copy(k, height, from, k_stride, to, height);
            } else {
                for step in 0..k {
                    for m in 0..height {
                        *to.add(step * height + m) = *from.add(m * n_stride + step * k_stride);
                    }
                }
            }
        }
    }
}

/// [`TransposePanel`].
pub(crate) unsafe extern "C" fn transpose_panel<T: Tiles>(
    features: usize,
    panel: *const f32,
    panel_stride: usize,
    out: *mut f32,
    out_stride: usize,
) {
    for (column, first) in (0..features).step_by(LANES).enumerate() {
        let shape = Shape { rows: (features - first).min(LANES), cols: LANES, width: LANES };
        // SAFETY: the caller's contract, for 32 features of it.
        unsafe {
            transpose::<T>(shape, panel.add(first * panel_stride), panel_stride, out.add(column * out_stride), LANES)
        }
    }
}

/// [`StackRows`].
pub(crate) unsafe extern "C" fn stack_rows<T: Tiles>(
    rows: usize,
    features: usize,
    source: *const f32,
    source_stride: usize,
    out: *mut f32,
    out_stride: usize,
) {
    for first in (0..features).step_by(T::SIDE) {
        // SAFETY: the caller's contract: tiles do not reach beyond their column panel, of which a side is a part.
        unsafe {
            let to = out.add(first / LANES * out_stride + first % LANES);
            T::copy(rows, (features - first).min(T::SIDE), source.add(first), source_stride, to, LANES);
        }
    }
    let filled = features % LANES;
    if filled > 0 {
        for row in 0..rows {
            // SAFETY: as above, the lanes past the last feature.
            unsafe { out.add(features / LANES * out_stride + row * LANES + filled).write_bytes(0, LANES - filled) }
        }
    }
}

/// [`UntransposePanel`].
pub(crate) unsafe extern "C" fn untranspose_panel<T: Tiles>(
    features: usize,
    columns: *const f32,
    columns_stride: usize,
    panel: *mut f32,
    panel_stride: usize,
) {
    for (column, first) in (0..features).step_by(LANES).enumerate() {
        let shape = Shape { rows: LANES, cols: (features - first).min(LANES), width: LANES };
        // SAFETY: the caller's contract, for 32 features of it.
        unsafe {
            let from = columns.add(column * columns_stride);
            transpose::<T>(shape, from, LANES, panel.add(first * panel_stride), panel_stride)
        }
    }
}

/// [`LoadPanel`].
pub(crate) unsafe extern "C" fn load_panel<T: Tiles>(
    rows: usize,
    features: usize,
    source: *const f32,
    source_stride: usize,
    panel: *mut f32,
    panel_stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe { transpose::<T>(Shape { rows, cols: features, width: LANES }, source, source_stride, panel, panel_stride) }
}

/// [`StorePanel`].
pub(crate) unsafe extern "C" fn store_panel<T: Tiles>(
    rows: usize,
    features: usize,
    panel: *const f32,
    panel_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let shape = Shape { rows: features, cols: rows, width: features };
        transpose::<T>(shape, panel, panel_stride, target, target_stride)
    }
}

/// The elements that `lines` lines of `width` take at a stride.
fn extent(lines: usize, width: usize, stride: usize) -> usize {
    if width == 0 { 0 } else { lines.checked_sub(1).map_or(0, |last| last * stride + width) }
}

impl MicroKernels {
    /// A matrix `w[n * n_stride + k * k_stride]` as strips: see [`PackStrips`].
    ///
    /// # Panics
    ///
    /// If `w` is too short.
    pub fn packed_strips(&self, n: usize, k: usize, w: &[f32], n_stride: usize, k_stride: usize) -> Vec<f32> {
        let mut out = vec![0.0; n * k];
        self.pack_strips_at(n, k, w, n_stride, k_stride, &mut out, k, 0);
        out
    }

    /// Fills steps `offset .. offset + k` of strips of `capacity` steps: see [`PackStrips`].
    ///
    /// # Panics
    ///
    /// If a slice is too short, or the steps exceed the capacity.
    #[allow(clippy::too_many_arguments)] // the sizes and strides of two layouts
    pub fn pack_strips_at(
        &self,
        n: usize,
        k: usize,
        w: &[f32],
        n_stride: usize,
        k_stride: usize,
        out: &mut [f32],
        capacity: usize,
        offset: usize,
    ) {
        if n == 0 || k == 0 {
            return;
        }
        let last = (n - 1) * n_stride + (k - 1) * k_stride;
        assert!(w.len() > last, "a matrix of {} elements, {} needed", w.len(), last + 1);
        assert!(offset + k <= capacity, "steps {offset}..{} of a capacity of {capacity}", offset + k);
        assert!(out.len() >= n * capacity, "strips of {} elements, {} needed", out.len(), n * capacity);
        // SAFETY: checked above, and `out` is borrowed mutably.
        unsafe { (self.pack_strips)(n, k, w.as_ptr(), n_stride, k_stride, out.as_mut_ptr(), capacity, offset) }
    }

    /// The column panels of a panel, one after the other: see [`TransposePanel`].
    ///
    /// # Panics
    ///
    /// If the panel is too short.
    pub fn transposed_panel(&self, features: usize, panel: &[f32], panel_stride: usize) -> Vec<f32> {
        assert_panel(panel.len(), features, panel_stride);
        let mut out = vec![0.0; features.div_ceil(LANES) * LANES * LANES];
        // SAFETY: checked above; `out` has 32 x 32 elements for each column panel.
        unsafe { (self.transpose_panel)(features, panel.as_ptr(), panel_stride, out.as_mut_ptr(), LANES * LANES) }
        out
    }

    /// The column panels of rows of a row-major array, one after the other: see [`StackRows`].
    ///
    /// # Panics
    ///
    /// If the array is too short.
    pub fn stacked_rows(&self, rows: usize, features: usize, source: &[f32], source_stride: usize) -> Vec<f32> {
        let needed = extent(rows, features, source_stride);
        assert!(source.len() >= needed, "rows of {} elements, {needed} needed", source.len());
        let mut out = vec![0.0; features.div_ceil(LANES) * rows * LANES];
        // SAFETY: checked above; `out` has `rows` x 32 elements for each column panel.
        unsafe {
            (self.stack_rows)(rows, features, source.as_ptr(), source_stride, out.as_mut_ptr(), rows * LANES);
        }
        out
    }

    /// The panel `[features][32]` of contiguous column panels: see [`UntransposePanel`].
    ///
    /// # Panics
    ///
    /// If there are fewer column panels than features.
    pub fn untransposed_panel(&self, features: usize, columns: &[f32]) -> Vec<f32> {
        let needed = features.div_ceil(LANES) * LANES * LANES;
        assert!(columns.len() >= needed, "column panels of {} elements, {needed} needed", columns.len());
        let mut panel = vec![0.0; features * LANES];
        // SAFETY: checked above.
        unsafe { (self.untranspose_panel)(features, columns.as_ptr(), LANES * LANES, panel.as_mut_ptr(), LANES) }
        panel
    }

    /// Reads `rows` rows of `features` into a panel, zeros in the lanes past them: see [`LoadPanel`].
    ///
    /// # Panics
    ///
    /// If there are more than 32 rows, or a slice is too short.
    pub fn load_rows(
        &self,
        rows: usize,
        features: usize,
        source: &[f32],
        source_stride: usize,
        panel: &mut [f32],
        panel_stride: usize,
    ) {
        assert!(rows <= LANES, "{rows} rows for a panel of {LANES}");
        assert_panel(panel.len(), features, panel_stride);
        let needed = extent(rows, features, source_stride);
        assert!(source.len() >= needed, "rows of {} elements, {needed} needed", source.len());
        // SAFETY: checked above, and `panel` is borrowed mutably.
        unsafe { (self.load_panel)(rows, features, source.as_ptr(), source_stride, panel.as_mut_ptr(), panel_stride) }
    }

    /// Writes the first `rows` lanes of a panel into rows: see [`StorePanel`].
    ///
    /// # Panics
    ///
    /// If there are more than 32 rows, or a slice is too short.
    pub fn store_rows(
        &self,
        rows: usize,
        features: usize,
        panel: &[f32],
        panel_stride: usize,
        target: &mut [f32],
        target_stride: usize,
    ) {
        assert!(rows <= LANES, "{rows} rows of a panel of {LANES}");
        assert_panel(panel.len(), features, panel_stride);
        let needed = extent(rows, features, target_stride);
        assert!(target.len() >= needed, "rows of {} elements, {needed} needed", target.len());
        // SAFETY: checked above, and `target` is borrowed mutably.
        unsafe { (self.store_panel)(rows, features, panel.as_ptr(), panel_stride, target.as_mut_ptr(), target_stride) }
    }
}
