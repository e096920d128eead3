//! The type rule of each operation: what its operands must be and what it gives.

use super::{DType, Op, ScalarOp, Type};
use crate::axis::{Axis, AxisConflict, Shape};
use thiserror::Error;

/// Why an operation cannot be applied to its operands.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TypeError {
    #[error("`{op}` takes {expected} operands, not {found}")]
    Arity { op: String, expected: usize, found: usize },
    #[error(transparent)]
    Conflict(#[from] AxisConflict),
    #[error("there is no axis `{axis}` in {shape}")]
    MissingAxis { axis: Axis, shape: Shape },
    #[error("there is already an axis `{axis}` in {shape}")]
    DuplicateAxis { axis: Axis, shape: Shape },
    #[error("`{op}` takes {expected}, not {found}")]
    DType { op: String, expected: &'static str, found: DType },
    #[error("`{op}` takes operands of one type, not {left} and {right}")]
    Mixed { op: String, left: DType, right: DType },
    #[error("axis `{axis}` has {size} elements, which {problem}")]
    Size { axis: Axis, size: usize, problem: String },
}

fn size_of(shape: &Shape, axis: Axis) -> Result<usize, TypeError> {
    shape.size(axis).ok_or_else(|| TypeError::MissingAxis { axis, shape: shape.clone() })
}

fn absent(shape: &Shape, axis: Axis) -> Result<(), TypeError> {
    match shape.size(axis) {
        None => Ok(()),
        Some(_) => Err(TypeError::DuplicateAxis { axis, shape: shape.clone() }),
    }
}

fn expect(op: &Op, ok: bool, expected: &'static str, found: DType) -> Result<(), TypeError> {
    if ok { Ok(()) } else { Err(TypeError::DType { op: op.to_string(), expected, found }) }
}

fn same(op: &Op, left: DType, right: DType) -> Result<(), TypeError> {
    if left == right { Ok(()) } else { Err(TypeError::Mixed { op: op.to_string(), left, right }) }
}

fn wrong_size(axis: Axis, size: usize, problem: impl Into<String>) -> TypeError {
    TypeError::Size { axis, size, problem: problem.into() }
}

/// Replaces `axis` in place by `by`, none of which may be present already.
fn replace(shape: &Shape, axis: Axis, by: &[(Axis, usize)]) -> Result<Shape, TypeError> {
    let rest = shape.without(&[axis]);
    for (i, (new, _)) in by.iter().enumerate() {
        absent(&rest, *new)?;
        if by[..i].iter().any(|(other, _)| other == new) {
            return Err(TypeError::DuplicateAxis { axis: *new, shape: shape.clone() });
        }
    }
    Ok(shape.replaced(axis, by))
}

fn map_type(op: &Op, scalar: ScalarOp, operands: &[Type]) -> Result<Type, TypeError> {
    let mut shape = Shape::SCALAR;
    for operand in operands {
        shape = shape.union(&operand.shape)?;
    }
    let first = operands[0].dtype;
    let dtype = match scalar {
        ScalarOp::Cast(to) => to,
        ScalarOp::And | ScalarOp::Or | ScalarOp::Not => {
            for operand in operands {
                expect(op, operand.dtype == DType::Bool, "truth values", operand.dtype)?;
            }
            DType::Bool
        }
        ScalarOp::Select => {
            expect(op, first == DType::Bool, "a truth value first", first)?;
            same(op, operands[1].dtype, operands[2].dtype)?;
            operands[1].dtype
        }
        _ => {
            for operand in operands {
                same(op, first, operand.dtype)?;
                expect(op, operand.dtype != DType::Bool || scalar == ScalarOp::Stop, "numbers", operand.dtype)?;
            }
            if scalar.is_float_only() {
                expect(op, first.is_float(), "floating-point numbers", first)?;
            }
            if scalar.is_predicate() { DType::Bool } else { first }
        }
    };
    Ok(Type::new(dtype, shape))
}

fn arity(op: &Op) -> Option<usize> {
    match op {
        Op::Constant(_) | Op::Input(_) | Op::Parameter(_) | Op::Iota { .. } | Op::Random { .. } => Some(0),
        Op::Map(scalar) => Some(scalar.arity()),
        Op::Contract { .. } | Op::Gather { .. } | Op::ScatterAdd { .. } | Op::SearchSorted { .. } => Some(2),
        Op::Concat { .. } => None,
        _ => Some(1),
    }
}

/// The type of `op` applied to operands of the given types.
///
/// Leaves that carry no type of their own (constants, inputs, parameters) are typed where they are
/// made, by [`Graph::leaf`](super::Graph::leaf).
pub fn type_of(op: &Op, operands: &[Type]) -> Result<Type, TypeError> {
    let found = operands.len();
    if let Some(expected) = arity(op).filter(|expected| *expected != found) {
        return Err(TypeError::Arity { op: op.to_string(), expected, found });
    }
    let first = operands.first();
    match (op, first) {
        (Op::Constant(_) | Op::Input(_) | Op::Parameter(_), _) => {
            unreachable!("leaves are typed where they are made")
        }
        (Op::Iota { axis, size }, _) => Ok(Type::new(DType::I32, Shape::new([(*axis, *size)]))),
        (Op::Random { shape, .. }, _) => Ok(Type::new(DType::F32, shape.clone())),
        (Op::Concat { .. }, None) => Err(TypeError::Arity { op: op.to_string(), expected: 1, found }),
        (_, None) => unreachable!("every other operation has an operand"),
        (Op::Map(scalar), _) => map_type(op, *scalar, operands),
        (_, Some(x)) => typed(op, x, operands),
    }
}

fn typed(op: &Op, x: &Type, operands: &[Type]) -> Result<Type, TypeError> {
    let with_shape = |shape| Ok(Type::new(x.dtype, shape));
    match op {
        Op::Spread(extra) => {
            extra.axes().try_for_each(|axis| absent(&x.shape, axis))?;
            with_shape(extra.union(&x.shape)?)
        }
        Op::Reduce { axes, .. } => {
            expect(op, x.dtype != DType::Bool, "numbers", x.dtype)?;
            for axis in axes {
                size_of(&x.shape, *axis)?;
            }
            with_shape(x.shape.without(axes))
        }
        Op::ArgReduce { axis, .. } => {
            if size_of(&x.shape, *axis)? == 0 {
                return Err(wrong_size(*axis, 0, "leaves nothing to choose from"));
            }
            Ok(Type::new(DType::I32, x.shape.without(&[*axis])))
        }
        Op::Scan { axis, .. } => {
            expect(op, x.dtype != DType::Bool, "numbers", x.dtype)?;
            size_of(&x.shape, *axis)?;
            Ok(x.clone())
        }
        Op::Contract { over } => {
            let y = &operands[1];
            same(op, x.dtype, y.dtype)?;
            expect(op, x.dtype != DType::Bool, "numbers", x.dtype)?;
            for axis in over {
                size_of(&x.shape, *axis)?;
                size_of(&y.shape, *axis)?;
            }
            with_shape(x.shape.union(&y.shape)?.without(over))
        }
        Op::Rename(pairs) => {
            for (from, _) in pairs {
                size_of(&x.shape, *from)?;
            }
            let to = |axis| pairs.iter().find(|(from, _)| *from == axis).map_or(axis, |(_, to)| *to);
            let renamed: Vec<_> = x.shape.iter().map(|(axis, size)| (to(axis), size)).collect();
            for (i, (axis, _)) in renamed.iter().enumerate() {
                if renamed[..i].iter().any(|(other, _)| other == axis) {
                    return Err(TypeError::DuplicateAxis { axis: *axis, shape: x.shape.clone() });
                }
            }
            with_shape(Shape::new(renamed))
        }
        Op::Split { axis, into } => {
            let size = size_of(&x.shape, *axis)?;
            let product: usize = into.iter().map(|(_, size)| size).product();
            if product != size {
                let parts: Vec<_> = into.iter().map(|(axis, size)| format!("{axis}={size}")).collect();
                return Err(wrong_size(*axis, size, format!("is not the product of {}", parts.join(" and "))));
            }
            with_shape(replace(&x.shape, *axis, into)?)
        }
        Op::Merge { axes, into } => {
            let mut size = 1;
            for axis in axes {
                size *= size_of(&x.shape, *axis)?;
            }
            absent(&x.shape.without(axes), *into)?;
            let position = x.shape.axes().position(|axis| axes.contains(&axis)).unwrap_or(0);
            let mut merged: Vec<_> = x.shape.without(axes).iter().collect();
            merged.insert(position, (*into, size));
            with_shape(Shape::new(merged))
        }
        Op::Slice { axis, start, size, step } => {
            let whole = size_of(&x.shape, *axis)?;
            let last = *start as isize + (*size as isize - 1) * step;
            if *size > 0 && (*start >= whole || last < 0 || last >= whole as isize || *step == 0) {
                return Err(wrong_size(*axis, whole, format!("does not hold {size} from {start} by {step}")));
            }
            with_shape(x.shape.replaced(*axis, &[(*axis, *size)]))
        }
        Op::Pad { axis, before, after, .. } => {
            let size = size_of(&x.shape, *axis)? + before + after;
            with_shape(x.shape.replaced(*axis, &[(*axis, size)]))
        }
        Op::Concat { axis } => {
            let mut total = 0;
            let mut rest = Shape::SCALAR;
            for operand in operands {
                same(op, x.dtype, operand.dtype)?;
                total += size_of(&operand.shape, *axis)?;
                rest = rest.union(&operand.shape.without(&[*axis]))?;
            }
            let position = x.shape.axes().position(|a| a == *axis).unwrap_or(0);
            let mut axes: Vec<_> = rest.iter().collect();
            axes.insert(position, (*axis, total));
            with_shape(Shape::new(axes))
        }
        Op::Window { axis, position, tap, taps, stride, dilation } => {
            let size = size_of(&x.shape, *axis)?;
            let reach = (taps.max(&1) - 1) * dilation + 1;
            if *taps == 0 || *stride == 0 || *dilation == 0 || size < reach {
                return Err(wrong_size(*axis, size, format!("does not hold a window that reaches over {reach}")));
            }
            let positions = (size - reach) / stride + 1;
            with_shape(replace(&x.shape, *axis, &[(*position, positions), (*tap, *taps)])?)
        }
        Op::Fold { axis, size, position, tap, stride, dilation } => {
            let positions = size_of(&x.shape, *position)?;
            let taps = size_of(&x.shape, *tap)?;
            let reach = positions.saturating_sub(1) * stride + taps.saturating_sub(1) * dilation + 1;
            if reach > *size {
                return Err(wrong_size(*axis, *size, format!("is less than the {reach} that the windows cover")));
            }
            let shape = x.shape.without(&[*tap]);
            with_shape(replace(&shape, *position, &[(*axis, *size)])?)
        }
        Op::Gather { axis } => {
            let index = &operands[1];
            expect(op, index.dtype == DType::I32, "i32 positions", index.dtype)?;
            size_of(&x.shape, *axis)?;
            let rest = x.shape.without(&[*axis]);
            let mut shape = Vec::new();
            for (a, size) in x.shape.iter() {
                if a == *axis {
                    let new = index.shape.iter().filter(|(i, _)| !rest.contains(*i));
                    shape.extend(new);
                } else {
                    shape.push((a, size));
                }
            }
            rest.union(&index.shape)?;
            with_shape(Shape::new(shape))
        }
        Op::ScatterAdd { axis, size, over } => {
            let index = &operands[1];
            expect(op, index.dtype == DType::I32, "i32 positions", index.dtype)?;
            expect(op, x.dtype != DType::Bool, "numbers", x.dtype)?;
            let joint = x.shape.union(&index.shape)?;
            for a in over {
                size_of(&joint, *a)?;
            }
            let rest = joint.without(over);
            absent(&rest, *axis)?;
            with_shape(rest.with(*axis, *size))
        }
        Op::Sort { axis } => {
            size_of(&x.shape, *axis)?;
            Ok(x.clone())
        }
        Op::ArgSort { axis } => {
            size_of(&x.shape, *axis)?;
            Ok(Type::new(DType::I32, x.shape.clone()))
        }
        Op::SearchSorted { axis, .. } => {
            let values = &operands[1];
            same(op, x.dtype, values.dtype)?;
            size_of(&x.shape, *axis)?;
            Ok(Type::new(DType::I32, x.shape.without(&[*axis]).union(&values.shape)?))
        }
        Op::Constant(_) | Op::Input(_) | Op::Parameter(_) | Op::Iota { .. } | Op::Random { .. } | Op::Map(_) => {
            unreachable!("typed by the caller")
        }
    }
}
