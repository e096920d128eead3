//! From named views to arrays.

use super::error::{CheckpointError, Result};
use super::flatten::Flat;
use super::limits::{Allowance, Limits};
use super::pickle::{NumpyArray, Pickle, Tensor, Value};
use super::strided::View;
use crate::array::Array;
use indexmap::IndexMap;

/// Where the storages of a pickle's tensors lie.
pub(super) trait Storages {
    /// The bytes of a whole storage, which must be this many.
    fn load(&mut self, key: &str, bytes: u64) -> Result<Vec<u8>>;
}

/// For a pickle that stands alone.
pub(super) struct NoStorages;

impl Storages for NoStorages {
    fn load(&mut self, key: &str, _bytes: u64) -> Result<Vec<u8>> {
        Err(CheckpointError::malformed(format!("the pickle refers to a storage `{key}`, and the file holds none")))
    }
}

/// Materialises every array of a pickle, row-major. Each storage is read once, however many tensors share
/// it; `limits` bound what sharing and repetition may cost.
pub(super) fn arrays(
    pickle: &Pickle,
    flat: &Flat,
    storages: &mut dyn Storages,
    limits: &mut Limits,
) -> Result<IndexMap<String, Array>> {
    let allowance = &mut limits.views;
    let mut by_storage: IndexMap<&str, Vec<(&str, &Tensor)>> = IndexMap::new();
    // The places are taken first, for reading goes by storage and the result by name.
    let mut arrays: IndexMap<String, Option<Array>> = flat.arrays.keys().map(|name| (name.clone(), None)).collect();
    for (name, &id) in &flat.arrays {
        match pickle.value(id) {
            Value::Tensor(tensor) => {
                let key = pickle.text(tensor.storage.key).unwrap_or_default();
                by_storage.entry(key).or_default().push((name, tensor));
            }
            Value::NumpyArray(array) => {
                let array = numpy(pickle, array, allowance).map_err(|error| error.within(tensor_called(name)))?;
                arrays.insert(name.clone(), Some(array));
            }
            _ => {}
        }
    }
    for (key, tensors) in by_storage {
        let Some((first, tensor)) = tensors.first() else {
            continue;
        };
        let bytes = storage_bytes(tensor);
        let whole = storages.load(key, bytes).map_err(|error| error.within(tensor_called(first)))?;
        let mut whole = Some(whole);
        for (index, (name, tensor)) in tensors.iter().enumerate() {
            let last = index + 1 == tensors.len();
            let array = torch(tensor, &mut whole, last, bytes, allowance);
            arrays.insert((*name).to_owned(), Some(array.map_err(|error| error.within(tensor_called(name)))?));
        }
    }
    Ok(arrays.into_iter().filter_map(|(name, array)| Some((name, array?))).collect())
}

fn storage_bytes(tensor: &Tensor) -> u64 {
    let size = tensor.storage.element.map_or(1, |element| element.size());
    tensor.storage.whole.saturating_mul(size as u64)
}

/// One tensor of a storage. The last one takes the storage's bytes as they are where it covers them all.
fn torch(
    tensor: &Tensor,
    whole: &mut Option<Vec<u8>>,
    last: bool,
    bytes: u64,
    allowance: &mut Allowance,
) -> Result<Array> {
    let size = tensor.element.size();
    if storage_bytes(tensor) != bytes {
        return Err(CheckpointError::malformed("its storage is given another size elsewhere in the pickle"));
    }
    let count = tensor.view.count().unwrap_or(usize::MAX);
    let covers = tensor.view.is_row_major() && count as u64 * size as u64 == bytes;
    let content = if last && covers {
        whole.take().unwrap_or_default()
    } else {
        allowance.take((count as u64).saturating_mul(size as u64))?;
        tensor.view.gather(whole.as_deref().unwrap_or_default(), size)
    };
    let array = tensor.element.into_array(tensor.view.shape.clone(), content);
    array.map_err(|error| CheckpointError::malformed(error.to_string()))
}

fn numpy(pickle: &Pickle, array: &NumpyArray, allowance: &mut Allowance) -> Result<Array> {
    let content = array.content.as_ref();
    let content = content.ok_or_else(|| CheckpointError::malformed("a NumPy array that was never filled"))?;
    let Value::Bytes(data) = pickle.value(content.data) else {
        return Err(CheckpointError::malformed("a NumPy array without data"));
    };
    allowance.take(data.len() as u64)?;
    let stored = content.element.stored()?;
    let view = View::dense(content.shape.clone(), content.column_major);
    let array = stored.into_array(content.shape.clone(), view.gather(data, stored.size()));
    array.map_err(|error| CheckpointError::malformed(error.to_string()))
}

fn tensor_called(name: &str) -> String {
    format!("tensor `{name}`")
}
