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
mod quad;
mod random;
mod scalar;
mod stage;

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
use visage_kernels::{Isa, MicroKernels, micro_kernels};

/// Who computes contractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Contraction {
    /// The register-tiled micro-kernels.
    #[default]
    MicroKernel,
    /// Cranelift, like everything else.
    Cranelift,
}

/// Choices of the lowering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Who computes contractions.
    pub contraction: Contraction,
    /// The micro-kernels' instruction set.
    pub isa: Isa,
}

impl Default for CompileOptions {
    fn default() -> CompileOptions {
        CompileOptions { contraction: Contraction::MicroKernel, isa: Isa::detect() }
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

fn function(plan: &Plan, kernel: &Kernel, isa: &dyn TargetIsa, options: &CompileOptions) -> Function {
    let mut function = Function::with_name_signature(UserFuncName::default(), signature());
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    Emitter::emit(builder, plan, kernel, micro_kernels(options.isa), options.contraction, isa.frontend_config());
    function
}

/// The kernels of a plan as Cranelift text.
pub fn clif(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let kernels = plan.steps.iter().filter_map(|step| match step {
        Step::Kernel(kernel) => Some(kernel),
        _ => None,
    });
    Ok(kernels.map(|kernel| format!("; {}\n{}\n", kernel.name, function(plan, kernel, &*isa, options))).collect())
}

/// The kernels of a plan as the assembly of this machine.
pub fn assembly(plan: &Plan, options: &CompileOptions) -> Result<String, CompileError> {
    let isa = host_isa()?;
    let mut text = String::new();
    for step in &plan.steps {
        if let Step::Kernel(kernel) = step {
            let mut context = Context::for_function(function(plan, kernel, &*isa, options));
            context.set_disasm(true);
            let code =
                context.compile(&*isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
            text += &format!("; {}\n{}\n", kernel.name, code.vcode.as_deref().unwrap_or_default());
        }
    }
    Ok(text)
}

fn refused(kernel: &Kernel, error: &impl ToString) -> CompileError {
    CompileError::Kernel { kernel: kernel.name.clone(), problem: error.to_string() }
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
    let compiled: Vec<(usize, String, Context)> = kernels
        .par_iter()
        .map(|(i, kernel)| {
            let mut context = Context::for_function(function(&plan, kernel, &*isa, options));
            context.compile(&*isa, &mut Default::default()).map_err(|error| refused(kernel, &error.inner))?;
            Ok((*i, kernel.name.clone(), context))
        })
        .collect::<Result<_, CompileError>>()?;
    let mut module = JITModule::new(JITBuilder::with_isa(isa, cranelift_module::default_libcall_names()));
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
    Ok(Compiled { plan, micro: micro_kernels(options.isa), functions, module: Some(module) })
}
