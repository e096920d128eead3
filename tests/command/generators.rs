//! Pictures of seeds, meshes of them, and pictures that are taken apart into codes, through the command. The left half of a
//! picture is its code, the right half where it is seen from; 8 bits hold both to 1/255.

use crate::support::{fails, root, succeeds, visage};
use std::{f64::consts::FRAC_PI_4, path::Path};
use visage_runtime::{
    checkpoint::Checkpoint,
    media::{Picture, pictures_in},
};

/// Half a step of 8 bits in −1..1, and rounding.
const BYTE: f64 = 1.01 / 255.0;

fn spec() -> String {
    root().join("tests/specs/generator.ron").display().to_string()
}

/// Runs a task without weights, in `out` of the folder.
#[track_caller]
fn generated(folder: &Path, task: &str, more: &[&str]) -> String {
    let spec = spec();
    succeeds(folder, &[&["run", &spec, task, "--initial", "--out", "out"], more].concat())
}

fn load(folder: &Path, name: &str) -> Picture {
    let path = folder.join("out").join(name);
    Picture::load(&path).unwrap_or_else(|error| panic!("{error}"))
}

fn colour(picture: &Picture, x: usize) -> [f64; 3] {
    let pixel = picture.pixel(x, picture.height / 2);
    [0, 1, 2].map(|c| 2.0 * f64::from(pixel[c]) - 1.0)
}

/// The code that a picture shows.
fn code(picture: &Picture) -> [f64; 3] {
    colour(picture, 1)
}

/// How far to the side and from below it is seen, and the twentieth part of its field of view above 12 degrees.
fn seen(picture: &Picture) -> [f64; 3] {
    colour(picture, picture.width - 2)
}

#[track_caller]
fn assert_near(found: [f64; 3], expected: [f64; 3], bound: f64) {
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= bound, "{found:?} is not {expected:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let files = pictures_in(folder).unwrap();
    files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_grid_has_a_row_a_seed_and_a_column_a_yaw() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let told = generated(folder, "sample", &["--seeds", "4,0-1"]);
    assert!(told.contains("out/colour: 9 files") && told.contains("out/grid.png"), "{told}");
    let first = load(folder, "colour/0001_00.png");
    assert_near(seen(&first), [-0.5, 0.0, 0.0], BYTE);
    assert_near(seen(&load(folder, "colour/0001_02.png")), [0.5, 0.0, 0.0], BYTE);
    assert_near(code(&load(folder, "colour/0001_02.png")), code(&first), 0.0);
    let grid = load(folder, "grid.png");
    assert_eq!((grid.width, grid.height), (3 * 134 + 6, 3 * (134 + 12) + 6));
    // Row by row in the order given.
    for (row, seed) in [4, 0, 1].into_iter().enumerate() {
        let picture = load(folder, &format!("colour/{seed:04}_01.png"));
        assert_eq!(grid.pixel(134 + 20, row * 146 + 60), picture.pixel(1, 1));
    }
    let codes = [0, 1, 4].map(|seed| code(&load(folder, &format!("colour/{seed:04}_01.png"))));
    assert!(codes[0] != codes[1] && codes[1] != codes[2]);

    // The nearest is red and the farthest is not; both are what they are told to be.
    let depth = load(folder, "depth/0001_00.png");
    assert!(depth.pixel(3, 0)[0] > 0.4 && depth.pixel(3, 0)[2] < 0.1, "{:?}", depth.pixel(3, 0));
    assert!(depth.pixel(3, 8)[1] > 0.5, "{:?}", depth.pixel(3, 8));
    generated(folder, "sample", &["--seeds", "1", "--opt", "near=2", "--opt", "far=3"]);
    assert!(load(folder, "depth/0001_00.png").pixel(3, 0)[0] > 0.4);
    assert_ne!(load(folder, "depth/0001_00.png").pixel(3, 8), depth.pixel(3, 8));

    // A picture is a function of its seed, whatever it is made with.
    generated(folder, "sample", &["--seeds", "1", "--opt", "batch=2"]);
    assert_eq!(load(folder, "colour/0001_00.png"), first);

    generated(folder, "sample", &["--seeds", "1", "--opt", "yaws=0.25", "--opt", "pitch=-0.5", "--opt", "fov=20"]);
    assert_near(seen(&load(folder, "colour/0001_00.png")), [0.25, -0.5, 0.4], BYTE);
}

#[test]
fn truncation_goes_to_the_mean() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let truncated = |psi: &str| {
        generated(folder, "sample", &["--seeds", "7", "--psi", psi]);
        code(&load(folder, "colour/0007_01.png"))
    };
    let whole = truncated("1");
    for (psi, text) in [(0.0, "0"), (0.5, "0.5"), (-0.25, "-0.25"), (1.25, "1.25")] {
        let expected = whole.map(|code| (0.5 + psi * (code - 0.5)).clamp(-1.0, 1.0));
        assert_near(truncated(text), expected, 2.5 * BYTE);
    }
    assert_near(truncated("0"), [0.5; 3], BYTE);
}

#[test]
fn an_orbit_is_a_video_of_a_closed_way() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    generated(folder, "orbit", &[]);
    for seed in ["0003", "0005"] {
        assert_eq!(names(&folder.join("out").join(seed).join("colour")).len(), 8);
        for file in ["colour.mp4", "colour.gif", "depth.mp4"] {
            assert!(std::fs::metadata(folder.join("out").join(seed).join(file)).unwrap().len() > 200, "{file}");
        }
        let yaws = [-0.4, -0.2, 0.0, 0.2, 0.4, 0.2, 0.0, -0.2];
        for (frame, yaw) in yaws.into_iter().enumerate() {
            let picture = load(folder, &format!("{seed}/colour/{frame:04}.png"));
            assert_eq!((picture.width, picture.height), (8, 8));
            assert_near(seen(&picture), [yaw, 0.0, 0.0], BYTE);
        }
    }
    // Before the face, nearer and farther, as many pictures at a time as there are fields of view of their own.
    let far = std::f64::consts::FRAC_1_SQRT_2;
    for (task, seed, more) in [("orbit", 3, "path=front"), ("wide", 1, "batch=3")] {
        generated(folder, task, &["--opt", more]);
        for (frame, [side, below]) in [[0.0, 1.0], [far, far], [1.0, 0.0], [far, -far]].into_iter().enumerate() {
            let picture = load(folder, &format!("{seed:04}/colour/{frame:04}.png"));
            assert_near(seen(&picture), [0.4 * side, 0.2 * below, (5.0 + 5.0 * side) / 20.0], BYTE);
        }
    }
    generated(folder, "orbit", &["--path", "turn", "--frames", "16", "--seeds", "3", "--opt", "files=pictures"]);
    assert_near(seen(&load(folder, "0003/colour/0001.png")), [FRAC_PI_4 / 2.0, -FRAC_PI_4, 0.0], BYTE);
    generated(folder, "orbit", &["--path", "swing", "--frames", "4", "--opt", "fov=22", "--opt", "pitch=0.1"]);
    assert_near(seen(&load(folder, "0003/colour/0002.png")), [0.4, 0.1, 0.5], BYTE);
    assert_near(seen(&load(folder, "0003/colour.gif")), [-0.4, 0.1, 0.5], 8.0 * BYTE);
}

#[test]
fn codes_change_along_straight_lines() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let more = ["--seeds", "1,2,7", "--psi", "0.8", "--frames", "4", "--opt", "path=swing", "--opt", "batch=5"];
    generated(folder, "sample", &[&more[..], &["--opt", "show=interpolation"]].concat());
    let frames: Vec<Picture> = (0..12).map(|frame| load(folder, &format!("colour/{frame:04}.png"))).collect();
    assert_eq!(names(&folder.join("out/colour")).len(), 12);
    assert!(folder.join("out/colour.mp4").is_file() && folder.join("out/depth.mp4").is_file());
    generated(folder, "sample", &["--seeds", "1,2,7", "--psi", "0.8"]);
    let ends = [1, 2, 7, 1].map(|seed| code(&load(folder, &format!("colour/{seed:04}_01.png"))));
    for (number, frame) in frames.iter().enumerate() {
        let (leg, share) = (number / 4, (number % 4) as f64 / 4.0);
        let expected = [0, 1, 2].map(|c| ends[leg][c] + share * (ends[leg + 1][c] - ends[leg][c]));
        assert_near(code(frame), expected, 2.0 * BYTE);
        assert_near(seen(frame), [[-0.4, 0.0, 0.4, 0.0][number % 4], 0.0, 0.0], BYTE);
    }
}

#[test]
fn a_folder_is_for_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The program draws cameras anew for every picture, without tasks of codes.
    let told = generated(folder, "direct", &[]);
    assert!(told.contains("5"), "{told}");
    let files = ["0000.png", "0001.png", "0002.png", "0003.png", "0004.png"];
    assert_eq!(names(&folder.join("out")), files);
    let pictures = files.map(|file| load(folder, file));
    let mut sides: Vec<_> = pictures.iter().map(|picture| seen(picture)[0].to_bits()).collect();
    sides.sort_unstable();
    sides.dedup();
    assert!(sides.len() >= 4, "{pictures:?}");
    assert!(pictures.iter().all(|picture| seen(picture)[0].abs() < 0.5));

    // Drawn by the driver they belong to the seed, whatever else is drawn.
    let deviating = ["--opt", "yaw_deviation=0.2", "--seeds", "3,0,3"];
    generated(folder, "direct", &deviating);
    assert_eq!(load(folder, "0003.png"), load(folder, "0003-2.png"));
    let third = load(folder, "0003.png");
    assert!(seen(&third)[0].abs() > BYTE && seen(&third)[1].abs() < BYTE, "{:?}", seen(&third));
    assert_near(code(&third), code(&pictures[3]), 0.0);
    generated(folder, "direct", &["--opt", "yaw_deviation=0.4", "--seeds", "3", "--opt", "batch=1"]);
    let farther = load(folder, "0003.png");
    assert!((seen(&farther)[0] - 2.0 * seen(&third)[0]).abs() < 2.0 * BYTE);

    let more = ["--opt", "show=folder", "--opt", "count=3", "--opt", "pitch_deviation=0", "--psi", "0"];
    generated(folder, "sample", &[&more[..], &["--opt", "batch=2"]].concat());
    assert_near(seen(&load(folder, "0002.png")), [0.0; 3], BYTE);
    assert_near(code(&load(folder, "0002.png")), [0.5; 3], BYTE);
}

/// The distances of a mesh's vertices from the origin: least and greatest.
fn radii(folder: &Path, name: &str) -> [f64; 2] {
    let text = std::fs::read_to_string(folder.join("out").join(name)).unwrap();
    let vertices = text.lines().filter_map(|line| line.strip_prefix("v "));
    let length =
        |vertex: &str| vertex.split(' ').take(3).map(|x| x.parse::<f64>().unwrap().powi(2)).sum::<f64>().sqrt();
    vertices.map(length).fold([f64::INFINITY, 0.0], |[least, most], r| [least.min(r), most.max(r)])
}

#[test]
fn a_mesh_a_seed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for task in ["ball", "ball_of_one"] {
        generated(folder, task, &["--seeds", "1,2", "--psi", "0.5"]);
        let meshes = [1, 2].map(|seed| radii(folder, &format!("ball-{seed:04}.obj")));
        generated(folder, "sample", &["--seeds", "1,2", "--psi", "0.5"]);
        for ([least, most], seed) in meshes.into_iter().zip([1, 2]) {
            let redness = code(&load(folder, &format!("colour/{seed:04}_00.png")))[0];
            let expected = 0.1 + redness / 5.0;
            assert!((least - expected).abs() < 0.003 && (most - expected).abs() < 0.003, "{least} {most} {expected}");
        }
        assert!(meshes[0] != meshes[1]);
        std::fs::remove_dir_all(folder.join("out")).unwrap();
    }
    // The mean, in a file.
    let spec = spec();
    let base = ["run", &spec, "ball", "--initial", "--psi", "0", "--out", "one.ply"];
    succeeds(folder, &base);
    assert!(std::fs::metadata(folder.join("one.ply")).unwrap().len() > 1000);
    let message = fails(folder, 2, &[&base[..], &["--seeds", "0-2"]].concat());
    assert!(message.contains("3 meshes do not go into one.ply"), "{message}");
    let message = fails(folder, 2, &[&base[..], &["--opt", "level=100"]].concat());
    assert!(message.contains("seed 0: there is no surface of density 100"), "{message}");
}

/// A picture of left and right halves, wider than it is high.
fn photograph(left: [f32; 3]) -> Picture {
    Picture::from_fn(96, 64, 3, |x, _, c| if x < 48 { left[c] } else { 0.5 })
}

fn column(folder: &Path, file: &str, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("out").join(file)).unwrap();
    let mut lines = text.lines();
    let place = lines.next().unwrap().split(',').position(|column| column == name).unwrap();
    lines.map(|line| line.split(',').nth(place).unwrap().parse().unwrap()).collect()
}

#[test]
fn codes_of_pictures_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::create_dir(folder.join("in")).unwrap();
    photograph([1.0, 0.0, 0.25]).save(&folder.join("in/a.png")).unwrap();
    photograph([0.0, 0.5, 0.25]).save(&folder.join("in/b.png")).unwrap();
    std::fs::write(folder.join("in/broken.png"), b"nothing").unwrap();
    let spec = spec();
    let base = ["run", &spec, "invert", "--initial", "--in", "in", "--out", "out"];
    let (status, told, warned) = visage(folder, &base);
    assert_eq!(status, 0, "{told}{warned}");
    assert!(told.contains("not a readable picture") && told.contains("10 steps"), "{told}");

    // Half of what is wrong is left after each step; the first begins with 0.
    let bytes = |colour: [f64; 3]| colour.map(|value| 2.0 * (value * 255.0).floor() / 255.0 - 1.0);
    for (name, colour) in [("a", [1.0, 0.0, 0.25]), ("b", [0.0, 0.5, 0.25])] {
        let found = Checkpoint::read(&folder.join(format!("out/{name}.safetensors"))).unwrap();
        let tint = found.tensor("tint").unwrap();
        assert_eq!((tint.shape(), found.tensor("place").unwrap().shape()), (&[1, 3][..], &[1, 2][..]));
        let expected = bytes(colour).map(|value| value * (1.0 - 0.5_f64.powi(10)));
        assert_near(tint.to_f64().try_into().unwrap(), expected, 0.02);
        let losses = column(folder, &format!("{name}.csv"), "loss");
        assert_eq!(losses.len(), 10);
        let from = bytes(colour).iter().map(|value| value * value).sum::<f64>() / 6.0;
        assert!((losses[0] - from).abs() < 0.02, "{} {from}", losses[0]);
        let left = losses.windows(2).take(3).map(|pair| pair[1] / pair[0]);
        left.for_each(|left| assert!((left - 0.25).abs() < 0.03, "{losses:?}"));
        assert_eq!(column(folder, &format!("{name}.csv"), "share")[5], 0.5);
        assert_eq!(column(folder, &format!("{name}.csv"), "counted"), (10..20).map(f64::from).collect::<Vec<_>>());
        // The sheet, and the grid of what was found.
        let pair = load(folder, &format!("{name}.png"));
        assert_eq!(pair.width, 2 * 134 + 6);
        let grid = load(folder, &format!("{name}/colour/{name}_01.png"));
        assert_near(code(&grid), expected, 0.03);
        assert!(folder.join(format!("out/{name}/grid.png")).is_file());
    }
    assert!(!folder.join("out/broken.csv").exists());
}

#[test]
fn a_search_begins_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    photograph([1.0, 0.0, 0.25]).save(&folder.join("a.png")).unwrap();
    generated(folder, "from_mean", &["--in", "a.png", "--opt", "steps=2"]);
    let found = Checkpoint::read(&folder.join("out/a.safetensors")).unwrap();
    let expected = [1.0, -1.0, -0.5].map(|target| target + (0.5 - target) * 0.25);
    assert_near(found.tensor("tint").unwrap().to_f64().try_into().unwrap(), expected, 0.02);
    // Half as large, once around.
    let frame = load(folder, "a/colour/0001.png");
    assert_eq!(frame.width, 8);
    assert_near(seen(&frame), [FRAC_PI_4, -FRAC_PI_4, 0.0], BYTE);
    assert_near(code(&frame), expected, 0.02);
    assert!(folder.join("out/a/colour.mp4").is_file());
    // Two files of one name.
    std::fs::create_dir(folder.join("more")).unwrap();
    photograph([0.0; 3]).save(&folder.join("more/a.jpg")).unwrap();
    generated(folder, "invert", &["--in", "a.png", "--in", "more", "--opt", "steps=1"]);
    assert!(folder.join("out/a-2.csv").is_file());
}

#[test]
fn generators_report_while_they_train() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeeds(folder, &["train", &spec(), "--out", "run"]);
    let trained =
        |seed: u64| Picture::load(&folder.join(format!("run/samples/00000002-sample/colour/{seed:04}_00.png")));
    let trained = [1, 2].map(|seed| code(&trained(seed).unwrap()));
    generated(folder, "sample", &["--seeds", "1,2", "--opt", "yaws=0"]);
    for (trained, seed) in trained.into_iter().zip([1, 2]) {
        let before = code(&load(folder, &format!("colour/{seed:04}_00.png")));
        assert_near(trained, before.map(|code| 0.5 + 0.5 * (2.0 * code - 0.5)), 3.0 * BYTE);
    }
    // Weights of the run, with the mean that its report needs.
    let spec = spec();
    succeeds(folder, &["run", &spec, "sample", "--weights", "run", "--psi", "0.5", "--seeds", "1", "--out", "out"]);
    assert_near(code(&load(folder, "colour/0001_01.png")), trained[0], 0.0);
}

#[test]
fn what_generators_cannot_do_is_said() {
    let folder = tempfile::tempdir().unwrap();
    photograph([0.0; 3]).save(&folder.path().join("a.png")).unwrap();
    let spec = spec();
    for (task, more, answer) in [
        ("sample", &["--seeds", "5-2"][..], "ends before it begins"),
        ("sample", &["--seeds", ""], "there are no `seeds`"),
        ("sample", &["--opt", "codes=code"], "has no task `code`: did you mean `codes`?"),
        ("sample", &["--opt", "mean=nothing", "--psi", "0.5"], "has no task `nothing`"),
        (
            "sample",
            &["--opt", "mean=short_means", "--psi", "0.5"],
            "its `tint` has 2 numbers, and the code of an image has 3",
        ),
        ("sample", &["--opt", "mean=other_means", "--psi", "0.5"], "none of its outputs is a mean of `tint`, `place`"),
        ("sample", &["--opt", "latent=zz"], "the task `codes` has no input `zz` to be drawn by seed: did you mean"),
        (
            "sample",
            &["--opt", "codes=mean_codes"],
            "the task `mean_codes` has no input `z` to be drawn by seed: there are none",
        ),
        ("sample", &["--psi", "inf"], "`psi` must be a finite number"),
        ("sample", &["--opt", "yaws=nan"], "`yaws` must be one finite number"),
        ("sample", &["--opt", "yaws=left"], "`yaws` must be a number or a list of numbers"),
        ("sample", &["--opt", "pitch=2"], "`pitch` must lie between"),
        ("sample", &["--opt", "fov=180"], "`fov` must be more than 0"),
        ("sample", &["--opt", "near=0"], "`near` and `far` must be above 0"),
        ("sample", &["--opt", "near=2", "--opt", "far=1"], "`far` must be above `near`, which is 2"),
        ("sample", &["--opt", "show=grd"], "`show` cannot be `grd`: did you mean `grid`?"),
        ("sample", &["--opt", "path=spin"], "`path` cannot be `spin`"),
        ("sample", &["--opt", "batch=0"], "`batch` must be a whole number from 1 up"),
        ("sample", &["--opt", "count=1e14"], "`count` must be 1000000 at most"),
        ("sample", &["--frames", "100001"], "`frames` must be 100000 at most"),
        ("sample", &["--opt", "yaw_deviation=-1"], "`yaw_deviation` must be 0 or more"),
        ("sample", &["--opt", "show=folder"], "give `yaw_deviation` and `pitch_deviation`"),
        ("sample", &["--opt", "show=interpolation", "--seeds", "3"], "from one of several `seeds` to the next"),
        ("sample", &["--opt", "picture=pictures"], "it has no output `pictures`: did you mean `picture`?"),
        ("sample", &["--opt", "depth=dept"], "it has no output `dept` [image, y, x]"),
        ("sample", &["--opt", "sed=1"], "there is no option `sed`: did you mean `seeds`?"),
        ("direct", &["--psi", "0.5"], "name the task of these by `mean`"),
        ("direct", &["--opt", "fov=12", "--opt", "yaw_deviation=0"], "it has no input `fov`"),
        ("grey", &[], "its output `picture` is [image=1, y=16, x=16], not [image, channel: 3, y, x]"),
        ("long", &[], "the input `place` is f32[image=1, hue=3], not 2 numbers"),
        ("ball", &["--opt", "codes=codez"], "has no task `codez`"),
        ("ball", &["--opt", "codes=other_means"], "it has no input of the name of a code: `expression`"),
        ("ball", &["--opt", "codes=short_means"], "the input `tint` is f32[hue=3], not one code of 2 numbers"),
        ("ball", &["--seeds", "x"], "`x` is neither"),
        ("invert", &[], "there are no pictures"),
        ("invert", &["--in", "none"], "No such file"),
        ("invert", &["--in", "a.png", "--opt", "steps=0"], "`steps` must be a whole number from 1 up"),
        ("invert", &["--in", "a.png", "--opt", "picture=targe"], "it has no input `targe`: did you mean `target`?"),
        ("invert", &["--in", "a.png", "--opt", "then=codes"], "`then`: the task `codes` has no driver `Generate`"),
        ("invert", &["--in", "a.png", "--opt", "then=direct"], "is shown as a \"grid\" or an \"orbit\""),
        ("invert", &["--in", "a.png", "--opt", "then=nothing"], "has no task `nothing`"),
        ("invert", &["--in", "a.png", "--opt", "then=1"], "`then` must be a task"),
        ("invert", &["--in", "a.png", "--opt", "initial=short_means"], "and `short_means` gives f32[code=2]"),
        ("diverging", &["--in", "a.png"], "the loss is inf in step 1"),
        ("still", &["--in", "a.png"], "nothing is carried from step to step"),
        ("beginning", &["--in", "a.png"], "the input `tint` has nothing to begin with"),
    ] {
        let arguments = [&["run", &spec, task, "--initial", "--out", "out"], more].concat();
        let message = fails(folder.path(), 2, &arguments);
        let message = message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(message.contains(answer), "{task} {more:?}\n{message}");
    }
}
