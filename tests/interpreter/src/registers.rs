//! The register file of a warp.

use crate::{
    fault::{Problem, Trouble},
    lanes::{Lanes, Mask, WARP},
    op::{Condition, PredicateSlot, Slot},
};

/// Registers and constants of a warp, with the lanes that have a value in each.
#[derive(Clone)]
pub(crate) struct Registers {
    values: Vec<Lanes>,
    written: Vec<Mask>,
    predicates: Vec<Mask>,
    predicates_written: Vec<Mask>,
}

/// A read of a register without a value; [`name`](crate::module) turns the place into its name.
#[cold]
fn unwritten(lanes: Mask, place: String) -> Trouble {
    Problem::UnwrittenRegister { register: place }.at(lanes.trailing_zeros() as usize)
}

impl Registers {
    pub fn new(registers: usize, predicates: usize) -> Registers {
        Registers {
            values: vec![[0; WARP]; registers],
            written: vec![0; registers],
            predicates: vec![0; predicates],
            predicates_written: vec![0; predicates],
        }
    }

    /// The value of a register, if all of those lanes have one.
    #[inline(always)]
    pub fn read(&self, slot: Slot, lanes: Mask) -> Result<&Lanes, Trouble> {
        let missing = lanes & !self.written[slot as usize];
        if missing != 0 {
            return Err(unwritten(missing, format!("#{slot}")));
        }
        Ok(&self.values[slot as usize])
    }

    /// Writes those lanes.
    #[inline(always)]
    pub fn write(&mut self, slot: Slot, lanes: Mask, value: &Lanes) {
        let slot = slot as usize;
        self.written[slot] |= lanes;
        let register = &mut self.values[slot];
        if lanes == Mask::MAX {
            *register = *value;
            return;
        }
        for lane in 0..WARP {
            // Without a branch, as a select.
            let keep = u64::from(lanes >> lane & 1).wrapping_sub(1);
            register[lane] = (register[lane] & keep) | (value[lane] & !keep);
        }
    }

    /// The lanes in which a condition holds, if all of `lanes` have a value.
    #[inline(always)]
    pub fn holds(&self, condition: Condition, lanes: Mask) -> Result<Mask, Trouble> {
        let register = condition.register as usize;
        let missing = lanes & !self.predicates_written[register];
        if missing != 0 {
            return Err(unwritten(missing, format!("@{register}")));
        }
        let value = self.predicates[register];
        Ok(lanes & if condition.negated { !value } else { value })
    }

    /// Writes a predicate in those lanes.
    #[inline(always)]
    pub fn write_predicate(&mut self, register: PredicateSlot, lanes: Mask, value: Mask) {
        let register = register as usize;
        self.predicates_written[register] |= lanes;
        self.predicates[register] = (self.predicates[register] & !lanes) | (value & lanes);
    }
}
