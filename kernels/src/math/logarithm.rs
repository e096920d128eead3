//! Logarithms, by x = 2ᵉ (1 + f) with √½ ≤ 1 + f < √2 and a polynomial in f.

use super::exponential::exp_of_negative;
use super::{Lanes, Precision, at_least, polynomial, small_to_float, two_sum};

/// The natural logarithm.
#[inline(always)]
pub fn log<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let (e, f) = split(l, x);
    let zero = l.exact(0.0);
    let result = log_of_parts(l, e, f, zero);
    with_limits(l, x, result)
}

/// log(1 + x), accurate also near zero.
#[inline(always)]
pub fn log1p<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let (result, sum) = log_of_one_and(l, x);
    let result = with_limits(l, sum, result);
    let zero = l.exact(0.0);
    let is_zero = l.eq(x, zero);
    l.select(is_zero, x, result)
}

/// log(1 + eˣ), the smooth ramp.
#[inline(always)]
pub fn softplus<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let negative = l.neg(magnitude);
    let z = exp_of_negative(l, negative);
    let (rest, _) = log_of_one_and(l, z);
    let ramp = at_least(l, x, N::from(0.0));
    l.add(ramp, rest)
}

/// The logarithm to base 2, exact at powers of two.
#[inline(always)]
pub fn log2<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let (e, f) = split(l, x);
    let tail = log_tail(l, f);
    let (high, low) = (l.constant(N::LOG2_E[0]), l.constant(N::LOG2_E[1]));
    let tail = l.mul(tail, high);
    let tail = l.fma(f, low, tail);
    let fraction = l.fma(f, high, tail);
    let result = l.add(e, fraction);
    with_limits(l, x, result)
}

/// log(1 + x) and 1 + x, of any x for which the sum is positive and finite.
fn log_of_one_and<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::F, L::F) {
    let one = l.exact(1.0);
    // To first order, what rounding takes from the sum adds its quotient to the logarithm.
    let (sum, rest) = two_sum(l, one, x);
    let correction = l.div(rest, sum);
    let (e, f) = split(l, sum);
    (log_of_parts(l, e, f, correction), sum)
}

/// log(2ᵉ (1 + f)) + correction.
fn log_of_parts<N: Precision, L: Lanes<N>>(l: &mut L, e: L::F, f: L::F, correction: L::F) -> L::F {
    let tail = log_tail(l, f);
    // The products of e with the first part of ln 2 are exact.
    let (high, low) = (l.constant(N::LN_2[0]), l.constant(N::LN_2[1]));
    let correction = l.fma(e, low, correction);
    let tail = l.add(tail, correction);
    let sum = l.add(f, tail);
    l.fma(e, high, sum)
}

/// e and f with x = 2ᵉ (1 + f) and √½ ≤ 1 + f < √2, for any finite x > 0.
pub(super) fn split<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::F, L::F) {
    // Subnormal numbers are first made normal.
    let (normal, up) = (l.constant(N::MIN_POSITIVE), l.constant(N::NORMALISER));
    let small = l.lt(x, normal);
    let scaled = l.mul(x, up);
    let scaled = l.select(small, scaled, x);
    let (zero, shift) = (l.exact(0.0), l.exact(-(N::FRACTION_BITS as f32)));
    let shift = l.select(small, shift, zero);

    let root = l.integer(N::FRAC_1_SQRT_2.to_bits());
    let bits = l.bits(scaled);
    let e = l.sub_i(bits, root);
    let e = l.sar(e, N::FRACTION_BITS);
    let exponent = l.shl(e, N::FRACTION_BITS);
    let m = l.sub_i(bits, exponent);
    let m = l.float(m);
    let minus_one = l.exact(-1.0);
    let f = l.add(m, minus_one);
    let e = small_to_float(l, e);
    (l.add(e, shift), f)
}

/// log(1 + f) - f for √½ ≤ 1 + f ≤ √2.
pub(super) fn log_tail<N: Precision, L: Lanes<N>>(l: &mut L, f: L::F) -> L::F {
    let square = l.mul(f, f);
    let p = polynomial(l, f, N::LOG);
    let minus_half = l.exact(-0.5);
    let p = l.fma(f, p, minus_half);
    l.mul(square, p)
}

/// The logarithm of `x` where that is a positive number, and the limits elsewhere.
pub(super) fn with_limits<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, result: L::F) -> L::F {
    let (zero, infinity) = (l.exact(0.0), l.exact(f32::INFINITY));
    let finite = l.lt(x, infinity);
    let result = l.select(finite, result, x);
    let (negative, nan) = (l.lt(x, zero), l.exact(f32::NAN));
    let result = l.select(negative, nan, result);
    let (is_zero, pole) = (l.eq(x, zero), l.exact(f32::NEG_INFINITY));
    l.select(is_zero, pole, result)
}
