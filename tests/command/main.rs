//! The `visage` command as its users meet it: the real binary, in folders of its own.

mod arguments;
mod assess;
mod codeformer;
mod faces;
mod golden;
mod inception;
mod nerf;
mod pictures;
#[cfg(unix)]
mod resume;
mod support;
mod training;
