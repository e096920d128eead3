//! The shared memory of a block: what lies where, what has a value, and who may touch it.
//!
//! Whether two accesses race is decided exactly, by vector clocks. Each warp counts the times that it has
//! told others of its past, by arriving at a barrier, and knows up to which count of every other warp it has
//! been told. An access is ordered before another one if the later warp was told of the earlier warp's count
//! at that time (Flanagan and Freund, "FastTrack", 2009).

use crate::fault::Problem;
use std::ops::Range;

/// Where shared memory begins among generic addresses.
pub(crate) const WINDOW: u64 = 0x1_0000_0000_0000;
/// The size of that window.
pub(crate) const WINDOW_SIZE: u64 = 1 << 24;

/// What a byte is.
#[derive(Clone, Copy, PartialEq)]
enum ByteState {
    /// It belongs to no variable.
    Outside,
    Uninitialised,
    /// An asynchronous copy will write it.
    Pending,
    Written,
}

/// Variables in shared memory: where each begins, and its size.
pub(crate) type Extents = [(u64, u64)];

/// What a warp knows of the others: one count for each warp.
pub(crate) type Clock = Vec<u32>;

/// Who accesses shared memory: a warp, and what it knows.
#[derive(Clone, Copy)]
pub(crate) struct Accessor<'a> {
    pub warp: usize,
    pub clock: &'a [u32],
}

/// The last accesses to a granule of memory. Counts begin at 1, so 0 means never.
#[derive(Clone, Copy, Default)]
struct Trace {
    writer: u32,
    write_time: u32,
    /// The warps that have read it since.
    readers: u32,
    /// The warps that have updated it atomically since.
    updaters: u32,
}

/// The shared memory of a block.
pub(crate) struct Shared {
    bytes: Vec<u8>,
    states: Vec<ByteState>,
    traces: Vec<Trace>,
    /// When each warp last read each granule.
    read_times: Vec<u32>,
    /// When each warp last updated each granule; empty before the first update.
    update_times: Vec<u32>,
    warps: usize,
    /// The logarithm of the bytes in a granule, which are as many as the smallest access of the kernel has.
    granule_shift: u32,
}

impl Shared {
    pub fn new(extents: &Extents, warps: usize, granule: u64) -> Shared {
        let size = extents.iter().map(|(start, size)| start + size).max().unwrap_or(0) as usize;
        let mut states = vec![ByteState::Outside; size];
        for (start, size) in extents {
            states[*start as usize..(start + size) as usize].fill(ByteState::Uninitialised);
        }
        let granules = size.div_ceil(granule as usize);
        Shared {
            bytes: vec![0; size],
            states,
            traces: vec![Trace::default(); granules],
            read_times: vec![0; granules * warps],
            update_times: Vec::new(),
            warps,
            granule_shift: granule.trailing_zeros(),
        }
    }

    /// The place of an access that is aligned and inside of variables.
    #[inline(always)]
    fn place(&self, address: u64, bytes: u32) -> Result<Range<usize>, Problem> {
        // Sizes are powers of two.
        if address & u64::from(bytes - 1) != 0 {
            return Err(Problem::Misaligned { address, bytes });
        }
        let range = address as usize..(address as usize).saturating_add(bytes as usize);
        match self.states.get(range.clone()) {
            Some(states) if states.iter().all(|state| *state != ByteState::Outside) => Ok(range),
            _ => {
                let nearest = "no variable lies there".into();
                Err(Problem::OutOfBounds { address, bytes, space: "shared", nearest })
            }
        }
    }

    #[inline(always)]
    fn granules(&self, range: &Range<usize>) -> Range<usize> {
        // An access is a whole number of granules.
        range.start >> self.granule_shift..range.end >> self.granule_shift
    }

    /// Reads up to 16 bytes.
    pub fn get(&mut self, by: Accessor, address: u64, bytes: u32) -> Result<u128, Problem> {
        // With sizes that are known here, a few instructions do what otherwise takes loops.
        match bytes {
            4 => self.get_sized::<4>(by, address),
            8 => self.get_sized::<8>(by, address),
            16 => self.get_sized::<16>(by, address),
            2 => self.get_sized::<2>(by, address),
            _ => self.get_sized::<1>(by, address),
        }
    }

    #[inline(always)]
    fn get_sized<const N: usize>(&mut self, by: Accessor, address: u64) -> Result<u128, Problem> {
        let range = self.place(address, N as u32)?;
        self.demand_values(&range, address, N as u32)?;
        for granule in self.granules(&range) {
            self.check_writer(by, granule, "reads")?;
            self.check_updaters(by, granule, "reads")?;
            self.traces[granule].readers |= 1 << by.warp;
            self.read_times[granule * self.warps + by.warp] = by.clock[by.warp];
        }
        Ok(self.raw::<N>(range))
    }

    #[inline(always)]
    fn raw<const N: usize>(&self, range: Range<usize>) -> u128 {
        let mut value = [0; 16];
        value[..N].copy_from_slice(&self.bytes[range.start..range.start + N]);
        u128::from_le_bytes(value)
    }

    #[inline(always)]
    fn demand_values(&self, range: &Range<usize>, address: u64, bytes: u32) -> Result<(), Problem> {
        let states = &self.states[range.clone()];
        if states.iter().all(|state| *state == ByteState::Written) {
            return Ok(());
        }
        if states.contains(&ByteState::Pending) {
            return Err(Problem::Pending { address, bytes });
        }
        let first = states.iter().take_while(|state| **state == ByteState::Written).count();
        Err(Problem::Uninitialised { address, bytes, byte: address + first as u64 })
    }

    #[inline(always)]
    fn check_not_pending(&self, range: &Range<usize>, address: u64, bytes: u32) -> Result<(), Problem> {
        if self.states[range.clone()].contains(&ByteState::Pending) {
            return Err(Problem::Pending { address, bytes });
        }
        Ok(())
    }

    /// Writes up to 16 bytes.
    pub fn put(&mut self, by: Accessor, address: u64, bytes: u32, value: u128) -> Result<(), Problem> {
        match bytes {
            4 => self.put_sized::<4>(by, address, value),
            8 => self.put_sized::<8>(by, address, value),
            16 => self.put_sized::<16>(by, address, value),
            2 => self.put_sized::<2>(by, address, value),
            _ => self.put_sized::<1>(by, address, value),
        }
    }

    #[inline(always)]
    fn put_sized<const N: usize>(&mut self, by: Accessor, address: u64, value: u128) -> Result<(), Problem> {
        let range = self.place(address, N as u32)?;
        self.check_not_pending(&range, address, N as u32)?;
        self.record_write(by, &range)?;
        self.bytes[range.start..range.start + N].copy_from_slice(&value.to_le_bytes()[..N]);
        self.states[range.start..range.start + N].copy_from_slice(&[ByteState::Written; N]);
        Ok(())
    }

    #[inline(always)]
    fn record_write(&mut self, by: Accessor, range: &Range<usize>) -> Result<(), Problem> {
        for granule in self.granules(range) {
            self.check_writer(by, granule, "writes")?;
            self.check_readers(by, granule, "writes")?;
            self.check_updaters(by, granule, "writes")?;
            self.traces[granule] =
                Trace { writer: by.warp as u32, write_time: by.clock[by.warp], readers: 0, updaters: 0 };
        }
        Ok(())
    }

    /// Marks up to 16 bytes as the destination of an asynchronous copy.
    pub fn begin_copy(&mut self, by: Accessor, address: u64, bytes: u32) -> Result<(), Problem> {
        let range = self.place(address, bytes)?;
        self.check_not_pending(&range, address, bytes)?;
        self.record_write(by, &range)?;
        self.states[range].fill(ByteState::Pending);
        Ok(())
    }

    /// Writes what an asynchronous copy brought, now that its warp has waited for it.
    pub fn end_copy(&mut self, by: Accessor, address: u64, bytes: u32, value: u128) -> Result<(), Problem> {
        let range = self.place(address, bytes)?;
        self.record_write(by, &range)?;
        self.bytes[range.clone()].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        self.states[range].fill(ByteState::Written);
        Ok(())
    }

    /// Replaces 4 or 8 bytes by a function of them, and returns what they were.
    pub fn update(&mut self, by: Accessor, address: u64, bytes: u32, f: impl Fn(u64) -> u64) -> Result<u64, Problem> {
        let range = self.place(address, bytes)?;
        self.demand_values(&range, address, bytes)?;
        if self.update_times.is_empty() {
            self.update_times = vec![0; self.read_times.len()];
        }
        for granule in self.granules(&range) {
            self.check_writer(by, granule, "updates")?;
            self.check_readers(by, granule, "updates")?;
            self.traces[granule].updaters |= 1 << by.warp;
            self.update_times[granule * self.warps + by.warp] = by.clock[by.warp];
        }
        let old = match bytes {
            4 => self.raw::<4>(range.clone()),
            _ => self.raw::<8>(range.clone()),
        } as u64;
        self.bytes[range].copy_from_slice(&f(old).to_le_bytes()[..bytes as usize]);
        Ok(old)
    }

    #[inline(always)]
    fn check_writer(&self, by: Accessor, granule: usize, access: &'static str) -> Result<(), Problem> {
        let trace = self.traces[granule];
        let writer = trace.writer as usize;
        if writer != by.warp && by.clock[writer] < trace.write_time {
            return Err(self.race(granule, access, writer, "wrote"));
        }
        Ok(())
    }

    #[inline(always)]
    fn check_readers(&self, by: Accessor, granule: usize, access: &'static str) -> Result<(), Problem> {
        let others = self.traces[granule].readers & !(1 << by.warp);
        match self.unordered(by, granule, others, &self.read_times) {
            Some(other) => Err(self.race(granule, access, other, "read")),
            None => Ok(()),
        }
    }

    #[inline(always)]
    fn check_updaters(&self, by: Accessor, granule: usize, access: &'static str) -> Result<(), Problem> {
        let others = self.traces[granule].updaters & !(1 << by.warp);
        match self.unordered(by, granule, others, &self.update_times) {
            Some(other) => Err(self.race(granule, access, other, "updated")),
            None => Ok(()),
        }
    }

    /// A warp of `others` whose access the accessor was not told of.
    #[inline(always)]
    fn unordered(&self, by: Accessor, granule: usize, others: u32, times: &[u32]) -> Option<usize> {
        crate::lanes::lanes_of(others).find(|other| by.clock[*other] < times[granule * self.warps + other])
    }

    #[cold]
    fn race(&self, granule: usize, access: &'static str, other: usize, earlier: &'static str) -> Problem {
        Problem::SharedRace { address: (granule as u64) << self.granule_shift, access, other, earlier }
    }
}
