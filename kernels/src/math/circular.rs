//! Sine and cosine, by x = kπ + r with |r| ≤ π/2 and one odd polynomial in r; the tangent likewise by multiples of
//! π/2.

use super::{Lanes, Precision, nearest_multiple, polynomial, two_sum};

/// sin x; of finite |x| ≥ 2²², or 2⁵¹ in double precision, 0.
#[inline(always)]
pub fn sin<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    let (parity, k) = nearest_multiple(l, x, N::FRAC_1_PI);
    sin_of_rest(l, x, parity, k)
}

/// cos x; of finite |x| ≥ 2²², or 2⁵¹ in double precision, 1.
#[inline(always)]
pub fn cos<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    // cos x = sin(x + π/2): multiples of π are counted from -π/2 on.
    let (scale, rounder, half) = (l.constant(N::FRAC_1_PI), l.constant(N::ROUNDER), l.exact(0.5));
    let turns = l.fma(x, scale, half);
    let sum = l.add(turns, rounder);
    let k = l.sub(sum, rounder);
    let k = l.sub(k, half);
    let parity = l.bits(sum);
    sin_of_rest(l, x, parity, k)
}

/// tan x; of finite |x| ≥ 2²², or 2⁵¹ in double precision, 0.
#[inline(always)]
pub fn tan<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    let (sum, k) = nearest_multiple(l, x, N::FRAC_2_PI);
    // Near a pole the rest is small, and its relative error is the tangent's: r + low has twice the precision.
    let [first, second, third] = N::MINUS_PI.map(|part| l.constant(part * N::from(0.5)));
    let high = l.fma(k, first, x);
    let product = l.mul(k, second);
    let minus = l.neg(product);
    let product_low = l.fma(k, second, minus);
    let product_low = l.fma(k, third, product_low);
    let (sum_high, sum_low) = two_sum(l, high, product);
    let low = l.add(sum_low, product_low);
    let r = l.add(sum_high, low);
    let taken = l.sub(sum_high, r);
    let low = l.add(taken, low);

    let square = l.mul(r, r);
    let q = polynomial(l, square, N::TAN);
    let t = l.mul(square, q);
    let tangent = l.fma(r, t, r);
    // What is missing: by rounding, and the low part times the derivative 1 + tan².
    let rest = l.sub(r, tangent);
    let rest = l.fma(r, t, rest);
    let one = l.exact(1.0);
    let derivative = l.fma(tangent, tangent, one);
    let rest = l.fma(low, derivative, rest);
    // At odd multiples, -1 / tan r.
    let minus_one = l.exact(-1.0);
    let inverse = l.div(minus_one, tangent);
    let inverse_square = l.mul(inverse, inverse);
    let inverse = l.fma(inverse_square, rest, inverse);
    let zero = l.exact(0.0);
    let is_zero = l.eq(x, zero);
    let tangent = l.add(tangent, rest);
    let tangent = l.select(is_zero, x, tangent);
    let odd = l.shl(sum, N::WIDTH - 1);
    // The low bit of the multiple, as the sign of a one.
    let unit = l.integer(N::from(1.0).to_bits());
    let odd = l.or_i(odd, unit);
    let odd = l.float(odd);
    let odd = l.lt(odd, zero);
    l.select(odd, inverse, tangent)
}

/// x, zero beyond the limit, and NaN for infinities and NaN.
fn bounded<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let (magnitude, limit) = (l.abs(x), l.constant(N::PHASE_LIMIT));
    let inside = l.lt(magnitude, limit);
    let zero = l.sub(x, x);
    l.select(inside, x, zero)
}

/// sin(x - kπ), negated if the low bit of `parity` is set.
fn sin_of_rest<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, parity: L::I, k: L::F) -> L::F {
    // The first product is subtracted without rounding: the difference is less than 2
    // and a multiple of the unit in the last place of 1.
    let mut r = x;
    for part in N::MINUS_PI {
        let part = l.constant(part);
        r = l.fma(k, part, r);
    }
    let square = l.mul(r, r);
    let q = polynomial(l, square, N::SIN);
    // What rounding the square lost counts: near π/2 the derivative by it, of (sin r / r), is -0.13. The
    // correction is a positive zero at zero, which keeps the sign of r below.
    let (minus_r, slope) = (l.neg(r), l.exact(0.13));
    let excess = l.fma(minus_r, r, square);
    let correction = l.mul(excess, slope);
    let t = l.fma(square, q, correction);
    let sine = l.fma(r, t, r);
    let flip = l.shl(parity, N::WIDTH - 1);
    let sine = l.bits(sine);
    let sine = l.xor_i(sine, flip);
    l.float(sine)
}
