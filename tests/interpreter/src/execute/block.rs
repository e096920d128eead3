//! A block: its warps, and what they share.

use super::{
    barrier::Barriers,
    warp::{Status, Warp},
};
use crate::{
    fault::{Fault, Problem, Trouble},
    lanes::{Lanes, Mask, WARP},
    launch::{Counters, Launch, slot_name},
    memory::View,
    registers::Registers,
    scope::{LaneRelation, SlotUse, Special},
    shared::{Clock, Shared},
};

/// What the warps of a block share.
pub(super) struct Commons<'l> {
    pub launch: &'l Launch<'l>,
    pub index: [u32; 3],
    pub shared: Shared,
    pub global: View<'l>,
    pub barriers: Barriers,
    pub clocks: Vec<Clock>,
    pub counters: Counters,
    /// Warps that a barrier has let go since they were last looked at.
    pub released: Vec<usize>,
}

/// A block that is about to run.
pub(crate) struct Block<'l> {
    commons: Commons<'l>,
    warps: Vec<Warp>,
}

impl<'l> Block<'l> {
    /// The block of that number, counted along x first.
    pub fn new(launch: &'l Launch<'l>, number: u64) -> Block<'l> {
        let [x, y, _] = launch.grid.map(u64::from);
        let index = [number % x, number / x % y, number / x / y].map(|extent| extent as u32);
        let threads = launch.threads();
        let count = threads.div_ceil(WARP);
        let mut extents = launch.entry.shared.extents.clone();
        if let Some(start) = launch.entry.shared.dynamic {
            extents.push((start, launch.dynamic_shared));
        }
        let mut clocks = vec![vec![0; count]; count];
        for (warp, clock) in clocks.iter_mut().enumerate() {
            clock[warp] = 1;
        }
        let commons = Commons {
            launch,
            index,
            shared: Shared::new(&extents, count, launch.entry.granule),
            global: launch.memory.view(launch.number, number),
            barriers: Barriers::new(threads),
            clocks,
            counters: Counters::new(launch.entry.code.len()),
            released: Vec::new(),
        };
        let common = common_registers(launch, index);
        let warps = (0..count).map(|warp| make_warp(launch, &common, warp)).collect();
        Block { commons, warps }
    }

    /// Runs the block to its end.
    pub fn run(mut self) -> Result<Counters, Box<Fault>> {
        loop {
            let mut progress = false;
            for warp in 0..self.warps.len() {
                if self.warps[warp].status == Status::Running {
                    progress = true;
                    if let Err(trouble) = self.warps[warp].run(&mut self.commons) {
                        return Err(self.fault(warp, trouble));
                    }
                }
                for released in self.commons.released.drain(..) {
                    self.warps[released].status = Status::Running;
                }
            }
            if self.warps.iter().all(|warp| warp.status == Status::Exited) {
                return self.finish();
            }
            if !progress {
                return Err(self.deadlock());
            }
        }
    }

    fn finish(self) -> Result<Counters, Box<Fault>> {
        match self.commons.barriers.unfinished() {
            None => Ok(self.commons.counters),
            Some(problem) => Err(self.fault(0, problem.into())),
        }
    }

    fn deadlock(&self) -> Box<Fault> {
        let describe = |(number, warp): (usize, &Warp)| match warp.status {
            Status::Waiting { barrier } => {
                let line = self.commons.launch.entry.listing[warp.position() - 1].line;
                format!("warp {number} waits at barrier {barrier} in line {line}")
            }
            _ => format!("warp {number} has exited"),
        };
        let state: Vec<String> = self.warps.iter().enumerate().map(describe).collect();
        let waiting = self.warps.iter().position(|warp| matches!(warp.status, Status::Waiting { .. })).unwrap_or(0);
        let mut fault = self.fault(waiting, Problem::Deadlock { state: state.join(", ") }.into());
        fault.line = None;
        fault
    }

    /// A fault of the instruction at which a warp stands.
    fn fault(&self, warp: usize, trouble: Trouble) -> Box<Fault> {
        let entry = self.commons.launch.entry;
        let listing = entry.listing.get(self.warps[warp].position());
        Box::new(Fault {
            entry: entry.name.clone(),
            block: Some(self.commons.index),
            warp: Some(warp),
            lane: trouble.lane,
            line: listing.map(|listing| listing.line),
            instruction: listing.map(|listing| listing.text.clone()),
            problem: self.named(*trouble.problem),
        })
    }

    /// Registers are known by their places while a kernel runs; messages have their names.
    fn named(&self, problem: Problem) -> Problem {
        let entry = self.commons.launch.entry;
        let Problem::UnwrittenRegister { register } = &problem else { return problem };
        let name = match (register.strip_prefix('#'), register.strip_prefix('@')) {
            (Some(slot), _) => slot.parse().ok().map(|slot| slot_name(entry, slot)),
            (_, Some(predicate)) => predicate.parse().ok().and_then(|at: usize| entry.predicates.get(at).cloned()),
            _ => None,
        };
        name.map_or(problem, |register| Problem::UnwrittenRegister { register })
    }
}

/// Registers as every warp of the block begins with them, but for what tells its threads apart.
fn common_registers(launch: &Launch, index: [u32; 3]) -> Registers {
    let entry = launch.entry;
    let mut registers = Registers::new(entry.slots.len(), entry.predicates.len());
    for (slot, slot_use) in entry.slots.iter().enumerate() {
        let SlotUse::Constant(constant) = slot_use else { continue };
        let value = launch.constant(*constant).or(match constant {
            crate::scope::Constant::Special(special) => common_special(launch, index, *special),
            _ => None,
        });
        if let Some(value) = value {
            registers.write(slot as u32, Mask::MAX, &[value; WARP]);
        }
    }
    registers
}

fn common_special(launch: &Launch, index: [u32; 3], special: Special) -> Option<u64> {
    Some(match special {
        Special::Threads(axis) => launch.block[axis].into(),
        Special::Block(axis) => index[axis].into(),
        Special::Blocks(axis) => launch.grid[axis].into(),
        Special::Warps => launch.threads().div_ceil(WARP) as u64,
        Special::DynamicSharedSize => launch.dynamic_shared,
        Special::Thread(_) | Special::Lane | Special::Warp | Special::LaneMask(_) => return None,
    })
}

fn make_warp(launch: &Launch, common: &Registers, warp: usize) -> Warp {
    let mut registers = common.clone();
    for (slot, slot_use) in launch.entry.slots.iter().enumerate() {
        if let SlotUse::Constant(crate::scope::Constant::Special(special)) = slot_use
            && let Some(value) = thread_special(launch, warp, *special)
        {
            registers.write(slot as u32, Mask::MAX, &value);
        }
    }
    let lanes = (launch.threads() - warp * WARP).min(WARP);
    Warp::new(warp, registers, Mask::MAX >> (WARP - lanes))
}

/// A special register that differs between threads or warps.
fn thread_special(launch: &Launch, warp: usize, special: Special) -> Option<Lanes> {
    let [x, y, _] = launch.block;
    let of_lane = |lane: usize| {
        let thread = (warp * WARP + lane) as u32;
        let below = (1u32 << lane) - 1;
        let own = 1u32 << lane;
        let value = match special {
            Special::Thread(0) => thread % x,
            Special::Thread(1) => thread / x % y,
            Special::Thread(_) => thread / x / y,
            Special::Lane => lane as u32,
            Special::LaneMask(LaneRelation::Equal) => own,
            Special::LaneMask(LaneRelation::Less) => below,
            Special::LaneMask(LaneRelation::LessEqual) => below | own,
            Special::LaneMask(LaneRelation::Greater) => !(below | own),
            Special::LaneMask(LaneRelation::GreaterEqual) => !below,
            _ => warp as u32,
        };
        u64::from(value)
    };
    let differs = matches!(special, Special::Thread(_) | Special::Lane | Special::Warp | Special::LaneMask(_));
    differs.then(|| std::array::from_fn(of_lane))
}
