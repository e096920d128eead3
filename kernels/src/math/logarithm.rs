//! Logarithms, by x = 2ᵉ (1 + f) with √½ ≤ 1 + f < √2 and a polynomial in f.

use super::exponential::exp_of_negative;
use super::{Lanes, at_least, polynomial, small_to_float, two_sum};

/// (log(1 + f) - f + f²/2) / f³ for √½ ≤ 1 + f ≤ √2; the error is 6e-9 of log(1 + f).
const LOG: [f32; 8] =
    [3.333333e-1, -2.500082e-1, 2.0001242e-1, -1.6623409e-1, 1.4201581e-1, -1.3159613e-1, 1.27622e-1, -7.6363996e-2];

/// The natural logarithm.
#[inline(always)]
pub fn log<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (e, f) = split(l, x);
    let zero = l.constant(0.0);
    let result = log_of_parts(l, e, f, zero);
    with_limits(l, x, result)
}

/// log(1 + x), accurate also near zero.
#[inline(always)]
pub fn log1p<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (result, sum) = log_of_one_and(l, x);
    let result = with_limits(l, sum, result);
    let zero = l.constant(0.0);
    let is_zero = l.eq(x, zero);
    l.select(is_zero, x, result)
}

/// log(1 + eˣ), the smooth ramp.
#[inline(always)]
pub fn softplus<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let negative = l.neg(magnitude);
    let z = exp_of_negative(l, negative);
    let (rest, _) = log_of_one_and(l, z);
    let ramp = at_least(l, x, 0.0);
    l.add(ramp, rest)
}

/// The logarithm to base 2, exact at powers of two.
#[inline(always)]
pub fn log2<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (e, f) = split(l, x);
    let tail = log_tail(l, f);
    let (high, low) = (l.constant(std::f32::consts::LOG2_E), l.constant(1.925_963_2e-8));
    let tail = l.mul(tail, high);
    let tail = l.fma(f, low, tail);
    let fraction = l.fma(f, high, tail);
    let result = l.add(e, fraction);
    with_limits(l, x, result)
}

/// log(1 + x) and 1 + x, of any x for which the sum is positive and finite.
fn log_of_one_and<L: Lanes>(l: &mut L, x: L::F) -> (L::F, L::F) {
    let one = l.constant(1.0);
    // To first order, what rounding takes from the sum adds its quotient to the logarithm.
    let (sum, rest) = two_sum(l, one, x);
    let correction = l.div(rest, sum);
    let (e, f) = split(l, sum);
    (log_of_parts(l, e, f, correction), sum)
}

/// log(2ᵉ (1 + f)) + correction.
fn log_of_parts<L: Lanes>(l: &mut L, e: L::F, f: L::F, correction: L::F) -> L::F {
    let tail = log_tail(l, f);
    // ln 2 in two parts, the first with 8 trailing zeros so that its products with e are exact.
    let (high, low) = (l.constant(0.693_145_75), l.constant(1.428_606_8e-6));
    let correction = l.fma(e, low, correction);
    let tail = l.add(tail, correction);
    let sum = l.add(f, tail);
    l.fma(e, high, sum)
}

/// e and f with x = 2ᵉ (1 + f) and √½ ≤ 1 + f < √2, for any finite x > 0.
pub(super) fn split<L: Lanes>(l: &mut L, x: L::F) -> (L::F, L::F) {
    // Subnormal numbers are first made normal.
    let (normal, up) = (l.constant(f32::MIN_POSITIVE), l.constant(8_388_608.0));
    let small = l.lt(x, normal);
    let scaled = l.mul(x, up);
    let scaled = l.select(small, scaled, x);
    let (zero, shift) = (l.constant(0.0), l.constant(-23.0));
    let shift = l.select(small, shift, zero);

    let root = l.integer(std::f32::consts::FRAC_1_SQRT_2.to_bits() as i32);
    let bits = l.bits(scaled);
    let e = l.sub_i(bits, root);
    let e = l.sar(e, 23);
    let exponent = l.shl(e, 23);
    let m = l.sub_i(bits, exponent);
    let m = l.float(m);
    let minus_one = l.constant(-1.0);
    let f = l.add(m, minus_one);
    let e = small_to_float(l, e);
    (l.add(e, shift), f)
}

/// log(1 + f) - f for √½ ≤ 1 + f ≤ √2.
pub(super) fn log_tail<L: Lanes>(l: &mut L, f: L::F) -> L::F {
    let square = l.mul(f, f);
    let p = polynomial(l, f, &LOG);
    let minus_half = l.constant(-0.5);
    let p = l.fma(f, p, minus_half);
    l.mul(square, p)
}

/// The logarithm of `x` where that is a positive number, and the limits elsewhere.
pub(super) fn with_limits<L: Lanes>(l: &mut L, x: L::F, result: L::F) -> L::F {
    let (zero, infinity) = (l.constant(0.0), l.constant(f32::INFINITY));
    let finite = l.lt(x, infinity);
    let result = l.select(finite, result, x);
    let (negative, nan) = (l.lt(x, zero), l.constant(f32::NAN));
    let result = l.select(negative, nan, result);
    let (is_zero, pole) = (l.eq(x, zero), l.constant(f32::NEG_INFINITY));
    l.select(is_zero, pole, result)
}
