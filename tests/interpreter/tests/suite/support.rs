//! What the tests have in common: a kernel from its body, run on words of memory.

use std::{
    process::Command,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
};
use visage_interpreter::{Argument, Fault, Memory, Module, Statistics};

/// The text of a module for `target` with an entry `kernel(in, out)` of that body, and with registers of
/// every type: `%p`, `%h` (16 bits), `%r`, `%rd`, `%f`, `%d`; `%rd0` is `in` and `%rd1` is `out`.
pub fn module_for(version: &str, target: &str, variables: &str, body: &str) -> String {
    format!(
        ".version {version}
.target {target}
.address_size 64
{variables}
.visible .entry kernel(.param .u64 in, .param .u64 out) {{
.reg .pred %p<16>;
.reg .b16 %h<32>;
.reg .b32 %r<64>;
.reg .b64 %rd<32>;
.reg .f32 %f<64>;
.reg .f64 %d<16>;
ld.param.u64 %rd0, [in];
ld.param.u64 %rd1, [out];
{body}
ret;
}}
"
    )
}

/// The same for the lowest target that has most instructions.
pub fn module(variables: &str, body: &str) -> String {
    module_for("7.8", "sm_80", variables, body)
}

/// Parses a module; an assembler must take it too, where there is one.
pub fn parse(text: &str) -> Module {
    assemble(text);
    Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Has the assembler that `PTXAS` names check a module.
pub fn assemble(text: &str) {
    let Ok(ptxas) = std::env::var("PTXAS") else {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| eprintln!("skipped: PTXAS does not name NVIDIA's ptxas, which would check every text"));
        return;
    };
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("interpreter-{}-{number}.ptx", std::process::id()));
    std::fs::write(&path, text).expect("a temporary file");
    let target = text.split_whitespace().skip_while(|word| *word != ".target").nth(1).expect("a target");
    let output = Command::new(ptxas)
        .args(["-arch", target, "-o", "/dev/null"])
        .arg(&path)
        .output()
        .expect("the assembler that PTXAS names");
    let _ = std::fs::remove_file(&path);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the assembler refuses\n{text}\n{said}");
}

/// Runs `kernel` of a module on `input`, with room for `output` bytes; returns the memory of the result.
pub fn launch(
    module: &Module,
    (grid, block): (u32, u32),
    dynamic: usize,
    input: &[u8],
    output: usize,
) -> Result<(Memory, u64, Statistics), Box<Fault>> {
    let memory = Memory::new();
    let (from, to) = (memory.alloc(input.len()), memory.alloc(output));
    memory.write(from, input).expect("it was just allocated");
    let arguments = [Argument::U64(from), Argument::U64(to)];
    let statistics = module.launch("kernel", [grid, 1, 1], [block, 1, 1], dynamic, &arguments, &memory)?;
    Ok((memory, to, statistics))
}

/// The bytes of numbers.
pub fn bytes<T: Bits>(values: &[T]) -> Vec<u8> {
    values.iter().flat_map(|value| value.bytes()).collect()
}

/// Numbers from their bytes.
pub fn numbers<T: Bits>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks(T::SIZE).map(T::of).collect()
}

/// A number as bytes, lowest first.
pub trait Bits: Copy {
    const SIZE: usize;
    fn bytes(self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Self;
}

macro_rules! bits {
    ($($ty:ty),*) => {$(
        impl Bits for $ty {
            const SIZE: usize = size_of::<$ty>();
            fn bytes(self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn of(bytes: &[u8]) -> $ty { <$ty>::from_le_bytes(bytes.try_into().expect("a whole number")) }
        }
    )*};
}

bits!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, half::f16, half::bf16);
