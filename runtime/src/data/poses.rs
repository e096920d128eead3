//! Where the camera of a portrait stood, as labels beside pictures say it.
//!
//! Angles are those of pi-GAN and GRAM: on the unit sphere about the head, the camera is at (sin φ cos θ, cos φ, sin φ sin θ) with
//! x to the picture's right, y up and z out of the face. From in front, the pitch φ and the yaw θ are both π/2.
//!
//! | found | what is in it |
//! |---|---|
//! | `poses.csv` in the folder | columns `file` (a path from the folder), `pitch` and `yaw`, in radians |
//! | `NAME.mat` | `angle` of Deep3DFaceRecon, a: φ = π/2 − (a₀ − 0.1), θ = a₁ + π/2 |
//! | `NAME_pose.npy` | GRAM's aligner of cats, p: φ = p₀ + 0.14, θ = p₁ |
//! | `NAME_extrinsics.npy` | a camera-to-world matrix whose x and y span the ground, as of GRAF's cars |
//!
//! Files of single pictures lie beside them, or in a folder `poses` beside them or beside their folder.

use std::{
    collections::HashMap,
    f64::consts::{FRAC_PI_2, PI},
    path::{Path, PathBuf},
};

use super::{DataError, matlab, npy};

/// The table of all labels of a folder.
pub const TABLE: &str = "poses.csv";

/// Where a camera stood, in radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoseLabel {
    /// From the vertical.
    pub pitch: f64,
    /// About the vertical, from the picture's right.
    pub yaw: f64,
}

impl PoseLabel {
    /// That of the picture mirrored, left for right.
    pub fn mirrored(self) -> PoseLabel {
        PoseLabel { yaw: PI - self.yaw, ..self }
    }
}

/// The labels of a folder's pictures.
pub(super) enum Labels {
    /// In a table, by path; or what is wrong with a row.
    Table { path: PathBuf, rows: HashMap<PathBuf, Result<PoseLabel, String>> },
    /// A file a picture.
    Files,
}

impl Labels {
    /// Finds out how a folder is labelled.
    ///
    /// # Errors
    /// There is a table, and it cannot be read or has no such columns.
    pub fn open(folder: &Path) -> Result<Labels, DataError> {
        let path = folder.join(TABLE);
        if !path.is_file() {
            return Ok(Labels::Files);
        }
        let wrong = |error: csv::Error| DataError::format(&path, error.to_string());
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_path(&path).map_err(wrong)?;
        let header = reader.headers().map_err(wrong)?.clone();
        let column = |name: &str| {
            let missing =
                || DataError::format(&path, format!("no column `{name}`; there are to be file, pitch and yaw"));
            header.iter().position(|column| column == name).ok_or_else(missing)
        };
        let (file, pitch, yaw) = (column("file")?, column("pitch")?, column("yaw")?);
        let mut rows = HashMap::new();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            let line = record.position().map_or(0, csv::Position::line);
            let angle = |column: usize, name: &str| {
                let cell = record.get(column).unwrap_or_default();
                let value = cell.parse().ok().filter(|value: &f64| value.is_finite());
                value.ok_or_else(|| format!("line {line}: `{cell}` is no {name} in radians"))
            };
            let label = angle(pitch, "pitch").and_then(|pitch| Ok(PoseLabel { pitch, yaw: angle(yaw, "yaw")? }));
            let name = PathBuf::from(record.get(file).unwrap_or_default().trim_start_matches("./"));
            rows.insert(name, label);
        }
        Ok(Labels::Table { path, rows })
    }

    /// The label of a picture in `folder` or below it.
    ///
    /// # Errors
    /// It has none, or one that cannot be read.
    pub fn of(&self, folder: &Path, picture: &Path) -> Result<PoseLabel, DataError> {
        let Labels::Table { path, rows } = self else { return from_files(picture) };
        match rows.get(picture.strip_prefix(folder).unwrap_or(picture)) {
            Some(Ok(label)) => Ok(*label),
            Some(Err(problem)) => Err(DataError::format(picture, format!("{}: {problem}", path.display()))),
            None => Err(DataError::format(picture, format!("no pose: it is not in {}", path.display()))),
        }
    }
}

fn from_files(picture: &Path) -> Result<PoseLabel, DataError> {
    let beside = picture.parent().unwrap_or(Path::new(""));
    let stem = picture.file_stem().unwrap_or_default().to_string_lossy();
    for place in [beside.to_owned(), beside.join("poses"), beside.join("../poses")] {
        for (ending, read) in FORMATS {
            let path = place.join(format!("{stem}{ending}"));
            if path.is_file() {
                let bytes = std::fs::read(&path).map_err(DataError::io(&path))?;
                return read(&bytes).map_err(|problem| DataError::format(&path, problem));
            }
        }
    }
    Err(DataError::format(
        picture,
        format!("no pose: there is neither {TABLE} nor {stem}.mat, {stem}_pose.npy or {stem}_extrinsics.npy"),
    ))
}

type Format = fn(&[u8]) -> Result<PoseLabel, String>;

const FORMATS: [(&str, Format); 3] =
    [(".mat", reconstructed), ("_pose.npy", aligned), ("_extrinsics.npy", from_extrinsics)];

/// The angles of Deep3DFaceRecon.
fn reconstructed(bytes: &[u8]) -> Result<PoseLabel, String> {
    match matlab::matrix(bytes, "angle")?.as_slice() {
        [x, y, z] if [x, y, z].iter().all(|angle| angle.is_finite()) => {
            Ok(PoseLabel { pitch: FRAC_PI_2 - (x - 0.1), yaw: y + FRAC_PI_2 })
        }
        other => Err(format!("`angle` is {other:?}, not three angles")),
    }
}

/// The angles of GRAM's aligner of cats.
fn aligned(bytes: &[u8]) -> Result<PoseLabel, String> {
    match npy::parse(bytes)?.values.as_slice() {
        [pitch, yaw] if pitch.is_finite() && yaw.is_finite() => Ok(PoseLabel { pitch: pitch + 0.14, yaw: *yaw }),
        other => Err(format!("{} numbers, not pitch and yaw", other.len())),
    }
}

/// The angles under which a camera stands that looks at the origin, from its camera-to-world matrix.
fn from_extrinsics(bytes: &[u8]) -> Result<PoseLabel, String> {
    let array = npy::parse(bytes)?;
    let ([3 | 4, 4], values) = (array.shape.as_slice(), &array.values) else {
        return Err(format!("an array of shape {:?}; a camera-to-world matrix is 3 x 4 or 4 x 4", array.shape));
    };
    let [x, y, z] = [values[3], values[7], values[11]];
    // The ground is the plane of x and y there, of z and x here.
    let [right, up, front] = [y, z, x];
    let level = right.hypot(front);
    let label = PoseLabel { pitch: (-up / level).atan() + FRAC_PI_2, yaw: (-right).atan2(front) + FRAC_PI_2 };
    if label.pitch.is_finite() && label.yaw.is_finite() { Ok(label) } else { Err("the camera is at no place".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_label(found: &Result<PoseLabel, String>, pitch: f64, yaw: f64) {
        let found = found.as_ref().unwrap();
        assert!((found.pitch - pitch).abs() < 1e-6 && (found.yaw - yaw).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn every_format_has_its_formula() {
        let bytes = matlab::bytes_of(&[("angle", &[0.3, -0.2, 0.05])], true);
        assert_label(&reconstructed(&bytes), -0.2 + FRAC_PI_2, -0.2 + FRAC_PI_2);
        // The flipped yaw that GRAM writes as −a₁ + π/2.
        assert!((reconstructed(&bytes).unwrap().mirrored().yaw - (0.2 + FRAC_PI_2)).abs() < 1e-6);
        assert_label(&aligned(&npy::bytes_of(1, 2, &[1.4, 1.7])), 1.54, 1.7);
        assert!(aligned(&npy::bytes_of(1, 3, &[1.4, 1.7, 0.0])).unwrap_err().contains("3 numbers"));
        assert!(reconstructed(&matlab::bytes_of(&[("angle", &[0.3])], false)).is_err());
    }

    /// A camera at the place that the definition of the angles says has those angles.
    #[test]
    fn a_camera_has_the_angles_of_its_place() {
        for (pitch, yaw) in [(FRAC_PI_2, FRAC_PI_2), (1.2, 0.4), (1.0, 2.5), (2.0, 3.5), (0.6, -1.0)] {
            let (pitch, yaw): (f64, f64) = (pitch, yaw);
            let [right, up, front] = [pitch.sin() * yaw.cos(), pitch.cos(), pitch.sin() * yaw.sin()];
            let rows = [[0.0, 0.0, 1.0, 3.0 * front], [1.0, 0.0, 0.0, 3.0 * right], [0.0, 1.0, 0.0, 3.0 * up]];
            let found = from_extrinsics(&npy::bytes_of(3, 4, &rows.concat()));
            assert_label(&found, pitch, yaw);
        }
        assert!(from_extrinsics(&npy::bytes_of(4, 3, &[0.0; 12])).unwrap_err().contains("3 x 4 or 4 x 4"));
        assert!(from_extrinsics(&npy::bytes_of(3, 4, &[0.0; 12])).unwrap_err().contains("no place"));
    }

    #[test]
    fn a_table_is_read_row_by_row() {
        let folder = tempfile::tempdir().unwrap();
        let rows =
            "yaw, file ,pitch,note\n1.5,./a.png,1.6,x\nleft,b.png,1.6,\n1.25,\"in, side/c.png\",1.5,\n1.5,short.png\n";
        std::fs::write(folder.path().join(TABLE), rows).unwrap();
        let labels = Labels::open(folder.path()).unwrap();
        let of = |name: &str| labels.of(folder.path(), &folder.path().join(name)).map_err(|error| error.to_string());
        assert_label(&of("a.png"), 1.6, 1.5);
        assert_label(&of("in, side/c.png"), 1.5, 1.25);
        assert!(of("b.png").unwrap_err().contains("poses.csv: line 3: `left` is no yaw in radians"));
        assert!(of("short.png").unwrap_err().contains("line 5: `` is no pitch"));
        assert!(of("d.png").unwrap_err().contains("d.png: no pose: it is not in"));
        std::fs::write(folder.path().join(TABLE), "file,yaw\na.png,1\n").unwrap();
        assert!(Labels::open(folder.path()).err().unwrap().to_string().contains("no column `pitch`"));
    }

    #[test]
    fn files_lie_beside_pictures_or_in_a_folder_of_poses() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["pictures", "pictures/poses", "poses"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("pictures/poses/a.mat"), matlab::bytes_of(&[("angle", &[0.1, 0.0, 0.0])], false)).unwrap();
        std::fs::write(at("poses/b_pose.npy"), npy::bytes_of(1, 2, &[1.0, 2.0])).unwrap();
        std::fs::write(at("pictures/c_pose.npy"), "nothing").unwrap();
        let labels = Labels::open(&at("pictures")).unwrap();
        let of = |name: &str| labels.of(&at("pictures"), &at("pictures").join(name)).map_err(|error| error.to_string());
        assert_label(&of("a.png"), FRAC_PI_2, FRAC_PI_2);
        assert_label(&of("b.png"), 1.14, 2.0);
        assert!(of("c.png").unwrap_err().contains("c_pose.npy: not a .npy file"));
        assert!(of("d.png").unwrap_err().contains("d.mat, d_pose.npy or d_extrinsics.npy"));
    }
}
