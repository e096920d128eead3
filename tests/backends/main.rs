//! The processor's code against the reference evaluator: random graphs and, for sizes and values that
//! those do not reach, graphs written by hand.

mod code_cache;
mod interpreter;
mod operations;
mod precision;
mod products;
mod ptx;
mod random;
mod scalars;
mod support;
mod updates;
mod widths;
