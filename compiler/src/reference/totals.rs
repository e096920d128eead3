//! Operations that combine elements along axes: reductions, scans and contractions.

use super::{
    scalar::{maximum, minimum},
    table::Table,
};
use crate::{
    axis::Axis,
    graph::{Combine, DType, Op, Type},
    tensor::Tensor,
};

/// One step of a combination.
fn combined(combine: Combine, total: f64, element: f64) -> f64 {
    match combine {
        Combine::Sum => total + element,
        Combine::Prod => total * element,
        Combine::Max => maximum(total, element),
        Combine::Min => minimum(total, element),
    }
}

/// Wraps an integer total to 32 bits.
fn wrapped(dtype: DType, total: f64) -> f64 {
    if dtype == DType::I32 && total.is_finite() { f64::from(total as i64 as i32) } else { total }
}

pub(super) fn evaluate(op: &Op, ty: &Type, operands: &[&Tensor]) -> Vec<f64> {
    let x = operands[0];
    match op {
        Op::Reduce { combine, axes } => reduce(x, *combine, axes, ty),
        Op::ArgReduce { largest, axis } => {
            let lanes = Table::of(x.shape(), ty.shape.axes()).offsets();
            let along = Table::of(x.shape(), [*axis]).offsets();
            lanes.into_iter().map(|lane| choose(along.iter().map(|i| x.data[lane + i]), *largest) as f64).collect()
        }
        Op::Scan { combine, axis, exclusive, reverse } => scan(x, *combine, *axis, *exclusive, *reverse),
        Op::Contract { over } => contract(x, operands[1], over, ty),
        _ => unreachable!("`{op}` does not combine elements"),
    }
}

fn reduce(x: &Tensor, combine: Combine, axes: &[Axis], ty: &Type) -> Vec<f64> {
    let lanes = Table::of(x.shape(), ty.shape.axes()).offsets();
    let along = Table::of(x.shape(), axes.iter().copied()).offsets();
    let start = combine.identity(ty.dtype);
    let step = |total, element| wrapped(ty.dtype, combined(combine, total, element));
    lanes.into_iter().map(|lane| along.iter().map(|i| x.data[lane + i]).fold(start, step)).collect()
}

/// The position of the first largest (or smallest) element.
fn choose(elements: impl Iterator<Item = f64>, largest: bool) -> usize {
    let mut best: Option<(usize, f64)> = None;
    for (i, element) in elements.enumerate().filter(|(_, element)| !element.is_nan()) {
        if best.is_none_or(|(_, held)| if largest { element > held } else { element < held }) {
            best = Some((i, element));
        }
    }
    best.map_or(0, |(i, _)| i)
}

fn scan(x: &Tensor, combine: Combine, axis: Axis, exclusive: bool, reverse: bool) -> Vec<f64> {
    let lanes = Table::of(x.shape(), x.shape().axes().filter(|a| *a != axis)).offsets();
    let mut along = Table::of(x.shape(), [axis]).offsets();
    if reverse {
        along.reverse();
    }
    let mut data = vec![0.0; x.data.len()];
    for lane in lanes {
        let mut total = combine.identity(x.ty.dtype);
        for i in &along {
            let before = total;
            total = wrapped(x.ty.dtype, combined(combine, total, x.data[lane + i]));
            data[lane + i] = if exclusive { before } else { total };
        }
    }
    data
}

fn contract(x: &Tensor, y: &Tensor, over: &[Axis], ty: &Type) -> Vec<f64> {
    let lanes = |operand: &Tensor| Table::of(operand.shape(), ty.shape.axes()).sized(&ty.shape).offsets();
    let along = |operand: &Tensor| Table::of(operand.shape(), over.iter().copied()).offsets();
    let (x_along, y_along) = (along(x), along(y));
    let products = |(x_lane, y_lane): (usize, usize)| {
        let mut total = 0.0;
        for (i, j) in x_along.iter().zip(&y_along) {
            total = wrapped(ty.dtype, total + x.data[x_lane + i] * y.data[y_lane + j]);
        }
        total
    };
    lanes(x).into_iter().zip(lanes(y)).map(products).collect()
}
