//! The text of one PTX function under construction: typed registers, instructions, labels.
//!
//! Registers are numbered in the order in which they are made, so the same calls give the same text.

use std::fmt::{self, Write};

/// Stands in names of registers and labels for what tells the bodies of a function apart, until that is known.
pub(super) const SCOPE: &str = "@s";

/// A class of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Predicate,
    Bits16,
    Bits32,
    Bits64,
    Float32,
    Float64,
}

impl Class {
    const ALL: [Class; 6] =
        [Class::Predicate, Class::Bits16, Class::Bits32, Class::Bits64, Class::Float32, Class::Float64];

    /// What declares it, and what its registers' names begin with.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Class::Predicate => (".pred", "p"),
            Class::Bits16 => (".b16", "h"),
            Class::Bits32 => (".b32", "r"),
            Class::Bits64 => (".b64", "rd"),
            Class::Float32 => (".f32", "f"),
            Class::Float64 => (".f64", "fd"),
        }
    }
}

/// A virtual register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Register {
    pub class: Class,
    number: u32,
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{SCOPE}{}{}", self.class.names().1, self.number)
    }
}

/// What an instruction takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operand {
    Register(Register),
    Integer(i64),
    Float(f32),
    Double(f64),
    /// A name that the machine or the module knows.
    Name(&'static str),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Register(register) => register.fmt(f),
            Operand::Integer(value) => value.fmt(f),
            // By its bits: decimal numbers would have to be read back.
            Operand::Float(value) => write!(f, "0f{:08X}", value.to_bits()),
            Operand::Double(value) => write!(f, "0d{:016X}", value.to_bits()),
            Operand::Name(name) => f.write_str(name),
        }
    }
}

impl From<Register> for Operand {
    fn from(register: Register) -> Operand {
        Operand::Register(register)
    }
}

impl From<i64> for Operand {
    fn from(value: i64) -> Operand {
        Operand::Integer(value)
    }
}

impl From<usize> for Operand {
    fn from(value: usize) -> Operand {
        Operand::Integer(value as i64)
    }
}

impl From<f32> for Operand {
    fn from(value: f32) -> Operand {
        Operand::Float(value)
    }
}

impl From<f64> for Operand {
    fn from(value: f64) -> Operand {
        Operand::Double(value)
    }
}

/// A place in the text that branches go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(u32);

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${SCOPE}L{}", self.0)
    }
}

/// Registers side by side, `{a, b}`; one alone stands by itself.
pub(super) fn vector(registers: &[Register]) -> String {
    match registers {
        [one] => one.to_string(),
        _ => format!("{{{}}}", joined(registers)),
    }
}

fn joined<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// The body of a function.
#[derive(Default)]
pub(super) struct Text {
    counts: [u32; Class::ALL.len()],
    labels: u32,
    body: String,
}

impl Text {
    /// A register that nothing is in yet.
    pub fn register(&mut self, class: Class) -> Register {
        let count = &mut self.counts[class as usize];
        *count += 1;
        Register { class, number: *count - 1 }
    }

    /// An instruction as it stands.
    pub fn line(&mut self, instruction: impl fmt::Display) {
        let _ = writeln!(self.body, "\t{instruction};");
    }

    /// `opcode target, operands`.
    pub fn set(&mut self, target: Register, opcode: &str, operands: &[Operand]) {
        self.line(format_args!("{opcode} {target}, {}", joined(operands)));
    }

    /// The result of an instruction, in a new register.
    pub fn value(&mut self, class: Class, opcode: &str, operands: &[Operand]) -> Register {
        let target = self.register(class);
        self.set(target, opcode, operands);
        target
    }

    /// A register that a loop changes, with what it starts from.
    pub fn variable(&mut self, class: Class, start: Operand) -> Register {
        let target = self.register(class);
        self.copy(target, start);
        target
    }

    /// Copies into a register.
    pub fn copy(&mut self, target: Register, from: Operand) {
        let opcode = match target.class {
            Class::Predicate => "mov.pred",
            Class::Bits16 => "mov.b16",
            Class::Bits32 => "mov.b32",
            Class::Bits64 => "mov.b64",
            Class::Float32 => "mov.f32",
            Class::Float64 => "mov.f64",
        };
        self.set(target, opcode, &[from]);
    }

    /// A label that is not placed yet.
    pub fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    /// Puts a label here.
    pub fn place(&mut self, label: Label) {
        let _ = writeln!(self.body, "{label}:");
    }

    /// Goes to a label.
    pub fn branch(&mut self, label: Label) {
        self.line(format_args!("bra {label}"));
    }

    /// Goes to a label where a predicate is as given.
    pub fn branch_if(&mut self, predicate: Register, holds: bool, label: Label) {
        let sign = if holds { "" } else { "!" };
        self.line(format_args!("@{sign}{predicate} bra {label}"));
    }

    /// A remark for readers.
    pub fn remark(&mut self, text: &str) {
        let _ = writeln!(self.body, "\t// {text}");
    }

    /// The body of the function with its declarations.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for class in Class::ALL {
            let (ty, prefix) = class.names();
            if self.counts[class as usize] > 0 {
                let _ = writeln!(text, "\t.reg {ty} %{SCOPE}{prefix}<{}>;", self.counts[class as usize]);
            }
        }
        text + &self.body
    }
}
