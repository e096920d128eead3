//! What the machine code of a kernel depends on, and where code may be kept.

use super::{CompileOptions, Maps};
use crate::plan::{Expression, Kernel, Plan, Stage, Term};
use cranelift_codegen::isa::TargetIsa;
use std::fmt::{self, Write};

/// A hash of all that a kernel's machine code depends on: its stages and the layouts of what it touches, the options, the
/// processor's instructions, and this build of the compiler and the micro-kernels.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKey([u8; 32]);

impl CodeKey {
    /// The key that a store kept with some code.
    pub fn from_bytes(bytes: [u8; 32]) -> CodeKey {
        CodeKey(bytes)
    }

    /// The hash.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeKey({self})")
    }
}

/// Where machine code is kept from one process to the next.
///
/// # Safety
/// What `load` gives is executed. It must be, to the byte, what a process of the same user handed to `keep` with the same
/// key; anything else, whether by accident or by intent, must be none.
pub unsafe trait CodeStore: Sync {
    /// What is kept under a key.
    fn load(&self, key: &CodeKey) -> Option<Vec<u8>>;

    /// Keeps code under a key, or does not: a store that fails costs time, and is no error.
    fn keep(&self, key: &CodeKey, code: &[u8]);
}

/// A hash under construction, as a place to write listings to.
#[derive(Clone)]
struct Hashing(blake3::Hasher);

impl Write for Hashing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// What the kernels of one compilation have in common.
pub(super) struct Keys(Hashing);

impl Keys {
    pub fn new(isa: &dyn TargetIsa, options: &CompileOptions) -> Keys {
        let mut hashing = Hashing(blake3::Hasher::new());
        let CompileOptions { contraction, maps, isa: micro, unit: _ } = options;
        let wide = *maps == Maps::Wide && super::wide::is_available();
        let _ = writeln!(hashing, "{} {contraction:?} {wide} {micro} {}", env!("VISAGE_BUILD"), options.pairs().unit);
        let _ = writeln!(hashing, "{}\n{}", isa.triple(), isa.flags());
        for flag in isa.isa_flags() {
            let _ = writeln!(hashing, "{flag}");
        }
        Keys(hashing)
    }

    /// The key of a kernel.
    pub fn of(&self, plan: &Plan, kernel: &Kernel) -> CodeKey {
        let mut hashing = self.0.clone();
        // Names and figures for people are no part of it: the same code serves the same work under another name.
        let Kernel { name: _, rows, tiles, tile_words, tile_panels, chunks, stages, scratch, flops: _, bytes: _ } =
            kernel;
        let _ = write!(hashing, "{rows:?} {tiles:?} {tile_words:?} {tile_panels} {chunks} {scratch} {stages:?}");
        // The listing of a number tells all numbers apart but one NaN from another.
        for value in stages.iter().flat_map(constants) {
            let _ = write!(hashing, " {:x}", value.to_bits());
        }
        for id in kernel.buffers() {
            let buffer = &plan.buffers[id.0 as usize];
            let _ = write!(hashing, "\n{id:?} {:?} {:?}", buffer.dtype, buffer.layout);
        }
        CodeKey(*hashing.0.finalize().as_bytes())
    }
}

/// The numbers in a stage.
fn constants(stage: &Stage) -> Vec<f64> {
    let of = |body: &Expression| {
        let constant = |term: &Term| match term {
            Term::Constant(value, _) => Some(*value),
            _ => None,
        };
        body.terms.iter().filter_map(constant).collect()
    };
    match stage {
        Stage::Fill { value, .. } => vec![*value],
        _ => stage.body().map_or_else(Vec::new, of),
    }
}
