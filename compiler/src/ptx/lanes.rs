//! PTX as a machine for the elementary functions of [`visage_kernels::math`]: a thread is a lane.

use super::text::{Class, Operand, Register, Text};
use crate::random::Generator;
use std::marker::PhantomData;
use visage_kernels::math::{Lanes, Precision};

/// A precision as instructions and registers know it.
pub(super) trait Format: Precision<Bits: Into<i64>> + Into<Operand> {
    /// The suffix of arithmetic.
    const SUFFIX: &'static str;
    /// The registers of numbers.
    const FLOAT: Class;
    /// The registers of their bits.
    const BITS: Class;
}

impl Format for f32 {
    const SUFFIX: &'static str = "f32";
    const FLOAT: Class = Class::Float32;
    const BITS: Class = Class::Bits32;
}

impl Format for f64 {
    const SUFFIX: &'static str = "f64";
    const FLOAT: Class = Class::Float64;
    const BITS: Class = Class::Bits64;
}

/// Emits each instruction, on numbers of one precision.
pub(super) struct PtxLanes<'a, N> {
    t: &'a mut Text,
    precision: PhantomData<N>,
}

impl<'a, N: Format> PtxLanes<'a, N> {
    /// Instructions at the end of a text.
    pub fn new(t: &'a mut Text) -> PtxLanes<'a, N> {
        PtxLanes { t, precision: PhantomData }
    }

    /// A number from the instruction of that name for its precision.
    fn float_of(&mut self, name: &str, operands: &[Register]) -> Register {
        self.of(N::FLOAT, &format!("{name}.{}", N::SUFFIX), operands)
    }

    /// An integer from the instruction of that name and kind of integers, `.s` or `.b`, for its width.
    fn integer_of(&mut self, name: &str, operands: &[Register]) -> Register {
        self.of(N::BITS, &format!("{name}{}", N::WIDTH), operands)
    }

    fn comparison(&mut self, name: &str, a: Register, b: Register) -> Register {
        self.truth_of(&format!("setp.{name}.{}", N::SUFFIX), &[a, b])
    }

    fn truth_of(&mut self, opcode: &str, operands: &[Register]) -> Register {
        self.of(Class::Predicate, opcode, operands)
    }

    fn of(&mut self, class: Class, opcode: &str, operands: &[Register]) -> Register {
        let operands: Vec<Operand> = operands.iter().map(|register| Operand::from(*register)).collect();
        self.t.value(class, opcode, &operands)
    }

    fn shifted(&mut self, name: &str, a: Register, by: u32) -> Register {
        self.t.value(N::BITS, &format!("{name}{}", N::WIDTH), &[a.into(), i64::from(by).into()])
    }
}

// The roundings are spelt out: `ptxas` contracts a product and a sum that do not say how they round.
impl<N: Format> Lanes<N> for PtxLanes<'_, N> {
    type F = Register;
    type I = Register;
    type M = Register;

    fn constant(&mut self, value: N) -> Register {
        self.t.variable(N::FLOAT, value.into())
    }

    fn integer(&mut self, value: N::Bits) -> Register {
        self.t.variable(N::BITS, Operand::Integer(value.into()))
    }

    fn add(&mut self, a: Register, b: Register) -> Register {
        self.float_of("add.rn", &[a, b])
    }

    fn sub(&mut self, a: Register, b: Register) -> Register {
        self.float_of("sub.rn", &[a, b])
    }

    fn mul(&mut self, a: Register, b: Register) -> Register {
        self.float_of("mul.rn", &[a, b])
    }

    fn div(&mut self, a: Register, b: Register) -> Register {
        self.float_of("div.rn", &[a, b])
    }

    fn fma(&mut self, a: Register, b: Register, c: Register) -> Register {
        self.float_of("fma.rn", &[a, b, c])
    }

    fn neg(&mut self, a: Register) -> Register {
        self.float_of("neg", &[a])
    }

    fn abs(&mut self, a: Register) -> Register {
        self.float_of("abs", &[a])
    }

    fn sqrt(&mut self, a: Register) -> Register {
        self.float_of("sqrt.rn", &[a])
    }

    fn nearest(&mut self, a: Register) -> Register {
        self.float_of(&format!("cvt.rni.{}", N::SUFFIX), &[a])
    }

    fn lt(&mut self, a: Register, b: Register) -> Register {
        self.comparison("lt", a, b)
    }

    fn le(&mut self, a: Register, b: Register) -> Register {
        self.comparison("le", a, b)
    }

    fn eq(&mut self, a: Register, b: Register) -> Register {
        self.comparison("eq", a, b)
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
        self.float_of("selp", &[yes, no, condition])
    }

    fn bits(&mut self, a: Register) -> Register {
        self.integer_of("mov.b", &[a])
    }

    fn float(&mut self, a: Register) -> Register {
        self.of(N::FLOAT, &format!("mov.b{}", N::WIDTH), &[a])
    }

    fn add_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("add.s", &[a, b])
    }

    fn sub_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("sub.s", &[a, b])
    }

    fn and_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("and.b", &[a, b])
    }

    fn or_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("or.b", &[a, b])
    }

    fn xor_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("xor.b", &[a, b])
    }

    fn shl(&mut self, a: Register, by: u32) -> Register {
        self.shifted("shl.b", a, by)
    }

    fn sar(&mut self, a: Register, by: u32) -> Register {
        self.shifted("shr.s", a, by)
    }
}

impl Generator for PtxLanes<'_, f32> {
    fn mul_i(&mut self, a: Register, b: Register) -> Register {
        self.integer_of("mul.lo.s", &[a, b])
    }

    fn shr(&mut self, a: Register, by: u32) -> Register {
        self.shifted("shr.u", a, by)
    }

    fn to_float(&mut self, a: Register) -> Register {
        self.of(Class::Float32, "cvt.rn.f32.u32", &[a])
    }
}
