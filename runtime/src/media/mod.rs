//! Pictures in and out: PNG, JPEG, GIF and MP4 files, contact sheets, colour maps and line plots.
//!
//! Everything passes through [`Picture`]: `[height][width][channel]` of `f32` in `[0, 1]`, top row
//! first, in the encoding of the file (sRGB values are not linearised, as in the methods that are
//! trained on them).
//!
//! ```
//! use visage_runtime::media::{Picture, depth_picture, sheet};
//! let grey = Picture::from_fn(32, 24, 3, |x, _, _| x as f32 / 31.0);
//! let depth = depth_picture(&[2.0; 32 * 24], 32, 24, 2.0, 6.0);
//! let both = sheet(&[(&grey, "colour"), (&depth, "depth")], 2);
//! assert!(both.width > 64);
//! ```

mod bmff;
mod canvas;
mod colour;
mod font;
mod picture;
mod plot;
mod resample;
mod sheet;
mod video;

pub(crate) use canvas::polyline;
pub use canvas::solid_polyline;
pub use colour::{depth_picture, scalar_picture, turbo};
pub use picture::{Background, Picture, is_picture, nearest_byte, pictures_in, to_byte};
pub use plot::{Axis, LinePlot, Series};
pub use sheet::{readable, sheet};
pub use video::{Mp4Writer, write_gif, write_mp4};

#[cfg(test)]
pub(crate) use picture::tests::turned_jpeg;
