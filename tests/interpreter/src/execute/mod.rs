//! Execution: blocks of warps that take turns.

mod barrier;
mod block;
mod collective;
mod copy;
mod matrix;
mod memory;
mod update;
mod warp;

pub(crate) use block::Block;
