//! `transforms*.json`: NeRF's synthetic scenes, LINEMOD, instant-ngp and nerfstudio.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::DataError;
use super::camera::{Distortion, Intrinsics};
use super::normalise::{guess_depths, normalise};
use super::posed::{Layout, Lens, LoadOptions, PixelCentre, PosedImages, Shot, Split, hold_out, read_shots};
use crate::geometry::{Pose, Similarity};

/// One file. Fields that are not known are ignored: every program adds its own.
#[derive(Deserialize)]
struct File {
    #[serde(flatten)]
    lens: LensFields,
    near: Option<f32>,
    far: Option<f32>,
    frames: Vec<FrameEntry>,
    train_filenames: Option<Vec<String>>,
    val_filenames: Option<Vec<String>>,
    test_filenames: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct FrameEntry {
    file_path: String,
    transform_matrix: Vec<Vec<f64>>,
    intrinsic_matrix: Option<Vec<Vec<f64>>>,
    #[serde(flatten)]
    lens: LensFields,
}

/// What may stand in the file for all frames or in a frame for itself.
#[derive(Deserialize, Clone, Default)]
struct LensFields {
    camera_model: Option<String>,
    is_fisheye: Option<bool>,
    camera_angle_x: Option<f64>,
    fl_x: Option<f64>,
    fl_y: Option<f64>,
    cx: Option<f64>,
    cy: Option<f64>,
    w: Option<f64>,
    h: Option<f64>,
    k1: Option<f64>,
    k2: Option<f64>,
    k3: Option<f64>,
    k4: Option<f64>,
    p1: Option<f64>,
    p2: Option<f64>,
}

impl LensFields {
    /// The frame's own fields before the file's.
    fn or(&self, file: &LensFields) -> LensFields {
        macro_rules! first {
            ($($field:ident),*) => {
                LensFields { $($field: self.$field.clone().or_else(|| file.$field.clone())),* }
            };
        }
        first!(camera_model, is_fisheye, camera_angle_x, fl_x, fl_y, cx, cy, w, h, k1, k2, k3, k4, p1, p2)
    }

    fn distortion(&self) -> Result<Distortion, String> {
        let k = [self.k1, self.k2, self.k3, self.k4].map(|k| k.unwrap_or(0.0));
        let p = [self.p1, self.p2].map(|p| p.unwrap_or(0.0));
        let fisheye = self.is_fisheye.unwrap_or(false);
        let model = self.camera_model.as_deref().unwrap_or("OPENCV");
        if fisheye || model == "OPENCV_FISHEYE" {
            return Ok(Distortion::Fisheye { k });
        }
        match model {
            "OPENCV" | "PINHOLE" | "SIMPLE_PINHOLE" | "SIMPLE_RADIAL" | "RADIAL" | "FULL_OPENCV" | "PERSPECTIVE" => {
                if k == [0.0; 4] && p == [0.0; 2] {
                    return Ok(Distortion::None);
                }
                Ok(Distortion::Radial { k: [k[0], k[1], k[2], k[3], 0.0, 0.0], p })
            }
            other => Err(format!(
                "camera model {other} is not supported; PINHOLE, SIMPLE_RADIAL, RADIAL, OPENCV and \
                 OPENCV_FISHEYE are"
            )),
        }
    }

    fn lens(&self) -> Result<Lens, String> {
        let distortion = self.distortion()?;
        let size = match (self.w, self.h) {
            (Some(w), Some(h)) if w >= 1.0 && h >= 1.0 => Some((w as usize, h as usize)),
            (None, _) | (_, None) => None,
            (Some(w), Some(h)) => return Err(format!("a camera of {w}x{h} pixels")),
        };
        let Some(fx) = self.fl_x.or(self.fl_y) else {
            let angle = self.camera_angle_x.filter(|a| *a > 0.0 && *a < std::f64::consts::PI);
            return match angle {
                Some(angle) => Ok(Lens::Angle(angle)),
                None => Err("neither a focal length fl_x nor a field of view camera_angle_x (radians)".into()),
            };
        };
        let fy = self.fl_y.unwrap_or(fx);
        if !(fx > 0.0 && fy > 0.0) {
            return Err(format!("focal lengths {fx}, {fy} are not positive"));
        }
        Ok(match size {
            None => Lens::Unsized { focal: [fx, fy], principal: [self.cx, self.cy], distortion },
            Some((width, height)) => Lens::Camera(Intrinsics {
                fx,
                fy,
                cx: self.cx.unwrap_or(0.5 * width as f64),
                cy: self.cy.unwrap_or(0.5 * height as f64),
                distortion,
                ..Intrinsics::from_focal(width, height, fx)
            }),
        })
    }
}

fn read(path: &Path) -> Result<File, DataError> {
    let text = std::fs::read_to_string(path).map_err(DataError::io(path))?;
    serde_json::from_str(&text).map_err(|e| DataError::format(path, e.to_string()))
}

/// The picture's file: the path as it stands or with an ending added.
fn picture_file(folder: &Path, stated: &str) -> PathBuf {
    let plain = folder.join(stated);
    if plain.is_file() {
        return plain;
    }
    let with = |ending: &str| folder.join(format!("{stated}.{ending}"));
    let found = ["png", "jpg", "jpeg", "PNG", "JPG", "JPEG"].into_iter().map(with).find(|p| p.is_file());
    // What the error of opening it will name.
    found.unwrap_or_else(|| if plain.extension().is_some() { plain } else { with("png") })
}

fn lens_of(entry: &FrameEntry, file: &LensFields) -> Result<Lens, String> {
    let Some(matrix) = &entry.intrinsic_matrix else {
        return entry.lens.or(file).lens();
    };
    let [first, second, ..] = matrix.as_slice() else {
        return Err("an intrinsic_matrix has three rows of three numbers".into());
    };
    if first.len() < 3 || second.len() < 3 || first[0] <= 0.0 || second[1] <= 0.0 {
        return Err("an intrinsic_matrix has rows [fx, 0, cx], [0, fy, cy], [0, 0, 1]".into());
    }
    Ok(Lens::Unsized {
        focal: [first[0], second[1]],
        principal: [Some(first[2]), Some(second[2])],
        distortion: Distortion::None,
    })
}

fn shots(folder: &Path, path: &Path, file: &File, split: Split) -> Result<Vec<Shot>, DataError> {
    file.frames
        .iter()
        .map(|entry| {
            let wrong = |e: String| DataError::format(path, format!("frame {}: {e}", entry.file_path));
            Ok(Shot {
                name: entry.file_path.clone(),
                file: picture_file(folder, &entry.file_path),
                split,
                pose: Pose::from_matrix(&entry.transform_matrix).map_err(wrong)?,
                lens: lens_of(entry, &file.lens).map_err(wrong)?,
            })
        })
        .collect()
}

/// Reads a folder with `transforms_train.json` (and `_val`, `_test`) or `transforms.json`.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<PosedImages, DataError> {
    let mut all: Vec<Shot> = Vec::new();
    let mut files: Vec<File> = Vec::new();
    let lists = [("train", Split::Train), ("val", Split::Validate), ("test", Split::Test)];
    let has_lists = folder.join("transforms_train.json").is_file();
    if has_lists {
        for (name, split) in lists {
            let path = folder.join(format!("transforms_{name}.json"));
            if split != Split::Train && !path.is_file() {
                continue;
            }
            let file = read(&path)?;
            let skip = if split == Split::Train { 1 } else { options.test_skip.max(1) };
            all.extend(shots(folder, &path, &file, split)?.into_iter().step_by(skip));
            files.push(file);
        }
    } else {
        let path = folder.join("transforms.json");
        let file = read(&path)?;
        all = shots(folder, &path, &file, Split::Train)?;
        assign_splits(&mut all, &file, options.hold_out);
        files.push(file);
    }

    let focal = files.iter().any(|f| {
        f.lens.fl_x.or(f.lens.fl_y).is_some() || f.frames.iter().any(|e| e.lens.fl_x.or(e.lens.fl_y).is_some())
    });
    let matrix = files.iter().any(|f| f.frames.iter().any(|e| e.intrinsic_matrix.is_some()));
    let layout = options.layout.unwrap_or(match (matrix, focal || !has_lists) {
        (true, _) => Layout::Linemod,
        (false, true) => Layout::Transforms,
        (false, false) => Layout::Blender,
    });
    let stated = files.iter().rev().find_map(|f| f.near.zip(f.far));
    let (mut frames, background, transparent) = read_shots(all, options.downscale, options)?;

    let own = stated.or(options.near.zip(options.far));
    let (world, (near, far)) = match (layout, own) {
        (Layout::Transforms, None) if !frames.is_empty() => {
            let poses: Vec<Pose> = frames.iter().map(|f| f.pose).collect();
            let world = normalise(&poses, false);
            let moved: Vec<Pose> = poses.iter().map(|p| world.pose(p)).collect();
            (world, guess_depths(&moved, transparent))
        }
        (_, own) => (Similarity::IDENTITY, own.unwrap_or((2.0, 6.0))),
    };
    frames.iter_mut().for_each(|f| f.pose = world.pose(&f.pose));
    Ok(PosedImages {
        frames,
        near,
        far,
        pixel_centre: match layout {
            Layout::Transforms => PixelCentre::Middle,
            _ => PixelCentre::Corner,
        },
        background,
        ndc: false,
        layout,
        world,
        depths: None,
        spherified: false,
    })
}

/// The lists of nerfstudio where there are any, every n-th picture otherwise.
fn assign_splits(shots: &mut [Shot], file: &File, every: usize) {
    let lists = [
        (Split::Train, &file.train_filenames),
        (Split::Validate, &file.val_filenames),
        (Split::Test, &file.test_filenames),
    ];
    if lists.iter().all(|(_, list)| list.is_none()) {
        hold_out(shots, every);
        return;
    }
    let plain = |name: &str| name.trim_start_matches("./").to_string();
    for shot in shots {
        let listed = |list: &&(Split, &Option<Vec<String>>)| {
            list.1.iter().flatten().any(|name| plain(name) == plain(&shot.name))
        };
        shot.split = lists.iter().find(listed).map_or(Split::Train, |(split, _)| *split);
    }
}
