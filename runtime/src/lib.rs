//! The visage runtime.

pub mod array;
pub mod buffer;
pub mod checkpoint;
pub mod command;
pub mod console;
pub mod data;
pub mod executor;
pub mod files;
pub mod geometry;
pub mod media;
pub mod metrics;
pub mod options;
pub mod scene;
pub mod sources;
pub mod tasks;
pub mod training;
