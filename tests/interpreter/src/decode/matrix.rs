//! Matrix products of a warp, and the loads and stores of their fragments.

use super::{Decoder, Result};
use crate::{
    op::{Factor, Op, Product, Space},
    types::Type,
};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("sync", ())])?;
    d.expect(&[("aligned", ())])?;
    if d.mnemonic == "mma" { product(d) } else { matrices(d) }
}

fn matrices(d: &mut Decoder) -> Result<Op> {
    d.expect(&[("m8n8", ())])?;
    let count = d.expect(&[("x1", 1), ("x2", 2), ("x4", 4)])?;
    let transposed = d.take("trans");
    let space = d.choose(&[("shared", Space::Shared), ("shared::cta", Space::Shared)]).unwrap_or(Space::Generic);
    d.expect(&[("b16", ())])?;
    if d.mnemonic == "ldmatrix" {
        let to = d.vector_to(count, Type::B32)?;
        Ok(Op::LoadMatrix { to, address: d.address(space)?, transposed })
    } else {
        let address = d.address(space)?;
        Ok(Op::StoreMatrix { from: d.vector_from(count, Type::B32)?, address, transposed })
    }
}

fn product(d: &mut Decoder) -> Result<Op> {
    let depth = d.expect(&[("m16n8k4", 4), ("m16n8k8", 8), ("m16n8k16", 16)])?;
    d.expect(&[("row", ())])?;
    d.expect(&[("col", ())])?;
    d.expect(&[("f32", ())])?;
    let factors = [("tf32", Factor::Tf32), ("f16", Factor::F16), ("bf16", Factor::Bf16)];
    let factor = d.expect(&factors)?;
    if d.expect(&factors)? != factor {
        return d.fail("both factors have the same type");
    }
    d.expect(&[("f32", ())])?;
    // Words of the fragment of B: each holds one or two elements along the depth, for four lanes.
    let words = match (factor, depth) {
        (Factor::Tf32, 4 | 8) => depth / 4,
        (Factor::F16 | Factor::Bf16, 8 | 16) => depth / 8,
        _ => return d.fail("this shape is none of the type"),
    };
    let fragment = d.vector_to(4, Type::F32)?;
    let a = d.vector_from(2 * words, Type::B32)?;
    let b = d.vector_from(words, Type::B32)?;
    let c = d.vector_from(4, Type::F32)?;
    Ok(Op::Multiply(Box::new(Product { factor, d: fragment, a, b, c })))
}
