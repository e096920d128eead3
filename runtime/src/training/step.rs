//! One step of a round: batches in, updated state and measurements out.

use super::TrainError;
use crate::{
    buffer::{Buffer, State},
    executor::{Executable, ExecuteOptions},
    sources::{Feed, Sources},
};
use indexmap::IndexMap;
use visage_compiler::{
    graph::{DType, Type},
    random::RandomKey,
    system::{Schedule, System, TrainStep},
    training::{InitialState, StepProgram, accumulation_programs, scalar_inputs, step_program},
};

/// A step, ready to run.
#[derive(Debug)]
pub struct Step {
    /// Its name in the spec.
    pub name: String,
    /// Where its batches come from.
    pub feed: Feed,
    /// The scalar outputs of its loss.
    pub measures: Vec<String>,
    /// Runs on every batch: loss and gradient, and the update unless gradients are accumulated.
    batch: Part,
    /// Runs after the last batch where gradients are accumulated: the update.
    update: Option<Part>,
    declared: TrainStep,
    schedules: IndexMap<String, Schedule>,
    seed: u64,
}

/// What is done with a program, its inputs and the key of its random numbers.
pub type Run<'r> = dyn FnMut(&mut Part, &IndexMap<String, Buffer>, RandomKey) -> Result<(), TrainError> + 'r;

/// A program that updates the state.
#[derive(Debug)]
pub struct Part {
    /// The program with what it keeps.
    pub program: StepProgram,
    executable: Executable,
}

impl Part {
    /// Runs it on the state and gives its scalar outputs.
    ///
    /// # Errors
    /// The device fails.
    pub fn run(
        &mut self,
        state: &mut State,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
    ) -> Result<IndexMap<String, f64>, TrainError> {
        let outputs = self.executable.run(state, inputs, key)?;
        let scalars = outputs.into_iter().filter(|(_, value)| value.len() == 1);
        Ok(scalars.map(|(name, value)| (name, value.value())).collect())
    }
}

impl Step {
    /// Prepares the step called `name`, whose place among the steps is `place`.
    ///
    /// # Errors
    /// Its inputs cannot be fed, or its programs cannot be made or run on the device.
    pub fn new(
        system: &System,
        place: usize,
        name: &str,
        sources: &Sources,
        options: &ExecuteOptions,
        seed: u64,
    ) -> Result<Step, TrainError> {
        let declared = system.training.steps[name].clone();
        let loss = system.loss(&declared);
        let fed: IndexMap<String, Type> =
            loss.inputs.iter().map(|(input, declared)| (input.clone(), declared.ty.clone())).collect();
        let feed = sources.feed(&declared, &fed)?;
        let part = |program: StepProgram| -> Result<Part, TrainError> {
            let executable = Executable::new(&program.program, &program.updates, options)?;
            Ok(Part { program, executable })
        };
        let (batch, update) = if declared.accumulate > 1 {
            let programs = accumulation_programs(loss, &declared, &system.parameters)?;
            (part(programs.gradient)?, Some(part(programs.apply)?))
        } else {
            (part(step_program(loss, &declared, &system.parameters)?)?, None)
        };
        let measures =
            loss.outputs.iter().filter(|(_, shape)| shape.rank() == 0).map(|(name, _)| name.clone()).collect();
        let schedules = loss
            .inputs
            .iter()
            .filter(|(_, input)| input.schedule)
            .filter_map(|(name, _)| Some((name.clone(), system.schedules.get(name)?.clone())))
            .collect();
        // Steps draw different random numbers in the same round.
        let seed = seed.wrapping_add(place as u64);
        Ok(Step { name: name.to_owned(), feed, measures, batch, update, declared, schedules, seed })
    }

    /// Whether it runs in a round.
    pub fn runs_in(&self, round: u64) -> bool {
        self.declared.runs_in(round)
    }

    /// How many updates it has made before a round.
    fn updates_before(&self, round: u64) -> u64 {
        self.declared.runs_before(round)
    }

    /// The number of the first batch that it takes in a round or later.
    pub fn first_batch(&self, round: u64) -> u64 {
        self.updates_before(round) * self.batches()
    }

    /// How many batches it takes each time.
    pub fn batches(&self) -> u64 {
        self.declared.accumulate.max(1)
    }

    /// The state that it keeps, with the values before the first update, given the parameters.
    pub fn initial_state(&self, parameters: &State) -> State {
        let states =
            [Some(&self.batch), self.update.as_ref()].into_iter().flatten().flat_map(|part| &part.program.state);
        states
            .map(|(name, kept)| {
                let buffer = match &kept.initial {
                    InitialState::Zero => Buffer::zeros(kept.ty.clone()),
                    InitialState::CopyOf(parameter) => parameters[parameter].clone(),
                };
                (name.clone(), buffer)
            })
            .collect()
    }

    /// Calls `run` with each program that runs in a round, in order, with its inputs and the key of its
    /// random numbers. `batch` gives the batches in order.
    ///
    /// # Errors
    /// What `run` returns.
    pub fn each(
        &mut self,
        round: u64,
        batch: &mut dyn FnMut() -> IndexMap<String, Buffer>,
        run: &mut Run<'_>,
    ) -> Result<(), TrainError> {
        let scalar = |value: f64| Buffer::scalar(DType::F32, value);
        let number = self.updates_before(round);
        let scheduled: Vec<(String, Buffer)> =
            self.schedules.iter().map(|(name, schedule)| (name.clone(), scalar(schedule.at(round)))).collect();
        let scalars: Vec<(String, Buffer)> = scalar_inputs(&self.declared, number, round)
            .into_iter()
            .map(|(name, value)| (name, scalar(value)))
            .collect();
        let (first, batches, seed) = (self.first_batch(round), self.batches(), self.seed);
        let key = |number| RandomKey { seed, step: first + number };
        let accumulates = self.update.is_some();
        for number in 0..batches {
            let mut inputs = batch();
            inputs.extend(scheduled.iter().cloned());
            if !accumulates {
                inputs.extend(scalars.iter().cloned());
            }
            run(&mut self.batch, &inputs, key(number))?;
        }
        match &mut self.update {
            Some(update) => run(update, &scalars.into_iter().collect(), key(0)),
            None => Ok(()),
        }
    }
}
