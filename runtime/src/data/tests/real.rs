use std::path::PathBuf;

use super::*;
use crate::media::Background;

/// A scene of the shared data, if this machine has it.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VISAGE_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"));
    let folder = root.join("data/nerf").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: {} is not here", folder.display());
    None
}

#[test]
fn the_fox() {
    let Some(folder) = shared("fox") else { return };
    let scene = load(&folder, &LoadOptions { downscale: 3.0, ..LoadOptions::default() }).unwrap();
    assert_eq!((scene.layout, scene.pixel_centre), (Layout::Transforms, PixelCentre::Middle));
    let counts = [Split::Train, Split::Test].map(|s| scene.indices(s).len());
    assert_eq!((counts, scene.background), ([44, 6], Background::Keep));
    let camera = scene.frames[0].camera;
    assert_eq!((camera.width, camera.height), (90, 160));
    assert!((camera.fx - 343.88 / 3.0).abs() < 1e-6);
    let mean = scene.frames.iter().map(|f| f.pose.centre().length()).sum::<f64>() / 50.0;
    assert!((mean - 4.0).abs() < 1e-3);
    // Depths measured in the file's unit by triangulation: 2.2 to 8.4.
    let scale = scene.world.scale as f32;
    println!("scale {scale}, near {}, far {}", scene.near, scene.far);
    assert!(scene.near < 2.2 * scale && scene.far > 8.4 * scale);
    // Not a full turn: the path sways among the cameras.
    for pose in scene.path(&PathKind::Auto, 30).unwrap() {
        let nearest = scene.frames.iter().map(|f| (f.pose.centre() - pose.centre()).length());
        assert!(nearest.fold(f64::INFINITY, f64::min) < 1.5);
    }
    let own = LoadOptions { near: Some(2.0), far: Some(9.0), downscale: 6.0, ..LoadOptions::default() };
    assert_eq!(load(&folder, &own).unwrap().world.scale, 1.0);
}

#[test]
fn the_lego() {
    let Some(folder) = shared("lego") else { return };
    let scene = load(&folder, &LoadOptions::default()).unwrap();
    let counts = [Split::Train, Split::Test].map(|s| scene.indices(s).len());
    assert_eq!((counts, scene.background), ([90, 10], Background::White));
    assert!((scene.world.scale - 1.0).abs() < 0.1, "{:?}", scene.world);
    assert!((1.5..2.5).contains(&scene.near) && (5.5..6.5).contains(&scene.far));
    // The corner shows the background.
    assert_eq!(scene.frames[0].image.pixel(0, 0), [1.0; 4]);
}
