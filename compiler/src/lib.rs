//! The visage compiler: from a RON spec to programs of kernels.

pub mod axis;
pub mod graph;
pub mod language;
pub mod system;
pub mod tensor;
