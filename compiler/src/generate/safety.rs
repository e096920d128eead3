//! Which operations keep small errors small, on given values.

use crate::{
    axis::Axis,
    graph::{Combine, Op, ScalarOp, type_of},
    random::RandomKey,
    reference::evaluate_op,
    tensor::Tensor,
};

/// How far operands stay from a discontinuity.
const MARGIN: f64 = 0.05;

/// Whether a small change of the operands changes the result little.
pub(super) fn is_safe(op: &Op, operands: &[&Tensor]) -> bool {
    if operands.iter().all(|operand| !operand.ty.dtype.is_float()) {
        return true;
    }
    match op {
        Op::Map(scalar) => is_safe_map(*scalar, operands),
        Op::Reduce { combine: Combine::Max | Combine::Min, axes } => are_apart(operands[0], axes),
        Op::Scan { combine: Combine::Max | Combine::Min, axis, exclusive, .. } => {
            !exclusive && are_apart(operands[0], &[*axis])
        }
        Op::ArgReduce { axis, .. } | Op::Sort { axis } | Op::ArgSort { axis } => are_apart(operands[0], &[*axis]),
        // Every value is compared with all elements of its lane, which alignment by name leaves to `on_pairs`.
        Op::SearchSorted { axis, .. } => {
            !operands[1].shape().contains(*axis)
                && on_pairs(ScalarOp::Sub, operands, |difference| difference.abs() > MARGIN)
        }
        _ => true,
    }
}

/// Whether the test holds for the result of `op` on every aligned pair.
fn on_pairs(op: ScalarOp, operands: &[&Tensor], test: impl Fn(f64) -> bool) -> bool {
    let types: Vec<_> = operands.iter().map(|operand| operand.ty.clone()).collect();
    type_of(&Op::Map(op), &types)
        .is_ok_and(|ty| evaluate_op(&Op::Map(op), &ty, operands, RandomKey::default()).data.into_iter().all(test))
}

fn from_integer(x: f64) -> f64 {
    (x - x.round()).abs()
}

fn is_safe_map(op: ScalarOp, operands: &[&Tensor]) -> bool {
    use ScalarOp::*;
    let all = |test: fn(f64) -> bool| operands[0].data.iter().all(|x| test(*x));
    match op {
        Abs | Sign => all(|x| x.abs() > MARGIN),
        Floor | Ceil => all(|x| from_integer(x) > MARGIN),
        Round => all(|x| from_integer(x + 0.5) > MARGIN),
        Cast(to) if !to.is_float() => all(|x| from_integer(x) > MARGIN),
        Sqrt | Rsqrt | Log => all(|x| x > 0.2),
        Log1p => all(|x| x > -0.7),
        Recip => all(|x| x.abs() > 0.3),
        Asin | Acos => all(|x| x.abs() < 0.9),
        Tan => all(|x| x.cos().abs() > 0.4),
        Pow => all(|x| x > 0.2),
        Div => operands[1].data.iter().all(|y| y.abs() > 0.3),
        // Away from the origin and from the jump between -π and π.
        Atan2 => operands[1].data.iter().all(|y| y.abs() > 0.3) && on_pairs(op, operands, |angle| angle.abs() < 3.0),
        Mod => {
            operands[1].data.iter().all(|y| y.abs() > 0.3)
                && on_pairs(Div, operands, |quotient| from_integer(quotient) > MARGIN)
        }
        Min | Max | Less | LessEqual | Equal | NotEqual => {
            on_pairs(Sub, operands, |difference| difference.abs() > MARGIN)
        }
        _ => true,
    }
}

/// Whether no two elements that are combined along `axes` are nearly equal.
fn are_apart(x: &Tensor, axes: &[Axis]) -> bool {
    let kept: Vec<_> = x.shape().iter().filter(|(axis, _)| !axes.contains(axis)).collect();
    let combined: Vec<_> = x.shape().iter().filter(|(axis, _)| axes.contains(axis)).collect();
    let length: usize = combined.iter().map(|(_, size)| size).product();
    let rows = x.reordered(&kept.into_iter().chain(combined).collect());
    rows.data.chunks(length.max(1)).all(|row| {
        let mut row = row.to_vec();
        row.sort_by(f64::total_cmp);
        row.windows(2).all(|pair| pair[1] - pair[0] > MARGIN)
    })
}
