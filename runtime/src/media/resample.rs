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

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Picture {
        Picture::from_fn(width, height, 3, |x, y, c| ((x * 31 + y * 57 + c * 91) * 7919 % 256) as f32 / 255.0)
    }

    /// The interpolated value at a place, by definition.
    fn at(picture: &Picture, x: f64, y: f64, c: usize) -> f64 {
        let value = |x: f64, y: f64| {
            let inside = |v: f64, size: usize| v.clamp(0.0, size as f64 - 1.0) as usize;
            f64::from(picture.pixel(inside(x, picture.width), inside(y, picture.height))[c])
        };
        let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
        let (u, v) = (x - 0.5 - left, y - 0.5 - top);
        let across = |y: f64| value(left, y) * (1.0 - u) + value(left + 1.0, y) * u;
        across(top) * (1.0 - v) + across(top + 1.0) * v
    }

    #[test]
    fn bilinear_is_as_defined() {
        for ((w, h), (nw, nh)) in
            [((13, 9), (5, 3)), ((5, 4), (17, 31)), ((16, 16), (15, 17)), ((7, 7), (1, 1)), ((1, 2), (6, 6))]
        {
            let picture = noise(w, h);
            let resampled = picture.bilinear(nw, nh);
            for y in 0..nh {
                for x in 0..nw {
                    for c in 0..3 {
                        let place = |i: usize, new: usize, old: usize| (i as f64 + 0.5) * old as f64 / new as f64;
                        let wanted = at(&picture, place(x, nw, w), place(y, nh, h), c);
                        let found = f64::from(resampled.pixel(x, y)[c]);
                        assert!((wanted - found).abs() < 1e-6, "{w}x{h} to {nw}x{nh} at ({x}, {y}): {wanted} {found}");
                    }
                }
            }
        }
    }

    #[test]
    fn fitting_takes_the_middle_and_averages() {
        // Left and right quarters are white, and cut off.
        let wide =
            Picture::from_fn(64, 32, 3, |x, y, _| if (16..48).contains(&x) { ((x + y) % 2) as f32 } else { 1.0 });
        let small = wide.fitted(8, 8);
        assert!(small.values.iter().all(|v| (v - 0.5).abs() < 0.05), "{:?}", small.values);
        assert_eq!(noise(9, 9).fitted(9, 9), noise(9, 9));
        let tall = Picture::from_fn(10, 30, 3, |_, y, _| if (10..20).contains(&y) { 0.25 } else { 1.0 });
        assert!(tall.fitted(10, 10).values.iter().all(|v| *v == 0.25));
    }
}
