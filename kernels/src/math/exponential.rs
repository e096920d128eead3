//! Exponentials, and the functions that are quotients of them.
//!
//! All reduce by x = n ln 2 + r with |r| ≤ ln 2 / 2 and evaluate a polynomial in r.

use super::{Lanes, ROUNDER, at_least, at_most, nearest_multiple, polynomial, with_sign_of};

/// (eʳ - 1 - r) / r² for |r| ≤ ln 2 / 2; the error is 3e-9 of eʳ.
const EXP: [f32; 5] = [4.9999994e-1, 1.6666521e-1, 4.1668292e-2, 8.368721e-3, 1.3818742e-3];

/// The same, with an error of 4e-10 of eʳ - 1.
const EXPM1: [f32; 6] = [0.5, 1.6666666e-1, 4.1666493e-2, 8.333543e-3, 1.3932388e-3, 1.9764433e-4];

/// (2ʳ - 1) / r for |r| ≤ 1/2; the error is 3e-9 of 2ʳ.
const EXP2: [f32; 6] = [6.931472e-1, 2.4022648e-1, 5.5503596e-2, 9.618503e-3, 1.3390997e-3, 1.5327828e-4];

/// (tanh x - x) / x³ in x² for |x| ≤ 0.625; the error is 5e-9 of tanh x.
const TANH: [f32; 5] = [-3.333328e-1, 1.3331406e-1, -5.3736515e-2, 2.0628167e-2, -5.692296e-3];

/// eˣ.
#[inline(always)]
pub fn exp<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    // Beyond these bounds the result rounds to zero or overflows, as it does at them.
    let x = at_most(l, x, 89.0);
    let x = at_least(l, x, -104.0);
    let (n, r) = reduce(l, x);
    let p = exp_of_reduced(l, r);
    scale(l, p, n)
}

/// 2ˣ.
#[inline(always)]
pub fn exp2<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let x = at_most(l, x, 129.0);
    let x = at_least(l, x, -151.0);
    let (n, r) = reduce_binary(l, x);
    let p = exp2_of_reduced(l, r);
    scale(l, p, n)
}

/// eˣ - 1, accurate also near zero.
#[inline(always)]
pub fn expm1<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let arg = at_most(l, x, 89.0);
    let arg = at_least(l, arg, -18.0);
    let (n, r) = reduce(l, arg);
    let square = l.mul(r, r);
    let q = polynomial(l, r, &EXPM1);
    let p = l.fma(square, q, r);
    // 2ⁿ p + (2ⁿ - 1), at half its size so that n = 128 does not overflow before the result does.
    let bias = l.integer(126);
    let half = l.add_i(n, bias);
    let half = l.shl(half, 23);
    let half = l.float(half);
    let minus_half = l.constant(-0.5);
    let rest = l.add(half, minus_half);
    let sum = l.fma(half, p, rest);
    let sum = l.add(sum, sum);
    // Zero keeps its sign.
    let zero = l.constant(0.0);
    let is_zero = l.eq(x, zero);
    l.select(is_zero, x, sum)
}

/// The logistic function 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let negative = l.neg(magnitude);
    let z = exp_of_negative(l, negative);
    let (zero, one) = (l.constant(0.0), l.constant(1.0));
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
pub fn tanh<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let magnitude = l.abs(x);
    let square = l.mul(x, x);
    let q = polynomial(l, square, &TANH);
    let cube = l.mul(square, magnitude);
    let near = l.fma(cube, q, magnitude);

    let limit = l.constant(0.625);
    let is_near = l.lt(magnitude, limit);
    // At 10 the result has been 1 for some time.
    let bounded = at_most(l, magnitude, 10.0);
    let twice = l.add(bounded, bounded);
    let (n, r) = reduce(l, twice);
    let p = exp_of_reduced(l, r);
    let power = power_of_two(l, n);
    let one = l.constant(1.0);
    let denominator = l.fma(p, power, one);
    let minus_two = l.constant(-2.0);
    let quotient = l.div(minus_two, denominator);
    let far = l.add(quotient, one);
    let result = l.select(is_near, near, far);
    with_sign_of(l, result, x)
}

/// eˣ for x ≤ 0.
pub(super) fn exp_of_negative<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let x = at_least(l, x, -104.0);
    let (n, r) = reduce(l, x);
    let p = exp_of_reduced(l, r);
    scale(l, p, n)
}

/// n and r with x = n ln 2 + r, |r| ≤ ln 2 / 2 and a little. |x| < 2²¹.
fn reduce<L: Lanes>(l: &mut L, x: L::F) -> (L::I, L::F) {
    let (sum, n) = nearest_multiple(l, x, std::f32::consts::LOG2_E);
    // ln 2 in two parts: the product with the first is subtracted without rounding.
    let (high, low) = (l.constant(-std::f32::consts::LN_2), l.constant(1.904_654_2e-9));
    let r = l.fma(n, high, x);
    let r = l.fma(n, low, r);
    let rounder = l.integer(ROUNDER.to_bits() as i32);
    (l.sub_i(sum, rounder), r)
}

/// n and r with x = n + r, |r| ≤ 1/2. |x| < 2²¹.
pub(super) fn reduce_binary<L: Lanes>(l: &mut L, x: L::F) -> (L::I, L::F) {
    let (sum, n) = nearest_multiple(l, x, 1.0);
    let r = l.sub(x, n);
    let rounder = l.integer(ROUNDER.to_bits() as i32);
    (l.sub_i(sum, rounder), r)
}

/// eʳ for |r| ≤ ln 2 / 2.
fn exp_of_reduced<L: Lanes>(l: &mut L, r: L::F) -> L::F {
    let square = l.mul(r, r);
    let q = polynomial(l, r, &EXP);
    let p = l.fma(square, q, r);
    let one = l.constant(1.0);
    l.add(p, one)
}

/// 2ʳ for |r| ≤ 1/2.
pub(super) fn exp2_of_reduced<L: Lanes>(l: &mut L, r: L::F) -> L::F {
    let q = polynomial(l, r, &EXP2);
    let one = l.constant(1.0);
    l.fma(r, q, one)
}

/// 2ⁿ for -126 ≤ n ≤ 127.
fn power_of_two<L: Lanes>(l: &mut L, n: L::I) -> L::F {
    let bias = l.integer(127);
    let n = l.add_i(n, bias);
    let n = l.shl(n, 23);
    l.float(n)
}

/// `p` · 2ⁿ for |n| ≤ 252, in two factors, so that results may be subnormal or overflow.
pub(super) fn scale<L: Lanes>(l: &mut L, p: L::F, n: L::I) -> L::F {
    let half = l.sar(n, 1);
    let rest = l.sub_i(n, half);
    let (half, rest) = (power_of_two(l, half), power_of_two(l, rest));
    let p = l.mul(p, half);
    l.mul(p, rest)
}
