//! The training loop.

use super::{
    TrainError,
    alarms::{Alarms, Raised},
    checkpoints::{self, Position},
    curve,
    diagnose::Detector,
    events::EventWriter,
    folder::{FolderError, RunFolder},
    initial, interrupt,
    measurements::{self, Measurements},
    prefetch::{Prefetch, workers},
    progress::Progress,
    step::Step,
};
use crate::{
    buffer::{Buffer, State},
    data::DataError,
    executor::ExecuteOptions,
    sources::{Amount, Sources},
    tasks::{Companions, Context, Results, TaskError, companions, drive, figures},
};
use image::ImageEncoder;
use indexmap::{IndexMap, IndexSet};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use visage_compiler::{
    graph::Type,
    language::{Overrides, Spec},
    system::{Program, System, Value},
};

/// The time between two drawings of the curve: each reads the whole table.
const BETWEEN_CURVES: Duration = Duration::from_secs(30);

/// When checkpoints are written, beside the first and the last round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// After every so many rounds.
    Rounds(u64),
    /// When this much time has gone by.
    Time(Duration),
}

/// How a session runs.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Rounds to train for, those of an earlier session included.
    pub rounds: u64,
    /// The steps of a round that take part; all where there are none.
    pub steps: Vec<String>,
    /// The seed of first weights, batches and random nodes.
    pub seed: u64,
    /// When checkpoints are written.
    pub cadence: Cadence,
    /// How many checkpoints are kept.
    pub keep: usize,
    /// Whether reports run.
    pub reports: bool,
    /// How programs run.
    pub execute: ExecuteOptions,
}

/// How a session ended, where nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All rounds are done.
    Finished,
    /// The run was asked to stop, and wrote a checkpoint.
    Interrupted,
}

/// A training run in progress.
#[derive(Debug)]
pub struct Session<'a> {
    spec: &'a Spec,
    system: &'a System,
    sources: &'a Sources,
    folder: &'a RunFolder,
    options: &'a SessionOptions,
    steps: Vec<Step>,
    state: State,
    types: IndexMap<String, Type>,
    /// What reports compute with where it is given.
    optional: IndexMap<String, Type>,
    /// Rounds done.
    round: u64,
    /// The round of the latest checkpoint.
    kept: u64,
}

impl<'a> Session<'a> {
    /// A session at round 0, whose weights are the initial ones with `given` in place of some, or at
    /// the latest checkpoint of the run, if it has one. A new run gets its first checkpoint here.
    ///
    /// # Errors
    /// A step cannot be run, or a checkpoint not be read or written.
    pub fn begin(
        spec: &'a Spec,
        system: &'a System,
        sources: &'a Sources,
        folder: &'a RunFolder,
        options: &'a SessionOptions,
        given: State,
    ) -> Result<Session<'a>, TrainError> {
        let chosen = |name: &String| options.steps.is_empty() || options.steps.contains(name);
        let steps = system.training.steps.keys().enumerate().filter(|(_, name)| chosen(name));
        let steps = steps
            .map(|(place, name)| Step::new(system, place, name, sources, &options.execute, options.seed))
            .collect::<Result<Vec<Step>, TrainError>>()?;
        let needed = needed(system, &steps);
        let mut state = initial::state(system, needed.iter().copied(), options.seed);
        let latest = checkpoints::latest(folder.root()).map_err(FolderError::io(folder.root()))?;
        let untrained =
            |name: &&str| system.models[&system.parameters[*name].model].given && !given.contains_key(*name);
        if let Some(name) = needed.iter().copied().find(untrained).filter(|_| latest.is_none()) {
            let (name, model) = (name.to_owned(), system.parameters[name].model.clone());
            return Err(TrainError::Untrained { model, name });
        }
        let optional = optional(system);
        let welcome: IndexSet<&String> = optional
            .values()
            .filter(|program| {
                program.parameters.keys().all(|name| given.contains_key(name) || needed.contains(name.as_str()))
            })
            .flat_map(|program| program.parameters.keys())
            .collect();
        let kept = |name: &String| needed.contains(name.as_str()) || welcome.contains(name);
        state.extend(given.into_iter().filter(|(name, _)| kept(name)));
        let optional = optional.values().flat_map(|program| program.parameters.keys());
        let optional = optional.map(|name| (name.clone(), system.parameters[name].ty.clone())).collect();
        let parameters = state.clone();
        for step in &steps {
            state.extend(step.initial_state(&parameters));
        }
        let types = state.iter().map(|(name, buffer)| (name.clone(), buffer.ty().clone())).collect();
        let (round, kept) = (0, 0);
        let mut session =
            Session { spec, system, sources, folder, options, steps, state, types, optional, round, kept };
        match latest {
            Some(path) => session.restore(&path)?,
            None => session.save()?,
        }
        if options.reports {
            session.tell_what_is_not_measured();
        }
        Ok(session)
    }

    /// Says which reports have no figures, since what measures has no weights.
    fn tell_what_is_not_measured(&self) {
        for report in &self.system.training.reports {
            let measuring = companions(&self.system.tasks[&report.task], &report.options).measuring;
            for name in measuring.iter().filter(|name| self.system.tasks.contains_key(*name) && !self.holds(name)) {
                tracing::warn!("`{}` finds no figures: the weights of `{name}` are not given", report.task);
            }
        }
    }

    /// Whether the run keeps all that a task and its driver compute with.
    pub fn holds(&self, task: &str) -> bool {
        let programs = programs(self.system, task, &BTreeMap::new());
        programs.iter().flat_map(|program| program.parameters.keys()).all(|name| self.state.contains_key(name))
    }

    /// Rounds done.
    pub fn round(&self) -> u64 {
        self.round
    }

    fn restore(&mut self, path: &Path) -> Result<(), TrainError> {
        let (state, position) = checkpoints::read(path, &self.types, &self.optional)?;
        (self.state, self.round, self.kept) = (state, position.round, position.round);
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let position = Position { round: self.round, seed: self.options.seed };
        checkpoints::write(&self.folder.checkpoints(), &self.state, position, self.options.keep)?;
        self.kept = self.round;
        Ok(())
    }

    /// Runs the rounds that are left, then the reports with all their views.
    ///
    /// # Errors
    /// A value became infinite or not a number, a program or a report failed, or a file could not be
    /// written. The latest checkpoint is untouched.
    pub fn run(&mut self) -> Result<Ending, TrainError> {
        let mut record = Record::open(self)?;
        let mut progress = Progress::start(self.round, self.options.rounds);
        let mut batches = self.prefetch();
        let (mut saved, mut drawn) = (Instant::now(), Instant::now());
        while self.round < self.options.rounds {
            let started = Instant::now();
            let (measured, amount) = match self.advance(&mut batches) {
                Err(TrainError::NotFinite { step, what, .. }) => {
                    drop(batches);
                    return Err(self.diagnosed(step, what));
                }
                result => result?,
            };
            let seconds = started.elapsed().as_secs_f64();
            progress.round(self.round, amount, shown(&measured));
            let mut row: Vec<(String, f64)> = measured;
            row.push(("seconds".into(), seconds));
            if self.options.reports {
                row.extend(self.report(&mut record)?);
            }
            record.row(self.round - 1, &row)?;
            let alarm = record.alarms(self.round - 1, &row)?;
            let due = match self.options.cadence {
                Cadence::Rounds(every) => self.round.is_multiple_of(every.max(1)),
                Cadence::Time(time) => saved.elapsed() >= time,
            };
            let stopping = interrupt::requested() || alarm.is_some();
            if due || stopping || self.round == self.options.rounds {
                if let Some((name, _)) = self.state.iter().find(|(_, buffer)| buffer.non_finite() > 0) {
                    let (step, what) = (String::new(), format!("the stored value `{name}`"));
                    drop(batches);
                    return Err(self.diagnosed(step, what));
                }
                self.save()?;
                saved = Instant::now();
                if stopping || self.round == self.options.rounds || drawn.elapsed() > BETWEEN_CURVES {
                    curve::draw(&self.folder.measurements(), &self.folder.curve())?;
                    drawn = Instant::now();
                }
            }
            if let Some(raised) = alarm {
                return Err(TrainError::Alarm { raised });
            }
            if stopping {
                return Ok(Ending::Interrupted);
            }
        }
        tracing::debug!("{} rounds took {:.1} s", self.round, progress.seconds());
        Ok(Ending::Finished)
    }

    /// The batches of every step from this round on, prepared on threads of their own.
    fn prefetch(&self) -> Vec<Prefetch> {
        let steps = self.steps.iter();
        steps.map(|step| Prefetch::start(&step.feed, step.first_batch(self.round).., workers())).collect()
    }

    /// One round: what was measured, by step and name, and how much was learnt from.
    fn advance(&mut self, batches: &mut [Prefetch]) -> Result<(Vec<(String, f64)>, Amount), TrainError> {
        let (round, kept, mut amount) = (self.round, self.kept, Amount::default());
        let mut measured = Vec::new();
        for (step, batches) in self.steps.iter_mut().zip(batches) {
            if !step.runs_in(round) {
                continue;
            }
            let mut found: IndexMap<String, (f64, f64)> = IndexMap::new();
            let state = &mut self.state;
            step.each(round, &mut || batches.take(), &mut |part, inputs, key| {
                for (name, value) in part.run(state, inputs, key)? {
                    let sum = found.entry(name).or_default();
                    *sum = (sum.0 + value, sum.1 + 1.0);
                }
                Ok(())
            })?;
            for (name, (sum, count)) in found {
                if !sum.is_finite() && name == "loss" {
                    let (step, what, culprit) = (step.name.clone(), "the loss".to_owned(), None);
                    return Err(TrainError::NotFinite { round, step, what, culprit, kept });
                }
                measured.push((format!("{}.{name}", step.name), sum / count));
            }
            amount.add(step.feed.amount(), step.batches());
        }
        self.round += 1;
        Ok((measured, amount))
    }

    /// Trains again from the latest checkpoint, watching every value, to find where the first one
    /// became infinite or not a number.
    fn diagnosed(&mut self, step: String, what: String) -> TrainError {
        tracing::warn!("a value is not finite: looking for the operation, from round {} on", self.kept);
        let last = self.round;
        match self.replay(last) {
            Ok(Some(error)) => error,
            Ok(None) => TrainError::NotFinite { round: last, step, what, culprit: None, kept: self.kept },
            Err(error) => error,
        }
    }

    fn replay(&mut self, last: u64) -> Result<Option<TrainError>, TrainError> {
        if let Some(path) = checkpoints::latest(self.folder.root()).map_err(FolderError::io(self.folder.root()))? {
            self.restore(&path)?;
        }
        let (execute, kept) = (self.options.execute.clone(), self.kept);
        let mut batches = self.prefetch();
        for round in self.round..=last {
            for (step, batches) in self.steps.iter_mut().zip(&mut batches) {
                if !step.runs_in(round) {
                    continue;
                }
                let state = &mut self.state;
                let mut healthy: Option<(State, IndexMap<String, Buffer>, _)> = None;
                let mut error = None;
                let name = step.name.clone();
                step.each(round, &mut || batches.take(), &mut |part, inputs, key| {
                    if error.is_some() {
                        return Ok(());
                    }
                    let mut before = state.clone();
                    let measured = part.run(state, inputs, key)?;
                    let measure = measured.iter().find(|(_, value)| !value.is_finite());
                    let measure = measure.map(|(name, _)| format!("the measurement `{name}`"));
                    let stored = state.iter().find(|(_, buffer)| buffer.non_finite() > 0);
                    let stored = || stored.map(|(name, _)| format!("the stored value `{name}`"));
                    let Some(what) = measure.or_else(stored) else {
                        healthy = Some((before, inputs.clone(), key));
                        return Ok(());
                    };
                    let mut detector = Detector::new(&part.program.program, &execute)?;
                    let usual = healthy.as_mut().map(|(state, inputs, key)| (state, &*inputs, *key));
                    let culprit = detector.first(usual, (&mut before, inputs, key))?;
                    error = Some(TrainError::NotFinite { round, step: name.clone(), what, culprit, kept });
                    Ok(())
                })?;
                if error.is_some() {
                    return Ok(error);
                }
            }
        }
        Ok(None)
    }

    /// Runs the reports that are due and gives their figures.
    fn report(&mut self, record: &mut Record) -> Result<Vec<(String, f64)>, TrainError> {
        let mut figures = Vec::new();
        for report in &self.system.training.reports {
            if !self.round.is_multiple_of(report.every.max(1)) || interrupt::requested() {
                continue;
            }
            let out = self.folder.samples().join(format!("{:08}-{}", self.round, report.task));
            let results = match self.task(&report.task, &report.options, report.averaged, &out) {
                Err(TrainError::Task(TaskError::Interrupted)) => break,
                results => results?,
            };
            for (name, picture) in &results.pictures {
                record.picture(self.round, name, picture)?;
            }
            let named: Vec<(String, f64)> =
                results.figures.iter().map(|(name, value)| (format!("{}.{name}", report.task), *value)).collect();
            let told: Vec<String> = results.figures.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            tracing::info!("round {}: {}: {}", self.round, report.task, told.join("  "));
            figures.extend(named);
        }
        Ok(figures)
    }

    /// Runs a task with its driver on the weights as they are, or on their moving averages where they have such.
    ///
    /// # Errors
    /// As [`drive`].
    pub fn task(
        &mut self,
        name: &str,
        replaced: &BTreeMap<String, Value>,
        averaged: bool,
        out: &Path,
    ) -> Result<Results, TrainError> {
        if averaged {
            swap_averages(&mut self.state);
        }
        let results = self.task_as_it_is(name, replaced, out);
        if averaged {
            swap_averages(&mut self.state);
        }
        results
    }

    fn task_as_it_is(
        &mut self,
        name: &str,
        replaced: &BTreeMap<String, Value>,
        out: &Path,
    ) -> Result<Results, TrainError> {
        let context = Context {
            spec: self.spec,
            overrides: &Overrides::none(),
            system: self.system,
            sources: self.sources,
            execute: &self.options.execute,
            seed: self.options.seed,
            out,
        };
        Ok(drive(&context, name, &self.system.tasks[name], replaced, &mut self.state)?)
    }

    /// The names of the measurements of a round, as the table has them.
    fn columns(&self) -> Vec<String> {
        let measures =
            |step: &Step| step.measures.iter().map(|name| format!("{}.{name}", step.name)).collect::<Vec<_>>();
        let mut columns: Vec<String> = self.steps.iter().flat_map(measures).collect();
        columns.push("seconds".into());
        for report in &self.system.training.reports {
            let figures = figures(&self.system.tasks[&report.task], &report.options);
            columns.extend(figures.into_iter().map(|figure| format!("{}.{figure}", report.task)));
        }
        columns
    }
}

/// The parameters that a run keeps: those of its steps, and of what it reports.
fn needed<'s>(system: &'s System, steps: &[Step]) -> IndexSet<&'s str> {
    let losses = steps.iter().map(|step| system.loss(&system.training.steps[&step.name]));
    let reports = system.training.reports.iter();
    let reported = reports.flat_map(|report| programs(system, &report.task, &report.options));
    let used: IndexSet<&String> = losses.chain(reported).flat_map(|program| program.parameters.keys()).collect();
    system.parameters.keys().filter(|name| used.contains(name)).map(String::as_str).collect()
}

/// Exchanges parameters and their moving averages.
fn swap_averages(state: &mut State) {
    let averages: Vec<usize> =
        (0..state.len()).filter(|i| state.get_index(*i).is_some_and(|(name, _)| name.starts_with("ema."))).collect();
    for average in averages {
        let parameter = state.get_index(average).and_then(|(name, _)| state.get_index_of(name.strip_prefix("ema.")?));
        let Some(parameter) = parameter else { continue };
        if let Ok([(_, a), (_, b)]) = state.get_disjoint_indices_mut([average, parameter]) {
            std::mem::swap(a, b);
        }
    }
}

/// The programs that the drivers of reports run where their weights are given, by the names of the tasks.
fn optional(system: &System) -> IndexMap<String, &Program> {
    let named = system.training.reports.iter().flat_map(|report| {
        let Companions { optional, measuring, .. } = companions(&system.tasks[&report.task], &report.options);
        optional.into_iter().chain(measuring)
    });
    named.filter_map(|name| Some((name.clone(), &system.tasks.get(&name)?.program))).collect()
}

/// The programs that a task's driver cannot do without.
fn programs<'s>(system: &'s System, task: &str, replaced: &BTreeMap<String, Value>) -> Vec<&'s Program> {
    let task = &system.tasks[task];
    let Companions { required, .. } = companions(task, replaced);
    let others = required.into_iter().filter_map(|name| system.tasks.get(&name));
    std::iter::once(task).chain(others).map(|task| &task.program).collect()
}

/// The measurements worth showing while a run goes: losses and signal-to-noise ratios.
fn shown(measured: &[(String, f64)]) -> impl Iterator<Item = (&str, f64)> {
    let several = measured.iter().filter(|(name, _)| name.ends_with(".loss")).count() > 1;
    measured.iter().filter_map(move |(name, value)| {
        let short = name.rsplit('.').next()?;
        let wanted = matches!(short, "loss" | "psnr");
        wanted.then_some((if several { name.as_str() } else { short }, *value))
    })
}

/// Where measurements go: the table and TensorBoard's events.
#[derive(Debug)]
struct Record {
    table: Measurements,
    events: EventWriter,
    alarms: Alarms,
    table_path: PathBuf,
}

impl Record {
    fn open(session: &Session<'_>) -> Result<Record, TrainError> {
        let (folder, round) = (session.folder, session.round);
        let table_path = folder.measurements();
        let table = Measurements::open(&table_path, &session.columns(), round).map_err(FolderError::io(&table_path))?;
        let events = EventWriter::create(folder.root(), round).map_err(FolderError::io(folder.root()))?;
        let rows = measurements::read(&table_path).map_err(FolderError::io(&table_path))?;
        let path = folder.alarms();
        let alarms = Alarms::open(&session.system.training.alarms, &rows, &path, round);
        Ok(Record { table, events, alarms: alarms.map_err(FolderError::io(&path))?, table_path })
    }

    /// Says which alarms a round raises; the first of those that end the run.
    fn alarms(&mut self, round: u64, row: &[(String, f64)]) -> Result<Option<Raised>, TrainError> {
        let path = self.alarms.path().to_owned();
        let (raised, stop) = self.alarms.take(round, row).map_err(FolderError::io(&path))?;
        raised.iter().for_each(|raised| tracing::warn!("{raised}"));
        Ok(stop)
    }

    fn row(&mut self, round: u64, row: &[(String, f64)]) -> Result<(), TrainError> {
        let values = || row.iter().map(|(name, value)| (name.as_str(), *value));
        self.table.add(round, values()).map_err(FolderError::io(&self.table_path))?;
        let tags = row.iter().map(|(name, value)| (name.replacen('.', "/", 1), *value)).collect::<Vec<_>>();
        let tags = tags.iter().map(|(tag, value)| (tag.as_str(), *value));
        Ok(self.events.scalars(round, tags).map_err(FolderError::io(self.events.path()))?)
    }

    fn picture(&mut self, round: u64, name: &str, picture: &crate::media::Picture) -> Result<(), TrainError> {
        let mut png = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut png);
        let (width, height) = (picture.width as u32, picture.height as u32);
        let encoded = encoder.write_image(&picture.rgb_bytes(), width, height, image::ExtendedColorType::Rgb8);
        encoded.map_err(|error| DataError::Options(format!("the picture `{name}` cannot be encoded: {error}")))?;
        let size = [picture.width, picture.height];
        // Not `round`: what a picture shows is the state after the round before.
        let written = self.events.picture(round.saturating_sub(1), name, size, &png);
        Ok(written.map_err(FolderError::io(self.events.path()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::swap_averages;
    use crate::buffer::{Buffer, State};
    use visage_compiler::graph::DType;

    #[test]
    fn averages_stand_for_the_parameters_that_have_them() {
        let state = |values: [f64; 4]| -> State {
            let named = ["ema.a", "a", "b", "ema.gone"].into_iter().zip(values);
            named.map(|(name, value)| (name.to_owned(), Buffer::scalar(DType::F32, value))).collect()
        };
        let mut swapped = state([1.0, 2.0, 3.0, 4.0]);
        swap_averages(&mut swapped);
        let values: Vec<f64> = swapped.values().map(Buffer::value).collect();
        assert_eq!(values, [2.0, 1.0, 3.0, 4.0]);
    }
}
