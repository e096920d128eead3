//! What `run` and `grad` share: a program at the sizes that files decide, its inputs and its weights.

use super::{
    arguments::{Given, WeightSource},
    binding::{self, Value},
    failure::{Code, Diagnosed, Failure, Outcome, suggestion},
    source::Source,
    weights::Weights,
};
use crate::{
    buffer::{Buffer, State},
    training::{description::Description, initial},
};
use indexmap::IndexMap;
use std::{collections::BTreeSet, path::PathBuf};
use visage_compiler::{
    language::{Overrides, ProgramKind},
    system::{Program, System, Task},
};

/// Where the parameters of a program come from.
#[derive(Clone, Debug, clap::Args)]
pub struct WeightArguments {
    /// A checkpoint (.safetensors, .pth, .npz) or the folder of a training run, with a prefix of its names to strip
    #[arg(long, value_name = "FILE[:PREFIX]")]
    weights: Vec<WeightSource>,

    /// Use the weights as they are before training
    #[arg(long, conflicts_with = "weights")]
    initial: bool,
}

impl WeightArguments {
    /// The training run that the weights are of, if they are of one.
    pub fn run(&self) -> Outcome<Option<(PathBuf, Description)>> {
        match self.weights.iter().find(|source| source.path.join("run.json").is_file()) {
            Some(source) => Ok(Some((source.path.clone(), Description::read(&source.path).diagnosed()?))),
            None => Ok(None),
        }
    }
}

/// A program ready to be run.
#[derive(Debug)]
pub struct Fed {
    /// The system at the sizes that files decide.
    pub system: System,
    /// The program.
    pub program: Program,
    /// Its inputs.
    pub inputs: IndexMap<String, Buffer>,
    /// Its parameters.
    pub state: State,
}

/// The settings of a run whose weights are used, unless the command line says otherwise.
///
/// # Errors
/// The run's description cannot be read.
pub fn adopt(source: &mut Source, weights: &WeightArguments) -> Outcome {
    if let Some((_, description)) = weights.run()?
        && description.system == source.spec.name()
    {
        let mut adopted = description.overrides();
        if source.overrides.preset.is_some() {
            adopted = Overrides::none();
        }
        adopted.preset = source.overrides.preset.take().or(adopted.preset);
        adopted.sets.append(&mut source.overrides.sets);
        // The spec of a run has its settings in it, and no presets any more.
        adopted.preset = adopted.preset.filter(|preset| source.spec.presets().any(|known| known == preset));
        source.overrides = adopted;
    }
    Ok(())
}

/// Puts a program together from files: sizes from tensors and weights, inputs from `given`, parameters
/// from the weights.
///
/// # Errors
/// There is no such program; a file is missing or wrong; an input or a parameter is missing or of
/// another size.
pub fn feed(
    source: &Source,
    kind: ProgramKind,
    name: &str,
    given: &[Given],
    weights: &WeightArguments,
    seed: u64,
    round: u64,
) -> Outcome<Fed> {
    let files = Weights::read(&weights.weights)?;
    let values = binding::read(given)?;
    let names: BTreeSet<String> = values.keys().cloned().collect();
    let spec = &source.spec;
    exists(source, kind, name)?;

    let as_written = spec.program(kind, name, &source.overrides, &names).diagnosed()?;
    let system = source.system()?;
    let mut scheduled = IndexMap::new();
    for (input, declared) in
        as_written.inputs.iter().filter(|(input, declared)| declared.schedule && !names.contains(*input))
    {
        if let Some(schedule) = system.schedules.get(input) {
            scheduled.insert(input.clone(), Buffer::scalar(declared.ty.dtype, schedule.at(round)));
        }
    }
    let sizes = |(input, value): (&String, &Value)| {
        let declared = &as_written.inputs[input];
        Ok((input.clone(), value.sizes(input, declared)?))
    };
    let input_sizes = values.iter().map(sizes).collect::<Outcome<Vec<_>>>()?;
    let known: Vec<&str> = system.parameters.keys().map(String::as_str).collect();
    let matched = files.matched(&system, &known);
    let weight_sizes: Vec<_> = matched.iter().map(|(name, array)| (name.clone(), array.shape().to_vec())).collect();
    let overrides = spec.sizes_from(kind, name, &source.overrides, &input_sizes, &weight_sizes).diagnosed()?;

    let program = spec.program(kind, name, &overrides, &names).diagnosed()?;
    let system = spec.system(&overrides).diagnosed()?;
    let mut inputs = binding::bind(&program, &values, &scheduled)?;
    inputs.extend(scheduled);
    let wanted: Vec<&str> = program.parameters.keys().map(String::as_str).collect();
    let state = parameters(&system, &wanted, &files, weights, seed)?;
    Ok(Fed { system, program, inputs, state })
}

/// The named parameters from files, or as they are before training.
///
/// # Errors
/// There are none, or one is missing or of another size.
pub fn parameters(
    system: &System,
    wanted: &[&str],
    files: &Weights,
    weights: &WeightArguments,
    seed: u64,
) -> Outcome<State> {
    if weights.initial {
        return Ok(initial::state(system, wanted.iter().copied(), seed));
    }
    if files.is_empty() && !wanted.is_empty() {
        let message = format!("the program has {} parameters, and no weights are given", wanted.len());
        let help = "give a checkpoint or a training run with `--weights`, or use untrained weights with `--initial`";
        return Err(Failure::with_help(Code::Usage, message, help));
    }
    files.parameters(system, wanted)
}

/// The parameters of a task from files: all of them, or none where the files lack some.
///
/// # Errors
/// One has other sizes than the task's.
pub fn all_or_none(system: &System, task: &Task, files: &Weights) -> Outcome<State> {
    let wanted: Vec<&str> = task.program.parameters.keys().map(String::as_str).collect();
    match files.matched(system, &wanted).len() == wanted.len() {
        true => files.parameters(system, &wanted),
        false => Ok(State::new()),
    }
}

/// The files of the weights, and the sizes of a system that they decide.
///
/// # Errors
/// A file is missing or wrong, or sizes disagree.
pub fn sized_by_weights(source: &Source, task: &str, weights: &WeightArguments) -> Outcome<(Weights, Overrides)> {
    let files = Weights::read(&weights.weights)?;
    let system = source.system()?;
    let known: Vec<&str> = system.parameters.keys().map(String::as_str).collect();
    let matched = files.matched(&system, &known);
    let sizes: Vec<_> = matched.iter().map(|(name, array)| (name.clone(), array.shape().to_vec())).collect();
    let overrides = source.spec.sizes_from(ProgramKind::Task, task, &source.overrides, &[], &sizes).diagnosed()?;
    Ok((files, overrides))
}

/// Checks that a spec has a program.
///
/// # Errors
/// It has none of that name; the message names the nearest.
pub fn exists(source: &Source, kind: ProgramKind, name: &str) -> Outcome {
    let (what, names): (&str, Vec<&str>) = match kind {
        ProgramKind::Loss => ("loss", source.spec.losses().collect()),
        ProgramKind::Task => ("task", source.spec.tasks().collect()),
    };
    if names.contains(&name) {
        return Ok(());
    }
    let message = format!("`{}` has no {what} `{name}`", source.spec.name());
    Err(Failure::with_help(Code::Usage, message, suggestion(name, names)))
}
