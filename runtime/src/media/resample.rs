//! Other sizes of a picture, by interpolation.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32x3,
};

use super::Picture;

impl Picture {
    /// An RGB picture interpolated between the four nearest pixels, whose middles lie at half numbers;
    /// nothing is averaged when it shrinks. Beyond the border the outermost pixels go on.
    ///
    /// # Panics
    /// If it has other than three channels, or a size is zero.
    pub fn bilinear(&self, width: usize, height: usize) -> Picture {
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Interpolation(FilterType::Bilinear));
        self.interpolated(width, height, &options)
    }

    /// The middle of an RGB picture, of the ratio asked for and as large as there is, resampled with a
    /// Lanczos filter of three lobes that widens as the picture shrinks.
    ///
    /// # Panics
    /// If it has other than three channels, or a size is zero.
    pub fn fitted(&self, width: usize, height: usize) -> Picture {
        let lanczos = ResizeAlg::Convolution(FilterType::Lanczos3);
        self.interpolated(width, height, &ResizeOptions::new().resize_alg(lanczos).fit_into_destination(None))
    }

    fn interpolated(&self, width: usize, height: usize, options: &ResizeOptions) -> Picture {
        assert!(self.channels == 3 && !self.values.is_empty() && width > 0 && height > 0, "an RGB picture has pixels");
        let broken = |error: &dyn std::fmt::Display| -> ! { panic!("a picture cannot be resampled: {error}") };
        let mut out = Picture::new(width, height, 3);
        let from = TypedImageRef::<F32x3>::from_buffer(
            self.width as u32,
            self.height as u32,
            bytemuck::cast_slice(&self.values),
        );
        let from = from.unwrap_or_else(|error| broken(&error));
        let to =
            TypedImage::<F32x3>::from_buffer(width as u32, height as u32, bytemuck::cast_slice_mut(&mut out.values));
        let mut to = to.unwrap_or_else(|error| broken(&error));
        if let Err(error) = Resizer::new().resize_typed(&from, &mut to, options) {
            broken(&error);
        }
        out
    }
}
