//! Scalar operations: a value is a register of its thread, a truth value a predicate.

use super::{
    lanes::PtxLanes,
    text::{Class, Operand, Register, Text},
};
use crate::{
    elementary::{elementary, is_elementary},
    graph::{Combine, DType, ScalarOp},
};

/// The class that holds an element.
pub(super) fn class(dtype: DType) -> Class {
    match dtype {
        DType::F64 => Class::Float64,
        DType::I32 => Class::Bits32,
        DType::Bool => Class::Predicate,
        DType::F32 | DType::F16 | DType::BF16 => Class::Float32,
    }
}

/// The suffix of arithmetic on an element.
fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "f64",
        DType::I32 => "s32",
        DType::Bool => "pred",
        DType::F32 | DType::F16 | DType::BF16 => "f32",
    }
}

/// A number as an operand of its type; truth values have none.
pub(super) fn immediate(value: f64, dtype: DType) -> Operand {
    match dtype {
        DType::F64 => Operand::Double(value),
        DType::I32 => Operand::Integer(i64::from(value as i32)),
        DType::Bool => Operand::Integer(i64::from(value != 0.0)),
        DType::F32 | DType::F16 | DType::BF16 => Operand::Float(value as f32),
    }
}

/// A number in a register.
pub(super) fn constant(t: &mut Text, value: f64, dtype: DType) -> Register {
    match dtype {
        DType::Bool => {
            let zero = t.value(Class::Bits32, "mov.b32", &[0_i64.into()]);
            let opcode = if value != 0.0 { "setp.eq.s32" } else { "setp.ne.s32" };
            t.value(Class::Predicate, opcode, &[zero.into(), 0_i64.into()])
        }
        _ => t.variable(class(dtype), immediate(value, dtype)),
    }
}

/// `then` where the condition holds, `other` elsewhere.
pub(super) fn select(t: &mut Text, condition: Register, then: Register, other: Register) -> Register {
    match then.class {
        Class::Predicate => {
            let yes = t.value(Class::Predicate, "and.pred", &[condition.into(), then.into()]);
            let not = t.value(Class::Predicate, "not.pred", &[condition.into()]);
            let no = t.value(Class::Predicate, "and.pred", &[not.into(), other.into()]);
            t.value(Class::Predicate, "or.pred", &[yes.into(), no.into()])
        }
        class => {
            let opcode = match class {
                Class::Float32 => "selp.f32",
                Class::Float64 => "selp.f64",
                Class::Bits64 => "selp.b64",
                _ => "selp.b32",
            };
            t.value(class, opcode, &[then.into(), other.into(), condition.into()])
        }
    }
}

/// Two values as a reduction combines them: of extremes, the second where it is beyond the first, which passes over a NaN.
pub(super) fn combine(t: &mut Text, how: Combine, dtype: DType, x: Register, y: Register) -> Register {
    let op = match how {
        Combine::Sum => ScalarOp::Add,
        Combine::Prod => ScalarOp::Mul,
        Combine::Max => ScalarOp::Max,
        Combine::Min => ScalarOp::Min,
    };
    arithmetic(t, op, dtype, &[x, y])
}

/// Emits a scalar operation. `from` is the operands' type (of the second, for a select).
pub(super) fn scalar(t: &mut Text, op: ScalarOp, from: DType, x: &[Register]) -> Register {
    match op {
        ScalarOp::Select => select(t, x[0], x[1], x[2]),
        ScalarOp::Cast(to) => cast(t, from, to, x[0]),
        _ if op.is_predicate() => predicate(t, op, from, x),
        _ if is_elementary(op) && from == DType::F64 => elementary(&mut PtxLanes::<f64>::new(t), op, x),
        _ if is_elementary(op) => elementary(&mut PtxLanes::<f32>::new(t), op, x),
        _ => arithmetic(t, op, from, x),
    }
}

/// Comparisons and logic.
fn predicate(t: &mut Text, op: ScalarOp, from: DType, x: &[Register]) -> Register {
    let of = |t: &mut Text, opcode: &str, operands: &[Register]| {
        let operands: Vec<Operand> = operands.iter().map(|x| Operand::from(*x)).collect();
        t.value(Class::Predicate, opcode, &operands)
    };
    if from != DType::Bool {
        let comparison = match op {
            ScalarOp::Less => "lt",
            ScalarOp::LessEqual => "le",
            ScalarOp::Equal => "eq",
            // Unordered: a NaN is unlike everything.
            _ if from.is_float() => "neu",
            _ => "ne",
        };
        return of(t, &format!("setp.{comparison}.{}", suffix(from)), x);
    }
    match op {
        ScalarOp::Not => of(t, "not.pred", x),
        ScalarOp::And => of(t, "and.pred", x),
        ScalarOp::Or => of(t, "or.pred", x),
        ScalarOp::NotEqual => of(t, "xor.pred", x),
        ScalarOp::Equal => {
            let differ = of(t, "xor.pred", x);
            of(t, "not.pred", &[differ])
        }
        // Truth is more than falsehood.
        _ => {
            let not = of(t, "not.pred", &[x[0]]);
            let opcode = if op == ScalarOp::Less { "and.pred" } else { "or.pred" };
            of(t, opcode, &[not, x[1]])
        }
    }
}

fn cast(t: &mut Text, from: DType, to: DType, x: Register) -> Register {
    let numeric = |dtype: DType| if dtype.is_float() && dtype != DType::F64 { DType::F32 } else { dtype };
    match (numeric(from), numeric(to)) {
        (from, to) if from == to => x,
        (DType::Bool, to) => {
            let opcode = if to == DType::I32 { "selp.b32".to_owned() } else { format!("selp.{}", suffix(to)) };
            t.value(class(to), &opcode, &[immediate(1.0, to), immediate(0.0, to), x.into()])
        }
        (from, DType::Bool) => {
            let comparison = if from.is_float() { "neu" } else { "ne" };
            let opcode = format!("setp.{comparison}.{}", suffix(from));
            t.value(Class::Predicate, &opcode, &[x.into(), immediate(0.0, from)])
        }
        (from, DType::I32) => {
            // The conversion saturates; what it makes of a NaN is not said.
            let ordered = t.value(Class::Predicate, &format!("setp.eq.{}", suffix(from)), &[x.into(), x.into()]);
            let whole = t.value(Class::Bits32, &format!("cvt.rzi.s32.{}", suffix(from)), &[x.into()]);
            t.value(Class::Bits32, "selp.b32", &[whole.into(), 0_i64.into(), ordered.into()])
        }
        (DType::I32, to) => t.value(class(to), &format!("cvt.rn.{}.s32", suffix(to)), &[x.into()]),
        (DType::F64, _) => t.value(Class::Float32, "cvt.rn.f32.f64", &[x.into()]),
        _ => t.value(Class::Float64, "cvt.f64.f32", &[x.into()]),
    }
}

/// Operations that the hardware has, or that are a few of its instructions.
fn arithmetic(t: &mut Text, op: ScalarOp, dtype: DType, x: &[Register]) -> Register {
    let (class, suffix, float) = (class(dtype), suffix(dtype), dtype.is_float());
    let plain = |t: &mut Text, name: &str| {
        let operands: Vec<Operand> = x.iter().map(|x| Operand::from(*x)).collect();
        t.value(class, &format!("{name}.{suffix}"), &operands)
    };
    match op {
        ScalarOp::Stop => x[0],
        ScalarOp::Neg => plain(t, "neg"),
        ScalarOp::Abs => plain(t, "abs"),
        ScalarOp::Sign => sign(t, dtype, x[0]),
        ScalarOp::Min | ScalarOp::Max => {
            let comparison = if op == ScalarOp::Max { "gt" } else { "lt" };
            let beyond = t.value(Class::Predicate, &format!("setp.{comparison}.{suffix}"), &[x[1].into(), x[0].into()]);
            select(t, beyond, x[1], x[0])
        }
        ScalarOp::Add => plain(t, if float { "add.rn" } else { "add" }),
        ScalarOp::Sub => plain(t, if float { "sub.rn" } else { "sub" }),
        ScalarOp::Mul => plain(t, if float { "mul.rn" } else { "mul.lo" }),
        ScalarOp::Div | ScalarOp::Mod if !float => divide(t, op, x[0], x[1]),
        ScalarOp::Div => plain(t, "div.rn"),
        ScalarOp::Mod => {
            let quotient = plain(t, "div.rn");
            let whole = t.value(class, &format!("cvt.rmi.{suffix}.{suffix}"), &[quotient.into()]);
            let product = t.value(class, &format!("mul.rn.{suffix}"), &[x[1].into(), whole.into()]);
            t.value(class, &format!("sub.rn.{suffix}"), &[x[0].into(), product.into()])
        }
        ScalarOp::Sqrt => plain(t, "sqrt.rn"),
        ScalarOp::Recip => plain(t, "rcp.rn"),
        ScalarOp::Floor => plain(t, &format!("cvt.rmi.{suffix}")),
        ScalarOp::Ceil => plain(t, &format!("cvt.rpi.{suffix}")),
        ScalarOp::Round => plain(t, &format!("cvt.rni.{suffix}")),
        other => unreachable!("`{}` is an elementary function or a predicate", other.name()),
    }
}

/// −1, 0 or 1; 0 of a NaN.
fn sign(t: &mut Text, dtype: DType, x: Register) -> Register {
    let zero = immediate(0.0, dtype);
    let suffix = suffix(dtype);
    let positive = t.value(Class::Predicate, &format!("setp.gt.{suffix}"), &[x.into(), zero]);
    let negative = t.value(Class::Predicate, &format!("setp.lt.{suffix}"), &[x.into(), zero]);
    let chosen = if dtype.is_float() { format!("selp.{suffix}") } else { "selp.b32".to_owned() };
    let rest = t.value(class(dtype), &chosen, &[immediate(-1.0, dtype), zero, negative.into()]);
    t.value(class(dtype), &chosen, &[immediate(1.0, dtype), rest.into(), positive.into()])
}

/// Integer quotient rounded down, or remainder with the sign of the divisor; 0 where the divisor is 0.
fn divide(t: &mut Text, op: ScalarOp, p: Register, q: Register) -> Register {
    // Widened to 64 bits, the one quotient that overflows is representable.
    let wide = |t: &mut Text, x: Register| t.value(Class::Bits64, "cvt.s64.s32", &[x.into()]);
    let (p, q) = (wide(t, p), wide(t, q));
    let none = t.value(Class::Predicate, "setp.eq.s64", &[q.into(), 0_i64.into()]);
    let safe = t.value(Class::Bits64, "selp.b64", &[1_i64.into(), q.into(), none.into()]);
    let rest = t.value(Class::Bits64, "rem.s64", &[p.into(), safe.into()]);
    let signs = t.value(Class::Bits64, "xor.b64", &[rest.into(), safe.into()]);
    let differs = t.value(Class::Predicate, "setp.lt.s64", &[signs.into(), 0_i64.into()]);
    let nonzero = t.value(Class::Predicate, "setp.ne.s64", &[rest.into(), 0_i64.into()]);
    let adjust = t.value(Class::Predicate, "and.pred", &[differs.into(), nonzero.into()]);
    let (right, adjusted) = if op == ScalarOp::Div {
        let quotient = t.value(Class::Bits64, "div.s64", &[p.into(), safe.into()]);
        (quotient, t.value(Class::Bits64, "sub.s64", &[quotient.into(), 1_i64.into()]))
    } else {
        (rest, t.value(Class::Bits64, "add.s64", &[rest.into(), safe.into()]))
    };
    let result = t.value(Class::Bits64, "selp.b64", &[adjusted.into(), right.into(), adjust.into()]);
    let result = t.value(Class::Bits64, "selp.b64", &[0_i64.into(), result.into(), none.into()]);
    t.value(Class::Bits32, "cvt.u32.u64", &[result.into()])
}
