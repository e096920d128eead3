//! `Assess(…)`: how far the pictures that a program makes are from real ones, by their features.
//!
//! | option | meaning |
//! |---|---|
//! | `data` | the data source, `Pictures(…)`; the spec's first unless given |
//! | `features` | the task that says what a picture is like: one input without a default, `[image, channel: 3, y, x]` in −1..1, and one output, `[image, feature]` |
//! | `count` | how many pictures are made; 1000 unless given |
//! | `batch` | how many at once; as many as the program is written for unless given |
//! | `real` | `"all"` the pictures of the source, unless given, or only those `"held out"` |
//! | `neighbours` | which neighbour of a picture sets how far it reaches, for precision and recall; 3 unless given |
//! | `subsets`, `subset` | pairs of subsets that the kernel distance is taken of, and their size; 100 and 1000 unless given, or as many as there are |
//! | `made` | a folder of pictures to be assessed instead of the program's |
//! | `shown` | how many pictures of either kind are shown; 8 unless given |
//!
//! The program needs no input and gives `picture` `[image, channel: 3, y, x]` in −1..1: what it draws is drawn anew for
//! each batch. Pictures are compared as files hold them, in bytes. A figure means what its features mean, so it carries their
//! name: `inception kid` with its deviation over subsets, `inception fid`, `inception precision`, `inception recall`, and
//! `inception floor …`, the same for one half of the real pictures against the other. Features of real pictures are computed
//! once. Writes `assessment.json` and `assessment.png`, made pictures above real ones.

use super::{
    Companions, Context, Results, TaskError,
    face_program::rounded,
    features::{FeatureProgram, UNNAMED, first_axis_named},
    go_on,
};
use crate::{
    buffer::State,
    data::{DataError, PictureOptions, Pictures},
    executor::Executable,
    media::{Picture, sheet},
    metrics::{AssessmentOptions, Figures, MetricError, Reference},
    options::{OptionError, Options},
    sources::PictureSource,
    table::Table,
};
use indexmap::IndexMap;
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use visage_compiler::{graph::DType, language::ProgramKind, random::RandomKey, system::Task};

/// The program's output.
const PICTURE: &str = "picture";

/// How wide pictures are shown at least, in pixels.
const SHOWN_SIDE: usize = 64;

/// Which real pictures are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Real {
    All,
    HeldOut,
}

/// The options.
#[derive(Debug)]
struct Settings {
    data: Option<String>,
    features: String,
    count: usize,
    batch: Option<usize>,
    real: Real,
    assessment: AssessmentOptions,
    made: Option<PathBuf>,
    shown: usize,
}

impl Settings {
    fn read(options: &mut Options, seed: u64) -> Result<Settings, OptionError> {
        let Some(features) = options.text("features")? else {
            return Err(options.error("`features` names the task that says what a picture is like: give it"));
        };
        Ok(Settings {
            data: options.text("data")?,
            features,
            count: options.count("count", 2)?.unwrap_or(1000),
            batch: options.count("batch", 1)?,
            real: options.choice("real", &[("all", Real::All), ("held out", Real::HeldOut)])?.unwrap_or(Real::All),
            assessment: AssessmentOptions {
                neighbours: options.count("neighbours", 1)?.unwrap_or(3),
                subsets: options.count("subsets", 1)?.unwrap_or(100),
                subset: options.count("subset", 2)?.unwrap_or(1000),
                seed,
            },
            made: options.path("made")?,
            shown: options.count("shown", 0)?.unwrap_or(8),
        })
    }
}

/// The task that says what pictures are like.
pub fn companions(mut options: Options) -> Companions {
    Companions { measuring: options.text("features").ok().flatten().into_iter().collect(), ..Companions::default() }
}

/// The figures, with those of real pictures against each other.
pub fn figures(mut options: Options) -> Vec<String> {
    let features = options.text("features").ok().flatten();
    features
        .into_iter()
        .flat_map(|features| names(&features, "").into_iter().chain(names(&features, "floor ")))
        .collect()
}

fn names(features: &str, of: &str) -> [String; 5] {
    Figures::NAMES.map(|figure| format!("{features} {of}{figure}"))
}

/// Whether the task's own program makes the pictures.
pub fn runs_program(mut options: Options) -> bool {
    !matches!(options.path("made"), Ok(Some(_)))
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive).
pub fn assess(
    context: &Context<'_>,
    name: &str,
    _: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let settings = Settings::read(options, context.seed)?;
    options.finish()?;
    if !context.system.tasks.contains_key(&settings.features) {
        let help = crate::names::suggestion(&settings.features, context.system.tasks.keys().map(String::as_str));
        return Err(options.error(format!("there is no task `{}`: {help}", settings.features)).into());
    }
    let source = context.sources.pictures(settings.data.as_deref())?;
    let pictures = &source.batches.pictures;
    let mut program = FeatureProgram::new(context, &settings.features, settings.batch, pictures.side(), state)?;
    let reference = match &mut program {
        Some(program) => Some(reference(source, &settings, program, state)?),
        None => None,
    };

    let mut making = match &settings.made {
        Some(folder) => Making::Folder(Folder::open(folder, pictures.options(), settings.count)?),
        None => Making::Program(Box::new(Generator::new(context, name, settings.batch, pictures.side())?)),
    };
    // Without features, those that are shown are all that is needed.
    let count =
        if program.is_some() { making.count(settings.count) } else { settings.shown.min(making.count(settings.shown)) };
    let mut shown = Vec::new();
    for number in 0..count {
        let picture = making.picture(number, state)?;
        if let Some(program) = &mut program {
            program.add(&picture, state)?;
        }
        if shown.len() < settings.shown {
            shown.push(picture);
        }
    }

    let mut results = Results::default();
    if let (Some(program), Some(reference)) = (&mut program, &reference) {
        let found = reference.figures(program.finish(state)?).map_err(|error| of("the pictures made", error))?;
        tell(&mut results, context.out, &settings, (&found, count), reference)?;
    } else {
        results.table = Some(format!("  no figures: the weights of `{}` are not given\n", settings.features));
    }
    if !shown.is_empty() {
        let path = context.out.join("assessment.png");
        let picture = beside(&shown, source, settings.real)?;
        picture.save(&path)?;
        results.files.push(path);
        results.pictures.push((name.to_owned(), picture));
    }
    Ok(results)
}

fn of(which: &str, error: MetricError) -> TaskError {
    TaskError::Unsuitable(format!("{which}: {error}"))
}

/// The real pictures, whose features are computed unless they are there already.
fn reference(
    source: &PictureSource,
    settings: &Settings,
    program: &mut FeatureProgram,
    state: &mut State,
) -> Result<Arc<Reference>, TaskError> {
    let mut key = blake3::Hasher::new();
    key.update(format!("{:?} {:?}", settings.real, settings.assessment).as_bytes());
    program.weights(state).for_each(|(name, buffer)| {
        key.update(name.as_bytes()).update(buffer.bytes());
    });
    source.references.get(&settings.features, key.finalize(), || {
        let pictures = &source.batches.pictures;
        let trained = if settings.real == Real::All { pictures.count() } else { 0 };
        tracing::info!("features of {} real pictures by `{}`", trained + pictures.held_out.len(), settings.features);
        for index in 0..trained {
            program.add(&pictures.picture(index), state)?;
        }
        for index in 0..pictures.held_out.len() {
            match pictures.held_out_picture(index) {
                Ok(picture) => program.add(&picture, state)?,
                Err(error) => tracing::warn!("left out: {error}"),
            }
        }
        Reference::new(program.finish(state)?, settings.assessment).map_err(|error| of("the real pictures", error))
    })
}

/// The figures as a table, as a file, and by name.
fn tell(
    results: &mut Results,
    out: &Path,
    settings: &Settings,
    (found, count): (&Figures, usize),
    reference: &Reference,
) -> Result<(), TaskError> {
    let features = &settings.features;
    let mut table = Table::new(&[features, ">made", ">floor"]);
    let object = |figures: &Figures| -> serde_json::Map<_, _> {
        Figures::NAMES.iter().zip(figures.values()).map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    };
    for ((figure, made), floor) in Figures::NAMES.iter().zip(found.values()).zip(reference.floor.values()) {
        table.row([(*figure).to_owned(), format!("{made:.4}"), format!("{floor:.4}")]);
    }
    results.figures.extend(names(features, "").into_iter().zip(found.values()));
    results.figures.extend(names(features, "floor ").into_iter().zip(reference.floor.values()));
    let half = reference.count() / 2;
    let subset = settings.assessment.subset.min(count).min(reference.count());
    let summary = json!({
        "features": features,
        "made": { "pictures": count, "figures": object(found) },
        "floor": { "pictures": [half, reference.count() - half], "figures": object(&reference.floor) },
        "real": { "pictures": reference.count(), "held out": settings.real == Real::HeldOut },
        "neighbours": settings.assessment.neighbours,
        "subset": subset,
        "subsets": settings.assessment.subsets,
    });
    let path = out.join("assessment.json");
    std::fs::write(&path, format!("{summary:#}\n")).map_err(DataError::io(&path))?;
    results.files.push(path);
    results.table = Some(table.to_string());
    Ok(())
}

/// Made pictures, and below them as many real ones, spread evenly.
fn beside(made: &[Picture], source: &PictureSource, real: Real) -> Result<Picture, TaskError> {
    let pictures = &source.batches.pictures;
    let all = if real == Real::HeldOut { pictures.held_out.len() } else { pictures.count() };
    let mut below = Vec::new();
    for place in 0..made.len().min(all) {
        let index = place * all / made.len().min(all);
        match real {
            Real::All => below.push(pictures.picture(index)),
            Real::HeldOut => below.extend(pictures.held_out_picture(index).ok()),
        }
    }
    let factor = SHOWN_SIDE.div_ceil(pictures.side());
    let enlarged = |picture: &Picture| picture.enlarged(factor);
    let (made, below): (Vec<_>, Vec<_>) = (made.iter().map(enlarged).collect(), below.iter().map(enlarged).collect());
    let captioned: Vec<(&Picture, &str)> =
        made.iter().map(|picture| (picture, "made")).chain(below.iter().map(|picture| (picture, "real"))).collect();
    Ok(sheet(&captioned, made.len()))
}

/// What makes pictures.
#[derive(Debug)]
enum Making {
    Program(Box<Generator>),
    Folder(Folder),
}

impl Making {
    /// How many of so many there are.
    fn count(&self, wanted: usize) -> usize {
        match self {
            Making::Program(_) => wanted,
            Making::Folder(folder) => folder.chosen.min(wanted),
        }
    }

    /// The picture of a number; numbers are asked for in order.
    fn picture(&mut self, number: usize, state: &mut State) -> Result<Picture, TaskError> {
        match self {
            Making::Program(generator) => generator.picture(number, state),
            Making::Folder(folder) => {
                go_on()?;
                Ok(folder.pictures.picture(number * folder.pictures.count() / folder.chosen))
            }
        }
    }
}

/// A folder of pictures, of which some are taken.
#[derive(Debug)]
struct Folder {
    pictures: Pictures,
    chosen: usize,
}

impl Folder {
    /// The pictures in a folder, read as the real ones are.
    fn open(folder: &Path, options: &PictureOptions, count: usize) -> Result<Folder, TaskError> {
        let pictures = Pictures::load(folder, &PictureOptions { hold_out: 0, poses: false, ..*options })?;
        for error in &pictures.unreadable {
            tracing::warn!("left out: {error}");
        }
        let chosen = pictures.count().min(count);
        Ok(Folder { pictures, chosen })
    }
}

/// A program that makes pictures of what it draws.
#[derive(Debug)]
struct Generator {
    executable: Executable,
    seed: u64,
    side: usize,
    /// The pictures of the latest batch, the last first.
    left: Vec<Picture>,
}

impl Generator {
    fn new(context: &Context<'_>, name: &str, batch: Option<usize>, side: usize) -> Result<Generator, TaskError> {
        let unsuitable = |problem: String| TaskError::Unsuitable(format!("the task `{name}`: {problem}"));
        let nothing = BTreeSet::new();
        let as_written = context.spec.program(ProgramKind::Task, name, context.overrides, &nothing)?;
        let shape = |outputs: &IndexMap<String, visage_compiler::axis::Shape>| match outputs.get(PICTURE) {
            Some(shape) => Ok(shape.clone()),
            None => Err(unsuitable(format!("it has no output `{PICTURE}`"))),
        };
        let mut overrides = context.overrides.clone();
        if let Some(batch) = batch {
            let images = first_axis_named(context, &shape(&as_written.outputs)?);
            overrides = overrides.set(&images.ok_or_else(|| unsuitable(UNNAMED.into()))?, batch);
        }
        let program = context.spec.program(ProgramKind::Task, name, &overrides, &nothing)?;
        if let Some((input, declared)) = program.inputs.iter().find(|(_, input)| !input.optional) {
            return Err(unsuitable(format!("the input `{input}` {} has no value: give it a default", declared.ty)));
        }
        let made = shape(&program.outputs)?;
        let sizes: Vec<usize> = made.iter().map(|(_, size)| size).collect();
        if !matches!(sizes.as_slice(), [_, 3, height, width] if *height == side && *width == side) {
            let problem =
                format!("its `{PICTURE}` is {made:?}, not [image, channel: 3, y: {side}, x: {side}] as the data is");
            return Err(unsuitable(problem));
        }
        let executable = Executable::new(&program, &IndexMap::new(), context.execute)?;
        Ok(Generator { executable, seed: context.seed, side, left: Vec::new() })
    }

    fn picture(&mut self, number: usize, state: &mut State) -> Result<Picture, TaskError> {
        if let Some(picture) = self.left.pop() {
            return Ok(picture);
        }
        go_on()?;
        // Another step for each batch, so that it draws anew.
        let key = RandomKey { seed: self.seed, step: number as u64 };
        let outputs = self.executable.run(state, &IndexMap::new(), key)?;
        let made = &outputs[PICTURE];
        debug_assert_eq!(made.ty().dtype, DType::F32);
        let pictures = made.as_f32().chunks_exact(3 * self.side * self.side).map(|planes| {
            let mut picture = Picture::from_planes(self.side, self.side, 3, planes);
            picture.values.iter_mut().for_each(|value| *value = (*value + 1.0) / 2.0);
            rounded(&mut picture);
            picture
        });
        self.left = pictures.rev().collect();
        self.left.pop().ok_or_else(|| TaskError::Unsuitable("the program makes no pictures".into()))
    }
}
