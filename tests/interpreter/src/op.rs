//! Decoded instructions: what the execution works on.

use crate::function::{Function, Test};

/// A register or a constant, by its place in the register file.
pub(crate) type Slot = u32;
/// A predicate register, by its place.
pub(crate) type PredicateSlot = u32;

/// A decoded instruction: its guard and its operation.
pub(crate) struct Instruction {
    pub guard: Option<Condition>,
    pub op: Op,
}

/// A predicate, negated or not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    pub register: PredicateSlot,
    pub negated: bool,
}

/// How two predicates are combined.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// The result of a comparison, combined with a predicate or not.
pub(crate) struct Comparison {
    pub test: Test,
    pub a: Slot,
    pub b: Slot,
    pub combined: Option<(Logic, Condition)>,
}

/// Which memory an address means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Decided by the address.
    Generic,
    Global,
    Shared,
    Parameter,
}

/// `[base + offset]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub base: Slot,
    pub offset: i64,
    /// Whether the base is a register of 32 bits.
    pub narrow: bool,
}

/// How an element of memory becomes a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element {
    /// Bytes in memory.
    pub bytes: u32,
    /// Bits of the register if the element is extended with its sign to fill it.
    pub sign_extended: Option<u32>,
}

/// What an atomic operation does with memory and its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    Add,
    AddF32,
    AddF64,
    AddF16x2,
    AddBf16x2,
    Min { signed: bool },
    Max { signed: bool },
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
    Increment,
    Decrement,
}

/// What takes part in a barrier, and whether the warp waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    pub id: Slot,
    /// The number of threads; without it, all of the block.
    pub threads: Option<Slot>,
    pub waits: bool,
}

/// Which lane a shuffle reads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

/// What a vote tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
}

/// The number format of the factors of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    Tf32,
    F16,
    Bf16,
}

/// A matrix product of a warp, D = A · B + C, with fragments in registers.
#[derive(Debug)]
pub(crate) struct Product {
    pub factor: Factor,
    pub d: Box<[Slot]>,
    pub a: Box<[Slot]>,
    pub b: Box<[Slot]>,
    pub c: Box<[Slot]>,
}

/// A copy from global to shared memory that goes on while the warp does other things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsyncCopy {
    pub to: Address,
    pub from: Address,
    pub bytes: u32,
    /// How many bytes are read; the rest becomes zero.
    pub read: Option<Slot>,
}

/// An atomic operation on a word of memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atomic {
    pub update: Update,
    pub to: Option<Slot>,
    pub address: Address,
    pub bytes: u32,
    pub operands: [Slot; 2],
}

/// An operation.
pub(crate) enum Op {
    /// A function of registers.
    Compute {
        function: Function,
        to: Slot,
        from: [Slot; 4],
    },
    /// An integer division: a function whose second operand must not be zero.
    Divide {
        function: Function,
        to: Slot,
        from: [Slot; 4],
    },
    /// Predicates from a comparison: it, and its complement.
    Compare {
        comparison: Comparison,
        to: [Option<PredicateSlot>; 2],
    },
    /// One of two constants from a comparison.
    Set {
        comparison: Comparison,
        to: Slot,
        holds: u64,
    },
    /// A predicate from a property of a value.
    Property {
        test: Test,
        to: PredicateSlot,
        from: Slot,
    },
    /// A predicate from two predicates.
    Logic {
        logic: Logic,
        to: PredicateSlot,
        a: Condition,
        b: Condition,
    },
    /// A predicate from one.
    Assign {
        to: PredicateSlot,
        from: Condition,
    },
    /// A predicate from a literal.
    AssignConstant {
        to: PredicateSlot,
        value: bool,
    },
    /// One of two registers.
    Select {
        to: Slot,
        yes: Slot,
        no: Slot,
        by: Condition,
    },
    /// Registers put side by side in a wider one.
    Pack {
        to: Slot,
        from: Box<[Slot]>,
        bits: u32,
    },
    /// A register cut into narrower ones.
    Unpack {
        to: Box<[Option<Slot>]>,
        from: Slot,
        bits: u32,
    },
    Load {
        to: Box<[Option<Slot>]>,
        element: Element,
        address: Address,
        volatile: bool,
    },
    Store {
        from: Box<[Slot]>,
        element: Element,
        address: Address,
        volatile: bool,
    },
    Atomic(Atomic),
    /// Additions of `f32` to consecutive words.
    AtomicVector {
        from: Box<[Slot]>,
        address: Address,
    },
    Branch {
        target: u32,
        uniform: bool,
    },
    Exit,
    Trap,
    Barrier(Barrier),
    WarpBarrier {
        members: Slot,
    },
    /// An instruction that orders memory or prefetches it, without an effect here.
    Nothing,
    Shuffle {
        shuffle: Shuffle,
        to: Slot,
        valid: Option<PredicateSlot>,
        from: Slot,
        lane: Slot,
        clamp: Slot,
        members: Slot,
    },
    Vote {
        vote: Vote,
        to: PredicateSlot,
        from: Condition,
        members: Slot,
    },
    Ballot {
        to: Slot,
        from: Condition,
        members: Slot,
    },
    ActiveMask {
        to: Slot,
    },
    /// A value reduced over lanes.
    Reduce {
        update: Update,
        to: Slot,
        from: Slot,
        members: Slot,
    },
    /// The lanes with an equal value; or, with a predicate, all of them if all are equal.
    Match {
        to: Slot,
        all: bool,
        equal: Option<PredicateSlot>,
        from: Slot,
        members: Slot,
    },
    CopyAsync(AsyncCopy),
    /// The copies since the last such instruction become a group.
    CommitCopies,
    /// Waits until at most so many groups are under way; without a number, for all copies.
    WaitCopies {
        groups: Option<u32>,
    },
    /// Matrices of 8 rows of 16 bytes, spread over a warp.
    LoadMatrix {
        to: Box<[Slot]>,
        address: Address,
        transposed: bool,
    },
    StoreMatrix {
        from: Box<[Slot]>,
        address: Address,
        transposed: bool,
    },
    Multiply(Box<Product>),
}
