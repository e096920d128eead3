//! The scene that comes with the project: a head, modelled by signed distances, rendered from all
//! sides and written as an ordinary data set of posed pictures.
//!
//! Whoever has no data trains on it; whoever reads its files reads any other scene of that layout.

mod generate;
mod head;
mod render;
mod shapes;

pub use generate::{CAMERA_ANGLE_X, CAMERA_DISTANCE, HeadOptions, generate_head, head_picture};
