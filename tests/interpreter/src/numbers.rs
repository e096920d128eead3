//! Rounding and the arithmetic that the host does not do as PTX asks.

use half::{bf16, f16};

/// A direction of rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// To nearest, ties to even.
    Nearest,
    /// To nearest, ties away from zero.
    Away,
    Zero,
    Down,
    Up,
}

/// A binary floating-point format with the exponents of IEEE 754.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    /// Bits of the significand, the hidden one among them.
    precision: i32,
    /// The exponent of the smallest normal number.
    min_exponent: i32,
    /// The largest finite number.
    max: f64,
}

pub(crate) const F16: Format = Format { precision: 11, min_exponent: -14, max: 65504.0 };
pub(crate) const BF16: Format = Format { precision: 8, min_exponent: -126, max: 3.3895313892515355e38 };
pub(crate) const TF32: Format = Format { precision: 11, min_exponent: -126, max: 3.401162134214653e38 };
pub(crate) const F32: Format = Format { precision: 24, min_exponent: -126, max: f32::MAX as f64 };

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Format {
    /// `x` rounded to this format. It is exact in every direction, unlike a detour over another format.
    pub fn round(self, x: f64, rounding: Rounding) -> f64 {
        if x == 0.0 || !x.is_finite() {
            return x;
        }
        let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        let unit = power_of_two(exponent.max(self.min_exponent) - (self.precision - 1));
        let rounded = unit * round_integral(x / unit, rounding);
        if rounded.abs() <= self.max {
            return rounded;
        }
        let away = match rounding {
            Rounding::Nearest | Rounding::Away => true,
            Rounding::Zero => false,
            Rounding::Down => x < 0.0,
            Rounding::Up => x > 0.0,
        };
        if away { f64::INFINITY.copysign(x) } else { self.max.copysign(x) }
    }
}

/// `x` rounded to an integral value.
pub(crate) fn round_integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::Away => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// `a + b` rounded to odd: a sum that can be rounded once more to fewer bits, in any direction, as if
/// it had been exact (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
///
/// It has no branches, so that it is vectorised.
#[inline(always)]
pub(crate) fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let from_a = sum - b;
    let error = (a - from_a) + (b - (sum - from_a));
    // The error of an infinite sum is no number, and neither above nor below.
    let (above, below) = (error > 0.0, error < 0.0);
    let bits = sum.to_bits();
    let even = !bits & 1;
    let outwards = if sum > 0.0 { above } else { below };
    let inwards = if sum > 0.0 { below } else { above };
    f64::from_bits(bits.wrapping_add(even & u64::from(outwards)).wrapping_sub(even & u64::from(inwards)))
}

/// `a · b + c`, for operands whose product is exact in `f64`, ready to be rounded to at most 24 bits.
#[inline(always)]
pub(crate) fn fma_to_odd(a: f64, b: f64, c: f64) -> f64 {
    sum_to_odd(a * b, c)
}

/// `a · b + c`, rounded once. In `f64` the product is exact, and the sum is rounded to odd: unlike a call of
/// the host's function, this is vectorised.
#[inline(always)]
pub(crate) fn fused(a: f32, b: f32, c: f32) -> f32 {
    fma_to_odd(f64::from(a), f64::from(b), f64::from(c)) as f32
}

/// An `f16` as `f32`, without branches.
#[inline(always)]
pub(crate) fn half_to_single(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    // With the exponent where `f32` has it, it is too small by 2¹¹²; subnormal numbers come out right too.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = (magnitude << 13) | 0x7f80_0000;
    let magnitude = if magnitude >= 0x7c00 { special } else { scaled.to_bits() };
    f32::from_bits(magnitude | (u32::from(bits & 0x8000) << 16))
}

/// `a / b` for operands of at most 24 bits, ready to be rounded to at most 24 bits.
pub(crate) fn quotient_to_odd(a: f64, b: f64) -> f64 {
    let quotient = a / b;
    let remainder = (-quotient).mul_add(b, a);
    to_odd(quotient, remainder, (remainder > 0.0) == (b > 0.0))
}

/// The square root of a number of at most 24 bits, ready to be rounded to at most 24 bits.
pub(crate) fn root_to_odd(a: f64) -> f64 {
    let root = a.sqrt();
    let remainder = (-root).mul_add(root, a);
    to_odd(root, remainder, remainder > 0.0)
}

/// `value`, which misses the exact result by something of the sign `above` unless `remainder` is zero,
/// rounded to odd.
fn to_odd(value: f64, remainder: f64, above: bool) -> f64 {
    if remainder == 0.0 || remainder.is_nan() || !value.is_finite() || value.to_bits() & 1 == 1 {
        return value;
    }
    let away = above == (value > 0.0);
    f64::from_bits(if away { value.to_bits() + 1 } else { value.to_bits() - 1 })
}

/// `x` with a subnormal number replaced by a zero of its sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// `x` clamped to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

/// A floating-point type with the minimum and maximum of PTX.
pub(crate) trait Ordered: Copy + PartialOrd {
    const NAN: Self;
    fn nan(self) -> bool;
    fn negative(self) -> bool;
}

impl Ordered for f32 {
    const NAN: f32 = f32::NAN;
    fn nan(self) -> bool {
        self.is_nan()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

impl Ordered for f64 {
    const NAN: f64 = f64::NAN;
    fn nan(self) -> bool {
        self.is_nan()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

impl Ordered for f16 {
    const NAN: f16 = f16::NAN;
    fn nan(self) -> bool {
        self.is_nan()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

impl Ordered for bf16 {
    const NAN: bf16 = bf16::NAN;
    fn nan(self) -> bool {
        self.is_nan()
    }
    fn negative(self) -> bool {
        self.is_sign_negative()
    }
}

/// The smaller of two; a NaN loses unless it `spreads`; -0 is below +0.
#[inline(always)]
pub(crate) fn minimum<T: Ordered>(a: T, b: T, spreads: bool) -> T {
    choose(a, b, spreads, a < b || (a == b && a.negative()))
}

/// The larger of two; a NaN loses unless it `spreads`; +0 is above -0.
#[inline(always)]
pub(crate) fn maximum<T: Ordered>(a: T, b: T, spreads: bool) -> T {
    choose(a, b, spreads, a > b || (a == b && b.negative()))
}

#[inline(always)]
fn choose<T: Ordered>(a: T, b: T, spreads: bool, first: bool) -> T {
    if spreads && (a.nan() || b.nan()) {
        T::NAN
    } else if b.nan() || (first && !a.nan()) {
        a
    } else {
        b
    }
}
