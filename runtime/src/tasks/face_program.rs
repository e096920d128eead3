//! Tasks that are given one face at a time.

use super::{Context, TaskError, go_on, one_picture};
use crate::{
    buffer::{Buffer, State},
    executor::Executable,
    media::Picture,
};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use visage_compiler::{
    graph::{DType, Type},
    language::ProgramKind,
    random::RandomKey,
    system::Program,
};

/// A program with an input `face` `[image, channel, y, x]`, square, RGB in −1..1.
#[derive(Debug)]
pub(super) struct FaceProgram {
    executable: Executable,
    /// Width and height of a face.
    pub side: usize,
    output: &'static str,
    /// Inputs beside the face.
    others: IndexMap<String, Buffer>,
    key: RandomKey,
}

impl FaceProgram {
    /// Prepares a task for one face at a time. Its `output` has so many `channels` and is as large as the face.
    ///
    /// # Errors
    /// The task is not of that kind.
    pub fn new(
        context: &Context<'_>,
        name: &str,
        (output, channels): (&'static str, usize),
        w: Option<f64>,
    ) -> Result<FaceProgram, TaskError> {
        let unsuitable = |problem: String| TaskError::Unsuitable(format!("the task `{name}`: {problem}"));
        let mut given = BTreeSet::from(["face".to_owned()]);
        given.extend(w.map(|_| "w".to_owned()));
        let overrides = one_picture(context, name, "face", &given)?;
        let program: Program = context.spec.program(ProgramKind::Task, name, &overrides, &given)?;
        let face = &program.inputs["face"];
        let sizes: Vec<usize> = face.ty.shape.iter().map(|(_, size)| size).collect();
        let side = match sizes.as_slice() {
            [1, 3, height, width] if height == width => *width,
            _ => {
                return Err(unsuitable(format!(
                    "its `face` is {}, not [image, channel: 3, y, x] of a square",
                    face.ty
                )));
            }
        };
        let made = program.outputs.get(output).map_or(0, |shape| shape.elements());
        if made != channels * side * side {
            return Err(unsuitable(format!("it has no output `{output}` of {channels} x {side} x {side} numbers")));
        }
        if let Some((input, declared)) = program.inputs.iter().find(|(input, i)| !given.contains(*input) && !i.optional)
        {
            return Err(unsuitable(format!("the input `{input}` {} has no value: give it a default", declared.ty)));
        }
        let mut others = IndexMap::new();
        if let Some(w) = w {
            match program.inputs.get("w") {
                Some(input) if input.ty.shape.rank() == 0 => {
                    others.insert("w".to_owned(), Buffer::scalar(input.ty.dtype, w));
                }
                _ => return Err(unsuitable("it has no input `w` that is one number".into())),
            }
        }
        let executable = Executable::new(&program, &IndexMap::new(), context.execute)?;
        Ok(FaceProgram { executable, side, output, others, key: RandomKey { seed: context.seed, step: 0 } })
    }

    /// The output for a face of three channels in 0..1, as planes.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn run(&mut self, face: &Picture, state: &mut State) -> Result<Vec<f32>, TaskError> {
        go_on()?;
        let mut inputs = self.others.clone();
        inputs.insert("face".to_owned(), signed(face, &self.executable.program().inputs["face"].ty));
        let outputs = self.executable.run(state, &inputs, self.key)?;
        let made = &outputs[self.output];
        debug_assert_eq!(made.ty().dtype, DType::F32);
        Ok(made.as_f32().to_vec())
    }

    /// The output for a face of three channels in 0..1, as a picture of such values. The output itself is one in −1..1.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn restored(&mut self, face: &Picture, state: &mut State) -> Result<Picture, TaskError> {
        let mut restored = Picture::from_planes(self.side, self.side, 3, &self.run(face, state)?);
        restored.values.iter_mut().for_each(|value| *value = (*value + 1.0) / 2.0);
        rounded(&mut restored);
        Ok(restored)
    }
}

/// A picture of values in 0..1 as planes of values in −1..1.
///
/// # Panics
/// If the type is not one for as many numbers.
pub(super) fn signed(picture: &Picture, ty: &Type) -> Buffer {
    let mut buffer = Buffer::zeros(ty.clone());
    picture.write_planes(buffer.as_f32_mut());
    buffer.as_f32_mut().iter_mut().for_each(|value| *value = 2.0 * *value - 1.0);
    buffer
}

/// Values as bytes have them, with ties to even, as whoever compares with other programs expects it.
pub(super) fn rounded(picture: &mut Picture) {
    let byte =
        |value: f32| if value.is_nan() { 0.0 } else { (value.clamp(0.0, 1.0) * 255.0).round_ties_even() / 255.0 };
    picture.values.iter_mut().for_each(|value| *value = byte(*value));
}
