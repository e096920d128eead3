//! The network that published distances between sets of pictures are taken with.

use crate::support::{root, succeeds};
use std::path::Path;
use visage_runtime::{array::Array, checkpoint::Checkpoint};

fn spec() -> String {
    root().join("tests/specs/inception.ron").display().to_string()
}

/// Numbers without a pattern, from −1 to 1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + i * i * 31) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn write(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let tensors = tensors
        .iter()
        .map(|(name, shape, values)| ((*name).to_owned(), Array::from_slice(shape.to_vec(), values).unwrap()));
    let checkpoint = Checkpoint { tensors: tensors.collect(), ..Checkpoint::default() };
    checkpoint.write_safetensors(path).unwrap();
}

/// The count of `torchvision.models.inception_v3` without its second output and with 1008 classes, and names and sizes of the
/// weights file, storage order included.
#[test]
fn parameters_are_those_of_the_weights_file() {
    let folder = tempfile::tempdir().unwrap();
    let told: serde_json::Value =
        serde_json::from_str(&succeeds(folder.path(), &["check", &spec(), "--json"])).unwrap();
    let elements = |parameter: &serde_json::Value| -> u64 {
        parameter["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).product()
    };
    let of = |buffer: bool| -> u64 {
        let parameters = told["parameters"].as_object().unwrap().values();
        parameters.filter(|p| p["model"] == "inception" && p["buffer"] == buffer).map(elements).sum()
    };
    assert_eq!((of(false), of(true)), (23_850_960, 34_432));
    for (name, shape) in [
        ("Conv2d_1a_3x3.conv.weight", &[32, 3, 3, 3][..]),
        ("Conv2d_4a_3x3.bn.running_mean", &[192]),
        ("Mixed_5b.branch1x1.conv.weight", &[64, 192, 1, 1]),
        ("Mixed_5b.branch5x5_2.conv.weight", &[64, 48, 5, 5]),
        ("Mixed_5d.branch_pool.conv.weight", &[64, 288, 1, 1]),
        ("Mixed_6a.branch3x3dbl_3.conv.weight", &[96, 96, 3, 3]),
        ("Mixed_6b.branch7x7_2.conv.weight", &[128, 128, 1, 7]),
        ("Mixed_6c.branch7x7dbl_4.conv.weight", &[160, 160, 7, 1]),
        ("Mixed_6e.branch7x7dbl_5.conv.weight", &[192, 192, 1, 7]),
        ("Mixed_7a.branch7x7x3_3.conv.weight", &[192, 192, 7, 1]),
        ("Mixed_7b.branch3x3_2a.conv.weight", &[384, 384, 1, 3]),
        ("Mixed_7c.branch3x3dbl_3b.bn.weight", &[384]),
        ("fc.weight", &[1008, 2048]),
        ("fc.bias", &[1008]),
    ] {
        assert_eq!(told["parameters"][name]["shape"], serde_json::json!(shape), "{name}");
    }
}

/// Means and maxima around pixels and convolutions by lines of seven, against loops over pixels.
#[test]
fn parts_are_what_their_definitions_say() {
    const CHANNELS: usize = 2;
    const OUT: usize = 3;
    const HEIGHT: usize = 5;
    const WIDTH: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let p = numbers(CHANNELS * HEIGHT * WIDTH, 1);
    write(&at("p.safetensors"), &[("p", &[1, CHANNELS, HEIGHT, WIDTH], &p)]);
    let weights = [numbers(OUT * CHANNELS * 7, 2), numbers(OUT * CHANNELS * 7, 3)];
    let (gain, shift, mean) = ([0.5, 1.5, -1.0], [0.1, 0.3, 0.2], [0.2, -0.1, 0.05]);
    let variance = [0.5, 2.0, 1.0];
    let norm = |name: &str| -> Vec<(String, Vec<usize>, Vec<f32>)> {
        [("weight", gain), ("bias", shift), ("running_mean", mean), ("running_var", variance)]
            .map(|(part, values)| (format!("{name}.bn.{part}"), vec![OUT], values.to_vec()))
            .into()
    };
    let mut tensors = [norm("across"), norm("down")].concat();
    tensors.push(("across.conv.weight".into(), vec![OUT, CHANNELS, 1, 7], weights[0].clone()));
    tensors.push(("down.conv.weight".into(), vec![OUT, CHANNELS, 7, 1], weights[1].clone()));
    let tensors: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice())).collect();
    write(&at("w.safetensors"), &tensors);
    let spec = spec();
    let arguments =
        ["run", &spec, "parts", "--weights", "w.safetensors", "--in", "p=p.safetensors:p", "--out", "o.safetensors"];
    succeeds(folder.path(), &arguments);
    let outputs = Checkpoint::read(&at("o.safetensors")).unwrap().tensors;

    let value = |channel: usize, y: isize, x: isize| -> Option<f64> {
        let inside = (0..HEIGHT as isize).contains(&y) && (0..WIDTH as isize).contains(&x);
        inside.then(|| f64::from(p[(channel * HEIGHT + y as usize) * WIDTH + x as usize]))
    };
    let check = |name: &str, channels: usize, expected: &dyn Fn(usize, isize, isize) -> f64| {
        let found = outputs[name].to_f64();
        assert_eq!(found.len(), channels * HEIGHT * WIDTH);
        for (place, found) in found.into_iter().enumerate() {
            let (channel, y, x) = (place / (HEIGHT * WIDTH), place / WIDTH % HEIGHT, place % WIDTH);
            let expected = expected(channel, y as isize, x as isize);
            assert!((found - expected).abs() < 1e-5, "{name} {channel} {y} {x}: {found} {expected}");
        }
    };
    let around = |channel: usize, y: isize, x: isize| -> Vec<f64> {
        let steps = (-1..=1).flat_map(|down| (-1..=1).map(move |right| (down, right)));
        steps.filter_map(|(down, right)| value(channel, y + down, x + right)).collect()
    };
    check("means", CHANNELS, &|channel, y, x| {
        let values = around(channel, y, x);
        values.iter().sum::<f64>() / values.len() as f64
    });
    check("maxima", CHANNELS, &|channel, y, x| around(channel, y, x).into_iter().fold(0.0, f64::max));
    let line = |weights: &[f32], out: usize, y: isize, x: isize, [down, right]: [isize; 2]| -> f64 {
        let mut sum = 0.0;
        for channel in 0..CHANNELS {
            for tap in 0..7 {
                let step = tap as isize - 3;
                let seen = value(channel, y + step * down, x + step * right).unwrap_or(0.0);
                sum += f64::from(weights[(out * CHANNELS + channel) * 7 + tap]) * seen;
            }
        }
        let [gain, shift, mean, variance] = [gain, shift, mean, variance].map(|of| f64::from(of[out]));
        ((sum - mean) / (variance + 1e-3).sqrt() * gain + shift).max(0.0)
    };
    check("across_7", OUT, &|out, y, x| line(&weights[0], out, y, x, [0, 1]));
    check("down_7", OUT, &|out, y, x| line(&weights[1], out, y, x, [1, 0]));
}

/// The whole network is compiled and run; a picture's features do not depend on what is beside it.
#[test]
fn features_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let pictures = numbers(2 * 3 * 32 * 32, 5);
    write(&at("both.safetensors"), &[("picture", &[2, 3, 32, 32], &pictures)]);
    write(&at("second.safetensors"), &[("picture", &[1, 3, 32, 32], &pictures[3 * 32 * 32..])]);
    let features = |file: &str| -> Vec<f64> {
        let spec = spec();
        let given = format!("picture={file}.safetensors:picture");
        let out = format!("{file}-features.safetensors");
        succeeds(folder.path(), &["run", &spec, "features", "--initial", "--in", &given, "--out", &out]);
        Checkpoint::read(&at(&out)).unwrap().tensors["feature"].to_f64()
    };
    let (both, second) = (features("both"), features("second"));
    assert_eq!((both.len(), second.len()), (2 * 2048, 2048));
    let size = second.iter().map(|value| value.abs()).fold(0.0, f64::max);
    assert!(size > 0.0 && second.iter().all(|value| value.is_finite() && *value >= 0.0));
    assert!(both[2048..].iter().zip(&second).all(|(a, b)| (a - b).abs() < 1e-4 * size));
    assert!(both[..2048].iter().zip(&second).any(|(a, b)| (a - b).abs() > 1e-3 * size));
}
