//! Inverse circular functions: a polynomial on the part of the range where it converges, and the identities that map
//! the rest to it.

use super::{Lanes, polynomial, with_sign_of};

/// (atan t - t) / t³ in t² for 0 ≤ t ≤ 1; the error is 3e-9 of atan t.
const ATAN: [f32; 9] = [
    -3.33333e-1,
    1.999853e-1,
    -1.4264016e-1,
    1.09508805e-1,
    -8.3993055e-2,
    5.7881333e-2,
    -3.1096842e-2,
    1.08685335e-2,
    -1.7827639e-3,
];

/// (asin x - x) / x³ in x² for |x| ≤ 1/2; the error is 5e-9 of asin x.
const ASIN: [f32; 5] = [1.6666754e-1, 7.495249e-2, 4.5476902e-2, 2.414525e-2, 4.222788e-2];

/// π/2 in two parts.
const HALF_PI: [f32; 2] = [std::f32::consts::FRAC_PI_2, -4.371_139e-8];

/// atan x.
#[inline(always)]
pub fn atan<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let one = l.constant(1.0);
    let angle = angle_in_half_plane(l, x, one);
    with_sign_of(l, angle, x)
}

/// The angle of the point (x, y) from the positive x axis, in (-π, π], by the signs of both, zeros included.
#[inline(always)]
pub fn atan2<L: Lanes>(l: &mut L, y: L::F, x: L::F) -> L::F {
    let angle = angle_in_half_plane(l, y, x);
    with_sign_of(l, angle, y)
}

/// asin x.
#[inline(always)]
pub fn asin<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (near, z, t) = sine_to_angle(l, x);
    let small = l.fma(z, t, z);
    // π/2 - 2 (z + z t), the difference with what rounding took from it.
    let twice = l.add(z, z);
    let large = half_pi_minus(l, twice, t);
    let magnitude = l.select(near, small, large);
    with_sign_of(l, magnitude, x)
}

/// acos x.
#[inline(always)]
pub fn acos<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (near, z, t) = sine_to_angle(l, x);
    let signed = with_sign_of(l, z, x);
    let middle = half_pi_minus(l, signed, t);
    let twice = l.add(z, z);
    let right = l.fma(twice, t, twice);
    let (pi, zero) = (l.constant(std::f32::consts::PI), l.constant(0.0));
    let left = l.sub(pi, right);
    let negative = l.lt(x, zero);
    let outer = l.select(negative, left, right);
    l.select(near, middle, outer)
}

/// The angle of (x, |y|), in [0, π].
fn angle_in_half_plane<L: Lanes>(l: &mut L, y: L::F, x: L::F) -> L::F {
    let (across, up) = (l.abs(x), l.abs(y));
    let steep = l.lt(across, up);
    let small = l.select(steep, across, up);
    let large = l.select(steep, up, across);
    // 0 / 0 counts as 0, ∞ / ∞ as 1.
    let (zero, one) = (l.constant(0.0), l.constant(1.0));
    let origin = l.eq(large, zero);
    let large = l.select(origin, one, large);
    let t = l.div(small, large);
    let diagonal = l.eq(small, large);
    let t = l.select(diagonal, one, t);

    let square = l.mul(t, t);
    let q = polynomial(l, square, &ATAN);
    let cube = l.mul(square, t);
    let angle = l.fma(cube, q, t);

    // Flat: the angle, or π less it; steep: π/2 less the angle, or more.
    let side = with_sign_of(l, one, x);
    let left = l.lt(side, zero);
    let minus = l.neg(angle);
    let steep_angle = l.select(left, angle, minus);
    let flat_angle = l.select(left, minus, angle);
    let angle = l.select(steep, steep_angle, flat_angle);
    let base = |l: &mut L, half: f32| {
        let (quarter, half, none) = (l.constant(half), l.constant(2.0 * half), l.constant(0.0));
        let flat = l.select(left, half, none);
        l.select(steep, quarter, flat)
    };
    let (high, low) = (base(l, HALF_PI[0]), base(l, HALF_PI[1]));
    let angle = l.add(angle, low);
    l.add(high, angle)
}

/// Whether |x| ≤ 1/2, and z and t with z (1 + t) = asin |x| there, and asin √((1 - |x|) / 2) elsewhere.
fn sine_to_angle<L: Lanes>(l: &mut L, x: L::F) -> (L::M, L::F, L::F) {
    let (magnitude, half, minus_half) = (l.abs(x), l.constant(0.5), l.constant(-0.5));
    let near = l.le(magnitude, half);
    let square = l.mul(x, x);
    let rest = l.fma(magnitude, minus_half, half);
    let root = l.sqrt(rest);
    let z = l.select(near, magnitude, root);
    let u = l.select(near, square, rest);
    let q = polynomial(l, u, &ASIN);
    (near, z, l.mul(u, q))
}

/// π/2 - a (1 + t), for |a| ≤ π/2.
fn half_pi_minus<L: Lanes>(l: &mut L, a: L::F, t: L::F) -> L::F {
    let (high, low) = (l.constant(HALF_PI[0]), l.constant(HALF_PI[1]));
    let difference = l.sub(high, a);
    let taken = l.sub(high, difference);
    let rest = l.sub(taken, a);
    let minus = l.neg(a);
    let low = l.fma(minus, t, low);
    let rest = l.add(rest, low);
    l.add(difference, rest)
}
