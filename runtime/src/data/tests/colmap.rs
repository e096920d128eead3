use super::*;
use crate::data::colmap::pose_of;
use crate::data::colmap_files::{Camera, Image, MODELS, Sparse, read};
use crate::geometry::orbit_path;

/// World to camera of a pose, in COLMAP's axes.
fn image(name: &str, camera: u32, pose: &Pose, points: Vec<u64>) -> Image {
    let r = glam::DMat3::from_cols(pose.column(0), -pose.column(1), -pose.column(2)).transpose();
    let q = glam::DQuat::from_mat3(&r);
    let translation = (-(r * pose.centre())).to_array();
    Image { name: name.into(), camera, rotation: [q.w, q.x, q.y, q.z], translation, points }
}

/// Three cameras about a cloud of points, with identifiers that have gaps.
fn model(kind: &str, parameters: &[f64]) -> Sparse {
    let model = MODELS.iter().find(|m| m.name == kind).unwrap();
    let camera = Camera { model, width: 20, height: 16, parameters: parameters.to_vec() };
    let mut sparse = Sparse::default();
    sparse.cameras.insert(7, camera);
    for i in 0..50u64 {
        let t = i as f64;
        sparse.points.insert(3 * i + 2, [0.5 * t.sin(), 0.5 * (1.7 * t).cos(), 0.5 * (0.3 * t).sin()]);
    }
    for (i, pose) in orbit_path(9, -25.0, 6.0).iter().enumerate() {
        let points = sparse.points.keys().copied().collect();
        sparse.images.insert(10 * i as u32 + 3, image(&format!("shot {i}.png"), 7, pose, points));
    }
    sparse
}

fn write_binary(folder: &Path, sparse: &Sparse) {
    std::fs::create_dir_all(folder).unwrap();
    let mut out = (sparse.cameras.len() as u64).to_le_bytes().to_vec();
    for (id, camera) in &sparse.cameras {
        let number = MODELS.iter().position(|m| m.name == camera.model.name).unwrap() as i32;
        out.extend(id.to_le_bytes());
        out.extend(number.to_le_bytes());
        out.extend(camera.width.to_le_bytes());
        out.extend(camera.height.to_le_bytes());
        camera.parameters.iter().for_each(|p| out.extend(p.to_le_bytes()));
    }
    std::fs::write(folder.join("cameras.bin"), &out).unwrap();
    out = (sparse.images.len() as u64).to_le_bytes().to_vec();
    for (id, image) in &sparse.images {
        out.extend(id.to_le_bytes());
        image.rotation.iter().chain(&image.translation).for_each(|v| out.extend(v.to_le_bytes()));
        out.extend(image.camera.to_le_bytes());
        out.extend(image.name.bytes());
        out.push(0);
        out.extend((image.points.len() as u64 + 1).to_le_bytes());
        // A feature without a point among the others.
        for point in image.points.iter().copied().chain([u64::MAX]) {
            out.extend([0; 16]);
            out.extend(point.to_le_bytes());
        }
    }
    std::fs::write(folder.join("images.bin"), &out).unwrap();
    out = (sparse.points.len() as u64).to_le_bytes().to_vec();
    for (id, point) in &sparse.points {
        out.extend(id.to_le_bytes());
        point.iter().for_each(|v| out.extend(v.to_le_bytes()));
        out.extend([0; 11]);
        out.extend(1u64.to_le_bytes());
        out.extend([0; 8]);
    }
    std::fs::write(folder.join("points3D.bin"), &out).unwrap();
}

fn write_text(folder: &Path, sparse: &Sparse) {
    std::fs::create_dir_all(folder).unwrap();
    let words = |v: &[f64]| v.iter().map(|x| format!("{x:?}")).collect::<Vec<_>>().join(" ");
    let mut out = String::from("# Camera list\n");
    for (id, c) in &sparse.cameras {
        out += &format!("{id} {} {} {} {}\n", c.model.name, c.width, c.height, words(&c.parameters));
    }
    std::fs::write(folder.join("cameras.txt"), &out).unwrap();
    out = String::from("# Image list with two lines of data per image:\n");
    for (id, i) in &sparse.images {
        out += &format!("{id} {} {} {} {}\n", words(&i.rotation), words(&i.translation), i.camera, i.name);
        i.points.iter().for_each(|p| out += &format!("1.5 2.5 {p} "));
        out += "3 4 -1\n";
    }
    std::fs::write(folder.join("images.txt"), &out).unwrap();
    out = String::from("# 3D point list\n");
    for (id, p) in &sparse.points {
        out += &format!("{id} {} 255 0 0 0.5 3 0\n", words(p));
    }
    std::fs::write(folder.join("points3D.txt"), &out).unwrap();
}

#[test]
fn binary_and_text_hold_the_same() {
    for (kind, count) in [
        ("SIMPLE_PINHOLE", 3),
        ("PINHOLE", 4),
        ("SIMPLE_RADIAL", 4),
        ("RADIAL", 5),
        ("OPENCV", 8),
        ("OPENCV_FISHEYE", 8),
        ("FULL_OPENCV", 12),
        ("FOV", 5),
        ("SIMPLE_RADIAL_FISHEYE", 4),
        ("RADIAL_FISHEYE", 5),
        ("THIN_PRISM_FISHEYE", 12),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let parameters: Vec<f64> = (0..count).map(|i| 20.0 + f64::from(i)).collect();
        let sparse = model(kind, &parameters);
        write_binary(&folder.path().join("b"), &sparse);
        write_text(&folder.path().join("t"), &sparse);
        assert_eq!(read(&folder.path().join("b")).unwrap(), sparse);
        assert_eq!(read(&folder.path().join("t")).unwrap(), sparse);
        let lens = sparse.cameras[&7].intrinsics();
        assert_eq!(lens.is_err(), ["FOV", "THIN_PRISM_FISHEYE"].contains(&kind), "{kind}");
    }
    let full = model("FULL_OPENCV", &[1.0, 2.0, 3.0, 4.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
    let lens = full.cameras[&7].intrinsics().unwrap();
    assert_eq!((lens.fx, lens.fy, lens.cx, lens.cy), (1.0, 2.0, 3.0, 4.0));
    let expected = Distortion::Radial { k: [0.1, 0.2, 0.5, 0.6, 0.7, 0.8], p: [0.3, 0.4] };
    assert_eq!(lens.distortion, expected);
}

#[test]
fn a_model_is_a_scene() {
    let folder = tempfile::tempdir().unwrap();
    let sparse = model("SIMPLE_RADIAL", &[40.0, 10.0, 8.0, 0.01]);
    for image in sparse.images.values() {
        picture(&folder.path().join("images").join(&image.name), 10, 8, 3);
    }
    write_binary(&folder.path().join("sparse/0"), &sparse);
    let scene = load(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((scene.layout, scene.pixel_centre), (Layout::Colmap, PixelCentre::Middle));
    assert_eq!((scene.frames.len(), scene.indices(Split::Test)), (9, vec![0, 8]));
    assert_eq!(scene.frames[0].camera.fx, 20.0);
    // Poses come back from COLMAP's axes; upright, at a distance of 4.
    let raw = orbit_path(9, -25.0, 6.0);
    let pose = pose_of(&sparse.images[&23]).unwrap();
    close(&pose.0.concat(), &raw[2].0.concat(), 1e-5);
    let frame = scene.frames.iter().find(|f| f.name == "shot 2.png").unwrap();
    assert!((frame.pose.centre().length() - 4.0).abs() < 1e-3);
    close(&scene.world.inverse().pose(&frame.pose).0.concat(), &raw[2].0.concat(), 1e-4);
    // Points lie within 0.9 of the origin, cameras at 6: scaled by 2/3.
    assert!(scene.near > 2.5 && scene.near < 4.0 && scene.far > 4.0 && scene.far < 5.0);

    write_text(&folder.path().join("other/sparse"), &sparse);
    std::fs::rename(folder.path().join("images"), folder.path().join("other/images")).unwrap();
    let text = load(&folder.path().join("other"), &LoadOptions::default()).unwrap();
    assert_eq!(text.frames[3].pose, scene.frames[3].pose);
    assert!(error_of(folder.path(), &LoadOptions::default()).contains("shot"));
}

#[test]
fn damaged_models_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut sparse = model("PINHOLE", &[40.0, 40.0, 10.0, 8.0]);
    write_binary(at, &sparse);
    for name in ["cameras.bin", "images.bin", "points3D.bin"] {
        let path = at.join(name);
        let good = std::fs::read(&path).unwrap();
        for end in (0..good.len().min(300)).chain([good.len() - 1]) {
            std::fs::write(&path, &good[..end]).unwrap();
            let error = read(at).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let mut huge = good.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        std::fs::write(&path, &huge).unwrap();
        assert!(read(at).unwrap_err().to_string().contains("more than the file can hold"));
        std::fs::write(&path, [&good[..], b"x"].concat()).unwrap();
        assert!(read(at).unwrap_err().to_string().contains("left over"));
        std::fs::write(&path, good).unwrap();
    }
    sparse.images.get_mut(&3).unwrap().camera = 1;
    write_binary(at, &sparse);
    assert!(error_of(at, &LoadOptions::default()).contains("camera 1 is not in the model"));
    sparse.images.get_mut(&3).unwrap().rotation = [0.0; 4];
    assert!(pose_of(&sparse.images[&3]).is_err());

    let text = tempfile::tempdir().unwrap();
    write_text(text.path(), &sparse);
    for (name, contents, part) in [
        ("cameras.txt", "1 PINHOLE 20 16 40\n", "4 parameters"),
        ("cameras.txt", "1 CONE 20 16 40\n", "CONE"),
        ("cameras.txt", "# comment\n1 PINHOLE x 16 40\n", "line 2"),
    ] {
        std::fs::write(text.path().join(name), contents).unwrap();
        let error = read(text.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part), "{error}");
    }
}
