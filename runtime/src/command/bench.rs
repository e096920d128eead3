//! `visage bench`: how long a program takes, fused and not.

use super::{
    arguments::{DeviceArguments, SpecArguments},
    compile::{Named, programs},
    cost,
    failure::{Because, Failure, Outcome},
    print,
    source::Source,
    table::{Table, bytes, flops},
    trace,
};
use crate::{
    buffer::{Buffer, State},
    console,
    executor::{Device, Executable, ExecuteOptions, Piece, Precision},
};
use indexmap::IndexMap;
use serde_json::json;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Instant,
};
use visage_compiler::{
    cpu::Reuse,
    graph::{DType, Distribution, Type},
    random::{RandomKey, draw},
};
use visage_kernels::{
    Isa,
    memory::measure::{copy_gigabytes, peak_gflops, peak_pair_gflops},
    pairs::Unit,
};

/// Measure a program, fused and not.
///
/// Inputs and weights are random. The variants run in turn, so that what else the machine does meets all
/// of them; medians are compared. With `--precision bf16` the program also runs in f32, and how far the
/// outputs are from each other is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  visage bench graphs/nerf fit                       a whole training step
  visage bench graphs/nerf fit --steps               and where its time goes
  visage bench graphs/nerf fit --trace fit.json      thread by thread, for ui.perfetto.dev
  visage bench graphs/nerf photometric --gradient --threads 1
  visage bench graphs/nerf render --fused --precision bf16
  visage bench graphs/nerf render --set ray=4096 --repeat 20 --json")]
pub struct Arguments {
    #[command(flatten)]
    source: SpecArguments,

    /// A task, a loss or a training step; where names meet, with its kind: `step:generator`
    program: String,

    /// Of a loss: with the gradients of its parameters
    #[arg(long)]
    gradient: bool,

    /// How often each variant runs
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// Leave out the unfused variant
    #[arg(long, conflicts_with = "no_fuse")]
    fused: bool,

    /// Show the slowest steps of the program, beside what this machine can do at best
    #[arg(long)]
    steps: bool,

    /// Write what each thread does in one more run, as a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArguments,
}

/// One way to run the program.
struct Variant {
    name: &'static str,
    precision: Precision,
    prepared: f64,
    /// Kernels, and those that were in the code cache.
    reuse: Reuse,
    memory: usize,
    executables: Vec<Executable>,
    seconds: Vec<f64>,
}

/// Runs the command.
pub fn bench(arguments: &Arguments) -> Outcome {
    let system = Source::open(&arguments.source)?.system()?;
    let programs = programs(&system, &arguments.program, arguments.gradient)?;
    let options = arguments.device.options();
    if arguments.trace.is_some() && options.device == Device::Reference {
        return Err(Failure::usage("the reference evaluator has no steps and threads to trace"));
    }
    let rounds = options.precision == Precision::Bf16 && options.device == Device::Cpu;
    let mut variants = Vec::new();
    if options.fuse {
        variants.push(Variant::prepare("fused", &programs, &options)?);
    }
    if !arguments.fused {
        variants.push(Variant::prepare("unfused", &programs, &ExecuteOptions { fuse: false, ..options.clone() })?);
    }
    if rounds {
        let name = if options.fuse { "fused, f32" } else { "unfused, f32" };
        variants.push(Variant::prepare(name, &programs, &ExecuteOptions { precision: Precision::F32, ..options })?);
    }
    let state: State = programs
        .iter()
        .flat_map(|named| &named.program.parameters)
        .map(|(name, _)| name)
        .collect::<indexmap::IndexSet<_>>()
        .into_iter()
        .map(|name| {
            let ty = programs
                .iter()
                .find_map(|Named { program, .. }| program.parameters.get(name).map(|node| program.graph.ty(*node)));
            (
                name.clone(),
                random(ty.unwrap_or(&Type::new(DType::F32, Default::default())), name, Distribution::Normal, 0.1),
            )
        })
        .collect();
    let inputs: Vec<IndexMap<String, Buffer>> = programs
        .iter()
        .map(|named| {
            named
                .program
                .inputs
                .iter()
                .map(|(name, input)| (name.clone(), random(&input.ty, name, Distribution::Uniform, 1.0)))
                .collect()
        })
        .collect();
    // The outputs and updates of the first round in bf16 and in f32.
    let mut outputs = [Vec::new(), Vec::new()];
    // What a step updates, it updates from run to run.
    let mut states: Vec<State> = variants.iter().map(|_| state.clone()).collect();
    let bar = console::bar(u64::from(arguments.repeat) + 1, "{spinner} {bar:30} {pos}/{len}");
    for round in 0..=arguments.repeat {
        for (variant, state) in variants.iter_mut().zip(&mut states) {
            let started = Instant::now();
            for ((executable, named), inputs) in variant.executables.iter_mut().zip(&programs).zip(&inputs) {
                let found = executable.run(state, inputs, RandomKey { seed: 0, step: u64::from(round) })?;
                if rounds && round == 0 {
                    let updated =
                        named.updates.keys().filter_map(|name| Some((name.clone(), state.get(name)?.clone())));
                    outputs[usize::from(variant.precision == Precision::F32)].extend(found.into_iter().chain(updated));
                }
            }
            // The first run warms caches up.
            if round == 0 {
                variant.executables.iter_mut().for_each(Executable::forget_profile);
            } else {
                variant.seconds.push(started.elapsed().as_secs_f64());
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let [in_bf16, in_f32] = &outputs;
    let distance = rounds.then(|| distance(in_bf16, in_f32)).flatten();
    tell(arguments, &programs, &mut variants, distance.as_ref());
    if arguments.steps && !arguments.json {
        tell_steps(&variants[0], options.threads);
    }
    match &arguments.trace {
        Some(path) => record(path, &arguments.program, &mut variants[0], &state, &inputs),
        None => Ok(()),
    }
}

/// How far outputs in bf16 are from those in f32, where both are finite.
#[derive(Clone, Debug, PartialEq)]
struct Distance {
    /// The largest difference of two elements, as a part of the largest magnitude in the output, and the output where that
    /// is largest.
    farthest: (f64, String),
    /// The norm of the difference, as a part of that of the output, and the output where that is largest.
    norm: (f64, String),
    /// Elements that are finite in one of the two alone.
    infinite: usize,
}

/// Compares outputs of the same names; none where no output is a floating-point number.
fn distance(found: &[(String, Buffer)], expected: &[(String, Buffer)]) -> Option<Distance> {
    let mut distance: Option<Distance> = None;
    let pairs = found.iter().zip(expected).filter(|((_, found), _)| found.ty().dtype.is_float());
    for ((name, found), (_, expected)) in pairs {
        let (found, expected) = (found.to_tensor().data, expected.to_tensor().data);
        let is_finite = |(x, y): &(&f64, &f64)| x.is_finite() && y.is_finite();
        let infinite = found.iter().zip(&expected).filter(|(x, y)| x.is_finite() != y.is_finite()).count();
        let finite = || found.iter().zip(&expected).filter(is_finite);
        let part = |part: f64, whole: f64| if part == 0.0 { 0.0 } else { part / whole };
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let farthest =
            part(largest(&mut finite().map(|(x, y)| (x - y).abs())), largest(&mut finite().map(|(_, y)| y.abs())));
        let norm = part(norm(&mut finite().map(|(x, y)| x - y)), norm(&mut finite().map(|(_, y)| *y)));
        let before = distance.get_or_insert_with(|| Distance {
            farthest: (farthest, name.clone()),
            norm: (norm, name.clone()),
            infinite: 0,
        });
        before.infinite += infinite;
        for (before, own) in [(&mut before.farthest, farthest), (&mut before.norm, norm)] {
            if own > before.0 {
                *before = (own, name.clone());
            }
        }
    }
    distance
}

/// Runs the first variant once more and writes what its threads did.
fn record(
    path: &Path,
    program: &str,
    variant: &mut Variant,
    state: &State,
    inputs: &[IndexMap<String, Buffer>],
) -> Outcome {
    let (mut steps, mut pieces, mut begins) = (Vec::new(), Vec::new(), 0.0);
    for (executable, inputs) in variant.executables.iter_mut().zip(inputs) {
        executable.start_recording();
        executable.run(&mut state.clone(), inputs, RandomKey { seed: 0, step: 0 })?;
        let recorded = executable.stop_recording();
        let ends = recorded.iter().map(|piece| piece.start + piece.seconds).fold(0.0, f64::max);
        pieces.extend(recorded.into_iter().map(|piece| Piece {
            step: steps.len() + piece.step,
            start: begins + piece.start,
            ..piece
        }));
        begins += ends;
        steps.extend(executable.profile());
    }
    trace::write(path, program, &steps, &pieces)
}

/// Steps listed: the slowest ones.
const LISTED: usize = 16;

/// What each step took and did, and the shares of the measured peak and of the measured bandwidth of a copy that this is.
fn tell_steps(variant: &Variant, threads: Option<usize>) {
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let peak = 1e9
        * match variant.precision {
            Precision::F32 | Precision::Tf32 => peak_gflops(Isa::detect(), threads),
            Precision::Bf16 => peak_pair_gflops(Unit::detect(), threads),
        };
    let bandwidth = copy_gigabytes(threads, true) * 1e9;
    let mut steps: Vec<_> = variant.executables.iter().flat_map(Executable::profile).collect();
    let total: f64 = steps.iter().map(|step| step.seconds).sum();
    steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let mut table =
        Table::new(&["step", ">time", ">of all", ">contractions", ">of peak", ">memory", ">of a copy", "bound by"]);
    let share = |part: f64, whole: f64| format!("{:.0} %", 100.0 * part / whole);
    for step in steps.iter().take(LISTED) {
        let (work, traffic) = (step.flops / step.seconds, step.bytes / step.seconds);
        table.row([
            step.name.clone(),
            time(step.seconds),
            share(step.seconds, total),
            if step.flops > 0.0 { flops(step.flops) } else { String::new() },
            if step.flops > 0.0 { share(work, peak) } else { String::new() },
            bytes(step.bytes as u64),
            share(traffic, bandwidth),
            bound(work / peak, traffic / bandwidth).to_owned(),
        ]);
    }
    print(&format!(
        "\n{} steps; measured peak {}/s, copy {}/s\n{table}",
        steps.len(),
        flops(peak),
        bytes(bandwidth as u64)
    ));
}

/// Which limit holds a step that reaches these shares of the peak and of the bandwidth. A step that is far from both
/// is held by neither: by instructions that are not contractions, by latency, or by being short.
fn bound(arithmetic: f64, traffic: f64) -> &'static str {
    match (arithmetic.max(traffic) >= 0.3, arithmetic >= traffic) {
        (false, _) => "other work",
        (true, true) => "arithmetic",
        (true, false) => "memory",
    }
}

impl Variant {
    fn prepare(name: &'static str, programs: &[Named], options: &ExecuteOptions) -> Outcome<Variant> {
        let started = Instant::now();
        let executables = programs.iter().map(|named| Executable::new(&named.program, &named.updates, options));
        let executables = executables.collect::<Result<Vec<_>, _>>().failed()?;
        let memory = executables.iter().map(|executable| executable.memory().total()).max().unwrap_or(0);
        let prepared = started.elapsed().as_secs_f64();
        let reuse = executables.iter().map(Executable::reuse).fold(Reuse::default(), |all, one| Reuse {
            kernels: all.kernels + one.kernels,
            reused: all.reused + one.reused,
        });
        let precision = options.precision;
        Ok(Variant { name, precision, prepared, reuse, memory, executables, seconds: Vec::new() })
    }

    fn median(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        let middle = self.seconds.len() / 2;
        if self.seconds.len() % 2 == 1 {
            self.seconds[middle]
        } else {
            (self.seconds[middle - 1] + self.seconds[middle]) / 2.0
        }
    }
}

fn tell(arguments: &Arguments, programs: &[Named], variants: &mut [Variant], distance: Option<&Distance>) {
    let work: f64 = programs.iter().map(|named| cost::of(&named.program).contractions).sum();
    let mut table =
        Table::new(&["variant", ">median", ">fastest", ">contractions", ">memory", ">compiled in", ">from cache"]);
    let mut rows = Vec::new();
    for variant in variants {
        let median = variant.median();
        let fastest = variant.seconds[0];
        table.row([
            variant.name.to_owned(),
            time(median),
            time(fastest),
            format!("{}/s", flops(work / median)),
            bytes(variant.memory as u64),
            time(variant.prepared),
            format!("{} of {} kernels", variant.reuse.reused, variant.reuse.kernels),
        ]);
        rows.push(json!({
            "variant": variant.name,
            "median_seconds": median,
            "fastest_seconds": fastest,
            "memory_bytes": variant.memory,
            "compile_seconds": variant.prepared,
            "kernels": variant.reuse.kernels,
            "kernels_from_cache": variant.reuse.reused,
        }));
    }
    if arguments.json {
        let mut report = json!({ "program": arguments.program, "contraction_flops": work, "variants": rows });
        if let Some(Distance { farthest, norm, infinite }) = distance {
            let part = |(part, output): &(f64, String)| json!({ "relative": part, "output": output });
            report["distance_from_f32"] =
                json!({ "norm": part(norm), "largest": part(farthest), "infinite": infinite });
        }
        print(&format!("{report:#}\n"));
    } else {
        print(&table.to_string());
        if let Some(distance) = distance {
            print(&format!("{distance}\n"));
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Distance { farthest, norm, infinite } = self;
        write!(f, "outputs in bf16 are within {:.1e} of those in f32 in norm (`{}`), ", norm.0, norm.1)?;
        write!(f, "each element within {:.1e} of the largest (`{}`)", farthest.0, farthest.1)?;
        match infinite {
            0 => Ok(()),
            count => write!(f, "; finite in one of the two alone: {count}"),
        }
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

/// Numbers that look like data, times a factor; zeros where they are not `f32`.
fn random(ty: &Type, name: &str, distribution: Distribution, factor: f64) -> Buffer {
    let mut buffer = Buffer::zeros(ty.clone());
    if ty.dtype == DType::F32 {
        let stream = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
        for (index, element) in buffer.as_f32_mut().iter_mut().enumerate() {
            let drawn = draw(distribution, RandomKey { seed: 1, step: 0 }, stream, index as u32);
            *element = (factor * drawn) as f32;
        }
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::axis::{Axis, Shape};

    #[test]
    fn the_distance_is_that_of_the_farthest_outputs() {
        let output = |name: &str, values: &[f32]| {
            (name.to_owned(), Buffer::from_f32(Shape::new([(Axis::new("i"), values.len())]), values))
        };
        let expected = [output("near", &[3.0, 4.0]), output("far", &[-2.0, 0.5]), output("odd", &[f32::NAN, 1.0])];
        let found = [output("near", &[3.0, 3.0]), output("far", &[-2.0, 0.0]), output("odd", &[0.0, 1.0])];
        let found = distance(&found, &expected).unwrap();
        let norm = (0.5 / 4.25_f64.sqrt(), "far".to_owned());
        assert_eq!(found, Distance { farthest: (0.25, "near".to_owned()), norm, infinite: 1 });
        assert_eq!(
            found.to_string(),
            "outputs in bf16 are within 2.4e-1 of those in f32 in norm (`far`), each element within 2.5e-1 of the largest \
             (`near`); finite in one of the two alone: 1"
        );
        assert_eq!(distance(&[], &[]), None);
    }
}
