//! A spec after elaboration: everything that the planner and the runtime need to know of it.
//!
//! The language front end produces these values; nothing here refers back to the text. What a data
//! source or a task driver means is the runtime's business, so their options pass through as
//! [`Value`]s.

use crate::{
    axis::Shape,
    graph::{Graph, NodeId, Type},
};
use indexmap::IndexMap;
use std::{collections::BTreeMap, fmt};

/// A whole method: models, losses, training procedure, data and tasks.
#[derive(Clone, Debug)]
pub struct System {
    /// The system's name.
    pub name: String,
    /// One or two sentences and the source.
    pub about: String,
    /// Every size, resolved.
    pub sizes: IndexMap<String, i64>,
    /// Every other number and switch, resolved; switches are 0 or 1.
    pub constants: IndexMap<String, f64>,
    /// The networks.
    pub models: IndexMap<String, Model>,
    /// Every parameter and buffer of every model, by full official name.
    pub parameters: IndexMap<String, Parameter>,
    /// Numbers that change with the training step; equations read them as scalars.
    pub schedules: IndexMap<String, Schedule>,
    /// Scalar objectives: each program has the output `loss`, and others that are reported.
    pub losses: IndexMap<String, Program>,
    /// The training procedure: one round runs the steps in this order.
    pub training: Training,
    /// Where batches come from.
    pub data: IndexMap<String, Call>,
    /// Named inference programs.
    pub tasks: IndexMap<String, Task>,
}

/// A network: a module with parameters of its own.
#[derive(Clone, Debug)]
pub struct Model {
    /// The module it is an instance of.
    pub module: String,
    /// Prefix of its parameters' names, with the trailing dot where there is one.
    pub prefix: String,
    /// Frozen models are never trained.
    pub frozen: bool,
    /// Whether training must not begin with untrained values.
    pub given: bool,
    /// The model whose values stand for those of the same names that no checkpoint has.
    pub starts_from: Option<String>,
    /// Official names that differ: `(pattern, replacement)` pairs applied to names in a checkpoint.
    pub rename: Vec<(String, String)>,
}

/// A stored value of a model.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// The model it belongs to.
    pub model: String,
    /// Element type and axes, in storage order.
    pub ty: Type,
    /// How each axis's size is written in the spec, in storage order, so that a size that is a plain
    /// name can be read off a checkpoint.
    pub size_names: Vec<String>,
    /// The value before training.
    pub initialiser: Initialiser,
    /// Buffers (running statistics, fixed tables) are stored but not trained.
    pub buffer: bool,
}

/// The exact distribution of a parameter before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initialiser {
    /// Every element the same.
    Constant(f64),
    /// Uniform on [low, high).
    Uniform { low: f64, high: f64 },
    /// Normal.
    Normal { mean: f64, deviation: f64 },
    /// Normal, redrawn outside ± `cut` deviations.
    TruncatedNormal { mean: f64, deviation: f64, cut: f64 },
}

/// A graph with its inputs and outputs.
#[derive(Clone, Debug)]
pub struct Program {
    /// The computation; its outputs carry the documented names.
    pub graph: Graph,
    /// What must be given at run time, by name.
    pub inputs: IndexMap<String, Input>,
    /// The parameter nodes of `graph`, by full official name.
    pub parameters: IndexMap<String, NodeId>,
    /// The axes of each output, in documented order.
    pub outputs: IndexMap<String, Shape>,
}

/// A value given at run time.
#[derive(Clone, Debug)]
pub struct Input {
    /// Element type and axes, in the documented order of files.
    pub ty: Type,
    /// How each axis's size is written in the spec, in the same order.
    pub size_names: Vec<String>,
    /// One sentence.
    pub about: String,
    /// Whether the spec has an expression for the value when none is given.
    pub optional: bool,
    /// Whether the value is that of the schedule of the same name.
    pub schedule: bool,
}

/// The training procedure.
#[derive(Clone, Debug, Default)]
pub struct Training {
    /// Rounds to train for unless told otherwise.
    pub rounds: u64,
    /// The steps of a round, in order.
    pub steps: IndexMap<String, TrainStep>,
    /// What happens on the way: sample pictures, evaluation, as task calls.
    pub reports: Vec<Report>,
    /// Signs that training goes wrong.
    pub alarms: IndexMap<String, Alarm>,
}

/// One update of some parameters by the gradient of one loss.
#[derive(Clone, Debug)]
pub struct TrainStep {
    /// The loss it descends.
    pub loss: String,
    /// That loss at sizes of this step's own.
    pub own: Option<Program>,
    /// Full names of the parameters it updates.
    pub parameters: Vec<String>,
    /// What the rate is multiplied by for some of them.
    pub factors: IndexMap<String, f64>,
    /// The update rule.
    pub optimiser: Optimiser,
    /// The learning rate.
    pub rate: Schedule,
    /// Run in every n-th round.
    pub every: u64,
    /// The first round that it may run in, counted from 0.
    pub from: u64,
    /// The round from which on it does not run any more.
    pub until: u64,
    /// Batches whose gradients are averaged before an update.
    pub accumulate: u64,
    /// Bound on the gradient.
    pub clip: Option<Clip>,
    /// Decay of an exponential moving average of the parameters, kept under the prefix `ema.`.
    pub ema: Option<Schedule>,
    /// Where each input of the loss comes from: input name to `source.field`.
    pub batch: IndexMap<String, String>,
}

/// An update rule. The learning rate is separate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// v ← μ v + g; p ← p − rate · v (Nesterov: p ← p − rate · (g + μ v)). Weight decay is added to g.
    Sgd { momentum: f64, nesterov: bool, weight_decay: f64 },
    /// Kingma & Ba 2015 with bias correction, ε outside the root. Weight decay is added to g.
    Adam { beta1: f64, beta2: f64, epsilon: f64, weight_decay: f64 },
    /// Loshchilov & Hutter 2019: the decay multiplies the parameter by 1 − rate · decay.
    AdamW { beta1: f64, beta2: f64, epsilon: f64, weight_decay: f64 },
}

/// A bound on the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Scales the whole gradient so that its Euclidean norm over all parameters is at most this.
    Norm(f64),
    /// Clamps every element to ± this.
    Value(f64),
}

/// A number as a function of the step.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    Constant(f64),
    /// start · factor^(step / steps), continuously.
    Exponential {
        start: f64,
        factor: f64,
        steps: f64,
    },
    /// start · factor^k, k the number of milestones at or before the step.
    Step {
        start: f64,
        factor: f64,
        at: Vec<u64>,
    },
    /// The value after as many milestones as there are at or before the step; one value more than milestones.
    Pieces {
        values: Vec<f64>,
        at: Vec<u64>,
    },
    /// From start to end along half a cosine over `steps`, then end.
    Cosine {
        start: f64,
        end: f64,
        steps: f64,
    },
    /// From start to end in a straight line over `steps`, then end.
    Linear {
        start: f64,
        end: f64,
        steps: f64,
    },
    /// The inner schedule times (step + 1) / steps for the first `steps` steps.
    WarmUp {
        steps: f64,
        then: Box<Schedule>,
    },
    /// The inner schedule, which begins again at each milestone.
    Restart {
        at: Vec<u64>,
        then: Box<Schedule>,
    },
    /// min(limit, (1 + step) / (10 + step)).
    Averaging {
        limit: f64,
    },
}

impl Schedule {
    /// The value at `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        let t = step as f64;
        match self {
            Schedule::Constant(value) => *value,
            Schedule::Exponential { start, factor, steps } => start * factor.powf(t / steps),
            Schedule::Step { start, factor, at } => {
                start * factor.powi(at.iter().filter(|milestone| **milestone <= step).count() as i32)
            }
            Schedule::Pieces { values, at } => values[at.partition_point(|milestone| *milestone <= step)],
            Schedule::Cosine { start, end, steps } => {
                let progress = (t / steps).clamp(0.0, 1.0);
                end + (start - end) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Schedule::Linear { start, end, steps } => start + (end - start) * (t / steps).clamp(0.0, 1.0),
            Schedule::WarmUp { steps, then } => then.at(step) * ((t + 1.0) / steps).min(1.0),
            Schedule::Restart { at, then } => {
                then.at(step - at.iter().rfind(|milestone| **milestone <= step).unwrap_or(&0))
            }
            Schedule::Averaging { limit } => limit.min((1.0 + t) / (10.0 + t)),
        }
    }
}

impl System {
    /// What a step descends: a loss of the system, at the step's sizes.
    pub fn loss<'s>(&'s self, step: &'s TrainStep) -> &'s Program {
        step.own.as_ref().unwrap_or_else(|| &self.losses[&step.loss])
    }
}

impl TrainStep {
    /// Whether it runs in a round.
    pub fn runs_in(&self, round: u64) -> bool {
        (self.from..self.until).contains(&round) && round.is_multiple_of(self.every.max(1))
    }

    /// How often it has run before a round.
    pub fn runs_before(&self, round: u64) -> u64 {
        let multiples = |below: u64| below.div_ceil(self.every.max(1));
        multiples(round.clamp(self.from, self.until.max(self.from))) - multiples(self.from)
    }
}

/// A named inference program and how the command runs it.
#[derive(Clone, Debug)]
pub struct Task {
    /// One or two sentences.
    pub about: String,
    /// The program.
    pub program: Program,
    /// What feeds it when it is not fed tensors: a camera path, a data set, a grid.
    pub driver: Option<Call>,
}

/// A task to run in the course of training.
#[derive(Clone, Debug)]
pub struct Report {
    /// The task.
    pub task: String,
    /// Run after every n-th round.
    pub every: u64,
    /// Options that override the driver's.
    pub options: BTreeMap<String, Value>,
    /// Whether moving averages stand for the parameters that have them.
    pub averaged: bool,
}

/// A sign that training goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// What is watched, as `step.output`.
    pub measure: String,
    /// What it means.
    pub about: String,
    /// What the mean must not pass.
    pub bound: Bound,
    /// How many rounds the mean is taken over.
    pub rounds: u64,
    /// Whether the run ends.
    pub stop: bool,
}

/// A side of a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// Less than this.
    Below(f64),
    /// More than this.
    Above(f64),
}

impl Bound {
    /// Whether a value lies on that side; one that is not a number does not.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::Below(bound) => value < bound,
            Bound::Above(bound) => value > bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Below(bound) => write!(f, "below {bound}"),
            Bound::Above(bound) => write!(f, "above {bound}"),
        }
    }
}

/// Something the runtime provides, by name, with options: a data source, a task driver.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it is, such as `PosedImages`.
    pub kind: String,
    /// Its options.
    pub options: BTreeMap<String, Value>,
}

/// An option's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// Something else that the runtime provides, such as the data set to use when none is given.
    Call(Call),
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn schedules_follow_their_formulas() {
        let exponential = Schedule::Exponential { start: 5e-4, factor: 0.1, steps: 500e3 };
        assert!((exponential.at(500_000) - 5e-5).abs() < 1e-12);
        let step = Schedule::Step { start: 1.0, factor: 0.5, at: vec![10, 20] };
        assert_eq!([step.at(9), step.at(10), step.at(25)], [1.0, 0.5, 0.25]);
        let pieces = Schedule::Pieces { values: vec![1.0, 1.3, 0.0], at: vec![10, 20] };
        assert_eq!([pieces.at(9), pieces.at(10), pieces.at(20)], [1.0, 1.3, 0.0]);
        let cosine = Schedule::Cosine { start: 1.0, end: 0.0, steps: 100.0 };
        assert!((cosine.at(50) - 0.5).abs() < 1e-12 && cosine.at(200).abs() < 1e-12);
        let warm = Schedule::WarmUp { steps: 4.0, then: Box::new(Schedule::Constant(2.0)) };
        assert_eq!([warm.at(0), warm.at(3), warm.at(9)], [0.5, 2.0, 2.0]);
        let fade = Schedule::Linear { start: 0.0, end: 1.0, steps: 4.0 };
        let restarted = Schedule::Restart { at: vec![10, 20], then: Box::new(fade) };
        assert_eq!([1, 9, 10, 12, 21].map(|step| restarted.at(step)), [0.25, 1.0, 0.0, 0.5, 0.25]);
        let averaging = Schedule::Averaging { limit: 0.9 };
        assert_eq!([averaging.at(0), averaging.at(10), averaging.at(1000)], [0.1, 0.55, 0.9]);
    }
}
