//! The visage runtime.

pub mod array;
pub mod checkpoint;
pub mod files;
