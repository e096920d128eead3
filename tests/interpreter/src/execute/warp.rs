//! A warp: lanes in lockstep, the lowest position in the code first.
//!
//! Lanes that stand at the same instruction form a group, and the group with the lowest position runs. When it
//! reaches a position where other lanes stand, they join. So lanes that a branch parted meet again where the
//! branches of structured code meet, and code in which all lanes agree never looks at single lanes.

use super::{block::Commons, copy::Copies};
use crate::{
    fault::{Problem, Trouble},
    function::Function,
    lanes::{Lanes, Mask, WARP, lanes_of},
    op::{Comparison, Condition, Instruction, Logic, Op, Slot},
    registers::Registers,
};

/// After so many instructions a warp is taken for endless.
const ENDLESS: u64 = 1 << 28;

/// Whether a warp can run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Status {
    Running,
    Waiting { barrier: u64 },
    Exited,
}

/// A warp of a block.
pub(super) struct Warp {
    pub number: usize,
    pub registers: Registers,
    pub status: Status,
    /// The lanes that it began with.
    pub initial: Mask,
    /// The lanes that have not exited.
    pub alive: Mask,
    /// The lanes of the group that runs.
    pub group: Mask,
    /// Where that group stands.
    position: u32,
    /// Where each lane outside of the group stands.
    positions: [u32; WARP],
    /// The lowest of these.
    next_other: u32,
    issued: u64,
    pub copies: Copies,
}

/// What happens after an instruction.
pub(super) enum Next {
    /// The following instruction.
    On,
    /// A jump, in those lanes.
    Jump { target: u32, lanes: Mask },
    /// The end, in those lanes.
    Exit { lanes: Mask },
    /// A barrier that is not complete.
    Wait { barrier: u64 },
}

impl Warp {
    pub fn new(number: usize, registers: Registers, lanes: Mask) -> Warp {
        Warp {
            number,
            registers,
            status: Status::Running,
            initial: lanes,
            alive: lanes,
            group: lanes,
            position: 0,
            positions: [0; WARP],
            next_other: u32::MAX,
            issued: 0,
            copies: Copies::default(),
        }
    }

    /// The instruction at which it stands.
    pub fn position(&self) -> usize {
        self.position as usize
    }

    /// Runs until the warp waits or has exited.
    pub fn run(&mut self, commons: &mut Commons) -> Result<(), Trouble> {
        let entry = commons.launch.entry;
        while self.status == Status::Running {
            let Some(instruction) = entry.code.get(self.position as usize) else { return Err(Problem::End.into()) };
            let lanes = self.guarded(instruction)?;
            commons.counters.costs[self.position as usize].issued += 1;
            commons.counters.lane_instructions += u64::from(lanes.count_ones());
            self.issued += 1;
            if self.issued > ENDLESS {
                return Err(Problem::Endless { issued: self.issued }.into());
            }
            // An instruction that no lane executes has no effect, and reads nothing.
            let next = if lanes == 0 { Next::On } else { self.execute(&instruction.op, lanes, commons)? };
            self.advance(next);
        }
        Ok(())
    }

    fn guarded(&self, instruction: &Instruction) -> Result<Mask, Trouble> {
        match instruction.guard {
            None => Ok(self.group),
            Some(condition) => self.registers.holds(condition, self.group),
        }
    }

    fn advance(&mut self, next: Next) {
        match next {
            Next::On => self.position += 1,
            Next::Jump { target, lanes } if lanes == self.group => self.position = target,
            Next::Jump { target, lanes } => {
                self.park(self.group & !lanes, self.position + 1);
                self.park(lanes, target);
                return self.choose_group();
            }
            Next::Exit { lanes } => {
                self.alive &= !lanes;
                self.park(self.group & !lanes, self.position + 1);
                return self.choose_group();
            }
            Next::Wait { barrier } => {
                self.position += 1;
                self.status = Status::Waiting { barrier };
            }
        }
        if self.position >= self.next_other {
            self.park(self.group, self.position);
            self.choose_group();
        }
    }

    fn park(&mut self, lanes: Mask, position: u32) {
        for lane in lanes_of(lanes) {
            self.positions[lane] = position;
        }
    }

    /// Makes the lanes with the lowest position the group that runs.
    fn choose_group(&mut self) {
        let Some(lowest) = lanes_of(self.alive).map(|lane| self.positions[lane]).min() else {
            self.status = Status::Exited;
            return;
        };
        self.position = lowest;
        self.group = 0;
        self.next_other = u32::MAX;
        for lane in lanes_of(self.alive) {
            match self.positions[lane] {
                position if position == lowest => self.group |= 1 << lane,
                position => self.next_other = self.next_other.min(position),
            }
        }
    }

    fn execute(&mut self, op: &Op, lanes: Mask, commons: &mut Commons) -> Result<Next, Trouble> {
        match op {
            Op::Compute { function, to, from } => self.compute(function, *to, from, lanes)?,
            Op::Divide { function, to, from } => {
                self.check_divisor(from[1], lanes)?;
                self.compute(function, *to, from, lanes)?;
            }
            Op::Compare { comparison, to } => self.compare(comparison, *to, lanes)?,
            Op::Set { comparison, to, holds } => {
                let (result, _) = self.comparison(comparison, lanes)?;
                let value = std::array::from_fn(|lane| if result >> lane & 1 == 1 { *holds } else { 0 });
                self.registers.write(*to, lanes, &value);
            }
            Op::Property { test, to, from } => {
                let value = self.registers.read(*from, lanes)?;
                let result = test(value, value);
                self.registers.write_predicate(*to, lanes, result);
            }
            Op::Logic { logic, to, a, b } => {
                let result = combine(*logic, self.registers.holds(*a, lanes)?, self.registers.holds(*b, lanes)?);
                self.registers.write_predicate(*to, lanes, result);
            }
            Op::Assign { to, from } => {
                let result = self.registers.holds(*from, lanes)?;
                self.registers.write_predicate(*to, lanes, result);
            }
            Op::AssignConstant { to, value } => {
                self.registers.write_predicate(*to, lanes, if *value { Mask::MAX } else { 0 });
            }
            Op::Select { to, yes, no, by } => self.select(*to, *yes, *no, *by, lanes)?,
            Op::Pack { to, from, bits } => self.pack(*to, from, *bits, lanes)?,
            Op::Unpack { to, from, bits } => self.unpack(to, *from, *bits, lanes)?,
            Op::Branch { target, uniform } => {
                if *uniform && lanes != self.group {
                    return Err(self.divergent(self.group, lanes));
                }
                return Ok(Next::Jump { target: *target, lanes });
            }
            Op::Exit => return Ok(Next::Exit { lanes }),
            Op::Trap => return Err(Problem::Trap.at(lanes.trailing_zeros() as usize)),
            Op::Nothing => {}
            _ => return self.execute_effect(op, lanes, commons),
        }
        Ok(Next::On)
    }

    /// Instructions that touch more than the registers of their lane.
    fn execute_effect(&mut self, op: &Op, lanes: Mask, commons: &mut Commons) -> Result<Next, Trouble> {
        match op {
            Op::Load { to, element, address, volatile } => {
                self.load(to, *element, *address, *volatile, lanes, commons)?;
            }
            Op::Store { from, element, address, volatile } => {
                self.store(from, *element, *address, *volatile, lanes, commons)?;
            }
            Op::Atomic(atomic) => self.atomic(*atomic, lanes, commons)?,
            Op::AtomicVector { from, address } => self.atomic_vector(from, *address, lanes, commons)?,
            Op::Barrier(barrier) => return self.barrier(*barrier, lanes, commons),
            Op::WarpBarrier { members } => self.check_members(*members, lanes)?,
            Op::Shuffle { shuffle, to, valid, from, lane, clamp, members } => {
                self.check_members(*members, lanes)?;
                self.shuffle(*shuffle, (*to, *valid), *from, (*lane, *clamp), lanes)?;
            }
            Op::Vote { vote, to, from, members } => {
                self.check_members(*members, lanes)?;
                self.vote(*vote, *to, *from, lanes)?;
            }
            Op::Ballot { to, from, members } => {
                self.check_members(*members, lanes)?;
                let holds = self.registers.holds(*from, lanes)?;
                self.registers.write(*to, lanes, &[u64::from(holds); WARP]);
            }
            Op::ActiveMask { to } => self.registers.write(*to, lanes, &[u64::from(lanes); WARP]),
            Op::Reduce { update, to, from, members } => {
                self.check_members(*members, lanes)?;
                self.reduce(*update, *to, *from, lanes)?;
            }
            Op::Match { to, all, equal, from, members } => {
                self.check_members(*members, lanes)?;
                self.matching(*to, *all, *equal, *from, lanes)?;
            }
            Op::CopyAsync(copy) => self.copy_async(*copy, lanes, commons)?,
            Op::CommitCopies => self.commit_copies(lanes)?,
            Op::WaitCopies { groups } => self.wait_copies(*groups, lanes, commons)?,
            Op::LoadMatrix { to, address, transposed } => {
                self.load_matrix(to, *address, *transposed, lanes, commons)?;
            }
            Op::StoreMatrix { from, address, transposed } => {
                self.store_matrix(from, *address, *transposed, lanes, commons)?;
            }
            Op::Multiply(product) => self.multiply(product, lanes)?,
            _ => unreachable!("executed with the registers"),
        }
        Ok(Next::On)
    }

    /// Fails unless all lanes that the warp began with are here.
    pub fn check_together(&self, lanes: Mask) -> Result<(), Trouble> {
        if lanes == self.initial { Ok(()) } else { Err(self.divergent(self.initial, lanes)) }
    }

    #[cold]
    pub fn divergent(&self, wanted: Mask, found: Mask) -> Trouble {
        Problem::Divergent { wanted: format!("lanes {wanted:#010x}"), found: format!("{found:#010x}") }.into()
    }

    #[inline(always)]
    fn compute(&mut self, function: &Function, to: Slot, from: &[Slot; 4], lanes: Mask) -> Result<(), Trouble> {
        let registers = &self.registers;
        let result = match function {
            Function::One(f) => f(registers.read(from[0], lanes)?),
            Function::Two(f) => f(registers.read(from[0], lanes)?, registers.read(from[1], lanes)?),
            Function::Three(f) => {
                f(registers.read(from[0], lanes)?, registers.read(from[1], lanes)?, registers.read(from[2], lanes)?)
            }
            Function::Four(f) => f(
                registers.read(from[0], lanes)?,
                registers.read(from[1], lanes)?,
                registers.read(from[2], lanes)?,
                registers.read(from[3], lanes)?,
            ),
        };
        self.registers.write(to, lanes, &result);
        Ok(())
    }

    fn check_divisor(&self, divisor: Slot, lanes: Mask) -> Result<(), Trouble> {
        let divisor = self.registers.read(divisor, lanes)?;
        match lanes_of(lanes).find(|lane| divisor[*lane] == 0) {
            Some(lane) => Err(Problem::DivisionByZero.at(lane)),
            None => Ok(()),
        }
    }

    /// The result of a comparison, and of its complement.
    fn comparison(&self, comparison: &Comparison, lanes: Mask) -> Result<(Mask, Mask), Trouble> {
        let a = self.registers.read(comparison.a, lanes)?;
        let b = self.registers.read(comparison.b, lanes)?;
        let result = (comparison.test)(a, b);
        match comparison.combined {
            None => Ok((result, !result)),
            Some((logic, condition)) => {
                let other = self.registers.holds(condition, lanes)?;
                Ok((combine(logic, result, other), combine(logic, !result, other)))
            }
        }
    }

    fn compare(&mut self, comparison: &Comparison, to: [Option<u32>; 2], lanes: Mask) -> Result<(), Trouble> {
        let (result, complement) = self.comparison(comparison, lanes)?;
        for (register, value) in to.into_iter().zip([result, complement]) {
            if let Some(register) = register {
                self.registers.write_predicate(register, lanes, value);
            }
        }
        Ok(())
    }

    fn select(&mut self, to: Slot, yes: Slot, no: Slot, by: Condition, lanes: Mask) -> Result<(), Trouble> {
        let chosen = self.registers.holds(by, lanes)?;
        let (yes, no) = (self.registers.read(yes, lanes)?, self.registers.read(no, lanes)?);
        let value = std::array::from_fn(|lane| if chosen >> lane & 1 == 1 { yes[lane] } else { no[lane] });
        self.registers.write(to, lanes, &value);
        Ok(())
    }

    fn pack(&mut self, to: Slot, from: &[Slot], bits: u32, lanes: Mask) -> Result<(), Trouble> {
        let mut value = [0; WARP];
        for (position, slot) in from.iter().enumerate() {
            let part = self.registers.read(*slot, lanes)?;
            for lane in 0..WARP {
                value[lane] |= part[lane] << (position as u32 * bits);
            }
        }
        self.registers.write(to, lanes, &value);
        Ok(())
    }

    fn unpack(&mut self, to: &[Option<Slot>], from: Slot, bits: u32, lanes: Mask) -> Result<(), Trouble> {
        let value: Lanes = *self.registers.read(from, lanes)?;
        let ones = (1u64 << bits) - 1;
        for (position, slot) in to.iter().enumerate() {
            if let Some(slot) = slot {
                let part = value.map(|value| value >> (position as u32 * bits) & ones);
                self.registers.write(*slot, lanes, &part);
            }
        }
        Ok(())
    }
}

fn combine(logic: Logic, a: Mask, b: Mask) -> Mask {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}
