//! Values between the layouts of files and of programs.

use super::ExecuteError;
use crate::buffer::Buffer;
use indexmap::IndexMap;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    plan::{self, Layout, words},
};

/// Widens truth values from a byte to four.
///
/// # Safety
/// `elements` bytes must be readable and four times as many writable.
pub(super) unsafe fn widen(from: *const u8, elements: usize, to: *mut u8) {
    // SAFETY: the caller's promise.
    let (from, to) = unsafe {
        (std::slice::from_raw_parts(from, elements), std::slice::from_raw_parts_mut(to.cast::<u32>(), elements))
    };
    for (to, from) in to.iter_mut().zip(from) {
        *to = if *from != 0 { u32::MAX } else { 0 };
    }
}

/// Reads a plain value with axes in memory order `shape` into a buffer, whatever the order of its axes.
///
/// # Safety
/// The value must be readable: as many words an element as its type takes.
pub(super) unsafe fn read(from: *const u8, shape: &Shape, buffer: &mut Buffer) {
    let Type { dtype, shape: documented } = buffer.ty().clone();
    let bytes = buffer.bytes_mut();
    if dtype != DType::Bool && shape.iter().eq(documented.iter()) {
        // SAFETY: the caller's promise.
        return bytes.copy_from_slice(unsafe { std::slice::from_raw_parts(from, bytes.len()) });
    }
    let size = words(dtype) * 4;
    // SAFETY: the caller's promise.
    let stored = unsafe { std::slice::from_raw_parts(from, shape.elements() * size) };
    let mut put = |i: usize, element: &[u8]| match dtype {
        DType::Bool => bytes[i] = u8::from(element[0] != 0),
        _ => bytes[i * size..][..size].copy_from_slice(element),
    };
    let own = shape.strides();
    let axes: Vec<(usize, usize)> = documented
        .iter()
        .map(|(axis, size)| {
            let at = shape.axes().position(|a| a == axis).unwrap_or_else(|| unreachable!("the axes are the same"));
            (size, own[at])
        })
        .collect();
    let mut index = vec![0; axes.len()];
    let mut offset = 0;
    for i in 0..shape.elements() {
        put(i, &stored[offset * size..][..size]);
        for (k, (size, stride)) in axes.iter().enumerate().rev() {
            index[k] += 1;
            offset += stride;
            if index[k] < *size {
                break;
            }
            offset -= index[k] * stride;
            index[k] = 0;
        }
    }
}

/// A value that was given for a buffer, in the order of axes that the buffer has.
///
/// # Errors
/// There is none, or it is of another type.
pub(super) fn given<'a>(
    kind: &'static str,
    name: &str,
    buffer: &plan::Buffer,
    values: &'a IndexMap<String, Buffer>,
) -> Result<&'a Buffer, ExecuteError> {
    let shape = match &buffer.layout {
        Layout::Plain(shape) => shape.clone(),
        _ => Shape::SCALAR,
    };
    let ty = Type::new(buffer.dtype, shape);
    let Some(value) = values.get(name) else {
        return Err(ExecuteError::Missing { kind, name: name.to_owned(), ty });
    };
    let in_order = value.shape().iter().eq(ty.shape.iter()) && value.ty().dtype == ty.dtype;
    if !in_order {
        let found = value.ty().clone();
        return Err(ExecuteError::Mismatch { kind, name: name.to_owned(), found, expected: ty });
    }
    Ok(value)
}
