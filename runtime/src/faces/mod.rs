//! Faces in whole photographs: where they are, how they are brought upright, and how they are put back.
//!
//! * A [`Face`] is what a detector finds: a box and a few points; [`keep`] leaves one for each person.
//! * [`tiles`] are the squares in which a detector of one small size looks for faces of all sizes.
//! * A [`Similarity`] brings the points of a face to those of a [`template`]; [`warp`] resamples along it.
//! * [`paste`] puts a restored face back into its photograph, behind a mask that is soft at its border.
//! * [`is_grey`] and [`greyed`] keep photographs without colour without colour.
//!
//! All positions are continuous: a pixel is a square of side 1 and the middle of the first one lies at (0.5, 0.5).
//!
//! ```
//! use visage_runtime::{faces::{Border, Similarity, paste, template, warp}, media::Picture};
//! let photograph = Picture::from_fn(80, 60, 3, |x, y, _| (x + y) as f32 / 140.0);
//! let points = [[30.0, 25.0], [45.0, 25.0], [37.5, 34.0], [31.0, 40.0], [44.0, 40.0]];
//! let upright = Similarity::robust(&points, &template(64.0, 5).unwrap()).unwrap();
//! let face = warp(&photograph, &upright.inverse(), 64, 64, Border::Repeat);
//! let mut again = photograph.clone();
//! paste(&mut again, &face, None, &upright.inverse(), 1.0);
//! let worst = again.values.iter().zip(&photograph.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
//! assert!(worst < 0.01);
//! ```

mod detection;
mod paste;
mod similarity;
mod template;
mod tone;
mod warp;

pub use detection::{Face, Tile, keep, tiles};
pub use paste::paste;
pub use similarity::Similarity;
pub use template::template;
pub use tone::{greyed, is_grey};
pub use warp::{Border, resample, warp};
