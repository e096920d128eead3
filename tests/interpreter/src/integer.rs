//! Integers of every size, for functions that are the same for all of them.

use crate::lanes::Scalar;

/// An integer type that instructions work on.
pub(crate) trait Integer: Scalar + Ord + Send + Sync + 'static {
    const BITS: u32;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// The upper half of the product.
    fn mul_high(self, other: Self) -> Self;
    /// The quotient; 0 for a zero divisor, which the execution refuses before it looks at the result.
    fn div(self, other: Self) -> Self;
    fn rem(self, other: Self) -> Self;
    fn neg(self) -> Self;
    fn abs(self) -> Self;
    /// `|self - other|`.
    fn distance(self, other: Self) -> Self;
    /// The sum, or the nearest value of the type.
    fn add_saturating(self, other: Self) -> Self;
    fn sub_saturating(self, other: Self) -> Self;
    /// Shifted right by any amount, filled with the sign.
    fn shift_right(self, by: u32) -> Self;
    /// As a number.
    fn wide(self) -> i128;
}

macro_rules! integers {
    ($($ty:ty: $wide:ty, $abs:expr;)*) => {$(
        impl Integer for $ty {
            const BITS: u32 = <$ty>::BITS;
            fn add(self, other: $ty) -> $ty { self.wrapping_add(other) }
            fn sub(self, other: $ty) -> $ty { self.wrapping_sub(other) }
            fn mul(self, other: $ty) -> $ty { self.wrapping_mul(other) }
            fn mul_high(self, other: $ty) -> $ty { ((self as $wide * other as $wide) >> <$ty>::BITS) as $ty }
            fn div(self, other: $ty) -> $ty { if other == 0 { 0 } else { self.wrapping_div(other) } }
            fn rem(self, other: $ty) -> $ty { if other == 0 { 0 } else { self.wrapping_rem(other) } }
            fn neg(self) -> $ty { self.wrapping_neg() }
            fn abs(self) -> $ty { $abs(self) }
            fn distance(self, other: $ty) -> $ty { self.abs_diff(other) as $ty }
            fn add_saturating(self, other: $ty) -> $ty { self.saturating_add(other) }
            fn sub_saturating(self, other: $ty) -> $ty { self.saturating_sub(other) }
            fn shift_right(self, by: u32) -> $ty {
                if by < <$ty>::BITS { self >> by } else { (self >> (<$ty>::BITS - 1)) >> 1 }
            }
            fn wide(self) -> i128 { self as i128 }
        }
    )*};
}

integers! {
    u8: u16, std::convert::identity;
    u16: u32, std::convert::identity;
    u32: u64, std::convert::identity;
    u64: u128, std::convert::identity;
    i8: i16, i8::wrapping_abs;
    i16: i32, i16::wrapping_abs;
    i32: i64, i32::wrapping_abs;
    i64: i128, i64::wrapping_abs;
}
