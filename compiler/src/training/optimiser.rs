//! Update rules, gradient clipping and moving averages, as PyTorch computes them.

use super::{Draft, EMA_DECAY, InitialState, MEAN_CORRECTION, RATE, SQUARE_CORRECTION, TrainingError};
use crate::{
    graph::{Combine, Graph, NodeId, Op, ScalarOp, Type},
    system::{Clip, Optimiser, TrainStep},
};
use indexmap::IndexMap;

/// Added to the gradient's norm before the bound is divided by it.
const NORM_EPSILON: f64 = 1e-6;

fn scaled(graph: &mut Graph, x: NodeId, factor: f64) -> NodeId {
    let factor = graph.constant(factor, graph.ty(x).dtype);
    graph.map(ScalarOp::Mul, &[factor, x])
}

/// The gradients within their bound. The norm is that of all of them together, and scales by
/// min(1, bound / (norm + 10⁻⁶)).
pub(super) fn clipped(
    graph: &mut Graph,
    clip: Option<Clip>,
    gradients: &IndexMap<String, NodeId>,
) -> Vec<(String, NodeId)> {
    let all = gradients.iter().map(|(name, gradient)| (name.clone(), *gradient));
    let Some(first) = gradients.values().next() else { return Vec::new() };
    let dtype = graph.ty(*first).dtype;
    match clip {
        None => all.collect(),
        Some(Clip::Value(bound)) => {
            let (low, high) = (graph.constant(-bound, dtype), graph.constant(bound, dtype));
            let within = |gradient| {
                let raised = graph.map(ScalarOp::Max, &[gradient, low]);
                graph.map(ScalarOp::Min, &[raised, high])
            };
            let nodes: Vec<NodeId> = gradients.values().copied().map(within).collect();
            gradients.keys().cloned().zip(nodes).collect()
        }
        Some(Clip::Norm(bound)) => {
            let mut total = graph.constant(0.0, dtype);
            for gradient in gradients.values() {
                let square = graph.map(ScalarOp::Mul, &[*gradient, *gradient]);
                let axes = graph.shape(square).axes().collect();
                let sum = graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[square]);
                total = graph.map(ScalarOp::Add, &[total, sum]);
            }
            let norm = graph.map(ScalarOp::Sqrt, &[total]);
            let epsilon = graph.constant(NORM_EPSILON, dtype);
            let norm = graph.map(ScalarOp::Add, &[norm, epsilon]);
            let (one, bound) = (graph.constant(1.0, dtype), graph.constant(bound, dtype));
            let ratio = graph.map(ScalarOp::Div, &[bound, norm]);
            let factor = graph.map(ScalarOp::Min, &[ratio, one]);
            all.map(|(name, gradient)| (name, graph.map(ScalarOp::Mul, &[gradient, factor]))).collect()
        }
    }
}

/// The update rule of a step with the scalars it reads.
pub(super) struct Update {
    optimiser: Optimiser,
    rate: NodeId,
    factors: IndexMap<String, f64>,
    corrections: Option<(NodeId, NodeId)>,
    ema_decay: Option<NodeId>,
}

impl Update {
    pub(super) fn begin(draft: &mut Draft, step: &TrainStep) -> Result<Update, TrainingError> {
        let rate = draft.scalar(RATE, "The learning rate.")?;
        let corrections = match step.optimiser {
            Optimiser::Sgd { .. } => None,
            Optimiser::Adam { .. } | Optimiser::AdamW { .. } => Some((
                draft.scalar(MEAN_CORRECTION, "Correction of the gradient's mean for its start at zero.")?,
                draft.scalar(SQUARE_CORRECTION, "Correction of the gradient's magnitude for its start at zero.")?,
            )),
        };
        let ema_decay = match step.ema {
            None => None,
            Some(_) => Some(draft.scalar(EMA_DECAY, "The decay of the moving average of the parameters.")?),
        };
        let factors = step.factors.clone();
        Ok(Update { optimiser: step.optimiser, rate, factors, corrections, ema_decay })
    }

    /// Adds the update of one parameter and of what the optimiser keeps of it.
    pub(super) fn apply(&self, draft: &mut Draft, name: &str, ty: &Type, gradient: NodeId) {
        let parameter = draft.stored(name, ty);
        let rate = match self.factors.get(name) {
            Some(factor) => scaled(&mut draft.graph, self.rate, *factor),
            None => self.rate,
        };
        let moved = |graph: &mut Graph, x, direction| {
            let change = graph.map(ScalarOp::Mul, &[rate, direction]);
            graph.map(ScalarOp::Sub, &[x, change])
        };
        let updated = match self.optimiser {
            Optimiser::Sgd { momentum, nesterov, weight_decay } => {
                let gradient = decayed(&mut draft.graph, gradient, parameter, weight_decay);
                let direction = momentum_direction(draft, name, ty, gradient, momentum, nesterov);
                moved(&mut draft.graph, parameter, direction)
            }
            Optimiser::Adam { beta1, beta2, epsilon, weight_decay } => {
                let gradient = decayed(&mut draft.graph, gradient, parameter, weight_decay);
                let direction = self.adam_direction(draft, name, ty, gradient, [beta1, beta2, epsilon]);
                moved(&mut draft.graph, parameter, direction)
            }
            Optimiser::AdamW { beta1, beta2, epsilon, weight_decay } => {
                let direction = self.adam_direction(draft, name, ty, gradient, [beta1, beta2, epsilon]);
                let shrink = scaled(&mut draft.graph, parameter, weight_decay);
                let shrunk = moved(&mut draft.graph, parameter, shrink);
                moved(&mut draft.graph, shrunk, direction)
            }
        };
        draft.store(name, ty, updated);
        if let Some(decay) = self.ema_decay {
            let state = format!("ema.{name}");
            let average = draft.state(&state, ty, InitialState::CopyOf(name.to_owned()));
            let graph = &mut draft.graph;
            let change = graph.map(ScalarOp::Sub, &[average, updated]);
            let kept = graph.map(ScalarOp::Mul, &[decay, change]);
            let average = graph.map(ScalarOp::Add, &[updated, kept]);
            draft.store(&state, ty, average);
        }
    }

    /// m̂ / (√v̂ + ε) with m ← β₁ m + (1 − β₁) g and v ← β₂ v + (1 − β₂) g².
    fn adam_direction(
        &self,
        draft: &mut Draft,
        name: &str,
        ty: &Type,
        gradient: NodeId,
        [beta1, beta2, epsilon]: [f64; 3],
    ) -> NodeId {
        let Some((mean_correction, square_correction)) = self.corrections else {
            unreachable!("Adam's corrections are inputs of its step")
        };
        let square = draft.graph.map(ScalarOp::Mul, &[gradient, gradient]);
        let mean = averaged(draft, &format!("adam.mean.{name}"), ty, gradient, beta1);
        let square = averaged(draft, &format!("adam.square.{name}"), ty, square, beta2);
        let graph = &mut draft.graph;
        let mean = graph.map(ScalarOp::Mul, &[mean_correction, mean]);
        let root = graph.map(ScalarOp::Sqrt, &[square]);
        let root = graph.map(ScalarOp::Mul, &[square_correction, root]);
        let epsilon = graph.constant(epsilon, ty.dtype);
        let root = graph.map(ScalarOp::Add, &[root, epsilon]);
        graph.map(ScalarOp::Div, &[mean, root])
    }
}

/// `gradient + decay * parameter`.
fn decayed(graph: &mut Graph, gradient: NodeId, parameter: NodeId, decay: f64) -> NodeId {
    let pull = scaled(graph, parameter, decay);
    graph.map(ScalarOp::Add, &[gradient, pull])
}

/// A state's update `state ← beta * state + (1 - beta) * value`.
fn averaged(draft: &mut Draft, state: &str, ty: &Type, value: NodeId, beta: f64) -> NodeId {
    let held = draft.state(state, ty, InitialState::Zero);
    let kept = scaled(&mut draft.graph, held, beta);
    let new = scaled(&mut draft.graph, value, 1.0 - beta);
    let average = draft.graph.map(ScalarOp::Add, &[kept, new]);
    draft.store(state, ty, average);
    average
}

/// v ← μ v + g; the direction is v, or g + μ v with Nesterov's look ahead.
fn momentum_direction(
    draft: &mut Draft,
    name: &str,
    ty: &Type,
    gradient: NodeId,
    momentum: f64,
    nesterov: bool,
) -> NodeId {
    if momentum == 0.0 {
        return gradient;
    }
    let state = format!("momentum.{name}");
    let held = draft.state(&state, ty, InitialState::Zero);
    let kept = scaled(&mut draft.graph, held, momentum);
    let velocity = draft.graph.map(ScalarOp::Add, &[kept, gradient]);
    draft.store(&state, ty, velocity);
    if !nesterov {
        return velocity;
    }
    let ahead = scaled(&mut draft.graph, velocity, momentum);
    draft.graph.map(ScalarOp::Add, &[gradient, ahead])
}
