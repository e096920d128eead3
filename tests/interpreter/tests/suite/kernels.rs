//! Whole kernels: control flow, shared memory, communication between lanes and warps.

use crate::support::{bytes, launch, module, numbers, parse};

/// The words that a kernel with this body writes, when it runs on blocks of that many threads.
fn run(variables: &str, body: &str, (grid, block): (u32, u32), input: &[u32]) -> Vec<u32> {
    let module = parse(&module(variables, body));
    let size = 4 * (grid * block) as usize;
    let (memory, output, _) =
        launch(&module, (grid, block), 0, &bytes(input), size).unwrap_or_else(|fault| panic!("{fault}"));
    numbers(&memory.read(output, size).unwrap())
}

/// The address of this thread's word of the output in `%rd2`, its number in `%r0`.
const OWN_WORD: &str = "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
mad.lo.u32 %r0, %r1, %r2, %r3; mul.wide.u32 %rd3, %r0, 4; add.u64 %rd2, %rd1, %rd3;";

#[test]
fn every_thread_knows_its_place() {
    let result = run("", &format!("{OWN_WORD} st.global.u32 [%rd2], %r0;"), (3, 70), &[0]);
    assert_eq!(result, (0..210).collect::<Vec<u32>>());
}

#[test]
fn lanes_part_and_meet_again() {
    // Collatz steps: every lane leaves the loop at another time, and all take part in the vote behind it.
    let body = format!(
        "{OWN_WORD}
        add.u32 %r4, %r0, 1;
        mov.u32 %r5, 0;
loop:   setp.eq.u32 %p0, %r4, 1;
        @%p0 bra done;
        and.b32 %r6, %r4, 1;
        setp.eq.u32 %p1, %r6, 0;
        @%p1 bra even;
        mad.lo.u32 %r4, %r4, 3, 1;
        bra next;
even:   shr.u32 %r4, %r4, 1;
next:   add.u32 %r5, %r5, 1;
        bra loop;
done:   vote.sync.all.pred %p2, %p0, 0xffffffff;
        @!%p2 mov.u32 %r5, 0xdead;
        st.global.u32 [%rd2], %r5;"
    );
    let steps = |mut n: u64| {
        let mut steps = 0;
        while n != 1 {
            n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
            steps += 1;
        }
        steps
    };
    assert_eq!(run("", &body, (1, 64), &[0]), (1..=64).map(steps).collect::<Vec<u32>>());
}

#[test]
fn warps_exchange_words_through_shared_memory() {
    let body = format!(
        "{OWN_WORD}
        shl.b32 %r4, %r3, 2; mov.u32 %r5, words; add.u32 %r6, %r5, %r4;
        st.shared.u32 [%r6], %r0;
        bar.sync 0;
        mov.u32 %r7, 127; sub.u32 %r7, %r7, %r3; shl.b32 %r7, %r7, 2; add.u32 %r7, %r5, %r7;
        ld.shared.u32 %r8, [%r7];
        st.global.u32 [%rd2], %r8;"
    );
    let result = run(".shared .align 16 .b8 words[512];", &body, (1, 128), &[0]);
    assert_eq!(result, (0..128).rev().collect::<Vec<u32>>());
}

#[test]
fn a_warp_sums_with_shuffles() {
    let body = format!(
        "{OWN_WORD}
        mov.u32 %r4, %r0;
        shfl.sync.bfly.b32 %r5, %r4, 16, 31, -1; add.u32 %r4, %r4, %r5;
        shfl.sync.bfly.b32 %r5, %r4, 8, 31, -1; add.u32 %r4, %r4, %r5;
        shfl.sync.bfly.b32 %r5, %r4, 4, 31, -1; add.u32 %r4, %r4, %r5;
        shfl.sync.bfly.b32 %r5, %r4, 2, 31, -1; add.u32 %r4, %r4, %r5;
        shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1; add.u32 %r4, %r4, %r5;
        st.global.u32 [%rd2], %r4;"
    );
    assert_eq!(run("", &body, (1, 32), &[0]), vec![31 * 32 / 2; 32]);
}

#[test]
fn atomic_updates_of_many_blocks_add_up() {
    // Block 0 of the second launch finds what the first left; one word counts, one keeps the largest.
    let body = "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %tid.x; mad.lo.u32 %r0, %r1, 64, %r2;
        red.global.add.u32 [%rd0], 1; atom.global.max.u32 %r3, [%rd0+4], %r0;
        atom.global.cas.b32 %r4, [%rd0+8], 7, 9; cvt.rn.f32.u32 %f0, %r2; red.global.add.f32 [%rd0+12], %f0;
        atom.global.inc.u32 %r5, [%rd0+16], 9; add.u64 %rd2, %rd0, 24; red.global.add.u64 [%rd2], 0x100000000;";
    let module = parse(&module("", body));
    let memory = visage_interpreter::Memory::new();
    let words = memory.alloc(32);
    memory.write(words, &bytes(&[0u32, 0, 7, 0, 0, 0, 0, 0])).unwrap();
    let arguments = [visage_interpreter::Argument::U64(words), visage_interpreter::Argument::U64(words)];
    for _ in 0..2 {
        module
            .launch("kernel", [4, 1, 1], [64, 1, 1], 0, &arguments, &memory)
            .unwrap_or_else(|fault| panic!("{fault}"));
    }
    let found: Vec<u32> = numbers(&memory.read(words, 32).unwrap());
    let sum = (2.0_f32 * 4.0 * (63.0 * 64.0 / 2.0)).to_bits();
    assert_eq!(found, [512, 255, 9, sum, 512 % 10, 0, 0, 512]);
}

#[test]
fn variables_of_a_module_keep_their_values() {
    let variables = ".const .align 4 .f32 scale[2] = {0f40000000, 0f40400000}; .global .align 8 .u32 count = 5;";
    let body = format!(
        "{OWN_WORD} ld.const.f32 %f0, [scale+4]; cvt.rzi.u32.f32 %r4, %f0; mov.u64 %rd4, count;
        ld.global.u32 %r5, [%rd4]; mad.lo.u32 %r4, %r4, %r0, %r5; st.global.u32 [%rd2], %r4;"
    );
    assert_eq!(run(variables, &body, (1, 4), &[0]), [5, 8, 11, 14]);
}

#[test]
fn costs_are_counted() {
    // A column of a tile with rows of 32 words lies in one bank; words of a row are one sector for eight lanes.
    let body = format!(
        "{OWN_WORD} mov.u32 %r4, words; mad.lo.u32 %r5, %r3, 128, %r4; mad.lo.u32 %r6, %r3, 4, %r4;
        st.shared.u32 [%r5], %r0; bar.sync 0; st.shared.u32 [%r6], %r0; bar.sync 0; ld.shared.u32 %r7, [words];
        mad.wide.u32 %rd3, %r0, 32, %rd1; st.global.u32 [%rd2], %r7; st.volatile.global.u32 [%rd3], %r7;"
    );
    let module = parse(&module(".shared .align 128 .b8 words[4096];", &body));
    let (_, _, statistics) = launch(&module, (1, 32), 0, &[0], 1024).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(statistics.of("st.shared").conflicts, 31);
    assert_eq!(statistics.of("ld.shared").conflicts, 0);
    assert_eq!(statistics.of("st.global").sectors, 4);
    assert_eq!(statistics.of("st.volatile.global").sectors, 32);
    assert_eq!(statistics.of("bar").issued, 2);
}

#[test]
fn votes_and_reductions_of_a_warp() {
    let body = format!(
        "{OWN_WORD} and.b32 %r4, %r3, 3; setp.eq.u32 %p0, %r4, 1;
        vote.sync.ballot.b32 %r5, %p0, -1; redux.sync.add.s32 %r6, %r3, -1; match.any.sync.b32 %r7, %r4, -1;
        xor.b32 %r5, %r5, %r6; xor.b32 %r5, %r5, %r7; st.global.u32 [%rd2], %r5;"
    );
    let group = |lane: u32| (0..32).filter(|other| other % 4 == lane % 4).fold(0, |mask, other| mask | 1u32 << other);
    let wanted: Vec<u32> = (0..32).map(|lane| 0x2222_2222 ^ 496 ^ group(lane)).collect();
    assert_eq!(run("", &body, (1, 32), &[0]), wanted);
}

#[test]
fn generic_addresses_find_their_memory() {
    let body = format!(
        "{OWN_WORD} mov.u64 %rd4, words; cvta.shared.u64 %rd5, %rd4; mad.wide.u32 %rd5, %r3, 4, %rd5;
        st.u32 [%rd5], %r0; ld.u32 %r4, [%rd5]; cvta.to.global.u64 %rd6, %rd2; st.u32 [%rd6], %r4;"
    );
    assert_eq!(run(".shared .align 16 .b8 words[128];", &body, (1, 32), &[0]), (0..32).collect::<Vec<u32>>());
}
