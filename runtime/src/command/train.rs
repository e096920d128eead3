//! `visage train`: the training procedure of a spec, into a run folder.

use super::{
    arguments::{DeviceArguments, Settings, WeightSource},
    check,
    failure::{Because, Code, Diagnosed, Failure, Outcome, suggestion},
    print, run,
    source::{Source, overrides},
    weights::Weights,
};
use crate::{
    buffer::State,
    console,
    files::write_atomically,
    sources::Sources,
    tasks::TaskError,
    training::{
        TrainError,
        description::Description,
        folder::RunFolder,
        initial, interrupt,
        session::{Cadence, Ending, Session, SessionOptions},
    },
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use visage_compiler::{
    language::{Overrides, Spec},
    system::System,
};

/// Train as a spec says.
///
/// Leaves a folder with checkpoints, measurements and pictures.
///
/// Killed at any instant, a run goes on with `--resume` and ends with the same bits as if it had not been.
/// Ctrl-C writes a checkpoint and stops.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The folder holds spec.ron (as elaborated), run.json, checkpoints, metrics.csv, TensorBoard events,
curve.png, samples (pictures on the way), results (of the trained weights) and log.txt.

Examples:
  visage train graphs/nerf --preset quick               a generated scene, in minutes
  visage train graphs/nerf --data scenes/lego           a data set of any usual layout
  visage train graphs/nerf --data scenes/fox --set ray=2048 --rounds 50000 --out runs/fox
  visage train --resume runs/fox                        go on where it stopped
  visage train --resume runs/fox --rounds 100000        and further than first meant
  tensorboard --logdir runs                             watch it in a browser")]
pub struct Arguments {
    /// The spec: a .ron file, or the folder of one
    #[arg(required_unless_present = "resume")]
    spec: Option<PathBuf>,

    /// Steps of a round that take part; all unless given
    #[arg(value_name = "STEP")]
    steps: Vec<String>,

    #[command(flatten)]
    settings: Settings,

    /// Data set to learn from, for the spec's only source or the one named
    #[arg(long, value_name = "[SOURCE=]DIR")]
    data: Vec<DataFolder>,

    /// Folder of the run; runs/NAME unless given
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,

    /// Go on with the run in this folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["spec", "set", "preset", "data", "out", "seed", "weights"])]
    resume: Option<PathBuf>,

    /// Rounds to train for, instead of the spec's
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,

    /// Start from these weights where they have the parameter
    #[arg(long, value_name = "FILE[:PREFIX]")]
    weights: Vec<WeightSource>,

    /// Seed of first weights, batches and random nodes
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Rounds between checkpoints; a minute passes between them unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,

    /// Checkpoints to keep
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,

    /// Make no pictures and evaluations, neither on the way nor at the end
    #[arg(long)]
    no_reports: bool,

    /// Print a summary as JSON at the end
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArguments,
}

/// `[SOURCE=]DIR` of `--data`.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFolder {
    /// The data source; empty for the only one.
    pub source: String,
    /// The folder.
    pub path: PathBuf,
}

impl FromStr for DataFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<DataFolder, String> {
        Ok(match text.split_once('=') {
            Some((source, path)) if !source.contains(['/', '\\']) && !Path::new(text).exists() => {
                DataFolder { source: source.into(), path: path.into() }
            }
            _ => DataFolder { source: String::new(), path: text.into() },
        })
    }
}

/// Runs the command.
pub fn train(arguments: &Arguments) -> Outcome {
    match &arguments.resume {
        Some(root) => {
            let folder = RunFolder::resume(root).diagnosed()?;
            let mut description = Description::read(root).diagnosed()?;
            console::log_into(&folder.log()).failed()?;
            if let Some(rounds) = arguments.rounds {
                description.rounds = rounds;
                description.write(&folder.description())?;
            }
            let spec = Spec::load(folder.spec()).diagnosed()?;
            let system = spec.system(&Overrides::none()).diagnosed()?;
            go(arguments, &folder, &description, &spec, &system, State::new(), false)
        }
        None => begin(arguments),
    }
}

/// Starts a new run.
fn begin(arguments: &Arguments) -> Outcome {
    let path = arguments.spec.as_deref().unwrap_or(Path::new("."));
    let source = Source::read(path, overrides(&arguments.settings))?;
    let system = source.system()?;
    for step in &arguments.steps {
        if !system.training.steps.contains_key(step) {
            let names: Vec<&str> = system.training.steps.keys().map(String::as_str).collect();
            let message = format!("`{}` has no training step `{step}`", system.name);
            return Err(Failure::with_help(Code::Usage, message, suggestion(step, names)));
        }
    }
    if system.training.steps.is_empty() {
        return Err(Failure::usage(format!("`{}` has no training procedure (`train: Train(…)`)", system.name)));
    }
    let given = given_weights(&system, &arguments.weights)?;
    let mut data = BTreeMap::new();
    for folder in &arguments.data {
        let path = std::path::absolute(&folder.path).usage()?;
        data.insert(folder.source.clone(), path);
    }
    let description = Description {
        visage: env!("CARGO_PKG_VERSION").into(),
        system: system.name.clone(),
        preset: source.overrides.preset.clone(),
        set: source.overrides.sets.clone(),
        seed: arguments.seed,
        rounds: arguments.rounds.unwrap_or(system.training.rounds),
        steps: arguments.steps.clone(),
        data,
    };
    let folder = match &arguments.out {
        Some(out) => RunFolder::create(out),
        None => RunFolder::create_beside(&Path::new("runs").join(&system.name)),
    };
    let folder = folder.diagnosed()?;
    console::log_into(&folder.log()).failed()?;
    let write = |path: &Path, text: &str| {
        write_atomically(path, |writer| -> io::Result<()> { writer.write_all(text.as_bytes()) })
            .map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", path.display())))
    };
    write(&folder.spec(), &source.spec.flattened(&source.overrides).diagnosed()?)?;
    write(&folder.system(), &check::as_text(&system))?;
    let spec = Spec::load(folder.spec()).diagnosed()?;
    let system = spec.system(&Overrides::none()).diagnosed()?;
    go(arguments, &folder, &description, &spec, &system, given, true)
}

/// The parameters that the given files hold.
fn given_weights(system: &System, sources: &[WeightSource]) -> Outcome<State> {
    if sources.is_empty() {
        return Ok(State::new());
    }
    let files = Weights::read(sources)?;
    let known: Vec<&str> = system.parameters.keys().map(String::as_str).collect();
    let found: Vec<String> = files.matched(system, &known).into_keys().collect();
    if found.is_empty() {
        // Says which names were looked for and which there are.
        return files.parameters(system, &known);
    }
    tracing::info!("{} of {} parameters start from the given weights", found.len(), known.len());
    let mut given = files.parameters(system, &found.iter().map(String::as_str).collect::<Vec<_>>())?;
    for name in known {
        let origin = initial::origin(system, name).filter(|_| !given.contains_key(name));
        if let Some(value) = origin.and_then(|origin| given.get(&origin).cloned()) {
            given.insert(name.to_owned(), value);
        }
    }
    Ok(given)
}

fn go(
    arguments: &Arguments,
    folder: &RunFolder,
    description: &Description,
    spec: &Spec,
    system: &System,
    given: State,
    new: bool,
) -> Outcome {
    interrupt::listen();
    let sources =
        Sources::open(system, &description.data, &folder.root().join("data"), description.seed).diagnosed()?;
    for (name, source) in sources.iter() {
        tracing::info!("{name}: {}", source.describe());
    }
    let options = SessionOptions {
        rounds: description.rounds,
        steps: description.steps.clone(),
        seed: description.seed,
        cadence: arguments.checkpoint_every.map_or(Cadence::Time(Duration::from_secs(60)), Cadence::Rounds),
        keep: usize::from(arguments.keep),
        reports: !arguments.no_reports,
        execute: arguments.device.options(),
    };
    let mut session = Session::begin(spec, system, &sources, folder, &options, given).map_err(failure)?;
    if new {
        description.write(&folder.description())?;
        tracing::info!("training `{}` for {} rounds into {}", system.name, options.rounds, folder.root().display());
    } else {
        tracing::info!("going on with {} at round {} of {}", folder.root().display(), session.round(), options.rounds);
    }
    if session.run().map_err(failure)? == Ending::Interrupted {
        let help = format!("go on with `visage train --resume {}`", folder.root().display());
        let message = format!("stopped after round {}; a checkpoint is written", session.round());
        return Err(Failure::with_help(Code::Interrupted, message, help));
    }
    conclude(arguments, folder, system, &mut session)
}

/// Runs the spec's own measurements and renderings on the trained weights, and says where everything is.
fn conclude(arguments: &Arguments, folder: &RunFolder, system: &System, session: &mut Session<'_>) -> Outcome {
    let mut text = format!("{} rounds done, in {}\n", session.round(), folder.root().display());
    let mut figures = serde_json::Map::new();
    let results = folder.root().join("results");
    let averaged = system.training.reports.iter().any(|report| report.averaged);
    let shows = |kind: &str| matches!(kind, "Evaluate" | "Render" | "Compare" | "Assess");
    let driven = system.tasks.iter().filter(|(_, task)| task.driver.as_ref().is_some_and(|driver| shows(&driver.kind)));
    for (name, task) in driven.filter(|(name, _)| !arguments.no_reports && session.holds(name)).collect::<Vec<_>>() {
        tracing::info!("{name}: {}", task.about);
        let found = session.task(name, &BTreeMap::new(), averaged, &results.join(name)).map_err(failure)?;
        figures.insert(name.clone(), found.figures.iter().cloned().map(|(name, value)| (name, json!(value))).collect());
        text.push_str(&format!("\n{name}\n{}", run::describe(&found)));
    }
    if arguments.json {
        let summary = json!({ "run": folder.root(), "rounds": session.round(), "results": figures });
        print(&format!("{summary:#}\n"));
    } else {
        print(&text);
    }
    Ok(())
}

/// The failure that an error of training is.
fn failure(error: TrainError) -> Failure {
    match error {
        TrainError::Task(TaskError::Interrupted) => Failure::new(Code::Interrupted, "stopped"),
        error @ TrainError::NotFinite { .. } => Failure::diagnostic(Code::NotFinite, error),
        error @ TrainError::Alarm { .. } => Failure::diagnostic(Code::Alarm, error),
        error @ (TrainError::Source(_) | TrainError::Untrained { .. }) => Failure::diagnostic(Code::Usage, error),
        error => Failure::diagnostic(Code::Failed, error),
    }
}

#[cfg(test)]
mod tests {
    use super::DataFolder;

    #[test]
    fn data_may_name_its_source() {
        let folder = |source: &str, path: &str| DataFolder { source: source.into(), path: path.into() };
        assert_eq!("scenes/lego".parse(), Ok(folder("", "scenes/lego")));
        assert_eq!("views=scenes/lego".parse(), Ok(folder("views", "scenes/lego")));
        assert_eq!("scenes/a=b".parse(), Ok(folder("", "scenes/a=b")));
    }
}
