//! Zip archives: what PyTorch has written since 1.6, and `.npz`.

use super::error::{CheckpointError, Problem, Result};
use super::limits::Allowance;
use super::source::Source;
use std::io::Read;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

/// An archive whose members cost no more memory than the file warrants.
pub(super) struct Archive<'a> {
    zip: ZipArchive<&'a mut dyn Source>,
    length: u64,
    stored: Allowance,
    inflation: Allowance,
}

impl<'a> Archive<'a> {
    /// Reads the directory of an archive that is `length` bytes long.
    pub(super) fn open(source: &'a mut dyn Source, length: u64) -> Result<Self> {
        let zip = ZipArchive::new(source)?;
        if zip.has_duplicate_names() {
            return Err(CheckpointError::malformed("the archive has two members of one name"));
        }
        Ok(Self { zip, length, stored: Allowance::for_stored(length), inflation: Allowance::for_inflation(length) })
    }

    /// The length of the file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The names of the members, in the directory's order.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.zip.file_names().map(|name| Ok(name?.into_owned())).collect()
    }

    /// Whether there is a member of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// The content of a member; its checksum is verified.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        self.read_member(name).map_err(|error| error.within(format!("member `{name}`")))
    }

    fn read_member(&mut self, name: &str) -> Result<Vec<u8>> {
        let member = self.zip.by_name(name)?;
        let declared = member.size();
        let expected = if member.compression() == CompressionMethod::Stored {
            self.stored.take(declared)?;
            declared
        } else {
            self.inflation.take(declared)?;
            // Grows as bytes arrive, for a declared size is only a claim.
            member.compressed_size().min(declared).min(self.length)
        };
        let mut content = Vec::with_capacity(expected as usize);
        member.take(declared.saturating_add(1)).read_to_end(&mut content).map_err(malformed_stream)?;
        if content.len() as u64 != declared {
            let message = format!("{declared} bytes are declared, but {} were found", content.len());
            return Err(CheckpointError::malformed(message));
        }
        Ok(content)
    }
}

/// The archive reader reports bad checksums and broken streams as errors of input.
fn malformed_stream(error: std::io::Error) -> CheckpointError {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof | ErrorKind::Other => {
            CheckpointError::malformed(error.to_string())
        }
        _ => error.into(),
    }
}

impl From<ZipError> for CheckpointError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(error) => malformed_stream(error),
            ZipError::InvalidArchive(_) => Problem::Malformed(error.to_string()).into(),
            ZipError::FileNotFound => Problem::Malformed("the archive has no such member".to_owned()).into(),
            _ => Problem::Unsupported(error.to_string()).into(),
        }
    }
}
