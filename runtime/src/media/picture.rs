//! A picture in memory, and the files it comes from and goes to.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader};
use rayon::prelude::*;

use crate::data::DataError;

/// Endings of the names of files that [`Picture::load`] reads.
const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "gif"];

/// Whether a file's name has the ending of a picture.
pub fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The pictures in a folder, by their names.
///
/// # Errors
/// The folder cannot be read.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder).map_err(DataError::io(folder))?;
    let mut files: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_picture(path)).collect();
    files.sort();
    Ok(files)
}

/// What a picture with alpha is laid over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Background {
    /// `rgb·a + (1 − a)`.
    White,
    /// `rgb·a`.
    Black,
    /// Nothing: the four channels stay as they are.
    #[default]
    Keep,
}

/// A picture: `values` is `[height][width][channel]`, in `[0, 1]`, top row first.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGB and straight alpha).
    pub channels: usize,
    /// `height · width · channels` numbers.
    pub values: Vec<f32>,
}

/// The byte of an output pixel: `trunc(255 · clip(x, 0, 1))`, as the evaluation of NeRF has it.
/// A byte read from a file comes back unchanged.
pub fn to_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0) as u8
}

/// The byte nearest to `255 · clip(x, 0, 1)`.
pub fn nearest_byte(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0).round() as u8
}

impl Picture {
    /// A black (and transparent) picture.
    pub fn new(width: usize, height: usize, channels: usize) -> Picture {
        Picture { width, height, channels, values: vec![0.0; width * height * channels] }
    }

    /// A picture from `value(x, y, channel)`.
    pub fn from_fn(
        width: usize,
        height: usize,
        channels: usize,
        value: impl Fn(usize, usize, usize) -> f32,
    ) -> Picture {
        let mut picture = Picture::new(width, height, channels);
        for (i, v) in picture.values.iter_mut().enumerate() {
            let (pixel, channel) = (i / channels, i % channels);
            *v = value(pixel % width, pixel / width, channel);
        }
        picture
    }

    /// The channels of one pixel.
    ///
    /// # Panics
    /// If `x` or `y` lies outside.
    pub fn pixel(&self, x: usize, y: usize) -> &[f32] {
        let start = (y * self.width + x) * self.channels;
        &self.values[start..start + self.channels]
    }

    /// The channels of one pixel, to be written.
    ///
    /// # Panics
    /// If `x` or `y` lies outside.
    pub fn pixel_mut(&mut self, x: usize, y: usize) -> &mut [f32] {
        let start = (y * self.width + x) * self.channels;
        &mut self.values[start..start + self.channels]
    }

    /// Reads a PNG or JPEG of 8 or 16 bits: grey becomes RGB, a palette its colours; alpha is kept
    /// as a fourth channel. The orientation that a camera noted in the file (EXIF) is applied.
    ///
    /// # Errors
    /// A file that is missing, damaged or of another format; the error names it.
    pub fn load(path: &Path) -> Result<Picture, DataError> {
        let (picture, orientation) = decode(path)?;
        let mut picture = picture;
        picture.apply_orientation(orientation);
        Ok(Picture::from_image(&picture))
    }

    /// Reads a picture that belongs to a camera of `size` (width, height).
    ///
    /// Poses are estimated by programs that do not know of EXIF orientations, so a picture whose
    /// stored size agrees with its camera is taken as stored; the orientation is applied only to one
    /// that agrees better when turned. Without a size the orientation is applied.
    ///
    /// # Errors
    /// As [`Picture::load`].
    pub fn load_for_camera(path: &Path, size: Option<(usize, usize)>) -> Result<Picture, DataError> {
        let (mut picture, orientation) = decode(path)?;
        let aspect = |w: f64, h: f64| (w / h).ln();
        let turn = size.is_none_or(|(w, h)| {
            let stored = aspect(picture.width() as f64, picture.height() as f64);
            let camera = aspect(w as f64, h as f64);
            (stored - camera).abs() > (stored + camera).abs() + 1e-9
        });
        if turn {
            picture.apply_orientation(orientation);
        }
        Ok(Picture::from_image(&picture))
    }

    /// From a decoded image, as [`Picture::load`] describes.
    pub(crate) fn from_image(image: &DynamicImage) -> Picture {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let channels = if image.color().has_alpha() { 4 } else { 3 };
        let wide = matches!(
            image,
            DynamicImage::ImageLuma16(_)
                | DynamicImage::ImageLumaA16(_)
                | DynamicImage::ImageRgb16(_)
                | DynamicImage::ImageRgba16(_)
        );
        let values = match (wide, channels) {
            (true, 4) => image.to_rgba16().iter().map(|&v| f32::from(v) / 65535.0).collect(),
            (true, _) => image.to_rgb16().iter().map(|&v| f32::from(v) / 65535.0).collect(),
            (false, 4) => image.to_rgba8().iter().map(|&v| f32::from(v) / 255.0).collect(),
            (false, _) => image.to_rgb8().iter().map(|&v| f32::from(v) / 255.0).collect(),
        };
        Picture { width, height, channels, values }
    }

    /// Writes an 8-bit PNG or, where the name ends in `.jpg` or `.jpeg`, a JPEG of quality 92 (alpha
    /// is then laid over white). Bytes are made by [`to_byte`].
    ///
    /// # Errors
    /// Another ending, or a file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        let mut bytes = Vec::new();
        let write = match extension.as_str() {
            "png" => {
                let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
                self.encode(encoder, self.channels, self.bytes())
            }
            "jpg" | "jpeg" => {
                let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 92);
                self.encode(encoder, 3, self.rgb_bytes())
            }
            _ => {
                return Err(DataError::format(
                    path,
                    "a picture is written as .png, .jpg or .jpeg; give the name one of these endings",
                ));
            }
        };
        write.map_err(|e| DataError::format(path, e.to_string()))?;
        std::fs::write(path, bytes).map_err(DataError::io(path))
    }

    fn encode(&self, encoder: impl image::ImageEncoder, channels: usize, bytes: Vec<u8>) -> image::ImageResult<()> {
        let kind = match channels {
            1 => image::ExtendedColorType::L8,
            3 => image::ExtendedColorType::Rgb8,
            _ => image::ExtendedColorType::Rgba8,
        };
        encoder.write_image(&bytes, self.width as u32, self.height as u32, kind)
    }

    /// The channels as bytes, by [`to_byte`].
    pub fn bytes(&self) -> Vec<u8> {
        self.values.iter().map(|&v| to_byte(v)).collect()
    }

    /// From planes, `[channel][height][width]`.
    ///
    /// # Panics
    /// If `planes` has another length.
    pub fn from_planes(width: usize, height: usize, channels: usize, planes: &[f32]) -> Picture {
        assert_eq!(planes.len(), width * height * channels, "planes have the picture's size");
        Picture::from_fn(width, height, channels, |x, y, c| planes[(c * height + y) * width + x])
    }

    /// Writes the channels as planes, `[channel][height][width]`.
    ///
    /// # Panics
    /// If `planes` has another length.
    pub fn write_planes(&self, planes: &mut [f32]) {
        assert_eq!(planes.len(), self.values.len(), "planes have the picture's size");
        let size = self.width * self.height;
        for (i, pixel) in self.values.chunks_exact(self.channels).enumerate() {
            for (c, value) in pixel.iter().enumerate() {
                planes[c * size + i] = *value;
            }
        }
    }

    /// The colours without their alpha, and the alpha if there is one; grey becomes RGB.
    pub fn split_alpha(&self) -> (Picture, Option<Picture>) {
        if self.channels != 4 {
            return (self.rgb(), None);
        }
        let channels =
            |count, first| Picture::from_fn(self.width, self.height, count, |x, y, c| self.pixel(x, y)[first + c]);
        (channels(3, 0), Some(channels(1, 3)))
    }

    /// Colours with an alpha of the same size: what [`split_alpha`](Picture::split_alpha) takes apart.
    ///
    /// # Panics
    /// If sizes or channels are other than that.
    pub fn with_alpha(&self, alpha: &Picture) -> Picture {
        assert_eq!((self.width, self.height, 3, 1), (alpha.width, alpha.height, self.channels, alpha.channels));
        Picture::from_fn(
            self.width,
            self.height,
            4,
            |x, y, c| {
                if c < 3 { self.pixel(x, y)[c] } else { alpha.pixel(x, y)[0] }
            },
        )
    }

    /// Three bytes a pixel: grey repeated, alpha laid over white.
    pub fn rgb_bytes(&self) -> Vec<u8> {
        self.rgb().bytes()
    }

    /// The picture with three channels: grey repeated, alpha laid over white.
    pub fn rgb(&self) -> Picture {
        match self.channels {
            1 => Picture::from_fn(self.width, self.height, 3, |x, y, _| self.pixel(x, y)[0]),
            4 => self.over(Background::White),
            _ => self.clone(),
        }
    }

    /// The picture laid over a background; a picture without alpha is returned as it is.
    pub fn over(&self, background: Background) -> Picture {
        let behind = match (self.channels, background) {
            (4, Background::White) => 1.0,
            (4, Background::Black) => 0.0,
            _ => return self.clone(),
        };
        let values =
            self.values.chunks_exact(4).flat_map(|p| [0, 1, 2].map(|c| p[c] * p[3] + behind * (1.0 - p[3]))).collect();
        Picture { channels: 3, values, ..*self }
    }

    /// The picture with every pixel as a square of so many pixels' width.
    pub fn enlarged(&self, factor: usize) -> Picture {
        let at = |x: usize, y: usize, channel: usize| self.pixel(x / factor, y / factor)[channel];
        Picture::from_fn(self.width * factor, self.height * factor, self.channels, at)
    }

    /// The picture with left and right exchanged.
    pub fn mirrored(&self) -> Picture {
        Picture::from_fn(self.width, self.height, self.channels, |x, y, c| self.pixel(self.width - 1 - x, y)[c])
    }

    /// Resamples to another size: every new pixel is the mean of the old ones that it covers,
    /// counted by the area covered. Colours with alpha are averaged premultiplied, so that the
    /// colour of transparent pixels does not leak. Enlarging repeats pixels.
    ///
    /// # Panics
    /// If a size is zero.
    pub fn resize(&self, width: usize, height: usize) -> Picture {
        assert!(width > 0 && height > 0, "a picture has at least one pixel");
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let channels = self.channels;
        let columns = Coverage::new(self.width, width);
        let rows = Coverage::new(self.height, height);
        let premultiplied = |x: usize, y: usize, c: usize| {
            let p = self.pixel(x, y);
            if channels == 4 && c < 3 { p[c] * p[3] } else { p[c] }
        };
        // Across first: one new column for every old row.
        let mut across = vec![0.0f32; self.height * width * channels];
        across.par_chunks_mut(width * channels).enumerate().for_each(|(y, line)| {
            for (x, out) in line.chunks_exact_mut(channels).enumerate() {
                for (from, weight) in columns.of(x) {
                    for (c, o) in out.iter_mut().enumerate() {
                        *o += weight * premultiplied(from, y, c);
                    }
                }
            }
        });
        let mut values = vec![0.0f32; height * width * channels];
        values.par_chunks_mut(width * channels).enumerate().for_each(|(y, line)| {
            for (from, weight) in rows.of(y) {
                let source = &across[from * width * channels..][..width * channels];
                for (o, s) in line.iter_mut().zip(source) {
                    *o += weight * s;
                }
            }
            if channels == 4 {
                for p in line.chunks_exact_mut(4).filter(|p| p[3] > 0.0) {
                    let alpha = p[3];
                    p[..3].iter_mut().for_each(|c| *c /= alpha);
                }
            }
        });
        Picture { width, height, channels, values }
    }
}

/// Which old pixels a new one covers, along one axis.
struct Coverage {
    ratio: f64,
    old: usize,
}

impl Coverage {
    fn new(old: usize, new: usize) -> Coverage {
        Coverage { ratio: old as f64 / new as f64, old }
    }

    /// Old positions and their shares, which sum to 1.
    fn of(&self, new: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (start, end) = (new as f64 * self.ratio, (new as f64 + 1.0) * self.ratio);
        let last = (end.ceil() as usize).clamp(1, self.old);
        (start as usize..last).map(move |i| {
            let covered = (end.min(i as f64 + 1.0) - start.max(i as f64)).max(0.0);
            (i, (covered / self.ratio) as f32)
        })
    }
}

fn decode(path: &Path) -> Result<(DynamicImage, image::metadata::Orientation), DataError> {
    let file = std::fs::File::open(path).map_err(DataError::io(path))?;
    let broken = |e: image::ImageError| DataError::format(path, format!("not a readable picture: {e}"));
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(DataError::io(path))?;
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let orientation = decoder.orientation().map_err(broken)?;
    let picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok((picture, orientation))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn bytes_survive_reading_and_writing() {
        for byte in 0..=255u8 {
            assert_eq!(to_byte(f32::from(byte) / 255.0), byte);
        }
        assert_eq!(to_byte(0.999), 254);
        assert_eq!(to_byte(-1.0), 0);
        assert_eq!(to_byte(f32::NAN), 0);
    }

    #[test]
    fn png_and_jpeg_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let rgba = Picture::from_fn(7, 5, 4, |x, y, c| ((x * 31 + y * 57 + c * 91) % 256) as f32 / 255.0);
        let png = folder.path().join("a.png");
        rgba.save(&png).unwrap();
        assert_eq!(Picture::load(&png).unwrap(), rgba);

        let smooth = Picture::from_fn(32, 32, 3, |x, y, _| (x + y) as f32 / 64.0);
        let jpeg = folder.path().join("a.jpg");
        smooth.save(&jpeg).unwrap();
        let back = Picture::load(&jpeg).unwrap();
        let worst = back.values.iter().zip(&smooth.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 0.03, "{worst}");

        let error = smooth.save(&folder.path().join("a.bmp")).unwrap_err().to_string();
        assert!(error.contains("a.bmp") && error.contains(".png"), "{error}");
    }

    #[test]
    fn sixteen_bits_and_grey_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep.png");
        image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![0u16, 40000]).unwrap().save(&path).unwrap();
        let picture = Picture::load(&path).unwrap();
        assert_eq!((picture.channels, picture.pixel(1, 0)[2]), (3, 40000.0 / 65535.0));
        image::ImageBuffer::<image::LumaA<u8>, _>::from_raw(1, 1, vec![51u8, 102]).unwrap().save(&path).unwrap();
        assert_eq!(Picture::load(&path).unwrap().values, [0.2, 0.2, 0.2, 0.4]);
    }

    #[test]
    fn planes_and_alpha_are_taken_apart_and_put_together() {
        let rgba = Picture::from_fn(3, 2, 4, |x, y, c| (100 * c + 10 * y + x) as f32);
        let mut planes = vec![0.0; 24];
        rgba.write_planes(&mut planes);
        assert_eq!(planes[..7], [0.0, 1.0, 2.0, 10.0, 11.0, 12.0, 100.0]);
        assert_eq!(Picture::from_planes(3, 2, 4, &planes), rgba);
        let (colours, alpha) = rgba.split_alpha();
        assert_eq!(colours.pixel(2, 1), [12.0, 112.0, 212.0]);
        assert_eq!(colours.with_alpha(&alpha.unwrap()), rgba);
        assert_eq!(colours.split_alpha(), (colours.clone(), None));
    }

    #[test]
    fn area_means_keep_the_mean_and_ignore_transparent_colour() {
        let ramp = Picture::from_fn(10, 6, 1, |x, y, _| (x * y) as f32);
        for (w, h) in [(5, 3), (3, 2), (7, 5), (1, 1)] {
            let small = ramp.resize(w, h);
            let mean = |p: &Picture| p.values.iter().sum::<f32>() / p.values.len() as f32;
            assert!((mean(&small) - mean(&ramp)).abs() < 1e-4);
        }
        let mut two = Picture::new(2, 1, 4);
        two.pixel_mut(0, 0).copy_from_slice(&[0.2, 0.4, 0.6, 1.0]);
        two.pixel_mut(1, 0).copy_from_slice(&[1.0, 1.0, 1.0, 0.0]);
        let one = two.resize(1, 1);
        for (a, b) in one.values.iter().zip([0.2, 0.4, 0.6, 0.5]) {
            assert!((a - b).abs() < 1e-6);
        }
        assert_eq!(ramp.resize(20, 12).pixel(19, 11), ramp.pixel(9, 5));
    }

    #[test]
    fn a_mirrored_picture_has_its_right_on_the_left() {
        let picture = Picture::from_fn(3, 2, 3, |x, y, c| (x + 10 * y + 100 * c) as f32);
        let mirrored = picture.mirrored();
        assert_eq!((mirrored.pixel(0, 1), mirrored.pixel(1, 0)), (picture.pixel(2, 1), picture.pixel(1, 0)));
        assert_eq!(mirrored.mirrored(), picture);
    }

    #[test]
    fn alpha_is_laid_over() {
        let p = Picture { width: 1, height: 1, channels: 4, values: vec![0.5, 0.0, 1.0, 0.5] };
        assert_eq!(p.over(Background::White).values, [0.75, 0.5, 1.0]);
        assert_eq!(p.over(Background::Black).values, [0.25, 0.0, 0.5]);
        assert_eq!(p.over(Background::Keep), p);
    }

    /// A JPEG with an EXIF block that says "turn by 90 degrees" (orientation 6).
    pub(crate) fn turned_jpeg(path: &Path) {
        Picture::from_fn(8, 4, 3, |x, _, _| x as f32 / 7.0).save(path).unwrap();
        let bytes = std::fs::read(path).unwrap();
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut out = bytes[..2].to_vec();
        out.extend([0xff, 0xe1]);
        out.extend(((exif.len() + 2) as u16).to_be_bytes());
        out.append(&mut exif);
        out.extend(&bytes[2..]);
        std::fs::write(path, out).unwrap();
    }

    #[test]
    fn orientation_is_applied_unless_the_camera_disagrees() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.jpg");
        turned_jpeg(&path);
        let size = |p: Picture| (p.width, p.height);
        assert_eq!(size(Picture::load(&path).unwrap()), (4, 8));
        assert_eq!(size(Picture::load_for_camera(&path, Some((80, 40))).unwrap()), (8, 4));
        assert_eq!(size(Picture::load_for_camera(&path, Some((40, 80))).unwrap()), (4, 8));
        assert_eq!(size(Picture::load_for_camera(&path, None).unwrap()), (4, 8));
    }

    #[test]
    fn broken_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.png");
        let missing = Picture::load(&path).unwrap_err().to_string();
        assert!(missing.contains("broken.png"), "{missing}");
        Picture::new(9, 9, 3).save(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 3, 20, bytes.len() / 2] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = Picture::load(&path).unwrap_err().to_string();
            assert!(error.contains("broken.png"), "{error}");
        }
    }
}
