//! What the planner's work is worth: every program of every graph, fused and one operation a kernel, and fused without
//! one of the planner's decisions at a time.
//!
//! ```text
//! cargo bench --bench fusion
//! cargo bench --bench fusion -- nerf       # graphs of this name
//! cargo bench --bench fusion -- nerf fit   # one program
//! ```
//!
//! Graphs are found in `graphs/`, programs in what `visage check` says of them. The figures are those of `visage
//! bench` with random weights and inputs: medians over interleaved rounds, each variant a process of its own. A program
//! is measured at the size at which a run takes about a second; what is scaled is the first axis of its first input.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Rounds, and runs of a variant in each.
const ROUNDS: usize = 3;
const REPEAT: usize = 2;

/// How long a run should take, in seconds.
const AIM: f64 = 1.0;

/// The first guess of a size; larger ones are found from how long this one takes.
const SMALL: u64 = 64;

/// Decisions that `--without` leaves out. Those that the command does not know are skipped.
const DECISIONS: [&str; 4] = ["segments", "merge", "recompute", "stream"];

/// What one variant took, in seconds and bytes.
type Figure = (f64, u64);

fn main() {
    let mut only = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (graph, program) = (only.next(), only.next());
    let decisions: Vec<_> = DECISIONS.into_iter().filter(|decision| known(decision)).collect();
    for spec in graphs().into_iter().filter(|spec| graph.as_ref().is_none_or(|graph| spec.ends_with(graph))) {
        for preset in presets(&spec) {
            let Some(about) = describe(&spec, &preset) else { continue };
            let shown = preset.as_ref().map_or(String::new(), |preset| format!(", {preset}"));
            println!("{}{shown}", spec.file_name().unwrap_or_default().to_string_lossy());
            for name in programs(&about).into_iter().filter(|name| program.as_ref().is_none_or(|only| only == name)) {
                measure(&spec, &preset, &about, &name, &decisions);
            }
        }
    }
}

/// Folders that hold a spec of their own name.
fn graphs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs");
    let entries = std::fs::read_dir(&folder).expect("there are graphs");
    let mut specs: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| path.join(name).with_extension("ron").exists()))
        .collect();
    specs.sort();
    specs
}

/// The spec as it is, and with the preset for small machines where it has one.
fn presets(spec: &Path) -> Vec<Option<String>> {
    let quick = Some("quick".to_owned());
    if describe(spec, &quick).is_some() { vec![None, quick] } else { vec![None] }
}

/// What the command says of itself when run so, or why it did not run.
fn visage(arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_visage")).args(arguments).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Whether the command knows a decision that `--without` leaves out.
fn known(decision: &str) -> bool {
    let help = visage(&["bench", "--help"]).unwrap_or_default();
    let option = help.split_once("--without").map(|(_, option)| option.split("\n      --").next().unwrap_or(option));
    option.is_some_and(|option| option.contains(decision))
}

fn describe(spec: &Path, preset: &Option<String>) -> Option<Value> {
    let spec = spec.to_str()?;
    let mut arguments = vec!["check", spec, "--json"];
    if let Some(preset) = preset {
        arguments.extend(["--preset", preset]);
    }
    serde_json::from_str(&visage(&arguments).ok()?).ok()
}

/// Tasks, but for those that are like another; losses; training steps.
fn programs(about: &Value) -> Vec<String> {
    let mut seen = Vec::new();
    let mut names = Vec::new();
    for (name, task) in about["tasks"].as_object().into_iter().flatten() {
        let same = ["inputs", "outputs", "operations", "contraction_flops"].map(|part| task[part].clone());
        if !seen.contains(&same) {
            seen.push(same);
            names.push(name.clone());
        }
    }
    names.extend(about["losses"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    names.extend(about["training"]["steps"].as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    names
}

/// The size that a program grows with: that of the first axis of its first input. That of a training step is its loss's.
fn scaled(about: &Value, program: &str) -> Option<String> {
    let of = about["training"]["steps"][program]["loss"].as_str().unwrap_or(program);
    let described = [&about["tasks"][of], &about["losses"][of]].into_iter().find(|described| !described.is_null())?;
    let axis = described["inputs"][0]["axes"][0].as_str()?;
    about["sizes"][axis].as_u64().map(|_| axis.to_owned())
}

/// Measures a program at a size that suits it, and prints a line a variant.
fn measure(spec: &Path, preset: &Option<String>, about: &Value, name: &str, decisions: &[&str]) {
    let mut base = vec![spec.to_string_lossy().into_owned(), name.to_owned()];
    if let Some(preset) = preset {
        base.extend(["--preset".to_owned(), preset.clone()]);
    }
    let mut shown = String::new();
    if let Some(axis) = scaled(about, name) {
        let set = |size: u64| ["--set".to_owned(), format!("{axis}={size}")];
        if let Ok((seconds, _)) = run(&[base.clone(), set(SMALL).to_vec()].concat(), &["--fused"], 1) {
            // A power of two, so that what is divided stays whole.
            let doublings = (AIM / seconds).log2().round().clamp(-6.0, 16.0);
            let size = (SMALL as f64 * doublings.exp2()) as u64;
            base.extend(set(size));
            shown = format!(", {axis}={size}");
        }
    }
    let mut variants: Vec<(String, Vec<String>)> =
        vec![("fused".to_owned(), vec!["--fused".to_owned()]), ("unfused".to_owned(), vec!["--no-fuse".to_owned()])];
    for decision in decisions {
        let options = ["--fused", "--without", decision].map(str::to_owned);
        variants.push((format!("without {decision}"), options.to_vec()));
    }
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        for ((variant, options), figures) in variants.iter().zip(&mut figures) {
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            match run(&base, &options, REPEAT) {
                Ok(figure) => figures.push(figure),
                Err(error) => eprintln!("  {name}, {variant}: {error}"),
            }
        }
    }
    println!("  {name}{shown}");
    let fused = figures[0].clone();
    for ((variant, _), figures) in variants.iter().zip(&figures) {
        if figures.is_empty() || figures.len() != fused.len() {
            continue;
        }
        let ratio = median(figures.iter().zip(&fused).map(|(figure, fused)| figure.0 / fused.0));
        let seconds = median(figures.iter().map(|figure| figure.0));
        let memory = figures[0].1 as f64 / (1 << 20) as f64;
        println!("    {variant:<20}{seconds:>9.4} s{ratio:>8.2} of fused{memory:>9.0} MiB");
    }
}

/// Median and memory of the variant that these options choose.
fn run(base: &[String], options: &[&str], repeat: usize) -> Result<Figure, String> {
    let repeat = repeat.to_string();
    let mut arguments = vec!["bench"];
    arguments.extend(base.iter().map(String::as_str));
    arguments.extend(options);
    arguments.extend(["--json", "--quiet", "--repeat", &repeat]);
    let said: Value = serde_json::from_str(&visage(&arguments)?).map_err(|error| error.to_string())?;
    let variant = &said["variants"][0];
    match (variant["median_seconds"].as_f64(), variant["memory_bytes"].as_u64()) {
        (Some(seconds), Some(memory)) => Ok((seconds, memory)),
        _ => Err("no figures".to_owned()),
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
