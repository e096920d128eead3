//! Device memory: what is allocated, what has a value, and who touched it.
//!
//! Words are atomic, so that blocks run in parallel as they do on a device. Each word has a shadow: which
//! of its bytes have a value, and which blocks of the present launch accessed it, and how. From that follows
//! what is a race between blocks. Accesses to parts of a word leave no trace there, since neighbouring
//! bytes may belong to different blocks.

use crate::fault::Problem;
use std::{
    cell::Cell,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// Allocations begin at multiples of this many bytes.
const ALIGNMENT: u64 = 256;
/// Unallocated bytes behind each allocation: an access that runs past its end hits nothing.
const GAP: u64 = 4096;
/// The first address that is given out.
const FIRST: u64 = 0x7000_0000_0000;

/// The global memory of a device. It can be shared between threads; all methods take `&self`.
///
/// ```
/// use visage_interpreter::Memory;
///
/// let memory = Memory::new();
/// let address = memory.alloc(8);
/// memory.write(address, &[1, 2, 3, 4]).unwrap();
/// assert_eq!(memory.read(address, 4).unwrap(), [1, 2, 3, 4]);
/// assert!(memory.read(address, 5).is_err(), "the fifth byte was never written");
/// ```
#[derive(Default)]
pub struct Memory {
    /// By address.
    allocations: RwLock<Vec<Arc<Allocation>>>,
    launches: AtomicU64,
    /// Held by atomic operations on 64 bits, which are two words.
    wide: Mutex<()>,
    /// The addresses of the variables of each module that was launched here.
    modules: Mutex<HashMap<u64, Vec<u64>>>,
}

/// A stretch of memory.
struct Allocation {
    start: u64,
    bytes: u64,
    words: Box<[AtomicU32]>,
    shadow: Box<[AtomicU64]>,
}

/// How a block accesses a word.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Access {
    Read,
    Write,
    Atomic,
    /// Volatile or ordered: the kernel takes care of the order itself.
    Strong,
}

impl Memory {
    /// Memory without allocations.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Allocates `bytes` bytes without a value, and returns their address.
    pub fn alloc(&self, bytes: usize) -> u64 {
        let mut allocations = self.allocations.write().unwrap_or_else(PoisonError::into_inner);
        let end = allocations.last().map_or(FIRST, |last| last.start + last.bytes + GAP);
        let start = end.next_multiple_of(ALIGNMENT);
        let words = bytes.div_ceil(4);
        allocations.push(Arc::new(Allocation {
            start,
            bytes: bytes as u64,
            words: (0..words).map(|_| AtomicU32::new(0)).collect(),
            shadow: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }));
        start
    }

    /// Frees an allocation by its address.
    ///
    /// # Errors
    /// If no allocation begins there.
    pub fn free(&self, address: u64) -> Result<(), Problem> {
        let mut allocations = self.allocations.write().unwrap_or_else(PoisonError::into_inner);
        match allocations.iter().position(|allocation| allocation.start == address) {
            Some(position) => {
                allocations.remove(position);
                Ok(())
            }
            None => Err(outside(&allocations, address, 0)),
        }
    }

    /// Writes bytes from outside of any kernel.
    ///
    /// # Errors
    /// If they do not lie within one allocation.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Problem> {
        let view = self.view(0, 0);
        view.check(address, bytes.len() as u64)?;
        for range in aligned(address, bytes.len()) {
            let mut part = [0; 16];
            part[..range.len()].copy_from_slice(&bytes[range.clone()]);
            view.put(address + range.start as u64, range.len() as u32, u128::from_le_bytes(part), Access::Strong)?;
        }
        Ok(())
    }

    /// Reads bytes from outside of any kernel.
    ///
    /// # Errors
    /// If they do not lie within one allocation, or one of them has no value.
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Problem> {
        let view = self.view(0, 0);
        view.check(address, length as u64)?;
        let mut bytes = Vec::with_capacity(length);
        for range in aligned(address, length) {
            let part = view.get(address + range.start as u64, range.len() as u32, Access::Strong)?;
            bytes.extend_from_slice(&part.to_le_bytes()[..range.len()]);
        }
        Ok(bytes)
    }

    /// The number of the next launch.
    pub(crate) fn begin_launch(&self) -> u64 {
        1 + self.launches.fetch_add(1, Ordering::Relaxed)
    }

    /// The memory as a block sees it.
    pub(crate) fn view(&self, launch: u64, block: u64) -> View<'_> {
        let allocations = self.allocations.read().unwrap_or_else(PoisonError::into_inner).clone();
        View { allocations, last: Cell::new(0), launch, block, wide: &self.wide }
    }

    /// The addresses of the variables of a module, which `make` allocates the first time.
    pub(crate) fn variables(&self, module: u64, make: impl FnOnce() -> Vec<u64>) -> Vec<u64> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        modules.entry(module).or_insert_with(make).clone()
    }
}

/// The parts of a stretch of memory, in order: 16 bytes each where they are aligned, single bytes at both ends.
fn aligned(address: u64, length: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == length {
            return None;
        }
        let whole = (address + start as u64).is_multiple_of(16) && length - start >= 16;
        let range = start..start + if whole { 16 } else { 1 };
        start = range.end;
        Some(range)
    })
}

#[cold]
fn outside(allocations: &[Arc<Allocation>], address: u64, bytes: u32) -> Problem {
    let below = allocations.iter().rev().find(|allocation| allocation.start <= address);
    let nearest = match below {
        Some(allocation) => {
            let past = (address + u64::from(bytes)).saturating_sub(allocation.start + allocation.bytes);
            format!("{past} bytes past the end of the {} bytes at {:#x}", allocation.bytes, allocation.start)
        }
        None => match allocations.first() {
            Some(first) => format!("{} bytes before the first allocation", first.start - address),
            None => "nothing is allocated".into(),
        },
    };
    Problem::OutOfBounds { address, bytes, space: "global", nearest }
}

/// The memory as a block sees it: the allocations at the time of the launch.
pub(crate) struct View<'m> {
    allocations: Vec<Arc<Allocation>>,
    /// The allocation of the last access, where the next one probably is.
    last: Cell<usize>,
    launch: u64,
    block: u64,
    wide: &'m Mutex<()>,
}

impl View<'_> {
    #[inline(always)]
    fn find(&self, address: u64, bytes: u64) -> Option<&Allocation> {
        let holds = |allocation: &Allocation| {
            address >= allocation.start
                && address - allocation.start <= allocation.bytes.wrapping_sub(bytes)
                && bytes <= allocation.bytes
        };
        if let Some(allocation) = self.allocations.get(self.last.get())
            && holds(allocation)
        {
            return Some(allocation);
        }
        let position = self.allocations.partition_point(|allocation| allocation.start <= address).checked_sub(1)?;
        self.last.set(position);
        self.allocations.get(position).map(|allocation| &**allocation).filter(|allocation| holds(allocation))
    }

    fn check(&self, address: u64, bytes: u64) -> Result<(), Problem> {
        match self.find(address, bytes) {
            Some(_) => Ok(()),
            None => Err(outside(&self.allocations, address, bytes as u32)),
        }
    }

    fn place(&self, address: u64, bytes: u32) -> Result<(&Allocation, usize), Problem> {
        // Sizes are powers of two.
        if address & u64::from(bytes - 1) != 0 {
            return Err(Problem::Misaligned { address, bytes });
        }
        match self.find(address, u64::from(bytes)) {
            Some(allocation) => Ok((allocation, (address - allocation.start) as usize)),
            None => Err(outside(&self.allocations, address, bytes)),
        }
    }

    /// Reads up to 16 bytes.
    #[inline]
    pub fn get(&self, address: u64, bytes: u32, access: Access) -> Result<u128, Problem> {
        let (allocation, offset) = self.place(address, bytes)?;
        let mut value = 0;
        for position in 0..bytes.div_ceil(4) {
            let index = offset / 4 + position as usize;
            let part = part(offset, bytes);
            let shadow = Shadow(allocation.shadow[index].load(Ordering::Relaxed));
            if !shadow.is_written(part) {
                let byte = address + u64::from(4 * position) + shadow.first_unwritten(part) - (offset as u64 & 3);
                return Err(Problem::Uninitialised { address, bytes, byte });
            }
            if bytes >= 4 && access != Access::Strong {
                self.record(allocation, index, shadow, access)?;
            }
            let word = allocation.words[index].load(Ordering::Relaxed);
            value |= u128::from(word) << (32 * position);
        }
        if bytes < 4 {
            value = value >> (8 * (offset & 3)) & ((1 << (8 * bytes)) - 1);
        }
        Ok(value)
    }

    /// Writes up to 16 bytes.
    pub fn put(&self, address: u64, bytes: u32, value: u128, access: Access) -> Result<(), Problem> {
        let (allocation, offset) = self.place(address, bytes)?;
        for position in 0..bytes.div_ceil(4) {
            let index = offset / 4 + position as usize;
            let word = (value >> (32 * position)) as u32;
            if bytes < 4 {
                let (shift, ones) = (8 * (offset & 3), (1u32 << (8 * bytes)) - 1);
                let merge = |old: u32| Some((old & !(ones << shift)) | (word & ones) << shift);
                let _ = allocation.words[index].fetch_update(Ordering::Relaxed, Ordering::Relaxed, merge);
            } else {
                if access != Access::Strong {
                    let shadow = Shadow(allocation.shadow[index].load(Ordering::Relaxed));
                    self.record(allocation, index, shadow, access)?;
                }
                allocation.words[index].store(word, Ordering::Relaxed);
            }
            let written = u64::from(part(offset, bytes));
            if allocation.shadow[index].load(Ordering::Relaxed) & written != written {
                allocation.shadow[index].fetch_or(written, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Replaces 4 or 8 bytes at once by a function of them, and returns what they were.
    pub fn update(&self, address: u64, bytes: u32, f: impl Fn(u64) -> u64) -> Result<u64, Problem> {
        // It checks, and leaves the trace of an atomic access.
        self.get(address, bytes, Access::Atomic)?;
        let (allocation, offset) = self.place(address, bytes)?;
        let index = offset / 4;
        if bytes == 4 {
            let change = |old: u32| Some(f(u64::from(old)) as u32);
            let old = allocation.words[index].fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
            return Ok(u64::from(old.unwrap_or_else(|old| old)));
        }
        let _alone = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        let (low, high) = (&allocation.words[index], &allocation.words[index + 1]);
        let old = u64::from(high.load(Ordering::Relaxed)) << 32 | u64::from(low.load(Ordering::Relaxed));
        let new = f(old);
        low.store(new as u32, Ordering::Relaxed);
        high.store((new >> 32) as u32, Ordering::Relaxed);
        Ok(old)
    }

    /// Leaves the trace of an access, unless it makes a race.
    #[inline(always)]
    fn record(&self, allocation: &Allocation, index: usize, seen: Shadow, access: Access) -> Result<(), Problem> {
        // What most accesses find: the word was read by many, or touched by this block before.
        let (state, block) = seen.state(self.launch);
        let own = block == self.block & Shadow::BLOCKS;
        if state.after(access, own) == Some(state) && (own || state == State::ReadByMany) {
            return Ok(());
        }
        self.record_change(allocation, index, seen, access)
    }

    fn record_change(
        &self,
        allocation: &Allocation,
        index: usize,
        seen: Shadow,
        access: Access,
    ) -> Result<(), Problem> {
        let mut shadow = seen;
        loop {
            let (state, block) = shadow.state(self.launch);
            let own = block == self.block & Shadow::BLOCKS;
            let Some(next) = state.after(access, own) else {
                let address = allocation.start + 4 * index as u64;
                return Err(self.race(address, access, state, block));
            };
            let owner = if next.keeps_owner(state) { block } else { self.block };
            let new = shadow.with(self.launch, next, owner);
            if new == shadow {
                return Ok(());
            }
            let exchanged =
                allocation.shadow[index].compare_exchange(shadow.0, new.0, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return Ok(()),
                Err(found) => shadow = Shadow(found),
            }
        }
    }

    #[cold]
    fn race(&self, address: u64, access: Access, state: State, block: u64) -> Problem {
        let access = match access {
            Access::Read => "reads",
            Access::Atomic => "updates",
            _ => "writes",
        };
        let (earlier, several) = match state {
            State::ReadByMany => ("read", true),
            State::Written => ("wrote", false),
            State::Atomic => ("updated", false),
            State::AtomicByMany => ("updated", true),
            _ => ("read", false),
        };
        let other = if several { "several blocks".into() } else { format!("block {block}") };
        Problem::GlobalRace { address, access, other, earlier }
    }
}

/// The bits of a shadow that stand for the bytes of a word which an access touches.
fn part(offset: usize, bytes: u32) -> u8 {
    if bytes >= 4 { 0xf } else { (((1u32 << bytes) - 1) << (offset & 3)) as u8 }
}

/// What is known of a word: four bits for bytes with a value, three for its state in a launch, 24 for a
/// block, the rest for the launch.
#[derive(Clone, Copy, PartialEq)]
struct Shadow(u64);

impl Shadow {
    const BLOCKS: u64 = (1 << 24) - 1;

    fn is_written(self, part: u8) -> bool {
        self.0 as u8 & part == part
    }

    fn first_unwritten(self, part: u8) -> u64 {
        u64::from((!self.0 as u8 & part).trailing_zeros())
    }

    fn state(self, launch: u64) -> (State, u64) {
        if self.0 >> 31 == launch {
            (State::of(self.0 >> 4 & 7), self.0 >> 7 & Shadow::BLOCKS)
        } else {
            (State::None, 0)
        }
    }

    fn with(self, launch: u64, state: State, block: u64) -> Shadow {
        Shadow((self.0 & 0xf) | (state as u64) << 4 | (block & Shadow::BLOCKS) << 7 | launch << 31)
    }
}

/// What the blocks of a launch did to a word.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    None,
    Read,
    ReadByMany,
    Written,
    Atomic,
    AtomicByMany,
}

impl State {
    fn of(bits: u64) -> State {
        match bits {
            1 => State::Read,
            2 => State::ReadByMany,
            3 => State::Written,
            4 => State::Atomic,
            5 => State::AtomicByMany,
            _ => State::None,
        }
    }

    /// The state after one more access, by the same block or another; nothing if that is a race.
    fn after(self, access: Access, own: bool) -> Option<State> {
        let first = match access {
            Access::Read => State::Read,
            Access::Write => State::Written,
            _ => State::Atomic,
        };
        match (self, access, own) {
            (State::None, _, _) => Some(first),
            (State::Read, Access::Read, false) => Some(State::ReadByMany),
            (State::Read, _, true) => Some(first),
            (State::ReadByMany, Access::Read, _) => Some(State::ReadByMany),
            (State::Written, _, true) => Some(State::Written),
            (State::Atomic, Access::Atomic, false) => Some(State::AtomicByMany),
            (State::Atomic, Access::Atomic, true) => Some(State::Atomic),
            // An own plain access to what it updated: from now on no other block may update it.
            (State::Atomic, _, true) => Some(State::Written),
            (State::AtomicByMany, Access::Atomic, _) => Some(State::AtomicByMany),
            _ => None,
        }
    }

    /// Whether the block of the state before goes on standing for the word.
    fn keeps_owner(self, before: State) -> bool {
        self == before && before != State::None
    }
}
