//! Pictures with known cameras, and the rays that training draws from them.
//!
//! [`load`] reads a folder of any of the usual layouts into [`PosedImages`]; [`RayBatches`] draws
//! batches of rays from them, each a function of the seed and the step alone.
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
mod error;
mod llff;
mod normalise;
mod npy;
mod posed;
mod transforms;

#[cfg(test)]
mod tests;

pub use batches::{Precrop, RayBatch, RayBatches, RayMode, RayOptions};
pub use camera::{Distortion, Intrinsics, Ray, Rays, normalised_device_ray};
pub use error::DataError;
pub use posed::{Frame, Layout, LoadOptions, PathKind, PixelCentre, PosedImages, Split, StoredPicture, load};
