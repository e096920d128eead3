//! Moving pictures: MP4 with H.264, and GIF.

use std::path::{Path, PathBuf};
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, QpRange, RateControlMode, UsageType,
    VuiConfig,
};
use openh264::formats::YUVSlices;

use super::Picture;
use super::bmff::{self, Sample, Track};
use crate::data::DataError;

/// The quantiser of every frame, held by the rate control: about 40 dB from the source.
const QUALITY: u8 = 18;

/// Writes an MP4 file frame by frame; only coded frames are kept in memory.
///
/// H.264 constrained baseline, 4:2:0, BT.709 in video range, a key frame every second: what browsers,
/// telephones and players of any age read.
pub struct Mp4Writer {
    path: PathBuf,
    width: usize,
    height: usize,
    encoder: Encoder,
    track: Track,
}

impl Mp4Writer {
    /// Starts a file of `rate` frames a second for frames of `width` by `height` pixels. The video is
    /// padded by repeating its border where a size is odd or below 16.
    ///
    /// # Errors
    /// A size above 3840x2160, or a rate that is not positive.
    pub fn new(path: &Path, width: usize, height: usize, rate: f64) -> Result<Mp4Writer, DataError> {
        if !(rate > 0.0 && rate <= 1000.0) {
            return Err(DataError::Options(format!("a video of {rate} frames a second; give 1 to 1000")));
        }
        let (long, short) = (width.max(height), width.min(height));
        if short == 0 || long > 3840 || short > 2160 {
            return Err(DataError::Options(format!(
                "a video of {width}x{height} pixels; H.264 is written up to 3840x2160"
            )));
        }
        let config = EncoderConfig::new()
            .skip_frames(false)
            .rate_control_mode(RateControlMode::Quality)
            .bitrate(BitRate::from_bps(20_000_000))
            .qp(QpRange::new(QUALITY, QUALITY))
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::High)
            .max_frame_rate(FrameRate::from_hz(rate as f32))
            .intra_frame_period(IntraFramePeriod::from_num_frames(rate.ceil() as u32))
            .background_detection(false)
            .adaptive_quantization(false)
            .scene_change_detect(false)
            .num_threads(1)
            .vui(VuiConfig::bt709());
        let encoder = Encoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|e| DataError::format(path, format!("the video encoder does not start: {e}")))?;
        let even = |size: usize| size.max(16).next_multiple_of(2);
        let (width, height) = (even(width), even(height));
        let track = Track {
            width: width as u16,
            height: height as u16,
            rate,
            sequence: Vec::new(),
            picture: Vec::new(),
            samples: Vec::new(),
        };
        Ok(Mp4Writer { path: path.to_path_buf(), width, height, encoder, track })
    }

    /// Adds a frame; alpha is laid over white.
    ///
    /// # Errors
    /// A frame of another size, or a refusal of the encoder.
    pub fn push(&mut self, frame: &Picture) -> Result<(), DataError> {
        let fits = |size: usize, padded: usize| size.max(16).next_multiple_of(2) == padded;
        if !fits(frame.width, self.width) || !fits(frame.height, self.height) {
            return Err(DataError::format(
                &self.path,
                format!(
                    "frame {} has {}x{} pixels in a video of {}x{}",
                    self.track.samples.len(),
                    frame.width,
                    frame.height,
                    self.width,
                    self.height
                ),
            ));
        }
        let [luma, blue, red] = planes(frame, self.width, self.height);
        let half = self.width / 2;
        let source = YUVSlices::new((&luma, &blue, &red), (self.width, self.height), (self.width, half, half));
        let stream = self
            .encoder
            .encode(&source)
            .map_err(|e| DataError::format(&self.path, format!("the video encoder refused a frame: {e}")))?;
        let mut sample = Sample { bytes: Vec::new(), key: false };
        for layer in (0..stream.num_layers()).filter_map(|i| stream.layer(i)) {
            for unit in (0..layer.nal_count()).filter_map(|i| layer.nal_unit(i)) {
                // Each unit comes behind a start code, 0 0 1 or 0 0 0 1.
                let code = unit.iter().position(|&b| b == 1).map_or(0, |i| i + 1);
                let unit = &unit[code..];
                match unit.first().map(|b| b & 31) {
                    None => {}
                    Some(7) => self.track.sequence = unit.to_vec(),
                    Some(8) => self.track.picture = unit.to_vec(),
                    Some(kind) => {
                        sample.key |= kind == 5;
                        sample.bytes.extend((unit.len() as u32).to_be_bytes());
                        sample.bytes.extend(unit);
                    }
                }
            }
        }
        self.track.samples.push(sample);
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    /// No frames, more than 4 GiB, or a file that cannot be written.
    pub fn finish(self) -> Result<(), DataError> {
        if self.track.samples.is_empty() {
            return Err(DataError::format(&self.path, "a video needs at least one frame"));
        }
        let total: usize = self.track.samples.iter().map(|s| s.bytes.len()).sum();
        if total >= u32::MAX as usize - (1 << 24) {
            return Err(DataError::format(&self.path, "the video is larger than 4 GiB; make it shorter"));
        }
        std::fs::write(&self.path, bmff::write(&self.track)).map_err(DataError::io(&self.path))
    }
}

/// Luma, blue and red difference, 4:2:0, BT.709 in video range (ITU-R BT.709-6, items 3.2 to 3.4),
/// padded by repeating the border.
fn planes(frame: &Picture, width: usize, height: usize) -> [Vec<u8>; 3] {
    const KR: f32 = 0.2126;
    const KB: f32 = 0.0722;
    let rgb = frame.rgb();
    let split = |x: usize, y: usize| {
        let p = rgb.pixel(x.min(rgb.width - 1), y.min(rgb.height - 1));
        let [r, g, b] = [p[0], p[1], p[2]].map(|v| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) });
        let y = KR * r + (1.0 - KR - KB) * g + KB * b;
        [y, (b - y) / (2.0 * (1.0 - KB)), (r - y) / (2.0 * (1.0 - KR))]
    };
    let mut luma = Vec::with_capacity(width * height);
    for y in 0..height {
        luma.extend((0..width).map(|x| (16.5 + 219.0 * split(x, y)[0]) as u8));
    }
    let mut blue = Vec::with_capacity(width * height / 4);
    let mut red = Vec::with_capacity(width * height / 4);
    for y in (0..height).step_by(2) {
        for x in (0..width).step_by(2) {
            let four = [split(x, y), split(x + 1, y), split(x, y + 1), split(x + 1, y + 1)];
            let mean = |k: usize| four.iter().map(|c| c[k]).sum::<f32>() / 4.0;
            blue.push((128.5 + 224.0 * mean(1)) as u8);
            red.push((128.5 + 224.0 * mean(2)) as u8);
        }
    }
    [luma, blue, red]
}

/// Writes frames as an MP4 file; see [`Mp4Writer`].
///
/// # Errors
/// As [`Mp4Writer`]: no frames, frames of several sizes, or a file that cannot be written.
pub fn write_mp4(path: &Path, frames: &[Picture], rate: f64) -> Result<(), DataError> {
    let first = frames.first().ok_or_else(|| DataError::format(path, "a video needs at least one frame"))?;
    let mut writer = Mp4Writer::new(path, first.width, first.height, rate)?;
    frames.iter().try_for_each(|frame| writer.push(frame))?;
    writer.finish()
}

/// Writes frames as a GIF that repeats for ever, with a palette of its own for each frame; alpha is
/// laid over white. A GIF counts time in hundredths of a second, and viewers slow down faster ones
/// than 50 frames a second.
///
/// # Errors
/// No frames, frames of several sizes, or a file that cannot be written.
pub fn write_gif(path: &Path, frames: &[Picture], rate: f64) -> Result<(), DataError> {
    let first = frames.first().ok_or_else(|| DataError::format(path, "an animation needs at least one frame"))?;
    if rate.is_nan() || rate <= 0.0 {
        return Err(DataError::Options(format!("an animation of {rate} frames a second; give 1 to 50")));
    }
    let broken = |e: image::ImageError| DataError::format(path, e.to_string());
    let mut bytes = Vec::new();
    {
        let mut encoder = GifEncoder::new_with_speed(&mut bytes, 5);
        encoder.set_repeat(Repeat::Infinite).map_err(broken)?;
        for (i, frame) in frames.iter().enumerate() {
            if (frame.width, frame.height) != (first.width, first.height) {
                return Err(DataError::format(
                    path,
                    format!(
                        "frame {i} has {}x{} pixels in an animation of {}x{}",
                        frame.width, frame.height, first.width, first.height
                    ),
                ));
            }
            let rgba: Vec<u8> = frame.rgb_bytes().chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
            let buffer = image::RgbaImage::from_raw(frame.width as u32, frame.height as u32, rgba)
                .ok_or_else(|| DataError::format(path, "a frame's pixels do not fill it"))?;
            let delay = image::Delay::from_saturating_duration(Duration::from_secs_f64(1.0 / rate));
            encoder.encode_frame(image::Frame::from_parts(buffer, 0, 0, delay)).map_err(broken)?;
        }
    }
    std::fs::write(path, bytes).map_err(DataError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::AnimationDecoder;
    use openh264::decoder::Decoder;
    use openh264::formats::YUVSource;

    fn moving(width: usize, height: usize, count: usize) -> Vec<Picture> {
        (0..count)
            .map(|t| {
                Picture::from_fn(width, height, 3, |x, y, c| {
                    let phase = (x + 2 * t) as f32 * 0.11 + y as f32 * 0.07 + c as f32;
                    0.5 + 0.4 * phase.sin()
                })
            })
            .collect()
    }

    /// The boxes directly in `bytes`: kind and contents.
    fn boxes(bytes: &[u8]) -> Vec<(String, &[u8])> {
        let mut out = Vec::new();
        let mut rest = bytes;
        while rest.len() >= 8 {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            out.push((String::from_utf8_lossy(&rest[4..8]).into_owned(), &rest[8..length]));
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        out
    }

    #[test]
    fn a_video_decodes_to_its_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mp4");
        let frames = moving(65, 48, 12);
        write_mp4(&path, &frames, 10.0).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let top = boxes(&bytes);
        assert_eq!(top.iter().map(|b| b.0.as_str()).collect::<Vec<_>>(), ["ftyp", "moov", "mdat"]);

        // Decode what lies in `mdat`, with the parameter sets of `avcC`.
        let at = bytes.windows(4).position(|w| w == b"avcC").unwrap() + 4;
        let length = |i: usize| usize::from(u16::from_be_bytes([bytes[i], bytes[i + 1]]));
        let first = length(at + 6);
        let second = length(at + 8 + first + 1);
        let mut stream = vec![0, 0, 0, 1];
        stream.extend(&bytes[at + 8..at + 8 + first]);
        stream.extend([0, 0, 0, 1]);
        stream.extend(&bytes[at + 11 + first..at + 11 + first + second]);
        let mut decoder = Decoder::new().unwrap();
        decoder.decode(&stream).unwrap();
        let mut rest = top[2].1;
        let mut count = 0;
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let unit = [&[0, 0, 0, 1], &rest[4..4 + length]].concat();
            rest = &rest[4 + length..];
            let Some(decoded) = decoder.decode(&unit).unwrap() else {
                continue;
            };
            assert_eq!(decoded.dimensions(), (66, 48));
            let expected = &planes(&frames[count], 66, 48)[0];
            let (stride, luma) = (decoded.strides().0, decoded.y());
            let error: f64 = (0..48 * 66)
                .map(|i| f64::from(luma[i / 66 * stride + i % 66]) - f64::from(expected[i]))
                .map(|d| d * d)
                .sum();
            assert!(error / (48.0 * 66.0) < 9.0, "frame {count}: {error}");
            count += 1;
        }
        assert!(count >= 11, "{count}");
    }

    #[test]
    fn colours_are_those_of_the_standard() {
        let white = Picture::from_fn(16, 16, 3, |_, _, _| 1.0);
        assert_eq!(planes(&white, 16, 16).map(|p| p[0]), [235, 128, 128]);
        let red = Picture::from_fn(16, 16, 3, |_, _, c| if c == 0 { 1.0 } else { 0.0 });
        assert_eq!(planes(&red, 16, 16).map(|p| p[0]), [63, 102, 240]);
    }

    #[test]
    fn a_gif_keeps_its_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gif");
        let frames = moving(40, 30, 5);
        write_gif(&path, &frames, 20.0).unwrap();
        let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
        let back = image::codecs::gif::GifDecoder::new(file).unwrap().into_frames().collect_frames().unwrap();
        assert_eq!(back.len(), 5);
        assert_eq!(back[0].delay().numer_denom_ms(), (50, 1));
        let bytes = frames[3].rgb_bytes();
        let error: f64 = back[3]
            .buffer()
            .pixels()
            .zip(bytes.chunks_exact(3))
            .map(|(a, b)| (0..3).map(|c| (f64::from(a[c]) - f64::from(b[c])).powi(2)).sum::<f64>())
            .sum();
        assert!(error / bytes.len() as f64 <= 60.0, "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let path = Path::new("never-written.mp4");
        assert!(write_mp4(path, &[], 30.0).is_err());
        assert!(write_gif(path, &[], 30.0).is_err());
        assert!(Mp4Writer::new(path, 5000, 16, 30.0).is_err());
        assert!(Mp4Writer::new(path, 64, 64, 0.0).is_err());
        let mut frames = moving(32, 32, 1);
        frames.extend(moving(64, 32, 1));
        let error = write_mp4(path, &frames, 30.0).unwrap_err().to_string();
        assert!(error.contains("frame 1") && error.contains("64x32"), "{error}");
        assert!(write_gif(path, &frames, 30.0).is_err());
    }
}
