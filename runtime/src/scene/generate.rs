//! The head's data set.

use std::path::Path;

use glam::DVec3;
use rayon::prelude::*;
use serde_json::json;

use super::head::Head;
use super::render::{Renderer, lights};
use crate::data::{DataError, Intrinsics};
use crate::geometry::Pose;
use crate::media::Picture;

/// The horizontal field of view of every camera, in radians.
pub const CAMERA_ANGLE_X: f64 = 0.45;
/// The distance of every camera from the origin, the middle of the head.
pub const CAMERA_DISTANCE: f64 = 4.0;

/// How many pictures are made, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadOptions {
    /// Width and height in pixels.
    pub resolution: usize,
    /// Pictures to learn from.
    pub train: usize,
    /// Pictures to look at while training.
    pub val: usize,
    /// Pictures to measure by.
    pub test: usize,
    /// Where cameras stand.
    pub seed: u64,
}

impl Default for HeadOptions {
    fn default() -> HeadOptions {
        HeadOptions { resolution: 128, train: 100, val: 8, test: 16, seed: 0 }
    }
}

/// One picture of the head, RGB and straight alpha: pixel (i, j) is centred on (i, j) of the image
/// plane. The face looks towards −y, up is +z.
pub fn head_picture(camera: &Intrinsics, pose: &Pose) -> Picture {
    Renderer::new(Head::default(), lights()).picture(camera, pose)
}

/// Writes `transforms_{train,val,test}.json` and a folder of PNG pictures for each into `folder`,
/// which is made if there is none. The same options give the same files.
///
/// Cameras stand at [`CAMERA_DISTANCE`] all round the head, from 20° below to 50° above it, evenly over
/// that zone; depths lie between 2 and 6.
///
/// # Errors
/// No training pictures, a resolution that is not between 8 and 4096, or files that cannot be written.
pub fn generate_head(folder: &Path, options: &HeadOptions) -> Result<(), DataError> {
    if options.train == 0 || !(8..=4096).contains(&options.resolution) {
        return Err(DataError::Options(format!(
            "{} training pictures of {} pixels: at least one is needed, of 8 to 4096 pixels",
            options.train, options.resolution
        )));
    }
    let renderer = Renderer::new(Head::default(), lights());
    let camera = Intrinsics::from_angle(options.resolution, options.resolution, CAMERA_ANGLE_X);
    let splits = [("train", options.train), ("val", options.val), ("test", options.test)];
    for (index, (name, count)) in splits.into_iter().enumerate() {
        let pictures = folder.join(name);
        std::fs::create_dir_all(&pictures).map_err(DataError::io(&pictures))?;
        let poses = viewpoints(count, options.seed.wrapping_mul(3).wrapping_add(index as u64));
        poses
            .par_iter()
            .enumerate()
            .try_for_each(|(i, pose)| renderer.picture(&camera, pose).save(&pictures.join(format!("r_{i:03}.png"))))?;
        let frames: Vec<_> = poses
            .iter()
            .enumerate()
            .map(|(i, pose)| {
                let [a, b, c] = pose.0;
                json!({
                    "file_path": format!("./{name}/r_{i:03}"),
                    "transform_matrix": [a, b, c, [0.0, 0.0, 0.0, 1.0]],
                })
            })
            .collect();
        let file = json!({ "camera_angle_x": CAMERA_ANGLE_X, "near": 2.0, "far": 6.0, "frames": frames });
        let path = folder.join(format!("transforms_{name}.json"));
        std::fs::write(&path, format!("{file:#}\n")).map_err(DataError::io(&path))?;
    }
    Ok(())
}

/// Cameras evenly over the zone: heights in equal steps, azimuths by the golden angle, both shifted by
/// the seed.
fn viewpoints(count: usize, seed: u64) -> Vec<Pose> {
    let shift = |n: u64| {
        let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n) ^ seed;
        (mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f64 / (1u64 << 24) as f64
    };
    let (low, high) = ((-20f64).to_radians().sin(), 50f64.to_radians().sin());
    let golden = std::f64::consts::PI * (3.0 - 5f64.sqrt());
    (0..count)
        .map(|i| {
            let z = low + (high - low) * (i as f64 + shift(1)) / count as f64;
            let azimuth = golden * i as f64 + std::f64::consts::TAU * shift(2);
            let r = (1.0 - z * z).sqrt();
            let eye = DVec3::new(r * azimuth.sin(), -r * azimuth.cos(), z) * CAMERA_DISTANCE;
            Pose::look_at(eye, DVec3::ZERO, DVec3::Z)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Layout, LoadOptions, PixelCentre, Split, load};
    use crate::geometry::pose_spherical;
    use crate::media::Background;

    const SMALL: HeadOptions = HeadOptions { resolution: 24, train: 3, val: 1, test: 2, seed: 7 };

    #[test]
    fn a_generated_head_is_a_blender_scene() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        generate_head(&one, &SMALL).unwrap();
        generate_head(&two, &SMALL).unwrap();
        for file in ["transforms_train.json", "train/r_002.png", "test/r_001.png"] {
            let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
            assert_eq!(read(&one), read(&two));
        }
        let keep = LoadOptions { background: Some(Background::Keep), ..LoadOptions::default() };
        let scene = load(&one, &keep).unwrap();
        assert_eq!((scene.layout, scene.pixel_centre), (Layout::Blender, PixelCentre::Corner));
        assert_eq!((scene.near, scene.far), (2.0, 6.0));
        let counts = [Split::Train, Split::Validate, Split::Test].map(|s| scene.indices(s).len());
        assert_eq!(counts, [3, 1, 2]);
        for frame in &scene.frames {
            let centre = frame.pose.centre();
            let elevation = (centre.z / CAMERA_DISTANCE).asin().to_degrees();
            assert!((-20.1..50.1).contains(&elevation) && (centre.length() - 4.0).abs() < 1e-5);
            // The head is in the middle, nothing in the upper corners.
            assert_eq!(frame.image.pixel(12, 12)[3], 1.0);
            assert_eq!((frame.image.pixel(0, 0)[3], frame.image.pixel(23, 0)[3]), (0.0, 0.0));
        }
    }

    #[test]
    fn the_face_has_its_features_where_they_belong() {
        let camera = Intrinsics::from_angle(128, 128, CAMERA_ANGLE_X);
        let front = head_picture(&camera, &pose_spherical(-180.0, 0.0, 4.0));
        // Of points of the face: x to the right, y up, in the plane through the eyes.
        let at = |x: f32, y: f32| {
            let scale = camera.fx as f32 / (4.0 - 0.42);
            let p = front.pixel((64.0 + x * scale).round() as usize, (64.0 - y * scale).round() as usize);
            assert_eq!(p[3], 1.0);
            [p[0], p[1], p[2]]
        };
        let [skin, hair, shirt] = [at(-0.2, -0.12), at(0.0, 0.55), at(0.3, -0.78)];
        assert!(skin[0] > 0.6 && skin[0] > skin[2] + 0.1, "{skin:?}");
        assert!(hair[0] < 0.5 && hair[0] > hair[2], "{hair:?}");
        assert!(shirt[2] > shirt[0] + 0.1, "{shirt:?}");
        for side in [-1.0, 1.0] {
            let pupil = at(side * 0.163, 0.02);
            assert!(pupil.iter().sum::<f32>() < 1.2, "{pupil:?}");
        }
        let lips = at(0.0, -0.35);
        assert!(lips[0] - lips[1] > skin[0] - skin[1] + 0.05, "{lips:?} {skin:?}");
        // From behind there is only hair.
        let back = head_picture(&camera, &pose_spherical(0.0, 0.0, 4.0));
        assert!(back.pixel(64, 60)[0] < 0.5);
    }

    #[test]
    fn outlines_are_partly_transparent() {
        let camera = Intrinsics::from_angle(64, 64, CAMERA_ANGLE_X);
        let picture = head_picture(&camera, &pose_spherical(120.0, -15.0, 4.0));
        let alphas: Vec<f32> = picture.values.iter().skip(3).step_by(4).copied().collect();
        let partly = alphas.iter().filter(|a| **a > 0.0 && **a < 1.0).count();
        assert!((40..400).contains(&partly), "{partly}");
        assert!(alphas.iter().all(|a| (a * 16.0).fract() == 0.0));
    }

    #[test]
    fn senseless_options_are_refused() {
        let folder = Path::new("never-written");
        for options in [HeadOptions { train: 0, ..SMALL }, HeadOptions { resolution: 1, ..SMALL }] {
            assert!(generate_head(folder, &options).is_err());
        }
    }
}
