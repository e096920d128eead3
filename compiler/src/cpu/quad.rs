//! Four lanes of one element type.
//!
//! Four-byte elements fill one vector of Cranelift's width; `f64` takes two, of two lanes each. Truth values
//! are four bytes whatever they were compared from.

use super::{
    emitter::{Emitter, WIDTH, flags},
    scalar::{cast_bits, select, shuffled, vector},
};
use crate::{
    graph::{Combine, DType},
    plan::{pattern, words},
};
use cranelift_codegen::ir::{
    InstBuilder, Type, Value,
    types::{F32, F64, I32, I32X4, I64, I64X2},
};
use cranelift_frontend::{FunctionBuilder, Variable};

/// A value of four lanes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quad {
    /// Four elements of four bytes.
    Narrow(Value),
    /// Twice two of eight.
    Wide([Value; 2]),
}

impl Quad {
    /// The one vector of a four-byte type.
    pub fn narrow(self) -> Value {
        match self {
            Quad::Narrow(value) => value,
            Quad::Wide(_) => unreachable!("an f64 where four bytes are expected"),
        }
    }

    /// The two vectors of an `f64`.
    pub fn wide(self) -> [Value; 2] {
        match self {
            Quad::Wide(halves) => halves,
            Quad::Narrow(_) => unreachable!("four bytes where an f64 is expected"),
        }
    }

    /// A function of each vector.
    pub fn map(self, mut function: impl FnMut(Value) -> Value) -> Quad {
        match self {
            Quad::Narrow(value) => Quad::Narrow(function(value)),
            Quad::Wide(halves) => Quad::Wide(halves.map(function)),
        }
    }

    /// A function of the vectors of two values of one type.
    pub fn zip(self, other: Quad, mut function: impl FnMut(Value, Value) -> Value) -> Quad {
        match (self, other) {
            (Quad::Narrow(x), Quad::Narrow(y)) => Quad::Narrow(function(x, y)),
            (Quad::Wide([x, y]), Quad::Wide([p, q])) => Quad::Wide([function(x, p), function(y, q)]),
            _ => unreachable!("two widths in one operation"),
        }
    }

    /// The element of one lane.
    pub fn lane(self, b: &mut FunctionBuilder<'_>, lane: u8) -> Value {
        match self {
            Quad::Narrow(value) => b.ins().extractlane(value, lane),
            Quad::Wide(halves) => b.ins().extractlane(halves[usize::from(lane / 2)], lane % 2),
        }
    }

    /// The value with another element in one lane.
    pub fn with_lane(self, b: &mut FunctionBuilder<'_>, lane: u8, element: Value) -> Quad {
        match self {
            Quad::Narrow(value) => Quad::Narrow(b.ins().insertlane(value, element, lane)),
            Quad::Wide(mut halves) => {
                let half = &mut halves[usize::from(lane / 2)];
                *half = b.ins().insertlane(*half, element, lane % 2);
                Quad::Wide(halves)
            }
        }
    }
}

/// The type of one element.
pub(super) fn scalar(dtype: DType) -> Type {
    match dtype {
        DType::F64 => F64,
        _ if dtype.is_float() => F32,
        _ => I32,
    }
}

/// One element in every lane.
pub(super) fn repeated(b: &mut FunctionBuilder<'_>, element: Value, dtype: DType) -> Quad {
    let value = b.ins().splat(vector(dtype), element);
    if dtype == DType::F64 { Quad::Wide([value; 2]) } else { Quad::Narrow(value) }
}

/// A number in every lane.
pub(super) fn constant(b: &mut FunctionBuilder<'_>, value: f64, dtype: DType) -> Quad {
    let value = super::scalar::splat(b, value, dtype);
    if dtype == DType::F64 { Quad::Wide([value; 2]) } else { Quad::Narrow(value) }
}

/// A mask of four bytes a lane as two of eight.
pub(super) fn widened(b: &mut FunctionBuilder<'_>, mask: Value) -> [Value; 2] {
    [b.ins().swiden_low(mask), b.ins().swiden_high(mask)]
}

/// The first four bytes of each of four lanes of eight.
pub(super) fn narrowed(b: &mut FunctionBuilder<'_>, halves: [Value; 2]) -> Value {
    let order: Vec<u8> = [0, 8, 16, 24].into_iter().flat_map(|start| start..start + 4).collect();
    let bytes = shuffled(b, halves[0], halves[1], &order);
    cast_bits(b, bytes, I32X4)
}

/// `then` where the mask (four bytes a lane) is set, `other` elsewhere.
pub(super) fn selected(b: &mut FunctionBuilder<'_>, mask: Value, then: Quad, other: Quad) -> Quad {
    match (then, other) {
        (Quad::Narrow(then), Quad::Narrow(other)) => Quad::Narrow(select(b, mask, then, other)),
        (Quad::Wide(then), Quad::Wide(other)) => {
            let masks = widened(b, mask);
            Quad::Wide([0, 1].map(|half| select(b, masks[half], then[half], other[half])))
        }
        _ => unreachable!("two widths in one selection"),
    }
}

/// Combines two values as a reduction does.
pub(super) fn combined(b: &mut FunctionBuilder<'_>, how: Combine, dtype: DType, x: Quad, y: Quad) -> Quad {
    x.zip(y, |x, y| super::scalar::combine(b, how, dtype.is_float(), x, y))
}

/// A value that loops change.
pub(super) struct Held(Vec<Variable>);

impl Held {
    /// Starts from a value.
    pub fn new(b: &mut FunctionBuilder<'_>, initial: Quad) -> Held {
        let vectors = match initial {
            Quad::Narrow(value) => vec![value],
            Quad::Wide(halves) => halves.to_vec(),
        };
        let held = vectors.into_iter().map(|value| {
            let variable = b.declare_var(b.func.dfg.value_type(value));
            b.def_var(variable, value);
            variable
        });
        Held(held.collect())
    }

    /// The value now.
    pub fn get(&self, b: &mut FunctionBuilder<'_>) -> Quad {
        match self.0[..] {
            [one] => Quad::Narrow(b.use_var(one)),
            _ => Quad::Wide([0, 1].map(|half| b.use_var(self.0[half]))),
        }
    }

    /// Takes another value.
    pub fn set(&self, b: &mut FunctionBuilder<'_>, value: Quad) {
        match value {
            Quad::Narrow(value) => b.def_var(self.0[0], value),
            Quad::Wide(halves) => halves.into_iter().zip(&self.0).for_each(|(half, held)| b.def_var(*held, half)),
        }
    }
}

impl Emitter<'_> {
    /// The address of the `group`-th four lanes from `offset` on, where lane 0 is at `base`: an address and a
    /// distance from it. `offset` counts bytes of four-byte lanes.
    fn lane_place(&mut self, dtype: DType, base: Value, offset: Value, group: usize) -> (Value, i32) {
        let words = words(dtype);
        let offset = if words == 1 { offset } else { self.b.ins().ishl_imm_u(offset, 1) };
        (self.b.ins().iadd(base, offset), (group * WIDTH * words * 4) as i32)
    }

    /// Reads four lanes: see [`lane_place`](Emitter::lane_place).
    pub fn load_lanes(&mut self, dtype: DType, base: Value, offset: Value, group: usize) -> Quad {
        let (address, at) = self.lane_place(dtype, base, offset, group);
        let ty = vector(dtype);
        let first = self.b.ins().load(ty, flags(), address, at);
        if dtype != DType::F64 {
            return Quad::Narrow(first);
        }
        Quad::Wide([first, self.b.ins().load(ty, flags(), address, at + 16)])
    }

    /// Writes four lanes.
    pub fn store_lanes(&mut self, dtype: DType, value: Quad, base: Value, offset: Value, group: usize) {
        let (address, at) = self.lane_place(dtype, base, offset, group);
        match value {
            Quad::Narrow(value) => {
                self.b.ins().store(flags(), value, address, at);
            }
            Quad::Wide(halves) => {
                for (half, value) in halves.into_iter().enumerate() {
                    self.b.ins().store(flags(), value, address, at + 16 * half as i32);
                }
            }
        }
    }

    /// A vector with a scalar in all of it, as it lies in memory.
    pub fn pattern(&mut self, value: f64, dtype: DType) -> Value {
        let bits = self.b.ins().iconst(I64, pattern(value, dtype) as i64);
        self.b.ins().splat(I64X2, bits)
    }
}
