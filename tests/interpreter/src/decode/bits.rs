//! Instructions on bits.

use super::{Decoder, Result};
use crate::{
    function::Function,
    integer::Integer,
    op::{Logic, Op},
    types::{Kind, Type},
};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "and" | "or" | "xor" | "not" | "cnot" => logic(d),
        "shl" | "shr" => shift(d),
        "shf" => funnel_shift(d),
        "prmt" => permute(d),
        "bfe" | "bfi" => field(d),
        "lop3" => lookup(d),
        _ => count(d),
    }
}

fn logic(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    if ty == Type::Pred {
        return predicate_logic(d);
    }
    if ty.kind() != Kind::Bits || !matches!(ty.bits(), 16 | 32 | 64) {
        return d.type_error(ty);
    }
    let mask = u64::MAX >> (64 - ty.bits());
    let function = match d.mnemonic {
        "and" => Function::two(|a: u64, b: u64| a & b),
        "or" => Function::two(|a: u64, b: u64| a | b),
        "xor" => Function::two(|a: u64, b: u64| a ^ b),
        "not" => Function::one(move |a: u64| !a & mask),
        _ => Function::one(|a: u64| u64::from(a == 0)),
    };
    d.compute(ty, function)
}

fn predicate_logic(d: &mut Decoder) -> Result<Op> {
    let operand = d.next_operand()?;
    let to = d.predicate_to(operand)?;
    let a = d.condition()?;
    let logic = match d.mnemonic {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        "not" => return Ok(Op::Assign { to, from: crate::op::Condition { negated: !a.negated, ..a } }),
        _ => return d.type_error(Type::Pred),
    };
    Ok(Op::Logic { logic, to, a, b: d.condition()? })
}

fn shift(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    let left = d.mnemonic == "shl";
    if left && ty.kind() != Kind::Bits {
        return d.type_error(ty);
    }
    let function = match (left, ty) {
        (true, Type::B16) => Function::two(|a: u16, by: u32| a.checked_shl(by).unwrap_or(0)),
        (true, Type::B32) => Function::two(|a: u32, by: u32| a.checked_shl(by).unwrap_or(0)),
        (true, Type::B64) => Function::two(|a: u64, by: u32| a.checked_shl(by).unwrap_or(0)),
        (false, Type::B16 | Type::U16) => Function::two(u16::shift_right),
        (false, Type::B32 | Type::U32) => Function::two(u32::shift_right),
        (false, Type::B64 | Type::U64) => Function::two(u64::shift_right),
        (false, Type::S16) => Function::two(i16::shift_right),
        (false, Type::S32) => Function::two(i32::shift_right),
        (false, Type::S64) => Function::two(i64::shift_right),
        _ => return d.type_error(ty),
    };
    let to = d.to(ty)?;
    d.compute_to(to, &[ty, Type::U32], function)
}

fn funnel_shift(d: &mut Decoder) -> Result<Op> {
    let left = d.expect(&[("l", true), ("r", false)])?;
    let wraps = d.expect(&[("wrap", true), ("clamp", false)])?;
    let ty = d.ty()?;
    if ty != Type::B32 {
        return d.type_error(ty);
    }
    let amount = move |by: u32| if wraps { by & 31 } else { by.min(32) };
    let both = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let function = if left {
        Function::three(move |low: u32, high: u32, by: u32| (both(low, high) << amount(by) >> 32) as u32)
    } else {
        Function::three(move |low: u32, high: u32, by: u32| (both(low, high) >> amount(by)) as u32)
    };
    d.compute(ty, function)
}

fn permute(d: &mut Decoder) -> Result<Op> {
    if d.take("b32") {
        return d.compute(Type::B32, Function::three(permuted));
    }
    d.fail("only the default mode of `prmt` is known")
}

/// Four bytes of `a` and `b`, chosen by the four lowest nibbles of `selector`.
fn permuted(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut result = 0;
    for position in 0..4 {
        let choice = selector >> (4 * position) & 0xf;
        let byte = (bytes >> (8 * (choice & 7))) as u8;
        // The upper bit of a choice repeats the sign of the byte.
        let byte = if choice & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 };
        result |= u32::from(byte) << (8 * position);
    }
    result
}

fn field(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    let to = d.to(ty)?;
    if d.mnemonic == "bfi" {
        let function = match ty {
            Type::B32 => insertion::<u32>(),
            Type::B64 => insertion::<u64>(),
            _ => return d.type_error(ty),
        };
        return d.compute_to(to, &[ty, ty, Type::U32, Type::U32], function);
    }
    let function = match ty {
        Type::U32 => extraction::<u32>(false),
        Type::S32 => extraction::<u32>(true),
        Type::U64 => extraction::<u64>(false),
        Type::S64 => extraction::<u64>(true),
        _ => return d.type_error(ty),
    };
    d.compute_to(to, &[ty, Type::U32, Type::U32], function)
}

/// `bfe`: bits from a position on; what lies beyond the value is its sign, or zero.
fn extraction<T: Integer>(signed: bool) -> Function {
    Function::three(move |value: T, position: u32, length: u32| {
        let (value, bits) = (value.bits(), T::BITS);
        let (position, length) = (position & 0xff, length & 0xff);
        let last = (position + length).wrapping_sub(1).min(bits - 1);
        let negative = signed && length > 0 && value >> last & 1 == 1;
        let fill = if negative { u64::MAX } else { 0 };
        let moved = if position < bits { value >> position } else { 0 };
        let taken = length.min(bits.saturating_sub(position));
        let kept = if taken >= 64 { u64::MAX } else { (1 << taken) - 1 };
        T::of((moved & kept) | (fill & !kept))
    })
}

/// `bfi`: the low bits of the first operand put into the second.
fn insertion<T: Integer>() -> Function {
    Function::Four(Box::new(|value, into, position, length| {
        std::array::from_fn(|lane| {
            let (position, length) = (position[lane] as u32 & 0xff, length[lane] as u32 & 0xff);
            if position >= T::BITS {
                return into[lane];
            }
            let length = length.min(T::BITS - position);
            let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
            let mask = ones << position;
            (into[lane] & !mask) | (value[lane] << position & mask)
        })
    }))
}

fn lookup(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    if ty != Type::B32 {
        return d.type_error(ty);
    }
    let to = d.to(ty)?;
    let mut from = [0; 4];
    for from in &mut from[..3] {
        *from = d.from(ty)?;
    }
    let table = d.immediate()?;
    let Ok(table) = u8::try_from(table) else { return d.fail("the table of `lop3` has eight bits") };
    let function = Function::three(move |a: u32, b: u32, c: u32| {
        let mut result = 0;
        for row in (0..8).filter(|row| table >> row & 1 == 1) {
            let of = |value: u32, bit: u32| if row >> bit & 1 == 1 { value } else { !value };
            result |= of(a, 2) & of(b, 1) & of(c, 0);
        }
        result
    });
    Ok(Op::Compute { function, to, from })
}

fn count(d: &mut Decoder) -> Result<Op> {
    let shift_amount = d.mnemonic == "bfind" && d.take("shiftamt");
    let ty = d.ty()?;
    let function = match (d.mnemonic, ty) {
        ("popc", Type::B32) => Function::one(u32::count_ones),
        ("popc", Type::B64) => Function::one(u64::count_ones),
        ("clz", Type::B32) => Function::one(u32::leading_zeros),
        ("clz", Type::B64) => Function::one(u64::leading_zeros),
        ("brev", Type::B32) => return d.compute(ty, Function::one(u32::reverse_bits)),
        ("brev", Type::B64) => return d.compute(ty, Function::one(u64::reverse_bits)),
        ("bfind", Type::U32) => highest_bit::<u32>(shift_amount),
        ("bfind", Type::U64) => highest_bit::<u64>(shift_amount),
        ("bfind", Type::S32) => highest_bit::<i32>(shift_amount),
        ("bfind", Type::S64) => highest_bit::<i64>(shift_amount),
        _ => return d.type_error(ty),
    };
    let to = d.to(Type::U32)?;
    d.compute_to(to, &[ty], function)
}

/// `bfind`: the highest bit that differs from the sign; all ones if there is none.
fn highest_bit<T: Integer>(shift_amount: bool) -> Function {
    Function::one(move |value: T| {
        let number = value.wide();
        let magnitude = if number < 0 { !number } else { number };
        let position = 127u32.wrapping_sub(magnitude.leading_zeros());
        match magnitude {
            0 => u32::MAX,
            _ if shift_amount => T::BITS - 1 - position,
            _ => position,
        }
    })
}
