//! What a spec may ask of a folder of pictures, and the batches that it gets.

use super::*;
use crate::{data::PictureBatches, media::Picture, training::prefetch::Prefetch};
use visage_compiler::{
    axis::{Axis, Shape},
    graph::DType,
    language::{Overrides, Spec},
};

const SIDE: usize = 6;

/// A folder of five pictures, all different in every pixel and channel.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5 {
        let picture = Picture::from_fn(SIDE, SIDE, 3, |x, y, c| (number * 40 + y * 7 + x + c * 50) as f32 / 255.0);
        picture.save(&folder.path().join(format!("{number}.png"))).unwrap();
    }
    folder
}

/// A system with these data, whose only loss has no inputs.
fn system(data: &str) -> System {
    let text = format!(
        r#"System(
            name: "tiny", about: "Nothing to speak of.",
            losses: {{ "zero": Loss(about: "Zero.", outputs: {{ "loss": "[]" }}, equations: "loss = 0 * 1.0") }},
            data: {{ "faces": {data} }},
            train: Train(rounds: 1, steps: {{ "fit": Update(loss: "zero", optimiser: Sgd(), rate: 1, batch: {{}}) }}),
        )"#
    );
    let spec = Spec::parse("tiny.ron", &text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    spec.system(&Overrides::none()).unwrap()
}

fn open(system: &System, folder: &Path) -> Result<Sources, SourceError> {
    let folders = BTreeMap::from([(String::new(), folder.to_owned())]);
    Sources::open(system, &folders, &folder.join("generated"), 7)
}

const DATA: &str = r#"Pictures(size: 6, flip: true, degradations: {
    "low": Degradation(blur: [0.5, 2], taps: 5, shrink: [1, 3], noise: [0, 20], quality: [30, 80], strokes: 0.5, stroke_width: [1, 2]),
    "grey": Degradation(grey: true),
})"#;

fn ty(dtype: DType, axes: &[(&str, usize)]) -> Type {
    Type::new(dtype, Shape::new(axes.iter().map(|(name, size)| (Axis::new(name), *size))))
}

/// The feed of inputs of these types, named by the fields that they take.
fn feed(inputs: &[(&str, Type)]) -> Result<Feed, SourceError> {
    let folder = folder();
    let system = system(DATA);
    let mut step = system.training.steps["fit"].clone();
    step.batch = inputs.iter().map(|(field, _)| ((*field).to_owned(), format!("faces.{field}"))).collect();
    let types = inputs.iter().map(|(field, ty)| ((*field).to_owned(), ty.clone())).collect();
    open(&system, folder.path())?.feed(&step, &types)
}

fn pictures(order: [&str; 4]) -> Type {
    let size = |name: &str| match name {
        "channel" => 3,
        "x" | "y" => SIDE,
        _ => 4,
    };
    ty(DType::F32, &order.map(|name| (name, size(name))))
}

#[test]
fn axes_may_come_in_any_order() {
    let orders = [
        ["image", "channel", "y", "x"],
        ["image", "y", "x", "channel"],
        ["x", "channel", "image", "y"],
        ["channel", "y", "x", "sample"],
    ];
    let batches = orders.map(|order| {
        let feed = feed(&[("picture", pictures(order)), ("low", pictures(order))]).unwrap();
        assert_eq!(feed.amount(), Amount { rays: 0, pictures: 4 });
        feed.batch(3)
    });
    for field in ["picture", "low"] {
        let value = |which: usize, at: [usize; 4]| {
            let buffer = &batches[which][field];
            let place = |name: &str| match name {
                "channel" => at[1],
                "y" => at[2],
                "x" => at[3],
                _ => at[0],
            };
            let strides = buffer.shape().strides();
            let offset: usize =
                buffer.shape().axes().zip(strides).map(|(axis, stride)| place(axis.name()) * stride).sum();
            buffer.as_f32()[offset]
        };
        for i in 0..4 * 3 * SIDE * SIDE {
            let at = [i / (3 * SIDE * SIDE), i / (SIDE * SIDE) % 3, i / SIDE % SIDE, i % SIDE];
            for (which, order) in orders.iter().enumerate().skip(1) {
                assert_eq!(value(which, at), value(0, at), "{field} {at:?} {order:?}");
            }
        }
    }
}

#[test]
fn fields_of_a_batch_belong_together() {
    let order = ["image", "y", "x", "channel"];
    let whole = ty(DType::I32, &[("image", 4)]);
    let feed =
        feed(&[("picture", pictures(order)), ("grey", pictures(order)), ("index", whole.clone()), ("flipped", whole)])
            .unwrap();
    for number in 0..6 {
        let batch = feed.batch(number);
        for place in 0..4 {
            let of = |field: &str| batch[field].as_f32()[place * 3 * SIDE * SIDE..][..3 * SIDE * SIDE].to_vec();
            let (picture, index) = (of("picture"), batch["index"].as_i32()[place] as usize);
            let flipped = batch["flipped"].as_i32()[place] == 1;
            for (i, value) in picture.iter().enumerate() {
                let (x, y, c) = (i / 3 % SIDE, i / 3 / SIDE, i % 3);
                let x = if flipped { SIDE - 1 - x } else { x };
                assert_eq!(*value, (index * 40 + y * 7 + x + c * 50).min(255) as f32 / 255.0);
            }
            for (grey, pixel) in of("grey").chunks_exact(3).zip(picture.chunks_exact(3)) {
                let luma = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
                assert!(grey.iter().all(|value| (value - luma).abs() <= 0.502 / 255.0), "{grey:?} {luma}");
            }
        }
    }
}

#[test]
fn batches_are_the_same_whatever_prepares_them() {
    let order = ["image", "channel", "y", "x"];
    let feed = feed(&[("low", pictures(order)), ("index", ty(DType::I32, &[("image", 4)]))]).unwrap();
    let one_after_another: Vec<_> = (0..9).map(|number| feed.batch(number)).collect();
    let same = |a: &IndexMap<String, Buffer>, b: &IndexMap<String, Buffer>| {
        ["low", "index"].iter().all(|field| a[*field].bytes() == b[*field].bytes())
    };
    assert!(!same(&one_after_another[0], &one_after_another[1]));
    for workers in [1, 2, 3, 5] {
        // From the first batch on, and from where a run may go on.
        for first in [0, 4] {
            let mut prefetch = Prefetch::start(&feed, first.., workers);
            for expected in &one_after_another[first as usize..] {
                assert!(same(&prefetch.take(), expected), "{workers} threads from {first}");
            }
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_named_with_what_would() {
    let message = |inputs: &[(&str, Type)]| feed(inputs).unwrap_err().to_string();
    let fits = pictures(["image", "channel", "y", "x"]);
    let small = ty(DType::F32, &[("image", 4), ("channel", 3), ("y", 5), ("x", 6)]);
    assert_eq!(
        message(&[("picture", small)]),
        "the input `picture` is f32[image=4, channel=3, y=5, x=6], and `faces.picture` is \
         f32[image, channel=3, y=6, x=6] in any order, whatever the first is called: `y` is 5 and must be 6"
    );
    let nameless = ty(DType::F32, &[("image", 4), ("rgb", 3), ("y", 6), ("x", 6)]);
    assert!(message(&[("low", nameless)]).ends_with("both `image` and `rgb` could be the pictures of the batch"));
    let flat = ty(DType::F32, &[("image", 4), ("y", 6), ("x", 6)]);
    assert!(message(&[("low", flat)]).ends_with("it has no axis `channel`"));
    let single = ty(DType::F32, &[("channel", 3), ("y", 6), ("x", 6)]);
    assert!(message(&[("low", single)]).ends_with("it has no axis for the pictures of the batch"));
    let whole = ty(DType::I32, &[("image", 4), ("channel", 3), ("y", 6), ("x", 6)]);
    assert!(message(&[("picture", whole)]).ends_with("values are f32"));
    assert!(message(&[("index", fits.clone())]).ends_with("it takes one axis of whole numbers"));
    let fewer = ty(DType::I32, &[("image", 3)]);
    let several = message(&[("picture", fits.clone()), ("index", fewer)]);
    assert!(several.ends_with("a batch has as many pictures everywhere, and `picture` takes 4"), "{several}");
    assert_eq!(message(&[("lov", fits)]), "`faces` has no field `lov`: did you mean `low`?");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let folder = folder();
    let cases = [
        ("Pictures()", "Pictures: `size` says how many pixels wide and high pictures are to be: give it"),
        ("Picturs(size: 6)", "data source `faces`: there is no kind `Picturs`: did you mean `Pictures`?"),
        ("Pictures(size: 6, mirror: true)", "Pictures: there is no option `mirror`"),
        ("Pictures(size: 6, crop: \"top\")", "Pictures: `crop` cannot be `top`"),
        ("Pictures(size: 6, degradations: { \"index\": Degradation() })", "a degradation cannot be called `index`"),
        (
            "Pictures(size: 6, degradations: { \"low\": Worse() })",
            "Worse: what is done to pictures is a `Degradation(…)`",
        ),
        (
            "Pictures(size: 6, degradations: { \"low\": 3 })",
            "`degradations` must be a map from names to things with options",
        ),
    ];
    let within = [
        ("blur: [0, 2]", "`blur` must be a lower and an upper end above 0, not [0, 2]"),
        ("blur: [3, 2]", "`blur` must be a lower and an upper end above 0, not [3, 2]"),
        ("taps: 4", "`taps` must be odd, not 4"),
        ("shrink: [0.5, 2]", "`shrink` must be a lower and an upper end from 1 up, not [0.5, 2]"),
        ("noise: [0, 300]", "`noise` must be a lower and an upper end between 0 and 255, not [0, 300]"),
        ("quality: [0, 50]", "`quality` must be a lower and an upper end between 1 and 100, not [0, 50]"),
        ("shift: [2, 20]", "`shift` must be a probability and a number of up to 255"),
        ("grey: 2", "`grey` must be a number between 0 and 1, or true or false, not 2"),
        ("stroke: true", "there is no option `stroke`: did you mean `strokes`?"),
    ];
    let within = within.map(|(option, message)| {
        (format!("Pictures(size: 6, degradations: {{ \"low\": Degradation({option}) }})"), message)
    });
    let cases = cases.map(|(data, message)| (data.to_owned(), message));
    for (data, message) in cases.into_iter().chain(within) {
        let found = open(&system(&data), folder.path()).unwrap_err().to_string();
        assert!(found.contains(message), "{data}: {found}");
    }
}

#[test]
fn a_folder_of_pictures_is_no_scene() {
    let folder = folder();
    let sources = open(&system(DATA), folder.path()).unwrap();
    let message = |name| sources.scene(name).unwrap_err().to_string();
    assert_eq!(message(Some("faces")), "`faces` has no cameras: it is no PosedImages(…)");
    assert_eq!(message(None), "the spec names no data with cameras");
    let Source::Pictures(source) = sources.source("faces").unwrap() else { panic!("another kind") };
    let PictureBatches { seed, flip, .. } = *source.batches;
    assert_eq!((seed, flip, source.picture_fields().collect::<Vec<_>>()), (7, true, vec!["picture", "grey", "low"]));
}

#[test]
fn heads_are_generated_once_where_there_is_no_folder() {
    let parent = tempfile::tempdir().unwrap();
    let data = "Pictures(size: 8, default: GeneratedHeads(resolution: 8, count: 3, seed: 2))";
    let describe = || {
        let sources = Sources::open(&system(data), &BTreeMap::new(), parent.path(), 0).unwrap();
        sources.source("faces").unwrap().describe()
    };
    let folder = parent.path().join("heads-8-3-2");
    assert_eq!(describe(), format!("3 pictures of 8 x 8 pixels from {}", folder.display()));
    let written = folder.join("00001.png").metadata().unwrap().modified().unwrap();
    assert_eq!(describe(), describe());
    assert_eq!(folder.join("00001.png").metadata().unwrap().modified().unwrap(), written);
    let other = "Pictures(size: 8, default: GeneratedHead(resolution: 8))";
    let error = Sources::open(&system(other), &BTreeMap::new(), parent.path(), 0).unwrap_err().to_string();
    assert!(error.contains("did you mean `GeneratedHeads`?"), "{error}");
}

/// Five pictures of which four have labels: the feed gives each its own, mirrored with it, whatever the order of axes.
#[test]
fn poses_belong_to_their_pictures() {
    let folder = folder();
    let rows =
        (0..4).map(|number| format!("{number}.png,{},{}\n", 1.5 + 0.01 * number as f64, 1.2 + 0.1 * number as f64));
    let table: String = std::iter::once("file,pitch,yaw\n".to_owned()).chain(rows).collect();
    std::fs::write(folder.path().join("poses.csv"), table).unwrap();
    let system = system("Pictures(size: 6, flip: true, poses: true)");
    let sources = open(&system, folder.path()).unwrap();
    let pictures = &sources.pictures(None).unwrap().batches.pictures;
    assert_eq!(pictures.count(), 4);
    let error = pictures.unreadable[0].to_string();
    assert!(pictures.unreadable.len() == 1 && error.contains("4.png: no pose: it is not in"), "{error}");

    let fed = |axes: &[(&str, usize)]| {
        let mut step = system.training.steps["fit"].clone();
        step.batch = ["pose", "index", "flipped"].map(|field| (field.to_owned(), format!("faces.{field}"))).into();
        let whole = ty(DType::I32, &[("image", 8)]);
        let types = [("pose", ty(DType::F32, axes)), ("index", whole.clone()), ("flipped", whole)];
        sources.feed(&step, &types.map(|(name, ty)| (name.to_owned(), ty)).into())
    };
    let (batch, turned) =
        (fed(&[("image", 8), ("angle", 2)]).unwrap().batch(2), fed(&[("angle", 2), ("sample", 8)]).unwrap().batch(2));
    let mut flips = 0;
    for place in 0..8 {
        let (index, flipped) = (batch["index"].as_i32()[place], batch["flipped"].as_i32()[place] == 1);
        let yaw = 1.2 + 0.1 * index as f32;
        let expected = [1.5 + 0.01 * index as f32, if flipped { std::f32::consts::PI - yaw } else { yaw }];
        let found = [0, 1].map(|angle| batch["pose"].as_f32()[2 * place + angle]);
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {expected:?}");
        assert_eq!(found, [0, 1].map(|angle| turned["pose"].as_f32()[8 * angle + place]));
        flips += usize::from(flipped);
    }
    assert!((1..8).contains(&flips), "{flips}");

    let message = fed(&[("image", 8), ("angle", 3)]).unwrap_err().to_string();
    assert!(message.contains("pitch and yaw along `angle`"), "{message}");
    let message = feed(&[("pose", ty(DType::F32, &[("image", 4), ("angle", 2)]))]).unwrap_err().to_string();
    assert!(message.contains("there are poses where the source says `poses: true`"), "{message}");
}
