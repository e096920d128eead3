//! Elementary functions and properties of floating-point numbers.

use super::{
    Decoder, Result,
    arithmetic::{ROUNDINGS, paired},
};
use crate::{
    function::{Function, test},
    numbers::{BF16, F16, F32, Format, Rounding, flush, quotient_to_odd, root_to_odd},
    op::Op,
    types::Type,
};
use half::{bf16, f16};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "copysign" => copysign(d),
        "testp" => testp(d),
        "rcp" | "sqrt" => rounded_or_approximate(d),
        _ => approximate(d),
    }
}

fn copysign(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    // The first operand gives the sign.
    let function = match ty {
        Type::F32 => Function::two(|sign: u32, value: u32| (value & 0x7fff_ffff) | (sign & 0x8000_0000)),
        Type::F64 => Function::two(|sign: u64, value: u64| (value & !(1 << 63)) | (sign & (1 << 63))),
        _ => return d.type_error(ty),
    };
    d.compute(ty, function)
}

type Property = fn(f64, bool) -> bool;

fn testp(d: &mut Decoder) -> Result<Op> {
    let property: Property = d.expect::<Property>(&[
        ("finite", |x, _| x.is_finite()),
        ("infinite", |x, _| x.is_infinite()),
        ("number", |x, _| !x.is_nan()),
        ("notanumber", |x, _| x.is_nan()),
        ("normal", |x, subnormal| x.is_finite() && x != 0.0 && !subnormal),
        ("subnormal", |_, subnormal| subnormal),
    ])?;
    let ty = d.ty()?;
    let test = match ty {
        Type::F32 => test(move |x: f32, _| property(f64::from(x), x.is_subnormal())),
        Type::F64 => test(move |x: f64, _| property(x, x.is_subnormal())),
        _ => return d.type_error(ty),
    };
    let operand = d.next_operand()?;
    Ok(Op::Property { test, to: d.predicate_to(operand)?, from: d.from(ty)? })
}

fn rounded_or_approximate(d: &mut Decoder) -> Result<Op> {
    let rounding = d.choose(ROUNDINGS);
    if rounding.is_none() && !d.take("approx") {
        return d.fail("the rounding or `.approx` must be given");
    }
    let flushed = d.take("ftz");
    let ty = d.ty()?;
    let reciprocal = d.mnemonic == "rcp";
    let function = match (ty, rounding) {
        (Type::F32, rounding) => {
            let rounding = rounding.unwrap_or(Rounding::Nearest);
            let exact: fn(f64) -> f64 = if reciprocal { |x| quotient_to_odd(1.0, x) } else { root_to_odd };
            single(flushed, move |x| F32.round(exact(x), rounding) as f32)
        }
        (Type::F64, Some(Rounding::Nearest)) if reciprocal && !flushed => Function::one(|x: f64| 1.0 / x),
        (Type::F64, Some(Rounding::Nearest)) if !flushed => Function::one(f64::sqrt),
        _ => return d.type_error(ty),
    };
    d.compute(ty, function)
}

/// A function of `f32` that is computed in `f64`.
fn single(flushed: bool, f: impl Fn(f64) -> f32 + Send + Sync + 'static) -> Function {
    if flushed {
        Function::one(move |x: f32| flush(f(f64::from(flush(x)))))
    } else {
        Function::one(move |x: f32| f(f64::from(x)))
    }
}

fn approximate(d: &mut Decoder) -> Result<Op> {
    if !d.take("approx") {
        return d.fail("expected `.approx`");
    }
    let flushed = d.take("ftz");
    let ty = d.ty()?;
    let f: fn(f64) -> f64 = match d.mnemonic {
        "rsqrt" => |x| 1.0 / x.sqrt(),
        "ex2" => f64::exp2,
        "lg2" => f64::log2,
        "sin" => f64::sin,
        "cos" => f64::cos,
        _ => f64::tanh,
    };
    let in_half = matches!(d.mnemonic, "ex2" | "tanh");
    let function = match ty {
        Type::F32 if d.mnemonic == "tanh" && flushed => return d.type_error(ty),
        Type::F32 => single(flushed, move |x| f(x) as f32),
        Type::F64 if d.mnemonic == "rsqrt" && !flushed => Function::one(f),
        Type::F16 if in_half && !flushed => half(f, F16),
        Type::F16x2 if in_half && !flushed => paired(half(f, F16)),
        Type::Bf16 if in_half => brain(f, BF16),
        Type::Bf16x2 if in_half => paired(brain(f, BF16)),
        _ => return d.type_error(ty),
    };
    d.compute(ty, function)
}

fn half(f: fn(f64) -> f64, format: Format) -> Function {
    Function::one(move |x: f16| f16::from_f64(format.round(f(x.to_f64()), Rounding::Nearest)))
}

fn brain(f: fn(f64) -> f64, format: Format) -> Function {
    Function::one(move |x: bf16| bf16::from_f64(format.round(f(x.to_f64()), Rounding::Nearest)))
}
