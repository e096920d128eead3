//! The graphs of training: a loss, its gradient and the update of parameters and optimiser state, as one
//! program that the planner fuses like any other.
//!
//! [`step_program`] is one whole training step. A step that averages the gradients of several batches
//! is two programs, [`accumulation_programs`]. [`gradient_program`] gives gradients as outputs.
//!
//! Optimiser state is stored like parameters, under names that begin with what it is (`adam.mean.`,
//! `adam.square.`, `momentum.`, `ema.`, `accumulator.`) and end with the parameter's full name.
//! Numbers that change from update to update are scalar inputs, named `step.…`; [`scalar_inputs`] gives
//! their values.

mod optimiser;

use crate::{
    autodiff::{AutodiffError, gradients, reached_gradients},
    axis::Shape,
    graph::{DType, Graph, NodeId, Op, ScalarOp, Type},
    simplify::finished,
    system::{Input, Optimiser, Parameter, Program, TrainStep},
};
use indexmap::IndexMap;
use optimiser::Update;
use thiserror::Error;

/// The input that holds the learning rate.
pub const RATE: &str = "step.rate";
/// The input that holds 1 / (1 − β₁ᵗ), t the number of this update counted from 1.
pub const MEAN_CORRECTION: &str = "step.mean_correction";
/// The input that holds 1 / √(1 − β₂ᵗ).
pub const SQUARE_CORRECTION: &str = "step.square_correction";
/// The input that holds the decay of the moving average of the parameters.
pub const EMA_DECAY: &str = "step.ema_decay";

/// Why a training program cannot be made.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TrainingError {
    #[error("the program has no output `loss`")]
    NoLoss,
    #[error("there is no parameter `{name}`")]
    UnknownParameter { name: String },
    #[error("the loss already has an input `{name}`, which training gives")]
    InputTaken { name: String },
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
}

/// A stored value that an optimiser keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor {
    /// Element type and axes, in storage order: those of its parameter.
    pub ty: Type,
    /// The value before the first update.
    pub initial: InitialState,
}

/// The value of a state before the first update.
#[derive(Clone, Debug, PartialEq)]
pub enum InitialState {
    /// Zero everywhere.
    Zero,
    /// That of the parameter with this full name.
    CopyOf(String),
}

/// A program that updates stored values.
#[derive(Clone, Debug)]
pub struct StepProgram {
    /// Inputs: the loss's and the scalars. Outputs: the loss's scalar ones and the updated values.
    pub program: Program,
    /// The optimiser's state, by name.
    pub state: IndexMap<String, StateTensor>,
    /// The output that holds the new value of each parameter and state.
    pub updates: IndexMap<String, String>,
    /// Parameters of the step that the loss does not depend on: they stay as they are.
    pub unreached: Vec<String>,
}

/// The programs of a step whose update averages the gradients of several batches.
#[derive(Clone, Debug)]
pub struct Accumulation {
    /// Run on every batch: adds the gradients to the states `accumulator.…`.
    pub gradient: StepProgram,
    /// Run after the last batch: updates by the mean gradient, and clears the accumulators.
    pub apply: StepProgram,
}

/// A program whose outputs are a loss's and its gradients.
#[derive(Clone, Debug)]
pub struct GradientProgram {
    /// Outputs: all of the loss's, and a gradient a parameter in storage order.
    pub program: Program,
    /// The output that holds the gradient of each parameter, by full name.
    pub gradients: IndexMap<String, String>,
}

/// The scalar inputs of an optimiser's update number `update`, counted from 0.
pub fn optimiser_inputs(optimiser: &Optimiser, update: u64) -> Vec<(String, f64)> {
    match optimiser {
        Optimiser::Sgd { .. } => Vec::new(),
        Optimiser::Adam { beta1, beta2, .. } | Optimiser::AdamW { beta1, beta2, .. } => {
            let number = update as f64 + 1.0;
            let left = |beta: f64| 1.0 - beta.powf(number);
            vec![(MEAN_CORRECTION.into(), 1.0 / left(*beta1)), (SQUARE_CORRECTION.into(), 1.0 / left(*beta2).sqrt())]
        }
    }
}

/// All scalar inputs of a step's update number `update`, counted from 0, at the schedules' step `at`.
pub fn scalar_inputs(step: &TrainStep, update: u64, at: u64) -> Vec<(String, f64)> {
    let mut inputs = vec![(RATE.to_owned(), step.rate.at(at))];
    inputs.extend(optimiser_inputs(&step.optimiser, update));
    inputs.extend(step.ema.iter().map(|decay| (EMA_DECAY.to_owned(), decay.at(at))));
    inputs
}

/// The program of one training step on one batch: the loss, its gradient, and every update.
pub fn step_program(
    loss: &Program,
    step: &TrainStep,
    parameters: &IndexMap<String, Parameter>,
) -> Result<StepProgram, TrainingError> {
    let mut draft = Draft::of_loss(loss)?;
    let reached = draft.gradients(&step.parameters, parameters)?;
    draft.update(step, &reached, parameters)?;
    Ok(draft.finish())
}

/// The programs of a step that averages the gradients of [`TrainStep::accumulate`] batches.
pub fn accumulation_programs(
    loss: &Program,
    step: &TrainStep,
    parameters: &IndexMap<String, Parameter>,
) -> Result<Accumulation, TrainingError> {
    let mut gradient = Draft::of_loss(loss)?;
    let reached = gradient.gradients(&step.parameters, parameters)?;
    let mut apply = Draft::empty(gradient.dtype);
    let mut means = IndexMap::new();
    for (name, own) in reached {
        let ty = known(parameters, &name)?.ty.clone();
        let state = format!("accumulator.{name}");
        gradient.accumulate(&state, &ty, own);
        means.insert(name, apply.mean_of(&state, &ty, step.accumulate.max(1)));
    }
    apply.update(step, &means, parameters)?;
    Ok(Accumulation { gradient: gradient.finish(), apply: apply.finish() })
}

/// The program that gives a loss and its gradient with respect to every parameter it reads that is not a buffer.
pub fn gradient_program(
    loss: &Program,
    parameters: &IndexMap<String, Parameter>,
) -> Result<GradientProgram, TrainingError> {
    let mut graph = loss.graph.clone();
    let node = graph.output("loss").ok_or(TrainingError::NoLoss)?;
    let trained: Vec<(&String, &Parameter, NodeId)> = parameters
        .iter()
        .filter(|(_, parameter)| !parameter.buffer)
        .filter_map(|(name, parameter)| Some((name, parameter, *loss.parameters.get(name)?)))
        .collect();
    let wrt: Vec<NodeId> = trained.iter().map(|(_, _, node)| *node).collect();
    let found = gradients(&mut graph, node, &wrt)?;
    let mut outputs: Vec<(String, NodeId)> = graph.outputs().map(|(name, node)| (name.to_owned(), node)).collect();
    let mut shapes = loss.outputs.clone();
    let mut named = IndexMap::new();
    for ((name, parameter, _), gradient) in trained.into_iter().zip(found) {
        let output = format!("grad.{name}");
        outputs.push((output.clone(), gradient));
        shapes.insert(output.clone(), parameter.ty.shape.clone());
        named.insert(name.clone(), output);
    }
    Ok(GradientProgram { program: assemble(&graph, &outputs, loss.inputs.clone(), shapes), gradients: named })
}

fn known<'p>(parameters: &'p IndexMap<String, Parameter>, name: &str) -> Result<&'p Parameter, TrainingError> {
    parameters.get(name).ok_or_else(|| TrainingError::UnknownParameter { name: name.to_owned() })
}

/// The simplified program of some nodes.
fn assemble(
    graph: &Graph,
    outputs: &[(String, NodeId)],
    inputs: IndexMap<String, Input>,
    shapes: IndexMap<String, Shape>,
) -> Program {
    let graph = finished(graph, outputs);
    let parameters = graph.ids().filter_map(|id| match graph.op(id) {
        Op::Parameter(name) => Some((name.clone(), id)),
        _ => None,
    });
    Program { parameters: parameters.collect(), inputs, outputs: shapes, graph }
}

/// A step program under construction.
struct Draft {
    graph: Graph,
    dtype: DType,
    loss: Option<NodeId>,
    leaves: IndexMap<String, NodeId>,
    inputs: IndexMap<String, Input>,
    outputs: Vec<(String, NodeId)>,
    shapes: IndexMap<String, Shape>,
    state: IndexMap<String, StateTensor>,
    updates: IndexMap<String, String>,
    unreached: Vec<String>,
}

impl Draft {
    fn empty(dtype: DType) -> Draft {
        Draft {
            graph: Graph::new(),
            dtype,
            loss: None,
            leaves: IndexMap::new(),
            inputs: IndexMap::new(),
            outputs: Vec::new(),
            shapes: IndexMap::new(),
            state: IndexMap::new(),
            updates: IndexMap::new(),
            unreached: Vec::new(),
        }
    }

    fn of_loss(program: &Program) -> Result<Draft, TrainingError> {
        let loss = program.graph.output("loss").ok_or(TrainingError::NoLoss)?;
        let reported: Vec<(String, NodeId)> = program
            .graph
            .outputs()
            .filter(|(_, node)| program.graph.shape(*node).rank() == 0)
            .map(|(name, node)| (name.to_owned(), node))
            .collect();
        Ok(Draft {
            graph: program.graph.clone(),
            loss: Some(loss),
            leaves: program.parameters.clone(),
            inputs: program.inputs.clone(),
            shapes: reported.iter().map(|(name, _)| (name.clone(), Shape::SCALAR)).collect(),
            outputs: reported,
            ..Draft::empty(program.graph.ty(loss).dtype)
        })
    }

    /// Adds the gradients of the loss with respect to the named parameters, as far as it depends on them.
    fn gradients(
        &mut self,
        names: &[String],
        parameters: &IndexMap<String, Parameter>,
    ) -> Result<IndexMap<String, NodeId>, TrainingError> {
        for name in names {
            known(parameters, name)?;
        }
        let loss = self.loss.ok_or(TrainingError::NoLoss)?;
        let (read, unread): (Vec<&String>, Vec<&String>) =
            names.iter().partition(|name| self.leaves.contains_key(*name));
        let nodes: Vec<NodeId> = read.iter().map(|name| self.leaves[*name]).collect();
        let found = reached_gradients(&mut self.graph, loss, &nodes)?;
        let mut reached = IndexMap::new();
        self.unreached = unread.into_iter().cloned().collect();
        for (name, gradient) in read.into_iter().zip(found) {
            match gradient {
                Some(gradient) => {
                    self.graph.set_label_if_none(gradient, &format!("d/d {name}"));
                    reached.insert(name.clone(), gradient);
                }
                None => self.unreached.push(name.clone()),
            }
        }
        Ok(reached)
    }

    /// A parameter or state, read.
    fn stored(&mut self, name: &str, ty: &Type) -> NodeId {
        let graph = &mut self.graph;
        *self.leaves.entry(name.to_owned()).or_insert_with(|| graph.parameter(name, ty.clone()))
    }

    /// A state, read.
    fn state(&mut self, name: &str, ty: &Type, initial: InitialState) -> NodeId {
        self.state.insert(name.to_owned(), StateTensor { ty: ty.clone(), initial });
        self.stored(name, ty)
    }

    /// A scalar that training gives.
    fn scalar(&mut self, name: &str, about: &str) -> Result<NodeId, TrainingError> {
        if self.inputs.contains_key(name) {
            return Err(TrainingError::InputTaken { name: name.to_owned() });
        }
        let ty = Type::new(self.dtype, Shape::SCALAR);
        let input =
            Input { ty: ty.clone(), size_names: Vec::new(), about: about.to_owned(), optional: false, schedule: false };
        self.inputs.insert(name.to_owned(), input);
        Ok(self.graph.input(name, ty))
    }

    /// Makes a node the new value of a parameter or state.
    fn store(&mut self, name: &str, ty: &Type, value: NodeId) {
        let output = format!("new.{name}");
        self.graph.set_label_if_none(value, &output);
        self.outputs.push((output.clone(), value));
        self.shapes.insert(output.clone(), ty.shape.clone());
        self.updates.insert(name.to_owned(), output);
    }

    fn accumulate(&mut self, state: &str, ty: &Type, gradient: NodeId) {
        let sum = self.state(state, ty, InitialState::Zero);
        let sum = self.graph.map(ScalarOp::Add, &[sum, gradient]);
        self.store(state, ty, sum);
    }

    /// The mean of what was accumulated, which is cleared.
    fn mean_of(&mut self, state: &str, ty: &Type, batches: u64) -> NodeId {
        let sum = self.state(state, ty, InitialState::Zero);
        let share = self.graph.constant(1.0 / batches as f64, ty.dtype);
        let zero = self.graph.constant(0.0, ty.dtype);
        let cleared = self.graph.add(Op::Spread(ty.shape.clone()), &[zero]);
        self.store(state, ty, cleared);
        self.graph.map(ScalarOp::Mul, &[sum, share])
    }

    /// Adds the updates of parameters by their gradients.
    fn update(
        &mut self,
        step: &TrainStep,
        gradients: &IndexMap<String, NodeId>,
        parameters: &IndexMap<String, Parameter>,
    ) -> Result<(), TrainingError> {
        let clipped = optimiser::clipped(&mut self.graph, step.clip, gradients);
        let update = Update::begin(self, step)?;
        for (name, gradient) in clipped {
            update.apply(self, &name, &known(parameters, &name)?.ty.clone(), gradient);
        }
        Ok(())
    }

    fn finish(self) -> StepProgram {
        StepProgram {
            program: assemble(&self.graph, &self.outputs, self.inputs, self.shapes),
            state: self.state,
            updates: self.updates,
            unreached: self.unreached,
        }
    }
}

#[cfg(test)]
mod tests;
