//! Lowering to machine code: a plan's kernels as Cranelift functions.
//!
//! Every loop, address and scalar expression becomes Cranelift code, four lanes at a time.
//! Contractions call the register-tiled micro-kernels of [`visage_kernels`] with the tile in cache,
//! or, with [`Contraction::Cranelift`], are generated too: the mode that the fast one is tested
//! against, and the one for machines without a micro-kernel.
//!
//! A [`Compiled`] program is functions and a memory plan. Who provides memory and threads is not
//! known here.

mod contraction;
mod emitter;
mod expression;
mod lanes;
mod library;
mod pairs;
mod quad;
mod random;
mod scalar;
mod stage;
mod wide;

pub use wide::{Refusal, refusals};

use crate::plan::{Kernel, Plan, Step};
use cranelift_codegen::{
    Context,
    ir::{AbiParam, Function, Signature, UserFuncName, types::I64},
    isa::{CallConv, OwnedTargetIsa, TargetIsa},
    settings::{self, Configurable},
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module};
use emitter::Emitter;
use rayon::prelude::*;
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

/// A plan with the machine code of its kernels.
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The micro-kernels that packed weights are laid out for.
    pub micro: &'static MicroKernels,
    /// The kernels that weights packed as pairs are laid out for.
    pub pairs: &'static PairKernels,
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

/// The wide code as a text refers to it: by the stage's number instead of an address.
fn numbered(kernel: &Kernel, options: &CompileOptions) -> wide::Functions {
    let stages = wide_stages(kernel, options).into_iter().enumerate();
    stages.map(|(i, stage)| stage.map(|stage| (stage, i))).collect()
}

fn function(
    plan: &Plan,
    kernel: &Kernel,
    wide: &wide::Functions,
    isa: &dyn TargetIsa,
    options: &CompileOptions,
) -> Function {
    let mut function = Function::with_name_signature(UserFuncName::default(), signature());
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    Emitter::emit(builder, plan, kernel, wide, options, isa.frontend_config());
    function
}

/// The kernels of a plan as Cranelift text.
pub fn clif(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let kernels = plan.steps.iter().filter_map(|step| match step {
        Step::Kernel(kernel) => Some(kernel),
        _ => None,
    });
    let text = |kernel: &Kernel| function(plan, kernel, &numbered(kernel, options), &*isa, options);
    Ok(kernels.map(|kernel| format!("; {}\n{}\n", kernel.name, text(kernel))).collect())
}

/// The kernels of a plan as the assembly of this machine.
pub fn assembly(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let mut text = String::new();
    for step in &plan.steps {
        if let Step::Kernel(kernel) = step {
            let wide = numbered(kernel, options);
            let mut context = Context::for_function(function(plan, kernel, &wide, &*isa, options));
            context.set_disasm(true);
            let code =
                context.compile(&*isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
            text += &format!("; {}\n{}\n", kernel.name, code.vcode.as_deref().unwrap_or_default());
            for (stage, number) in wide.iter().flatten() {
                text += &format!("; {}, stage {number}, at 512 bits\n{}\n", kernel.name, stage.listing());
            }
        }
    }
    Ok(text)
}

fn refused(kernel: &Kernel, error: &impl ToString) -> CompileError {
    CompileError::Kernel { kernel: kernel.name.clone(), problem: error.to_string() }
}

/// Makes wide code executable: kernels call it by its address.
fn placed(
    module: &mut JITModule,
    kernels: &[(usize, &Kernel)],
    stages: Vec<Vec<Option<wide::Wide>>>,
) -> Result<Vec<wide::Functions>, CompileError> {
    let mut signature = Signature::new(CallConv::triple_default(&target_lexicon::Triple::host()));
    signature.params.push(AbiParam::new(I64));
    let mut defined = Vec::new();
    for ((i, kernel), stages) in kernels.iter().zip(stages) {
        let define = |(number, stage): (usize, Option<wide::Wide>)| {
            let Some(stage) = stage else { return Ok(None) };
            let name = format!("kernel{i}.stage{number}");
            let id = module.declare_function(&name, Linkage::Export, &signature);
            let id = id.map_err(|error| refused(kernel, &error))?;
            let placed = module.define_function_bytes(id, 64, stage.bytes(), &[]);
            placed.map_err(|error| refused(kernel, &error))?;
            Ok(Some((stage, id)))
        };
        let stages: Result<Vec<_>, CompileError> = stages.into_iter().enumerate().map(define).collect();
        defined.push(stages?);
    }
    if defined.iter().flatten().any(Option::is_some) {
        module.finalize_definitions().map_err(|error| CompileError::Memory(error.to_string()))?;
    }
    let address = |(stage, id)| (stage, module.get_finalized_function(id) as usize);
    Ok(defined.into_iter().map(|stages| stages.into_iter().map(|stage| stage.map(address)).collect()).collect())
}

/// Compiles every kernel of a plan, in parallel.
pub fn compile(plan: Plan, options: &CompileOptions) -> Result<Compiled, CompileError> {
    let isa = host_isa()?;
    let kernels: Vec<(usize, &Kernel)> = plan
        .steps
        .iter()
        .enumerate()
        .filter_map(|(i, step)| match step {
            Step::Kernel(kernel) => Some((i, kernel)),
            _ => None,
        })
        .collect();
    let mut module = JITModule::new(JITBuilder::with_isa(isa.clone(), cranelift_module::default_libcall_names()));
    let stages = kernels.par_iter().map(|(_, kernel)| wide_stages(kernel, options)).collect();
    let wide = placed(&mut module, &kernels, stages)?;
    let compiled: Vec<(usize, String, Context)> = kernels
        .par_iter()
        .zip(&wide)
        .map(|((i, kernel), wide)| {
            let mut context = Context::for_function(function(&plan, kernel, wide, &*isa, options));
            context.compile(&*isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
            Ok((*i, kernel.name.clone(), context))
        })
        .collect::<Result<_, CompileError>>()?;
    let mut defined = Vec::new();
    for (i, name, context) in compiled {
        let failed = |error: cranelift_module::ModuleError| CompileError::Kernel {
            kernel: name.clone(),
            problem: error.to_string(),
        };
        let id = module.declare_function(&format!("kernel{i}"), Linkage::Export, &signature()).map_err(failed)?;
        let code = context.compiled_code().map(|code| {
            let alignment = u64::from(code.buffer.alignment);
            (alignment, code.code_buffer().to_vec())
        });
        let (alignment, bytes) = code.unwrap_or_default();
        module.define_function_bytes(id, alignment, &bytes, &[]).map_err(failed)?;
        defined.push((i, id));
    }
    module.finalize_definitions().map_err(|error| CompileError::Memory(error.to_string()))?;
    let mut functions = vec![None; plan.steps.len()];
    for (i, id) in defined {
        let address = module.get_finalized_function(id);
        // SAFETY: the code was generated with the signature of `KernelFunction`.
        functions[i] = Some(unsafe { std::mem::transmute::<*const u8, KernelFunction>(address) });
    }
    Ok(Compiled { plan, micro: micro_kernels(options.isa), pairs: options.pairs(), functions, module: Some(module) })
}
