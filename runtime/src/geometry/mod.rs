//! Cameras' places and paths, and surfaces.
//!
//! Axes everywhere: a camera looks along its −z with x to its right and y up; a [`Pose`] takes camera
//! coordinates to world coordinates. World "up" is +z, as in Blender.

mod isosurface;
mod mesh;
mod path;
mod pose;
mod tables;

pub use isosurface::{ScalarGrid, isosurface};
pub use mesh::Mesh;
pub(crate) use path::percentile;
pub use path::{circle_path, focus_point, interpolated_path, load_path, orbit_path, pose_spherical, spiral_path};
pub use pose::{Pose, Similarity};
