//! `Render(…)`: pictures of a field seen along rays, of one view or along a camera path.
//!
//! | option | meaning |
//! |---|---|
//! | `path` | `"auto"` (what suits the capture), `"orbit"`, `"spiral"`, `"views"` (through the training views), or a .json file of poses |
//! | `view` | one held-out view by number instead of a path |
//! | `frames` | frames of the path; 60 unless given |
//! | `rate` | frames a second; 30 unless given |
//! | `size` | width in pixels, or `[width, height]`; the data's unless given |
//! | `colour`, `depth`, `opacity` | the program's outputs; `"rgb"`, `"depth"`, `"acc"` unless given. Depth and opacity are left out where there are none |
//! | `files` | `"all"`, or only `"pictures"` or `"video"` |
//!
//! Fields: `origin`, `direction`, `view` (three numbers a ray), `near`, `far`. A view is written as
//! `colour.png`, `depth.png` and `opacity.png`; a path as folders of those, `colour.mp4`, `colour.gif`
//! and `depth.mp4`.

use super::{
    Context, Results, TaskError,
    codes::Codes,
    film::Film,
    rays::{Chunked, Fields, Shared},
};
use crate::{
    buffer::State,
    console,
    data::{Intrinsics, PathKind, PosedImages, Split},
    geometry::Pose,
    media::{Picture, depth_picture, scalar_picture},
    options::Options,
    sources::Scene,
};
use std::path::PathBuf;
use visage_compiler::system::{Task, Value};

/// The fields that rays have, with their widths.
const FIELDS: [(&str, usize); 5] = [("origin", 3), ("direction", 3), ("view", 3), ("near", 0), ("far", 0)];

/// A program that renders rays of a scene.
#[derive(Debug)]
pub struct Renderer {
    program: Chunked,
    colour: String,
    depth: Option<String>,
    opacity: Option<String>,
}

/// What a camera sees, `[row][column]` each.
#[derive(Clone, Debug)]
pub struct View {
    /// Columns and rows.
    pub size: [usize; 2],
    /// Three numbers a pixel.
    pub colour: Vec<f32>,
    /// Along −z of the camera.
    pub depth: Option<Vec<f32>>,
    /// 1 where nothing is seen through.
    pub opacity: Option<Vec<f32>>,
}

impl Renderer {
    /// Prepares a task's program; reads the options `colour`, `depth` and `opacity`.
    ///
    /// # Errors
    /// An option is wrong, or the program does not render rays.
    pub fn new(
        context: &Context<'_>,
        name: &str,
        task: &Task,
        shared: &Shared,
        options: &mut Options,
    ) -> Result<Renderer, TaskError> {
        let named = [("colour", "rgb", 3), ("depth", "depth", 1), ("opacity", "acc", 1)];
        let mut chosen = Vec::new();
        for (option, default, _) in named {
            chosen.push((options.text(option)?, default));
        }
        let program = Chunked::new(context, name, task, shared, &FIELDS, &Codes::new())?;
        let mut outputs = Vec::new();
        for ((given, default), (option, _, width)) in chosen.into_iter().zip(named) {
            let output = given.clone().unwrap_or_else(|| default.to_owned());
            match program.width(&output) {
                Some(found) if found == width => outputs.push(Some(output)),
                None if given.is_none() && option != "colour" => outputs.push(None),
                _ => {
                    let help = crate::names::suggestion(&output, program.outputs().collect::<Vec<_>>());
                    let problem = format!(
                        "the task `{name}`: `{option}` is to be an output with {width} numbers a ray, and `{output}` is none: {help}"
                    );
                    return Err(TaskError::Unsuitable(problem));
                }
            }
        }
        let [colour, depth, opacity]: [Option<String>; 3] = outputs.try_into().unwrap_or_default();
        Ok(Renderer { program, colour: colour.unwrap_or_default(), depth, opacity })
    }

    /// What a camera sees; `advanced` is told of rays as they are done.
    ///
    /// # Errors
    /// The program fails, or the run was asked to stop.
    pub fn view(
        &mut self,
        images: &PosedImages,
        camera: &Intrinsics,
        pose: &Pose,
        state: &mut State,
        advanced: &dyn Fn(usize),
    ) -> Result<View, TaskError> {
        let rays = images.rays(camera, pose);
        let (near, far) = ([images.near], [images.far]);
        let fields: Fields<'_> = [
            ("origin", (3, rays.origins.as_slice())),
            ("direction", (3, rays.directions.as_slice())),
            ("view", (3, rays.views.as_slice())),
            ("near", (0, near.as_slice())),
            ("far", (0, far.as_slice())),
        ]
        .into();
        let names: Vec<&str> = [Some(&self.colour), self.depth.as_ref(), self.opacity.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let mut found = self.program.run(rays.len(), &fields, &names, state, advanced)?.into_iter();
        Ok(View {
            size: [camera.width, camera.height],
            colour: found.next().unwrap_or_default(),
            depth: self.depth.as_ref().and_then(|_| found.next()),
            opacity: self.opacity.as_ref().and_then(|_| found.next()),
        })
    }
}

impl View {
    /// The colours as a picture.
    pub fn colour_picture(&self) -> Picture {
        let [width, height] = self.size;
        Picture { width, height, channels: 3, values: self.colour.clone() }
    }

    /// The depths as a picture, near and far being the ends of the rays.
    pub fn depth_picture(&self, images: &PosedImages) -> Option<Picture> {
        let [width, height] = self.size;
        Some(depth_picture(self.depth.as_ref()?, width, height, images.near, images.far))
    }

    /// The opacities as a picture.
    pub fn opacity_picture(&self) -> Option<Picture> {
        let [width, height] = self.size;
        Some(scalar_picture(self.opacity.as_ref()?, width, height, 0.0, 1.0))
    }

    /// The three pictures by name.
    fn pictures(&self, images: &PosedImages) -> Vec<(&'static str, Picture)> {
        let pictures = [
            ("colour", Some(self.colour_picture())),
            ("depth", self.depth_picture(images)),
            ("opacity", self.opacity_picture()),
        ];
        pictures.into_iter().filter_map(|(name, picture)| Some((name, picture?))).collect()
    }
}

/// What is to be rendered.
enum Subject {
    View(usize),
    Path { kind: PathKind, frames: usize, rate: f64 },
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive).
pub fn render(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let shared = Shared::read(options)?;
    let scene = context.sources.scene(shared.data.as_deref())?;
    let subject = subject(options)?;
    let files =
        options.choice("files", &[("all", (true, true)), ("pictures", (true, false)), ("video", (false, true))])?;
    let (as_pictures, as_video) = files.unwrap_or((true, true));
    let camera = camera(options, scene)?;
    let mut renderer = Renderer::new(context, name, task, &shared, options)?;
    options.finish()?;
    match subject {
        Subject::View(number) => {
            let images = &scene.images;
            let held_out = held_out(images);
            let frame = held_out.get(number).map(|index| &images.frames[*index]).ok_or_else(|| {
                let count = held_out.len();
                TaskError::Unsuitable(format!(
                    "there is no view {number}: the data holds out {count} views, counted from 0"
                ))
            })?;
            let camera = frame.camera.resized(camera.width, camera.height);
            let bar = progress((camera.width * camera.height) as u64);
            let view = renderer.view(images, &camera, &frame.pose, state, &|rays| bar.inc(rays as u64))?;
            bar.finish_and_clear();
            let mut results = Results::default();
            for (name, picture) in view.pictures(images) {
                let path = context.out.join(format!("{name}.png"));
                picture.save(&path)?;
                results.files.push(path);
                results.pictures.push((name.to_owned(), picture));
            }
            Ok(results)
        }
        Subject::Path { kind, frames, rate } => {
            let poses = scene.images.path(&kind, frames)?;
            let mut film = Film::new(context.out, rate, as_pictures, as_video);
            let bar = progress((poses.len() * camera.width * camera.height) as u64);
            for (number, pose) in poses.iter().enumerate() {
                let view = renderer.view(&scene.images, &camera, pose, state, &|rays| bar.inc(rays as u64))?;
                film.add(number, view.pictures(&scene.images))?;
            }
            bar.finish_and_clear();
            film.finish()
        }
    }
}

fn subject(options: &mut Options) -> Result<Subject, TaskError> {
    let view = options.count("view", 0)?;
    let frames = options.count("frames", 1)?.unwrap_or(60);
    let rate = options.number("rate")?.unwrap_or(30.0);
    let kind = match options.text("path")?.as_deref() {
        None | Some("auto") => PathKind::Auto,
        Some("orbit") => PathKind::Orbit,
        Some("spiral") => PathKind::Spiral,
        Some("views") => PathKind::Views,
        Some(file) if file.ends_with(".json") => PathKind::File(PathBuf::from(file)),
        Some(other) => {
            let help = crate::names::suggestion(other, ["auto", "orbit", "spiral", "views", "FILE.json"]);
            return Err(options.error(format!("`path` cannot be `{other}`: {help}")).into());
        }
    };
    Ok(view.map_or(Subject::Path { kind, frames, rate }, Subject::View))
}

/// The data's camera at the size asked for.
fn camera(options: &mut Options, scene: &Scene) -> Result<Intrinsics, TaskError> {
    let camera = scene.images.render_camera();
    let size = match options.take("size") {
        None => return Ok(camera),
        Some(Value::Number(width)) => [width, (width * camera.height as f64 / camera.width as f64).round()],
        Some(Value::List(list)) => match list.as_slice() {
            [Value::Number(width), Value::Number(height)] => [*width, *height],
            _ => return Err(options.error("`size` must be a width or [width, height]").into()),
        },
        Some(_) => return Err(options.error("`size` must be a width or [width, height]").into()),
    };
    if size.iter().any(|side| !(1.0..=16384.0).contains(side) || side.fract() != 0.0) {
        return Err(options.error("`size` must be whole numbers of pixels, from 1 to 16384").into());
    }
    Ok(camera.resized(size[0] as usize, size[1] as usize))
}

/// The held-out frames of a scene: for the final figures, else those to look at while training, else all.
pub fn held_out(images: &PosedImages) -> Vec<usize> {
    [Split::Test, Split::Validate, Split::Train]
        .into_iter()
        .map(|split| images.indices(split))
        .find(|indices| !indices.is_empty())
        .unwrap_or_default()
}

/// A bar that counts rays.
pub fn progress(rays: u64) -> indicatif::ProgressBar {
    console::bar(rays, "{spinner} {bar:30} {percent:>3}%  {human_pos} rays, {per_sec}, {eta} left")
}
