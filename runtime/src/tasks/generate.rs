//! `Generate(…)`: pictures of seeds, as a generator makes them.
//!
//! The task's program is given codes of images by the names of its inputs, `[image, …]`, and where they are seen from:
//! `pose` `[image, angle: 2]`, pitch and yaw in radians, π/2 and π/2 being from in front; perhaps `fov` in degrees, `[]` or
//! `[image]`. Its output is a picture `[image, channel: 3, y, x]` in −1..1, and perhaps a depth `[image, y, x]`.
//!
//! | option | meaning |
//! |---|---|
//! | `codes`, `latent`, `mean`, `psi` | how seeds become codes, as [`codes`] says |
//! | `seeds` | a list, or a text such as `"0-19,33"`; `"0-3"` unless given |
//! | `show` | `"grid"`, `"orbit"`, `"interpolation"` or `"folder"`; `"grid"` unless given |
//! | `yaws` | of a grid, radians to the side of the front; −0.5, −0.25, 0, 0.25 and 0.5 unless given |
//! | `pitch` | radians by which the camera looks from below level; 0 unless given, −π/4 for a turn |
//! | `fov` | degrees that are seen; what the program or the path says unless given |
//! | `path` | `"front"` (a small ellipse, nearer and farther), `"swing"` (to the sides and back) or `"turn"` (once around); `"front"` unless given |
//! | `frames` | frames of the path; 36 unless given |
//! | `rate` | frames a second; 15 unless given |
//! | `files` | of a video, `"all"`, or only `"pictures"` or `"video"` |
//! | `count` | pictures of a folder, of the seeds 0, 1, … where `seeds` are not given; 1000 unless given |
//! | `yaw_deviation`, `pitch_deviation` | of the normal distribution of a folder's cameras, about the front; drawn by the program unless given |
//! | `batch` | pictures made at once; 1 unless given |
//! | `near`, `far` | depths that are red and blue; unless given, what one in twenty is nearer and farther than, of a grid or of a video's first frame |
//! | `picture`, `depth` | the program's outputs; `"picture"` and `"depth"` unless given. Depth is left out where there is none |
//! | `settings` | sizes and constants of the spec that are others for this task: `{ "side": 128 }` |
//!
//! A grid has a row a seed and a column a yaw: `grid.png`, with `grid_depth.png`, and each picture in `colour` and `depth`.
//! An orbit is a folder a seed, with `colour.mp4`, `colour.gif`, `depth.mp4` and folders of frames. An interpolation is one such
//! folder: `frames` from one seed to the next, in straight lines between their codes and back to the first, along the path each
//! time. A folder has one file a seed, for evaluation.

use super::{
    Companions, Context, Results, TaskError,
    codes::{self, CodeSettings, Coder, Codes},
    files::Names,
    film::Film,
    generator::{FOV, Generator, Outputs, POSE, Seen, Shot},
    prepared::known,
    seeds::seeds,
    trajectory::{Camera, TRAJECTORIES, Trajectory},
};
use crate::{
    buffer::State,
    console,
    data::{DataError, Draws},
    media::{Picture, depth_picture, readable, sheet},
    options::{OptionError, Options},
};
use indicatif::ProgressBar;
use std::{
    collections::BTreeMap,
    f64::consts::FRAC_PI_2,
    path::{Path, PathBuf},
    rc::Rc,
};
use visage_compiler::{
    language::Overrides,
    system::{System, Task},
};

/// How many pictures are shown of many.
const FEW: usize = 8;

/// How wide pictures are where they are only to be glanced at, in pixels.
const SMALL: usize = 128;

/// What is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Grid,
    Orbit,
    Interpolation,
    Folder,
}

/// The options, but for those of codes and seeds.
#[derive(Debug)]
pub(super) struct Settings {
    pub show: Show,
    yaws: Vec<f64>,
    pitch: Option<f64>,
    fov: Option<f64>,
    path: Trajectory,
    frames: usize,
    rate: f64,
    /// As pictures, and as video.
    files: (bool, bool),
    count: usize,
    /// Of pitch and yaw.
    deviations: [Option<f64>; 2],
    batch: usize,
    depths: Depths,
    outputs: Outputs,
    settings: BTreeMap<String, String>,
}

/// What depths are red and blue.
#[derive(Clone, Copy, Debug)]
struct Depths {
    near: Option<f64>,
    far: Option<f64>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// One is of the wrong kind, or out of its range.
    pub fn read(options: &mut Options) -> Result<Settings, OptionError> {
        let shows = [
            ("grid", Show::Grid),
            ("orbit", Show::Orbit),
            ("interpolation", Show::Interpolation),
            ("folder", Show::Folder),
        ];
        let files = [("all", (true, true)), ("pictures", (true, false)), ("video", (false, true))];
        let depth = options.text("depth")?;
        let settings = Settings {
            show: options.choice("show", &shows)?.unwrap_or(Show::Grid),
            yaws: options.list("yaws")?.unwrap_or_else(|| vec![-0.5, -0.25, 0.0, 0.25, 0.5]),
            pitch: options.number("pitch")?,
            fov: options.number("fov")?,
            path: options.choice("path", &TRAJECTORIES)?.unwrap_or(Trajectory::Front),
            frames: options.count("frames", 1)?.unwrap_or(36),
            rate: options.number("rate")?.unwrap_or(15.0),
            files: options.choice("files", &files)?.unwrap_or((true, true)),
            count: options.count("count", 1)?.unwrap_or(1000),
            deviations: [options.number("pitch_deviation")?, options.number("yaw_deviation")?],
            batch: options.count("batch", 1)?.unwrap_or(1),
            depths: Depths { near: options.number("near")?, far: options.number("far")? },
            outputs: Outputs {
                picture: options.text("picture")?.unwrap_or_else(|| "picture".into()),
                depth_needed: depth.is_some(),
                depth: depth.unwrap_or_else(|| "depth".into()),
            },
            settings: options.settings("settings")?.unwrap_or_default(),
        };
        settings.check(options)?;
        Ok(settings)
    }

    fn check(&self, options: &Options) -> Result<(), OptionError> {
        if self.yaws.is_empty() || self.yaws.iter().any(|yaw| !yaw.is_finite()) {
            return Err(options.error("`yaws` must be one finite number or several"));
        }
        if self.pitch.is_some_and(|pitch| !(-FRAC_PI_2..=FRAC_PI_2).contains(&pitch)) {
            return Err(options.error("`pitch` must lie between -pi / 2 (from above) and pi / 2 (from below)"));
        }
        if self.fov.is_some_and(|fov| !(fov > 0.0 && fov < 180.0)) {
            return Err(options.error("`fov` must be more than 0 and less than 180 degrees"));
        }
        for (name, count, most) in [("frames", self.frames, 100_000), ("count", self.count, 1_000_000)] {
            if count > most {
                return Err(options.error(format!("`{name}` must be {most} at most")));
            }
        }
        for (name, deviation) in ["pitch_deviation", "yaw_deviation"].into_iter().zip(self.deviations) {
            if deviation.is_some_and(|deviation| !(deviation >= 0.0 && deviation.is_finite())) {
                return Err(options.error(format!("`{name}` must be 0 or more")));
            }
        }
        let Depths { near, far } = self.depths;
        if [near, far].into_iter().flatten().any(|end| !(end > 0.0 && end.is_finite())) {
            return Err(options.error("`near` and `far` must be above 0"));
        }
        if let (Some(near), Some(far)) = (near, far)
            && far <= near
        {
            return Err(options.error(format!("`far` must be above `near`, which is {near}")));
        }
        Ok(())
    }

    /// The spec with its `settings` put in.
    ///
    /// # Errors
    /// The spec has no such size or constant, or is none with these.
    pub fn changed(&self, context: &Context<'_>) -> Result<Changed, TaskError> {
        let mut overrides = context.overrides.clone();
        overrides.sets.extend(self.settings.clone());
        let system = (!self.settings.is_empty()).then(|| context.spec.system(&overrides)).transpose()?;
        Ok(Changed { overrides, system })
    }
}

/// A spec at other sizes and constants.
#[derive(Debug)]
pub(super) struct Changed {
    overrides: Overrides,
    system: Option<System>,
}

impl Changed {
    /// The context of programs at these.
    pub fn context<'c>(&'c self, context: &Context<'c>) -> Context<'c> {
        Context { overrides: &self.overrides, system: self.system.as_ref().unwrap_or(context.system), ..*context }
    }
}

/// Whose pictures are made.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The name of its files.
    pub name: String,
    /// What is written below its pictures.
    pub caption: String,
    pub codes: Rc<Codes>,
}

/// The tasks of codes and of their means.
pub fn companions(options: Options) -> Companions {
    codes::companions(options)
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive).
pub fn generate(
    context: &Context<'_>,
    name: &str,
    _: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let of_codes = CodeSettings::read(options)?;
    let seeds = seeds(options)?;
    let settings = Settings::read(options)?;
    options.finish()?;
    let changed = settings.changed(context)?;
    let context = changed.context(context);
    let seeds = match (seeds, settings.show) {
        (Some(seeds), _) => seeds,
        (None, Show::Folder) => (0..settings.count as u64).collect(),
        (None, _) => (0..4).collect(),
    };
    if settings.show == Show::Interpolation && seeds.len() < 2 {
        return Err(options.error("an interpolation goes from one of several `seeds` to the next").into());
    }
    let mut coder = Coder::new(&context, name, &of_codes, state)?;
    if settings.show == Show::Folder {
        return folder(&context, name, &settings, &seeds, &mut coder, state);
    }
    let mut names = Names::default();
    let mut subjects = Vec::new();
    for seed in &seeds {
        let codes = Rc::new(coder.codes(*seed, state)?);
        subjects.push(Subject { name: names.unlike(&label(*seed)), caption: format!("seed {seed}"), codes });
    }
    Display::new(&context, name, settings, &subjects)?.show(&subjects, context.out, state)
}

/// A generator with what is to be shown of subjects.
#[derive(Debug)]
pub(super) struct Display {
    name: String,
    settings: Settings,
    generator: Generator,
    has_fov: bool,
}

impl Display {
    /// Prepares a task for subjects with codes like those of the given ones, as many at a time.
    ///
    /// # Errors
    /// The task makes no pictures of such codes.
    pub fn new(context: &Context<'_>, name: &str, settings: Settings, like: &[Subject]) -> Result<Display, TaskError> {
        let task = known(context, name)?;
        let fov = task.program.inputs.get(FOV);
        let each = if settings.show == Show::Grid { settings.yaws.len() } else { settings.frames };
        // Pictures with different fields of view are made one by one where the program has one for all.
        let differ = settings.show != Show::Grid && settings.path == Trajectory::Front && settings.fov.is_none();
        let batch = match fov {
            Some(fov) if differ && fov.ty.shape.rank() == 0 => 1,
            _ => settings.batch.min(each.saturating_mul(like.len())),
        };
        let has_fov = fov.is_some();
        let codes = like.first().map(|subject| subject.codes.clone()).unwrap_or_default();
        let fov = settings.fov.or(differ.then_some(0.0).filter(|_| has_fov));
        let shot = Shot { codes, pose: Some([FRAC_PI_2; 2]), fov };
        let generator = Generator::new(context, name, &settings.outputs, &shot, batch)?;
        Ok(Display { name: name.to_owned(), settings, generator, has_fov })
    }

    /// Makes the pictures of subjects and writes them below `out`.
    ///
    /// # Errors
    /// The program fails, a file cannot be written, or the run was asked to stop.
    pub fn show(&mut self, subjects: &[Subject], out: &Path, state: &mut State) -> Result<Results, TaskError> {
        let each = if self.settings.show == Show::Grid { self.settings.yaws.len() } else { self.settings.frames };
        let bar = progress(each * subjects.len());
        let results = match self.settings.show {
            Show::Grid => self.grid(subjects, out, &bar, state),
            Show::Orbit => self.orbits(subjects, out, &bar, state),
            Show::Interpolation | Show::Folder => self.interpolation(subjects, out, &bar, state),
        };
        bar.finish_and_clear();
        results
    }

    /// Codes as the camera sees them after a share of its path.
    fn on_path(&self, codes: Rc<Codes>, share: f64) -> Shot {
        let path = self.settings.path;
        let Camera { pitch, yaw, fov } = path.at(share, self.settings.pitch.unwrap_or_else(|| path.pitch()));
        Shot { codes, pose: Some([pitch, yaw]), fov: self.settings.fov.or(fov.filter(|_| self.has_fov)) }
    }

    /// What is seen of shots, one after another.
    fn each(
        &mut self,
        shots: &[Shot],
        bar: &ProgressBar,
        state: &mut State,
        mut take: impl FnMut(usize, Seen) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        let mut start = 0;
        while start < shots.len() {
            let end = start + self.generator.next(&shots[start..]);
            for (number, seen) in (start..end).zip(self.generator.seen(&shots[start..end], 0, state)?) {
                take(number, seen)?;
            }
            bar.inc((end - start) as u64);
            start = end;
        }
        Ok(())
    }

    /// A row a subject, a column a yaw.
    fn grid(
        &mut self,
        subjects: &[Subject],
        out: &Path,
        bar: &ProgressBar,
        state: &mut State,
    ) -> Result<Results, TaskError> {
        let (yaws, pitch) = (self.settings.yaws.clone(), self.settings.pitch.unwrap_or(0.0));
        let mut shots = Vec::new();
        let mut captions = Vec::new();
        let mut names = Vec::new();
        for subject in subjects {
            for (column, yaw) in yaws.iter().enumerate() {
                let pose = Some([FRAC_PI_2 + pitch, FRAC_PI_2 + yaw]);
                shots.push(Shot { codes: subject.codes.clone(), pose, fov: self.settings.fov });
                captions.push(format!("{}, {yaw:.2}", subject.caption));
                names.push(format!("{}_{column:02}.png", subject.name));
            }
        }
        let mut seen = Vec::new();
        self.each(&shots, bar, state, |_, found| {
            seen.push(found);
            Ok(())
        })?;
        let ends = self.settings.depths.ends(&seen);
        let depths: Vec<Picture> = seen.iter().filter_map(|seen| depth_of(seen, ends)).collect();
        let colours: Vec<Picture> = seen.into_iter().map(|seen| seen.picture).collect();
        let mut results = Results::default();
        for (kind, sheet_name, pictures) in [("colour", "grid.png", colours), ("depth", "grid_depth.png", depths)] {
            if pictures.is_empty() {
                continue;
            }
            let folder = folder_at(out.join(kind))?;
            for (picture, name) in pictures.iter().zip(&names) {
                let path = folder.join(name);
                picture.save(&path)?;
                results.files.push(path);
            }
            let path = out.join(sheet_name);
            captioned(&pictures, &captions, yaws.len(), readable).save(&path)?;
            results.files.push(path);
            results
                .pictures
                .push((format!("{}/{kind}", self.name), captioned(&pictures, &captions, yaws.len(), small)));
        }
        results.figures = vec![("pictures".into(), shots.len() as f64)];
        Ok(results)
    }

    /// A video a subject.
    fn orbits(
        &mut self,
        subjects: &[Subject],
        out: &Path,
        bar: &ProgressBar,
        state: &mut State,
    ) -> Result<Results, TaskError> {
        let frames = self.settings.frames;
        let mut results = Results::default();
        let mut glances = Vec::new();
        for subject in subjects {
            let shots: Vec<Shot> =
                (0..frames).map(|frame| self.on_path(subject.codes.clone(), frame as f64 / frames as f64)).collect();
            let folder = folder_at(out.join(&subject.name))?;
            let found = self.film(&shots, &folder, bar, &mut glances, state)?;
            results.files.extend(found);
        }
        Ok(glanced(results, &self.name, &glances, subjects.len() * frames))
    }

    /// One video, from subject to subject and back to the first.
    fn interpolation(
        &mut self,
        subjects: &[Subject],
        out: &Path,
        bar: &ProgressBar,
        state: &mut State,
    ) -> Result<Results, TaskError> {
        let frames = self.settings.frames;
        let mut shots = Vec::new();
        for (from, to) in subjects.iter().zip(subjects.iter().cycle().skip(1)) {
            shots.extend((0..frames).map(|frame| {
                let share = frame as f64 / frames as f64;
                self.on_path(Rc::new(between(&from.codes, &to.codes, share)), share)
            }));
        }
        let mut glances = Vec::new();
        let files = self.film(&shots, out, bar, &mut glances, state)?;
        Ok(glanced(Results { files, ..Results::default() }, &self.name, &glances, shots.len()))
    }

    /// Shots as a video; a few of its pictures go to `glances`. Gives the files.
    fn film(
        &mut self,
        shots: &[Shot],
        folder: &Path,
        bar: &ProgressBar,
        glances: &mut Vec<Picture>,
        state: &mut State,
    ) -> Result<Vec<PathBuf>, TaskError> {
        let (as_pictures, as_video) = self.settings.files;
        let mut film = Film::new(folder, self.settings.rate, as_pictures, as_video);
        let depths = self.settings.depths;
        let mut ends = None;
        let every = shots.len().div_ceil(FEW);
        self.each(shots, bar, state, |number, seen| {
            let ends = *ends.get_or_insert_with(|| depths.ends(std::slice::from_ref(&seen)));
            if number.is_multiple_of(every) {
                glances.push(seen.picture.clone());
            }
            let depth = depth_of(&seen, ends).map(|depth| ("depth", depth));
            film.add(number, [("colour", seen.picture)].into_iter().chain(depth).collect())
        })?;
        Ok(film.finish()?.files)
    }
}

/// A picture a seed, for evaluation.
fn folder(
    context: &Context<'_>,
    name: &str,
    settings: &Settings,
    seeds: &[u64],
    coder: &mut Coder,
    state: &mut State,
) -> Result<Results, TaskError> {
    let task = known(context, name)?;
    let deviations = match settings.deviations {
        [None, None] if task.program.inputs.get(POSE).is_some_and(|pose| !pose.optional) => {
            let problem = "its input `pose` has no default: give `yaw_deviation` and `pitch_deviation` of cameras";
            return Err(TaskError::Unsuitable(format!("the task `{name}`: {problem}")));
        }
        [None, None] => None,
        deviations => Some(deviations.map(|deviation| deviation.unwrap_or(0.0))),
    };
    let mut shot = |seed: u64, state: &mut State| -> Result<Shot, TaskError> {
        let mut draws = Draws::new(seed, 0, POSE);
        let level = [settings.pitch.unwrap_or(0.0), 0.0].map(|offset| FRAC_PI_2 + offset);
        let pose = deviations.map(|deviations| [0, 1].map(|k| level[k] + deviations[k] * draws.normal()));
        Ok(Shot { codes: Rc::new(coder.codes(seed, state)?), pose, fov: settings.fov })
    };
    let like = shot(seeds[0], state)?;
    let mut generator = Generator::new(context, name, &settings.outputs, &like, settings.batch.min(seeds.len()))?;
    let bar = progress(seeds.len());
    let mut names = Names::default();
    let mut results = Results::default();
    let mut glances = Vec::new();
    // Each run draws anew what the program itself draws, cameras among it.
    for (seeds, step) in seeds.chunks(generator.batch()).zip(0..) {
        let shots = seeds.iter().map(|seed| shot(*seed, state)).collect::<Result<Vec<_>, _>>()?;
        for (seed, seen) in seeds.iter().zip(generator.seen(&shots, step, state)?) {
            let path = context.out.join(names.unlike(&label(*seed))).with_added_extension("png");
            seen.picture.save(&path)?;
            results.files.push(path);
            if glances.len() < FEW {
                glances.push(seen.picture);
            }
        }
        bar.inc(shots.len() as u64);
    }
    bar.finish_and_clear();
    Ok(glanced(results, name, &glances, seeds.len()))
}

impl Depths {
    /// The depths that are red and blue: those given, or what one in twenty is nearer and farther than. Rays that hardly meet
    /// anything have depths far from all others.
    fn ends(&self, seen: &[Seen]) -> [f32; 2] {
        let depths = seen.iter().flat_map(|seen| seen.depth.iter().flatten());
        let mut depths: Vec<f32> = depths.copied().filter(|z| z.is_finite() && *z > 0.0).collect();
        depths.sort_unstable_by(f32::total_cmp);
        let few = depths.len() / 20;
        let end = |given: Option<f64>, found: Option<&f32>| given.map_or(found.copied().unwrap_or(1.0), |z| z as f32);
        let farther = depths.len().checked_sub(1 + few).and_then(|index| depths.get(index));
        [end(self.near, depths.get(few)), end(self.far, farther)]
    }
}

fn depth_of(seen: &Seen, [near, far]: [f32; 2]) -> Option<Picture> {
    Some(depth_picture(seen.depth.as_ref()?, seen.picture.width, seen.picture.height, near, far))
}

/// Codes on the straight line between two.
fn between(from: &Codes, to: &Codes, share: f64) -> Codes {
    let mixed = |(a, b): (&f32, &f32)| (f64::from(*a) + share * (f64::from(*b) - f64::from(*a))) as f32;
    let code = |(name, from): (&String, &Vec<f32>)| (name.clone(), from.iter().zip(&to[name]).map(mixed).collect());
    from.iter().map(code).collect()
}

/// The name of what is made of a seed.
pub(super) fn label(seed: u64) -> String {
    format!("{seed:04}")
}

/// A sheet of pictures, each brought to a size for it.
fn captioned(pictures: &[Picture], captions: &[String], columns: usize, brought: fn(&Picture) -> Picture) -> Picture {
    let pictures: Vec<Picture> = pictures.iter().map(brought).collect();
    sheet(
        &pictures.iter().zip(captions).map(|(picture, caption)| (picture, caption.as_str())).collect::<Vec<_>>(),
        columns,
    )
}

/// A picture that is only glanced at.
pub(super) fn small(picture: &Picture) -> Picture {
    match picture.width > SMALL {
        true => picture.resize(SMALL, (picture.height * SMALL / picture.width).max(1)),
        false => picture.clone(),
    }
}

/// The results with a few of `count` pictures.
fn glanced(mut results: Results, name: &str, glances: &[Picture], count: usize) -> Results {
    results.figures = vec![("pictures".into(), count as f64)];
    if !glances.is_empty() {
        let captions = vec![String::new(); glances.len()];
        results.pictures.push((name.to_owned(), captioned(glances, &captions, FEW, small)));
    }
    results
}

fn folder_at(path: PathBuf) -> Result<PathBuf, TaskError> {
    std::fs::create_dir_all(&path).map_err(DataError::io(&path))?;
    Ok(path)
}

fn progress(pictures: usize) -> ProgressBar {
    console::bar(pictures as u64, "{spinner} {bar:30} {pos}/{len} pictures, {eta} left")
}
