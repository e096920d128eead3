//! From a graph to kernels: what is computed together, where values live, in which order.
//!
//! A [`Kernel`] runs over *rows*: the product of some axes of the values it computes, cut into panels
//! of [`LANES`] rows. Its [stages](Stage) run one after another on a tile of a few panels, so that
//! what one stage gives the next stays in cache. Within a panel, consecutive rows lie in consecutive
//! memory and all other axes — the *features* — are strides: `value[feature…][row]`. Every map,
//! reduction and scan is therefore the same code for each lane, and the result of a contraction is at
//! once the operand of the next.
//!
//! ```text
//!          rows (ray, sample) ─────────────▶ panels of 32
//! features │ x₀ │ 32 rows │        stage 1: map      encode
//!          │ x₁ │ 32 rows │        stage 2: contract with weights
//!          ▼ …                     stage 3: map      bias, ReLU      …
//! ```
//!
//! Values that leave a kernel are stored in a [`Layout`]: as panels when everyone who reads them runs
//! over the same rows, else as a plain row-major array. Sums over the rows themselves (a loss, the
//! gradient of a weight) accumulate into one partial result a *chunk* of rows; the number of chunks
//! depends on the sizes alone, and partial results are combined in order, so that results do not
//! depend on the number of threads.
//!
//! Invariant: a plan never changes a value beyond rounding. It never looks at the spec, and it does
//! not know instruction sets: what it asks of the machine is in [`Target`].

mod access;
pub(crate) mod analysis;
mod batch;
mod cluster;
mod display;
mod memory;
mod picture;
mod rematerialise;
mod replace;
mod rows;
mod segment;
mod stage;
mod stages;
mod verify;
mod window;

pub use access::{Access, Source};
pub use cluster::Fusion;
pub use picture::svg;
pub use segment::Segment;
pub use stages::pattern;
pub use verify::Defect;

use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Distribution, Graph, NodeId, ScalarOp},
};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::fmt;
use thiserror::Error;
use visage_kernels::pairs::pairs;

/// Rows in a panel.
pub const LANES: usize = 32;

/// What the planner asks of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes of fast memory that a tile may fill: half of a core's second-level cache.
    pub tile_bytes: usize,
    /// Bytes of the nearest memory that a tile without contractions may fill: a part of the first-level cache.
    pub near_bytes: usize,
    /// Bytes beyond which a stored value will not be found in cache when it is read again.
    pub cache_bytes: usize,
    /// Tiles that a kernel is cut into at least, as far as it has panels, and pieces that rows are cut into for
    /// accumulation at most.
    pub least_tiles: usize,
    /// What multiplies matrices.
    pub products: Products,
}

/// What multiplies matrices, and how it wants its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Micro-kernels: weights in strips; what is summed over rows is turned first.
    MicroKernels,
    /// Tensor cores: weights in [fragments](Layout::Fragments), tiles as they lie, of so many panels at most.
    TensorCores { panels: usize },
}

impl Default for Target {
    /// A present-day server core: 1 MiB of second-level cache a core, 32 MiB of shared cache.
    fn default() -> Target {
        Target {
            tile_bytes: 512 << 10,
            near_bytes: 32 << 10,
            cache_bytes: 32 << 20,
            least_tiles: 32,
            products: Products::MicroKernels,
        }
    }
}

impl Target {
    /// The machine that this runs on, as far as the system tells: its second-level cache. Tile memory is half of it.
    pub fn host() -> Target {
        let target = Target::default();
        let size = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size").ok();
        let kibibytes = size.and_then(|text| text.trim().strip_suffix('K')?.parse::<usize>().ok());
        match kibibytes {
            Some(size) => Target { tile_bytes: (size << 10).clamp(256 << 10, 4 << 20) / 2, ..target },
            None => target,
        }
    }
}

/// Choices of the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// What is put into one kernel.
    pub fusion: Fusion,
    /// The machine.
    pub target: Target,
    /// What is not done.
    pub without: Without,
    /// What contractions round their operands to.
    pub precision: Precision,
    /// Bytes of intermediate values beyond which a stretch of a program runs part by part.
    pub segment_bytes: usize,
    /// Tiles that a part has at least in every kernel that does much of the work, so that threads have something to
    /// share.
    pub segment_tiles: usize,
}

/// What a contraction of `f32` operands multiplies. Sums, and everything that is no contraction by micro-kernels, are in
/// `f32` in any case: a product of small matrices that is computed as a sum of products stays as exact as it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The operands as they are.
    #[default]
    F32,
    /// Both operands rounded to bf16, to the nearest, ties to even.
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// Decisions of the planner that can be switched off, to see what they are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Kernels over the same rows become one where they share values.
    Merge,
    /// Cheap maps are computed again by those that read them.
    Recompute,
    /// Values too large for the caches are written past them.
    Stream,
    /// Stretches of a program run part by part, so that their values take the memory of a part.
    Segments,
    /// Activations that a backward pass would wait with are computed again, if that saves much memory.
    Rematerialise,
    /// New values of the state are written over the old ones.
    Replace,
    /// Convolutions of three taps by three have fewer products.
    Winograd,
}

impl Decision {
    /// All of them.
    pub const ALL: [Decision; 7] = [
        Decision::Merge,
        Decision::Recompute,
        Decision::Stream,
        Decision::Segments,
        Decision::Rematerialise,
        Decision::Replace,
        Decision::Winograd,
    ];

    /// What it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Merge => "merge",
            Decision::Recompute => "recompute",
            Decision::Stream => "stream",
            Decision::Segments => "segments",
            Decision::Rematerialise => "rematerialise",
            Decision::Replace => "replace",
            Decision::Winograd => "winograd",
        }
    }

    /// What it does, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Decision::Merge => "Kernels over the same rows become one where they share values",
            Decision::Recompute => "Cheap maps are computed again by those that read them",
            Decision::Stream => "Values too large for the caches are written past them",
            Decision::Segments => "Kernels run for a part of their rows at a time, which saves memory",
            Decision::Rematerialise => {
                "Activations are computed again for the backward pass, where that saves much memory"
            }
            Decision::Replace => "New values of the state are written over the old ones, which saves memory",
            Decision::Winograd => "Convolutions of 3 x 3 have 16 products where they had 36",
        }
    }
}

/// A set of decisions that are not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without(u8);

impl Without {
    /// Whether a decision is left out.
    pub fn has(self, decision: Decision) -> bool {
        self.0 >> decision as u8 & 1 == 1
    }

    /// These and one more.
    pub fn and(self, decision: Decision) -> Without {
        Without(self.0 | 1 << decision as u8)
    }
}

impl FromIterator<Decision> for Without {
    fn from_iter<I: IntoIterator<Item = Decision>>(decisions: I) -> Without {
        decisions.into_iter().fold(Without::default(), Without::and)
    }
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions {
            fusion: Fusion::Full,
            target: Target::default(),
            without: Without::default(),
            precision: Precision::default(),
            segment_bytes: 64 << 20,
            segment_tiles: 32,
        }
    }
}

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    #[error("%{node} `{op}` computes in {dtype}, which only the reference evaluator does")]
    ElementType { node: usize, op: String, dtype: DType },
}

/// A buffer of a [`Plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Four-byte words that an element takes in a program's memory: two for `f64`, one for every other type (`bool` is 0
/// or all ones).
pub fn words(dtype: DType) -> usize {
    if dtype == DType::F64 { 2 } else { 1 }
}

/// How a stored value lies in memory. Every buffer has room for a whole number of panels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[panel][feature…][LANES]`: rows are `rows` flattened, the last fastest.
    Panels { rows: Vec<(Axis, usize)>, features: Vec<(Axis, usize)> },
    /// Row-major in the order of the axes.
    Plain(Shape),
    /// Weights in strips for the micro-kernels: `[matrix][strip][k][height]`.
    Strips { matrices: usize, n: usize, k: usize },
    /// Weights in strips of bf16 pairs: `[matrix][strip][block][pair of k][height]` or as the machine's unit has it, with
    /// each block of k filled up to whole tiles by zeros. An element is a pair.
    Pairs { matrices: usize, n: usize, blocks: usize, block: usize },
    /// Weights in fragments of 16 outputs by 8 or 16 of k, as threads of a graphics processor hold them:
    /// `[matrix][16 outputs][block][step of k][32 threads][4]`, filled up with zeros. An element is four bytes.
    Fragments { matrices: usize, n: usize, blocks: usize, block: usize },
    /// One partial result a chunk: `elements` of it.
    Partials { elements: usize, chunks: usize },
}

impl Layout {
    /// The number of elements, padding included.
    pub fn elements(&self) -> usize {
        match self {
            Layout::Panels { rows, features } => {
                let rows: usize = rows.iter().map(|(_, size)| size).product();
                let features: usize = features.iter().map(|(_, size)| size).product();
                rows.next_multiple_of(LANES) * features
            }
            Layout::Plain(shape) => shape.elements().next_multiple_of(LANES),
            Layout::Strips { matrices, n, k } => (matrices * n * k).next_multiple_of(LANES),
            Layout::Pairs { matrices, n, blocks, block } => {
                (matrices * n * blocks * pairs(*block)).next_multiple_of(LANES)
            }
            // Steps of 8 take the most.
            Layout::Fragments { matrices, n, blocks, block } => {
                matrices * n.next_multiple_of(16) * blocks * block.next_multiple_of(8)
            }
            Layout::Partials { elements, chunks } => elements.next_multiple_of(LANES) * chunks,
        }
    }
}

/// Where a buffer's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A value given at run time.
    Input(String),
    /// A parameter or other stored value.
    State(String),
    /// A scalar known at compile time, as [`pattern`] has it.
    Constant(u64),
    /// The program's arena, at this offset in bytes.
    Arena(usize),
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// The node whose value it holds, and what the spec calls it.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The layout.
    pub layout: Layout,
    /// The memory.
    pub place: Place,
    /// Of how many parts one is kept: more than one only for a value of a [`Segment`].
    pub parts: usize,
}

impl Buffer {
    /// Bytes it takes, padding included.
    pub fn bytes(&self) -> usize {
        self.layout.elements() * words(self.dtype) * 4 / self.parts
    }
}

/// A program of kernels.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Every stored value.
    pub buffers: Vec<Buffer>,
    /// What runs, in order.
    pub steps: Vec<Step>,
    /// Stretches of the steps that run part by part, in order.
    pub segments: Vec<Segment>,
    /// Bytes of the arena that all intermediate values share.
    pub arena_bytes: usize,
    /// Where each output is.
    pub outputs: IndexMap<String, Output>,
}

/// Where an output of a [`Plan`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The stored value, which is plain.
    pub buffer: BufferId,
    /// Its axes in the order of memory, under the output's own names.
    pub shape: Shape,
}

/// One parallel loop of a program.
#[derive(Clone, Debug)]
pub enum Step {
    /// Weights into strips: element (n, k) of matrix m is `source[m_offsets[m] + n_offsets[n] + k_offsets[k]]`.
    /// With `winograd` the matrices of the source are nine taps, of which the sixteen of [`Stage::Winograd`] are made.
    Pack {
        source: BufferId,
        target: BufferId,
        m_offsets: Vec<u32>,
        n_offsets: Vec<u32>,
        k_offsets: Vec<u32>,
        winograd: bool,
    },
    /// Stages over rows.
    Kernel(Kernel),
    /// Partial results into one: element i is the combination of `source[chunk][i]`, in order.
    Combine { source: BufferId, target: BufferId, combine: Combine, chunks: usize, arrangement: Arrangement },
}

/// How the elements of a partial result lie, compared with the final one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrangement {
    /// In the same order.
    Same { elements: usize },
    /// `[matrix][block][k panel][n][LANES]`, each block holding `block` of the k; element (n, k) of matrix m is finally
    /// at `m_offsets[m] + n_offsets[n] + k_offsets[k]`.
    Panels { block: usize, m_offsets: Vec<u32>, n_offsets: Vec<u32>, k_offsets: Vec<u32> },
}

/// Stages over the tiles of some rows.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it computes, for listings and profiles.
    pub name: String,
    /// The axes that make up the rows, the last fastest.
    pub rows: Vec<(Axis, usize)>,
    /// The offset of each tile-resident value in tile memory, in words.
    pub tiles: Vec<usize>,
    /// The words of each tile-resident value, for the whole tile.
    pub tile_words: Vec<usize>,
    /// Panels in a tile.
    pub tile_panels: usize,
    /// Pieces that rows are cut into for accumulation; 1 where nothing accumulates.
    pub chunks: usize,
    /// What runs on each tile.
    pub stages: Vec<Stage>,
    /// Words of tile memory, for the whole tile.
    pub scratch: usize,
    /// Floating-point operations of the contractions, all rows.
    pub flops: f64,
    /// Bytes read from and written to stored values, all rows.
    pub bytes: f64,
}

impl Kernel {
    /// The number of rows.
    pub fn row_count(&self) -> usize {
        self.rows.iter().map(|(_, size)| size).product()
    }

    /// The number of panels.
    pub fn panels(&self) -> usize {
        self.row_count().div_ceil(LANES)
    }

    /// The number of tiles.
    pub fn tile_count(&self) -> usize {
        self.panels().div_ceil(self.tile_panels)
    }
}

/// A loop over a feature axis.
pub type Loop = (Axis, usize);

/// One node of a lane-wise expression; operands are earlier positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// A number.
    Constant(f64, DType),
    /// An element of a stored or tile-resident value.
    Load(Access, DType),
    /// The index of a feature loop.
    FeatureIndex(Axis),
    /// The index of a row axis.
    RowIndex(Axis),
    /// A random draw at the position Σ index(axis) · stride.
    Random { distribution: Distribution, stream: u32, strides: Vec<(Axis, usize)> },
    /// A scalar operation.
    Map(ScalarOp, Vec<usize>),
    /// `source[… + index · stride]`, zero where the index is outside 0..size. The base address is
    /// per lane: `row_strides` gives the strides of row axes of a plain source.
    Gather { source: Access, row_strides: Vec<(Axis, isize)>, index: usize, stride: isize, size: usize, dtype: DType },
}

/// A lane-wise expression: the last terms may use any earlier ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expression {
    /// The terms, operands first.
    pub terms: Vec<Term>,
}

/// Where a stage writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// The term.
    pub term: usize,
    /// The place.
    pub target: Access,
    /// Add to what is there.
    pub add: bool,
}

/// A stored value read along rows other than its own: each row of the kernel meets the stored rows around it (the taps of
/// a convolution), and zeros outside of the stored value.
///
/// The position along the i-th row axis is `index · hop + start + Σ tap · step`; where it is outside of `low .. high` the
/// value is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The stored value.
    pub source: BufferId,
    /// Words from panel to panel where it is stored as panels; 0 where it is row-major.
    pub panel: usize,
    /// Words before the first feature.
    pub offset: isize,
    /// One for each row axis of the kernel, in order.
    pub rows: Vec<RowWindow>,
    /// The taps, the outermost first; the first `outer` of them are outside of a block.
    pub taps: Vec<Tap>,
    /// How many of the taps are outside of a block.
    pub outer: usize,
    /// How many of the first tap inside are in a block, a divisor of them all: a block has a stretch of these, and all of
    /// the others.
    pub stretch: usize,
    /// The other summed axes, inside of the taps, with their sizes and strides in words.
    pub features: Vec<(Axis, usize, isize)>,
    /// Strides in words of the stage's loops.
    pub strides: Vec<(Axis, isize)>,
}

/// Where along one axis of a stored value a row of a kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowWindow {
    /// Steps from one row of the kernel to the next.
    pub hop: isize,
    /// The position of row 0 and tap 0.
    pub start: isize,
    /// The first position that is not zero.
    pub low: isize,
    /// The position after the last one that is not zero.
    pub high: isize,
    /// Positions that read the same element: more than one where a value is enlarged by repetition.
    pub divide: isize,
    /// Rows from one element to the next where the value is stored as panels, words where it is row-major.
    pub unit: isize,
}

/// How the rows of a kernel are shared among the matrices of a batch: each has as many, one matrix after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Rows of each matrix.
    pub rows: usize,
    /// Tile memory for what one matrix gives a panel that has rows of others, too; none where every matrix has whole
    /// panels, and where products are written element by element.
    pub apart: Option<Source>,
}

/// An operand of a sum of products over rows. Either its rows or its features lie side by side: one of the strides is 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// Where the first row of a panel is.
    pub access: Access,
    /// How many features.
    pub features: usize,
    /// Words from feature to feature.
    pub feature_stride: usize,
    /// Words from row to row.
    pub row_stride: usize,
}

/// A summed axis that moves along a row axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The axis.
    pub axis: Axis,
    /// How many taps.
    pub size: usize,
    /// The row axis, by its number.
    pub row: usize,
    /// Positions from one tap to the next.
    pub step: isize,
}

impl Window {
    /// Blocks that the taps are read in.
    pub fn blocks(&self) -> usize {
        self.taps[..self.outer].iter().map(|tap| tap.size).product::<usize>() * self.stretches()
    }

    /// Blocks that the first tap inside is cut into.
    pub fn stretches(&self) -> usize {
        self.taps.get(self.outer).map_or(1, |tap| tap.size / self.stretch)
    }

    /// The tap along which positions are read at a time, if rows lie side by side: the last of a block.
    pub fn sliding_tap(&self) -> Option<&Tap> {
        let tap = self.taps[self.outer..].last()?;
        let (last, along) = (self.rows.last()?, self.rows.get(tap.row)?);
        let still = self.taps.iter().all(|tap| tap.row + 1 != self.rows.len());
        let side_by_side = self.panel == 0 && still && last.hop == 1 && last.unit == 1 && last.divide == 1;
        (side_by_side && tap.step > 0 && along.divide == 1).then_some(tap)
    }

    /// The taps of a block, with how many of each.
    pub fn inside(&self) -> Vec<Loop> {
        let size = |at: usize, tap: &Tap| if at == 0 { self.stretch } else { tap.size };
        self.taps[self.outer..].iter().enumerate().map(|(at, tap)| (tap.axis, size(at, tap))).collect()
    }
}

/// One step on a tile. Axes of loops and accesses are feature axes.
#[derive(Clone, Debug)]
pub enum Stage {
    /// A plain stored value into tile memory: `row_strides` and the access's strides address it.
    Load {
        source: BufferId,
        offset: isize,
        row_strides: Vec<(Axis, isize)>,
        loops: Vec<Loop>,
        strides: Vec<isize>,
        target: Access,
    },
    /// A tile-resident value into a plain stored one.
    Save { source: Access, loops: Vec<Loop>, strides: Vec<isize>, row_strides: Vec<(Axis, isize)>, target: BufferId },
    /// A tile-resident value into a stored one of the same layout, `panel` words a panel, past the
    /// caches: it is too large to be found there when it is read.
    Stream { source: Source, target: BufferId, panel: usize },
    /// A constant everywhere.
    Fill { target: Access, loops: Vec<Loop>, value: f64, dtype: DType },
    /// An expression for every feature.
    Map { loops: Vec<Loop>, body: Expression, stores: Vec<Store> },
    /// A combination over some features.
    Reduce { loops: Vec<Loop>, over: Vec<Loop>, combine: Combine, dtype: DType, body: Expression, store: Store },
    /// The position of the largest or smallest.
    ArgReduce { loops: Vec<Loop>, over: Loop, largest: bool, body: Expression, store: Store },
    /// A running combination along a feature axis.
    Scan {
        loops: Vec<Loop>,
        along: Loop,
        combine: Combine,
        exclusive: bool,
        reverse: bool,
        dtype: DType,
        body: Expression,
        store: Store,
    },
    /// Ascending order along a feature axis of stride `stride`: values, or positions.
    Sort { loops: Vec<Loop>, source: Access, along: Loop, target: Access, positions: bool, dtype: DType },
    /// Adds each lane's updates into its own table: `target[… + index · stride] += update`.
    Scatter {
        loops: Vec<Loop>,
        body: Expression,
        index: usize,
        update: usize,
        target: Access,
        stride: isize,
        size: usize,
    },
    /// `c[n][row] = Σₖ w[n][k] · x[k][row]` by micro-kernels, with a matrix of weights for each index of the loops; with a
    /// batch, for each of its elements and each index of the loops. With a window, `x` is tile memory that is filled from
    /// it, a block of the k at a time. With tile memory for `pairs`, both operands are rounded to bf16: the weights by the
    /// step that packs them, `x` here.
    Contract {
        loops: Vec<Loop>,
        batch: Option<Batch>,
        weights: BufferId,
        n: usize,
        k: usize,
        x: Access,
        x_stride: usize,
        c: Access,
        c_stride: usize,
        pairs: Option<Source>,
        window: Option<Window>,
    },
    /// `c[n][row] = Σₖ Σ_tap w[n][k][tap] · x[k][row + tap]` of three taps by three along the last two row axes, with the
    /// products of F(2 x 2, 3 x 3): sixteen matrices of weights for squares of two rows by two. A tile has whole pairs of
    /// lines. `x` and `products` are tile memory for transformed squares and what they are multiplied to. The window
    /// has no taps; its rows start at the first of them.
    Winograd {
        weights: BufferId,
        n: usize,
        k: usize,
        window: Window,
        x: Source,
        products: Source,
        c: Access,
        c_stride: usize,
    },
    /// `partial[n][k] += Σ_row g[n][row] · x[k][row]` for each index of the loops, the partial result as panels of k; n and k
    /// are the features of `g` and `x`.
    /// `strips` and `turned` are tile memory for the packed operands. A window is read as in [`Stage::Contract`].
    AccumulateContract {
        loops: Vec<Loop>,
        g: Factor,
        x: Factor,
        strips: Source,
        turned: Source,
        precision: Precision,
        target: BufferId,
        window: Option<Window>,
    },
    /// `partial[feature…] = combine(partial[feature…], over rows and inner features of the body)`; with `row_strides` there
    /// is one for each index of the first row axes, of which each has whole panels.
    AccumulateReduce {
        loops: Vec<Loop>,
        row_strides: Vec<(Axis, isize)>,
        over: Vec<Loop>,
        combine: Combine,
        dtype: DType,
        body: Expression,
        term: usize,
        strides: Vec<isize>,
        target: BufferId,
    },
    /// `partial[… + index · stride] += update`, over rows and features in order.
    AccumulateScatter {
        loops: Vec<Loop>,
        body: Expression,
        index: usize,
        update: usize,
        strides: Vec<isize>,
        stride: isize,
        size: usize,
        target: BufferId,
    },
}

/// Plans a simplified graph.
pub fn plan(graph: &Graph, options: &PlanOptions) -> Result<Plan, PlanError> {
    plan_ordered(graph, &IndexMap::new(), options)
}

/// Plans a simplified graph whose outputs are wanted with their axes in some order.
pub fn plan_ordered(graph: &Graph, orders: &IndexMap<String, Shape>, options: &PlanOptions) -> Result<Plan, PlanError> {
    plan_updating(graph, orders, &IndexMap::new(), options)
}

/// Plans a simplified graph, some outputs of which are new values of the state: `updates` says of which, output by output.
/// They are written over the old ones where nobody reads those any more; the buffer of such an output is
/// [state](Place::State).
pub fn plan_updating(
    graph: &Graph,
    orders: &IndexMap<String, Shape>,
    updates: &IndexMap<String, String>,
    options: &PlanOptions,
) -> Result<Plan, PlanError> {
    for id in graph.ids() {
        let node = graph.node(id);
        if matches!(node.ty.dtype, DType::F16 | DType::BF16) {
            let (op, dtype) = (node.op.to_string(), node.ty.dtype);
            return Err(PlanError::ElementType { node: id.index(), op, dtype });
        }
    }
    let build = |graph: &Graph, after: &FxHashMap<NodeId, Vec<NodeId>>| {
        let replaced = match options.without.has(Decision::Replace) {
            true => FxHashMap::default(),
            false => replace::replaced(graph, updates),
        };
        let clusters = cluster::cluster(graph, after, &replaced, options);
        let plan = stages::build(graph, &clusters, orders, updates, options);
        debug_assert_eq!(plan.verify(), Ok(()));
        (plan, clusters)
    };
    let (plan, clusters) = build(graph, &FxHashMap::default());
    if plan.arena_bytes > rematerialise::threshold(options)
        && options.fusion == Fusion::Full
        && !options.without.has(Decision::Rematerialise)
        && let Some(again) = rematerialise::rematerialised(graph, &clusters, options)
    {
        // Work is worth half of the memory, not less.
        let (lean, _) = build(&again.graph, &again.after);
        if lean.arena_bytes * 2 <= plan.arena_bytes {
            return Ok(lean);
        }
    }
    Ok(plan)
}
