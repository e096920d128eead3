//! Parameters before training.

use crate::buffer::{Buffer, State};
use visage_compiler::{
    graph::{DType, Distribution},
    random::{RandomKey, draw},
    system::{Initialiser, System},
};

/// The parameters and buffers of a system with these names as they are before training: each a function of the seed and of
/// the parameter's name alone, so that adding a layer changes no other.
pub fn state<'n>(system: &System, names: impl IntoIterator<Item = &'n str>, seed: u64) -> State {
    let parameters = names.into_iter().map(|name| {
        let parameter = &system.parameters[name];
        let mut buffer = Buffer::zeros(parameter.ty.clone());
        let stream = stream(&origin(system, name).unwrap_or_else(|| name.to_owned()));
        if parameter.ty.dtype == DType::F32 {
            let elements = buffer.as_f32_mut();
            for (index, element) in elements.iter_mut().enumerate() {
                *element = value(parameter.initialiser, seed, stream, index as u32) as f32;
            }
        } else if let Initialiser::Constant(constant) = parameter.initialiser {
            buffer = Buffer::filled(parameter.ty.clone(), constant);
        }
        (name.to_owned(), buffer)
    });
    parameters.collect()
}

/// The parameter that a parameter starts from where no checkpoint has it: of the same name in the model that its own model
/// starts from.
pub fn origin(system: &System, name: &str) -> Option<String> {
    let own = &system.models[&system.parameters.get(name)?.model];
    let other = &system.models[own.starts_from.as_ref()?];
    let origin = format!("{}{}", other.prefix, name.strip_prefix(&own.prefix)?);
    system.parameters.contains_key(&origin).then_some(origin)
}

/// The stream of a name's draws: its FNV-1a hash.
fn stream(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn value(initialiser: Initialiser, seed: u64, stream: u32, index: u32) -> f64 {
    let drawn = |distribution, attempt| draw(distribution, RandomKey { seed, step: attempt }, stream, index);
    match initialiser {
        Initialiser::Constant(value) => value,
        Initialiser::Uniform { low, high } => low + (high - low) * drawn(Distribution::Uniform, 0),
        Initialiser::Normal { mean, deviation } => mean + deviation * drawn(Distribution::Normal, 0),
        Initialiser::TruncatedNormal { mean, deviation, cut } => {
            let mut draws = (0..1000).map(|attempt| drawn(Distribution::Normal, attempt));
            mean + deviation * draws.find(|drawn| drawn.abs() <= cut).unwrap_or(0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_keep_to_their_distribution() {
        let values = |initialiser| (0..4000).map(|i| value(initialiser, 1, 2, i)).collect::<Vec<_>>();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let uniform = values(Initialiser::Uniform { low: -2.0, high: 1.0 });
        assert!(uniform.iter().all(|x| (-2.0..1.0).contains(x)) && (mean(&uniform) + 0.5).abs() < 0.05);
        let cut = values(Initialiser::TruncatedNormal { mean: 1.0, deviation: 0.5, cut: 2.0 });
        assert!(cut.iter().all(|x| (0.0..=2.0).contains(x)) && (mean(&cut) - 1.0).abs() < 0.05);
        assert_eq!(values(Initialiser::Constant(0.25))[17], 0.25);
    }

    #[test]
    fn names_have_streams_of_their_own() {
        let first = |name| value(Initialiser::Normal { mean: 0.0, deviation: 1.0 }, 1, stream(name), 0);
        assert_ne!(first("coarse.rgb_linear.weight"), first("fine.rgb_linear.weight"));
    }
}
