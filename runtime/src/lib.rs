//! The visage runtime.

pub mod array;
pub mod buffer;
pub mod checkpoint;
pub mod console;
pub mod files;
pub mod training;
