//! Checkpoints: named arrays in files.
//!
//! [`Checkpoint::read`] recognises a file by its content, whatever it is called:
//!
//! | content | written by |
//! |---|---|
//! | safetensors | visage, and most of today's models |
//! | a zip archive with a `data.pkl` | `torch.save` since PyTorch 1.6 (`.pth`, `.pt`, `.tar`) |
//! | a row of pickles | `torch.save` before that; `pickle.dump` of NumPy arrays |
//! | NumPy's `.npy` and `.npz` | `numpy.save`, also of object arrays, and `numpy.savez` |
//!
//! Nested containers become dotted names and whole modules the names of their `state_dict()`; numbers and
//! text beside the tensors become [`Checkpoint::scalars`].
//!
//! ```
//! use visage_runtime::array::Array;
//! use visage_runtime::checkpoint::{Checkpoint, read_tensor};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("weights.safetensors");
//! let mut checkpoint = Checkpoint::default();
//! checkpoint.tensors.insert("rgb_linear.bias".into(), Array::from_slice([3], &[0.25f32, 0.5, 1.0])?);
//! checkpoint.write_safetensors(&path)?;
//! assert_eq!(Checkpoint::read(&path)?, checkpoint);
//! assert_eq!(read_tensor(&path, "rgb_linear.bias")?.to_f32(), [0.25, 0.5, 1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Files from strangers
//!
//! Nothing in a file is executed or imported: a pickle is run by a machine that knows containers, numbers
//! and tensors, and refuses every call but those that rebuild them. No declared length is believed beyond
//! the bytes that are there. What a few bytes can multiply (views that repeat a storage, compressed
//! members, containers that share each other) is bounded by the length of the file: tensors may take four
//! times its bytes, compressed members sixty-four times, each with 16 MiB to spare. Errors name the file,
//! the tensor or archive member, and the byte offset.

mod archive;
mod error;
mod flatten;
mod limits;
mod numpy;
mod numpy_type;
mod pickle;
mod safetensors;
mod source;
mod stored;
mod strided;
mod tensors;
mod torch;

pub use error::{CheckpointError, Problem};

use crate::array::Array;
use crate::files::write_atomically;
use archive::Archive;
use error::Result;
use indexmap::IndexMap;
use source::Source;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, SeekFrom};
use std::path::Path;

/// The name of the array of a file that holds one array and no name: a `.npy` file.
pub const SOLE: &str = "array";

/// Named arrays, and what stood beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The arrays by their dotted names, in the order of the file.
    pub tensors: IndexMap<String, Array>,
    /// Numbers and text of a pickle by their dotted names; `.safetensors` has none.
    pub scalars: IndexMap<String, Scalar>,
    /// The metadata of a `.safetensors` file; other files have none.
    pub metadata: BTreeMap<String, String>,
}

/// A value of a pickle that is no array.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 64 bits. Larger ones are left out.
    Integer(i64),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
}

impl Checkpoint {
    /// Reads a file, recognised by its content.
    ///
    /// # Errors
    /// The file cannot be read, is none of the formats, breaks the rules of its format, or would run code
    /// or take more memory than its size warrants.
    pub fn read(path: &Path) -> Result<Self> {
        open(path).and_then(|(mut file, length)| read(&mut file, length)).map_err(|error| error.in_file(path))
    }

    /// Reads the content of a file, as [`Checkpoint::read`] does.
    ///
    /// # Errors
    /// As [`Checkpoint::read`], without the file's name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    /// Writes tensors and metadata as `.safetensors`: whole, or not at all. [`Checkpoint::scalars`] have no
    /// place in that format. The same content always gives the same bytes.
    ///
    /// # Errors
    /// The file cannot be written, or a tensor is called `__metadata__`.
    pub fn write_safetensors(&self, path: &Path) -> Result<()> {
        write_atomically(path, |writer| safetensors::write(writer, &self.tensors, &self.metadata))
            .map_err(|error| error.in_file(path))
    }

    /// The content of a `.safetensors` file of these tensors and metadata.
    ///
    /// # Errors
    /// A tensor is called `__metadata__`.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        safetensors::write(&mut bytes, &self.tensors, &self.metadata)?;
        Ok(bytes)
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// There is none; the message says which names there are.
    pub fn tensor(&self, name: &str) -> Result<&Array> {
        self.tensors.get(name).ok_or_else(|| missing(name, self.tensors.keys().map(String::as_str)))
    }

    /// The tensor of a checkpoint that holds exactly one, whatever its name.
    ///
    /// # Errors
    /// There are none or several; the message says which names there are.
    pub fn into_sole_tensor(mut self) -> Result<Array> {
        match self.tensors.len() {
            1 => self.tensors.pop().map(|(_, array)| array).ok_or_else(|| CheckpointError::missing("no tensor")),
            count => {
                let names = listed(self.tensors.keys().map(String::as_str));
                Err(CheckpointError::missing(format!("one tensor was expected, but there are {count}: {names}")))
            }
        }
    }
}

/// Reads one tensor. From a `.safetensors` file no byte of the others is read.
///
/// # Errors
/// As [`Checkpoint::read`]; or there is no tensor of this name, and the message says which there are.
pub fn read_tensor(path: &Path, name: &str) -> Result<Array> {
    let read = || {
        let (mut file, length) = open(path)?;
        if recognise(&mut file, length)? == Format::Safetensors {
            return safetensors::read_tensor(&mut file, length, name);
        }
        let mut checkpoint = read(&mut file, length)?;
        match checkpoint.tensors.swap_remove(name) {
            Some(array) => Ok(array),
            None => Err(missing(name, checkpoint.tensors.keys().map(String::as_str))),
        }
    };
    read().map_err(|error| error.in_file(path))
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(CheckpointError::unsupported("this is not a regular file"));
    }
    Ok((file, metadata.len()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Safetensors,
    Zip,
    Pickles,
    Npy,
}

/// The format of a file, by the bytes it begins with.
fn recognise(source: &mut dyn Source, length: u64) -> Result<Format> {
    const LOOKED_AT: u64 = 512;
    let mut start = vec![0; length.min(LOOKED_AT) as usize];
    source.seek(SeekFrom::Start(0))?;
    source.read_exact(&mut start)?;
    let hint = match start.as_slice() {
        [] => "the file is empty".to_owned(),
        [_, _, _, _, _, _, _, _, b'{', ..] => return Ok(Format::Safetensors),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => return Ok(Format::Zip),
        [0x80, 2..=5, ..] => return Ok(Format::Pickles),
        start if start.starts_with(numpy::MAGIC) => return Ok(Format::Npy),
        start if start.get(257..262) == Some(b"ustar") => {
            "this is a tar archive, PyTorch's layout before version 0.1.10; load and save it again with a newer one"
                .to_owned()
        }
        [0x1f, 0x8b, ..] => "this file is compressed with gzip; decompress it first".to_owned(),
        [0x89, b'H', b'D', b'F', ..] => {
            "this is an HDF5 file (Keras); convert its weights to .safetensors or .npz first".to_owned()
        }
        start => {
            let shown: Vec<_> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("this is neither safetensors, PyTorch nor NumPy; it begins with {}", shown.join(" "))
        }
    };
    Err(CheckpointError::unsupported(hint).at(0))
}

fn read(source: &mut dyn Source, length: u64) -> Result<Checkpoint> {
    match recognise(source, length)? {
        Format::Safetensors => {
            let (tensors, metadata) = safetensors::read(source, length)?;
            Ok(Checkpoint { tensors, metadata, ..Checkpoint::default() })
        }
        Format::Pickles => torch::read_pickles(source, length),
        Format::Npy => numpy::read_npy(source, length),
        Format::Zip => {
            let archive = Archive::open(source, length)?;
            let names = archive.names()?;
            match torch::find_pickle(&names) {
                Some(pickle) => torch::read_zip(archive, pickle),
                None if names.iter().all(|name| name.ends_with(".npy")) => numpy::read_npz(archive, &names),
                None => {
                    let names = listed(names.iter().map(String::as_str));
                    let message = format!("this archive is neither PyTorch's nor NumPy's; it holds {names}");
                    Err(CheckpointError::unsupported(message))
                }
            }
        }
    }
}

fn missing<'a>(name: &str, names: impl ExactSizeIterator<Item = &'a str>) -> CheckpointError {
    CheckpointError::missing(format!("there is no tensor `{name}`; there are {}", listed(names)))
}

/// The first few names, for messages.
fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 8;
    let count = names.len();
    let shown: Vec<_> = names.take(SHOWN).map(|name| format!("`{name}`")).collect();
    match (count, count.saturating_sub(SHOWN)) {
        (0, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        (_, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
