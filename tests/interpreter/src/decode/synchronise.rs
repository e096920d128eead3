//! What lanes, warps and blocks do together: barriers, shuffles, votes, atomic operations.

use super::{
    Decoder, Result,
    data::{SCOPES, split},
};
use crate::{
    op::{Atomic, Barrier, Op, PredicateSlot, Shuffle, Slot, Space, Update, Vote},
    text::OperandKind,
    types::Type,
};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "bar" | "barrier" => barrier(d),
        "membar" | "fence" => fence(d),
        "shfl" => shuffle(d),
        "vote" => vote(d),
        "activemask" => {
            d.expect(&[("b32", ())])?;
            Ok(Op::ActiveMask { to: d.to(Type::B32)? })
        }
        "redux" => reduce(d),
        "match" => matching(d),
        _ => atomic(d),
    }
}

fn barrier(d: &mut Decoder) -> Result<Op> {
    d.take("cta");
    if d.mnemonic == "bar" && d.take("warp") {
        d.expect(&[("sync", ())])?;
        return Ok(Op::WarpBarrier { members: d.from(Type::B32)? });
    }
    let waits = d.expect(&[("sync", true), ("arrive", false)])?;
    if d.mnemonic == "barrier" {
        d.take("aligned");
    }
    let id = d.from(Type::U32)?;
    let threads = if d.has_operand() { Some(d.from(Type::U32)?) } else { None };
    if !waits && threads.is_none() {
        return d.fail("the number of threads must be given");
    }
    Ok(Op::Barrier(Barrier { id, threads, waits }))
}

fn fence(d: &mut Decoder) -> Result<Op> {
    if d.mnemonic == "membar" {
        d.expect(&[("cta", ()), ("gl", ()), ("sys", ())])?;
        return Ok(Op::Nothing);
    }
    d.choose(&[("sc", ()), ("acq_rel", ())]);
    d.expect(SCOPES)?;
    Ok(Op::Nothing)
}

/// The operand behind `.sync` instructions that names the lanes taking part.
fn members(d: &mut Decoder) -> Result<Slot> {
    d.from(Type::B32)
}

fn shuffle(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("sync", ())])?;
    let shuffle = d.expect(&[
        ("up", Shuffle::Up),
        ("down", Shuffle::Down),
        ("bfly", Shuffle::Butterfly),
        ("idx", Shuffle::Index),
    ])?;
    d.expect(&[("b32", ())])?;
    let operand = d.next_operand()?;
    let (destination, valid) = match &operand.kind {
        OperandKind::Pair(destination, valid) => (&**destination, Some(d.predicate_to(valid)?)),
        _ => (operand, None),
    };
    let to = d.register(destination, |register| Type::B32.accepts(register), Type::B32)?;
    let (from, lane, clamp) = (d.from(Type::B32)?, d.from(Type::B32)?, d.from(Type::B32)?);
    Ok(Op::Shuffle { shuffle, to, valid, from, lane, clamp, members: members(d)? })
}

fn vote(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("sync", ())])?;
    let vote = d.expect(&[
        ("all", Some(Vote::All)),
        ("any", Some(Vote::Any)),
        ("uni", Some(Vote::Uniform)),
        ("ballot", None),
    ])?;
    match vote {
        Some(vote) => {
            d.expect(&[("pred", ())])?;
            let operand = d.next_operand()?;
            let to = d.predicate_to(operand)?;
            Ok(Op::Vote { vote, to, from: d.condition()?, members: members(d)? })
        }
        None => {
            d.expect(&[("b32", ())])?;
            Ok(Op::Ballot { to: d.to(Type::B32)?, from: d.condition()?, members: members(d)? })
        }
    }
}

fn reduce(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("sync", ())])?;
    let name =
        d.expect(&[("add", "add"), ("min", "min"), ("max", "max"), ("and", "and"), ("or", "or"), ("xor", "xor")])?;
    let ty = d.ty()?;
    let signed = ty.is_signed();
    let update = match (name, ty) {
        ("add", Type::U32 | Type::S32) => Update::Add,
        ("min", Type::U32 | Type::S32) => Update::Min { signed },
        ("max", Type::U32 | Type::S32) => Update::Max { signed },
        ("and", Type::B32) => Update::And,
        ("or", Type::B32) => Update::Or,
        ("xor", Type::B32) => Update::Xor,
        _ => return d.type_error(ty),
    };
    Ok(Op::Reduce { update, to: d.to(ty)?, from: d.from(ty)?, members: members(d)? })
}

fn matching(d: &mut Decoder) -> Result<Op> {
    let all = d.expect(&[("any", false), ("all", true)])?;
    d.expect(&[("sync", ())])?;
    let ty = d.ty()?;
    if !matches!(ty, Type::B32 | Type::B64) {
        return d.type_error(ty);
    }
    let operand = d.next_operand()?;
    let (destination, equal): (_, Option<PredicateSlot>) = match &operand.kind {
        OperandKind::Pair(destination, equal) if all => (&**destination, Some(d.predicate_to(equal)?)),
        _ => (operand, None),
    };
    let to = d.register(destination, |register| Type::B32.accepts(register), Type::B32)?;
    Ok(Op::Match { to, all, equal, from: d.from(ty)?, members: members(d)? })
}

// Atomic operations.

fn atomic(d: &mut Decoder) -> Result<Op> {
    let returns = d.mnemonic == "atom";
    d.choose(&[("relaxed", ()), ("acquire", ()), ("release", ()), ("acq_rel", ())]);
    d.choose(SCOPES);
    let space = d
        .choose(&[("global", Space::Global), ("shared", Space::Shared), ("shared::cta", Space::Shared)])
        .unwrap_or(Space::Generic);
    let count = d.choose(&[("v2", 2), ("v4", 4)]);
    let name = d.expect(&[
        ("add", "add"),
        ("min", "min"),
        ("max", "max"),
        ("and", "and"),
        ("or", "or"),
        ("xor", "xor"),
        ("exch", "exch"),
        ("cas", "cas"),
        ("inc", "inc"),
        ("dec", "dec"),
    ])?;
    let unflushed = d.take("noftz");
    // Where the count stands differs between versions of the instruction set.
    let count = count.or_else(|| d.choose(&[("v2", 2), ("v4", 4)]));
    let ty = d.ty()?;
    if let Some(count) = count {
        return vector_addition(d, name, space, count, ty);
    }
    let Some(update) = update(name, ty) else { return d.type_error(ty) };
    if unflushed != matches!(update, Update::AddF16x2 | Update::AddBf16x2) {
        return d.fail("`.noftz` belongs to sums of 16-bit numbers, and only there");
    }
    if !returns && matches!(update, Update::Exchange | Update::CompareExchange) {
        return d.fail("only `atom` exchanges");
    }
    let to = if returns { destination(d, ty)? } else { None };
    let address = d.address(space)?;
    let first = d.from(ty)?;
    let second = if update == Update::CompareExchange { d.from(ty)? } else { first };
    Ok(Op::Atomic(Atomic { update, to, address, bytes: ty.bytes(), operands: [first, second] }))
}

fn destination(d: &mut Decoder, ty: Type) -> Result<Option<Slot>> {
    let operand = d.next_operand()?;
    match &operand.kind {
        OperandKind::Name(name) if name == "_" => Ok(None),
        _ => d.register(operand, |register| ty.accepts(register), ty).map(Some),
    }
}

fn update(name: &str, ty: Type) -> Option<Update> {
    let signed = ty.is_signed();
    Some(match (name, ty) {
        ("add", Type::U32 | Type::S32 | Type::U64) => Update::Add,
        ("add", Type::F32) => Update::AddF32,
        ("add", Type::F64) => Update::AddF64,
        ("add", Type::F16x2) => Update::AddF16x2,
        ("add", Type::Bf16x2) => Update::AddBf16x2,
        ("min", Type::U32 | Type::S32 | Type::U64 | Type::S64) => Update::Min { signed },
        ("max", Type::U32 | Type::S32 | Type::U64 | Type::S64) => Update::Max { signed },
        ("and", Type::B32 | Type::B64) => Update::And,
        ("or", Type::B32 | Type::B64) => Update::Or,
        ("xor", Type::B32 | Type::B64) => Update::Xor,
        ("exch", Type::B32 | Type::B64) => Update::Exchange,
        ("cas", Type::B32 | Type::B64) => Update::CompareExchange,
        ("inc", Type::U32) => Update::Increment,
        ("dec", Type::U32) => Update::Decrement,
        _ => return None,
    })
}

fn vector_addition(d: &mut Decoder, name: &str, space: Space, count: usize, ty: Type) -> Result<Op> {
    if d.mnemonic != "red" || name != "add" || ty != Type::F32 || space != Space::Global {
        return d.fail("only `red.global.add` of `.f32` is known on vectors");
    }
    let address = d.address(space)?;
    let operand = d.next_operand()?;
    let from = split(d, operand, count)?.iter().map(|part| d.value(part, ty)).collect::<Result<_>>()?;
    Ok(Op::AtomicVector { from, address })
}
