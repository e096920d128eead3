//! Random numbers for what is made anew each time: samples, the stages of a degradation, heads.

use visage_compiler::{
    graph::Distribution,
    random::{RandomKey, draw},
};

/// Draws one after another. The n-th is a function of the seed, the sample's number, the name and n
/// alone, so neither threads nor whatever else is drawn change it.
#[derive(Debug)]
pub struct Draws {
    key: RandomKey,
    stream: u32,
    next: u32,
}

impl Draws {
    /// The draws for what is called `name` of the sample numbered `sample`.
    pub fn new(seed: u64, sample: u64, name: &str) -> Draws {
        Draws { key: RandomKey { seed, step: sample }, stream: crc32c::crc32c(name.as_bytes()), next: 0 }
    }

    fn next(&mut self, distribution: Distribution) -> f64 {
        let value = draw(distribution, self.key, self.stream, self.next);
        self.next = self.next.wrapping_add(1);
        value
    }

    /// Uniform between the two ends, the first included.
    pub fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.next(Distribution::Uniform)
    }

    /// A whole number of a range.
    pub fn whole(&mut self, range: std::ops::Range<usize>) -> usize {
        self.between([range.start as f64, range.end as f64]) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.next(Distribution::Uniform) < probability
    }

    /// Normal, of mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        self.next(Distribution::Normal)
    }
}
