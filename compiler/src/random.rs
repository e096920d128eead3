//! The counter-based generator behind every random node.
//!
//! A draw is a pure function of four 32-bit words: the element's index, the node's stream, the
//! training step and the run's seed. Nothing is carried from one draw to the next, so a run repeats
//! bit for bit whatever the number of threads, the order of the loops or the device.
//!
//! The mixing function is `pcg4d` of Jarzynski and Olano, "Hash Functions for GPU Rendering", Journal
//! of Computer Graphics Techniques 9(3), 2020. It uses low 32-bit products, sums and shifts alone,
//! which every vector unit has. [`STEPS`] lists it as data: [`mix`] runs the list, and `draw_lanes`
//! emits it on the machine of any lowering.
//!
//! The element's index is its row-major position with the axes in alphabetical order
//! ([`Shape::canonical`](crate::axis::Shape::canonical)), modulo 2³².

use crate::graph::Distribution;
use std::f64::consts::TAU;
use visage_kernels::math::{self, Lanes};

/// What a run's draws depend on, apart from the node and the element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandomKey {
    /// The run's seed.
    pub seed: u64,
    /// The training step, counted from 0.
    pub step: u64,
}

impl RandomKey {
    /// The seed as the generator takes it: both halves folded into one word.
    pub fn seed_word(self) -> u32 {
        fold(self.seed)
    }

    /// The step as the generator takes it: both halves folded into one word.
    pub fn step_word(self) -> u32 {
        fold(self.step)
    }
}

/// Folds 64 bits into 32; numbers below 2³² stay themselves.
fn fold(value: u64) -> u32 {
    value as u32 ^ ((value >> 32) as u32).wrapping_mul(0x9e37_79b9)
}

/// One step of the mixing function on four words. All arithmetic is modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every word becomes `word * MULTIPLIER + INCREMENT`.
    Advance,
    /// `word[into] += word[left] * word[right]`.
    MultiplyAdd { into: usize, left: usize, right: usize },
    /// Every word becomes `word ^ (word >> 16)`.
    Shift,
}

/// The factor of [`Step::Advance`] (Numerical Recipes' linear congruential generator).
pub const MULTIPLIER: u32 = 1_664_525;
/// The increment of [`Step::Advance`].
pub const INCREMENT: u32 = 1_013_904_223;

const fn multiply_add(into: usize, left: usize, right: usize) -> Step {
    Step::MultiplyAdd { into, left, right }
}

/// The mixing function, in order. It is applied to `[element, stream, step, seed]`.
pub const STEPS: [Step; 10] = [
    Step::Advance,
    multiply_add(0, 1, 3),
    multiply_add(1, 2, 0),
    multiply_add(2, 0, 1),
    multiply_add(3, 1, 2),
    Step::Shift,
    multiply_add(0, 1, 3),
    multiply_add(1, 2, 0),
    multiply_add(2, 0, 1),
    multiply_add(3, 1, 2),
];

/// Bits of a word that a uniform number keeps: its highest, as many as an `f32` holds exactly.
pub const UNIFORM_BITS: u32 = 24;

/// The distance between neighbouring uniform numbers, 2⁻²⁴.
pub const UNIFORM_UNIT: f64 = 1.0 / (1 << UNIFORM_BITS) as f64;

/// Runs [`STEPS`].
pub fn mix(mut words: [u32; 4]) -> [u32; 4] {
    for step in STEPS {
        match step {
            Step::Advance => words = words.map(|word| word.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT)),
            Step::MultiplyAdd { into, left, right } => {
                words[into] = words[into].wrapping_add(words[left].wrapping_mul(words[right]));
            }
            Step::Shift => words = words.map(|word| word ^ (word >> 16)),
        }
    }
    words
}

/// The draw of one element.
///
/// * Uniform: the top 24 bits of word 0, times 2⁻²⁴: in [0, 1), exact in `f32`.
/// * Normal: Box–Muller, √(−2 ln u₁) · cos(2π u₂), with u₁ = (top 24 bits of word 0, plus 1) · 2⁻²⁴ in (0, 1]
///   and u₂ = the top 24 bits of word 1, times 2⁻²⁴.
pub fn draw(distribution: Distribution, key: RandomKey, stream: u32, element: u32) -> f64 {
    let words = mix([element, stream, key.step_word(), key.seed_word()]);
    let top = |word: u32| f64::from(word >> (u32::BITS - UNIFORM_BITS));
    match distribution {
        Distribution::Uniform => top(words[0]) * UNIFORM_UNIT,
        Distribution::Normal => {
            let (radius, angle) = ((top(words[0]) + 1.0) * UNIFORM_UNIT, top(words[1]) * UNIFORM_UNIT);
            (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
        }
    }
}

/// What drawing takes of a machine besides the instructions of elementary functions.
pub(crate) trait Generator: Lanes {
    /// `a * b`.
    fn mul_i(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Shifts right by a constant less than 32, zeros from the left.
    fn shr(&mut self, a: Self::I, by: u32) -> Self::I;
    /// Integers that are not negative as floats.
    fn to_float(&mut self, a: Self::I) -> Self::F;
}

/// A draw for the element at each lane's position, as [`draw`] has it; `key` is the words of the step and the seed.
pub(crate) fn draw_lanes<L: Generator>(
    l: &mut L,
    distribution: Distribution,
    key: [L::I; 2],
    stream: u32,
    position: L::I,
) -> L::F {
    let [step, seed] = key;
    let stream = l.integer(stream.cast_signed());
    let words = mix_lanes(l, [position, stream, step, seed]);
    match distribution {
        Distribution::Uniform => unit(l, words[0], 0.0),
        Distribution::Normal => {
            let (first, second) = (unit(l, words[0], 1.0), unit(l, words[1], 0.0));
            let log = math::log(l, first);
            let minus_two = l.constant(-2.0);
            let square = l.mul(minus_two, log);
            let radius = l.sqrt(square);
            let turn = l.constant(TAU as f32);
            let angle = l.mul(second, turn);
            let cosine = math::cos(l, angle);
            l.mul(radius, cosine)
        }
    }
}

/// (the word's top bits + `shift`) · unit.
fn unit<L: Generator>(l: &mut L, word: L::I, shift: f32) -> L::F {
    let top = l.shr(word, u32::BITS - UNIFORM_BITS);
    let value = l.to_float(top);
    let shift = l.constant(shift);
    let value = l.add(value, shift);
    let scale = l.constant(UNIFORM_UNIT as f32);
    l.mul(value, scale)
}

/// Emits [`STEPS`].
fn mix_lanes<L: Generator>(l: &mut L, mut words: [L::I; 4]) -> [L::I; 4] {
    let (multiplier, increment) = (l.integer(MULTIPLIER.cast_signed()), l.integer(INCREMENT.cast_signed()));
    for step in STEPS {
        match step {
            Step::Advance => {
                words = words.map(|word| {
                    let product = l.mul_i(word, multiplier);
                    l.add_i(product, increment)
                });
            }
            Step::MultiplyAdd { into, left, right } => {
                let product = l.mul_i(words[left], words[right]);
                words[into] = l.add_i(words[into], product);
            }
            Step::Shift => {
                words = words.map(|word| {
                    let shifted = l.shr(word, 16);
                    l.xor_i(word, shifted)
                });
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RandomKey = RandomKey { seed: 7, step: 3 };

    fn moments(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
        let values: Vec<f64> = values.collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let moment = |k| values.iter().map(|v| (v - mean).powi(k)).sum::<f64>() / values.len() as f64;
        (mean, moment(2), moment(4))
    }

    #[test]
    fn the_integers_are_fixed() {
        assert_eq!(mix([0, 0, 0, 0]), [251_852_841, 760_645_481, 850_445_371, 3_542_436_074]);
        assert_eq!(mix([1, 2, 3, 4]), [908_250_390, 4_044_648_920, 3_775_961_919, 45_698_095]);
        assert_eq!(draw(Distribution::Uniform, KEY, 1, 0), 6_195_583.0 / 16_777_216.0);
    }

    #[test]
    fn uniform_draws_are_uniform() {
        let (mean, variance, _) = moments((0..100_000).map(|i| draw(Distribution::Uniform, KEY, 1, i)));
        assert!((mean - 0.5).abs() < 4e-3 && (variance - 1.0 / 12.0).abs() < 1e-3, "{mean} {variance}");
        let mut bins = [0.0_f64; 64];
        (0..64_000).for_each(|i| bins[(draw(Distribution::Uniform, KEY, 2, i) * 64.0) as usize] += 1.0);
        let chi_squared: f64 = bins.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!((20.0..120.0).contains(&chi_squared), "{chi_squared} on 63 degrees of freedom");
    }

    #[test]
    fn normal_draws_have_the_moments_of_a_normal() {
        let (mean, variance, fourth) = moments((0..100_000).map(|i| draw(Distribution::Normal, KEY, 5, i)));
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02 && (fourth - 3.0).abs() < 0.15);
    }

    /// Neighbouring elements, streams, steps and seeds must not look alike.
    #[test]
    fn neighbouring_counters_are_uncorrelated() {
        let n = 20_000;
        let at = |element: u32, stream, step, seed| {
            draw(Distribution::Uniform, RandomKey { seed, step }, stream, element) - 0.5
        };
        let base = |i: u32| at(i, 1, 1, 1);
        let shifted: [&dyn Fn(u32) -> f64; 5] =
            [&|i| at(i + 1, 1, 1, 1), &|i| at(i, 2, 1, 1), &|i| at(i, 1, 2, 1), &|i| at(i, 1, 1, 2), &|i| {
                at(i, 1, 1, 1 + (1 << 32))
            }];
        for (which, other) in shifted.iter().enumerate() {
            let correlation: f64 = (0..n).map(|i| base(i) * other(i)).sum::<f64>() / f64::from(n) * 12.0;
            assert!(correlation.abs() < 0.03, "shift {which}: {correlation}");
        }
    }
}
