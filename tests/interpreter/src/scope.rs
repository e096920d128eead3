//! What names mean inside an entry, and which places of the register file they have.

use crate::{
    error::{Error, Place},
    op::{PredicateSlot, Slot},
    text::{EntrySyntax, Name, RegisterSyntax},
    types::Type,
};
use std::collections::HashMap;

/// A register that every warp starts with: a literal, an address, or a special register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    Bits(u64),
    /// The address of a variable of the module, by its position.
    Variable(usize),
    /// A special register.
    Special(Special),
}

/// A special register, with its axis where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    /// `%lanemask_*`: the lanes that compare so to the own one.
    LaneMask(LaneRelation),
    DynamicSharedSize,
}

/// How a lane of a `%lanemask_*` compares to the own one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LaneRelation {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// What a name means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Symbol {
    Register {
        slot: Slot,
        ty: Type,
    },
    Predicate(PredicateSlot),
    /// A parameter: its offset among the parameters.
    Parameter {
        offset: u64,
    },
    /// Shared memory: its address.
    Shared {
        address: u64,
    },
    /// A variable of the module, by position.
    Variable {
        position: usize,
    },
    Special {
        special: Special,
        ty: Type,
    },
}

/// The names of an entry and its register file.
#[derive(Default)]
pub(crate) struct Scope {
    symbols: HashMap<String, Symbol>,
    /// Numbered registers, `%r<12>`: the prefix, how many, and their type.
    ranges: HashMap<String, (u32, Type)>,
    labels: HashMap<String, u32>,
    constants: HashMap<Constant, Slot>,
    /// What stands in each place of the register file, for messages.
    pub slots: Vec<SlotUse>,
    /// The names of predicates.
    pub predicates: Vec<String>,
}

/// What a place of the register file is for.
#[derive(Clone, Debug)]
pub(crate) enum SlotUse {
    Register(String),
    Constant(Constant),
}

const AXES: [&str; 3] = ["x", "y", "z"];

fn special(name: &str) -> Option<(Special, Type)> {
    let simple = match name {
        "%laneid" => Some(Special::Lane),
        "%warpid" => Some(Special::Warp),
        "%nwarpid" => Some(Special::Warps),
        "%lanemask_eq" => Some(Special::LaneMask(LaneRelation::Equal)),
        "%lanemask_lt" => Some(Special::LaneMask(LaneRelation::Less)),
        "%lanemask_le" => Some(Special::LaneMask(LaneRelation::LessEqual)),
        "%lanemask_gt" => Some(Special::LaneMask(LaneRelation::Greater)),
        "%lanemask_ge" => Some(Special::LaneMask(LaneRelation::GreaterEqual)),
        "%dynamic_smem_size" => Some(Special::DynamicSharedSize),
        _ => None,
    };
    if let Some(simple) = simple {
        return Some((simple, Type::U32));
    }
    let (register, axis) = name.split_once('.')?;
    let axis = AXES.iter().position(|known| *known == axis)?;
    let special = match register {
        "%tid" => Special::Thread(axis),
        "%ntid" => Special::Threads(axis),
        "%ctaid" => Special::Block(axis),
        "%nctaid" => Special::Blocks(axis),
        _ => return None,
    };
    Some((special, Type::U32))
}

impl Scope {
    /// The registers of an entry; variables and labels are added by who lays them out.
    pub fn new(entry: &EntrySyntax) -> Result<Scope, Error> {
        let mut scope = Scope::default();
        for declared in &entry.registers {
            scope.declare_register(declared)?;
        }
        Ok(scope)
    }

    fn declare_register(&mut self, declared: &RegisterSyntax) -> Result<(), Error> {
        let RegisterSyntax { ty, name, count } = declared;
        if !ty.is_register() {
            return Err(Error::new(name.place, &name.text, format!("there are no registers of type `.{}`", ty.name())));
        }
        if let Some(count) = count {
            if self.ranges.insert(name.text.clone(), (*count, *ty)).is_some() {
                return Err(Error::new(name.place, &name.text, "declared twice"));
            }
            return Ok(());
        }
        let symbol = self.fresh(&name.text, *ty);
        self.declare(name, symbol)
    }

    /// Gives a name a meaning.
    pub fn declare(&mut self, name: &Name, symbol: Symbol) -> Result<(), Error> {
        match self.symbols.insert(name.text.clone(), symbol) {
            None => Ok(()),
            Some(_) => Err(Error::new(name.place, &name.text, "declared twice")),
        }
    }

    /// Marks the place of a label.
    pub fn declare_label(&mut self, name: &Name, at: u32) -> Result<(), Error> {
        match self.labels.insert(name.text.clone(), at) {
            None => Ok(()),
            Some(_) => Err(Error::new(name.place, &name.text, "the label stands twice")),
        }
    }

    fn fresh(&mut self, name: &str, ty: Type) -> Symbol {
        if ty == Type::Pred {
            self.predicates.push(name.to_owned());
            Symbol::Predicate(self.predicates.len() as u32 - 1)
        } else {
            Symbol::Register { slot: self.occupy(SlotUse::Register(name.to_owned())), ty }
        }
    }

    fn occupy(&mut self, slot_use: SlotUse) -> Slot {
        self.slots.push(slot_use);
        self.slots.len() as u32 - 1
    }

    /// What a name means. A numbered register gets its place when it is first used.
    pub fn symbol(&mut self, name: &str, place: Place) -> Result<Symbol, Error> {
        if let Some(symbol) = self.symbols.get(name) {
            return Ok(*symbol);
        }
        if let Some((special, ty)) = special(name) {
            return Ok(Symbol::Special { special, ty });
        }
        let Some(ty) = self.numbered(name) else { return Err(Error::new(place, name, "not declared")) };
        let symbol = self.fresh(name, ty);
        self.symbols.insert(name.to_owned(), symbol);
        Ok(symbol)
    }

    fn numbered(&self, name: &str) -> Option<Type> {
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let digits = &name[prefix.len()..];
        // Zeros may belong to the prefix as well: `%r10` of `%r1<4>` is its register 0.
        (0..digits.len()).find_map(|cut| {
            let (count, ty) = self.ranges.get(&name[..prefix.len() + cut])?;
            let number = &digits[cut..];
            let canonical = number == "0" || !number.starts_with('0');
            (canonical && number.parse::<u32>().ok()? < *count).then_some(*ty)
        })
    }

    /// The instruction that a label marks.
    pub fn label(&self, name: &str, place: Place) -> Result<u32, Error> {
        self.labels.get(name).copied().ok_or_else(|| Error::new(place, name, "there is no such label"))
    }

    /// The place of a constant.
    pub fn constant(&mut self, constant: Constant) -> Slot {
        if let Some(slot) = self.constants.get(&constant) {
            return *slot;
        }
        let slot = self.occupy(SlotUse::Constant(constant));
        self.constants.insert(constant, slot);
        slot
    }
}
