//! Asynchronous copies: under way until a warp waits for them.

use super::{block::Commons, memory::Addresses, warp::Warp};
use crate::{
    fault::{Problem, Trouble},
    lanes::{Mask, WARP, lanes_of},
    memory::Access,
    op::{AsyncCopy, Space},
};
use std::collections::VecDeque;

/// What a copy will write.
struct Arriving {
    lane: usize,
    address: u64,
    bytes: u32,
    value: u128,
}

/// The copies of a warp that it has not waited for, oldest group first.
#[derive(Default)]
pub(super) struct Copies {
    open: Vec<Arriving>,
    groups: VecDeque<Vec<Arriving>>,
}

impl Warp {
    pub fn copy_async(&mut self, copy: AsyncCopy, lanes: Mask, commons: &mut Commons) -> Result<(), Trouble> {
        let to = self.addresses(copy.to, lanes)?;
        let from = self.addresses(copy.from, lanes)?;
        let read = match copy.read {
            Some(read) => *self.registers.read(read, lanes)?,
            None => [copy.bytes.into(); WARP],
        };
        for lane in lanes_of(lanes) {
            if read[lane] > copy.bytes.into() {
                return Err(Problem::Misuse(format!("reads {} of {} bytes", read[lane], copy.bytes)).at(lane));
            }
            let value =
                source(&from, lane, copy.bytes, read[lane] as u32, commons).map_err(|problem| problem.at(lane))?;
            let (shared, by) = self.shared(commons);
            let address = to.of[lane];
            shared.begin_copy(by, address, copy.bytes).map_err(|problem| problem.at(lane))?;
            self.copies.open.push(Arriving { lane, address, bytes: copy.bytes, value });
        }
        self.count(&to, copy.bytes, commons);
        let reading = lanes_of(lanes).filter(|lane| read[*lane] > 0).fold(0, |mask: Mask, lane| mask | 1 << lane);
        self.count(&Addresses { lanes: reading, ..from }, copy.bytes, commons);
        Ok(())
    }

    pub fn commit_copies(&mut self, lanes: Mask) -> Result<(), Trouble> {
        self.check_together(lanes)?;
        let group = std::mem::take(&mut self.copies.open);
        self.copies.groups.push_back(group);
        Ok(())
    }

    pub fn wait_copies(&mut self, groups: Option<u32>, lanes: Mask, commons: &mut Commons) -> Result<(), Trouble> {
        self.check_together(lanes)?;
        if groups.is_none() {
            self.commit_copies(lanes)?;
        }
        while self.copies.groups.len() > groups.unwrap_or(0) as usize {
            for arriving in self.copies.groups.pop_front().into_iter().flatten() {
                let (shared, by) = self.shared(commons);
                shared
                    .end_copy(by, arriving.address, arriving.bytes, arriving.value)
                    .map_err(|problem| problem.at(arriving.lane))?;
            }
        }
        Ok(())
    }
}

/// The bytes that a lane copies: `read` of them from memory, and zeros. Memory is read when the copy
/// begins; a kernel that changes it meanwhile has a race that is found where it writes.
fn source(from: &Addresses, lane: usize, bytes: u32, read: u32, commons: &Commons) -> Result<u128, Problem> {
    let address = from.of[lane];
    if !address.is_multiple_of(bytes.into()) {
        return Err(Problem::Misaligned { address, bytes });
    }
    if from.space != Space::Global {
        return Err(Problem::Misuse("asynchronous copies read global memory".into()));
    }
    if read == bytes {
        return commons.global.get(address, bytes, Access::Read);
    }
    let mut value = 0;
    for position in 0..read {
        let byte = commons.global.get(address + u64::from(position), 1, Access::Read)?;
        value |= byte << (8 * position);
    }
    Ok(value)
}
