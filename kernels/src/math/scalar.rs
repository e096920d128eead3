//! The machines that compute instead of emitting: one lane, in Rust.

use super::Lanes;

/// One lane of f32 in plain Rust.
///
/// The reference for what generated code must compute, bit for bit. `fma` is fast only in functions compiled for a
/// machine that has the instruction.
///
/// ```
/// use visage_kernels::math::{self, Scalar};
///
/// assert_eq!(math::exp(&mut Scalar, 1.0), std::f32::consts::E);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

/// One lane of f64, likewise.
#[derive(Clone, Copy, Debug, Default)]
pub struct DoubleScalar;

macro_rules! compute {
    ($machine:ident, $float:ident, $integer:ident, $unsigned:ident) => {
        impl Lanes<$float> for $machine {
            type F = $float;
            type I = $integer;
            type M = bool;

            #[inline(always)]
            fn constant(&mut self, value: $float) -> $float {
                value
            }
            #[inline(always)]
            fn integer(&mut self, value: $integer) -> $integer {
                value
            }
            #[inline(always)]
            fn add(&mut self, a: $float, b: $float) -> $float {
                a + b
            }
            #[inline(always)]
            fn sub(&mut self, a: $float, b: $float) -> $float {
                a - b
            }
            #[inline(always)]
            fn mul(&mut self, a: $float, b: $float) -> $float {
                a * b
            }
            #[inline(always)]
            fn div(&mut self, a: $float, b: $float) -> $float {
                a / b
            }
            #[inline(always)]
            fn fma(&mut self, a: $float, b: $float, c: $float) -> $float {
                a.mul_add(b, c)
            }
            #[inline(always)]
            fn neg(&mut self, a: $float) -> $float {
                -a
            }
            #[inline(always)]
            fn abs(&mut self, a: $float) -> $float {
                a.abs()
            }
            #[inline(always)]
            fn sqrt(&mut self, a: $float) -> $float {
                a.sqrt()
            }
            #[inline(always)]
            fn nearest(&mut self, a: $float) -> $float {
                a.round_ties_even()
            }
            #[inline(always)]
            fn lt(&mut self, a: $float, b: $float) -> bool {
                a < b
            }
            #[inline(always)]
            fn le(&mut self, a: $float, b: $float) -> bool {
                a <= b
            }
            #[inline(always)]
            fn eq(&mut self, a: $float, b: $float) -> bool {
                a == b
            }
            #[inline(always)]
            fn and(&mut self, a: bool, b: bool) -> bool {
                a & b
            }
            #[inline(always)]
            fn or(&mut self, a: bool, b: bool) -> bool {
                a | b
            }
            #[inline(always)]
            fn not(&mut self, a: bool) -> bool {
                !a
            }
            #[inline(always)]
            fn select(&mut self, condition: bool, yes: $float, no: $float) -> $float {
                if condition { yes } else { no }
            }
            #[inline(always)]
            fn bits(&mut self, a: $float) -> $integer {
                a.to_bits() as $integer
            }
            #[inline(always)]
            fn float(&mut self, a: $integer) -> $float {
                $float::from_bits(a as $unsigned)
            }
            #[inline(always)]
            fn add_i(&mut self, a: $integer, b: $integer) -> $integer {
                a.wrapping_add(b)
            }
            #[inline(always)]
            fn sub_i(&mut self, a: $integer, b: $integer) -> $integer {
                a.wrapping_sub(b)
            }
            #[inline(always)]
            fn and_i(&mut self, a: $integer, b: $integer) -> $integer {
                a & b
            }
            #[inline(always)]
            fn or_i(&mut self, a: $integer, b: $integer) -> $integer {
                a | b
            }
            #[inline(always)]
            fn xor_i(&mut self, a: $integer, b: $integer) -> $integer {
                a ^ b
            }
            #[inline(always)]
            fn shl(&mut self, a: $integer, by: u32) -> $integer {
                a << by
            }
            #[inline(always)]
            fn sar(&mut self, a: $integer, by: u32) -> $integer {
                a >> by
            }
        }
    };
}

compute!(Scalar, f32, i32, u32);
compute!(DoubleScalar, f64, i64, u64);
