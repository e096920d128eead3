//! NVIDIA's driver as an [`Accelerator`]. Its library is looked for at run time; there is nothing else to install, and
//! nothing is missed by who has no such device.

use super::{Accelerator, AcceleratorError, Function, Word};
use cudarc::driver::{
    DriverError, result,
    sys::{self, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum as Limit, CUresult},
};
use rayon::prelude::*;
use std::{
    ffi::{CString, c_void},
    fmt,
};
use visage_compiler::ptx::{Family, Launch};

/// A device of NVIDIA's.
pub struct Cuda {
    device: sys::CUdevice,
    context: Context,
    stream: sys::CUstream,
    family: Family,
    name: String,
    modules: Vec<Module>,
    functions: Vec<sys::CUfunction>,
}

// SAFETY: the driver's handles may be used by any thread that has made the context its current one, which every method
// does first.
unsafe impl Send for Cuda {}

/// A context that threads share.
#[derive(Clone, Copy)]
struct Context(sys::CUcontext);

// SAFETY: a context may be current in several threads.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Makes it the calling thread's.
    fn enter(self) -> Result<(), AcceleratorError> {
        // SAFETY: the context lives as long as the device that has it.
        unsafe { result::ctx::set_current(self.0) }.map_err(|error| explained("the device's context", error))
    }
}

/// A translated module.
#[derive(Clone, Copy)]
struct Module(sys::CUmodule);

// SAFETY: the driver's handles may be used by any thread.
unsafe impl Send for Module {}

/// What the driver says, in words that help.
fn explained(what: &str, DriverError(code): DriverError) -> AcceleratorError {
    let help = match code {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => "its memory is used up; smaller sizes (`--set`) need less",
        CUresult::CUDA_ERROR_NO_DEVICE => "there is no device that the driver knows",
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => "the driver is too old for this code; 520 and later take it",
        CUresult::CUDA_ERROR_INVALID_PTX => "the driver's translator refuses the code",
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU => "the device is older than NVIDIA's Ampere",
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => {
            "a kernel has touched memory that is not its own; a defect of the compiler, please report it"
        }
        CUresult::CUDA_ERROR_LAUNCH_TIMEOUT => "the device also drives a display, and a kernel took too long for that",
        CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => "a kernel needs more registers or shared memory than there are",
        CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => "another process has the device for itself",
        _ => "",
    };
    let name = DriverError(code).error_name().ok().and_then(|name| name.to_str().ok().map(str::to_owned));
    let name = name.unwrap_or_else(|| format!("{code:?}"));
    let help = if help.is_empty() { String::new() } else { format!(": {help}") };
    AcceleratorError(format!("{what}: {name}{help}"))
}

fn error(message: impl fmt::Display) -> AcceleratorError {
    AcceleratorError(message.to_string())
}

impl Cuda {
    /// The n-th device.
    ///
    /// # Errors
    /// There is no driver or no such device, or it is older than Ampere.
    pub fn new(ordinal: usize) -> Result<Cuda, AcceleratorError> {
        // SAFETY: this looks for a library and does nothing with it.
        if !unsafe { sys::is_culib_present() } {
            return Err(error(
                "there is no CUDA on this machine: the driver's library (libcuda.so.1) was not found; \
                 install NVIDIA's driver, or run with `--device cpu`",
            ));
        }
        result::init().map_err(|error| explained("the driver", error))?;
        let count = result::device::get_count().map_err(|error| explained("the driver", error))?;
        let device = i32::try_from(ordinal).ok().filter(|ordinal| *ordinal < count);
        let device = device.ok_or_else(|| error(format_args!("there is no device {ordinal}, of {count}")))?;
        let device = result::device::get(device).map_err(|error| explained("the device", error))?;
        let name = result::device::get_name(device).map_err(|error| explained("the device", error))?;
        // SAFETY: the device exists.
        let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
        let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            .map_err(|error| explained("the device", error))?;
        let family = match major {
            ..8 => return Err(error(format_args!("{name} is older than NVIDIA's Ampere, which is needed"))),
            8 => Family::Sm80,
            _ => Family::Sm90,
        };
        // SAFETY: the device exists.
        let context =
            unsafe { result::primary_ctx::retain(device) }.map_err(|error| explained("the device's context", error))?;
        let context = Context(context);
        context.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|error| explained("the device", error))?;
        Ok(Cuda { device, context, stream, family, name, modules: Vec::new(), functions: Vec::new() })
    }

    /// Waits for everything that was started.
    fn wait(&self) -> Result<(), AcceleratorError> {
        // SAFETY: the stream is this device's.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| explained("a kernel", error))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // What fails here has failed before, and was told then.
        let _ = self.context.enter();
        let _ = self.wait();
        for module in &self.modules {
            // SAFETY: the module was loaded, and its functions are not called any more.
            let _ = unsafe { result::module::unload(module.0) };
        }
        // SAFETY: the stream and the context were made with the device.
        let _ = unsafe { result::stream::destroy(self.stream) };
        // SAFETY: as above.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Bytes of a translator's words that are read.
const LOG_BYTES: usize = 4096;

/// Translates a module, with the translator's words if it is refused.
fn translate(text: &str, entry: &str) -> Result<Module, AcceleratorError> {
    let text = CString::new(text).map_err(|_| error("a module has a zero in its text"))?;
    let mut log = vec![0_u8; LOG_BYTES];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG_BYTES as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the text ends with a zero, and there are as many options as values.
    let code = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            text.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match code.result() {
        Ok(()) => Ok(Module(module)),
        Err(failure) => {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG_BYTES);
            let words = String::from_utf8_lossy(&log[..end]);
            let AcceleratorError(message) = explained(&format!("kernel {entry}"), failure);
            Err(error(format_args!("{message}\n{}", words.trim_end())))
        }
    }
}

impl Accelerator for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn family(&self) -> Family {
        self.family
    }

    fn allocate(&mut self, bytes: usize) -> Result<u64, AcceleratorError> {
        self.context.enter()?;
        // SAFETY: the context is current.
        unsafe { result::malloc_sync(bytes) }.map_err(|error| {
            let room = result::mem_get_info().map_or_else(
                |_| String::new(),
                |(free, all)| format!(", of which {} of {} MiB are free", free >> 20, all >> 20),
            );
            explained(&format!("{} MiB of the device's memory{room}", bytes >> 20), error)
        })
    }

    fn release(&mut self, address: u64) {
        let _ = self.context.enter();
        let _ = self.wait();
        // SAFETY: the address was allocated here, and everything that used it is done.
        let _ = unsafe { result::free_sync(address) };
    }

    fn write(&mut self, to: u64, bytes: &[u8]) -> Result<(), AcceleratorError> {
        self.context.enter()?;
        // SAFETY: the caller has allocated as many bytes; pageable memory has been read when the call is back.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(|error| explained("a copy to the device", error))
    }

    fn read(&mut self, from: u64, bytes: &mut [u8]) -> Result<(), AcceleratorError> {
        self.context.enter()?;
        // SAFETY: as above; the bytes are waited for.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }
            .map_err(|error| explained("a copy from the device", error))?;
        self.wait()
    }

    fn copy(&mut self, from: u64, to: u64, bytes: usize) -> Result<(), AcceleratorError> {
        self.context.enter()?;
        // SAFETY: the caller has allocated as many bytes at both addresses.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|error| explained("a copy on the device", error))
    }

    fn load(&mut self, modules: &[(String, &Launch)]) -> Result<Vec<Function>, AcceleratorError> {
        let context = self.context;
        let translated: Vec<Module> = modules
            .par_iter()
            .map(|(text, launch)| {
                context.enter()?;
                translate(text, &launch.entry)
            })
            .collect::<Result<_, _>>()?;
        self.context.enter()?;
        self.modules.extend(&translated);
        let first = self.functions.len();
        for (module, (_, launch)) in translated.iter().zip(modules) {
            let name = CString::new(launch.entry.clone()).map_err(|_| error("a name has a zero in it"))?;
            // SAFETY: the module is loaded.
            let function = unsafe { result::module::get_function(module.0, name) }
                .map_err(|error| explained(&format!("kernel {}", launch.entry), error))?;
            if launch.shared_bytes > 48 << 10 {
                let limit = Limit::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: the function is of a loaded module.
                unsafe { result::function::set_function_attribute(function, limit, launch.shared_bytes as i32) }
                    .map_err(|error| explained(&format!("shared memory of kernel {}", launch.entry), error))?;
            }
            self.functions.push(function);
        }
        Ok((first..self.functions.len()).map(Function).collect())
    }

    fn launch(&mut self, function: Function, launch: &Launch, words: &[Word]) -> Result<(), AcceleratorError> {
        self.context.enter()?;
        let mut words = words.to_vec();
        let mut places: Vec<*mut c_void> = words
            .iter_mut()
            .map(|word| match word {
                Word::Long(word) => std::ptr::from_mut(word).cast(),
                Word::Short(word) => std::ptr::from_mut(word).cast(),
            })
            .collect();
        let (grid, block) = ((launch.blocks as u32, 1, 1), (launch.threads as u32, 1, 1));
        let shared = launch.shared_bytes as u32;
        // SAFETY: the function takes these parameters, which the driver has copied when the call is back; what it touches was
        // allocated for the plan that it is of.
        unsafe { result::launch_kernel(self.functions[function.0], grid, block, shared, self.stream, &mut places) }
            .map_err(|error| explained(&format!("the launch of kernel {}", launch.entry), error))
    }
}
