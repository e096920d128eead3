//! What fusion is worth: every program of every graph, fused and one operation a kernel, in turn.
//!
//! ```text
//! cargo bench --bench fusion
//! ```
//!
//! The figures are those of `visage bench`: medians of interleaved rounds with random weights and inputs.

use std::{path::Path, process::Command};

/// Spec, program and what to set so that a round takes about a second.
const PROGRAMS: [(&str, &str, &[&str]); 4] = [
    ("graphs/nerf", "rays", &["ray=256"]),
    ("graphs/nerf", "mesh", &["point=16384"]),
    ("graphs/nerf", "fit", &["ray=128"]),
    ("graphs/nerf", "fit", &["ray=512", "coarse=32", "fine=32", "hidden=64", "depth=4", "skip=1"]),
];

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (spec, program, sets) in PROGRAMS {
        println!("{spec} {program} {}", sets.join(" "));
        let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
        command.current_dir(root).args(["bench", spec, program, "--repeat", "7"]);
        for set in sets {
            command.args(["--set", set]);
        }
        match command.output() {
            Ok(output) => println!("{}", String::from_utf8_lossy(&output.stdout)),
            Err(error) => println!("  {error}"),
        }
    }
}
