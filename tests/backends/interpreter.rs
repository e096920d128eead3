//! The interpreter of PTX as a device: what a driver would be given runs here, strictly, without one.

use visage_compiler::ptx::{Family, Launch};
use visage_interpreter::{Argument, Memory, Module, Problem};
use visage_runtime::executor::gpu::{Accelerator, AcceleratorError, Function, SharedDevice, Word};

/// A device of a family.
pub fn device(family: Family) -> SharedDevice {
    SharedDevice::new(Box::new(Interpreter { family, memory: Memory::new(), modules: Vec::new() }))
}

struct Interpreter {
    family: Family,
    memory: Memory,
    modules: Vec<Module>,
}

fn failed(problem: Problem) -> AcceleratorError {
    AcceleratorError(problem.to_string())
}

impl Accelerator for Interpreter {
    fn name(&self) -> String {
        format!("the interpreter of PTX for {}", self.family)
    }

    fn family(&self) -> Family {
        self.family
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, AcceleratorError> {
        Ok(self.memory.alloc(bytes))
    }

    fn release(&mut self, address: u64) {
        self.memory.free(address).unwrap();
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), AcceleratorError> {
        self.memory.write(to, bytes).map_err(failed)
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), AcceleratorError> {
        bytes.copy_from_slice(&self.memory.read(from, bytes.len()).map_err(failed)?);
        Ok(())
    }

    fn copy(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), AcceleratorError> {
        let copied = self.memory.read(from, bytes).map_err(failed)?;
        self.memory.write(to, &copied).map_err(failed)
    }

    fn load(&mut self, modules: &[(String, &Launch)]) -> Result<Vec<Function>, AcceleratorError> {
        let first = self.modules.len();
        for (text, _) in modules {
            let module = Module::parse(text).map_err(|error| AcceleratorError(format!("{error}\n{text}")))?;
            self.modules.push(module);
        }
        Ok((first..self.modules.len()).map(Function).collect())
    }

    fn launch(&mut self, function: Function, launch: &Launch, words: &[Word]) -> Result<(), AcceleratorError> {
        let arguments: Vec<Argument> = words
            .iter()
            .map(|word| match word {
                Word::Long(word) => Argument::U64(*word),
                Word::Short(word) => Argument::U32(*word),
            })
            .collect();
        let (grid, block) = ([launch.blocks as u32, 1, 1], [launch.threads as u32, 1, 1]);
        let module = &self.modules[function.0];
        let ran = module.launch(&launch.entry, grid, block, launch.shared_bytes, &arguments, &self.memory);
        ran.map(|_| ()).map_err(|fault| AcceleratorError(fault.to_string()))
    }
}
