//! What `torch.save` writes.
//!
//! Since PyTorch 1.6 that is a zip archive: `NAME/data.pkl` is the pickle, `NAME/data/KEY` the storages,
//! `NAME/byteorder` the byte order. Before, and with `_use_new_zipfile_serialization=False`, it is five
//! pickles in a row (a magic number, a protocol version, facts of the machine, the object, the keys of
//! the storages) and then, for each key, an element count of 64 bits and the elements.

use super::Checkpoint;
use super::archive::Archive;
use super::error::{CheckpointError, Result};
use super::flatten::flatten;
use super::limits::Limits;
use super::pickle::{Pickle, Value};
use super::source::{Bytes, Source};
use super::tensors::{NoStorages, Storages, arrays};
use std::collections::HashMap;
use std::io::{BufReader, Cursor, SeekFrom};

/// The first pickle of the legacy layout, 0x1950a86a20f9469cfc6c, little-endian.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The second pickle of the legacy layout.
const LEGACY_PROTOCOL: i64 = 1001;

/// The pickle of a zip archive, where it has one.
pub(super) fn find_pickle(names: &[String]) -> Option<&String> {
    names.iter().find(|name| match name.strip_suffix("data.pkl") {
        Some(folder) => folder.is_empty() || folder.ends_with('/') && folder.matches('/').count() == 1,
        None => false,
    })
}

/// Reads the zip layout, whose pickle is the member `name`.
pub(super) fn read_zip(mut archive: Archive, name: &str) -> Result<Checkpoint> {
    let folder = name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let order = format!("{folder}byteorder");
    if archive.contains(&order) {
        let order = archive.read(&order)?;
        if order != b"little" {
            return Err(big_endian(&String::from_utf8_lossy(&order)));
        }
    }
    let content = archive.read(name)?;
    let mut limits = Limits::of(archive.length());
    let read = || -> Result<_> {
        let length = content.len() as u64;
        let mut reader = Cursor::new(content);
        let pickle = Pickle::read(&mut Bytes::new(&mut reader, 0, length))?;
        let flat = flatten(&pickle, &mut limits)?;
        Ok((pickle, flat))
    };
    let (pickle, flat) = read().map_err(|error| error.within(format!("member `{name}`")))?;
    let tensors = arrays(&pickle, &flat, &mut Members { archive, folder }, &mut limits)?;
    Ok(Checkpoint { tensors, scalars: flat.scalars, ..Checkpoint::default() })
}

/// Storages that are members of an archive.
struct Members<'a> {
    archive: Archive<'a>,
    folder: String,
}

impl Storages for Members<'_> {
    fn load(&mut self, key: &str, bytes: u64) -> Result<Vec<u8>> {
        let name = format!("{}data/{key}", self.folder);
        let content = self.archive.read(&name)?;
        if content.len() as u64 != bytes {
            let message = format!("member `{name}` has {} bytes, but the pickle says {bytes}", content.len());
            return Err(CheckpointError::malformed(message));
        }
        Ok(content)
    }
}

/// Reads a file that begins with a pickle: the legacy layout, or one pickle of NumPy arrays.
pub(super) fn read_pickles(source: &mut dyn Source, length: u64) -> Result<Checkpoint> {
    source.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(&mut *source);
    let mut bytes = Bytes::new(&mut reader, 0, length);
    let first = Pickle::read(&mut bytes)?;
    let mut limits = Limits::of(length);
    match first.value(first.root()) {
        Value::Wide(magic) if **magic == MAGIC => {}
        _ => {
            let flat = flatten(&first, &mut limits)?;
            let tensors = arrays(&first, &flat, &mut NoStorages, &mut limits)?;
            return Ok(Checkpoint { tensors, scalars: flat.scalars, ..Checkpoint::default() });
        }
    }
    let at = bytes.offset();
    let protocol = Pickle::read(&mut bytes)?;
    if !matches!(protocol.value(protocol.root()), Value::Int(LEGACY_PROTOCOL)) {
        let message = format!("the version of the legacy layout is not {LEGACY_PROTOCOL}");
        return Err(CheckpointError::unsupported(message).at(at));
    }
    let machine = Pickle::read(&mut bytes)?;
    if let Value::Dict(facts) = machine.value(machine.root())
        && let Some(little) = machine.entry(facts, "little_endian")
        && matches!(machine.value(little), Value::Bool(false))
    {
        return Err(big_endian("big"));
    }
    let pickle = Pickle::read(&mut bytes)?;
    let flat = flatten(&pickle, &mut limits)?;
    let places = storage_places(&pickle, &mut bytes)?;
    drop(reader);
    let tensors = arrays(&pickle, &flat, &mut Stretches { source, places }, &mut limits)?;
    Ok(Checkpoint { tensors, scalars: flat.scalars, ..Checkpoint::default() })
}

/// Reads the list of storages and the element count in front of each; gives offsets and lengths in bytes.
fn storage_places(pickle: &Pickle, bytes: &mut Bytes) -> Result<HashMap<String, (u64, u64)>> {
    let mut declared = HashMap::new();
    for storage in pickle.storages() {
        let size = storage.element.map_or(1, |element| element.size()) as u64;
        declared.insert(pickle.text(storage.key).unwrap_or_default(), (storage.whole, size));
    }
    let at = bytes.offset();
    let keys = Pickle::read(bytes)?;
    let Value::List(list) = keys.value(keys.root()) else {
        return Err(CheckpointError::malformed("the list of storages is not a list").at(at));
    };
    let mut places = HashMap::new();
    for &key in list {
        let at = bytes.offset();
        let key = keys.text(key).ok_or_else(|| CheckpointError::malformed("a storage's key is not text").at(at))?;
        let Some(&(whole, size)) = declared.get(key) else {
            let message = format!("a storage `{key}` is listed that the object does not mention");
            return Err(CheckpointError::malformed(message).at(at));
        };
        let count = u64::from_le_bytes(bytes.array()?);
        if count != whole {
            let message = format!("storage `{key}` has {count} elements, but the object says {whole}");
            return Err(CheckpointError::malformed(message).at(at));
        }
        let (begin, extent) = (bytes.offset(), count.saturating_mul(size));
        bytes.skip(extent)?;
        if places.insert(key.to_owned(), (begin, extent)).is_some() {
            return Err(CheckpointError::malformed(format!("storage `{key}` is listed twice")).at(at));
        }
    }
    Ok(places)
}

/// Storages that are stretches of a file.
struct Stretches<'a> {
    source: &'a mut dyn Source,
    places: HashMap<String, (u64, u64)>,
}

impl Storages for Stretches<'_> {
    fn load(&mut self, key: &str, bytes: u64) -> Result<Vec<u8>> {
        let Some(&(begin, extent)) = self.places.get(key) else {
            return Err(CheckpointError::malformed(format!("storage `{key}` is not in the file")));
        };
        if extent != bytes {
            let message = format!("storage `{key}` has {extent} bytes, but the pickle says {bytes}");
            return Err(CheckpointError::malformed(message).at(begin));
        }
        self.source.seek(SeekFrom::Start(begin))?;
        let mut content = vec![0; extent as usize];
        self.source.read_exact(&mut content)?;
        Ok(content)
    }
}

fn big_endian(order: &str) -> CheckpointError {
    CheckpointError::unsupported(format!(
        "the tensors are in byte order `{order}`; only little-endian files are read, so save it again on such a machine"
    ))
}
