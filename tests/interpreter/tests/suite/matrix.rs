//! Matrix products, the movement of their fragments, and asynchronous copies.

use crate::support::{bytes, launch, module, module_for, numbers, parse};
use half::{bf16, f16};

/// A number between -1 and 1 that `tf32`, `f16` and `bf16` hold exactly.
fn entry(row: usize, column: usize, salt: usize) -> f32 {
    ((row * 37 + column * 101 + salt * 53) % 17) as f32 / 8.0 - 1.0
}

fn matrix(rows: usize, columns: usize, salt: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| entry(at / columns, at % columns, salt)).collect()
}

/// A · B in double precision, with A `[m][k]` and B `[n][k]`.
fn product(a: &[f32], b: &[f32], k: usize) -> Vec<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    a.chunks(k).flat_map(|a| b.chunks(k).map(move |b| dot(a, b))).collect()
}

fn assert_near(found: &[f32], wanted: &[f64], bound: f64) {
    for (position, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*found) - wanted).abs() <= bound, "element {position}: {found}, not {wanted}");
    }
}

/// Loads of the fragments of A `[16][k]` and B `[8][k]`, as bytes, by the tables of the instruction set.
fn one_product(shape: &str, ty: &str, k: usize, size: usize) -> String {
    let per_word = 4 / size;
    let words = k / 4 / per_word;
    let mut body = String::from("mov.u32 %r0, %laneid; shr.u32 %r1, %r0, 2; and.b32 %r2, %r0, 3;\n");
    let b_start = 16 * k * size;
    for word in 0..2 * words {
        let (row, along) = (8 * (word % 2), 4 * (word / 2));
        body += &format!(
            "add.u32 %r3, %r1, {row}; mul.lo.u32 %r3, %r3, {}; add.u32 %r4, %r2, {along}; mad.lo.u32 %r3, %r4, 4, %r3;
            cvt.u64.u32 %rd2, %r3; add.u64 %rd3, %rd0, %rd2; ld.global.b32 %r{}, [%rd3];\n",
            k * size,
            10 + word
        );
    }
    for word in 0..words {
        body += &format!(
            "mul.lo.u32 %r3, %r1, {}; add.u32 %r4, %r2, {}; mad.lo.u32 %r3, %r4, 4, %r3;
            cvt.u64.u32 %rd2, %r3; add.u64 %rd3, %rd0, %rd2; ld.global.b32 %r{}, [%rd3+{b_start}];\n",
            k * size,
            4 * word,
            20 + word
        );
    }
    let list = |first: usize, count: usize| {
        (first..first + count).map(|number| format!("%r{number}")).collect::<Vec<_>>().join(", ")
    };
    body += &format!(
        "mov.f32 %f0, 0f40000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
        mma.sync.aligned.{shape}.row.col.f32.{ty}.{ty}.f32 {{%f0, %f1, %f2, %f3}}, {{{}}}, {{{}}}, {{%f0, %f1, %f2, %f3}};
        mad.lo.u32 %r3, %r1, 32, 0; mad.lo.u32 %r3, %r2, 8, %r3; cvt.u64.u32 %rd2, %r3; add.u64 %rd3, %rd1, %rd2;
        st.global.v2.f32 [%rd3], {{%f0, %f1}}; st.global.v2.f32 [%rd3+256], {{%f2, %f3}};",
        list(10, 2 * words),
        list(20, words)
    );
    body
}

fn check_product(shape: &str, ty: &str, k: usize, narrow: impl Fn(&[f32]) -> Vec<u8>) {
    let (a, b) = (matrix(16, k, 1), matrix(8, k, 2));
    let mut input = narrow(&a);
    let size = input.len() / a.len();
    input.extend(narrow(&b));
    let module = parse(&module("", &one_product(shape, ty, k, size)));
    let (memory, output, _) = launch(&module, (1, 32), 0, &input, 512).unwrap_or_else(|fault| panic!("{fault}"));
    let found: Vec<f32> = numbers(&memory.read(output, 512).unwrap());
    let wanted: Vec<f64> = product(&a, &b, k).iter().map(|sum| sum + 2.0).collect();
    assert_near(&found, &wanted, 1e-6);
}

#[test]
fn fragments_of_products_lie_as_documented() {
    let half =
        |values: &[f32]| values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect::<Vec<u8>>();
    let brain =
        |values: &[f32]| values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect::<Vec<u8>>();
    // What lies below the bits of tf32 must not matter.
    let noisy =
        |values: &[f32]| values.iter().flat_map(|value| (value.to_bits() | 0x1fff).to_le_bytes()).collect::<Vec<u8>>();
    check_product("m16n8k4", "tf32", 4, noisy);
    check_product("m16n8k8", "tf32", 8, noisy);
    check_product("m16n8k8", "f16", 8, half);
    check_product("m16n8k16", "f16", 16, half);
    check_product("m16n8k8", "bf16", 8, brain);
    check_product("m16n8k16", "bf16", 16, brain);
}

/// Four matrices of 8 x 8 elements through `ldmatrix` and back, each lane writing what it got.
fn loaded_fragments(transposed: &str) -> Vec<u16> {
    let body = format!(
        "mov.u32 %r0, %laneid; mul.wide.u32 %rd2, %r0, 16; add.u64 %rd3, %rd0, %rd2;
        ld.global.v4.u32 {{%r4, %r5, %r6, %r7}}, [%rd3];
        mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 16, %r1;
        st.shared.v4.u32 [%r2], {{%r4, %r5, %r6, %r7}};
        bar.sync 0;
        ldmatrix.sync.aligned.m8n8.x4{transposed}.shared.b16 {{%r10, %r11, %r12, %r13}}, [%r2];
        add.u64 %rd3, %rd1, %rd2;
        st.global.v4.u32 [%rd3], {{%r10, %r11, %r12, %r13}};"
    );
    let module = parse(&module(".shared .align 16 .b8 tile[512];", &body));
    let input: Vec<u16> = (0..256).collect();
    let (memory, output, statistics) = launch(&module, (1, 32), 0, &bytes(&input), 512).unwrap();
    assert_eq!(statistics.of("ldmatrix").conflicts, 0);
    numbers(&memory.read(output, 512).unwrap())
}

#[test]
fn matrices_are_spread_over_a_warp() {
    let (plain, transposed) = (loaded_fragments(""), loaded_fragments(".trans"));
    for lane in 0..32 {
        for number in 0..4 {
            for half in 0..2 {
                let at = lane * 8 + number * 2 + half;
                let (row, column) = (lane / 4, 2 * (lane % 4) + half);
                assert_eq!(usize::from(plain[at]), number * 64 + row * 8 + column);
                assert_eq!(usize::from(transposed[at]), number * 64 + column * 8 + row);
            }
        }
    }
}

#[test]
fn matrices_are_stored_from_a_warp() {
    let body = "mov.u32 %r0, %laneid; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 16, %r1;
        mul.lo.u32 %r3, %r0, 2; add.u32 %r4, %r3, 1; shl.b32 %r4, %r4, 16; or.b32 %r5, %r3, %r4;
        stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r2], {%r5};
        bar.sync 0;
        mad.lo.u32 %r2, %r0, 4, %r1; ld.shared.u32 %r6, [%r2];
        mul.wide.u32 %rd2, %r0, 4; add.u64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r6;";
    let module = parse(&module_for("7.8", "sm_90", ".shared .align 16 .b8 tile[512];", body));
    let (memory, output, _) = launch(&module, (1, 32), 0, &[0], 128).unwrap();
    let found: Vec<u16> = numbers(&memory.read(output, 128).unwrap());
    assert_eq!(found, (0..64).collect::<Vec<u16>>());
}

#[test]
fn copies_fill_up_with_zeros() {
    let body = "mov.u32 %r0, %tid.x; mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 16, %r1;
        mul.wide.u32 %rd2, %r0, 16; add.u64 %rd3, %rd0, %rd2;
        and.b32 %r3, %r0, 1; mul.lo.u32 %r3, %r3, 6; add.u32 %r3, %r3, 6;
        cp.async.ca.shared.global [%r2], [%rd3], 16, %r3;
        cp.async.commit_group; cp.async.wait_group 0;
        ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r2];
        add.u64 %rd3, %rd1, %rd2; st.global.v4.u32 [%rd3], {%r4, %r5, %r6, %r7};";
    let module = parse(&module(".shared .align 16 .b8 tile[512];", body));
    let input: Vec<u8> = (0..512).map(|at| (at % 251 + 1) as u8).collect();
    let (memory, output, _) = launch(&module, (1, 32), 0, &input, 512).unwrap();
    let found = memory.read(output, 512).unwrap();
    for (at, (found, given)) in found.iter().zip(&input).enumerate() {
        let read = if (at / 16) % 2 == 1 { 12 } else { 6 };
        assert_eq!(*found, if at % 16 < read { *given } else { 0 }, "byte {at}");
    }
}

/// A product of bf16 matrices: tiles of 16 x 8 a warp, steps of 16 along k, in a ring of asynchronous copies.
/// `waited` groups may be under way when a step is computed, and `barrier` parts the steps.
fn ring_product(k: usize, waited: usize, barrier: &str) -> String {
    let steps = k / 16;
    let mut body = format!(
        "mov.u32 %r0, %tid.x; shr.u32 %r1, %r0, 1; and.b32 %r2, %r0, 1;
        // Where this thread copies from: 16 bytes of a row, of A in the first warp and of B in half of the second.
        mov.u32 %r3, {row_bytes}; mul.lo.u32 %r4, %r1, %r3; mad.lo.u32 %r4, %r2, 16, %r4;
        cvt.u64.u32 %rd2, %r4; add.u64 %rd3, %rd0, %rd2;
        mov.u32 %r5, ring; mad.lo.u32 %r6, %r1, 32, %r5; mad.lo.u32 %r6, %r2, 16, %r6;
        setp.lt.u32 %p0, %r0, 48;
        mov.u32 %r7, %laneid;
        // Rows of A and of B for ldmatrix.
        and.b32 %r8, %r7, 15; shr.u32 %r9, %r7, 4; mad.lo.u32 %r10, %r8, 32, %r5; mad.lo.u32 %r10, %r9, 16, %r10;
        and.b32 %r8, %r7, 7; shr.u32 %r9, %r7, 3; and.b32 %r9, %r9, 1; mad.lo.u32 %r11, %r8, 32, %r5; mad.lo.u32 %r11, %r9, 16, %r11;
        mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;\n",
        row_bytes = 2 * k
    );
    let copy = |step: usize| {
        if step >= steps {
            return "cp.async.commit_group;\n".into();
        }
        let slot = step % 3 * 768;
        format!("@%p0 cp.async.cg.shared.global [%r6+{slot}], [%rd3+{}], 16; cp.async.commit_group;\n", 32 * step)
    };
    body += &copy(0);
    body += &copy(1);
    for step in 0..steps {
        let slot = step % 3 * 768;
        body += &format!("cp.async.wait_group {waited};\n{barrier}\n");
        body += &copy(step + 2);
        body += &format!(
            "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r20, %r21, %r22, %r23}}, [%r10+{slot}];
            ldmatrix.sync.aligned.m8n8.x2.shared.b16 {{%r24, %r25}}, [%r11+{}];
            mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {{%f0, %f1, %f2, %f3}}, {{%r20, %r21, %r22, %r23}}, {{%r24, %r25}}, {{%f0, %f1, %f2, %f3}};\n",
            slot + 512
        );
    }
    body += "shr.u32 %r1, %r7, 2; and.b32 %r2, %r7, 3; mul.lo.u32 %r3, %r1, 32; mad.lo.u32 %r3, %r2, 8, %r3;
        cvt.u64.u32 %rd2, %r3; add.u64 %rd3, %rd1, %rd2; setp.lt.u32 %p1, %r0, 32;
        @%p1 st.global.v2.f32 [%rd3], {%f0, %f1}; @%p1 st.global.v2.f32 [%rd3+256], {%f2, %f3};";
    module(".shared .align 128 .b8 ring[2304];", &body)
}

#[test]
fn a_ring_of_copies_feeds_products() {
    let k = 112;
    let (a, b) = (matrix(16, k, 3), matrix(8, k, 4));
    let narrow = |value: &f32| bf16::from_f32(*value).to_le_bytes();
    let input: Vec<u8> = a.iter().chain(&b).flat_map(narrow).collect();
    let run = |text: &str| launch(&parse(text), (1, 64), 0, &input, 512);
    let (memory, output, statistics) =
        run(&ring_product(k, 1, "bar.sync 0;")).unwrap_or_else(|fault| panic!("{fault}"));
    assert_near(&numbers(&memory.read(output, 512).unwrap()), &product(&a, &b, k), 1e-5);
    assert_eq!(statistics.of("mma").issued, 14);
    // Rows of 32 bytes: of the eight rows of a matrix, four lie in the banks of the other four.
    assert_eq!(statistics.of("ldmatrix").conflicts, 14 * (4 + 2));

    let early = run(&ring_product(k, 2, "bar.sync 0;")).err().expect("copies were not waited for");
    insta::assert_snapshot!(early, @"kernel, block (0, 0, 0), warp 1, lane 0, line 30: `ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r10+0]`: touches 16 bytes at 0x400 while an asynchronous copy writes them: it was not waited for");
    let unordered = run(&ring_product(k, 1, "")).err().expect("no barrier");
    insta::assert_snapshot!(unordered, @"kernel, block (0, 0, 0), warp 0, lane 0, line 31: `ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24, %r25}, [%r11+512]`: reads 16 bytes at 0x600, of which the byte at 0x600 was never written");
}
