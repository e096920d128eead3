//! Elementary functions, written once for every code generator and for both precisions.
//!
//! An algorithm here is a function over [`Lanes`], a machine with a few dozen elementwise instructions on numbers of a
//! [`Precision`]. Run on [`Scalar`] or [`DoubleScalar`] it computes; run on a code generator it emits the instructions
//! that compute. The CPU and GPU targets thereby evaluate the same polynomials in the same order, and what the tests
//! prove of the one holds for all whose instructions round as IEEE 754 prescribes.
//!
//! Reductions, identities and special values are the same in both precisions; a precision has its own
//! polynomials, of more or fewer terms, and its own bounds.
//!
//! No function has branches, tables, gathers, integer multiplication or integers of another width than its numbers:
//! whatever vectors a target has, they suffice. Polynomials are fits of this project, with coefficients rounded to
//! the precision one after the other, the rest refitted each time: all of them in single precision, the first four
//! in double.
//!
//! # Accuracy
//!
//! The largest error in units in the last place: of `f32` over all arguments, against double precision; of `f64` over
//! drawn arguments and the neighbourhoods of particular ones, against sums of two doubles. The tests hold the functions
//! to these bounds.
//!
//! | function | `f32` | `f64` | domain, special values |
//! |---|---|---|---|
//! | [`exp`] | 1.1 | 1.1 | all |
//! | [`exp2`] | 0.9 | 0.9 | all; exact for integers |
//! | [`expm1`] | 1.5 | 1.9 | all |
//! | [`log`] | 1.0 | 1.0 | x ≥ 0; -∞ of zeros |
//! | [`log1p`] | 1.1 | 1.1 | x ≥ -1; -∞ of -1 |
//! | [`log2`] | 1.1 | 1.1 | x ≥ 0; -∞ of zeros; exact for powers of two |
//! | [`sigmoid`] | 1.7 | 1.7 | all |
//! | [`tanh`] | 1.4 | 1.4 | all |
//! | [`sin`], [`cos`] | 1.8 | 1.8 | \|x\| < 2¹⁷, in `f64` 2⁴⁶; NaN of infinities |
//! | | 2.6 | 2.6 | \|x\| < 2²², in `f64` 2⁵¹, beyond which the phase is taken as zero |
//! | [`tan`] | 1.6 | 1.6 | \|x\| < 2²², in `f64` 2⁵¹, beyond as `sin` |
//! | [`asin`], [`acos`] | 1.4 | 1.4 | \|x\| ≤ 1 |
//! | [`atan`], [`atan2`] | 1.6 | 1.6 | all, by the signs of zeros, and with infinities as limits |
//! | [`erf`] | 1.2 | 1.2 | all |
//! | [`softplus`] | 1.8 | 1.8 | all |
//! | [`pow`] | 1.2 | 1.2 | as in C |
//! | [`rsqrt`] | 1.5 | 1.5 | x ≥ 0; ±∞ of zeros |
//!
//! Arguments and results may be subnormal. Zeros keep their sign where the function is odd, infinities have their
//! limits, NaN and arguments outside the domain give NaN. Code generators must not flush subnormals, reassociate, or
//! contract `mul` and `add`.

mod circular;
mod double;
mod error_function;
mod exponential;
mod inverse;
mod logarithm;
mod power;
mod precision;
mod scalar;
mod single;

pub use circular::{cos, sin, tan};
pub use error_function::erf;
pub use exponential::{exp, exp2, expm1, sigmoid, tanh};
pub use inverse::{acos, asin, atan, atan2};
pub use logarithm::{log, log1p, log2, softplus};
pub use power::{pow, rsqrt};
pub use precision::Precision;
pub use scalar::{DoubleScalar, Scalar};

/// The instructions in which the algorithms are written, on vectors of any number of lanes.
///
/// Each is elementwise, rounds to nearest even, and takes its operands by value: a value is a register, or a name for
/// one. Comparisons are *ordered*: false if either side is NaN. Integers wrap.
pub trait Lanes<N: Precision = f32> {
    /// A vector of floats.
    type F: Copy;
    /// A vector of integers as wide as the floats.
    type I: Copy;
    /// A vector of truth values.
    type M: Copy;

    /// The same number in every lane.
    fn constant(&mut self, value: N) -> Self::F;
    /// The same integer in every lane.
    fn integer(&mut self, value: N::Bits) -> Self::I;
    /// The same number in every lane: one of single precision, which every precision has.
    #[inline(always)]
    fn exact(&mut self, value: f32) -> Self::F {
        self.constant(N::from(value))
    }

    /// `a + b`.
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `-a`, also of zeros and NaN: the sign bit is flipped.
    fn neg(&mut self, a: Self::F) -> Self::F;
    /// `|a|`: the sign bit is cleared.
    fn abs(&mut self, a: Self::F) -> Self::F;
    /// The square root, correctly rounded; NaN of negative numbers.
    fn sqrt(&mut self, a: Self::F) -> Self::F;
    /// The nearest integer as a float, ties to even.
    fn nearest(&mut self, a: Self::F) -> Self::F;

    /// `a < b`.
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a <= b`.
    fn le(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// `a == b`.
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::M;
    /// Both.
    fn and(&mut self, a: Self::M, b: Self::M) -> Self::M;
    /// Either.
    fn or(&mut self, a: Self::M, b: Self::M) -> Self::M;
    /// The opposite truth value.
    fn not(&mut self, a: Self::M) -> Self::M;
    /// `yes` where the condition holds, `no` elsewhere.
    fn select(&mut self, condition: Self::M, yes: Self::F, no: Self::F) -> Self::F;

    /// The bits of a float.
    fn bits(&mut self, a: Self::F) -> Self::I;
    /// The float of some bits.
    fn float(&mut self, a: Self::I) -> Self::F;
    /// `a + b`.
    fn add_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`.
    fn sub_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// The bits set in both.
    fn and_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// The bits set in either.
    fn or_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// The bits set in one only.
    fn xor_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Shifts left by a constant less than the width.
    fn shl(&mut self, a: Self::I, by: u32) -> Self::I;
    /// Shifts right by a constant less than the width, keeping the sign.
    fn sar(&mut self, a: Self::I, by: u32) -> Self::I;
}

/// `c₀ + c₁ x + c₂ x² + …` by Horner's rule.
fn polynomial<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, coefficients: &[N]) -> L::F {
    let mut terms = coefficients.iter().rev();
    let highest = *terms.next().expect("a polynomial has a coefficient");
    let mut sum = l.constant(highest);
    for &coefficient in terms {
        let coefficient = l.constant(coefficient);
        sum = l.fma(sum, x, coefficient);
    }
    sum
}

/// The nearest integer to `x · scale`: the bits of its sum with [`Precision::ROUNDER`], whose low bits hold it, and the float.
/// The multiple is less than a third of that.
fn nearest_multiple<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, scale: N) -> (L::I, L::F) {
    let (scale, rounder) = (l.constant(scale), l.constant(N::ROUNDER));
    let sum = l.fma(x, scale, rounder);
    let float = l.sub(sum, rounder);
    (l.bits(sum), float)
}

/// a + b, and exactly what rounding took from it.
fn two_sum<N: Precision, L: Lanes<N>>(l: &mut L, a: L::F, b: L::F) -> (L::F, L::F) {
    let sum = l.add(a, b);
    let b_part = l.sub(sum, a);
    let a_part = l.sub(sum, b_part);
    let (a_rest, b_rest) = (l.sub(a, a_part), l.sub(b, b_part));
    (sum, l.add(a_rest, b_rest))
}

/// An integer of magnitude below a third of [`Precision::ROUNDER`] as a float.
fn small_to_float<N: Precision, L: Lanes<N>>(l: &mut L, a: L::I) -> L::F {
    let (bits, rounder) = (l.integer(N::ROUNDER.to_bits()), l.constant(N::ROUNDER));
    let sum = l.add_i(a, bits);
    let sum = l.float(sum);
    l.sub(sum, rounder)
}

/// `magnitude` with the sign of `sign`; the magnitude is not negative.
fn with_sign_of<N: Precision, L: Lanes<N>>(l: &mut L, magnitude: L::F, sign: L::F) -> L::F {
    let mask = l.integer(N::SIGN);
    let (magnitude, sign) = (l.bits(magnitude), l.bits(sign));
    let sign = l.and_i(sign, mask);
    let bits = l.or_i(magnitude, sign);
    l.float(bits)
}

/// `x` where it is less than `high`, or NaN; `high` elsewhere.
fn at_most<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, high: N) -> L::F {
    let high = l.constant(high);
    let above = l.lt(high, x);
    l.select(above, high, x)
}

/// `x` where it is more than `low`, or NaN; `low` elsewhere.
fn at_least<N: Precision, L: Lanes<N>>(l: &mut L, x: L::F, low: N) -> L::F {
    let low = l.constant(low);
    let below = l.lt(x, low);
    l.select(below, low, x)
}
