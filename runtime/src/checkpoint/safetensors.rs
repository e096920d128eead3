//! `.safetensors`: eight bytes of header length, a JSON header, then the tensors one after the other.
//!
//! The header is parsed and checked by the `safetensors` crate (every tensor's bytes follow the previous
//! one's, with neither gap nor overlap, and are as many as its shape needs); the bytes are read here, so
//! that one tensor can be had without the others.

use super::error::{CheckpointError, Result};
use super::source::Source;
use super::stored::StoredType;
use crate::array::{Array, ElementType};
use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use indexmap::IndexMap;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{SeekFrom, Write};

/// The longest header that the format's own library accepts, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// The header's key that is no tensor.
const METADATA: &str = "__metadata__";

/// A checked header and where the tensors begin.
struct Header {
    metadata: Metadata,
    data: u64,
}

fn read_header(source: &mut dyn Source, length: u64) -> Result<Header> {
    let truncated = || CheckpointError::malformed(format!("a file of {length} bytes is too short for a header")).at(0);
    let mut prefix = [0; 8];
    source.seek(SeekFrom::Start(0))?;
    if length < 8 {
        return Err(truncated());
    }
    source.read_exact(&mut prefix)?;
    let declared = u64::from_le_bytes(prefix);
    if declared > LONGEST_HEADER || declared > length - 8 {
        let message = format!("a header of {declared} bytes is declared in a file of {length} bytes");
        return Err(CheckpointError::malformed(message).at(0));
    }
    let mut header = vec![0; declared as usize];
    source.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
        let line_start = header.split(|&byte| byte == b'\n').take(error.line().saturating_sub(1)).map(|l| l.len() + 1);
        let offset = 8 + line_start.sum::<usize>() + error.column().saturating_sub(1);
        CheckpointError::malformed(format!("the header is not valid: {error}")).at(offset as u64)
    })?;
    let data = 8 + declared;
    let expected = data.saturating_add(metadata.data_len() as u64);
    if expected != length {
        let message = format!("the header describes a file of {expected} bytes, but it has {length}");
        return Err(CheckpointError::malformed(message).at(data));
    }
    Ok(Header { metadata, data })
}

fn read_array(source: &mut dyn Source, header: &Header, name: &str, info: &TensorInfo) -> Result<Array> {
    let (begin, end) = info.data_offsets;
    let offset = header.data + begin as u64;
    let read = || -> Result<Array> {
        let stored = StoredType::from_safetensors(info.dtype)
            .ok_or_else(|| CheckpointError::unsupported(format!("elements of type {} cannot be read", info.dtype)))?;
        source.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; end - begin];
        source.read_exact(&mut bytes)?;
        stored.into_array(info.shape.clone(), bytes).map_err(|error| CheckpointError::malformed(error.to_string()))
    };
    let mut read = read;
    read().map_err(|error| error.at(offset).within(format!("tensor `{name}`")))
}

/// What a `.safetensors` file holds: its tensors in file order, and its metadata.
pub(super) fn read(
    source: &mut dyn Source,
    length: u64,
) -> Result<(IndexMap<String, Array>, BTreeMap<String, String>)> {
    let header = read_header(source, length)?;
    let mut infos: Vec<_> = header.metadata.tensors().into_iter().collect();
    infos.sort_by(|(a, left), (b, right)| (left.data_offsets, a).cmp(&(right.data_offsets, b)));
    let mut tensors = IndexMap::with_capacity(infos.len());
    for (name, info) in infos {
        let array = read_array(source, &header, &name, info)?;
        tensors.insert(name, array);
    }
    let metadata = header.metadata.metadata().iter().flatten();
    Ok((tensors, metadata.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

/// One tensor, and no byte of the others.
pub(super) fn read_tensor(source: &mut dyn Source, length: u64, name: &str) -> Result<Array> {
    let header = read_header(source, length)?;
    let Some(info) = header.metadata.info(name) else {
        return Err(super::missing(name, header.metadata.offset_keys().iter().map(String::as_str)));
    };
    read_array(source, &header, name, info)
}

#[derive(Serialize)]
struct WrittenHeader<'a> {
    #[serde(rename = "__metadata__", skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: IndexMap<&'a str, TensorInfo>,
}

/// Writes tensors and metadata. The same content always gives the same bytes: tensors stay in their order,
/// but for wider elements going first, which keeps every tensor aligned to its elements.
pub(super) fn write(
    writer: &mut dyn Write,
    tensors: &IndexMap<String, Array>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    if tensors.contains_key(METADATA) {
        return Err(CheckpointError::unsupported(format!(
            "a tensor cannot be called `{METADATA}` in a .safetensors file"
        )));
    }
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, array)| std::cmp::Reverse(array.element_type().size()));
    let mut end = 0;
    let infos = order.iter().map(|(name, array)| {
        let begin = end;
        end += array.bytes().len();
        let info = TensorInfo {
            dtype: written_type(array.element_type()),
            shape: array.shape().to_vec(),
            data_offsets: (begin, end),
        };
        (name.as_str(), info)
    });
    let header = WrittenHeader { metadata, tensors: infos.collect() };
    let mut header = serde_json::to_vec(&header).map_err(std::io::Error::from)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(&header)?;
    for (_, array) in order {
        writer.write_all(array.bytes())?;
    }
    Ok(())
}

fn written_type(element: ElementType) -> Dtype {
    match element {
        ElementType::F64 => Dtype::F64,
        ElementType::F32 => Dtype::F32,
        ElementType::F16 => Dtype::F16,
        ElementType::BF16 => Dtype::BF16,
        ElementType::I64 => Dtype::I64,
        ElementType::I32 => Dtype::I32,
        ElementType::I16 => Dtype::I16,
        ElementType::I8 => Dtype::I8,
        ElementType::U8 => Dtype::U8,
        ElementType::Bool => Dtype::BOOL,
    }
}
