//! Operations that move elements: views, gathers and sorting.

use super::table::{Table, stride};
use crate::{
    axis::{Axis, Shape},
    graph::{Op, Type},
    tensor::Tensor,
};
use std::cmp::Ordering;

pub(super) fn evaluate(op: &Op, ty: &Type, operands: &[&Tensor]) -> Vec<f64> {
    let x = operands[0];
    let to = &ty.shape;
    let read = |table: Table| table.offsets().into_iter().map(|i| x.data[i]).collect();
    match op {
        Op::Spread(_) => read(Table::of(x.shape(), to.axes()).sized(to)),
        Op::Rename(_) | Op::Split { .. } => x.data.clone(),
        Op::Merge { axes, into } => {
            let unmerged = to.axes().flat_map(|axis| if axis == *into { axes.clone() } else { vec![axis] });
            read(Table::of(x.shape(), unmerged))
        }
        Op::Slice { axis, start, size, step } => {
            read(Table::of(x.shape(), to.axes()).sliced(*axis, *start, *size, *step))
        }
        Op::Pad { axis, before, value, .. } => {
            let size = x.shape().size(*axis).unwrap_or(0);
            let places = Table::of(to, x.shape().axes()).sliced(*axis, *before, size, 1).offsets();
            let mut data = vec![*value; to.elements()];
            places.into_iter().zip(&x.data).for_each(|(place, element)| data[place] = *element);
            data
        }
        Op::Concat { axis } => concat(operands, *axis, to),
        Op::Window { axis, position, tap, stride: step, dilation, .. } => {
            let unit = stride(x.shape(), *axis);
            let size = |axis| to.size(axis).unwrap_or(1);
            let table = Table::of(x.shape(), to.axes())
                .with_stride(*position, size(*position), unit * step)
                .with_stride(*tap, size(*tap), unit * dilation);
            read(table)
        }
        Op::Fold { axis, position, tap, stride: step, dilation, .. } => {
            let unit = stride(to, *axis);
            let size = |axis| x.shape().size(axis).unwrap_or(1);
            let places = Table::of(to, x.shape().axes())
                .with_stride(*position, size(*position), unit * step)
                .with_stride(*tap, size(*tap), unit * dilation)
                .offsets();
            let mut data = vec![0.0; to.elements()];
            places.into_iter().zip(&x.data).for_each(|(place, element)| data[place] += element);
            data
        }
        Op::Gather { axis } => gather(x, operands[1], *axis, to),
        Op::ScatterAdd { axis, size, .. } => scatter_add(x, operands[1], *axis, *size, to),
        Op::Sort { axis } => {
            let mut data = vec![0.0; x.data.len()];
            for_sorted(x, *axis, |place, from, _| data[place] = x.data[from]);
            data
        }
        Op::ArgSort { axis } => {
            let mut data = vec![0.0; x.data.len()];
            for_sorted(x, *axis, |place, _, index| data[place] = index as f64);
            data
        }
        Op::SearchSorted { axis, right } => search_sorted(x, operands[1], *axis, *right, to),
        _ => unreachable!("`{op}` does not move elements"),
    }
}

fn concat(operands: &[&Tensor], axis: Axis, to: &Shape) -> Vec<f64> {
    let mut data = vec![0.0; to.elements()];
    let mut start = 0;
    for operand in operands {
        let size = operand.shape().size(axis).unwrap_or(0);
        let part = to.replaced(axis, &[(axis, size)]);
        let places = Table::of(to, to.axes()).sliced(axis, start, size, 1).offsets();
        let sources = Table::of(operand.shape(), part.axes()).sized(&part).offsets();
        places.into_iter().zip(sources).for_each(|(place, source)| data[place] = operand.data[source]);
        start += size;
    }
    data
}

/// A position along an axis of `size`, if it is inside.
fn inside(position: f64, size: usize) -> Option<usize> {
    (position >= 0.0 && position < size as f64).then_some(position as usize)
}

/// Offsets in `tensor` for every element of `shape`, standing still along `axis`: the operand's own axis of
/// that name is another than the result's.
fn lanes_without(tensor: &Shape, axis: Axis, shape: &Shape) -> Vec<usize> {
    let turns = shape.size(axis).unwrap_or(1);
    Table::of(tensor, shape.axes()).sized(shape).with_stride(axis, turns, 0).offsets()
}

fn gather(x: &Tensor, index: &Tensor, axis: Axis, to: &Shape) -> Vec<f64> {
    let (unit, size) = (stride(x.shape(), axis), x.shape().size(axis).unwrap_or(0));
    let lanes = lanes_without(x.shape(), axis, to);
    let indices = Table::of(index.shape(), to.axes()).sized(to).offsets();
    let read = |(lane, i): (usize, usize)| inside(index.data[i], size).map_or(0.0, |p| x.data[lane + p * unit]);
    lanes.into_iter().zip(indices).map(read).collect()
}

fn scatter_add(updates: &Tensor, index: &Tensor, axis: Axis, size: usize, to: &Shape) -> Vec<f64> {
    let joint = updates.shape().union(index.shape()).unwrap_or_else(|conflict| unreachable!("{conflict}"));
    let places = lanes_without(to, axis, &joint);
    let unit = stride(to, axis);
    let offsets = |tensor: &Tensor| Table::of(tensor.shape(), joint.axes()).sized(&joint).offsets();
    let mut data = vec![0.0; to.elements()];
    for ((place, update), i) in places.into_iter().zip(offsets(updates)).zip(offsets(index)) {
        if let Some(position) = inside(index.data[i], size) {
            data[place + position * unit] += updates.data[update];
        }
    }
    data
}

/// Calls `visit(place, source, index)` for every element of the sorted tensor: where it goes, where it
/// comes from, and its position along the axis before sorting.
fn for_sorted(x: &Tensor, axis: Axis, mut visit: impl FnMut(usize, usize, usize)) {
    let lanes = Table::of(x.shape(), x.shape().axes().filter(|a| *a != axis)).offsets();
    let along = Table::of(x.shape(), [axis]).offsets();
    for lane in lanes {
        let mut order: Vec<usize> = (0..along.len()).collect();
        order.sort_by(|i, j| ascending(x.data[lane + along[*i]], x.data[lane + along[*j]]));
        for (place, index) in order.into_iter().enumerate() {
            visit(lane + along[place], lane + along[index], index);
        }
    }
}

/// Numbers in order, then NaN.
fn ascending(x: f64, y: f64) -> Ordering {
    x.partial_cmp(&y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

fn search_sorted(sorted: &Tensor, values: &Tensor, axis: Axis, right: bool, to: &Shape) -> Vec<f64> {
    let lanes = lanes_without(sorted.shape(), axis, to);
    let sought = Table::of(values.shape(), to.axes()).sized(to).offsets();
    let along = Table::of(sorted.shape(), [axis]).offsets();
    let find = |(lane, i): (usize, usize)| {
        let value = values.data[i];
        let below = |offset: &usize| {
            let element = sorted.data[lane + offset];
            if right { element <= value } else { element < value }
        };
        along.partition_point(below) as f64
    };
    lanes.into_iter().zip(sought).map(find).collect()
}
