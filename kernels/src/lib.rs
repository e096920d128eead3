//! The tile micro-kernels.
