//! pi-GAN through the command, against reference tensors of the official code.

use crate::{
    golden::{assert_close, assert_near, weights_by_formula},
    support::{DEVICES, numbers, result, root, shared, succeeds},
};
use std::path::Path;
use visage_runtime::{array::Array, checkpoint::Checkpoint};

const SPEC: &str = "graphs/pigan";

#[test]
fn networks_are_as_large_as_the_official_ones() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = |more: &[&str]| {
        let spec = root().join(SPEC).display().to_string();
        let told = succeeds(folder.path(), &[&["check", &spec, "--json"], more].concat());
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        ["generator", "discriminator"].map(|model| told["models"][model]["parameters"].as_u64().unwrap())
    };
    assert_eq!(sizes(&[]), [1_910_788, 13_291_075]);
    // Without the layer for poses, of 400 x 2 and 400 numbers, that the official one has and does not use.
    assert_eq!(sizes(&["--preset", "cats"]), [1_910_788, 12_805_489 - 1200]);
    assert_eq!(sizes(&["--preset", "carla"]), [1_910_788, 12_825_523]);
}

/// The arrays of the reference with the shapes that programs have, and real pictures with values from 0 to 1.
fn shaped(golden: &Checkpoint, image: usize, side: usize, steps: usize, folder: &Path) {
    let array = |name: &str| golden.tensor(name).unwrap();
    let rays = [image, side, side, steps];
    let mut tensors = vec![
        ("z".to_owned(), array("in.z").clone()),
        ("pose".to_owned(), array("in.pose").clone()),
        ("jitter".to_owned(), Array::from_slice(rays, &numbers(array("in.jitter"))).unwrap()),
        ("u".to_owned(), Array::from_slice(rays, &numbers(array("in.u"))).unwrap()),
    ];
    if let Ok(real) = golden.tensor("in.real") {
        let values: Vec<f32> = numbers(real).iter().map(|x| (x + 1.0) / 2.0).collect();
        tensors.push(("real".to_owned(), Array::from_slice([image, 3, side, side], &values).unwrap()));
    }
    let tensors = tensors.into_iter().collect();
    let given = Checkpoint { tensors, ..Checkpoint::default() };
    given.write_safetensors(&folder.join("in.safetensors")).unwrap();
}

const INPUTS: [&str; 8] = [
    "--in",
    "z=in.safetensors:z",
    "--in",
    "pose=in.safetensors:pose",
    "--in",
    "jitter=in.safetensors:jitter",
    "--in",
    "u=in.safetensors:u",
];

#[test]
fn pictures_and_gradients_are_those_of_the_official_code() {
    let Some(path) = shared("golden/pigan.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shaped(&golden, 2, 8, 12, folder.path());
    let [generator, discriminator] = ["w.G.", "w.D."].map(|prefix| format!("{}:{prefix}", path.display()));
    let set = |sizes: &'static str| sizes.split_whitespace().flat_map(|size| ["--set", size]).collect::<Vec<_>>();
    let sizes = set("side=8 image=2 narrowest=8 widest=24 widened_every=2 estimated=16");
    let mut common = [&sizes[..], &set("samples=12 splits=1 mapping=64")].concat();
    common.extend(["--weights", &generator, "--weights", &discriminator]);
    common.extend(INPUTS);
    for device in DEVICES {
        let more = [&common[..], device].concat();
        let found = result(folder.path(), ["run", "random"], SPEC, &more);
        assert_close("picture", &found, ("out.image", &golden), 1e-4);

        // When layers have faded in and noise has faded out.
        let late = [&more[..], &["--round", "10000"]].concat();
        let real = [&late[..], &["--in", "real=in.safetensors:real"]].concat();
        let found = result(folder.path(), ["grad", "discriminator"], SPEC, &real);
        assert_close("loss", &found, ("out.d_loss", &golden), 1e-5);
        assert_close("penalised", &found, ("out.r1_penalty", &golden), 1e-5);
        let seen = found.tensor("seen").unwrap().to_f64();
        for (name, part) in [("out.real_prediction", 0..1), ("out.real_latent", 1..17), ("out.real_position", 17..19)] {
            let values: Vec<f64> = seen.chunks(19).flat_map(|row| row[part.clone()].to_vec()).collect();
            assert_near(name, &values, &golden.tensor(name).unwrap().to_f64(), 1e-5);
        }
        assert_eq!(gradients(&found, &golden, "grad.D."), 4);

        // The penalty alone: its gradient is that of the gradient.
        let alone = [&sizes[..], device, &["--weights", &discriminator, "--in", "real=in.safetensors:real"]].concat();
        let found = result(folder.path(), ["grad", "penalty"], "tests/specs/penalty.ron", &alone);
        assert_close("slope", &found, ("out.r1_input_grad", &golden), 1e-5);
        assert_eq!(gradients(&found, &golden, "grad.r1.D."), 4);

        let found = result(folder.path(), ["grad", "generator"], SPEC, &late);
        assert_close("loss", &found, ("out.g_loss", &golden), 1e-5);
        assert_eq!(gradients(&found, &golden, "grad.G."), 6);
    }
}

/// Compares the gradients that begin so, and counts them.
fn gradients(found: &Checkpoint, golden: &Checkpoint, prefix: &str) -> usize {
    let names = golden.tensors.keys().filter_map(|name| name.strip_prefix(prefix));
    names.map(|name| assert_close(name, found, (&format!("{prefix}{name}"), golden), 1e-3)).count()
}

#[test]
fn the_whole_network_makes_the_picture_of_the_official_code() {
    let Some(path) = shared("golden/full_pigan.safetensors") else { return };
    let Some(description) = shared("golden/full_pigan.weights.json") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    shaped(&golden, 1, 16, 24, folder.path());
    let weights = weights_by_formula(&description);
    weights.write_safetensors(&folder.path().join("weights.safetensors")).unwrap();
    let mut more = vec!["--weights", "weights.safetensors", "--set", "side=16", "--set", "samples=24"];
    more.extend(INPUTS);
    let found = result(folder.path(), ["run", "random"], SPEC, &more);
    assert_close("picture", &found, ("out.image", &golden), 1e-4);

    // Moving averages are kept as a list, in the order of the official code's parameters.
    let network = (0..8).map(|i| format!("network.{i}.layer"));
    let heads = ["final_layer", "color_layer_sine.layer", "color_layer_linear.0"].map(str::to_owned);
    let mapping = (0..4).map(|i| format!("mapping_network.network.{}", 2 * i));
    let layers = network.chain(heads).chain(mapping);
    let names = layers.flat_map(|layer| ["weight", "bias"].map(|kind| format!("siren.{layer}.{kind}")));
    let listed =
        names.enumerate().map(|(i, name)| (format!("shadow_params.{i}"), weights.tensor(&name).unwrap().clone()));
    let averages = Checkpoint { tensors: listed.collect(), ..Checkpoint::default() };
    averages.write_safetensors(&folder.path().join("ema.safetensors")).unwrap();
    more[1] = "ema.safetensors";
    let found = result(folder.path(), ["run", "random"], SPEC, &more);
    assert_close("picture", &found, ("out.image", &golden), 1e-4);
}
