//! Functions that compiled kernels call for what is neither a loop nor arithmetic.

use super::emitter::Emitter;
use crate::{graph::ScalarOp, plan::LANES, reference::elementary_function};
use cranelift_codegen::{
    ir::{
        AbiParam, InstBuilder, Signature, Value,
        types::{F64, I64},
    },
    isa::CallConv,
};

/// Orders each of the 32 columns of a panel, `source[i · source_stride + lane]` for i in 0..count: values, or their
/// positions.
pub(super) type SortPanel = unsafe extern "C" fn(*const f32, isize, *mut f32, isize, usize);

/// Emits a call of a function that lives as long as the process; all arguments are 64-bit words.
pub(super) fn call(e: &mut Emitter<'_>, function: usize, arguments: &[Value]) {
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.extend(arguments.iter().map(|_| AbiParam::new(I64)));
    let signature = e.b.import_signature(signature);
    let address = e.b.ins().iconst(I64, function as i64);
    e.b.ins().call_indirect(signature, address, arguments);
}

/// The functions that `kernels::math` computes in `f32`. In `f64` they are those of the reference evaluator, called lane
/// by lane: `f64` is for a few operations, or for checking, and there the definition is what is wanted.
pub(super) const ELEMENTARY: [ScalarOp; 17] = {
    use ScalarOp::*;
    [Rsqrt, Exp, Expm1, Log, Log1p, Sin, Cos, Tan, Asin, Acos, Atan, Tanh, Sigmoid, Softplus, Erf, Pow, Atan2]
};

/// The value of `ELEMENTARY[number]`; `y` is its second operand if it has one.
extern "C" fn elementary_value(number: u64, x: f64, y: f64) -> f64 {
    let op = ELEMENTARY[number as usize];
    elementary_function(op, &[x, y][..op.arity()])
}

/// Emits an elementary function of scalars.
pub(super) fn elementary(e: &mut Emitter<'_>, op: ScalarOp, operands: &[Value]) -> Value {
    let number = ELEMENTARY.iter().position(|other| *other == op);
    let number = number.unwrap_or_else(|| unreachable!("`{}` is not an elementary function", op.name()));
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.extend([I64, F64, F64].map(AbiParam::new));
    signature.returns.push(AbiParam::new(F64));
    let signature = e.b.import_signature(signature);
    let function: extern "C" fn(u64, f64, f64) -> f64 = elementary_value;
    let address = e.word(function as usize);
    let number = e.word(number);
    let (x, y) = (operands[0], operands[operands.len() - 1]);
    let call = e.b.ins().call_indirect(signature, address, &[number, x, y]);
    e.b.inst_results(call)[0]
}

/// Applies `order` to every column.
///
/// # Safety
/// For every i below `count`, 32 elements from `source + i · source_stride` must be readable and 32
/// from `target + i · target_stride` writable.
unsafe fn columns<T: Copy + Default, R: Copy + Default>(
    (source, source_stride): (*const T, isize),
    (target, target_stride): (*mut R, isize),
    count: usize,
    mut order: impl FnMut(&[T], &mut [R]),
) {
    let mut column = vec![T::default(); count];
    let mut result = vec![R::default(); count];
    for lane in 0..LANES {
        for (i, element) in column.iter_mut().enumerate() {
            // SAFETY: within the 32 elements that the caller vouches for.
            *element = unsafe { *source.offset(i as isize * source_stride).add(lane) };
        }
        order(&column, &mut result);
        for (i, element) in result.iter().enumerate() {
            // SAFETY: as above.
            unsafe { *target.offset(i as isize * target_stride).add(lane) = *element };
        }
    }
}

/// Floating-point numbers ascending, NaN after all of them; zeros of either sign are equal.
fn by_number<T: PartialOrd>(x: &T, y: &T) -> std::cmp::Ordering {
    let is_nan = |value: &T| value.partial_cmp(value).is_none();
    x.partial_cmp(y).unwrap_or_else(|| is_nan(x).cmp(&is_nan(y)))
}

/// Ascending values.
fn ascending<T: Copy + PartialOrd>(column: &[T], result: &mut [T]) {
    result.copy_from_slice(column);
    result.sort_by(by_number);
}

/// The positions of ascending values.
fn ascending_positions<T: Copy + PartialOrd>(column: &[T], result: &mut [i32]) {
    for (position, result) in result.iter_mut().enumerate() {
        *result = position as i32;
    }
    result.sort_by(|i, j| by_number(&column[*i as usize], &column[*j as usize]));
}

macro_rules! sorter {
    ($name:ident, $element:ty, $result:ty, $order:ident) => {
        /// Strides count elements of their types.
        ///
        /// # Safety
        /// See [`columns`].
        pub(super) unsafe extern "C" fn $name(
            source: *const f32,
            source_stride: isize,
            target: *mut f32,
            target_stride: isize,
            count: usize,
        ) {
            let (source, target) = (source.cast::<$element>(), target.cast::<$result>());
            // SAFETY: the caller's promise is the same.
            unsafe { columns((source, source_stride), (target, target_stride), count, $order) }
        }
    };
}

sorter!(sort_floats, f32, f32, ascending);
sorter!(sort_doubles, f64, f64, ascending);
sorter!(sort_integers, i32, i32, ascending);
sorter!(sort_float_positions, f32, i32, ascending_positions);
sorter!(sort_double_positions, f64, i32, ascending_positions);
sorter!(sort_integer_positions, i32, i32, ascending_positions);
