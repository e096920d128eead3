//! Coordinates that suit a field: the subject at the origin, cameras at a distance of 4.

use glam::{DMat3, DQuat, DVec3};

use crate::geometry::{Pose, Similarity, focus_point};

/// The mean distance of cameras from their subject, as in NeRF's synthetic scenes.
pub const DISTANCE: f64 = 4.0;

/// Moves the point that the cameras look at to the origin and scales their mean distance from it to
/// [`DISTANCE`]. With `upright`, the mean up direction of the cameras is turned to +z first.
///
/// Where the axes do not meet before the cameras (a forward-facing capture), the subject is taken to
/// lie before the mean camera, three times as far as the cameras are spread.
pub fn normalise(poses: &[Pose], upright: bool) -> Similarity {
    let up: DVec3 = poses.iter().map(|p| p.column(1)).sum();
    let rotation = if upright && up.length() > 1e-6 {
        DMat3::from_quat(DQuat::from_rotation_arc(up.normalize(), DVec3::Z))
    } else {
        DMat3::IDENTITY
    };
    let mean = Pose::mean(poses);
    let n = poses.len().max(1) as f64;
    let spread = poses.iter().map(|p| (p.centre() - mean.centre()).length()).sum::<f64>() / n;
    let mut focus = focus_point(poses);
    let before = |focus: DVec3| poses.iter().filter(|p| (focus - p.centre()).dot(p.column(2)) < 0.0).count() as f64 / n;
    let far = (focus - mean.centre()).length() > 20.0 * spread.max(1e-9);
    if before(focus) < 0.8 || far || spread < 1e-9 {
        focus = mean.centre() - mean.column(2) * if spread > 1e-9 { 3.0 * spread } else { 1.0 };
    }
    let distance = poses.iter().map(|p| (p.centre() - focus).length()).sum::<f64>() / n;
    let scale = DISTANCE / distance.max(1e-9);
    Similarity { scale, rotation, shift: -(scale * (rotation * focus)) }
}

/// Depths between which the subject of normalised poses lies. An object without surroundings stays
/// within half the mean distance of the origin; a real place is taken from 0.3 of the nearest to 1.75
/// of the mean distance.
pub fn guess_depths(poses: &[Pose], object: bool) -> (f32, f32) {
    let distances = || poses.iter().map(|p| p.centre().length());
    let nearest = distances().fold(f64::INFINITY, f64::min);
    let farthest = distances().fold(0.0, f64::max);
    let (near, far) = if object {
        ((nearest - DISTANCE / 2.0).max(0.1), farthest + DISTANCE / 2.0)
    } else {
        (0.3 * nearest, (1.75 * DISTANCE).max(1.2 * farthest))
    };
    (near as f32, far as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cameras_end_at_the_distance() {
        let target = DVec3::new(10.0, -3.0, 2.0);
        let up = DVec3::new(0.2, -1.0, 0.1).normalize();
        let poses: Vec<Pose> = (0..12)
            .map(|i| {
                let angle = f64::from(i) * 0.5;
                let eye = target + 30.0 * DVec3::new(angle.cos(), 0.1, angle.sin());
                Pose::look_at(eye, target, up)
            })
            .collect();
        let map = normalise(&poses, true);
        let moved: Vec<Pose> = poses.iter().map(|p| map.pose(p)).collect();
        assert!(map.point(target).length() < 1e-4);
        let mean = moved.iter().map(|p| p.centre().length()).sum::<f64>() / 12.0;
        assert!((mean - DISTANCE).abs() < 1e-5);
        let up: DVec3 = moved.iter().map(|p| p.column(1)).sum();
        assert!(up.normalize().z > 0.999);
        let (near, far) = guess_depths(&moved, true);
        assert!((near - 2.0).abs() < 0.01 && (far - 6.0).abs() < 0.01);
    }

    #[test]
    fn parallel_cameras_get_a_subject_before_them() {
        let poses: Vec<Pose> =
            (0..6).map(|i| Pose::facing(DVec3::Z, DVec3::Y, DVec3::new(f64::from(i), 0.0, 0.0))).collect();
        let map = normalise(&poses, false);
        let focus = map.inverse().point(DVec3::ZERO);
        assert!(focus.z < -1.0 && (focus.x - 2.5).abs() < 1e-6, "{focus}");
    }
}
