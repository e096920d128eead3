//! From nested containers to dotted names.
//!
//! - Dictionaries, lists and tuples join their keys and positions: `optimizer.state.0.exp_avg`.
//! - An object that has `_parameters`, `_buffers` and `_modules` is a PyTorch module and is named as
//!   `state_dict()` names it: parameters, persistent buffers, then sub-modules. Its plain attributes are
//!   kept where they are numbers or text (`step`, `siren.z_dim`).
//! - Any other object is named by its attributes: `shadow_params.0`.
//! - A NumPy array of objects is named by flat position.

use super::Scalar;
use super::error::{CheckpointError, Result};
use super::limits::Limits;
use super::pickle::{Id, Object, Pickle, Value};
use indexmap::IndexMap;
use indexmap::map::Entry;

/// Containers nested deeper than this hold themselves, or are made to exhaust a reader.
const DEEPEST: usize = 128;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 4096;

/// What a pickle holds, by name, in its order.
#[derive(Default)]
pub(super) struct Flat {
    /// Tensors of PyTorch and arrays of NumPy.
    pub(super) arrays: IndexMap<String, Id>,
    pub(super) scalars: IndexMap<String, Scalar>,
}

/// Names everything that a pickle holds.
pub(super) fn flatten(pickle: &Pickle, limits: &mut Limits) -> Result<Flat> {
    limits.grant_pickle(pickle.length(), pickle.count());
    let mut walk = Walk { pickle, flat: Flat::default(), limits };
    walk.value("", pickle.root(), 0)?;
    Ok(walk.flat)
}

struct Walk<'a> {
    pickle: &'a Pickle,
    flat: Flat,
    limits: &'a mut Limits,
}

impl Walk<'_> {
    fn value(&mut self, name: &str, id: Id, depth: usize) -> Result<()> {
        self.limits.entries.take(1)?;
        if depth > DEEPEST {
            let message = format!("containers are nested more than {DEEPEST} deep at `{}…`", shortened(name));
            return Err(CheckpointError::refused(message));
        }
        let scalar = match self.pickle.value(id) {
            Value::Tensor(_) => return self.array(name, id),
            Value::NumpyArray(array) => match &array.content {
                Some(content) if content.element.is_object() => {
                    return self.value(name, content.data, depth + 1);
                }
                _ => return self.array(name, id),
            },
            Value::Dict(entries) => return self.entries(name, entries, depth),
            Value::List(elements) => return self.elements(name, elements, depth),
            Value::Tuple(elements) => return self.elements(name, elements, depth),
            Value::Object(object) => return self.object(name, object, depth),
            other => scalar(other),
        };
        match scalar {
            Some(scalar) => self.scalar(name, scalar),
            None => Ok(()),
        }
    }

    fn entries(&mut self, name: &str, entries: &[(Id, Id)], depth: usize) -> Result<()> {
        for &(key, value) in entries {
            let child = self.child(name, key)?;
            self.value(&child, value, depth + 1)?;
        }
        Ok(())
    }

    fn elements(&mut self, name: &str, elements: &[Id], depth: usize) -> Result<()> {
        for (index, &element) in elements.iter().enumerate() {
            let child = self.join(name, &index.to_string())?;
            self.value(&child, element, depth + 1)?;
        }
        Ok(())
    }

    fn object(&mut self, name: &str, object: &Object, depth: usize) -> Result<()> {
        let states: &[Id] = match object.state.map(|state| (state, self.pickle.value(state))) {
            None => &[],
            // The dictionary, then the slots.
            Some((_, Value::Tuple(states))) => states,
            Some((state, _)) => &[state],
        };
        for &state in states {
            match self.pickle.value(state) {
                Value::Dict(attributes) => match Module::of(self.pickle, attributes) {
                    Some(module) => self.module(name, &module, attributes, depth)?,
                    None => self.entries(name, attributes, depth)?,
                },
                Value::None => {}
                _ => self.value(name, state, depth + 1)?,
            }
        }
        self.entries(name, &object.items, depth)?;
        self.elements(name, &object.elements, depth)
    }

    fn module(&mut self, name: &str, module: &Module, attributes: &[(Id, Id)], depth: usize) -> Result<()> {
        self.limits.entries.take(attributes.len() as u64)?;
        self.entries(name, module.parameters, depth)?;
        for &(key, value) in module.buffers {
            self.limits.entries.take(module.transient.len() as u64)?;
            let key_text = self.pickle.text(key);
            if !module.transient.iter().any(|&transient| self.pickle.text(transient) == key_text) {
                let child = self.child(name, key)?;
                self.value(&child, value, depth + 1)?;
            }
        }
        self.entries(name, module.modules, depth)?;
        for &(key, value) in attributes {
            let private = self.pickle.text(key).is_none_or(|key| key.starts_with('_'));
            if !private && let Some(scalar) = scalar(self.pickle.value(value)) {
                let child = self.child(name, key)?;
                self.scalar(&child, scalar)?;
            }
        }
        Ok(())
    }

    fn child(&mut self, name: &str, key: Id) -> Result<String> {
        let pickle = self.pickle;
        match pickle.value(key) {
            Value::Int(key) => self.join(name, &key.to_string()),
            Value::Float(key) => self.join(name, &key.to_string()),
            Value::Bool(key) => self.join(name, if *key { "True" } else { "False" }),
            Value::None => self.join(name, "None"),
            other => match pickle.text(key) {
                Some(key) => self.join(name, key),
                None => {
                    let (name, kind) = (shortened(name), other.kind());
                    Err(CheckpointError::unsupported(format!("`{name}` has a key that is {kind} and makes no name")))
                }
            },
        }
    }

    fn join(&mut self, name: &str, key: &str) -> Result<String> {
        let length = name.len() + 1 + key.len();
        if length > LONGEST_NAME {
            let message = format!("a name of {length} bytes, `{}…`", shortened(name));
            return Err(CheckpointError::refused(message));
        }
        self.limits.names.take(length as u64)?;
        Ok(if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") })
    }

    fn array(&mut self, name: &str, id: Id) -> Result<()> {
        match self.flat.arrays.entry(named(name)) {
            Entry::Vacant(entry) => {
                entry.insert(id);
                Ok(())
            }
            Entry::Occupied(_) => Err(twice(name)),
        }
    }

    fn scalar(&mut self, name: &str, scalar: Scalar) -> Result<()> {
        match self.flat.scalars.entry(named(name)) {
            Entry::Vacant(entry) => {
                if let Scalar::Text(text) = &scalar {
                    self.limits.names.take(text.len() as u64)?;
                }
                entry.insert(scalar);
                Ok(())
            }
            Entry::Occupied(_) => Err(twice(name)),
        }
    }
}

/// The dictionaries that make an object a PyTorch module.
struct Module<'a> {
    parameters: &'a [(Id, Id)],
    buffers: &'a [(Id, Id)],
    modules: &'a [(Id, Id)],
    /// Names of buffers that `state_dict()` leaves out.
    transient: &'a [Id],
}

impl<'a> Module<'a> {
    fn of(pickle: &'a Pickle, attributes: &[(Id, Id)]) -> Option<Self> {
        let dict = |key: &str| match pickle.value(pickle.entry(attributes, key)?) {
            Value::Dict(entries) => Some(entries.as_slice()),
            _ => None,
        };
        let transient = pickle.entry(attributes, "_non_persistent_buffers_set").map(|set| pickle.value(set));
        Some(Self {
            parameters: dict("_parameters")?,
            buffers: dict("_buffers")?,
            modules: dict("_modules")?,
            transient: match transient {
                Some(Value::List(names)) => names,
                _ => &[],
            },
        })
    }
}

fn scalar(value: &Value) -> Option<Scalar> {
    Some(match value {
        Value::Bool(value) => Scalar::Bool(*value),
        Value::Int(value) => Scalar::Integer(*value),
        Value::Float(value) => Scalar::Float(*value),
        Value::Text(text) => Scalar::Text(text.to_string()),
        Value::Bytes(bytes) => Scalar::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        _ => return None,
    })
}

/// A pickle that is one bare array gives it the name that a `.npy` file's array has.
fn named(name: &str) -> String {
    if name.is_empty() { super::SOLE.to_owned() } else { name.to_owned() }
}

fn twice(name: &str) -> CheckpointError {
    CheckpointError::unsupported(format!("two values are called `{}`", shortened(name)))
}

fn shortened(name: &str) -> &str {
    let end = (0..=name.len().min(80)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    &name[..end]
}
