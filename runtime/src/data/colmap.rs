//! A COLMAP sparse model with its pictures as a scene.

use std::path::{Path, PathBuf};

use glam::{DMat3, DQuat, DVec3};

use super::DataError;
use super::colmap_files::{self, Image, Sparse};
use super::normalise::{guess_depths, normalise};
use super::posed::{Layout, Lens, LoadOptions, PixelCentre, PosedImages, Shot, Split, hold_out, read_shots};
use crate::geometry::Pose;

/// Where models lie in a folder.
const PLACES: [&str; 5] = ["sparse/0", "sparse", "colmap/sparse/0", "colmap/sparse", ""];

/// The folder of the model, if there is one.
pub fn find_model(folder: &Path) -> Option<PathBuf> {
    let holds = |path: &PathBuf| ["bin", "txt"].iter().any(|e| path.join(format!("cameras.{e}")).is_file());
    PLACES.iter().map(|place| folder.join(place)).find(holds)
}

/// Camera to world with x right, y up, looking along −z, from COLMAP's world to camera with y down
/// and z forward.
pub fn pose_of(image: &Image) -> Result<Pose, String> {
    let [w, x, y, z] = image.rotation;
    let q = DQuat::from_xyzw(x, y, z, w);
    let finite = q.is_finite() && image.translation.iter().all(|t| t.is_finite());
    if !finite || q.length() < 1e-9 {
        return Err(format!("image {} has no proper pose", image.name));
    }
    let r = DMat3::from_quat(q.normalize()).transpose();
    let centre = -(r * DVec3::from(image.translation));
    Ok(Pose::from_columns(r.x_axis, -r.y_axis, -r.z_axis, centre))
}

/// Reads a model and its pictures.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<PosedImages, DataError> {
    let model = find_model(folder)
        .ok_or_else(|| DataError::format(folder, format!("no cameras.bin or cameras.txt in any of {PLACES:?}")))?;
    let sparse = colmap_files::read(&model)?;
    if sparse.images.is_empty() {
        return Err(DataError::format(&model, "the model has no images"));
    }
    // Ready-made small pictures spare the reading of the large ones; cameras adapt to them.
    let shrunk = folder.join(format!("images_{}", options.downscale));
    let (pictures, downscale) = if options.downscale > 1.0 && shrunk.is_dir() {
        (shrunk, 1.0)
    } else {
        (folder.join("images"), options.downscale)
    };
    let mut shots = Vec::new();
    let mut ids = Vec::new();
    for (id, image) in &sparse.images {
        let wrong = |e: String| DataError::format(&model, format!("image {id} ({}): {e}", image.name));
        let camera = sparse
            .cameras
            .get(&image.camera)
            .ok_or_else(|| wrong(format!("camera {} is not in the model", image.camera)))?;
        shots.push(Shot {
            name: image.name.clone(),
            file: pictures.join(&image.name),
            split: Split::Train,
            pose: pose_of(image).map_err(wrong)?,
            lens: Lens::Camera(camera.intrinsics().map_err(wrong)?),
        });
        ids.push(*id);
    }
    let poses: Vec<Pose> = shots.iter().map(|s| s.pose).collect();
    let world = normalise(&poses, true);
    let depths = point_depths(&sparse, &poses, &ids).map(|(low, high)| (low * world.scale, high * world.scale));
    shots.iter_mut().for_each(|s| s.pose = world.pose(&s.pose));
    hold_out(&mut shots, options.hold_out);
    let (frames, background, transparent) = read_shots(shots, downscale, options)?;
    let moved: Vec<Pose> = frames.iter().map(|f| f.pose).collect();
    let (near, far) = match depths {
        Some((low, high)) => ((0.9 * low) as f32, (1.05 * high) as f32),
        None => guess_depths(&moved, transparent),
    };
    Ok(PosedImages {
        frames,
        near,
        far,
        pixel_centre: PixelCentre::Middle,
        background,
        ndc: false,
        layout: Layout::Colmap,
        world,
        depths,
        spherified: false,
    })
}

/// Depths between which points lie in the views that see them: the least 0.1th and the greatest
/// 99.9th percentile over views, without the few points that every reconstruction misplaces.
fn point_depths(sparse: &Sparse, poses: &[Pose], ids: &[u32]) -> Option<(f64, f64)> {
    let mut low = f64::INFINITY;
    let mut high: f64 = 0.0;
    for (pose, id) in poses.iter().zip(ids) {
        let depths: Vec<f64> = sparse.images[id]
            .points
            .iter()
            .filter_map(|p| sparse.points.get(p))
            .map(|p| -(DVec3::from(*p) - pose.centre()).dot(pose.column(2)))
            .filter(|d| *d > 0.0)
            .collect();
        if !depths.is_empty() {
            low = low.min(crate::geometry::percentile(&depths, 0.1));
            high = high.max(crate::geometry::percentile(&depths, 99.9));
        }
    }
    (high > low).then_some((low, high))
}
