//! Sine and cosine, by x = kπ + r with |r| ≤ π/2 and one odd polynomial in r; the tangent likewise by multiples of
//! π/2.

use super::{Lanes, ROUNDER, nearest_multiple, polynomial, two_sum};

/// (sin r - r) / r³ in r² for |r| ≤ 1.9: large arguments are reduced to more than π/2, as 1/π has but 24 bits. The
/// error is 1.2e-9 of sin r.
const SIN: [f32; 5] = [-1.6666666e-1, 8.333304e-3, -1.9838431e-4, 2.7437625e-6, -2.2778192e-8];

/// (tan r - r) / r³ in r² for |r| ≤ 0.93; the error is 4e-9 of tan r.
const TAN: [f32; 8] =
    [3.3333293e-1, 1.3334833e-1, 5.378123e-2, 2.2983793e-2, 5.2550496e-3, 1.0203295e-2, -5.1808106e-3, 3.6812148e-3];

/// -π in three parts of 24 bits, each rounded towards zero: as all have one sign, zero times them leaves the sign of
/// a zero they are added to.
const MINUS_PI: [f32; 3] = [-3.141_592_5, -1.509_957_9e-7, -1.078_060_5e-14];

/// Arguments from here on are too far apart, half a radian, to have a meaningful phase. They are taken as zero.
const LIMIT: f32 = 4_194_304.0;

/// sin x; of finite |x| ≥ 2²², 0.
#[inline(always)]
pub fn sin<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    let (parity, k) = nearest_multiple(l, x, std::f32::consts::FRAC_1_PI);
    sin_of_rest(l, x, parity, k)
}

/// cos x; of finite |x| ≥ 2²², 1.
#[inline(always)]
pub fn cos<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    // cos x = sin(x + π/2): multiples of π are counted from -π/2 on.
    let (scale, rounder, half) = (l.constant(std::f32::consts::FRAC_1_PI), l.constant(ROUNDER), l.constant(0.5));
    let turns = l.fma(x, scale, half);
    let sum = l.add(turns, rounder);
    let k = l.sub(sum, rounder);
    let k = l.sub(k, half);
    let parity = l.bits(sum);
    sin_of_rest(l, x, parity, k)
}

/// tan x; of finite |x| ≥ 2²², 0.
#[inline(always)]
pub fn tan<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let x = bounded(l, x);
    let (sum, k) = nearest_multiple(l, x, std::f32::consts::FRAC_2_PI);
    // Near a pole the rest is small, and its relative error is the tangent's: r + low has twice the precision.
    let [first, second, third] = MINUS_PI.map(|part| l.constant(0.5 * part));
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
    let q = polynomial(l, square, &TAN);
    let t = l.mul(square, q);
    let tangent = l.fma(r, t, r);
    // What is missing: by rounding, and the low part times the derivative 1 + tan².
    let rest = l.sub(r, tangent);
    let rest = l.fma(r, t, rest);
    let one = l.constant(1.0);
    let derivative = l.fma(tangent, tangent, one);
    let rest = l.fma(low, derivative, rest);
    // At odd multiples, -1 / tan r.
    let minus_one = l.constant(-1.0);
    let inverse = l.div(minus_one, tangent);
    let inverse_square = l.mul(inverse, inverse);
    let inverse = l.fma(inverse_square, rest, inverse);
    let zero = l.constant(0.0);
    let is_zero = l.eq(x, zero);
    let tangent = l.add(tangent, rest);
    let tangent = l.select(is_zero, x, tangent);
    let odd = l.shl(sum, 31);
    // The low bit of the multiple, as the sign of a one.
    let unit = l.integer(1.0_f32.to_bits() as i32);
    let odd = l.or_i(odd, unit);
    let odd = l.float(odd);
    let odd = l.lt(odd, zero);
    l.select(odd, inverse, tangent)
}

/// x, zero beyond the limit, and NaN for infinities and NaN.
fn bounded<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (magnitude, limit) = (l.abs(x), l.constant(LIMIT));
    let inside = l.lt(magnitude, limit);
    let zero = l.sub(x, x);
    l.select(inside, x, zero)
}

/// sin(x - kπ), negated if the low bit of `parity` is set.
fn sin_of_rest<L: Lanes>(l: &mut L, x: L::F, parity: L::I, k: L::F) -> L::F {
    // The first product is subtracted without rounding: the difference is a multiple of 2⁻²³ below 2.
    let mut r = x;
    for part in MINUS_PI {
        let part = l.constant(part);
        r = l.fma(k, part, r);
    }
    let square = l.mul(r, r);
    let q = polynomial(l, square, &SIN);
    // What rounding the square lost counts: near π/2 the derivative by it, of (sin r / r), is -0.13. The
    // correction is a positive zero at zero, which keeps the sign of r below.
    let (minus_r, slope) = (l.neg(r), l.constant(0.13));
    let excess = l.fma(minus_r, r, square);
    let correction = l.mul(excess, slope);
    let t = l.fma(square, q, correction);
    let sine = l.fma(r, t, r);
    let flip = l.shl(parity, 31);
    let sine = l.bits(sine);
    let sine = l.xor_i(sine, flip);
    l.float(sine)
}
