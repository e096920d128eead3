//! Powers and roots.

use super::exponential::{exp2_of_reduced, reduce_binary, scale};
use super::logarithm::split;
use super::{Lanes, Precision, at_least, at_most, polynomial, with_sign_of};

/// 1 / √x.
#[inline(always)]
pub fn rsqrt<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let one = l.exact(1.0);
    let root = l.sqrt(x);
    l.div(one, root)
}

/// xʸ, with the special values of C: 1 for y = 0 or x = 1 whatever the other is, NaN for negative x with a y that is
/// no integer.
#[inline(always)]
pub fn pow<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, y: L::F) -> L::F {
    let (zero, one, infinity) = (l.exact(0.0), l.exact(1.0), l.exact(f32::INFINITY));
    let magnitude = l.abs(x);
    let (high, low) = log2_in_two_parts(l, magnitude);
    let (is_zero, finite) = (l.eq(magnitude, zero), l.lt(magnitude, infinity));
    let pole = l.exact(f32::NEG_INFINITY);
    let high = l.select(is_zero, pole, high);
    let high = l.select(finite, high, magnitude);

    // y log₂|x| in two parts; where the first overflows the result, the second does not matter and may be NaN.
    let product = l.mul(y, high);
    let minus = l.neg(product);
    let rest = l.fma(y, high, minus);
    let rest = l.fma(y, low, rest);
    let (size, limit) = (l.abs(product), l.exact(2048.0));
    let inside = l.lt(size, limit);
    let rest = l.select(inside, rest, zero);
    let product = at_most(l, product, N::EXP2_RANGE[1]);
    let product = at_least(l, product, N::EXP2_RANGE[0]);
    let (n, r) = reduce_binary(l, product);
    let r = l.add(r, rest);
    let p = exp2_of_reduced(l, r);
    let power = scale(l, p, n);

    // The sign of a negative base counts if y is odd; if y is not even an integer there is no power.
    let rounded = l.nearest(y);
    let integer = l.eq(rounded, y);
    let half = l.exact(0.5);
    let half = l.mul(y, half);
    let rounded = l.nearest(half);
    let even = l.eq(rounded, half);
    let not_even = l.not(even);
    let odd = l.and(integer, not_even);
    let sign = l.select(odd, x, one);
    let power = with_sign_of(l, power, sign);
    let negative = l.lt(x, zero);
    let fractional = l.not(integer);
    let undefined = l.and(negative, finite);
    let undefined = l.and(undefined, fractional);
    let nan = l.exact(f32::NAN);
    let power = l.select(undefined, nan, power);

    // (-1)^±∞ is 1 too: an infinity is even.
    let (base_one, y_infinite) = (l.eq(magnitude, one), l.abs(y));
    let y_infinite = l.eq(y_infinite, infinity);
    let limit_one = l.and(base_one, y_infinite);
    let x_one = l.eq(x, one);
    let y_zero = l.eq(y, zero);
    let trivial = l.or(x_one, y_zero);
    let trivial = l.or(trivial, limit_one);
    l.select(trivial, one, power)
}

/// log₂ x as a sum of two floats with a relative error below 2⁻³³, or 2⁻⁶³ in double precision, for finite x > 0.
fn log2_in_two_parts<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::F, L::F) {
    let (e, f) = split(l, x);
    // s = f / (2 + f) = high + low, from which log₂(1 + f) = 2 / ln 2 · atanh s.
    let two = l.exact(2.0);
    let denominator = l.add(two, f);
    let taken = l.sub(denominator, two);
    let denominator_low = l.sub(f, taken);
    let one = l.exact(1.0);
    let inverse = l.div(one, denominator);
    let s = l.mul(f, inverse);
    let minus_s = l.neg(s);
    let rest = l.fma(minus_s, denominator, f);
    let rest = l.fma(minus_s, denominator_low, rest);
    let s_low = l.mul(rest, inverse);

    // The slope times s.
    let (slope, slope_low) = (l.constant(N::LOG2_SLOPE[0]), l.constant(N::LOG2_SLOPE[1]));
    let linear = l.mul(s, slope);
    let minus = l.neg(linear);
    let linear_low = l.fma(s, slope, minus);
    let linear_low = l.fma(s, slope_low, linear_low);

    // s³ (cube + s² tail), as s · w with w in two parts.
    let square = l.mul(s, s);
    let minus = l.neg(square);
    let square_low = l.fma(s, s, minus);
    let tail = polynomial(l, square, N::LOG2_TAIL);
    let (cube, cube_low) = (l.constant(N::LOG2_CUBE[0]), l.constant(N::LOG2_CUBE[1]));
    let factor = l.fma(square, tail, cube);
    let taken = l.sub(cube, factor);
    let factor_low = l.fma(square, tail, taken);
    let factor_low = l.add(factor_low, cube_low);
    let w = l.mul(square, factor);
    let minus = l.neg(w);
    let w_low = l.fma(square, factor, minus);
    let w_low = l.fma(square, factor_low, w_low);
    let w_low = l.fma(square_low, factor, w_low);
    let cubic = l.mul(s, w);
    let minus = l.neg(cubic);
    let cubic_low = l.fma(s, w, minus);
    let cubic_low = l.fma(s, w_low, cubic_low);

    // The derivative by s times the low part of s, and all the parts, largest first.
    let three = l.exact(3.0);
    let derivative = l.fma(three, w, slope);
    let low = l.fma(s_low, derivative, cubic_low);
    let low = l.add(low, linear_low);
    let (sum, low) = exact_sum(l, e, linear, low);
    let (sum, low) = exact_sum(l, sum, cubic, low);
    let high = l.add(sum, low);
    let taken = l.sub(sum, high);
    (high, l.add(taken, low))
}

/// a + b, and what rounding took from it added to `low`. |a| ≥ |b|, or a = 0.
fn exact_sum<N: Precision, L: Lanes<N>>(l: &mut L, a: L::F, b: L::F, low: L::F) -> (L::F, L::F) {
    let sum = l.add(a, b);
    let taken = l.sub(sum, a);
    let rest = l.sub(b, taken);
    (sum, l.add(low, rest))
}
