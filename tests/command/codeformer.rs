//! CodeFormer through the command, against reference tensors of the official code.

use crate::{
    golden::{assert_close, assert_near, drawn, weights_by_formula},
    support::{DEVICES, fails, result, root, shared, succeeds},
};
use visage_runtime::{array::Array, checkpoint::Checkpoint, media::Picture};

#[test]
fn networks_are_as_large_as_the_official_ones() {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("graphs/codeformer").display().to_string();
    let told: serde_json::Value = serde_json::from_str(&succeeds(folder.path(), &["check", &spec, "--json"])).unwrap();
    let sizes =
        |model: &str| [&told["models"][model]["tensors"], &told["models"][model]["parameters"]].map(|n| n.as_u64());
    assert_eq!(sizes("codeformer"), [Some(515), Some(94_112_707)]);
    assert_eq!(sizes("autoencoder"), [Some(329), Some(63_740_099)]);
    // With the running statistics of its normalisations, which are no parameters.
    assert_eq!(sizes("critic"), [Some(24), Some(6_960_961 + 2 * (128 + 256 + 512 + 512))]);
}

#[test]
fn the_autoencoder_is_that_of_the_official_code() {
    let Some(path) = shared("golden/vqgan.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let file = path.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let picture: Vec<f32> = golden.tensor("in.x").unwrap().to_f64().iter().map(|x| ((x + 1.0) / 2.0) as f32).collect();
    let picture = Array::from_slice([1, 3, 64, 64], &picture).unwrap();
    let inputs =
        Checkpoint { tensors: [("picture".to_owned(), picture)].into_iter().collect(), ..Checkpoint::default() };
    inputs.write_safetensors(&folder.path().join("in.safetensors")).unwrap();
    let sizes = ["side=64", "width=32", "levels=3", "depth=1", "adversity=0", "perceptual=false"];
    let mut common: Vec<&str> = sizes.iter().flat_map(|size| ["--set", *size]).collect();
    common.extend(["--weights", &file]);
    for device in DEVICES {
        let more = [&common[..], device].concat();
        let face = format!("face={file}:in.x");
        let found = result(folder.path(), ["run", "nn"], "graphs/codeformer", &[&more[..], &["--in", &face]].concat());
        assert_close("restored", &found, ("out.image", &golden), 1e-5);
        assert_close("features", &found, ("out.latent", &golden), 1e-5);
        let [found, expected] =
            [found.tensor("indices").unwrap(), golden.tensor("out.indices").unwrap()].map(Array::to_f64);
        assert_eq!(found, expected);
        let given = [&more[..], &["--in", "picture=in.safetensors:picture"]].concat();
        let found = result(folder.path(), ["grad", "reconstruction"], "graphs/codeformer", &given);
        assert_close("loss", &found, ("out.loss", &golden), 1e-5);
        let names = golden.tensors.keys().filter_map(|name| name.strip_prefix("grad."));
        let compared = names.map(|name| {
            assert_close(&format!("hq.{name}"), &found, (&format!("grad.{name}"), &golden), 1e-4);
        });
        assert_eq!(compared.count(), 6);
    }
}

#[test]
fn transformer_and_fusion_are_those_of_the_official_code() {
    let Some(path) = shared("golden/codeformer_parts.safetensors") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let file = path.display().to_string();
    let inputs =
        ["tokens", "pos", "enc", "dec", "cot_tokens", "cot_fuse"].map(|name| format!("{name}={file}:in.{name}"));
    let mut common = vec!["--weights", &file];
    inputs.iter().for_each(|input| common.extend(["--in", input]));
    let folder = tempfile::tempdir().unwrap();
    for device in DEVICES {
        let more = [&common[..], device].concat();
        let found = result(folder.path(), ["grad", "products"], "tests/specs/codeformer_parts.ron", &more);
        assert_close("loss", &found, ("out.loss", &golden), 1e-5);
        let names = golden.tensors.keys().filter_map(|name| name.strip_prefix("grad."));
        assert_eq!(names.map(|name| assert_close(name, &found, (&format!("grad.{name}"), &golden), 1e-4)).count(), 6);
    }
}

/// Every n-th element along axes of given sizes.
fn every(array: &Array, steps: [usize; 4]) -> Vec<f64> {
    let &[n, c, h, w] = array.shape() else { panic!("{:?}", array.shape()) };
    let values = array.to_f64();
    let mut chosen = Vec::new();
    for (b, k) in (0..n).step_by(steps[0]).flat_map(|b| (0..c).step_by(steps[1]).map(move |k| (b, k))) {
        for (y, x) in (0..h).step_by(steps[2]).flat_map(|y| (0..w).step_by(steps[3]).map(move |x| (y, x))) {
            chosen.push(values[((b * c + k) * h + y) * w + x]);
        }
    }
    chosen
}

#[test]
fn the_whole_of_it_restores_as_the_official_code_does() {
    let Some(path) = shared("golden/full_codeformer.safetensors") else { return };
    let Some(description) = shared("golden/full_codeformer.weights.json") else { return };
    let golden = Checkpoint::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut given = weights_by_formula(&description);
    // The map of inputs is evaluated in single precision.
    let x = drawn("input.x", &[1, 3, 512, 512], |u| f64::from(2.0 * u as f32 - 1.0));
    given.tensors.insert("x".into(), x);
    given.write_safetensors(&folder.path().join("given.safetensors")).unwrap();
    for (w, name) in [("w=0.5", "out.image_w0.5_every_8th"), ("w=0", "out.image_w0_every_8th")] {
        let more =
            ["--weights", "given.safetensors", "--in", "face=given.safetensors:x", "--in", w, "--set", "adain=false"];
        let found = result(folder.path(), ["run", "restore"], "graphs/codeformer", &more);
        let restored = every(found.tensor("restored").unwrap(), [1, 1, 8, 8]);
        assert_near(name, &restored, &golden.tensor(name).unwrap().to_f64(), 1e-4);
        let features = every(found.tensor("features").unwrap(), [1, 16, 1, 1]);
        assert_near("features", &features, &golden.tensor("out.lq_feat").unwrap().to_f64(), 1e-4);
        let logits = found.tensor("logits").unwrap().to_f64();
        let first = golden.tensor("out.logits_first_4_tokens").unwrap().to_f64();
        assert_near("logits", &logits[..first.len()], &first, 1e-4);
        let highest = |token: &[f64]| (0..token.len()).fold(0, |best, i| if token[i] > token[best] { i } else { best });
        let codes: Vec<f64> = logits.chunks_exact(1024).map(|token| highest(token) as f64).collect();
        assert_eq!(codes, golden.tensor("out.indices").unwrap().to_f64());
    }
}

/// The smallest sizes at which nothing is missing.
fn smallest() -> Vec<&'static str> {
    let sizes = "side=16 width=8 levels=3 depth=1 groups=4 code=16 feature=8 hidden=16 head=2 wide=24 layers=1 coarsest=1 \
        critic_width=4 critic_layers=2 image=2 perceptual=false rounds=4 report_every=4 adversary_from=1 bad_from=2 \
        mixed_from=3 mixed_every=1 trust_from=1 heads=12";
    sizes.split_whitespace().flat_map(|size| ["--set", size]).collect()
}

/// A held-out picture that cannot be read is left out of the comparison; without any there is none.
#[test]
fn comparisons_go_on_without_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("graphs/codeformer").display().to_string();
    let faces = folder.path().join("faces");
    std::fs::create_dir(&faces).unwrap();
    for number in 0..21 {
        let shade = |x: usize, y: usize, channel: usize| [number * 9, 16 * x, 16 * y][channel] as f32 / 255.0;
        Picture::from_fn(16, 16, 3, shade).save(&faces.join(format!("{number:02}.png"))).unwrap();
    }
    let mut arguments = vec!["run", &spec, "codes", "--initial", "--data", "faces", "--out", "codes"];
    arguments.extend(smallest());
    let counted = || {
        let text = std::fs::read_to_string(folder.path().join("codes/comparison.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["pictures"].as_u64()
    };
    succeeds(folder.path(), &arguments);
    assert_eq!(counted(), Some(3));
    std::fs::write(faces.join("10.png"), "no picture").unwrap();
    succeeds(folder.path(), &arguments);
    assert_eq!(counted(), Some(2));
    for name in ["00.png", "20.png"] {
        std::fs::write(faces.join(name), "no picture").unwrap();
    }
    let said = fails(folder.path(), 2, &arguments);
    assert!(said.contains("none of those held out can be read"), "{said}");
}

/// Three stages at the smallest sizes, on generated heads: each begins with what the one before has left, and only what a
/// stage trains changes.
#[test]
fn stages_hand_over_what_they_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("graphs/codeformer").display().to_string();
    let set = smallest();
    let train = |stage: &str, out: &str, weights: &[&str]| {
        let stage = format!("stage={stage}");
        let mut arguments =
            vec!["train", &spec, "--out", out, "--checkpoint-every", "4", "--keep", "9", "--set", &stage];
        arguments.extend(&set);
        weights.iter().for_each(|weights| arguments.extend(["--weights", *weights]));
        succeeds(folder.path(), &arguments);
        let read = |round: &str| Checkpoint::read(&folder.path().join(out).join("checkpoints").join(round)).unwrap();
        [read("00000000.safetensors"), read("00000004.safetensors")]
    };
    let same =
        |a: &Checkpoint, b: &Checkpoint, [one, other]: [&str; 2]| a.tensor(one).unwrap() == b.tensor(other).unwrap();

    let mut without = vec!["train", &spec, "--out", "none", "--set", "stage=2"];
    without.extend(&set);
    let refused = fails(folder.path(), 2, &without);
    assert!(refused.contains("the values of the model `autoencoder` must be given"), "{refused}");

    let [before, first] = train("1", "first", &[]);
    assert!(first.tensors.keys().all(|name| !name.starts_with("ft_layers")), "a stage keeps what it needs");
    for name in ["hq.encoder.blocks.0.weight", "hq.quantize.embedding.weight", "critic.main.0.weight"] {
        assert!(!same(&before, &first, [name; 2]), "{name} does not change");
    }
    let [before, second] = train("2", "second", &["first"]);
    let pairs =
        [("encoder.blocks.0.weight", true), ("quantize.embedding.weight", false), ("generator.blocks.0.weight", false)];
    for (name, changes) in pairs {
        assert!(
            same(&before, &first, [name, &format!("hq.{name}")]),
            "{name} does not begin where the first stage ended"
        );
        assert_eq!(!same(&before, &second, [name; 2]), changes, "{name}");
    }
    assert!(same(&first, &second, ["hq.encoder.blocks.0.weight"; 2]), "the teacher changes");
    let [before, third] = train("3", "third", &["first", "second"]);
    for (name, earlier, changes) in [
        ("ft_layers.0.linear1.weight", &second, true),
        ("critic.main.0.weight", &first, true),
        ("generator.blocks.0.weight", &second, false),
    ] {
        assert!(same(&before, earlier, [name; 2]), "{name} does not begin where it was left");
        assert_eq!(!same(&before, &third, [name; 2]), changes, "{name}");
    }
    assert!(!same(&before, &third, ["fuse_convs_dict.8.shift.2.weight"; 2]));
    let table = std::fs::read_to_string(folder.path().join("third/results/compare/comparison.json")).unwrap();
    let found: serde_json::Value = serde_json::from_str(&table).unwrap();
    assert_eq!(found["means"].as_object().unwrap().len(), 6);
    assert!(found["means"]["5: true codes"]["psnr"].as_f64().unwrap() > 3.0);
}

/// The network that tells people apart. Its weights are stored in half precision, which moves numbers of a descriptor by up
/// to 2.5e-4.
#[test]
fn people_are_told_apart_as_dlib_does() {
    let Some(weights) = shared("data/weights/face_recognition.safetensors") else { return };
    let Some(reference) = shared("data/weights/face_recognition.reference.safetensors") else { return };
    let expected = Checkpoint::read(&reference).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (weights, face) = (weights.display().to_string(), format!("face={}:image", reference.display()));
    let more = ["--weights", &weights, "--in", &face];
    let found = result(folder.path(), ["run", "descriptor"], "graphs/codeformer", &more);
    let [found, expected] = [found.tensor("d"), expected.tensor("output.descriptor")].map(|d| d.unwrap().to_f64());
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("descriptors: largest difference {off:.1e}");
    assert!(off <= 3e-4, "{off:e}");
}
