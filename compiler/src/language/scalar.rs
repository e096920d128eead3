//! Numbers and switches that are known before anything runs, and expressions of them.

use super::{
    diagnostics::{Problem, Span},
    equation::{Expression, ExpressionKind, Unary},
};
use crate::graph::ScalarOp;
use std::fmt;

/// A number or a switch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scalar {
    Integer(i64),
    Real(f64),
    Switch(bool),
}

impl Scalar {
    /// The value as a number; switches are 0 and 1.
    pub fn number(self) -> f64 {
        match self {
            Scalar::Integer(value) => value as f64,
            Scalar::Real(value) => value,
            Scalar::Switch(value) => f64::from(u8::from(value)),
        }
    }

    /// The value as a whole number, if it is one.
    pub fn whole(self) -> Option<i64> {
        match self {
            Scalar::Integer(value) => Some(value),
            Scalar::Real(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i64),
            _ => None,
        }
    }

    /// The value as a condition: a switch, or a number that is 0 or 1 as `--set` may give it.
    pub fn truth(self) -> Option<bool> {
        match self {
            Scalar::Switch(value) => Some(value),
            Scalar::Integer(value @ (0 | 1)) => Some(value == 1),
            _ => None,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Integer(value) => write!(f, "{value}"),
            Scalar::Real(value) => write!(f, "{value:?}"),
            Scalar::Switch(value) => write!(f, "{value}"),
        }
    }
}

/// `op` applied to scalars; integers stay integers where the result is whole. `None` where the
/// operation does not take such operands.
pub(crate) fn apply(op: ScalarOp, operands: &[Scalar]) -> Option<Scalar> {
    use Scalar::*;
    use ScalarOp as S;
    Some(match (op, operands) {
        (S::Not, [x]) => Switch(!x.truth()?),
        (S::And, [x, y]) => Switch(x.truth()? && y.truth()?),
        (S::Or, [x, y]) => Switch(x.truth()? || y.truth()?),
        (S::Equal, [Switch(x), Switch(y)]) => Switch(x == y),
        (S::NotEqual, [Switch(x), Switch(y)]) => Switch(x != y),
        (S::Select, [c, x, y]) => {
            if c.truth()? {
                *x
            } else {
                *y
            }
        }
        (_, operands) if operands.iter().any(|x| matches!(x, Switch(_))) => return None,
        (S::Less, [x, y]) => Switch(x.number() < y.number()),
        (S::LessEqual, [x, y]) => Switch(x.number() <= y.number()),
        (S::Equal, [x, y]) => Switch(x.number() == y.number()),
        (S::NotEqual, [x, y]) => Switch(x.number() != y.number()),
        (S::Neg, [Integer(x)]) => Integer(x.checked_neg()?),
        (S::Abs, [Integer(x)]) => Integer(x.checked_abs()?),
        (S::Sign, [Integer(x)]) => Integer(x.signum()),
        (S::Add, [Integer(x), Integer(y)]) => Integer(x.checked_add(*y)?),
        (S::Sub, [Integer(x), Integer(y)]) => Integer(x.checked_sub(*y)?),
        (S::Mul, [Integer(x), Integer(y)]) => Integer(x.checked_mul(*y)?),
        (S::Div, [Integer(x), Integer(y)]) if *y != 0 && x.checked_rem(*y) == Some(0) => Integer(x / y),
        (S::Mod, [Integer(x), Integer(y)]) if *y != 0 => Integer(x.checked_rem_euclid(*y)?),
        (S::Pow, [Integer(x), Integer(y)]) if *y >= 0 => Integer(x.checked_pow(u32::try_from(*y).ok()?)?),
        (S::Min, [Integer(x), Integer(y)]) => Integer(*x.min(y)),
        (S::Max, [Integer(x), Integer(y)]) => Integer(*x.max(y)),
        (S::Floor | S::Ceil | S::Round, [x]) => {
            let x = match op {
                S::Floor => x.number().floor(),
                S::Ceil => x.number().ceil(),
                _ => x.number().round_ties_even(),
            };
            Real(x).whole().map_or(Real(x), Integer)
        }
        (_, [x]) => Real(real_unary(op, x.number())?),
        (_, [x, y]) => Real(real_binary(op, x.number(), y.number())?),
        _ => return None,
    })
}

fn real_unary(op: ScalarOp, x: f64) -> Option<f64> {
    use ScalarOp as S;
    Some(match op {
        S::Stop => x,
        S::Neg => -x,
        S::Abs => x.abs(),
        S::Sign => {
            if x == 0.0 {
                0.0
            } else {
                x.signum()
            }
        }
        S::Sqrt => x.sqrt(),
        S::Rsqrt => 1.0 / x.sqrt(),
        S::Recip => 1.0 / x,
        S::Exp => x.exp(),
        S::Expm1 => x.exp_m1(),
        S::Log => x.ln(),
        S::Log1p => x.ln_1p(),
        S::Sin => x.sin(),
        S::Cos => x.cos(),
        S::Tan => x.tan(),
        S::Asin => x.asin(),
        S::Acos => x.acos(),
        S::Atan => x.atan(),
        S::Tanh => x.tanh(),
        S::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        S::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        _ => return None,
    })
}

fn real_binary(op: ScalarOp, x: f64, y: f64) -> Option<f64> {
    use ScalarOp as S;
    Some(match op {
        S::Add => x + y,
        S::Sub => x - y,
        S::Mul => x * y,
        S::Div => x / y,
        S::Pow => x.powf(y),
        S::Atan2 => x.atan2(y),
        S::Mod => x - y * (x / y).floor(),
        S::Min => x.min(y),
        S::Max => x.max(y),
        _ => return None,
    })
}

/// The scalar operation that equations call by `name`.
pub(crate) fn operation(name: &str) -> Option<ScalarOp> {
    let called = |op: &ScalarOp| {
        let arithmetic = matches!(
            op,
            ScalarOp::Add
                | ScalarOp::Sub
                | ScalarOp::Mul
                | ScalarOp::Div
                | ScalarOp::Neg
                | ScalarOp::Pow
                | ScalarOp::Select
        );
        !arithmetic && !op.is_predicate() && !matches!(op, ScalarOp::Cast(_)) && op.name() == name
    };
    ScalarOp::ALL.into_iter().find(called)
}

/// The value of an expression that speaks of scalars alone; `lookup` knows the names.
pub(crate) fn evaluate(
    expression: &Expression,
    lookup: &mut dyn FnMut(&str, Span) -> Result<Scalar, Problem>,
) -> Result<Scalar, Problem> {
    let span = expression.span;
    let folded = |op: ScalarOp, operands: &[Scalar]| {
        apply(op, operands).ok_or_else(|| {
            let shown: Vec<String> = operands.iter().map(Scalar::to_string).collect();
            Problem::new(span, format!("`{}` cannot be applied to {}", op.name(), shown.join(" and ")))
        })
    };
    match &expression.kind {
        ExpressionKind::Integer(value) => Ok(Scalar::Integer(*value)),
        ExpressionKind::Real(value) => Ok(Scalar::Real(*value)),
        ExpressionKind::Switch(value) => Ok(Scalar::Switch(*value)),
        ExpressionKind::Name(name) if name == "pi" => Ok(Scalar::Real(std::f64::consts::PI)),
        ExpressionKind::Name(name) => lookup(name, span),
        ExpressionKind::Unary(Unary::Negate, x) => folded(ScalarOp::Neg, &[evaluate(x, lookup)?]),
        ExpressionKind::Unary(Unary::Not, x) => folded(ScalarOp::Not, &[evaluate(x, lookup)?]),
        ExpressionKind::Unary(Unary::PlusMinus, _) => {
            Err(Problem::new(span, "`±` has a meaning only in `uniform(± …)` of a stored value"))
        }
        ExpressionKind::Binary(op, x, y) => {
            let x = evaluate(x, lookup)?;
            match (op, x.truth()) {
                (ScalarOp::And, Some(false)) | (ScalarOp::Or, Some(true)) => Ok(x),
                _ => folded(*op, &[x, evaluate(y, lookup)?]),
            }
        }
        ExpressionKind::If(parts) => {
            let [condition, then, otherwise] = parts.as_ref();
            let Some(truth) = evaluate(condition, lookup)?.truth() else {
                return Err(Problem::new(condition.span, "a condition is true or false, not a number"));
            };
            evaluate(if truth { then } else { otherwise }, lookup)
        }
        ExpressionKind::Call(callee, arguments) => {
            let op = match &callee.kind {
                ExpressionKind::Name(name) => operation(name),
                _ => None,
            };
            let Some(op) = op.filter(|op| op.arity() == arguments.len()) else {
                return Err(Problem::new(span, "this is not a function of numbers known before anything runs"));
            };
            let values = arguments.iter().map(|argument| evaluate(&argument.value, lookup));
            folded(op, &values.collect::<Result<Vec<_>, _>>()?)
        }
        _ => Err(Problem::new(span, "expected a number that is known before anything runs")
            .help("tensors, views and axes have no place here")),
    }
}
