//! Element types as files name them.

use crate::array::{Array, ArrayError, Element, ElementType};

/// An element type of a file: one that arrays hold, or an unsigned integer that is widened on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredType {
    Native(ElementType),
    /// Read as `i32`.
    U16,
    /// Read as `i64`.
    U32,
    /// Read as `i64`, which must hold the value.
    U64,
}

use ElementType::{BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8};
use StoredType::Native;

impl StoredType {
    /// Bytes that one element takes in the file.
    pub(super) fn size(self) -> usize {
        match self {
            Native(element) => element.size(),
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    /// The name under the module `torch`: `float32`, `int64`, ...
    pub(super) fn from_torch(name: &str) -> Option<Self> {
        Some(match name {
            "float64" | "double" => Native(F64),
            "float32" | "float" => Native(F32),
            "float16" | "half" => Native(F16),
            "bfloat16" => Native(BF16),
            "int64" | "long" => Native(I64),
            "int32" | "int" => Native(I32),
            "int16" | "short" => Native(I16),
            "int8" => Native(I8),
            "uint8" => Native(U8),
            "bool" => Native(Bool),
            "uint16" => Self::U16,
            "uint32" => Self::U32,
            "uint64" => Self::U64,
            _ => return None,
        })
    }

    /// The name of a typed storage class of PyTorch: `FloatStorage`, `LongStorage`, ...
    pub(super) fn from_torch_storage(name: &str) -> Option<Self> {
        Some(Native(match name {
            "DoubleStorage" => F64,
            "FloatStorage" => F32,
            "HalfStorage" => F16,
            "BFloat16Storage" => BF16,
            "LongStorage" => I64,
            "IntStorage" => I32,
            "ShortStorage" => I16,
            "CharStorage" => I8,
            "ByteStorage" => U8,
            "BoolStorage" => Bool,
            _ => return None,
        }))
    }

    /// NumPy's kind and size without the byte order: `f4`, `i8`, `b1`, ...
    pub(super) fn from_numpy(code: &str) -> Option<Self> {
        Some(match code {
            "f8" => Native(F64),
            "f4" => Native(F32),
            "f2" => Native(F16),
            "i8" => Native(I64),
            "i4" => Native(I32),
            "i2" => Native(I16),
            "i1" => Native(I8),
            "u1" => Native(U8),
            "b1" => Native(Bool),
            "u2" => Self::U16,
            "u4" => Self::U32,
            "u8" => Self::U64,
            _ => return None,
        })
    }

    /// The type of a `.safetensors` header.
    pub(super) fn from_safetensors(dtype: ::safetensors::Dtype) -> Option<Self> {
        use ::safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Native(F64),
            Dtype::F32 => Native(F32),
            Dtype::F16 => Native(F16),
            Dtype::BF16 => Native(BF16),
            Dtype::I64 => Native(I64),
            Dtype::I32 => Native(I32),
            Dtype::I16 => Native(I16),
            Dtype::I8 => Native(I8),
            Dtype::U8 => Native(U8),
            Dtype::BOOL => Native(Bool),
            Dtype::U16 => Self::U16,
            Dtype::U32 => Self::U32,
            Dtype::U64 => Self::U64,
            _ => return None,
        })
    }

    /// An array of elements of this type, given in row-major order and little-endian bytes.
    pub(super) fn into_array(self, shape: Vec<usize>, bytes: Vec<u8>) -> Result<Array, ArrayError> {
        match self {
            Native(element) => Array::new(element, shape, bytes),
            Self::U16 => widen(shape, &bytes, |b: [u8; 2]| Ok(i32::from(u16::from_le_bytes(b)))),
            Self::U32 => widen(shape, &bytes, |b: [u8; 4]| Ok(i64::from(u32::from_le_bytes(b)))),
            Self::U64 => widen(shape, &bytes, |b: [u8; 8]| {
                let value = u64::from_le_bytes(b);
                i64::try_from(value).map_err(|_| value.to_string())
            }),
        }
    }
}

fn widen<const N: usize, T: Element>(
    shape: Vec<usize>,
    bytes: &[u8],
    wide: impl Fn([u8; N]) -> Result<T, String>,
) -> Result<Array, ArrayError> {
    let (elements, _) = bytes.as_chunks::<N>();
    let values = elements
        .iter()
        .enumerate()
        .map(|(index, &element)| wide(element).map_err(|value| ArrayError::Value { index, value, element: T::TYPE }))
        .collect::<Result<Vec<T>, _>>()?;
    Array::from_slice(shape, &values)
}
