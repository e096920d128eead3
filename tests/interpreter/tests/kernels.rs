//! Whole kernels: control flow, shared memory, communication between lanes and warps.

mod support;

use support::{bytes, launch, module, numbers, parse};

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
