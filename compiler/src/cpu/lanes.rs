//! Cranelift as a machine for the elementary functions of [`visage_kernels::math`].

use super::scalar::{cast_bits, select, splat};
use crate::{graph::DType, random::Generator};
use cranelift_codegen::ir::{
    InstBuilder, Value,
    condcodes::FloatCC,
    types::{F32X4, I32X4},
};
use cranelift_frontend::FunctionBuilder;
use visage_kernels::math::Lanes;

/// Emits each instruction on vectors of four lanes.
pub(super) struct ClifLanes<'a, 'b> {
    pub b: &'a mut FunctionBuilder<'b>,
}

impl Lanes for ClifLanes<'_, '_> {
    type F = Value;
    type I = Value;
    type M = Value;

    fn constant(&mut self, value: f32) -> Value {
        let scalar = self.b.ins().f32const(value);
        self.b.ins().splat(F32X4, scalar)
    }

    fn integer(&mut self, value: i32) -> Value {
        splat(self.b, f64::from(value), DType::I32)
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fdiv(a, b)
    }

    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.b.ins().fma(a, b, c)
    }

    fn neg(&mut self, a: Value) -> Value {
        self.b.ins().fneg(a)
    }

    fn abs(&mut self, a: Value) -> Value {
        self.b.ins().fabs(a)
    }

    fn sqrt(&mut self, a: Value) -> Value {
        self.b.ins().sqrt(a)
    }

    fn nearest(&mut self, a: Value) -> Value {
        self.b.ins().nearest(a)
    }

    fn lt(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(FloatCC::LessThan, a, b)
    }

    fn le(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(FloatCC::LessThanOrEqual, a, b)
    }

    fn eq(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fcmp(FloatCC::Equal, a, b)
    }

    fn and(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().band(a, b)
    }

    fn or(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bor(a, b)
    }

    fn not(&mut self, a: Value) -> Value {
        self.b.ins().bnot(a)
    }

    fn select(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        select(self.b, condition, yes, no)
    }

    fn bits(&mut self, a: Value) -> Value {
        cast_bits(self.b, a, I32X4)
    }

    fn float(&mut self, a: Value) -> Value {
        cast_bits(self.b, a, F32X4)
    }

    fn add_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }

    fn sub_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().isub(a, b)
    }

    fn and_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().band(a, b)
    }

    fn or_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bor(a, b)
    }

    fn xor_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bxor(a, b)
    }

    fn shl(&mut self, a: Value, by: u32) -> Value {
        self.b.ins().ishl_imm_u(a, i64::from(by))
    }

    fn sar(&mut self, a: Value, by: u32) -> Value {
        self.b.ins().sshr_imm_u(a, i64::from(by))
    }
}

impl Generator for ClifLanes<'_, '_> {
    fn mul_i(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().imul(a, b)
    }

    fn shr(&mut self, a: Value, by: u32) -> Value {
        self.b.ins().ushr_imm_u(a, i64::from(by))
    }

    fn to_float(&mut self, a: Value) -> Value {
        self.b.ins().fcvt_from_sint(F32X4, a)
    }
}
