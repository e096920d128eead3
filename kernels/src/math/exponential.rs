//! Exponentials, and the functions that are quotients of them.
//!
//! All reduce by x = n ln 2 + r with |r| ≤ ln 2 / 2 and evaluate a polynomial in r.

use super::{Lanes, Precision, at_least, at_most, nearest_multiple, polynomial, with_sign_of};

/// eˣ.
#[inline(always)]
pub fn exp<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    // Beyond these bounds the result rounds to zero or overflows, as it does at them.
    let x = at_most(l, x, N::EXP_RANGE[1]);
    let x = at_least(l, x, N::EXP_RANGE[0]);
    let (n, r) = reduce(l, x);
    let p = exp_of_reduced(l, r);
    scale(l, p, n)
}

/// 2ˣ.
#[inline(always)]
pub fn exp2<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let x = at_most(l, x, N::EXP2_RANGE[1]);
    let x = at_least(l, x, N::EXP2_RANGE[0]);
    let (n, r) = reduce_binary(l, x);
    let p = exp2_of_reduced(l, r);
    scale(l, p, n)
}

/// eˣ - 1, accurate also near zero.
#[inline(always)]
pub fn expm1<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let arg = at_most(l, x, N::EXP_RANGE[1]);
    let arg = at_least(l, arg, N::EXPM1_LOW);
    let (n, r) = reduce(l, arg);
    let square = l.mul(r, r);
    let q = polynomial(l, r, N::EXPM1);
    let p = l.fma(square, q, r);
    // 2ⁿ p + (2ⁿ - 1), at half its size so that the largest n does not overflow before the result does.
    let bias = l.integer(N::Bits::from(N::BIAS - 1));
    let half = l.add_i(n, bias);
    let half = l.shl(half, N::FRACTION_BITS);
    let half = l.float(half);
    let minus_half = l.exact(-0.5);
    let rest = l.add(half, minus_half);
    let sum = l.fma(half, p, rest);
    let sum = l.add(sum, sum);
    // Zero keeps its sign.
    let zero = l.exact(0.0);
    let is_zero = l.eq(x, zero);
    l.select(is_zero, x, sum)
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let negative = l.neg(magnitude);
    let z = exp_of_negative(l, negative);
    let (zero, one) = (l.exact(0.0), l.exact(1.0));
    let left = l.lt(x, zero);
    // With q = z / (1 + z), the value is 1 - q on the right and z - z q on the left, where an error of q hardly
    // counts.
    let denominator = l.add(z, one);
    let q = l.div(z, denominator);
    let whole = l.select(left, z, one);
    let part = l.neg(whole);
    l.fma(part, q, whole)
}

/// tanh x: a polynomial near zero, 1 - 2 / (e²ˣ + 1) elsewhere.
#[inline(always)]
pub fn tanh<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let square = l.mul(x, x);
    let q = polynomial(l, square, N::TANH);
    let cube = l.mul(square, magnitude);
    let near = l.fma(cube, q, magnitude);

    let limit = l.exact(0.625);
    let is_near = l.lt(magnitude, limit);
    // At the bound the result has been 1 for some time.
    let bounded = at_most(l, magnitude, N::TANH_HIGH);
    let twice = l.add(bounded, bounded);
    let (n, r) = reduce(l, twice);
    let p = exp_of_reduced(l, r);
    let power = power_of_two(l, n);
    let one = l.exact(1.0);
    let denominator = l.fma(p, power, one);
    let minus_two = l.exact(-2.0);
    let quotient = l.div(minus_two, denominator);
    let far = l.add(quotient, one);
    let result = l.select(is_near, near, far);
    with_sign_of(l, result, x)
}

/// eˣ for x ≤ 0.
pub(super) fn exp_of_negative<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let x = at_least(l, x, N::EXP_RANGE[0]);
    let (n, r) = reduce(l, x);
    let p = exp_of_reduced(l, r);
    scale(l, p, n)
}

/// n and r with x = n ln 2 + r, |r| ≤ ln 2 / 2 and a little.
fn reduce<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::I, L::F) {
    let (sum, n) = nearest_multiple(l, x, N::LOG2_E[0]);
    // ln 2 in two parts: the product with the first is subtracted without rounding.
    let (high, low) = (l.constant(N::MINUS_LN_2[0]), l.constant(N::MINUS_LN_2[1]));
    let r = l.fma(n, high, x);
    let r = l.fma(n, low, r);
    let rounder = l.integer(N::ROUNDER.to_bits());
    (l.sub_i(sum, rounder), r)
}

/// n and r with x = n + r, |r| ≤ 1/2.
pub(super) fn reduce_binary<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::I, L::F) {
    let (sum, n) = nearest_multiple(l, x, N::from(1.0));
    let r = l.sub(x, n);
    let rounder = l.integer(N::ROUNDER.to_bits());
    (l.sub_i(sum, rounder), r)
}

/// eʳ for |r| ≤ ln 2 / 2.
fn exp_of_reduced<N: Precision, L: Lanes<N>>(l: &mut L, r: L::F) -> L::F {
    let square = l.mul(r, r);
    let q = polynomial(l, r, N::EXP);
    let p = l.fma(square, q, r);
    let one = l.exact(1.0);
    l.add(p, one)
}

/// 2ʳ for |r| ≤ 1/2.
pub(super) fn exp2_of_reduced<N: Precision, L: Lanes<N>>(l: &mut L, r: L::F) -> L::F {
    let q = polynomial(l, r, N::EXP2);
    let one = l.exact(1.0);
    l.fma(r, q, one)
}

/// 2ⁿ where that is a normal number.
fn power_of_two<N: Precision, L: Lanes<N>>(l: &mut L, n: L::I) -> L::F {
    let bias = l.integer(N::Bits::from(N::BIAS));
    let n = l.add_i(n, bias);
    let n = l.shl(n, N::FRACTION_BITS);
    l.float(n)
}

/// `p` · 2ⁿ, in two factors of normal numbers, so that results may be subnormal or overflow.
pub(super) fn scale<N: Precision, L: Lanes<N>>(l: &mut L, p: L::F, n: L::I) -> L::F {
    let half = l.sar(n, 1);
    let rest = l.sub_i(n, half);
    let (half, rest) = (power_of_two(l, half), power_of_two(l, rest));
    let p = l.mul(p, half);
    l.mul(p, rest)
}
