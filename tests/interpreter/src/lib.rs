//! A strict interpreter of PTX text: the oracle that emitted kernels are tested against without a GPU.
//!
//! A [`Module`] is the text of a module, parsed, checked against the rules of an assembler, and decoded. A
//! [`Memory`] is the global memory of a device. [`Module::launch`] runs an entry on a grid and either returns
//! [`Statistics`] of what it cost, or the [`Fault`] of a kernel that did something it must not do.
//!
//! # What it finds
//!
//! A simulator that is to be fast must forgive. This one is to find mistakes, so everything that PTX leaves
//! undefined is a failure, with the name of the instruction and its line:
//!
//! - registers, shared memory and allocations have no value until one is written;
//! - an asynchronous copy leaves its destination without a value until the copy is waited for;
//! - an address must be a multiple of the size of its access and lie inside of one allocation or variable;
//!   around each there is room that belongs to nothing;
//! - two warps that touch the same word of shared memory need a barrier between them, and two blocks must not
//!   touch the same word of global memory in one launch, unless they only read, or only update it atomically;
//! - instructions of a whole warp or block are executed by all of it.
//!
//! And before anything runs: an instruction, a modifier or a combination of types that this crate does not
//! mention somewhere in `decode` is an error, as is a register of the wrong type, or a
//! module that declares too low a version for what it uses.
//!
//! # How it runs
//!
//! A warp has 32 lanes in lockstep; lanes that part at a branch meet again at the lowest position
//! (`execute::warp`). A register is an array over lanes, and an instruction a function of such arrays, made
//! when the text is decoded. Blocks run in parallel. Floating-point arithmetic is that of IEEE 754 to the
//! bit; approximate functions are rounded correctly, which a device is not obliged to.
//!
//! ```
//! use visage_interpreter::{Argument, Memory, Module};
//!
//! let module = Module::parse(
//!     ".version 7.0
//!      .target sm_80
//!      .address_size 64
//!      .visible .entry double(.param .u64 data) {
//!          .reg .b32 %r<2>; .reg .b64 %rd<3>; .reg .f32 %f<2>;
//!          ld.param.u64 %rd0, [data];
//!          mov.u32 %r0, %tid.x;
//!          mul.wide.u32 %rd1, %r0, 4;
//!          add.u64 %rd2, %rd0, %rd1;
//!          ld.global.f32 %f0, [%rd2];
//!          add.rn.f32 %f1, %f0, %f0;
//!          st.global.f32 [%rd2], %f1;
//!          ret;
//!      }",
//! )
//! .unwrap();
//! let memory = Memory::new();
//! let data = memory.alloc(4 * 32);
//! let ones = 1.0_f32.to_le_bytes().repeat(32);
//! memory.write(data, &ones).unwrap();
//! module.launch("double", [1, 1, 1], [32, 1, 1], 0, &[Argument::U64(data)], &memory).unwrap();
//! assert_eq!(memory.read(data, 4).unwrap(), 2.0_f32.to_le_bytes());
//! ```
//!
//! # What it does not know
//!
//! Time; the order in which a tensor core adds; which of several legal orders a device takes. A kernel that
//! passes here is right in all that the text decides.

mod decode;
mod error;
mod execute;
mod fault;
mod function;
mod integer;
mod lanes;
mod launch;
mod memory;
mod module;
mod numbers;
mod op;
mod registers;
mod scope;
mod shared;
mod statistics;
mod text;
mod types;

pub use error::{Error, Place};
pub use fault::{Fault, Problem};
pub use launch::Argument;
pub use memory::Memory;
pub use module::Module;
pub use statistics::{Cost, Statistics};
