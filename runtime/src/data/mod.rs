//! What training learns from: pictures with known cameras and the rays through their pixels, and folders of
//! pictures without cameras.
//!
//! [`load`] reads a folder of any of the usual layouts into [`PosedImages`]; [`RayBatches`] draws
//! batches of rays from them, each a function of the seed and the step alone. [`Pictures`] are read from any
//! folder; [`PictureBatches`] draws samples of them, with worse versions made by a [`Degradation`].
//!
//! ```no_run
//! use visage_runtime::data::{LoadOptions, RayBatches, RayOptions, Split, load};
//! let scene = load("scenes/lego".as_ref(), &LoadOptions::default())?;
//! println!("{} training views", scene.indices(Split::Train).len());
//! let batches = RayBatches::new(std::sync::Arc::new(scene), RayOptions::default())?;
//! let batch = batches.batch(0, 1024);
//! assert_eq!(batch.rays.origins.len(), 1024 * 3);
//! # Ok::<(), visage_runtime::data::DataError>(())
//! ```

mod batches;
mod camera;
mod colmap;
mod colmap_files;
mod deepvoxels;
mod degradation;
mod draws;
mod error;
mod llff;
mod matlab;
mod normalise;
mod npy;
mod picture_batches;
mod pictures;
mod posed;
mod poses;
mod shuffle;
mod transforms;

#[cfg(test)]
mod tests;

pub use batches::{Precrop, RayBatch, RayBatches, RayMode, RayOptions};
pub use camera::{Distortion, Intrinsics, Ray, Rays, normalised_device_ray};
pub use degradation::{Blur, Degradation, Jitter, Strokes};
pub(crate) use draws::Draws;
pub use error::DataError;
pub use picture_batches::{PictureBatches, Sample};
pub use pictures::{Crop, PictureOptions, Pictures};
pub use posed::{Frame, Layout, LoadOptions, PathKind, PixelCentre, PosedImages, Split, StoredPicture, load};
pub use poses::{PoseLabel, TABLE as POSE_TABLE};
pub(crate) use shuffle::{Shuffle, mix};
