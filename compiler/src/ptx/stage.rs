//! The code of each kind of stage.

use super::{
    contraction::{self, Matrices},
    emitter::{Emitter, THREADS, WARPS, pitched},
    scalar::{class, combine, constant, immediate, select},
    text::{Class, Operand, Register},
};
use crate::{
    axis::Axis,
    graph::{Combine, DType, ScalarOp},
    plan::{
        Access, BufferId, Expression, LANES, Layout, Loop, Source, Stage, Store,
        analysis::{Matrix, addressed, analyse, collapse, matrix},
        words,
    },
};

/// Emits one stage at the current tile.
pub(super) fn emit(e: &mut Emitter<'_>, stage: &Stage) {
    match stage {
        Stage::Load { source, offset, row_strides, loops, strides, target } => {
            load(e, (*source, *offset), row_strides, (loops, strides), target);
        }
        Stage::Save { source, loops, strides, row_strides, target } => {
            save(e, source, (loops, strides), row_strides, *target);
        }
        Stage::Stream { source, target, panel } => stream(e, *source, *target, *panel),
        Stage::Fill { target, loops, value, dtype } => {
            let loops = collapse(loops, &[target], &[]);
            e.share(&loops, &mut |e| {
                let value = constant(&mut e.t, *value, *dtype);
                let (place, may) = (e.place(target, *dtype), e.may_write(target));
                e.store(place, *dtype, value, may);
            });
        }
        Stage::Map { loops, body, stores } => map(e, loops, body, stores),
        Stage::Reduce { loops, over, combine, dtype, body, store } => {
            reduce(e, loops, over, (*combine, *dtype), body, store);
        }
        Stage::ArgReduce { loops, over, largest, body, store } => arg_reduce(e, loops, *over, *largest, body, store),
        Stage::Scan { loops, along, combine, exclusive, reverse, dtype, body, store } => {
            scan(e, loops, *along, (*combine, *dtype), (*exclusive, *reverse), body, store);
        }
        Stage::Sort { loops, source, along, target, positions, dtype } => {
            sort(e, loops, source, *along, target, *positions, *dtype);
        }
        Stage::Scatter { loops, body, index, update, target, stride, size } => {
            scatter(e, loops, body, (*index, *update), target, (*stride, *size));
        }
        Stage::Winograd { .. } => unreachable!("tensor cores convolve by all of their products"),
        Stage::Contract { loops, batch, weights, n, k, x, x_stride, c, c_stride, pairs: _, window } => {
            let matrices = Matrices { weights: *weights, loops, batch: *batch, n: *n, k: *k };
            contraction::rows(e, &matrices, (x, *x_stride), (c, *c_stride), window.as_ref());
        }
        Stage::AccumulateContract { loops, g, x, target, window, .. } => {
            contraction::accumulate(e, loops, g, x, window.as_ref(), *target);
        }
        Stage::AccumulateReduce { loops, row_strides, over, combine, dtype, body, term, strides, target } => {
            let sum = Sum { loops, over, how: *combine, dtype: *dtype, body, term: *term };
            accumulate_reduce(e, &sum, (strides, row_strides), *target);
        }
        Stage::AccumulateScatter { loops, body, index, update, strides, stride, size, target } => {
            accumulate_scatter(e, loops, body, (*index, *update), strides, (*stride, *size), *target);
        }
    }
}

/// Sets the partial results of this block to what changes nothing.
pub(super) fn start_partials(e: &mut Emitter<'_>) {
    let kernel = e.kernel;
    for stage in kernel.stages.iter().filter(|stage| stage.accumulates()) {
        let (target, dtype, value) = match stage {
            Stage::AccumulateReduce { target, combine, dtype, .. } => (*target, *dtype, combine.identity(*dtype)),
            Stage::AccumulateContract { target, .. } | Stage::AccumulateScatter { target, .. } => {
                (*target, e.plan.buffers[target.0 as usize].dtype, 0.0)
            }
            _ => continue,
        };
        let Layout::Partials { elements, .. } = e.plan.buffers[target.0 as usize].layout else { continue };
        let (_, start) = e.partial(target);
        let value = constant(&mut e.t, value, dtype);
        let first = e.times(e.warp.into(), LANES);
        let thread = e.plus(first, e.lane.into());
        e.stepping(thread, elements.into(), THREADS, &mut |e, element| {
            let place = e.further(start, &[(element, words(dtype) as isize)], 0);
            e.store(place, dtype, value, None);
        });
    }
    e.barrier();
}

/// How an element of a stored value is copied, whatever it means.
fn raw(e: &Emitter<'_>, id: BufferId) -> DType {
    match words(e.plan.buffers[id.0 as usize].dtype) {
        1 => DType::I32,
        _ => DType::F64,
    }
}

/// What is emitted for an element: of a row, a lane of its panel and a feature, and whether there is one.
type ByElement<'a> = dyn FnMut(&mut Emitter<'_>, [Operand; 3], Option<Register>) + 'a;

/// Emits `body` for every element of the tile's rows, so that threads side by side have features side by side: four
/// features of eight rows, which also are in different banks of tile memory.
fn by_features(e: &mut Emitter<'_>, features: usize, body: &mut ByElement<'_>) {
    const ROWS: usize = 8;
    const FEATURES: usize = LANES / ROWS;
    let groups = [(Axis::new("rows"), LANES / ROWS), (Axis::new("features"), features.div_ceil(FEATURES))];
    let own_row = e.t.value(Class::Bits32, "shr.u32", &[e.lane.into(), 2_i64.into()]);
    let own_feature = e.t.value(Class::Bits32, "and.b32", &[e.lane.into(), 3_i64.into()]);
    e.share(&groups, &mut |e| {
        let [rows, group] = groups.map(|(axis, _)| e.indices[&axis]);
        let lane = e.times(rows, ROWS);
        let lane = e.plus(lane, own_row.into());
        let feature = e.times(group, FEATURES);
        let feature = e.plus(feature, own_feature.into());
        let panel = e.plus(e.first_panel.into(), e.panel);
        let first = e.times(panel, LANES);
        let row = e.plus(first, lane);
        let below = |e: &mut Emitter<'_>, index: Operand, count: usize| {
            e.t.value(Class::Predicate, "setp.lt.s32", &[index, count.into()])
        };
        let mut exists = None;
        if !features.is_multiple_of(FEATURES) {
            exists = Some(below(e, feature, features));
        }
        if e.has_tail() {
            let is_row = below(e, row, e.kernel.row_count());
            exists = e.both(Some(is_row), exists);
        }
        body(e, [row, lane, feature], exists);
    });
}

/// The place of a lane and a feature in a tile of which features lie one after another.
fn in_tile(e: &mut Emitter<'_>, access: &Access, lane: Operand, feature: Operand) -> super::emitter::Place {
    let start = e.uniform_place(access);
    let pitch = e.stride(access, LANES as isize);
    e.further(start, &[(lane, 1), (feature, pitch)], 0)
}

fn load(
    e: &mut Emitter<'_>,
    (source, offset): (BufferId, isize),
    row_strides: &[(Axis, isize)],
    (loops, strides): (&[Loop], &[isize]),
    target: &Access,
) {
    let dtype = raw(e, source);
    if let (DType::I32, Some(Matrix { stride, features, outer: 0 })) =
        (dtype, matrix(e.kernel, row_strides, (loops, strides), target))
    {
        return by_features(e, features, &mut |e, [row, lane, feature], exists| {
            let start = e.start(Source::Buffer(source));
            let from = e.further(start, &[(row, stride as isize), (feature, 1)], offset);
            let value = match exists {
                Some(exists) => e.load_where(exists, from, dtype),
                None => e.load(from, dtype),
            };
            let to = in_tile(e, target, lane, feature);
            let is_feature =
                (features % 4 != 0).then(|| e.t.value(Class::Predicate, "setp.lt.s32", &[feature, features.into()]));
            e.store(to, dtype, value, is_feature);
        });
    }
    let leader = (!target.lanes).then(|| e.t.value(Class::Predicate, "setp.eq.s32", &[e.lane.into(), 0_i64.into()]));
    e.share(loops, &mut |e| {
        let row = e.row().number;
        let mut parts = e.row_distance(row.into(), row_strides);
        parts.extend(e.loop_distance(loops, strides));
        let start = e.start(Source::Buffer(source));
        let from = e.further(start, &parts, offset);
        let value = e.load(from, dtype);
        let to = e.place(target, dtype);
        e.store(to, dtype, value, leader);
    });
}

fn save(
    e: &mut Emitter<'_>,
    source: &Access,
    (loops, strides): (&[Loop], &[isize]),
    row_strides: &[(Axis, isize)],
    target: BufferId,
) {
    let dtype = raw(e, target);
    if let (DType::I32, Some(Matrix { stride, features, outer: 0 })) =
        (dtype, matrix(e.kernel, row_strides, (loops, strides), source))
    {
        return by_features(e, features, &mut |e, [row, lane, feature], exists| {
            let from = in_tile(e, source, lane, feature);
            let value = match exists {
                Some(exists) => e.load_where(exists, from, dtype),
                None => e.load(from, dtype),
            };
            let start = e.start(Source::Buffer(target));
            let to = e.further(start, &[(row, stride as isize), (feature, 1)], 0);
            e.store(to, dtype, value, exists);
        });
    }
    e.share(loops, &mut |e| {
        let from = e.place(source, dtype);
        let value = e.load(from, dtype);
        let row = e.row();
        let mut parts = e.row_distance(row.number.into(), row_strides);
        parts.extend(e.loop_distance(loops, strides));
        let start = e.start(Source::Buffer(target));
        let to = e.further(start, &parts, 0);
        e.store(to, dtype, value, row.exists);
    });
}

/// Copies whole panels, 32 words at a time.
fn stream(e: &mut Emitter<'_>, source: Source, target: BufferId, panel: usize) {
    let lines = [(Axis::new("line"), panel / LANES)];
    e.share(&lines, &mut |e| {
        let lane = (Operand::from(e.lane), 1);
        let line = e.indices[&lines[0].0];
        let from = e.start(source);
        let from = e.further(from, &[(e.panel, pitched(panel as isize)), (line, pitched(LANES as isize)), lane], 0);
        let value = e.load(from, DType::I32);
        let at = e.plus(e.first_panel.into(), e.panel);
        let to = e.start(Source::Buffer(target));
        let to = e.further(to, &[(at, panel as isize), (line, LANES as isize), lane], 0);
        e.store(to, DType::I32, value, None);
    });
}

fn map(e: &mut Emitter<'_>, loops: &[Loop], body: &Expression, stores: &[Store]) {
    let kept: Vec<usize> = stores.iter().map(|store| store.term).collect();
    let analysis = analyse(body, &kept);
    let mut emit = |e: &mut Emitter<'_>| {
        let values = e.terms(body, &analysis);
        for store in stores {
            let dtype = analysis.dtypes[store.term];
            let (place, may) = (e.place(&store.target, dtype), e.may_write(&store.target));
            let mut value = values[store.term];
            if store.add {
                let before = e.load(place, dtype);
                value = combine(&mut e.t, Combine::Sum, dtype, before, value);
            }
            e.store(place, dtype, value, may);
        }
    };
    match stores.iter().find(|store| store.add) {
        None => {
            let (mut accesses, indexed) = addressed(body);
            accesses.extend(stores.iter().map(|store| &store.target));
            e.share(&collapse(loops, &accesses, &indexed), &mut emit);
        }
        Some(store) => {
            let (apart, together) = by_place(loops, &store.target, None);
            e.share(&apart, &mut |e| e.nest(&together, &mut emit));
        }
    }
}

/// Divides loops into those whose indices write to places of their own, and those whose indices may meet in one place and
/// are therefore walked in order by one thread. `index` is the stride and the number of places of an index that
/// depends on data.
fn by_place(loops: &[Loop], target: &Access, index: Option<(isize, usize)>) -> (Vec<Loop>, Vec<Loop>) {
    let mut strides: Vec<(Option<Axis>, usize, usize)> = loops
        .iter()
        .filter(|(_, size)| *size > 1)
        .map(|(axis, size)| (Some(*axis), *size, target.stride(*axis).unsigned_abs()))
        .collect();
    strides.extend(index.map(|(stride, size)| (None, size, stride.unsigned_abs())));
    strides.sort_by_key(|(_, _, stride)| *stride);
    // What the shorter strides reach, an element included.
    let mut extent = 1;
    let mut last_meeting = 0;
    for (at, (_, size, stride)) in strides.iter().enumerate() {
        if *stride < extent {
            last_meeting = at + 1;
        }
        extent += stride * (size - 1);
    }
    let own: Vec<Axis> = strides[last_meeting..].iter().filter_map(|(axis, ..)| *axis).collect();
    loops.iter().partition(|(axis, size)| *size == 1 || own.contains(axis))
}

fn reduce(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    over: &[Loop],
    (how, dtype): (Combine, DType),
    body: &Expression,
    store: &Store,
) {
    let analysis = analyse(body, &[store.term]);
    e.share(loops, &mut |e| {
        let sum = e.t.variable(class(dtype), immediate(how.identity(dtype), dtype));
        e.nest(over, &mut |e| {
            let values = e.terms(body, &analysis);
            let after = combine(&mut e.t, how, dtype, sum, values[store.term]);
            e.t.copy(sum, after.into());
        });
        let (place, may) = (e.place(&store.target, dtype), e.may_write(&store.target));
        e.store(place, dtype, sum, may);
    });
}

fn arg_reduce(e: &mut Emitter<'_>, loops: &[Loop], over: Loop, largest: bool, body: &Expression, store: &Store) {
    let analysis = analyse(body, &[store.term]);
    let dtype = analysis.dtypes[store.term];
    let how = if largest { Combine::Max } else { Combine::Min };
    e.share(loops, &mut |e| {
        let best = e.t.variable(class(dtype), immediate(how.identity(dtype), dtype));
        let position = e.t.variable(Class::Bits32, Operand::Integer(0));
        e.nest(&[over], &mut |e| {
            let values = e.terms(body, &analysis);
            let value = values[store.term];
            let (low, high) = if largest { (best, value) } else { (value, best) };
            let better = super::scalar::scalar(&mut e.t, ScalarOp::Less, dtype, &[low, high]);
            let value = select(&mut e.t, better, value, best);
            e.t.copy(best, value.into());
            let index = e.indices[&over.0];
            e.t.set(position, "selp.b32", &[index, position.into(), better.into()]);
        });
        let (place, may) = (e.place(&store.target, DType::I32), e.may_write(&store.target));
        e.store(place, DType::I32, position, may);
    });
}

fn scan(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    (axis, size): Loop,
    (how, dtype): (Combine, DType),
    (exclusive, reverse): (bool, bool),
    body: &Expression,
    store: &Store,
) {
    let analysis = analyse(body, &[store.term]);
    e.share(loops, &mut |e| {
        let sum = e.t.variable(class(dtype), immediate(how.identity(dtype), dtype));
        e.stepping(Operand::Integer(0), size.into(), 1, &mut |e, step| {
            let index = match (reverse, step) {
                (false, _) => step,
                (true, Operand::Integer(step)) => Operand::Integer(size as i64 - 1 - step),
                (true, _) => e.t.value(Class::Bits32, "sub.s32", &[(size - 1).into(), step]).into(),
            };
            e.indices.insert(axis, index);
            let values = e.terms(body, &analysis);
            let after = combine(&mut e.t, how, dtype, sum, values[store.term]);
            let kept = if exclusive { sum } else { after };
            let (place, may) = (e.place(&store.target, dtype), e.may_write(&store.target));
            e.store(place, dtype, kept, may);
            e.t.copy(sum, after.into());
            e.indices.remove(&axis);
        });
    });
}

/// Puts every element where it belongs: as many places from the first as elements come before it. That is more comparisons
/// than sorting takes, but every element is on its own.
fn sort(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    source: &Access,
    (axis, size): Loop,
    target: &Access,
    positions: bool,
    dtype: DType,
) {
    let all = [loops, &[(axis, size)]].concat();
    let suffix = match dtype {
        DType::F64 => "f64",
        DType::F32 => "f32",
        _ => "s32",
    };
    e.share(&all, &mut |e| {
        let own = e.indices[&axis];
        let place = e.place(source, dtype);
        let value = e.load(place, dtype);
        // A NaN comes after everything that is none.
        let is_nan = dtype
            .is_float()
            .then(|| e.t.value(Class::Predicate, &format!("setp.nan.{suffix}"), &[value.into(), value.into()]));
        let rank = e.t.variable(Class::Bits32, Operand::Integer(0));
        let count = |e: &mut Emitter<'_>, start: Operand, end: Operand, comparison: &str| {
            e.stepping(start, end, 1, &mut |e, index| {
                e.indices.insert(axis, index);
                let place = e.place(source, dtype);
                let other = e.load(place, dtype);
                let comes_before = match is_nan {
                    None => {
                        let opcode = format!("setp.{comparison}.{suffix}");
                        e.t.value(Class::Predicate, &opcode, &[other.into(), value.into()])
                    }
                    Some(nan) => {
                        let mut other_is_first = nan;
                        if comparison == "lt" {
                            let opcode = format!("setp.eq.and.{suffix}");
                            let operands = [other.into(), other.into(), nan.into()];
                            other_is_first = e.t.value(Class::Predicate, &opcode, &operands);
                        }
                        let opcode = format!("setp.{comparison}.or.{suffix}");
                        let operands = [other.into(), value.into(), other_is_first.into()];
                        e.t.value(Class::Predicate, &opcode, &operands)
                    }
                };
                let one = e.t.value(Class::Bits32, "selp.b32", &[1_i64.into(), 0_i64.into(), comes_before.into()]);
                e.t.set(rank, "add.s32", &[rank.into(), one.into()]);
                e.indices.insert(axis, own);
            });
        };
        // Equal elements keep their order.
        count(e, Operand::Integer(0), own, "le");
        let next = e.plus(own, Operand::Integer(1));
        count(e, next, size.into(), "lt");
        e.indices.insert(axis, rank.into());
        let result = if positions { DType::I32 } else { dtype };
        let (place, may) = (e.place(target, result), e.may_write(target));
        let kept = match (positions, own) {
            (false, _) => value,
            (true, Operand::Register(own)) => own,
            (true, own) => e.t.variable(Class::Bits32, own),
        };
        e.store(place, result, kept, may);
    });
}

/// Adds each row's updates into its own table.
fn scatter(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    body: &Expression,
    (index, update): (usize, usize),
    target: &Access,
    (stride, size): (isize, usize),
) {
    let analysis = analyse(body, &[index, update]);
    let dtype = analysis.dtypes[update];
    let (apart, together) = by_place(loops, target, Some((stride, size)));
    e.share(&apart, &mut |e| {
        e.nest(&together, &mut |e| {
            let values = e.terms(body, &analysis);
            let (place, inside) = indexed_place(e, target, dtype, values[index], (stride, size));
            let counts = e.both(Some(inside), e.may_write(target));
            e.guarded(counts, &mut |e| {
                let before = e.load(place, dtype);
                let after = combine(&mut e.t, Combine::Sum, dtype, before, values[update]);
                e.store(place, dtype, after, None);
            });
        });
    });
}

/// The place at an index that depends on data, and whether it is inside.
fn indexed_place(
    e: &mut Emitter<'_>,
    target: &Access,
    dtype: DType,
    index: Register,
    (stride, size): (isize, usize),
) -> (super::emitter::Place, Register) {
    let (safe, inside) = clamped(e, index, size);
    let place = e.place(target, dtype);
    let stride = e.stride(target, stride);
    (e.further(place, &[(safe.into(), stride)], 0), inside)
}

/// An index, 0 where it is outside, and whether it is inside.
fn clamped(e: &mut Emitter<'_>, index: Register, size: usize) -> (Register, Register) {
    let inside = e.t.value(Class::Predicate, "setp.lt.u32", &[index.into(), size.into()]);
    (e.t.value(Class::Bits32, "selp.b32", &[index.into(), 0_i64.into(), inside.into()]), inside)
}

/// A sum over rows, or another combination.
struct Sum<'a> {
    loops: &'a [Loop],
    over: &'a [Loop],
    how: Combine,
    dtype: DType,
    body: &'a Expression,
    term: usize,
}

impl Sum<'_> {
    fn start(&self, e: &mut Emitter<'_>) -> Register {
        e.t.variable(class(self.dtype), immediate(self.how.identity(self.dtype), self.dtype))
    }

    /// Adds the term at the current panel and indices to a register.
    fn add(&self, e: &mut Emitter<'_>, sum: Register) {
        let analysis = analyse(self.body, &[self.term]);
        let values = e.terms(self.body, &analysis);
        let mut value = values[self.term];
        if let Some(exists) = e.row().exists {
            let nothing = constant(&mut e.t, self.how.identity(self.dtype), self.dtype);
            value = select(&mut e.t, exists, value, nothing);
        }
        let after = combine(&mut e.t, self.how, self.dtype, sum, value);
        e.t.copy(sum, after.into());
    }

    /// Puts the threads of a warp together: every one of them has the result.
    fn across(&self, e: &mut Emitter<'_>, sum: Register) {
        for distance in [16, 8, 4, 2, 1] {
            let other = shuffled(e, sum, distance);
            let after = combine(&mut e.t, self.how, self.dtype, sum, other);
            e.t.copy(sum, after.into());
        }
    }

    /// Adds a register of the leading thread to a place.
    fn end(&self, e: &mut Emitter<'_>, leads: Register, place: super::emitter::Place, sum: Register) {
        e.guarded(Some(leads), &mut |e| {
            let before = e.load(place, self.dtype);
            let after = combine(&mut e.t, self.how, self.dtype, before, sum);
            e.store(place, self.dtype, after, None);
        });
    }
}

/// The value of the thread so many lanes away.
fn shuffled(e: &mut Emitter<'_>, value: Register, distance: i64) -> Register {
    let shuffle = |e: &mut Emitter<'_>, class: Class, word: Register| {
        let operands = [word.into(), distance.into(), 31_i64.into(), (-1_i64).into()];
        e.t.value(class, "shfl.sync.bfly.b32", &operands)
    };
    if value.class != Class::Float64 {
        return shuffle(e, value.class, value);
    }
    let halves = [e.t.register(Class::Bits32), e.t.register(Class::Bits32)];
    e.t.line(format_args!("mov.b64 {}, {value}", super::text::vector(&halves)));
    let halves = halves.map(|half| shuffle(e, Class::Bits32, half));
    let result = e.t.register(Class::Float64);
    e.t.line(format_args!("mov.b64 {result}, {}", super::text::vector(&halves)));
    result
}

fn accumulate_reduce(
    e: &mut Emitter<'_>,
    sum: &Sum<'_>,
    (strides, row_strides): (&[isize], &[(Axis, isize)]),
    target: BufferId,
) {
    let (_, partial) = e.partial(target);
    let leads = e.t.value(Class::Predicate, "setp.eq.s32", &[e.lane.into(), 0_i64.into()]);
    let items: usize = sum.loops.iter().map(|(_, size)| size).product();
    if row_strides.is_empty() && items < WARPS / 2 {
        return e.nest(sum.loops, &mut |e| {
            let parts = e.loop_distance(sum.loops, strides);
            let place = e.further(partial, &parts, 0);
            sum_of_block(e, sum, leads, place);
        });
    }
    e.stepping(e.warp.into(), items.into(), WARPS, &mut |e, item| {
        e.indexed(sum.loops, item, &mut |e| {
            let parts = e.loop_distance(sum.loops, strides);
            let place = e.further(partial, &parts, 0);
            if row_strides.is_empty() {
                let total = sum.start(e);
                e.panels(&mut |e| e.nest(sum.over, &mut |e| sum.add(e, total)));
                sum.across(e, total);
                return sum.end(e, leads, place, total);
            }
            e.panels(&mut |e| {
                let total = sum.start(e);
                e.nest(sum.over, &mut |e| sum.add(e, total));
                sum.across(e, total);
                // Whole panels have one place.
                let row = e.row().number;
                let parts = e.row_distance(row.into(), row_strides);
                let place = e.further(place, &parts, 0);
                sum.end(e, leads, place, total);
            });
        });
    });
}

/// One sum that all warps share: each its part, then in order.
fn sum_of_block(e: &mut Emitter<'_>, sum: &Sum<'_>, leads: Register, place: super::emitter::Place) {
    let part = sum.start(e);
    e.share(sum.over, &mut |e| sum.add(e, part));
    sum.across(e, part);
    let exchange = e.exchange();
    let own = e.further(exchange, &[(e.warp.into(), 2)], 0);
    e.store(own, sum.dtype, part, Some(leads));
    e.barrier();
    let is_first = e.t.value(Class::Predicate, "setp.eq.s32", &[e.warp.into(), 0_i64.into()]);
    let first = e.both(Some(leads), Some(is_first));
    e.guarded(first, &mut |e| {
        let mut total = e.load(place, sum.dtype);
        for warp in 0..WARPS {
            let part = e.load(exchange.beyond(warp as isize * 8), sum.dtype);
            total = combine(&mut e.t, sum.how, sum.dtype, total, part);
        }
        e.store(place, sum.dtype, total, None);
    });
    e.barrier();
}

/// Adds updates of all rows into one table.
fn accumulate_scatter(
    e: &mut Emitter<'_>,
    loops: &[Loop],
    body: &Expression,
    (index, update): (usize, usize),
    strides: &[isize],
    (stride, size): (isize, usize),
    target: BufferId,
) {
    let analysis = analyse(body, &[index, update]);
    let dtype = analysis.dtypes[update];
    let (_, partial) = e.partial(target);
    let add = |e: &mut Emitter<'_>| {
        let values = e.terms(body, &analysis);
        let (safe, inside) = clamped(e, values[index], size);
        let mut parts = e.loop_distance(loops, strides);
        parts.push((safe.into(), stride));
        let place = e.further(partial, &parts, 0);
        (place, e.both(Some(inside), e.row().exists), values[update])
    };
    if !e.options.deterministic {
        return e.share(loops, &mut |e| {
            let (place, counts, value) = add(e);
            let ty = match dtype {
                DType::F64 => "f64",
                DType::F32 => "f32",
                _ => "u32",
            };
            e.guarded(counts, &mut |e| e.t.line(format_args!("red.global.add.{ty} {place}, {value}")));
        });
    }
    // In order: one warp, one thread after another.
    let is_first = e.t.value(Class::Predicate, "setp.eq.s32", &[e.warp.into(), 0_i64.into()]);
    e.guarded(Some(is_first), &mut |e| {
        e.panels(&mut |e| {
            e.nest(loops, &mut |e| {
                let (place, counts, value) = add(e);
                e.stepping(Operand::Integer(0), LANES.into(), 1, &mut |e, lane| {
                    let is_its_turn = e.t.value(Class::Predicate, "setp.eq.s32", &[e.lane.into(), lane]);
                    let adds = e.both(counts, Some(is_its_turn));
                    e.guarded(adds, &mut |e| {
                        let before = e.load(place, dtype);
                        let after = combine(&mut e.t, Combine::Sum, dtype, before, value);
                        e.store(place, dtype, after, None);
                    });
                    e.t.line("bar.warp.sync -1");
                });
            });
        });
    });
}
