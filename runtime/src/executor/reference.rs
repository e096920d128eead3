//! The reference evaluator as a device.

use super::ExecuteError;
use crate::buffer::{Buffer, State};
use indexmap::IndexMap;
use visage_compiler::{
    graph::Graph,
    random::RandomKey,
    reference::{Feeds, evaluate},
    system::Program,
};

/// Runs a program on the reference evaluator: every value is an `f64`, rounded only at the end.
pub fn run<'a>(
    program: &Program,
    updates: &IndexMap<String, String>,
    state: &mut State,
    inputs: impl Iterator<Item = (&'a str, &'a Buffer)>,
    key: RandomKey,
) -> Result<IndexMap<String, Buffer>, ExecuteError> {
    let feeds = Feeds {
        inputs: inputs.map(|(name, buffer)| (name.to_owned(), buffer.to_tensor())).collect(),
        parameters: program.parameters.keys().map(|name| (name.clone(), state[name].to_tensor())).collect(),
    };
    let found = evaluate(&program.graph, &feeds, key).map_err(|error| ExecuteError::Device(error.to_string()))?;
    let mut outputs = IndexMap::new();
    for (name, tensor) in found {
        match updates.get(&name) {
            Some(target) => {
                let order = state.get(target).map_or(tensor.shape(), Buffer::shape).clone();
                state.insert(target.clone(), Buffer::from_tensor(&tensor, &order));
            }
            None => {
                let order = program.outputs.get(&name).unwrap_or(tensor.shape()).clone();
                outputs.insert(name, Buffer::from_tensor(&tensor, &order));
            }
        }
    }
    Ok(outputs)
}

/// The bytes of intermediate values: the evaluator holds each as `f64`, all at once at worst.
pub fn intermediates(graph: &Graph) -> usize {
    graph.ids().map(|id| graph.shape(id).elements() * size_of::<f64>()).sum()
}
