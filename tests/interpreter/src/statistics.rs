//! What a launch cost, in numbers that do not depend on a clock.

use std::collections::BTreeMap;

/// The cost of one kind of instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// How often a warp issued it.
    pub issued: u64,
    /// Passes over shared memory beyond those that its size asks for: conflicts of banks.
    pub conflicts: u64,
    /// Sectors of 32 bytes of global memory that it touched.
    pub sectors: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.issued += other.issued;
        self.conflicts += other.conflicts;
        self.sectors += other.sectors;
    }
}

/// What a launch cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// The cost of every opcode, as it is written with its modifiers.
    pub opcodes: BTreeMap<String, Cost>,
    /// Instructions times the lanes in which they were executed.
    pub lane_instructions: u64,
}

impl Statistics {
    /// The cost of all opcodes that begin so: `mma` or `ld.shared`.
    pub fn of(&self, prefix: &str) -> Cost {
        let mut sum = Cost::default();
        for (_, cost) in self.opcodes.iter().filter(|(opcode, _)| begins(opcode, prefix)) {
            sum += *cost;
        }
        sum
    }

    /// The cost of everything.
    pub fn total(&self) -> Cost {
        let mut sum = Cost::default();
        for cost in self.opcodes.values() {
            sum += *cost;
        }
        sum
    }
}

/// Whether `prefix` is the first parts of `opcode`.
fn begins(opcode: &str, prefix: &str) -> bool {
    opcode.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || prefix.is_empty())
}

/// Passes over the 32 banks of shared memory that an access of these lanes takes beyond the least number.
///
/// Four bytes a lane are one pass, eight bytes two of half a warp each, sixteen bytes four. Lanes that read
/// the same word share it.
pub(crate) fn bank_conflicts(addresses: &[u64], bytes: u32) -> u64 {
    let group = match bytes {
        8 => 16,
        16 => 8,
        _ => 32,
    };
    addresses.chunks(group).map(|addresses| passes(addresses, bytes).saturating_sub(1)).sum()
}

fn passes(addresses: &[u64], bytes: u32) -> u64 {
    let regular = addresses.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == u64::from(bytes));
    if regular && bytes >= 4 {
        return 1;
    }
    let mut words: Vec<u64> = Vec::with_capacity(32);
    for address in addresses {
        words.extend((0..u64::from(bytes.div_ceil(4))).map(|part| address / 4 + part));
    }
    words.sort_unstable();
    words.dedup();
    let mut banks = [0; 32];
    for word in words {
        banks[(word % 32) as usize] += 1;
    }
    banks.into_iter().max().unwrap_or(0)
}

/// Sectors of 32 bytes that an access of these lanes touches.
pub(crate) fn sectors(addresses: &[u64], bytes: u32) -> u64 {
    // An access is aligned and at most 16 bytes, so it lies within one sector.
    debug_assert!(bytes <= 32);
    let count = |addresses: &[u64]| addresses.chunk_by(|a, b| a / 32 == b / 32).count() as u64;
    if addresses.is_sorted() {
        return count(addresses);
    }
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    count(&sorted)
}
