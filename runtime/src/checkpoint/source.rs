//! Reading bytes of known extent, with the offset always at hand.

use super::error::{CheckpointError, Result};
use std::io::{BufRead, Read, Seek};

/// A checkpoint as it comes: a file, or bytes in memory.
pub(super) trait Source: Read + Seek {}
impl<T: Read + Seek> Source for T {}

/// Lines longer than this name nothing.
const LONGEST_LINE: usize = 4096;

/// A stretch of bytes whose length is known before it is read, so that no declared length is believed
/// beyond it.
pub(super) struct Bytes<'a> {
    reader: &'a mut dyn BufRead,
    offset: u64,
    end: u64,
}

impl<'a> Bytes<'a> {
    /// The bytes of `reader` from `offset`, where it stands, to `end`.
    pub(super) fn new(reader: &'a mut dyn BufRead, offset: u64, end: u64) -> Self {
        Self { reader, offset, end }
    }

    /// Where the next byte lies.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The number of bytes not yet read.
    pub(super) fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.offset)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.claim(N as u64)?;
        self.reader.read_exact(&mut bytes)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    /// The next `count` bytes; nothing is allocated unless that many are there.
    pub(super) fn take(&mut self, count: u64) -> Result<Vec<u8>> {
        self.claim(count)?;
        let length = usize::try_from(count).map_err(|_| self.truncated(count))?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        self.offset += count;
        Ok(bytes)
    }

    /// Steps over `count` bytes.
    pub(super) fn skip(&mut self, count: u64) -> Result<()> {
        self.claim(count)?;
        let skipped = std::io::copy(&mut (&mut *self.reader).take(count), &mut std::io::sink())?;
        self.offset += skipped;
        if skipped == count { Ok(()) } else { Err(self.truncated(count - skipped)) }
    }

    /// Text up to a line feed, without it.
    pub(super) fn line(&mut self) -> Result<String> {
        let start = self.offset;
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => line.push(byte),
            }
            if line.len() > LONGEST_LINE {
                return Err(CheckpointError::malformed("a line without an end").at(start));
            }
        }
        String::from_utf8(line).map_err(|_| CheckpointError::malformed("a line that is not UTF-8").at(start))
    }

    fn claim(&self, count: u64) -> Result<()> {
        if count > self.remaining() { Err(self.truncated(count)) } else { Ok(()) }
    }

    fn truncated(&self, count: u64) -> CheckpointError {
        let left = self.remaining();
        CheckpointError::malformed(format!("{count} bytes are needed here, but {left} are left")).at(self.offset)
    }
}
