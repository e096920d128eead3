//! `visage grad`: a loss and its gradients, for comparison with other frameworks.

use super::{
    arguments::{DeviceArguments, Given, SpecArguments},
    failure::{Because, Outcome},
    feed::{self, WeightArguments},
    print, run,
    source::Source,
};
use crate::executor::Executable;
use indexmap::IndexMap;
use serde_json::json;
use std::path::PathBuf;
use visage_compiler::{language::ProgramKind, random::RandomKey, training::gradient_program};

/// Compute a loss and its gradients.
///
/// The file has the loss as `loss` and the gradient of each parameter that it reads under the parameter's official name, in the
/// parameter's storage order; then what else the loss gives, by name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  visage grad graphs/nerf photometric --weights w.safetensors \\
      --in rays_o=batch.safetensors:origins --in rays_d=batch.safetensors:directions \\
      --in target=batch.safetensors:colours --out gradients.safetensors")]
pub struct Arguments {
    #[command(flatten)]
    source: SpecArguments,

    /// The loss; `visage check SPEC` lists them
    loss: String,

    #[command(flatten)]
    weights: WeightArguments,

    /// Value of an input: NAME=FILE, NAME=FILE:TENSOR or NAME=NUMBER
    #[arg(long = "in", value_name = "NAME=FILE")]
    given: Vec<Given>,

    /// Where the loss and the gradients go: a .safetensors file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// The round that schedules are at
    #[arg(long, default_value_t = 0)]
    round: u64,

    /// Seed of random nodes
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Print the loss and the norms of the gradients as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArguments,
}

/// Runs the command.
pub fn grad(arguments: &Arguments) -> Outcome {
    let Arguments { loss, given, weights, seed, round, .. } = arguments;
    let mut source = Source::open(&arguments.source)?;
    feed::adopt(&mut source, weights)?;
    let mut fed = feed::feed(&source, ProgramKind::Loss, loss, given, weights, *seed, *round)?;
    let gradients = gradient_program(&fed.program, &fed.system.parameters).usage()?;
    let mut executable = Executable::new(&gradients.program, &IndexMap::new(), &arguments.device.options())?;
    let key = RandomKey { seed: *seed, step: *round };
    let mut outputs = executable.run(&mut fed.state, &fed.inputs, key)?;
    let mut written = IndexMap::new();
    written.extend(outputs.shift_remove_entry("loss"));
    let value = written["loss"].value();
    for (parameter, output) in &gradients.gradients {
        written.extend(outputs.shift_remove(output).map(|gradient| (parameter.clone(), gradient)));
    }
    let count = gradients.gradients.len();
    let norm = |values: Vec<f64>| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    let norms = written.iter().skip(1).map(|(name, gradient)| (name.clone(), json!(norm(gradient.values()))));
    let norms: serde_json::Map<_, _> = norms.collect();
    written.extend(outputs);
    run::write_tensors(&arguments.out, &written)?;
    if arguments.json {
        print(&format!("{:#}\n", json!({ "loss": value, "norms": norms })));
    } else {
        print(&format!("loss {value}, {count} gradients in {}\n", arguments.out.display()));
    }
    Ok(())
}
