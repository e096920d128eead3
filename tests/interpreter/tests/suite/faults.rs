//! Everything that a kernel must not do, and what it is told.

use crate::support::{launch, module, parse};
use visage_interpreter::{Argument, Fault, Memory, Module};

/// The fault of a body on a block of 64 threads, with 256 bytes of input of value 1 each and as much output.
fn fault(body: &str) -> String {
    fault_of(".shared .align 16 .b8 words[256];", body)
}

fn fault_of(variables: &str, body: &str) -> String {
    let module = parse(&module(variables, body));
    let fault = launch(&module, (2, 64), 0, &[1; 256], 256).err().expect("a fault");
    // Which block is the first depends on nothing but its number, unless it takes two.
    fault.to_string()
}

/// This thread's word in shared memory in `%r1`, its number in `%r0`, its word of the output in `%rd2`.
const PLACES: &str =
    "mov.u32 %r0, %tid.x; mov.u32 %r1, words; mad.lo.u32 %r1, %r0, 4, %r1; mad.wide.u32 %rd2, %r0, 4, %rd1;\n";

fn fault_at(body: &str) -> String {
    fault(&format!("{PLACES}{body}"))
}

#[test]
fn values_that_nobody_wrote() {
    insta::assert_snapshot!(fault("add.u32 %r1, %r2, 1;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `add.u32 %r1, %r2, 1`: reads `%r2`, which was never written");
    insta::assert_snapshot!(fault("setp.eq.u32 %p0, %r0, 0;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `setp.eq.u32 %p0, %r0, 0`: reads `%r0`, which was never written");
    insta::assert_snapshot!(fault("@%p3 bra end; end:"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `@%p3 bra end`: reads `%p3`, which was never written");
    // One lane is enough.
    insta::assert_snapshot!(fault("mov.u32 %r0, %tid.x; setp.ne.u32 %p0, %r0, 37; @%p0 mov.f32 %f0, 0f00000000; add.f32 %f1, %f0, %f0;"), @"kernel, block (0, 0, 0), warp 1, lane 5, line 14: `add.f32 %f1, %f0, %f0`: reads `%f0`, which was never written");
    insta::assert_snapshot!(fault_at("ld.shared.u32 %r2, [%r1];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `ld.shared.u32 %r2, [%r1]`: reads 4 bytes at 0x400, of which the byte at 0x400 was never written");
    insta::assert_snapshot!(fault_at("ld.global.u32 %r2, [%rd2];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `ld.global.u32 %r2, [%rd2]`: reads 4 bytes at 0x700000001100, of which the byte at 0x700000001100 was never written");
    insta::assert_snapshot!(fault("mov.u32 %r0, 1; cvt.u16.u32 %h0, %r0; st.global.u16 [%rd1+4], %h0; ld.global.u32 %r2, [%rd1+4];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.u32 %r2, [%rd1+4]`: reads 4 bytes at 0x700000001104, of which the byte at 0x700000001106 was never written");
    insta::assert_snapshot!(fault("red.global.add.u32 [%rd1], 1;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `red.global.add.u32 [%rd1], 1`: reads 4 bytes at 0x700000001100, of which the byte at 0x700000001100 was never written");
}

#[test]
fn addresses_that_hit_nothing() {
    insta::assert_snapshot!(fault("ld.global.u32 %r0, [%rd0+256];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.u32 %r0, [%rd0+256]`: accesses 4 bytes at 0x700000000100 in global memory: 4 bytes past the end of the 256 bytes at 0x700000000000");
    insta::assert_snapshot!(fault("ld.global.u32 %r0, [%rd0+-4];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.u32 %r0, [%rd0+-4]`: accesses 4 bytes at 0x6ffffffffffc in global memory: 4 bytes before the first allocation");
    insta::assert_snapshot!(fault("mov.u64 %rd3, 0; ld.global.u32 %r0, [%rd3];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.u32 %r0, [%rd3]`: accesses 4 bytes at 0x0 in global memory: 123145302310912 bytes before the first allocation");
    insta::assert_snapshot!(fault("ld.global.u32 %r0, [%rd0+2];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.u32 %r0, [%rd0+2]`: accesses 4 bytes at 0x700000000002, which is no multiple of 4");
    insta::assert_snapshot!(fault("ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd0+8];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.global.v4.u32 {%r0, %r1, %r2, %r3}, [%rd0+8]`: accesses 16 bytes at 0x700000000008, which is no multiple of 16");
    insta::assert_snapshot!(fault_at("st.shared.u32 [%r1+4], %r0;"), @"kernel, block (0, 0, 0), warp 1, lane 31, line 15: `st.shared.u32 [%r1+4], %r0`: accesses 4 bytes at 0x500 in shared memory: no variable lies there");
    insta::assert_snapshot!(fault("mov.u32 %r0, 0; st.shared.u32 [%r0], %r0;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `st.shared.u32 [%r0], %r0`: accesses 4 bytes at 0x0 in shared memory: no variable lies there");
    insta::assert_snapshot!(fault("ld.param.u64 %rd3, [out+8];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `ld.param.u64 %rd3, [out+8]`: accesses 8 bytes at 0x10 in parameter memory: there are 16 bytes of parameters");
    insta::assert_snapshot!(fault("cp.async.ca.shared.global [words], [%rd0+2], 4;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `cp.async.ca.shared.global [words], [%rd0+2], 4`: accesses 4 bytes at 0x700000000002, which is no multiple of 4");
}

#[test]
fn warps_that_race() {
    insta::assert_snapshot!(fault_at("st.shared.u32 [%r1], %r0; setp.ge.u32 %p0, %r0, 32; @%p0 ld.shared.u32 %r4, [%r1+-128];"), @"kernel, block (0, 0, 0), warp 1, lane 0, line 15: `@%p0 ld.shared.u32 %r4, [%r1+-128]`: reads shared memory at 0x400, which warp 0 wrote with no barrier between");
    insta::assert_snapshot!(fault_at("st.shared.u32 [%r1], %r0; bar.sync 0; xor.b32 %r2, %r0, 32; mov.u32 %r3, words; mad.lo.u32 %r3, %r2, 4, %r3; ld.shared.u32 %r4, [%r3]; st.shared.u32 [%r1], %r4;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `ld.shared.u32 %r4, [%r3]`: reads shared memory at 0x480, which warp 1 wrote with no barrier between");
    insta::assert_snapshot!(fault_at("st.shared.u32 [words], 1;"), @"kernel, block (0, 0, 0), warp 1, lane 0, line 15: `st.shared.u32 [words], 1`: writes shared memory at 0x400, which warp 0 wrote with no barrier between");
    insta::assert_snapshot!(fault_at("st.shared.u32 [words], %r0;"), @"kernel, block (0, 0, 0), warp 0, lane 1, line 15: `st.shared.u32 [words], %r0`: lane 0 stores another value to 0x400 with the same instruction");
    // A barrier of the other warp with itself orders nothing.
    insta::assert_snapshot!(fault_at("st.shared.u32 [%r1], %r0; shr.u32 %r2, %r0, 5; bar.sync %r2, 32; setp.ge.u32 %p0, %r0, 32; @%p0 ld.shared.u32 %r4, [%r1+-128];"), @"kernel, block (0, 0, 0), warp 1, lane 0, line 15: `@%p0 ld.shared.u32 %r4, [%r1+-128]`: reads shared memory at 0x400, which warp 0 wrote with no barrier between");
    insta::assert_snapshot!(fault_at("setp.eq.u32 %p0, %r0, 0; @%p0 st.shared.u32 [words], 0; bar.sync 0; atom.shared.add.u32 %r5, [words], 1; ld.shared.u32 %r4, [words];"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `atom.shared.add.u32 %r5, [words], 1`: updates shared memory at 0x400, which warp 1 read with no barrier between");
}

#[test]
fn lanes_that_store_two_values_to_one_place() {
    insta::assert_snapshot!(fault("mov.u32 %r0, %tid.x; st.global.u32 [%rd1], %r0;"), @"kernel, block (0, 0, 0), warp 0, lane 1, line 14: `st.global.u32 [%rd1], %r0`: lane 0 stores another value to 0x700000001100 with the same instruction");
}

#[test]
fn blocks_that_race() {
    // Which of the two is told is open, so only what is wrong is compared.
    let problem = |body: &str| fault(body).rsplit_once("`: ").unwrap().1.replace("block 1", "block 0");
    insta::assert_snapshot!(problem("st.global.u32 [%rd1], 1;"), @"writes global memory at 0x700000001100, which block 0 wrote in the same launch");
    insta::assert_snapshot!(problem("red.global.add.u32 [%rd0], 1; ld.global.u32 %r0, [%rd0];"), @"updates global memory at 0x700000000000, which block 0 wrote in the same launch");
}

#[test]
fn lanes_that_are_missing() {
    let half = "mov.u32 %r0, %laneid; setp.lt.u32 %p0, %r0, 16;\n";
    let told = |body: &str| fault(&format!("{half}{body}"));
    insta::assert_snapshot!(told("@%p0 bra away; bar.sync 0; away:"), @"kernel, block (0, 0, 0), warp 0, line 15: `bar.sync 0`: lanes 0xffffffff must execute it together, but only 0xffff0000 do");
    insta::assert_snapshot!(told("@%p0 exit; bar.sync 0;"), @"kernel, block (0, 0, 0), warp 0, line 15: `bar.sync 0`: lanes 0xffffffff must execute it together, but only 0xffff0000 do");
    insta::assert_snapshot!(told("@%p0 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1;"), @"kernel, block (0, 0, 0), warp 0, line 15: `@%p0 shfl.sync.bfly.b32 %r1, %r0, 1, 31, -1`: lanes 0xffffffff must execute it together, but only 0x0000ffff do");
    insta::assert_snapshot!(told("@%p0 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 0xffff;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `@%p0 shfl.sync.bfly.b32 %r1, %r0, 16, 31, 0xffff`: reads lane 16, which does not take part");
    insta::assert_snapshot!(told("mov.u32 %r1, 0; mov.f32 %f0, 0f00000000; @%p0 bra away; mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f0, %f0, %f0}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f0, %f0, %f0, %f0}; away:"), @"kernel, block (0, 0, 0), warp 0, line 15: `mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f0, %f0, %f0, %f0}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%f0, %f0, %f0, %f0}`: lanes 0xffffffff must execute it together, but only 0xffff0000 do");
    insta::assert_snapshot!(told("@%p0 bra.uni away; away:"), @"kernel, block (0, 0, 0), warp 0, line 15: `@%p0 bra.uni away`: lanes 0xffffffff must execute it together, but only 0x0000ffff do");
    insta::assert_snapshot!(told("vote.sync.any.pred %p1, %p0, %r0;"), @"kernel, block (0, 0, 0), warp 0, lane 1, line 15: `vote.sync.any.pred %p1, %p0, %r0`: lanes disagree about which lanes take part");
}

#[test]
fn barriers_that_do_not_end() {
    let second = "mov.u32 %r0, %tid.x; setp.ge.u32 %p0, %r0, 32;\n";
    let told = |body: &str| fault(&format!("{second}{body}"));
    insta::assert_snapshot!(told("@%p0 exit; bar.sync 0;"), @"kernel, block (0, 0, 0), warp 0: no warp can go on: warp 0 waits at barrier 0 in line 15, warp 1 has exited");
    insta::assert_snapshot!(told("@%p0 bra other; bar.sync 1; bra end; other: bar.sync 2; end:"), @"kernel, block (0, 0, 0), warp 0: no warp can go on: warp 0 waits at barrier 1 in line 15, warp 1 waits at barrier 2 in line 15");
    insta::assert_snapshot!(told("@%p0 bra other; bar.sync 1, 64; bra end; other: bar.sync 1, 32; end:"), @"kernel, block (0, 0, 0), warp 1, line 15: `bar.sync 1, 32`: barrier 1: 32 threads here, but 64 for those who arrived before");
    insta::assert_snapshot!(told("@%p0 bra end; bar.arrive 3, 64; end:"), @"kernel, block (0, 0, 0), warp 0, line 16: `ret`: barrier 3: the block ends with 32 of 64 threads arrived");
    insta::assert_snapshot!(told("mov.u32 %r1, 40; bar.sync 0, %r1;"), @"kernel, block (0, 0, 0), warp 0, line 15: `bar.sync 0, %r1`: barrier 0: 40 threads, of 64 in the block, in warps of 32");
    insta::assert_snapshot!(told("mov.u32 %r1, 16; bar.sync %r1, 64;"), @"kernel, block (0, 0, 0), warp 0, line 15: `bar.sync %r1, 64`: barrier 16: there are sixteen");
}

#[test]
fn copies_that_are_under_way() {
    let copy = "cp.async.ca.shared.global [%r1], [%rd0], 4;\n";
    insta::assert_snapshot!(fault_at(&format!("{copy}cp.async.commit_group; ld.shared.u32 %r2, [%r1];")), @"kernel, block (0, 0, 0), warp 0, lane 0, line 16: `ld.shared.u32 %r2, [%r1]`: touches 4 bytes at 0x400 while an asynchronous copy writes them: it was not waited for");
    insta::assert_snapshot!(fault_at(&format!("{copy}cp.async.wait_group 0; ld.shared.u32 %r2, [%r1];")), @"kernel, block (0, 0, 0), warp 0, lane 0, line 16: `ld.shared.u32 %r2, [%r1]`: touches 4 bytes at 0x400 while an asynchronous copy writes them: it was not waited for");
    insta::assert_snapshot!(fault_at(&format!("{copy}st.shared.u32 [%r1], 0;")), @"kernel, block (0, 0, 0), warp 0, lane 0, line 16: `st.shared.u32 [%r1], 0`: touches 4 bytes at 0x400 while an asynchronous copy writes them: it was not waited for");
    insta::assert_snapshot!(fault_at("mov.u32 %r2, 5; cp.async.ca.shared.global [%r1], [%rd0], 4, %r2;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 15: `cp.async.ca.shared.global [%r1], [%rd0], 4, %r2`: reads 5 of 4 bytes");
}

#[test]
fn instructions_without_a_result() {
    insta::assert_snapshot!(fault("mov.u32 %r0, %laneid; rem.u32 %r1, 7, %r0;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `rem.u32 %r1, 7, %r0`: divides by zero");
    insta::assert_snapshot!(fault("trap;"), @"kernel, block (0, 0, 0), warp 0, lane 0, line 14: `trap`: traps");
}

#[test]
fn launches_that_a_driver_refuses() {
    let text = module(".extern .shared .align 16 .b8 window[];", "mov.u32 %r0, window;")
        .replace(".param .u64 out) {", ".param .u64 out, .param .f32 scale) .maxntid 128, 1, 1 {");
    let module = parse(&text);
    let refused = |entry: &str, grid, block, shared, arguments: &[Argument]| {
        let fault: Box<Fault> = module.launch(entry, grid, block, shared, arguments, &Memory::new()).unwrap_err();
        fault.to_string()
    };
    let three = [Argument::U64(0), Argument::U64(0), Argument::F32(0.0)];
    insta::assert_snapshot!(refused("other", [1; 3], [32, 1, 1], 0, &three), @"other: there is no such entry");
    insta::assert_snapshot!(refused("kernel", [1; 3], [32, 1, 1], 0, &three[..2]), @"kernel: 2 arguments for 3 parameters");
    insta::assert_snapshot!(refused("kernel", [1; 3], [32, 1, 1], 0, &[Argument::U64(0), Argument::F32(1.0), Argument::F32(0.0)]), @"kernel: F32(1.0) for parameter `out`, which is `.u64`");
    insta::assert_snapshot!(refused("kernel", [1; 3], [64, 4, 1], 0, &three), @"kernel: 256 threads in a block, of at most [128, 1, 1] that the entry declares");
    insta::assert_snapshot!(refused("kernel", [1; 3], [64, 64, 1], 0, &three), @"kernel: a block of 64 x 64 x 1 threads");
    insta::assert_snapshot!(refused("kernel", [1, 70000, 1], [64, 1, 1], 0, &three), @"kernel: a grid of [1, 70000, 1] blocks");
    insta::assert_snapshot!(refused("kernel", [1, 1, 1], [64, 1, 1], 240 << 10, &three), @"kernel: 245760 bytes of shared memory, of at most 232448");
}

#[test]
fn memory_from_outside() {
    let memory = Memory::new();
    let address = memory.alloc(16);
    insta::assert_snapshot!(memory.write(address + 8, &[0; 9]).unwrap_err(), @"accesses 9 bytes at 0x700000000008 in global memory: 1 bytes past the end of the 16 bytes at 0x700000000000");
    insta::assert_snapshot!(memory.read(address, 1).unwrap_err(), @"reads 1 bytes at 0x700000000000, of which the byte at 0x700000000000 was never written");
    memory.free(address).unwrap();
    insta::assert_snapshot!(memory.write(address, &[0]).unwrap_err(), @"accesses 1 bytes at 0x700000000000 in global memory: nothing is allocated");
    insta::assert_snapshot!(memory.free(address).unwrap_err(), @"accesses 0 bytes at 0x700000000000 in global memory: nothing is allocated");
}

#[test]
fn endless_loops_are_cut() {
    // Without the assembler, which has no opinion on it.
    let module = Module::parse(&module("", "again: bra again;")).unwrap();
    let fault = launch(&module, (1, 32), 0, &[0], 4).err().unwrap();
    insta::assert_snapshot!(fault, @"kernel, block (0, 0, 0), warp 0, line 14: `bra again`: a warp issued 268435457 instructions: the kernel does not seem to end");
}
