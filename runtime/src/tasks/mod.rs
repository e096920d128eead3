//! Task drivers: what feeds an inference program when it is not fed tensors.
//!
//! A task of a spec may name one of these with options; `visage run SPEC TASK` then needs weights alone.
//! Options are written in the spec, replaced by `Report(options: …)` in training and by
//! `--opt NAME=VALUE` (`--frames`, `--size`, `--w`, `--aligned`) on the command line.
//!
//! The drivers of fields share these:
//!
//! | option | meaning |
//! |---|---|
//! | `data` | the data source; the spec's first unless given |
//! | `inputs` | which field each input of the program takes, where the names differ: `{"rays_o": "origin"}` |
//! | `chunk` | rays or points computed at once; 4096 unless given |
//!
//! [`Render`](render) makes pictures and videos, [`Evaluate`](evaluate) compares with held-out views,
//! [`Mesh`](mesh) extracts a surface; [`Restore`](restore) restores the faces of photographs, and
//! [`Compare`](compare) measures what tasks make of held-out pictures; these two have options of their own.

pub mod compare;
pub mod detector;
pub mod evaluate;
mod face_program;
pub mod mesh;
pub mod rays;
pub mod render;
pub mod restore;
pub mod restorer;

use crate::{
    buffer::State,
    data::DataError,
    executor::{ExecuteError, ExecuteOptions},
    media::Picture,
    options::OptionError,
    sources::{SourceError, Sources},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use thiserror::Error;
use visage_compiler::{
    language::{Diagnostics, Overrides, ProgramKind, Spec},
    system::{Call, System, Task, Value},
};

/// Why a task did not run.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum TaskError {
    /// An option is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Option(#[from] OptionError),
    /// The data cannot be had.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceError),
    /// A picture, a video or a mesh cannot be read or written.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataError),
    /// The spec is wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Spec(#[from] Diagnostics),
    /// The program cannot run.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Execute(#[from] ExecuteError),
    /// The program is not of the kind that the driver feeds.
    #[error("{0}")]
    Unsuitable(String),
    /// The run was asked to stop.
    #[error("stopped")]
    Interrupted,
}

/// What drivers work with.
#[derive(Debug)]
pub struct Context<'a> {
    /// The spec, to elaborate programs at the driver's sizes.
    pub spec: &'a Spec,
    /// The sizes that the command line replaces.
    pub overrides: &'a Overrides,
    /// The spec, elaborated.
    pub system: &'a System,
    /// The data sources.
    pub sources: &'a Sources,
    /// How programs run.
    pub execute: &'a ExecuteOptions,
    /// The seed of random nodes.
    pub seed: u64,
    /// Where files go: a folder, made if there is none, or the one file of a mesh, of a picture or of a video.
    pub out: &'a Path,
}

/// What a task found and made.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Figures by name, such as `psnr`.
    pub figures: Vec<(String, f64)>,
    /// A table for people, where there is more than that.
    pub table: Option<String>,
    /// Pictures to show, by name.
    pub pictures: Vec<(String, Picture)>,
    /// Everything that was written.
    pub files: Vec<PathBuf>,
}

/// The drivers by name.
pub const DRIVERS: [&str; 5] = ["Render", "Evaluate", "Mesh", "Restore", "Compare"];

/// Whether a driver is given files by `--in`, as its option `files`.
pub fn takes_files(driver: &Call) -> bool {
    driver.kind == "Restore"
}

/// The names of other tasks that a task's driver runs where their weights are given.
pub fn companions(task: &Task, replaced: &BTreeMap<String, Value>) -> Vec<String> {
    match &task.driver {
        Some(call) if call.kind == "Restore" => restore::companions(call, replaced),
        Some(call) if call.kind == "Compare" => {
            compare::variants(call, replaced).0.into_iter().chain(compare::distance(call, replaced)).collect()
        }
        _ => Vec::new(),
    }
}

/// The names of other tasks without whose parameters a task's driver cannot run.
pub fn required(task: &Task, replaced: &BTreeMap<String, Value>) -> Vec<String> {
    match &task.driver {
        Some(call) if call.kind == "Compare" => compare::variants(call, replaced).0,
        _ => Vec::new(),
    }
}

/// The figures that a task's driver always finds.
pub fn figures(task: &Task, replaced: &BTreeMap<String, Value>) -> Vec<String> {
    match &task.driver {
        Some(call) if call.kind == "Evaluate" => ["psnr", "ssim"].map(str::to_owned).into(),
        Some(call) if call.kind == "Compare" => compare::variants(call, replaced).1,
        _ => Vec::new(),
    }
}

/// Whether a driver uses the spec's data.
pub fn needs_data(driver: &Call) -> bool {
    driver.kind != "Restore"
}

/// Runs a task with its driver, some of whose options are replaced.
///
/// # Errors
/// The task has no driver or an unknown one; an option, the data or the program is wrong; a file
/// cannot be written; the run was asked to stop.
pub fn drive(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    replaced: &BTreeMap<String, Value>,
    state: &mut State,
) -> Result<Results, TaskError> {
    let Some(call) = &task.driver else {
        return Err(TaskError::Unsuitable(format!("the task `{name}` has no driver: give its inputs with `--in`")));
    };
    let is_file = match call.kind.as_str() {
        "Mesh" => mesh::is_file(context.out),
        "Restore" => restore::is_file(context.out),
        _ => false,
    };
    let folder = match is_file {
        true => context.out.parent().filter(|parent| !parent.as_os_str().is_empty()),
        false => Some(context.out),
    };
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(DataError::io(folder))?;
    }
    let mut options = crate::options::Options::new(call, replaced);
    match call.kind.as_str() {
        "Render" => render::render(context, name, task, &mut options, state),
        "Evaluate" => evaluate::evaluate(context, name, task, &mut options, state),
        "Mesh" => mesh::mesh(context, name, task, &mut options, state),
        "Restore" => restore::restore(context, name, &mut options, state),
        "Compare" => compare::compare(context, &mut options, state),
        kind => {
            let help = crate::names::suggestion(kind, DRIVERS);
            Err(TaskError::Unsuitable(format!("the task `{name}`: there is no driver `{kind}`: {help}")))
        }
    }
}

/// The sizes at which a task is given one picture at a time, by an input whose first axis counts pictures: a size by name of
/// that axis is 1.
fn one_picture(
    context: &Context<'_>,
    name: &str,
    input: &str,
    given: &BTreeSet<String>,
) -> Result<Overrides, TaskError> {
    let as_written = context.spec.program(ProgramKind::Task, name, context.overrides, given)?;
    let images = as_written.inputs.get(input).and_then(|declared| declared.size_names.first());
    let images = images.filter(|name| context.system.sizes.contains_key(*name));
    Ok(images.into_iter().fold(context.overrides.clone(), |overrides, images| overrides.set(images, 1)))
}

/// Fails if the run was asked to stop.
fn go_on() -> Result<(), TaskError> {
    if crate::training::interrupt::requested() { Err(TaskError::Interrupted) } else { Ok(()) }
}
