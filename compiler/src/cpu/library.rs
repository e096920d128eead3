//! Functions that compiled kernels call for what is neither a loop nor arithmetic.

use super::emitter::Emitter;
use crate::plan::LANES;
use cranelift_codegen::{
    ir::{AbiParam, InstBuilder, Signature, Value, types::I64},
    isa::CallConv,
};

/// Orders each of the 32 columns of a panel: `source[i · source_stride + lane]` for i in 0..count.
pub(super) type SortPanel = unsafe extern "C" fn(*const f32, usize, *mut f32, usize, usize);

/// Emits a call of a function that lives as long as the process; all arguments are 64-bit words.
pub(super) fn call(e: &mut Emitter<'_>, function: usize, arguments: &[Value]) {
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.extend(arguments.iter().map(|_| AbiParam::new(I64)));
    let signature = e.b.import_signature(signature);
    let address = e.b.ins().iconst(I64, function as i64);
    e.b.ins().call_indirect(signature, address, arguments);
}

/// Applies `order` to every column.
///
/// # Safety
/// For every i below `count`, 32 elements from `source + i · source_stride` must be readable and 32
/// from `target + i · target_stride` writable.
unsafe fn columns<T: Copy + Default>(
    (source, source_stride): (*const T, usize),
    (target, target_stride): (*mut T, usize),
    count: usize,
    mut order: impl FnMut(&[T], &mut [T]),
) {
    let mut column = vec![T::default(); count];
    let mut result = vec![T::default(); count];
    for lane in 0..LANES {
        for (i, element) in column.iter_mut().enumerate() {
            // SAFETY: within the 32 elements that the caller vouches for.
            *element = unsafe { *source.add(i * source_stride + lane) };
        }
        order(&column, &mut result);
        for (i, element) in result.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *target.add(i * target_stride + lane) = *element };
        }
    }
}

fn by_number(x: &f32, y: &f32) -> std::cmp::Ordering {
    // NaN after all numbers; zeros of either sign are equal.
    x.partial_cmp(y).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()))
}

macro_rules! sorter {
    ($(#[$doc:meta])* $name:ident, $element:ty, $order:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// See [`columns`].
        pub(super) unsafe extern "C" fn $name(
            source: *const f32,
            source_stride: usize,
            target: *mut f32,
            target_stride: usize,
            count: usize,
        ) {
            let (source, target) = (source.cast::<$element>(), target.cast::<$element>());
            // SAFETY: the caller's promise is the same.
            unsafe { columns((source, source_stride), (target, target_stride), count, $order) }
        }
    };
}

sorter!(
    /// Ascending values.
    sort_floats,
    f32,
    |column: &[f32], result: &mut [f32]| {
        result.copy_from_slice(column);
        result.sort_by(by_number);
    }
);
sorter!(
    /// Ascending values.
    sort_integers,
    i32,
    |column: &[i32], result: &mut [i32]| {
        result.copy_from_slice(column);
        result.sort();
    }
);
sorter!(
    /// The positions of ascending values.
    sort_float_positions,
    f32,
    |column: &[f32], result: &mut [f32]| {
        let mut positions: Vec<u32> = (0..column.len() as u32).collect();
        positions.sort_by(|i, j| by_number(&column[*i as usize], &column[*j as usize]));
        // Positions are integers: their bits travel in the panel's elements.
        for (result, position) in result.iter_mut().zip(positions) {
            *result = f32::from_bits(position);
        }
    }
);
sorter!(
    /// The positions of ascending values.
    sort_integer_positions,
    i32,
    |column: &[i32], result: &mut [i32]| {
        let mut positions: Vec<i32> = (0..column.len() as i32).collect();
        positions.sort_by_key(|i| column[*i as usize]);
        result.copy_from_slice(&positions);
    }
);
