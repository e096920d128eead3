//! The elementary functions to about 100 bits, by their power series.
//!
//! Arguments are finite, inside the domain, not zero, and no poles.

use super::pair::{FRAC_2_SQRT_PI, LN_2, PI, Pair};

/// A pair times a power of two, which by itself may be beyond the range of `f64`.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    pub value: Pair,
    pub exponent: i32,
}

impl From<Pair> for Scaled {
    fn from(value: Pair) -> Scaled {
        Scaled { value, exponent: 0 }
    }
}

/// first + first · ratio(1) + first · ratio(1) · ratio(2) + …
fn series(first: Pair, ratio: impl Fn(f64) -> Pair) -> Pair {
    let (mut term, mut sum, mut n) = (first, first, 1.0);
    while term.high.abs() > 1e-34 * sum.high.abs() {
        term = term * ratio(n);
        sum = sum + term;
        n += 1.0;
    }
    sum
}

/// eʳ - 1 for small r.
fn exp_series(r: Pair) -> Pair {
    series(r, |n| r / (n + 1.0))
}

pub fn exp(x: Pair) -> Scaled {
    // Results are far out of range beyond these.
    let x = if x.high.abs() > 800.0 { Pair::from(800.0_f64.copysign(x.high)) } else { x };
    let exponent = (x.high / LN_2.high).round();
    let r = x - LN_2 * exponent;
    Scaled { value: exp_series(r) + 1.0, exponent: exponent as i32 }
}

pub fn exp2(x: f64) -> Scaled {
    let x = x.clamp(-1200.0, 1200.0);
    let exponent = x.round();
    Scaled { value: exp_series(LN_2 * (x - exponent)) + 1.0, exponent: exponent as i32 }
}

pub fn expm1(x: f64) -> Scaled {
    if x.abs() < 0.3 {
        return exp_series(x.into()).into();
    }
    match exp(x.into()) {
        Scaled { value, exponent } if exponent < 200 => (value.scaled(2.0_f64.powi(exponent)) - 1.0).into(),
        large => large,
    }
}

/// e to a power of moderate size.
fn moderate_exp(x: Pair) -> Pair {
    let Scaled { value, exponent } = exp(x);
    value.scaled(2.0_f64.powi(exponent))
}

pub fn tanh(x: f64) -> Scaled {
    if x.abs() > 50.0 {
        return Pair::from(x.signum()).into();
    }
    let Scaled { value, exponent } = expm1(2.0 * x);
    let e = value.scaled(2.0_f64.powi(exponent));
    (e / (e + 2.0)).into()
}

pub fn sigmoid(x: f64) -> Scaled {
    let denominator = moderate_exp(Pair::from(-x.abs().min(300.0))) + 1.0;
    if x > 0.0 {
        return (Pair::from(1.0) / denominator).into();
    }
    let Scaled { value, exponent } = exp(x.into());
    Scaled { value: value / denominator, exponent }
}

pub fn softplus(x: f64) -> Scaled {
    if x < -80.0 {
        return exp(x.into());
    }
    let rest = log1p(moderate_exp(Pair::from(-x.abs().min(300.0))));
    if x > 0.0 { (rest + x).into() } else { rest.into() }
}

pub fn log(x: f64) -> Pair {
    let (x, shift) = if x < 1e-300 { (x * 2.0_f64.powi(60), -60.0) } else { (x, 0.0) };
    let bits = x.to_bits() as i64 - std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
    let exponent = f64::from((bits >> 52) as i32);
    log1p(Pair::from(x * 2.0_f64.powf(-exponent) - 1.0)) + LN_2 * (exponent + shift)
}

pub fn log1p(x: Pair) -> Pair {
    if x.high < -0.3 || x.high > 0.5 {
        let sum = x + 1.0;
        // log(a + b) = log a + log(1 + b / a).
        return log(sum.high) + Pair::from(sum.low / sum.high);
    }
    // 2 atanh(x / (2 + x)).
    let s = x / (x + 2.0);
    let square = s * s;
    let mut sum = Pair::from(0.0);
    for n in (0..40).rev() {
        sum = sum * square + Pair::from(1.0) / f64::from(2 * n + 1);
    }
    sum * s.scaled(2.0)
}

pub fn log2(x: f64) -> Scaled {
    (log(x) / LN_2).into()
}

pub fn pow(x: f64, y: f64) -> Scaled {
    let power = log(x.abs()) * y;
    // The product may have overflowed, and its low part then is no number.
    let power = if power.high.abs() > 800.0 { Pair::from(power.high) } else { power };
    let Scaled { value, exponent } = exp(power);
    let odd = x < 0.0 && y % 2.0 != 0.0;
    Scaled { value: if odd { -value } else { value }, exponent }
}

/// The quadrant of an angle, and what it is more than that many right angles.
fn quadrant(x: f64) -> (i64, Pair) {
    const HALF_PI: [f64; 4] =
        [std::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33, 5.562271104316826e-50];
    let k = (x / HALF_PI[0]).round();
    let rest = HALF_PI.iter().fold(Pair::from(x), |rest, part| rest - Pair::product(k, *part));
    (k as i64, rest)
}

/// Sine and cosine.
fn circular(x: f64) -> (Pair, Pair) {
    let (k, r) = quadrant(x);
    let minus_square = -(r * r);
    let sin = series(r, |n| minus_square / (2.0 * n * (2.0 * n + 1.0)));
    let cos = series(Pair::from(1.0), |n| minus_square / (2.0 * n * (2.0 * n - 1.0)));
    match k.rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

pub fn sin(x: f64) -> Scaled {
    circular(x).0.into()
}

pub fn cos(x: f64) -> Scaled {
    circular(x).1.into()
}

pub fn tan(x: f64) -> Scaled {
    let (sin, cos) = circular(x);
    (sin / cos).into()
}

/// asin x for |x| ≤ 1/2 and a little: a step of Newton's.
fn small_asin(x: Pair) -> Pair {
    let y = x.high.asin();
    let (sin, cos) = circular(y);
    (x - sin) / cos + y
}

/// 2 asin √((1 - x) / 2), which is acos x.
fn half_angle(x: f64) -> Pair {
    let half = (Pair::from(1.0) - x).scaled(0.5);
    small_asin(half.sqrt()).scaled(2.0)
}

pub fn asin(x: f64) -> Scaled {
    let magnitude = match x.abs() {
        0.5.. => PI.scaled(0.5) - half_angle(x.abs()),
        small => small_asin(small.into()),
    };
    magnitude.scaled(x.signum()).into()
}

pub fn acos(x: f64) -> Scaled {
    let angle = match x {
        0.5.. => half_angle(x),
        ..=-0.5 => PI - half_angle(-x),
        _ => PI.scaled(0.5) - small_asin(x.into()),
    };
    angle.into()
}

/// atan t for 0 ≤ t ≤ 1: a step of Newton's.
fn small_atan(t: Pair) -> Pair {
    let y = t.high.atan();
    let (sin, cos) = circular(y);
    let tan = sin / cos;
    (t - tan) / (tan * tan + 1.0) + y
}

pub fn atan2(y: f64, x: f64) -> Scaled {
    let (up, across) = (Scaled::normal(y.abs()), Scaled::normal(x.abs()));
    let steep = y.abs() > x.abs();
    let tangent = if steep { across.over(up) } else { up.over(across) };
    if tangent.exponent < -200 && !steep && x > 0.0 {
        // The angle is its tangent.
        return Scaled { value: tangent.value.scaled(y.signum()), ..tangent };
    }
    let angle = match tangent.exponent {
        ..-900 => Pair::from(0.0),
        exponent => small_atan(tangent.value.scaled(2.0_f64.powi(exponent))),
    };
    let angle = if steep { PI.scaled(0.5) - angle } else { angle };
    let angle = if x < 0.0 { PI - angle } else { angle };
    angle.scaled(y.signum()).into()
}

impl Scaled {
    /// A positive number as one between a quarter and four, scaled.
    fn normal(x: f64) -> Scaled {
        let (x, shift) = if x < 1e-300 { (x * 2.0_f64.powi(60), 60) } else { (x, 0) };
        let exponent = x.log2() as i32;
        // In two factors, either of which is in range.
        let half = exponent / 2;
        let value = x * 2.0_f64.powi(-half) * 2.0_f64.powi(half - exponent);
        Scaled { value: value.into(), exponent: exponent - shift }
    }

    fn over(self, other: Scaled) -> Scaled {
        Scaled { value: self.value / other.value, exponent: self.exponent - other.exponent }
    }
}

pub fn erf(x: f64) -> Scaled {
    if x.abs() < 1e-20 {
        return Scaled { value: FRAC_2_SQRT_PI * (x * 2.0_f64.powi(200)), exponent: -200 };
    }
    if x.abs() > 7.0 {
        return Pair::from(x.signum()).into();
    }
    // Abramowitz & Stegun 7.1.6, of positive terms.
    let square = Pair::product(x, x);
    let sum = series(Pair::from(x), |n| square.scaled(2.0) / (2.0 * n + 1.0));
    (FRAC_2_SQRT_PI * moderate_exp(-square) * sum).into()
}

pub fn rsqrt(x: f64) -> Scaled {
    let (x, exponent) = if x < 1e-200 { (x * 2.0_f64.powi(400), 200) } else { (x, 0) };
    Scaled { value: Pair::from(1.0) / Pair::from(x).sqrt(), exponent }
}
