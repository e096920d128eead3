//! The tile micro-kernels that compiled programs call, and the elementary functions they contain.
//!
//! # Lane is row
//!
//! Activations live in **panels** of [`LANES`] rows: `panel[feature][row]`, the 32 rows of a feature
//! contiguous. A layer `C[n][row] = Σₖ W[n][k] · X[k][row]` then reads its input panel with plain vector
//! loads and broadcasts elements of `W`; what it writes is again a panel, the input of the next layer. No
//! activation is ever packed, transposed or padded on the way through a network.
//!
//! `W` is packed once into **strips** ([`strips`]): the outputs `n` are cut into balanced groups of at most
//! [`MicroKernels::max_strip`], and each group stores its weights `[k][m]` in the order the kernel reads them.
//!
//! A weight gradient sums over rows: `dW[n][k] = Σᵣ G[n][r] · X[k][r]`. The same micro-kernel computes
//! it after two local rearrangements: `X` is transposed so that `k` becomes the lane
//! ([`MicroKernels::transpose_panel`]), and `G` is packed as strips with the rows as steps
//! ([`MicroKernels::pack_strips`] with a step stride of one).
//!
//! # What is here
//!
//! - [`Isa`]: the instruction sets, and which of them this machine has;
//! - [`contract`]: the register-tiled contraction, one function for each strip height;
//! - [`pairs`]: the same contraction of operands rounded to bf16;
//! - [`pack`]: strips, transposed panels, and the boundary between row-major arrays and panels;
//! - [`window`]: the rows around other rows, which convolutions read;
//! - [`winograd`]: convolutions of three taps by three with fewer products;
//! - [`memory`]: streaming copies, prefetches, and the measured limits of the machine;
//! - [`math`]: elementary functions, written once for every code generator.
//!
//! Compiled code reaches all of them through the function pointers of [`MicroKernels`], one table for each
//! instruction set. Their contracts are in the documentation of the pointer types; the safe wrappers
//! check them.
//!
//! ```
//! use visage_kernels::{Isa, LANES, micro_kernels};
//!
//! // Two outputs of three features, for a panel of 32 rows.
//! let kernels = micro_kernels(Isa::detect());
//! let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [n = 2][k = 3]
//! let packed = kernels.packed_strips(2, 3, &weights, 3, 1);
//! let x = [1.0_f32; 3 * LANES];
//! let mut c = [0.0_f32; 2 * LANES];
//! kernels.contract(2, 3, &packed, &x, LANES, &mut c, LANES, false);
//! assert_eq!((c[0], c[LANES]), (6.0, 15.0));
//! ```

pub mod contract;
mod isa;
pub mod math;
pub mod memory;
pub mod pack;
pub mod pairs;
pub mod window;
pub mod winograd;

pub use contract::{MicroKernels, StripKernel, micro_kernels, strips};
pub use isa::Isa;
pub use pairs::{PairKernels, Unit, pair_kernels};

/// The number of rows in a panel: two vectors of 16 on AVX-512.
pub const LANES: usize = 32;
