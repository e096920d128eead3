//! Task drivers: what feeds an inference program when it is not fed tensors.
//!
//! A task of a spec may name one of these with options; `visage run SPEC TASK` then needs weights alone.
//! Options are written in the spec, replaced by `Report(options: …)` in training and by
//! `--opt NAME=VALUE` (`--frames`, `--size`, `--seeds`, `--psi`, `--w`, `--aligned`) on the command line.
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
//! [`Mesh`](mesh) extracts a surface. The others have options of their own: [`Restore`](restore) restores the faces of
//! photographs, [`Compare`](compare) measures what tasks make of held-out pictures, [`Generate`](generate) makes pictures
//! of seeds, [`Assess`](assess) measures how far made pictures are from real ones, and [`Iterate`](iterate) looks, step by
//! step, for what a picture is made of.

pub mod assess;
pub mod codes;
pub mod compare;
pub mod detector;
pub mod evaluate;
mod face_program;
mod features;
mod files;
mod film;
pub mod generate;
mod generator;
pub mod iterate;
pub mod mesh;
mod prepared;
pub mod rays;
pub mod render;
pub mod restore;
pub mod restorer;
mod seeds;
mod trajectory;

use crate::{
    buffer::State,
    data::DataError,
    executor::{ExecuteError, ExecuteOptions},
    media::Picture,
    options::{OptionError, Options},
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

/// A kind of driver: what is known of it before it runs.
struct Driver {
    name: &'static str,
    run: fn(&Context<'_>, &str, &Task, &mut Options, &mut State) -> Result<Results, TaskError>,
    /// Whether it is given files by `--in`, as its option `files`.
    takes_files: bool,
    /// Whether it uses the spec's data.
    needs_data: bool,
    /// Whether it writes one file rather than a folder.
    is_file: fn(&Path) -> bool,
    companions: fn(Options) -> Companions,
    /// The figures that it always finds.
    figures: fn(Options) -> Vec<String>,
    /// Whether it runs the task's own program.
    runs_program: fn(Options) -> bool,
}

/// Other tasks that a driver runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Companions {
    /// Those without whose parameters it cannot run.
    pub required: Vec<String>,
    /// Those that it runs where their weights are given.
    pub optional: Vec<String>,
    /// Those without whose weights it finds no figures: reports of a training run are without them then, and a command fails.
    pub measuring: Vec<String>,
}

const DRIVER: Driver = Driver {
    name: "",
    run: |_, _, _, _, _| Ok(Results::default()),
    takes_files: false,
    needs_data: true,
    is_file: |_| false,
    companions: |_| Companions::default(),
    figures: |_| Vec::new(),
    runs_program: |_| true,
};

static DRIVERS: [Driver; 8] = [
    Driver { name: "Render", run: render::render, ..DRIVER },
    Driver {
        name: "Evaluate",
        run: evaluate::evaluate,
        figures: |_| ["psnr", "ssim"].map(str::to_owned).into(),
        ..DRIVER
    },
    Driver {
        name: "Mesh",
        run: mesh::mesh,
        needs_data: false,
        is_file: mesh::is_file,
        companions: mesh::companions,
        ..DRIVER
    },
    Driver {
        name: "Restore",
        run: restore::restore,
        takes_files: true,
        needs_data: false,
        is_file: restore::is_file,
        companions: restore::companions,
        ..DRIVER
    },
    Driver {
        name: "Compare",
        run: compare::compare,
        companions: compare::companions,
        figures: compare::figures,
        ..DRIVER
    },
    Driver { name: "Generate", run: generate::generate, needs_data: false, companions: generate::companions, ..DRIVER },
    Driver {
        name: "Iterate",
        run: iterate::iterate,
        takes_files: true,
        needs_data: false,
        companions: iterate::companions,
        ..DRIVER
    },
    Driver {
        name: "Assess",
        run: assess::assess,
        companions: assess::companions,
        figures: assess::figures,
        runs_program: assess::runs_program,
        ..DRIVER
    },
];

fn driver(call: &Call) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == call.kind)
}

/// Whether a driver is given files by `--in`, as its option `files`.
pub fn takes_files(call: &Call) -> bool {
    driver(call).is_some_and(|driver| driver.takes_files)
}

/// Whether a driver uses the spec's data.
pub fn needs_data(call: &Call) -> bool {
    driver(call).is_none_or(|driver| driver.needs_data)
}

/// The other tasks that a task's driver runs. Options of the wrong kind are told of when it does.
pub fn companions(task: &Task, replaced: &BTreeMap<String, Value>) -> Companions {
    let found = task.driver.as_ref().and_then(|call| Some((driver(call)?, call)));
    found.map(|(driver, call)| (driver.companions)(Options::new(call, replaced))).unwrap_or_default()
}

/// The figures that a task's driver always finds.
pub fn figures(task: &Task, replaced: &BTreeMap<String, Value>) -> Vec<String> {
    let found = task.driver.as_ref().and_then(|call| Some((driver(call)?, call)));
    found.map(|(driver, call)| (driver.figures)(Options::new(call, replaced))).unwrap_or_default()
}

/// Whether a task's driver runs the task's own program.
pub fn runs_program(task: &Task, replaced: &BTreeMap<String, Value>) -> bool {
    let found = task.driver.as_ref().and_then(|call| Some((driver(call)?, call)));
    found.is_none_or(|(driver, call)| (driver.runs_program)(Options::new(call, replaced)))
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
    let Some(driver) = driver(call) else {
        let help = crate::names::suggestion(&call.kind, DRIVERS.iter().map(|driver| driver.name));
        let problem = format!("the task `{name}`: there is no driver `{}`: {help}", call.kind);
        return Err(TaskError::Unsuitable(problem));
    };
    let folder = match (driver.is_file)(context.out) {
        true => context.out.parent().filter(|parent| !parent.as_os_str().is_empty()),
        false => Some(context.out),
    };
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(DataError::io(folder))?;
    }
    (driver.run)(context, name, task, &mut Options::new(call, replaced), state)
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
