//! Modules: decoded entries and variables, ready to be launched.

use crate::{
    decode::{Target, decode},
    error::Error,
    op::{Address, Instruction, Op, Space},
    scope::{Scope, SlotUse, Symbol},
    text::{self, DeclaredSpace, EntrySyntax, InstructionSyntax, ModuleSyntax, Statement, Variable},
    types::Type,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Static shared memory that an entry may have.
const STATIC_SHARED_LIMIT: u64 = 48 * 1024;
/// Shared memory begins here, so that an address of zero hits no variable.
const SHARED_START: u64 = 1024;
/// Variables in shared memory begin at multiples of the size of a row of banks, with a row between them:
/// an access that runs past the end of one hits nothing.
const SHARED_ROW: u64 = 128;

/// A module: PTX text, parsed and checked.
pub struct Module {
    pub(crate) entries: Vec<Entry>,
    pub(crate) variables: Vec<GlobalVariable>,
    /// Tells modules apart in a [`Memory`](crate::Memory).
    pub(crate) id: u64,
}

/// A variable of the module in global or constant memory.
pub(crate) struct GlobalVariable {
    pub name: String,
    pub size: u64,
    pub initial: Vec<u8>,
}

/// A parameter of an entry.
pub(crate) struct Parameter {
    pub name: String,
    pub ty: Type,
    pub offset: u64,
    pub size: u64,
    pub array: bool,
}

/// A kernel.
pub(crate) struct Entry {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u64,
    pub max_threads: Option<[u32; 3]>,
    pub required_threads: Option<[u32; 3]>,
    pub code: Vec<Instruction>,
    /// What the text says of each instruction.
    pub listing: Vec<Listing>,
    pub slots: Vec<SlotUse>,
    pub predicates: Vec<String>,
    pub shared: SharedLayout,
    /// The size of the smallest access to shared memory, up to 4.
    pub granule: u64,
}

/// Where an instruction stands, for messages and statistics.
pub(crate) struct Listing {
    pub line: u32,
    pub text: String,
    pub opcode: String,
}

/// Where variables lie in shared memory.
#[derive(Clone, Default)]
pub(crate) struct SharedLayout {
    pub extents: Vec<(u64, u64)>,
    /// Where the part begins whose size the launch gives, if the module declares one.
    pub dynamic: Option<u64>,
    pub static_bytes: u64,
    end: u64,
}

impl Module {
    /// Parses and checks the text of a module.
    ///
    /// # Errors
    /// The first mistake, with its place: text that is no PTX, instructions or combinations of types that
    /// this interpreter does not know, registers that do not suit their instruction, instructions that need
    /// a later version or processor than the module declares.
    pub fn parse(text: &str) -> Result<Module, Error> {
        static MODULES: AtomicU64 = AtomicU64::new(0);
        let syntax = text::parse(text)?;
        let target = target(&syntax)?;
        let mut entries: Vec<Entry> = Vec::new();
        for entry in &syntax.entries {
            if entries.iter().any(|other| other.name == entry.name.text) {
                return Err(Error::new(entry.name.place, &entry.name.text, "there are two entries of this name"));
            }
            entries.push(Entry::new(entry, &syntax.variables, &target)?);
        }
        let variables = globals(&syntax.variables)
            .map(|variable| GlobalVariable {
                name: variable.name.text.clone(),
                size: variable.size,
                initial: variable.initial.clone(),
            })
            .collect();
        Ok(Module { entries, variables, id: MODULES.fetch_add(1, Ordering::Relaxed) })
    }

    /// The names of its entries, in the order of the text.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The sizes in bytes of an entry's parameters; nothing if there is no such entry.
    pub fn parameters(&self, entry: &str) -> Option<Vec<usize>> {
        let entry = self.entry(entry)?;
        Some(entry.parameters.iter().map(|parameter| parameter.size as usize).collect())
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

fn target(syntax: &ModuleSyntax) -> Result<Target, Error> {
    let name = &syntax.target;
    let target = Target::new(syntax.version, &name.text)
        .ok_or_else(|| Error::new(name.place, &name.text, "not a target that this interpreter knows"))?;
    match target.least_version() {
        least if syntax.version < least => {
            Err(Error::new(name.place, &name.text, format!("needs `.version {}.{}`", least.0, least.1)))
        }
        _ => Ok(target),
    }
}

fn globals(variables: &[Variable]) -> impl Iterator<Item = &Variable> {
    variables.iter().filter(|variable| matches!(variable.space, DeclaredSpace::Global | DeclaredSpace::Const))
}

impl Entry {
    fn new(syntax: &EntrySyntax, variables: &[Variable], target: &Target) -> Result<Entry, Error> {
        let mut scope = Scope::new(syntax)?;
        for (position, variable) in globals(variables).enumerate() {
            scope.declare(&variable.name, Symbol::Variable { position })?;
        }
        let shared = lay_out_shared(variables.iter().chain(&syntax.variables), &mut scope)?;
        if shared.static_bytes > STATIC_SHARED_LIMIT {
            let problem =
                format!("{} bytes of static shared memory, of at most {STATIC_SHARED_LIMIT}", shared.static_bytes);
            return Err(Error::new(syntax.name.place, &syntax.name.text, problem));
        }
        let (parameters, parameter_bytes) = lay_out_parameters(syntax, &mut scope)?;
        let instructions = place_labels(syntax, &mut scope)?;
        let mut code = Vec::with_capacity(instructions.len());
        let mut listing = Vec::with_capacity(instructions.len());
        for instruction in instructions {
            code.push(decode(instruction, &mut scope, target)?);
            listing.push(Listing {
                line: instruction.opcode.place.line,
                text: instruction.text.clone(),
                opcode: instruction.opcode.text.clone(),
            });
        }
        Ok(Entry {
            name: syntax.name.text.clone(),
            parameters,
            parameter_bytes,
            max_threads: syntax.max_threads,
            required_threads: syntax.required_threads,
            granule: granule(&code),
            code,
            listing,
            slots: scope.slots,
            predicates: scope.predicates,
            shared,
        })
    }
}

fn lay_out_shared<'a>(variables: impl Iterator<Item = &'a Variable>, scope: &mut Scope) -> Result<SharedLayout, Error> {
    let mut layout = SharedLayout { end: SHARED_START, ..SharedLayout::default() };
    let mut external = Vec::new();
    for variable in variables {
        match variable.space {
            DeclaredSpace::Shared => {
                let address = layout.end.next_multiple_of(variable.align.max(SHARED_ROW));
                scope.declare(&variable.name, Symbol::Shared { address })?;
                layout.extents.push((address, variable.size));
                layout.static_bytes = layout.static_bytes.saturating_add(variable.size);
                layout.end = address + variable.size + SHARED_ROW;
            }
            DeclaredSpace::ExternShared => external.push(variable),
            _ => {}
        }
    }
    // All external arrays begin at the same place.
    let align = external.iter().map(|variable| variable.align).max().unwrap_or(1);
    let address = layout.end.next_multiple_of(align.max(SHARED_ROW));
    for variable in &external {
        scope.declare(&variable.name, Symbol::Shared { address })?;
    }
    layout.dynamic = (!external.is_empty()).then_some(address);
    Ok(layout)
}

fn lay_out_parameters(syntax: &EntrySyntax, scope: &mut Scope) -> Result<(Vec<Parameter>, u64), Error> {
    let mut parameters = Vec::new();
    let mut end = 0u64;
    for parameter in &syntax.parameters {
        let offset = end.next_multiple_of(parameter.align);
        scope.declare(&parameter.name, Symbol::Parameter { offset })?;
        end = offset + parameter.size;
        parameters.push(Parameter {
            name: parameter.name.text.clone(),
            ty: parameter.ty,
            offset,
            size: parameter.size,
            array: parameter.array,
        });
    }
    if end > 4352 {
        return Err(Error::new(syntax.name.place, &syntax.name.text, "more than 4352 bytes of parameters"));
    }
    Ok((parameters, end))
}

/// The instructions of an entry, after its labels got the positions that they mark.
fn place_labels<'a>(syntax: &'a EntrySyntax, scope: &mut Scope) -> Result<Vec<&'a InstructionSyntax>, Error> {
    let mut instructions = Vec::new();
    for statement in &syntax.body {
        match statement {
            Statement::Label(name) => scope.declare_label(name, instructions.len() as u32)?,
            Statement::Instruction(instruction) => instructions.push(instruction),
        }
    }
    Ok(instructions)
}

/// The smallest number of bytes that an instruction accesses in shared memory at once, up to 4.
fn granule(code: &[Instruction]) -> u64 {
    let bytes = |op: &Op| match op {
        Op::Load { element, address: Address { space: Space::Shared | Space::Generic, .. }, .. }
        | Op::Store { element, address: Address { space: Space::Shared | Space::Generic, .. }, .. } => element.bytes,
        _ => 4,
    };
    code.iter().map(|instruction| bytes(&instruction.op)).min().unwrap_or(4).min(4).into()
}
