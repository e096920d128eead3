//! Signed distances of simple solids, and their blends: negative inside.
//!
//! The ellipsoid is the usual first-order bound; `k` of a blend is the distance over which it acts.

use glam::{Vec2, Vec3};

pub fn sphere(p: Vec3, centre: Vec3, radius: f32) -> f32 {
    (p - centre).length() - radius
}

pub fn ellipsoid(p: Vec3, centre: Vec3, radii: Vec3) -> f32 {
    let q = (p - centre) / radii;
    let (scaled, gradient) = (q.length(), (q / radii).length());
    if gradient > 1e-9 { scaled * (scaled - 1.0) / gradient } else { -radii.min_element() }
}

/// A rod from `a` to `b` whose radius runs from `ra` to `rb`.
pub fn rod(p: Vec3, a: Vec3, b: Vec3, ra: f32, rb: f32) -> f32 {
    let (pa, ba) = (p - a, b - a);
    let t = (pa.dot(ba) / ba.length_squared()).clamp(0.0, 1.0);
    (pa - ba * t).length() - (ra + (rb - ra) * t)
}

/// The lens where two circles of the plane overlap: pointed at `(±half_width, 0)`, reaching up to
/// `above` and down to `below`.
pub fn almond(p: Vec2, half_width: f32, above: f32, below: f32) -> f32 {
    let circle = |height: f32, side: f32| {
        let radius = (half_width * half_width + height * height) / (2.0 * height);
        (p - Vec2::new(0.0, side * (height - radius))).length() - radius
    };
    circle(above, 1.0).max(circle(below, -1.0))
}

pub fn union(a: f32, b: f32, k: f32) -> f32 {
    let h = (k - (a - b).abs()).max(0.0) / k;
    a.min(b) - h * h * k * 0.25
}

/// What is in `a` and not in `b`.
pub fn difference(a: f32, b: f32, k: f32) -> f32 {
    -union(-a, b, k)
}

/// 0 below `low`, 1 above `high`, smooth between; also for `high < low`.
pub fn ramp(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_points_on_axes() {
        assert_eq!(sphere(Vec3::X * 3.0, Vec3::ZERO, 1.0), 2.0);
        assert!((ellipsoid(Vec3::Y * 2.0, Vec3::ZERO, Vec3::new(0.5, 1.0, 0.7)) - 1.0).abs() < 0.5);
        assert!(ellipsoid(Vec3::ZERO, Vec3::ZERO, Vec3::ONE) < 0.0);
        assert!((rod(Vec3::Y, Vec3::ZERO, Vec3::X, 0.2, 0.4) - 0.8).abs() < 1e-6);
        assert!(almond(Vec2::new(1.0, 0.0), 1.0, 0.4, 0.3).abs() < 1e-5);
        assert!(almond(Vec2::new(0.0, 0.4), 1.0, 0.4, 0.3).abs() < 1e-5);
        assert!(almond(Vec2::new(0.0, -0.3), 1.0, 0.4, 0.3).abs() < 1e-5);
    }

    #[test]
    fn blends_lie_beside_the_sharp_ones() {
        assert!(union(0.3, 0.3, 0.2) < 0.3 && union(0.0, 1.0, 0.2) == 0.0);
        assert!(difference(0.1, -0.1, 0.2) > 0.1);
        assert_eq!((ramp(0.0, 1.0, 0.5), ramp(1.0, 0.0, 2.0)), (0.5, 0.0));
    }
}
