//! PTX as a machine for the elementary functions of [`visage_kernels::math`]: a thread is a lane.

use super::text::{Class, Operand, Register, Text};
use visage_kernels::math::Lanes;

/// Emits each instruction.
pub(super) struct PtxLanes<'a> {
    pub t: &'a mut Text,
}

impl PtxLanes<'_> {
    fn float_of(&mut self, opcode: &str, operands: &[Register]) -> Register {
        self.of(Class::Float32, opcode, operands)
    }

    fn integer_of(&mut self, opcode: &str, operands: &[Register]) -> Register {
        self.of(Class::Bits32, opcode, operands)
    }

    fn truth_of(&mut self, opcode: &str, operands: &[Register]) -> Register {
        self.of(Class::Predicate, opcode, operands)
    }

    fn of(&mut self, class: Class, opcode: &str, operands: &[Register]) -> Register {
        let operands: Vec<Operand> = operands.iter().map(|register| Operand::from(*register)).collect();
        self.t.value(class, opcode, &operands)
    }

    fn shifted(&mut self, opcode: &str, a: Register, by: u32) -> Register {
        self.t.value(Class::Bits32, opcode, &[a.into(), i64::from(by).into()])
    }
}

// The roundings are spelt out: `ptxas` contracts a product and a sum that do not say how they round.
impl Lanes for PtxLanes<'_> {
    type F = Register;
    type I = Register;
    type M = Register;

    fn constant(&mut self, value: f32) -> Register {
        self.t.value(Class::Float32, "mov.f32", &[value.into()])
    }

    fn integer(&mut self, value: i32) -> Register {
        self.t.value(Class::Bits32, "mov.b32", &[i64::from(value).into()])
    }

    fn add(&mut self, a: Register, b: Register) -> Register {
        self.float_of("add.rn.f32", &[a, b])
    }

    fn sub(&mut self, a: Register, b: Register) -> Register {
        self.float_of("sub.rn.f32", &[a, b])
    }

    fn mul(&mut self, a: Register, b: Register) -> Register {
        self.float_of("mul.rn.f32", &[a, b])
    }

    fn div(&mut self, a: Register, b: Register) -> Register {
        self.float_of("div.rn.f32", &[a, b])
    }

    fn fma(&mut self, a: Register, b: Register, c: Register) -> Register {
        self.float_of("fma.rn.f32", &[a, b, c])
    }

    fn neg(&mut self, a: Register) -> Register {
        self.float_of("neg.f32", &[a])
    }

    fn abs(&mut self, a: Register) -> Register {
        self.float_of("abs.f32", &[a])
    }

    fn sqrt(&mut self, a: Register) -> Register {
        self.float_of("sqrt.rn.f32", &[a])
    }

    fn nearest(&mut self, a: Register) -> Register {
        self.float_of("cvt.rni.f32.f32", &[a])
    }

    fn lt(&mut self, a: Register, b: Register) -> Register {
        self.truth_of("setp.lt.f32", &[a, b])
    }

    fn le(&mut self, a: Register, b: Register) -> Register {
        self.truth_of("setp.le.f32", &[a, b])
    }

    fn eq(&mut self, a: Register, b: Register) -> Register {
        self.truth_of("setp.eq.f32", &[a, b])
    }

    fn and(&mut self, a: Register, b: Register) -> Register {
        self.truth_of("and.pred", &[a, b])
    }

    fn or(&mut self, a: Register, b: Register) -> Register {
        self.truth_of("or.pred", &[a, b])
    }

    fn not(&mut self, a: Register) -> Register {
        self.truth_of("not.pred", &[a])
    }

    fn select(&mut self, condition: Register, yes: Register, no: Register) -> Register {
        self.float_of("selp.f32", &[yes, no, condition])
    }

    fn bits(&mut self, a: Register) -> Register {
        self.integer_of("mov.b32", &[a])
    }

    fn float(&mut self, a: Register) -> Register {
        self.float_of("mov.b32", &[a])
    }

    fn add_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("add.s32", &[a, b])
    }

    fn sub_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("sub.s32", &[a, b])
    }

    fn and_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("and.b32", &[a, b])
    }

    fn or_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("or.b32", &[a, b])
    }

    fn xor_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("xor.b32", &[a, b])
    }

    fn shl(&mut self, a: Register, by: u32) -> Register {
        self.shifted("shl.b32", a, by)
    }

    fn sar(&mut self, a: Register, by: u32) -> Register {
        self.shifted("shr.s32", a, by)
    }
}
