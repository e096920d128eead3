//! The visage runtime.

pub mod array;
pub mod buffer;
pub mod checkpoint;
pub mod console;
pub mod data;
pub mod files;
pub mod geometry;
pub mod media;
pub mod metrics;
pub mod scene;
pub mod training;
