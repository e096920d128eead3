//! A camera's place and orientation.

use glam::{DMat3, DVec3};

/// Camera to world: rows of `[R | o]`. The columns of `R` are the camera's right, up and backward
/// directions in the world, `o` is its centre.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose(pub [[f32; 4]; 3]);

impl Pose {
    /// A camera at the origin looking along −z.
    pub const IDENTITY: Pose = Pose([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);

    /// From the directions right, up and backward, and the centre.
    pub fn from_columns(right: DVec3, up: DVec3, backward: DVec3, centre: DVec3) -> Pose {
        Pose([0, 1, 2].map(|i| [right[i], up[i], backward[i], centre[i]].map(|v| v as f32)))
    }

    /// A camera at `eye` looking at `target`, its up direction as close to `up` as that allows.
    pub fn look_at(eye: DVec3, target: DVec3, up: DVec3) -> Pose {
        Pose::facing(eye - target, up, eye)
    }

    /// A camera at `centre` with a given backward direction.
    pub fn facing(backward: DVec3, up: DVec3, centre: DVec3) -> Pose {
        let z = backward.normalize_or(DVec3::Z);
        let x = up.cross(z);
        let x = if x.length_squared() > 1e-16 { x.normalize() } else { z.any_orthonormal_vector() };
        Pose::from_columns(x, z.cross(x), z, centre)
    }

    /// The mean of poses: mean centre, backward direction the normalised sum of backward directions,
    /// up from the sum of up directions (LLFF's `poses_avg`).
    pub fn mean(poses: &[Pose]) -> Pose {
        let sum = |column: usize| poses.iter().map(|p| p.column(column)).sum::<DVec3>();
        Pose::facing(sum(2), sum(1), sum(3) / poses.len().max(1) as f64)
    }

    /// Column 0 right, 1 up, 2 backward, 3 centre.
    pub fn column(&self, index: usize) -> DVec3 {
        DVec3::from(self.0.map(|row| f64::from(row[index])))
    }

    /// The camera's centre in the world.
    pub fn centre(&self) -> DVec3 {
        self.column(3)
    }

    /// The rotation part.
    pub fn rotation(&self) -> DMat3 {
        DMat3::from_cols(self.column(0), self.column(1), self.column(2))
    }

    /// A direction of the camera in the world.
    pub fn direction(&self, d: [f32; 3]) -> [f32; 3] {
        self.0.map(|r| r[0] * d[0] + r[1] * d[1] + r[2] * d[2])
    }

    /// The camera's centre as `f32`.
    pub fn origin(&self) -> [f32; 3] {
        self.0.map(|r| r[3])
    }

    /// `self · other`: `other` is given in the coordinates of `self`.
    pub fn then(&self, other: &Pose) -> Pose {
        let r = self.rotation();
        Pose::from_columns(
            r * other.column(0),
            r * other.column(1),
            r * other.column(2),
            r * other.centre() + self.centre(),
        )
    }

    /// World to camera.
    pub fn inverse(&self) -> Pose {
        let r = self.rotation().transpose();
        Pose::from_columns(r.x_axis, r.y_axis, r.z_axis, -(r * self.centre()))
    }

    /// The first three rows of a 4x4 matrix.
    ///
    /// # Errors
    /// A sentence that says what is not a rigid camera-to-world matrix.
    pub fn from_matrix(rows: &[Vec<f64>]) -> Result<Pose, String> {
        if !(3..=4).contains(&rows.len()) || rows.iter().any(|r| r.len() != 4) {
            let lengths: Vec<usize> = rows.iter().map(Vec::len).collect();
            return Err(format!("a pose has 3 or 4 rows of 4 numbers; the rows here have {lengths:?}"));
        }
        if rows.iter().flatten().any(|v| !v.is_finite()) {
            return Err("a pose holds a number that is not finite".into());
        }
        let column = |k: usize| DVec3::new(rows[0][k], rows[1][k], rows[2][k]);
        // A scaled rotation is accepted as its rotation: some exporters leave the scene's scale in it.
        let (x, y, z) = (column(0), column(1), column(2));
        let volume = x.dot(y.cross(z));
        let size = volume.abs().cbrt();
        if size < 1e-9 || volume < 0.0 {
            return Err("the left 3x3 part of a pose is not a rotation: its determinant is not positive".into());
        }
        let r = DMat3::from_cols(x, y, z) * (1.0 / size);
        let off = r.transpose() * r - DMat3::IDENTITY;
        if off.to_cols_array().iter().any(|v| v.abs() > 2e-2) {
            return Err("the left 3x3 part of a pose is not a rotation: its columns are not orthonormal".into());
        }
        Ok(Pose::from_columns(r.x_axis, r.y_axis, r.z_axis, column(3)))
    }
}

/// A change of world coordinates: `new = scale · (rotation · old) + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    /// A length of 1 becomes this.
    pub scale: f64,
    /// Applied first.
    pub rotation: DMat3,
    /// Applied last.
    pub shift: DVec3,
}

impl Similarity {
    /// No change.
    pub const IDENTITY: Similarity = Similarity { scale: 1.0, rotation: DMat3::IDENTITY, shift: DVec3::ZERO };

    /// Where a point goes.
    pub fn point(&self, p: DVec3) -> DVec3 {
        self.scale * (self.rotation * p) + self.shift
    }

    /// Where a camera goes; it stays rigid.
    pub fn pose(&self, pose: &Pose) -> Pose {
        let r = self.rotation;
        Pose::from_columns(r * pose.column(0), r * pose.column(1), r * pose.column(2), self.point(pose.centre()))
    }

    /// `other` first, then `self`.
    pub fn after(&self, other: &Similarity) -> Similarity {
        Similarity {
            scale: self.scale * other.scale,
            rotation: self.rotation * other.rotation,
            shift: self.point(other.shift),
        }
    }

    /// The way back.
    pub fn inverse(&self) -> Similarity {
        let rotation = self.rotation.transpose();
        let scale = 1.0 / self.scale;
        Similarity { scale, rotation, shift: -(scale * (rotation * self.shift)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &Pose, b: &Pose) {
        for (x, y) in a.0.iter().flatten().zip(b.0.iter().flatten()) {
            assert!((x - y).abs() < 1e-5, "{a:?}\n{b:?}");
        }
    }

    fn some_pose() -> Pose {
        Pose::look_at(DVec3::new(1.0, -2.0, 3.0), DVec3::new(0.3, 0.1, -0.2), DVec3::Z)
    }

    #[test]
    fn a_camera_looks_where_it_is_told() {
        let pose = some_pose();
        let forward = -pose.column(2);
        let expected = (DVec3::new(0.3, 0.1, -0.2) - DVec3::new(1.0, -2.0, 3.0)).normalize();
        assert!((forward - expected).length() < 1e-6);
        assert!(pose.column(1).z > 0.0 && pose.column(0).z.abs() < 1e-6);
        assert!((pose.rotation().determinant() - 1.0).abs() < 1e-6);
        // Straight down, where "up" says nothing.
        let down = Pose::look_at(DVec3::Z, DVec3::ZERO, DVec3::Z);
        assert!((down.rotation().determinant() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn poses_compose_and_invert() {
        let pose = some_pose();
        close(&pose.then(&pose.inverse()), &Pose::IDENTITY);
        close(&Pose::mean(&[pose; 3]), &pose);
        let map = Similarity { scale: 2.5, rotation: DMat3::from_rotation_x(0.4), shift: DVec3::new(1.0, 2.0, 3.0) };
        close(&map.inverse().pose(&map.pose(&pose)), &pose);
        close(&map.inverse().after(&map).pose(&pose), &pose);
    }

    #[test]
    fn matrices_that_are_no_poses_are_refused() {
        let rows = |scale: f64| -> Vec<Vec<f64>> {
            some_pose().0.iter().map(|r| r.iter().map(|v| f64::from(*v) * scale).collect()).collect()
        };
        assert!(Pose::from_matrix(&rows(1.0)).is_ok());
        assert!((Pose::from_matrix(&rows(2.0)).unwrap().rotation().determinant() - 1.0).abs() < 1e-5);
        assert!(Pose::from_matrix(&rows(0.0)).is_err());
        assert!(Pose::from_matrix(&rows(-1.0)).is_err());
        assert!(Pose::from_matrix(&rows(f64::NAN)).is_err());
        assert!(Pose::from_matrix(&rows(1.0)[..2]).is_err());
        let mut sheared = rows(1.0);
        sheared[0][0] += 0.5;
        assert!(Pose::from_matrix(&sheared).is_err());
    }
}
