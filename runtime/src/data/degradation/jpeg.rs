//! What JPEG compression does to a picture.

use std::io::Cursor;

use image::{DynamicImage, codecs::jpeg::JpegDecoder};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};

use crate::media::{Picture, nearest_byte};

/// An RGB picture, rounded to bytes, written as a JPEG of this quality (1 to 100, the standard's tables
/// scaled as is usual) with chrominance at half the size (4:2:0), and read again.
///
/// # Panics
/// If it is wider or higher than 65535 pixels, or has other than three channels.
pub fn compressed(picture: &Picture, quality: u8) -> Picture {
    let broken = |error: &dyn std::fmt::Display| -> ! { panic!("a picture cannot be compressed: {error}") };
    let bytes: Vec<u8> = picture.values.iter().map(|v| nearest_byte(*v)).collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    if let Err(error) = encoder.encode(&bytes, picture.width as u16, picture.height as u16, ColorType::Rgb) {
        broken(&error);
    }
    match JpegDecoder::new(Cursor::new(file)).and_then(DynamicImage::from_decoder) {
        Ok(image) => Picture::from_image(&image),
        Err(error) => broken(&error),
    }
}
