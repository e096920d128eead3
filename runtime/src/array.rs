//! Dense arrays on the host: what checkpoints, data sets and the command line exchange.
//!
//! An [`Array`] is a shape, an [`ElementType`] and the elements themselves, row-major (the last axis
//! varies fastest) and little-endian whatever the machine, exactly as `.safetensors` stores them. It
//! knows sizes and no axis names: names belong to the graph that the array is given to.

use half::{bf16, f16};
use std::fmt;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE 754 double precision.
    F64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of a single: eight exponent bits, seven of fraction.
    BF16,
    /// Signed, 64 bits.
    I64,
    /// Signed, 32 bits.
    I32,
    /// Signed, 16 bits.
    I16,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl ElementType {
    /// Bytes that one element takes.
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// Why an array could not be made or read as another type.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArrayError {
    /// The shape and the number of elements or bytes disagree.
    #[error("shape {shape:?} of {element} needs {}, but {found} were given",
            .expected.map_or_else(|| "more bytes than can be addressed".to_string(), |n| format!("{n} bytes")))]
    Size {
        /// The shape asked for.
        shape: Vec<usize>,
        /// The element type asked for.
        element: ElementType,
        /// Bytes that the shape needs; `None` where the product overflows.
        expected: Option<usize>,
        /// Bytes that were given.
        found: usize,
    },
    /// An element has no value in the type it was asked for.
    #[error("element {index} is {value}, which {element} cannot hold")]
    Value {
        /// Row-major index of the element.
        index: usize,
        /// The element, as text.
        value: String,
        /// The type that was asked for.
        element: ElementType,
    },
    /// A byte of a boolean array is neither 0 nor 1.
    #[error("element {index} of a boolean array is the byte {byte}, neither 0 nor 1")]
    Bool {
        /// Row-major index of the element.
        index: usize,
        /// The byte found.
        byte: u8,
    },
}

/// An element on its way from one type to another, in the widest type of its family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A single, or a narrower float widened exactly.
    Single(f32),
    /// A double.
    Double(f64),
    /// Any integer; booleans are 0 and 1.
    Integer(i64),
}

impl Number {
    /// The nearest single.
    pub fn to_f32(self) -> f32 {
        match self {
            Self::Single(value) => value,
            Self::Double(value) => value as f32,
            Self::Integer(value) => value as f32,
        }
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        match self {
            Self::Single(value) => f64::from(value),
            Self::Double(value) => value,
            Self::Integer(value) => value as f64,
        }
    }

    /// The integer of equal value, if there is one that 64 bits hold.
    pub fn to_i64(self) -> Option<i64> {
        let value = match self {
            Self::Integer(value) => return Some(value),
            Self::Single(value) => f64::from(value),
            Self::Double(value) => value,
        };
        // 2^63 is a double, and the first that does not fit.
        let fits = value.fract() == 0.0 && (-9223372036854775808.0..9223372036854775808.0).contains(&value);
        fits.then_some(value as i64)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
        }
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that arrays hold.
pub trait Element: Copy + sealed::Sealed {
    /// The element type that stands for it.
    const TYPE: ElementType;

    /// The element in little-endian bytes; `bytes` holds exactly one.
    fn read(bytes: &[u8]) -> Self;

    /// Appends the element in little-endian bytes.
    fn append(self, bytes: &mut Vec<u8>);

    /// The element as a number of the widest type of its family.
    fn number(self) -> Number;

    /// The element of this value: floats round to nearest, integers and booleans must be exact.
    fn from_number(number: Number) -> Option<Self>;
}

macro_rules! element {
    ($type:ty, $element:ident, $number:expr, $from:expr) => {
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const TYPE: ElementType = ElementType::$element;

            fn read(bytes: &[u8]) -> Self {
                let mut exact = [0; size_of::<$type>()];
                exact.copy_from_slice(bytes);
                Self::from_le_bytes(exact)
            }

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn number(self) -> Number {
                let number: fn(Self) -> Number = $number;
                number(self)
            }

            fn from_number(number: Number) -> Option<Self> {
                let from: fn(Number) -> Option<Self> = $from;
                from(number)
            }
        }
    };
}

element!(f64, F64, Number::Double, |n| Some(n.to_f64()));
element!(f32, F32, Number::Single, |n| Some(n.to_f32()));
element!(f16, F16, widened, nearest_f16);
element!(bf16, BF16, widened, nearest_bf16);
element!(i64, I64, Number::Integer, Number::to_i64);
element!(i32, I32, |v| Number::Integer(v.into()), exact_integer);
element!(i16, I16, |v| Number::Integer(v.into()), exact_integer);
element!(i8, I8, |v| Number::Integer(v.into()), exact_integer);
element!(u8, U8, |v| Number::Integer(v.into()), exact_integer);

fn widened(half: impl Into<f32>) -> Number {
    Number::Single(half.into())
}

fn nearest_f16(number: Number) -> Option<f16> {
    Some(f16::from_f32(odd_single(number)))
}

fn nearest_bf16(number: Number) -> Option<bf16> {
    Some(bf16::from_f32(odd_single(number)))
}

fn exact_integer<T: TryFrom<i64>>(number: Number) -> Option<T> {
    number.to_i64()?.try_into().ok()
}

/// A single that rounds to the same half as the number itself.
///
/// Rounding twice to nearest can go wrong where the first rounding makes a tie. Rounding to odd first
/// cannot: a single that is not the number is given an odd last bit, so it is never a tie of a format with
/// two fewer bits (Boldo & Melquiond, "When double rounding is odd", 2004).
fn odd_single(number: Number) -> f32 {
    let exact = match number {
        Number::Single(value) => return value,
        Number::Double(value) => value,
        // Beyond 2^53 an integer is far beyond the largest f16, and bf16 keeps 8 bits of it.
        Number::Integer(value) => value as f64,
    };
    let nearest = exact as f32;
    if f64::from(nearest) == exact || !nearest.is_finite() || nearest.to_bits() & 1 == 1 {
        return nearest;
    }
    if f64::from(nearest).abs() < exact.abs() {
        f32::from_bits(nearest.to_bits() + 1)
    } else {
        f32::from_bits(nearest.to_bits() - 1)
    }
}

impl sealed::Sealed for bool {}
impl Element for bool {
    const TYPE: ElementType = ElementType::Bool;

    fn read(bytes: &[u8]) -> Self {
        bytes[0] != 0
    }

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.push(self.into());
    }

    fn number(self) -> Number {
        Number::Integer(self.into())
    }

    fn from_number(number: Number) -> Option<Self> {
        match number.to_i64()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// Runs an expression with `$t` standing for the Rust type of an element type.
macro_rules! with_element {
    ($element:expr, $t:ident => $body:expr) => {
        match $element {
            ElementType::F64 => {
                type $t = f64;
                $body
            }
            ElementType::F32 => {
                type $t = f32;
                $body
            }
            ElementType::F16 => {
                type $t = f16;
                $body
            }
            ElementType::BF16 => {
                type $t = bf16;
                $body
            }
            ElementType::I64 => {
                type $t = i64;
                $body
            }
            ElementType::I32 => {
                type $t = i32;
                $body
            }
            ElementType::I16 => {
                type $t = i16;
                $body
            }
            ElementType::I8 => {
                type $t = i8;
                $body
            }
            ElementType::U8 => {
                type $t = u8;
                $body
            }
            ElementType::Bool => {
                type $t = bool;
                $body
            }
        }
    };
}

/// A dense array: row-major, little-endian. Two arrays are equal if type, shape and every bit are.
#[derive(Clone, PartialEq, Eq)]
pub struct Array {
    dtype: ElementType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    /// An array over bytes that are already row-major and little-endian.
    ///
    /// # Errors
    /// The number of bytes is not what type and shape need, or a boolean is neither 0 nor 1.
    pub fn new(dtype: ElementType, shape: impl Into<Vec<usize>>, bytes: Vec<u8>) -> Result<Self, ArrayError> {
        let shape = shape.into();
        let expected = byte_count(dtype, &shape);
        if expected != Some(bytes.len()) {
            return Err(ArrayError::Size { shape, element: dtype, expected, found: bytes.len() });
        }
        if dtype == ElementType::Bool
            && let Some(index) = bytes.iter().position(|&byte| byte > 1)
        {
            return Err(ArrayError::Bool { index, byte: bytes[index] });
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// An array of these elements, in row-major order.
    ///
    /// # Errors
    /// The number of elements is not the product of the shape.
    pub fn from_slice<T: Element>(shape: impl Into<Vec<usize>>, values: &[T]) -> Result<Self, ArrayError> {
        let mut bytes = Vec::with_capacity(size_of_val(values));
        for &value in values {
            value.append(&mut bytes);
        }
        Self::new(T::TYPE, shape, bytes)
    }

    /// An array of one element and no axes.
    pub fn scalar<T: Element>(value: T) -> Self {
        let mut bytes = Vec::with_capacity(T::TYPE.size());
        value.append(&mut bytes);
        Self { dtype: T::TYPE, shape: Vec::new(), bytes }
    }

    /// An array of zeros (of `false`).
    ///
    /// # Errors
    /// The shape has more bytes than can be addressed.
    pub fn zeros(dtype: ElementType, shape: impl Into<Vec<usize>>) -> Result<Self, ArrayError> {
        let shape = shape.into();
        match byte_count(dtype, &shape) {
            Some(count) => Ok(Self { dtype, shape, bytes: vec![0; count] }),
            None => Err(ArrayError::Size { shape, element: dtype, expected: None, found: 0 }),
        }
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.dtype
    }

    /// The size of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major and little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The elements, row-major and little-endian, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// The new shape has another number of elements.
    pub fn reshape(self, shape: impl Into<Vec<usize>>) -> Result<Self, ArrayError> {
        Self::new(self.dtype, shape, self.bytes)
    }

    /// The elements as another type: floats round to nearest, integers and booleans must be exact.
    ///
    /// # Errors
    /// The first element that the type cannot hold.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, ArrayError> {
        with_element!(self.dtype, S => self
            .elements::<S>()
            .enumerate()
            .map(|(index, value)| {
                T::from_number(value.number()).ok_or_else(|| ArrayError::Value {
                    index,
                    value: value.number().to_string(),
                    element: T::TYPE,
                })
            })
            .collect())
    }

    /// The elements as singles, rounded to nearest.
    pub fn to_f32(&self) -> Vec<f32> {
        with_element!(self.dtype, S => self.elements::<S>().map(|value| value.number().to_f32()).collect())
    }

    /// The elements as doubles, rounded to nearest.
    pub fn to_f64(&self) -> Vec<f64> {
        with_element!(self.dtype, S => self.elements::<S>().map(|value| value.number().to_f64()).collect())
    }

    /// The elements as 32-bit integers.
    ///
    /// # Errors
    /// The first element that is not whole or does not fit.
    pub fn to_i32(&self) -> Result<Vec<i32>, ArrayError> {
        self.to_vec()
    }

    /// The elements as 64-bit integers.
    ///
    /// # Errors
    /// The first element that is not whole or does not fit.
    pub fn to_i64(&self) -> Result<Vec<i64>, ArrayError> {
        self.to_vec()
    }

    /// The elements as booleans.
    ///
    /// # Errors
    /// The first element that is neither 0 nor 1.
    pub fn to_bool(&self) -> Result<Vec<bool>, ArrayError> {
        self.to_vec()
    }

    /// The same values in another element type, by the rules of [`Array::to_vec`].
    ///
    /// # Errors
    /// The first element that the type cannot hold.
    pub fn convert(&self, dtype: ElementType) -> Result<Self, ArrayError> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        with_element!(dtype, T => Self::from_slice(self.shape.clone(), &self.to_vec::<T>()?))
    }

    fn elements<T: Element>(&self) -> impl Iterator<Item = T> {
        self.bytes.chunks_exact(T::TYPE.size()).map(T::read)
    }
}

impl fmt::Debug for Array {
    /// Type, shape and the first few elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "{}{:?} [", self.dtype, self.shape)?;
        with_element!(self.dtype, S => {
            for (index, value) in self.elements::<S>().take(SHOWN).enumerate() {
                write!(f, "{}{}", if index == 0 { "" } else { ", " }, value.number())?;
            }
        });
        f.write_str(if self.len() > SHOWN { ", …]" } else { "]" })
    }
}

/// The product of the sizes; `None` where it overflows. An axis of size 0 makes any shape empty.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))
}

fn byte_count(dtype: ElementType, shape: &[usize]) -> Option<usize> {
    element_count(shape)?.checked_mul(dtype.size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_shape_must_match_its_elements() {
        let error = Array::from_slice([2, 3], &[0f32; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] of f32 needs 24 bytes, but 20 were given");
        let error = Array::zeros(ElementType::F64, [usize::MAX, 2]).unwrap_err();
        assert!(error.to_string().contains("more bytes than can be addressed"), "{error}");
        assert!(Array::zeros(ElementType::F64, [usize::MAX, 2, 0]).unwrap().is_empty());
        let error = Array::new(ElementType::Bool, [2], vec![1, 7]).unwrap_err();
        assert_eq!(error, ArrayError::Bool { index: 1, byte: 7 });
    }

    #[test]
    fn integers_must_be_exact() {
        let array = Array::from_slice([4], &[0f32, 1.0, -3.0, 2.5]).unwrap();
        let error = array.to_i32().unwrap_err();
        assert_eq!(error.to_string(), "element 3 is 2.5, which i32 cannot hold");
        let array = Array::from_slice([2], &[1i64, 1 << 40]).unwrap();
        assert!(array.to_i32().is_err());
        assert_eq!(array.to_i64().unwrap(), [1, 1 << 40]);
        assert!(Array::scalar(f64::NAN).to_i64().is_err());
        assert!(Array::scalar(9223372036854775808.0f64).to_i64().is_err());
        assert_eq!(Array::scalar(i64::MIN as f64).to_i64().unwrap(), [i64::MIN]);
        assert_eq!(Array::from_slice([2], &[0u8, 1]).unwrap().to_bool().unwrap(), [false, true]);
        assert!(Array::scalar(2i8).to_bool().is_err());
    }

    #[test]
    fn every_half_survives_the_way_to_f32_and_back() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let brain = bf16::from_bits(bits);
            let halves = Array::scalar(half).convert(ElementType::F32).unwrap();
            let brains = Array::scalar(brain).convert(ElementType::F32).unwrap();
            assert_eq!(halves.to_f32()[0].is_nan(), half.is_nan());
            if !half.is_nan() {
                assert_eq!(halves.convert(ElementType::F16).unwrap(), Array::scalar(half));
            }
            if !brain.is_nan() {
                assert_eq!(brains.convert(ElementType::BF16).unwrap(), Array::scalar(brain));
            }
        }
    }

    #[test]
    fn doubles_round_to_halves_once() {
        // Just above the tie between 1 and 1 + 2^-10: through f32 to nearest it would become the tie.
        let above = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        let below = 1.0 + 3.0 * 2f64.powi(-11) - 2f64.powi(-40);
        let halves = Array::from_slice([2], &[above, below]).unwrap().to_vec::<f16>().unwrap();
        assert_eq!(halves, [f16::from_bits(0x3c01), f16::from_bits(0x3c01)]);
        let brains = Array::scalar(1.0 + 2f64.powi(-8) + 2f64.powi(-40)).to_vec::<bf16>().unwrap();
        assert_eq!(brains, [bf16::from_bits(0x3f81)]);
    }

    proptest! {
        #[test]
        fn slices_come_back(values in proptest::collection::vec(any::<f64>(), 0..40)) {
            let array = Array::from_slice([values.len()], &values).unwrap();
            let back = array.to_f64();
            prop_assert!(values.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
            prop_assert_eq!(array.len(), values.len());
            let singles = array.to_f32();
            prop_assert!(values.iter().zip(singles).all(|(&a, b)| (a as f32).to_bits() == b.to_bits()));
        }

        #[test]
        fn rounding_to_half_is_to_the_nearest(value in -70000f64..70000.0) {
            let rounded = Array::scalar(value).to_vec::<f16>().unwrap()[0];
            if rounded.is_finite() {
                for neighbour in [rounded.to_bits().wrapping_sub(1), rounded.to_bits().wrapping_add(1)] {
                    let neighbour = f16::from_bits(neighbour);
                    if neighbour.is_finite() {
                        let (near, far) = (rounded.to_f64() - value, neighbour.to_f64() - value);
                        prop_assert!(near.abs() <= far.abs(), "{value}: {rounded} but {neighbour} is nearer");
                    }
                }
            } else {
                prop_assert!(value.abs() >= 65520.0);
            }
        }

        #[test]
        fn integers_come_back_through_wider_types(values in proptest::collection::vec(any::<i16>(), 0..40)) {
            let array = Array::from_slice([values.len()], &values).unwrap();
            for wide in [ElementType::I32, ElementType::I64, ElementType::F32, ElementType::F64] {
                prop_assert_eq!(array.convert(wide).unwrap().convert(ElementType::I16).unwrap(), array.clone());
            }
        }
    }
}
