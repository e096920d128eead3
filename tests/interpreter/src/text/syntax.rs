//! The syntax of a module: statements as they are written.

use crate::{error::Place, types::Type};

/// A name with its place.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub text: String,
    pub place: Place,
}

/// A whole module.
#[derive(Debug)]
pub(crate) struct ModuleSyntax {
    /// Major and minor version of the instruction set.
    pub version: (u32, u32),
    pub target: Name,
    pub variables: Vec<Variable>,
    pub entries: Vec<EntrySyntax>,
}

/// A state space of declared variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredSpace {
    Global,
    Const,
    Shared,
    /// Shared memory whose size the launch gives.
    ExternShared,
}

/// A declared variable or array.
#[derive(Debug)]
pub(crate) struct Variable {
    pub space: DeclaredSpace,
    pub align: u64,
    /// Size of the whole in bytes; 0 for one whose size the launch gives.
    pub size: u64,
    pub name: Name,
    /// The initial bytes; empty without an initialiser.
    pub initial: Vec<u8>,
}

/// A parameter of an entry.
#[derive(Debug)]
pub(crate) struct ParameterSyntax {
    pub ty: Type,
    pub align: u64,
    pub size: u64,
    /// Whether it is declared as an array of bytes, which is passed by value.
    pub array: bool,
    pub name: Name,
}

/// A kernel.
#[derive(Debug)]
pub(crate) struct EntrySyntax {
    pub name: Name,
    pub parameters: Vec<ParameterSyntax>,
    /// `.maxntid`, if given.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`, if given.
    pub required_threads: Option<[u32; 3]>,
    pub registers: Vec<RegisterSyntax>,
    pub variables: Vec<Variable>,
    pub body: Vec<Statement>,
    pub end: Place,
}

/// A declaration of registers: one name, or a numbered range of them.
#[derive(Debug)]
pub(crate) struct RegisterSyntax {
    pub ty: Type,
    pub name: Name,
    pub count: Option<u32>,
}

/// A statement of a body that is executed or jumped to.
#[derive(Debug)]
pub(crate) enum Statement {
    Label(Name),
    Instruction(InstructionSyntax),
}

/// An instruction.
#[derive(Clone, Debug)]
pub(crate) struct InstructionSyntax {
    pub guard: Option<GuardSyntax>,
    pub opcode: Name,
    pub operands: Vec<Operand>,
    /// The text of the whole instruction, for messages.
    pub text: String,
}

/// `@p` or `@!p`.
#[derive(Clone, Debug)]
pub(crate) struct GuardSyntax {
    pub negated: bool,
    pub register: Name,
}

/// An operand with its place.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub kind: OperandKind,
    pub place: Place,
    pub text: String,
}

/// What an operand is.
#[derive(Clone, Debug)]
pub(crate) enum OperandKind {
    /// A register, a variable, a parameter, a label, or `_`.
    Name(String),
    /// `!p`.
    Not(String),
    Integer {
        magnitude: u64,
        negative: bool,
    },
    Single(u32),
    Double(u64),
    /// `{a, b, …}`.
    Vector(Vec<Operand>),
    /// `[base]`, `[base+offset]`, `[base, {coordinates}]`.
    Address {
        base: Box<Operand>,
        offset: i64,
        coordinates: Option<Box<Operand>>,
    },
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
}
