//! The error function.

use super::exponential::exp_of_negative;
use super::{Lanes, Precision, at_most, polynomial, with_sign_of};

/// The error function, 2/√π ∫₀ˣ e^(-t²) dt.
#[inline(always)]
pub fn erf<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F) -> L::F {
    let square = l.mul(x, x);
    let q = polynomial(l, square, N::ERF_NEAR);
    let magnitude = l.abs(x);
    let near = l.fma(magnitude, q, magnitude);

    let one = l.exact(1.0);
    let is_near = l.lt(magnitude, one);
    // At the bound the result has been 1 for some time.
    let bounded = at_most(l, magnitude, N::ERF_HIGH);
    let p = polynomial(l, bounded, N::ERF_FAR);
    let minus = l.neg(bounded);
    let exponent = l.mul(minus, p);
    let complement = exp_of_negative(l, exponent);
    let far = l.sub(one, complement);
    let result = l.select(is_near, near, far);
    with_sign_of(l, result, x)
}
