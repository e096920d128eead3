//! Contractions: products of fragments by tensor cores.
//!
//! `mma.sync` multiplies 16 outputs by a step of k by 8 rows. Of each fragment a thread holds a few elements, by its number
//! in the warp: `g`, a fourth of it, and `c`, the rest. A warp keeps some fragments of the result in registers and
//! walks along k.

use super::{
    Precision,
    emitter::{Emitter, Place, Space, WARPS},
    text::{Class, Operand, Register, vector},
    window,
};
use crate::{
    graph::DType,
    plan::{Access, Batch, BufferId, Factor, LANES, Layout, Loop, Source, Window},
};

/// Outputs of a fragment.
pub(super) const OUTPUTS: usize = 16;

/// Rows of a fragment.
const ROWS: usize = 8;

/// Words of packed weights for a fragment: four a thread.
pub(super) const FRAGMENT_WORDS: usize = 4 * LANES;

/// Fragments of a result that a warp has in registers, at most: four registers each.
const MOST_FRAGMENTS: usize = 32;

/// Steps whose weights are asked for at a time.
const UNROLL: usize = 2;

impl Precision {
    /// Elements of k in a step.
    pub(super) fn depth(self) -> usize {
        match self {
            Precision::F32 | Precision::Tf32 => 8,
            Precision::Bf16 => 16,
        }
    }
}

/// Which fragments of a result a warp has at a time.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Fragments side by side along the outputs, and along the rows.
    high: usize,
    wide: usize,
    /// How many of them there are in all.
    columns: usize,
    units: usize,
}

impl Shape {
    /// Divides so many fragments by so many among the warps: as many columns as may go together at once, so that weights come
    /// once, unless that leaves warps without work.
    fn of(rows: usize, columns: usize, together: usize) -> Shape {
        let mut wide = largest_divisor(together, MOST_FRAGMENTS);
        while wide > 1 && rows * (columns / wide) < WARPS {
            wide = largest_divisor(together, wide - 1);
        }
        let share = (rows * (columns / wide)).div_ceil(WARPS);
        let high = largest_divisor(rows, share.clamp(1, MOST_FRAGMENTS / wide));
        let columns = columns / wide;
        Shape { high, wide, columns, units: rows / high * columns }
    }

    fn fragments(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.high).flat_map(move |i| (0..self.wide).map(move |j| (i, j)))
    }
}

fn largest_divisor(of: usize, most: usize) -> usize {
    (1..=most.min(of)).rev().find(|divisor| of.is_multiple_of(*divisor)).unwrap_or(1)
}

/// An operand's part of a step: for each product that is added up, the registers of a fragment.
struct Fragment {
    /// The elements, rounded.
    main: Vec<Register>,
    /// What rounding has left of them, rounded again.
    rest: Option<Vec<Register>>,
}

/// Places that move along a loop, with the registers that move them.
struct Moving {
    places: Vec<Place>,
    bases: Vec<Register>,
}

impl Moving {
    /// Moves all of them by so many bytes.
    fn ahead(&self, e: &mut Emitter<'_>, bytes: isize) {
        for base in &self.bases {
            let opcode = if base.class == Class::Bits64 { "add.s64" } else { "add.s32" };
            e.t.set(*base, opcode, &[(*base).into(), Operand::Integer(bytes as i64)]);
        }
    }
}

/// Places that a loop can move: those that had a base in common have one again.
fn moving(e: &mut Emitter<'_>, places: &[Place]) -> Moving {
    let mut bases: Vec<(Place, Register)> = Vec::new();
    let mut moved = Vec::with_capacity(places.len());
    for place in places {
        let base = match bases.iter().find(|(other, _)| other.has_base_of(*place)) {
            Some((_, base)) => *base,
            None => {
                let base = e.own_base(*place);
                bases.push((*place, base));
                base
            }
        };
        moved.push(place.on(base));
    }
    Moving { places: moved, bases: bases.into_iter().map(|(_, base)| base).collect() }
}

/// The number of a thread in its warp, as fragments have it.
#[derive(Clone, Copy)]
struct Thread {
    g: Register,
    c: Register,
}

impl Thread {
    fn of(e: &mut Emitter<'_>) -> Thread {
        let lane = Operand::from(e.lane);
        Thread {
            g: e.t.value(Class::Bits32, "shr.u32", &[lane, 2_i64.into()]),
            c: e.t.value(Class::Bits32, "and.b32", &[lane, 3_i64.into()]),
        }
    }
}

/// The weights of a contraction.
pub(super) struct Matrices<'a> {
    /// Packed, those of each element of a batch behind one another.
    pub weights: BufferId,
    pub loops: &'a [Loop],
    /// How rows are shared among the elements of a batch.
    pub batch: Option<Batch>,
    pub n: usize,
    pub k: usize,
}

/// `c[n][row] = Σₖ w[n][k] · x[k][row]` for every panel of the tile: a matrix of weights for each index of the loops.
pub(super) fn rows(
    e: &mut Emitter<'_>,
    matrices: &Matrices<'_>,
    (x, x_stride): (&Access, usize),
    (c, c_stride): (&Access, usize),
    window: Option<&Window>,
) {
    let Matrices { weights, loops, batch, n, k } = *matrices;
    let blocks = window.map_or(1, Window::blocks);
    let a_panel = LANES / ROWS;
    let columns = e.kernel.tile_panels * a_panel;
    // Panels of a batch have weights of their own each.
    let together = if batch.is_some() { a_panel } else { columns };
    let shape = Shape::of(n.div_ceil(OUTPUTS), columns, together);
    let product = Product { n, block: k / blocks, blocks, x, x_stride, c, c_stride, shape, thread: Thread::of(e) };
    let matrix_words = n.div_ceil(OUTPUTS) * blocks * product.steps(e) * FRAGMENT_WORDS;
    let looped: usize = loops.iter().map(|(_, size)| size).product();
    e.nest(loops, &mut |e| {
        let matrix = e.number(loops);
        let start = e.start(Source::Buffer(weights));
        let weights = e.further(start, &[(matrix, matrix_words as isize), (e.lane.into(), 4)], 0);
        window::blocks(e, window, x, &mut |e, block| {
            e.stepping(e.warp.into(), product.shape.units.into(), WARPS, &mut |e, unit| {
                let (row, column) = e.divided(unit, product.shape.columns);
                let row = e.times(row, product.shape.high);
                let panels = product.panels(e, column);
                each_matrix(e, batch, panels[0].0, &mut |e, element, rows| {
                    let weights = e.further(weights, &[(element, (looped * matrix_words) as isize)], 0);
                    product.unit(e, (row, &panels), block, weights, rows);
                });
            });
        });
    });
}

/// Rows that a matrix of a batch has, of a panel that has rows of others: from the first up to the second.
type Part = (Operand, Operand);

/// Emits `body` for every element of a batch that has rows in a panel, with those rows if there are several such elements.
fn each_matrix(
    e: &mut Emitter<'_>,
    batch: Option<Batch>,
    panel: Operand,
    body: &mut dyn FnMut(&mut Emitter<'_>, Operand, Option<Part>),
) {
    let Some(Batch { rows, .. }) = batch else { return body(e, Operand::Integer(0), None) };
    let panel = e.plus(e.first_panel.into(), panel);
    if rows.is_multiple_of(LANES) {
        let element = e.divided(panel, rows / LANES).0;
        // A panel past the last belongs to nothing that is kept.
        let element = e.least(element, (e.kernel.row_count() / rows - 1).into());
        return body(e, element, None);
    }
    let first = e.times(panel, LANES);
    let start = e.divided(first, rows).0;
    let last = e.plus(first, Operand::from(LANES - 1));
    let last = e.least(last, (e.kernel.row_count() - 1).into());
    let last = e.divided(last, rows).0;
    let end = e.plus(last, Operand::Integer(1));
    e.stepping(start, end, 1, &mut |e, element| {
        let from = e.times(element, rows);
        let to = e.plus(from, rows.into());
        // What fills up the last panel goes with the last element.
        let count = e.kernel.row_count();
        let is_last = e.t.value(Class::Predicate, "setp.eq.s32", &[to, count.into()]);
        let to = e.t.value(Class::Bits32, "selp.b32", &[(count + LANES).into(), to, is_last.into()]);
        body(e, element, Some((from, to.into())));
    });
}

/// A product of weights and a tile.
struct Product<'a> {
    n: usize,
    /// Elements of k in a block, and how many of those there are.
    block: usize,
    blocks: usize,
    x: &'a Access,
    x_stride: usize,
    c: &'a Access,
    c_stride: usize,
    shape: Shape,
    thread: Thread,
}

impl Product<'_> {
    /// Elements of k in all.
    fn depth(&self) -> usize {
        self.block * self.blocks
    }

    /// Steps of a block.
    fn steps(&self, e: &Emitter<'_>) -> usize {
        self.block.div_ceil(e.options.precision.depth())
    }

    /// Whether the last tile has fewer panels than others.
    fn has_short_tile(e: &Emitter<'_>) -> bool {
        !e.kernel.panels().is_multiple_of(e.kernel.tile_panels)
    }

    /// The columns of a unit: for each fragment its panel, clamped to those that there are, and its first lane.
    fn panels(&self, e: &mut Emitter<'_>, column: Operand) -> Vec<(Operand, Operand)> {
        let a_panel = LANES / ROWS;
        let first = e.times(column, self.shape.wide);
        let (panel, within) = e.divided(first, a_panel);
        let whole = self.shape.wide.is_multiple_of(a_panel);
        (0..self.shape.wide)
            .map(|j| {
                let (panel, lane) = match whole {
                    true => (e.plus(panel, (j / a_panel).into()), Operand::from(j % a_panel * ROWS)),
                    // Fewer than a panel has, which they divide.
                    false if a_panel.is_multiple_of(self.shape.wide) => {
                        let fragment = e.plus(within, j.into());
                        (panel, e.times(fragment, ROWS))
                    }
                    false => {
                        let fragment = e.plus(first, j.into());
                        let (panel, within) = e.divided(fragment, a_panel);
                        (panel, e.times(within, ROWS))
                    }
                };
                (panel, lane)
            })
            .collect()
    }

    /// The fragments of one unit of the result: those from an output on, of some columns. With a part of the rows, others are
    /// left as they are.
    fn unit(
        &self,
        e: &mut Emitter<'_>,
        (row, panels): (Operand, &[(Operand, Operand)]),
        block: Operand,
        weights: Place,
        part: Option<Part>,
    ) {
        let results = self.places_of_results(e, row, panels);
        let sums = self.start(e, block, &results);
        let steps = self.steps(e);
        // A fragment of weights follows the one before along k; from output to output it is all of k.
        let along = e.times(block, steps);
        let first = e.times(row, self.blocks * steps);
        let from = e.plus(first, along);
        let weights = e.further(weights, &[(from, FRAGMENT_WORDS as isize)], 0);
        let weights = moving(e, &[weights]);
        let inputs = self.places_of_inputs(e, panels);
        let inputs = moving(e, &inputs);
        let depth = e.options.precision.depth();
        let stride = e.distance(self.x, self.x_stride, self.depth());
        let advance = |e: &mut Emitter<'_>, steps: usize| {
            weights.ahead(e, (steps * FRAGMENT_WORDS * 4) as isize);
            inputs.ahead(e, (steps * depth) as isize * stride * 4);
        };
        // The last step is by itself if it is not whole.
        let whole = self.block / depth;
        e.stepping(Operand::Integer(0), (whole / UNROLL).into(), 1, &mut |e, _| {
            self.steps_at(e, UNROLL, depth, &weights, &inputs, &sums);
            advance(e, UNROLL);
        });
        let rest = whole % UNROLL;
        if rest > 0 {
            self.steps_at(e, rest, depth, &weights, &inputs, &sums);
        }
        if !self.block.is_multiple_of(depth) {
            advance(e, rest);
            self.steps_at(e, 1, self.block % depth, &weights, &inputs, &sums);
        }
        match part {
            None => self.store(e, &sums, &results),
            Some(part) => self.store_part(e, &sums, &results, panels, part),
        }
    }

    /// Some steps from the current places on, of which `valid` elements of k are there.
    fn steps_at(
        &self,
        e: &mut Emitter<'_>,
        steps: usize,
        valid: usize,
        weights: &Moving,
        inputs: &Moving,
        sums: &[Vec<Register>],
    ) {
        let all_steps = self.steps(e);
        let class = weight_class(e);
        let packed: Vec<Vec<Vec<Register>>> = (0..steps)
            .map(|step| {
                let at = |i: usize| ((i * self.blocks * all_steps + step) * FRAGMENT_WORDS * 4) as isize;
                (0..self.shape.high).map(|i| e.load_vector(weights.places[0].beyond(at(i)), class, 4)).collect()
            })
            .collect();
        for (step, packed) in packed.into_iter().enumerate() {
            let weights: Vec<Fragment> = packed.into_iter().map(|packed| weight_fragment(e, packed)).collect();
            let inputs: Vec<Fragment> = inputs.places.iter().map(|place| self.input(e, *place, step, valid)).collect();
            for (i, j) in self.shape.fragments() {
                multiply(e, &weights[i], &inputs[j], &sums[i * self.shape.wide + j]);
            }
        }
    }

    /// A fragment of x: elements k of column g.
    fn input(&self, e: &mut Emitter<'_>, place: Place, step: usize, valid: usize) -> Fragment {
        let depth = e.options.precision.depth();
        let stride = e.distance(self.x, self.x_stride, self.depth()) * 4;
        // By threads: c and c + 4, or pairs at 2c and 2c + 8.
        let offsets: &[usize] = if depth == 8 { &[0, 4] } else { &[0, 1, 8, 9] };
        let each = depth / 8;
        let elements: Vec<Register> = offsets
            .iter()
            .map(|offset| {
                let place = place.beyond((step * depth + offset) as isize * stride);
                // Whether all threads have an element there, or some.
                if offset + 3 * each < valid {
                    return e.load(place, DType::F32);
                }
                let left = valid as i64 - *offset as i64;
                let k = e.times(self.thread.c.into(), each);
                let is_there = e.t.value(Class::Predicate, "setp.lt.s32", &[k, left.into()]);
                e.load_where(is_there, place, DType::F32)
            })
            .collect();
        fragment(e, &elements)
    }

    /// Where the thread's elements of x are, of each column, at the first step.
    fn places_of_inputs(&self, e: &mut Emitter<'_>, panels: &[(Operand, Operand)]) -> Vec<Place> {
        let each = e.options.precision.depth() / 8;
        e.panel = Operand::Integer(0);
        let start = e.uniform_place(self.x);
        let stride = e.distance(self.x, self.x_stride, self.depth());
        let k = (Operand::from(self.thread.c), each as isize * stride);
        let clamps = matches!(self.x.source, Source::Buffer(_)) && e.has_tail();
        let column = (self.thread.g.into(), isize::from(!clamps));
        let start = e.further(start, &[k, column], 0);
        let panel_stride = e.stride(self.x, self.x.panel_stride as isize);
        let mut places: Vec<((Operand, Operand), Place)> = Vec::new();
        for (panel, lane) in panels {
            // What is past the last panel reads as that one, and is not kept.
            let panel = match Self::has_short_tile(e) {
                true => match places.iter().zip(panels).find(|(_, (other, _))| other == panel) {
                    Some((((panel, _), _), _)) => *panel,
                    None => {
                        let last = e.plus(e.panel_count, Operand::Integer(-1));
                        e.least(*panel, last)
                    }
                },
                false => *panel,
            };
            if clamps {
                // Nor has a stored value rows past the last.
                let lane = self.lane_of_row(e, panel, *lane);
                let place = e.further(start, &[(panel, panel_stride), (lane, 1)], 0);
                places.push(((panel, lane), place));
                continue;
            }
            let known = places.iter().find(|((other, at), _)| {
                *other == panel && matches!((at, lane), (Operand::Integer(_), Operand::Integer(_)))
            });
            let place = match (known, lane) {
                (Some(((_, Operand::Integer(at)), place)), Operand::Integer(lane)) => {
                    place.beyond((*lane - *at) as isize * 4)
                }
                _ => e.further(start, &[(panel, panel_stride), (*lane, 1)], 0),
            };
            places.push(((panel, *lane), place));
        }
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// The lane of column g of a fragment, or of the last row if there are no more.
    fn lane_of_row(&self, e: &mut Emitter<'_>, panel: Operand, lane: Operand) -> Operand {
        let panel = e.plus(e.first_panel.into(), panel);
        let first = e.times(panel, LANES);
        let row = e.plus(lane, self.thread.g.into());
        let row = e.plus(first, row);
        let row = e.least(row, (e.kernel.row_count() - 1).into());
        e.divided(row, LANES).1
    }

    /// Where the thread's elements of the result are: two rows of output g of each fragment, and two of output g + 8, with
    /// what must hold for them to be there.
    fn places_of_results(&self, e: &mut Emitter<'_>, row: Operand, panels: &[(Operand, Operand)]) -> Vec<Half> {
        e.panel = Operand::Integer(0);
        let start = e.uniform_place(self.c);
        let stride = e.distance(self.c, self.c_stride, self.n);
        let panel_stride = e.stride(self.c, self.c.panel_stride as isize);
        let first = e.times(row, OUTPUTS);
        let output = e.plus(first, self.thread.g.into());
        let start = e.further(start, &[(output, stride), (self.thread.c.into(), 2)], 0);
        let mut known: Vec<(Operand, Operand, Place)> = Vec::new();
        let columns: Vec<(Place, Option<Register>)> = panels
            .iter()
            .map(|(panel, lane)| {
                let same = known.iter().find(|(other, at, _)| other == panel && matches!(at, Operand::Integer(_)));
                let place = match (same, lane) {
                    (Some((_, Operand::Integer(at), place)), Operand::Integer(lane)) => {
                        place.beyond((*lane - *at) as isize * 4)
                    }
                    _ => e.further(start, &[(*panel, panel_stride), (*lane, 1)], 0),
                };
                known.push((*panel, *lane, place));
                (place, self.is_there(e, *panel, *lane))
            })
            .collect();
        halves(e, self.shape, (output, self.n), &columns, stride)
    }

    /// Whether a column has rows, if that is in question: panels past the last are none, and a stored value has no rows
    /// past the last. Rows come in twos.
    fn is_there(&self, e: &mut Emitter<'_>, panel: Operand, lane: Operand) -> Option<Register> {
        let mut exists = None;
        if Self::has_short_tile(e) {
            exists = Some(e.t.value(Class::Predicate, "setp.gt.s32", &[e.panel_count, panel]));
        }
        if matches!(self.c.source, Source::Buffer(_)) && e.has_tail() {
            let panel = e.plus(e.first_panel.into(), panel);
            let first = e.times(panel, LANES);
            let first = e.plus(first, lane);
            let own = e.times(self.thread.c.into(), 2);
            let row = e.plus(first, own);
            let count = e.kernel.row_count();
            let is_row = e.t.value(Class::Predicate, "setp.lt.s32", &[row, count.into()]);
            exists = e.both(exists, Some(is_row));
        }
        exists
    }

    /// The sums at the start: zero, or what blocks before have left.
    fn start(&self, e: &mut Emitter<'_>, block: Operand, results: &[Half]) -> Vec<Vec<Register>> {
        let zero = |e: &mut Emitter<'_>| e.t.variable(Class::Float32, Operand::Float(0.0));
        let sums: Vec<Vec<Register>> = self.shape.fragments().map(|_| (0..4).map(|_| zero(e)).collect()).collect();
        if let Operand::Register(block) = block {
            let goes_on = e.t.value(Class::Predicate, "setp.gt.s32", &[block.into(), 0_i64.into()]);
            e.guarded(Some(goes_on), &mut |e| {
                for (half, sum) in results.iter().zip(sums.iter().flat_map(|sum| sum.chunks(2))) {
                    half.load(e, sum);
                }
            });
        }
        sums
    }

    fn store(&self, e: &mut Emitter<'_>, sums: &[Vec<Register>], results: &[Half]) {
        for (half, sum) in results.iter().zip(sums.iter().flat_map(|sum| sum.chunks(2))) {
            e.store_vector(half.place, sum, half.exists);
        }
    }
}

impl Product<'_> {
    /// Writes the sums of some rows.
    fn store_part(
        &self,
        e: &mut Emitter<'_>,
        sums: &[Vec<Register>],
        results: &[Half],
        panels: &[(Operand, Operand)],
        (from, to): Part,
    ) {
        let own = e.times(self.thread.c.into(), 2);
        let counts: Vec<[Register; 2]> = panels
            .iter()
            .map(|(panel, lane)| {
                let panel = e.plus(e.first_panel.into(), *panel);
                let first = e.times(panel, LANES);
                let first = e.plus(first, *lane);
                let first = e.plus(first, own);
                [0, 1].map(|next| {
                    let row = e.plus(first, Operand::Integer(next));
                    let begun = e.t.value(Class::Predicate, "setp.ge.s32", &[row, from]);
                    let counts = e.t.register(Class::Predicate);
                    e.t.line(format_args!("setp.lt.and.s32 {counts}, {row}, {to}, {begun}"));
                    counts
                })
            })
            .collect();
        let halves = results.chunks(2).zip(sums).zip(self.shape.fragments());
        for ((halves, sums), (_, column)) in halves {
            for (half, sums) in halves.iter().zip(sums.chunks(2)) {
                for (next, (sum, counts)) in sums.iter().zip(counts[column]).enumerate() {
                    let exists = e.both(half.exists, Some(counts));
                    e.store(half.place.beyond(next as isize * 4), DType::F32, *sum, exists);
                }
            }
        }
    }
}

/// Half of what a thread has of a fragment of a result: two elements side by side.
struct Half {
    place: Place,
    /// What holds where they are there at all.
    exists: Option<Register>,
}

/// Both halves of every fragment of a shape: `columns` are the places of output g in each column, with what must hold there;
/// outputs from the n-th on are none.
fn halves(
    e: &mut Emitter<'_>,
    shape: Shape,
    (output, n): (Operand, usize),
    columns: &[(Place, Option<Register>)],
    stride: isize,
) -> Vec<Half> {
    let mut halves = Vec::new();
    for (i, j) in shape.fragments() {
        for half in [0, OUTPUTS / 2] {
            let at = i * OUTPUTS + half;
            let (place, column) = columns[j];
            let is_output = (!n.is_multiple_of(OUTPUTS)).then(|| {
                let output = e.plus(output, at.into());
                e.t.value(Class::Predicate, "setp.lt.s32", &[output, n.into()])
            });
            let exists = e.both(is_output, column);
            halves.push(Half { place: place.beyond(at as isize * stride * 4), exists });
        }
    }
    halves
}

impl Half {
    /// Reads them; registers stay as they are where there is nothing.
    fn load(&self, e: &mut Emitter<'_>, into: &[Register]) {
        let guard = self.exists.map_or_else(String::new, |predicate| format!("@{predicate} "));
        let space = if self.place.space == Space::Shared { "shared" } else { "global" };
        e.t.line(format_args!("{guard}ld.{space}.v2.f32 {}, {}", vector(into), self.place));
    }
}

/// The class in which packed weights are read.
fn weight_class(e: &Emitter<'_>) -> Class {
    if e.options.precision == Precision::F32 { Class::Float32 } else { Class::Bits32 }
}

/// A fragment of packed weights, which were rounded when they were packed unless both parts are wanted.
fn weight_fragment(e: &mut Emitter<'_>, packed: Vec<Register>) -> Fragment {
    match e.options.precision {
        Precision::F32 => fragment(e, &packed),
        Precision::Tf32 | Precision::Bf16 => Fragment { main: packed, rest: None },
    }
}

/// Elements in `f32` as a fragment.
fn fragment(e: &mut Emitter<'_>, elements: &[Register]) -> Fragment {
    match e.options.precision {
        Precision::Bf16 => {
            let pair = |pair: &[Register]| {
                // The second operand is the lower half.
                e.t.value(Class::Bits32, "cvt.rn.bf16x2.f32", &[pair[1].into(), pair[0].into()])
            };
            Fragment { main: elements.chunks(2).map(pair).collect(), rest: None }
        }
        Precision::Tf32 => Fragment { main: elements.iter().map(|x| rounded(e, *x)).collect(), rest: None },
        Precision::F32 => {
            let main: Vec<Register> = elements.iter().map(|x| rounded(e, *x)).collect();
            let rest = elements.iter().zip(&main).map(|(x, main)| {
                let main = e.t.value(Class::Float32, "mov.b32", &[Operand::from(*main)]);
                let rest = e.t.value(Class::Float32, "sub.rn.f32", &[Operand::from(*x), main.into()]);
                rounded(e, rest)
            });
            let rest = rest.collect();
            Fragment { main, rest: Some(rest) }
        }
    }
}

/// A number rounded to the 11 bits that tensor cores take of an `f32`.
fn rounded(e: &mut Emitter<'_>, x: Register) -> Register {
    e.t.value(Class::Bits32, "cvt.rna.tf32.f32", &[x.into()])
}

/// Adds a product of fragments to a fragment; the small products first.
fn multiply(e: &mut Emitter<'_>, w: &Fragment, x: &Fragment, sum: &[Register]) {
    let shape = match e.options.precision {
        Precision::F32 | Precision::Tf32 => "m16n8k8.row.col.f32.tf32.tf32.f32",
        Precision::Bf16 => "m16n8k16.row.col.f32.bf16.bf16.f32",
    };
    let mut add = |w: &[Register], x: &[Register]| {
        let (sum, w, x) = (vector(sum), vector(w), vector(x));
        e.t.line(format_args!("mma.sync.aligned.{shape} {sum}, {w}, {x}, {sum}"));
    };
    if let (Some(w_rest), Some(x_rest)) = (&w.rest, &x.rest) {
        add(w_rest, &x.main);
        add(&w.main, x_rest);
    }
    add(&w.main, &x.main);
}

/// `partial[n][k] += Σ_row g[n][row] · x[k][row]` for each index of the loops. Rows are the depth of the product: a thread
/// takes neighbouring ones, which lie side by side in a tile, in any order that is the same for both operands.
pub(super) fn accumulate(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    g: &Factor,
    x: &Factor,
    window: Option<&Window>,
    target: BufferId,
) {
    let blocks = window.map_or(1, Window::blocks);
    let (n, block) = (g.features, x.features / blocks);
    let (_, partial) = e.partial(target);
    let shape = Shape::of_sums(n.div_ceil(OUTPUTS), block.div_ceil(ROWS));
    let sums = RowSums { g, x, n, block, shape, thread: Thread::of(e) };
    e.nest(loops, &mut |e| {
        let matrix = e.number(loops);
        let first = e.times(matrix, blocks);
        window::blocks(e, window, &x.access, &mut |e, at| {
            let at = e.plus(first, at);
            let words = n * block.next_multiple_of(LANES);
            let partial = e.further(partial, &[(at, words as isize)], 0);
            e.stepping(e.warp.into(), sums.shape.units.into(), WARPS, &mut |e, unit| sums.unit(e, unit, partial));
        });
    });
}

impl Shape {
    /// Divides the fragments of a sum over rows: squares, since both operands are read from the tile.
    fn of_sums(rows: usize, columns: usize) -> Shape {
        let wide = largest_divisor(columns, 8.min((rows * columns).div_ceil(WARPS)));
        let high = largest_divisor(rows, 2.min((rows * (columns / wide)).div_ceil(WARPS)));
        let columns = columns / wide;
        Shape { high, wide, columns, units: rows / high * columns }
    }
}

/// Sums over rows of products of two tiles.
struct RowSums<'a> {
    g: &'a Factor,
    x: &'a Factor,
    /// Features of g, and of a block of x.
    n: usize,
    block: usize,
    shape: Shape,
    thread: Thread,
}

impl RowSums<'_> {
    fn unit(&self, e: &mut Emitter<'_>, unit: Operand, partial: Place) {
        let (row, column) = e.divided(unit, self.shape.columns);
        let first_output = e.times(row, self.shape.high * OUTPUTS);
        let first_column = e.times(column, self.shape.wide * ROWS);
        let results = self.places_of_results(e, first_output, first_column, partial);
        let sums: Vec<Vec<Register>> = self
            .shape
            .fragments()
            .map(|_| (0..4).map(|_| e.t.variable(Class::Float32, Operand::Float(0.0))).collect())
            .collect();
        for (half, sum) in results.iter().zip(sums.iter().flat_map(|sum| sum.chunks(2))) {
            half.load(e, sum);
        }
        let depth = e.options.precision.depth();
        e.panels(&mut |e| {
            let outputs = self.lines(e, (self.g, self.n), first_output, 2 * self.shape.high);
            let columns = self.lines(e, (self.x, self.block), first_column, self.shape.wide);
            let [outputs, columns] = [outputs, columns].map(|lines| moving(e, &lines));
            e.stepping(Operand::Integer(0), (LANES / depth).into(), 1, &mut |e, step| {
                self.step(e, step, &outputs, &columns, &sums);
                outputs.ahead(e, (depth * self.g.row_stride * 4) as isize);
                columns.ahead(e, (depth * self.x.row_stride * 4) as isize);
            });
        });
        for (half, sum) in results.iter().zip(sums.iter().flat_map(|sum| sum.chunks(2))) {
            e.store_vector(half.place, sum, half.exists);
        }
    }

    /// Adds the products of the rows of a step.
    fn step(&self, e: &mut Emitter<'_>, step: Operand, outputs: &Moving, columns: &Moving, sums: &[Vec<Register>]) {
        let exist = self.exist(e, step);
        let w: Vec<Fragment> = outputs
            .places
            .chunks(2)
            .map(|halves| {
                let [upper, lower] = [0, 1].map(|half| self.elements(e, halves[half], self.g.row_stride, &exist));
                // As a thread has them: both halves of the outputs for each part of the rows.
                let each = upper.len() / 2;
                let order = [0, 1].map(|part| {
                    let part = part * each..(part + 1) * each;
                    [&upper[part.clone()], &lower[part]].concat()
                });
                fragment(e, &order.concat())
            })
            .collect();
        let x: Vec<Fragment> = columns
            .places
            .iter()
            .map(|line| {
                let elements = self.elements(e, *line, self.x.row_stride, &exist);
                fragment(e, &elements)
            })
            .collect();
        for (i, j) in self.shape.fragments() {
            multiply(e, &w[i], &x[j], &sums[i * self.shape.wide + j]);
        }
    }

    /// Where a thread's first row of some features is in the current panel: of feature g from `first` on, and of every eighth
    /// after it. Past the last feature it reads that one, and the sum is not kept.
    fn lines(
        &self,
        e: &mut Emitter<'_>,
        (factor, count): (&Factor, usize),
        first: Operand,
        lines: usize,
    ) -> Vec<Place> {
        let each = e.options.precision.depth() / 4 * factor.row_stride;
        let start = e.uniform_place(&factor.access);
        let stride = e.distance(&factor.access, factor.feature_stride, count);
        let first = e.plus(first, self.thread.g.into());
        let own = (Operand::from(self.thread.c), each as isize);
        if count.is_multiple_of(OUTPUTS) {
            let place = e.further(start, &[(first, stride), own], 0);
            return (0..lines).map(|line| place.beyond((line * ROWS) as isize * stride * 4)).collect();
        }
        (0..lines)
            .map(|line| {
                let feature = e.plus(first, (line * ROWS).into());
                let feature = e.least(feature, (count - 1).into());
                e.further(start, &[(feature, stride), own], 0)
            })
            .collect()
    }

    /// The elements of a step: two or four rows, side by side or apart; zero past the last row.
    fn elements(&self, e: &mut Emitter<'_>, place: Place, stride: usize, exist: &[Register]) -> Vec<Register> {
        let depth = e.options.precision.depth();
        let place_of = |at: usize| place.beyond((at * stride * 4) as isize);
        match exist {
            [] if stride == 1 => return e.load_vector(place, Class::Float32, depth / 4),
            [] => return (0..depth / 4).map(|at| e.load(place_of(at), DType::F32)).collect(),
            _ if stride > 1 || place.space != Space::Shared => {
                let one = |(at, exists): (usize, &Register)| e.load_where(*exists, place_of(at), DType::F32);
                return exist.iter().enumerate().map(one).collect();
            }
            _ => {}
        }
        let elements = e.load_vector(place, Class::Float32, depth / 4);
        let pairs = elements.iter().zip(exist);
        pairs
            .map(|(element, exists)| {
                let operands = [(*element).into(), Operand::Float(0.0), (*exists).into()];
                e.t.value(Class::Float32, "selp.f32", &operands)
            })
            .collect()
    }

    /// Whether the rows of a step exist; nothing if all do.
    fn exist(&self, e: &mut Emitter<'_>, step: Operand) -> Vec<Register> {
        if !e.has_tail() {
            return Vec::new();
        }
        let depth = e.options.precision.depth();
        let each = depth / 4;
        let lane = e.times(step, depth);
        let panel = e.plus(e.first_panel.into(), e.panel);
        let first = e.times(panel, LANES);
        let own = e.times(self.thread.c.into(), each);
        let first = e.plus(first, own);
        let first = e.plus(first, lane);
        let count = e.kernel.row_count() as i64;
        (0..each)
            .map(|at| {
                let left = count - at as i64;
                e.t.value(Class::Predicate, "setp.lt.s32", &[first, left.into()])
            })
            .collect()
    }

    /// Where the thread's sums are: partial results lie as panels of k, `[k panel][n][32]`.
    fn places_of_results(
        &self,
        e: &mut Emitter<'_>,
        first_output: Operand,
        first_column: Operand,
        partial: Place,
    ) -> Vec<Half> {
        let (n, block) = (self.n, self.block);
        let output = e.plus(first_output, self.thread.g.into());
        let start = e.further(partial, &[(output, LANES as isize), (self.thread.c.into(), 2)], 0);
        let own = e.times(self.thread.c.into(), 2);
        let columns: Vec<(Place, Option<Register>)> = (0..self.shape.wide)
            .map(|j| {
                let first = e.plus(first_column, (j * ROWS).into());
                let (panel, lane) = e.divided(first, LANES);
                let place = e.further(start, &[(panel, (n * LANES) as isize), (lane, 1)], 0);
                let k = e.plus(first, own);
                let exists =
                    (block % ROWS != 0).then(|| e.t.value(Class::Predicate, "setp.lt.s32", &[k, block.into()]));
                (place, exists)
            })
            .collect();
        halves(e, self.shape, (output, n), &columns, LANES as isize)
    }
}

/// Words of packed weights of a layout, and the geometry that they have.
pub(super) fn packed(layout: &Layout, precision: Precision) -> (usize, usize, usize) {
    let Layout::Fragments { n, blocks, block, .. } = layout else { unreachable!("weights are packed as fragments") };
    (n.div_ceil(OUTPUTS), *blocks, block.div_ceil(precision.depth()))
}
