//! The machine code of a kernel before it has a place: bytes, and where they want the addresses of what they call.
//!
//! An object is the same in every process of a build, so it can be written down and read back.

use super::library::{Callee, Library};
use cranelift_codegen::{
    CompiledCode,
    binemit::Reloc,
    ir::{ExternalName, Function},
    isa::OwnedTargetIsa,
};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};

/// A kernel's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    /// What its function wants to be aligned to.
    alignment: u64,
    bytes: Vec<u8>,
    calls: Vec<Call>,
    /// The wide code of stages, by their numbers. It calls nothing.
    stages: Vec<(usize, Vec<u8>)>,
}

/// Eight bytes of the code that are the address of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    offset: u32,
    callee: Callee,
}

/// The alignment of wide code: a line of the cache.
const WIDE_ALIGNMENT: u64 = 64;

impl Object {
    /// The code of a function that calls `callees`, by their numbers.
    ///
    /// # Errors
    /// It calls something else, or in a way that needs more than an address.
    pub fn new(
        code: &CompiledCode,
        function: &Function,
        callees: &[Callee],
        stages: Vec<(usize, Vec<u8>)>,
    ) -> Result<Object, String> {
        let names = function.params.user_named_funcs();
        let calls = code.buffer.relocs().iter().map(|relocation| {
            let target = ModuleReloc::from_mach_reloc(relocation, function, FuncId::from_u32(0));
            let callee = match &relocation.target {
                cranelift_codegen::FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                    callees.get(names[*name].index as usize)
                }
                _ => None,
            };
            match (callee, target.kind, target.addend) {
                (Some(callee), Reloc::Abs8, 0) => Ok(Call { offset: target.offset, callee: *callee }),
                _ => Err(format!("{:?} is not a function that kernels can call", target.name)),
            }
        });
        let calls = calls.collect::<Result<_, _>>()?;
        Ok(Object { alignment: u64::from(code.buffer.alignment), bytes: code.code_buffer().to_vec(), calls, stages })
    }

    /// As bytes; [`read`](Object::read) is the inverse.
    pub fn written(&self) -> Vec<u8> {
        let mut to = Vec::new();
        word(&mut to, self.alignment);
        block(&mut to, &self.bytes);
        word(&mut to, self.calls.len() as u64);
        for call in &self.calls {
            word(&mut to, u64::from(call.offset));
            block(&mut to, call.callee.to_string().as_bytes());
        }
        word(&mut to, self.stages.len() as u64);
        for (number, bytes) in &self.stages {
            word(&mut to, *number as u64);
            block(&mut to, bytes);
        }
        to
    }

    /// The object that was written as these bytes; none if they are not of one whose calls all lead somewhere.
    pub fn read(bytes: &[u8], library: Library) -> Option<Object> {
        let mut from = Reader(bytes);
        let alignment = from.word()?;
        let bytes = from.block()?.to_vec();
        let calls = (0..from.word()?).map(|_| {
            let offset = u32::try_from(from.word()?).ok()?;
            let callee = Callee::named(std::str::from_utf8(from.block()?).ok()?)?;
            Some(Call { offset, callee })
        });
        let calls: Vec<Call> = calls.collect::<Option<_>>()?;
        let stages = (0..from.word()?).map(|_| Some((usize::try_from(from.word()?).ok()?, from.block()?.to_vec())));
        let stages: Vec<(usize, Vec<u8>)> = stages.collect::<Option<_>>()?;
        let leads_somewhere = |call: &Call| match call.callee {
            Callee::Stage(number) => stages.iter().any(|(stage, _)| *stage == number),
            callee => callee.address(library).is_some(),
        };
        let inside = |call: &Call| (call.offset as usize).checked_add(8).is_some_and(|end| end <= bytes.len());
        let ascending = stages.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let whole = from.0.is_empty() && ascending && alignment.is_power_of_two() && alignment <= 4096;
        let sound = whole && calls.iter().all(|call| inside(call) && leads_somewhere(call));
        sound.then_some(Object { alignment, bytes, calls, stages })
    }
}

fn word(to: &mut Vec<u8>, word: u64) {
    to.extend(word.to_le_bytes());
}

fn block(to: &mut Vec<u8>, bytes: &[u8]) {
    word(to, bytes.len() as u64);
    to.extend(bytes);
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn word(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*word))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.word()?).ok()?;
        let (block, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(block)
    }
}

/// Memory that objects are put into.
pub(super) struct Loader(JITModule);

impl Loader {
    /// Room for objects that call these micro-kernels.
    pub fn new(isa: OwnedTargetIsa, library: Library) -> Loader {
        let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
        for callee in Callee::all(library) {
            if let Some(address) = callee.address(library) {
                builder.symbol(callee.to_string(), address);
            }
        }
        Loader(JITModule::new(builder))
    }

    /// Puts an object in, as the kernel of this number.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn add(&mut self, kernel: usize, object: &Object) -> Result<FuncId, String> {
        let kernel = format!("kernel_{kernel}");
        let in_kernel = |callee: Callee| format!("{kernel}.{callee}");
        for (number, bytes) in &object.stages {
            let stage = self.declare(&in_kernel(Callee::Stage(*number)), Linkage::Local)?;
            self.define(stage, WIDE_ALIGNMENT, bytes, &[])?;
        }
        let mut relocations = Vec::with_capacity(object.calls.len());
        for Call { offset, callee } in &object.calls {
            let target = match callee {
                Callee::Stage(_) => self.declare(&in_kernel(*callee), Linkage::Local)?,
                callee => self.declare(&callee.to_string(), Linkage::Import)?,
            };
            let name = ModuleRelocTarget::from(target);
            relocations.push(ModuleReloc { offset: *offset, kind: Reloc::Abs8, name, addend: 0 });
        }
        let function = self.declare(&kernel, Linkage::Local)?;
        self.define(function, object.alignment, &object.bytes, &relocations)?;
        Ok(function)
    }

    /// A name; again, if it is known. Nothing is generated from the declaration, so its signature does not matter.
    fn declare(&mut self, name: &str, linkage: Linkage) -> Result<FuncId, String> {
        let signature = self.0.make_signature();
        self.0.declare_function(name, linkage, &signature).map_err(|error| error.to_string())
    }

    fn define(&mut self, id: FuncId, alignment: u64, bytes: &[u8], calls: &[ModuleReloc]) -> Result<(), String> {
        self.0.define_function_bytes(id, alignment, bytes, calls).map_err(|error| error.to_string())
    }

    /// Fills addresses in and makes the memory executable.
    ///
    /// # Errors
    /// The system refuses.
    pub fn finish(mut self) -> Result<JITModule, String> {
        self.0.finalize_definitions().map_err(|error| error.to_string())?;
        Ok(self.0)
    }
}

/// A listing of Cranelift's in which what is called stands by its name instead of its number, which follows `prefix`.
pub(super) fn with_names(listing: &str, prefix: &str, callees: &[Callee]) -> String {
    let mut parts = listing.split(prefix);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, rest) = part.split_at(end);
        match number.parse().ok().and_then(|number: usize| callees.get(number)) {
            Some(callee) => text += &format!("%{callee}{rest}"),
            None => text += &format!("{prefix}{part}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use visage_kernels::{Isa, Unit, micro_kernels, pair_kernels};

    fn library() -> Library {
        Library { micro: micro_kernels(Isa::detect()), pairs: pair_kernels(Unit::detect()) }
    }

    fn object() -> Object {
        let call = |offset, callee| Call { offset, callee };
        Object {
            alignment: 16,
            bytes: (0..64).collect(),
            calls: vec![call(2, Callee::Strip(1)), call(30, Callee::Stage(3)), call(56, Callee::Settle)],
            stages: vec![(0, vec![1, 2, 3]), (3, vec![4; 70])],
        }
    }

    #[test]
    fn an_object_is_read_as_it_was_written() {
        let library = library();
        assert_eq!(Object::read(&object().written(), library), Some(object()));
    }

    #[test]
    fn what_is_not_an_object_is_none() {
        let library = library();
        let written = object().written();
        for length in 0..written.len() {
            assert_eq!(Object::read(&written[..length], library), None, "{length} bytes");
        }
        assert_eq!(Object::read(&[&written[..], &[0]].concat(), library), None, "a byte too many");
        let refused = |change: fn(&mut Object)| {
            let mut object = object();
            change(&mut object);
            Object::read(&object.written(), library).is_none()
        };
        assert!(refused(|object| object.alignment = 24));
        assert!(refused(|object| object.calls[2].offset = 57), "an address past the end");
        assert!(refused(|object| object.calls[1].callee = Callee::Stage(1)), "a stage that is not there");
        assert!(refused(|object| object.calls[0].callee = Callee::Strip(1000)), "no such micro-kernel");
        assert!(refused(|object| object.stages[0].0 = 3), "a stage twice");
        assert!(!refused(|_| {}));
    }

    #[test]
    fn numbers_that_are_names_become_names() {
        let callees = [Callee::Settle, Callee::Strip(14)];
        let listing = "load_ext_name userextname1+0, %rax; userextname12, userextname0";
        let expected = "load_ext_name %strip_14+0, %rax; userextname12, %settle";
        assert_eq!(with_names(listing, "userextname", &callees), expected);
    }
}
