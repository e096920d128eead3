//! LLFF captures: `poses_bounds.npy` beside a folder of pictures.

use std::path::{Path, PathBuf};

use glam::{DMat3, DVec3};

use super::camera::Intrinsics;
use super::posed::{Layout, Lens, LoadOptions, PixelCentre, PosedImages, Shot, Split, read_shots};
use super::{DataError, npy};
use crate::geometry::{Pose, Similarity, focus_point};
use crate::media::Background;

/// One row: pose, (height, width, focal length), depths of the nearest and farthest point.
struct Row {
    pose: Pose,
    size: [f64; 3],
    bounds: [f64; 2],
}

fn rows(path: &Path) -> Result<Vec<Row>, DataError> {
    let matrix = npy::read_matrix(path)?;
    if matrix.columns != 17 || matrix.rows == 0 {
        return Err(DataError::format(
            path,
            format!("{}x{} numbers; one row of 17 for each picture is needed", matrix.rows, matrix.columns),
        ));
    }
    matrix
        .values
        .chunks_exact(17)
        .enumerate()
        .map(|(i, v)| {
            let wrong = |e: String| DataError::format(path, format!("row {i}: {e}"));
            let at = |row: usize, column: usize| v[row * 5 + column];
            // The file's columns are down, right, backward.
            let matrix: Vec<Vec<f64>> = (0..3).map(|r| vec![at(r, 1), -at(r, 0), at(r, 2), at(r, 3)]).collect();
            let pose = Pose::from_matrix(&matrix).map_err(wrong)?;
            let (size, bounds) = ([at(0, 4), at(1, 4), at(2, 4)], [v[15], v[16]]);
            if size.iter().any(|s| s.is_nan() || *s < 1.0) {
                return Err(wrong(format!("height, width and focal length are {size:?}")));
            }
            if !(bounds[0] > 0.0 && bounds[1] > bounds[0]) {
                return Err(wrong(format!("depths from {} to {}", bounds[0], bounds[1])));
            }
            Ok(Row { pose, size, bounds })
        })
        .collect()
}

fn pictures(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
        if ["png", "jpg", "jpeg"].contains(&ending.as_str()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The folder of pictures for a down-scale, and what is left to shrink.
fn picture_folder(folder: &Path, downscale: f64) -> (PathBuf, f64) {
    let shrunk = folder.join(format!("images_{downscale}"));
    if downscale > 1.0 && shrunk.is_dir() { (shrunk, 1.0) } else { (folder.join("images"), downscale) }
}

/// Reads a capture.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<PosedImages, DataError> {
    let path = folder.join("poses_bounds.npy");
    let rows = rows(&path)?;
    let (images, downscale) = picture_folder(folder, options.downscale);
    let files = pictures(&images)?;
    if files.len() != rows.len() {
        return Err(DataError::format(
            &path,
            format!("{} poses, but {} pictures in {}", rows.len(), files.len(), images.display()),
        ));
    }
    if options.spherify && options.ndc == Some(true) {
        return Err(DataError::Options(
            "normalised device coordinates are for cameras that face one way; a spherified capture has none".into(),
        ));
    }
    if options.bounds_factor.is_nan() || options.bounds_factor <= 0.0 {
        return Err(DataError::Options("the factor of the bounds must be positive".into()));
    }

    let mut poses: Vec<Pose> = rows.iter().map(|r| r.pose).collect();
    let (mut low, mut high) =
        rows.iter().fold((f64::INFINITY, 0.0f64), |(low, high), r| (low.min(r.bounds[0]), high.max(r.bounds[1])));
    let mut world = Similarity { scale: 1.0 / (low * options.bounds_factor), ..Similarity::IDENTITY };
    if options.recentre {
        let scaled: Vec<Pose> = poses.iter().map(|p| world.pose(p)).collect();
        world = to_camera(&Pose::mean(&scaled)).after(&world);
    }
    if options.spherify {
        let moved: Vec<Pose> = poses.iter().map(|p| world.pose(p)).collect();
        world = spherify(&moved).after(&world);
    }
    poses.iter_mut().for_each(|p| *p = world.pose(p));
    (low, high) = (low * world.scale, high * world.scale);

    let held: Vec<usize> = if options.hold_out > 0 {
        (0..poses.len()).step_by(options.hold_out).collect()
    } else {
        nearest_to_mean(&poses).into_iter().collect()
    };
    let shots = files
        .into_iter()
        .zip(&rows)
        .zip(&poses)
        .enumerate()
        .map(|(i, ((file, row), pose))| Shot {
            name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            file,
            split: if held.contains(&i) { Split::Test } else { Split::Train },
            pose: *pose,
            lens: Lens::Camera(Intrinsics::from_focal(row.size[1] as usize, row.size[0] as usize, row.size[2])),
        })
        .collect();
    let (mut frames, ..) = read_shots(shots, downscale, options)?;
    // One focal length and the exact middle, whatever the rounding of a shrunken picture.
    for frame in &mut frames {
        let (width, height) = (frame.camera.width, frame.camera.height);
        frame.camera = Intrinsics::from_focal(width, height, frame.camera.fx);
    }
    let ndc = options.ndc.unwrap_or(!options.spherify);
    let (near, far) = if ndc { (0.0, 1.0) } else { ((0.9 * low) as f32, high as f32) };
    Ok(PosedImages {
        frames,
        near,
        far,
        pixel_centre: PixelCentre::Corner,
        background: Background::Keep,
        ndc,
        layout: Layout::Llff,
        world,
        depths: Some((low, high)),
        spherified: options.spherify,
    })
}

/// From the world to the coordinates of a camera.
fn to_camera(pose: &Pose) -> Similarity {
    let inverse = pose.inverse();
    Similarity { scale: 1.0, rotation: inverse.rotation(), shift: inverse.centre() }
}

/// To a frame whose origin is the point nearest to all optical axes, whose z axis points to the mean
/// camera, and whose cameras lie at a distance of 1 (root mean square).
fn spherify(poses: &[Pose]) -> Similarity {
    let centre = focus_point(poses);
    let n = poses.len().max(1) as f64;
    let up = (poses.iter().map(|p| p.centre()).sum::<DVec3>() / n - centre).normalize_or(DVec3::Z);
    // The original program's arbitrary vector, which fixes where the path begins.
    let x = DVec3::new(0.1, 0.2, 0.3).cross(up).normalize_or(DVec3::X);
    let frame = Pose::from_columns(x, up.cross(x).normalize(), up, centre);
    let mut map = to_camera(&frame);
    let square = poses.iter().map(|p| map.point(p.centre()).length_squared()).sum::<f64>() / n;
    let scale = 1.0 / square.sqrt().max(1e-9);
    map = Similarity { scale, rotation: DMat3::IDENTITY, shift: DVec3::ZERO }.after(&map);
    map
}

fn nearest_to_mean(poses: &[Pose]) -> Option<usize> {
    let mean = Pose::mean(poses).centre();
    let distance = |i: &usize| (poses[*i].centre() - mean).length();
    (0..poses.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))
}
