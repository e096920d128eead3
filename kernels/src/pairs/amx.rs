//! Pairs with AMX: tile registers of 16 x 16 words, of which one instruction multiplies two.
//!
//! A tile of weights is `[16 outputs][16 pairs]`, a tile of the panel `[16 pairs][16 rows]`, both as they lie in memory;
//! their product is added to a tile `[16 outputs][16 rows]` of sums. Two tiles of weights times the two halves of a panel
//! are four sums, as many as it takes to hide the latency of one, from four loads.

use super::{BLOCK, PairKernels, Product, Unit, avx512, avx512::Square, pairs};
use std::arch::{asm, x86_64::*};
use std::sync::OnceLock;

pub(super) static KERNELS: PairKernels = PairKernels {
    unit: Unit::Amx,
    max_strip: 2 * SIDE,
    is_balanced: false,
    is_blocked: true,
    pack,
    round: avx512::round,
    turn: avx512::turn,
    multiply,
};

/// Outputs, rows and pairs of a tile register.
const SIDE: usize = 16;

/// Whether this machine has the instructions and the kernel lets this process use them, which it is asked for once.
///
/// The permission is that of all threads. It is refused where a thread has an alternative signal stack too small for the
/// tile registers; the standard library's are large enough.
pub(super) fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        let leaf = __cpuid_count(7, 0);
        let has = |bit: u32| leaf.edx >> bit & 1 == 1;
        const BF16: u32 = 22;
        const TILE: u32 = 24;
        is_x86_feature_detected!("xsave") && has(BF16) && has(TILE) && is_saved() && asks()
    })
}

/// Whether the kernel saves tile registers when it switches threads.
fn is_saved() -> bool {
    /// Configuration and data of tiles in the register of enabled states.
    const STATES: u64 = 3 << 17;
    #[target_feature(enable = "xsave")]
    fn enabled() -> u64 {
        // SAFETY: the caller has found that the kernel enabled `xsave`.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: `is_permitted` has found `xsave`.
    unsafe { enabled() & STATES == STATES }
}

/// Asks the kernel for the tile registers: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
fn asks() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: this system call touches no memory of the process; it clobbers the registers named.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer == 0
}

/// [`super::PackPairs`] into `[block][height][16 pairs]`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe extern "C" fn pack(
    n: usize,
    k: usize,
    w: *const f32,
    n_stride: usize,
    k_stride: usize,
    out: *mut u32,
    capacity: usize,
    offset: usize,
) {
    for (start, height) in KERNELS.strips(n) {
        for block in 0..pairs(k) / BLOCK {
            let step = 2 * BLOCK * block;
            for m in (0..height).step_by(SIDE) {
                let outputs = (height - m).min(SIDE);
                let from = w.wrapping_add((start + m) * n_stride + step * k_stride);
                // SAFETY: the caller's contract, for the outputs of one tile register and a block.
                unsafe {
                    let by_output = match avx512::square(outputs, k - step, from, n_stride, k_stride) {
                        Square::ByOutput(lines) => lines,
                        Square::ByPair(lines) => avx512::turned(lines),
                    };
                    let to = out.add(start * capacity + KERNELS.place(height, m, offset + block * BLOCK));
                    for (output, line) in by_output.into_iter().enumerate().take(outputs) {
                        _mm512_storeu_si512(to.add(output * BLOCK).cast(), line);
                    }
                }
            }
        }
    }
}

/// The shapes of the tile registers, as `ldtilecfg` reads them: 0 to 3 sums, 4 and 5 weights, 6 and 7 halves of a panel.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// For a strip of so many outputs.
    fn of(height: usize) -> Shapes {
        let mut shapes = Shapes { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        let upper = height.min(SIDE);
        // A second tile that has no outputs is not used; its shape must be one all the same.
        let lower = (height - upper).max(1);
        for (register, rows) in [upper, upper, lower, lower, upper, lower, SIDE, SIDE].into_iter().enumerate() {
            shapes.rows[register] = rows as u8;
            shapes.bytes[register] = (4 * SIDE) as u16;
        }
        shapes
    }
}

/// [`super::MultiplyPairs`].
unsafe extern "C" fn multiply(product: *const Product) {
    // SAFETY: the caller's contract.
    let product = unsafe { &*product };
    let mut shaped = 0;
    for (start, height) in KERNELS.strips(product.n).take(product.end).skip(product.first) {
        if height != shaped {
            let shapes = Shapes::of(height);
            // SAFETY: the shapes are those of palette 1; the registers hold nothing that anybody needs.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, preserves_flags)) };
            shaped = height;
        }
        for panel in 0..product.panels {
            // SAFETY: the caller's contract, for one strip and panel; the registers have the shapes of the strip.
            unsafe {
                let w = product.strip(start, height);
                let (x, c) = product.panel(panel, start);
                if height > SIDE { two_tiles(product, height, w, x, c) } else { one_tile(product, height, w, x, c) }
            }
        }
    }
    // Registers without content cost nothing when threads are switched.
    // SAFETY: the registers hold nothing that anybody needs.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
}

/// A strip of more than 16 outputs times a panel.
///
/// # Safety
///
/// As [`super::MultiplyPairs`]; the tile registers have the [`Shapes`] of the strip.
unsafe fn two_tiles(product: &Product, height: usize, w: *const u32, x: *const u32, c: *mut f32) {
    let blocks = product.pairs.div_ceil(BLOCK);
    // SAFETY: rows of weights are 64 bytes apart, those of the panel 128, those of the sums a stride; the second tile of
    // weights begins 16 rows after the first one, which all strips of this kernel have.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c} + {c_row}]",
            "tileloadd tmm1, [{c} + {c_row} + 64]",
            "tileloadd tmm2, [{lower} + {c_row}]",
            "tileloadd tmm3, [{lower} + {c_row} + 64]",
            "3:",
            "test {blocks}, {blocks}",
            "jz 5f",
            "4:",
            "tileloadd tmm4, [{w} + {row}]",
            "tileloadd tmm6, [{x} + 2*{row}]",
            "tileloadd tmm7, [{x} + 2*{row} + 64]",
            "tileloadd tmm5, [{w} + {row} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {w}, {w_block}",
            "add {x}, 2048",
            "dec {blocks}",
            "jnz 4b",
            "5:",
            "tilestored [{c} + {c_row}], tmm0",
            "tilestored [{c} + {c_row} + 64], tmm1",
            "tilestored [{lower} + {c_row}], tmm2",
            "tilestored [{lower} + {c_row} + 64], tmm3",
            add = in(reg) product.accumulate,
            c = in(reg) c,
            lower = in(reg) c.add(SIDE * product.c_stride),
            c_row = in(reg) 4 * product.c_stride,
            blocks = inout(reg) blocks => _,
            w = inout(reg) w => _,
            x = inout(reg) x => _,
            row = in(reg) 4 * SIDE,
            w_block = in(reg) 4 * SIDE * height,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

/// A strip of at most 16 outputs times a panel.
///
/// # Safety
///
/// As [`two_tiles`].
unsafe fn one_tile(product: &Product, height: usize, w: *const u32, x: *const u32, c: *mut f32) {
    let blocks = product.pairs.div_ceil(BLOCK);
    // SAFETY: as in `two_tiles`.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c} + {c_row}]",
            "tileloadd tmm1, [{c} + {c_row} + 64]",
            "3:",
            "test {blocks}, {blocks}",
            "jz 5f",
            "4:",
            "tileloadd tmm4, [{w} + {row}]",
            "tileloadd tmm6, [{x} + 2*{row}]",
            "tileloadd tmm7, [{x} + 2*{row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {w}, {w_block}",
            "add {x}, 2048",
            "dec {blocks}",
            "jnz 4b",
            "5:",
            "tilestored [{c} + {c_row}], tmm0",
            "tilestored [{c} + {c_row} + 64], tmm1",
            add = in(reg) product.accumulate,
            c = in(reg) c,
            c_row = in(reg) 4 * product.c_stride,
            blocks = inout(reg) blocks => _,
            w = inout(reg) w => _,
            x = inout(reg) x => _,
            row = in(reg) 4 * SIDE,
            w_block = in(reg) 4 * SIDE * height,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm4") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}

/// Operations of a step of [`burst`].
pub(crate) const BURST: usize = 4 * 2 * SIDE * SIDE * 2 * SIDE;

/// Steps that keep the multiplier busy with registers alone.
pub(crate) unsafe fn burst(steps: usize) {
    let shapes = Shapes::of(2 * SIDE);
    // SAFETY: the caller has found the unit; no memory but the shapes is read, and the registers hold nothing that anybody
    // needs.
    unsafe {
        asm!(
            "ldtilecfg [{shapes}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tilezero tmm4",
            "tilezero tmm5",
            "tilezero tmm6",
            "tilezero tmm7",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilerelease",
            shapes = in(reg) &shapes,
            steps = inout(reg) steps => _,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        );
    }
}
