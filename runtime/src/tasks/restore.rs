//! `Restore(…)`: faces in photographs, restored and put back.
//!
//! The task's program is given one face at a time: an input `face` `[image, channel, y, x]`, upright, square, RGB in −1..1
//! (a size by name of images becomes 1), and `w`, one number, where it has that input. Its output `restored` is like
//! `face`. What lies around faces stays as it is; alpha, and the size of the picture unless `upscale` says otherwise, are
//! kept. Pictures are written with 8 bits a channel.
//!
//! | option | meaning |
//! |---|---|
//! | `files` | a picture, a folder of pictures, a pattern such as `"photos/*.jpg"`, or a list of those; `--in` on the command line |
//! | `w` | the input `w`; the program's default unless given |
//! | `aligned` | whether pictures are upright faces already: they are brought to the program's size, and nothing is looked for |
//! | `detectors` | the tasks that find faces: the first of them whose weights are all given is used |
//! | `detect_side` | the shorter side in pixels at which photographs are searched; 640 unless given. More finds smaller faces |
//! | `threshold` | the least score of a face; 0.8 unless given |
//! | `overlap` | how much boxes of two faces may overlap, as a share of what they cover; 0.4 unless given |
//! | `eye_distance` | pixels between the eyes below which a face is left as it is; 5 unless given |
//! | `only_centre` | whether only the face nearest to the middle is restored |
//! | `upscale` | how many times larger the picture becomes; 1 unless given |
//! | `mask` | a task with an input `face` and an output `mask` (one channel, 0..1) that says what of a restored face shows; without one, or its weights, a soft square does |
//! | `grey` | `"auto"`, `"always"` or `"never"`: whether a photograph is one without colour, whose faces get its tones |
//! | `boxes` | whether squares and points of faces are drawn |
//! | `rate` | frames a second of a video; 25 unless given |
//!
//! What a detector task is like is said at [`Detector`].
//!
//! Where `--out` is a folder, it gets `restored/NAME.png`, the whole pictures, and for each face `cropped/NAME_00.png`, what
//! the program was given, and `faces/NAME_00.png`, what came back. Where it is a `.png` or `.jpg` file, there is one picture,
//! written there. Where it is an `.mp4` file, pictures are frames, in the order of their names, and written as they come:
//! the coded video is all that stays in memory. Videos are not read: they are taken apart into frames first.
//!
//! A file that cannot be read stops nothing; the table says what became of each.

use super::{
    Companions, Context, Results, TaskError,
    detector::Detector,
    files::{Names, Outcome, has_ending, listed, one_by_one},
    prepared::known,
    restorer::{Grey, Restored, Restorer, Treatment},
};
use crate::{
    buffer::State,
    console,
    data::DataError,
    media::{Mp4Writer, Picture, is_picture},
    options::{OptionError, Options},
};
use std::path::{Path, PathBuf};
use visage_compiler::system::Task;

const VIDEOS: [&str; 6] = ["mp4", "mov", "avi", "mkv", "webm", "m4v"];

/// The options.
#[derive(Debug)]
struct Settings {
    files: Vec<String>,
    w: Option<f64>,
    aligned: bool,
    detectors: Vec<String>,
    /// Shorter side, threshold and overlap.
    detection: [f64; 3],
    mask: Option<String>,
    treatment: Treatment,
    rate: f64,
}

impl Settings {
    fn read(options: &mut Options) -> Result<Settings, OptionError> {
        let settings = Settings {
            files: options.texts("files")?.unwrap_or_default(),
            w: options.number("w")?,
            aligned: options.switch("aligned")?.unwrap_or(false),
            detectors: options.texts("detectors")?.unwrap_or_default(),
            detection: [
                options.count("detect_side", 32)?.unwrap_or(640) as f64,
                options.number("threshold")?.unwrap_or(0.8),
                options.number("overlap")?.unwrap_or(0.4),
            ],
            mask: options.text("mask")?,
            treatment: Treatment {
                upscale: options.number("upscale")?.unwrap_or(1.0),
                only_centre: options.switch("only_centre")?.unwrap_or(false),
                boxes: options.switch("boxes")?.unwrap_or(false),
                eye_distance: options.number("eye_distance")?.unwrap_or(5.0),
                grey: options
                    .choice("grey", &[("auto", Grey::Auto), ("always", Grey::Always), ("never", Grey::Never)])?
                    .unwrap_or(Grey::Auto),
            },
            rate: options.number("rate")?.unwrap_or(25.0),
        };
        options.finish()?;
        if !(1.0..=16.0).contains(&settings.treatment.upscale) {
            return Err(options.error("`upscale` must be a factor from 1 to 16"));
        }
        if settings.files.is_empty() {
            return Err(options.error("there are no pictures: give a file, a folder or a pattern with `--in`"));
        }
        Ok(settings)
    }
}

/// The other tasks that the driver may run: detectors and mask.
pub fn companions(mut options: Options) -> Companions {
    let detectors = options.texts("detectors").ok().flatten().unwrap_or_default();
    let optional = detectors.into_iter().chain(options.text("mask").ok().flatten()).collect();
    Companions { optional, ..Companions::default() }
}

/// Whether a path names one picture or video rather than a folder.
pub fn is_file(path: &Path) -> bool {
    (is_picture(path) || has_ending(path, &["mp4"])) && !path.is_dir()
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive); also where nothing could be done for any file.
pub fn restore(
    context: &Context<'_>,
    name: &str,
    _: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let settings = Settings::read(options)?;
    let files = listed(&settings.files)?;
    let detector = match settings.aligned {
        true => None,
        false => {
            let found = weighed(context, &settings.detectors, state)?;
            Some(Detector::new(context, found, settings.detection)?)
        }
    };
    let mask = match &settings.mask {
        Some(mask) if !settings.aligned => {
            let given = has_weights(context, mask, state)?;
            if !given {
                tracing::warn!("there are no weights for `{mask}`: a soft square says what of a face shows");
            }
            given.then_some(mask.as_str())
        }
        _ => None,
    };
    let mut restorer = Restorer::new(context, name, settings.w, mask, detector, settings.treatment)?;
    let mut target = Target::new(context.out, files.len(), settings.rate)?;
    let bar = console::bar(files.len() as u64, "{spinner} {bar:30} {pos}/{len} pictures, {eta} left");
    let mut results = Results::default();
    let mut faces = 0;
    let ledger = one_by_one(&files, &bar, &[">faces"], |path| {
        let made = one(path, settings.aligned, &mut restorer, state)?;
        target.write(path, &made, name, &mut results)?;
        faces += made.faces.len();
        Ok(Outcome { cells: vec![made.faces.len().to_string()], told: told(&made, settings.aligned) })
    })?;
    bar.finish_and_clear();
    if ledger.done == 0 {
        return Err(TaskError::Unsuitable(format!("nothing could be restored\n{}", ledger.table)));
    }
    target.finish(&mut results)?;
    results.figures = vec![("pictures".into(), ledger.done as f64), ("faces".into(), faces as f64)];
    results.table = Some(ledger.table.to_string());
    Ok(results)
}

/// One file, restored.
fn one(path: &Path, aligned: bool, restorer: &mut Restorer<'_>, state: &mut State) -> Result<Restored, TaskError> {
    if has_ending(path, &VIDEOS) {
        let message = "videos are not read: take it apart into a folder of numbered frames and give the folder";
        return Err(DataError::format(path, message).into());
    }
    let picture = Picture::load(path)?;
    if aligned { restorer.aligned(&picture, state) } else { restorer.photograph(&picture, state) }
}

/// What became of a picture, in words.
fn told(made: &Restored, aligned: bool) -> String {
    let left = match made.left {
        0 => String::new(),
        left => format!(", {left} too small or misshapen"),
    };
    match made.faces.len() {
        0 => format!("no face found{left}"),
        _ if aligned => "restored".into(),
        _ => format!("restored{left}"),
    }
}

/// Whether all parameters of a task are there.
fn has_weights(context: &Context<'_>, name: &str, state: &State) -> Result<bool, TaskError> {
    let task = known(context, name)?;
    Ok(task.program.parameters.keys().all(|parameter| state.contains_key(parameter)))
}

/// The first detector whose weights are there.
fn weighed<'n>(context: &Context<'_>, names: &'n [String], state: &State) -> Result<&'n str, TaskError> {
    for name in names {
        if has_weights(context, name, state)? {
            return Ok(name);
        }
    }
    let wanted = names.iter().map(|name| {
        let parameters = &context.system.tasks[name].program.parameters;
        // The first in the order of the spec.
        let first = context.system.parameters.keys().find(|parameter| parameters.contains_key(*parameter));
        format!("`{name}` needs {} tensors, such as `{}`", parameters.len(), first.map_or("", String::as_str))
    });
    let wanted: Vec<String> = wanted.collect();
    let wanted = if wanted.is_empty() { "the task names no `detectors`".to_owned() } else { wanted.join("; ") };
    Err(TaskError::Unsuitable(format!(
        "there is nothing to find faces with: {wanted}. Give the weights of a detector with another `--weights FILE`, or \
         `--aligned` if the pictures are upright faces already"
    )))
}

/// Where pictures go.
enum Target {
    Picture(PathBuf),
    Video { path: PathBuf, rate: f64, writer: Option<Box<Mp4Writer>> },
    Folder { root: PathBuf, names: Names },
}

impl Target {
    fn new(out: &Path, count: usize, rate: f64) -> Result<Target, TaskError> {
        match out {
            _ if !is_file(out) => {
                for folder in ["restored", "cropped", "faces"].map(|name| out.join(name)) {
                    std::fs::create_dir_all(&folder).map_err(DataError::io(&folder))?;
                }
                Ok(Target::Folder { root: out.to_owned(), names: Names::default() })
            }
            _ if !is_picture(out) => Ok(Target::Video { path: out.to_owned(), rate, writer: None }),
            _ if count == 1 => Ok(Target::Picture(out.to_owned())),
            _ => {
                let message = format!("{count} pictures do not go into {}: give a folder with `--out`", out.display());
                Err(TaskError::Unsuitable(message))
            }
        }
    }

    /// Writes what was made of the file at `path`.
    fn write(&mut self, path: &Path, made: &Restored, task: &str, results: &mut Results) -> Result<(), TaskError> {
        match self {
            Target::Picture(out) => {
                made.picture.save(out)?;
                results.files.push(out.clone());
                results.pictures.push((task.to_owned(), made.picture.clone()));
            }
            Target::Video { path: out, rate, writer } => {
                let frame = &made.picture;
                let writer = match writer {
                    Some(writer) => writer,
                    None => writer.insert(Box::new(Mp4Writer::new(out, frame.width, frame.height, *rate)?)),
                };
                writer.push(frame)?;
            }
            Target::Folder { root, names } => {
                let name = names.of(path);
                let mut save = |folder: &str, name: &str, picture: &Picture| -> Result<(), TaskError> {
                    let path = root.join(folder).join(name).with_added_extension("png");
                    picture.save(&path)?;
                    results.files.push(path);
                    Ok(())
                };
                save("restored", &name, &made.picture)?;
                for (i, [cropped, restored]) in made.faces.iter().enumerate() {
                    save("cropped", &format!("{name}_{i:02}"), cropped)?;
                    save("faces", &format!("{name}_{i:02}"), restored)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self, results: &mut Results) -> Result<(), TaskError> {
        if let Target::Video { path, writer: Some(writer), .. } = self {
            writer.finish()?;
            results.files.push(path);
        }
        Ok(())
    }
}
