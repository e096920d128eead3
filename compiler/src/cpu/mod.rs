//! Lowering to machine code: a plan's kernels as Cranelift functions.
//!
//! Every loop, address and scalar expression becomes Cranelift code, four lanes at a time.
//! Contractions call the register-tiled micro-kernels of [`visage_kernels`] with the tile in cache,
//! or, with [`Contraction::Cranelift`], are generated too: the mode that the fast one is tested
//! against, and the one for machines without a micro-kernel.
//!
//! Code refers to what it calls by name, so a kernel's code can be kept in a [`CodeStore`] under a [hash](CodeKey) of all
//! that it depends on.
//!
//! A [`Compiled`] program is functions and a memory plan. Who provides memory and threads is not
//! known here.

mod contraction;
mod emitter;
mod expression;
mod lanes;
mod library;
mod object;
mod pairs;
mod quad;
mod scalar;
mod stage;
mod store;
mod wide;

pub use store::{CodeKey, CodeStore};
pub use wide::{Refusal, Refused, refusals};

use crate::plan::{Kernel, Plan, Step};
use cranelift_codegen::{
    Context,
    ir::{AbiParam, Function, Signature, UserFuncName, types::I64},
    isa::{CallConv, OwnedTargetIsa, TargetIsa},
    settings::{self, Configurable},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::JITModule;
use emitter::Emitter;
use library::{Callee, Library};
use object::{Loader, Object, with_names};
use rayon::prelude::*;
use store::Keys;
use thiserror::Error;
use visage_kernels::{Isa, MicroKernels, PairKernels, Unit, micro_kernels, pair_kernels};

/// Who computes contractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contraction {
    /// The register-tiled micro-kernels.
    #[default]
    MicroKernel,
    /// Cranelift, like everything else.
    Cranelift,
}

/// Who computes what is lane-wise: maps, reductions over features, scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maps {
    /// Code at 512 bits, where a stage is [not refused](Refusal).
    Wide,
    /// Cranelift, at 128 bits.
    Cranelift,
}

impl Maps {
    /// The widest that this machine has.
    pub fn detect() -> Maps {
        if wide::is_available() { Maps::Wide } else { Maps::Cranelift }
    }
}

impl Default for Maps {
    fn default() -> Maps {
        Maps::detect()
    }
}

/// Choices of the lowering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Who computes contractions.
    pub contraction: Contraction,
    /// Who computes maps; on a machine without AVX-512 always Cranelift.
    pub maps: Maps,
    /// The micro-kernels' instruction set.
    pub isa: Isa,
    /// What micro-kernels multiply pairs of bf16 by.
    pub unit: Unit,
}

impl CompileOptions {
    /// What generated code calls.
    fn callable(&self) -> Library {
        Library { micro: micro_kernels(self.isa), pairs: self.pairs() }
    }

    /// The kernels for pairs of bf16. Generated contractions take pairs as the portable ones do.
    fn pairs(&self) -> &'static PairKernels {
        pair_kernels(match self.contraction {
            Contraction::MicroKernel => self.unit,
            Contraction::Cranelift => Unit::Portable,
        })
    }
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions {
            contraction: Contraction::MicroKernel,
            maps: Maps::detect(),
            isa: Isa::detect(),
            unit: Unit::detect(),
        }
    }
}

/// Why a plan cannot be lowered: always a defect or an unsupported machine, never a user's mistake.
#[derive(Debug, Error)]
pub enum CompileError {
    #[error("this processor is not supported: {0}")]
    Machine(String),
    #[error("kernel \"{kernel}\" was refused by the code generator: {problem}")]
    Kernel { kernel: String, problem: String },
    #[error("memory for machine code: {0}")]
    Memory(String),
}

/// A compiled kernel: `(buffers, scratch, first tile, end tile, chunk, random key)`.
///
/// `buffers` is the table of buffer addresses, by number; `scratch` has room for the kernel's tile
/// memory; the random key is the seed and the step, folded to 32 bits each.
pub type KernelFunction = unsafe extern "C" fn(*const *mut u8, *mut f32, usize, usize, usize, *const u32);

/// How many kernels a compilation had, and how many of them it found in a [`CodeStore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// All of them.
    pub kernels: usize,
    /// Those that were not compiled again.
    pub reused: usize,
}

/// A plan with the machine code of its kernels.
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The micro-kernels that packed weights are laid out for.
    pub micro: &'static MicroKernels,
    /// The kernels that weights packed as pairs are laid out for.
    pub pairs: &'static PairKernels,
    /// What was compiled and what was there before.
    pub reuse: Reuse,
    /// One function a kernel step, in order of the plan's steps.
    functions: Vec<Option<KernelFunction>>,
    /// Owns the machine code.
    module: Option<JITModule>,
}

// SAFETY: after `finalize_definitions` the module's memory is only executed.
unsafe impl Send for Compiled {}
// SAFETY: as above.
unsafe impl Sync for Compiled {}

impl Compiled {
    /// The function of the n-th step, if that step is a kernel.
    pub fn function(&self, step: usize) -> Option<KernelFunction> {
        self.functions[step]
    }
}

impl Drop for Compiled {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the functions are reachable only through `self`.
            unsafe { module.free_memory() };
        }
    }
}

fn host_isa() -> Result<OwnedTargetIsa, CompileError> {
    let mut flags = settings::builder();
    let set = |flags: &mut settings::Builder, name: &str, value: &str| {
        flags.set(name, value).map_err(|error| CompileError::Machine(error.to_string()))
    };
    set(&mut flags, "opt_level", "speed")?;
    set(&mut flags, "enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    let builder = cranelift_native::builder().map_err(|error| CompileError::Machine(error.to_owned()))?;
    builder.finish(settings::Flags::new(flags)).map_err(|error| CompileError::Machine(error.to_string()))
}

fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.extend((0..6).map(|_| AbiParam::new(I64)));
    signature
}

/// The wide code of a kernel's stages; none with [`Maps::Cranelift`].
fn wide_stages(kernel: &Kernel, options: &CompileOptions) -> Vec<Option<wide::Wide>> {
    match options.maps {
        Maps::Wide if wide::is_available() => wide::stages(kernel),
        _ => kernel.stages.iter().map(|_| None).collect(),
    }
}

/// A kernel's function, and what it calls, by the numbers of names.
fn function(
    plan: &Plan,
    kernel: &Kernel,
    wide: &[Option<wide::Wide>],
    isa: &dyn TargetIsa,
    options: &CompileOptions,
) -> (Function, Vec<Callee>) {
    let mut function = Function::with_name_signature(UserFuncName::default(), signature());
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    let callees = Emitter::emit(builder, plan, kernel, wide, options, isa.frontend_config());
    (function, callees)
}

fn kernels(plan: &Plan) -> impl Iterator<Item = (usize, &Kernel)> {
    plan.steps.iter().enumerate().filter_map(|(i, step)| match step {
        Step::Kernel(kernel) => Some((i, kernel)),
        _ => None,
    })
}

/// The kernels of a plan as Cranelift text. What they call stands by its name, so that the text is the same in every
/// process.
pub fn clif(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let text = |(_, kernel): (usize, &Kernel)| {
        let (function, callees) = function(plan, kernel, &wide_stages(kernel, options), &*isa, options);
        let listing = with_names(&function.to_string(), &format!("u{}:", emitter::CALLEES), &callees);
        format!("; {}\n{listing}\n", kernel.name)
    };
    Ok(kernels(plan).map(text).collect())
}

/// The kernels of a plan as the assembly of this machine, the same in every process.
pub fn assembly(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let mut text = String::new();
    for (_, kernel) in kernels(plan) {
        let wide = wide_stages(kernel, options);
        let (function, callees) = function(plan, kernel, &wide, &*isa, options);
        let mut context = Context::for_function(function);
        context.set_disasm(true);
        let code = context.compile(&*isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
        let listing = with_names(code.vcode.as_deref().unwrap_or_default(), "userextname", &callees);
        text += &format!("; {}\n{listing}\n", kernel.name);
        for (number, stage) in wide.iter().enumerate() {
            if let Some(stage) = stage {
                text += &format!("; {}, stage {number}, at 512 bits\n{}\n", kernel.name, stage.listing());
            }
        }
    }
    Ok(text)
}

fn refused(kernel: &Kernel, error: &impl ToString) -> CompileError {
    CompileError::Kernel { kernel: kernel.name.clone(), problem: error.to_string() }
}

/// The machine code of a kernel.
fn object(plan: &Plan, kernel: &Kernel, isa: &dyn TargetIsa, options: &CompileOptions) -> Result<Object, CompileError> {
    let wide = wide_stages(kernel, options);
    let (function, callees) = function(plan, kernel, &wide, isa, options);
    let mut context = Context::for_function(function);
    context.compile(isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
    let stages = wide.iter().enumerate();
    let stages = stages.filter_map(|(number, stage)| Some((number, stage.as_ref()?.bytes().to_vec())));
    let code = context.compiled_code().ok_or_else(|| refused(kernel, &"there is no code"))?;
    Object::new(code, &context.func, &callees, stages.collect()).map_err(|problem| refused(kernel, &problem))
}

/// Compiles every kernel of a plan, in parallel. Kernels whose code is in the store are not compiled again, others are
/// kept there.
pub fn compile(plan: Plan, options: &CompileOptions, store: Option<&dyn CodeStore>) -> Result<Compiled, CompileError> {
    let isa = host_isa()?;
    let library = options.callable();
    let keys = Keys::new(&*isa, options);
    let kernels: Vec<(usize, &Kernel)> = kernels(&plan).collect();
    let objects: Vec<(Object, bool)> = kernels
        .par_iter()
        .map(|(_, kernel)| {
            let stored = store.map(|store| (store, keys.of(&plan, kernel)));
            let kept = stored.and_then(|(store, key)| Object::read(&store.load(&key)?, library));
            if let Some(object) = kept {
                return Ok((object, true));
            }
            let object = object(&plan, kernel, &*isa, options)?;
            if let Some((store, key)) = stored {
                store.keep(&key, &object.written());
            }
            Ok((object, false))
        })
        .collect::<Result<_, CompileError>>()?;
    let mut loader = Loader::new(isa, library);
    let mut places = Vec::new();
    for ((i, kernel), (object, _)) in kernels.iter().zip(&objects) {
        places.push((*i, loader.add(*i, object).map_err(|error| refused(kernel, &error))?));
    }
    let module = loader.finish().map_err(CompileError::Memory)?;
    let mut functions = vec![None; plan.steps.len()];
    for (i, place) in &places {
        let address = module.get_finalized_function(*place);
        // SAFETY: the code was generated with the signature of `KernelFunction`.
        functions[*i] = Some(unsafe { std::mem::transmute::<*const u8, KernelFunction>(address) });
    }
    let reuse = Reuse { kernels: objects.len(), reused: objects.iter().filter(|(_, reused)| *reused).count() };
    Ok(Compiled { plan, micro: library.micro, pairs: library.pairs, reuse, functions, module: Some(module) })
}
