//! Inputs of programs from files: tensors, pictures, folders of pictures, numbers.

use super::{
    arguments::{Given, Source},
    failure::{Because, Code, Failure, Outcome, suggestion},
};
use crate::{
    array::Array,
    buffer::Buffer,
    checkpoint::Checkpoint,
    media::{Picture, is_picture, pictures_in},
};
use indexmap::IndexMap;
use std::path::{Path, PathBuf};
use visage_compiler::{
    axis::Axis,
    system::{Input, Program},
};

/// The value given for an input, before its axes are known.
#[derive(Clone, Debug)]
pub enum Value {
    /// Axes in the documented order.
    Tensor(Array),
    /// `[picture, row, column, channel]` in `[0, 1]`; the first axis is 1 for a single picture.
    Pictures(Array),
}

/// Reads every `--in`.
///
/// # Errors
/// A name is given twice, a file is missing or holds something else.
pub fn read(given: &[Given]) -> Outcome<IndexMap<String, Value>> {
    let mut values = IndexMap::new();
    for Given { name, source } in given {
        let Some(name) = name else {
            let message = format!("`--in {source}` does not say which input this is");
            return Err(Failure::with_help(Code::Usage, message, format!("write `--in NAME={source}`")));
        };
        let value = match source {
            Source::Number(number) => Value::Tensor(Array::scalar(*number)),
            Source::File { path, tensor } => from_file(name, path, tensor.as_deref())?,
        };
        if values.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("the input `{name}` is given twice")));
        }
    }
    Ok(values)
}

fn from_file(name: &str, path: &Path, tensor: Option<&str>) -> Outcome<Value> {
    if path.is_dir() {
        return pictures(path, &pictures_in(path).usage()?);
    }
    if is_picture(path) {
        return pictures(path, &[path.to_owned()]);
    }
    let checkpoint = Checkpoint::read(path).usage()?;
    let names = || checkpoint.tensors.keys().map(String::as_str).collect::<Vec<_>>();
    let array = match (tensor, checkpoint.tensors.len()) {
        (Some(tensor), _) => checkpoint.tensors.get(tensor).ok_or_else(|| {
            let message = format!("{} holds no tensor `{tensor}`", path.display());
            Failure::with_help(Code::Usage, message, suggestion(tensor, names()))
        })?,
        (None, 1) => &checkpoint.tensors[0],
        (None, _) => checkpoint.tensors.get(name).ok_or_else(|| {
            let message = format!("{} holds several tensors, and none is called `{name}`", path.display());
            let help =
                format!("choose one with `--in {name}={}:TENSOR`: {}", path.display(), suggestion(name, names()));
            Failure::with_help(Code::Usage, message, help)
        })?,
    };
    Ok(Value::Tensor(array.clone()))
}

fn pictures(path: &Path, files: &[PathBuf]) -> Outcome<Value> {
    let mut values = Vec::new();
    let mut size = None;
    for file in files {
        let picture = Picture::load(file).usage()?;
        let found = [picture.height, picture.width, picture.channels];
        if *size.get_or_insert(found) != found {
            let [height, width, channels] = found;
            let message =
                format!("{} is {width}x{height} with {channels} channels, unlike those before it", file.display());
            return Err(Failure::usage(message));
        }
        values.extend(picture.values);
    }
    match size {
        None => Err(Failure::usage(format!("there are no pictures in {}", path.display()))),
        Some([height, width, channels]) => {
            let array = Array::from_slice([files.len(), height, width, channels], &values).failed()?;
            Ok(Value::Pictures(array))
        }
    }
}

impl Value {
    /// The sizes of the axes that a file has, in the documented order of `input`.
    ///
    /// # Errors
    /// Pictures are given for an input that has no axis for them.
    pub fn sizes(&self, name: &str, input: &Input) -> Outcome<Vec<usize>> {
        match self {
            Value::Tensor(array) => Ok(array.shape().to_vec()),
            Value::Pictures(array) => {
                let order = picture_order(name, input)?;
                Ok(order.iter().map(|axis| array.shape()[*axis]).collect())
            }
        }
    }

    fn array(&self, name: &str, input: &Input) -> Outcome<Array> {
        match self {
            Value::Tensor(array) => Ok(array.clone()),
            Value::Pictures(array) => permuted(array, &picture_order(name, input)?).failed(),
        }
    }
}

/// For each documented axis of an input that takes pictures, the axis of `[picture, row, column, channel]`.
fn picture_order(name: &str, input: &Input) -> Outcome<Vec<usize>> {
    let shape = &input.ty.shape;
    let channel = ["channel", "rgb", "colour"].map(Axis::new);
    let mut planes = match shape.rank() {
        4 => vec![0, 1, 2],
        3 => vec![1, 2],
        _ => {
            let message = format!("the input `{name}` has the axes {shape}, which no picture has");
            return Err(Failure::usage(message));
        }
    }
    .into_iter();
    let position = shape.axes().position(|axis| channel.contains(&axis)).unwrap_or(shape.rank() - 1);
    Ok((0..shape.rank()).map(|i| if i == position { 3 } else { planes.next().unwrap_or(0) }).collect())
}

/// The array with its axes in another order; axes that are left out have size 1.
fn permuted(array: &Array, order: &[usize]) -> Result<Array, crate::array::ArrayError> {
    let sizes = array.shape();
    let mut strides = vec![1; sizes.len()];
    for i in (1..sizes.len()).rev() {
        strides[i - 1] = strides[i] * sizes[i];
    }
    let shape: Vec<usize> = order.iter().map(|axis| sizes[*axis]).collect();
    let values = array.to_f32();
    let mut out = Vec::with_capacity(values.len());
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product() {
        out.push(values[index.iter().zip(order).map(|(i, axis)| i * strides[*axis]).sum::<usize>()]);
        for k in (0..shape.len()).rev() {
            index[k] += 1;
            if index[k] < shape[k] {
                break;
            }
            index[k] = 0;
        }
    }
    Array::from_slice(shape, &out)
}

/// The program's inputs from the given values, but for those in `others` and optional ones.
///
/// # Errors
/// A value is missing or has other sizes than the program's.
pub fn bind(
    program: &Program,
    values: &IndexMap<String, Value>,
    others: &IndexMap<String, Buffer>,
) -> Outcome<IndexMap<String, Buffer>> {
    let mut inputs = IndexMap::new();
    for (name, input) in program.inputs.iter().filter(|(name, _)| !others.contains_key(*name)) {
        let Some(value) = values.get(name) else {
            if input.optional {
                continue;
            }
            let message = format!("the input `{name}` is missing: {} {}", input.about, input.ty);
            let help = format!("give it with `--in {name}=FILE:TENSOR`");
            return Err(Failure::with_help(Code::Usage, message, help));
        };
        let array = value.array(name, input)?;
        let buffer = Buffer::from_array(&array, &input.ty)
            .map_err(|error| Failure::usage(format!("the input `{name}` does not fit: {error}")))?;
        inputs.insert(name.clone(), buffer);
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::{
        axis::Shape,
        graph::{DType, Type},
    };

    fn input(axes: &[(&str, usize)]) -> Input {
        let shape: Shape = axes.iter().map(|(name, size)| (Axis::new(name), *size)).collect();
        let size_names = axes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let ty = Type::new(DType::F32, shape);
        Input { ty, size_names, about: String::new(), optional: false, schedule: false }
    }

    #[test]
    fn pictures_take_the_order_of_the_input() {
        let array = Array::from_slice([1, 2, 3, 2], &(0..12).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
        let pictures = Value::Pictures(array);
        let planar = input(&[("batch", 1), ("channel", 2), ("y", 2), ("x", 3)]);
        assert_eq!(pictures.sizes("x", &planar).unwrap(), [1, 2, 2, 3]);
        let values = pictures.array("x", &planar).unwrap().to_f32();
        assert_eq!(values, [0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]);
        let interleaved = input(&[("y", 2), ("x", 3), ("channel", 2)]);
        assert_eq!(pictures.sizes("x", &interleaved).unwrap(), [2, 3, 2]);
        assert!(pictures.sizes("x", &input(&[("ray", 2)])).is_err());
    }
}
