//! What the lanes of a warp, and the warps of a block, do together.

use super::{
    block::Commons,
    warp::{Next, Warp},
};
use crate::{
    fault::{Problem, Trouble},
    lanes::{Lanes, Mask, WARP, lanes_of},
    op::{Barrier, Condition, PredicateSlot, Shuffle, Slot, Update, Vote},
};

impl Warp {
    /// A register in which all of those lanes must have the same value.
    fn uniform(&self, slot: Slot, lanes: Mask, what: &'static str) -> Result<u64, Trouble> {
        let values = self.registers.read(slot, lanes)?;
        let first = values[lanes.trailing_zeros() as usize];
        match lanes_of(lanes).find(|lane| values[*lane] != first) {
            Some(lane) => Err(Problem::Disagreement { what }.at(lane)),
            None => Ok(first),
        }
    }

    /// Fails unless exactly the lanes that an instruction names are here. Lanes that the block does not have
    /// may be named.
    pub fn check_members(&self, members: Slot, lanes: Mask) -> Result<(), Trouble> {
        let members = self.uniform(members, lanes, "which lanes take part")? as Mask;
        if members & self.initial == lanes { Ok(()) } else { Err(self.divergent(members & self.initial, lanes)) }
    }

    pub fn barrier(&mut self, barrier: Barrier, lanes: Mask, commons: &mut Commons) -> Result<Next, Trouble> {
        self.check_together(lanes)?;
        let id = self.uniform(barrier.id, lanes, "the barrier")?;
        let threads = match barrier.threads {
            Some(threads) => Some(self.uniform(threads, lanes, "the number of threads")?),
            None => None,
        };
        let Commons { barriers, clocks, released, .. } = commons;
        let free = barriers.arrive(self.number, id, threads, barrier.waits, clocks)?;
        let goes_on = !barrier.waits || free.contains(&self.number);
        released.extend(free.into_iter().filter(|warp| *warp != self.number));
        Ok(if goes_on { Next::On } else { Next::Wait { barrier: id } })
    }

    pub fn shuffle(
        &mut self,
        shuffle: Shuffle,
        (to, valid): (Slot, Option<PredicateSlot>),
        from: Slot,
        (by, clamp): (Slot, Slot),
        lanes: Mask,
    ) -> Result<(), Trouble> {
        let values = *self.registers.read(from, lanes)?;
        let (by, clamp) = (self.registers.read(by, lanes)?, self.registers.read(clamp, lanes)?);
        let mut result = [0; WARP];
        let mut in_range: Mask = 0;
        for lane in lanes_of(lanes) {
            let (source, valid) = source_lane(shuffle, lane as i64, by[lane] as i64 & 31, clamp[lane] as i64);
            if lanes >> source & 1 == 0 {
                return Err(Problem::AbsentLane { lane: source as u32 }.at(lane));
            }
            result[lane] = values[source as usize];
            in_range |= Mask::from(valid) << lane;
        }
        self.registers.write(to, lanes, &result);
        if let Some(valid) = valid {
            self.registers.write_predicate(valid, lanes, in_range);
        }
        Ok(())
    }

    pub fn vote(&mut self, vote: Vote, to: PredicateSlot, from: Condition, lanes: Mask) -> Result<(), Trouble> {
        let holds = self.registers.holds(from, lanes)?;
        let result = match vote {
            Vote::All => holds == lanes,
            Vote::Any => holds != 0,
            Vote::Uniform => holds == 0 || holds == lanes,
        };
        self.registers.write_predicate(to, lanes, if result { Mask::MAX } else { 0 });
        Ok(())
    }

    pub fn reduce(&mut self, update: Update, to: Slot, from: Slot, lanes: Mask) -> Result<(), Trouble> {
        let values = self.registers.read(from, lanes)?;
        let result = lanes_of(lanes).map(|lane| values[lane]).reduce(|sum, value| update.apply(4, sum, value, 0));
        self.registers.write(to, lanes, &[result.unwrap_or(0); WARP]);
        Ok(())
    }

    pub fn matching(
        &mut self,
        to: Slot,
        all: bool,
        equal: Option<PredicateSlot>,
        from: Slot,
        lanes: Mask,
    ) -> Result<(), Trouble> {
        let values = *self.registers.read(from, lanes)?;
        let same = |value: u64| {
            lanes_of(lanes).filter(|lane| values[*lane] == value).fold(0, |mask: Mask, lane| mask | 1 << lane)
        };
        let mut result: Lanes = values.map(|value| u64::from(same(value)));
        if all {
            let agree = lanes_of(lanes).all(|lane| result[lane] == u64::from(lanes));
            result = [if agree { u64::from(lanes) } else { 0 }; WARP];
            if let Some(equal) = equal {
                self.registers.write_predicate(equal, lanes, if agree { Mask::MAX } else { 0 });
            }
        }
        self.registers.write(to, lanes, &result);
        Ok(())
    }
}

/// The lane that a lane reads, and whether it lies within its segment; otherwise it is the lane itself.
fn source_lane(shuffle: Shuffle, lane: i64, by: i64, clamp: i64) -> (i64, bool) {
    let (limit, segment) = (clamp & 31, clamp >> 8 & 31);
    let highest = (lane & segment) | (limit & !segment);
    let (source, valid) = match shuffle {
        Shuffle::Up => (lane - by, lane - by >= highest),
        Shuffle::Down => (lane + by, lane + by <= highest),
        Shuffle::Butterfly => (lane ^ by, lane ^ by <= highest),
        Shuffle::Index => {
            let source = (lane & segment) | (by & !segment);
            (source, source <= highest)
        }
    };
    if valid { (source, true) } else { (lane, false) }
}
