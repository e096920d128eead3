//! One photograph after another through a program that restores faces.

use super::{
    Context, TaskError,
    detector::Detector,
    face_program::{FaceProgram, rounded},
};
use crate::{
    buffer::State,
    faces::{Border, Face, Similarity, greyed, is_grey, paste, resample, template, warp},
    media::{Picture, polyline},
};

/// What lies beyond a photograph where a face reaches out of it.
const BEYOND: [f32; 3] = [132.0 / 255.0, 133.0 / 255.0, 135.0 / 255.0];

/// How many times longer than the photograph the square around a face may be: points that are not those of a face are
/// fit by squares of any size.
const LARGEST: f64 = 4.0;

const GREEN: [f32; 3] = [0.0, 1.0, 0.0];

/// Whether a photograph is taken for one without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grey {
    /// If it looks so.
    Auto,
    Always,
    Never,
}

/// What is done with faces.
#[derive(Clone, Copy, Debug)]
pub struct Treatment {
    /// How many times larger the picture becomes; 1 or more.
    pub upscale: f64,
    /// Whether only the face that is nearest to the middle is restored.
    pub only_centre: bool,
    /// Whether squares and points of faces are drawn.
    pub boxes: bool,
    /// Pixels between the eyes below which a face is left as it is.
    pub eye_distance: f64,
    pub grey: Grey,
}

/// A photograph after its faces were restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The whole of it.
    pub picture: Picture,
    /// Each face: as it was given to the program, and as it came back.
    pub faces: Vec<[Picture; 2]>,
    /// Faces that were left as they are, because they are too small or no face fits their points.
    pub left: usize,
}

/// Restores the faces of photographs.
#[derive(Debug)]
pub struct Restorer<'a> {
    program: FaceProgram,
    mask: Option<FaceProgram>,
    detector: Option<Detector<'a>>,
    treatment: Treatment,
}

impl<'a> Restorer<'a> {
    /// Prepares a task, and one that makes masks of faces, if there is one. Without a detector faces are given by
    /// themselves.
    ///
    /// # Errors
    /// A task is not of the kind that the driver feeds.
    pub fn new(
        context: &Context<'a>,
        name: &str,
        w: Option<f64>,
        mask: Option<&str>,
        detector: Option<Detector<'a>>,
        treatment: Treatment,
    ) -> Result<Restorer<'a>, TaskError> {
        let program = FaceProgram::new(context, name, ("restored", 3), w)?;
        let mask = mask.map(|mask| FaceProgram::new(context, mask, ("mask", 1), None)).transpose()?;
        Ok(Restorer { program, mask, detector, treatment })
    }

    /// A picture that is an upright face as a whole, at the size of the program.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn aligned(&mut self, picture: &Picture, state: &mut State) -> Result<Restored, TaskError> {
        let side = self.program.side;
        let face = resample(&picture.rgb(), side, side);
        let grey = self.is_grey(&face);
        let restored = self.face(&face, grey, state)?;
        Ok(Restored { picture: restored.clone(), faces: vec![[face, restored]], left: 0 })
    }

    /// A photograph with any number of faces.
    ///
    /// # Errors
    /// A program fails, or the run was asked to stop.
    pub fn photograph(&mut self, picture: &Picture, state: &mut State) -> Result<Restored, TaskError> {
        let (colours, alpha) = picture.split_alpha();
        let found = match &mut self.detector {
            Some(detector) => detector.find(&colours, state)?,
            None => Vec::new(),
        };
        let count = found.len();
        let mut placed: Vec<(Face, Similarity)> = found
            .into_iter()
            .filter(|face| face.eye_distance() >= self.treatment.eye_distance)
            .filter_map(|face| Some((face.clone(), self.place(&face, &colours)?)))
            .collect();
        let left = count - placed.len();
        if self.treatment.only_centre {
            let middle = [colours.width as f64 / 2.0, colours.height as f64 / 2.0];
            let off = |face: &Face| (face.middle()[0] - middle[0]).hypot(face.middle()[1] - middle[1]);
            placed.sort_by(|a, b| off(&a.0).total_cmp(&off(&b.0)));
            placed.truncate(1);
        }

        let upscale = self.treatment.upscale;
        let larger = |side: usize| (side as f64 * upscale).round() as usize;
        let size = [larger(colours.width), larger(colours.height)];
        let grey = self.is_grey(&colours);
        let side = self.program.side;
        let mut made = resample(&colours, size[0], size[1]);
        let mut faces = Vec::new();
        for (_, place) in &placed {
            let crop = warp(&colours, place, side, side, Border::Colour(BEYOND));
            let restored = self.face(&crop, grey, state)?;
            let mask = match &mut self.mask {
                Some(program) => {
                    let seen = resample(&restored, program.side, program.side);
                    let mask = Picture::from_planes(program.side, program.side, 1, &program.run(&seen, state)?);
                    Some(resample(&mask, side, side))
                }
                None => None,
            };
            paste(&mut made, &restored, mask.as_ref(), &place.then(&Similarity::scaled(upscale, [0.0; 2])), upscale);
            faces.push([crop, restored]);
        }
        if self.treatment.boxes {
            for (face, place) in &placed {
                draw(&mut made, face, place, side as f64, upscale);
            }
        }
        rounded(&mut made);
        let picture = match alpha {
            Some(alpha) => made.with_alpha(&resample(&alpha, size[0], size[1])),
            None => made,
        };
        Ok(Restored { picture, faces, left })
    }

    /// From the square of an upright face into the photograph; none where the points are not those of a face.
    fn place(&self, face: &Face, photograph: &Picture) -> Option<Similarity> {
        let side = self.program.side as f64;
        let place = Similarity::robust(&face.points, &template(side, face.points.len())?)?.inverse();
        let longest = LARGEST * photograph.width.max(photograph.height) as f64;
        (place.scale() * side <= longest).then_some(place)
    }

    fn is_grey(&self, picture: &Picture) -> bool {
        match self.treatment.grey {
            Grey::Auto => is_grey(picture),
            Grey::Always => true,
            Grey::Never => false,
        }
    }

    /// A face at the size of the program, restored.
    fn face(&mut self, face: &Picture, grey: bool, state: &mut State) -> Result<Picture, TaskError> {
        let restored = self.program.restored(face, state)?;
        Ok(if grey { greyed(&restored, face) } else { restored })
    }
}

/// The square of a face and its points.
fn draw(picture: &mut Picture, face: &Face, place: &Similarity, side: f64, upscale: f64) {
    let shown = |at: [f64; 2]| at.map(|x| (x * upscale) as f32);
    let square = [[0.0, 0.0], [side, 0.0], [side, side], [0.0, side], [0.0, 0.0]].map(|at| shown(place.apply(at)));
    let thickness = 2.0 * upscale as f32;
    polyline(picture, &square, thickness, GREEN, 1.0);
    for point in &face.points {
        polyline(picture, &[shown(*point)], 2.0 * thickness, GREEN, 1.0);
    }
}
