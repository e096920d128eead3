//! Running PTX: memory, launches, and state that stays on the device.
//!
//! An [`Accelerator`] is what a driver offers: addresses, copies, functions. The arena of a program on one is allocated
//! once. State is copied to the device when it is not what the device has already, and updates are copied from device
//! memory to device memory as well as back, so that a training step sends its batch and nothing else.

mod cuda;

pub use cuda::Cuda;

use super::{ExecuteError, ExecuteOptions, layout};
use crate::buffer::{Buffer, State};
use indexmap::IndexMap;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use thiserror::Error;
use visage_compiler::{
    axis::Shape,
    graph::{DType, Type},
    plan::{self, Fusion, Place, Plan, PlanOptions, plan_ordered, words},
    ptx::{self, Argument, Family, Launch, PtxOptions},
    random::RandomKey,
    simplify::simplified,
    system::Program,
};

/// Why a device did not do something, in words for a user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct AcceleratorError(pub String);

impl From<AcceleratorError> for ExecuteError {
    fn from(error: AcceleratorError) -> ExecuteError {
        ExecuteError::Device(error.0)
    }
}

/// A function on a device, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function(pub usize);

/// A word that a function is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// An address or a number of 64 bits.
    Long(u64),
    /// A number of 32 bits.
    Short(u32),
}

/// A device that runs PTX. Calls take effect in order.
pub trait Accelerator: Send {
    /// What it is called.
    fn name(&self) -> String;

    /// The newest text that it takes.
    fn family(&self) -> Family;

    /// Makes room for so many bytes, whose contents are not said.
    ///
    /// # Errors
    /// The memory is used up.
    fn allocate(&mut self, bytes: usize) -> Result<u64, AcceleratorError>;

    /// Gives back what was allocated at an address.
    fn release(&mut self, address: u64);

    /// Copies to the device.
    ///
    /// # Errors
    /// The device has failed.
    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), AcceleratorError>;

    /// Copies from the device, once everything before is done.
    ///
    /// # Errors
    /// The device, or a launch before, has failed.
    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), AcceleratorError>;

    /// Copies on the device.
    ///
    /// # Errors
    /// The device has failed.
    fn copy(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), AcceleratorError>;

    /// Translates modules, of which each has the function of one launch.
    ///
    /// # Errors
    /// A module is refused: with the translator's words.
    fn load(&mut self, modules: &[(String, &Launch)]) -> Result<Vec<Function>, AcceleratorError>;

    /// Starts a function.
    ///
    /// # Errors
    /// The launch was refused.
    fn launch(&mut self, function: Function, launch: &Launch, words: &[Word]) -> Result<(), AcceleratorError>;
}

/// State on a device.
struct Resident {
    address: u64,
    bytes: usize,
    /// The [stamp](Buffer::stamp) of the values that it has.
    stamp: u64,
}

/// A device with the state that is on it, for all programs that run there.
pub struct Device {
    accelerator: Box<dyn Accelerator>,
    resident: HashMap<String, Resident>,
}

/// A device that programs share.
#[derive(Clone)]
pub struct SharedDevice(Arc<Mutex<Device>>);

impl SharedDevice {
    /// A device for programs.
    pub fn new(accelerator: Box<dyn Accelerator>) -> SharedDevice {
        SharedDevice(Arc::new(Mutex::new(Device { accelerator, resident: HashMap::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is called.
    pub fn name(&self) -> String {
        self.lock().accelerator.name()
    }
}

/// The first device of NVIDIA's, one for all programs of the process.
///
/// # Errors
/// There is none.
pub fn cuda() -> Result<SharedDevice, AcceleratorError> {
    static FIRST: Mutex<Option<SharedDevice>> = Mutex::new(None);
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*first {
        Some(device) => Ok(device.clone()),
        None => Ok(first.insert(SharedDevice::new(Box::new(Cuda::new(0)?))).clone()),
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for resident in self.resident.values() {
            self.accelerator.release(resident.address);
        }
    }
}

impl Device {
    /// The address of a stored value with these elements.
    fn state(&mut self, name: &str, value: &Buffer) -> Result<u64, AcceleratorError> {
        let bytes = on_device(value);
        match self.resident.get(name) {
            Some(resident) if resident.stamp == value.stamp() && resident.bytes == bytes.len() => {
                return Ok(resident.address);
            }
            Some(resident) if resident.bytes != bytes.len() => {
                self.accelerator.release(resident.address);
                self.resident.remove(name);
            }
            _ => {}
        }
        let address = match self.resident.get(name) {
            Some(resident) => resident.address,
            None => self.accelerator.allocate(room(bytes.len()))?,
        };
        self.accelerator.write(address, &bytes)?;
        let resident = Resident { address, bytes: bytes.len(), stamp: value.stamp() };
        self.resident.insert(name.to_owned(), resident);
        Ok(address)
    }
}

/// A program on a device.
pub(super) struct Gpu {
    device: SharedDevice,
    plan: Plan,
    compiled: ptx::Program,
    functions: Vec<Function>,
    /// Where all intermediate values are.
    arena: u64,
    scratch: Option<u64>,
    /// The addresses of constants and inputs, by buffer.
    fixed: Vec<Option<u64>>,
}

/// Bytes to allocate for a value: at least one panel, so that no address is nothing.
fn room(bytes: usize) -> usize {
    bytes.next_multiple_of(256).max(256)
}

/// The elements as kernels have them: truth values are words.
fn on_device(value: &Buffer) -> std::borrow::Cow<'_, [u8]> {
    match value.ty().dtype {
        DType::Bool => {
            let word = |byte: &u8| if *byte == 0 { [0; 4] } else { [0xff; 4] };
            value.bytes().iter().flat_map(word).collect::<Vec<u8>>().into()
        }
        _ => value.bytes().into(),
    }
}

impl Gpu {
    /// Plans a program and translates it for a device.
    pub fn new(program: &Program, options: &ExecuteOptions, device: SharedDevice) -> Result<Gpu, ExecuteError> {
        let family = device.lock().accelerator.family();
        let base = family.plan_options();
        let plan_options = PlanOptions {
            fusion: if options.fuse { Fusion::Full } else { Fusion::None },
            without: options.without,
            ..base
        };
        let ptx_options =
            PtxOptions { family, precision: options.precision.on_gpu(), deterministic: options.deterministic };
        let failed = |error: &dyn fmt::Display| ExecuteError::Device(error.to_string());
        let plan = plan_ordered(&simplified(program).graph, &program.outputs, &plan_options)
            .map_err(|error| failed(&error))?;
        let compiled = ptx::compile(&plan, &ptx_options).map_err(|error| failed(&error))?;
        let mut guard = device.lock();
        let accelerator = &mut guard.accelerator;
        let modules: Vec<(String, &Launch)> =
            compiled.launches.iter().map(|launch| (compiled.module_of(launch), launch)).collect();
        let functions = accelerator.load(&modules)?;
        let arena = accelerator.allocate(room(plan.arena_bytes))?;
        let scratch = match compiled.scratch_bytes {
            0 => None,
            bytes => Some(accelerator.allocate(bytes)?),
        };
        let mut fixed = vec![None; plan.buffers.len()];
        for (address, buffer) in fixed.iter_mut().zip(&plan.buffers) {
            match &buffer.place {
                Place::Constant(pattern) => {
                    let at = accelerator.allocate(room(8))?;
                    accelerator.write(at, &pattern.to_ne_bytes())?;
                    *address = Some(at);
                }
                Place::Input(_) => *address = Some(accelerator.allocate(room(buffer.bytes()))?),
                Place::State(_) | Place::Arena(_) => {}
            }
        }
        drop(guard);
        Ok(Gpu { device, plan, compiled, functions, arena, scratch, fixed })
    }

    /// Bytes of intermediate values at the peak.
    pub fn intermediates(&self) -> usize {
        self.plan.arena_bytes + self.compiled.scratch_bytes
    }

    /// Runs the program; every output comes back in its documented order of axes, or goes into the state that it updates.
    pub fn run(
        &mut self,
        program: &Program,
        updates: &IndexMap<String, String>,
        state: &mut State,
        inputs: &IndexMap<String, Buffer>,
        key: RandomKey,
    ) -> Result<IndexMap<String, Buffer>, ExecuteError> {
        let mut guard = self.device.lock();
        let device = &mut *guard;
        let mut addresses = Vec::with_capacity(self.plan.buffers.len());
        for (buffer, fixed) in self.plan.buffers.iter().zip(&self.fixed) {
            addresses.push(match (&buffer.place, fixed) {
                (Place::Arena(offset), _) => self.arena + *offset as u64,
                (Place::State(name), _) => {
                    let value = layout::given("parameter", name, buffer, state)?;
                    device.state(name, value)?
                }
                (Place::Input(name), Some(address)) => {
                    let value = layout::given("input", name, buffer, inputs)?;
                    device.accelerator.write(*address, &on_device(value))?;
                    *address
                }
                (_, Some(address)) => *address,
                (_, None) => unreachable!("constants and inputs are given room with the program"),
            });
        }
        for (launch, function) in self.compiled.launches.iter().zip(&self.functions) {
            let word = |argument: &Argument| match argument {
                Argument::Buffer(id) => Word::Long(addresses[id.0 as usize]),
                Argument::Scratch => Word::Long(self.scratch.unwrap_or(0)),
                Argument::Seed => Word::Short(key.seed_word()),
                Argument::Step => Word::Short(key.step_word()),
            };
            let words: Vec<Word> = launch.arguments.iter().map(word).collect();
            device.accelerator.launch(*function, launch, &words)?;
        }
        let mut outputs = IndexMap::new();
        for (name, plan::Output { buffer: id, shape }) in &self.plan.outputs {
            let dtype = self.plan.buffers[id.0 as usize].dtype;
            let address = addresses[id.0 as usize];
            match updates.get(name).and_then(|name| Some((name, state.get_mut(name)?))) {
                Some((name, value)) => {
                    fetch(&mut *device.accelerator, address, shape, value)?;
                    let in_order = value.shape().iter().eq(shape.iter());
                    match device.resident.get_mut(name) {
                        Some(resident) if in_order => {
                            let bytes = shape.elements() * words(dtype) * 4;
                            device.accelerator.copy(address, resident.address, bytes)?;
                            resident.stamp = value.stamp();
                        }
                        _ => {}
                    }
                }
                None => {
                    let documented = program.outputs.get(name).unwrap_or(shape);
                    let mut value = Buffer::zeros(Type::new(dtype, documented.clone()));
                    fetch(&mut *device.accelerator, address, shape, &mut value)?;
                    outputs.insert(name.clone(), value);
                }
            }
        }
        Ok(outputs)
    }
}

/// Reads a plain value with axes in memory order `shape` from a device.
fn fetch(
    accelerator: &mut dyn Accelerator,
    from: u64,
    shape: &Shape,
    value: &mut Buffer,
) -> Result<(), AcceleratorError> {
    let dtype = value.ty().dtype;
    if dtype != DType::Bool && value.shape().iter().eq(shape.iter()) {
        return accelerator.read(from, value.bytes_mut());
    }
    let mut stored = vec![0; shape.elements() * words(dtype) * 4];
    accelerator.read(from, &mut stored)?;
    // SAFETY: as many words an element as its type takes have been read.
    unsafe { layout::read(stored.as_ptr(), shape, value) };
    Ok(())
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let mut guard = self.device.lock();
        let own = [Some(self.arena), self.scratch].into_iter().chain(self.fixed.iter().copied());
        own.flatten().for_each(|address| guard.accelerator.release(address));
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("launches", &self.compiled.launches.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedDevice")
    }
}
