//! Running the command in a folder of its own.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use visage_runtime::{array::Array, checkpoint::Checkpoint};

/// How programs are run.
pub const DEVICES: [&[&str]; 3] =
    [&["--device", "cpu"], &["--device", "cpu", "--no-fuse", "--threads", "1"], &["--device", "reference"]];

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The command, to be run in `folder` with these arguments.
pub fn command(folder: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_visage"));
    command
        .current_dir(folder)
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("COLUMNS")
        .env("NO_COLOR", "1")
        // Machine code is kept for the tests, not among the user's.
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    command
}

/// What the command leaves: exit code, standard output and standard error.
pub fn visage(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(command(folder, arguments).output().unwrap())
}

pub fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// Standard output of a command that must succeed.
#[track_caller]
pub fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = visage(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}\n{out}\n{err}");
    out
}

/// Standard error of a command that must end with `code`.
#[track_caller]
pub fn fails(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let (found, out, err) = visage(folder, arguments);
    assert_eq!(found, code, "{arguments:?}\n{out}\n{err}");
    err
}

/// A file of the reference data that is shared between projects, found through `VISAGE_SHARED`; `None`,
/// with a notice, where there is none.
pub fn shared(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("VISAGE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let path = folder.join(file);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there; set VISAGE_SHARED to the folder of the reference data", path.display());
    None
}

/// Runs `run TASK` or `grad LOSS` of a spec of the repository in a folder, and reads what it wrote.
#[track_caller]
pub fn result(folder: &Path, [what, name]: [&str; 2], spec: &str, more: &[&str]) -> Checkpoint {
    let spec = root().join(spec).display().to_string();
    succeeds(folder, &[&[what, &spec, name, "--out", "out.safetensors"], more].concat());
    Checkpoint::read(&folder.join("out.safetensors")).unwrap()
}

/// The numbers of an array.
pub fn numbers(array: &Array) -> Vec<f32> {
    array.to_f64().into_iter().map(|value| value as f32).collect()
}
