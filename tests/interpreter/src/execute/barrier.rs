//! The sixteen barriers of a block.

use crate::{fault::Problem, lanes::WARP, shared::Clock};

const BARRIERS: usize = 16;

#[derive(Clone, Default)]
struct State {
    /// How many threads it takes, once somebody has arrived.
    expected: Option<usize>,
    arrived: usize,
    waiting: Vec<usize>,
    /// What those who arrived knew, together.
    knowledge: Clock,
}

/// Barriers, and who has arrived at each.
pub(super) struct Barriers {
    states: Vec<State>,
    threads: usize,
}

/// Takes over what another clock knows.
fn learn(clock: &mut Clock, other: &Clock) {
    clock.resize(clock.len().max(other.len()), 0);
    for (own, other) in clock.iter_mut().zip(other) {
        *own = (*own).max(*other);
    }
}

impl Barriers {
    pub fn new(threads: usize) -> Barriers {
        Barriers { states: vec![State::default(); BARRIERS], threads }
    }

    /// A warp arrives, to wait or not; returns the warps that may go on.
    pub fn arrive(
        &mut self,
        warp: usize,
        id: u64,
        threads: Option<u64>,
        waits: bool,
        clocks: &mut [Clock],
    ) -> Result<Vec<usize>, Problem> {
        let wrong = |problem: String| Problem::Barrier { id, problem };
        let all = self.threads.next_multiple_of(WARP);
        let expected = threads.map_or(all, |threads| threads as usize);
        let Some(state) = self.states.get_mut(id as usize) else { return Err(wrong("there are sixteen".into())) };
        if expected == 0 || !expected.is_multiple_of(WARP) || expected > all {
            return Err(wrong(format!("{expected} threads, of {all} in the block, in warps of 32")));
        }
        if let Some(other) = state.expected
            && other != expected
        {
            return Err(wrong(format!("{expected} threads here, but {other} for those who arrived before")));
        }
        if state.waiting.contains(&warp) {
            return Err(wrong("the warp waits at it already".into()));
        }
        state.expected = Some(expected);
        state.arrived += WARP;
        learn(&mut state.knowledge, &clocks[warp]);
        // Whatever the warp does from now on, those who are told of the past do not know.
        clocks[warp][warp] += 1;
        if waits {
            state.waiting.push(warp);
        }
        if state.arrived < expected {
            return Ok(Vec::new());
        }
        let full = std::mem::take(state);
        for waiting in &full.waiting {
            learn(&mut clocks[*waiting], &full.knowledge);
        }
        Ok(full.waiting)
    }

    /// A barrier that some have arrived at, but not all, now that the block has ended.
    pub fn unfinished(&self) -> Option<Problem> {
        let (id, state) = self.states.iter().enumerate().find(|(_, state)| state.arrived > 0)?;
        let problem = format!("the block ends with {} of {} threads arrived", state.arrived, state.expected?);
        Some(Problem::Barrier { id: id as u64, problem })
    }
}
