//! Pictures of codes, seen by cameras, several at a time.

use super::{
    Context, TaskError,
    codes::Codes,
    face_program::rounded,
    prepared::{Prepared, known},
};
use crate::{
    buffer::{Buffer, State},
    media::Picture,
};
use indexmap::IndexMap;
use std::{collections::BTreeSet, rc::Rc};
use visage_compiler::{
    axis::Axis,
    graph::DType,
    language::{Overrides, ProgramKind},
    system::Program,
};

/// The input that takes pitches and yaws, `[image, angle: 2]`, in radians.
pub(super) const POSE: &str = "pose";

/// The input that takes the field of view in degrees: one for all images, or `[image]`.
pub(super) const FOV: &str = "fov";

/// What a picture is to be made of. All shots of a generator say the same things.
#[derive(Clone, Debug)]
pub(super) struct Shot {
    pub codes: Rc<Codes>,
    /// Pitch and yaw in radians; none where the program itself draws them.
    pub pose: Option<[f64; 2]>,
    /// Degrees that are seen; none where the program says so.
    pub fov: Option<f64>,
}

/// A picture and how far off things are in it, `[row][column]`.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub picture: Picture,
    pub depth: Option<Vec<f32>>,
}

/// The names of a program's outputs.
#[derive(Clone, Debug)]
pub(super) struct Outputs {
    /// `[image, channel: 3, y, x]`, −1..1.
    pub picture: String,
    /// `[image, y, x]`; none unless there is one of this name.
    pub depth: String,
    /// Whether depths were asked for by name.
    pub depth_needed: bool,
}

/// A program that makes pictures of codes.
#[derive(Debug)]
pub(super) struct Generator {
    program: Prepared,
    /// Images a run.
    batch: usize,
    /// Height and width.
    size: [usize; 2],
    /// Whether all images of a run have one field of view.
    one_fov: bool,
    outputs: Outputs,
    has_depth: bool,
}

impl Generator {
    /// Prepares a task for shots like the one given, `batch` at a time. The size by name of images becomes `batch`; where it
    /// has none, as many are made as it says.
    ///
    /// # Errors
    /// The task is not of the kind described, or takes none of the codes.
    pub fn new(
        context: &Context<'_>,
        name: &str,
        outputs: &Outputs,
        like: &Shot,
        batch: usize,
    ) -> Result<Generator, TaskError> {
        let task = known(context, name)?;
        let mut given: BTreeSet<String> =
            like.codes.keys().filter(|code| task.program.inputs.contains_key(*code)).cloned().collect();
        let unsuitable = |problem: String| TaskError::Unsuitable(format!("the task `{name}`: {problem}"));
        if given.is_empty() {
            let codes = like.codes.keys().map(String::as_str).collect::<Vec<_>>().join("`, `");
            return Err(unsuitable(format!("it has no input of the name of a code: `{codes}`")));
        }
        for (input, is_given) in [(POSE, like.pose.is_some()), (FOV, like.fov.is_some())] {
            if is_given && !task.program.inputs.contains_key(input) {
                return Err(unsuitable(format!("it has no input `{input}`")));
            }
            given.extend(is_given.then(|| input.to_owned()));
        }
        let as_written = context.spec.program(ProgramKind::Task, name, context.overrides, &given)?;
        let picture_axes = as_written.outputs.get(&outputs.picture);
        let images = picture_axes.and_then(|shape| shape.axes().next());
        let overrides = match images.and_then(|axis| size_of(&as_written, axis, context)) {
            Some(size) => context.overrides.clone().set(&size, batch),
            None => context.overrides.clone(),
        };
        Generator::at(context, name, &overrides, &given, outputs, like)
    }

    /// Prepares the task at the sizes of one run.
    fn at(
        context: &Context<'_>,
        name: &str,
        overrides: &Overrides,
        given: &BTreeSet<String>,
        outputs: &Outputs,
        like: &Shot,
    ) -> Result<Generator, TaskError> {
        let program = Prepared::new(context, name, overrides, given)?;
        let of = program.program();
        let sizes =
            |output: &str| of.outputs.get(output).map(|shape| shape.iter().map(|(_, size)| size).collect::<Vec<_>>());
        let (batch, size) = match sizes(&outputs.picture).as_deref() {
            Some([batch, 3, height, width]) => (*batch, [*height, *width]),
            Some(_) => {
                let found = &of.outputs[&outputs.picture];
                return Err(program.unsuitable(format!(
                    "its output `{}` is {found}, not [image, channel: 3, y, x]",
                    outputs.picture
                )));
            }
            None => {
                let help = crate::names::suggestion(&outputs.picture, of.outputs.keys().map(String::as_str));
                return Err(program.unsuitable(format!("it has no output `{}`: {help}", outputs.picture)));
            }
        };
        program.check_f32(&outputs.picture)?;
        let has_depth = match sizes(&outputs.depth) {
            Some(found) if found == [batch, size[0], size[1]] => {
                program.check_f32(&outputs.depth)?;
                true
            }
            None if !outputs.depth_needed => false,
            _ => {
                let problem = format!("it has no output `{}` [image, y, x] of the picture's size", outputs.depth);
                return Err(program.unsuitable(problem));
            }
        };
        for (code, numbers) in like.codes.iter().filter(|(code, _)| given.contains(*code)) {
            let all = numbers.repeat(batch);
            program.value(code, &all, &format!("({} for each of {batch} images)", numbers.len()))?;
        }
        let mut one_fov = false;
        if given.contains(POSE) {
            program.value(POSE, &vec![0.0; 2 * batch], &format!("(pitch and yaw of each of {batch} images)"))?;
        }
        if given.contains(FOV) {
            let fov = &of.inputs[FOV].ty;
            one_fov = fov.shape.rank() == 0;
            if fov.dtype != DType::F32 || !(one_fov || fov.shape.elements() == batch) {
                return Err(
                    program.unsuitable(format!("its input `{FOV}` is {fov}, not one number or one for each image"))
                );
            }
        }
        Ok(Generator { batch, size, one_fov, outputs: outputs.clone(), has_depth, program })
    }

    /// How many of these shots one run makes, and at most the program's number of images: fewer where they would need
    /// fields of view of their own, which the program has not.
    pub fn next(&self, shots: &[Shot]) -> usize {
        let together = |shot: &&Shot| !self.one_fov || shot.fov == shots[0].fov;
        shots.iter().take(self.batch).take_while(together).count()
    }

    /// Images a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What one run sees of at most [`next`](Self::next) shots; the rest of the run repeats the last of them. Random nodes draw
    /// what `step` gives.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn seen(&mut self, shots: &[Shot], step: u64, state: &mut State) -> Result<Vec<Seen>, TaskError> {
        debug_assert!(!shots.is_empty() && shots.len() <= self.batch);
        let filled = (0..self.batch).map(|i| &shots[i.min(shots.len() - 1)]);
        let mut inputs: IndexMap<String, Buffer> = IndexMap::new();
        for code in shots[0].codes.keys().filter(|code| self.program.program().inputs.contains_key(*code)) {
            let numbers: Vec<f32> = filled.clone().flat_map(|shot| shot.codes[code].iter().copied()).collect();
            inputs.insert(code.clone(), self.program.value(code, &numbers, "for these images")?);
        }
        if shots[0].pose.is_some() {
            let angles: Vec<f32> = filled.clone().filter_map(|shot| shot.pose).flatten().map(|x| x as f32).collect();
            inputs.insert(POSE.to_owned(), self.program.value(POSE, &angles, "for these images")?);
        }
        if shots[0].fov.is_some() {
            let views: Vec<f32> = filled.filter_map(|shot| shot.fov).map(|x| x as f32).collect();
            let views = if self.one_fov { &views[..1] } else { &views };
            inputs.insert(FOV.to_owned(), self.program.value(FOV, views, "for these images")?);
        }
        let found = self.program.run(&inputs, step, state)?;
        let [height, width] = self.size;
        let pixels = height * width;
        let pictures = found[&self.outputs.picture].as_f32().chunks_exact(3 * pixels);
        let depths = self.has_depth.then(|| found[&self.outputs.depth].as_f32());
        let seen = pictures.take(shots.len()).enumerate().map(|(i, planes)| {
            let depth = depths.map(|depths| depths[i * pixels..(i + 1) * pixels].to_vec());
            Seen { picture: picture(width, height, planes), depth }
        });
        Ok(seen.collect())
    }
}

/// A picture of planes of three colours in −1..1, as bytes have it.
pub(super) fn picture(width: usize, height: usize, planes: &[f32]) -> Picture {
    let mut picture = Picture::from_planes(width, height, 3, planes);
    picture.values.iter_mut().for_each(|value| *value = (*value + 1.0) / 2.0);
    rounded(&mut picture);
    picture
}

/// The name of the size of an axis: as the first input that has it says, or the axis's own.
fn size_of(program: &Program, axis: Axis, context: &Context<'_>) -> Option<String> {
    let of_inputs = program.inputs.values().filter_map(|declared| {
        let place = declared.ty.shape.axes().position(|found| found == axis)?;
        declared.size_names.get(place).cloned()
    });
    of_inputs.chain([axis.name().to_owned()]).find(|name| context.system.sizes.contains_key(name))
}
