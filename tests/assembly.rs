//! The PTX of every program of every graph, translated by NVIDIA's `ptxas`: it is accepted, nothing is spilled, and what a
//! kernel takes of a processor is told.
//!
//! `PTXAS` says where the translator is; it needs no device and no toolkit, and comes as the package
//! `nvidia-cuda-nvcc`. Without it these tests say that they were skipped.

use serde_json::Value;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::Command,
};

/// The translator, if there is one.
fn ptxas() -> Option<PathBuf> {
    let found = std::env::var_os("PTXAS").map(PathBuf::from).filter(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: PTXAS does not name NVIDIA's ptxas");
    }
    found
}

/// What a kernel takes, as the translator says it.
#[derive(Clone, Debug, Default)]
struct Taken {
    entry: String,
    registers: u32,
    spilled: u32,
    barriers: u32,
}

/// The first number after some words.
fn number(line: &str, before: &str, after: &str) -> Option<u32> {
    let end = line.find(after)?;
    let start = if before.is_empty() { 0 } else { line.find(before)? + before.len() };
    line.get(start..end)?.rsplit([' ', ',']).find_map(|word| word.trim().parse().ok())
}

/// The kernels of a listing of `ptxas -v`.
fn kernels(listing: &str) -> Vec<Taken> {
    let mut all: Vec<Taken> = Vec::new();
    for line in listing.lines() {
        if let Some(name) = line.split("Compiling entry function '").nth(1) {
            let entry = name.split('\'').next().unwrap_or_default().to_owned();
            all.push(Taken { entry, ..Taken::default() });
        }
        let Some(last) = all.last_mut() else { continue };
        if let Some(bytes) = number(line, "frame,", " bytes spill stores") {
            last.spilled = bytes;
        }
        if let Some(registers) = number(line, "Used", " registers") {
            last.registers = registers;
            last.barriers = number(line, "used ", " barriers").unwrap_or(0);
        }
    }
    all
}

/// Runs the command and gives what it printed.
fn visage(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_visage")).args(arguments).output().unwrap();
    assert!(output.status.success(), "visage {arguments:?}:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Translates a program, and tells what its largest kernels take.
fn check(ptxas: &Path, (spec, more): (&Path, &[&str]), program: &str, family: &str, seen: &mut HashSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("program.ptx");
    let target = format!("ptx:{family}");
    let (spec, path) = (spec.to_str().unwrap(), text.to_str().unwrap());
    visage(&[&["compile", spec, program, "--target", &target, "--emit", "ptx", "--out", path], more].concat());
    // Tasks that differ in their drivers alone are one program.
    if !seen.insert(std::fs::read_to_string(path).unwrap()) {
        return;
    }
    let output = Command::new(ptxas)
        .args(["-v", "--warn-on-spills", &format!("-arch={family}"), path, "-o"])
        .arg(folder.path().join("program.cubin"))
        .output()
        .unwrap();
    let listing = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{spec} {program} for {family}:\n{listing}");
    // Remarks of this kind say that the translator has undone what the text asks for; it does not call them warnings.
    assert!(!listing.contains("C75"), "{spec} {program} for {family}:\n{listing}");
    let mut kernels = kernels(&listing);
    assert!(!kernels.is_empty(), "{spec} {program} for {family}:\n{listing}");
    let spilled: Vec<&Taken> = kernels.iter().filter(|kernel| kernel.spilled > 0).collect();
    assert!(spilled.is_empty(), "{spec} {program} for {family} spills: {spilled:?}");
    let count = kernels.len();
    kernels.sort_by_key(|kernel| std::cmp::Reverse(kernel.registers));
    for Taken { entry, registers, barriers, .. } in kernels.iter().take(3) {
        println!("ptx: {program:<14} {family} {registers:>3} registers, {barriers} barriers  {entry} (of {count})");
    }
}

/// Specs in folders of their own names, and those of single networks.
fn specs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = |folder: &str| {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let own = |path: &PathBuf| path.join(path.file_name().unwrap()).with_extension("ron").exists();
    let single = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "ron");
    all("graphs").into_iter().filter(own).chain(all("benches/specs").into_iter().filter(single)).collect()
}

/// Tasks, losses and training steps.
fn programs(spec: &Path, more: &[&str]) -> Vec<String> {
    let about = visage(&[&["check", spec.to_str().unwrap(), "--json"], more].concat());
    let about: Value = serde_json::from_str(&about).unwrap();
    let parts = [("task", &about["tasks"]), ("loss", &about["losses"]), ("step", &about["training"]["steps"])];
    let named = |(kind, part): (&str, &Value)| {
        let names = part.as_object().into_iter().flat_map(|part| part.keys());
        names.map(|name| format!("{kind}:{name}")).collect::<Vec<_>>()
    };
    parts.into_iter().flat_map(named).collect()
}

fn every_program(family: &str) {
    let Some(ptxas) = ptxas() else { return };
    let mut seen = HashSet::new();
    for spec in specs() {
        // Systems with several stages are translated as they are in the first and in the last.
        let stages: &[&[&str]] = match spec.ends_with("codeformer") {
            true => &[&["--set", "image=1"], &["--set", "image=1", "--set", "stage=3"]],
            false => &[&[]],
        };
        for (more, program) in stages.iter().flat_map(|more| programs(&spec, more).into_iter().map(move |p| (more, p)))
        {
            check(&ptxas, (&spec, more), &program, family, &mut seen);
        }
    }
}

#[test]
fn every_program_is_translated_for_ampere() {
    every_program("sm_80");
}

#[test]
fn every_program_is_translated_for_hopper() {
    every_program("sm_90");
}

#[test]
fn a_listing_is_read() {
    let listing = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'step_0_a' for 'sm_90'
ptxas info    : Function properties for step_0_a
    512 bytes stack frame, 2664 bytes spill stores, 2932 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 512 bytes cumulative stack size
";
    let kernels = kernels(listing);
    let [Taken { entry, registers: 255, spilled: 2664, barriers: 1 }] = &kernels[..] else { panic!("{kernels:?}") };
    assert_eq!(entry, "step_0_a");
}
