//! `visage check`: what is in a spec, or what is wrong with it.

use super::{
    arguments::Settings,
    cost,
    failure::Outcome,
    print,
    source::{Source, overrides},
    table::{Table, bytes, flops, grouped},
};
use serde_json::json;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};
use visage_compiler::{
    language::schema,
    system::{Bound, Optimiser, Program, Schedule, System},
};

/// Check a spec and list what is in it.
///
/// Models with their parameters, losses, training steps and tasks with their inputs and outputs, memory
/// and floating-point operations; or every error, with its place and what would mend it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  visage check graphs/nerf                       the spec of a folder
  visage check graphs/nerf --set ray=4096        with another batch
  visage check graphs/nerf --preset quick --json for scripts
  visage check --schema > language.json          every field of the language, for editors")]
pub struct Arguments {
    /// The spec: a .ron file, or the folder of one
    #[arg(required_unless_present = "schema")]
    spec: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Print every structure and field of the language as JSON instead
    #[arg(long, conflicts_with = "spec")]
    schema: bool,
}

/// Runs the command.
pub fn check(arguments: &Arguments) -> Outcome {
    if arguments.schema {
        print(&format!("{:#}\n", schema()));
        return Ok(());
    }
    let spec = arguments.spec.as_deref().unwrap_or(Path::new("."));
    let system = Source::read(spec, overrides(&arguments.settings))?.system()?;
    print(&if arguments.json { format!("{:#}\n", as_json(&system)) } else { as_text(&system) });
    Ok(())
}

fn parameter_count(system: &System, model: &str) -> (usize, usize) {
    let own = system.parameters.values().filter(|parameter| parameter.model == model);
    own.fold((0, 0), |(count, elements), parameter| (count + 1, elements + parameter.ty.shape.elements()))
}

/// What is in a system, for people.
pub fn as_text(system: &System) -> String {
    let mut text = format!("{}: {}\n", system.name, system.about);
    let mut section = |title: &str, table: &Table| {
        if !table.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{title}\n{table}");
        }
    };
    let mut sizes = Table::new(&["name", ">value"]);
    system.sizes.iter().for_each(|(name, size)| sizes.row([name.clone(), size.to_string()]));
    system.constants.iter().for_each(|(name, value)| sizes.row([name.clone(), value.to_string()]));
    section("sizes and constants", &sizes);

    let mut models = Table::new(&["model", "module", ">tensors", ">parameters", ">memory", ""]);
    for (name, model) in &system.models {
        let (tensors, elements) = parameter_count(system, name);
        let note = if model.frozen { "frozen" } else { "" };
        models.row([
            name.clone(),
            model.module.clone(),
            tensors.to_string(),
            grouped(elements as u64),
            bytes(4 * elements as u64),
            note.into(),
        ]);
    }
    section("models", &models);

    let mut programs = Table::new(&["program", "kind", ">operations", ">contractions", ">values", "about"]);
    let all = system.losses.iter().map(|(name, program)| (name, "loss", program, String::new()));
    let tasks = system.tasks.iter().map(|(name, task)| (name, "task", &task.program, task.about.clone()));
    for (name, kind, program, about) in all.chain(tasks) {
        let cost = cost::of(program);
        let operations = program.graph.len().to_string();
        programs.row([
            name.clone(),
            kind.into(),
            operations,
            flops(cost.contractions),
            bytes(cost.bytes as u64),
            about,
        ]);
    }
    section("programs (forward, before fusion)", &programs);

    let mut steps = Table::new(&["step", "loss", "optimiser", "rate", ">parameters", "runs"]);
    for (name, step) in &system.training.steps {
        let elements: usize =
            step.parameters.iter().filter_map(|name| system.parameters.get(name)).map(|p| p.ty.shape.elements()).sum();
        let runs = if step.every > 1 { format!("every {} rounds", step.every) } else { "every round".into() };
        let (optimiser, rate) = (optimiser(&step.optimiser), schedule(&step.rate));
        steps.row([name.clone(), step.loss.clone(), optimiser, rate, grouped(elements as u64), runs]);
    }
    section(&format!("training, {} rounds", grouped(system.training.rounds)), &steps);

    let mut alarms = Table::new(&["alarm", "raised when", ">rounds", "about"]);
    for (name, alarm) in &system.training.alarms {
        let raised = format!("{} {}{}", alarm.measure, alarm.bound, if alarm.stop { ", then stops" } else { "" });
        alarms.row([name.clone(), raised, grouped(alarm.rounds), alarm.about.clone()]);
    }
    section("alarms", &alarms);

    for (name, program) in system.losses.iter().chain(system.tasks.iter().map(|(name, task)| (name, &task.program))) {
        let mut places = Table::new(&["", "name", "axes", "about"]);
        for (input, declared) in &program.inputs {
            let direction = if declared.optional { "in?" } else { "in" };
            places.row([direction.into(), input.clone(), declared.ty.to_string(), declared.about.clone()]);
        }
        for (output, ty) in outputs(program) {
            places.row(["out".into(), output, ty, String::new()]);
        }
        section(name, &places);
    }
    text
}

/// The outputs with their types, axes in documented order.
fn outputs(program: &Program) -> impl Iterator<Item = (String, String)> + '_ {
    program.outputs.iter().map(|(name, shape)| {
        let dtype = program.graph.output(name).map_or("", |node| program.graph.ty(node).dtype.name());
        (name.clone(), format!("{dtype}{shape}"))
    })
}

fn optimiser(optimiser: &Optimiser) -> String {
    match optimiser {
        Optimiser::Sgd { momentum, .. } => format!("SGD, momentum {momentum}"),
        Optimiser::Adam { beta1, beta2, .. } => format!("Adam ({beta1}, {beta2})"),
        Optimiser::AdamW { beta1, beta2, weight_decay, .. } => {
            format!("AdamW ({beta1}, {beta2}), decay {weight_decay}")
        }
    }
}

fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Constant(value) => value.to_string(),
        Schedule::Exponential { start, factor, steps } => format!("{start} · {factor}^(step / {steps})"),
        Schedule::Step { start, factor, at } => format!("{start}, times {factor} at {at:?}"),
        Schedule::Cosine { start, end, steps } => format!("{start} to {end} by cosine over {steps}"),
        Schedule::Linear { start, end, steps } => format!("{start} to {end} over {steps}"),
        Schedule::Pieces { values, at } => format!("{values:?} from {at:?} on"),
        Schedule::WarmUp { steps, then } => format!("{}, warmed up over {steps}", self::schedule(then)),
        Schedule::Restart { at, then } => format!("{}, again at {at:?}", self::schedule(then)),
        Schedule::Averaging { limit } => format!("up to {limit}"),
    }
}

fn program_json(program: &Program) -> serde_json::Value {
    let inputs: Vec<_> = program
        .inputs
        .iter()
        .map(|(name, input)| {
            let sizes: Vec<usize> = input.ty.shape.iter().map(|(_, size)| size).collect();
            let axes: Vec<&str> = input.ty.shape.axes().map(|axis| axis.name()).collect();
            json!({ "name": name, "type": input.ty.dtype.name(), "axes": axes, "shape": sizes, "optional": input.optional, "about": input.about })
        })
        .collect();
    let outputs: Vec<_> = program
        .outputs
        .iter()
        .map(|(name, shape)| {
            let sizes: Vec<usize> = shape.iter().map(|(_, size)| size).collect();
            let axes: Vec<&str> = shape.axes().map(|axis| axis.name()).collect();
            json!({ "name": name, "axes": axes, "shape": sizes })
        })
        .collect();
    let cost = cost::of(program);
    json!({
        "inputs": inputs,
        "outputs": outputs,
        "operations": program.graph.len(),
        "contraction_flops": cost.contractions,
        "value_bytes": cost.bytes,
    })
}

fn as_json(system: &System) -> serde_json::Value {
    let models = system.models.iter().map(|(name, model)| {
        let (tensors, elements) = parameter_count(system, name);
        let model =
            json!({ "module": model.module, "frozen": model.frozen, "tensors": tensors, "parameters": elements });
        (name.clone(), model)
    });
    let parameters = system.parameters.iter().map(|(name, parameter)| {
        let sizes: Vec<usize> = parameter.ty.shape.iter().map(|(_, size)| size).collect();
        (name.clone(), json!({ "model": parameter.model, "shape": sizes, "buffer": parameter.buffer }))
    });
    let steps = system.training.steps.iter().map(|(name, step)| {
        let step = json!({ "loss": step.loss, "optimiser": optimiser(&step.optimiser), "every": step.every });
        (name.clone(), step)
    });
    let alarms = system.training.alarms.iter().map(|(name, alarm)| {
        let (bound, value) = match alarm.bound {
            Bound::Below(value) => ("below", value),
            Bound::Above(value) => ("above", value),
        };
        let alarm = json!({ "measure": alarm.measure, bound: value, "rounds": alarm.rounds, "stop": alarm.stop });
        (name.clone(), alarm)
    });
    let tasks = system.tasks.iter().map(|(name, task)| {
        let mut program = program_json(&task.program);
        program["about"] = task.about.clone().into();
        program["driver"] = task.driver.as_ref().map(|driver| driver.kind.clone()).into();
        (name.clone(), program)
    });
    json!({
        "name": system.name,
        "about": system.about,
        "sizes": system.sizes,
        "constants": system.constants,
        "models": models.collect::<serde_json::Map<_, _>>(),
        "parameters": parameters.collect::<serde_json::Map<_, _>>(),
        "losses": system.losses.iter().map(|(name, loss)| (name.clone(), program_json(loss))).collect::<serde_json::Map<_, _>>(),
        "training": {
            "rounds": system.training.rounds,
            "steps": steps.collect::<serde_json::Map<_, _>>(),
            "alarms": alarms.collect::<serde_json::Map<_, _>>(),
        },
        "tasks": tasks.collect::<serde_json::Map<_, _>>(),
    })
}
