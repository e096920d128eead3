//! What training shows of itself: a bar on a terminal, a line now and then elsewhere.

use crate::{console, sources::Amount};
use indicatif::{HumanCount, HumanDuration, ProgressBar};
use std::time::{Duration, Instant};

/// How often a line is written where there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// The weight of the past in the figures shown.
const SMOOTHING: f64 = 0.95;

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    draws: bool,
    rounds: u64,
    first: u64,
    started: Instant,
    told: Instant,
    amount: Amount,
    /// Smoothed figures by name, with the sum of the weights so far.
    figures: Vec<(String, f64, f64)>,
}

impl Progress {
    /// Starts at `round` of `rounds`.
    pub fn start(round: u64, rounds: u64) -> Progress {
        let bar = console::bar(rounds, "{bar:24} {percent:>3}%  round {human_pos}/{human_len}  {msg}");
        bar.set_position(round);
        let now = Instant::now();
        let draws = console::draws_bars();
        Progress {
            bar,
            draws,
            rounds,
            first: round,
            started: now,
            told: now,
            amount: Amount::default(),
            figures: Vec::new(),
        }
    }

    /// A round is done: what it measured, and how much it learnt from.
    pub fn round<'a>(&mut self, done: u64, amount: Amount, figures: impl IntoIterator<Item = (&'a str, f64)>) {
        self.amount.add(amount, 1);
        for (name, value) in figures {
            match self.figures.iter_mut().find(|(known, ..)| known == name) {
                Some((_, mean, weight)) => {
                    *weight = *weight * SMOOTHING + 1.0;
                    *mean += (value - *mean) / *weight;
                }
                None => self.figures.push((name.to_owned(), value, 1.0)),
            }
        }
        let since = self.told.elapsed();
        if self.draws && since > Duration::from_millis(100) {
            self.told = Instant::now();
            self.bar.set_message(self.message(done));
            self.bar.set_position(done);
        } else if !self.draws && (since > BETWEEN_LINES || done == self.rounds) {
            self.told = Instant::now();
            tracing::info!("round {done}/{}  {}", self.rounds, self.message(done));
        }
    }

    fn message(&self, done: u64) -> String {
        let mut parts: Vec<String> =
            self.figures.iter().map(|(name, value, _)| format!("{name} {}", figure(*value))).collect();
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        for (count, of) in [(self.amount.rays, "rays"), (self.amount.pictures, "pictures")] {
            if count > 0 {
                let rate = count as f64 / seconds;
                let rate = if rate < 100.0 { format!("{rate:.1}") } else { HumanCount(rate as u64).to_string() };
                parts.push(format!("{rate} {of}/s"));
            }
        }
        let done_here = done.saturating_sub(self.first);
        if done_here > 0 && done < self.rounds {
            let left = seconds / done_here as f64 * (self.rounds - done) as f64;
            parts.push(format!("{:#} left", HumanDuration(Duration::from_secs_f64(left))));
        }
        parts.join("  ")
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Four figures, without a long row of zeros.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if (0.01..10.0).contains(&size) => format!("{value:.4}"),
        size if (10.0..1e5).contains(&size) => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [figure(0.0123456), figure(24.126), figure(1.23456e-5), figure(0.0)],
            ["0.0123", "24.13", "1.23e-5", "0"]
        );
    }
}
