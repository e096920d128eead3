//! Inverse circular functions: a polynomial on the part of the range where it converges, and the identities that map
//! the rest to it.

use super::{Lanes, Precision, polynomial, with_sign_of};

/// atan x.
#[inline(always)]
pub fn atan<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let one = l.exact(1.0);
    let angle = angle_in_half_plane(l, x, one);
    with_sign_of(l, angle, x)
}

/// The angle of the point (x, y) from the positive x axis, in (-π, π], by the signs of both, zeros included.
#[inline(always)]
pub fn atan2<N: Precision, L: Lanes<N>>(l: &mut L, y: L::F, x: L::F) -> L::F {
    let angle = angle_in_half_plane(l, y, x);
    with_sign_of(l, angle, y)
}

/// asin x.
#[inline(always)]
pub fn asin<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
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
pub fn acos<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let (near, z, t) = sine_to_angle(l, x);
    let signed = with_sign_of(l, z, x);
    let middle = half_pi_minus(l, signed, t);
    let twice = l.add(z, z);
    let right = l.fma(twice, t, twice);
    let (pi, zero) = (l.constant(N::HALF_PI[0] * N::from(2.0)), l.exact(0.0));
    let left = l.sub(pi, right);
    let negative = l.lt(x, zero);
    let outer = l.select(negative, left, right);
    l.select(near, middle, outer)
}

/// The angle of (x, |y|), in [0, π].
fn angle_in_half_plane<N: Precision, L: Lanes<N>>(l: &mut L, y: L::F, x: L::F) -> L::F {
    let (across, up) = (l.abs(x), l.abs(y));
    let steep = l.lt(across, up);
    let small = l.select(steep, across, up);
    let large = l.select(steep, up, across);
    // 0 / 0 counts as 0, ∞ / ∞ as 1.
    let (zero, one) = (l.exact(0.0), l.exact(1.0));
    let origin = l.eq(large, zero);
    let large = l.select(origin, one, large);
    let t = l.div(small, large);
    let diagonal = l.eq(small, large);
    let t = l.select(diagonal, one, t);

    let square = l.mul(t, t);
    let q = polynomial(l, square, N::ATAN);
    let cube = l.mul(square, t);
    let angle = l.fma(cube, q, t);

    // Flat: the angle, or π less it; steep: π/2 less the angle, or more.
    let side = with_sign_of(l, one, x);
    let left = l.lt(side, zero);
    let minus = l.neg(angle);
    let steep_angle = l.select(left, angle, minus);
    let flat_angle = l.select(left, minus, angle);
    let angle = l.select(steep, steep_angle, flat_angle);
    let base = |l: &mut L, half: N| {
        let (quarter, half, none) = (l.constant(half), l.constant(half * N::from(2.0)), l.exact(0.0));
        let flat = l.select(left, half, none);
        l.select(steep, quarter, flat)
    };
    let (high, low) = (base(l, N::HALF_PI[0]), base(l, N::HALF_PI[1]));
    let angle = l.add(angle, low);
    l.add(high, angle)
}

/// Whether |x| ≤ 1/2, and z and t with z (1 + t) = asin |x| there, and asin √((1 - |x|) / 2) elsewhere.
fn sine_to_angle<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> (L::M, L::F, L::F) {
    let (magnitude, half, minus_half) = (l.abs(x), l.exact(0.5), l.exact(-0.5));
    let near = l.le(magnitude, half);
    let square = l.mul(x, x);
    let rest = l.fma(magnitude, minus_half, half);
    let root = l.sqrt(rest);
    let z = l.select(near, magnitude, root);
    let u = l.select(near, square, rest);
    let q = polynomial(l, u, N::ASIN);
    (near, z, l.mul(u, q))
}

/// π/2 - a (1 + t), for |a| ≤ π/2.
fn half_pi_minus<N: Precision, L: Lanes<N>>(l: &mut L, a: L::F, t: L::F) -> L::F {
    let (high, low) = (l.constant(N::HALF_PI[0]), l.constant(N::HALF_PI[1]));
    let difference = l.sub(high, a);
    let taken = l.sub(high, difference);
    let rest = l.sub(taken, a);
    let minus = l.neg(a);
    let low = l.fma(minus, t, low);
    let rest = l.add(rest, low);
    l.add(difference, rest)
}
