//! The equation language: tokens, syntax tree and parser.
//!
//! Equations are statements over tensors with named axes. Newlines end statements except inside
//! brackets; everything else about layout is free. See the language reference for each construct.

mod lexer;
mod parser;
mod syntax;

pub(crate) use parser::{parse_declaration, parse_expression, parse_functions, parse_shape, parse_statements};
pub(crate) use syntax::*;
