//! Running programs: one interface, several devices.
//!
//! An [`Executable`] is a program prepared for a device. It reads named inputs and the state, and gives
//! named outputs; outputs that are updates go into the state instead.

mod cpu;
pub mod gpu;
mod layout;
mod reference;

pub use cpu::{Piece, StepProfile};

use crate::buffer::{Buffer, State};
use indexmap::IndexMap;
use std::path::PathBuf;
use thiserror::Error;
use visage_compiler::{
    cpu::Reuse,
    graph::{Op, Type},
    plan::{self, PlanOptions, Without},
    ptx,
    random::RandomKey,
    system::Program,
};

/// What runs a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// Compiled for the cores of this machine
    #[default]
    Cpu,
    /// Compiled for a graphics processor of NVIDIA's
    Cuda,
    /// The reference evaluator: plain loops, slow, what every other device is measured against
    Reference,
}

/// What multiplies matrices on a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Contraction {
    /// The register-tiled kernels of this machine's vector unit
    #[default]
    MicroKernel,
    /// Loops compiled like everything else
    Cranelift,
}

/// What computes elementwise operations, reductions and scans on a CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Maps {
    /// Vectors of 512 bits where the machine has them
    #[default]
    Wide,
    /// Loops compiled for 128 bits, on any machine
    Cranelift,
}

/// What a contraction rounds its operands to. Sums are in `f32`, and so is everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// Nothing: they are multiplied as they are
    #[default]
    F32,
    /// Eleven bits of precision, which graphics processors multiply some times as fast
    Tf32,
    /// Eight bits of precision, which some machines multiply many times as fast
    Bf16,
}

impl Precision {
    /// As the CPU has it.
    ///
    /// # Errors
    /// It does not.
    pub fn on_cpu(self) -> Result<plan::Precision, ExecuteError> {
        match self {
            Precision::F32 => Ok(plan::Precision::F32),
            Precision::Tf32 => Err(ExecuteError::Device("a CPU multiplies in f32 or bf16, not in tf32".to_owned())),
            Precision::Bf16 => Ok(plan::Precision::Bf16),
        }
    }

    /// As a graphics processor has it.
    pub fn on_gpu(self) -> ptx::Precision {
        match self {
            Precision::F32 => ptx::Precision::F32,
            Precision::Tf32 => ptx::Precision::Tf32,
            Precision::Bf16 => ptx::Precision::Bf16,
        }
    }
}

/// How programs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecuteOptions {
    /// What runs them.
    pub device: Device,
    /// Threads; all cores unless given. Results do not depend on it.
    pub threads: Option<usize>,
    /// Whether operations share kernels.
    pub fuse: bool,
    /// What multiplies matrices.
    pub contraction: Contraction,
    /// What computes elementwise operations. Results do not depend on it.
    pub maps: Maps,
    /// What contractions round their operands to.
    pub precision: Precision,
    /// Decisions of the planner that are left out, on the CPU.
    pub without: Without,
    /// Bytes of intermediate values beyond which a stretch of a program runs part by part, on the CPU.
    pub segment_bytes: usize,
    /// Tiles of a part that are worth sharing among threads, on the CPU.
    pub segment_tiles: usize,
    /// Whether results on a graphics processor are the same in every run, where threads would add as they come otherwise.
    pub deterministic: bool,
    /// The folder of a [code cache](crate::code_cache), on the CPU. Results do not depend on it.
    pub code_cache: Option<PathBuf>,
}

impl Default for ExecuteOptions {
    fn default() -> ExecuteOptions {
        let PlanOptions { segment_bytes, segment_tiles, .. } = PlanOptions::default();
        ExecuteOptions {
            device: Device::default(),
            threads: None,
            fuse: true,
            contraction: Contraction::default(),
            maps: Maps::default(),
            precision: Precision::default(),
            without: Without::default(),
            segment_bytes,
            segment_tiles,
            deterministic: false,
            code_cache: None,
        }
    }
}

/// Memory that a program needs beside inputs, outputs and state, known before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// Bytes of intermediate values at the peak.
    pub intermediates: usize,
    /// Bytes of parameters and other state.
    pub state: usize,
    /// Bytes of inputs.
    pub inputs: usize,
    /// Bytes of outputs that are no updates of the state.
    pub outputs: usize,
}

impl MemoryReport {
    /// All of it.
    pub fn total(&self) -> usize {
        self.intermediates + self.state + self.inputs + self.outputs
    }
}

/// Why a program did not run.
#[derive(Debug, Error, miette::Diagnostic)]
pub enum ExecuteError {
    /// A value that the program reads was not given.
    #[error("the {kind} `{name}` is missing: {ty}")]
    Missing {
        /// Input or parameter.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What it should be.
        ty: Type,
    },
    /// A value has another type or order of axes than the program reads.
    #[error("the {kind} `{name}` is {found}, where {expected} is needed")]
    Mismatch {
        /// Input or parameter.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What was given.
        found: Type,
        /// What should be.
        expected: Type,
    },
    /// An update names no state or no output of its type.
    #[error("the update of `{state}` by the output `{output}` cannot be: {problem}")]
    Update {
        /// The value to be updated.
        state: String,
        /// The output.
        output: String,
        /// Why not.
        problem: String,
    },
    /// The device failed.
    #[error("{0}")]
    Device(String),
}

/// A program prepared for a device.
#[derive(Debug)]
pub struct Executable {
    program: Program,
    /// The inputs that the graph reads: optional ones that were not given are no part of it.
    inputs: Vec<String>,
    /// State names by the outputs that update them.
    updates: IndexMap<String, String>,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Cpu(Box<cpu::Cpu>),
    Gpu(Box<gpu::Gpu>),
    Reference,
}

impl Executable {
    /// Prepares a program. `updates` says which state each output replaces: state name to output name.
    ///
    /// # Errors
    /// An update is impossible, or the device cannot run the program.
    pub fn new(
        program: &Program,
        updates: &IndexMap<String, String>,
        options: &ExecuteOptions,
    ) -> Result<Executable, ExecuteError> {
        Executable::prepared(program, updates, |updates| match options.device {
            Device::Cpu => Ok(Engine::Cpu(Box::new(cpu::Cpu::new(program, updates, options)?))),
            Device::Cuda => Ok(Engine::Gpu(Box::new(gpu::Gpu::new(program, options, gpu::cuda()?)?))),
            Device::Reference => Ok(Engine::Reference),
        })
    }

    /// Prepares a program for a device that is given, whatever the options say of devices.
    ///
    /// # Errors
    /// As [`Executable::new`].
    pub fn on(
        device: &gpu::SharedDevice,
        program: &Program,
        updates: &IndexMap<String, String>,
        options: &ExecuteOptions,
    ) -> Result<Executable, ExecuteError> {
        Executable::prepared(program, updates, |_| {
            Ok(Engine::Gpu(Box::new(gpu::Gpu::new(program, options, device.clone())?)))
        })
    }

    fn prepared(
        program: &Program,
        updates: &IndexMap<String, String>,
        engine: impl FnOnce(&IndexMap<String, String>) -> Result<Engine, ExecuteError>,
    ) -> Result<Executable, ExecuteError> {
        for (state, output) in updates {
            let fail =
                |problem: String| Err(ExecuteError::Update { state: state.clone(), output: output.clone(), problem });
            let Some(node) = program.graph.output(output) else { return fail("there is no such output".into()) };
            let found = program.graph.ty(node);
            match program.parameters.get(state).map(|node| program.graph.ty(*node)) {
                Some(expected) if expected != found => return fail(format!("one is {expected}, the other {found}")),
                _ => {}
            }
        }
        let updates = updates.iter().map(|(state, output)| (output.clone(), state.clone())).collect();
        let engine = engine(&updates)?;
        let outputs: Vec<_> = program.graph.outputs().map(|(_, node)| node).collect();
        let read = program.graph.reachable(&outputs).into_iter().filter_map(|node| match program.graph.op(node) {
            Op::Input(name) => Some(name.clone()),
            _ => None,
        });
        Ok(Executable { program: program.clone(), inputs: read.collect(), updates, engine })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// How many kernels the program has, and how many of them were not compiled because the code cache had them; nothing
    /// for a device without code.
    pub fn reuse(&self) -> Reuse {
        match &self.engine {
            Engine::Cpu(cpu) => cpu.reuse(),
            Engine::Gpu(_) | Engine::Reference => Reuse::default(),
        }
    }

    /// What each step took, averaged over the runs; nothing for a device that has no steps.
    pub fn profile(&self) -> Vec<StepProfile> {
        match &self.engine {
            Engine::Cpu(cpu) => cpu.profile(),
            Engine::Gpu(_) | Engine::Reference => Vec::new(),
        }
    }

    /// Starts the averages of [`profile`](Executable::profile) anew.
    pub fn forget_profile(&mut self) {
        if let Engine::Cpu(cpu) = &mut self.engine {
            cpu.forget_profile();
        }
    }

    /// Notes what every thread does in the runs that follow, for a device that has steps.
    pub fn start_recording(&mut self) {
        if let Engine::Cpu(cpu) = &mut self.engine {
            cpu.start_recording();
        }
    }

    /// What the threads have done since [`start_recording`](Executable::start_recording), thread by thread in order
    /// of time; ends the recording.
    pub fn stop_recording(&mut self) -> Vec<Piece> {
        match &mut self.engine {
            Engine::Cpu(cpu) => cpu.stop_recording(),
            Engine::Gpu(_) | Engine::Reference => Vec::new(),
        }
    }

    /// The memory it needs.
    pub fn memory(&self) -> MemoryReport {
        let bytes = |ty: &Type| ty.shape.elements() * ty.dtype.bytes();
        let graph = &self.program.graph;
        let intermediates = match &self.engine {
            Engine::Cpu(cpu) => cpu.intermediates(),
            Engine::Gpu(gpu) => gpu.intermediates(),
            Engine::Reference => reference::intermediates(graph),
        };
        MemoryReport {
            intermediates,
            state: self.program.parameters.values().map(|node| bytes(graph.ty(*node))).sum(),
            inputs: self.inputs.iter().map(|name| bytes(&self.program.inputs[name].ty)).sum(),
            outputs: graph
                .outputs()
                .filter(|(name, _)| !self.updates.contains_key(*name))
                .map(|(_, node)| bytes(graph.ty(node)))
                .sum(),
        }
    }

    /// Runs it. Outputs are row-major in the documented order of their axes; those that are updates are
    /// written into `state` instead, in storage order.
    ///
    /// # Errors
    /// A value is missing or of another type, or the device fails.
    pub fn run(
        &mut self,
        state: &mut State,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
    ) -> Result<IndexMap<String, Buffer>, ExecuteError> {
        let graph = &self.program.graph;
        for (name, node) in &self.program.parameters {
            check("parameter", name, graph.ty(*node), state.get(name))?;
        }
        for name in &self.inputs {
            check("input", name, &self.program.inputs[name].ty, inputs.get(name))?;
        }
        match &mut self.engine {
            Engine::Cpu(cpu) => cpu.run(&self.program, &self.updates, state, inputs, key),
            Engine::Gpu(gpu) => gpu.run(&self.program, &self.updates, state, inputs, key),
            Engine::Reference => {
                let inputs = self.inputs.iter().map(|name| (name.as_str(), &inputs[name]));
                reference::run(&self.program, &self.updates, state, inputs, key)
            }
        }
    }
}

fn check(kind: &'static str, name: &str, expected: &Type, given: Option<&Buffer>) -> Result<(), ExecuteError> {
    let name = || name.to_owned();
    let Some(buffer) = given else {
        return Err(ExecuteError::Missing { kind, name: name(), ty: expected.clone() });
    };
    let found = buffer.ty();
    if found.dtype != expected.dtype || !found.shape.iter().eq(expected.shape.iter()) {
        let (found, expected) = (found.clone(), expected.clone());
        return Err(ExecuteError::Mismatch { kind, name: name(), found, expected });
    }
    Ok(())
}
