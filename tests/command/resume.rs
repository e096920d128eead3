//! A run that is killed, interrupted or stopped by a full disk goes on to the same bits as one that is not.

use crate::support::{command, ended, fails, root, succeeds};
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const ROUNDS: u64 = 3000;

/// The arguments that start a run in `out` with a checkpoint after every so many rounds.
fn train(out: &str, every: u64, more: &[&str]) -> Vec<String> {
    let spec = root().join("tests/specs/tiny.ron").display().to_string();
    let (rounds, every) = (ROUNDS.to_string(), every.to_string());
    let arguments = ["train", &spec, "--data", "head", "--rounds", &rounds, "--seed", "5", "--out", out];
    arguments
        .iter()
        .chain(&["--checkpoint-every", &every, "--no-reports"])
        .chain(more)
        .map(|s| (*s).to_owned())
        .collect()
}

const RESUME: [&str; 5] = ["train", "--resume", "run", "--checkpoint-every", "25"];

fn resume() -> Vec<String> {
    RESUME.iter().chain(&["--no-reports"]).map(|argument| (*argument).to_owned()).collect()
}

/// A folder with a data set and a run that nothing disturbed, in `whole`.
fn undisturbed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeeds(
        folder.path(),
        &["data", "generate", "head", "head", "--resolution", "12", "--train", "4", "--val", "1", "--test", "1"],
    );
    let arguments = train("whole", 1000, &[]);
    succeeds(folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    folder
}

/// Starts the command, to be stopped.
fn start(folder: &Path, arguments: Vec<String>) -> Child {
    command(folder, arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn rows(folder: &Path) -> usize {
    fs::read_to_string(folder.join("run/metrics.csv")).map_or(0, |text| text.lines().count())
}

/// Waits until the run has come so far, or is over.
fn wait_for_rows(folder: &Path, run: &mut Child, count: usize) {
    let start = Instant::now();
    while rows(folder) < count && run.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the run does not come to row {count}");
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Checks that the run in `run` ended as the one in `whole`.
#[track_caller]
fn assert_same(folder: &Path) {
    let last = format!("checkpoints/{ROUNDS:08}.safetensors");
    let read = |run: &str| fs::read(folder.join(run).join(&last)).unwrap();
    assert!(read("whole") == read("run"), "the weights differ");
    // All columns but the last, which is the time that a round took.
    let table = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.join(run).join("metrics.csv")).unwrap();
        text.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned()).collect()
    };
    assert_eq!(table("whole"), table("run"));
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let folder = undisturbed();
    let folder = folder.path();
    let mut kills = 0;
    for (number, count) in [1, 40, 150, 151, 900, 1800].into_iter().enumerate() {
        let arguments =
            if number == 0 || !folder.join("run/run.json").exists() { train("run", 25, &[]) } else { resume() };
        let mut run = start(folder, arguments);
        wait_for_rows(folder, &mut run, count);
        // SIGKILL: the process can do nothing about it.
        run.kill().unwrap();
        kills += usize::from(run.wait().unwrap().code().is_none());
    }
    assert!(kills >= 4, "the runs were over before they were killed");
    succeeds(folder, &resume().iter().map(String::as_str).collect::<Vec<_>>());
    assert_same(folder);
}

#[test]
fn an_interrupted_run_writes_a_checkpoint_and_goes_on() {
    let folder = undisturbed();
    let folder = folder.path();
    // A cadence that would not write one by itself.
    let mut run = start(folder, train("run", 100_000, &[]));
    wait_for_rows(folder, &mut run, 60);
    let sent = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let latest = fs::read_to_string(folder.join("run/checkpoints/latest")).unwrap();
    assert_ne!(latest.trim(), "00000000.safetensors");
    succeeds(folder, &resume().iter().map(String::as_str).collect::<Vec<_>>());
    assert_same(folder);
}

/// A limit on the size of files stands for a full disk: writes fail in their middle.
#[test]
fn a_full_disk_loses_nothing() {
    let folder = undisturbed();
    let folder = folder.path();
    let mut run = start(folder, train("run", 25, &[]));
    wait_for_rows(folder, &mut run, 100);
    run.kill().unwrap();
    run.wait().unwrap();
    let latest = fs::read(folder.join("run/checkpoints/latest")).unwrap();
    let line = format!("trap '' XFSZ; ulimit -f 1; exec {} {}", env!("CARGO_BIN_EXE_visage"), resume().join(" "));
    let (code, _, err) = ended(Command::new("sh").current_dir(folder).args(["-c", &line]).output().unwrap());
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("File too large"), "{err}");
    assert_eq!(fs::read(folder.join("run/checkpoints/latest")).unwrap(), latest);
    succeeds(folder, &resume().iter().map(String::as_str).collect::<Vec<_>>());
    assert_same(folder);
}

#[test]
fn a_run_in_progress_is_not_joined_by_another() {
    let folder = undisturbed();
    let folder = folder.path();
    let mut run = start(folder, train("run", 25, &["--set", "ray=64"]));
    wait_for_rows(folder, &mut run, 2);
    let message = fails(folder, 2, &RESUME);
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(message.contains("another process is training in run"), "{message}");
}
