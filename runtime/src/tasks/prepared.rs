//! A task's program at the sizes that a driver needs, fed by name.

use super::{Context, TaskError, go_on};
use crate::{
    buffer::{Buffer, State},
    executor::Executable,
};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use visage_compiler::{
    graph::DType,
    language::{Overrides, ProgramKind},
    random::RandomKey,
    system::{Program, Task},
};

/// A program that is compiled once and run with other values of the same inputs.
#[derive(Debug)]
pub(super) struct Prepared {
    name: String,
    executable: Executable,
    seed: u64,
}

impl Prepared {
    /// Prepares a task whose inputs `given` are always fed.
    ///
    /// # Errors
    /// There is no such task; it has no such inputs, or others without a value of their own.
    pub fn new(
        context: &Context<'_>,
        name: &str,
        overrides: &Overrides,
        given: &BTreeSet<String>,
    ) -> Result<Prepared, TaskError> {
        known(context, name)?;
        let program = context.spec.program(ProgramKind::Task, name, overrides, given)?;
        let lacking = program.inputs.iter().find(|(input, declared)| !given.contains(*input) && !declared.optional);
        if let Some((input, declared)) = lacking {
            let problem = format!("the input `{input}` {} has no value: give it a default", declared.ty);
            return Err(TaskError::Unsuitable(format!("the task `{name}`: {problem}")));
        }
        let executable = Executable::new(&program, &IndexMap::new(), context.execute)?;
        Ok(Prepared { name: name.to_owned(), executable, seed: context.seed })
    }

    /// The program at these sizes.
    pub fn program(&self) -> &Program {
        self.executable.program()
    }

    /// An error about the task.
    pub fn unsuitable(&self, problem: impl std::fmt::Display) -> TaskError {
        TaskError::Unsuitable(format!("the task `{}`: {problem}", self.name))
    }

    /// An input's value: as many numbers as it has elements, in the order of its axes.
    ///
    /// # Errors
    /// There is no such input, it holds no `f32`, or has another number of elements; `source` says where the numbers are from.
    pub fn value(&self, input: &str, numbers: &[f32], source: &str) -> Result<Buffer, TaskError> {
        let Some(declared) = self.program().inputs.get(input) else {
            return Err(self.unsuitable(format!("there is no input `{input}`")));
        };
        if declared.ty.dtype != DType::F32 || declared.ty.shape.elements() != numbers.len() {
            let count = numbers.len();
            return Err(
                self.unsuitable(format!("the input `{input}` is {}, not {count} numbers {source}", declared.ty))
            );
        }
        Ok(Buffer::from_f32(declared.ty.shape.clone(), numbers))
    }

    /// Checks that an output holds `f32`.
    ///
    /// # Errors
    /// It holds something else.
    pub fn check_f32(&self, output: &str) -> Result<(), TaskError> {
        let graph = &self.program().graph;
        match graph.output(output).map(|node| graph.ty(node)) {
            Some(ty) if ty.dtype != DType::F32 => {
                Err(self.unsuitable(format!("its output `{output}` is {ty}, not f32")))
            }
            _ => Ok(()),
        }
    }

    /// All outputs. Random nodes draw what the run's seed and `step` give.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn run(
        &mut self,
        inputs: &IndexMap<String, Buffer>,
        step: u64,
        state: &mut State,
    ) -> Result<IndexMap<String, Buffer>, TaskError> {
        let seed = self.seed;
        self.run_with(inputs, RandomKey { seed, step }, state)
    }

    /// All outputs, with random nodes that draw what a key gives.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with(
        &mut self,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
        state: &mut State,
    ) -> Result<IndexMap<String, Buffer>, TaskError> {
        go_on()?;
        Ok(self.executable.run(state, inputs, key)?)
    }
}

/// A task of the spec by name.
///
/// # Errors
/// There is none; the message names the nearest.
pub(super) fn known<'c>(context: &Context<'c>, name: &str) -> Result<&'c Task, TaskError> {
    context.system.tasks.get(name).ok_or_else(|| {
        let help = crate::names::suggestion(name, context.system.tasks.keys().map(String::as_str));
        TaskError::Unsuitable(format!("`{}` has no task `{name}`: {help}", context.system.name))
    })
}
