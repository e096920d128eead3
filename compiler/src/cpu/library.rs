//! Functions that compiled kernels call for what is neither a loop nor arithmetic.

use super::emitter::Emitter;
use crate::{elementary::ELEMENTARY, graph::ScalarOp, plan::LANES, reference::elementary_function};
use cranelift_codegen::{
    ir::{
        AbiParam, InstBuilder, Signature, Type, Value,
        types::{F64, I64},
    },
    isa::CallConv,
};
use std::fmt;
use visage_kernels::{MicroKernels, PairKernels};

/// The kernels that generated code calls.
#[derive(Clone, Copy)]
pub(super) struct Library {
    pub micro: &'static MicroKernels,
    pub pairs: &'static PairKernels,
}

/// A function outside of a kernel's code that the code calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callee {
    /// The micro-kernel for a strip of so many outputs.
    Strip(usize),
    /// The wide code of the n-th stage of the same kernel.
    Stage(usize),
    PackStrips,
    TransposePanel,
    StackRows,
    LoadPanel,
    StorePanel,
    LoadWindow,
    SlideWindow,
    Winograd,
    CopyStreaming,
    Settle,
    PrefetchRows,
    PackPairs,
    RoundPanel,
    TurnPanel,
    MultiplyPairs,
    SortFloats,
    SortDoubles,
    SortIntegers,
    SortFloatPositions,
    SortDoublePositions,
    SortIntegerPositions,
    /// An elementary function of `f64`, by its number.
    Elementary,
}

/// Those that are not one of many, with their names.
const NAMES: [(Callee, &str); 22] = [
    (Callee::PackStrips, "pack_strips"),
    (Callee::TransposePanel, "transpose_panel"),
    (Callee::StackRows, "stack_rows"),
    (Callee::LoadPanel, "load_panel"),
    (Callee::StorePanel, "store_panel"),
    (Callee::LoadWindow, "load_window"),
    (Callee::SlideWindow, "slide_window"),
    (Callee::Winograd, "winograd"),
    (Callee::CopyStreaming, "copy_streaming"),
    (Callee::Settle, "settle"),
    (Callee::PrefetchRows, "prefetch_rows"),
    (Callee::PackPairs, "pack_pairs"),
    (Callee::RoundPanel, "round_panel"),
    (Callee::TurnPanel, "turn_panel"),
    (Callee::MultiplyPairs, "multiply_pairs"),
    (Callee::SortFloats, "sort_floats"),
    (Callee::SortDoubles, "sort_doubles"),
    (Callee::SortIntegers, "sort_integers"),
    (Callee::SortFloatPositions, "sort_float_positions"),
    (Callee::SortDoublePositions, "sort_double_positions"),
    (Callee::SortIntegerPositions, "sort_integer_positions"),
    (Callee::Elementary, "elementary"),
];

impl Callee {
    /// Everything that is there for kernels to call, but for their own stages.
    pub fn all(library: Library) -> impl Iterator<Item = Callee> {
        NAMES.into_iter().map(|(callee, _)| callee).chain((1..=library.micro.max_strip).map(Callee::Strip))
    }

    /// The function called so.
    pub fn named(name: &str) -> Option<Callee> {
        let number = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
        let listed = NAMES.iter().find(|(_, other)| *other == name).map(|(callee, _)| *callee);
        listed.or_else(|| number("strip_").map(Callee::Strip)).or_else(|| number("stage_").map(Callee::Stage))
    }

    /// Where it is in this process; a stage is part of its kernel, and nowhere before that is.
    pub fn address(self, Library { micro, pairs }: Library) -> Option<*const u8> {
        type Elementary = extern "C" fn(u64, f64, f64) -> f64;
        Some(match self {
            Callee::Stage(_) => return None,
            Callee::Strip(height) => *micro.strips.get(height.checked_sub(1)?)? as *const u8,
            Callee::PackStrips => micro.pack_strips as *const u8,
            Callee::TransposePanel => micro.transpose_panel as *const u8,
            Callee::StackRows => micro.stack_rows as *const u8,
            Callee::LoadPanel => micro.load_panel as *const u8,
            Callee::StorePanel => micro.store_panel as *const u8,
            Callee::LoadWindow => micro.load_window as *const u8,
            Callee::SlideWindow => micro.slide_window as *const u8,
            Callee::Winograd => micro.winograd as *const u8,
            Callee::CopyStreaming => micro.copy_streaming as *const u8,
            Callee::Settle => micro.settle as *const u8,
            Callee::PrefetchRows => micro.prefetch_rows as *const u8,
            Callee::PackPairs => pairs.pack as *const u8,
            Callee::RoundPanel => pairs.round as *const u8,
            Callee::TurnPanel => pairs.turn as *const u8,
            Callee::MultiplyPairs => pairs.multiply as *const u8,
            Callee::SortFloats => sort_floats as SortPanel as *const u8,
            Callee::SortDoubles => sort_doubles as SortPanel as *const u8,
            Callee::SortIntegers => sort_integers as SortPanel as *const u8,
            Callee::SortFloatPositions => sort_float_positions as SortPanel as *const u8,
            Callee::SortDoublePositions => sort_double_positions as SortPanel as *const u8,
            Callee::SortIntegerPositions => sort_integer_positions as SortPanel as *const u8,
            Callee::Elementary => elementary_value as Elementary as *const u8,
        })
    }
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Callee::Strip(height) => write!(f, "strip_{height}"),
            Callee::Stage(number) => write!(f, "stage_{number}"),
            other => f.write_str(NAMES.iter().find(|(callee, _)| callee == other).map_or("", |(_, name)| name)),
        }
    }
}

/// Orders each of the 32 columns of a panel, `source[i · source_stride + lane]` for i in 0..count: values, or their
/// positions.
type SortPanel = unsafe extern "C" fn(*const f32, isize, *mut f32, isize, usize);

fn signature(parameters: &[Type], results: &[Type]) -> Signature {
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.extend(parameters.iter().map(|ty| AbiParam::new(*ty)));
    signature.returns.extend(results.iter().map(|ty| AbiParam::new(*ty)));
    signature
}

/// Emits a call; all arguments are 64-bit words.
pub(super) fn call(e: &mut Emitter<'_>, callee: Callee, arguments: &[Value]) {
    let function = e.callee(callee, || signature(&vec![I64; arguments.len()], &[]));
    e.b.ins().call(function, arguments);
}

/// The value of `ELEMENTARY[number]`; `y` is its second operand if it has one.
extern "C" fn elementary_value(number: u64, x: f64, y: f64) -> f64 {
    let op = ELEMENTARY[number as usize];
    elementary_function(op, &[x, y][..op.arity()])
}

/// Emits an elementary function of scalars.
pub(super) fn elementary(e: &mut Emitter<'_>, op: ScalarOp, operands: &[Value]) -> Value {
    let number = ELEMENTARY.iter().position(|other| *other == op);
    let number = number.unwrap_or_else(|| unreachable!("`{}` is not an elementary function", op.name()));
    let function = e.callee(Callee::Elementary, || signature(&[I64, F64, F64], &[F64]));
    let number = e.word(number);
    let (x, y) = (operands[0], operands[operands.len() - 1]);
    let call = e.b.ins().call(function, &[number, x, y]);
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
        unsafe extern "C" fn $name(
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

#[cfg(test)]
mod tests {
    use super::*;
    use visage_kernels::{Isa, Unit, micro_kernels, pair_kernels};

    #[test]
    fn a_name_means_the_function_that_is_called_so() {
        for isa in Isa::available() {
            let micro = micro_kernels(isa);
            let library = Library { micro, pairs: pair_kernels(Unit::Portable) };
            for callee in Callee::all(library) {
                assert_eq!(Callee::named(&callee.to_string()), Some(callee));
                assert!(callee.address(library).is_some(), "{callee}");
            }
            assert_eq!(Callee::Strip(0).address(library), None);
            assert_eq!(Callee::Strip(micro.max_strip + 1).address(library), None);
        }
        assert_eq!(Callee::named("stage_3"), Some(Callee::Stage(3)));
        for unknown in ["", "strip_", "strip_x", "stage", "settle "] {
            assert_eq!(Callee::named(unknown), None, "{unknown:?}");
        }
    }
}
