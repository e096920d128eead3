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
    // Nine heads are generated, of which two are held out, with a table of their poses.
    assert_eq!(fs::read_dir(run.join("data/heads-32-9-1")).unwrap().count(), 10);
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

/// Generated heads have poses, and their mean is what is learnt of them; mirrored half the time, faces look straight ahead in
/// the mean.
#[test]
fn poses_are_learnt_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let spec = root().join("tests/specs/poses.ron").display().to_string();
    succeeds(folder.path(), &["train", &spec, "--out", "run", "--seed", "3"]);
    let run = folder.path().join("run");
    let checkpoint = Checkpoint::read(&run.join("checkpoints/00000200.safetensors")).unwrap();
    let guess = checkpoint.tensors["guess.guess"].to_f64();
    let table = fs::read_to_string(run.join("data/heads-16-12-0-0.1-0.3/poses.csv")).unwrap();
    let pitches: Vec<f64> =
        table.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse().unwrap()).collect();
    let mean = pitches.iter().sum::<f64>() / pitches.len() as f64;
    assert_eq!(pitches.len(), 12);
    assert!((guess[0] - mean).abs() < 0.05, "{guess:?} {mean}");
    assert!((guess[1] - std::f64::consts::FRAC_PI_2).abs() < 0.1, "{guess:?}");

    // A folder whose table lacks a picture: it is named, and the others go on.
    let data = run.join("data/heads-16-12-0-0.1-0.3");
    fs::write(data.join("poses.csv"), table.replace("00003.png", "other.png")).unwrap();
    let data = data.display().to_string();
    let arguments = ["data", "batch", &spec, "faces", "--data", &data, "--out", "sheet.png"];
    let (code, told, warned) = visage(folder.path(), &arguments);
    assert_eq!(code, 0, "{warned}");
    assert!(warned.contains("00003.png: no pose") && warned.contains("1 of 12 pictures cannot be read"), "{warned}");
    assert!(told.contains("11 pictures of 16 x 16"), "{told}");
    // Old folders, from before there were poses, get them.
    fs::remove_file(run.join("data/heads-16-12-0-0.1-0.3/poses.csv")).unwrap();
    succeeds(folder.path(), &["train", "--resume", "run", "--rounds", "201"]);
    let again = fs::read_to_string(run.join("data/heads-16-12-0-0.1-0.3/poses.csv")).unwrap();
    assert_eq!(again, table);
}

/// Poses of real portraits, as an estimate gives them, in the table that the project reads.
#[test]
fn real_portraits_have_poses() {
    let Some(arrays) = shared("data/faces/portraits.safetensors") else { return };
    let portraits = arrays.parent().unwrap();
    let rotation = Checkpoint::read(&arrays).unwrap().tensors["rotation"].to_f64();
    let list = fs::read_to_string(portraits.join("portraits.csv")).unwrap();
    let mut lines = list.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (file, yaw) = (column("file"), column("yaw"));
    let folder = tempfile::tempdir().unwrap();
    let mut table = "file,pitch,yaw\n".to_owned();
    for (row, line) in lines.enumerate().filter(|(_, line)| line.starts_with("portraits128/")).take(12) {
        let cells: Vec<&str> = line.split(',').collect();
        let name = cells[file].rsplit('/').next().unwrap();
        fs::copy(portraits.join(cells[file]), folder.path().join(name)).unwrap();
        // The camera's place about a head that holds still is the third row of R, from the model's origin.
        let [x, y, z] = [6, 7, 8].map(|k| rotation[9 * row + k]);
        let angles = [y.clamp(-1.0, 1.0).acos(), z.atan2(x)];
        table.push_str(&format!("{name},{},{}\n", angles[0], angles[1]));
        // A nose to the picture's right is a camera to the face's other side.
        let turned = std::f64::consts::FRAC_PI_2 - angles[1];
        assert!((turned.to_degrees() + cells[yaw].parse::<f64>().unwrap()).abs() < 1.5, "{name} {turned}");
    }
    fs::write(folder.path().join("poses.csv"), table).unwrap();
    let spec = root().join("tests/specs/poses.ron").display().to_string();
    let at = folder.path().display().to_string();
    let told = succeeds(folder.path(), &["data", "batch", &spec, "faces", "--data", &at, "--out", "sheet.png"]);
    assert!(told.contains("12 pictures of 16 x 16"), "{told}");
}
