//! Scalar operations on `f64`.

use crate::graph::{DType, ScalarOp};

/// Which arithmetic an operation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Floating point; truth values count as the numbers 0 and 1.
    Float,
    /// 32-bit integers that wrap around.
    Integer,
}

/// The value of `op`. Truth values are 0 and 1.
pub(super) fn apply(op: ScalarOp, kind: Kind, operands: &[f64]) -> f64 {
    use ScalarOp::*;
    let truth = |value: bool| f64::from(u8::from(value));
    let integer = |value: i64| f64::from(value as i32);
    match (op, kind, operands) {
        (Neg, Kind::Integer, [x]) => integer(-(*x as i64)),
        (Abs, Kind::Integer, [x]) => integer((*x as i64).abs()),
        (Add, Kind::Integer, [x, y]) => integer(*x as i64 + *y as i64),
        (Sub, Kind::Integer, [x, y]) => integer(*x as i64 - *y as i64),
        (Mul, Kind::Integer, [x, y]) => integer(*x as i64 * *y as i64),
        (Div, Kind::Integer, [x, y]) => integer(floor_quotient(*x as i64, *y as i64)),
        (Mod, Kind::Integer, [x, y]) => match *y as i64 {
            0 => 0.0,
            divisor => integer(*x as i64 - divisor * floor_quotient(*x as i64, divisor)),
        },
        (Cast(DType::I32), _, [x]) => f64::from(*x as i32),
        (Cast(DType::Bool), _, [x]) => truth(*x != 0.0),
        (Stop | Cast(_), _, [x]) => *x,
        (Neg, _, [x]) => -x,
        (Abs, _, [x]) => x.abs(),
        (Sign, _, [x]) => truth(*x > 0.0) - truth(*x < 0.0),
        (Sqrt, _, [x]) => x.sqrt(),
        (Rsqrt, _, [x]) => 1.0 / x.sqrt(),
        (Recip, _, [x]) => 1.0 / x,
        (Exp, _, [x]) => x.exp(),
        (Expm1, _, [x]) => x.exp_m1(),
        (Log, _, [x]) => x.ln(),
        (Log1p, _, [x]) => x.ln_1p(),
        (Sin, _, [x]) => x.sin(),
        (Cos, _, [x]) => x.cos(),
        (Tan, _, [x]) => x.tan(),
        (Asin, _, [x]) => x.asin(),
        (Acos, _, [x]) => x.acos(),
        (Atan, _, [x]) => x.atan(),
        (Tanh, _, [x]) => x.tanh(),
        (Sigmoid, _, [x]) => 1.0 / (1.0 + (-x).exp()),
        (Softplus, _, [x]) => maximum(*x, 0.0) + (-x.abs()).exp().ln_1p(),
        (Erf, _, [x]) => erf(*x),
        (Floor, _, [x]) => x.floor(),
        (Ceil, _, [x]) => x.ceil(),
        (Round, _, [x]) => x.round_ties_even(),
        (Not, _, [x]) => truth(*x == 0.0),
        (Add, _, [x, y]) => x + y,
        (Sub, _, [x, y]) => x - y,
        (Mul, _, [x, y]) => x * y,
        (Div, _, [x, y]) => x / y,
        (Pow, _, [x, y]) => x.powf(*y),
        (Atan2, _, [x, y]) => x.atan2(*y),
        (Mod, _, [x, y]) => x - y * (x / y).floor(),
        (Min, _, [x, y]) => minimum(*x, *y),
        (Max, _, [x, y]) => maximum(*x, *y),
        (Less, _, [x, y]) => truth(x < y),
        (LessEqual, _, [x, y]) => truth(x <= y),
        (Equal, _, [x, y]) => truth(x == y),
        (NotEqual, _, [x, y]) => truth(x != y),
        (And, _, [x, y]) => truth(*x != 0.0 && *y != 0.0),
        (Or, _, [x, y]) => truth(*x != 0.0 || *y != 0.0),
        (Select, _, [condition, x, y]) => {
            if *condition != 0.0 {
                *x
            } else {
                *y
            }
        }
        _ => unreachable!("`{}` on {} operands", op.name(), operands.len()),
    }
}

fn floor_quotient(x: i64, y: i64) -> i64 {
    if y == 0 { 0 } else { x.div_euclid(y) - i64::from(y < 0 && x.rem_euclid(y) != 0) }
}

/// `y` where it is larger, otherwise `x`.
pub(super) fn maximum(x: f64, y: f64) -> f64 {
    if y > x { y } else { x }
}

/// `y` where it is smaller, otherwise `x`.
pub(super) fn minimum(x: f64, y: f64) -> f64 {
    if y < x { y } else { x }
}

/// The error function, 2/√π ∫₀ˣ e^(−t²) dt, within a few units in the last place: the series
/// 2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (1·3·5⋯(2n+1)), whose terms are all of one sign (Abramowitz & Stegun 7.1.6).
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() <= sum.abs() * 1e-18 {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}
