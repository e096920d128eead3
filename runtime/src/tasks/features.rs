//! Tasks that say what pictures are like.

use super::{Context, TaskError, face_program::signed, go_on};
use crate::{
    buffer::{Buffer, State},
    executor::Executable,
    media::Picture,
    metrics::Features,
};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    language::ProgramKind,
    random::RandomKey,
};

/// Why a program cannot be given batches of another size.
pub(super) const UNNAMED: &str = "the number of its pictures has no name in `sizes`, so `batch` cannot change it";

/// The size in `sizes` that decides the first axis of a shape: the one with the axis's name.
pub(super) fn first_axis_named(context: &Context<'_>, shape: &Shape) -> Option<String> {
    let (axis, _) = shape.iter().next()?;
    context.system.sizes.contains_key(axis.name()).then(|| axis.name().to_owned())
}

/// A program with one input without a default, pictures `[image, channel: 3, y, x]` in −1..1, and one output, `[image, feature]`.
/// It is given pictures one after another and runs on whole batches.
#[derive(Debug)]
pub(super) struct FeatureProgram {
    name: String,
    executable: Executable,
    input: String,
    output: String,
    /// Pictures of the batch that is being filled, as planes.
    waiting: Vec<f32>,
    /// Numbers that a picture has.
    picture: usize,
    /// Features of the pictures before.
    found: Vec<f32>,
    key: RandomKey,
}

impl FeatureProgram {
    /// Prepares a task for pictures of `side` pixels; nothing where its weights are not all there.
    ///
    /// # Errors
    /// The task is not of that kind.
    pub fn new(
        context: &Context<'_>,
        name: &str,
        batch: Option<usize>,
        side: usize,
        state: &State,
    ) -> Result<Option<FeatureProgram>, TaskError> {
        let unsuitable = |problem: String| {
            TaskError::Unsuitable(format!("the task `{name}` gives no features of pictures: {problem}"))
        };
        let as_written = context.spec.program(ProgramKind::Task, name, context.overrides, &BTreeSet::new())?;
        let mut needed = as_written.inputs.iter().filter(|(_, input)| !input.optional);
        let (Some((input, declared)), None) = (needed.next(), needed.next()) else {
            return Err(unsuitable("it has not one input without a default".into()));
        };
        let given = BTreeSet::from([input.clone()]);
        let mut overrides = context.overrides.clone();
        if let Some(batch) = batch {
            let images = declared.size_names.first().filter(|name| context.system.sizes.contains_key(*name));
            overrides = overrides.set(images.ok_or_else(|| unsuitable(UNNAMED.into()))?, batch);
        }
        let program = context.spec.program(ProgramKind::Task, name, &overrides, &given)?;
        let ty = &program.inputs[input].ty;
        let sizes: Vec<usize> = ty.shape.iter().map(|(_, size)| size).collect();
        let batch = match sizes.as_slice() {
            [batch, 3, height, width] if *height == side && *width == side && ty.dtype == DType::F32 => *batch,
            _ => {
                let wanted = format!("[image, channel: 3, y: {side}, x: {side}]");
                return Err(unsuitable(format!("its `{input}` is {ty}, not {wanted} as the data is")));
            }
        };
        let output = match program.outputs.first() {
            Some((output, shape)) if program.outputs.len() == 1 => {
                let sizes: Vec<usize> = shape.iter().map(|(_, size)| size).collect();
                match sizes.as_slice() {
                    [images, _] if *images == batch => output.clone(),
                    _ => return Err(unsuitable(format!("its `{output}` is {shape:?}, not [image, feature]"))),
                }
            }
            _ => return Err(unsuitable("it has not one output".into())),
        };
        if !program.parameters.keys().all(|name| state.contains_key(name)) {
            return Ok(None);
        }
        let executable = Executable::new(&program, &IndexMap::new(), context.execute)?;
        Ok(Some(FeatureProgram {
            name: name.to_owned(),
            executable,
            input: input.clone(),
            output,
            waiting: Vec::new(),
            picture: 3 * side * side,
            found: Vec::new(),
            key: RandomKey { seed: context.seed, step: 0 },
        }))
    }

    /// The values that it computes with, by name.
    pub fn weights<'s>(&self, state: &'s State) -> impl Iterator<Item = (&'s str, &'s Buffer)> {
        let names = self.executable.program().parameters.keys();
        let found: Vec<_> = names.filter_map(|name| state.get_key_value(name)).collect();
        found.into_iter().map(|(name, buffer)| (name.as_str(), buffer))
    }

    /// Takes one more picture, of three channels in 0..1.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn add(&mut self, picture: &Picture, state: &mut State) -> Result<(), TaskError> {
        let ty = Type::new(DType::F32, Shape::new([("number".into(), self.picture)]));
        self.waiting.extend_from_slice(signed(picture, &ty).as_f32());
        if self.waiting.len() == self.executable.program().inputs[&self.input].ty.shape.elements() {
            self.run(state)?;
        }
        Ok(())
    }

    /// The features of all pictures since the last time.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn finish(&mut self, state: &mut State) -> Result<Features, TaskError> {
        if !self.waiting.is_empty() {
            self.run(state)?;
        }
        let width = self.executable.program().outputs[&self.output].iter().next_back().map_or(1, |(_, size)| size);
        Ok(Features::new(width, std::mem::take(&mut self.found)))
    }

    /// Runs on the pictures that wait; where they are no whole batch, empty ones fill it up.
    fn run(&mut self, state: &mut State) -> Result<(), TaskError> {
        go_on()?;
        let mut given = Buffer::zeros(self.executable.program().inputs[&self.input].ty.clone());
        let pictures = self.waiting.len() / self.picture;
        given.as_f32_mut()[..self.waiting.len()].copy_from_slice(&self.waiting);
        self.waiting.clear();
        let outputs = self.executable.run(state, &IndexMap::from([(self.input.clone(), given)]), self.key)?;
        let features = &outputs[&self.output];
        if features.ty().dtype != DType::F32 {
            let problem = format!("the task `{}` gives {}, not f32", self.name, features.ty());
            return Err(TaskError::Unsuitable(problem));
        }
        let width = features.shape().iter().next_back().map_or(1, |(_, size)| size);
        self.found.extend_from_slice(&features.as_f32()[..pictures * width]);
        Ok(())
    }
}
