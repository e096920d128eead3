//! Comparisons and selections.

use super::{Decoder, Result};
use crate::{
    function::{Function, Test, test},
    lanes::Scalar,
    numbers::flush,
    op::{Comparison, Logic, Op},
    types::{Kind, Type},
};
use half::{bf16, f16};
use std::cmp::Ordering;

/// A relation: on what results of a comparison it holds, and whether it holds for NaN.
#[derive(Clone, Copy)]
struct Relation {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
}

const fn relation(less: bool, equal: bool, greater: bool, unordered: bool) -> Relation {
    Relation { less, equal, greater, unordered }
}

const RELATIONS: &[(&str, Relation)] = &[
    ("eq", relation(false, true, false, false)),
    ("ne", relation(true, false, true, false)),
    ("lt", relation(true, false, false, false)),
    ("le", relation(true, true, false, false)),
    ("gt", relation(false, false, true, false)),
    ("ge", relation(false, true, true, false)),
    ("lo", relation(true, false, false, false)),
    ("ls", relation(true, true, false, false)),
    ("hi", relation(false, false, true, false)),
    ("hs", relation(false, true, true, false)),
    ("equ", relation(false, true, false, true)),
    ("neu", relation(true, false, true, true)),
    ("ltu", relation(true, false, false, true)),
    ("leu", relation(true, true, false, true)),
    ("gtu", relation(false, false, true, true)),
    ("geu", relation(false, true, true, true)),
    ("num", relation(true, true, true, false)),
    ("nan", relation(false, false, false, true)),
];

impl Relation {
    #[inline(always)]
    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match a.partial_cmp(&b) {
            Some(Ordering::Less) => self.less,
            Some(Ordering::Equal) => self.equal,
            Some(Ordering::Greater) => self.greater,
            None => self.unordered,
        }
    }
}

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "setp" => setp(d),
        "set" => set(d),
        "selp" => selp(d),
        _ => slct(d),
    }
}

/// The modifiers of a comparison: relation, combination, flushing.
fn manner(d: &mut Decoder) -> Result<(&'static str, Relation, Option<Logic>, bool)> {
    let named: Vec<_> = RELATIONS.iter().map(|(name, relation)| (*name, (*name, *relation))).collect();
    let (name, relation) = d.expect(&named)?;
    let logic = d.choose(&[("and", Logic::And), ("or", Logic::Or), ("xor", Logic::Xor)]);
    Ok((name, relation, logic, d.take("ftz")))
}

/// The comparison itself, if the relation is one of the type.
fn comparison_test(d: &Decoder, name: &str, relation: Relation, flushed: bool, ty: Type) -> Result<Test> {
    let equality = matches!(name, "eq" | "ne");
    let suits = match ty.kind() {
        Kind::Float => !matches!(name, "lo" | "ls" | "hi" | "hs"),
        Kind::Unsigned => !matches!(name, "num" | "nan") && (equality || !name.ends_with('u')),
        Kind::Signed => equality || matches!(name, "lt" | "le" | "gt" | "ge"),
        _ => equality,
    };
    if !suits || (flushed && ty != Type::F32) {
        return d.fail(format!("`.{name}` is no comparison of `.{}`", ty.name()));
    }
    fn of<T: Scalar + PartialOrd + 'static>(relation: Relation) -> Test {
        test(move |a: T, b: T| relation.holds(a, b))
    }
    Ok(match ty {
        Type::B16 | Type::U16 => of::<u16>(relation),
        Type::B32 | Type::U32 => of::<u32>(relation),
        Type::B64 | Type::U64 => of::<u64>(relation),
        Type::S16 => of::<i16>(relation),
        Type::S32 => of::<i32>(relation),
        Type::S64 => of::<i64>(relation),
        Type::F32 if flushed => test(move |a: f32, b: f32| relation.holds(flush(a), flush(b))),
        Type::F32 => of::<f32>(relation),
        Type::F64 => of::<f64>(relation),
        Type::F16 => of::<f16>(relation),
        Type::Bf16 => of::<bf16>(relation),
        _ => return d.type_error(ty),
    })
}

fn operands(d: &mut Decoder, test: Test, ty: Type, logic: Option<Logic>) -> Result<Comparison> {
    let (a, b) = (d.from(ty)?, d.from(ty)?);
    let combined = match logic {
        Some(logic) => Some((logic, d.condition()?)),
        None => None,
    };
    Ok(Comparison { test, a, b, combined })
}

fn setp(d: &mut Decoder) -> Result<Op> {
    let (name, relation, logic, flushed) = manner(d)?;
    let ty = d.ty()?;
    let test = comparison_test(d, name, relation, flushed, ty)?;
    let to = d.predicates_to()?;
    Ok(Op::Compare { comparison: operands(d, test, ty, logic)?, to })
}

fn set(d: &mut Decoder) -> Result<Op> {
    let (name, relation, logic, flushed) = manner(d)?;
    let (result, ty) = (d.ty()?, d.ty()?);
    let holds = match result {
        Type::U32 | Type::S32 => u64::from(u32::MAX),
        Type::F32 => u64::from(1.0f32.to_bits()),
        _ => return d.type_error(result),
    };
    let test = comparison_test(d, name, relation, flushed, ty)?;
    let to = d.to(result)?;
    Ok(Op::Set { comparison: operands(d, test, ty, logic)?, to, holds })
}

fn selp(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    if !matches!(ty.bits(), 16 | 32 | 64) || matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2) {
        return d.type_error(ty);
    }
    Ok(Op::Select { to: d.to(ty)?, yes: d.from(ty)?, no: d.from(ty)?, by: d.condition()? })
}

fn slct(d: &mut Decoder) -> Result<Op> {
    let flushed = d.take("ftz");
    let (ty, by) = (d.ty()?, d.ty()?);
    if !matches!(ty.bits(), 16 | 32 | 64) {
        return d.type_error(ty);
    }
    let function = match by {
        Type::S32 if !flushed => Function::three(|yes: u64, no: u64, by: i32| if by >= 0 { yes } else { no }),
        // A subnormal number counts as zero when flushed; NaN selects the second.
        Type::F32 => Function::three(
            move |yes: u64, no: u64, by: f32| {
                if (if flushed { flush(by) } else { by }) >= 0.0 { yes } else { no }
            },
        ),
        _ => return d.type_error(by),
    };
    let to = d.to(ty)?;
    d.compute_to(to, &[ty, ty, by], function)
}
