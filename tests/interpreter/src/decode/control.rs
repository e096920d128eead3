//! Control flow.

use super::{Decoder, Result};
use crate::{error::Error, op::Op, text::OperandKind};

pub(super) fn decode(d: &mut Decoder) -> Result<Op> {
    match d.mnemonic {
        "bra" => {
            let uniform = d.take("uni");
            let operand = d.next_operand()?;
            let OperandKind::Name(label) = &operand.kind else {
                return Err(Error::new(operand.place, &operand.text, "expected a label"));
            };
            Ok(Op::Branch { target: d.scope.label(label, operand.place)?, uniform })
        }
        "ret" => {
            d.take("uni");
            Ok(Op::Exit)
        }
        "exit" => Ok(Op::Exit),
        _ => Ok(Op::Trap),
    }
}
