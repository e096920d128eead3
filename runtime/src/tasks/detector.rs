//! Faces found by a task of the spec: what its program is fed, and what is made of its candidates.

use super::{Context, TaskError, go_on, one_picture};
use crate::{
    buffer::{Buffer, State},
    executor::Executable,
    faces::{Border, Face, Similarity, keep, resample, tiles, warp},
    media::Picture,
};
use indexmap::IndexMap;
use std::collections::BTreeSet;
use visage_compiler::{
    language::{Overrides, ProgramKind},
    random::RandomKey,
};

/// What a picture that is looked at whole is filled up to: the coarsest cells of pyramids of features.
const COARSEST: usize = 32;

/// The longest side in pixels at which a photograph is looked at: strips and panoramas are not enlarged without end.
const LONGEST: f64 = 8192.0;

/// How many times wider than a face's box the square is in which its points are found once more.
const AROUND: f64 = 2.0;

/// A task with an input `picture` `[image, channel, y, x]` (RGB in 0..1) and the outputs `score` `[image, candidate]` (0..1),
/// `box` `[image, candidate, corner]` (left, top, right, bottom) and `points` `[image, candidate, point, xy]` (four or five,
/// as in [`Face::points`]), in fractions of the picture. A size by name of images becomes 1.
///
/// Where rows and columns of the picture are two sizes by name, the task is given the photograph as a whole, with its
/// shorter side brought to `short` pixels and both filled up with black to multiples of 32. A task for squares of one size
/// is given [`tiles`], and each face that it finds once more, upright, since points are exact where a face is large.
#[derive(Debug)]
pub struct Detector<'a> {
    context: &'a Context<'a>,
    name: String,
    /// With one picture at a time.
    overrides: Overrides,
    view: View,
    /// Pixels of the photograph's shorter side.
    short: f64,
    threshold: f32,
    overlap: f64,
    /// The program that ran last, with the height and the width it is for.
    prepared: Option<([usize; 2], Executable)>,
}

/// What of a photograph a program sees.
#[derive(Debug)]
enum View {
    /// All of it; the names of the sizes of rows and columns.
    Whole([String; 2]),
    /// Squares of so many pixels.
    Tiles(usize),
}

impl<'a> Detector<'a> {
    /// Prepares a task. `short` is the shorter side of photographs in pixels, `threshold` the least score, `overlap` the
    /// share of their area by which two boxes of different faces may overlap.
    ///
    /// # Errors
    /// The task is not of the kind described.
    pub fn new(
        context: &'a Context<'a>,
        name: &str,
        [short, threshold, overlap]: [f64; 3],
    ) -> Result<Detector<'a>, TaskError> {
        let unsuitable =
            |problem: String| TaskError::Unsuitable(format!("the task `{name}` finds no faces: {problem}"));
        let overrides = one_picture(context, name, "picture", &given())?;
        let program = context.spec.program(ProgramKind::Task, name, &overrides, &given())?;
        let picture = &program.inputs["picture"];
        let sizes: Vec<usize> = picture.ty.shape.iter().map(|(_, size)| size).collect();
        let named =
            |axis: usize| picture.size_names.get(axis).filter(|size| context.system.sizes.contains_key(*size)).cloned();
        let view = match (sizes.as_slice(), named(2), named(3)) {
            ([1, 3, ..], Some(rows), Some(columns)) if rows != columns => View::Whole([rows, columns]),
            ([1, 3, height, width], ..) if height == width => View::Tiles(*width),
            _ => return Err(unsuitable(format!("its `picture` is {}, not [image, channel: 3, y, x]", picture.ty))),
        };
        let candidates = program.outputs.get("score").map_or(0, |shape| shape.elements());
        for (output, numbers) in [("score", &[1][..]), ("box", &[4]), ("points", &[8, 10])] {
            let width = program.outputs.get(output).map_or(0, |shape| shape.elements()).checked_div(candidates);
            if !width.is_some_and(|width| numbers.contains(&width)) {
                let wanted = numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
                return Err(unsuitable(format!("its output `{output}` must have {wanted} numbers a candidate")));
            }
        }
        let (name, threshold) = (name.to_owned(), threshold as f32);
        Ok(Detector { context, name, overrides, view, short, threshold, overlap, prepared: None })
    }

    /// The faces of a photograph (three channels), surest first.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn find(&mut self, photograph: &Picture, state: &mut State) -> Result<Vec<Face>, TaskError> {
        let size = [photograph.width, photograph.height];
        let (shorter, longer) = (size[0].min(size[1]) as f64, size[0].max(size[1]) as f64);
        let scale = (self.short / shorter).min(LONGEST / longer);
        let mut found = Vec::new();
        match &self.view {
            View::Whole(_) => {
                let [width, height] = size.map(|side| ((side as f64 * scale).round() as usize).max(1));
                let copy = filled_up(&resample(photograph, width, height));
                let back = [size[0] as f64 / width as f64, size[1] as f64 / height as f64];
                found.extend(self.candidates(&copy, |at| [0, 1].map(|k| at[k] * back[k]), state)?);
            }
            View::Tiles(side) => {
                let side = *side;
                for tile in tiles(size, side as f64 / scale) {
                    let place = Similarity::scaled(tile.side / side as f64, tile.corner);
                    let seen = warp(photograph, &place, side, side, Border::Colour([0.0; 3]));
                    let candidates = self.candidates(&seen, |at| place.apply(at), state)?;
                    found.extend(candidates.into_iter().filter(|face| tile.holds(face.corners, size)));
                }
            }
        }
        let mut kept = keep(found, self.overlap);
        if let View::Tiles(side) = self.view {
            for face in &mut kept {
                self.look_again(photograph, face, side, state)?;
            }
        }
        Ok(kept)
    }

    /// Finds the points of a face once more where it is upright and of the size that the detector knows best: in a square twice
    /// as wide as its box.
    fn look_again(
        &mut self,
        photograph: &Picture,
        face: &mut Face,
        side: usize,
        state: &mut State,
    ) -> Result<(), TaskError> {
        let [left, right] = [face.points[0], face.points[1]];
        let across = [right[0] - left[0], right[1] - left[1]].map(|x| x / face.eye_distance().max(f64::MIN_POSITIVE));
        let [x0, y0, x1, y1] = face.corners;
        let scale = AROUND * (x1 - x0).max(y1 - y0) / side as f64;
        let turned = Similarity { turn: across.map(|x| x * scale), shift: [0.0; 2] };
        let (centre, middle) = (turned.apply([side as f64 / 2.0; 2]), face.middle());
        let place = Similarity { shift: [0, 1].map(|k| middle[k] - centre[k]), ..turned };
        let seen = warp(photograph, &place, side, side, Border::Colour([0.0; 3]));
        let again = keep(self.candidates(&seen, |at| at, state)?, self.overlap);
        // Neighbours may be seen beside it.
        let whole = Face { corners: [0.25, 0.25, 0.75, 0.75].map(|x| x * side as f64), ..face.clone() };
        if let Some(again) = again.iter().max_by(|a, b| a.overlap(&whole).total_cmp(&b.overlap(&whole)))
            && again.overlap(&whole) > self.overlap
        {
            face.points = again.points.iter().map(|point| place.apply(*point)).collect();
        }
        Ok(())
    }

    /// What the program finds in a view. `place` takes pixels of the view to those in which faces are given.
    fn candidates(
        &mut self,
        view: &Picture,
        place: impl Fn([f64; 2]) -> [f64; 2],
        state: &mut State,
    ) -> Result<Vec<Face>, TaskError> {
        go_on()?;
        let key = RandomKey { seed: self.context.seed, step: 0 };
        let executable = self.executable([view.height, view.width])?;
        let mut buffer = Buffer::zeros(executable.program().inputs["picture"].ty.clone());
        view.write_planes(buffer.as_f32_mut());
        let outputs = executable.run(state, &IndexMap::from([("picture".to_owned(), buffer)]), key)?;
        let [scores, boxes, points] = ["score", "box", "points"].map(|name| outputs[name].as_f32());
        let count = points.len() / scores.len();
        let place = |at: &[f32]| place([f64::from(at[0]) * view.width as f64, f64::from(at[1]) * view.height as f64]);
        let candidates = scores.iter().zip(boxes.chunks_exact(4)).zip(points.chunks_exact(count));
        let sure = candidates.filter(|((score, _), _)| **score >= self.threshold);
        Ok(sure
            .map(|((score, corners), points)| {
                let [[left, top], [right, bottom]] = [place(&corners[..2]), place(&corners[2..])];
                let points = points.chunks_exact(2).map(&place).collect();
                Face { score: *score, corners: [left, top, right, bottom], points }
            })
            .collect())
    }

    /// The program for views of a height and a width.
    fn executable(&mut self, size: [usize; 2]) -> Result<&mut Executable, TaskError> {
        let prepared = match self.prepared.take() {
            Some(prepared) if prepared.0 == size => prepared,
            _ => {
                let mut overrides = self.overrides.clone();
                if let View::Whole(names) = &self.view {
                    overrides = names.iter().zip(size).fold(overrides, |sizes, (name, size)| sizes.set(name, size));
                }
                let program = self.context.spec.program(ProgramKind::Task, &self.name, &overrides, &given())?;
                (size, Executable::new(&program, &IndexMap::new(), self.context.execute)?)
            }
        };
        Ok(&mut self.prepared.insert(prepared).1)
    }
}

/// What the program is given.
fn given() -> BTreeSet<String> {
    BTreeSet::from(["picture".to_owned()])
}

/// Black at the right and at the bottom, up to multiples of the coarsest cells.
fn filled_up(picture: &Picture) -> Picture {
    let [width, height] = [picture.width, picture.height].map(|side| side.next_multiple_of(COARSEST));
    let mut filled = Picture::new(width, height, picture.channels);
    for y in 0..picture.height {
        let line = picture.width * picture.channels;
        let from = &picture.values[y * line..][..line];
        filled.values[y * width * picture.channels..][..line].copy_from_slice(from);
    }
    filled
}
