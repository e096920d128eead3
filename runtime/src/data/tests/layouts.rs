use super::*;
use crate::data::npy;
use crate::geometry::{focus_point, orbit_path, pose_spherical};
use crate::media::Background;

/// A Blender data set of `count` views a split.
fn blender(folder: &Path, count: usize, extra: &str) {
    for split in ["train", "val", "test"] {
        let frames: Vec<String> = orbit_path(count, -30.0, 4.0)
            .iter()
            .enumerate()
            .map(|(i, pose)| {
                picture(&folder.join(format!("{split}/r_{i}.png")), 20, 12, 4);
                format!("{{\"file_path\": \"./{split}/r_{i}\", \"transform_matrix\": {}}}", json(pose))
            })
            .collect();
        let text = format!("{{\"camera_angle_x\": 0.6911112, {extra} \"frames\": [{}]}}", frames.join(","));
        std::fs::write(folder.join(format!("transforms_{split}.json")), text).unwrap();
    }
}

#[test]
fn blender_scenes() {
    let folder = tempfile::tempdir().unwrap();
    blender(folder.path(), 5, "");
    let scene = load(folder.path(), &LoadOptions { test_skip: 2, ..LoadOptions::default() }).unwrap();
    assert_eq!((scene.layout, scene.near, scene.far), (Layout::Blender, 2.0, 6.0));
    assert_eq!((scene.pixel_centre, scene.background), (PixelCentre::Corner, Background::White));
    let counts = [Split::Train, Split::Validate, Split::Test].map(|s| scene.indices(s).len());
    assert_eq!(counts, [5, 3, 3]);
    let frame = &scene.frames[1];
    assert_eq!(frame.pose, orbit_path(5, -30.0, 4.0)[1]);
    assert!((frame.camera.fx - 10.0 / (0.3455556f64).tan()).abs() < 1e-9);
    // Blue of 0.25 at half opacity before white.
    let blue = frame.image.pixel(3, 4)[2];
    assert!((blue - (0.25 * 0.5 + 0.5)).abs() < 0.005, "{blue}");
    // The ray of the pixel at (W/2, H/2) meets the origin.
    let ray = scene.ray(&frame.camera, &frame.pose, 10, 6);
    close(&[0, 1, 2].map(|k| ray.origin[k] + 4.0 * ray.direction[k]), &[0.0; 3], 1e-5);
    assert_eq!(scene.path(&PathKind::Auto, 40).unwrap()[5], pose_spherical(-135.0, -30.0, 4.0));

    let small = LoadOptions { downscale: 2.0, background: Some(Background::Keep), ..LoadOptions::default() };
    let small = load(folder.path(), &small).unwrap();
    assert_eq!((small.frames[0].image.width, small.frames[0].image.channels), (10, 4));
    assert!((small.frames[0].camera.fx * 2.0 - frame.camera.fx).abs() < 1e-9);
    assert_eq!(small.background, Background::Keep);
}

#[test]
fn linemod_scenes() {
    let folder = tempfile::tempdir().unwrap();
    blender(folder.path(), 2, "\"near\": 0.5, \"far\": 1.5,");
    for split in ["train", "val", "test"] {
        let path = folder.path().join(format!("transforms_{split}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        let matrix = "\"intrinsic_matrix\": [[30, 0, 9], [0, 31, 7], [0, 0, 1]], \"transform_matrix\"";
        std::fs::write(&path, text.replace("\"transform_matrix\"", matrix)).unwrap();
    }
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.layout, scene.near, scene.far), (Layout::Linemod, 0.5, 1.5));
    let camera = scene.frames[0].camera;
    assert_eq!((camera.fx, camera.fy, camera.cx, camera.cy), (30.0, 31.0, 9.0, 7.0));
}

/// A capture as instant-ngp writes it, `extra` among the fields of the file.
fn capture(folder: &Path, extra: &str) {
    let frames: Vec<String> = orbit_path(10, -20.0, 9.0)
        .iter()
        .enumerate()
        .map(|(i, pose)| {
            picture(&folder.join(format!("images/{i:02}.jpg")), 24, 32, 3);
            let mut pose = *pose;
            pose.0[0][3] += 5.0;
            format!("{{\"file_path\": \"images/{i:02}.jpg\", \"transform_matrix\": {}}}", json(&pose))
        })
        .collect();
    let text = format!(
        "{{\"fl_x\": 60, \"fl_y\": 62, \"cx\": 23, \"cy\": 33, \"w\": 48, \"h\": 64, \"aabb_scale\": 4, {extra} \"frames\": [{}]}}",
        frames.join(",")
    );
    std::fs::write(folder.join("transforms.json"), text).unwrap();
}

#[test]
fn captures_are_normalised_and_split() {
    let folder = tempfile::tempdir().unwrap();
    capture(folder.path(), "\"k1\": -0.1, \"k2\": 0.02, \"p1\": 0.001, \"p2\": 0.002,");
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.layout, scene.pixel_centre), (Layout::Transforms, PixelCentre::Middle));
    assert_eq!(scene.background, Background::Keep);
    assert_eq!(scene.indices(Split::Test), [0, 8]);
    // The pictures are half as large as the file says.
    let camera = scene.frames[0].camera;
    assert_eq!((camera.width, camera.fx, camera.cy), (24, 30.0, 16.5));
    let poses: Vec<Pose> = scene.frames.iter().map(|f| f.pose).collect();
    assert!(focus_point(&poses).length() < 1e-3);
    for pose in &poses {
        assert!((pose.centre().length() - 4.0).abs() < 1e-3);
    }
    assert!(scene.near > 0.5 && scene.far < 9.0);
    let back = scene.world.inverse().pose(&poses[0]).origin();
    let mut expected = orbit_path(10, -20.0, 9.0)[0].origin();
    expected[0] += 5.0;
    close(&back, &expected, 1e-3);
    // The ray of a pixel, seen through the lens again, is the pixel's middle.
    let d = camera.direction(3.5, 29.5);
    let [x, y] = camera.distortion.distort([f64::from(d[0]), f64::from(-d[1])]);
    assert!((x * camera.fx + camera.cx - 3.5).abs() < 1e-4);
    assert!((y * camera.fy + camera.cy - 29.5).abs() < 1e-4);
    assert_eq!(scene.path(&PathKind::Orbit, 7).unwrap().len(), 7);
    assert_eq!(scene.path(&PathKind::Spiral, 7).unwrap().len(), 7);

    let own = LoadOptions { near: Some(2.0), far: Some(14.0), hold_out: 0, ..LoadOptions::default() };
    let own = load(folder.path(), &own).unwrap();
    assert_eq!((own.near, own.far, own.indices(Split::Train).len()), (2.0, 14.0, 10));
    assert!((own.frames[0].pose.origin()[0] - 5.0).abs() < 1e-5);
}

#[test]
fn nerfstudio_lists_and_lenses() {
    let folder = tempfile::tempdir().unwrap();
    let lists = "\"train_filenames\": [\"./images/00.jpg\"], \"val_filenames\": [\"images/03.jpg\"], \
                 \"test_filenames\": [\"images/04.jpg\"], \"camera_model\": \"OPENCV_FISHEYE\", \"k1\": 0.1,";
    capture(folder.path(), lists);
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.indices(Split::Validate), scene.indices(Split::Test)), (vec![3], vec![4]));
    assert_eq!(scene.frames[0].camera.distortion, Distortion::Fisheye { k: [0.1, 0.0, 0.0, 0.0] });
    capture(folder.path(), "\"camera_model\": \"EQUIRECTANGULAR\",");
    let error = error_of(folder.path(), &LoadOptions::default());
    assert!(error.contains("EQUIRECTANGULAR") && error.contains("transforms.json"), "{error}");
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let error = error_of(at, &LoadOptions::default());
    for layout in ["poses_bounds.npy", "transforms_train.json", "COLMAP", "DeepVoxels"] {
        assert!(error.contains(layout), "{error}");
    }
    assert!(error_of(&at.join("nowhere"), &LoadOptions::default()).contains("nowhere"));

    capture(at, "");
    assert!(error_of(at, &LoadOptions { downscale: 0.5, ..LoadOptions::default() }).contains("0.5"));
    let backwards = LoadOptions { near: Some(3.0), far: Some(1.0), ..LoadOptions::default() };
    assert!(error_of(at, &backwards).contains("far"));
    std::fs::write(at.join("images/03.jpg"), b"\xff\xd8\xff nothing").unwrap();
    assert!(error_of(at, &LoadOptions::default()).contains("03.jpg"));
    std::fs::remove_file(at.join("images/03.jpg")).unwrap();
    assert!(error_of(at, &LoadOptions::default()).contains("03.jpg"));
    picture(&at.join("images/03.jpg"), 32, 24, 3);
    assert!(error_of(at, &LoadOptions::default()).contains("not the same shape"));

    let write = |text: &str| std::fs::write(at.join("transforms.json"), text).unwrap();
    for (text, part) in [
        ("{", "EOF"),
        ("{\"frames\": 3}", "expected a sequence"),
        ("{\"fl_x\": 1, \"frames\": []}", "no pictures"),
        ("{\"frames\": [{\"file_path\": \"a\", \"transform_matrix\": []}]}", "frame a"),
        (
            "{\"frames\": [{\"file_path\": \"a\", \"transform_matrix\": [[1,0,0,0],[0,1,0,0],[0,0,1,0]]}]}",
            "camera_angle_x",
        ),
    ] {
        write(text);
        let error = error_of(at, &LoadOptions::default());
        assert!(error.contains(part), "{error}");
    }
}

/// Cameras in a row that look along −z, as an LLFF file with its columns down, right, backward.
fn llff(folder: &Path, count: usize) -> Vec<Pose> {
    let mut values = Vec::new();
    let mut poses = Vec::new();
    for i in 0..count {
        picture(&folder.join(format!("images/{i:03}.png")), 24, 16, 3);
        let centre = glam::DVec3::new(i as f64 * 0.5, 0.1 * (i % 2) as f64, 3.0);
        let pose = Pose::facing(glam::DVec3::new(0.02 * i as f64, 0.0, 1.0), glam::DVec3::Y, centre);
        poses.push(pose);
        for (row, size) in pose.0.iter().zip([16.0, 24.0, 30.0]) {
            let [right, up, back, o] = row.map(f64::from);
            values.extend([-up, right, back, o, size]);
        }
        values.extend([4.0 + i as f64, 40.0]);
    }
    std::fs::write(folder.join("poses_bounds.npy"), npy::bytes_of(count, 17, &values)).unwrap();
    poses
}

#[test]
fn forward_facing_captures() {
    let folder = tempfile::tempdir().unwrap();
    let raw = llff(folder.path(), 9);
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.layout, scene.ndc, scene.near, scene.far), (Layout::Llff, true, 0.0, 1.0));
    assert_eq!(scene.indices(Split::Test), [0, 8]);
    // The nearest point is at 4/3, the mean camera at the origin.
    let (low, high) = scene.depths.unwrap();
    assert!((low - 4.0 / 3.0).abs() < 1e-9 && (high - 40.0 / 3.0).abs() < 1e-9);
    let poses: Vec<Pose> = scene.frames.iter().map(|f| f.pose).collect();
    close(Pose::mean(&poses).0.as_flattened(), Pose::IDENTITY.0.as_flattened(), 1e-5);
    close(scene.world.inverse().pose(&poses[4]).0.as_flattened(), raw[4].0.as_flattened(), 1e-4);
    // Rays start on the near plane, z = −1 after the warp, and run towards +1.
    let ray = scene.ray(&scene.frames[3].camera, &scene.frames[3].pose, 5, 6);
    assert!((ray.origin[2] + 1.0).abs() < 1e-5 && (ray.direction[2] - 2.0).abs() < 1e-5);
    assert!((ray.view.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(scene.path(&PathKind::Auto, 120).unwrap().len(), 120);

    let plain = LoadOptions { ndc: Some(false), hold_out: 0, downscale: 2.0, ..LoadOptions::default() };
    let plain = load(folder.path(), &plain).unwrap();
    assert!((plain.near - 1.2).abs() < 1e-5 && (plain.far - 40.0 / 3.0).abs() < 1e-4);
    assert_eq!(plain.indices(Split::Test), [4]);
    let camera = plain.frames[0].camera;
    assert_eq!((camera.width, camera.fx, camera.cx), (12, 15.0, 6.0));
    // Ready-made small pictures are preferred.
    for i in 0..9 {
        picture(&folder.path().join(format!("images_2/{i:03}.png")), 12, 8, 3);
    }
    let ready = LoadOptions { downscale: 2.0, ..LoadOptions::default() };
    assert_eq!(load(folder.path(), &ready).unwrap().frames[0].camera.fx, 15.0);

    std::fs::remove_file(folder.path().join("images/008.png")).unwrap();
    let error = error_of(folder.path(), &LoadOptions::default());
    assert!(error.contains("9 poses") && error.contains("8 pictures"), "{error}");
}

#[test]
fn spherified_captures() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = Vec::new();
    for (i, pose) in orbit_path(6, -35.0, 7.0).iter().enumerate() {
        picture(&folder.path().join(format!("images/{i}.png")), 8, 8, 3);
        for row in pose.0 {
            let [right, up, back, o] = row.map(f64::from);
            values.extend([-up, right, back, o + 2.0, 8.0]);
        }
        values.extend([5.0, 9.0]);
    }
    let file = folder.path().join("poses_bounds.npy");
    std::fs::write(&file, npy::bytes_of(6, 17, &values)).unwrap();
    let options = LoadOptions { spherify: true, ..LoadOptions::default() };
    let scene = load(folder.path(), &options).unwrap();
    assert!(!scene.ndc && scene.spherified);
    for frame in &scene.frames {
        assert!((frame.pose.centre().length() - 1.0).abs() < 1e-4);
        assert!((frame.pose.centre().normalize() - frame.pose.column(2)).length() < 1e-4);
    }
    assert!((scene.near - 0.9 * 5.0 / 7.0).abs() < 1e-3 && (scene.far - 9.0 / 7.0).abs() < 1e-3);
    let path = scene.path(&PathKind::Auto, 12).unwrap();
    assert!(path.iter().all(|p| (p.centre().length() - 1.0).abs() < 1e-5));
    let both = LoadOptions { ndc: Some(true), ..options };
    assert!(error_of(folder.path(), &both).contains("spherified"));
    values[0] = f64::NAN;
    std::fs::write(&file, npy::bytes_of(6, 17, &values)).unwrap();
    assert!(error_of(folder.path(), &LoadOptions::default()).contains("row 0"));
}

#[test]
fn deep_voxels() {
    let folder = tempfile::tempdir().unwrap();
    for split in ["train", "validation", "test"] {
        let part = folder.path().join(split).join("cube");
        std::fs::create_dir_all(part.join("pose")).unwrap();
        for (i, pose) in orbit_path(3, -30.0, 2.5).iter().enumerate() {
            picture(&part.join(format!("rgb/{i:03}.png")), 16, 16, 3);
            let rows: Vec<String> = pose.0.iter().map(|r| format!("{} {} {} {}", r[0], -r[1], -r[2], r[3])).collect();
            let text = format!("{} 0 0 0 1\n", rows.join(" "));
            std::fs::write(part.join(format!("pose/{i:03}.txt")), text).unwrap();
        }
        let text = "525.0 256.0 256.0 0.\n0. 0. 0.\n0.\n1.\n512 512\n";
        std::fs::write(part.join("intrinsics.txt"), text).unwrap();
    }
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.layout, scene.near, scene.far), (Layout::DeepVoxels, 1.5, 3.5));
    close(&scene.frames[1].pose.0.concat(), &orbit_path(3, -30.0, 2.5)[1].0.concat(), 1e-6);
    assert!((scene.frames[0].camera.fx - 525.0 / 32.0).abs() < 1e-9);
    let other = LoadOptions { shape: Some("vase".into()), ..LoadOptions::default() };
    assert!(error_of(folder.path(), &other).contains("cube"));
    std::fs::write(folder.path().join("train/cube/pose/001.txt"), "1 2 x").unwrap();
    assert!(error_of(folder.path(), &LoadOptions::default()).contains("001.txt"));
}
