//! Lane-wise code in static single assignment, before it has registers.

use crate::random::Generator;
use iced_x86::Code;
use rustc_hash::FxHashMap;
use visage_kernels::math::Lanes;

/// A vector of sixteen lanes of four bytes: the number of the instruction that computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value(pub usize);

/// Where memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// So many bytes from the n-th pointer that the loops move.
    Pointer(usize, i32),
    /// The current index of the n-th loop.
    Index(usize),
}

/// An instruction on sixteen lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Instruction {
    /// The same four bytes in every lane.
    Constant(u32),
    /// Four bytes of memory in every lane.
    Broadcast(Place),
    /// Sixteen elements of memory.
    Load(Place),
    /// What the n-th carried value was before this iteration.
    Carried(usize),
    /// An operation on one vector, with an immediate byte if it has one.
    Unary(Code, Value, Option<u8>),
    /// An operation on two; whether they may change places.
    Binary(Code, Value, Value, bool),
    /// `a · b + c`, or `c - a · b` where it says so, rounded once.
    Fma(Value, Value, Value, bool),
    /// All ones where the comparison holds.
    Compare(Comparison),
    /// `yes` where the comparison holds, `no` elsewhere.
    Choose(Comparison, Value, Value),
    /// `yes` where the mask is set, `no` elsewhere.
    Select(Value, Value, Value),
    /// The groups of four lanes in another order: two bits for each.
    Groups(Value, u8),
    /// Writes sixteen elements.
    Store(Place, Value),
    /// Writes the element of the first lane.
    StoreFirst(Place, Value),
}

/// A comparison of two vectors: the predicate is the processor's, where 4 added to it is the opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Comparison {
    pub float: bool,
    pub predicate: u8,
    pub left: Value,
    pub right: Value,
}

/// Less, ordered.
pub(super) const LESS: u8 = 0x11;
/// Less or equal, ordered.
pub(super) const LESS_EQUAL: u8 = 0x12;
/// Equal, ordered.
pub(super) const EQUAL: u8 = 0x00;
/// Unequal or unordered.
pub(super) const NOT_EQUAL: u8 = 0x04;

impl Instruction {
    /// The operands.
    pub fn operands(&self) -> Vec<Value> {
        match *self {
            Instruction::Constant(_) | Instruction::Broadcast(_) | Instruction::Load(_) | Instruction::Carried(_) => {
                Vec::new()
            }
            Instruction::Unary(_, a, _)
            | Instruction::Groups(a, _)
            | Instruction::Store(_, a)
            | Instruction::StoreFirst(_, a) => vec![a],
            Instruction::Binary(_, a, b, _) => vec![a, b],
            Instruction::Fma(a, b, c, _) | Instruction::Select(a, b, c) => vec![a, b, c],
            Instruction::Compare(comparison) => vec![comparison.left, comparison.right],
            Instruction::Choose(comparison, yes, no) => vec![comparison.left, comparison.right, yes, no],
        }
    }

    fn touches_memory(&self) -> bool {
        matches!(self, Instruction::Broadcast(_) | Instruction::Load(_)) || self.writes()
    }

    /// Whether it is there for what it writes.
    pub fn writes(&self) -> bool {
        matches!(self, Instruction::Store(..) | Instruction::StoreFirst(..))
    }
}

/// Straight-line code: the body of a nest of loops.
#[derive(Default)]
pub(super) struct Tape {
    /// The instructions, operands first.
    pub instructions: Vec<Instruction>,
    /// The next values of what is carried from iteration to iteration.
    pub carried: Vec<Value>,
    known: FxHashMap<Instruction, Value>,
}

impl Tape {
    /// Appends an instruction, or finds the same one without memory.
    pub fn push(&mut self, instruction: Instruction) -> Value {
        if let Some(value) = self.known.get(&instruction) {
            return *value;
        }
        let value = Value(self.instructions.len());
        self.instructions.push(instruction);
        if !instruction.touches_memory() {
            self.known.insert(instruction, value);
        }
        value
    }

    pub fn unary(&mut self, code: Code, a: Value) -> Value {
        self.push(Instruction::Unary(code, a, None))
    }

    pub fn immediate(&mut self, code: Code, a: Value, by: u8) -> Value {
        self.push(Instruction::Unary(code, a, Some(by)))
    }

    pub fn binary(&mut self, code: Code, a: Value, b: Value) -> Value {
        self.push(Instruction::Binary(code, a, b, false))
    }

    pub fn commuting(&mut self, code: Code, a: Value, b: Value) -> Value {
        self.push(Instruction::Binary(code, a, b, true))
    }

    pub fn compare(&mut self, float: bool, predicate: u8, left: Value, right: Value) -> Value {
        let predicate = if float { predicate } else { predicate & 7 };
        self.push(Instruction::Compare(Comparison { float, predicate, left, right }))
    }

    /// What a value is the negative of.
    fn negated(&self, value: Value) -> Option<Value> {
        let Instruction::Binary(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, a, b, _) = self.instructions[value.0] else {
            return None;
        };
        let is_sign = |value: Value| self.instructions[value.0] == Instruction::Constant(1 << 31);
        if is_sign(b) { Some(a) } else { is_sign(a).then_some(b) }
    }

    /// Truncated towards zero, saturated; 0 for NaN.
    pub fn float_to_integer(&mut self, a: Value) -> Value {
        let truncated = self.unary(Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae, a);
        // The processor answers the smallest integer for all that it cannot represent.
        let (limit, largest, zero) = (self.constant(2_147_483_648.0), self.integer(i32::MAX), self.integer(0));
        let above = self.le(limit, a);
        let saturated = self.select(above, largest, truncated);
        let number = self.eq(a, a);
        self.select(number, saturated, zero)
    }

    /// `y` where it is larger (or smaller) than `x`, else `x`.
    pub fn extreme(&mut self, larger: bool, x: Value, y: Value) -> Value {
        let wins = if larger { self.lt(x, y) } else { self.lt(y, x) };
        self.select(wins, y, x)
    }

    /// Rounded in one of the processor's directions, without exceptions: 0 nearest, 1 down, 2 up.
    pub fn rounded(&mut self, a: Value, direction: u8) -> Value {
        self.immediate(Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, a, 8 | direction)
    }
}

impl Generator for Tape {
    fn mul_i(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn shr(&mut self, a: Value, by: u32) -> Value {
        self.immediate(Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, a, by as u8)
    }

    fn to_float(&mut self, a: Value) -> Value {
        self.unary(Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, a)
    }
}

impl Lanes for Tape {
    type F = Value;
    type I = Value;
    type M = Value;

    fn constant(&mut self, value: f32) -> Value {
        self.push(Instruction::Constant(value.to_bits()))
    }

    fn integer(&mut self, value: i32) -> Value {
        self.push(Instruction::Constant(value as u32))
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er, a, b)
    }

    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.binary(Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er, a, b)
    }

    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er, a, b)
    }

    fn div(&mut self, a: Value, b: Value) -> Value {
        self.binary(Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er, a, b)
    }

    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        match (self.negated(a), self.negated(b)) {
            (Some(a), _) => self.push(Instruction::Fma(a, b, c, true)),
            (None, Some(b)) => self.push(Instruction::Fma(a, b, c, true)),
            (None, None) => self.push(Instruction::Fma(a, b, c, false)),
        }
    }

    fn neg(&mut self, a: Value) -> Value {
        let sign = self.integer(i32::MIN);
        self.xor_i(a, sign)
    }

    fn abs(&mut self, a: Value) -> Value {
        let rest = self.integer(i32::MAX);
        self.and_i(a, rest)
    }

    fn sqrt(&mut self, a: Value) -> Value {
        self.unary(Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, a)
    }

    fn nearest(&mut self, a: Value) -> Value {
        self.rounded(a, 0)
    }

    fn lt(&mut self, a: Value, b: Value) -> Value {
        self.compare(true, LESS, a, b)
    }

    fn le(&mut self, a: Value, b: Value) -> Value {
        self.compare(true, LESS_EQUAL, a, b)
    }

    fn eq(&mut self, a: Value, b: Value) -> Value {
        self.compare(true, EQUAL, a, b)
    }

    fn and(&mut self, a: Value, b: Value) -> Value {
        self.and_i(a, b)
    }

    fn or(&mut self, a: Value, b: Value) -> Value {
        self.or_i(a, b)
    }

    fn not(&mut self, a: Value) -> Value {
        let ones = self.integer(-1);
        self.xor_i(a, ones)
    }

    fn select(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        let Instruction::Compare(comparison) = self.instructions[condition.0] else {
            return self.push(Instruction::Select(condition, yes, no));
        };
        // The processor's extremes answer their second operand of unordered or equal ones: these selections.
        if comparison.float && comparison.predicate == LESS {
            if (comparison.left, comparison.right) == (yes, no) {
                return self.binary(Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae, yes, no);
            }
            if (comparison.right, comparison.left) == (yes, no) {
                return self.binary(Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae, yes, no);
            }
        }
        self.push(Instruction::Choose(comparison, yes, no))
    }

    fn bits(&mut self, a: Value) -> Value {
        a
    }

    fn float(&mut self, a: Value) -> Value {
        a
    }

    fn add_i(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn sub_i(&mut self, a: Value, b: Value) -> Value {
        self.binary(Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn and_i(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn or_i(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn xor_i(&mut self, a: Value, b: Value) -> Value {
        self.commuting(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, a, b)
    }

    fn shl(&mut self, a: Value, by: u32) -> Value {
        self.immediate(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, a, by as u8)
    }

    fn sar(&mut self, a: Value, by: u32) -> Value {
        self.immediate(Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8, a, by as u8)
    }
}
