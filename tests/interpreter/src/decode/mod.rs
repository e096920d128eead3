//! From the syntax of an instruction to a decoded operation.
//!
//! Each family of instructions is one file with one function from a [`Decoder`] to an [`Op`]. A decoder is
//! a cursor over the modifiers of the opcode and one over the operands. Modifiers are asked for in the
//! order in which PTX wants them; whatever is left over when a family is done is an error. So an
//! instruction is known exactly as far as some line here mentions it.

mod arithmetic;
mod bits;
mod compare;
mod control;
mod convert;
mod copy;
mod data;
mod float;
mod matrix;
mod requirements;
mod synchronise;

pub(crate) use requirements::Target;

use crate::{
    error::Error,
    function::Function,
    op::{Address, Condition, Instruction, Op, PredicateSlot, Slot, Space},
    scope::{Constant, Scope, Symbol},
    text::{InstructionSyntax, Operand, OperandKind},
    types::Type,
};

type Result<T> = std::result::Result<T, Error>;

/// Decodes one instruction for a module that declares `target`.
pub(crate) fn decode(syntax: &InstructionSyntax, scope: &mut Scope, target: &Target) -> Result<Instruction> {
    let mut decoder = Decoder::new(syntax, scope);
    target.check(decoder.mnemonic, &decoder.modifiers).map_err(|problem| decoder.problem(problem))?;
    let guard = decoder.guard()?;
    let op = decoder.op()?;
    decoder.finish()?;
    if guard.is_some() && matches!(op, Op::Barrier(_)) {
        return decoder.fail("a barrier under a predicate");
    }
    Ok(Instruction { guard, op })
}

/// The opcode and operands of an instruction, read from left to right.
pub(crate) struct Decoder<'a> {
    syntax: &'a InstructionSyntax,
    scope: &'a mut Scope,
    mnemonic: &'a str,
    modifiers: Vec<&'a str>,
    modifier: usize,
    operand: usize,
}

impl<'a> Decoder<'a> {
    fn new(syntax: &'a InstructionSyntax, scope: &'a mut Scope) -> Decoder<'a> {
        let mut parts = syntax.opcode.text.split('.');
        let mnemonic = parts.next().unwrap_or_default();
        Decoder { syntax, scope, mnemonic, modifiers: parts.collect(), modifier: 0, operand: 0 }
    }

    fn op(&mut self) -> Result<Op> {
        match self.mnemonic {
            "add" | "sub" | "mul" | "mad" | "mul24" | "mad24" | "fma" | "div" | "rem" | "neg" | "abs" | "min"
            | "max" | "sad" => arithmetic::decode(self),
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" | "testp" => {
                float::decode(self)
            }
            "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf" | "prmt" | "bfe" | "bfi" | "lop3"
            | "popc" | "clz" | "brev" | "bfind" | "fns" => bits::decode(self),
            "setp" | "set" | "selp" | "slct" => compare::decode(self),
            "cvt" => convert::decode(self),
            "mov" | "ld" | "ldu" | "st" | "cvta" | "isspacep" | "prefetch" | "prefetchu" => data::decode(self),
            "bra" | "ret" | "exit" | "trap" => control::decode(self),
            "bar" | "barrier" | "membar" | "fence" | "shfl" | "vote" | "activemask" | "redux" | "match" | "atom"
            | "red" => synchronise::decode(self),
            "cp" => copy::decode(self),
            "ldmatrix" | "stmatrix" | "mma" => matrix::decode(self),
            _ => self.fail("this interpreter does not know the instruction"),
        }
    }

    /// An error at the instruction as a whole.
    fn problem(&self, problem: impl Into<String>) -> Error {
        Error::new(self.syntax.opcode.place, &self.syntax.text, problem)
    }

    fn fail<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(self.problem(problem))
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(modifier) = self.modifiers.get(self.modifier) {
            return self.fail(format!("`.{modifier}` is not known here"));
        }
        match self.syntax.operands.get(self.operand) {
            Some(operand) => Err(Error::new(operand.place, &operand.text, "one operand too many")),
            None => Ok(()),
        }
    }

    fn guard(&mut self) -> Result<Option<Condition>> {
        let Some(guard) = &self.syntax.guard else { return Ok(None) };
        let name = &guard.register;
        let Symbol::Predicate(register) = self.scope.symbol(&name.text, name.place)? else {
            return Err(Error::new(name.place, &name.text, "not a predicate"));
        };
        Ok(Some(Condition { register, negated: guard.negated }))
    }

    // Modifiers.

    /// Takes the next modifier if it is this one.
    fn take(&mut self, modifier: &str) -> bool {
        let found = self.modifiers.get(self.modifier) == Some(&modifier);
        self.modifier += usize::from(found);
        found
    }

    /// Takes the next modifier if the table has it, and returns what it stands for.
    fn choose<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let next = self.modifiers.get(self.modifier)?;
        let (_, value) = table.iter().find(|(name, _)| name == next)?;
        self.modifier += 1;
        Some(*value)
    }

    /// Takes the next modifier, which must be in the table.
    fn expect<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T> {
        match self.choose(table) {
            Some(value) => Ok(value),
            None => {
                let names: Vec<String> = table.iter().map(|(name, _)| format!("`.{name}`")).collect();
                let found = self.modifiers.get(self.modifier).map_or("the end".into(), |found| format!("`.{found}`"));
                self.fail(format!("expected {}, found {found}", names.join(", ")))
            }
        }
    }

    /// Takes the next modifier, which must be a type.
    fn ty(&mut self) -> Result<Type> {
        match self.modifiers.get(self.modifier).and_then(|name| Type::named(name)) {
            Some(ty) => {
                self.modifier += 1;
                Ok(ty)
            }
            None => self.fail("expected a type"),
        }
    }

    fn type_error<T>(&self, ty: Type) -> Result<T> {
        self.fail(format!("`{}` does not work on `.{}` as far as this interpreter knows", self.mnemonic, ty.name()))
    }

    // Operands.

    fn has_operand(&self) -> bool {
        self.operand < self.syntax.operands.len()
    }

    fn next_operand(&mut self) -> Result<&'a Operand> {
        match self.syntax.operands.get(self.operand) {
            Some(operand) => {
                self.operand += 1;
                Ok(operand)
            }
            None => self.fail("an operand is missing"),
        }
    }

    /// The next operand as a register that the instruction writes.
    fn to(&mut self, ty: Type) -> Result<Slot> {
        let operand = self.next_operand()?;
        self.register(operand, |register| ty.accepts(register), ty)
    }

    /// The next operand as a register to read, or a literal of that type.
    fn from(&mut self, ty: Type) -> Result<Slot> {
        let operand = self.next_operand()?;
        self.value(operand, ty)
    }

    /// A register of an acceptable type.
    fn register(&mut self, operand: &Operand, accepts: impl Fn(Type) -> bool, wanted: Type) -> Result<Slot> {
        self.typed_register(operand, accepts, wanted).map(|(slot, _)| slot)
    }

    fn typed_register(
        &mut self,
        operand: &Operand,
        accepts: impl Fn(Type) -> bool,
        wanted: Type,
    ) -> Result<(Slot, Type)> {
        let OperandKind::Name(name) = &operand.kind else {
            return Err(Error::new(operand.place, &operand.text, "expected a register"));
        };
        match self.scope.symbol(name, operand.place)? {
            Symbol::Register { slot, ty } if accepts(ty) => Ok((slot, ty)),
            Symbol::Register { ty, .. } => Err(mismatch(operand, ty, wanted)),
            Symbol::Predicate(_) => Err(mismatch(operand, Type::Pred, wanted)),
            _ => Err(Error::new(operand.place, &operand.text, "not a register")),
        }
    }

    /// A register, a special register or a literal.
    fn value(&mut self, operand: &Operand, ty: Type) -> Result<Slot> {
        match &operand.kind {
            OperandKind::Name(name) => match self.scope.symbol(name, operand.place)? {
                Symbol::Special { special, ty: own } if ty.accepts(own) => {
                    Ok(self.scope.constant(Constant::Special(special)))
                }
                Symbol::Special { ty: own, .. } => Err(mismatch(operand, own, ty)),
                _ => self.register(operand, |register| ty.accepts(register), ty),
            },
            _ => {
                let bits = literal(operand, ty)?;
                Ok(self.scope.constant(Constant::Bits(bits)))
            }
        }
    }

    /// The next operand as a literal integer.
    fn immediate(&mut self) -> Result<u64> {
        let operand = self.next_operand()?;
        match operand.kind {
            OperandKind::Integer { magnitude, negative: false } => Ok(magnitude),
            _ => Err(Error::new(operand.place, &operand.text, "expected a literal")),
        }
    }

    /// The next operand as a vector of that many registers that the instruction writes.
    fn vector_to(&mut self, count: usize, ty: Type) -> Result<Box<[Slot]>> {
        let operand = self.next_operand()?;
        self.vector(operand, count)?.iter().map(|part| self.register(part, |own| ty.accepts(own), ty)).collect()
    }

    /// The next operand as a vector of that many values to read.
    fn vector_from(&mut self, count: usize, ty: Type) -> Result<Box<[Slot]>> {
        let operand = self.next_operand()?;
        self.vector(operand, count)?.iter().map(|part| self.value(part, ty)).collect()
    }

    /// The parts of an operand, which is a vector even where it has one part only.
    fn vector<'o>(&self, operand: &'o Operand, count: usize) -> Result<&'o [Operand]> {
        match &operand.kind {
            OperandKind::Vector(parts) if parts.len() == count => Ok(parts),
            _ => Err(Error::new(operand.place, &operand.text, format!("a vector of {count} registers is wanted"))),
        }
    }

    fn predicate_named(&mut self, operand: &Operand, name: &str) -> Result<PredicateSlot> {
        match self.scope.symbol(name, operand.place)? {
            Symbol::Predicate(register) => Ok(register),
            _ => Err(Error::new(operand.place, &operand.text, "not a predicate")),
        }
    }

    /// An operand as a predicate that the instruction writes.
    fn predicate_to(&mut self, operand: &Operand) -> Result<PredicateSlot> {
        match &operand.kind {
            OperandKind::Name(name) => self.predicate_named(operand, name),
            _ => Err(Error::new(operand.place, &operand.text, "expected a predicate")),
        }
    }

    /// The next operand as a predicate to read, negated or not.
    fn condition(&mut self) -> Result<Condition> {
        let operand = self.next_operand()?;
        let (name, negated) = match &operand.kind {
            OperandKind::Name(name) => (name, false),
            OperandKind::Not(name) => (name, true),
            _ => return Err(Error::new(operand.place, &operand.text, "expected a predicate")),
        };
        Ok(Condition { register: self.predicate_named(operand, name)?, negated })
    }

    /// The next operand as one predicate or two, `p` or `p|q`; `_` stands for none.
    fn predicates_to(&mut self) -> Result<[Option<PredicateSlot>; 2]> {
        let operand = self.next_operand()?;
        let OperandKind::Pair(first, second) = &operand.kind else {
            return Ok([Some(self.predicate_to(operand)?), None]);
        };
        let mut one = |operand: &Operand| match &operand.kind {
            OperandKind::Name(name) if name == "_" => Ok(None),
            _ => self.predicate_to(operand).map(Some),
        };
        Ok([one(first)?, one(second)?])
    }

    /// The next operand as an address in `space`.
    fn address(&mut self, space: Space) -> Result<Address> {
        let operand = self.next_operand()?;
        self.address_of(operand, space)
    }

    fn address_of(&mut self, operand: &Operand, space: Space) -> Result<Address> {
        let OperandKind::Address { base, offset, coordinates: None } = &operand.kind else {
            return Err(Error::new(operand.place, &operand.text, "expected an address"));
        };
        let (base, narrow) = self.address_base(base, space)?;
        Ok(Address { space, base, offset: *offset, narrow })
    }

    fn address_base(&mut self, base: &Operand, space: Space) -> Result<(Slot, bool)> {
        let OperandKind::Name(name) = &base.kind else {
            return Ok((self.value(base, Type::U64)?, false));
        };
        let symbol = self.scope.symbol(name, base.place)?;
        let wrong_space = || Err(Error::new(base.place, &base.text, "lies in another state space"));
        match symbol {
            Symbol::Register { slot, ty } => {
                let narrow = ty.bits() == 32 && space == Space::Shared;
                if ty.is_float() || !(ty.bits() == 64 || narrow) {
                    return Err(mismatch(base, ty, Type::U64));
                }
                Ok((slot, narrow))
            }
            Symbol::Parameter { offset } if space == Space::Parameter => {
                Ok((self.scope.constant(Constant::Bits(offset)), false))
            }
            Symbol::Shared { address } if space == Space::Shared => {
                Ok((self.scope.constant(Constant::Bits(address)), false))
            }
            Symbol::Variable { position, .. } if space == Space::Global => {
                Ok((self.scope.constant(Constant::Variable(position)), false))
            }
            Symbol::Predicate(_) => Err(mismatch(base, Type::Pred, Type::U64)),
            _ => wrong_space(),
        }
    }

    // Whole instructions of the common shapes.

    /// `op.ty to, a, …`: every operand of the same type.
    fn compute(&mut self, ty: Type, function: Function) -> Result<Op> {
        let to = self.to(ty)?;
        let types = [ty; 4];
        let arity = function.arity();
        self.compute_to(to, &types[..arity], function)
    }

    /// The operands to read, by their types, behind a destination that was read already.
    fn compute_to(&mut self, to: Slot, types: &[Type], function: Function) -> Result<Op> {
        let mut from = [0; 4];
        for (from, ty) in from.iter_mut().zip(types) {
            *from = self.from(*ty)?;
        }
        Ok(Op::Compute { function, to, from })
    }
}

fn mismatch(operand: &Operand, found: Type, wanted: Type) -> Error {
    let problem = format!("a register of type `.{}` where the instruction wants `.{}`", found.name(), wanted.name());
    Error::new(operand.place, &operand.text, problem)
}

/// The bits of a literal of type `ty`.
fn literal(operand: &Operand, ty: Type) -> Result<u64> {
    let wrong = |problem: &str| Err(Error::new(operand.place, &operand.text, problem));
    let single = matches!(ty, Type::F32 | Type::B32);
    let double = matches!(ty, Type::F64 | Type::B64);
    match operand.kind {
        OperandKind::Integer { .. } if ty.is_float() => wrong("an integer where a floating-point value is wanted"),
        OperandKind::Integer { magnitude, negative } => {
            let bits = ty.bits();
            let limit = if negative { 1u64 << (bits - 1) } else { u64::MAX >> (64 - bits) };
            if magnitude > limit {
                return wrong(&format!("does not fit {bits} bits"));
            }
            let value = if negative { magnitude.wrapping_neg() } else { magnitude };
            Ok(value & (u64::MAX >> (64 - bits)))
        }
        OperandKind::Single(bits) if single => Ok(u64::from(bits)),
        OperandKind::Double(bits) if double => Ok(bits),
        OperandKind::Double(bits) if ty == Type::F32 => Ok(u64::from((f64::from_bits(bits) as f32).to_bits())),
        OperandKind::Single(_) | OperandKind::Double(_) => wrong(&format!("no value of type `.{}`", ty.name())),
        _ => wrong("expected a register or a literal"),
    }
}
