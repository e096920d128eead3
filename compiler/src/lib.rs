//! The visage compiler: from a RON spec to programs of kernels.

pub mod autodiff;
pub mod axis;
pub mod cpu;
pub mod differences;
mod elementary;
pub mod generate;
pub mod graph;
pub mod language;
pub mod plan;
pub mod ptx;
pub mod random;
pub mod reference;
pub mod simplify;
pub mod system;
pub mod tensor;
pub mod training;
