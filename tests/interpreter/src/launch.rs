//! Launching a kernel: checking arguments and sizes, then running its blocks.

use crate::{
    execute::Block,
    fault::Fault,
    memory::Memory,
    module::{Entry, Module, Parameter},
    scope::{Constant, SlotUse},
    statistics::{Cost, Statistics},
    types::Type,
};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Shared memory that a block may have, in bytes.
const SHARED_LIMIT: u64 = 227 * 1024;

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// An integer of 32 bits.
    U32(u32),
    /// A signed integer of 32 bits.
    S32(i32),
    /// An integer of 64 bits, or an address.
    U64(u64),
    /// A signed integer of 64 bits.
    S64(i64),
    /// A number in single precision.
    F32(f32),
    /// A number in double precision.
    F64(f64),
    /// The bytes of a parameter of any type: an array that is passed by value, or what a driver is handed.
    Bytes(Vec<u8>),
}

impl Argument {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Argument::U32(value) => value.to_le_bytes().into(),
            Argument::S32(value) => value.to_le_bytes().into(),
            Argument::U64(value) => value.to_le_bytes().into(),
            Argument::S64(value) => value.to_le_bytes().into(),
            Argument::F32(value) => value.to_le_bytes().into(),
            Argument::F64(value) => value.to_le_bytes().into(),
            Argument::Bytes(bytes) => bytes.clone(),
        }
    }

    fn suits(&self, parameter: &Parameter) -> bool {
        let ty = match self {
            Argument::U32(_) => Type::U32,
            Argument::S32(_) => Type::S32,
            Argument::U64(_) => Type::U64,
            Argument::S64(_) => Type::S64,
            Argument::F32(_) => Type::F32,
            Argument::F64(_) => Type::F64,
            Argument::Bytes(bytes) => return bytes.len() as u64 == parameter.size,
        };
        !parameter.array && ty.accepts(parameter.ty)
    }
}

/// What all blocks of a launch have in common.
pub(crate) struct Launch<'a> {
    pub entry: &'a Entry,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u64,
    pub parameters: Vec<u8>,
    /// The addresses of the variables of the module.
    pub variables: Vec<u64>,
    pub memory: &'a Memory,
    pub number: u64,
}

impl Launch<'_> {
    /// Threads in a block.
    pub fn threads(&self) -> usize {
        self.block.iter().product::<u32>() as usize
    }

    /// The value of a constant that is the same in all threads.
    pub fn constant(&self, constant: Constant) -> Option<u64> {
        match constant {
            Constant::Bits(bits) => Some(bits),
            Constant::Variable(position) => Some(self.variables[position]),
            Constant::Special(_) => None,
        }
    }
}

impl Module {
    /// Runs a kernel on every block of a grid, and returns when all have ended.
    ///
    /// Blocks run in parallel, in any order; the warps of a block take turns, each until it must wait. So a
    /// kernel without races and without floating-point sums across blocks gives the same result every time.
    ///
    /// # Errors
    /// A launch that a driver would refuse, or the first thing that a block did which it must not do.
    /// Memory then holds whatever was written before.
    pub fn launch(
        &self,
        entry: &str,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic_shared: usize,
        arguments: &[Argument],
        memory: &Memory,
    ) -> Result<Statistics, Box<Fault>> {
        let Some(found) = self.entry(entry) else { return Err(Fault::launch(entry, "there is no such entry")) };
        let refuse = |problem: String| Fault::launch(entry, problem);
        check_sizes(found, grid, block, dynamic_shared as u64).map_err(refuse)?;
        let launch = Launch {
            entry: found,
            grid,
            block,
            dynamic_shared: dynamic_shared as u64,
            parameters: parameters(found, arguments).map_err(refuse)?,
            variables: memory.variables(self.id, || self.place_variables(memory)),
            memory,
            number: memory.begin_launch(),
        };
        let blocks: u64 = grid.iter().map(|extent| u64::from(*extent)).product();
        let sum = Mutex::new(Counters::new(found.code.len()));
        let fault = (0..blocks).into_par_iter().find_map_first(|number| match Block::new(&launch, number).run() {
            Ok(counters) => {
                sum.lock().unwrap_or_else(PoisonError::into_inner).add(&counters);
                None
            }
            Err(fault) => Some(fault),
        });
        match fault {
            Some(fault) => Err(fault),
            None => Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner).statistics(found)),
        }
    }

    /// The address in `memory` of a variable of the module, and its size.
    pub fn variable(&self, name: &str, memory: &Memory) -> Option<(u64, usize)> {
        let position = self.variables.iter().position(|variable| variable.name == name)?;
        let addresses = memory.variables(self.id, || self.place_variables(memory));
        Some((addresses[position], self.variables[position].size as usize))
    }

    fn place_variables(&self, memory: &Memory) -> Vec<u64> {
        let place = |variable: &crate::module::GlobalVariable| {
            let address = memory.alloc(variable.size as usize);
            // It fits: the allocation was just made for it.
            let _ = memory.write(address, &variable.initial);
            address
        };
        self.variables.iter().map(place).collect()
    }
}

fn check_sizes(entry: &Entry, grid: [u32; 3], block: [u32; 3], dynamic_shared: u64) -> Result<(), String> {
    let [x, y, z] = block.map(u64::from);
    let threads = x * y * z;
    if threads == 0 || threads > 1024 || z > 64 {
        return Err(format!("a block of {x} x {y} x {z} threads"));
    }
    if let Some(max) = entry.max_threads
        && threads > max.iter().map(|extent| u64::from(*extent)).product()
    {
        return Err(format!("{threads} threads in a block, of at most {max:?} that the entry declares"));
    }
    if let Some(required) = entry.required_threads
        && required != block
    {
        return Err(format!("blocks of {block:?} threads, where the entry requires {required:?}"));
    }
    if grid.contains(&0) || grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return Err(format!("a grid of {grid:?} blocks"));
    }
    if dynamic_shared > 0 && entry.shared.dynamic.is_none() {
        return Err(format!("{dynamic_shared} bytes of dynamic shared memory, but the module declares none"));
    }
    let shared = entry.shared.static_bytes + dynamic_shared;
    if shared > SHARED_LIMIT {
        return Err(format!("{shared} bytes of shared memory, of at most {SHARED_LIMIT}"));
    }
    Ok(())
}

/// The bytes of the parameters.
fn parameters(entry: &Entry, arguments: &[Argument]) -> Result<Vec<u8>, String> {
    if arguments.len() != entry.parameters.len() {
        return Err(format!("{} arguments for {} parameters", arguments.len(), entry.parameters.len()));
    }
    let mut bytes = vec![0; entry.parameter_bytes as usize];
    for (parameter, argument) in entry.parameters.iter().zip(arguments) {
        if !argument.suits(parameter) {
            let array = if parameter.array { format!(", {} bytes by value", parameter.size) } else { String::new() };
            let (name, ty) = (&parameter.name, parameter.ty.name());
            return Err(format!("{argument:?} for parameter `{name}`, which is `.{ty}`{array}"));
        }
        let (start, end) = (parameter.offset as usize, (parameter.offset + parameter.size) as usize);
        bytes[start..end].copy_from_slice(&argument.bytes());
    }
    Ok(bytes)
}

/// What the instructions of an entry cost, by position.
pub(crate) struct Counters {
    pub costs: Vec<Cost>,
    pub lane_instructions: u64,
}

impl Counters {
    pub fn new(instructions: usize) -> Counters {
        Counters { costs: vec![Cost::default(); instructions], lane_instructions: 0 }
    }

    fn add(&mut self, other: &Counters) {
        for (sum, cost) in self.costs.iter_mut().zip(&other.costs) {
            *sum += *cost;
        }
        self.lane_instructions += other.lane_instructions;
    }

    fn statistics(&self, entry: &Entry) -> Statistics {
        let mut statistics = Statistics { lane_instructions: self.lane_instructions, ..Statistics::default() };
        for (listing, cost) in entry.listing.iter().zip(&self.costs).filter(|(_, cost)| cost.issued > 0) {
            *statistics.opcodes.entry(listing.opcode.clone()).or_default() += *cost;
        }
        statistics
    }
}

/// The name of a place in the register file.
pub(crate) fn slot_name(entry: &Entry, slot: usize) -> String {
    match entry.slots.get(slot) {
        Some(SlotUse::Register(name)) => name.clone(),
        _ => format!("constant {slot}"),
    }
}
