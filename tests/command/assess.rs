//! How far made pictures are from real ones, and alarms of training runs.

use crate::support::{fails, root, succeeds, visage};
use std::{fs, path::Path};
use visage_runtime::{array::Array, checkpoint::Checkpoint, media::Picture};

fn spec() -> String {
    root().join("tests/specs/assess.ron").display().to_string()
}

fn figures(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(folder.join("assessment.json")).unwrap()).unwrap()
}

/// The cells of a column of the measurements of a run.
fn column(run: &Path, name: &str) -> Vec<String> {
    let table = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().unwrap().iter().position(|column| *column == name).unwrap();
    lines.map(|line| line[place].to_owned()).collect()
}

/// Messages as one line.
fn joined(message: &str) -> String {
    message.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// Writes pictures of one colour and a little of another, and gives their mean colours in −1..1.
fn write_pictures(folder: &Path, colours: &[[u8; 3]]) -> Vec<[f64; 3]> {
    fs::create_dir_all(folder).unwrap();
    let write = |(i, colour): (usize, &[u8; 3])| {
        // One row is half as bright.
        let at = |_, y, c: usize| if y == 3 { f32::from(colour[c] / 2) } else { f32::from(colour[c]) } / 255.0;
        Picture::from_fn(16, 16, 3, at).save(&folder.join(format!("{i:02}.png"))).unwrap();
        colour.map(|value| {
            let mean = (15.0 * f64::from(value) + f64::from(value / 2)) / 16.0;
            2.0 * mean / 255.0 - 1.0
        })
    };
    colours.iter().enumerate().map(write).collect()
}

fn colours(count: usize, step: [usize; 3]) -> Vec<[u8; 3]> {
    (0..count).map(|i| step.map(|step| ((40 + i * step * 7) % 200 + 20) as u8)).collect()
}

/// The unbiased kernel distance, pair by pair.
fn kernel_distance(a: &[[f64; 3]], b: &[[f64; 3]]) -> f64 {
    let kernel = |x: &[f64; 3], y: &[f64; 3]| (x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>() / 3.0 + 1.0).powi(3);
    let within = |set: &[[f64; 3]]| {
        let pairs = (0..set.len()).flat_map(|i| (0..set.len()).filter(move |j| *j != i).map(move |j| (i, j)));
        pairs.map(|(i, j)| kernel(&set[i], &set[j])).sum::<f64>() / (set.len() * (set.len() - 1)) as f64
    };
    let across: f64 = a.iter().flat_map(|x| b.iter().map(move |y| kernel(x, y))).sum();
    within(a) + within(b) - 2.0 * across / (a.len() * b.len()) as f64
}

/// The share of `points` that lie no farther from one of `set` than its second neighbour does.
fn covered(points: &[[f64; 3]], set: &[[f64; 3]]) -> f64 {
    let apart = |x: &[f64; 3], y: &[f64; 3]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    let radius = |x: &[f64; 3]| {
        let mut distances: Vec<f64> = set.iter().map(|y| apart(x, y)).collect();
        distances.sort_by(f64::total_cmp);
        // The first is the distance to itself.
        distances[2]
    };
    points.iter().filter(|x| set.iter().any(|y| apart(x, y) <= radius(y))).count() as f64 / points.len() as f64
}

#[test]
fn two_folders_have_the_figures_of_the_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let real = write_pictures(&folder.path().join("real"), &colours(11, [1, 2, 3]));
    let made = write_pictures(&folder.path().join("made"), &colours(9, [2, 2, 1]));
    let base = ["run", &spec(), "assess", "--data", "real", "--out", "out", "--opt"];
    let told = succeeds(folder.path(), &[&base[..], &["made=made"]].concat());
    assert!(told.contains("colours") && told.contains("kid deviation"), "{told}");
    let found = figures(&folder.path().join("out"));
    let figure = |name: &str| found["made"]["figures"][name].as_f64().unwrap();
    assert_eq!(
        (&found["features"], &found["made"]["pictures"], &found["real"]["pictures"]),
        (&"colours".into(), &9.into(), &11.into())
    );
    // Subsets of nine of the eleven real pictures: the mean over them is near the distance of all.
    let expected = kernel_distance(&made, &real);
    assert!((figure("kid") - expected).abs() < 4.0 * figure("kid deviation") / 10.0 + 1e-6, "{found} {expected}");
    assert!((figure("precision") - covered(&made, &real)).abs() < 1e-9, "{found}");
    assert!((figure("recall") - covered(&real, &made)).abs() < 1e-9, "{found}");
    let floor = &found["floor"];
    assert_eq!(floor["pictures"], serde_json::json!([5, 6]));

    // Pictures against themselves.
    succeeds(folder.path(), &[&base[..], &["made=real"]].concat());
    let found = figures(&folder.path().join("out"));
    let figure = |name: &str| found["made"]["figures"][name].as_f64().unwrap();
    assert!(figure("fid").abs() < 1e-6 && (figure("kid") - kernel_distance(&real, &real)).abs() < 1e-6, "{found}");
    assert_eq!((figure("precision"), figure("recall")), (1.0, 1.0));
    // Four made pictures above four real ones, four times as large, with captions.
    let sheet = Picture::load(&folder.path().join("out/assessment.png")).unwrap();
    assert_eq!((sheet.width, sheet.height), (4 * (64 + 6) + 6, 2 * (64 + 12 + 6) + 6));
}

#[test]
fn a_program_is_assessed_and_draws_anew_for_every_batch() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let spec = spec();
        let base = ["run", &spec, "by_projection", "--initial", "--out", "out", "--json"];
        let out = succeeds(folder.path(), &[&base[..], more].concat());
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        told["figures"].clone()
    };
    let found = run(&[]);
    for name in ["kid", "kid deviation", "fid", "precision", "recall", "floor kid", "floor fid"] {
        assert!(found[format!("projected {name}")].is_f64(), "{found}");
    }
    assert_eq!(run(&[]), found);
    assert_ne!(run(&["--seed", "3"]), found);
    // Two batches: no picture of the second is one of the first.
    run(&["--opt", "count=12", "--opt", "shown=12"]);
    let sheet = Picture::load(&folder.path().join("out/assessment.png")).unwrap();
    let cell = |place: usize| -> Vec<f32> {
        (0..64)
            .flat_map(|y| (0..64).map(move |x| (x, y)))
            .map(|(x, y)| sheet.pixel(6 + place * 70 + x, 6 + y)[0])
            .collect()
    };
    for (first, second) in (0..6).flat_map(|first| (6..12).map(move |second| (first, second))) {
        assert_ne!(cell(first), cell(second), "{first} {second}");
    }
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str]| {
        let spec = spec();
        joined(&fails(folder.path(), 2, &[&["run", &spec], more].concat()))
    };
    for (more, answer) in [
        (
            &["assess", "--initial", "--opt", "features=colour"][..],
            "there is no task `colour`: did you mean `colours`?",
        ),
        (
            &["assess", "--initial", "--opt", "features=assess"],
            "the task `assess` gives no features of pictures: it has not one input",
        ),
        (
            &["assess", "--initial", "--opt", "count=2"],
            "the pictures made: 2 pictures are too few: at least 3 are needed",
        ),
        (&["assess", "--initial", "--opt", "real=none"], "`real` cannot be `none`"),
        (&["assess", "--initial", "--opt", "neighbours=30"], "the real pictures: 20 pictures are too few: at least 62"),
        (&["by_projection"], "no weights are given"),
    ] {
        let message = refused(more);
        assert!(message.contains(answer), "{more:?}\n{message}");
    }
}

/// Reports of a run have figures where the weights of the features are given, and go on having them when it is resumed.
#[test]
fn training_reports_figures() {
    let folder = tempfile::tempdir().unwrap();
    let train = |out: &str, more: &[&str]| {
        let spec = spec();
        let base = ["train", &spec, "--out", out, "--rounds", "20", "--seed", "2"];
        let (code, told, warned) = visage(folder.path(), &[&base[..], more].concat());
        assert_eq!(code, 0, "{told}{warned}");
        warned
    };
    let warned = train("without", &[]);
    assert_eq!(warned.matches("the weights of `projected` are not given").count(), 1, "{warned}");
    let empty = column(&folder.path().join("without"), "by_projection.projected fid");
    assert!(empty.len() == 20 && empty.iter().all(String::is_empty), "{empty:?}");
    assert!(folder.path().join("without/samples/00000010-by_projection/assessment.png").is_file());

    let weights: Vec<f32> = (0..5 * 3 * 16 * 16).map(|i| ((i * 37 % 101) as f32 - 50.0) / 500.0).collect();
    let tensor = Array::from_slice([5, 3, 16, 16], &weights).unwrap();
    let checkpoint = Checkpoint {
        tensors: [("projection.weight".to_owned(), tensor)].into_iter().collect(),
        ..Checkpoint::default()
    };
    checkpoint.write_safetensors(&folder.path().join("features.safetensors")).unwrap();
    let warned = train("with", &["--weights", "features.safetensors"]);
    assert!(!warned.contains("are not given"), "{warned}");
    succeeds(folder.path(), &["train", "--resume", "with", "--rounds", "30"]);
    for name in ["kid", "fid", "precision", "floor recall"] {
        let cells = column(&folder.path().join("with"), &format!("by_projection.projected {name}"));
        let filled: Vec<usize> = (0..cells.len()).filter(|round| !cells[*round].is_empty()).collect();
        assert_eq!(filled, [9, 19, 29], "{name} {cells:?}");
    }
    let fid: Vec<f64> = column(&folder.path().join("with"), "by_projection.projected fid")
        .iter()
        .filter_map(|cell| cell.parse().ok())
        .collect();
    assert!(fid[2] < fid[0], "{fid:?}");
}

/// A collapse is noticed once, whether the run goes on or ends.
#[test]
fn alarms_are_raised_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let base =
        ["train", &spec(), "--no-reports", "--seed", "2", "--checkpoint-every", "1000", "--rounds", "60", "--out"];
    let (code, told, warned) = visage(folder.path(), &[&base[..], &["on"]].concat());
    assert_eq!(code, 0, "{told}{warned}");
    assert_eq!(warned.matches("collapse: `fit.spread`").count(), 1, "{warned}");
    assert!(warned.contains("below 0.2: All pictures are nearly one."), "{warned}");
    let raised = |run: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(run).join("alarms.json")).unwrap()).unwrap()
    };
    let first = raised("on");
    let round = first[0]["round"].as_u64().unwrap() as usize;
    let spread: Vec<f64> =
        column(&folder.path().join("on"), "fit.spread").iter().map(|cell| cell.parse().unwrap()).collect();
    let mean = |last: usize| spread[last - 3..=last].iter().sum::<f64>() / 4.0;
    assert!(mean(round) < 0.2 && mean(round - 1) >= 0.2 && round > 3, "{round} {spread:?}");
    assert!((first[0]["mean"].as_f64().unwrap() - mean(round)).abs() < 1e-12);
    assert_eq!(first.as_array().unwrap().len(), 1);

    let message = joined(&fails(folder.path(), 4, &[&base[..], &["ended", "--set", "stops=true"]].concat()));
    assert!(message.contains("collapse") && message.contains("a checkpoint is written"), "{message}");
    assert_eq!(raised("ended")[0]["round"], first[0]["round"]);
    assert!(folder.path().join(format!("ended/checkpoints/{:08}.safetensors", round + 1)).is_file());
    // Whoever goes on all the same is not stopped again.
    succeeds(folder.path(), &["train", "--resume", "ended", "--no-reports"]);
    assert_eq!(raised("ended"), first);
    assert_eq!(column(&folder.path().join("ended"), "fit.spread").len(), 60);
}
