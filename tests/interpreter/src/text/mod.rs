//! From the text of a module to its syntax: which statements there are, and where.
//!
//! Nothing here knows an instruction. What an opcode means, and which operands suit it, is decided by
//! [`decode`](crate::decode).

mod lexer;
mod parser;
mod syntax;

pub(crate) use parser::parse;
pub(crate) use syntax::*;
