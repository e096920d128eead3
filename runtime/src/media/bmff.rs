//! The container of an MP4 file: one H.264 track, index first, so that it plays while it loads.
//!
//! Boxes and their fields: ISO/IEC 14496-12 (base media file format) and 14496-15 (`avc1`, `avcC`).

/// One H.264 track.
pub struct Track {
    pub width: u16,
    pub height: u16,
    /// Frames a second.
    pub rate: f64,
    /// The sequence parameter set, a NAL unit without start code.
    pub sequence: Vec<u8>,
    /// The picture parameter set, likewise.
    pub picture: Vec<u8>,
    /// One entry a frame.
    pub samples: Vec<Sample>,
}

/// One coded frame.
pub struct Sample {
    /// NAL units, each behind its length in four bytes.
    pub bytes: Vec<u8>,
    /// Decodable without earlier frames.
    pub key: bool,
}

/// Ticks a frame lasts.
const TICKS: u32 = 1000;

/// The whole file.
pub fn write(track: &Track) -> Vec<u8> {
    let kinds = boxed(b"ftyp", |b| {
        b.extend(b"isom");
        u32s(b, &[0x200]);
        b.extend(b"isomiso2avc1mp41");
    });
    // The index holds the place of the data, which follows the index: its length does not depend on
    // that place, so it is laid out twice.
    let start = kinds.len() + movie(track, 0).len() + 8;
    let mut out = kinds;
    out.extend(movie(track, start as u32));
    out.extend(boxed(b"mdat", |b| track.samples.iter().for_each(|s| b.extend(&s.bytes))));
    out
}

fn boxed(kind: &[u8; 4], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(kind);
    fill(&mut out);
    let length = out.len() as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

/// A box with version and flags.
fn full(kind: &[u8; 4], flags: u32, fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    boxed(kind, |b| {
        u32s(b, &[flags]);
        fill(b);
    })
}

fn u32s(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|v| out.extend(v.to_be_bytes()));
}

fn u16s(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|v| out.extend(v.to_be_bytes()));
}

/// The identity as nine fixed-point numbers.
const UPRIGHT: [u32; 9] = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000];

fn movie(track: &Track, data: u32) -> Vec<u8> {
    let scale = (track.rate * f64::from(TICKS)).round() as u32;
    let length = track.samples.len() as u32 * TICKS;
    boxed(b"moov", |b| {
        b.extend(full(b"mvhd", 0, |b| {
            u32s(b, &[0, 0, scale, length, 0x10000]);
            u16s(b, &[0x100, 0, 0, 0, 0, 0]);
            u32s(b, &UPRIGHT);
            u32s(b, &[0, 0, 0, 0, 0, 0, 2]);
        }));
        b.extend(boxed(b"trak", |b| {
            // Flags: enabled, in the movie, in the preview.
            b.extend(full(b"tkhd", 7, |b| {
                u32s(b, &[0, 0, 1, 0, length, 0, 0]);
                u16s(b, &[0, 0, 0, 0]);
                u32s(b, &UPRIGHT);
                u32s(b, &[u32::from(track.width) << 16, u32::from(track.height) << 16]);
            }));
            b.extend(boxed(b"mdia", |b| {
                b.extend(full(b"mdhd", 0, |b| {
                    u32s(b, &[0, 0, scale, length]);
                    // Language "und" in three times five bits.
                    u16s(b, &[0x55c4, 0]);
                }));
                b.extend(full(b"hdlr", 0, |b| {
                    u32s(b, &[0]);
                    b.extend(b"vide");
                    u32s(b, &[0, 0, 0]);
                    b.extend(b"video\0");
                }));
                b.extend(boxed(b"minf", |b| {
                    b.extend(full(b"vmhd", 1, |b| u16s(b, &[0; 4])));
                    b.extend(boxed(b"dinf", |b| {
                        b.extend(full(b"dref", 0, |b| {
                            u32s(b, &[1]);
                            b.extend(full(b"url ", 1, |_| ()));
                        }));
                    }));
                    b.extend(sample_table(track, data));
                }));
            }));
        }));
    })
}

fn sample_table(track: &Track, data: u32) -> Vec<u8> {
    let count = track.samples.len() as u32;
    boxed(b"stbl", |b| {
        b.extend(full(b"stsd", 0, |b| {
            u32s(b, &[1]);
            b.extend(boxed(b"avc1", |b| {
                u16s(b, &[0, 0, 0, 1]);
                u16s(b, &[0; 8]);
                u16s(b, &[track.width, track.height]);
                // 72 dots per inch, one frame a sample, no compressor name, 24 bits a pixel.
                u32s(b, &[0x0048_0000, 0x0048_0000, 0]);
                u16s(b, &[1]);
                b.extend([0; 32]);
                u16s(b, &[0x18, 0xffff]);
                b.extend(boxed(b"avcC", |b| {
                    b.push(1);
                    b.extend(&track.sequence[1..4]);
                    b.extend([0xff, 0xe1]);
                    u16s(b, &[track.sequence.len() as u16]);
                    b.extend(&track.sequence);
                    b.push(1);
                    u16s(b, &[track.picture.len() as u16]);
                    b.extend(&track.picture);
                }));
            }));
        }));
        b.extend(full(b"stts", 0, |b| u32s(b, &[1, count, TICKS])));
        b.extend(full(b"stss", 0, |b| {
            let keys: Vec<u32> = (1..).zip(&track.samples).filter(|(_, s)| s.key).map(|(i, _)| i).collect();
            u32s(b, &[keys.len() as u32]);
            u32s(b, &keys);
        }));
        b.extend(full(b"stsc", 0, |b| u32s(b, &[1, 1, count, 1])));
        b.extend(full(b"stsz", 0, |b| {
            u32s(b, &[0, count]);
            track.samples.iter().for_each(|s| u32s(b, &[s.bytes.len() as u32]));
        }));
        b.extend(full(b"stco", 0, |b| u32s(b, &[1, data])));
    })
}
