//! The interpreter's tests: what instructions compute, what kernels must not do, and what is said of text that is none.

mod arithmetic;
mod faults;
mod kernels;
mod matrix;
mod support;
mod text;
