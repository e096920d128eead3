//! Python pickles, read as data.
//!
//! A pickle is a program for a stack machine; Python's own loader imports modules and calls whatever the
//! program names. This one knows only containers, numbers, text, tensors and arrays:
//!
//! - [`machine`] runs the opcodes that `torch.save` and `numpy.save` emit and refuses every other;
//! - [`functions`] is the list of the functions that a program may call (how PyTorch and NumPy rebuild
//!   tensors and containers), each a few lines that make a [`Value`]; a call of anything else is refused
//!   by name;
//! - classes outside that list are labels: an instance keeps its attributes and has no behaviour.
//!
//! Values live in one table and refer to each other by index, so that sharing costs nothing, cycles are
//! harmless and nothing recurses.

mod functions;
mod machine;

use super::error::Result;
use super::numpy_type::NumpyType;
use super::source::Bytes;
use super::stored::StoredType;
use super::strided::View;
use functions::Function;

/// Where a value lies in its pickle's table.
pub(super) type Id = u32;

/// Arrays of more axes than this are refused. NumPy and PyTorch both stop at 64.
pub(super) const MOST_AXES: usize = 64;

/// What a pickle can hold.
#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits: two's complement, little-endian.
    Wide(Box<[u8]>),
    Float(f64),
    Text(Box<str>),
    /// Bytes, or a Python 2 string.
    Bytes(Box<[u8]>),
    /// A list or a set.
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Dict(Vec<(Id, Id)>),
    /// A function that a pickle may call.
    Function(Function),
    /// A class or function that means nothing here, by its full name.
    Class(Box<str>),
    /// An instance of a class that means nothing here.
    Object(Box<Object>),
    /// An element type of PyTorch.
    ElementType(StoredType),
    /// A storage class of PyTorch; without a type, its elements are bytes.
    StorageType(Option<StoredType>),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    NumpyType(Box<NumpyType>),
    NumpyArray(Box<NumpyArray>),
    /// Something recognised that a checkpoint has no use for: a device, a layout.
    Inert,
}

/// An instance of an unknown class: what it was given, uninterpreted.
#[derive(Debug, Default)]
pub(super) struct Object {
    /// Its `__dict__`, or a tuple of that and its slots.
    pub(super) state: Option<Id>,
    /// What a subclass of `dict` holds.
    pub(super) items: Vec<(Id, Id)>,
    /// What a subclass of `list` or `set` holds.
    pub(super) elements: Vec<Id>,
}

/// A part of a storage that lies elsewhere in the file.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// The text that names the storage.
    pub(super) key: Id,
    /// The element type; without one, elements are bytes.
    pub(super) element: Option<StoredType>,
    /// Elements in the whole storage of that name.
    pub(super) whole: u64,
    /// The first element of this part.
    pub(super) offset: u64,
    /// Elements in this part.
    pub(super) count: u64,
}

/// A tensor of PyTorch.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) element: StoredType,
    /// The tensor's place, counted in its elements from the start of the whole storage.
    pub(super) view: View,
}

/// An array of NumPy, whose elements lie in the pickle itself.
#[derive(Debug, Default)]
pub(super) struct NumpyArray {
    /// `None` until the pickle has filled the array.
    pub(super) content: Option<NumpyContent>,
}

/// What an array of NumPy is filled with.
#[derive(Debug)]
pub(super) struct NumpyContent {
    pub(super) shape: Vec<usize>,
    pub(super) column_major: bool,
    pub(super) element: NumpyType,
    /// Bytes, or a list of objects.
    pub(super) data: Id,
}

/// A pickle that has been read.
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
    length: u64,
}

impl Pickle {
    /// Reads one pickle and stops behind it.
    pub(super) fn read(bytes: &mut Bytes) -> Result<Self> {
        let start = bytes.offset();
        let (values, root) = machine::Machine::new(bytes).run()?;
        Ok(Self { values, root, length: bytes.offset() - start })
    }

    /// What the pickle was made of.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// Bytes that the pickle took.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The number of values in the table.
    pub(super) fn count(&self) -> u64 {
        self.values.len() as u64
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id as usize]
    }

    /// Every storage that the pickle names.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// Text, or a Python 2 string that is UTF-8.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        text(&self.values, id)
    }

    /// The value of a dictionary under a key of text.
    pub(super) fn entry(&self, dict: &[(Id, Id)], key: &str) -> Option<Id> {
        dict.iter().rev().find(|&&(name, _)| self.text(name) == Some(key)).map(|&(_, value)| value)
    }
}

fn text(values: &[Value], id: Id) -> Option<&str> {
    match &values[id as usize] {
        Value::Text(text) => Some(text),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Wide(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Dict(_) => "a dictionary",
            Self::Function(_) => "a function",
            Self::Class(_) => "a class",
            Self::Object(_) => "an object",
            Self::ElementType(_) => "an element type",
            Self::StorageType(_) => "a storage class",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::NumpyType(_) => "a NumPy element type",
            Self::NumpyArray(_) => "a NumPy array",
            Self::Inert => "a device or layout",
        }
    }
}
