//! Values between the layouts of files and of programs.

use crate::buffer::Buffer;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    plan::words,
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
