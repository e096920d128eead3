//! Training on folders of pictures, and looking at their batches.

use crate::support::{fails, root, shared, succeeds, visage};
use std::{fs, path::Path};
use visage_runtime::{checkpoint::Checkpoint, media::Picture};

fn spec() -> String {
    root().join("tests/specs/pictures.ron").display().to_string()
}

/// The values of a column of the measurements of a run.
fn column(run: &Path, name: &str) -> Vec<f64> {
    let table = fs::read_to_string(run.join("metrics.csv")).unwrap();
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let place = lines.next().unwrap().iter().position(|column| *column == name).unwrap();
    lines.map(|line| line[place].parse().unwrap()).collect()
}

#[test]
fn pictures_are_learnt_from_and_a_resumed_run_sees_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let train = |out: &str, rounds: &str| {
        succeeds(folder.path(), &["train", &spec(), "--no-reports", "--out", out, "--rounds", rounds, "--seed", "4"])
    };
    train("whole", "40");
    train("parted", "13");
    succeeds(folder.path(), &["train", "--resume", "parted", "--rounds", "40", "--no-reports"]);
    let last = |run: &str| {
        Checkpoint::read(&folder.path().join(run).join("checkpoints/00000040.safetensors")).unwrap().tensors
    };
    assert_eq!(last("whole"), last("parted"));
    let run = folder.path().join("whole");
    let losses = column(&run, "fit.loss");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    assert!(mean(&losses[30..]) < 0.7 * mean(&losses[..5]), "{losses:?}");
    // Nine heads are generated, of which two are held out.
    assert_eq!(fs::read_dir(run.join("data/heads-32-9-1")).unwrap().count(), 9);
    let (indices, mirrored) = (column(&run, "fit.which_mean"), column(&run, "fit.mirrored_mean"));
    assert!(indices.iter().all(|mean| (1.5..=4.5).contains(mean)), "{indices:?}");
    assert!((0.3..0.7).contains(&mean(&mirrored)), "{mirrored:?}");
}

#[test]
fn a_damaged_picture_is_named_and_training_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["data", "generate", "heads", "faces/some", "--resolution", "16", "--count", "4"]);
    fs::write(folder.path().join("faces/broken.png"), "not a picture").unwrap();
    let arguments = ["train", &spec(), "--data", "faces", "--rounds", "2", "--no-reports"];
    let (code, _, told) = visage(folder.path(), &arguments);
    assert_eq!(code, 0, "{told}");
    // The first by path, which is the damaged one, is held out.
    assert!(told.contains("4 pictures of 24 x 24 pixels") && told.contains("1 held out"), "{told}");
    fs::write(folder.path().join("faces/a.png"), "nor this").unwrap();
    let (code, _, told) = visage(folder.path(), &[&arguments[..], &["--out", "again"]].concat());
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("left out: ") && told.contains("faces/broken.png: not a readable picture"), "{told}");
    assert!(told.contains("faces: 1 of 4 pictures cannot be read and are left out"), "{told}");
    let message = fails(folder.path(), 2, &["train", &spec(), "--data", "nowhere", "--out", "none"]);
    assert!(message.contains("nowhere"), "{message}");
}

#[test]
fn a_batch_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let told = succeeds(folder.path(), &["data", "batch", &spec(), "faces", "--count", "3", "--out", "sheet.png"]);
    assert!(told.contains("faces: 7 pictures of 24 x 24 pixels") && told.contains("sheet.png"), "{told}");
    for field in ["picture", "brushed", "large", "small"] {
        assert!(told.contains(&format!("\n  {field} ")), "{told}");
    }
    // Three columns, four rows, each picture with a caption below.
    let sheet = Picture::load(&folder.path().join("sheet.png")).unwrap();
    assert_eq!((sheet.width, sheet.height), (3 * (24 + 6) + 6, 4 * (24 + 12 + 6) + 6));
    let another = ["data", "batch", &spec(), "faces", "--count", "3", "--number", "1", "--out", "next.png"];
    succeeds(folder.path(), &another);
    assert_ne!(Picture::load(&folder.path().join("next.png")).unwrap(), sheet);

    let message = fails(folder.path(), 2, &["data", "batch", &spec(), "face"]);
    assert!(message.contains("the spec has no data source `face`: did you mean `faces`?"), "{message}");
    let tiny = root().join("tests/specs/tiny.ron").display().to_string();
    let message = fails(folder.path(), 2, &["data", "batch", &tiny, "views"]);
    assert!(message.contains("`views` is PosedImages(…)"), "{message}");
}

#[test]
fn real_faces_are_learnt_from() {
    let Some(readme) = shared("data/faces/README.md") else { return };
    let faces = readme.parent().unwrap().join("hq512").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["train", &spec(), "--data", &faces, "--set", "side=64", "--set", "image=8", "--no-reports"];
    let (code, _, told) = visage(folder.path(), &[&arguments[..], &["--rounds", "60", "--out", "run"]].concat());
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("34 pictures of 64 x 64 pixels") && told.contains("9 held out"), "{told}");
    let losses = column(&folder.path().join("run"), "fit.loss");
    assert!(losses[50..].iter().sum::<f64>() < 0.5 * losses[..10].iter().sum::<f64>(), "{losses:?}");
}
