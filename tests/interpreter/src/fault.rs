//! What can go wrong while a kernel runs.

use thiserror::Error;

/// What a kernel did that it must not do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A register was read that this lane has not written.
    #[error("reads `{register}`, which was never written")]
    UnwrittenRegister {
        /// Its name.
        register: String,
    },
    /// A byte was read that nobody has written.
    #[error("reads {bytes} bytes at {address:#x}, of which the byte at {byte:#x} was never written")]
    Uninitialised {
        /// Where the access begins.
        address: u64,
        /// Its size.
        bytes: u32,
        /// The first byte without a value.
        byte: u64,
    },
    /// A byte was touched that an asynchronous copy, which nobody has waited for, will write.
    #[error("touches {bytes} bytes at {address:#x} while an asynchronous copy writes them: it was not waited for")]
    Pending {
        /// Where the access begins.
        address: u64,
        /// Its size.
        bytes: u32,
    },
    /// An address that is no multiple of the size of the access.
    #[error("accesses {bytes} bytes at {address:#x}, which is no multiple of {bytes}")]
    Misaligned {
        /// The address.
        address: u64,
        /// The size of the access.
        bytes: u32,
    },
    /// An access beyond what was allocated.
    #[error("accesses {bytes} bytes at {address:#x} in {space} memory: {nearest}")]
    OutOfBounds {
        /// The address.
        address: u64,
        /// The size of the access.
        bytes: u32,
        /// The state space.
        space: &'static str,
        /// How the address lies to the nearest allocation.
        nearest: String,
    },
    /// Accesses of two warps to a word of shared memory that no barrier orders.
    #[error("{access} shared memory at {address:#x}, which warp {other} {earlier} with no barrier between")]
    SharedRace {
        /// The address of the word.
        address: u64,
        /// What this warp does.
        access: &'static str,
        /// The other warp.
        other: usize,
        /// What it did.
        earlier: &'static str,
    },
    /// Accesses of two blocks to a word of global memory in one launch.
    #[error("{access} global memory at {address:#x}, which {other} {earlier} in the same launch")]
    GlobalRace {
        /// The address of the word.
        address: u64,
        /// What this block does.
        access: &'static str,
        /// The other block, or several.
        other: String,
        /// What it did.
        earlier: &'static str,
    },
    /// Two lanes store different values to one place with one instruction.
    #[error("lane {other} stores another value to {address:#x} with the same instruction")]
    ConflictingStores {
        /// The place.
        address: u64,
        /// The other lane.
        other: usize,
    },
    /// An integer division by zero, whose result PTX leaves open.
    #[error("divides by zero")]
    DivisionByZero,
    /// Lanes that must act together are elsewhere.
    #[error("{wanted} must execute it together, but only {found} do")]
    Divergent {
        /// The lanes that must be here.
        wanted: String,
        /// The lanes that are.
        found: String,
    },
    /// Operands of a collective instruction that must be the same in all lanes differ.
    #[error("lanes disagree about {what}")]
    Disagreement {
        /// What they disagree about.
        what: &'static str,
    },
    /// A shuffle reads a lane that does not take part.
    #[error("reads lane {lane}, which does not take part")]
    AbsentLane {
        /// The lane.
        lane: u32,
    },
    /// A barrier used in a way that cannot end well.
    #[error("barrier {id}: {problem}")]
    Barrier {
        /// Its number.
        id: u64,
        /// What is wrong.
        problem: String,
    },
    /// No warp of the block can go on.
    #[error("no warp can go on: {state}")]
    Deadlock {
        /// Where each warp is.
        state: String,
    },
    /// `trap`.
    #[error("traps")]
    Trap,
    /// Execution went past the last instruction.
    #[error("runs past the end of the entry")]
    End,
    /// A kernel that does not seem to end.
    #[error("a warp issued {issued} instructions: the kernel does not seem to end")]
    Endless {
        /// How many instructions.
        issued: u64,
    },
    /// A launch that a driver would refuse.
    #[error("{0}")]
    Launch(String),
    /// Another misuse of an instruction.
    #[error("{0}")]
    Misuse(String),
}

/// A failed launch: what went wrong, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct Fault {
    /// The entry.
    pub entry: String,
    /// The block, if it came to run one.
    pub block: Option<[u32; 3]>,
    /// The warp within the block.
    pub warp: Option<usize>,
    /// The lane within the warp, where one lane is to blame.
    pub lane: Option<usize>,
    /// The line of the text.
    pub line: Option<u32>,
    /// The instruction.
    pub instruction: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

impl Fault {
    /// A launch that never began.
    pub(crate) fn launch(entry: &str, problem: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            entry: entry.to_owned(),
            block: None,
            warp: None,
            lane: None,
            line: None,
            instruction: None,
            problem: Problem::Launch(problem.into()),
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.entry)?;
        if let Some([x, y, z]) = self.block {
            write!(f, ", block ({x}, {y}, {z})")?;
        }
        if let Some(warp) = self.warp {
            write!(f, ", warp {warp}")?;
        }
        if let Some(lane) = self.lane {
            write!(f, ", lane {lane}")?;
        }
        if let (Some(line), Some(instruction)) = (self.line, &self.instruction) {
            write!(f, ", line {line}: `{instruction}`")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// A problem, and the lane that has it.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub lane: Option<usize>,
    pub problem: Box<Problem>,
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        Trouble { lane: None, problem: Box::new(problem) }
    }
}

impl Problem {
    /// The problem of one lane.
    #[cold]
    pub(crate) fn at(self, lane: usize) -> Trouble {
        Trouble { lane: Some(lane), problem: Box::new(self) }
    }
}
