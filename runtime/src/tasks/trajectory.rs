//! Where the camera goes in a video of a face.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, TAU};

/// Where a picture is seen from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Camera {
    /// Radians from the vertical: π/2 is level, less is from above.
    pub pitch: f64,
    /// Radians about the vertical: π/2 is from in front.
    pub yaw: f64,
    /// Degrees that are seen, where they change on the way.
    pub fov: Option<f64>,
}

/// A closed way of the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trajectory {
    /// A small ellipse before the face, during which the camera comes nearer and goes away (pi-GAN's videos).
    Front,
    /// From one side to the other and back, at constant speed (GRAM's).
    Swing,
    /// Once around.
    Turn,
}

/// The words for them.
pub(super) const TRAJECTORIES: [(&str, Trajectory); 3] =
    [("front", Trajectory::Front), ("swing", Trajectory::Swing), ("turn", Trajectory::Turn)];

/// How far a swing goes to either side, in radians.
const SWING: f64 = 0.4;

impl Trajectory {
    /// By how many radians the camera looks from below level, unless told otherwise.
    pub fn pitch(self) -> f64 {
        if self == Trajectory::Turn { -FRAC_PI_4 } else { 0.0 }
    }

    /// The camera after a share of the way, 0 to 1; `pitch` is by how many radians it looks from below level.
    pub fn at(self, share: f64, pitch: f64) -> Camera {
        let level = FRAC_PI_2 + pitch;
        match self {
            Trajectory::Front => Camera {
                pitch: level + 0.2 * (TAU * share).cos(),
                yaw: FRAC_PI_2 + 0.4 * (TAU * share).sin(),
                fov: Some(17.0 + 5.0 * (TAU * share).sin()),
            },
            Trajectory::Swing => {
                let across = 1.0 - (2.0 * share - 1.0).abs();
                Camera { pitch: level, yaw: FRAC_PI_2 + SWING * (2.0 * across - 1.0), fov: None }
            }
            Trajectory::Turn => Camera { pitch: level, yaw: FRAC_PI_2 + TAU * share, fov: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_closed_and_pass_where_they_should() {
        for (name, way) in TRAJECTORIES {
            let [start, end] = [0.0, 1.0].map(|share| way.at(share, 0.1));
            let off = |a: f64, b: f64| ((a - b) / TAU - ((a - b) / TAU).round()).abs();
            assert!(off(start.pitch, end.pitch) < 1e-12 && off(start.yaw, end.yaw) < 1e-12, "{name}");
        }
        let near = |camera: Camera, pitch: f64, yaw: f64| {
            assert!((camera.pitch - FRAC_PI_2 - pitch).abs() < 1e-12, "{camera:?}");
            assert!((camera.yaw - FRAC_PI_2 - yaw).abs() < 1e-12, "{camera:?}");
        };
        near(Trajectory::Front.at(0.0, 0.0), 0.2, 0.0);
        near(Trajectory::Front.at(0.25, 0.0), 0.0, 0.4);
        assert_eq!(Trajectory::Front.at(0.25, 0.0).fov, Some(22.0));
        near(Trajectory::Swing.at(0.0, 0.3), 0.3, -0.4);
        near(Trajectory::Swing.at(0.25, 0.0), 0.0, 0.0);
        near(Trajectory::Swing.at(0.5, 0.0), 0.0, 0.4);
        near(Trajectory::Swing.at(0.75, 0.0), 0.0, 0.0);
        near(Trajectory::Turn.at(0.25, Trajectory::Turn.pitch()), -FRAC_PI_4, FRAC_PI_2);
    }
}
