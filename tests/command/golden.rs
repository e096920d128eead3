//! Reference tensors: how far results may be from them, and weights that they say by formula.

use std::path::Path;
use visage_runtime::{array::Array, checkpoint::Checkpoint};

/// Checks that an array is that of the reference, but for a difference relative to its norm.
#[track_caller]
pub fn assert_close(name: &str, found: &Checkpoint, expected: (&str, &Checkpoint), bound: f64) {
    let (found, expected) = (found.tensor(name).unwrap().to_f64(), expected.1.tensor(expected.0).unwrap().to_f64());
    assert_near(name, &found, &expected, bound);
}

/// The same for numbers.
#[track_caller]
pub fn assert_near(name: &str, found: &[f64], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
    println!("{name}: relative difference {difference:.1e}");
    assert!(difference <= bound, "{name}: relative difference {difference:e}");
}

/// The numbers on [0, 1) that the reference data has under a name: SplitMix64 from the name's FNV-1a hash.
pub fn unit(name: &str) -> impl Iterator<Item = f64> {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (1_u64..).map(move |i| {
        let z = hash.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 40) as f64 / f64::from(1 << 24)
    })
}

/// An array of `map` of the numbers that have a name.
pub fn drawn(name: &str, shape: &[usize], map: impl Fn(f64) -> f64) -> Array {
    let values: Vec<f32> = unit(name).take(shape.iter().product()).map(|u| map(u) as f32).collect();
    Array::from_slice(shape, &values).unwrap()
}

/// The weights that a file of `parameter: [shape, centre, bound]` describes; what it describes in words is left out.
pub fn weights_by_formula(description: &Path) -> Checkpoint {
    let text = std::fs::read_to_string(description).unwrap();
    let described: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let tensors = described.into_iter().filter(|(_, parts)| parts.is_array()).map(|(name, parts)| {
        let (shape, centre, bound): (Vec<usize>, f64, f64) = serde_json::from_value(parts).unwrap();
        let array = drawn(&name, &shape, |u| centre + bound * (2.0 * u - 1.0));
        (name, array)
    });
    Checkpoint { tensors: tensors.collect(), ..Checkpoint::default() }
}

#[test]
fn the_formula_gives_the_numbers_of_the_reference() {
    let first: Vec<f64> = unit("encoder.blocks.0.weight").take(4).collect();
    assert_eq!(first, [0.6484286189079285, 0.2604093551635742, 0.8545060157775879, 0.5360351800918579]);
}
