//! What the algorithms need to know of the numbers that they compute with.

use std::ops::Mul;

/// A format of binary floating-point numbers, with the constants of the algorithms in it.
///
/// Polynomials have their coefficients in ascending order.
pub trait Precision: Copy + From<f32> + Mul<Output = Self> + 'static {
    /// The bits of a number, as a signed integer.
    type Bits: Copy + From<i32>;

    /// The bits of this number.
    fn to_bits(self) -> Self::Bits;

    /// Bits of a number.
    const WIDTH: u32;
    /// Bits of the fraction, which are the lowest.
    const FRACTION_BITS: u32;
    /// The exponent of one as it is stored.
    const BIAS: i32;
    /// The sign bit.
    const SIGN: Self::Bits;
    /// The least normal number.
    const MIN_POSITIVE: Self;
    /// Two to the number of bits of the fraction. Subnormal numbers times this are normal.
    const NORMALISER: Self;
    /// One and a half times that: adding it to a number of less than a third of its size rounds that to an integer,
    /// which then is the low bits of the sum.
    const ROUNDER: Self;

    /// log₂ e in two parts.
    const LOG2_E: [Self; 2];
    /// -ln 2 in two parts.
    const MINUS_LN_2: [Self; 2];
    /// ln 2 in two parts, the first with so many trailing zeros that its products with exponents are exact.
    const LN_2: [Self; 2];
    /// √½.
    const FRAC_1_SQRT_2: Self;
    /// 1/π.
    const FRAC_1_PI: Self;
    /// 2/π.
    const FRAC_2_PI: Self;
    /// π/2 in two parts.
    const HALF_PI: [Self; 2];
    /// -π in three parts, each rounded towards zero: as all have one sign, zero times them leaves the sign of a zero
    /// they are added to.
    const MINUS_PI: [Self; 3];
    /// Arguments of circular functions from here on are taken as zero: they are too far apart, half a radian, to have
    /// a meaningful phase.
    const PHASE_LIMIT: Self;

    /// Where eˣ rounds to zero, and where it overflows.
    const EXP_RANGE: [Self; 2];
    /// Where 2ˣ rounds to zero, and where it overflows.
    const EXP2_RANGE: [Self; 2];
    /// Where eˣ - 1 rounds to -1.
    const EXPM1_LOW: Self;
    /// Where tanh x rounds to 1.
    const TANH_HIGH: Self;
    /// Where erf x rounds to 1.
    const ERF_HIGH: Self;

    /// (eʳ - 1 - r) / r² for |r| ≤ ln 2 / 2, accurate as a part of eʳ.
    const EXP: &'static [Self];
    /// The same, accurate as a part of eʳ - 1.
    const EXPM1: &'static [Self];
    /// (2ʳ - 1) / r for |r| ≤ 1/2.
    const EXP2: &'static [Self];
    /// (tanh x - x) / x³ in x² for |x| ≤ 0.625.
    const TANH: &'static [Self];
    /// (log(1 + f) - f + f²/2) / f³ for √½ ≤ 1 + f ≤ √2.
    const LOG: &'static [Self];
    /// (sin r - r) / r³ in r² for |r| ≤ 1.9: large arguments are reduced to more than π/2, as 1/π is rounded.
    const SIN: &'static [Self];
    /// (tan r - r) / r³ in r² for |r| ≤ 0.93.
    const TAN: &'static [Self];
    /// (atan t - t) / t³ in t² for 0 ≤ t ≤ 1.
    const ATAN: &'static [Self];
    /// (asin x - x) / x³ in x² for |x| ≤ 1/2.
    const ASIN: &'static [Self];
    /// erf x / x - 1 in x² for |x| ≤ 1.
    const ERF_NEAR: &'static [Self];
    /// -log(1 - erf x) / x from 1 to [`Precision::ERF_HIGH`].
    const ERF_FAR: &'static [Self];

    /// The coefficient of s in log₂((1 + s) / (1 - s)), which is 2 / ln 2, in two parts.
    const LOG2_SLOPE: [Self; 2];
    /// The coefficient of s³, a third of it, in two parts.
    const LOG2_CUBE: [Self; 2];
    /// Those of s⁵, s⁷ and so on, in s² for |s| ≤ 0.172.
    const LOG2_TAIL: &'static [Self];
}
