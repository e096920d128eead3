//! Elaboration: a spec with its sizes put in, as graphs.

pub(super) mod builtin;
mod call;
mod input;
mod network;
mod program;
mod training;
mod view;

use self::{
    input::declare,
    network::{Builder, Network},
    program::{Elaborator, Frame, Reported, Value},
};
use super::{
    diagnostics::{Diagnostics, Problem, Sources, Span},
    equation::{AxisDeclaration, Expression, ExpressionKind},
    scalar::{Scalar, evaluate},
    settings::{Overrides, Settings, resolve},
    spec::Spec,
    structure::{self, Entries, Entry},
};
use crate::{
    axis::Shape,
    graph::{DType, Op},
    system::{Model, Parameter, Program, System, Task},
};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// Which kind of program of a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramKind {
    /// One of `losses`.
    Loss,
    /// One of `tasks`.
    Task,
}

impl ProgramKind {
    fn name(self) -> &'static str {
        match self {
            ProgramKind::Loss => "loss",
            ProgramKind::Task => "task",
        }
    }

    fn entries(self, spec: &Spec) -> &Entries<structure::Program> {
        match self {
            ProgramKind::Loss => &spec.system.losses,
            ProgramKind::Task => &spec.system.tasks,
        }
    }
}

impl Spec {
    /// Elaborates everything: networks, losses as training calls them, tasks with their defaults,
    /// training and data.
    ///
    /// # Errors
    /// Everything that is wrong with the spec, in one go.
    pub fn system(&self, overrides: &Overrides) -> Result<System, Diagnostics> {
        let mut elaboration = Elaboration::new(self, overrides);
        let networks = elaboration.networks();
        let system = elaboration.system(&networks);
        elaboration.finish(system)
    }

    /// Elaborates one loss or task. Optional inputs in `given` become inputs of the program; others
    /// are replaced by the expressions that the spec has for them.
    ///
    /// # Errors
    /// Everything that is wrong with the program and the networks, in one go.
    pub fn program(
        &self,
        kind: ProgramKind,
        name: &str,
        overrides: &Overrides,
        given: &BTreeSet<String>,
    ) -> Result<Program, Diagnostics> {
        let mut elaboration = Elaboration::new(self, overrides);
        let networks = elaboration.networks();
        let program =
            elaboration.named(kind, name, given).and_then(|entry| elaboration.program(&networks, name, entry, given));
        elaboration.finish(program)
    }

    /// The sizes that tensors from files decide: an axis whose size the spec writes as the name of a
    /// size takes its length from the file. `inputs` and `weights` hold names with dimensions in the
    /// documented order. What `overrides` sets already stays; what files decide is added to it.
    ///
    /// # Errors
    /// Tensors that disagree with each other or have another number of axes than the spec says, and
    /// inputs that the program does not have.
    pub fn sizes_from(
        &self,
        kind: ProgramKind,
        name: &str,
        overrides: &Overrides,
        inputs: &[(String, Vec<usize>)],
        weights: &[(String, Vec<usize>)],
    ) -> Result<Overrides, Diagnostics> {
        let mut elaboration = Elaboration::new(self, overrides);
        let networks = elaboration.networks();
        let given: BTreeSet<String> = inputs.iter().map(|(name, _)| name.clone()).collect();
        let found = elaboration.named(kind, name, &given).map(|program| {
            let mut found = Found { free: &elaboration.settings.free, sizes: IndexMap::new(), problems: Vec::new() };
            for (input, sizes) in inputs {
                if let Some(entry) = program.inputs.get(input) {
                    let names: Vec<&str> = entry.value.axes.iter().map(size_name).collect();
                    found.tensor(input, &names, sizes, entry.span);
                }
            }
            let mut slots = Vec::new();
            networks.values().for_each(|network| network.slots(&mut slots));
            for (weight, sizes) in weights {
                if let Some(slot) = slots.iter().find(|slot| slot.name == *weight) {
                    let names: Vec<&str> = slot.size_names.iter().map(String::as_str).collect();
                    found.tensor(weight, &names, sizes, slot.span);
                }
            }
            found
        });
        let found = found.map(|Found { sizes, problems, .. }| (sizes, problems));
        let result = found.map(|(sizes, problems)| {
            elaboration.problems.extend(problems);
            let mut overrides = overrides.clone();
            for (name, (size, _)) in sizes {
                overrides.sets.entry(name).or_insert_with(|| size.to_string());
            }
            overrides
        });
        elaboration.finish(result)
    }
}

/// The name by which an axis's size is written; expressions have none.
fn size_name(axis: &AxisDeclaration) -> &str {
    match &axis.size {
        None => &axis.axis.text,
        Some(Expression { kind: ExpressionKind::Name(name), .. }) => name,
        Some(_) => "",
    }
}

/// Sizes that files decide, each with the tensor that did.
struct Found<'f> {
    /// Sizes that files may decide.
    free: &'f [String],
    sizes: IndexMap<String, (usize, String)>,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn tensor(&mut self, tensor: &str, names: &[&str], sizes: &[usize], span: Span) {
        if names.len() != sizes.len() {
            // A scalar may be stored as one element.
            if !(names.is_empty() && sizes == [1]) {
                let message = format!(
                    "`{tensor}` has rank {} in the spec, but {} in the file: {sizes:?}",
                    names.len(),
                    sizes.len()
                );
                self.problems.push(Problem::new(span, message));
            }
            return;
        }
        for (name, size) in names.iter().zip(sizes).filter(|(name, _)| self.free.iter().any(|free| free == *name)) {
            match self.sizes.get(*name) {
                Some((other, decided)) if other != size => {
                    let message = format!("`{name}` would be {other} by `{decided}`, but {size} by `{tensor}`");
                    self.problems.push(Problem::new(span, message).label("in the files"));
                }
                Some(_) => {}
                None => {
                    self.sizes.insert((*name).to_owned(), (*size, tensor.to_owned()));
                }
            }
        }
    }
}

/// One elaboration of a spec.
struct Elaboration<'s> {
    spec: &'s Spec,
    overrides: Overrides,
    sources: Sources,
    settings: Settings,
    problems: Vec<Problem>,
}

impl<'s> Elaboration<'s> {
    fn new(spec: &'s Spec, overrides: &Overrides) -> Elaboration<'s> {
        let mut sources = spec.sources.clone();
        let mut problems = Vec::new();
        let settings = resolve(spec, overrides, &mut sources, &mut problems);
        Elaboration { spec, overrides: overrides.clone(), sources, settings, problems }
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Diagnostics> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(Diagnostics::new(&self.sources, self.problems)),
        }
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn scalar(&mut self, expression: &Expression) -> Option<Scalar> {
        let settings = &self.settings;
        let value = evaluate(expression, &mut |name, span| {
            settings.get(name).ok_or_else(|| settings.unknown(name, span, std::iter::empty()))
        });
        value.map_err(|problem| self.report(problem)).ok()
    }

    fn number(&mut self, expression: &Expression) -> Option<f64> {
        self.scalar(expression).map(Scalar::number)
    }

    fn number_or(&mut self, expression: Option<&Expression>, default: f64) -> Option<f64> {
        expression.map_or(Some(default), |expression| self.number(expression))
    }

    fn count(&mut self, expression: &Expression) -> Option<u64> {
        let value = self.scalar(expression)?;
        let count = value.whole().and_then(|count| u64::try_from(count).ok());
        if count.is_none() {
            self.report(Problem::new(expression.span, format!("expected a whole number from 0, not {value}")));
        }
        count
    }

    fn positive_or_one(&mut self, expression: Option<&Expression>) -> Option<u64> {
        let Some(expression) = expression else { return Some(1) };
        let count = self.count(expression)?;
        if count == 0 {
            self.report(Problem::new(expression.span, "expected a whole number from 1, not 0"));
            return None;
        }
        Some(count)
    }

    fn truth_or(&mut self, expression: Option<&Expression>, default: bool) -> Option<bool> {
        let Some(expression) = expression else { return Some(default) };
        let value = self.scalar(expression)?;
        if value.truth().is_none() {
            self.report(Problem::new(expression.span, format!("expected true or false, not {value}")));
        }
        value.truth()
    }

    /// The networks of all models; those with problems are reported and left out.
    fn networks(&mut self) -> IndexMap<String, Network<'s>> {
        let mut networks = IndexMap::new();
        let mut builder = Builder::new(self.spec, &self.settings, &self.sources, &mut self.problems);
        for (name, entry) in &self.spec.system.models {
            let prefix = entry.value.prefix.clone().unwrap_or_else(|| format!("{name}."));
            if let Some(network) = builder.model(&entry.value.network, name, &prefix) {
                networks.insert(name.clone(), network);
            }
        }
        networks
    }

    /// The inputs, outputs and equations of a loss or task: its own, or those of the task it is like.
    fn shared(&mut self, entry: &'s structure::Program) -> Option<&'s structure::Program> {
        let Some(like) = &entry.like else { return Some(entry) };
        let tasks = &self.spec.system.tasks;
        match tasks.get(&like.text) {
            Some(other) if other.value.like.is_none() => return Some(&other.value),
            Some(_) => {
                let problem = Problem::new(like.span, format!("`{}` is itself like another task", like.text));
                self.report(problem.help("name the task that has the equations"));
            }
            None => {
                let problem = Problem::new(like.span, format!("there is no task `{}`", like.text));
                self.report(problem.suggest(&like.text, tasks.keys().map(String::as_str)));
            }
        }
        None
    }

    /// A loss or task by name, which must have every input in `given`.
    fn named(&mut self, kind: ProgramKind, name: &str, given: &BTreeSet<String>) -> Option<&'s structure::Program> {
        let entries = kind.entries(self.spec);
        let Some(entry) = entries.get(name) else {
            let start = Span { end: self.spec.system.span.start + 6, ..self.spec.system.span };
            let problem = Problem::new(start, format!("there is no {} `{name}`", kind.name())).label("in this system");
            self.report(problem.suggest(name, entries.keys().map(String::as_str)));
            return None;
        };
        let program = self.shared(&entry.value)?;
        for input in given {
            if !program.inputs.contains_key(input) {
                let problem = Problem::new(entry.span, format!("the {} `{name}` has no input `{input}`", kind.name()));
                self.report(problem.suggest(input, program.inputs.keys().map(String::as_str)));
            }
        }
        Some(program)
    }

    fn program(
        &mut self,
        networks: &IndexMap<String, Network<'s>>,
        name: &str,
        program: &structure::Program,
        given: &BTreeSet<String>,
    ) -> Option<Program> {
        let mut elaborator = Elaborator::new(self.spec, &self.settings, networks);
        let mut frame = Frame { label: name.to_owned(), ..Frame::default() };
        for (input, entry) in &program.inputs {
            frame.given.insert(input.clone(), false);
            if let Err(Reported) = declare(&mut elaborator, &mut frame, input, entry, given.contains(input)) {
                frame.variables.insert(input.clone(), Value::Broken);
            }
        }
        elaborator.statements(&mut frame, &program.equations);
        let mut outputs = IndexMap::new();
        for (output, entry) in &program.outputs {
            let Ok(node) = elaborator.output(&mut frame, output, entry.span, &entry.value, &[]) else {
                if elaborator.problems.is_empty() && self.problems.is_empty() {
                    let problem = Problem::new(entry.span, format!("`{output}` cannot be computed"));
                    elaborator.problems.push(problem);
                }
                continue;
            };
            let node = elaborator.rounded(node, DType::F32);
            let shape = elaborator.graph.shape(node);
            let axes = entry.value.iter().map(|declared| declared.axis());
            let documented = Shape::new(axes.filter_map(|axis| Some((axis, shape.size(axis)?))));
            outputs.insert(output.clone(), documented);
            elaborator.graph.set_output(output, node);
        }
        let Elaborator { graph, inputs, problems, .. } = elaborator;
        let failed = outputs.len() < program.outputs.len() || !problems.is_empty();
        self.problems.extend(problems);
        if failed {
            return None;
        }
        let graph = graph.pruned();
        let parameters = graph
            .ids()
            .filter_map(|node| if let Op::Parameter(name) = graph.op(node) { Some((name.clone(), node)) } else { None })
            .collect();
        Some(Program { graph, inputs, parameters, outputs })
    }

    fn system(&mut self, networks: &IndexMap<String, Network<'s>>) -> Option<System> {
        let spec = self.spec;
        let (models, parameters) = self.models(networks);
        let bound = |loss: &str| -> BTreeSet<String> {
            let steps = spec.system.train.iter().flat_map(|train| train.steps.values());
            steps
                .filter(|step| step.value.loss.text == loss)
                .flat_map(|step| step.value.batch.keys().cloned())
                .collect()
        };
        let mut losses = IndexMap::new();
        for (name, entry) in &spec.system.losses {
            let scalar = entry.value.outputs.get("loss").is_some_and(|loss| loss.value.is_empty());
            if !scalar {
                let problem =
                    Problem::new(entry.span, format!("the loss `{name}` needs an output `loss` without axes"));
                self.report(problem.help("write `outputs: { \"loss\": \"[]\", … }`"));
            }
            let given = bound(name).into_iter().filter(|input| entry.value.inputs.contains_key(input)).collect();
            if let Some(program) = self.program(networks, name, &entry.value, &given) {
                losses.insert(name.clone(), program);
            }
        }
        let mut tasks = IndexMap::new();
        for (name, entry) in &spec.system.tasks {
            let program = self.shared(&entry.value).and_then(|own| self.program(networks, name, own, &BTreeSet::new()));
            let driver = entry.value.driver.as_ref().map(|driver| self.call(driver));
            if let (Some(program), driver) = (program, driver.unwrap_or_default()) {
                tasks.insert(name.clone(), Task { about: entry.value.about.clone(), program, driver });
            }
        }
        let mut schedules = IndexMap::new();
        for (name, entry) in &spec.system.schedules {
            if let Some(schedule) = self.schedule(&entry.value) {
                schedules.insert(name.clone(), schedule);
            }
        }
        let mut data = IndexMap::new();
        for (name, entry) in &spec.system.data {
            if let Some(call) = self.call(&entry.value) {
                data.insert(name.clone(), call);
            }
        }
        let training = self.training(&models, &parameters, &losses);
        if !self.problems.is_empty() {
            return None;
        }
        Some(System {
            name: spec.system.name.clone(),
            about: spec.system.about.clone(),
            sizes: self.settings.sizes.clone(),
            constants: self.settings.constants.iter().map(|(name, value)| (name.clone(), value.number())).collect(),
            models,
            parameters,
            schedules,
            losses,
            training,
            data,
            tasks,
        })
    }

    fn models(
        &mut self,
        networks: &IndexMap<String, Network<'s>>,
    ) -> (IndexMap<String, Model>, IndexMap<String, Parameter>) {
        let mut models = IndexMap::new();
        let mut parameters: IndexMap<String, Parameter> = IndexMap::new();
        let mut places: IndexMap<&str, Span> = IndexMap::new();
        let mut twice = Vec::new();
        for (name, network) in networks {
            let Some(Entry { value: model, span: model_span }) = self.spec.system.models.get(name) else { continue };
            let module = module_name(&model.network).to_owned();
            let prefix = model.prefix.clone().unwrap_or_else(|| format!("{name}."));
            let frozen = self.truth_or(model.frozen.as_ref(), false).unwrap_or_default();
            let given = self.truth_or(model.given.as_ref(), false).unwrap_or_default();
            let starts_from = model.starts_from.as_ref().map(|other| {
                let known = &self.spec.system.models;
                if !known.contains_key(&other.text) {
                    let problem = Problem::new(other.span, format!("there is no model `{}`", other.text));
                    let problem = problem.suggest(&other.text, known.keys().map(String::as_str));
                    self.report(problem);
                }
                other.text.clone()
            });
            let rename = model.rename.clone();
            models.insert(name.clone(), Model { module, prefix, frozen, given, starts_from, rename });
            let mut slots = Vec::new();
            network.slots(&mut slots);
            for slot in slots {
                if let Some(first) = places.get(slot.name.as_str()) {
                    let problem = Problem::new(slot.span, format!("two parameters are called `{}`", slot.name));
                    let problem = if *first == slot.span {
                        problem
                            .other(*model_span, "in this model")
                            .help("give the models other prefixes, or the layers other names")
                    } else {
                        problem.other(*first, "the other")
                    };
                    twice.push(problem);
                    continue;
                }
                places.insert(&slot.name, slot.span);
                let parameter = Parameter {
                    model: name.clone(),
                    ty: slot.ty.clone(),
                    size_names: slot.size_names.clone(),
                    initialiser: slot.initialiser,
                    buffer: slot.buffer,
                };
                parameters.insert(slot.name.clone(), parameter);
            }
        }
        self.problems.extend(twice);
        (models, parameters)
    }
}

/// The module at the heart of a layer.
fn module_name(layer: &structure::Layer) -> &str {
    match layer {
        structure::Layer::Module { name, .. } => &name.text,
        structure::Layer::Stack { layer, .. }
        | structure::Layer::Optional { layer, .. }
        | structure::Layer::Named { layer, .. } => module_name(layer),
    }
}
