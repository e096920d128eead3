//! Constants, and the identities of arithmetic and logic.

use super::store::{Id, Store};
use crate::{
    axis::Shape,
    graph::{DType, Op, ScalarOp},
    random::RandomKey,
    reference::evaluate_op,
    tensor::Tensor,
};

pub(super) fn rule(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    let Op::Map(scalar) = *op else { return None };
    fold(s, op, operands).or_else(|| match *operands {
        [x] => unary(s, scalar, x),
        [x, y] => binary(s, scalar, x, y),
        [condition, x, y] => select(s, condition, x, y),
        _ => None,
    })
}

/// A map of constants is a constant. Folding is exact: it is rounded to the element type once, at the end.
fn fold(s: &mut Store, op: &Op, operands: &[Id]) -> Option<Id> {
    let values: Vec<Tensor> = operands
        .iter()
        .map(|id| s.constant_of(*id).map(|value| Tensor::scalar(s.dtype(*id), value)))
        .collect::<Option<_>>()?;
    let ty = s.type_of(op, operands);
    let value = evaluate_op(op, &ty, &values.iter().collect::<Vec<_>>(), RandomKey::default());
    Some(s.constant(value.data[0], ty.dtype))
}

fn unary(s: &mut Store, op: ScalarOp, x: Id) -> Option<Id> {
    use ScalarOp::*;
    match op {
        Stop | Abs if s.unary_of(op, x).is_some() => Some(x),
        Abs => {
            let inner = s.unary_of(Neg, x)?;
            Some(s.map(Abs, &[inner]))
        }
        Not | Recip => s.unary_of(op, x),
        Cast(to) if s.dtype(x) == to => Some(x),
        Neg => {
            if let Some(inner) = s.unary_of(Neg, x) {
                return Some(inner);
            }
            if let Some([left, right]) = s.map_of(Sub, x) {
                let (left, right) = (*left, *right);
                return Some(s.map(Sub, &[right, left]));
            }
            let (factor, rest) = s.with_constant(Mul, x)?;
            Some(s.scaled(rest, -factor))
        }
        _ => None,
    }
}

/// The shape of a map of two operands.
fn joint(s: &Store, x: Id, y: Id) -> Shape {
    s.shape(x).union(s.shape(y)).unwrap_or_else(|conflict| unreachable!("{conflict}"))
}

fn binary(s: &mut Store, op: ScalarOp, x: Id, y: Id) -> Option<Id> {
    use ScalarOp::*;
    match op {
        Add => sum(s, x, y),
        Sub => difference(s, x, y),
        Mul => product(s, x, y),
        Div => quotient(s, x, y),
        Pow => power(s, x, s.constant_of(y)?),
        And | Or if x == y => Some(x),
        And | Or => {
            let (value, other) = match (s.constant_of(x), s.constant_of(y)) {
                (Some(value), _) => (value != 0.0, y),
                (_, Some(value)) => (value != 0.0, x),
                _ => return None,
            };
            Some(if value == (op == And) {
                other
            } else {
                let decided = s.constant(f64::from(u8::from(value)), DType::Bool);
                let shape = s.shape(other).clone();
                s.fit(decided, &shape)
            })
        }
        Min | Max if x == y => Some(x),
        _ => None,
    }
}

fn sum(s: &mut Store, x: Id, y: Id) -> Option<Id> {
    use ScalarOp::{Add, Neg, Sub};
    for (x, y) in [(x, y), (y, x)] {
        if let Some(value) = s.constant_of(x) {
            if value == 0.0 {
                return Some(y);
            }
            if let Some((more, rest)) = s.with_constant(Add, y) {
                let total = s.constant(value + more, s.dtype(x));
                return Some(s.map(Add, &[total, rest]));
            }
        }
        if let (Some(value), Some((from, rest))) = (s.constant_of(x), taken_from_constant(s, y)) {
            let total = s.constant(value + from, s.dtype(x));
            return Some(s.map(Sub, &[total, rest]));
        }
        if let Some(inner) = s.unary_of(Neg, y) {
            return Some(s.map(Sub, &[x, inner]));
        }
    }
    None
}

/// The constant and the rest of `constant - rest`.
fn taken_from_constant(s: &Store, id: Id) -> Option<(f64, Id)> {
    let [x, y] = *s.map_of(ScalarOp::Sub, id)? else { return None };
    Some((s.constant_of(x)?, y))
}

fn difference(s: &mut Store, x: Id, y: Id) -> Option<Id> {
    use ScalarOp::{Add, Neg};
    if s.constant_of(y) == Some(0.0) {
        return Some(x);
    }
    if s.constant_of(x) == Some(0.0) {
        return Some(s.map(Neg, &[y]));
    }
    if let (Some(value), Some((from, rest))) = (s.constant_of(x), taken_from_constant(s, y)) {
        let total = s.constant(value - from, s.dtype(x));
        return Some(s.map(Add, &[total, rest]));
    }
    let inner = s.unary_of(Neg, y)?;
    Some(s.map(Add, &[x, inner]))
}

fn product(s: &mut Store, x: Id, y: Id) -> Option<Id> {
    use ScalarOp::{Mul, Neg};
    for (x, y) in [(x, y), (y, x)] {
        if let Some(value) = s.constant_of(x) {
            if value == 0.0 {
                let shape = s.shape(y).clone();
                return Some(s.fit(x, &shape));
            }
            if value == 1.0 {
                return Some(y);
            }
            if value == -1.0 {
                return Some(s.map(Neg, &[y]));
            }
            if let Some((more, rest)) = s.with_constant(Mul, y) {
                return Some(s.scaled(rest, value * more));
            }
            if let Some(inner) = s.unary_of(Neg, y) {
                return Some(s.scaled(inner, -value));
            }
        } else if let Some(inner) = s.unary_of(Neg, y) {
            let product = s.map(Mul, &[x, inner]);
            return Some(s.map(Neg, &[product]));
        }
    }
    None
}

fn quotient(s: &mut Store, x: Id, y: Id) -> Option<Id> {
    use ScalarOp::{Div, Neg, Recip};
    if s.constant_of(y) == Some(1.0) {
        return Some(x);
    }
    if !s.dtype(x).is_float() {
        return None;
    }
    if let Some(divisor) = s.constant_of(y).filter(|divisor| *divisor != 0.0) {
        return Some(s.scaled(x, 1.0 / divisor));
    }
    if s.constant_of(x) == Some(1.0) {
        return Some(s.map(Recip, &[y]));
    }
    let inner = s.unary_of(Neg, x)?;
    let quotient = s.map(Div, &[inner, y]);
    Some(s.map(Neg, &[quotient]))
}

fn power(s: &mut Store, x: Id, exponent: f64) -> Option<Id> {
    use ScalarOp::{Mul, Recip, Rsqrt, Sqrt};
    if exponent == 0.0 {
        let one = s.constant(1.0, s.dtype(x));
        let shape = s.shape(x).clone();
        return Some(s.fit(one, &shape));
    }
    let powers: [(f64, &[ScalarOp]); 4] = [(1.0, &[]), (-1.0, &[Recip]), (0.5, &[Sqrt]), (-0.5, &[Rsqrt])];
    if let Some((_, ops)) = powers.into_iter().find(|(known, _)| *known == exponent) {
        return Some(ops.iter().fold(x, |x, op| s.map(*op, &[x])));
    }
    let factors = [2.0, 3.0].into_iter().find(|known| *known == exponent)? as usize;
    Some((1..factors).fold(x, |power, _| s.map(Mul, &[power, x])))
}

fn select(s: &mut Store, condition: Id, x: Id, y: Id) -> Option<Id> {
    if let Some(value) = s.constant_of(condition) {
        let shape = joint(s, x, y);
        return Some(s.fit(if value != 0.0 { x } else { y }, &shape));
    }
    if x == y {
        let shape = joint(s, condition, x);
        return Some(s.fit(x, &shape));
    }
    let opposite = s.unary_of(ScalarOp::Not, condition)?;
    Some(s.map(ScalarOp::Select, &[opposite, y, x]))
}
