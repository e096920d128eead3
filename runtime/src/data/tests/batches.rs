use std::collections::HashSet;
use std::sync::Arc;

use super::*;
use crate::geometry::{Similarity, orbit_path};
use crate::media::Background;

/// A Blender scene of `count` training views of 10x8 pixels.
fn scene(count: usize) -> Arc<PosedImages> {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<String> = orbit_path(count, -30.0, 4.0)
        .iter()
        .enumerate()
        .map(|(i, pose)| {
            picture(&folder.path().join(format!("{i}.png")), 10, 8, 3);
            format!("{{\"file_path\": \"{i}\", \"transform_matrix\": {}}}", json(pose))
        })
        .collect();
    let text = format!("{{\"camera_angle_x\": 0.7, \"frames\": [{}]}}", frames.join(","));
    std::fs::write(folder.path().join("transforms_train.json"), text).unwrap();
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.world, scene.background), (Similarity::IDENTITY, Background::Keep));
    Arc::new(scene)
}

/// Frame, column and row of each ray of a batch, from its colour.
fn pixels(batch: &RayBatch) -> Vec<(u32, usize, usize)> {
    batch
        .targets
        .chunks_exact(3)
        .zip(&batch.frames)
        .map(|(c, frame)| (*frame, (c[0] * 10.0 + 0.3) as usize, (c[1] * 8.0 + 0.3) as usize))
        .collect()
}

#[test]
fn all_images_come_once_an_epoch() {
    let batches = RayBatches::new(scene(3), RayOptions { seed: 4, ..RayOptions::default() }).unwrap();
    assert_eq!(batches.pixels(), 240);
    // 16 rays a step: 15 steps an epoch.
    let epoch = |first: u64| -> Vec<(u32, usize, usize)> {
        (first..first + 15).flat_map(|step| pixels(&batches.batch(step, 16))).collect()
    };
    let (one, two) = (epoch(0), epoch(15));
    assert_eq!(one.iter().collect::<HashSet<_>>().len(), 240);
    assert_eq!(two.iter().collect::<HashSet<_>>().len(), 240);
    assert_ne!(one, two);
    // A batch across the border of epochs is full.
    assert_eq!(batches.batch(2, 100).rays.len(), 100);
}

#[test]
fn batches_depend_on_seed_and_step_alone() {
    let scene = scene(2);
    for mode in [RayMode::OneImage, RayMode::AllImages] {
        let make = |seed| RayBatches::new(scene.clone(), RayOptions { mode, seed, precrop: None }).unwrap();
        let (a, b, other) = (make(1), make(1), make(2));
        let _ = b.batch(3, 8);
        assert_eq!(a.batch(7, 8), b.batch(7, 8));
        assert_ne!(a.batch(7, 8), a.batch(8, 8));
        assert_ne!(a.batch(7, 8), other.batch(7, 8));
    }
}

#[test]
fn one_image_is_drawn_without_repetition_from_the_middle_first() {
    let precrop = Some(Precrop { steps: 10, fraction: 0.5 });
    let options = RayOptions { mode: RayMode::OneImage, precrop, seed: 0 };
    let batches = RayBatches::new(scene(4), options).unwrap();
    let mut frames = HashSet::new();
    for step in 0..30 {
        let drawn = pixels(&batches.batch(step, 16));
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), 16);
        assert!(drawn.iter().all(|p| p.0 == drawn[0].0));
        frames.insert(drawn[0].0);
        // Rows H/2 ± 2 of 8, columns W/2 ± 2 of 10.
        let middle = drawn.iter().all(|p| (3..7).contains(&p.1) && (2..6).contains(&p.2));
        assert_eq!(middle, step < 10);
    }
    assert_eq!(frames.len(), 4);
    // More rays than pixels: every pixel before any again.
    let many = pixels(&batches.batch(20, 100));
    assert_eq!(many[..80].iter().collect::<HashSet<_>>().len(), 80);
}

#[test]
fn rays_belong_to_their_colours() {
    let scene = scene(3);
    let batches = RayBatches::new(scene.clone(), RayOptions::default()).unwrap();
    let batch = batches.batch(5, 40);
    for (i, (frame, x, y)) in pixels(&batch).into_iter().enumerate() {
        let shot = &scene.frames[frame as usize];
        let ray = scene.ray(&shot.camera, &shot.pose, x, y);
        assert_eq!(batch.rays.origins[3 * i..3 * i + 3], ray.origin);
        assert_eq!(batch.rays.directions[3 * i..3 * i + 3], ray.direction);
        assert_eq!(batch.rays.views[3 * i..3 * i + 3], ray.view);
    }
    assert_eq!(batch.alphas, [1.0; 40]);
    let all = scene.rays(&scene.frames[0].camera, &scene.frames[0].pose);
    assert_eq!(all.len(), 80);
    let last = scene.ray(&scene.frames[0].camera, &scene.frames[0].pose, 9, 7);
    assert_eq!(all.directions[79 * 3..], last.direction);
}

#[test]
fn senseless_options_are_refused() {
    let scene = scene(1);
    for fraction in [0.0, 1.5, f64::NAN] {
        let precrop = Some(Precrop { steps: 1, fraction });
        assert!(RayBatches::new(scene.clone(), RayOptions { precrop, ..RayOptions::default() }).is_err());
    }
    let mut empty = (*scene).clone();
    empty.frames.clear();
    assert!(RayBatches::new(Arc::new(empty), RayOptions::default()).is_err());
}
