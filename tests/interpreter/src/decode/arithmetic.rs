//! Sums, products, quotients, minima and maxima, on integers and floating-point numbers.

use super::{Decoder, Result};
use crate::{
    function::Function,
    integer::Integer,
    lanes::Lanes,
    numbers::{
        BF16, F16, F32, Format, Rounding, flush, fma_to_odd, fused, maximum, minimum, quotient_to_odd, saturate,
        sum_to_odd,
    },
    op::Op,
    types::Type,
};
use half::{bf16, f16};

/// The directions of rounding that arithmetic instructions name.
pub(super) const ROUNDINGS: &[(&str, Rounding)] =
    &[("rn", Rounding::Nearest), ("rz", Rounding::Zero), ("rm", Rounding::Down), ("rp", Rounding::Up)];

/// Which part of a product an integer multiplication keeps.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Low,
    High,
    Wide,
}

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    // An integer instruction has no floating-point modifier, so the type at the end of the opcode decides.
    let float = d.modifiers.last().and_then(|name| Type::named(name)).is_some_and(Type::is_float);
    if float { float_instruction(d) } else { integer_instruction(d) }
}

// Integers.

fn integer_instruction(d: &mut Decoder) -> Result<Op> {
    let mnemonic = d.mnemonic;
    let multiplies = matches!(mnemonic, "mul" | "mad");
    let part =
        if multiplies { d.expect(&[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)])? } else { Part::Low };
    let saturated = matches!(mnemonic, "add" | "sub") && d.take("sat");
    let ty = d.ty()?;
    if saturated && ty != Type::S32 {
        return d.fail("only `.s32` saturates");
    }
    if part == Part::Wide {
        return wide_product(d, ty);
    }
    let function = match ty {
        Type::U16 => integer::<u16>(mnemonic, part, saturated),
        Type::U32 => integer::<u32>(mnemonic, part, saturated),
        Type::U64 => integer::<u64>(mnemonic, part, saturated),
        Type::S16 => integer::<i16>(mnemonic, part, saturated),
        Type::S32 => integer::<i32>(mnemonic, part, saturated),
        Type::S64 => integer::<i64>(mnemonic, part, saturated),
        _ => None,
    };
    let unsigned_only = matches!(mnemonic, "neg" | "abs") && !ty.is_signed();
    let Some(function) = function.filter(|_| !unsigned_only) else { return d.type_error(ty) };
    if mnemonic == "sad" {
        // The sum has the unsigned type.
        return d.compute(ty, function);
    }
    let op = d.compute(ty, function)?;
    Ok(match (mnemonic, op) {
        ("div" | "rem", Op::Compute { function, to, from }) => Op::Divide { function, to, from },
        (_, op) => op,
    })
}

fn integer<T: Integer>(mnemonic: &str, part: Part, saturated: bool) -> Option<Function> {
    Some(match (mnemonic, part) {
        ("add", _) if saturated => Function::two(T::add_saturating),
        ("sub", _) if saturated => Function::two(T::sub_saturating),
        ("add", _) => Function::two(T::add),
        ("sub", _) => Function::two(T::sub),
        ("mul", Part::Low) => Function::two(T::mul),
        ("mul", _) => Function::two(T::mul_high),
        ("mad", Part::Low) => Function::three(|a: T, b: T, c: T| a.mul(b).add(c)),
        ("mad", _) => Function::three(|a: T, b: T, c: T| a.mul_high(b).add(c)),
        ("div", _) => Function::two(T::div),
        ("rem", _) => Function::two(T::rem),
        ("neg", _) => Function::one(T::neg),
        ("abs", _) => Function::one(T::abs),
        ("min", _) => Function::two(|a: T, b: T| a.min(b)),
        ("max", _) => Function::two(|a: T, b: T| a.max(b)),
        ("sad", _) => Function::three(|a: T, b: T, c: T| c.add(a.distance(b))),
        _ => return None,
    })
}

fn wide_product(d: &mut Decoder, ty: Type) -> Result<Op> {
    let (wide, product, sum) = match ty {
        Type::U16 => (Type::U32, Function::two(product_u16), Function::three(|a, b, c: u32| product_u16(a, b).add(c))),
        Type::S16 => (Type::S32, Function::two(product_i16), Function::three(|a, b, c: i32| product_i16(a, b).add(c))),
        Type::U32 => (Type::U64, Function::two(product_u32), Function::three(|a, b, c: u64| product_u32(a, b).add(c))),
        Type::S32 => (Type::S64, Function::two(product_i32), Function::three(|a, b, c: i64| product_i32(a, b).add(c))),
        _ => return d.type_error(ty),
    };
    let to = d.to(wide)?;
    if d.mnemonic == "mul" { d.compute_to(to, &[ty, ty], product) } else { d.compute_to(to, &[ty, ty, wide], sum) }
}

fn product_u16(a: u16, b: u16) -> u32 {
    u32::from(a) * u32::from(b)
}

fn product_i16(a: i16, b: i16) -> i32 {
    i32::from(a) * i32::from(b)
}

fn product_u32(a: u32, b: u32) -> u64 {
    u64::from(a) * u64::from(b)
}

fn product_i32(a: i32, b: i32) -> i64 {
    i64::from(a) * i64::from(b)
}

// Floating-point numbers.

/// The modifiers of a floating-point instruction.
#[derive(Clone, Copy)]
struct Manner {
    rounding: Option<Rounding>,
    /// `.approx` or `.full`.
    approximate: bool,
    flushed: bool,
    saturated: bool,
    /// `.NaN`.
    spreads: bool,
}

fn float_instruction(d: &mut Decoder) -> Result<Op> {
    let mnemonic = d.mnemonic;
    let rounds = matches!(mnemonic, "add" | "sub" | "mul" | "fma" | "mad" | "div");
    let rounding = if rounds { d.choose(ROUNDINGS) } else { None };
    let approximate = mnemonic == "div" && rounding.is_none() && (d.take("approx") || d.take("full"));
    let flushed = d.take("ftz");
    let saturated = rounds && mnemonic != "div" && d.take("sat");
    let spreads = matches!(mnemonic, "min" | "max") && d.take("NaN");
    let ty = d.ty()?;
    let required = matches!(mnemonic, "fma" | "mad") || (mnemonic == "div" && !approximate);
    if required && rounding.is_none() {
        return d.fail("the rounding must be given");
    }
    let manner = Manner { rounding, approximate, flushed, saturated, spreads };
    let function = match ty {
        Type::F32 => single(mnemonic, manner),
        Type::F64 => double(mnemonic, manner),
        Type::F16 => half_precision::<f16>(mnemonic, manner, F16),
        Type::F16x2 => half_precision::<f16>(mnemonic, manner, F16).map(paired),
        Type::Bf16 => half_precision::<bf16>(mnemonic, manner, BF16),
        Type::Bf16x2 => half_precision::<bf16>(mnemonic, manner, BF16).map(paired),
        _ => None,
    };
    let Some(function) = function else {
        return d.fail("this interpreter does not know this combination of modifiers and type");
    };
    d.compute(ty, function)
}

fn single(mnemonic: &str, manner: Manner) -> Option<Function> {
    match manner.rounding {
        None | Some(Rounding::Nearest) => match (manner.flushed, manner.saturated) {
            (false, false) => single_nearest::<false, false>(mnemonic, manner),
            (true, false) => single_nearest::<true, false>(mnemonic, manner),
            (false, true) => single_nearest::<false, true>(mnemonic, manner),
            (true, true) => single_nearest::<true, true>(mnemonic, manner),
        },
        Some(rounding) => single_directed(mnemonic, rounding, manner),
    }
}

#[inline(always)]
fn begin<const FLUSHED: bool>(x: f32) -> f32 {
    if FLUSHED { flush(x) } else { x }
}

#[inline(always)]
fn end<const FLUSHED: bool, const SATURATED: bool>(x: f32) -> f32 {
    let x = if FLUSHED { flush(x) } else { x };
    if SATURATED { saturate(x) } else { x }
}

fn single1<const FLUSHED: bool, const SATURATED: bool>(f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Function {
    Function::one(move |a| end::<FLUSHED, SATURATED>(f(begin::<FLUSHED>(a))))
}

fn single2<const FLUSHED: bool, const SATURATED: bool>(
    f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static,
) -> Function {
    Function::two(move |a, b| end::<FLUSHED, SATURATED>(f(begin::<FLUSHED>(a), begin::<FLUSHED>(b))))
}

fn single_nearest<const FLUSHED: bool, const SATURATED: bool>(mnemonic: &str, manner: Manner) -> Option<Function> {
    let spreads = manner.spreads;
    Some(match mnemonic {
        "add" => single2::<FLUSHED, SATURATED>(|a, b| a + b),
        "sub" => single2::<FLUSHED, SATURATED>(|a, b| a - b),
        "mul" => single2::<FLUSHED, SATURATED>(|a, b| a * b),
        "div" => single2::<FLUSHED, SATURATED>(|a, b| a / b),
        "fma" | "mad" => Function::three(|a: f32, b: f32, c: f32| {
            end::<FLUSHED, SATURATED>(fused(begin::<FLUSHED>(a), begin::<FLUSHED>(b), begin::<FLUSHED>(c)))
        }),
        "neg" => single1::<FLUSHED, SATURATED>(|a| -a),
        "abs" => single1::<FLUSHED, SATURATED>(f32::abs),
        "min" => single2::<FLUSHED, SATURATED>(move |a, b| minimum(a, b, spreads)),
        "max" => single2::<FLUSHED, SATURATED>(move |a, b| maximum(a, b, spreads)),
        _ => return None,
    })
}

fn single_directed(mnemonic: &str, rounding: Rounding, manner: Manner) -> Option<Function> {
    let before = move |x: f32| f64::from(if manner.flushed { flush(x) } else { x });
    let after = move |exact: f64| {
        let rounded = F32.round(exact, rounding) as f32;
        let flushed = if manner.flushed { flush(rounded) } else { rounded };
        if manner.saturated { saturate(flushed) } else { flushed }
    };
    Some(match mnemonic {
        "add" => Function::two(move |a, b| after(directed_sum(before(a), before(b), rounding))),
        "sub" => Function::two(move |a, b| after(directed_sum(before(a), -before(b), rounding))),
        "mul" => Function::two(move |a, b| after(before(a) * before(b))),
        "div" => Function::two(move |a, b| after(quotient_to_odd(before(a), before(b)))),
        "fma" | "mad" => {
            Function::three(move |a, b, c| after(directed_sum(before(a) * before(b), before(c), rounding)))
        }
        _ => return None,
    })
}

/// `a + b`, to be rounded once more; a sum that cancels exactly is -0 where rounding is downwards.
fn directed_sum(a: f64, b: f64, rounding: Rounding) -> f64 {
    let sum = sum_to_odd(a, b);
    if sum == 0.0 && rounding == Rounding::Down && (a != 0.0 || a.is_sign_negative() != b.is_sign_negative()) {
        return -0.0;
    }
    sum
}

fn double(mnemonic: &str, manner: Manner) -> Option<Function> {
    let nearest = matches!(manner.rounding, None | Some(Rounding::Nearest));
    if !nearest || manner.flushed || manner.saturated || manner.approximate || manner.spreads {
        return None;
    }
    Some(match mnemonic {
        "add" => Function::two(|a: f64, b: f64| a + b),
        "sub" => Function::two(|a: f64, b: f64| a - b),
        "mul" => Function::two(|a: f64, b: f64| a * b),
        "div" => Function::two(|a: f64, b: f64| a / b),
        "fma" | "mad" => Function::three(|a: f64, b: f64, c: f64| a.mul_add(b, c)),
        "neg" => Function::one(|a: f64| -a),
        "abs" => Function::one(f64::abs),
        "min" => Function::two(|a: f64, b: f64| minimum(a, b, false)),
        "max" => Function::two(|a: f64, b: f64| maximum(a, b, false)),
        _ => return None,
    })
}

/// What the two formats of 16 bits have in common.
pub(super) trait Half: crate::lanes::Scalar + crate::numbers::Ordered + Send + Sync + 'static {
    fn wide(self) -> f64;
    /// A number that is already rounded to the format.
    fn narrow(x: f64) -> Self;
}

impl Half for f16 {
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f64) -> f16 {
        f16::from_f64(x)
    }
}

impl Half for bf16 {
    fn wide(self) -> f64 {
        self.to_f64()
    }
    fn narrow(x: f64) -> bf16 {
        bf16::from_f64(x)
    }
}

fn half_precision<T: Half>(mnemonic: &str, manner: Manner, format: Format) -> Option<Function> {
    let nearest = matches!(manner.rounding, None | Some(Rounding::Nearest));
    if !nearest || manner.flushed || manner.saturated || manner.approximate {
        return None;
    }
    let spreads = manner.spreads;
    let round = move |exact: f64| T::narrow(format.round(exact, Rounding::Nearest));
    Some(match mnemonic {
        "add" => Function::two(move |a: T, b: T| round(sum_to_odd(a.wide(), b.wide()))),
        "sub" => Function::two(move |a: T, b: T| round(sum_to_odd(a.wide(), -b.wide()))),
        "mul" => Function::two(move |a: T, b: T| round(a.wide() * b.wide())),
        "fma" => Function::three(move |a: T, b: T, c: T| round(fma_to_odd(a.wide(), b.wide(), c.wide()))),
        "neg" => Function::one(move |a: T| T::narrow(-a.wide())),
        "abs" => Function::one(move |a: T| T::narrow(a.wide().abs())),
        "min" => Function::two(move |a: T, b: T| minimum(a, b, spreads)),
        "max" => Function::two(move |a: T, b: T| maximum(a, b, spreads)),
        _ => return None,
    })
}

/// A function of 16-bit values, applied to both halves of 32-bit ones.
pub(super) fn paired(function: Function) -> Function {
    let low = |lanes: &Lanes| lanes.map(|bits| bits & 0xffff);
    let high = |lanes: &Lanes| lanes.map(|bits| bits >> 16 & 0xffff);
    let joined = |low: Lanes, high: Lanes| std::array::from_fn(|lane| low[lane] | high[lane] << 16);
    match function {
        Function::One(f) => Function::One(Box::new(move |a| joined(f(&low(a)), f(&high(a))))),
        Function::Two(f) => Function::Two(Box::new(move |a, b| joined(f(&low(a), &low(b)), f(&high(a), &high(b))))),
        Function::Three(f) => Function::Three(Box::new(move |a, b, c| {
            joined(f(&low(a), &low(b), &low(c)), f(&high(a), &high(b), &high(c)))
        })),
        Function::Four(f) => Function::Four(Box::new(move |a, b, c, e| {
            joined(f(&low(a), &low(b), &low(c), &low(e)), f(&high(a), &high(b), &high(c), &high(e)))
        })),
    }
}
