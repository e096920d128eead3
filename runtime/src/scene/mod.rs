//! The data that comes with the project: a head, modelled by signed distances, rendered from all
//! sides and written as an ordinary data set of posed pictures; and portraits of heads that all differ, as an
//! ordinary folder of pictures.
//!
//! Whoever has no data trains on them; whoever reads their files reads any other data of that layout.

mod generate;
mod head;
mod portraits;
mod render;
mod shapes;

pub use generate::{CAMERA_ANGLE_X, CAMERA_DISTANCE, HeadOptions, generate_head, head_picture};
pub use portraits::{HeadsOptions, generate_heads, portrait, portrait_name, pose_table};
