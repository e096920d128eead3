//! Training.

pub mod events;
pub mod folder;
pub mod interrupt;
pub mod measurements;
