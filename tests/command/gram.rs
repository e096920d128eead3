//! GRAM through the command, against reference tensors of the official code.

use crate::{
    golden::{assert_close, weights_by_formula},
    support::{DEVICES, numbers, result, root, shared, succeeds},
};
use visage_runtime::{array::Array, checkpoint::Checkpoint};

const SPEC: &str = "graphs/gram";

#[test]
fn networks_are_as_large_as_the_official_ones() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = |more: &[&str]| {
        let spec = root().join(SPEC).display().to_string();
        let told = succeeds(folder.path(), &[&["check", &spec, "--json"], more].concat());
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        ["generator", "discriminator"].map(|model| told["models"][model]["parameters"].as_u64().unwrap())
    };
    assert_eq!(sizes(&[]), [1_950_621, 12_391_827]);
    assert_eq!(sizes(&["--preset", "cats"]), [1_925_597, 12_391_827]);
    assert_eq!(sizes(&["--preset", "carla"]), [2_049_821, 12_332_115]);
}

#[test]
fn pictures_and_gradients_are_those_of_the_official_code() {
    let Some(path) = shared("golden/gram.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let file = path.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let [z, pose, factor] =
        ["z=:in.z", "pose=:in.pose", "factor=:in.cot"].map(|input| input.replace('=', &format!("={file}")));
    let sizes = ["image=2", "side=8", "hidden=64", "scalar=64", "mapping=64"];
    let mut common: Vec<&str> = sizes.iter().flat_map(|size| ["--set", *size]).collect();
    common.extend(["--weights", &file, "--in", &pose]);
    for device in DEVICES {
        let more = [&common[..], device].concat();
        let found = result(folder.path(), ["run", "meetings"], SPEC, &more);
        // The last is the plane.
        let but_last = |name: &str, width: usize| -> Array {
            let values = numbers(found.tensor(name).unwrap());
            let kept: Vec<f32> = values.chunks(24 * width).flat_map(|ray| ray[..23 * width].to_vec()).collect();
            Array::from_slice([2, 64, 23, width], &kept).unwrap()
        };
        let met = [("points", 3), ("valid", 1)].map(|(name, width)| (name.to_owned(), but_last(name, width)));
        let met = Checkpoint { tensors: met.into_iter().collect(), ..Checkpoint::default() };
        assert_close("points", &met, ("out.intersections", &golden), 1e-5);
        assert_close("valid", &met, ("out.valid", &golden), 0.0);

        let made = [&more[..], &["--in", &z]].concat();
        let found = result(folder.path(), ["run", "random"], SPEC, &made);
        assert_close("picture", &found, ("out.image", &golden), 1e-4);
        let found = result(folder.path(), ["grad", "products"], SPEC, &[&made[..], &["--in", &factor]].concat());
        assert_close("loss", &found, ("out.loss", &golden), 1e-4);
        let names = golden.tensors.keys().filter_map(|name| name.strip_prefix("grad."));
        assert_eq!(names.map(|name| assert_close(name, &found, (&format!("grad.{name}"), &golden), 1e-3)).count(), 6);
    }
}

#[test]
fn the_whole_network_makes_the_picture_of_the_official_code() {
    let Some(path) = shared("golden/full_gram.safetensors") else { return };
    let Some(description) = shared("golden/full_gram.weights.json") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let file = path.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut weights = weights_by_formula(&description);
    // Those of the scalar field are as they begin.
    let mut constant = |name: &str, shape: &[usize], value: f32| {
        let values = vec![value; shape.iter().product()];
        let name = format!("representation.sample_network.{name}");
        weights.tensors.insert(name, Array::from_slice(shape, &values).unwrap());
    };
    ["network.0.bias", "network.2.bias", "network.4.bias"].iter().for_each(|name| constant(name, &[128], 0.0));
    constant("output_layer.weight", &[1, 128], 1.566_642_7);
    constant("output_layer.bias", &[1], 0.0);
    weights.write_safetensors(&folder.path().join("weights.safetensors")).unwrap();
    let [z, pose] = ["z", "pose"].map(|name| format!("{name}={file}:in.{name}"));
    let more = ["--weights", "weights.safetensors", "--set", "side=16", "--in", &z, "--in", &pose];
    let found = result(folder.path(), ["run", "random"], SPEC, &more);
    assert_close("picture", &found, ("out.image", &golden), 1e-4);
}
