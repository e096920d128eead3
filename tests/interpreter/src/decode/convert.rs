//! Conversions between types.

use super::{Decoder, Result, literal};
use crate::{
    function::Function,
    lanes::{NAN_16, NAN_F32, Scalar},
    numbers::{BF16, F16, F32, Format, Rounding, TF32, flush, round_integral},
    op::{Op, Slot},
    scope::{Constant, Symbol},
    text::{Operand, OperandKind},
    types::Type,
};
use half::{bf16, f16};

/// A rounding as `cvt` names it: its direction, and whether the result is integral.
const ROUNDINGS: &[(&str, (Rounding, bool))] = &[
    ("rn", (Rounding::Nearest, false)),
    ("rz", (Rounding::Zero, false)),
    ("rm", (Rounding::Down, false)),
    ("rp", (Rounding::Up, false)),
    ("rna", (Rounding::Away, false)),
    ("rni", (Rounding::Nearest, true)),
    ("rzi", (Rounding::Zero, true)),
    ("rmi", (Rounding::Down, true)),
    ("rpi", (Rounding::Up, true)),
];

/// A conversion of one value.
#[derive(Clone, Copy)]
struct Conversion {
    to: Type,
    from: Type,
    rounding: Rounding,
    integral: bool,
    flushed: bool,
    saturated: bool,
    relu: bool,
}

/// A value between its two types. Every floating-point type is exact in `f64`.
#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Real(f64),
}

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    if d.take("pack") {
        return d.fail("`cvt.pack` is not known");
    }
    let rounding = d.choose(ROUNDINGS);
    let relu = d.take("relu");
    let flushed = d.take("ftz");
    let saturated = d.take("sat");
    let (to, from) = (d.ty()?, d.ty()?);
    let (direction, integral) = rounding.unwrap_or((Rounding::Nearest, false));
    let conversion = Conversion { to, from, rounding: direction, integral, flushed, saturated, relu };
    if matches!(to, Type::F16x2 | Type::Bf16x2) {
        return pair(d, conversion, rounding.is_some());
    }
    if let Err(problem) = conversion.check(rounding.is_some()) {
        return d.fail(problem);
    }
    let destination = d.next_operand()?;
    let (slot, register) = d.typed_register(destination, |register| to.accepts_wider(register), to)?;
    let source = source(d, from)?;
    let width = register.bits();
    let function = Function::one(move |bits: u64| conversion.apply(bits, width));
    Ok(Op::Compute { function, to: slot, from: [source, 0, 0, 0] })
}

/// The operand to convert: its register may be wider than the type.
fn source(d: &mut Decoder, ty: Type) -> Result<Slot> {
    let operand = d.next_operand()?;
    wider_source(d, operand, ty)
}

/// A value of type `ty`, from a register that may be wider.
pub(super) fn wider_source(d: &mut Decoder, operand: &Operand, ty: Type) -> Result<Slot> {
    let OperandKind::Name(name) = &operand.kind else {
        let bits = literal(operand, ty)?;
        return Ok(d.scope.constant(Constant::Bits(bits)));
    };
    match d.scope.symbol(name, operand.place)? {
        Symbol::Special { special, ty: own } if ty.accepts_wider(own) => {
            Ok(d.scope.constant(Constant::Special(special)))
        }
        _ => d.register(operand, |register| ty.accepts_wider(register), ty),
    }
}

/// `cvt.rn.bf16x2.f32 d, high, low`.
fn pair(d: &mut Decoder, conversion: Conversion, rounded: bool) -> Result<Op> {
    let plain = conversion.from == Type::F32 && !conversion.flushed && !conversion.saturated;
    if !plain || !rounded || conversion.integral || !matches!(conversion.rounding, Rounding::Nearest | Rounding::Zero) {
        return d.fail("a pair is made of two `.f32` with `.rn` or `.rz`");
    }
    let to = if conversion.to == Type::F16x2 { Type::F16 } else { Type::Bf16 };
    let one = Conversion { to, ..conversion };
    let function = Function::two(move |high: u64, low: u64| one.apply(high, 16) << 16 | one.apply(low, 16));
    let to = d.to(conversion.to)?;
    d.compute_to(to, &[Type::F32, Type::F32], function)
}

fn is_half(ty: Type) -> bool {
    matches!(ty, Type::F16 | Type::Bf16)
}

impl Conversion {
    /// Whether PTX has it.
    fn check(self, rounded: bool) -> std::result::Result<(), String> {
        let known = |ty: Type| ty.is_integer() || is_half(ty) || matches!(ty, Type::F32 | Type::F64);
        let tf32 = self.to == Type::Tf32;
        if !known(self.from) || !(known(self.to) || tf32) {
            return Err(format!("no conversion from `.{}` to `.{}` is known", self.from.name(), self.to.name()));
        }
        if tf32 || self.rounding == Rounding::Away {
            let suits = tf32 && self.from == Type::F32 && rounded && !self.integral && !self.saturated && !self.flushed;
            return if suits { Ok(()) } else { Err("`.tf32` is made of `.f32` with `.rna`, and by it alone".into()) };
        }
        let (to_float, from_float) = (self.to.is_float(), self.from.is_float());
        let narrows = to_float && from_float && self.to.bits() < self.from.bits();
        let changes_half = is_half(self.to) && is_half(self.from) && self.to != self.from;
        let need = match (from_float, to_float) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            (true, true) if narrows || changes_half => Some(false),
            _ => None,
        };
        match need {
            Some(integral) if !rounded || self.integral != integral => Err(if integral {
                "the rounding must be given, as `.rni`"
            } else {
                "the rounding must be given, as `.rn`"
            }
            .into()),
            None if rounded && !(self.integral && self.to == self.from && to_float) => {
                Err("nothing is rounded here".into())
            }
            _ if self.relu && !is_half(self.to) => Err("`.relu` is for results of 16 bits".into()),
            _ if self.flushed && self.from != Type::F32 && self.to != Type::F32 => Err("`.ftz` is for `.f32`".into()),
            _ => Ok(()),
        }
    }

    /// The bits of the converted value, for a register of `width` bits.
    fn apply(self, bits: u64, width: u32) -> u64 {
        match self.read(bits) {
            Number::Real(value) if self.to.is_float() => self.real(value),
            Number::Real(value) => self.truncated(value, width),
            Number::Integer(value) if self.to.is_float() => self.integral(value),
            Number::Integer(value) => {
                let value = if self.saturated { self.clamp(value) } else { value };
                self.integer(value, width)
            }
        }
    }

    fn read(self, bits: u64) -> Number {
        match self.from {
            Type::F32 => {
                let value = f32::of(bits);
                Number::Real(f64::from(if self.flushed { flush(value) } else { value }))
            }
            Type::F64 => Number::Real(f64::of(bits)),
            Type::F16 => Number::Real(f16::of(bits).to_f64()),
            Type::Bf16 => Number::Real(bf16::of(bits).to_f64()),
            ty => {
                let unused = 64 - ty.bits();
                let moved = bits << unused;
                Number::Integer(if ty.is_signed() {
                    i128::from(moved as i64 >> unused)
                } else {
                    i128::from(moved >> unused)
                })
            }
        }
    }

    fn limits(self) -> (i128, i128) {
        let bits = self.to.bits();
        if self.to.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
    }

    fn clamp(self, value: i128) -> i128 {
        let (low, high) = self.limits();
        value.clamp(low, high)
    }

    /// The low bits of an integer, extended to the register by its type.
    fn integer(self, value: i128, width: u32) -> u64 {
        let unused = 64 - self.to.bits();
        let moved = (value as u64) << unused;
        let extended = if self.to.is_signed() { (moved as i64 >> unused) as u64 } else { moved >> unused };
        extended & (u64::MAX >> (64 - width))
    }

    /// An integer from a real number: out of range is the nearest value, NaN is 0.
    fn truncated(self, value: f64, width: u32) -> u64 {
        let integral = round_integral(value, self.rounding);
        // The conversion to `i128` saturates, and so does what follows.
        self.integer(self.clamp(integral as i128), width)
    }

    fn integral(self, value: i128) -> u64 {
        let nearest = match self.to {
            Type::F64 => Some(value as f64),
            Type::F32 if self.rounding == Rounding::Nearest => Some(f64::from(value as f32)),
            _ => None,
        };
        match nearest {
            Some(nearest) => self.write(nearest),
            // At most 64 bits: what does not fit 53 is rounded to odd first.
            None => {
                let (magnitude, sign) = (value.unsigned_abs(), if value < 0 { -1.0 } else { 1.0 });
                let dropped = 64 - (magnitude as u64).leading_zeros().min(64);
                let excess = dropped.saturating_sub(53);
                let sticky = u128::from(magnitude & ((1 << excess) - 1) != 0) << excess;
                let odd = (magnitude >> excess << excess) | sticky;
                self.write(self.round(sign * odd as f64))
            }
        }
    }

    fn format(self) -> Option<Format> {
        match self.to {
            Type::F16 => Some(F16),
            Type::Bf16 => Some(BF16),
            Type::Tf32 => Some(TF32),
            Type::F32 => Some(F32),
            _ => None,
        }
    }

    fn round(self, value: f64) -> f64 {
        self.format().map_or(value, |format| format.round(value, self.rounding))
    }

    fn real(self, value: f64) -> u64 {
        let value = if self.integral { round_integral(value, self.rounding) } else { self.round(value) };
        let value = if self.relu { if value > 0.0 || value.is_nan() { value } else { 0.0 } } else { value };
        let value = if self.saturated { if value > 0.0 { value.min(1.0) } else { 0.0 } } else { value };
        self.write(value)
    }

    /// The bits of a number that is rounded to the type already.
    fn write(self, value: f64) -> u64 {
        match self.to {
            Type::F64 => value.to_bits(),
            Type::F16 | Type::Bf16 if value.is_nan() => u64::from(NAN_16),
            Type::F32 | Type::Tf32 if value.is_nan() => u64::from(NAN_F32),
            Type::F16 => f16::from_f64(value).bits(),
            Type::Bf16 => bf16::from_f64(value).bits(),
            _ => {
                let single = value as f32;
                (if self.flushed { flush(single) } else { single }).bits()
            }
        }
    }
}
