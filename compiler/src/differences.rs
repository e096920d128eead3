//! Finite differences: the check of gradients, to second order.
//!
//! Checking every element of a Hessian is out of reach; a random direction is not. With random
//! directions v and w, the first derivative is checked as ∇L·v against the difference quotient of L
//! along v, and the second as wᵀ∇²L v, the gradient of the graph that computes ∇L·v, against the
//! difference quotient of ∇L·v along w. A wrong element of a gradient is overlooked with probability zero.

use crate::{
    autodiff::{AutodiffError, gradients},
    axis::Shape,
    generate::Dice,
    graph::{DType, Graph, NodeId, Op, ScalarOp},
    random::RandomKey,
    reference::{Feeds, ReferenceError, evaluate_nodes},
    tensor::Tensor,
};
use thiserror::Error;

/// Why a gradient check did not succeed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DifferenceError {
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("derivative {order} along a random direction is {derivative}, and the difference quotient {quotient}")]
    Mismatch { order: usize, derivative: f64, quotient: f64 },
}

/// The first and second derivatives of a loss along the checked directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derivatives {
    /// ∇L·v.
    pub first: f64,
    /// wᵀ∇²L v.
    pub second: f64,
}

/// Checks the gradients of `loss` with respect to all floating-point parameters of the graph, and the
/// gradients of those, at the values in `feeds`. `seed` chooses the directions.
///
/// Steps of 10⁻⁴ with fourth-order differences, whose error is near 10⁻¹⁰; should they disagree, because a
/// discontinuity is near, steps of 10⁻⁶ decide, at less precision.
pub fn check(graph: &Graph, loss: NodeId, feeds: &Feeds, seed: u64) -> Result<Derivatives, DifferenceError> {
    let key = RandomKey::default();
    let mut graph = graph.clone();
    let mut feeds = feeds.clone();
    let parameters: Vec<(String, NodeId)> = graph
        .reachable(&[loss])
        .into_iter()
        .filter(|id| graph.ty(*id).dtype.is_float())
        .filter_map(|id| match graph.op(id) {
            Op::Parameter(name) => Some((name.clone(), id)),
            _ => None,
        })
        .collect();
    let nodes: Vec<NodeId> = parameters.iter().map(|(_, id)| *id).collect();
    let mut dice = Dice::new(seed);
    let mut direction = |shape: &Shape| {
        let data = (0..shape.elements()).map(|_| dice.between(-1.0, 1.0)).collect();
        Tensor::new(DType::F64, shape.clone(), data)
    };
    let gradient = gradients(&mut graph, loss, &nodes)?;
    let mut along = Vec::new();
    for ((name, id), gradient) in parameters.iter().zip(&gradient) {
        let ty = graph.ty(*id).clone();
        let name = format!("direction.{name}");
        let v = graph.input(&name, ty.clone());
        feeds.inputs.insert(name, direction(&ty.shape));
        along.push(graph.add(Op::Contract { over: ty.shape.axes().collect() }, &[*gradient, v]));
    }
    let Some(first) = along.into_iter().reduce(|sum, term| graph.map(ScalarOp::Add, &[sum, term])) else {
        return Ok(Derivatives { first: 0.0, second: 0.0 });
    };
    let curvature = gradients(&mut graph, first, &nodes)?;

    let values = |nodes: &[NodeId], step: f64, directions: &[(String, Tensor)]| {
        let mut moved = feeds.clone();
        for (name, direction) in directions {
            if let Some(value) = moved.parameters.get_mut(name) {
                *value = value.reordered(direction.shape());
                value.data.iter_mut().zip(&direction.data).for_each(|(x, d)| *x += step * d);
            }
        }
        evaluate_nodes(&graph, &moved, key, nodes)
    };
    let v: Vec<(String, Tensor)> =
        parameters.iter().map(|(name, _)| (name.clone(), feeds.inputs[&format!("direction.{name}")].clone())).collect();
    let w: Vec<(String, Tensor)> =
        parameters.iter().map(|(name, id)| (name.clone(), direction(graph.shape(*id)))).collect();

    let here = values(&[&[first], curvature.as_slice()].concat(), 0.0, &[])?;
    let inner = |x: &Tensor, y: &Tensor| {
        let x = x.reordered(y.shape());
        x.data.iter().zip(&y.data).map(|(x, y)| x * y).sum::<f64>()
    };
    let derivatives = Derivatives {
        first: here[0].data[0],
        second: here[1..].iter().zip(&w).map(|(hessian, (_, w))| inner(hessian, w)).sum(),
    };
    let orders = [(1, loss, &v, derivatives.first), (2, first, &w, derivatives.second)];
    for (order, function, direction, derivative) in orders {
        let at = |step| values(&[function], step, direction).map(|value| value[0].data[0]);
        let mut quotient = 0.0;
        let mut agree = false;
        for (step, tolerance) in [(1e-4, 1e-7), (1e-6, 1e-5)] {
            let (near, far) = (at(step)? - at(-step)?, at(2.0 * step)? - at(-2.0 * step)?);
            quotient = (8.0 * near - far) / (12.0 * step);
            let scale = 1.0 + at(0.0)?.abs() + quotient.abs().max(derivative.abs());
            agree |= (quotient - derivative).abs() <= tolerance * scale;
            if agree {
                break;
            }
        }
        if !agree {
            return Err(DifferenceError::Mismatch { order, derivative, quotient });
        }
    }
    Ok(derivatives)
}
