//! Scalar operations on vectors of four lanes.

use super::{
    emitter::Emitter,
    lanes::ClifLanes,
    library,
    quad::{Quad, narrowed, selected, widened},
};
use crate::{
    elementary::{elementary, is_elementary},
    graph::{DType, ScalarOp},
};
use cranelift_codegen::ir::{
    InstBuilder, MemFlagsData, Type, Value,
    condcodes::{FloatCC, IntCC},
    types::{F32X4, F64X2, I8X16, I32, I32X4},
};
use cranelift_frontend::FunctionBuilder;

/// The vector type that holds elements of `dtype`, two of them for `f64`; truth values are 0 or all ones.
pub(super) fn vector(dtype: DType) -> Type {
    match dtype {
        DType::F64 => F64X2,
        _ if dtype.is_float() => F32X4,
        _ => I32X4,
    }
}

/// A number in every lane.
pub(super) fn splat(b: &mut FunctionBuilder<'_>, value: f64, dtype: DType) -> Value {
    if dtype == DType::F64 {
        let scalar = b.ins().f64const(value);
        b.ins().splat(F64X2, scalar)
    } else if dtype.is_float() {
        let scalar = b.ins().f32const(value as f32);
        b.ins().splat(F32X4, scalar)
    } else {
        let bits = if dtype == DType::Bool { -i64::from(value != 0.0) } else { value as i64 };
        let scalar = b.ins().iconst(I32, bits & 0xffff_ffff);
        b.ins().splat(I32X4, scalar)
    }
}

/// The same bits under another vector type.
pub(super) fn cast_bits(b: &mut FunctionBuilder<'_>, value: Value, to: Type) -> Value {
    if b.func.dfg.value_type(value) == to {
        return value;
    }
    b.ins().bitcast(to, MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little), value)
}

/// `then` where the mask is set, `other` elsewhere.
pub(super) fn select(b: &mut FunctionBuilder<'_>, mask: Value, then: Value, other: Value) -> Value {
    let ty = b.func.dfg.value_type(then);
    let mask = cast_bits(b, mask, ty);
    b.ins().bitselect(mask, then, other)
}

/// Combines two vectors as a reduction does.
pub(super) fn combine(
    b: &mut FunctionBuilder<'_>,
    combine: crate::graph::Combine,
    float: bool,
    x: Value,
    y: Value,
) -> Value {
    use crate::graph::Combine::*;
    match (combine, float) {
        (Sum, true) => b.ins().fadd(x, y),
        (Sum, false) => b.ins().iadd(x, y),
        (Prod, true) => b.ins().fmul(x, y),
        (Prod, false) => b.ins().imul(x, y),
        (Max, false) => b.ins().smax(x, y),
        (Min, false) => b.ins().smin(x, y),
        (Max | Min, true) => extreme(b, combine == Max, x, y),
    }
}

/// `y` where it is larger (or smaller) than `x`, else `x`: a NaN in `y` is passed over.
fn extreme(b: &mut FunctionBuilder<'_>, larger: bool, x: Value, y: Value) -> Value {
    let condition = if larger { FloatCC::GreaterThan } else { FloatCC::LessThan };
    let wins = b.ins().fcmp(condition, y, x);
    select(b, wins, y, x)
}

impl Emitter<'_> {
    /// Emits a scalar operation. `from` is the operands' type (of the second, for a select).
    pub fn scalar(&mut self, op: ScalarOp, from: DType, x: &[Quad]) -> Quad {
        if let ScalarOp::Select = op {
            return selected(&mut self.b, x[0].narrow(), x[1], x[2]);
        }
        if let ScalarOp::Cast(to) = op {
            return self.cast(from, to, x[0]);
        }
        if from == DType::F64 {
            return self.wide(op, x);
        }
        let x: Vec<Value> = x.iter().map(|x| x.narrow()).collect();
        let float = from.is_float();
        Quad::Narrow(match op {
            ScalarOp::And => self.b.ins().band(x[0], x[1]),
            ScalarOp::Or => self.b.ins().bor(x[0], x[1]),
            ScalarOp::Not => self.b.ins().bnot(x[0]),
            _ if op.is_predicate() => self.compare(op, float, x[0], x[1]),
            _ if is_elementary(op) => self.elementary(op, &x),
            _ if float => self.float(op, from, &x),
            _ => self.integer(op, &x),
        })
    }

    /// An operation on `f64`: vector by vector, or lane by lane where it is an elementary function.
    fn wide(&mut self, op: ScalarOp, x: &[Quad]) -> Quad {
        if op.is_predicate() {
            let (x, y) = (x[0].wide(), x[1].wide());
            let masks = [0, 1].map(|half| self.compare(op, true, x[half], y[half]));
            return Quad::Narrow(narrowed(&mut self.b, masks));
        }
        if is_elementary(op) {
            let mut result = x[0];
            for lane in 0..4 {
                let operands: Vec<Value> = x.iter().map(|x| x.lane(&mut self.b, lane)).collect();
                let value = library::elementary(self, op, &operands);
                result = result.with_lane(&mut self.b, lane, value);
            }
            return result;
        }
        Quad::Wide([0, 1].map(|half| {
            let operands: Vec<Value> = x.iter().map(|x| x.wide()[half]).collect();
            self.float(op, DType::F64, &operands)
        }))
    }

    fn compare(&mut self, op: ScalarOp, float: bool, x: Value, y: Value) -> Value {
        let (float_condition, integer_condition) = match op {
            ScalarOp::Less => (FloatCC::LessThan, IntCC::SignedLessThan),
            ScalarOp::LessEqual => (FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual),
            ScalarOp::Equal => (FloatCC::Equal, IntCC::Equal),
            _ => (FloatCC::NotEqual, IntCC::NotEqual),
        };
        if float { self.b.ins().fcmp(float_condition, x, y) } else { self.b.ins().icmp(integer_condition, x, y) }
    }

    fn cast(&mut self, from: DType, to: DType, x: Quad) -> Quad {
        match (from, to) {
            _ if from == to => x,
            (DType::F64, DType::Bool) => {
                let zero = super::quad::constant(&mut self.b, 0.0, DType::F64);
                self.wide(ScalarOp::NotEqual, &[x, zero])
            }
            (DType::F64, DType::I32) => {
                let mut result = super::quad::constant(&mut self.b, 0.0, DType::I32);
                for lane in 0..4 {
                    let element = x.lane(&mut self.b, lane);
                    let element = self.b.ins().fcvt_to_sint_sat(I32, element);
                    result = result.with_lane(&mut self.b, lane, element);
                }
                result
            }
            (DType::F64, _) => {
                let [low, high] = x.wide().map(|half| self.b.ins().fvdemote(half));
                // Two numbers, then two zeros, of each.
                let order: Vec<u8> = (0..8).chain(16..24).collect();
                let value = shuffled(&mut self.b, low, high, &order);
                Quad::Narrow(cast_bits(&mut self.b, value, F32X4))
            }
            (DType::I32, DType::F64) => {
                Quad::Wide(widened(&mut self.b, x.narrow()).map(|half| self.b.ins().fcvt_from_sint(F64X2, half)))
            }
            (_, DType::F64) => {
                let number = if from == DType::F32 { x } else { self.cast(from, DType::F32, x) }.narrow();
                let upper: Vec<u8> = (8..16).chain(0..8).collect();
                let swapped = shuffled(&mut self.b, number, number, &upper);
                let swapped = cast_bits(&mut self.b, swapped, F32X4);
                Quad::Wide([number, swapped].map(|half| self.b.ins().fvpromote_low(half)))
            }
            _ => Quad::Narrow(self.narrow_cast(from, to, x.narrow())),
        }
    }

    /// A conversion between types of four bytes.
    fn narrow_cast(&mut self, from: DType, to: DType, x: Value) -> Value {
        let b = &mut self.b;
        match (from, to) {
            (DType::Bool, DType::I32) => {
                let one = splat(b, 1.0, DType::I32);
                b.ins().band(x, one)
            }
            (DType::Bool, _) => {
                let one = splat(b, 1.0, DType::F32);
                let one = cast_bits(b, one, I32X4);
                let bits = b.ins().band(x, one);
                cast_bits(b, bits, F32X4)
            }
            (DType::I32, DType::Bool) => {
                let zero = splat(b, 0.0, DType::I32);
                b.ins().icmp(IntCC::NotEqual, x, zero)
            }
            (DType::I32, _) => b.ins().fcvt_from_sint(F32X4, x),
            (_, DType::Bool) => {
                let zero = splat(b, 0.0, DType::F32);
                b.ins().fcmp(FloatCC::NotEqual, x, zero)
            }
            (_, DType::I32) => b.ins().fcvt_to_sint_sat(I32X4, x),
            _ => x,
        }
    }

    fn integer(&mut self, op: ScalarOp, x: &[Value]) -> Value {
        let b = &mut self.b;
        match op {
            ScalarOp::Neg => b.ins().ineg(x[0]),
            ScalarOp::Abs => b.ins().iabs(x[0]),
            ScalarOp::Sign => {
                let (one, minus_one) = (splat(b, 1.0, DType::I32), splat(b, -1.0, DType::I32));
                let low = b.ins().smax(x[0], minus_one);
                b.ins().smin(low, one)
            }
            ScalarOp::Add => b.ins().iadd(x[0], x[1]),
            ScalarOp::Sub => b.ins().isub(x[0], x[1]),
            ScalarOp::Mul => b.ins().imul(x[0], x[1]),
            ScalarOp::Min => b.ins().smin(x[0], x[1]),
            ScalarOp::Max => b.ins().smax(x[0], x[1]),
            ScalarOp::Div | ScalarOp::Mod => {
                let mut result = splat(b, 0.0, DType::I32);
                for lane in 0..4 {
                    let (p, q) = (b.ins().extractlane(x[0], lane), b.ins().extractlane(x[1], lane));
                    let quotient = divide(b, op, p, q);
                    result = b.ins().insertlane(result, quotient, lane);
                }
                result
            }
            other => unreachable!("`{}` is not defined on integers", other.name()),
        }
    }

    /// An operation on one vector of floating-point numbers.
    fn float(&mut self, op: ScalarOp, dtype: DType, x: &[Value]) -> Value {
        let b = &mut self.b;
        match op {
            ScalarOp::Stop => x[0],
            ScalarOp::Neg => b.ins().fneg(x[0]),
            ScalarOp::Abs => b.ins().fabs(x[0]),
            ScalarOp::Sign => {
                let zero = splat(b, 0.0, dtype);
                let (one, minus_one) = (splat(b, 1.0, dtype), splat(b, -1.0, dtype));
                let positive = b.ins().fcmp(FloatCC::GreaterThan, x[0], zero);
                let negative = b.ins().fcmp(FloatCC::LessThan, x[0], zero);
                let rest = select(b, negative, minus_one, zero);
                select(b, positive, one, rest)
            }
            ScalarOp::Sqrt => b.ins().sqrt(x[0]),
            ScalarOp::Recip => {
                let one = splat(b, 1.0, dtype);
                b.ins().fdiv(one, x[0])
            }
            ScalarOp::Floor => b.ins().floor(x[0]),
            ScalarOp::Ceil => b.ins().ceil(x[0]),
            ScalarOp::Round => b.ins().nearest(x[0]),
            ScalarOp::Add => b.ins().fadd(x[0], x[1]),
            ScalarOp::Sub => b.ins().fsub(x[0], x[1]),
            ScalarOp::Mul => b.ins().fmul(x[0], x[1]),
            ScalarOp::Div => b.ins().fdiv(x[0], x[1]),
            ScalarOp::Min => extreme(b, false, x[0], x[1]),
            ScalarOp::Max => extreme(b, true, x[0], x[1]),
            ScalarOp::Mod => {
                let quotient = b.ins().fdiv(x[0], x[1]);
                let whole = b.ins().floor(quotient);
                let product = b.ins().fmul(x[1], whole);
                b.ins().fsub(x[0], product)
            }
            other => unreachable!("`{}` is an elementary function", other.name()),
        }
    }

    /// The elementary functions, by the algorithms that all targets share.
    fn elementary(&mut self, op: ScalarOp, x: &[Value]) -> Value {
        elementary(&mut ClifLanes { b: &mut self.b }, op, x)
    }
}

/// Bytes of two vectors in another order: 0 to 15 are those of the first.
pub(super) fn shuffled(b: &mut FunctionBuilder<'_>, x: Value, y: Value, order: &[u8]) -> Value {
    let (x, y) = (cast_bits(b, x, I8X16), cast_bits(b, y, I8X16));
    let immediate = b.func.dfg.immediates.push(order.into());
    b.ins().shuffle(x, y, immediate)
}

/// Integer quotient rounded down, or remainder with the sign of the divisor; 0 where the divisor is 0.
fn divide(b: &mut FunctionBuilder<'_>, op: ScalarOp, p: Value, q: Value) -> Value {
    // Widened to 64 bits, the one overflowing quotient is representable.
    let wide = cranelift_codegen::ir::types::I64;
    let (p, q) = (b.ins().sextend(wide, p), b.ins().sextend(wide, q));
    let zero = b.ins().iconst(wide, 0);
    let one = b.ins().iconst(wide, 1);
    let none = b.ins().icmp(IntCC::Equal, q, zero);
    let safe = b.ins().select(none, one, q);
    let rest = b.ins().srem(p, safe);
    let signs = b.ins().bxor(rest, safe);
    let differs = b.ins().icmp(IntCC::SignedLessThan, signs, zero);
    let nonzero = b.ins().icmp(IntCC::NotEqual, rest, zero);
    let adjust = b.ins().band(differs, nonzero);
    let result = if op == ScalarOp::Div {
        let quotient = b.ins().sdiv(p, safe);
        let below = b.ins().isub(quotient, one);
        b.ins().select(adjust, below, quotient)
    } else {
        let sum = b.ins().iadd(rest, safe);
        b.ins().select(adjust, sum, rest)
    };
    let result = b.ins().select(none, zero, result);
    b.ins().ireduce(I32, result)
}
