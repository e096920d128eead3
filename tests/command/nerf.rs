//! NeRF through the command, on every device, against reference tensors of the official code.
//!
//! Outputs agree within 2e-5 and gradients within 1e-4, relative to their norm. The gradients need sample
//! positions in `f64`: a unit of the fine network changes sign so close to a sample that rounding its
//! position to `f32` moves `fine.pts_linears.5.weight` by 1.1e-4.

use crate::{
    golden::assert_close,
    support::{root, shared, succeeds},
};
use std::path::Path;
use visage_runtime::checkpoint::Checkpoint;

/// Runs a command of the contract with inputs of the reference file, and reads what it wrote.
fn check(golden: &Path, what: &[&str], inputs: &[&str], more: &[&str]) -> Checkpoint {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("graphs/nerf").display().to_string();
    let file = golden.display().to_string();
    let given: Vec<String> = inputs.iter().map(|name| format!("{name}={file}:in.{name}")).collect();
    let mut arguments = vec![what[0], &spec, what[1], "--weights", &file, "--out", "out.safetensors"];
    arguments.extend(["--set", "white_background=false", "--set", "coarse=16", "--set", "fine=32"]);
    given.iter().for_each(|given| arguments.extend(["--in", given]));
    arguments.extend(more);
    succeeds(folder.path(), &arguments);
    Checkpoint::read(&folder.path().join("out.safetensors")).unwrap()
}

/// How programs are run.
const DEVICES: [&[&str]; 6] = [
    &["--device", "reference"],
    &["--device", "cpu", "--threads", "1"],
    &["--device", "cpu", "--threads", "2"],
    &["--device", "cpu", "--no-fuse", "--threads", "1"],
    &["--device", "cpu", "--no-fuse", "--threads", "2"],
    &["--device", "cpu", "--contraction", "cranelift"],
];

#[test]
fn outputs_are_those_of_the_official_code() {
    let Some(path) = shared("golden/nerf.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let cases: [(&str, &[&str]); 2] =
        [("out.det.", &["rays_o", "rays_d"]), ("out.", &["rays_o", "rays_d", "t_rand", "u"])];
    for ((prefix, inputs), device) in cases.into_iter().flat_map(|case| DEVICES.map(|device| (case, device))) {
        let more = [&["--in", "near=2", "--in", "far=6"], device].concat();
        let found = check(&path, &["run", "rays"], inputs, &more);
        for name in ["rgb", "rgb0", "depth", "acc"] {
            assert_close(name, &found, (&format!("{prefix}{name}"), &golden), 2e-5);
        }
    }
}

/// In bf16 an operand is off by at most 2⁻⁸ of itself, in either direction. Errors of many operands cancel: through two fields of
/// eleven layers and the rendering, outputs stay within as much of their norm.
#[test]
fn outputs_in_bf16_are_near_those_of_the_official_code() {
    let Some(path) = shared("golden/nerf.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let threads = ["1", "2"].map(|threads| {
        let more = ["--in", "near=2", "--in", "far=6", "--precision", "bf16", "--threads", threads];
        check(&path, &["run", "rays"], &["rays_o", "rays_d", "t_rand", "u"], &more)
    });
    for name in ["rgb", "rgb0", "depth", "acc"] {
        assert_close(name, &threads[0], (&format!("out.{name}"), &golden), 1.0 / 256.0);
        let [one, two] = threads.each_ref().map(|found| found.tensor(name).unwrap().to_f64());
        assert_eq!(one, two, "{name} depends on the number of threads");
    }
    let (found, exact) = (threads[0].tensor("rgb").unwrap().to_f64(), golden.tensor("out.rgb").unwrap().to_f64());
    assert!(found.iter().zip(&exact).any(|(x, y)| (x - y).abs() > 1e-4 * y.abs()), "nothing was rounded");
}

#[test]
fn gradients_are_those_of_the_official_code() {
    let Some(path) = shared("golden/nerf.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let inputs = ["rays_o", "rays_d", "t_rand", "u", "target"];
    for device in DEVICES {
        let found = check(&path, &["grad", "photometric"], &inputs, device);
        assert_close("loss", &found, ("out.loss", &golden), 2e-5);
        let compared = golden.tensors.keys().filter_map(|name| name.strip_prefix("grad.")).map(|name| {
            assert_close(name, &found, (&format!("grad.{name}"), &golden), 1e-4);
        });
        assert_eq!(compared.count(), 6);
        // Every weight of the file has its gradient, and the loss is a scalar.
        for (name, weight) in &golden.tensors {
            if let Some(name) = name.strip_prefix("w.") {
                assert_eq!(found.tensors[name].shape(), weight.shape(), "{name}");
            }
        }
        assert!(found.tensors["loss"].shape().is_empty());
    }
}

/// Gradients meet rectifiers that rounding has turned, the more of them the nearer to the first layer; how near they are to
/// what they should be with rounded operands is tested beside the reference evaluator.
#[test]
fn gradients_in_bf16_are_near_those_of_the_official_code() {
    let Some(path) = shared("golden/nerf.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let found = check(
        &path,
        &["grad", "photometric"],
        &["rays_o", "rays_d", "t_rand", "u", "target"],
        &["--precision", "bf16"],
    );
    assert_close("loss", &found, ("out.loss", &golden), 1.0 / 256.0);
    let compared = golden.tensors.keys().filter_map(|name| name.strip_prefix("grad.")).map(|name| {
        assert_close(name, &found, (&format!("grad.{name}"), &golden), 1.0 / 4.0);
    });
    assert_eq!(compared.count(), 6);
}
