//! Schedules, training steps and what the runtime is handed as it stands.

use super::Elaboration;
use crate::{
    language::{
        diagnostics::Problem,
        document::Name,
        equation::Expression,
        scalar::Scalar,
        structure::{self, Call, Clip, Entry, Optimiser, OptionValue, Schedule},
    },
    system::{self, Alarm, Bound, Model, Parameter, Program, Report, TrainStep, Training, Value as Given},
};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};

impl Elaboration<'_> {
    pub(super) fn schedule(&mut self, schedule: &Schedule) -> Option<system::Schedule> {
        Some(match schedule {
            Schedule::Constant(value) => system::Schedule::Constant(self.number(value)?),
            Schedule::Exponential { start, factor, steps } => system::Schedule::Exponential {
                start: self.number(start)?,
                factor: self.number(factor)?,
                steps: self.duration(steps)?,
            },
            Schedule::Step { start, factor, at } => system::Schedule::Step {
                start: self.number(start)?,
                factor: self.number(factor)?,
                at: at.iter().map(|at| self.count(at)).collect::<Option<_>>()?,
            },
            Schedule::Pieces { values, at } => {
                let values: Vec<f64> = values.iter().map(|value| self.number(value)).collect::<Option<_>>()?;
                let milestones: Vec<u64> = at.iter().map(|at| self.count(at)).collect::<Option<_>>()?;
                if let Some(first) = at.first()
                    && (values.len() != at.len() + 1 || !milestones.is_sorted())
                {
                    let problem =
                        Problem::new(first.span, "milestones are in order, and values are one more than they");
                    self.report(problem);
                    return None;
                }
                system::Schedule::Pieces { values, at: milestones }
            }
            Schedule::Cosine { start, end, steps } => system::Schedule::Cosine {
                start: self.number(start)?,
                end: self.number(end)?,
                steps: self.duration(steps)?,
            },
            Schedule::Linear { start, end, steps } => system::Schedule::Linear {
                start: self.number(start)?,
                end: self.number(end)?,
                steps: self.duration(steps)?,
            },
            Schedule::WarmUp { steps, then } => {
                system::Schedule::WarmUp { steps: self.duration(steps)?, then: Box::new(self.schedule(then)?) }
            }
            Schedule::Restart { at, then } => {
                let milestones: Vec<u64> = at.iter().map(|at| self.count(at)).collect::<Option<_>>()?;
                if let Some(first) = at.first().filter(|_| !milestones.is_sorted()) {
                    self.report(Problem::new(first.span, "milestones are in order"));
                    return None;
                }
                system::Schedule::Restart { at: milestones, then: Box::new(self.schedule(then)?) }
            }
            Schedule::Averaging { limit } => system::Schedule::Averaging { limit: self.number(limit)? },
        })
    }

    fn duration(&mut self, steps: &Expression) -> Option<f64> {
        let value = self.number(steps)?;
        if value > 0.0 {
            return Some(value);
        }
        self.report(Problem::new(steps.span, format!("a schedule takes more than {value} steps")));
        None
    }

    pub(super) fn call(&mut self, call: &Call) -> Option<system::Call> {
        Some(system::Call { kind: call.kind.text.clone(), options: self.options(&call.options)? })
    }

    fn options(&mut self, options: &[(Name, OptionValue)]) -> Option<BTreeMap<String, Given>> {
        options.iter().map(|(name, value)| Some((name.text.clone(), self.option(value)?))).collect()
    }

    fn option(&mut self, option: &OptionValue) -> Option<Given> {
        Some(match option {
            OptionValue::Setting(expression) => match self.scalar(expression)? {
                Scalar::Switch(value) => Given::Bool(value),
                value => Given::Number(value.number()),
            },
            OptionValue::Text(text) => Given::Text(text.clone()),
            OptionValue::List(items) => Given::List(items.iter().map(|item| self.option(item)).collect::<Option<_>>()?),
            OptionValue::Map(entries) => Given::Map(self.options(entries)?),
            OptionValue::Call(call) => Given::Call(self.call(call)?),
        })
    }

    pub(super) fn training(
        &mut self,
        models: &IndexMap<String, Model>,
        parameters: &IndexMap<String, Parameter>,
        losses: &IndexMap<String, Program>,
    ) -> Training {
        let Some(train) = &self.spec.system.train else { return Training::default() };
        let mut training = Training { rounds: self.count(&train.rounds).unwrap_or_default(), ..Training::default() };
        for (name, entry) in &train.steps {
            if self.truth_or(entry.value.when.as_ref(), true) == Some(false) {
                continue;
            }
            if let Some(step) = self.step(entry, models, parameters, losses) {
                training.steps.insert(name.clone(), step);
            }
        }
        for report in &train.reports {
            if !self.spec.system.tasks.contains_key(&report.task.text) {
                let problem = Problem::new(report.task.span, format!("there is no task `{}`", report.task.text));
                self.report(problem.suggest(&report.task.text, self.spec.system.tasks.keys().map(String::as_str)));
            }
            if self.truth_or(report.when.as_ref(), true) == Some(false) {
                continue;
            }
            let (every, options) = (self.positive_or_one(Some(&report.every)), self.options(&report.options));
            let averaged = self.truth_or(report.ema.as_ref(), false);
            if let (Some(every), Some(options), Some(averaged)) = (every, options, averaged) {
                training.reports.push(Report { task: report.task.text.clone(), every, options, averaged });
            }
        }
        for (name, entry) in &train.alarms {
            let known = self.is_measured(&entry.value.measure, losses);
            if self.truth_or(entry.value.when.as_ref(), true) == Some(false) || !known {
                continue;
            }
            if let Some(alarm) = self.alarm(&entry.value) {
                training.alarms.insert(name.clone(), alarm);
            }
        }
        // Of a step that is not there, nothing is measured.
        let steps = &training.steps;
        training
            .alarms
            .retain(|_, alarm| alarm.measure.split_once('.').is_some_and(|(step, _)| steps.contains_key(step)));
        training
    }

    /// Whether a name is that of a number that a step's loss gives; if not, what is wrong has been reported.
    fn is_measured(&mut self, measure: &Name, losses: &IndexMap<String, Program>) -> bool {
        let Some(train) = &self.spec.system.train else { return false };
        let numbers = |entry: &Entry<structure::Update>| {
            let outputs = losses.get(&entry.value.loss.text).map(|program| &program.outputs);
            outputs.into_iter().flatten().filter(|(_, shape)| shape.rank() == 0).map(|(name, _)| name.as_str())
        };
        let known: Vec<String> = train
            .steps
            .iter()
            .flat_map(|(step, entry)| numbers(entry).map(move |output| format!("{step}.{output}")))
            .collect();
        // A loss that is wrong itself has been reported, and says nothing of its outputs.
        let unknown_loss = measure
            .text
            .split_once('.')
            .and_then(|(step, _)| train.steps.get(step))
            .is_some_and(|entry| !losses.contains_key(&entry.value.loss.text));
        if known.contains(&measure.text) {
            return true;
        }
        if !unknown_loss {
            let problem = Problem::new(measure.span, format!("no step measures `{}`", measure.text));
            self.report(problem.suggest(&measure.text, known.iter().map(String::as_str)));
        }
        false
    }

    fn alarm(&mut self, alarm: &structure::Alarm) -> Option<Alarm> {
        let bound = match (&alarm.below, &alarm.above) {
            (Some(below), _) => Bound::Below(self.number(below)?),
            (None, Some(above)) => Bound::Above(self.number(above)?),
            (None, None) => return None,
        };
        Some(Alarm {
            measure: alarm.measure.text.clone(),
            about: alarm.about.clone(),
            bound,
            rounds: self.positive_or_one(Some(&alarm.rounds))?,
            stop: self.truth_or(alarm.stop.as_ref(), false)?,
        })
    }

    fn step(
        &mut self,
        entry: &Entry<structure::Update>,
        models: &IndexMap<String, Model>,
        parameters: &IndexMap<String, Parameter>,
        losses: &IndexMap<String, Program>,
    ) -> Option<TrainStep> {
        let update = &entry.value;
        let Some(loss) = self.spec.system.losses.get(&update.loss.text) else {
            let problem = Problem::new(update.loss.span, format!("there is no loss `{}`", update.loss.text));
            self.report(problem.suggest(&update.loss.text, self.spec.system.losses.keys().map(String::as_str)));
            return None;
        };
        for (input, source) in &update.batch {
            if !loss.value.inputs.contains_key(input) {
                let problem =
                    Problem::new(source.span, format!("the loss `{}` has no input `{input}`", update.loss.text));
                self.report(problem.suggest(input, loss.value.inputs.keys().map(String::as_str)));
            }
            let place = source.value.span;
            match source.value.text.split_once('.') {
                None => self.report(
                    Problem::new(place, format!("`{}` is not a field of a data source", source.value.text))
                        .help("write `source.field`"),
                ),
                Some((data, _)) if !self.spec.system.data.contains_key(data) => {
                    let problem = Problem::new(place, format!("there is no data source `{data}`"));
                    self.report(problem.suggest(data, self.spec.system.data.keys().map(String::as_str)));
                }
                Some(_) => {}
            }
        }
        if let Some(program) = losses.get(&update.loss.text) {
            for (input, known) in &program.inputs {
                if !known.optional && !known.schedule && !update.batch.contains_key(input) {
                    let problem = Problem::new(
                        entry.span,
                        format!("nothing feeds the input `{input}` of the loss `{}`", update.loss.text),
                    );
                    self.report(problem.help(format!("write `batch: {{ \"{input}\": \"source.field\", … }}`")));
                }
            }
        }
        let own = match update.sizes.is_empty() {
            true => None,
            false => Some(self.at_other_sizes(entry, loss, parameters)?),
        };
        let chosen = self.chosen(update, models, parameters, own.as_ref().or(losses.get(&update.loss.text)))?;
        let mut factors = IndexMap::new();
        for (pattern, factor) in &update.factors {
            let value = self.number(&factor.value)?;
            let named = Name { text: pattern.clone(), span: factor.span };
            for name in self.begin_so(&named, models, parameters) {
                factors.insert(name, value);
            }
        }
        let optimiser = self.optimiser(&update.optimiser)?;
        let clip = match &update.clip {
            None => None,
            Some(Clip::Norm(bound)) => Some(system::Clip::Norm(self.number(bound)?)),
            Some(Clip::Value(bound)) => Some(system::Clip::Value(self.number(bound)?)),
        };
        let ema = match &update.ema {
            None => None,
            Some(decay) => Some(self.schedule(decay)?),
        };
        Some(TrainStep {
            loss: update.loss.text.clone(),
            own,
            parameters: chosen,
            factors,
            optimiser,
            rate: self.schedule(&update.rate)?,
            every: self.positive_or_one(update.every.as_ref())?,
            from: update.from.as_ref().map_or(Some(0), |from| self.count(from))?,
            until: update.until.as_ref().map_or(Some(u64::MAX), |until| self.count(until))?,
            accumulate: self.positive_or_one(update.accumulate.as_ref())?,
            clip,
            ema,
            batch: update.batch.iter().map(|(input, source)| (input.clone(), source.value.text.clone())).collect(),
        })
    }

    /// The loss of an update that says other sizes for it. Parameters are as large as everywhere.
    fn at_other_sizes(
        &mut self,
        entry: &Entry<structure::Update>,
        loss: &Entry<structure::Program>,
        parameters: &IndexMap<String, Parameter>,
    ) -> Option<Program> {
        let update = &entry.value;
        let mut overrides = self.overrides.clone();
        for (name, value) in &update.sizes {
            if self.settings.get(name).is_none() {
                let problem = Problem::new(value.span, format!("there is no size or constant `{name}`"));
                let known = self.settings.sizes.keys().chain(self.settings.constants.keys());
                self.problems.push(problem.suggest(name, known.map(String::as_str)));
                return None;
            }
            let value = self.scalar(&value.value)?;
            overrides = overrides.set(name, value);
        }
        let mut other = Elaboration::new(self.spec, &overrides);
        let networks = other.networks();
        let given = update.batch.keys().filter(|input| loss.value.inputs.contains_key(*input)).cloned().collect();
        let program = other.program(&networks, &update.loss.text, &loss.value, &given);
        self.problems.append(&mut other.problems);
        let program = program?;
        for (name, node) in &program.parameters {
            let (ty, usual) = (program.graph.ty(*node), parameters.get(name).map(|parameter| &parameter.ty));
            if usual != Some(ty) {
                let problem = match usual {
                    Some(usual) => format!("`sizes` makes the parameter `{name}` {ty}, and it is {usual}"),
                    None => format!("`sizes` makes a parameter `{name}` that is not there otherwise"),
                };
                self.report(Problem::new(entry.span, problem));
                return None;
            }
        }
        Some(program)
    }

    /// The parameters that an update changes: by model or by the beginning of their names, or those of its loss.
    fn chosen(
        &mut self,
        update: &structure::Update,
        models: &IndexMap<String, Model>,
        parameters: &IndexMap<String, Parameter>,
        program: Option<&Program>,
    ) -> Option<Vec<String>> {
        let Some(patterns) = &update.parameters else {
            let program = program?;
            let reached = parameters
                .iter()
                .filter(|(name, parameter)| trainable(parameter, models) && program.parameters.contains_key(*name));
            return Some(reached.map(|(name, _)| name.clone()).collect());
        };
        let found = patterns.iter().flat_map(|pattern| self.begin_so(pattern, models, parameters));
        let chosen: BTreeSet<String> = found.collect();
        Some(parameters.keys().filter(|name| chosen.contains(*name)).cloned().collect())
    }

    /// The parameters to train of a model, or those whose names begin with a pattern; it is a mistake if there are none.
    fn begin_so(
        &mut self,
        pattern: &Name,
        models: &IndexMap<String, Model>,
        parameters: &IndexMap<String, Parameter>,
    ) -> Vec<String> {
        let matches = |name: &str, parameter: &Parameter| {
            let rest = name.strip_prefix(pattern.text.trim_end_matches('.'));
            parameter.model == pattern.text || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let found: Vec<String> = parameters
            .iter()
            .filter(|(name, parameter)| matches(name, parameter) && trainable(parameter, models))
            .map(|(name, _)| name.clone())
            .collect();
        if found.is_empty() {
            let problem = match models.get(&pattern.text) {
                Some(model) if model.frozen => {
                    Problem::new(pattern.span, format!("the model `{}` is frozen", pattern.text))
                }
                _ => Problem::new(
                    pattern.span,
                    format!("no parameter to train is called `{}` or begins so", pattern.text),
                )
                .suggest(&pattern.text, models.keys().map(String::as_str)),
            };
            self.report(problem);
        }
        found
    }

    fn optimiser(&mut self, optimiser: &Optimiser) -> Option<system::Optimiser> {
        Some(match optimiser {
            Optimiser::Sgd { momentum, nesterov, weight_decay } => system::Optimiser::Sgd {
                momentum: self.number_or(momentum.as_ref(), 0.0)?,
                nesterov: self.truth_or(nesterov.as_ref(), false)?,
                weight_decay: self.number_or(weight_decay.as_ref(), 0.0)?,
            },
            Optimiser::Adam { decoupled, betas, epsilon, weight_decay } => {
                let [beta1, beta2] = match betas {
                    None => [0.9, 0.999],
                    Some([first, second]) => [self.number(first)?, self.number(second)?],
                };
                let epsilon = self.number_or(epsilon.as_ref(), 1e-8)?;
                let weight_decay = self.number_or(weight_decay.as_ref(), 0.0)?;
                match decoupled {
                    false => system::Optimiser::Adam { beta1, beta2, epsilon, weight_decay },
                    true => system::Optimiser::AdamW { beta1, beta2, epsilon, weight_decay },
                }
            }
        })
    }
}

/// Whether training changes a parameter.
fn trainable(parameter: &Parameter, models: &IndexMap<String, Model>) -> bool {
    !parameter.buffer && models.get(&parameter.model).is_some_and(|model| !model.frozen)
}
