//! `visage run`: an inference task, fed with tensors or by its driver.

use super::{
    arguments::{Assignment, DeviceArguments, Given, SpecArguments},
    failure::{Because, Code, Diagnosed, Failure, Outcome},
    feed::{self, WeightArguments},
    print,
    source::Source,
    train::DataFolder,
};
use crate::{
    buffer::Buffer,
    checkpoint::Checkpoint,
    executor::Executable,
    media::Picture,
    options::parse_value,
    sources::Sources,
    tasks::{Context, TaskError, companions, drive, needs_data, runs_program, takes_files},
    training::interrupt,
};
use indexmap::IndexMap;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};
use visage_compiler::{
    graph::DType,
    language::ProgramKind,
    random::RandomKey,
    system::{Task, Value},
};

/// Run an inference task.
///
/// With `--in NAME=…`, the task's program is fed those values and every output is written. Without, a task that
/// has a driver (`Render`, `Evaluate`, `Mesh`, `Restore`, `Compare`, `Generate`, `Iterate`, `Assess`) is fed by it and
/// leaves pictures, videos or meshes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tensors in files are in the order of axes that `visage check` shows; sizes come from the tensors.
An input may be a .safetensors, .pth or .npy file, a picture, a folder of pictures, or a number.
`Restore` and `Iterate` are given photographs, folders of them or patterns: --in without a NAME.

Examples:
  visage run graphs/nerf render --weights runs/nerf --out orbit --frames 90
  visage run graphs/nerf render --weights runs/nerf --out view --opt view=3 --size 800
  visage run graphs/nerf evaluate --weights runs/nerf --json
  visage run graphs/nerf mesh --weights runs/nerf --out head.ply --opt resolution=256
  visage run graphs/pigan sample --weights runs/pigan --seeds 0-19,33 --psi 0.5 --out faces
  visage run graphs/pigan sample --weights runs/pigan --opt show=orbit --seeds 3 --out orbit
  visage run graphs/nerf rays --weights w.safetensors \\
      --in rays_o=batch.safetensors:origins --in rays_d=batch.safetensors:directions --in near=2 \\
      --out colours.safetensors")]
pub struct Arguments {
    #[command(flatten)]
    source: SpecArguments,

    /// The task; `visage check SPEC` lists them
    task: String,

    #[command(flatten)]
    weights: WeightArguments,

    /// Value of an input: NAME=FILE, NAME=FILE:TENSOR or NAME=NUMBER; or a FILE for the driver
    #[arg(long = "in", value_name = "[NAME=]FILE")]
    given: Vec<Given>,

    /// Where results go: a .safetensors file for all outputs, NAME=FILE for one (.safetensors, .png), a driver's folder,
    /// the .ply or .obj file of a mesh, or the .png, .jpg or .mp4 file of restored faces
    #[arg(long, value_name = "[NAME=]FILE")]
    out: Vec<Output>,

    /// Data set of the driver, where the spec or the training run names no other
    #[arg(long, value_name = "[SOURCE=]DIR", help_heading = "Driver")]
    data: Vec<DataFolder>,

    /// Replace an option of the driver; may be repeated
    #[arg(long = "opt", value_name = "NAME=VALUE", help_heading = "Driver")]
    options: Vec<Assignment>,

    /// Frames of a camera path, as `--opt frames=N`
    #[arg(long, value_name = "N", help_heading = "Driver")]
    frames: Option<u32>,

    /// Width of pictures in pixels, as `--opt size=N`
    #[arg(long, value_name = "N", help_heading = "Driver")]
    size: Option<u32>,

    /// Camera path (auto, orbit, spiral, views or a .json file; of generated faces front, swing or turn), as `--opt path=NAME`
    #[arg(long, value_name = "PATH", help_heading = "Driver")]
    path: Option<String>,

    /// Seeds of pictures or meshes, numbers and ranges such as 0-19,33, as `--opt seeds=LIST`
    #[arg(long, value_name = "LIST", help_heading = "Driver")]
    seeds: Option<String>,

    /// How far codes of generated pictures may be from their mean, from 0 (the mean) to 1 (as far as they are), as
    /// `--opt psi=X`
    #[arg(long, value_name = "X", allow_negative_numbers = true, help_heading = "Driver")]
    psi: Option<f64>,

    /// How faithful a restored face is to what was given, from 0 (its quality counts) to 1, as `--opt w=X`
    #[arg(long, value_name = "X", help_heading = "Driver")]
    w: Option<f64>,

    /// Pictures are upright faces already, as `--opt aligned=true`
    #[arg(long, help_heading = "Driver")]
    aligned: bool,

    /// Seed of random nodes
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Print the results as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArguments,
}

/// `[NAME=]FILE` of `--out`.
#[derive(Clone, Debug)]
struct Output {
    name: Option<String>,
    path: PathBuf,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Output, String> {
        Ok(match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !name.contains('/') => {
                Output { name: Some(name.into()), path: path.into() }
            }
            _ => Output { name: None, path: text.into() },
        })
    }
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut source = Source::open(&arguments.source)?;
    feed::exists(&source, ProgramKind::Task, &arguments.task)?;
    feed::adopt(&mut source, &arguments.weights)?;
    let loose = arguments.given.iter().filter(|given| given.name.is_none()).count();
    if loose == arguments.given.len() {
        let (files, overrides) = feed::sized_by_weights(&source, &arguments.task, &arguments.weights)?;
        let system = source.spec.system(&overrides).diagnosed()?;
        let task = &system.tasks[&arguments.task];
        if task.driver.as_ref().is_some_and(|driver| loose == 0 || takes_files(driver)) {
            source.overrides = overrides;
            let options = replaced(arguments);
            let mut wanted: Vec<&str> = task.program.parameters.keys().map(String::as_str).collect();
            if !runs_program(task, &options) {
                wanted.clear();
            }
            let mut state = feed::parameters(&system, &wanted, &files, &arguments.weights, arguments.seed)?;
            let others = companions(task, &options);
            let needed = others.required.iter().chain(&others.measuring);
            for other in needed.filter_map(|name| system.tasks.get(name)) {
                let wanted: Vec<&str> = other.program.parameters.keys().map(String::as_str).collect();
                state.extend(feed::parameters(&system, &wanted, &files, &arguments.weights, arguments.seed)?);
            }
            for other in others.optional.iter().filter_map(|name| system.tasks.get(name)) {
                state.extend(feed::all_or_none(&system, other, &files)?);
            }
            return driven(arguments, &source, &system, task, &mut state);
        }
    }
    fed(arguments, &source)
}

/// Feeds the program from files and writes its outputs.
fn fed(arguments: &Arguments, source: &Source) -> Outcome {
    if arguments.out.is_empty() {
        return Err(Failure::with_help(
            Code::Usage,
            "there is nowhere to write the outputs",
            "give a file with `--out`",
        ));
    }
    let task = &arguments.task;
    let mut fed = feed::feed(source, ProgramKind::Task, task, &arguments.given, &arguments.weights, arguments.seed, 0)?;
    let options = arguments.device.options();
    let mut executable = Executable::new(&fed.program, &IndexMap::new(), &options)?;
    tracing::debug!("memory: {} bytes", executable.memory().total());
    let outputs = executable.run(&mut fed.state, &fed.inputs, RandomKey { seed: arguments.seed, step: 0 })?;
    for Output { name, path } in &arguments.out {
        match name {
            None => write_tensors(path, &outputs)?,
            Some(name) => {
                let Some(buffer) = outputs.get(name) else {
                    let message = format!("the task `{task}` has no output `{name}`");
                    let known: Vec<&str> = outputs.keys().map(String::as_str).collect();
                    return Err(Failure::with_help(Code::Usage, message, super::failure::suggestion(name, known)));
                };
                write_output(path, name, buffer)?;
            }
        }
    }
    if arguments.json {
        let shown = outputs.iter().map(|(name, buffer)| {
            let sizes: Vec<usize> = buffer.shape().iter().map(|(_, size)| size).collect();
            (name.clone(), json!({ "shape": sizes }))
        });
        print(&format!("{:#}\n", shown.collect::<serde_json::Map<_, _>>().into_iter().collect::<serde_json::Value>()));
    }
    Ok(())
}

/// Writes tensors under their names.
///
/// # Errors
/// The file cannot be written.
pub fn write_tensors(path: &Path, tensors: &IndexMap<String, Buffer>) -> Outcome {
    let tensors = tensors.iter().map(|(name, buffer)| (name.clone(), buffer.to_array())).collect();
    let checkpoint = Checkpoint { tensors, ..Checkpoint::default() };
    checkpoint.write_safetensors(path).failed()
}

/// Writes one output by the ending of its file's name.
fn write_output(path: &Path, name: &str, buffer: &Buffer) -> Outcome {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    if extension.as_deref() == Some("safetensors") {
        return write_tensors(path, &[(name.to_owned(), buffer.clone())].into_iter().collect());
    }
    let sizes: Vec<usize> = buffer.shape().iter().map(|(_, size)| size).filter(|size| *size != 1).collect();
    let last = buffer.shape().iter().next_back().map_or(1, |(_, size)| size);
    let (height, width, channels) = match sizes.as_slice() {
        [height, width] => (*height, *width, 1),
        [height, width, 3 | 4] => (*height, *width, last),
        _ => {
            let message = format!("the output `{name}` is {}, which is no picture", buffer.ty());
            return Err(Failure::with_help(Code::Usage, message, "write it to a .safetensors file"));
        }
    };
    if buffer.ty().dtype != DType::F32 {
        return Err(Failure::usage(format!("the output `{name}` is {}, which is no picture", buffer.ty())));
    }
    let picture = Picture { width, height, channels, values: buffer.as_f32().to_vec() };
    Ok(picture.save(path)?)
}

/// Lets the task's driver feed it.
fn driven(
    arguments: &Arguments,
    source: &Source,
    system: &visage_compiler::system::System,
    task: &Task,
    state: &mut crate::buffer::State,
) -> Outcome {
    let trained = arguments.weights.run()?;
    let mut folders = trained.as_ref().map(|(_, description)| description.data.clone()).unwrap_or_default();
    folders.extend(arguments.data.iter().map(|folder| (folder.source.clone(), folder.path.clone())));
    let generated = trained.map_or_else(|| PathBuf::from("runs/data"), |(root, _)| root.join("data"));
    let sources = match &task.driver {
        Some(driver) if !needs_data(driver) => Sources::default(),
        _ => Sources::open(system, &folders, &generated, arguments.seed).diagnosed()?,
    };
    let out = match arguments.out.as_slice() {
        [] => PathBuf::from(format!("{}-{}", system.name, arguments.task)),
        [Output { name: None, path }] => path.clone(),
        _ => return Err(Failure::usage("the driver writes several files: give one folder with `--out`")),
    };
    let context = Context {
        spec: &source.spec,
        overrides: &source.overrides,
        system,
        sources: &sources,
        execute: &arguments.device.options(),
        seed: arguments.seed,
        out: &out,
    };
    interrupt::listen();
    let results = match drive(&context, &arguments.task, task, &replaced(arguments), state) {
        Err(TaskError::Interrupted) => return Err(Failure::new(Code::Interrupted, "stopped")),
        Err(error @ (TaskError::Option(_) | TaskError::Unsuitable(_) | TaskError::Spec(_))) => {
            return Err(error).diagnosed();
        }
        results => results?,
    };
    if arguments.json {
        let figures: serde_json::Map<_, _> =
            results.figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        print(&format!("{:#}\n", json!({ "figures": figures, "files": results.files })));
    } else {
        print(&describe(&results));
    }
    Ok(())
}

/// Figures and files of a task, for people.
pub fn describe(results: &crate::tasks::Results) -> String {
    let mut text = match &results.table {
        Some(table) => table.clone(),
        None => results.figures.iter().map(|(name, value)| format!("  {name}  {value}\n")).collect(),
    };
    // Many pictures of a kind are told by their folder.
    let mut folders: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in &results.files {
        *folders.entry(file.parent().unwrap_or(Path::new("."))).or_default() += 1;
    }
    for (folder, count) in folders {
        if count > 8 {
            text.push_str(&format!("  {}: {count} files\n", folder.display()));
        } else {
            let inside = results.files.iter().filter(|file| file.parent().unwrap_or(Path::new(".")) == folder);
            inside.for_each(|file| text.push_str(&format!("  {}\n", file.display())));
        }
    }
    text
}

fn replaced(arguments: &Arguments) -> BTreeMap<String, Value> {
    let mut replaced: BTreeMap<String, Value> =
        arguments.options.iter().map(|option| (option.name.clone(), parse_value(&option.value))).collect();
    let numbers = [("frames", arguments.frames), ("size", arguments.size)];
    for (name, number) in numbers {
        if let Some(number) = number {
            replaced.insert(name.into(), Value::Number(f64::from(number)));
        }
    }
    if let Some(seeds) = &arguments.seeds {
        replaced.insert("seeds".into(), parse_value(seeds));
    }
    for (name, number) in [("psi", arguments.psi), ("w", arguments.w)] {
        if let Some(number) = number {
            replaced.insert(name.into(), Value::Number(number));
        }
    }
    if arguments.aligned {
        replaced.insert("aligned".into(), Value::Bool(true));
    }
    let files = arguments.given.iter().filter(|given| given.name.is_none());
    let files: Vec<Value> = files.map(|given| Value::Text(given.source.to_string())).collect();
    if !files.is_empty() {
        replaced.insert("files".into(), Value::List(files));
    }
    if let Some(path) = &arguments.path {
        replaced.insert("path".into(), Value::Text(path.clone()));
    }
    replaced
}
