//! What a training run leaves behind, and how it says what went wrong.

use crate::support::{fails, root, succeeds};
use std::{fs, path::Path};
use visage_runtime::checkpoint::Checkpoint;

fn tiny() -> String {
    root().join("tests/specs/tiny.ron").display().to_string()
}

#[track_caller]
fn assert_there(folder: &Path, files: &[&str]) {
    for file in files {
        let path = folder.join(file);
        assert!(path.metadata().is_ok_and(|found| found.is_dir() || found.len() > 0), "{} is missing", path.display());
    }
}

#[test]
fn a_run_without_data_leaves_weights_measurements_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let summary = succeeds(folder.path(), &["train", &tiny(), "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["run"], &summary["rounds"]), (&"runs/tiny".into(), &30.into()));
    assert!(summary["results"]["evaluate"]["psnr"].as_f64().unwrap() > 3.0);
    let run = folder.path().join("runs/tiny");
    let left = [
        "run.json",
        "spec.ron",
        "system.txt",
        "metrics.csv",
        "curve.png",
        "log.txt",
        "checkpoints/latest",
        "checkpoints/00000030.safetensors",
        "results/evaluate/evaluation.json",
        "results/evaluate/test-r_000.png",
        "results/colours/colour.mp4",
        "results/colours/colour.gif",
        "results/colours/colour/0002.png",
    ];
    assert_there(&run, &left);
    let events = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("events.out.tfevents.");
    assert!(fs::read_dir(&run).unwrap().any(|entry| events(entry.unwrap())));
    let checkpoint = Checkpoint::read(&run.join("checkpoints/00000030.safetensors")).unwrap();
    let mut names: Vec<&str> = checkpoint.tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["adam.mean.bias", "adam.mean.weight", "adam.square.bias", "adam.square.weight", "bias", "weight"]
    );

    // The weights of a run serve its tasks, with the settings and the data of the run.
    succeeds(
        folder.path(),
        &["run", &tiny(), "colours", "--weights", "runs/tiny", "--opt", "view=0", "--size", "9", "--out", "view"],
    );
    assert_there(folder.path(), &["view/colour.png"]);
    for (out, file) in [("ball", "ball/mesh.ply"), ("ball.ply", "ball.ply"), ("meshes/ball.obj", "meshes/ball.obj")] {
        let figures =
            succeeds(folder.path(), &["run", &tiny(), "ball", "--weights", "runs/tiny", "--out", out, "--json"]);
        let figures: serde_json::Value = serde_json::from_str(&figures).unwrap();
        assert!(figures["figures"]["triangles"].as_f64().unwrap() > 200.0, "{figures}");
        assert!(folder.path().join(file).is_file(), "{file}");
    }

    // What the threads of a step did, for viewers of profiles.
    succeeds(folder.path(), &["bench", &tiny(), "fit", "--repeat", "1", "--threads", "2", "--trace", "fit.json"]);
    let trace: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("fit.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let message =
        fails(folder.path(), 2, &["bench", &tiny(), "fit", "--device", "reference", "--trace", "reference.json"]);
    assert!(message.contains("no steps and threads"), "{message}");
    let pieces: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert!(!pieces.is_empty() && pieces.iter().all(|piece| piece["dur"].as_f64().unwrap() >= 0.0), "{trace}");

    // A second run does not touch the first.
    succeeds(folder.path(), &["train", &tiny(), "--rounds", "2", "--no-reports"]);
    assert_there(folder.path(), &["runs/tiny-2/checkpoints/00000002.safetensors"]);
    let message = fails(folder.path(), 2, &["train", &tiny(), "--out", "runs/tiny"]);
    assert!(message.contains("already holds a training run") && message.contains("--resume runs/tiny"), "{message}");
}

#[test]
fn the_first_operation_that_fails_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let diverging =
        ["--set", "fragile=true", "--set", "rate=0.02", "--rounds", "200", "--checkpoint-every", "4", "--out", "run"];
    let spec = tiny();
    let arguments: Vec<&str> = ["train", &spec, "--no-reports"].into_iter().chain(diverging).collect();
    let message = fails(folder.path(), 3, &arguments);
    assert!(message.contains("of the step `fit` is not finite"), "{message}");
    assert!(message.contains("= log %") && message.contains("brightness"), "{message}");
    // What is kept is the last good state.
    let latest = fs::read_to_string(folder.path().join("run/checkpoints/latest")).unwrap();
    let kept = Checkpoint::read(&folder.path().join("run/checkpoints").join(latest.trim())).unwrap();
    assert!(kept.tensors.values().all(|array| array.to_f32().iter().all(|x| x.is_finite())));
    assert!(message.contains(&format!("checkpoint of round {} is", kept.metadata["round"])), "{message}");
}

#[test]
fn a_run_may_start_from_given_weights() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["train", &tiny(), "--rounds", "3", "--no-reports", "--out", "first"]);
    succeeds(
        folder.path(),
        &["train", &tiny(), "--rounds", "0", "--no-reports", "--weights", "first", "--seed", "9", "--out", "second"],
    );
    let read = |run: &str, round: u64| {
        Checkpoint::read(&folder.path().join(format!("{run}/checkpoints/{round:08}.safetensors"))).unwrap()
    };
    assert_eq!(read("first", 3).tensors["weight"], read("second", 0).tensors["weight"]);
}

/// A step may have sizes of its own, parameters rates of their own, and a schedule may begin again.
#[test]
fn stages_follow_each_other_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("tests/specs/stages.ron").display().to_string();
    succeeds(folder.path(), &["train", &spec, "--out", "run", "--checkpoint-every", "2"]);
    let stored = |round: u64, name: &str| {
        let path = folder.path().join(format!("run/checkpoints/{round:08}.safetensors"));
        Checkpoint::read(&path).unwrap().tensor(name).unwrap().to_f64()[0]
    };
    // Gradients are 2, then 4; rates 1 and 1, then 1 and 3/4; half of that for the second number.
    assert_eq!(["pair.a", "pair.b"].map(|name| stored(2, name)), [-4.0, -2.0]);
    assert_eq!(["pair.a", "pair.b"].map(|name| stored(4, name)), [-11.0, -5.5]);
    // Decays of 1/10, then 2/11.
    let average = (-2.0 * 0.9) * (2.0 / 11.0) - 4.0 * (9.0 / 11.0);
    assert!((stored(2, "ema.pair.a") - average).abs() < 1e-6);
}
