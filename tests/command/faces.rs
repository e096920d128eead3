//! Detectors of faces, and photographs whose faces are restored, through the command.

use crate::support::{fails, root, shared, succeeds, visage};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use visage_compiler::language::{Overrides, Spec};
use visage_runtime::{
    array::Array,
    checkpoint::Checkpoint,
    media::{Picture, pictures_in},
};

fn spec() -> String {
    root().join("tests/specs/faces.ron").display().to_string()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f64> {
    checkpoint.tensor(name).unwrap().to_f64()
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    println!("largest difference {worst:.1e}");
    assert!(worst <= bound, "{worst:e} is more than {bound:e}");
}

/// Logits and offsets of real pictures, as the published network gives them; values go up to 150.
#[test]
fn blazeface_is_the_published_one() {
    let Some(weights) = shared("data/weights/face_detector.safetensors") else { return };
    let Some(reference) = shared("data/weights/face_detector.reference.safetensors") else { return };
    let expected = Checkpoint::read(&reference).unwrap();
    let picture = format!("picture={}:image", reference.display());
    for device in ["cpu", "reference"] {
        let folder = tempfile::tempdir().unwrap();
        let weights = weights.display().to_string();
        let arguments = ["run", &spec(), "offsets", "--device", device, "--weights", &weights, "--in", &picture];
        succeeds(folder.path(), &[&arguments[..], &["--out", "out.safetensors"]].concat());
        let found = Checkpoint::read(&folder.path().join("out.safetensors")).unwrap();
        assert_near(&values(&found, "logit"), &values(&expected, "output.scores"), 1e-4);
        assert_near(&values(&found, "offset"), &values(&expected, "output.regressors"), 1e-4);
    }
}

/// Every parameter of the published checkpoints, which hold a count of batches beside each normalisation.
fn retina_names() -> BTreeSet<String> {
    let normalised = |prefix: &str, convolution: &str, normalisation: &str| {
        let values = ["weight", "bias", "running_mean", "running_var"];
        let mut names: Vec<String> = values.iter().map(|value| format!("{prefix}{normalisation}.{value}")).collect();
        names.push(format!("{prefix}{convolution}.weight"));
        names
    };
    let mut names = normalised("body.", "conv1", "bn1");
    for (layer, blocks) in [(1, 3), (2, 4), (3, 6), (4, 3)] {
        for block in 0..blocks {
            let prefix = format!("body.layer{layer}.{block}.");
            names.extend((1..4).flat_map(|i| normalised(&prefix, &format!("conv{i}"), &format!("bn{i}"))));
            if block == 0 {
                names.extend(normalised(&format!("{prefix}downsample."), "0", "1"));
            }
        }
    }
    for layer in ["output1", "output2", "output3", "merge1", "merge2"] {
        names.extend(normalised(&format!("fpn.{layer}."), "0", "1"));
    }
    for (level, layer) in (1..4)
        .flat_map(|level| ["conv3X3", "conv5X5_1", "conv5X5_2", "conv7X7_2", "conv7x7_3"].map(|layer| (level, layer)))
    {
        names.extend(normalised(&format!("ssh{level}.{layer}."), "0", "1"));
    }
    for (head, level) in
        ["ClassHead", "BboxHead", "LandmarkHead"].iter().flat_map(|head| (0..3).map(move |k| (head, k)))
    {
        names.extend(["weight", "bias"].map(|value| format!("{head}.{level}.conv1x1.{value}")));
    }
    names.into_iter().collect()
}

#[test]
fn retinaface_has_the_parameters_of_the_published_one() {
    let spec = Spec::load(root().join("tests/specs/faces.ron")).unwrap_or_else(|error| panic!("{error}"));
    let system = spec.system(&Overrides::none()).unwrap_or_else(|error| panic!("{error}"));
    let of = |model: &str| system.parameters.iter().filter(move |(_, p)| p.model == model).collect::<Vec<_>>();
    let found: BTreeSet<String> = of("retina").iter().map(|(name, _)| (*name).clone()).collect();
    assert_eq!(found, retina_names());
    let trained = |model: &str| -> usize {
        of(model).iter().filter(|(_, p)| !p.buffer).map(|(_, p)| p.ty.shape.elements()).sum()
    };
    assert_eq!(trained("retina"), 27_293_600);
    assert_eq!(
        of("retina").iter().find(|(name, _)| *name == "body.conv1.weight").unwrap().1.ty.shape.elements(),
        64 * 3 * 49
    );
    // The small one: MobileNet's bodies have names like these.
    for name in
        ["body.stage1.0.0.weight", "body.stage1.5.4.running_var", "body.stage3.1.3.weight", "ssh3.conv7x7_3.0.weight"]
    {
        assert!(system.parameters.contains_key(&format!("small.{name}")), "{name}");
    }
    assert_eq!(trained("small"), 426_608);
}

/// A level of 3 x 5 cells of 16 pixels with squares of 64 and 128 pixels, candidate by candidate.
#[test]
fn candidates_of_retinaface_are_decoded_from_their_priors() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, columns) = (3, 5);
    let number = |i: usize| ((i * 7919 + 13) % 201) as f32 / 100.0 - 1.0;
    let array = |width: usize, first: usize| {
        let values: Vec<f32> = (0..rows * columns * width).map(|i| number(i + first)).collect();
        Array::from_slice([1, rows, columns, width], &values).unwrap()
    };
    let heads = [("classes", 4, 0), ("boxes", 8, 1000), ("landmarks", 20, 2000)];
    let tensors = heads.map(|(name, width, first)| (name.to_owned(), array(width, first))).into_iter().collect();
    let file = Checkpoint { tensors, ..Checkpoint::default() };
    file.write_safetensors(&folder.path().join("heads.safetensors")).unwrap();
    let given = heads.map(|(name, ..)| format!("{name}=heads.safetensors:{name}"));
    let mut arguments = vec!["run", "SPEC", "decoded", "--initial", "--out", "out.safetensors"];
    let spec = spec();
    arguments[1] = &spec;
    given.iter().for_each(|given| arguments.extend(["--in", given]));
    succeeds(folder.path(), &arguments);
    let found = Checkpoint::read(&folder.path().join("out.safetensors")).unwrap();

    let (mut scores, mut boxes, mut points) = (Vec::new(), Vec::new(), Vec::new());
    for (y, x, anchor) in
        (0..rows).flat_map(|y| (0..columns).flat_map(move |x| (0..2).map(move |anchor| (y, x, anchor))))
    {
        let at = |head: usize, value: usize| {
            let (_, width, first) = heads[head];
            f64::from(number(first + (y * columns + x) * width + anchor * width / 2 + value))
        };
        let (width, height) = (16.0 * columns as f64, 16.0 * rows as f64);
        let middle = [(x as f64 + 0.5) * 16.0 / width, (y as f64 + 0.5) * 16.0 / height];
        let extent = [64.0 * (1 << anchor) as f64 / width, 64.0 * (1 << anchor) as f64 / height];
        let [background, face] = [0, 1].map(|class| at(0, class).exp());
        scores.push(face / (background + face));
        let centre = [0, 1].map(|k| middle[k] + at(1, k) * 0.1 * extent[k]);
        let size = [0, 1].map(|k| extent[k] * (at(1, 2 + k) * 0.2).exp());
        boxes.extend([-0.5, 0.5].iter().flat_map(|side| [0, 1].map(|k| centre[k] + side * size[k])));
        points.extend((0..10).map(|i| middle[i % 2] + at(2, i) * 0.1 * extent[i % 2]));
    }
    assert_near(&values(&found, "score"), &scores, 1e-6);
    assert_near(&values(&found, "box"), &boxes, 1e-6);
    assert_near(&values(&found, "points"), &points, 1e-6);
}

/// Smooth colours, so that resampling errs little.
fn photograph(width: usize, height: usize) -> Picture {
    Picture::from_fn(width, height, 3, |x, y, c| {
        0.5 + 0.2 * (x as f32 * 0.03 + 2.0 * c as f32).sin() + 0.2 * (y as f32 * 0.04 + c as f32).cos()
    })
}

fn differences<'p>(a: &'p Picture, b: &'p Picture) -> impl Iterator<Item = f32> + 'p {
    assert_eq!((a.width, a.height, a.channels), (b.width, b.height, b.channels));
    a.values.iter().zip(&b.values).map(|(a, b)| (a - b).abs())
}

fn names(folder: &Path) -> Vec<String> {
    let files = pictures_in(folder).unwrap();
    files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

/// Two faces are where the detector says; a third is found twice and a fourth is too small. Their pictures are there, and
/// what is not changed stays the same.
#[test]
fn faces_are_taken_out_and_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("photo.png");
    photograph(300, 200).save(&file).unwrap();
    let original = Picture::load(&file).unwrap();
    let restored = |more: &[&str]| {
        let spec = spec();
        let arguments = ["run", &spec, "expect", "--initial", "--in", "photo.png", "--out", "out"];
        let told = succeeds(folder.path(), &[&arguments[..], more].concat());
        (Picture::load(&folder.path().join("out/restored/photo.png")).unwrap(), told)
    };

    let (same, told) = restored(&[]);
    assert!(told.contains("photo.png") && told.contains("restored, 1 too small or misshapen"), "{told}");
    assert_eq!(names(&folder.path().join("out/cropped")), ["photo_00.png", "photo_01.png"]);
    assert_eq!(names(&folder.path().join("out/faces")), ["photo_00.png", "photo_01.png"]);
    assert!(differences(&same, &original).all(|difference| difference <= 1.01 / 255.0));

    // A face's square is that of its detector: 0.4 of either side from (0.1, 0.2), as far as a similarity can be that.
    let crop = Picture::load(&folder.path().join("out/cropped/photo_00.png")).unwrap();
    assert_eq!((crop.width, crop.height), (256, 256));

    let (bright, _) = restored(&["--w", "0.2"]);
    let changed = |x: usize, y: usize| bright.pixel(x, y)[1] - original.pixel(x, y)[1];
    assert!((changed(90, 75) - 0.1).abs() < 0.01 && (changed(225, 75) - 0.1).abs() < 0.01);
    assert!(changed(10, 190).abs() < 0.005 && changed(150, 10).abs() < 0.005);

    let (one, told) = restored(&["--w", "0.2", "--opt", "only_centre=true"]);
    assert!(told.contains("1 "), "{told}");
    let brightened = [(90, 75), (225, 75)].map(|(x, y)| one.pixel(x, y)[1] - original.pixel(x, y)[1] > 0.05);
    assert_eq!(brightened.iter().filter(|brightened| **brightened).count(), 1);

    let (masked, _) = restored(&["--w", "0.2", "--opt", "mask=left"]);
    let [left, right] =
        [(75, 75), (105, 75)].map(|(x, y): (usize, usize)| masked.pixel(x, y)[1] - original.pixel(x, y)[1]);
    assert!((left - 0.1).abs() < 0.01 && right.abs() < 0.01, "{left} {right}");

    let (large, _) = restored(&["--opt", "upscale=2"]);
    assert_eq!((large.width, large.height), (600, 400));
    assert!(differences(&large.resize(300, 200), &original).all(|difference| difference <= 2.0 / 255.0));

    let (marked, _) = restored(&["--opt", "boxes=true"]);
    let green = marked.values.chunks_exact(3).filter(|p| p[1] == 1.0 && p[0] == 0.0 && p[2] == 0.0).count();
    assert!(green > 400, "{green}");
}

/// Transparency and the lack of colours stay.
#[test]
fn what_a_photograph_is_it_remains() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec();
    let restored = |name: &str| {
        let arguments = ["run", &spec, "expect", "--initial", "--in", name, "--out", "out.png", "--w", "0.3"];
        succeeds(folder.path(), &arguments);
        Picture::load(&folder.path().join("out.png")).unwrap()
    };
    let clear = Picture::from_fn(200, 200, 4, |x, y, c| if c == 3 { (y / 50) as f32 / 3.0 } else { x as f32 / 199.0 });
    clear.save(&folder.path().join("clear.png")).unwrap();
    let made = restored("clear.png");
    let alpha =
        |picture: &Picture| picture.values.iter().skip(3).step_by(4).map(|v| (v * 255.0).round()).collect::<Vec<_>>();
    assert_eq!(made.channels, 4);
    assert_eq!(alpha(&made), alpha(&Picture::load(&folder.path().join("clear.png")).unwrap()));

    // A brown photograph: a face keeps the tones that it had, so nothing becomes brighter.
    let brown = Picture::from_fn(200, 200, 3, |x, y, c| [0.5, 0.4, 0.3][c] + 0.2 * ((x + y) as f32 * 0.05).sin());
    brown.save(&folder.path().join("brown.png")).unwrap();
    let made = restored("brown.png");
    assert!(differences(&made, &brown).all(|difference| difference < 0.02));
}

/// A file that cannot be read stops nothing.
#[test]
fn files_of_all_kinds() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    let place = |name: &str| folder.path().join("in").join(name);
    photograph(120, 90).save(&place("a.png")).unwrap();
    photograph(90, 120).save(&place("a.jpg")).unwrap();
    std::fs::write(place("broken.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    std::fs::write(place("note.txt"), b"not a picture").unwrap();
    let spec = spec();
    let base = ["run", &spec, "expect", "--initial", "--out", "out"];
    let with = |more: &[&str]| visage(folder.path(), &[&base[..], more].concat());

    let (code, told, warned) = with(&["--in", "in"]);
    assert_eq!(code, 0, "{told}{warned}");
    assert_eq!(names(&folder.path().join("out/restored")), ["a-2.png", "a.png"]);
    assert!(told.contains("broken.png") && told.contains("not a readable picture"), "{told}");
    assert!(warned.contains("broken.png"), "{warned}");
    assert!(!told.contains("note.txt"));

    let (code, told, _) = with(&["--in", "in/*.jpg", "--opt", "detectors=nobody"]);
    assert!(code == 0 && told.contains("no face found"), "{told}");

    std::fs::write(place("film.mp4"), b"").unwrap();
    for (given, answer) in [
        ("in/broken.png", "nothing could be restored"),
        ("in/film.mp4", "take it apart into a folder of numbered frames"),
        ("in/*.webp", "no picture has a name like this"),
        ("missing.png", "No such file"),
    ] {
        let (code, told, warned) = with(&["--in", given]);
        let all =
            format!("{told}{warned}").split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(code != 0 && all.contains(answer), "{given}\n{all}");
    }
}

#[test]
fn frames_become_a_video() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("frames")).unwrap();
    for i in 0..3 {
        photograph(64 + 2 * (i / 3), 48).save(&folder.path().join(format!("frames/{i:04}.png"))).unwrap();
    }
    let spec = spec();
    let base = ["run", &spec, "expect", "--initial", "--in", "frames", "--out"];
    succeeds(folder.path(), &[&base[..], &["film.mp4"]].concat());
    assert!(std::fs::metadata(folder.path().join("film.mp4")).unwrap().len() > 500);
    // Several pictures do not go into one file.
    let message = fails(folder.path(), 2, &[&base[..], &["one.png"]].concat());
    assert!(message.contains("give a folder"), "{message}");
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    photograph(100, 100).save(&folder.path().join("photo.png")).unwrap();
    let spec = spec();
    let refused = |task: &str, more: &[&str]| {
        let message = fails(folder.path(), 2, &[&["run", &spec, task, "--initial"], more].concat());
        message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    };
    for (task, more, answer) in [
        ("restore", &["--in", "photo.png"][..], "`retinaface` needs 383 tensors, such as `body.conv1.weight`"),
        ("restore", &["--in", "photo.png"], "`--aligned` if the pictures are upright faces already"),
        ("restore", &[], "there are no pictures"),
        ("restore", &["--in", "photo.png", "--opt", "detectors=blazefac"], "did you mean `blazeface`?"),
        ("restore", &["--in", "photo.png", "--aligned", "--opt", "upscale=0"], "`upscale` must be a factor"),
        ("expect", &["--in", "photo.png", "--opt", "mask=nobody"], "has no input `face`"),
        ("expect", &["--in", "photo.png", "--opt", "detectors=left"], "has no input `picture`"),
        ("offsets", &["--in", "photo.png", "--out", "x.safetensors"], "write `--in NAME=photo.png`"),
    ] {
        let message = refused(task, more);
        assert!(message.contains(answer), "{task} {more:?}\n{message}");
    }
}

/// A picture that is a face is only brought to the program's size.
#[test]
fn faces_may_be_given_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let face = photograph(256, 256);
    face.save(&folder.path().join("face.png")).unwrap();
    let spec = spec();
    let base = ["run", &spec, "restore", "--initial", "--aligned", "--in", "face.png", "--out"];
    succeeds(folder.path(), &[&base[..], &["out.png"]].concat());
    let (made, given) = (folder.path().join("out.png"), folder.path().join("face.png"));
    assert_eq!(Picture::load(&made).unwrap(), Picture::load(&given).unwrap());
    succeeds(folder.path(), &[&base[..], &["out.png", "--set", "side=128"]].concat());
    assert_eq!(Picture::load(&made).unwrap().width, 128);
}

/// Real photographs, real weights: the faces that are there are found, upright, and put back without a seam.
#[test]
fn faces_of_photographs_are_found() {
    let Some(weights) = shared("data/weights/face_detector.safetensors") else { return };
    let weights = weights.display().to_string();
    let spec = spec();
    for (file, faces) in [("data/lowquality/whole/00.jpg", 4), ("data/lowquality/whole/02.png", 4)] {
        let Some(path) = shared(file) else { return };
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = path;
        let given = path.display().to_string();
        let arguments = ["run", &spec, "restore", "--weights", &weights, "--in", &given, "--out", "out"];
        succeeds(folder.path(), &arguments);
        assert_eq!(names(&folder.path().join("out/cropped")).len(), faces, "{file}");
    }
}
