//! Moving values: registers, memory, addresses.

use super::{Decoder, Result};
use crate::{
    decode::convert::wider_source,
    error::Error,
    function::Function,
    op::{Element, Op, Slot, Space},
    scope::{Constant, Symbol},
    text::{Operand, OperandKind},
    types::Type,
};

/// Hints to caches, which change no value.
const CACHE_LEVELS: &[(&str, ())] =
    &[("ca", ()), ("cg", ()), ("cs", ()), ("cv", ()), ("lu", ()), ("wb", ()), ("wt", ())];
const EVICTIONS: &[(&str, ())] = &[
    ("L1::evict_normal", ()),
    ("L1::evict_unchanged", ()),
    ("L1::evict_first", ()),
    ("L1::evict_last", ()),
    ("L1::no_allocate", ()),
];
const PREFETCHES: &[(&str, ())] = &[("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())];
/// Scopes of the memory model, which all mean the same here.
pub(super) const SCOPES: &[(&str, ())] = &[("cta", ()), ("cluster", ()), ("gpu", ()), ("sys", ())];

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "mov" => mov(d),
        "ld" => load(d),
        "st" => store(d),
        "cvta" => convert_address(d),
        "prefetch" | "prefetchu" => prefetch(d),
        _ => d.fail("this interpreter does not know the instruction"),
    }
}

fn mov(d: &mut Decoder) -> Result<Op> {
    let ty = d.ty()?;
    if ty == Type::Pred {
        return move_predicate(d);
    }
    if !matches!(ty.bits(), 16 | 32 | 64)
        || matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::Tf32)
    {
        return d.type_error(ty);
    }
    let destination = d.next_operand()?;
    let source = d.next_operand()?;
    match (&destination.kind, &source.kind) {
        (OperandKind::Vector(parts), _) => unpack(d, ty, parts, source),
        (_, OperandKind::Vector(parts)) => pack(d, ty, destination, parts),
        _ => {
            let to = d.register(destination, |register| ty.accepts(register), ty)?;
            let from = moved_value(d, source, ty)?;
            Ok(Op::Compute { function: Function::one(|value: u64| value), to, from: [from, 0, 0, 0] })
        }
    }
}

fn move_predicate(d: &mut Decoder) -> Result<Op> {
    let destination = d.next_operand()?;
    let to = d.predicate_to(destination)?;
    if let Some(Operand { kind: OperandKind::Integer { magnitude, .. }, .. }) = d.syntax.operands.get(d.operand) {
        d.operand += 1;
        return Ok(Op::AssignConstant { to, value: *magnitude != 0 });
    }
    Ok(Op::Assign { to, from: d.condition()? })
}

/// A value to move: besides what every instruction reads, the address of a variable.
fn moved_value(d: &mut Decoder, source: &Operand, ty: Type) -> Result<Slot> {
    let OperandKind::Name(name) = &source.kind else { return d.value(source, ty) };
    let constant = match d.scope.symbol(name, source.place)? {
        Symbol::Shared { address } => Constant::Bits(address),
        Symbol::Variable { position, .. } if ty.bits() == 64 => Constant::Variable(position),
        _ => return d.value(source, ty),
    };
    if ty.is_float() || ty.bits() < 32 {
        return d.fail("an address has 32 or 64 bits");
    }
    Ok(d.scope.constant(constant))
}

/// The type of each part of a vector that is as large as `ty` altogether.
fn part_type(d: &Decoder, ty: Type, parts: usize) -> Result<Type> {
    match (ty, parts) {
        (Type::B64, 2) => Ok(Type::B32),
        (Type::B64, 4) | (Type::B32, 2) => Ok(Type::B16),
        _ => d.fail(format!("{parts} parts do not make `.{}`", ty.name())),
    }
}

fn pack(d: &mut Decoder, ty: Type, destination: &Operand, parts: &[Operand]) -> Result<Op> {
    let part = part_type(d, ty, parts.len())?;
    let to = d.register(destination, |register| ty.accepts(register), ty)?;
    let from = parts.iter().map(|operand| d.value(operand, part)).collect::<Result<_>>()?;
    Ok(Op::Pack { to, from, bits: part.bits() })
}

fn unpack(d: &mut Decoder, ty: Type, parts: &[Operand], source: &Operand) -> Result<Op> {
    let part = part_type(d, ty, parts.len())?;
    let to = parts
        .iter()
        .map(|operand| match &operand.kind {
            OperandKind::Name(name) if name == "_" => Ok(None),
            _ => d.register(operand, |register| part.accepts(register), part).map(Some),
        })
        .collect::<Result<_>>()?;
    let from = d.value(source, ty)?;
    Ok(Op::Unpack { to, from, bits: part.bits() })
}

// Memory.

/// The state space of a load or store.
fn space(d: &mut Decoder) -> Space {
    let named = d.choose(&[
        ("global", Space::Global),
        ("const", Space::Global),
        ("shared", Space::Shared),
        ("shared::cta", Space::Shared),
        ("param", Space::Parameter),
    ]);
    named.unwrap_or(Space::Generic)
}

/// How many elements an access has, and their type.
fn elements(d: &mut Decoder) -> Result<(usize, Type)> {
    let count = d.choose(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    let ty = d.ty()?;
    if ty == Type::Pred
        || ty.bits() > 64
        || matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 | Type::Tf32)
    {
        return d.type_error(ty);
    }
    if count * ty.bits() as usize > 128 {
        return d.fail("an access has at most 16 bytes");
    }
    Ok((count, ty))
}

/// `.volatile`, `.relaxed.gpu`, …: whether other blocks may access the same words meanwhile.
fn ordering(d: &mut Decoder, strong: &[(&str, ())]) -> Result<bool> {
    if d.take("volatile") {
        return Ok(true);
    }
    if d.choose(strong).is_some() {
        d.expect(SCOPES)?;
        return Ok(true);
    }
    d.take("weak");
    Ok(false)
}

fn hints(d: &mut Decoder) {
    d.choose(CACHE_LEVELS);
    d.choose(EVICTIONS);
    d.choose(PREFETCHES);
}

fn load(d: &mut Decoder) -> Result<Op> {
    let volatile = ordering(d, &[("relaxed", ()), ("acquire", ())])?;
    let space = space(d);
    hints(d);
    if space == Space::Global && d.take("nc") {
        hints(d);
    }
    let (count, ty) = elements(d)?;
    let destination = d.next_operand()?;
    let parts = split(d, destination, count)?;
    let mut to = Vec::new();
    let mut width = 64;
    for part in parts {
        match &part.kind {
            OperandKind::Name(name) if name == "_" => to.push(None),
            _ => {
                let (slot, register) = d.typed_register(part, |register| ty.accepts_wider(register), ty)?;
                width = register.bits();
                to.push(Some(slot));
            }
        }
    }
    let address = d.address(space)?;
    let element = Element { bytes: ty.bytes(), sign_extended: ty.is_signed().then_some(width) };
    Ok(Op::Load { to: to.into(), element, address, volatile })
}

fn store(d: &mut Decoder) -> Result<Op> {
    let volatile = ordering(d, &[("relaxed", ()), ("release", ())])?;
    let space = space(d);
    if space == Space::Parameter {
        return d.fail("parameters cannot be written");
    }
    hints(d);
    let (count, ty) = elements(d)?;
    let address = d.address(space)?;
    let source = d.next_operand()?;
    let parts = split(d, source, count)?;
    let from = parts.iter().map(|part| wider_source(d, part, ty)).collect::<Result<_>>()?;
    let element = Element { bytes: ty.bytes(), sign_extended: None };
    Ok(Op::Store { from, element, address, volatile })
}

/// The parts of a vector operand, or the operand itself.
pub(super) fn split<'a>(d: &Decoder, operand: &'a Operand, count: usize) -> Result<&'a [Operand]> {
    match &operand.kind {
        OperandKind::Vector(parts) if count > 1 && parts.len() == count => Ok(parts),
        OperandKind::Vector(_) => d.fail(format!("a vector of {count} elements is wanted")),
        _ if count == 1 => Ok(std::slice::from_ref(operand)),
        _ => d.fail(format!("a vector of {count} elements is wanted")),
    }
}

fn convert_address(d: &mut Decoder) -> Result<Op> {
    let to_space = d.take("to");
    let space = d.expect(&[
        ("global", Space::Global),
        ("const", Space::Global),
        ("shared", Space::Shared),
        ("shared::cta", Space::Shared),
        ("param", Space::Parameter),
    ])?;
    let ty = d.ty()?;
    if ty != Type::U64 {
        return d.type_error(ty);
    }
    let to = d.to(ty)?;
    let operand = d.next_operand()?;
    let from = match &operand.kind {
        OperandKind::Name(_) => moved_value(d, operand, ty)?,
        _ => return Err(Error::new(operand.place, &operand.text, "expected a register")),
    };
    let function = match (space, to_space) {
        (Space::Global, _) => Function::one(|address: u64| address),
        (Space::Shared, false) => Function::one(|address: u64| address.wrapping_add(crate::shared::WINDOW)),
        (Space::Shared, true) => Function::one(|address: u64| address.wrapping_sub(crate::shared::WINDOW)),
        _ => return d.fail("parameters have no generic address here"),
    };
    Ok(Op::Compute { function, to, from: [from, 0, 0, 0] })
}

fn prefetch(d: &mut Decoder) -> Result<Op> {
    d.take("global");
    if d.choose(&[("L1", ()), ("L2", ())]).is_none() {
        return d.fail("expected `.L1` or `.L2`");
    }
    let operand = d.next_operand()?;
    d.address_of(operand, Space::Global).map(|_| Op::Nothing)
}
