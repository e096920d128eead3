//! TensorBoard event files: scalars and pictures by step.
//!
//! An event file is a row of TFRecords (`length`, masked CRC-32C of the length, bytes, masked CRC-32C of
//! the bytes; all little-endian), each an `Event` protocol buffer. The few fields needed are written
//! here by hand, with the numbers of `tensorflow/core/util/event.proto` and `framework/summary.proto`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// A new file in `folder`. Steps that start at `first_step` or later and stand in files already in
    /// the folder belong to a run that was cut off: they are cut away, so that each step occurs once.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path, first_step: u64) -> io::Result<EventWriter> {
        let mut earlier = 0;
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("events.out.tfevents.")) {
                cut_from(&path, first_step)?;
                earlier += 1;
            }
        }
        let seconds = wall_time() as u64;
        let path = folder.join(format!("events.out.tfevents.{seconds}.visage.{earlier:04}"));
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let mut writer = EventWriter { file, path };
        let version = Message::default().text(3, "brain.Event:2");
        writer.append(0, version)?;
        if first_step > 0 {
            // SessionLog { status: START }: the viewer drops what it read of later steps.
            writer.append(first_step, Message::default().message(7, Message::default().integer(1, 1)))?;
        }
        Ok(writer)
    }

    /// The file written to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds numbers to the graphs of the given tags.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars<'a>(&mut self, step: u64, values: impl IntoIterator<Item = (&'a str, f64)>) -> io::Result<()> {
        let summary = values.into_iter().fold(Message::default(), |summary, (tag, value)| {
            summary.message(1, Message::default().text(1, tag).float(2, value as f32))
        });
        self.append(step, Message::default().message(5, summary))
    }

    /// Adds a picture, given as the bytes of a PNG file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn picture(&mut self, step: u64, tag: &str, size: [usize; 2], png: &[u8]) -> io::Result<()> {
        let [width, height] = size.map(|size| size as u64);
        const RGB: u64 = 3;
        let image = Message::default().integer(1, height).integer(2, width).integer(3, RGB).bytes(4, png);
        let value = Message::default().text(1, tag).message(4, image);
        self.append(step, Message::default().message(5, Message::default().message(1, value)))
    }

    fn append(&mut self, step: u64, content: Message) -> io::Result<()> {
        let event = Message::default().double(1, wall_time()).integer(2, step).append(content).0;
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(&event);
        record.extend(masked_crc(&event).to_le_bytes());
        // One write a record, so that a process killed in between leaves whole records.
        self.file.write_all(&record)
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The checksum of a TFRecord: CRC-32C, rotated by 15 bits and offset, so that the checksum of data that
/// holds checksums is no trivial function of them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Shortens a file to the records before the first one of `step` or later, or before the first broken one.
fn cut_from(path: &Path, step: u64) -> io::Result<()> {
    let mut content = Vec::new();
    File::open(path)?.read_to_end(&mut content)?;
    let mut kept = 0;
    while let Some((event, length)) = record(&content[kept..]) {
        if step_of(event).is_some_and(|found| found >= step) && !is_header(event) {
            break;
        }
        kept += length;
    }
    if kept < content.len() {
        OpenOptions::new().write(true).open(path)?.set_len(kept as u64)?;
    }
    Ok(())
}

/// The first record's payload and the bytes that the record takes, if it is whole and sound.
fn record(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?;
    let payload = bytes.get(12..length.checked_add(12)?)?;
    let sound = word(8)? == masked_crc(&bytes[..8]) && word(12 + length)? == masked_crc(payload);
    sound.then_some((payload, length + 16))
}

/// The step of an event as [`EventWriter`] writes it: after nine bytes of wall time, field 2.
fn step_of(event: &[u8]) -> Option<u64> {
    let rest = event.get(9..)?;
    let (tag, rest) = rest.split_first()?;
    if *tag != 2 << 3 {
        return None;
    }
    let mut step = 0;
    for (i, byte) in rest.iter().enumerate().take(10) {
        step |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

/// Whether an event holds the file's version instead of a measurement.
fn is_header(event: &[u8]) -> bool {
    event.ends_with(b"brain.Event:2")
}

/// A protocol buffer under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, mut value: u64) -> Message {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
        self
    }

    fn key(self, field: u64, wire: u64) -> Message {
        self.varint(field << 3 | wire)
    }

    fn append(mut self, other: Message) -> Message {
        self.0.extend(other.0);
        self
    }

    fn integer(self, field: u64, value: u64) -> Message {
        self.key(field, 0).varint(value)
    }

    fn double(self, field: u64, value: f64) -> Message {
        self.key(field, 1).append(Message(value.to_le_bytes().to_vec()))
    }

    fn float(self, field: u64, value: f32) -> Message {
        self.key(field, 5).append(Message(value.to_le_bytes().to_vec()))
    }

    fn bytes(self, field: u64, value: &[u8]) -> Message {
        self.key(field, 2).varint(value.len() as u64).append(Message(value.to_vec()))
    }

    fn text(self, field: u64, value: &str) -> Message {
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: Message) -> Message {
        self.bytes(field, &value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &Path) -> Vec<u64> {
        let content = std::fs::read(path).unwrap();
        let mut at = 0;
        let mut steps = Vec::new();
        while let Some((event, length)) = record(&content[at..]) {
            steps.push(step_of(event).unwrap());
            at += length;
        }
        assert_eq!(at, content.len(), "the file is whole records");
        steps
    }

    /// The check value of CRC-32C (RFC 3720, B.4: 32 bytes of zeros), masked as TensorFlow does.
    #[test]
    fn checksums_are_those_of_tensorflow() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked_crc(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    #[test]
    fn a_scalar_is_the_protocol_buffer_that_tensorboard_reads() {
        let value = Message::default().text(1, "loss").float(2, 0.5);
        let event = Message::default().integer(2, 300).message(5, Message::default().message(1, value));
        let expected = [
            &[0x10, 0xac, 0x02][..],
            &[0x2a, 13, 0x0a, 11],
            &[0x0a, 4, b'l', b'o', b's', b's'],
            &[0x15, 0, 0, 0, 0x3f],
        ];
        assert_eq!(event.0, expected.concat());
    }

    #[test]
    fn what_a_cut_off_run_wrote_after_its_checkpoint_is_cut_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(folder.path(), 0).unwrap();
        for step in 0..5 {
            first.scalars(step, [("loss", 0.1), ("psnr", 20.0)]).unwrap();
        }
        first.picture(5, "view", [2, 1], b"png").unwrap();
        first.file.write_all(b"half a record").unwrap();
        let path = first.path().to_owned();
        drop(first);
        let mut second = EventWriter::create(folder.path(), 3).unwrap();
        second.scalars(3, [("loss", 0.2)]).unwrap();
        assert_eq!(steps(&path), [0, 0, 1, 2]);
        assert_eq!(steps(second.path()), [0, 3, 3]);
        assert_ne!(path, second.path());
    }
}
