//! What the planner's work is worth: every program of every graph, and of the specs of single networks, fused; one
//! operation a kernel; and fused without one of the planner's decisions at a time. One line of a table a program.
//!
//! ```text
//! cargo bench --bench fusion
//! cargo bench --bench fusion -- attention  # specs of this name
//! cargo bench --bench fusion -- nerf fit   # one program
//! ```
//!
//! Specs are found in `graphs/` and `benches/specs/`, programs in what `visage check` says of them. The figures are
//! those of `visage bench` with random weights and inputs: medians over interleaved rounds, each variant a process of
//! its own. Programs of graphs are measured at the size at which a run takes about as long as [`AIM`] says; what is
//! scaled is the first axis of their first input. Single networks have their own sizes.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use visage_compiler::plan::Decision;

/// Rounds, and runs of a variant in each.
const ROUNDS: usize = 3;
const REPEAT: usize = 2;

/// How long a run should take, in seconds.
const AIM: f64 = 0.2;

/// The first guess of a size; larger ones are found from how long this one takes.
const SMALL: u64 = 64;

/// What one variant took, in seconds and bytes.
type Figure = (f64, u64);

fn main() {
    let mut only = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let (wanted, program) = (only.next(), only.next());
    let specs: Vec<PathBuf> =
        specs().into_iter().filter(|spec| wanted.as_ref().is_none_or(|name| called(spec) == *name)).collect();
    let mut measured = 0;
    for spec in &specs {
        for preset in presets(spec) {
            let Some(about) = describe(spec, &preset) else { continue };
            for name in programs(&about).into_iter().filter(|name| program.as_ref().is_none_or(|only| only == name)) {
                if measured == 0 {
                    head();
                }
                measured += 1;
                measure(spec, &preset, &about, &name);
            }
        }
    }
    if measured == 0 {
        let names: Vec<String> = self::specs().iter().map(|spec| called(spec)).collect();
        eprintln!("there is no such program; the specs are {}", names.join(", "));
        std::process::exit(2);
    }
}

/// Folders that hold a spec of their own name, and the specs of single networks.
fn specs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).expect("there are specs");
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths
    };
    let graphs = all("graphs").into_iter().filter(|path| path.join(called(path)).with_extension("ron").exists());
    let single = all("benches/specs").into_iter().filter(|path| path.extension().is_some_and(|kind| kind == "ron"));
    graphs.chain(single).collect()
}

/// What a spec is called: its folder or file.
fn called(spec: &Path) -> String {
    spec.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_graph(spec: &Path) -> bool {
    spec.is_dir()
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

/// The ways to run a program: what heads their column, and the options.
fn variants() -> Vec<(String, Vec<String>)> {
    let fused = "--fused".to_owned();
    let without = |decision: Decision| {
        let options = vec![fused.clone(), "--without".to_owned(), decision.name().to_owned()];
        (format!("without {}", decision.name()), options)
    };
    let whole = [("fused".to_owned(), vec![fused.clone()]), ("unfused".to_owned(), vec!["--no-fuse".to_owned()])];
    whole.into_iter().chain(Decision::ALL.map(without)).collect()
}

/// Begins the table: seconds of the fused program, those of the others as multiples, and memory.
fn head() {
    let columns = variants().into_iter().map(|(name, _)| name);
    let columns: Vec<String> = columns.chain(["memory, fused", "unfused"].map(str::to_owned)).collect();
    println!("| program | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

/// Measures a program at a size that suits it, and prints its line.
fn measure(spec: &Path, preset: &Option<String>, about: &Value, name: &str) {
    let mut base = vec![spec.to_string_lossy().into_owned(), name.to_owned()];
    let mut shown = format!("{} `{name}`", called(spec));
    if let Some(preset) = preset {
        base.extend(["--preset".to_owned(), preset.clone()]);
        shown += &format!(", {preset}");
    }
    if let Some(axis) = scaled(about, name).filter(|_| is_graph(spec)) {
        let set = |size: u64| ["--set".to_owned(), format!("{axis}={size}")];
        if let Ok((seconds, _)) = run(&[base.clone(), set(SMALL).to_vec()].concat(), &["--fused".to_owned()], 1) {
            // A power of two, so that what is divided stays whole.
            let doublings = (AIM / seconds).log2().round().clamp(-6.0, 16.0);
            let size = (SMALL as f64 * doublings.exp2()) as u64;
            base.extend(set(size));
            shown += &format!(", {axis}={size}");
        }
    }
    let variants = variants();
    let mut figures: Vec<Vec<Result<Figure, String>>> = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        for ((_, options), figures) in variants.iter().zip(&mut figures) {
            figures.push(run(&base, options, REPEAT));
        }
    }
    let cells = variants.iter().zip(&figures).enumerate().map(|(i, ((variant, _), of_variant))| {
        let pairs = of_variant.iter().zip(&figures[0]);
        let pairs: Result<Vec<_>, &String> =
            pairs.map(|(one, fused)| Ok((one.as_ref()?.0, fused.as_ref()?.0))).collect();
        match pairs {
            Ok(pairs) if i == 0 => time(median(pairs.iter().map(|(seconds, _)| *seconds))),
            Ok(pairs) => format!("{:.2}", median(pairs.iter().map(|(seconds, fused)| seconds / fused))),
            Err(error) => {
                eprintln!("{shown}, {variant}: {error}");
                "failed".to_owned()
            }
        }
    });
    let memory = figures[..2].iter().map(|of_variant| match &of_variant[0] {
        Ok((_, bytes)) => format!("{:.0} MiB", *bytes as f64 / f64::from(1 << 20)),
        Err(_) => "failed".to_owned(),
    });
    let cells: Vec<String> = cells.chain(memory).collect();
    println!("| {shown} | {} |", cells.join(" | "));
}

fn time(seconds: f64) -> String {
    if seconds >= 1.0 { format!("{seconds:.2} s") } else { format!("{:.1} ms", seconds * 1e3) }
}

/// Median and memory of the variant that these options choose.
fn run(base: &[String], options: &[String], repeat: usize) -> Result<Figure, String> {
    let repeat = repeat.to_string();
    let mut arguments = vec!["bench"];
    arguments.extend(base.iter().map(String::as_str));
    arguments.extend(options.iter().map(String::as_str));
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
