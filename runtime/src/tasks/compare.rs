//! `Compare(…)`: what tasks make of held-out pictures, or of worse versions of them, beside the pictures themselves.
//!
//! | option | meaning |
//! |---|---|
//! | `data` | the data source, `Pictures(…)`; the spec's first unless given |
//! | `given` | what tasks are given: the name of a degradation; `"picture"`, the picture itself, unless given |
//! | `variants` | tasks by captions, `{ "w = 0": restore(w: 0) }`, with their `w`, and `given` where they get something else |
//! | `distance` | a task with inputs `a` and `b` like the pictures and an output `distance`; left out where it has no weights |
//! | `count` | how many of the held-out pictures, spread evenly; all unless given |
//! | `shown` | how many of them are shown; 8 unless given |
//!
//! Tasks have an input `face` and an output `restored`, as for `Restore`. PSNR (dB) and SSIM, with distances where there are
//! any, are taken of each picture and averaged. Writes `comparison.json` and `comparison.png`: a row a picture, with what
//! was given, every variant, and the picture itself.

use super::{
    Companions, Context, Results, TaskError,
    face_program::{FaceProgram, signed},
    go_on, one_picture,
};
use crate::{
    buffer::State,
    data::DataError,
    executor::Executable,
    media::{Picture, readable, sheet},
    metrics::{psnr, ssim},
    options::{OptionError, Options},
    table::Table,
};
use indexmap::IndexMap;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use visage_compiler::{
    graph::DType,
    language::ProgramKind,
    random::RandomKey,
    system::{Call, Task},
};

/// The field that holds pictures as they are.
const PICTURE: &str = "picture";

/// The options.
#[derive(Debug)]
struct Settings {
    data: Option<String>,
    given: String,
    variants: BTreeMap<String, Call>,
    distance: Option<String>,
    count: Option<usize>,
    shown: usize,
}

impl Settings {
    fn read(options: &mut Options) -> Result<Settings, OptionError> {
        Ok(Settings {
            data: options.text("data")?,
            given: options.text("given")?.unwrap_or_else(|| PICTURE.into()),
            variants: options.calls("variants")?.unwrap_or_default(),
            distance: options.text("distance")?,
            count: options.count("count", 1)?,
            shown: options.count("shown", 0)?.unwrap_or(8),
        })
    }
}

/// The tasks that make pictures, and the one that says how far apart pictures are.
pub fn companions(mut options: Options) -> Companions {
    let variants = options.calls("variants").ok().flatten().unwrap_or_default();
    let distance = options.text("distance").ok().flatten();
    Companions {
        required: variants.into_values().map(|call| call.kind).collect(),
        optional: distance.into_iter().collect(),
        ..Companions::default()
    }
}

/// PSNR and SSIM of each variant.
pub fn figures(mut options: Options) -> Vec<String> {
    let variants = options.calls("variants").ok().flatten().unwrap_or_default();
    variants.keys().flat_map(|caption| ["psnr", "ssim"].map(|figure| format!("{caption} {figure}"))).collect()
}

/// One way to make a picture.
#[derive(Debug)]
struct Variant {
    program: FaceProgram,
    given: String,
    sums: Sums,
}

/// Figures of pictures, added up: PSNR, SSIM and distance.
#[derive(Clone, Copy, Debug, Default)]
struct Sums([f64; 3]);

impl Sums {
    fn add(&mut self, made: &Picture, truth: &Picture, distance: Option<f64>) {
        let figures = [psnr(&made.values, &truth.values), ssim(made, truth), distance.unwrap_or(0.0)];
        self.0.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    }
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive).
pub fn compare(
    context: &Context<'_>,
    _: &str,
    _: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let settings = Settings::read(options)?;
    options.finish()?;
    let source = context.sources.pictures(settings.data.as_deref())?;
    let batches = &source.batches;
    let known: Vec<&str> = source.picture_fields().collect();
    let mut variants = IndexMap::new();
    for (caption, call) in &settings.variants {
        let mut own = Options::new(call, &BTreeMap::new());
        let (w, given) = (own.number("w")?, own.text("given")?.unwrap_or_else(|| settings.given.clone()));
        own.finish()?;
        let program = FaceProgram::new(context, &call.kind, ("restored", 3), w)?;
        let parameters =
            context.system.tasks.get(&call.kind).into_iter().flat_map(|task| task.program.parameters.keys());
        if let Some(missing) = parameters.into_iter().find(|name| !state.contains_key(*name)) {
            let problem = format!("the weights of the task `{}` are not all given: `{missing}` is not", call.kind);
            return Err(TaskError::Unsuitable(problem));
        }
        if program.side != batches.pictures.side() {
            let (side, other) = (program.side, batches.pictures.side());
            let problem = format!("the task `{}` makes pictures of {side} pixels, and the data has {other}", call.kind);
            return Err(TaskError::Unsuitable(problem));
        }
        variants.insert(caption.clone(), Variant { program, given, sums: Sums::default() });
    }
    for given in variants.values().map(|variant| &variant.given).chain([&settings.given]) {
        if !known.contains(&given.as_str()) {
            let help = crate::names::suggestion(given, known.iter().copied());
            return Err(options.error(format!("there is no field `{given}`: {help}")).into());
        }
    }
    let side = batches.pictures.side();
    let mut distance = Distance::new(context, settings.distance.as_deref(), side, state)?;

    let held_out = batches.pictures.held_out.len();
    let chosen = settings.count.unwrap_or(held_out).min(held_out);
    let mut count = 0;
    let mut given_sums = Sums::default();
    let mut shown = Vec::new();
    for number in 0..chosen {
        go_on()?;
        let sample = match batches.held_out(number * held_out / chosen) {
            Ok(sample) => sample,
            Err(error) => {
                tracing::warn!("left out: {error}");
                continue;
            }
        };
        count += 1;
        let field = |name: &str| batches.degraded(&sample, name).unwrap_or_else(|| sample.picture.clone());
        let given = field(&settings.given);
        let apart = distance.between(&given, &sample.picture, state)?;
        given_sums.add(&given, &sample.picture, apart);
        let mut row = vec![given];
        for variant in variants.values_mut() {
            let made = variant.program.restored(&field(&variant.given), state)?;
            let apart = distance.between(&made, &sample.picture, state)?;
            variant.sums.add(&made, &sample.picture, apart);
            row.push(made);
        }
        row.push(sample.picture);
        // Spread evenly over all of them.
        if number * settings.shown / chosen != (number + 1) * settings.shown / chosen {
            shown.push(row);
        }
    }

    if count == 0 {
        let problem = match held_out {
            0 => "there are no pictures to compare: the data source holds none out (`hold_out`)",
            _ => "there are no pictures to compare: none of those held out can be read",
        };
        return Err(TaskError::Unsuitable(problem.into()));
    }
    let named = variants.keys().map(String::as_str);
    let captions: Vec<&str> = [settings.given.as_str()].into_iter().chain(named).chain(["as it is"]).collect();
    // A picture is what it is.
    let given = (settings.given != PICTURE).then_some((settings.given.as_str(), given_sums));
    let rows: Vec<(&str, [f64; 3])> = given
        .into_iter()
        .chain(variants.iter().map(|(caption, variant)| (caption.as_str(), variant.sums)))
        .map(|(caption, sums)| (caption, sums.0.map(|sum| sum / f64::from(count))))
        .collect();
    results(context, &rows, distance.is_there(), (count, &captions, &shown))
}

/// The table, the figures and the sheet of what was found.
fn results(
    context: &Context<'_>,
    rows: &[(&str, [f64; 3])],
    distances: bool,
    (count, captions, shown): (u32, &[&str], &[Vec<Picture>]),
) -> Result<Results, TaskError> {
    let mut results = Results::default();
    let mut table = Table::new(&["", ">PSNR (dB)", ">SSIM", ">distance"]);
    let mut summary = serde_json::Map::new();
    for (caption, [psnr, ssim, distance]) in rows {
        let distance = distances.then_some(*distance);
        let shown = distance.map_or_else(String::new, |distance| format!("{distance:.4}"));
        table.row([(*caption).to_owned(), format!("{psnr:.2}"), format!("{ssim:.4}"), shown]);
        summary.insert((*caption).to_owned(), json!({ "psnr": psnr, "ssim": ssim, "distance": distance }));
        results.figures.push((format!("{caption} psnr"), *psnr));
        results.figures.push((format!("{caption} ssim"), *ssim));
        results.figures.extend(distance.map(|distance| (format!("{caption} distance"), distance)));
    }
    let path = context.out.join("comparison.json");
    let summary = json!({ "pictures": count, "means": summary });
    std::fs::write(&path, format!("{summary:#}\n")).map_err(DataError::io(&path))?;
    results.files.push(path);
    if !shown.is_empty() {
        let large: Vec<Picture> = shown.iter().flatten().map(readable).collect();
        let captioned: Vec<(&Picture, &str)> = large.iter().zip(captions.iter().copied().cycle()).collect();
        let picture = sheet(&captioned, captions.len());
        let path = context.out.join("comparison.png");
        picture.save(&path)?;
        results.files.push(path);
        results.pictures.push(("comparison".into(), picture));
    }
    results.table = Some(table.to_string());
    Ok(results)
}

/// A task that says how far apart two pictures are.
#[derive(Debug)]
struct Distance {
    executable: Option<Executable>,
    key: RandomKey,
}

impl Distance {
    /// Prepares a task for pictures of `side` pixels whose weights are all there; without one, nothing is said.
    fn new(context: &Context<'_>, name: Option<&str>, side: usize, state: &State) -> Result<Distance, TaskError> {
        let key = RandomKey { seed: context.seed, step: 0 };
        let Some(name) = name else { return Ok(Distance { executable: None, key }) };
        let unsuitable =
            |problem: &str| TaskError::Unsuitable(format!("the task `{name}` compares no pictures: {problem}"));
        let given: BTreeSet<String> = ["a", "b"].map(str::to_owned).into();
        let overrides = one_picture(context, name, "a", &given)?;
        let program = context.spec.program(ProgramKind::Task, name, &overrides, &given)?;
        if !program.parameters.keys().all(|name| state.contains_key(name)) {
            tracing::info!("no distances: the weights of `{name}` are not given");
            return Ok(Distance { executable: None, key });
        }
        let sizes = |input: &str| {
            let declared = program.inputs.get(input).filter(|declared| declared.ty.dtype == DType::F32);
            declared.map(|declared| declared.ty.shape.iter().map(|(_, size)| size).collect::<Vec<_>>())
        };
        if ["a", "b"].map(sizes).iter().any(|sizes| sizes.as_deref() != Some(&[1, 3, side, side])) {
            return Err(unsuitable(
                "its inputs `a` and `b` are not both [image, channel: 3, y, x] of the pictures' size",
            ));
        }
        if program.outputs.get("distance").is_none_or(|shape| shape.elements() != 1) {
            return Err(unsuitable("its output `distance` is not one number a picture"));
        }
        Ok(Distance { executable: Some(Executable::new(&program, &IndexMap::new(), context.execute)?), key })
    }

    fn is_there(&self) -> bool {
        self.executable.is_some()
    }

    fn between(&mut self, a: &Picture, b: &Picture, state: &mut State) -> Result<Option<f64>, TaskError> {
        let Some(executable) = &mut self.executable else { return Ok(None) };
        let ty = executable.program().inputs["a"].ty.clone();
        let inputs = [("a", a), ("b", b)].map(|(name, picture)| (name.to_owned(), signed(picture, &ty)));
        let outputs = executable.run(state, &IndexMap::from(inputs), self.key)?;
        Ok(Some(outputs["distance"].value()))
    }
}
