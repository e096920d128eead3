//! Loads, stores and atomic operations.

use super::{block::Commons, warp::Warp};
use crate::{
    fault::{Problem, Trouble},
    lanes::{Lanes, Mask, WARP, lanes_of},
    memory::Access,
    op::{Address, Atomic, Element, Slot, Space, Update},
    shared::{Accessor, Shared, WINDOW, WINDOW_SIZE},
    statistics::{bank_conflicts, sectors},
};

/// The addresses of the lanes that execute an access.
pub(super) struct Addresses {
    pub space: Space,
    pub of: Lanes,
    pub lanes: Mask,
}

impl Addresses {
    /// The addresses of the lanes taking part, in order.
    fn active(&self) -> ([u64; WARP], usize) {
        let mut active = [0; WARP];
        let mut count = 0;
        for lane in lanes_of(self.lanes) {
            active[count] = self.of[lane];
            count += 1;
        }
        (active, count)
    }
}

impl Warp {
    /// The shared memory of the block, and this warp as it accesses it.
    pub(super) fn shared<'c>(&self, commons: &'c mut Commons) -> (&'c mut Shared, Accessor<'c>) {
        let Commons { shared, clocks, .. } = commons;
        (shared, Accessor { warp: self.number, clock: &clocks[self.number] })
    }

    /// The addresses of an access, with a generic one resolved to its state space.
    pub(super) fn addresses(&self, address: Address, lanes: Mask) -> Result<Addresses, Trouble> {
        let base = self.registers.read(address.base, lanes)?;
        let mut of: Lanes = base.map(|base| base.wrapping_add_signed(address.offset));
        if address.narrow {
            of = of.map(|address| address & 0xffff_ffff);
        }
        let mut space = address.space;
        if space == Space::Generic {
            let shared = |lane: usize| of[lane].wrapping_sub(WINDOW) < WINDOW_SIZE;
            let first = shared(lanes.trailing_zeros() as usize);
            if let Some(lane) = lanes_of(lanes).find(|lane| shared(*lane) != first) {
                return Err(
                    Problem::Misuse("generic addresses of one instruction lie in two state spaces".into()).at(lane)
                );
            }
            space = if first { Space::Shared } else { Space::Global };
            if first {
                of = of.map(|address| address.wrapping_sub(WINDOW));
            }
        }
        Ok(Addresses { space, of, lanes })
    }

    /// Counts what an access costs.
    pub(super) fn count(&self, addresses: &Addresses, bytes: u32, commons: &mut Commons) {
        let (active, count) = addresses.active();
        let cost = &mut commons.counters.costs[self.position()];
        match addresses.space {
            Space::Shared => cost.conflicts += bank_conflicts(&active[..count], bytes),
            Space::Parameter => {}
            _ => cost.sectors += sectors(&active[..count], bytes),
        }
    }

    pub fn load(
        &mut self,
        to: &[Option<Slot>],
        element: Element,
        address: Address,
        volatile: bool,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(address, lanes)?;
        let bytes = element.bytes * to.len() as u32;
        let mut parts = [[0; WARP]; 4];
        let access = if volatile { Access::Strong } else { Access::Read };
        for lane in lanes_of(lanes) {
            let value = self.fetch(&addresses, lane, bytes, access, commons)?;
            for (position, part) in parts[..to.len()].iter_mut().enumerate() {
                part[lane] = extended(value >> (8 * element.bytes * position as u32), element);
            }
        }
        self.count(&addresses, bytes, commons);
        for (slot, part) in to.iter().zip(&parts) {
            if let Some(slot) = slot {
                self.registers.write(*slot, lanes, part);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn fetch(
        &self,
        addresses: &Addresses,
        lane: usize,
        bytes: u32,
        access: Access,
        commons: &mut Commons,
    ) -> Result<u128, Trouble> {
        let address = addresses.of[lane];
        let value = match addresses.space {
            Space::Shared => {
                let (shared, by) = self.shared(commons);
                shared.get(by, address, bytes)
            }
            Space::Parameter => parameter(&commons.launch.parameters, address, bytes),
            _ => commons.global.get(address, bytes, access),
        };
        value.map_err(|problem| problem.at(lane))
    }

    pub fn store(
        &mut self,
        from: &[Slot],
        element: Element,
        address: Address,
        volatile: bool,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(address, lanes)?;
        let bytes = element.bytes * from.len() as u32;
        let ones = u128::MAX >> (128 - 8 * element.bytes);
        let mut values = [0u128; WARP];
        for (position, slot) in from.iter().enumerate() {
            let part = self.registers.read(*slot, lanes)?;
            for lane in lanes_of(lanes) {
                values[lane] |= (u128::from(part[lane]) & ones) << (8 * element.bytes * position as u32);
            }
        }
        check_stores(&addresses, &values, bytes)?;
        for lane in lanes_of(lanes) {
            let address = addresses.of[lane];
            let stored = match addresses.space {
                Space::Shared => {
                    let (shared, by) = self.shared(commons);
                    shared.put(by, address, bytes, values[lane])
                }
                _ => {
                    let access = if volatile { Access::Strong } else { Access::Write };
                    commons.global.put(address, bytes, values[lane], access)
                }
            };
            stored.map_err(|problem| problem.at(lane))?;
        }
        self.count(&addresses, bytes, commons);
        Ok(())
    }

    pub fn atomic(&mut self, atomic: Atomic, lanes: Mask, commons: &mut Commons) -> Result<(), Trouble> {
        let Atomic { update, to, address, bytes, operands } = atomic;
        let addresses = self.addresses(address, lanes)?;
        let (a, b) = (self.registers.read(operands[0], lanes)?, self.registers.read(operands[1], lanes)?);
        let mut old = [0; WARP];
        for lane in lanes_of(lanes) {
            let f = |old| update.apply(bytes, old, a[lane], b[lane]);
            old[lane] = self.update_word(&addresses, lane, bytes, f, commons)?;
        }
        self.count(&addresses, bytes, commons);
        if let Some(to) = to {
            self.registers.write(to, lanes, &old);
        }
        Ok(())
    }

    fn update_word(
        &self,
        addresses: &Addresses,
        lane: usize,
        bytes: u32,
        f: impl Fn(u64) -> u64,
        commons: &mut Commons,
    ) -> Result<u64, Trouble> {
        let address = addresses.of[lane];
        let old = match addresses.space {
            Space::Shared => {
                let (shared, by) = self.shared(commons);
                shared.update(by, address, bytes, f)
            }
            _ => commons.global.update(address, bytes, f),
        };
        old.map_err(|problem| problem.at(lane))
    }

    pub fn atomic_vector(
        &mut self,
        from: &[Slot],
        address: Address,
        lanes: Mask,
        commons: &mut Commons,
    ) -> Result<(), Trouble> {
        let addresses = self.addresses(address, lanes)?;
        let bytes = 4 * from.len() as u32;
        for lane in lanes_of(lanes) {
            let address = addresses.of[lane];
            if !address.is_multiple_of(u64::from(bytes)) {
                return Err(Problem::Misaligned { address, bytes }.at(lane));
            }
        }
        for (position, slot) in from.iter().enumerate() {
            let values = self.registers.read(*slot, lanes)?;
            let of = addresses.of.map(|address| address + 4 * position as u64);
            let part = Addresses { of, ..addresses };
            for lane in lanes_of(lanes) {
                let f = |old| Update::AddF32.apply(4, old, values[lane], 0);
                self.update_word(&part, lane, 4, f, commons)?;
            }
        }
        self.count(&addresses, bytes, commons);
        Ok(())
    }
}

/// An element of memory as the register that it is loaded to.
fn extended(value: u128, element: Element) -> u64 {
    let unused = 64 - 8 * element.bytes;
    let moved = (value as u64) << unused;
    match element.sign_extended {
        Some(width) => (moved as i64 >> unused) as u64 & (u64::MAX >> (64 - width)),
        None => moved >> unused,
    }
}

fn parameter(parameters: &[u8], address: u64, bytes: u32) -> Result<u128, Problem> {
    if !address.is_multiple_of(u64::from(bytes)) {
        return Err(Problem::Misaligned { address, bytes });
    }
    let range = address as usize..(address as usize).saturating_add(bytes as usize);
    let Some(found) = parameters.get(range) else {
        let nearest = format!("there are {} bytes of parameters", parameters.len());
        return Err(Problem::OutOfBounds { address, bytes, space: "parameter", nearest });
    };
    let mut value = [0; 16];
    value[..found.len()].copy_from_slice(found);
    Ok(u128::from_le_bytes(value))
}

/// Fails if two lanes store different values to the same bytes.
fn check_stores(addresses: &Addresses, values: &[u128; WARP], bytes: u32) -> Result<(), Trouble> {
    let (active, count) = addresses.active();
    let apart = u64::from(bytes);
    if active[..count].windows(2).all(|pair| pair[1] >= pair[0].saturating_add(apart)) {
        return Ok(());
    }
    // Accesses of one instruction have one size and are aligned to it: they overlap only if they are equal.
    let mut lanes: Vec<usize> = lanes_of(addresses.lanes).collect();
    lanes.sort_by_key(|lane| addresses.of[*lane]);
    for pair in lanes.windows(2) {
        let address = addresses.of[pair[0]];
        if address == addresses.of[pair[1]] && values[pair[0]] != values[pair[1]] {
            return Err(Problem::ConflictingStores { address, other: pair[0] }.at(pair[1]));
        }
    }
    Ok(())
}
