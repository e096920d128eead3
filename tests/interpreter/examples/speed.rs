//! How fast the interpreter is on one thread: `cargo run --release -p visage-interpreter --example speed`, with a word
//! of what to measure or without.

use std::time::Instant;
use visage_interpreter::{Argument, Memory, Module};

const HEAD: &str = ".version 7.0
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 data) {
.reg .pred %p<8>; .reg .b32 %r<64>; .reg .b64 %rd<16>; .reg .f32 %f<64>;
.shared .align 128 .b8 tile[4096];
ld.param.u64 %rd0, [data];
mov.u32 %r0, %tid.x; mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 128, %r0;
mad.wide.u32 %rd1, %r2, 4, %rd0;
ld.global.f32 %f0, [%rd1];
mov.u32 %r3, tile; mad.lo.u32 %r4, %r0, 4, %r3; mad.lo.u32 %r5, %r0, 16, %r3;
st.shared.f32 [%r4], %f0;
mov.u32 %r6, 0; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
mov.u32 %r10, 0x3f803f80; mov.u32 %r11, %r10; mov.u32 %r12, %r10; mov.u32 %r13, %r10;
loop:
";

const TAIL: &str = "
add.u32 %r6, %r6, 1; setp.lt.u32 %p0, %r6, 1000; @%p0 bra loop;
st.global.f32 [%rd1], %f0;
ret;
}";

/// Instructions of a loop, by what they show, and how often the loop has them.
const BODIES: [(&str, &str, usize); 6] = [
    ("fused multiply-adds", "fma.rn.f32 %f0, %f1, %f2, %f0;", 16),
    ("integer additions and shifts", "add.u32 %r7, %r0, %r2; shl.b32 %r8, %r7, 2;", 8),
    ("comparisons and selections", "setp.lt.f32 %p1, %f1, %f0; selp.f32 %f1, %f2, %f3, %p1;", 8),
    ("loads of global memory", "ld.global.f32 %f1, [%rd1];", 16),
    ("loads and stores of shared memory", "ld.shared.f32 %f1, [%r4]; st.shared.f32 [%r4], %f1;", 8),
    (
        "matrix products",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f0, %f1, %f2, %f3}, {%r10, %r11, %r12, %r13}, {%r10, %r11}, {%f0, %f1, %f2, %f3};",
        4,
    ),
];

fn main() {
    let blocks = 8;
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (what, body, copies) in BODIES.into_iter().filter(|(what, ..)| what.contains(&wanted)) {
        let text = format!("{HEAD}{}{TAIL}", format!("{body}\n").repeat(copies));
        let module = Module::parse(&text).expect("the text of this example");
        let memory = Memory::new();
        let data = memory.alloc(4 * 128 * blocks);
        memory.write(data, &0.5_f32.to_le_bytes().repeat(128 * blocks)).expect("allocated above");
        let arguments = [Argument::U64(data)];
        let start = Instant::now();
        let statistics = one_thread
            .install(|| module.launch("kernel", [blocks as u32, 1, 1], [128, 1, 1], 0, &arguments, &memory))
            .expect("a kernel without faults");
        let rate = statistics.lane_instructions as f64 / start.elapsed().as_secs_f64() / 1e9;
        println!("{what:36} {rate:6.2} G lane-instructions/s");
    }
}
