//! The functions that a pickle may call, and what a call of each makes.

use super::machine::Machine;
use super::{Id, MOST_AXES, NumpyArray, NumpyContent, Storage, Tensor, Value};
use crate::array::ElementType;
use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::numpy_type::NumpyType;
use crate::checkpoint::stored::StoredType;
use crate::checkpoint::strided::View;

/// A function that a pickle may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::checkpoint) enum Function {
    /// A mapping from pairs, or an empty one: `collections.OrderedDict`, `Counter`, `dict`.
    Dict,
    /// An empty mapping: `collections.defaultdict`, whose argument makes missing values.
    DefaultDict,
    /// A sequence as it is given: `set`, `frozenset`, `list`, `tuple`, `torch.Size`.
    Sequence,
    /// `copyreg._reconstructor`: an instance of the class in the first argument.
    Instance,
    /// `_codecs.encode`: bytes written as Latin-1 text.
    Latin1,
    /// `torch._utils._rebuild_tensor`, `_rebuild_tensor_v2`: storage, offset, shape, strides, ...
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: as before, and the element type seventh.
    TypedTensor,
    /// `torch._utils._rebuild_parameter`, `_rebuild_parameter_with_state`: the tensor first.
    Parameter,
    /// `torch._tensor._rebuild_from_type_v2`: another function and its arguments.
    FromType,
    /// Something that a checkpoint has no use for: `torch.device`.
    Inert,
    /// `numpy.core.multiarray._reconstruct`: an array to be filled.
    NumpyArray,
    /// `numpy.core.multiarray.scalar`: element type and bytes.
    NumpyScalar,
    /// `numpy.core.numeric._frombuffer`: bytes, element type, shape, order.
    NumpyBuffer,
    /// `numpy.dtype`.
    NumpyType,
}

/// What a global of a pickle means. No module is ever imported: an unknown name is only a label.
pub(super) fn resolve(module: &str, name: &str) -> Value {
    let function = match (module, name) {
        ("collections", "OrderedDict" | "Counter") => Function::Dict,
        ("collections", "defaultdict") => Function::DefaultDict,
        ("builtins" | "__builtin__", "dict") => Function::Dict,
        ("builtins" | "__builtin__", "set" | "frozenset" | "list" | "tuple") => Function::Sequence,
        ("copyreg" | "copy_reg", "_reconstructor") => Function::Instance,
        ("_codecs", "encode") => Function::Latin1,
        ("torch", "Size") => Function::Sequence,
        ("torch", "device") => Function::Inert,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Function::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Function::TypedTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Function::Parameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Function::FromType,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Function::NumpyArray,
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Function::NumpyScalar,
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Function::NumpyBuffer,
        ("numpy", "dtype") => Function::NumpyType,
        _ => return resolve_type(module, name),
    };
    Value::Function(function)
}

fn resolve_type(module: &str, name: &str) -> Value {
    let storage = match module {
        "torch" | "torch.cuda" => StoredType::from_torch_storage(name).map(Some),
        "torch.storage" if name == "UntypedStorage" => Some(None),
        _ => None,
    };
    let element = if module == "torch" { StoredType::from_torch(name) } else { None };
    match (storage, element) {
        (Some(storage), _) => Value::StorageType(storage),
        (_, Some(element)) => Value::ElementType(element),
        _ => Value::Class(format!("{module}.{name}").into()),
    }
}

impl Machine<'_, '_> {
    /// `function(*arguments)`
    pub(super) fn call(&mut self, function: Id, arguments: Id) -> Result<()> {
        let mut function = function;
        let mut arguments = arguments;
        // A rebuilt subclass of a tensor wraps the call that rebuilds the tensor itself.
        if let Value::Function(Function::FromType) = self.values[function as usize] {
            let wrapped = self.tuple(arguments)?;
            let [inner, _class, inner_arguments, _state] = *wrapped else {
                return Err(wrong_arguments("_rebuild_from_type_v2"));
            };
            (function, arguments) = (inner, inner_arguments);
        }
        let function = match &self.values[function as usize] {
            Value::Function(function) => *function,
            Value::Class(name) => return Err(not_callable(name)),
            other => {
                return Err(CheckpointError::malformed(format!("a call of {}", other.kind())));
            }
        };
        match function {
            Function::Dict => self.call_dict(arguments),
            Function::DefaultDict => self.push(Value::Dict(Vec::new())),
            Function::Sequence => match *self.tuple(arguments)? {
                [] => self.push(Value::List(Vec::new())),
                [sequence] => {
                    if !matches!(self.values[sequence as usize], Value::List(_) | Value::Tuple(_)) {
                        return Err(wrong_arguments("a set or sequence"));
                    }
                    self.push_again(sequence);
                    Ok(())
                }
                _ => Err(wrong_arguments("a set or sequence")),
            },
            Function::Instance => self.push_object(),
            Function::Latin1 => self.call_latin1(arguments),
            Function::Tensor => self.call_tensor(arguments, None),
            Function::TypedTensor => {
                let element = match self.tuple(arguments)?.get(6).map(|&id| &self.values[id as usize]) {
                    Some(&Value::ElementType(element)) => element,
                    Some(Value::Class(name)) => return Err(unreadable_elements(name)),
                    _ => return Err(wrong_arguments("_rebuild_tensor_v3")),
                };
                self.call_tensor(arguments, Some(element))
            }
            Function::Parameter => match self.tuple(arguments)?.first() {
                Some(&tensor) if matches!(self.values[tensor as usize], Value::Tensor(_)) => {
                    self.push_again(tensor);
                    Ok(())
                }
                _ => Err(wrong_arguments("_rebuild_parameter")),
            },
            Function::FromType => Err(CheckpointError::refused("a rebuilt type within a rebuilt type")),
            Function::Inert => self.push(Value::Inert),
            Function::NumpyArray => self.push(Value::NumpyArray(Box::<NumpyArray>::default())),
            Function::NumpyScalar => self.call_numpy_scalar(arguments),
            Function::NumpyBuffer => self.call_numpy_buffer(arguments),
            Function::NumpyType => {
                let name = self.tuple(arguments)?.first().and_then(|&id| super::text(&self.values, id));
                let parsed = NumpyType::parse(name.ok_or_else(|| wrong_arguments("numpy.dtype"))?);
                self.push(Value::NumpyType(Box::new(parsed)))
            }
        }
    }

    /// `class.__new__(class, *arguments)`
    pub(super) fn instantiate(&mut self, class: Id, arguments: Id) -> Result<()> {
        match &self.values[class as usize] {
            Value::Class(_) => self.push_object(),
            Value::Function(Function::Dict | Function::DefaultDict) => self.push(Value::Dict(Vec::new())),
            Value::Function(Function::Sequence) => self.call(class, arguments),
            other => Err(CheckpointError::malformed(format!("an instance of {}", other.kind()))),
        }
    }

    /// Gives an object its attributes. Those of dictionaries, tensors and the like say nothing that a
    /// checkpoint needs (`state_dict()` hangs `_metadata` on its dictionary) and are dropped.
    pub(super) fn build(&mut self, target: Id, state: Id) -> Result<()> {
        match &mut self.values[target as usize] {
            Value::Object(object) => object.state = Some(state),
            Value::Dict(_) | Value::List(_) | Value::Tensor(_) | Value::Inert => {}
            Value::NumpyArray(_) => self.fill_numpy_array(target, state)?,
            Value::NumpyType(_) => {
                let order = self.tuple(state)?.get(1).and_then(|&id| super::text(&self.values, id)).map(str::to_owned);
                let order = order.ok_or_else(|| wrong_arguments("numpy.dtype's state"))?;
                if let Value::NumpyType(element) = &mut self.values[target as usize] {
                    element.set_byte_order(&order);
                }
            }
            other => {
                return Err(CheckpointError::malformed(format!("attributes given to {}", other.kind())));
            }
        }
        Ok(())
    }

    /// What a persistent identity stands for: in PyTorch's files a storage, or a module's class.
    pub(super) fn persistent(&mut self, identity: Id) -> Result<()> {
        let parts = self.tuple(identity)?;
        match parts.first().and_then(|&tag| super::text(&self.values, tag)) {
            Some("module") => {
                let class = *parts.get(1).ok_or_else(|| wrong_arguments("a module's identity"))?;
                self.push_again(class);
                Ok(())
            }
            Some("storage") => {
                let storage = self.storage(parts)?;
                self.push(Value::Storage(Box::new(storage)))
            }
            _ => Err(CheckpointError::malformed("a persistent identity that is neither a storage nor a module")),
        }
    }

    fn storage(&self, parts: &[Id]) -> Result<Storage> {
        let wrong = || wrong_arguments("a storage's identity");
        let [_, class, key, _location, whole, rest @ ..] = parts else {
            return Err(wrong());
        };
        let element = match &self.values[*class as usize] {
            Value::StorageType(element) => *element,
            Value::Class(name) => return Err(unreadable_elements(name)),
            _ => return Err(wrong()),
        };
        super::text(&self.values, *key).ok_or_else(wrong)?;
        let whole = self.size(*whole)?;
        let (offset, count) = match rest.first().map(|&view| &self.values[view as usize]) {
            None | Some(Value::None) => (0, whole),
            Some(Value::Tuple(view)) => match **view {
                [_key, offset, count] => (self.size(offset)?, self.size(count)?),
                _ => return Err(wrong()),
            },
            Some(_) => return Err(wrong()),
        };
        let bytes = whole.checked_mul(element.map_or(1, StoredType::size) as u64);
        if bytes.is_none() || offset.checked_add(count).is_none_or(|end| end > whole) {
            let message = format!("a part of {count} elements from {offset} of a storage that has {whole}");
            return Err(CheckpointError::malformed(message));
        }
        Ok(Storage { key: *key, element, whole, offset, count })
    }

    fn call_dict(&mut self, arguments: Id) -> Result<()> {
        let given = match self.tuple(arguments)? {
            [] => None,
            [given] => Some(*given),
            _ => return Err(wrong_arguments("a dictionary")),
        };
        let entries = match given.map(|given| &self.values[given as usize]) {
            None => Vec::new(),
            Some(Value::Dict(entries)) => entries.clone(),
            Some(Value::List(pairs)) => pairs
                .iter()
                .map(|&pair| match &self.values[pair as usize] {
                    Value::Tuple(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                    Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                    _ => Err(wrong_arguments("a dictionary")),
                })
                .collect::<Result<_>>()?,
            Some(_) => return Err(wrong_arguments("a dictionary")),
        };
        self.spend(entries.len() as u64)?;
        self.push(Value::Dict(entries))
    }

    fn call_latin1(&mut self, arguments: Id) -> Result<()> {
        let bytes: Option<Box<[u8]>> = match *self.tuple(arguments)? {
            [given, encoding] => match (&self.values[given as usize], super::text(&self.values, encoding)) {
                (Value::Text(given), Some("latin1" | "latin-1")) => {
                    given.chars().map(|c| u8::try_from(c).ok()).collect()
                }
                _ => None,
            },
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| wrong_arguments("_codecs.encode, which may only write Latin-1,"))?;
        self.spend(bytes.len() as u64)?;
        self.push(Value::Bytes(bytes))
    }

    fn call_tensor(&mut self, arguments: Id, element: Option<StoredType>) -> Result<()> {
        let wrong = || wrong_arguments("_rebuild_tensor");
        let [storage, offset, shape, stride, ..] = *self.tuple(arguments)? else {
            return Err(wrong());
        };
        let Value::Storage(storage) = &self.values[storage as usize] else {
            return Err(wrong());
        };
        let storage = (**storage).clone();
        // An untyped storage counts bytes; the tensor counts elements of its own type.
        let element = element.or(storage.element);
        let element =
            element.ok_or_else(|| CheckpointError::malformed("an untyped storage in a tensor without a type"))?;
        let stored_size = storage.element.unwrap_or(StoredType::Native(ElementType::U8)).size() as u64;
        let size = element.size() as u64;
        let part = storage.offset * stored_size;
        if !part.is_multiple_of(size) {
            return Err(CheckpointError::malformed("a tensor that does not begin at a whole element"));
        }
        let shape = self.shape(shape)?;
        let stride = self.sequence(stride)?.iter().map(|&step| self.size(step)).collect::<Result<Vec<_>>>()?;
        if stride.len() != shape.len() {
            let message = format!("{} axes with {} strides", shape.len(), stride.len());
            return Err(CheckpointError::malformed(message));
        }
        let mut view = View { offset: self.size(offset)?, shape, stride };
        let available = storage.count.saturating_mul(stored_size) / size;
        match (view.extent(), view.count()) {
            (Some(extent), Some(_)) if extent <= available => {}
            _ => {
                let View { offset, shape, stride } = &view;
                return Err(CheckpointError::malformed(format!(
                    "a tensor of shape {shape:?} with strides {stride:?} from element {offset} does not lie \
                     within its storage of {available} elements"
                )));
            }
        }
        view.offset = view.offset.saturating_add(part / size);
        self.push(Value::Tensor(Box::new(Tensor { storage, element, view })))
    }

    fn call_numpy_scalar(&mut self, arguments: Id) -> Result<()> {
        let wrong = || wrong_arguments("numpy.core.multiarray.scalar");
        let [element, bytes] = *self.tuple(arguments)? else {
            return Err(wrong());
        };
        let (Value::NumpyType(element), Value::Bytes(bytes)) =
            (&self.values[element as usize], &self.values[bytes as usize])
        else {
            return Err(wrong());
        };
        let stored = element.stored()?;
        if bytes.len() != stored.size() {
            return Err(wrong());
        }
        let array = stored.into_array(Vec::new(), bytes.to_vec());
        let array = array.map_err(|error| CheckpointError::malformed(error.to_string()))?;
        self.push(match array.element_type() {
            ElementType::Bool => Value::Bool(array.bytes()[0] != 0),
            element if element.is_float() => Value::Float(array.to_f64()[0]),
            _ => Value::Int(array.to_i64().map_err(|error| CheckpointError::malformed(error.to_string()))?[0]),
        })
    }

    fn call_numpy_buffer(&mut self, arguments: Id) -> Result<()> {
        let wrong = || wrong_arguments("numpy.core.numeric._frombuffer");
        let [data, element, shape, order] = *self.tuple(arguments)? else {
            return Err(wrong());
        };
        let column_major = match super::text(&self.values, order) {
            Some("C") => false,
            Some("F") => true,
            _ => return Err(wrong()),
        };
        let content = self.numpy_content(shape, element, column_major, data)?;
        self.push(Value::NumpyArray(Box::new(NumpyArray { content: Some(content) })))
    }

    fn fill_numpy_array(&mut self, target: Id, state: Id) -> Result<()> {
        let wrong = || wrong_arguments("numpy.ndarray's state");
        let (shape, element, order, data) = match *self.tuple(state)? {
            // A version stands in front since NumPy 1.0.
            [_, shape, element, order, data] => (shape, element, order, data),
            [shape, element, order, data] => (shape, element, order, data),
            _ => return Err(wrong()),
        };
        let column_major = match self.values[order as usize] {
            Value::Bool(order) => order,
            Value::Int(order) => order != 0,
            _ => return Err(wrong()),
        };
        let content = self.numpy_content(shape, element, column_major, data)?;
        self.values[target as usize] = Value::NumpyArray(Box::new(NumpyArray { content: Some(content) }));
        Ok(())
    }

    /// Checks that the data is what type and shape need.
    fn numpy_content(&self, shape: Id, element: Id, column_major: bool, data: Id) -> Result<NumpyContent> {
        let Value::NumpyType(element) = &self.values[element as usize] else {
            return Err(wrong_arguments("numpy.ndarray's element type"));
        };
        let (element, shape) = ((**element).clone(), self.shape(shape)?);
        let found = match &self.values[data as usize] {
            Value::List(objects) if element.is_object() => objects.len(),
            Value::Bytes(bytes) if !element.is_object() => {
                let size = element.stored()?.size();
                if !bytes.len().is_multiple_of(size) {
                    return Err(wrong_arguments("numpy.ndarray's data"));
                }
                bytes.len() / size
            }
            other => {
                return Err(CheckpointError::malformed(format!("a NumPy array filled with {}", other.kind())));
            }
        };
        if crate::array::element_count(&shape) != Some(found) {
            let message = format!("a NumPy array of shape {shape:?} filled with {found} elements");
            return Err(CheckpointError::malformed(message));
        }
        Ok(NumpyContent { shape, column_major, element, data })
    }

    fn tuple(&self, id: Id) -> Result<&[Id]> {
        match &self.values[id as usize] {
            Value::Tuple(elements) => Ok(elements),
            other => Err(CheckpointError::malformed(format!("{} where a tuple was expected", other.kind()))),
        }
    }

    fn sequence(&self, id: Id) -> Result<&[Id]> {
        let elements = match &self.values[id as usize] {
            Value::List(elements) => elements.as_slice(),
            _ => self.tuple(id)?,
        };
        if elements.len() > MOST_AXES {
            return Err(CheckpointError::malformed(format!("an array of {} axes", elements.len())));
        }
        Ok(elements)
    }

    fn shape(&self, id: Id) -> Result<Vec<usize>> {
        let sizes = self.sequence(id)?.iter().map(|&size| self.size(size));
        sizes
            .map(|size| usize::try_from(size?).map_err(|_| CheckpointError::malformed("an axis beyond memory")))
            .collect()
    }

    fn size(&self, id: Id) -> Result<u64> {
        match &self.values[id as usize] {
            Value::Int(value) => u64::try_from(*value).map_err(|_| {
                CheckpointError::malformed(format!("{value} where a size, offset or stride was expected"))
            }),
            other => {
                let kind = other.kind();
                Err(CheckpointError::malformed(format!("{kind} where a size, offset or stride was expected")))
            }
        }
    }
}

fn wrong_arguments(function: &str) -> CheckpointError {
    CheckpointError::malformed(format!("{function} was given something that it does not take"))
}

fn not_callable(name: &str) -> CheckpointError {
    CheckpointError::refused(format!(
        "a call of `{name}`, which is not one of the functions that rebuild tensors and containers; \
         a file that is saved without that object, such as one of a state dict alone, can be read"
    ))
}

fn unreadable_elements(name: &str) -> CheckpointError {
    CheckpointError::unsupported(format!("elements of `{name}` cannot be read"))
}
