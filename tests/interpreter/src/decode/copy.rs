//! Asynchronous copies from global to shared memory.

use super::{Decoder, Result};
use crate::{
    op::{AsyncCopy, Op, Space},
    types::Type,
};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("async", ())])?;
    if d.take("commit_group") {
        return Ok(Op::CommitCopies);
    }
    if d.take("wait_all") {
        return Ok(Op::WaitCopies { groups: None });
    }
    if d.take("wait_group") {
        let groups = d.immediate()?;
        return match u32::try_from(groups) {
            Ok(groups) => Ok(Op::WaitCopies { groups: Some(groups) }),
            Err(_) => d.fail("too many groups"),
        };
    }
    copy(d)
}

fn copy(d: &mut Decoder) -> Result<Op> {
    let through_l2 = d.expect(&[("cg", true), ("ca", false)])?;
    d.expect(&[("shared", ()), ("shared::cta", ())])?;
    d.expect(&[("global", ())])?;
    d.choose(&[("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())]);
    let (to, from) = (d.address(Space::Shared)?, d.address(Space::Global)?);
    let bytes = match (d.immediate()?, through_l2) {
        (16, _) => 16,
        (8, false) => 8,
        (4, false) => 4,
        (_, true) => return d.fail("`.cg` copies 16 bytes"),
        _ => return d.fail("`.ca` copies 4, 8 or 16 bytes"),
    };
    let read = if d.has_operand() { Some(d.from(Type::U32)?) } else { None };
    Ok(Op::CopyAsync(AsyncCopy { to, from, bytes, read }))
}
