//! The error function.

use super::exponential::exp_of_negative;
use super::{Lanes, at_most, polynomial, with_sign_of};

/// erf x / x - 1 in x² for |x| ≤ 1; the error is 2e-9 of erf x.
const NEAR: [f32; 7] =
    [1.2837917e-1, -3.7612626e-1, 1.1283579e-1, -2.6853347e-2, 5.187162e-3, -7.997853e-4, 7.806903e-5];

/// -log(1 - erf x) / x for 1 ≤ x ≤ 4; the error is 4e-10 of erf x.
const FAR: [f32; 7] = [1.1286943, 6.349697e-1, 1.0653055e-1, -2.400978e-2, 3.7573334e-3, -3.505552e-4, 1.3958597e-5];

/// The error function, 2/√π ∫₀ˣ e^(-t²) dt.
#[inline(always)]
pub fn erf<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let square = l.mul(x, x);
    let q = polynomial(l, square, &NEAR);
    let magnitude = l.abs(x);
    let near = l.fma(magnitude, q, magnitude);

    let one = l.constant(1.0);
    let is_near = l.lt(magnitude, one);
    // At 4 the result has been 1 for some time.
    let bounded = at_most(l, magnitude, 4.0);
    let p = polynomial(l, bounded, &FAR);
    let minus = l.neg(bounded);
    let exponent = l.mul(minus, p);
    let complement = exp_of_negative(l, exponent);
    let far = l.sub(one, complement);
    let result = l.select(is_near, near, far);
    with_sign_of(l, result, x)
}
