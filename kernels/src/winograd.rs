//! Convolutions of three taps by three with fewer products: Winograd's minimal filtering F(2 x 2, 3 x 3), as Lavin and Gray
//! (2015, arXiv:1509.09308) apply it.
//!
//! A square of two by two results needs 16 products a feature instead of 36. Its 4 x 4 pixels d become Bᵀ d B, the taps g become
//! G g Gᵀ ([`TransformTaps`]), and their products, summed over features, become the results Aᵀ m A. All entries of the three matrices are 0, ±1
//! and ±½, so results are as exact as those of the direct sum: each is off by 3·10⁻⁷ of its norm in `f32`, with 512 features.
//!
//! The sums over features are 16 ordinary contractions, one for each place of the square, with 32 squares as the lanes of a
//! panel. Squares are numbered along pairs of lines.

#[cfg(target_arch = "x86_64")]
mod wide;

use crate::{
    Isa, LANES, MicroKernels, micro_kernels,
    pack::LoadPanel,
    strips,
    window::{Geometry, Line},
};

/// Places of a square of pixels, each with a matrix of weights of its own.
pub const PLACES: usize = 16;

/// Taps of a convolution.
pub const TAPS: usize = 9;

/// Pixels that a square gives.
pub const RESULTS: usize = 4;

/// Squares that are transformed at a time: a vector.
const VECTOR: usize = 16;

/// Features that are read at a time.
const FEATURES: usize = 16;

/// Pixels of a line that a panel of squares reads, and room for a panel that begins in it.
const LINE: usize = 2 * LANES + 2 + 2 * VECTOR;

/// Bytes of transformed pixels and products at a time: as many panels of squares are multiplied with one strip of
/// weights.
const BUDGET: usize = 512 << 10;

/// A convolution, but for its values.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Convolution {
    /// Where pixels are. The last two axes are lines and the pixels of a line, an even number of each, and what is read for the first tap of
    /// a row is at its position.
    pub geometry: Geometry,
    /// Features of a pixel, and words from one to the next.
    pub features: i64,
    pub feature_stride: i64,
    /// Features of a result, and words from one to the next, and from panel to panel.
    pub outputs: i64,
    pub output_stride: i64,
    pub output_panel: i64,
}

/// Computes whole pairs of lines: `c[n][row] = Σ over features and taps` for `rows` pixels from number `first` on.
///
/// Arguments: `(convolution, first, rows, source, weights, x, products, c)`. `weights` holds a matrix in strips for each of the
/// 16 places; `x` and `products` are memory for a panel of squares, `[16][features][32]` and `[16][outputs][32]`, or for as many
/// whole ones as `rows` has. `c` is the panel of row `first`, a multiple of 32.
///
/// # Safety
///
/// The machine has the instruction set; the convolution is as described, and its places are readable from `source`;
/// `rows` and `first` are multiples of two lines; weights are readable, and memory and results writable and apart from all else.
pub type Winograd = unsafe extern "C" fn(
    convolution: *const Convolution,
    first: usize,
    rows: usize,
    source: *const f32,
    weights: *const f32,
    x: *mut f32,
    products: *mut f32,
    c: *mut f32,
);

/// Transforms the nine taps of `height` outputs: `to[place][output]` from `taps[order[tap]][output]`, places `place_stride` apart
/// and taps `height`; taps are numbered line by line.
///
/// Arguments: `(taps, order, height, to, place_stride)`.
///
/// # Safety
///
/// The machine has the instruction set. `height` is at most 16; sixteen elements are readable from each tap on, and
/// `height` writable at each of the 16 places.
pub type TransformTaps =
    unsafe fn(taps: *const f32, order: &[usize; TAPS], height: usize, to: *mut f32, place_stride: usize);

/// [`TransformTaps`] in vectors.
///
/// # Safety
/// See there.
#[inline(always)]
unsafe fn transform<V: Vector>(
    taps: *const f32,
    order: &[usize; TAPS],
    height: usize,
    to: *mut f32,
    place_stride: usize,
) {
    let mut lines = [[V::zero(); 4]; 3];
    for (line, order) in lines.iter_mut().zip(order.chunks_exact(3)) {
        let mut row = [V::zero(); 3];
        for (value, at) in row.iter_mut().zip(order) {
            // SAFETY: the caller's contract.
            *value = unsafe { V::load(taps.add(at * height)) };
        }
        *line = V::taps(row);
    }
    let mut places = [[V::zero(); 4]; 4];
    for (column, place) in places.iter_mut().enumerate() {
        *place = V::taps([lines[0][column], lines[1][column], lines[2][column]]);
    }
    let mut to = to;
    for line in 0..4 {
        for place in &places {
            // SAFETY: as above.
            unsafe { place[line].store(to, height) };
            to = to.wrapping_add(place_stride);
        }
    }
}

/// Squares that lie side by side on a pair of lines.
#[derive(Clone, Copy)]
struct Run {
    /// The lane of the first.
    lane: usize,
    count: usize,
    /// The pair of lines, and the square in it.
    pair: usize,
    square: usize,
}

/// The runs of the 32 squares from `first` on, or fewer.
fn runs(convolution: &Convolution, first: usize, count: usize) -> impl Iterator<Item = Run> {
    let across = convolution.lines()[1].size as usize / 2;
    let mut lane = 0;
    std::iter::from_fn(move || {
        let (pair, square) = ((first + lane) / across, (first + lane) % across);
        let run = Run { lane, count: (across - square).min(count - lane), pair, square };
        lane += run.count;
        (run.count > 0).then_some(run)
    })
}

/// Pixels that lie side by side in the stored image, or each a pixel's features from the one before.
#[derive(Clone, Copy, Default)]
struct Piece {
    at: usize,
    count: usize,
    word: isize,
}

/// What a run of squares reads of one line: pieces, with zeros between them.
struct Pieces {
    pieces: [Piece; LINE],
    count: usize,
}

impl Convolution {
    /// Lines, and the pixels of a line.
    fn lines(&self) -> [Line; 2] {
        let count = self.geometry.count as usize;
        [self.geometry.axes[count - 2], self.geometry.axes[count - 1]]
    }

    /// What the squares of a run read of line number `line` of four.
    fn pieces(&self, run: Run, line: usize) -> Pieces {
        let [down, right] = self.lines();
        let mut pieces = Pieces { pieces: [Piece::default(); LINE], count: 0 };
        let (image, pair) = (run.pair as i64 / (down.size / 2), run.pair as i64 % (down.size / 2));
        let Some(base) = self.geometry.before(2, image) else { return pieces };
        let position = 2 * pair + down.start + line as i64;
        if !(down.low..down.high).contains(&position) {
            return pieces;
        }
        let base = base + position / down.divide * down.unit;
        let start = 2 * run.square as i64 + right.start;
        let end = start + 2 * run.count as i64 + 2;
        let unit = if self.geometry.panel == 0 { right.unit as isize } else { 1 };
        for position in start.max(right.low)..end.min(right.high) {
            let row = base + position / right.divide * right.unit;
            let word = match self.geometry.panel {
                0 => row,
                panel => row / LANES as i64 * panel + row % LANES as i64,
            } as isize;
            let at = (position - start) as usize;
            match pieces.pieces[..pieces.count].last_mut() {
                Some(last) if last.at + last.count == at && last.word + last.count as isize * unit == word => {
                    last.count += 1;
                }
                _ => {
                    pieces.pieces[pieces.count] = Piece { at, count: 1, word };
                    pieces.count += 1;
                }
            }
        }
        pieces
    }
}

/// A vector of squares, or of neighbouring pixels.
trait Vector: Copy {
    /// # Safety
    /// [`VECTOR`] elements are readable.
    unsafe fn load(from: *const f32) -> Self;

    /// # Safety
    /// The first `count` elements of a vector are writable.
    unsafe fn store(self, to: *mut f32, count: usize);

    /// The elements at even and at odd places of two vectors.
    ///
    /// # Safety
    /// Twice [`VECTOR`] elements are readable.
    unsafe fn split(from: *const f32) -> [Self; 2];

    /// The inverse: two vectors with elements of either in turn.
    fn woven(even: Self, odd: Self) -> [Self; 2];

    fn zero() -> Self;
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn half(self) -> Self;

    /// Copies fewer elements than a vector has.
    ///
    /// # Safety
    /// They are readable and writable.
    unsafe fn copy_few(from: *const f32, to: *mut f32, count: usize);

    /// Copies elements, whole vectors if there are as many.
    ///
    /// # Safety
    /// They are readable and writable, and apart.
    #[inline(always)]
    unsafe fn copy(from: *const f32, to: *mut f32, count: usize) {
        // SAFETY: the caller's contract; the last vector may overlap the one before.
        unsafe {
            if count < VECTOR {
                return Self::copy_few(from, to, count);
            }
            let mut at = 0;
            while at + VECTOR < count {
                Self::load(from.add(at)).store(to.add(at), VECTOR);
                at += VECTOR;
            }
            Self::load(from.add(count - VECTOR)).store(to.add(count - VECTOR), VECTOR);
        }
    }

    /// G of three values: [1 0 0], [½ ½ ½], [½ -½ ½] and [0 0 1].
    #[inline(always)]
    fn taps([a, b, c]: [Self; 3]) -> [Self; 4] {
        let (even, odd) = (a.plus(c).half(), b.half());
        [a, even.plus(odd), even.minus(odd), c]
    }

    /// Bᵀ of four values.
    #[inline(always)]
    fn pixels([a, b, c, d]: [Self; 4]) -> [Self; 4] {
        [a.minus(c), b.plus(c), c.minus(b), b.minus(d)]
    }

    /// Aᵀ of four values.
    #[inline(always)]
    fn results([a, b, c, d]: [Self; 4]) -> [Self; 2] {
        [a.plus(b.plus(c)), b.minus(c).minus(d)]
    }
}

/// Sixteen numbers, for the compiler to put into what registers there are.
#[derive(Clone, Copy)]
struct Plain([f32; VECTOR]);

impl Vector for Plain {
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Plain {
        // SAFETY: the caller's contract.
        Plain(unsafe { from.cast::<[f32; VECTOR]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32, count: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            match count {
                VECTOR => to.cast::<[f32; VECTOR]>().write_unaligned(self.0),
                _ => Plain::copy_few(self.0.as_ptr(), to, count),
            }
        }
    }

    #[inline(always)]
    unsafe fn split(from: *const f32) -> [Plain; 2] {
        // SAFETY: the caller's contract.
        let all = unsafe { from.cast::<[f32; 2 * VECTOR]>().read_unaligned() };
        let (mut even, mut odd) = ([0.0; VECTOR], [0.0; VECTOR]);
        for lane in 0..VECTOR {
            even[lane] = all[2 * lane];
            odd[lane] = all[2 * lane + 1];
        }
        [Plain(even), Plain(odd)]
    }

    #[inline(always)]
    fn woven(even: Plain, odd: Plain) -> [Plain; 2] {
        let mut halves = [Plain([0.0; VECTOR]); 2];
        for (half, out) in halves.iter_mut().enumerate() {
            for lane in 0..VECTOR / 2 {
                out.0[2 * lane] = even.0[half * VECTOR / 2 + lane];
                out.0[2 * lane + 1] = odd.0[half * VECTOR / 2 + lane];
            }
        }
        halves
    }

    #[inline(always)]
    fn zero() -> Plain {
        Plain([0.0; VECTOR])
    }

    #[inline(always)]
    fn plus(mut self, other: Plain) -> Plain {
        for lane in 0..VECTOR {
            self.0[lane] += other.0[lane];
        }
        self
    }

    #[inline(always)]
    fn minus(mut self, other: Plain) -> Plain {
        for lane in 0..VECTOR {
            self.0[lane] -= other.0[lane];
        }
        self
    }

    #[inline(always)]
    fn half(mut self) -> Plain {
        for lane in 0..VECTOR {
            self.0[lane] *= 0.5;
        }
        self
    }

    #[inline(always)]
    unsafe fn copy_few(from: *const f32, to: *mut f32, count: usize) {
        // SAFETY: the caller's contract.
        unsafe { std::ptr::copy_nonoverlapping(from, to, count) }
    }
}

/// Transforms the pixels of `count` squares from number `first` on: `x[place][feature][lane]`, places `place_stride` apart.
///
/// # Safety
/// See [`Winograd`].
#[inline(always)]
unsafe fn gather<V: Vector>(
    convolution: &Convolution,
    (first, count): (usize, usize),
    source: *const f32,
    (x, place_stride): (*mut f32, usize),
    load_panel: LoadPanel,
) {
    let [_, right] = convolution.lines();
    let interleaved = convolution.geometry.panel == 0 && right.unit != 1;
    let features = convolution.features as usize;
    for run in runs(convolution, first, count) {
        let pieces = [0, 1, 2, 3].map(|line| convolution.pieces(run, line));
        // What is outside of the picture stays zero.
        let mut block = [[[0.0_f32; LINE]; FEATURES]; 4];
        for feature in 0..features {
            let own = feature % FEATURES;
            if own == 0 {
                let together = FEATURES.min(features - feature);
                let from = source.wrapping_offset(feature as isize * convolution.feature_stride as isize);
                for (lines, pieces) in block.iter_mut().zip(&pieces) {
                    for piece in &pieces.pieces[..pieces.count] {
                        let from = from.wrapping_offset(piece.word);
                        let to = lines.as_mut_ptr().cast::<f32>().wrapping_add(piece.at);
                        // SAFETY: the places of the convolution are readable; pieces lie in the line, which has room for
                        // a panel from its last one on.
                        unsafe {
                            if interleaved {
                                let mut done = 0;
                                while done < piece.count {
                                    let rows = LANES.min(piece.count - done);
                                    let from = from.wrapping_offset(done as isize * right.unit as isize);
                                    load_panel(rows, together, from, right.unit as usize, to.add(done), LINE);
                                    done += rows;
                                }
                            } else {
                                for at in 0..together {
                                    let from = from.wrapping_offset(at as isize * convolution.feature_stride as isize);
                                    V::copy(from, to.add(at * LINE), piece.count);
                                }
                            }
                        }
                    }
                }
            }
            let lines = [&block[0][own], &block[1][own], &block[2][own], &block[3][own]];
            let mut start = 0;
            while start < run.count {
                let mut rows = [[V::zero(); 4]; 4];
                for (row, line) in rows.iter_mut().zip(lines) {
                    // SAFETY: a line has room for two vectors from the last square on; what is read past the run is of
                    // squares that nobody asked for.
                    unsafe {
                        let from = line.as_ptr().add(2 * start);
                        let ([first, second], [third, fourth]) = (V::split(from), V::split(from.add(2)));
                        *row = V::pixels([first, second, third, fourth]);
                    }
                }
                // SAFETY: lanes of the panel.
                let mut to = unsafe { x.add(feature * LANES + run.lane + start) };
                let wanted = VECTOR.min(run.count - start);
                let mut places = [V::pixels([rows[0][0], rows[1][0], rows[2][0], rows[3][0]]); 4];
                for column in 1..4 {
                    places[column] = V::pixels([rows[0][column], rows[1][column], rows[2][column], rows[3][column]]);
                }
                for line in 0..4 {
                    for place in &places {
                        // SAFETY: as above.
                        unsafe {
                            place[line].store(to, wanted);
                            to = to.wrapping_add(place_stride);
                        }
                    }
                }
                start += VECTOR;
            }
        }
    }
}

/// Results of `count` squares from number `first` of the pixels from row `origin` on, which `c` has.
///
/// # Safety
/// See [`Winograd`].
#[inline(always)]
unsafe fn scatter<V: Vector>(
    convolution: &Convolution,
    (first, count): (usize, usize),
    (products, place_stride): (*const f32, usize),
    (c, origin): (*mut f32, usize),
) {
    let width = convolution.lines()[1].size as usize;
    for run in runs(convolution, first, count) {
        for output in 0..convolution.outputs as usize {
            let to = c.wrapping_add(output * convolution.output_stride as usize);
            let mut start = 0;
            while start < run.count {
                // Where the run is shorter than a vector, what follows it is in the memory, too.
                let mut from = products.wrapping_add(output * LANES + run.lane + start);
                let mut lines = [[V::zero(); 2]; 4];
                for line in &mut lines {
                    let mut row = [V::zero(); 4];
                    for value in &mut row {
                        // SAFETY: a vector of a panel of each place.
                        *value = unsafe { V::load(from) };
                        from = from.wrapping_add(place_stride);
                    }
                    *line = V::results(row);
                }
                let wanted = 2 * VECTOR.min(run.count - start);
                let even = V::results([lines[0][0], lines[1][0], lines[2][0], lines[3][0]]);
                let odd = V::results([lines[0][1], lines[1][1], lines[2][1], lines[3][1]]);
                for line in 0..2 {
                    let both = V::woven(even[line], odd[line]);
                    let row = (2 * run.pair + line) * width + 2 * (run.square + start) - origin;
                    let (panel, lane) = (row / LANES, row % LANES);
                    let to = to.wrapping_add(panel * convolution.output_panel as usize + lane);
                    // SAFETY: these rows of the result are writable.
                    unsafe {
                        if lane == 0 && wanted == LANES {
                            both[0].store(to, VECTOR);
                            both[1].store(to.add(VECTOR), VECTOR);
                        } else {
                            let mut pixels = [0.0; 2 * VECTOR];
                            both[0].store(pixels.as_mut_ptr(), VECTOR);
                            both[1].store(pixels.as_mut_ptr().add(VECTOR), VECTOR);
                            let part = wanted.min(LANES - lane);
                            V::copy(pixels.as_ptr(), to, part);
                            let next = to.wrapping_add(convolution.output_panel as usize).wrapping_sub(lane);
                            V::copy(pixels.as_ptr().add(part), next, wanted - part);
                        }
                    }
                }
                start += VECTOR;
            }
        }
    }
}

type Gather = unsafe fn(&Convolution, (usize, usize), *const f32, (*mut f32, usize), LoadPanel);
type Scatter = unsafe fn(&Convolution, (usize, usize), (*const f32, usize), (*mut f32, usize));

/// [`Winograd`] with the micro-kernels and the transforms of an instruction set.
///
/// # Safety
/// See [`Winograd`].
unsafe fn convolve(
    kernels: &MicroKernels,
    (gather, scatter): (Gather, Scatter),
    convolution: &Convolution,
    (first, rows): (usize, usize),
    (source, weights): (*const f32, *const f32),
    [x, products, c]: [*mut f32; 3],
) {
    let (k, n) = (convolution.features as usize, convolution.outputs as usize);
    let (start, end) = (first / RESULTS, (first + rows) / RESULTS);
    let whole = ((end - start) / LANES).max(1);
    let together = (BUDGET / (PLACES * LANES * 4 * (k + n))).clamp(1, whole);
    for start in (start..end).step_by(together * LANES) {
        let squares = |panel: usize| {
            let first = start + panel * LANES;
            (first, end.saturating_sub(first).min(LANES))
        };
        let panels = (end - start).div_ceil(LANES).min(together);
        let (x_place, product_place) = (panels * k * LANES, panels * n * LANES);
        for panel in 0..panels {
            // SAFETY: the caller's contract: there is memory for so many panels.
            unsafe {
                let x = x.add(panel * k * LANES);
                gather(convolution, squares(panel), source, (x, x_place), kernels.load_panel);
            }
        }
        for place in 0..PLACES {
            for (strip, height) in strips(n, kernels.max_strip) {
                let kernel = kernels.strip(height);
                for panel in 0..panels {
                    // SAFETY: as above.
                    unsafe {
                        let w = weights.add(place * n * k + strip * k);
                        let x = x.add(place * x_place + panel * k * LANES);
                        let to = products.add(place * product_place + (panel * n + strip) * LANES);
                        kernel(k, w, x, LANES, to, LANES, 0);
                    }
                }
            }
        }
        for panel in 0..panels {
            // SAFETY: as above.
            unsafe {
                let products = (products.add(panel * n * LANES).cast_const(), product_place);
                scatter(convolution, squares(panel), products, (c, first));
            }
        }
    }
}

macro_rules! winograd {
    ($name:ident, $isa:expr, $vector:ty $(, $feature:literal)?) => {
        pub(crate) mod $name {
            use super::*;

            /// [`Winograd`] for the instruction set.
            pub(crate) unsafe extern "C" fn winograd(
                convolution: *const Convolution,
                first: usize,
                rows: usize,
                source: *const f32,
                weights: *const f32,
                x: *mut f32,
                products: *mut f32,
                c: *mut f32,
            ) {
                // SAFETY: the caller's contract.
                unsafe {
                    let (rows, values) = ((first, rows), (source, weights));
                    let transforms: (Gather, Scatter) = (gather, scatter);
                    convolve(micro_kernels($isa), transforms, &*convolution, rows, values, [x, products, c]);
                }
            }

            /// [`TransformTaps`] for the instruction set.
            $(#[target_feature(enable = $feature)])?
            pub(crate) unsafe fn transform_taps(
                taps: *const f32,
                order: &[usize; TAPS],
                height: usize,
                to: *mut f32,
                place_stride: usize,
            ) {
                // SAFETY: the caller's contract.
                unsafe { transform::<$vector>(taps, order, height, to, place_stride) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn gather(
                convolution: &Convolution,
                squares: (usize, usize),
                source: *const f32,
                x: (*mut f32, usize),
                load_panel: LoadPanel,
            ) {
                // SAFETY: the caller's contract.
                unsafe { super::gather::<$vector>(convolution, squares, source, x, load_panel) }
            }

            $(#[target_feature(enable = $feature)])?
            unsafe fn scatter(
                convolution: &Convolution,
                squares: (usize, usize),
                products: (*const f32, usize),
                c: (*mut f32, usize),
            ) {
                // SAFETY: the caller's contract.
                unsafe { super::scatter::<$vector>(convolution, squares, products, c) }
            }
        }
    };
}

winograd!(portable, Isa::Portable, Plain);
#[cfg(target_arch = "aarch64")]
winograd!(neon, Isa::Neon, Plain);
#[cfg(target_arch = "x86_64")]
winograd!(avx2, Isa::Avx2, Plain, "avx2,fma");
#[cfg(target_arch = "x86_64")]
winograd!(avx512, Isa::Avx512, wide::Wide, "avx512f");

#[cfg(test)]
mod tests {
    use super::*;

    /// How a picture lies in memory.
    #[derive(Clone, Copy)]
    enum Lie {
        Panels,
        Planes,
        Interleaved,
    }

    /// Pictures of some lines, however they lie, for every instruction set: what the sums say.
    #[test]
    fn results_are_those_of_all_products() {
        for (height, width, features, outputs, lie) in [
            (4, 64, 3, 2, Lie::Panels),
            (2, 96, 5, 17, Lie::Planes),
            (6, 20, 2, 3, Lie::Planes),
            (16, 8, 1, 4, Lie::Panels),
            (8, 24, 19, 1, Lie::Panels),
            (4, 88, 35, 2, Lie::Interleaved),
            (10, 12, 16, 3, Lie::Interleaved),
        ] {
            let number = |at: usize| ((at * 37 + 11) % 101) as f32 / 50.0 - 1.0;
            let pixels = height * width;
            let image: Vec<f32> = (0..features * pixels).map(number).collect();
            let taps: Vec<f32> = (0..outputs * features * TAPS).map(|at| number(at + 5)).collect();
            let pixel = |feature: usize, y: isize, x: isize| -> f32 {
                let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
                if inside { image[feature * pixels + y as usize * width + x as usize] } else { 0.0 }
            };
            let direct = |output: usize, row: usize| -> f64 {
                let (y, x) = ((row / width) as isize, (row % width) as isize);
                let terms = (0..features * TAPS).map(|at| {
                    let (feature, tap) = (at / TAPS, (at % TAPS) as isize);
                    let value = pixel(feature, y + tap / 3 - 1, x + tap % 3 - 1);
                    f64::from(value) * f64::from(taps[output * features * TAPS + at])
                });
                terms.sum()
            };
            let line = |size: usize, unit: usize| Line {
                size: size as i64,
                hop: 1,
                start: -1,
                low: 0,
                high: size as i64,
                divide: 1,
                unit: unit as i64,
            };
            let panels = pixels.div_ceil(LANES);
            let stored: Vec<f32> = match lie {
                Lie::Panels => (0..panels * features * LANES)
                    .map(|at| {
                        let (panel, feature, lane) = (at / LANES / features, at / LANES % features, at % LANES);
                        let row = panel * LANES + lane;
                        if row < pixels { image[feature * pixels + row] } else { f32::NAN }
                    })
                    .collect(),
                Lie::Planes => image.clone(),
                Lie::Interleaved => {
                    (0..pixels * features).map(|at| image[at % features * pixels + at / features]).collect()
                }
            };
            let mut geometry = Geometry { rows: pixels as i64, count: 2, ..Geometry::default() };
            let (panel, unit, feature_stride) = match lie {
                Lie::Panels => (features * LANES, 1, LANES),
                Lie::Planes => (0, 1, pixels),
                Lie::Interleaved => (0, features, 1),
            };
            geometry.panel = panel as i64;
            geometry.axes[..2].copy_from_slice(&[line(height, width * unit), line(width, unit)]);
            let convolution = Convolution {
                geometry,
                features: features as i64,
                feature_stride: feature_stride as i64,
                outputs: outputs as i64,
                output_stride: LANES as i64,
                output_panel: (outputs * LANES) as i64,
            };
            for isa in Isa::available() {
                let kernels = micro_kernels(isa);
                let mut weights = vec![0.0; PLACES * outputs * features];
                for (start, height) in strips(outputs, kernels.max_strip) {
                    for feature in 0..features {
                        let mut lines = [0.0; TAPS * VECTOR + VECTOR];
                        for (at, value) in lines[..TAPS * height].iter_mut().enumerate() {
                            *value = taps[((start + at % height) * features + feature) * TAPS + at / height];
                        }
                        // SAFETY: the lines have room for a vector from the last tap on, the weights for all places.
                        unsafe {
                            let to = weights.as_mut_ptr().add(start * features + feature * height);
                            let order = std::array::from_fn(|tap| tap);
                            (kernels.transform_taps)(lines.as_ptr(), &order, height, to, outputs * features);
                        }
                    }
                }
                let room = (pixels / RESULTS / LANES).max(1);
                let mut x = vec![f32::NAN; room * PLACES * features * LANES];
                let mut products = vec![f32::NAN; (room * PLACES * outputs + 1) * LANES];
                let mut c = vec![f32::NAN; panels * outputs * LANES];
                // SAFETY: everything has the size that the convolution gives it.
                unsafe {
                    let [x, products, c] = [&mut x, &mut products, &mut c].map(|memory| memory.as_mut_ptr());
                    let (source, weights) = (stored.as_ptr(), weights.as_ptr());
                    (kernels.winograd)(&convolution, 0, pixels, source, weights, x, products, c);
                }
                for (output, row) in (0..outputs).flat_map(|output| (0..pixels).map(move |row| (output, row))) {
                    let found = c[(row / LANES * outputs + output) * LANES + row % LANES];
                    let expected = direct(output, row);
                    let close = (f64::from(found) - expected).abs() < 1e-5;
                    assert!(close, "{isa}, {height} x {width}, output {output}, row {row}: {found}, not {expected}");
                }
            }
        }
    }
}
