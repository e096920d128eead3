//! `Iterate(…)`: inputs that a program improves step by step, for one picture after another.
//!
//! The task's equations hold the gradient and the optimiser themselves. A value is carried where the program has an input
//! NAME and an output `next_NAME` of the same type: it begins as the task `initial` gives it, else as its default, and each
//! step is given what the step before made of it. Besides, the program is given the picture `[image, channel: 3, y, x]` in
//! −1..1 (its size by name of images becomes 1), `step` `[]`, counted from 0, and `steps` `[]`, where it has such inputs. Its
//! outputs are `loss` `[]`, `picture` like the target, and what was found, `found_NAME`. Random nodes draw anew in each step.
//!
//! | option | meaning |
//! |---|---|
//! | `files` | a picture, a folder of pictures, a pattern such as `"photos/*.jpg"`, or a list of those; `--in` on the command line |
//! | `picture` | the input that takes the picture, its middle at the size of the program; `"target"` unless given |
//! | `steps` | how many; 700 unless given |
//! | `initial` | a task whose outputs are inputs of the same names, for all pictures; an axis of one image may be missing |
//! | `then` | a task with a `Generate` driver, or one with other options of it, `sample(show: "orbit")`: a grid or an orbit of what was found |
//!
//! Writes, for each picture, `NAME.csv` (every output that is one number, by step), `NAME.safetensors` (what was found, under
//! the names without `found_`), `NAME.png` (the target and the last picture), and in the folder `NAME` what `then` shows.
//! A file that cannot be read stops nothing; the table says what became of each.

use super::{
    Companions, Context, Results, TaskError,
    face_program::signed,
    files::{Names, Outcome, listed, one_by_one},
    generate::{Changed, Display, Settings as Shown, Show, Subject, small},
    generator::picture,
    one_picture,
    prepared::{Prepared, known},
};
use crate::{
    buffer::{Buffer, State},
    checkpoint::Checkpoint,
    console,
    data::DataError,
    files::write_atomically,
    media::{Picture, readable, sheet},
    options::Options,
};
use indexmap::IndexMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    rc::Rc,
};
use visage_compiler::{
    axis::Shape,
    graph::DType,
    language::Overrides,
    system::{Call, Task, Value},
};

/// What the name of an output begins with that becomes an input of the next step.
const NEXT: &str = "next_";

/// What the name of an output begins with that was looked for.
const FOUND: &str = "found_";

/// The options.
#[derive(Debug)]
struct Settings {
    files: Vec<String>,
    picture: String,
    steps: usize,
    initial: Option<String>,
    then: Option<Call>,
}

impl Settings {
    fn read(options: &mut Options) -> Result<Settings, TaskError> {
        let settings = Settings {
            files: options.texts("files")?.unwrap_or_default(),
            picture: options.text("picture")?.unwrap_or_else(|| "target".into()),
            steps: options.count("steps", 1)?.unwrap_or(700),
            initial: options.text("initial")?,
            then: then(options)?,
        };
        options.finish()?;
        if settings.files.is_empty() {
            return Err(options.error("there are no pictures: give a file, a folder or a pattern with `--in`").into());
        }
        Ok(settings)
    }
}

/// The task that shows what was found, with other options of its driver.
fn then(options: &mut Options) -> Result<Option<Call>, TaskError> {
    match options.take("then") {
        None => Ok(None),
        Some(Value::Text(kind)) => Ok(Some(Call { kind, options: BTreeMap::new() })),
        Some(Value::Call(call)) => Ok(Some(call)),
        Some(_) => Err(options.error("`then` must be a task, by its name or with options in parentheses").into()),
    }
}

/// The tasks that values begin with and that show what was found.
pub fn companions(mut options: Options) -> Companions {
    let initial = options.text("initial").ok().flatten();
    let then = then(&mut options).ok().flatten().map(|call| call.kind);
    Companions { required: initial.into_iter().chain(then).collect(), ..Companions::default() }
}

/// Runs the driver.
///
/// # Errors
/// As [`drive`](super::drive); also where nothing could be done for any file.
pub fn iterate(
    context: &Context<'_>,
    name: &str,
    task: &Task,
    options: &mut Options,
    state: &mut State,
) -> Result<Results, TaskError> {
    let settings = Settings::read(options)?;
    let files = listed(&settings.files)?;
    let mut search = Search::new(context, name, task, &settings, state)?;
    let mut then = settings.then.as_ref().map(|call| Then::new(context, call, &search)).transpose()?;
    let length = (files.len() * settings.steps) as u64;
    let bar = console::bar(length, "{spinner} {bar:30} {human_pos}/{human_len} steps, {per_sec}, {eta} left");
    let mut names = Names::default();
    let mut results = Results::default();
    let mut losses = Vec::new();
    let ledger = one_by_one(&files, &bar, &[">first loss", ">last loss"], |path| {
        let target = search.target(path)?;
        let found = search.run(path, &target, settings.steps, &|| bar.inc(1), state)?;
        let name = names.of(path);
        let out = context.out.join(&name);
        found.write(&out, &target, &mut results)?;
        if let Some(then) = &mut then {
            let subject = Subject { name: name.clone(), caption: name, codes: Rc::new(found.codes()) };
            let folder = if then.names_folders { context.out } else { &out };
            results.files.extend(then.display.show(&[subject], folder, state)?.files);
        }
        let [first, last] =
            [found.rows.first(), found.rows.last()].map(|row| row.map_or(f64::NAN, |row| row[found.loss]));
        losses.push(last);
        let told = format!("{} steps", settings.steps);
        Ok(Outcome { cells: [first, last].map(|loss| format!("{loss:.4}")).into(), told })
    })?;
    bar.finish_and_clear();
    if ledger.done == 0 {
        return Err(TaskError::Unsuitable(format!("nothing could be done\n{}", ledger.table)));
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    results.figures = vec![("pictures".into(), ledger.done as f64), ("loss".into(), mean)];
    results.table = Some(ledger.table.to_string());
    Ok(results)
}

/// A program that is run again and again on what it made.
#[derive(Debug)]
struct Search {
    /// The first step, where values begin as their defaults; the same as the others where none does.
    first: Option<Prepared>,
    program: Prepared,
    /// The input that takes the picture; its height and width.
    picture: String,
    size: [usize; 2],
    /// Inputs with the outputs that they are in the next step.
    carried: Vec<(String, String)>,
    /// What the task `initial` gives.
    begin: IndexMap<String, Buffer>,
}

/// What a search found.
#[derive(Debug)]
struct Found {
    /// The outputs of the last step.
    outputs: IndexMap<String, Buffer>,
    /// Names of the columns, and their values in each step.
    columns: Vec<String>,
    rows: Vec<Vec<f64>>,
    /// Which column is the loss.
    loss: usize,
    picture: Picture,
}

impl Search {
    fn new(
        context: &Context<'_>,
        name: &str,
        task: &Task,
        settings: &Settings,
        state: &mut State,
    ) -> Result<Search, TaskError> {
        let unsuitable = |problem: String| TaskError::Unsuitable(format!("the task `{name}`: {problem}"));
        let inputs = &task.program.inputs;
        let picture = settings.picture.clone();
        if !inputs.contains_key(&picture) {
            let help = crate::names::suggestion(&picture, inputs.keys().map(String::as_str));
            return Err(unsuitable(format!("it has no input `{picture}`: {help}")));
        }
        let mut carried = Vec::new();
        for output in task.program.outputs.keys() {
            let Some(input) = output.strip_prefix(NEXT) else { continue };
            if !inputs.contains_key(input) {
                return Err(unsuitable(format!("its output `{output}` has no input `{input}` to be carried to")));
            }
            carried.push((input.to_owned(), output.clone()));
        }
        if carried.is_empty() {
            return Err(unsuitable(format!("nothing is carried from step to step: no output begins with `{NEXT}`")));
        }
        let overrides = one_picture(context, name, &picture, &BTreeSet::from([picture.clone()]))?;
        let own = |input: &String| *input == picture || input == "step" || input == "steps";
        let given = |input: &String| inputs.contains_key(input) && !own(input);
        let initial = initial(context, settings.initial.as_deref(), &overrides, state)?;
        let begin: IndexMap<String, Buffer> = initial.into_iter().filter(|(input, _)| given(input)).collect();
        let always: BTreeSet<String> = inputs.keys().filter(|input| own(input)).chain(begin.keys()).cloned().collect();
        let later: BTreeSet<String> = always.iter().chain(carried.iter().map(|(input, _)| input)).cloned().collect();
        if let Some((input, _)) = carried.iter().find(|(input, _)| !always.contains(input) && !inputs[input].optional) {
            let problem =
                format!("the input `{input}` has nothing to begin with: give it a default or the driver `initial`");
            return Err(unsuitable(problem));
        }
        let program = Prepared::new(context, name, &overrides, &later)?;
        let first = (always != later).then(|| Prepared::new(context, name, &overrides, &always)).transpose()?;
        let mut search = Search { first, program, picture, size: [0; 2], carried, begin };
        search.check(settings.initial.as_deref().unwrap_or_default())?;
        Ok(search)
    }

    /// Checks types of inputs and outputs, and brings what values begin with to those of the inputs.
    fn check(&mut self, initial: &str) -> Result<(), TaskError> {
        let (program, graph) = (&self.program, &self.program.program().graph);
        let inputs = &program.program().inputs;
        let output = |name: &str| graph.output(name).map(|node| graph.ty(node).clone());
        let target = &inputs[&self.picture].ty;
        match target.shape.iter().map(|(_, size)| size).collect::<Vec<_>>().as_slice() {
            [1, 3, height, width] if target.dtype == DType::F32 => self.size = [*height, *width],
            _ => {
                let problem = format!("its `{}` is {target}, not [image, channel: 3, y, x]", self.picture);
                return Err(program.unsuitable(problem));
            }
        }
        for name in ["step", "steps"] {
            if let Some(declared) = inputs.get(name)
                && declared.ty.shape.rank() > 0
            {
                return Err(program.unsuitable(format!("its `{name}` is {}, not one number", declared.ty)));
            }
        }
        if output("loss").is_none_or(|ty| ty.shape.rank() > 0) {
            return Err(program.unsuitable("it has no output `loss` that is one number"));
        }
        let picture = program.program().outputs.get("picture");
        let sizes: Vec<usize> = picture.into_iter().flat_map(|shape| shape.iter().map(|(_, size)| size)).collect();
        if !matches!(sizes.as_slice(), [1, 3, _, _]) {
            return Err(program.unsuitable("it has no output `picture` [image, channel: 3, y, x]"));
        }
        let found = program.program().outputs.keys().filter(|name| name.starts_with(FOUND));
        found.chain([&"picture".to_owned()]).try_for_each(|name| program.check_f32(name))?;
        for (input, next) in &self.carried {
            let (from, to) = (&program.program().outputs[next], &inputs[input].ty);
            let alike = from.iter().eq(to.shape.iter()) && output(next).is_some_and(|ty| ty.dtype == to.dtype);
            if !alike {
                let problem =
                    format!("its output `{next}` is {from}, and the input `{input}` that it is carried to is {to}");
                return Err(program.unsuitable(problem));
            }
        }
        for (input, value) in &mut self.begin {
            let wanted = &inputs[input].ty;
            let sizes =
                |shape: &Shape| shape.iter().map(|(_, size)| size).filter(|size| *size != 1).collect::<Vec<_>>();
            if value.ty().dtype != wanted.dtype || sizes(value.shape()) != sizes(&wanted.shape) {
                let problem = format!("the input `{input}` is {wanted}, and `{initial}` gives {}", value.ty());
                return Err(program.unsuitable(problem));
            }
            let mut brought = Buffer::zeros(wanted.clone());
            brought.bytes_mut().copy_from_slice(value.bytes());
            *value = brought;
        }
        Ok(())
    }

    /// The middle of a picture at the size of the program.
    fn target(&self, path: &Path) -> Result<Picture, TaskError> {
        let [height, width] = self.size;
        let mut target = Picture::load(path)?.rgb().fitted(width, height);
        target.values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        Ok(target)
    }

    /// All steps for one picture, whose file is named where a loss is no number.
    fn run(
        &mut self,
        path: &Path,
        target: &Picture,
        steps: usize,
        advanced: &dyn Fn(),
        state: &mut State,
    ) -> Result<Found, TaskError> {
        let of = self.program.program();
        let types: Vec<(&'static str, DType)> =
            ["step", "steps"].into_iter().filter_map(|name| Some((name, of.inputs.get(name)?.ty.dtype))).collect();
        let single = of.outputs.iter().filter(|(name, shape)| shape.rank() == 0 && !name.starts_with(NEXT));
        let columns: Vec<String> = single.map(|(name, _)| name.clone()).collect();
        let loss = columns.iter().position(|name| name == "loss").unwrap_or(0);
        let mut inputs = self.begin.clone();
        inputs.insert(self.picture.clone(), signed(target, &of.inputs[&self.picture].ty));
        let mut rows = Vec::new();
        let mut outputs = IndexMap::new();
        for step in 0..steps {
            for (name, dtype) in &types {
                let value = if *name == "step" { step } else { steps };
                inputs.insert((*name).to_owned(), Buffer::scalar(*dtype, value as f64));
            }
            let program = if step == 0 { self.first.as_mut().unwrap_or(&mut self.program) } else { &mut self.program };
            outputs = program.run(&inputs, step as u64, state)?;
            let row: Vec<f64> = columns.iter().map(|name| outputs[name].value()).collect();
            if !row[loss].is_finite() {
                let message = format!("the loss is {} in step {step}", row[loss]);
                return Err(DataError::format(path, message).into());
            }
            rows.push(row);
            for (input, next) in &self.carried {
                if let Some(value) = outputs.swap_remove(next) {
                    inputs.insert(input.clone(), value);
                }
            }
            advanced();
        }
        let made = &outputs["picture"];
        let sizes: Vec<usize> = made.shape().iter().map(|(_, size)| size).collect();
        let picture = picture(sizes[3], sizes[2], made.as_f32());
        Ok(Found { picture, outputs, columns, rows, loss })
    }
}

/// What a task gives without being given anything.
fn initial(
    context: &Context<'_>,
    name: Option<&str>,
    overrides: &Overrides,
    state: &mut State,
) -> Result<IndexMap<String, Buffer>, TaskError> {
    match name {
        Some(name) => Prepared::new(context, name, overrides, &BTreeSet::new())?.run(&IndexMap::new(), 0, state),
        None => Ok(IndexMap::new()),
    }
}

impl Found {
    /// What was found, by the names of codes.
    fn found(&self) -> impl Iterator<Item = (&str, &Buffer)> {
        self.outputs.iter().filter_map(|(name, value)| Some((name.strip_prefix(FOUND)?, value)))
    }

    /// What was found, as codes of one image.
    fn codes(&self) -> IndexMap<String, Vec<f32>> {
        self.found().map(|(name, value)| (name.to_owned(), value.as_f32().to_vec())).collect()
    }

    /// Writes the table of steps, what was found, and a sheet, as `out` with an ending each.
    fn write(&self, out: &Path, target: &Picture, results: &mut Results) -> Result<(), TaskError> {
        let path = out.with_added_extension("csv");
        let written = write_atomically(&path, |writer| {
            writeln!(writer, "step,{}", self.columns.join(","))?;
            self.rows.iter().enumerate().try_for_each(|(step, row)| {
                // As few digits as tell them apart.
                let cells: Vec<String> = row.iter().map(|value| (*value as f32).to_string()).collect();
                writeln!(writer, "{step},{}", cells.join(","))
            })
        });
        written.map_err(DataError::io(&path))?;
        results.files.push(path);
        let tensors: BTreeMap<_, _> = self.found().map(|(name, value)| (name.to_owned(), value.to_array())).collect();
        if !tensors.is_empty() {
            let path = out.with_added_extension("safetensors");
            let checkpoint = Checkpoint { tensors: tensors.into_iter().collect(), ..Checkpoint::default() };
            checkpoint.write_safetensors(&path).map_err(|error| DataError::format(&path, error.to_string()))?;
            results.files.push(path);
        }
        let pair = |brought: fn(&Picture) -> Picture| {
            let [target, found] = [target, &self.picture].map(brought);
            sheet(&[(&target, "target"), (&found, "found")], 2)
        };
        let path: PathBuf = out.with_added_extension("png");
        pair(readable).save(&path)?;
        results.files.push(path);
        let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        results.pictures.push((name, pair(small)));
        Ok(())
    }
}

/// What is shown of what was found.
struct Then {
    display: Display,
    /// Whether it makes a folder for each picture by itself.
    names_folders: bool,
}

impl Then {
    fn new(context: &Context<'_>, call: &Call, search: &Search) -> Result<Then, TaskError> {
        let task = known(context, &call.kind)?;
        let driver = task.driver.as_ref().filter(|driver| driver.kind == "Generate");
        let Some(driver) = driver else {
            return Err(TaskError::Unsuitable(format!("`then`: the task `{}` has no driver `Generate`", call.kind)));
        };
        let mut options = Options::new(driver, &call.options);
        // Codes are found, not drawn.
        ["codes", "mean", "psi", "latent", "seeds"].iter().for_each(|name| drop(options.take(name)));
        let settings = Shown::read(&mut options)?;
        options.finish()?;
        if !matches!(settings.show, Show::Grid | Show::Orbit) {
            let problem = "what was found is shown as a \"grid\" or an \"orbit\": give `then` with the option `show`";
            return Err(options.error(problem).into());
        }
        let found = search.program.program().outputs.iter();
        let codes =
            found.filter_map(|(name, shape)| Some((name.strip_prefix(FOUND)?.to_owned(), vec![0.0; shape.elements()])));
        let like = Subject { name: String::new(), caption: String::new(), codes: Rc::new(codes.collect()) };
        let changed: Changed = settings.changed(context)?;
        let names_folders = settings.show == Show::Orbit;
        let display = Display::new(&changed.context(context), &call.kind, settings, &[like])?;
        Ok(Then { display, names_folders })
    }
}
