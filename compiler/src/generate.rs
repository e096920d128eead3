//! Random well-typed graphs, for the tests of every stage.
//!
//! [`graph`] makes a graph over the whole set of operations from a 64-bit seed, always the same one for
//! the same seed, and values to feed it. It evaluates as it goes, and keeps an operation only where
//! small errors in its operands stay small: no logarithm near zero, no comparison of nearly equal
//! numbers, no value beyond a bound. So a backend in `f32` must agree with the reference, and finite
//! differences with gradients.

mod propose;
mod safety;

use crate::{
    axis::{Axis, Shape},
    graph::{Combine, DType, Distribution, Graph, NodeId, Op, ScalarOp, Type, type_of},
    random::{self, RandomKey},
    reference::{Feeds, evaluate_op},
    tensor::Tensor,
};

/// What the graphs are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Operations, leaves not counted.
    pub operations: usize,
    /// The type of the floating-point values.
    pub dtype: DType,
    /// The most elements that a value may have.
    pub elements: usize,
    /// The largest magnitude of a floating-point value.
    pub bound: f64,
    /// The size of the first axis, and in one graph of four of the second one too; 0 if they are as short as the others.
    pub long: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { operations: 12, dtype: DType::F64, elements: 96, bound: 6.0, long: 0 }
    }
}

/// A sequence of random choices.
#[derive(Clone, Debug)]
pub struct Dice {
    seed: u64,
    rolls: u32,
}

impl Dice {
    /// The sequence that belongs to a seed.
    pub fn new(seed: u64) -> Dice {
        Dice { seed, rolls: 0 }
    }

    /// A number in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        let key = RandomKey { seed: self.seed, step: 0 };
        self.rolls += 1;
        low + (high - low) * random::draw(Distribution::Uniform, key, 0, self.rolls)
    }

    /// A whole number in 0..count.
    pub fn below(&mut self, count: usize) -> usize {
        self.between(0.0, count as f64) as usize
    }

    /// One of several.
    pub fn choose<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// A graph and values for its leaves; draws are those of the default [`RandomKey`].
///
/// Every value that nothing else uses is an output `value.0`, `value.1`, …. The output `loss` is a scalar that
/// depends smoothly on all floating-point ones among them.
pub fn graph(seed: u64, options: &Options) -> (Graph, Feeds) {
    let mut garden = Garden::plant(seed, options);
    let mut attempts = 0;
    let leaves = garden.graph.len();
    while garden.graph.len() < leaves + options.operations && attempts < 60 * options.operations {
        attempts += 1;
        if let Some((op, operands)) = garden.propose() {
            garden.grow(op, &operands);
        }
    }
    garden.finish()
}

/// A graph under construction, with the value of each node.
struct Garden {
    graph: Graph,
    feeds: Feeds,
    dice: Dice,
    options: Options,
    values: Vec<(NodeId, Tensor)>,
}

impl Garden {
    fn plant(seed: u64, options: &Options) -> Garden {
        let dice = Dice::new(seed);
        let mut garden =
            Garden { graph: Graph::new(), feeds: Feeds::default(), dice, options: *options, values: Vec::new() };
        let mut axes: Vec<(Axis, usize)> =
            ["a", "b", "c", "d"].iter().map(|name| (Axis::new(name), 1 + garden.dice.below(4))).collect();
        if options.long > 0 {
            let both = garden.dice.once_in(4);
            axes[..1 + usize::from(both)].iter_mut().for_each(|(_, size)| *size = options.long);
        }
        for k in 0..3 + garden.dice.below(2) {
            let mut shape: Vec<_> = axes.iter().copied().filter(|_| garden.dice.once_in(2)).collect();
            if garden.dice.once_in(2) {
                shape.reverse();
            }
            let ty = Type::new(options.dtype, Shape::new(shape));
            let data = (0..ty.shape.elements())
                .map(|_| garden.dice.between(0.2, 1.6) * garden.dice.choose(&[-1.0, 1.0, 1.0]))
                .collect();
            let value = Tensor { ty: ty.clone(), data };
            let name = format!("leaf.{k}");
            let node = if k == 1 {
                garden.feeds.inputs.insert(name.clone(), value.clone());
                garden.graph.input(&name, ty)
            } else {
                garden.feeds.parameters.insert(name.clone(), value.clone());
                garden.graph.parameter(&name, ty)
            };
            garden.values.push((node, value));
        }
        let constant = garden.dice.between(0.3, 2.0);
        let node = garden.graph.constant(constant, options.dtype);
        garden.values.push((node, Tensor::scalar(options.dtype, constant)));
        let (axis, size) = garden.dice.choose(&axes);
        garden.grow(Op::Iota { axis, size }, &[]);
        let shape = Shape::new([garden.dice.choose(&axes)]);
        if options.dtype == DType::F32 {
            garden.grow(Op::Random { distribution: Distribution::Normal, stream: 1, shape }, &[]);
        }
        garden
    }

    /// Adds an operation, if it is well typed, small, bounded and insensitive to small errors.
    fn grow(&mut self, op: Op, operands: &[usize]) -> bool {
        let values: Vec<&Tensor> = operands.iter().map(|k| &self.values[*k].1).collect();
        let types: Vec<Type> = values.iter().map(|value| value.ty.clone()).collect();
        let Ok(ty) = type_of(&op, &types) else { return false };
        let elements = ty.shape.elements();
        if elements == 0 || elements > self.options.elements || ty.shape.rank() > 5 {
            return false;
        }
        let value = evaluate_op(&op, &ty, &values, RandomKey::default());
        let bounded = value.data.iter().all(|x| x.abs() <= self.options.bound);
        if !bounded || !safety::is_safe(&op, &values) {
            return false;
        }
        let nodes: Vec<NodeId> = operands.iter().map(|k| self.values[*k].0).collect();
        let node = self.graph.add(op, &nodes);
        self.values.push((node, value));
        true
    }

    fn finish(mut self) -> (Graph, Feeds) {
        let sinks: Vec<NodeId> = self.graph.ids().filter(|id| self.graph.users(*id).is_empty()).collect();
        let graph = &mut self.graph;
        let mut loss = graph.constant(0.0, self.options.dtype);
        for (k, sink) in sinks.into_iter().enumerate() {
            graph.set_output(&format!("value.{k}"), sink);
            if graph.ty(sink).dtype != self.options.dtype {
                continue;
            }
            let weight = graph.constant(self.dice.between(0.5, 1.0), self.options.dtype);
            let weighted = graph.map(ScalarOp::Mul, &[sink, weight]);
            let bent = graph.map(ScalarOp::Sin, &[weighted]);
            let axes = graph.shape(sink).axes().collect();
            let term = graph.add(Op::Reduce { combine: Combine::Sum, axes }, &[bent]);
            loss = graph.map(ScalarOp::Add, &[loss, term]);
        }
        graph.set_output("loss", loss);
        (self.graph, self.feeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::evaluate;

    #[test]
    fn graphs_are_well_typed_finite_and_repeatable() {
        for seed in 0..200 {
            let options = Options { dtype: if seed % 2 == 0 { DType::F64 } else { DType::F32 }, ..Options::default() };
            let (one, feeds) = graph(seed, &options);
            one.verify().unwrap();
            assert_eq!(one.to_string(), graph(seed, &options).0.to_string());
            let values = evaluate(&one, &feeds, RandomKey::default()).unwrap();
            assert!(values.values().all(|value| value.data.iter().all(|x| x.is_finite())), "seed {seed}");
        }
    }

    /// Every operation and every scalar operation occurs in the first few hundred graphs.
    #[test]
    fn graphs_cover_the_operations() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..1500 {
            let options = Options { dtype: if seed % 2 == 0 { DType::F64 } else { DType::F32 }, ..Options::default() };
            let (graph, _) = graph(seed, &options);
            seen.extend(graph.ids().map(|id| {
                let shown = graph.op(id).to_string();
                shown.split_whitespace().next().unwrap_or_default().to_owned()
            }));
        }
        let others = "argmax argmin argsort concat constant contract fold gather input iota max merge min normal pad \
                      parameter prod rename scan scatter_add search_sorted slice sort split spread sum window";
        let scalars = ScalarOp::ALL.iter().map(|op| op.name()).filter(|name| *name != "f32");
        let missing: Vec<_> = others.split_whitespace().chain(scalars).filter(|name| !seen.contains(*name)).collect();
        assert!(missing.is_empty(), "never generated: {missing:?}");
    }
}
