//! The `visage` command as its users meet it: the real binary, in folders of its own.

mod arguments;
mod assess;
mod codeformer;
mod faces;
mod generators;
mod golden;
mod gram;
mod inception;
mod nerf;
mod pictures;
mod pigan;
#[cfg(unix)]
mod resume;
mod support;
mod training;
