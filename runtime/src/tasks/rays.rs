//! Feeding a program rays or points in chunks of one size.

use super::{Context, TaskError, codes::Codes, go_on};
use crate::{
    buffer::{Buffer, State},
    executor::Executable,
    options::{OptionError, Options},
};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use visage_compiler::{
    graph::DType,
    language::ProgramKind,
    random::RandomKey,
    system::{Program, Task},
};

/// A task's program at the size of one chunk, ready to run.
#[derive(Debug)]
pub struct Chunked {
    executable: Executable,
    program: Program,
    /// The field that each input takes.
    bound: IndexMap<String, &'static str>,
    /// Codes that all elements share, by input.
    codes: IndexMap<String, Buffer>,
    /// Elements a run.
    chunk: usize,
    key: RandomKey,
}

/// What the driver can feed: fields with their number of values an element, 0 for those that all
/// elements share.
pub type Fields<'a> = BTreeMap<&'static str, (usize, &'a [f32])>;

/// The options that all drivers share.
#[derive(Debug)]
pub struct Shared {
    /// The name of the data source.
    pub data: Option<String>,
    inputs: BTreeMap<String, String>,
    chunk: usize,
}

impl Shared {
    /// Reads them.
    ///
    /// # Errors
    /// One is of the wrong kind.
    pub fn read(options: &mut Options) -> Result<Shared, OptionError> {
        Ok(Shared {
            data: options.text("data")?,
            inputs: options.names("inputs")?.unwrap_or_default(),
            chunk: options.count("chunk", 1)?.unwrap_or(4096),
        })
    }
}

impl Chunked {
    /// Prepares the program of a task that is fed the given fields (with their widths, as [`Fields`]) and those of the codes
    /// that it has inputs for.
    ///
    /// # Errors
    /// An input is of no field and has no value of its own, or is not one row an element; a code has another length than its
    /// input, whose first axis may count images, or the task has no input for any.
    pub(super) fn new(
        context: &Context<'_>,
        name: &str,
        task: &Task,
        shared: &Shared,
        fields: &[(&'static str, usize)],
        codes: &Codes,
    ) -> Result<Chunked, TaskError> {
        let unsuitable = |problem: String| TaskError::Unsuitable(format!("the task `{name}`: {problem}"));
        let mut bound = IndexMap::new();
        for (input, wanted) in &shared.inputs {
            let Some((field, _)) = fields.iter().find(|(field, _)| field == wanted) else {
                let known: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
                let help = crate::names::suggestion(wanted, known);
                return Err(unsuitable(format!("there is no field `{wanted}` for the input `{input}`: {help}")));
            };
            bound.insert(input.clone(), *field);
        }
        for input in task.program.inputs.keys().filter(|input| !shared.inputs.contains_key(*input)) {
            if let Some((field, _)) = fields.iter().find(|(field, _)| field == input) {
                bound.insert(input.clone(), *field);
            }
        }
        let taken = |code: &String| task.program.inputs.contains_key(code) && !bound.contains_key(code);
        let of_codes: IndexMap<&String, &Vec<f32>> = codes.iter().filter(|(code, _)| taken(code)).collect();
        if of_codes.is_empty() && !codes.is_empty() {
            let codes = codes.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
            return Err(unsuitable(format!("it has no input of the name of a code: `{codes}`")));
        }
        let given: BTreeSet<String> = bound.keys().chain(of_codes.keys().copied()).cloned().collect();
        let as_written = context.spec.program(ProgramKind::Task, name, context.overrides, &given)?;
        let width = |field: &str| fields.iter().find(|(known, _)| *known == field).map_or(0, |(_, width)| *width);
        let mut overrides = context.overrides.clone();
        for (input, field) in bound.iter().filter(|(_, field)| width(field) > 0) {
            let declared = &as_written.inputs[input];
            let Some(size) = declared.size_names.first().filter(|name| context.system.sizes.contains_key(*name)) else {
                let problem = format!("the input `{input}` takes `{field}`, but its first axis has no size by name");
                return Err(unsuitable(problem));
            };
            overrides = overrides.set(size, shared.chunk);
        }
        for (input, numbers) in &of_codes {
            let declared = &as_written.inputs[*input];
            let images = declared.size_names.first().filter(|name| context.system.sizes.contains_key(*name));
            let of_an_image: usize = declared.ty.shape.iter().skip(1).map(|(_, size)| size).product();
            let several = declared.ty.shape.rank() > 1 && of_an_image == numbers.len();
            if let Some(images) = images.filter(|_| several) {
                overrides = overrides.set(images, 1);
            }
        }
        let program = context.spec.program(ProgramKind::Task, name, &overrides, &given)?;
        for (input, declared) in &program.inputs {
            let Some(field) = bound.get(input) else {
                if let Some(numbers) = of_codes.get(input) {
                    if declared.ty.dtype != DType::F32 || declared.ty.shape.elements() != numbers.len() {
                        let problem = format!(
                            "the input `{input}` is {}, not one code of {} numbers",
                            declared.ty,
                            numbers.len()
                        );
                        return Err(unsuitable(problem));
                    }
                    continue;
                }
                if declared.optional {
                    continue;
                }
                return Err(unsuitable(format!("the input `{input}` has no value: the driver feeds no such field")));
            };
            let elements = if width(field) == 0 { 1 } else { shared.chunk * width(field) };
            let rows = declared.ty.shape.iter().next().map_or(1, |(_, size)| size);
            if declared.ty.shape.elements() != elements || (width(field) > 0 && rows != shared.chunk) {
                return Err(unsuitable(format!("the input `{input}` is {}, which `{field}` is not", declared.ty)));
            }
        }
        let executable = Executable::new(&program, &IndexMap::new(), context.execute)?;
        let key = RandomKey { seed: context.seed, step: 0 };
        let mut chunked = Chunked { executable, program, bound, codes: IndexMap::new(), chunk: shared.chunk, key };
        chunked.set_codes(codes);
        Ok(chunked)
    }

    /// Other codes of the same names and lengths.
    pub(super) fn set_codes(&mut self, codes: &Codes) {
        for (code, numbers) in codes.iter().filter(|(code, _)| !self.bound.contains_key(*code)) {
            if let Some(declared) = self.program.inputs.get(code) {
                self.codes.insert(code.clone(), Buffer::from_f32(declared.ty.shape.clone(), numbers));
            }
        }
    }

    /// How many numbers an output has for each element, if there is such an output and it has.
    pub fn width(&self, output: &str) -> Option<usize> {
        let shape = self.program.outputs.get(output)?;
        let (_, rows) = shape.iter().next()?;
        (rows == self.chunk).then(|| shape.elements() / self.chunk)
    }

    /// The names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.program.outputs.keys().map(String::as_str)
    }

    /// The named outputs for `count` elements; the last chunk is filled up with its last element.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn run(
        &mut self,
        count: usize,
        fields: &Fields<'_>,
        outputs: &[&str],
        state: &mut State,
        advanced: &dyn Fn(usize),
    ) -> Result<Vec<Vec<f32>>, TaskError> {
        let mut results: Vec<Vec<f32>> = vec![Vec::new(); outputs.len()];
        let mut start = 0;
        while start < count {
            go_on()?;
            let here = self.chunk.min(count - start);
            let mut inputs = self.codes.clone();
            for (input, field) in &self.bound {
                let Some(declared) = self.program.inputs.get(input) else { continue };
                let mut buffer = Buffer::zeros(declared.ty.clone());
                match fields.get(field) {
                    Some((0, values)) => buffer.as_f32_mut().fill(values.first().copied().unwrap_or(0.0)),
                    Some((width, values)) => {
                        let rows = &values[start * width..(start + here) * width];
                        let into = buffer.as_f32_mut();
                        into[..rows.len()].copy_from_slice(rows);
                        let last = &rows[rows.len() - width..];
                        into[rows.len()..].chunks_exact_mut(*width).for_each(|row| row.copy_from_slice(last));
                    }
                    None => {}
                }
                inputs.insert(input.clone(), buffer);
            }
            let found = self.executable.run(state, &inputs, self.key)?;
            for (result, output) in results.iter_mut().zip(outputs) {
                let buffer = &found[*output];
                let width = buffer.len() / self.chunk;
                result.extend(&buffer.as_f32()[..here * width]);
            }
            start += here;
            advanced(here);
        }
        Ok(results)
    }
}
