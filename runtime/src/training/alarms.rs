//! Alarms: a run notices by itself that it goes wrong.
//!
//! The mean of a measurement over the latest rounds is held against a bound. Measurements are those of the table, so a run that
//! goes on from a checkpoint knows those of the rounds before it. Each alarm is raised once; `alarms.json` keeps what was said.

use super::measurements::Rows;
use crate::files::write_atomically;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fmt, io,
    io::Write,
    path::{Path, PathBuf},
};
use visage_compiler::system::Alarm;

/// An alarm that was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Raised {
    /// The alarm.
    pub alarm: String,
    /// The round after which it was raised, counted from 0 as in the table.
    pub round: u64,
    /// What was watched.
    pub measure: String,
    /// Its mean.
    pub mean: f64,
    /// How many rounds the mean was taken over.
    pub rounds: u64,
    /// What it is not to be: `below 0.01`.
    pub bound: String,
    /// What it means.
    pub about: String,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Raised { alarm, round, measure, mean, rounds, bound, about } = self;
        let over = if *rounds == 1 { String::new() } else { format!(", the mean over {rounds} rounds,") };
        write!(f, "round {round}: {alarm}: `{measure}`{over} is {mean:.6}, {bound}: {about}")
    }
}

/// The alarms of a run.
#[derive(Debug)]
pub struct Alarms {
    watched: Vec<Watched>,
    /// Those that were raised, in order.
    raised: Vec<Raised>,
    path: PathBuf,
}

/// An alarm, with the latest values of what it watches.
#[derive(Debug)]
struct Watched {
    name: String,
    alarm: Alarm,
    /// Rounds and values, the latest last.
    values: VecDeque<(u64, f64)>,
    /// The first round that a value is known of.
    first: Option<u64>,
}

impl Watched {
    /// Takes the value of a round; the mean over the rounds up to it if that is on the wrong side.
    fn take(&mut self, round: u64, value: f64) -> Option<f64> {
        let first = *self.first.get_or_insert(round);
        self.values.push_back((round, value));
        // A step that runs in some rounds only has fewer values than there are rounds.
        while self.values.front().is_some_and(|(earliest, _)| earliest + self.alarm.rounds <= round) {
            self.values.pop_front();
        }
        let mean = self.values.iter().map(|(_, value)| value).sum::<f64>() / self.values.len() as f64;
        let whole = first + self.alarm.rounds <= round + 1;
        (whole && self.alarm.bound.holds(mean)).then_some(mean)
    }
}

impl Alarms {
    /// The alarms of a run that goes on at `round`, with its table and the file at `path` as they were left. What was said of
    /// that round and later is forgotten.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(alarms: &IndexMap<String, Alarm>, rows: &Rows, path: &Path, round: u64) -> io::Result<Alarms> {
        let mut raised: Vec<Raised> = match round > 0 && path.exists() {
            true => serde_json::from_str(&std::fs::read_to_string(path)?)?,
            false => Vec::new(),
        };
        raised.retain(|raised| raised.round < round);
        let watched = alarms.iter().map(|(name, alarm)| {
            let mut watched =
                Watched { name: name.clone(), alarm: alarm.clone(), values: VecDeque::new(), first: None };
            // A comma begins another cell in the table.
            for (earlier, value) in rows.series(&alarm.measure.replace(',', ";")) {
                watched.take(earlier as u64, value);
            }
            watched
        });
        let alarms = Alarms { watched: watched.collect(), raised, path: path.to_owned() };
        if path.exists() || !alarms.raised.is_empty() {
            alarms.write()?;
        }
        Ok(alarms)
    }

    /// Takes what was measured in a round, by name. Those alarms that are raised by it for the first time, and the first of
    /// them that ends the run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn take(&mut self, round: u64, measured: &[(String, f64)]) -> io::Result<(Vec<Raised>, Option<Raised>)> {
        let (mut raised, mut stop) = (Vec::new(), None);
        for watched in &mut self.watched {
            let Some((_, value)) = measured.iter().find(|(name, _)| *name == watched.alarm.measure) else { continue };
            let Some(mean) = watched.take(round, *value) else { continue };
            if self.raised.iter().any(|earlier| earlier.alarm == watched.name) {
                continue;
            }
            let Alarm { measure, about, bound, rounds, stop: ends } = &watched.alarm;
            let found = Raised {
                alarm: watched.name.clone(),
                round,
                measure: measure.clone(),
                mean,
                rounds: *rounds,
                bound: bound.to_string(),
                about: about.clone(),
            };
            if *ends && stop.is_none() {
                stop = Some(found.clone());
            }
            raised.push(found);
        }
        if !raised.is_empty() {
            self.raised.extend(raised.iter().cloned());
            self.write()?;
        }
        Ok((raised, stop))
    }

    fn write(&self) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&self.raised)?;
        write_atomically(&self.path, |writer| writeln!(writer, "{text}"))
    }

    /// Where they are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_compiler::system::Bound;

    fn alarm(bound: Bound, rounds: u64, stop: bool) -> Alarm {
        Alarm { measure: "g.spread".into(), about: "All pictures are one.".into(), bound, rounds, stop }
    }

    fn none() -> Rows {
        Rows { columns: Vec::new(), rows: Vec::new() }
    }

    /// The rounds in which an alarm is raised by these values.
    fn raised_in(alarm: &Alarm, values: &[(u64, f64)]) -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alarms.json");
        let named = IndexMap::from([("collapse".to_owned(), alarm.clone())]);
        let mut alarms = Alarms::open(&named, &none(), &path, 0).unwrap();
        let take = |(round, value): &(u64, f64)| {
            let (raised, stop) = alarms.take(*round, &[("g.spread".into(), *value)]).unwrap();
            assert_eq!(stop.as_ref(), raised.first().filter(|_| alarm.stop));
            raised.first().map(|raised| raised.round)
        };
        values.iter().filter_map(take).collect()
    }

    #[test]
    fn the_mean_over_whole_stretches_of_rounds_counts() {
        let below = alarm(Bound::Below(1.0), 3, true);
        let rounds = |values: &[f64]| values.iter().enumerate().map(|(i, v)| (i as u64, *v)).collect::<Vec<_>>();
        // Two rounds are no stretch of three; (2 + 0.5 + 0.4) / 3 is below; it is said once.
        assert_eq!(raised_in(&below, &rounds(&[0.1, 0.1])), [0; 0]);
        assert_eq!(raised_in(&below, &rounds(&[9.0, 2.0, 0.5, 0.4, 0.1])), [3]);
        assert_eq!(raised_in(&below, &rounds(&[1.0, 1.0, 1.0, 1.0])), [0; 0]);
        assert_eq!(raised_in(&alarm(Bound::Above(1.0), 2, false), &rounds(&[0.5, 1.4, 1.0, 0.1, 5.0])), [2]);
        assert_eq!(raised_in(&alarm(Bound::Above(1.0), 1, false), &rounds(&[f64::NAN, 0.0, 1.5])), [2]);
        // A step that runs in every second round.
        assert_eq!(raised_in(&below, &[(0, 0.5), (2, 1.2), (4, 0.7)]), [2]);
    }

    #[test]
    fn a_run_that_goes_on_knows_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alarms.json");
        let named = IndexMap::from([("collapse".to_owned(), alarm(Bound::Below(1.0), 3, false))]);
        let rows = |count: u64| Rows {
            columns: vec!["g.spread".into()],
            rows: (0..count).map(|round| (round, vec![Some(0.5)])).collect(),
        };
        let measured = [("g.spread".to_owned(), 0.5)];
        // Two rounds are in the table: with the next one there are three.
        let mut alarms = Alarms::open(&named, &rows(2), &path, 2).unwrap();
        assert_eq!(alarms.take(2, &measured).unwrap().0.len(), 1);
        assert_eq!(alarms.take(3, &measured).unwrap().0, []);
        // From a checkpoint after it was said, it is not said again; from one before, it is.
        let mut later = Alarms::open(&named, &rows(3), &path, 3).unwrap();
        assert_eq!(later.take(3, &measured).unwrap().0, []);
        let mut earlier = Alarms::open(&named, &rows(2), &path, 2).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "[]\n");
        let raised = earlier.take(2, &measured).unwrap().0;
        let said = "round 2: collapse: `g.spread`, the mean over 3 rounds, is 0.500000, below 1: All pictures are one.";
        assert_eq!(raised[0].to_string(), said);
    }
}
