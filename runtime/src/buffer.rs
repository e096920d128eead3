//! Dense arrays with named axes in host memory: what programs read, write and train.

use crate::array::{Array, ArrayError, ElementType};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use indexmap::IndexMap;
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    tensor::Tensor,
};

/// Everything that training changes, by name: parameters, optimiser state, moving averages. Each is
/// row-major in its storage order.
pub type State = IndexMap<String, Buffer>;

/// A cache line, so that a buffer of them starts on one.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// An array with named axes: row-major in the order in which the shape lists them, starting at a
/// multiple of 64 bytes. At least 256 bytes past its end are zeros, for vector accesses of a last panel.
#[derive(Clone)]
pub struct Buffer {
    ty: Type,
    lines: Vec<Line>,
    stamp: u64,
}

/// A number that no buffer has had.
fn next_stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An array cannot be what a program needs.
#[derive(Debug, Error)]
pub enum BufferError {
    /// Its sizes differ.
    #[error("it is {}, where {expected} is needed", sizes(found))]
    Shape {
        /// The sizes found.
        found: Vec<usize>,
        /// The axes needed.
        expected: Shape,
    },
    /// Its elements cannot be converted.
    #[error(transparent)]
    Element(#[from] ArrayError),
}

/// Sizes as people write them: `[8, 3]`.
fn sizes(sizes: &[usize]) -> String {
    format!("{sizes:?}")
}

impl Buffer {
    /// An array of zeros (of `false`).
    pub fn zeros(ty: Type) -> Buffer {
        let bytes = ty.shape.elements() * ty.dtype.bytes();
        // Memory that the system hands out is zero already.
        Buffer { ty, lines: bytemuck::zeroed_vec(bytes.div_ceil(64) + 4), stamp: next_stamp() }
    }

    /// The memory, for a program to write its result to: at least 256 bytes past the end may be written, too.
    pub(crate) fn pointer(&mut self) -> *mut u8 {
        self.stamp = next_stamp();
        self.lines.as_mut_ptr().cast()
    }

    /// A number that changes whenever the elements may have: buffers with one stamp have the same elements.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Makes what is past the end zeros again.
    pub(crate) fn clear_room(&mut self) {
        let end = self.len() * self.ty.dtype.bytes();
        bytemuck::cast_slice_mut(&mut self.lines)[end..].fill(0_u8);
    }

    /// An `f32` array of these elements.
    ///
    /// # Panics
    /// If their number is not the shape's.
    pub fn from_f32(shape: Shape, elements: &[f32]) -> Buffer {
        let mut buffer = Buffer::zeros(Type::new(DType::F32, shape));
        buffer.as_f32_mut().copy_from_slice(elements);
        buffer
    }

    /// An `i32` array of these elements.
    ///
    /// # Panics
    /// If their number is not the shape's.
    pub fn from_i32(shape: Shape, elements: &[i32]) -> Buffer {
        let mut buffer = Buffer::zeros(Type::new(DType::I32, shape));
        buffer.as_i32_mut().copy_from_slice(elements);
        buffer
    }

    /// A scalar, rounded to the element type.
    pub fn scalar(dtype: DType, value: f64) -> Buffer {
        Buffer::filled(Type::new(dtype, Shape::SCALAR), value)
    }

    /// An array of one value, rounded to the element type.
    pub fn filled(ty: Type, value: f64) -> Buffer {
        let elements = ty.shape.elements();
        Buffer::from_values(ty, std::iter::repeat_n(value, elements))
    }

    /// The element type and the axes in memory order.
    pub fn ty(&self) -> &Type {
        &self.ty
    }

    /// The axes in memory order.
    pub fn shape(&self) -> &Shape {
        &self.ty.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.ty.shape.elements()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements' bytes, in the machine's order.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len() * self.ty.dtype.bytes()]
    }

    /// The elements' bytes, in the machine's order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.stamp = next_stamp();
        let bytes = self.len() * self.ty.dtype.bytes();
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..bytes]
    }

    fn elements<T: Pod>(&self, dtype: DType) -> &[T] {
        assert_eq!(self.ty.dtype, dtype, "the elements are {}", self.ty.dtype);
        bytemuck::cast_slice(self.bytes())
    }

    fn elements_mut<T: Pod>(&mut self, dtype: DType) -> &mut [T] {
        assert_eq!(self.ty.dtype, dtype, "the elements are {}", self.ty.dtype);
        bytemuck::cast_slice_mut(self.bytes_mut())
    }

    /// The elements of an `f32` array.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn as_f32(&self) -> &[f32] {
        self.elements(DType::F32)
    }

    /// The elements of an `f32` array.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        self.elements_mut(DType::F32)
    }

    /// The elements of an `i32` array.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn as_i32(&self) -> &[i32] {
        self.elements(DType::I32)
    }

    /// The elements of an `i32` array.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn as_i32_mut(&mut self) -> &mut [i32] {
        self.elements_mut(DType::I32)
    }

    /// The elements, widened; truth values are 0 and 1.
    pub fn values(&self) -> Vec<f64> {
        match self.ty.dtype {
            DType::F64 => self.elements::<f64>(DType::F64).to_vec(),
            DType::F32 => self.as_f32().iter().map(|x| f64::from(*x)).collect(),
            DType::F16 => self.elements::<u16>(DType::F16).iter().map(|x| f16::from_bits(*x).to_f64()).collect(),
            DType::BF16 => self.elements::<u16>(DType::BF16).iter().map(|x| bf16::from_bits(*x).to_f64()).collect(),
            DType::I32 => self.as_i32().iter().map(|x| f64::from(*x)).collect(),
            DType::Bool => self.bytes().iter().map(|x| f64::from(*x)).collect(),
        }
    }

    /// An array from widened elements, each rounded to the element type.
    ///
    /// # Panics
    /// If there are fewer than the shape has.
    fn from_values(ty: Type, values: impl IntoIterator<Item = f64>) -> Buffer {
        let dtype = ty.dtype;
        let mut buffer = Buffer::zeros(ty);
        let mut values = values.into_iter();
        for element in buffer.bytes_mut().chunks_exact_mut(dtype.bytes()) {
            let value = values.next().unwrap_or_else(|| panic!("there are fewer values than elements"));
            let value = dtype.round(value);
            match dtype {
                DType::F64 => element.copy_from_slice(&value.to_ne_bytes()),
                DType::F32 => element.copy_from_slice(&(value as f32).to_ne_bytes()),
                DType::F16 => element.copy_from_slice(&f16::from_f64(value).to_ne_bytes()),
                DType::BF16 => element.copy_from_slice(&bf16::from_f64(value).to_ne_bytes()),
                DType::I32 => element.copy_from_slice(&(value as i32).to_ne_bytes()),
                DType::Bool => element[0] = u8::from(value != 0.0),
            }
        }
        buffer
    }

    /// The value of a scalar, or of an array of one element.
    ///
    /// # Panics
    /// If there is another number of elements.
    pub fn value(&self) -> f64 {
        assert_eq!(self.len(), 1, "{} is no single value", self.ty);
        self.values()[0]
    }

    /// How many elements are infinite or not a number.
    pub fn non_finite(&self) -> usize {
        match self.ty.dtype {
            DType::F32 => self.as_f32().iter().filter(|x| !x.is_finite()).count(),
            DType::I32 | DType::Bool => 0,
            _ => self.values().iter().filter(|x| !x.is_finite()).count(),
        }
    }

    /// The same elements for the reference evaluator.
    pub fn to_tensor(&self) -> Tensor {
        Tensor { ty: self.ty.clone(), data: self.values() }
    }

    /// The elements of a tensor in the order in which `order` lists its axes.
    ///
    /// # Panics
    /// If `order` has other axes.
    pub fn from_tensor(tensor: &Tensor, order: &Shape) -> Buffer {
        let ordered = tensor.reordered(order);
        Buffer::from_values(ordered.ty, ordered.data)
    }

    /// An array of a file, whose axes are in the order in which `ty` lists them. Elements are converted;
    /// axes of size 1 at the outside may be missing or too many, for some frameworks write scalars as `[1]`.
    ///
    /// # Errors
    /// Its sizes are others, or an element cannot be converted.
    pub fn from_array(array: &Array, ty: &Type) -> Result<Buffer, BufferError> {
        let expected: Vec<usize> = ty.shape.iter().map(|(_, size)| size).collect();
        if without_outer_ones(array.shape()) != without_outer_ones(&expected) {
            return Err(BufferError::Shape { found: array.shape().to_vec(), expected: ty.shape.clone() });
        }
        let array = array.convert(element_type(ty.dtype))?;
        let mut buffer = Buffer::zeros(ty.clone());
        buffer.bytes_mut().copy_from_slice(array.bytes());
        if cfg!(target_endian = "big") {
            buffer.bytes_mut().chunks_exact_mut(ty.dtype.bytes()).for_each(<[u8]>::reverse);
        }
        Ok(buffer)
    }

    /// The array for a file, with the axes in memory order.
    pub fn to_array(&self) -> Array {
        let mut bytes = self.bytes().to_vec();
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(self.ty.dtype.bytes()).for_each(<[u8]>::reverse);
        }
        let shape: Vec<usize> = self.shape().iter().map(|(_, size)| size).collect();
        Array::new(element_type(self.ty.dtype), shape, bytes).unwrap_or_else(|error| panic!("{}: {error}", self.ty))
    }
}

fn without_outer_ones(sizes: &[usize]) -> &[usize] {
    &sizes[sizes.iter().take_while(|size| **size == 1).count()..]
}

/// The element type in files.
pub fn element_type(dtype: DType) -> ElementType {
    match dtype {
        DType::F64 => ElementType::F64,
        DType::F32 => ElementType::F32,
        DType::F16 => ElementType::F16,
        DType::BF16 => ElementType::BF16,
        DType::I32 => ElementType::I32,
        DType::Bool => ElementType::Bool,
    }
}

impl PartialEq for Buffer {
    /// Equal to the bit: the same axes in the same order, and the same bytes.
    fn eq(&self, other: &Buffer) -> bool {
        self.ty.dtype == other.ty.dtype && self.shape().iter().eq(other.shape().iter()) && self.bytes() == other.bytes()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let values = self.values();
        let shown = &values[..values.len().min(8)];
        write!(f, "{} {shown:?}{}", self.ty, if values.len() > shown.len() { "…" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::axis::Axis;

    fn shape(axes: &[(&str, usize)]) -> Shape {
        axes.iter().map(|(name, size)| (Axis::new(name), *size)).collect()
    }

    #[test]
    fn elements_start_on_a_cache_line() {
        for elements in [0, 1, 15, 16, 17] {
            let buffer = Buffer::zeros(Type::new(DType::F32, shape(&[("ray", elements)])));
            assert_eq!(buffer.as_f32().len(), elements);
            assert_eq!(buffer.bytes().as_ptr() as usize % 64, 0);
        }
    }

    #[test]
    fn every_element_type_goes_to_the_evaluator_and_back() {
        for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I32, DType::Bool] {
            let buffer =
                Buffer::from_values(Type::new(dtype, shape(&[("ray", 2), ("rgb", 3)])), [0., 1., 1., 0., 1., 0.]);
            assert_eq!(Buffer::from_tensor(&buffer.to_tensor(), buffer.shape()), buffer);
            assert_eq!(Buffer::from_array(&buffer.to_array(), buffer.ty()).unwrap(), buffer);
            let turned = Buffer::from_tensor(&buffer.to_tensor(), &shape(&[("rgb", 3), ("ray", 2)]));
            assert_eq!(turned.values(), [0., 0., 1., 1., 1., 0.]);
        }
    }

    #[test]
    fn scalars_of_files_may_have_an_axis() {
        let array = Array::from_slice([1], &[0.5f64]).unwrap();
        let buffer = Buffer::from_array(&array, &Type::new(DType::F32, Shape::SCALAR)).unwrap();
        assert_eq!(buffer.as_f32(), [0.5]);
        assert!(buffer.to_array().shape().is_empty());
    }

    #[test]
    fn other_sizes_are_refused_by_name() {
        let array = Array::from_slice([3, 2], &[0f32; 6]).unwrap();
        let error = Buffer::from_array(&array, &Type::new(DType::F32, shape(&[("ray", 2), ("rgb", 3)]))).unwrap_err();
        assert_eq!(error.to_string(), "it is [3, 2], where [ray=2, rgb=3] is needed");
    }
}
