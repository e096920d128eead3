//! `visage compile`: a program at one of the stages of its compilation.

use super::{
    arguments::{SpecArguments, decisions},
    failure::{Because, Code, Failure, Outcome, suggestion},
    print,
    source::Source,
};
use crate::{executor::Precision, files::write_atomically};
use indexmap::IndexMap;
use std::{io::Write, path::PathBuf};
use visage_compiler::{
    cpu::{self, CompileOptions, Refused},
    plan::{Decision, Fusion, Plan, PlanOptions, Target, plan_ordered, plan_updating, svg},
    ptx::{self, Family, PtxOptions},
    simplify::simplified,
    system::{Program, System},
    training::{StepProgram, accumulation_programs, gradient_program, step_program},
};

/// Print a program at one of the stages of its compilation.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A graph is printed one operation a line, operands first:
  %7 = contract over feature %3, %6 : f32[ray=1024, feature=256]  # pts_linears.0

Examples:
  visage compile graphs/nerf render                          the graph of a task
  visage compile graphs/nerf photometric --gradient          a loss with its gradients
  visage compile graphs/nerf fit                             a whole training step
  visage compile graphs/nerf fit --emit plan                 the kernels of a training step
  visage compile graphs/nerf rays --emit svg --out rays.svg  and as a picture
  visage compile graphs/nerf fit --target ptx:sm_90 --emit ptx
                                                             the code for a graphics processor
  visage compile graphs/nerf render --no-simplify --out render.txt")]
pub struct Arguments {
    #[command(flatten)]
    source: SpecArguments,

    /// A task, a loss or a training step; where names meet, with its kind: `step:generator`
    program: String,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    emit: Emit,

    /// Of a loss: with the gradients of its parameters
    #[arg(long)]
    gradient: bool,

    /// As the spec has it, before any rewriting
    #[arg(long, conflicts_with = "gradient")]
    no_simplify: bool,

    /// One operation a kernel
    #[arg(long)]
    no_fuse: bool,

    /// Leave out a decision of the planner; may be repeated
    #[arg(long, value_name = "DECISION", value_delimiter = ',', value_parser = decisions())]
    without: Vec<Decision>,

    /// What contractions round their operands to
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,

    /// What to compile for
    #[arg(long, value_enum, default_value_t)]
    target: Processor,

    /// With `--target ptx:…`: scattered sums in one order, not as threads come
    #[arg(long)]
    deterministic: bool,

    /// Where to; standard output unless given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What a program is compiled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Processor {
    /// The cores of this machine
    #[default]
    Cpu,
    /// Graphics processors since NVIDIA's Ampere
    #[value(name = "ptx:sm_80")]
    Sm80,
    /// Graphics processors since NVIDIA's Hopper
    #[value(name = "ptx:sm_90")]
    Sm90,
}

impl Processor {
    /// The family of graphics processors, if it is one.
    fn family(self) -> Option<Family> {
        match self {
            Processor::Cpu => None,
            Processor::Sm80 => Some(Family::Sm80),
            Processor::Sm90 => Some(Family::Sm90),
        }
    }
}

/// A stage of compilation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Emit {
    /// Operations on named axes
    #[default]
    Graph,
    /// Kernels with their stages, where values are stored, and which stages use narrow vectors
    Plan,
    /// The same as a picture
    Svg,
    /// The kernels' code before register allocation
    Clif,
    /// The kernels' code for this machine
    Asm,
    /// The kernels' code for a graphics processor
    Ptx,
}

/// Runs the command.
pub fn compile(arguments: &Arguments) -> Outcome {
    let system = Source::open(&arguments.source)?.system()?;
    let Arguments { program: name, gradient, no_simplify, .. } = arguments;
    let mut text = String::new();
    let programs = programs(&system, name, *gradient)?;
    if let (Emit::Svg, [_, _, ..]) = (arguments.emit, &programs[..]) {
        let message = format!("`{name}` accumulates gradients and is two programs, where a picture shows one");
        return Err(Failure::with_help(Code::Usage, message, "its loss, with `--gradient`, is the first of them"));
    }
    for Named { program, updates } in programs {
        match arguments.emit {
            Emit::Graph if *no_simplify => text.push_str(&program.graph.to_string()),
            Emit::Graph => text.push_str(&simplified(&program).graph.to_string()),
            emit => text.push_str(&lowered(&program, &updates, emit, arguments)?),
        }
    }
    match &arguments.out {
        None => print(&text),
        Some(path) => write_atomically(path, |file| file.write_all(text.as_bytes()))
            .map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", path.display())))?,
    }
    Ok(())
}

/// A program's kernels as text.
fn lowered(
    program: &Program,
    updates: &IndexMap<String, String>,
    emit: Emit,
    arguments: &Arguments,
) -> Outcome<String> {
    let family = arguments.target.family();
    let base = match family {
        None => PlanOptions {
            target: Target::host(),
            precision: arguments.precision.on_cpu().usage()?,
            ..PlanOptions::default()
        },
        Some(family) => family.plan_options(),
    };
    let options = PlanOptions {
        fusion: if arguments.no_fuse { Fusion::None } else { Fusion::Full },
        without: arguments.without.iter().copied().collect(),
        ..base
    };
    let graph = simplified(program).graph;
    let plan = match family {
        None => {
            let updates = updates.iter().map(|(state, output)| (output.clone(), state.clone())).collect();
            plan_updating(&graph, &program.outputs, &updates, &options)
        }
        Some(_) => plan_ordered(&graph, &program.outputs, &options),
    };
    let plan = plan.failed()?;
    match (emit, family) {
        (Emit::Svg, _) => Ok(svg(&plan)),
        (Emit::Clif, None) => cpu::clif(&plan, &CompileOptions::default()).failed(),
        (Emit::Asm, None) => cpu::assembly(&plan, &CompileOptions::default()).failed(),
        (Emit::Ptx, Some(family)) => {
            let precision = arguments.precision.on_gpu();
            let options = PtxOptions { family, precision, deterministic: arguments.deterministic };
            Ok(ptx::compile(&plan, &options).failed()?.module())
        }
        (Emit::Ptx, None) => {
            let message = "`--emit ptx` is the code of a graphics processor";
            Err(Failure::with_help(Code::Usage, message, "name it: `--target ptx:sm_80` or `--target ptx:sm_90`"))
        }
        (Emit::Clif | Emit::Asm, Some(family)) => {
            let message = format!("{family} has no such code");
            Err(Failure::with_help(Code::Usage, message, "its code is `--emit ptx`"))
        }
        (_, None) => Ok(format!("{plan}{}", narrow(&plan))),
        (_, Some(_)) => Ok(plan.to_string()),
    }
}

/// Which stages do without the machine's widest vectors, and why; nothing on a machine where that is all of them.
fn narrow(plan: &Plan) -> String {
    if cpu::Maps::detect() != cpu::Maps::Wide {
        return String::new();
    }
    let refusals = cpu::refusals(plan);
    let together = refusals.chunk_by(|one, next| one.kernel == next.kernel && one.why == next.why);
    let line = |stages: &[Refused]| {
        let numbers: Vec<String> = stages.iter().map(|refused| refused.stage.to_string()).collect();
        format!("at 128 bits: {} in \"{}\", stage {}\n", stages[0].why, stages[0].kernel, numbers.join(", "))
    };
    together.map(line).collect()
}

/// A program that the command names.
pub struct Named {
    /// The program.
    pub program: Program,
    /// The outputs that are new values of the state: state name to output name.
    pub updates: IndexMap<String, String>,
}

/// What a program is of, in the words that tell programs of one name apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Task,
    Loss,
    Step,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Task, Kind::Loss, Kind::Step];

    fn word(self) -> &'static str {
        match self {
            Kind::Task => "task",
            Kind::Loss => "loss",
            Kind::Step => "step",
        }
    }

    /// The names of a system's programs of this kind.
    fn names(self, system: &System) -> Vec<&str> {
        match self {
            Kind::Task => system.tasks.keys().map(String::as_str).collect(),
            Kind::Loss => system.losses.keys().map(String::as_str).collect(),
            Kind::Step => system.training.steps.keys().map(String::as_str).collect(),
        }
    }
}

/// The programs of a name: a task's or a loss's one, or those of a training step. A name that several of them have needs its
/// kind before it: `step:generator`.
///
/// # Errors
/// There is no such program or more than one, or it has no gradient.
pub fn programs(system: &System, name: &str, gradient: bool) -> Outcome<Vec<Named>> {
    let of_kind = |kind: &Kind| Some((Some(*kind), name.strip_prefix(kind.word())?.strip_prefix(':')?));
    let (kind, own) = Kind::ALL.iter().find_map(of_kind).unwrap_or((gradient.then_some(Kind::Loss), name));
    let asked = |each: &Kind| kind.is_none_or(|kind| kind == *each) && each.names(system).contains(&own);
    let found: Vec<Kind> = Kind::ALL.into_iter().filter(asked).collect();
    if gradient && (kind != Some(Kind::Loss) || found.is_empty()) {
        let message = format!("only losses have gradients, and `{name}` is none");
        return Err(Failure::with_help(Code::Usage, message, suggestion(own, Kind::Loss.names(system))));
    }
    let alone = |program: Program| vec![Named { program, updates: IndexMap::new() }];
    let step_of = |step: StepProgram| Named { program: step.program, updates: step.updates };
    Ok(match found[..] {
        [Kind::Task] => alone(system.tasks[own].program.clone()),
        [Kind::Loss] if gradient => alone(gradient_program(&system.losses[own], &system.parameters).usage()?.program),
        [Kind::Loss] => alone(system.losses[own].clone()),
        [Kind::Step] => {
            let step = &system.training.steps[own];
            let loss = system.loss(step);
            if step.accumulate > 1 {
                let programs = accumulation_programs(loss, step, &system.parameters).usage()?;
                vec![step_of(programs.gradient), step_of(programs.apply)]
            } else {
                vec![step_of(step_program(loss, step, &system.parameters).usage()?)]
            }
        }
        [] => {
            let names: Vec<&str> = Kind::ALL.iter().flat_map(|kind| kind.names(system)).collect();
            let message = format!("`{}` has no task, loss or training step `{name}`", system.name);
            return Err(Failure::with_help(Code::Usage, message, suggestion(own, names)));
        }
        _ => {
            let names: Vec<String> = found.iter().map(|kind| format!("`{}:{own}`", kind.word())).collect();
            let message = format!("`{}` has several programs `{own}`", system.name);
            return Err(Failure::with_help(Code::Usage, message, format!("say {}", names.join(" or "))));
        }
    })
}
