//! The code of each kind of stage.

use super::{
    contraction::{Factors, Matrices},
    emitter::{Emitter, GROUPS, WIDTH, flags},
    library::{self, Callee},
    quad::{self, Held, Quad, combined, selected},
};
use crate::{
    axis::Axis,
    graph::{Combine, DType, ScalarOp},
    plan::{
        Access, BufferId, Expression, Kernel, LANES, Loop, Precision, Source, Stage, Store,
        analysis::{Matrix, addressed, analyse, collapse, matrix, sums_by_panel},
        words,
    },
};
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    condcodes::IntCC,
    types::{I32, I32X4, I64},
};

/// Emits one stage at the current tile.
pub(super) fn emit(e: &mut Emitter<'_>, stage: &Stage) {
    match stage {
        Stage::Load { source, offset, row_strides, loops, strides, target } => {
            load(e, *source, *offset, row_strides, (loops, strides), target);
        }
        Stage::Save { source, loops, strides, row_strides, target } => {
            save(e, source, (loops, strides), row_strides, *target);
        }
        Stage::Stream { source, target, panel } => {
            let from = e.base(*source);
            let start = e.base(Source::Buffer(*target));
            let distance = e.b.ins().imul_imm_s(e.first_panel, (panel * 4) as i64);
            let to = e.b.ins().iadd(start, distance);
            let count = e.b.ins().imul_imm_s(e.panel_count, *panel as i64);
            library::call(e, Callee::CopyStreaming, &[count, from, to]);
        }
        Stage::Fill { target, loops, value, dtype } => fill(e, target, loops, (*value, *dtype)),
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
        Stage::Scatter { loops, body, index, update, target, stride, size } => e.panels(&mut |e| {
            e.nest(loops, &mut |e| {
                let base = e.address(target);
                let valid = e.b.ins().iconst(I64, LANES as i64);
                scatter(e, body, (*index, *update), base, Some(()), (*stride, *size), valid);
            });
        }),
        Stage::Contract { loops, batch, weights, n, k, x, x_stride, c, c_stride, pairs, window } => {
            let matrices = Matrices { loops, batch: *batch, weights: *weights, n: *n, k: *k };
            let (x, c) = ((x, *x_stride), (c, *c_stride));
            match pairs {
                None => super::contraction::rows(e, &matrices, x, c, window.as_ref()),
                Some(pairs) => super::pairs::rows(e, &matrices, x, *pairs, c, window.as_ref()),
            }
        }
        Stage::Winograd { weights, n, k, window, x, products, c, c_stride } => {
            super::contraction::squares(e, (*weights, *n, *k), window, [*x, *products], (c, *c_stride));
        }
        Stage::AccumulateContract { loops, g, x, strips, turned, precision, target, window } => {
            let factors = Factors { g, x, window: window.as_ref() };
            let accumulate = match precision {
                Precision::F32 => super::contraction::accumulate,
                Precision::Bf16 => super::pairs::accumulate,
            };
            accumulate(e, loops, &factors, (*strips, *turned), *target);
        }
        Stage::AccumulateReduce { loops, row_strides, over, combine, dtype, body, term, strides, target } => {
            let place = Partial { target: *target, loops, strides, row_strides };
            accumulate_reduce(e, &place, over, (*combine, *dtype), (body, *term));
        }
        Stage::AccumulateScatter { loops, body, index, update, strides, stride, size, target } => e.panels(&mut |e| {
            let valid = e.valid_lanes();
            e.nest(loops, &mut |e| {
                let base = e.partial_address(*target, loops, strides);
                scatter(e, body, (*index, *update), base, None, (*stride, *size), valid);
            });
        }),
    }
}

/// Σ index · stride in bytes.
fn distance(e: &mut Emitter<'_>, indices: &[Value], strides: impl Iterator<Item = isize>) -> Value {
    let mut sum = e.b.ins().iconst(I64, 0);
    for (index, stride) in indices.iter().zip(strides) {
        if stride != 0 {
            let part = e.b.ins().imul_imm_s(*index, (stride * 4) as i64);
            sum = e.b.ins().iadd(sum, part);
        }
    }
    sum
}

fn current(e: &mut Emitter<'_>, loops: &[(Axis, usize)]) -> Vec<Value> {
    loops.iter().map(|(axis, _)| e.indices[axis]).collect()
}

/// Rows of a stored value that every tile reads or writes through [`matrix`].
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    buffer: BufferId,
    offset: isize,
    stride: usize,
    features: usize,
    writes: bool,
}

/// What the tiles of a kernel move between row-major values and tile memory.
pub(super) fn traffic(kernel: &Kernel) -> Vec<Traffic> {
    let whole = |matrix: Matrix| (matrix.outer == 0).then_some(matrix);
    let of = |stage: &Stage| match stage {
        Stage::Load { source, offset, row_strides, loops, strides, target } => {
            let Matrix { stride, features, .. } = whole(matrix(kernel, row_strides, (loops, strides), target)?)?;
            Some(Traffic { buffer: *source, offset: *offset, stride, features, writes: false })
        }
        Stage::Save { source, loops, strides, row_strides, target } => {
            let Matrix { stride, features, .. } = whole(matrix(kernel, row_strides, (loops, strides), source)?)?;
            Some(Traffic { buffer: *target, offset: 0, stride, features, writes: true })
        }
        _ => None,
    };
    kernel.stages.iter().filter_map(of).collect()
}

/// Asks for a part of what the next tile will move, the `part`-th of `parts`: memory works while this tile computes.
pub(super) fn prefetch(e: &mut Emitter<'_>, traffic: &[Traffic], part: usize, parts: usize) {
    let rows = e.kernel.tile_panels * LANES;
    let (first, end) = (part * rows / parts, (part + 1) * rows / parts);
    if first == end {
        return;
    }
    for entry in traffic {
        let start = e.base(Source::Buffer(entry.buffer));
        let tile = e.b.ins().imul_imm_s(e.first_panel, (LANES * entry.stride * 4) as i64);
        let start = e.b.ins().iadd(start, tile);
        let distance = (rows + first) * entry.stride * 4;
        let start = e.b.ins().iadd_imm_s(start, distance as i64 + entry.offset as i64 * 4);
        let (count, features, stride) = (e.word(end - first), e.word(entry.features), e.word(entry.stride));
        let writes = e.word(usize::from(entry.writes));
        library::call(e, Callee::PrefetchRows, &[count, features, start, stride, writes]);
    }
}

fn load(
    e: &mut Emitter<'_>,
    source: BufferId,
    offset: isize,
    row_strides: &[(Axis, isize)],
    (loops, strides): (&[(Axis, usize)], &[isize]),
    target: &Access,
) {
    let start = e.base(Source::Buffer(source));
    let start = e.b.ins().iadd_imm_s(start, (offset * 4) as i64);
    if let Some(matrix) = matrix(e.kernel, row_strides, (loops, strides), target) {
        let outer = (&loops[..matrix.outer], &strides[..matrix.outer]);
        return rows_apart(e, &matrix, outer, start, target, &mut |e, rows, from, to| {
            let (features, stride, to_stride) = (e.word(matrix.features), e.word(matrix.stride), e.word(LANES));
            library::call(e, Callee::LoadPanel, &[rows, features, from, stride, to, to_stride]);
        });
    }
    if let Some(unit) = side_by_side(e, source, row_strides) {
        return rows_together(e, row_strides, (loops, strides), start, target, &mut |e, from, to| {
            copy_lanes(e, from, to, unit);
        });
    }
    let (element, size) = element(e, source);
    if !target.lanes {
        // Elements that lie side by side in both go by vectors.
        let unit = size as isize / 4;
        let vectors = loops.last().zip(strides.last()).is_some_and(|((axis, count), stride)| {
            *stride == unit && target.stride(*axis) == unit && (*count as i64 * size) % 16 == 0
        });
        let together = if vectors { 16 / size } else { 1 };
        let ty = if vectors { I32X4 } else { element };
        let mut loops = loops.to_vec();
        if let Some((_, count)) = loops.last_mut().filter(|_| vectors) {
            *count /= together as usize;
        }
        return e.panels(&mut |e| {
            let row = e.first_row();
            let indices = e.row_indices(row);
            let rows = distance(e, &indices, row_strides.iter().map(|(_, stride)| *stride));
            let from = e.b.ins().iadd(start, rows);
            e.nest(&loops, &mut |e| {
                if let Some((axis, _)) = loops.last() {
                    let index = e.b.ins().imul_imm_s(e.indices[axis], together);
                    e.indices.insert(*axis, index);
                }
                let indices = current(e, &loops);
                let feature = distance(e, &indices, strides.iter().copied());
                let from = e.b.ins().iadd(from, feature);
                let to = e.address(target);
                let value = e.b.ins().load(ty, flags(), from, 0);
                e.b.ins().store(flags(), value, to, 0);
            });
        });
    }
    let last = (e.kernel.row_count() - 1) as i64;
    e.panels(&mut |e| {
        e.repeat(LANES, &mut |e, lane| {
            let first = e.first_row();
            let row = e.b.ins().iadd(first, lane);
            // Lanes beyond the last row repeat it.
            let last = e.b.ins().iconst(I64, last);
            let row = e.b.ins().smin(row, last);
            let indices = e.row_indices(row);
            let rows = distance(e, &indices, row_strides.iter().map(|(_, stride)| *stride));
            let from = e.b.ins().iadd(start, rows);
            let lane = e.b.ins().imul_imm_s(lane, size);
            e.nest(loops, &mut |e| {
                let indices = current(e, loops);
                let feature = distance(e, &indices, strides.iter().copied());
                let from = e.b.ins().iadd(from, feature);
                let to = e.address(target);
                let to = e.b.ins().iadd(to, lane);
                let element = e.b.ins().load(element, flags(), from, 0);
                e.b.ins().store(flags(), element, to, 0);
            });
        });
    });
}

/// Emits `copy` for each panel and index of some loops: how many rows there are, where the first lies in the stored
/// matrix from `start` on, and where in tile memory.
fn rows_apart(
    e: &mut Emitter<'_>,
    matrix: &Matrix,
    (loops, strides): (&[(Axis, usize)], &[isize]),
    start: Value,
    tile: &Access,
    copy: &mut dyn FnMut(&mut Emitter<'_>, Value, Value, Value),
) {
    e.panels(&mut |e| {
        let (rows, first) = (e.valid_lanes(), e.first_row());
        let distance_of_rows = e.b.ins().imul_imm_s(first, (matrix.stride * 4) as i64);
        let first = e.b.ins().iadd(start, distance_of_rows);
        e.nest(loops, &mut |e| {
            let indices = current(e, loops);
            let feature = distance(e, &indices, strides.iter().copied());
            let (stored, place) = (e.b.ins().iadd(first, feature), e.address(tile));
            copy(e, rows, stored, place);
        });
    });
}

/// Emits `copy` for each feature and panel, of which the rows lie side by side: where in the stored value from `start` on,
/// and where in tile memory. The panels of a feature, which lie behind one another, come before the next feature.
fn rows_together(
    e: &mut Emitter<'_>,
    row_strides: &[(Axis, isize)],
    (loops, strides): (&[(Axis, usize)], &[isize]),
    start: Value,
    tile: &Access,
    copy: &mut dyn FnMut(&mut Emitter<'_>, Value, Value),
) {
    e.nest(loops, &mut |e| {
        let indices = current(e, loops);
        let feature = distance(e, &indices, strides.iter().copied());
        let start = e.b.ins().iadd(start, feature);
        e.panels(&mut |e| {
            let row = e.first_row();
            let indices = e.row_indices(row);
            let rows = distance(e, &indices, row_strides.iter().map(|(_, stride)| *stride));
            let (stored, place) = (e.b.ins().iadd(start, rows), e.address(tile));
            copy(e, stored, place);
        });
    });
}

/// The words of an element of a stored value of which the rows of each panel lie side by side.
fn side_by_side(e: &Emitter<'_>, id: BufferId, row_strides: &[(Axis, isize)]) -> Option<usize> {
    let unit = words(e.plan.buffers[id.0 as usize].dtype);
    let mut together = 1;
    for ((_, size), (_, stride)) in e.kernel.rows.iter().zip(row_strides).rev() {
        if *size > 1 && *stride != (together * unit) as isize {
            break;
        }
        together *= size;
    }
    together.is_multiple_of(LANES).then_some(unit)
}

/// Copies the lanes of a panel, so many words each.
fn copy_lanes(e: &mut Emitter<'_>, from: Value, to: Value, unit: usize) {
    for group in 0..GROUPS * unit {
        let value = e.b.ins().load(I32X4, flags(), from, (group * WIDTH * 4) as i32);
        e.b.ins().store(flags(), value, to, (group * WIDTH * 4) as i32);
    }
}

/// How an element of a stored value is copied: its type, whatever it means, and its bytes.
fn element(e: &Emitter<'_>, id: BufferId) -> (Type, i64) {
    match words(e.plan.buffers[id.0 as usize].dtype) {
        1 => (I32, 4),
        _ => (I64, 8),
    }
}

fn save(
    e: &mut Emitter<'_>,
    source: &Access,
    (loops, strides): (&[(Axis, usize)], &[isize]),
    row_strides: &[(Axis, isize)],
    target: BufferId,
) {
    let start = e.base(Source::Buffer(target));
    if let Some(matrix) = matrix(e.kernel, row_strides, (loops, strides), source) {
        let outer = (&loops[..matrix.outer], &strides[..matrix.outer]);
        return rows_apart(e, &matrix, outer, start, source, &mut |e, rows, to, from| {
            let (features, stride, from_stride) = (e.word(matrix.features), e.word(matrix.stride), e.word(LANES));
            library::call(e, Callee::StorePanel, &[rows, features, from, from_stride, to, stride]);
        });
    }
    if let Some(unit) = side_by_side(e, target, row_strides) {
        return rows_together(e, row_strides, (loops, strides), start, source, &mut |e, to, from| {
            copy_lanes(e, from, to, unit);
        });
    }
    let (element, size) = element(e, target);
    e.panels(&mut |e| {
        let zero = e.b.ins().iconst(I64, 0);
        let valid = e.valid_lanes();
        e.between(zero, valid, &mut |e, lane| {
            let first = e.first_row();
            let row = e.b.ins().iadd(first, lane);
            let indices = e.row_indices(row);
            let rows = distance(e, &indices, row_strides.iter().map(|(_, stride)| *stride));
            let to = e.b.ins().iadd(start, rows);
            let lane = e.b.ins().imul_imm_s(lane, size);
            e.nest(loops, &mut |e| {
                let indices = current(e, loops);
                let feature = distance(e, &indices, strides.iter().copied());
                let to = e.b.ins().iadd(to, feature);
                let from = e.address(source);
                let from = e.b.ins().iadd(from, lane);
                let element = e.b.ins().load(element, flags(), from, 0);
                e.b.ins().store(flags(), element, to, 0);
            });
        });
    });
}

fn fill(e: &mut Emitter<'_>, target: &Access, loops: &[(Axis, usize)], (value, dtype): (f64, DType)) {
    let loops = collapse(loops, &[target], &[]);
    e.panels(&mut |e| {
        let value = e.pattern(value, dtype);
        e.nest(&loops, &mut |e| {
            let to = e.address(target);
            for group in 0..GROUPS * words(dtype) {
                e.b.ins().store(flags(), value, to, (group * WIDTH * 4) as i32);
            }
        });
    });
}

fn map(e: &mut Emitter<'_>, loops: &[(Axis, usize)], body: &Expression, stores: &[Store]) {
    let kept: Vec<usize> = stores.iter().map(|store| store.term).collect();
    let analysis = analyse(body, &kept);
    let (mut accesses, indexed) = addressed(body);
    accesses.extend(stores.iter().map(|store| &store.target));
    let loops = collapse(loops, &accesses, &indexed);
    e.panels(&mut |e| {
        e.nest(&loops, &mut |e| {
            let uniform = e.uniform_terms(body, &analysis);
            let addresses = e.load_addresses(body);
            let targets: Vec<Value> = stores.iter().map(|store| e.address(&store.target)).collect();
            e.lanes(analysis.unroll, &mut |e, offset| {
                for group in 0..analysis.unroll {
                    let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, group);
                    for (store, target) in stores.iter().zip(&targets) {
                        let dtype = analysis.dtypes[store.term];
                        let mut value = values[store.term];
                        if store.add {
                            let before = e.load_lanes(dtype, *target, offset, group);
                            value = combined(&mut e.b, Combine::Sum, dtype, before, value);
                        }
                        e.store_lanes(dtype, value, *target, offset, group);
                    }
                }
            });
        });
    });
}

/// What a combination starts from, in so many places.
fn accumulators(e: &mut Emitter<'_>, how: Combine, dtype: DType, count: usize) -> Vec<Held> {
    let start = quad::constant(&mut e.b, how.identity(dtype), dtype);
    (0..count).map(|_| Held::new(&mut e.b, start)).collect()
}

fn reduce(
    e: &mut Emitter<'_>,
    loops: &[(Axis, usize)],
    over: &[(Axis, usize)],
    (how, dtype): (Combine, DType),
    body: &Expression,
    store: &Store,
) {
    let analysis = analyse(body, &[store.term]);
    let unroll = analysis.unroll.min(4);
    e.panels(&mut |e| {
        e.nest(loops, &mut |e| {
            let target = e.address(&store.target);
            e.lanes(unroll, &mut |e, offset| {
                let sums = accumulators(e, how, dtype, unroll);
                e.nest(over, &mut |e| {
                    let uniform = e.uniform_terms(body, &analysis);
                    let addresses = e.load_addresses(body);
                    for (group, sum) in sums.iter().enumerate() {
                        let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, group);
                        let before = sum.get(&mut e.b);
                        let after = combined(&mut e.b, how, dtype, before, values[store.term]);
                        sum.set(&mut e.b, after);
                    }
                });
                for (group, sum) in sums.iter().enumerate() {
                    let value = sum.get(&mut e.b);
                    e.store_lanes(dtype, value, target, offset, group);
                }
            });
        });
    });
}

fn arg_reduce(
    e: &mut Emitter<'_>,
    loops: &[(Axis, usize)],
    over: (Axis, usize),
    largest: bool,
    body: &Expression,
    store: &Store,
) {
    let analysis = analyse(body, &[store.term]);
    let dtype = analysis.dtypes[store.term];
    e.panels(&mut |e| {
        e.nest(loops, &mut |e| {
            let target = e.address(&store.target);
            e.lanes(1, &mut |e, offset| {
                let how = if largest { Combine::Max } else { Combine::Min };
                let best = &accumulators(e, how, dtype, 1)[0];
                let position = &accumulators(e, Combine::Sum, DType::I32, 1)[0];
                e.nest(&[over], &mut |e| {
                    let uniform = e.uniform_terms(body, &analysis);
                    let addresses = e.load_addresses(body);
                    let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, 0);
                    let value = values[store.term];
                    let (before, at) = (best.get(&mut e.b), position.get(&mut e.b));
                    // `before < value` for the largest.
                    let (low, high) = if largest { (before, value) } else { (value, before) };
                    let better = e.scalar(ScalarOp::Less, dtype, &[low, high]).narrow();
                    let index = e.indices[&over.0];
                    let index = e.b.ins().ireduce(I32, index);
                    let index = quad::repeated(&mut e.b, index, DType::I32);
                    let value = selected(&mut e.b, better, value, before);
                    let at = selected(&mut e.b, better, index, at);
                    best.set(&mut e.b, value);
                    position.set(&mut e.b, at);
                });
                let value = position.get(&mut e.b);
                e.store_lanes(DType::I32, value, target, offset, 0);
            });
        });
    });
}

fn scan(
    e: &mut Emitter<'_>,
    loops: &[(Axis, usize)],
    (axis, size): (Axis, usize),
    (how, dtype): (Combine, DType),
    (exclusive, reverse): (bool, bool),
    body: &Expression,
    store: &Store,
) {
    let analysis = analyse(body, &[store.term]);
    let unroll = analysis.unroll.min(4);
    e.panels(&mut |e| {
        e.nest(loops, &mut |e| {
            e.lanes(unroll, &mut |e, offset| {
                let sums = accumulators(e, how, dtype, unroll);
                e.repeat(size, &mut |e, step| {
                    let index = if reverse {
                        let last = e.b.ins().iconst(I64, size as i64 - 1);
                        e.b.ins().isub(last, step)
                    } else {
                        step
                    };
                    e.indices.insert(axis, index);
                    let uniform = e.uniform_terms(body, &analysis);
                    let addresses = e.load_addresses(body);
                    let target = e.address(&store.target);
                    for (group, sum) in sums.iter().enumerate() {
                        let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, group);
                        let before = sum.get(&mut e.b);
                        let after = combined(&mut e.b, how, dtype, before, values[store.term]);
                        sum.set(&mut e.b, after);
                        let kept = if exclusive { before } else { after };
                        e.store_lanes(dtype, kept, target, offset, group);
                    }
                    e.indices.remove(&axis);
                });
            });
        });
    });
}

fn sort(
    e: &mut Emitter<'_>,
    loops: &[(Axis, usize)],
    source: &Access,
    (axis, size): (Axis, usize),
    target: &Access,
    positions: bool,
    dtype: DType,
) {
    let order = match (dtype, positions) {
        (DType::F64, false) => Callee::SortDoubles,
        (DType::F64, true) => Callee::SortDoublePositions,
        (DType::F32, false) => Callee::SortFloats,
        (DType::F32, true) => Callee::SortFloatPositions,
        (_, false) => Callee::SortIntegers,
        (_, true) => Callee::SortIntegerPositions,
    };
    let result = if positions { DType::I32 } else { dtype };
    let (source_stride, target_stride) = (source.stride(axis), target.stride(axis));
    e.panels(&mut |e| {
        e.nest(loops, &mut |e| {
            let (from, to) = (e.address(source), e.address(target));
            let from_stride = e.b.ins().iconst(I64, (source_stride / words(dtype) as isize) as i64);
            let to_stride = e.b.ins().iconst(I64, (target_stride / words(result) as isize) as i64);
            let count = e.b.ins().iconst(I64, size as i64);
            library::call(e, order, &[from, from_stride, to, to_stride, count]);
        });
    });
}

/// Adds updates lane by lane, in order. With `own` each lane has its own table beside the others'.
fn scatter(
    e: &mut Emitter<'_>,
    body: &Expression,
    (index, update): (usize, usize),
    base: Value,
    own: Option<()>,
    (stride, size): (isize, usize),
    valid: Value,
) {
    let analysis = analyse(body, &[index, update]);
    let dtype = analysis.dtypes[update];
    let (scalar, size_in_words) = (quad::scalar(dtype), words(dtype) as i64);
    let uniform = e.uniform_terms(body, &analysis);
    let addresses = e.load_addresses(body);
    e.lanes(1, &mut |e, offset| {
        let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, 0);
        for lane in 0..WIDTH as u8 {
            let position = values[index].lane(&mut e.b, lane);
            let amount = values[update].lane(&mut e.b, lane);
            let number = e.b.ins().ushr_imm_u(offset, 2);
            let number = e.b.ins().iadd_imm_s(number, i64::from(lane));
            let is_row = e.b.ins().icmp(IntCC::SignedLessThan, number, valid);
            let inside = e.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, position, size as i64);
            let counts = e.b.ins().band(is_row, inside);
            let (add, after) = (e.b.create_block(), e.b.create_block());
            e.b.ins().brif(counts, add, &[], after, &[]);
            e.b.switch_to_block(add);
            let position = e.b.ins().uextend(I64, position);
            let distance = e.b.ins().imul_imm_s(position, (stride * 4) as i64);
            let mut to = e.b.ins().iadd(base, distance);
            if own.is_some() {
                let lanes = e.b.ins().imul_imm_s(offset, size_in_words);
                to = e.b.ins().iadd(to, lanes);
                to = e.b.ins().iadd_imm_s(to, i64::from(lane) * size_in_words * 4);
            }
            let before = e.b.ins().load(scalar, flags(), to, 0);
            let after_value =
                if dtype.is_float() { e.b.ins().fadd(before, amount) } else { e.b.ins().iadd(before, amount) };
            e.b.ins().store(flags(), after_value, to, 0);
            e.b.ins().jump(after, &[]);
            e.b.switch_to_block(after);
        }
    });
}

/// Where the results of sums over rows are.
pub(super) struct Partial<'a> {
    pub target: BufferId,
    pub loops: &'a [Loop],
    pub strides: &'a [isize],
    pub row_strides: &'a [(Axis, isize)],
}

impl Partial<'_> {
    /// The address for the current panel and loop indices.
    pub fn address(&self, e: &mut Emitter<'_>) -> Value {
        let address = e.partial_address(self.target, self.loops, self.strides);
        if self.row_strides.is_empty() {
            return address;
        }
        let row = e.first_row();
        let rows: Vec<Axis> = e.kernel.rows.iter().map(|(axis, _)| *axis).collect();
        let stride =
            |axis: &Axis| self.row_strides.iter().find(|(own, _)| own == axis).map_or(0, |(_, stride)| *stride);
        let indices = e.row_indices(row);
        let distance = distance(e, &indices, rows.iter().map(stride));
        e.b.ins().iadd(address, distance)
    }
}

/// Vectors of four lanes that a sum over rows is kept in: sixteen lanes, as one vector has at 512 bits.
const SUMS: usize = 4;

fn accumulate_reduce(
    e: &mut Emitter<'_>,
    place: &Partial<'_>,
    over: &[Loop],
    (how, dtype): (Combine, DType),
    (body, term): (&Expression, usize),
) {
    let analysis = analyse(body, &[term]);
    let sum = |e: &mut Emitter<'_>, sums: &[Held]| {
        let valid = e.has_tail().then(|| e.valid_lanes());
        e.nest(over, &mut |e| {
            let uniform = e.uniform_terms(body, &analysis);
            let addresses = e.load_addresses(body);
            e.lanes(SUMS, &mut |e, offset| {
                for (group, sum) in sums.iter().enumerate() {
                    let values = e.lane_terms(body, &analysis, &uniform, &addresses, offset, group);
                    let mut value = values[term];
                    if let Some(valid) = valid {
                        value = masked(e, value, valid, offset, group, (how, dtype));
                    }
                    let before = sum.get(&mut e.b);
                    let after = combined(&mut e.b, how, dtype, before, value);
                    sum.set(&mut e.b, after);
                }
            });
        });
    };
    // Halves on halves, so that lanes meet as they do at 512 bits; then the partial result and the sum.
    let end = |e: &mut Emitter<'_>, sums: &[Held]| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| sums[at].get(&mut e.b));
        let (even, odd) = (combined(&mut e.b, how, dtype, a, c), combined(&mut e.b, how, dtype, b, d));
        let total = combined(&mut e.b, how, dtype, even, odd);
        let lanes = [0, 1, 2, 3].map(|lane| {
            let element = total.lane(&mut e.b, lane);
            quad::repeated(&mut e.b, element, dtype)
        });
        let even = combined(&mut e.b, how, dtype, lanes[0], lanes[2]);
        let odd = combined(&mut e.b, how, dtype, lanes[1], lanes[3]);
        let total = combined(&mut e.b, how, dtype, even, odd);
        let to = place.address(e);
        let before = e.b.ins().load(quad::scalar(dtype), flags(), to, 0);
        let before = quad::repeated(&mut e.b, before, dtype);
        let result = combined(&mut e.b, how, dtype, before, total).lane(&mut e.b, 0);
        e.b.ins().store(flags(), result, to, 0);
    };
    if sums_by_panel(place.row_strides, body) {
        return e.panels(&mut |e| {
            e.nest(place.loops, &mut |e| {
                let sums = accumulators(e, how, dtype, SUMS);
                sum(e, &sums);
                end(e, &sums);
            });
        });
    }
    e.nest(place.loops, &mut |e| {
        let sums = accumulators(e, how, dtype, SUMS);
        e.panels(&mut |e| sum(e, &sums));
        end(e, &sums);
    });
}

/// The identity in lanes that are not rows.
fn masked(
    e: &mut Emitter<'_>,
    value: Quad,
    valid: Value,
    offset: Value,
    group: usize,
    (how, dtype): (Combine, DType),
) -> Quad {
    let lane = e.b.ins().ushr_imm_u(offset, 2);
    let lane = e.b.ins().iadd_imm_s(lane, (group * WIDTH) as i64);
    let lane = e.b.ins().ireduce(I32, lane);
    let lanes = e.b.ins().splat(I32X4, lane);
    let steps = e.integers([0, 1, 2, 3]);
    let lanes = e.b.ins().iadd(lanes, steps);
    let valid = e.b.ins().ireduce(I32, valid);
    let valid = e.b.ins().splat(I32X4, valid);
    let is_row = e.b.ins().icmp(IntCC::SignedLessThan, lanes, valid);
    let other = quad::constant(&mut e.b, how.identity(dtype), dtype);
    selected(&mut e.b, is_row, value, other)
}
