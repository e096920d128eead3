//! Element types.

use std::{cmp::Ordering, fmt};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// For what f32 cannot tell apart (a position that is multiplied by many octaves), and for checking.
    F64,
    /// The type of numbers unless a spec says otherwise.
    F32,
    /// Storage only; arithmetic widens to f32.
    F16,
    /// Storage only; arithmetic widens to f32.
    BF16,
    /// Indices.
    I32,
    /// Truth values.
    Bool,
}

impl DType {
    /// Bytes an element takes in memory.
    pub fn bytes(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Bool => 1,
        }
    }

    /// Whether this is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// The name used in specs and listings.
    pub fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::Bool => "bool",
        }
    }

    /// `value` as this type would hold it.
    pub fn round(self, value: f64) -> f64 {
        match self {
            DType::F64 => value,
            DType::F32 => f64::from(value as f32),
            DType::F16 => half::f16::from_f32(to_odd(value)).to_f64(),
            DType::BF16 => half::bf16::from_f32(to_odd(value)).to_f64(),
            DType::I32 => f64::from(value as i32),
            DType::Bool => f64::from(u8::from(value != 0.0)),
        }
    }
}

/// A number as an `f32`: of the two nearest ones, if it lies between them, that with an odd last bit. What rounds it again to
/// fewer bits then rounds as if it had the number itself.
fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let found = f64::from(near);
    let bits = near.to_bits();
    match found.abs().partial_cmp(&value.abs()) {
        Some(Ordering::Less) if bits & 1 == 0 => f32::from_bits(bits + 1),
        Some(Ordering::Greater) if bits & 1 == 0 => f32::from_bits(bits - 1),
        _ => near,
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_half_precision_sees_every_bit() {
        let ulp = 2f64.powi(-7);
        for (value, expected) in [
            (1.0 + 0.5 * ulp, 1.0),
            (1.0 + 1.5 * ulp, 1.0 + 2.0 * ulp),
            (1.0 + 0.5 * ulp + 2f64.powi(-23), 1.0 + ulp),
            (1.0 + 0.5 * ulp + 2f64.powi(-50), 1.0 + ulp),
            (-1.0 - 0.5 * ulp - 2f64.powi(-50), -1.0 - ulp),
            (1.0 + 1.5 * ulp - 2f64.powi(-50), 1.0 + ulp),
            (f64::from(f32::MAX), f64::INFINITY),
            (1e300, f64::INFINITY),
            (1e-300, 0.0),
        ] {
            assert_eq!(DType::BF16.round(value), expected, "{value}");
        }
        assert_eq!(DType::F16.round(1.0 + 2f64.powi(-11) + 2f64.powi(-50)), 1.0 + 2f64.powi(-10));
        assert!(DType::BF16.round(f64::NAN).is_nan());
    }
}
