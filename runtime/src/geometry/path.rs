//! Camera paths: round a scene, before it, along given views, from a file.

use std::f64::consts::TAU;
use std::path::Path;

use glam::{DMat3, DQuat, DVec3};

use super::Pose;
use crate::data::DataError;

/// A camera on a sphere about the origin, looking at it: NeRF's `pose_spherical`. Angles in degrees;
/// a negative elevation `phi` looks down from above; `theta` = 0 is on the +y side.
pub fn pose_spherical(theta: f64, phi: f64, radius: f64) -> Pose {
    let (sin_t, cos_t) = theta.to_radians().sin_cos();
    let (sin_p, cos_p) = phi.to_radians().sin_cos();
    // S · Rθ · Rφ · Tz(r), by columns.
    let swap = |v: DVec3| DVec3::new(-v.x, v.z, v.y);
    let turn = |v: DVec3| DVec3::new(cos_t * v.x - sin_t * v.z, v.y, sin_t * v.x + cos_t * v.z);
    let tilt = |v: DVec3| DVec3::new(v.x, cos_p * v.y - sin_p * v.z, sin_p * v.y + cos_p * v.z);
    let column = |v: DVec3| swap(turn(tilt(v)));
    let back = column(DVec3::Z);
    Pose::from_columns(column(DVec3::X), column(DVec3::Y), back, back * radius)
}

/// One turn about the vertical axis through the origin, looking at the origin: `count` poses of
/// [`pose_spherical`] with θ = −180° + 360°·i/count. NeRF renders 40 of them, φ = −30°, radius 4.
pub fn orbit_path(count: usize, phi: f64, radius: f64) -> Vec<Pose> {
    (0..count).map(|i| pose_spherical(-180.0 + 360.0 * i as f64 / count as f64, phi, radius)).collect()
}

/// The path of a spherified LLFF scene, whose cameras lie on the unit sphere about the origin: a circle
/// at their mean height, backward along the position, up (0, 0, −1).
pub fn circle_path(poses: &[Pose], count: usize) -> Vec<Pose> {
    let height = poses.iter().map(|p| p.centre().z).sum::<f64>() / poses.len().max(1) as f64;
    let radius = (1.0 - height * height).max(0.0).sqrt();
    // The last of `count` evenly spaced angles closes the circle and is left out.
    (0..count)
        .map(|i| {
            let (sin, cos) = (TAU * i as f64 / count as f64).sin_cos();
            let centre = DVec3::new(radius * cos, radius * sin, height);
            Pose::facing(centre, DVec3::NEG_Z, centre)
        })
        .collect()
}

/// LLFF's spiral before a forward-facing scene: `turns` turns of `count` poses in all about the mean
/// camera, within the 90th percentile of the cameras' offsets, all looking at one point in the depth
/// between `close` and `far` (in the world's unit) that weighs close things three times.
pub fn spiral_path(poses: &[Pose], close: f64, far: f64, count: usize, turns: usize) -> Vec<Pose> {
    let mean = Pose::mean(poses);
    let up: DVec3 = poses.iter().map(|p| p.column(1)).sum();
    let focus = 1.0 / (0.25 / close + 0.75 / far);
    let axis = |k: usize| percentile(&poses.iter().map(|p| p.centre()[k].abs()).collect::<Vec<_>>(), 90.0);
    let radii = DVec3::new(axis(0), axis(1), axis(2));
    let place = |p: DVec3| mean.rotation() * p + mean.centre();
    (0..count)
        .map(|i| {
            let theta = TAU * turns as f64 * i as f64 / count as f64;
            let offset = DVec3::new(theta.cos(), -theta.sin(), -(theta * 0.5).sin()) * radii;
            let centre = place(offset);
            Pose::facing(centre - place(DVec3::new(0.0, 0.0, -focus)), up, centre)
        })
        .collect()
}

/// A smooth path of `count` poses through given ones, in their order: centres on a Catmull-Rom
/// spline, orientations turned along the shortest way.
pub fn interpolated_path(poses: &[Pose], count: usize) -> Vec<Pose> {
    let [first, .., last] = poses else {
        return poses.iter().copied().cycle().take(if poses.is_empty() { 0 } else { count }).collect();
    };
    let segments = poses.len() - 1;
    let at = |i: isize| match i {
        ..0 => first,
        i if i as usize > segments => last,
        i => &poses[i as usize],
    };
    (0..count)
        .map(|i| {
            let t = segments as f64 * i as f64 / (count.max(2) - 1) as f64;
            let segment = (t as usize).min(segments - 1) as isize;
            let t = t - segment as f64;
            let [a, b, c, d] = [-1, 0, 1, 2].map(|k| at(segment + k).centre());
            let centre = 0.5
                * (2.0 * b
                    + t * (c - a)
                    + t * t * (2.0 * a - 5.0 * b + 4.0 * c - d)
                    + t * t * t * (3.0 * b - 3.0 * c + d - a));
            let turn = |k: isize| DQuat::from_mat3(&at(segment + k).rotation());
            let r = DMat3::from_quat(turn(0).slerp(turn(1), t).normalize());
            Pose::from_columns(r.x_axis, r.y_axis, r.z_axis, centre)
        })
        .collect()
}

/// The point nearest, in the least-squares sense, to all optical axes; the mean centre where the axes
/// are parallel.
pub fn focus_point(poses: &[Pose]) -> DVec3 {
    let mut sum = DMat3::ZERO;
    let mut target = DVec3::ZERO;
    for pose in poses {
        let axis = pose.column(2);
        let across = DMat3::IDENTITY - DMat3::from_cols(axis * axis.x, axis * axis.y, axis * axis.z);
        sum += across;
        target += across * pose.centre();
    }
    let n = poses.len().max(1) as f64;
    let solvable = sum.determinant().abs() > 1e-6 * n * n * n;
    if solvable { sum.inverse() * target } else { poses.iter().map(|p| p.centre()).sum::<DVec3>() / n }
}

/// Reads a path: a JSON list of 3x4 or 4x4 camera-to-world matrices, bare or as `frames[]` with
/// `transform_matrix` as in `transforms.json`.
///
/// # Errors
/// A file that is missing, is not JSON, holds no poses or holds matrices that are none.
pub fn load_path(path: &Path) -> Result<Vec<Pose>, DataError> {
    let text = std::fs::read_to_string(path).map_err(DataError::io(path))?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|e| DataError::format(path, format!("not JSON: {e}")))?;
    let shape = "a camera path is a list of 4x4 matrices, or an object with frames[].transform_matrix";
    let list = match &value {
        serde_json::Value::Array(list) => list,
        other => other.get("frames").and_then(|f| f.as_array()).ok_or_else(|| DataError::format(path, shape))?,
    };
    if list.is_empty() {
        return Err(DataError::format(path, "the path has no poses"));
    }
    list.iter()
        .enumerate()
        .map(|(i, entry)| {
            let matrix = entry.get("transform_matrix").unwrap_or(entry);
            let rows: Vec<Vec<f64>> = serde_json::from_value(matrix.clone())
                .map_err(|_| DataError::format(path, format!("entry {i} is no matrix: {shape}")))?;
            Pose::from_matrix(&rows).map_err(|e| DataError::format(path, format!("entry {i}: {e}")))
        })
        .collect()
}

/// The value below which `percent` of the values lie, linear between neighbours; 0 for none.
pub(crate) fn percentile(values: &[f64], percent: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = percent / 100.0 * last as f64;
    let below = (place as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spherical_pose_is_nerfs() {
        let pose = pose_spherical(30.0, -30.0, 4.0);
        let expected = [[-0.866025, -0.25, 0.433013, 1.732051], [0.5, -0.433013, 0.75, 3.0], [0.0, 0.866025, 0.5, 2.0]];
        for (a, b) in pose.0.iter().flatten().zip(expected.iter().flatten()) {
            assert!((a - b).abs() < 1e-6, "{pose:?}");
        }
        let path = orbit_path(40, -30.0, 4.0);
        assert_eq!(path[0], pose_spherical(-180.0, -30.0, 4.0));
        assert_eq!(path[39], pose_spherical(171.0, -30.0, 4.0));
    }

    #[test]
    fn axes_meet_in_the_focus() {
        let target = DVec3::new(0.3, -0.7, 0.2);
        let poses: Vec<Pose> = (0..9)
            .map(|i| Pose::look_at(target + pose_spherical(f64::from(i) * 17.0, -20.0, 3.0).centre(), target, DVec3::Z))
            .collect();
        assert!((focus_point(&poses) - target).length() < 1e-5);
        let parallel: Vec<Pose> = (0..3).map(|i| Pose::facing(DVec3::Z, DVec3::Y, DVec3::X * f64::from(i))).collect();
        assert!((focus_point(&parallel) - DVec3::X).length() < 1e-9);
    }

    #[test]
    fn a_spiral_keeps_its_focus_and_its_radii() {
        let poses: Vec<Pose> = (0..20)
            .map(|i| Pose::facing(DVec3::Z, DVec3::Y, DVec3::new(f64::from(i % 5) - 2.0, f64::from(i / 5) - 1.5, 0.0)))
            .collect();
        let path = spiral_path(&poses, 1.2, 20.0, 120, 2);
        assert_eq!(path.len(), 120);
        let focus = DVec3::new(0.0, 0.0, -1.0 / (0.25 / 1.2 + 0.75 / 20.0));
        for pose in &path {
            assert!((pose.centre() - focus).normalize().dot(pose.column(2)) > 1.0 - 1e-6);
            assert!(pose.centre().x.abs() <= 2.0 + 1e-6);
        }
        let start = path[0].centre();
        assert!((start - DVec3::new(2.0, 0.0, 0.0)).length() < 1e-5, "{start}");
    }

    #[test]
    fn circle_and_interpolation() {
        let ring = circle_path(&[Pose::facing(DVec3::Z, DVec3::Y, DVec3::new(0.8, 0.0, 0.6))], 8);
        assert!(ring.iter().all(|p| (p.centre().length() - 1.0).abs() < 1e-6));
        assert!((ring[0].column(2) - DVec3::new(0.8, 0.0, 0.6)).length() < 1e-6);

        let poses = orbit_path(6, -20.0, 4.0);
        let path = interpolated_path(&poses, 11);
        for (i, pose) in poses.iter().enumerate() {
            assert!((path[2 * i].centre() - pose.centre()).length() < 1e-5);
            assert!((path[2 * i].column(0) - pose.column(0)).length() < 1e-5);
        }
        assert_eq!(interpolated_path(&poses[..1], 3), vec![poses[0]; 3]);
        assert!(interpolated_path(&[], 3).is_empty());
    }

    #[test]
    fn paths_are_read_from_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("path.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            load_path(&path)
        };
        let matrix = "[[1,0,0,5],[0,1,0,6],[0,0,1,7],[0,0,0,1]]";
        let bare = read(&format!("[{matrix}, {matrix}]")).unwrap();
        assert_eq!(bare[1].origin(), [5.0, 6.0, 7.0]);
        let framed = format!("{{\"frames\": [{{\"transform_matrix\": {matrix}}}]}}");
        assert_eq!(read(&framed).unwrap(), bare[..1]);
        for bad in ["", "[]", "{}", "[[[1,2],[3]]]", "[3]", "[[[0,0,0,0],[0,0,0,0],[0,0,0,0]]]"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains("path.json"), "{error}");
        }
    }

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 50.0), 2.5);
        assert_eq!(percentile(&[1.0], 90.0), 1.0);
        assert_eq!(percentile(&[], 90.0), 0.0);
    }
}
