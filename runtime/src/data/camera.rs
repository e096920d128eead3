//! The camera model: from a pixel to a ray.

use crate::geometry::Pose;

/// How a lens bends straight lines.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Distortion {
    /// A pinhole.
    #[default]
    None,
    /// The model of OpenCV: radial by the rational function of `k` (`k1, k2, k3` above, `k4, k5, k6`
    /// below the line), tangential by `p`.
    Radial {
        /// k1 … k6.
        k: [f64; 6],
        /// p1, p2.
        p: [f64; 2],
    },
    /// The fisheye model of OpenCV: the angle θ to the axis lands at θ(1 + k1θ² + k2θ⁴ + k3θ⁶ + k4θ⁸).
    Fisheye {
        /// k1 … k4.
        k: [f64; 4],
    },
}

impl Distortion {
    /// Where the lens puts a point of the plane at distance 1 (x right, y down).
    pub fn distort(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let r2 = x * x + y * y;
        match self {
            Distortion::None => [x, y],
            Distortion::Radial { k, p } => {
                let above = 1.0 + r2 * (k[0] + r2 * (k[1] + r2 * k[2]));
                let below = 1.0 + r2 * (k[3] + r2 * (k[4] + r2 * k[5]));
                let radial = above / below;
                [
                    x * radial + 2.0 * p[0] * x * y + p[1] * (r2 + 2.0 * x * x),
                    y * radial + p[0] * (r2 + 2.0 * y * y) + 2.0 * p[1] * x * y,
                ]
            }
            Distortion::Fisheye { k } => {
                let r = r2.sqrt();
                let scale = if r > 1e-9 { fisheye(r.atan(), k) / r } else { 1.0 };
                [x * scale, y * scale]
            }
        }
    }

    /// The point that the lens puts at `seen`: the inverse of [`Distortion::distort`] by Newton's
    /// method. Where the model has no inverse (far outside the picture) the best point found.
    pub fn undistort(&self, seen: [f64; 2]) -> [f64; 2] {
        match self {
            Distortion::None => seen,
            Distortion::Radial { .. } => self.solve_plane(seen),
            Distortion::Fisheye { k } => {
                let r = seen[0].hypot(seen[1]);
                if r < 1e-9 {
                    return seen;
                }
                let mut theta = r;
                for _ in 0..20 {
                    let t2 = theta * theta;
                    let slope = 1.0 + t2 * (3.0 * k[0] + t2 * (5.0 * k[1] + t2 * (7.0 * k[2] + t2 * 9.0 * k[3])));
                    theta -= (fisheye(theta, k) - r) / slope.max(0.1);
                }
                // The plane at distance 1 ends at a right angle.
                let scale = theta.clamp(0.0, 1.55).tan() / r;
                [seen[0] * scale, seen[1] * scale]
            }
        }
    }

    fn solve_plane(&self, seen: [f64; 2]) -> [f64; 2] {
        const STEP: f64 = 1e-6;
        let miss = |p: [f64; 2]| {
            let q = self.distort(p);
            [q[0] - seen[0], q[1] - seen[1]]
        };
        let mut best = seen;
        let mut error = miss(best);
        for _ in 0..20 {
            let dx = miss([best[0] + STEP, best[1]]);
            let dy = miss([best[0], best[1] + STEP]);
            let column = |d: [f64; 2]| [(d[0] - error[0]) / STEP, (d[1] - error[1]) / STEP];
            let (a, b) = (column(dx), column(dy));
            let determinant = a[0] * b[1] - b[0] * a[1];
            if determinant.abs() < 1e-12 {
                break;
            }
            let step =
                [(error[0] * b[1] - b[0] * error[1]) / determinant, (a[0] * error[1] - error[0] * a[1]) / determinant];
            let next = [best[0] - step[0], best[1] - step[1]];
            let missed = miss(next);
            if missed[0].hypot(missed[1]) >= error[0].hypot(error[1]) {
                break;
            }
            (best, error) = (next, missed);
        }
        best
    }
}

fn fisheye(theta: f64, k: &[f64; 4]) -> f64 {
    let t2 = theta * theta;
    theta * (1.0 + t2 * (k[0] + t2 * (k[1] + t2 * (k[2] + t2 * k[3]))))
}

/// What a camera has whatever its place: lengths in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intrinsics {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Focal length along rows.
    pub fx: f64,
    /// Focal length along columns.
    pub fy: f64,
    /// Principal point from the left.
    pub cx: f64,
    /// Principal point from the top.
    pub cy: f64,
    /// The lens.
    pub distortion: Distortion,
}

impl Intrinsics {
    /// A pinhole with the principal point in the middle and a horizontal field of view in radians.
    pub fn from_angle(width: usize, height: usize, angle: f64) -> Intrinsics {
        Intrinsics::from_focal(width, height, 0.5 * width as f64 / (0.5 * angle).tan())
    }

    /// A pinhole with the principal point in the middle.
    pub fn from_focal(width: usize, height: usize, focal: f64) -> Intrinsics {
        Intrinsics {
            width,
            height,
            fx: focal,
            fy: focal,
            cx: 0.5 * width as f64,
            cy: 0.5 * height as f64,
            distortion: Distortion::None,
        }
    }

    /// The same camera with a picture of another size.
    pub fn resized(&self, width: usize, height: usize) -> Intrinsics {
        let (sx, sy) = (width as f64 / self.width as f64, height as f64 / self.height as f64);
        Intrinsics {
            width,
            height,
            fx: self.fx * sx,
            fy: self.fy * sy,
            cx: self.cx * sx,
            cy: self.cy * sy,
            distortion: self.distortion,
        }
    }

    /// The direction of a point of the picture, in camera axes (x right, y up, z = −1): not
    /// normalised, so that a distance along it is a depth.
    pub fn direction(&self, column: f64, row: f64) -> [f32; 3] {
        let seen = [(column - self.cx) / self.fx, (row - self.cy) / self.fy];
        let [x, y] = self.distortion.undistort(seen);
        [x as f32, -y as f32, -1.0]
    }
}

/// A ray: the point at depth `t` is `origin + t · direction`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ray {
    /// Where it starts.
    pub origin: [f32; 3],
    /// Not normalised.
    pub direction: [f32; 3],
    /// The unit direction in the world, taken before any warp.
    pub view: [f32; 3],
}

impl Ray {
    /// The ray of a direction in camera axes.
    pub fn new(pose: &Pose, direction: [f32; 3]) -> Ray {
        let direction = pose.direction(direction);
        let length = direction.iter().map(|v| v * v).sum::<f32>().sqrt();
        Ray { origin: pose.origin(), direction, view: direction.map(|v| v / length) }
    }
}

/// Many rays, each array `[ray][3]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rays {
    /// Where rays start.
    pub origins: Vec<f32>,
    /// Their directions, not normalised.
    pub directions: Vec<f32>,
    /// Their unit directions in the world, taken before any warp.
    pub views: Vec<f32>,
}

impl Rays {
    /// Adds a ray.
    pub fn push(&mut self, ray: &Ray) {
        self.origins.extend(ray.origin);
        self.directions.extend(ray.direction);
        self.views.extend(ray.view);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.origins.len() / 3
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }
}

/// Origin and direction in the normalised device coordinates of a camera of `width` by `height`
/// pixels and focal length `focal`, near plane 1: what lies before the camera becomes a cube, and
/// depths 1 to infinity become 0 to 1 along the new ray. (NeRF, appendix C.)
pub fn normalised_device_ray(
    (width, height): (usize, usize),
    focal: f64,
    origin: [f32; 3],
    direction: [f32; 3],
) -> ([f32; 3], [f32; 3]) {
    const NEAR: f32 = 1.0;
    let t = -(NEAR + origin[2]) / direction[2];
    let o = [0, 1, 2].map(|k| origin[k] + t * direction[k]);
    let d = direction;
    let across = -(focal / (0.5 * width as f64)) as f32;
    let down = -(focal / (0.5 * height as f64)) as f32;
    let twice = 2.0 * NEAR / o[2];
    (
        [across * o[0] / o[2], down * o[1] / o[2], 1.0 + twice],
        [across * (d[0] / d[2] - o[0] / o[2]), down * (d[1] / d[2] - o[1] / o[2]), -twice],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warp_is_nerfs() {
        let (o, d) = normalised_device_ray((504, 378), 400.0, [0.1, -0.2, 0.3], [0.25, -0.1, -1.0]);
        let expected = ([0.674603, -0.698413, -1.0], [-0.277778, 0.486772, 2.0]);
        for (a, b) in o.iter().chain(&d).zip(expected.0.iter().chain(&expected.1)) {
            assert!((a - b).abs() < 1e-5, "{o:?} {d:?}");
        }
    }

    #[test]
    fn pixels_look_where_nerf_says() {
        let camera = Intrinsics::from_angle(800, 600, 0.6911112070083618);
        assert!((camera.fx - 1111.1110311937682).abs() < 1e-9);
        let d = camera.direction(0.0, 0.0);
        assert!((d[0] + 400.0 / 1111.111).abs() < 1e-6 && (d[1] - 300.0 / 1111.111).abs() < 1e-6);
        assert_eq!(d[2], -1.0);
        let ray = Ray::new(&crate::geometry::pose_spherical(30.0, -30.0, 4.0), [0.0, 0.0, -1.0]);
        // The middle of the picture looks at the origin.
        for k in 0..3 {
            assert!((ray.origin[k] + 4.0 * ray.view[k]).abs() < 1e-5);
        }
        let half = camera.resized(400, 300);
        assert_eq!((half.fx, half.cx, half.cy), (camera.fx / 2.0, 200.0, 150.0));
    }

    #[test]
    fn undistortion_inverts_distortion() {
        let lenses = [
            Distortion::None,
            Distortion::Radial { k: [-0.25, 0.08, -0.01, 0.0, 0.0, 0.0], p: [0.001, -0.002] },
            Distortion::Radial { k: [0.3, 0.1, 0.02, 0.05, 0.01, 0.001], p: [0.0, 0.0] },
            Distortion::Fisheye { k: [0.02, -0.01, 0.003, -0.0005] },
        ];
        for lens in lenses {
            for i in 0..100 {
                let p = [f64::from(i % 10) * 0.14 - 0.63, f64::from(i / 10) * 0.14 - 0.63];
                let q = lens.undistort(lens.distort(p));
                assert!((p[0] - q[0]).hypot(p[1] - q[1]) < 1e-7, "{lens:?} {p:?} {q:?}");
            }
        }
        // Beyond the model's fold: still numbers.
        let fold = Distortion::Radial { k: [-0.9, 0.0, 0.0, 0.0, 0.0, 0.0], p: [0.0; 2] };
        assert!(fold.undistort([5.0, 5.0]).iter().all(|v| v.is_finite()));
    }
}
