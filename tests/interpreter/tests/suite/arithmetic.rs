//! Instructions on the registers of one lane, against the same computed here.
//!
//! A test is an instruction and a function. `$d` is the result; `$a`, `$b`, `$c` are operands, which take
//! values that are known to make trouble, in all combinations.

use crate::support::{Bits, bytes, launch, module_for, parse};
use half::{bf16, f16};

/// A type of operands: its registers, how it is loaded, and values.
trait Operand: Bits + std::fmt::Debug + 'static {
    const REGISTER: &'static str;
    const LOADED: &'static str;
    fn samples() -> Vec<Self>;
    /// The bits that are compared; every NaN is the same.
    fn canonical(self) -> Vec<u8> {
        self.bytes()
    }
}

const SINGLE: [u32; 18] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0001,
    0x3f80_0001,
    0x3f00_0000,
    0x4049_0fdb,
    0xc2f6_e979,
    0x4b00_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc1_2345,
];

macro_rules! operands {
    ($($ty:ty, $register:literal, $loaded:literal, $samples:expr, $canonical:expr;)*) => {$(
        impl Operand for $ty {
            const REGISTER: &'static str = $register;
            const LOADED: &'static str = $loaded;
            fn samples() -> Vec<$ty> { $samples }
            fn canonical(self) -> Vec<u8> { let f: fn($ty) -> $ty = $canonical; f(self).bytes() }
        }
    )*};
}

operands! {
    u16, "%h", "b16", vec![0, 1, 2, 7, 255, 256, 32767, 32768, 65535], |x| x;
    i16, "%h", "b16", vec![0, 1, -1, 7, -7, 256, i16::MAX, i16::MIN], |x| x;
    u32, "%r", "b32", vec![0, 1, 2, 5, 31, 32, 33, 0xffff, 0x8000_0000, 0x1234_5678, 0xfedc_ba98, u32::MAX], |x| x;
    i32, "%r", "b32", vec![0, 1, -1, 5, -5, 32, 0x1234_5678, -0x1234_5678, i32::MAX, i32::MIN], |x| x;
    u64, "%rd", "b64", vec![0, 1, 3, 63, 64, 0xffff_ffff, 0x1_0000_0000, 1 << 63, 0x0123_4567_89ab_cdef, u64::MAX], |x| x;
    i64, "%rd", "b64", vec![0, 1, -1, 3, -3, 0xffff_ffff, -0x1_0000_0001, i64::MAX, i64::MIN], |x| x;
    f32, "%f", "f32", SINGLE.map(f32::from_bits).to_vec(), |x| if x.is_nan() { f32::NAN } else { x };
    f64, "%d", "f64", vec![0.0, -0.0, 1.0, -1.5, 1e-310, 3.0, 0.1, -1e300, f64::MAX, f64::INFINITY, f64::NAN, 1.0 + f64::EPSILON],
        |x| if x.is_nan() { f64::NAN } else { x };
    f16, "%h", "b16", [0u16, 0x8000, 1, 0x0400, 0x3c00, 0x3c01, 0xbc00, 0x4248, 0x7bff, 0xfbff, 0x7c00, 0x7e01].map(f16::from_bits).to_vec(),
        |x| if x.is_nan() { f16::NAN } else { x };
    bf16, "%h", "b16", [0u16, 0x8000, 1, 0x0080, 0x3f80, 0x3f81, 0xbf80, 0x4049, 0x7f7f, 0xff7f, 0x7f80, 0x7fc1].map(bf16::from_bits).to_vec(),
        |x| if x.is_nan() { bf16::NAN } else { x };
}

/// The results of an instruction on columns of operands.
fn results<R: Operand>(target: (&str, &str), instruction: &str, columns: &[(&str, &str, Vec<u8>)]) -> Vec<R> {
    let count = columns[0].2.len() / size_of_name(columns[0].1);
    let mut body = String::from("mov.u32 %r60, %ctaid.x; mov.u32 %r61, %tid.x; mad.lo.u32 %r62, %r60, 64, %r61;\n");
    let mut text = instruction.to_owned();
    let mut input = Vec::new();
    for (number, (register, loaded, values)) in columns.iter().enumerate() {
        // Columns of eight bytes keep every element aligned.
        let start = input.len();
        for value in values.chunks(size_of_name(loaded)) {
            input.extend_from_slice(value);
            input.resize(input.len().next_multiple_of(8), 0);
        }
        let name = format!("{register}{}", 10 + number);
        body += &format!("mad.wide.u32 %rd31, %r62, 8, %rd0; ld.global.{loaded} {name}, [%rd31+{start}];\n");
        text = text.replace(["$a", "$b", "$c"][number], &name);
    }
    text = text.replace("$d", &format!("{}9", R::REGISTER));
    body += &format!("{text}\nmad.wide.u32 %rd31, %r62, 8, %rd1; st.global.{} [%rd31], {}9;", R::LOADED, R::REGISTER);
    let blocks = count.div_ceil(64) as u32;
    let rows = 64 * blocks as usize;
    // Rows that fill up the last block compute with the first row's neighbours, and are thrown away.
    input.resize(input.len() + 8 * 64, 0);
    let module = parse(&module_for(target.0, target.1, "", &body));
    let (memory, output, _) =
        launch(&module, (blocks, 64), 0, &input, 8 * rows).unwrap_or_else(|fault| panic!("{fault}"));
    let found = |row: usize| R::of(&memory.read(output + 8 * row as u64, R::SIZE).unwrap());
    (0..count).map(found).collect()
}

fn size_of_name(loaded: &str) -> usize {
    loaded[1..].parse::<usize>().expect("a type with its size") / 8
}

fn column<T: Operand>(values: &[T]) -> (&'static str, &'static str, Vec<u8>) {
    (T::REGISTER, T::LOADED, bytes(values))
}

fn compare<R: Operand>(instruction: &str, found: &[R], wanted: &[R], operands: impl Fn(usize) -> String) {
    for (row, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert_eq!(
            found.canonical(),
            wanted.canonical(),
            "{instruction} of {}: {found:?}, not {wanted:?}",
            operands(row)
        );
    }
}

const AMPERE: (&str, &str) = ("7.8", "sm_80");
const HOPPER: (&str, &str) = ("8.0", "sm_90");

fn one_on<A: Operand, R: Operand>(target: (&str, &str), instruction: &str, f: impl Fn(A) -> R) {
    let a = A::samples();
    let found = results::<R>(target, instruction, &[column(&a)]);
    let wanted: Vec<R> = a.iter().map(|a| f(*a)).collect();
    compare(instruction, &found, &wanted, |row| format!("{:?}", a[row]));
}

fn two_on<A: Operand, B: Operand, R: Operand>(target: (&str, &str), instruction: &str, f: impl Fn(A, B) -> R) {
    let rows: Vec<(A, B)> =
        A::samples().into_iter().flat_map(|a| B::samples().into_iter().map(move |b| (a, b))).collect();
    let a: Vec<A> = rows.iter().map(|row| row.0).collect();
    let b: Vec<B> = rows.iter().map(|row| row.1).collect();
    let found = results::<R>(target, instruction, &[column(&a), column(&b)]);
    let wanted: Vec<R> = rows.iter().map(|(a, b)| f(*a, *b)).collect();
    compare(instruction, &found, &wanted, |row| format!("{:?}", rows[row]));
}

fn three_on<A: Operand, B: Operand, C: Operand, R: Operand>(
    target: (&str, &str),
    instruction: &str,
    f: impl Fn(A, B, C) -> R,
) {
    let mut rows: Vec<(A, B, C)> = Vec::new();
    for a in A::samples() {
        for b in B::samples() {
            rows.extend(C::samples().into_iter().map(|c| (a, b, c)));
        }
    }
    let a: Vec<A> = rows.iter().map(|row| row.0).collect();
    let b: Vec<B> = rows.iter().map(|row| row.1).collect();
    let c: Vec<C> = rows.iter().map(|row| row.2).collect();
    let found = results::<R>(target, instruction, &[column(&a), column(&b), column(&c)]);
    let wanted: Vec<R> = rows.iter().map(|(a, b, c)| f(*a, *b, *c)).collect();
    compare(instruction, &found, &wanted, |row| format!("{:?}", rows[row]));
}

fn one<A: Operand, R: Operand>(instruction: &str, f: impl Fn(A) -> R) {
    one_on(AMPERE, instruction, f);
}

fn two<A: Operand, B: Operand, R: Operand>(instruction: &str, f: impl Fn(A, B) -> R) {
    two_on(AMPERE, instruction, f);
}

fn three<A: Operand, B: Operand, C: Operand, R: Operand>(instruction: &str, f: impl Fn(A, B, C) -> R) {
    three_on(AMPERE, instruction, f);
}

#[test]
fn integers() {
    two("add.u32 $d, $a, $b;", u32::wrapping_add);
    two("add.s16 $d, $a, $b;", i16::wrapping_add);
    two("add.sat.s32 $d, $a, $b;", i32::saturating_add);
    two("sub.u64 $d, $a, $b;", u64::wrapping_sub);
    two("sub.sat.s32 $d, $a, $b;", i32::saturating_sub);
    two("mul.lo.s32 $d, $a, $b;", i32::wrapping_mul);
    two("mul.lo.u64 $d, $a, $b;", u64::wrapping_mul);
    two("mul.hi.u32 $d, $a, $b;", |a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    two("mul.hi.s32 $d, $a, $b;", |a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32);
    two("mul.hi.s64 $d, $a, $b;", |a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 64) as i64);
    two("mul.wide.u16 $d, $a, $b;", |a: u16, b: u16| u32::from(a) * u32::from(b));
    two("mul.wide.s32 $d, $a, $b;", |a: i32, b: i32| i64::from(a) * i64::from(b));
    three("mad.lo.u32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c));
    three("mad.hi.u32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| {
        (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
    });
    three("mad.wide.s32 $d, $a, $b, $c;", |a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
    three("sad.s32 $d, $a, $b, $c;", |a: i32, b: i32, c: i32| c.wrapping_add(a.abs_diff(b) as i32));
    three("sad.u32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| c.wrapping_add(a.abs_diff(b)));
    two("min.s32 $d, $a, $b;", i32::min);
    two("max.u64 $d, $a, $b;", u64::max);
    one("neg.s32 $d, $a;", i32::wrapping_neg);
    one("abs.s64 $d, $a;", i64::wrapping_abs);
    two("or.b32 $a, $a, 0; add.u32 $b, $b, 0; max.u32 $b, $b, 1; div.u32 $d, $a, $b;", |a: u32, b: u32| a / b.max(1));
    two("max.u32 $b, $b, 1; rem.u32 $d, $a, $b;", |a: u32, b: u32| a % b.max(1));
    two("max.s32 $b, $b, 3; div.s32 $d, $a, $b;", |a: i32, b: i32| a / b.max(3));
    two("min.s64 $b, $b, -3; rem.s64 $d, $a, $b;", |a: i64, b: i64| a % b.min(-3));
}

#[test]
fn bits() {
    two("and.b32 $d, $a, $b;", |a: u32, b: u32| a & b);
    two("or.b64 $d, $a, $b;", |a: u64, b: u64| a | b);
    two("xor.b16 $d, $a, $b;", |a: u16, b: u16| a ^ b);
    one("not.b16 $d, $a;", |a: u16| !a);
    one("not.b64 $d, $a;", |a: u64| !a);
    one("cnot.b32 $d, $a;", |a: u32| u32::from(a == 0));
    two("shl.b32 $d, $a, $b;", |a: u32, b: u32| a.checked_shl(b).unwrap_or(0));
    two("shl.b64 $d, $a, $b;", |a: u64, b: u32| a.checked_shl(b).unwrap_or(0));
    two("shr.u32 $d, $a, $b;", |a: u32, b: u32| a.checked_shr(b).unwrap_or(0));
    two("shr.s32 $d, $a, $b;", |a: i32, b: u32| a >> b.min(31));
    two("shr.s64 $d, $a, $b;", |a: i64, b: u32| a >> b.min(63));
    three("shf.l.wrap.b32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| {
        ((u64::from(b) << 32 | u64::from(a)) << (c & 31) >> 32) as u32
    });
    three("shf.r.wrap.b32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| {
        ((u64::from(b) << 32 | u64::from(a)) >> (c & 31)) as u32
    });
    three("shf.r.clamp.b32 $d, $a, $b, $c;", |a: u32, b: u32, c: u32| {
        ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32
    });
    two("prmt.b32 $d, $a, $b, 0x5410;", |a: u32, b: u32| a & 0xffff | b << 16);
    two("prmt.b32 $d, $a, $b, 0xfb72;", |a: u32, b: u32| {
        let sign = |byte: u32| if byte >> 7 & 1 == 1 { 0xff } else { 0 };
        (a >> 16 & 0xff) | (b >> 24) << 8 | sign(a >> 24) << 16 | sign(b >> 24) << 24
    });
    one("bfe.u32 $d, $a, 5, 9;", |a: u32| a >> 5 & 0x1ff);
    one("bfe.s32 $d, $a, 5, 9;", |a: u32| ((a << 18) as i32 >> 23) as u32);
    one("bfe.s32 $d, $a, 28, 9;", |a: i32| a >> 28);
    one("bfe.u32 $d, $a, 40, 3;", |_: u32| 0);
    one("bfe.u64 $d, $a, 33, 20;", |a: u64| a >> 33 & 0xf_ffff);
    two("bfi.b32 $d, $a, $b, 8, 4;", |a: u32, b: u32| b & !0xf00 | (a & 0xf) << 8);
    two("bfi.b32 $d, $a, $b, 28, 8;", |a: u32, b: u32| b & 0xfff_ffff | a << 28);
    two("bfi.b64 $d, $a, $b, 0, 64;", |a: u64, _: u64| a);
    three("lop3.b32 $d, $a, $b, $c, 0xe8;", |a: u32, b: u32, c: u32| a & b | a & c | b & c);
    three("lop3.b32 $d, $a, $b, $c, 0xca;", |a: u32, b: u32, c: u32| a & b | !a & c);
    one("popc.b64 $d, $a;", u64::count_ones);
    one("clz.b32 $d, $a;", u32::leading_zeros);
    one("brev.b32 $d, $a;", u32::reverse_bits);
    one("bfind.u32 $d, $a;", |a: u32| 31u32.wrapping_sub(a.leading_zeros()));
    one("bfind.s32 $d, $a;", |a: i32| 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros()));
    one("bfind.shiftamt.u32 $d, $a;", |a: u32| if a == 0 { u32::MAX } else { a.leading_zeros() });
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

#[test]
fn single_precision() {
    two("add.rn.f32 $d, $a, $b;", |a: f32, b: f32| a + b);
    two("sub.f32 $d, $a, $b;", |a: f32, b: f32| a - b);
    two("mul.rn.f32 $d, $a, $b;", |a: f32, b: f32| a * b);
    two("mul.rn.ftz.f32 $d, $a, $b;", |a: f32, b: f32| flush(flush(a) * flush(b)));
    two(
        "add.rn.sat.f32 $d, $a, $b;",
        |a: f32, b: f32| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) + 0.0 },
    );
    two("div.rn.f32 $d, $a, $b;", |a: f32, b: f32| a / b);
    two("div.full.f32 $d, $a, $b;", |a: f32, b: f32| a / b);
    three("fma.rn.f32 $d, $a, $b, $c;", f32::mul_add);
    three("mad.rn.f32 $d, $a, $b, $c;", f32::mul_add);
    one("neg.f32 $d, $a;", |a: f32| -a);
    one("abs.ftz.f32 $d, $a;", |a: f32| flush(a.abs()));
    let least = |a: f32, b: f32| {
        if a.is_nan() {
            b
        } else if b.is_nan() || a < b || (a == b && a.is_sign_negative()) {
            a
        } else {
            b
        }
    };
    two("min.f32 $d, $a, $b;", least);
    two("max.f32 $d, $a, $b;", move |a: f32, b: f32| -least(-a, -b));
    two("min.NaN.f32 $d, $a, $b;", move |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { least(a, b) });
    two("copysign.f32 $d, $a, $b;", |a: f32, b: f32| b.copysign(a));
    one("rcp.rn.f32 $d, $a;", |a: f32| 1.0 / a);
    one("sqrt.rn.f32 $d, $a;", f32::sqrt);
    one("sqrt.approx.ftz.f32 $d, $a;", |a: f32| flush(a).sqrt());
    one("rsqrt.approx.f32 $d, $a;", |a: f32| (1.0 / f64::from(a).sqrt()) as f32);
    one("ex2.approx.f32 $d, $a;", |a: f32| f64::from(a).exp2() as f32);
    one("ex2.approx.ftz.f32 $d, $a;", |a: f32| flush(f64::from(flush(a)).exp2() as f32));
    one("lg2.approx.f32 $d, $a;", |a: f32| f64::from(a).log2() as f32);
    one("sin.approx.f32 $d, $a;", |a: f32| f64::from(a).sin() as f32);
    one("cos.approx.f32 $d, $a;", |a: f32| f64::from(a).cos() as f32);
    one("tanh.approx.f32 $d, $a;", |a: f32| f64::from(a).tanh() as f32);
}

/// What lies between two neighbours, decided in exact arithmetic where it matters.
#[test]
fn directed_rounding() {
    // 1 + 2⁻³⁰ lies between 1 and the next number.
    let one_and_a_bit = f32::from_bits(0x3f80_0001);
    let sums = |rounding: &str| {
        let text = format!("mov.f32 %f1, 0f30800000; add.{rounding}.f32 $d, $a, %f1;");
        results::<f32>(AMPERE, &text, &[column(&[1.0f32, -1.0, f32::MAX])])
    };
    assert_eq!(sums("rz"), [1.0, -1.0 + f32::EPSILON / 2.0, f32::MAX]);
    assert_eq!(sums("rm"), [1.0, -1.0, f32::MAX]);
    assert_eq!(sums("rp"), [one_and_a_bit, -1.0 + f32::EPSILON / 2.0, f32::INFINITY]);
    // A product of subnormal size, and a cancellation.
    let products = |rounding: &str| {
        results::<f32>(AMPERE, &format!("mul.{rounding}.f32 $d, $a, $a;"), &[column(&[1e-22f32, 1e-30])])
    };
    assert_eq!(products("rz"), [f32::from_bits(7), 0.0]);
    assert_eq!(products("rp"), [f32::from_bits(8), f32::from_bits(1)]);
    let cancelled = results::<f32>(AMPERE, "neg.f32 %f1, $a; add.rm.f32 $d, $a, %f1;", &[column(&[3.0f32])]);
    assert!(cancelled[0] == 0.0 && cancelled[0].is_sign_negative());
    // A third, a root and a fused product on either side of the exact value.
    for (instruction, exact) in [
        ("rcp.@.f32 $d, $a;", (1.0 / 3.0f64)),
        ("sqrt.@.f32 $d, $a;", 3.0f64.sqrt()),
        ("div.@.f32 $d, $a, 0f40E00000;", 3.0 / 7.0f64),
        ("fma.@.f32 $d, $a, 0f3F800001, 0f2B000000;", 3.0 * (1.0 + f64::from(f32::EPSILON)) + 2f64.powi(-41)),
    ] {
        let found = |rounding| results::<f32>(AMPERE, &instruction.replace('@', rounding), &[column(&[3.0f32])])[0];
        let (down, up) = (found("rm"), found("rp"));
        assert!(f64::from(down) < exact && exact < f64::from(up), "{instruction}: {down} {exact} {up}");
        assert_eq!(up, down.next_up(), "{instruction}");
        assert_eq!(found("rz"), down, "{instruction}");
    }
}

#[test]
fn double_precision() {
    two("add.rn.f64 $d, $a, $b;", |a: f64, b: f64| a + b);
    two("mul.f64 $d, $a, $b;", |a: f64, b: f64| a * b);
    two("div.rn.f64 $d, $a, $b;", |a: f64, b: f64| a / b);
    three("fma.rn.f64 $d, $a, $b, $c;", f64::mul_add);
    one("sqrt.rn.f64 $d, $a;", f64::sqrt);
    one("rcp.rn.f64 $d, $a;", |a: f64| 1.0 / a);
    one("neg.f64 $d, $a;", |a: f64| -a);
    one("abs.f64 $d, $a;", f64::abs);
    two("copysign.f64 $d, $a, $b;", |a: f64, b: f64| b.copysign(a));
}

#[test]
fn half_precision() {
    two("add.rn.f16 $d, $a, $b;", |a: f16, b: f16| f16::from_f32(a.to_f32() + b.to_f32()));
    two("mul.f16 $d, $a, $b;", |a: f16, b: f16| f16::from_f32(a.to_f32() * b.to_f32()));
    two_on(HOPPER, "add.bf16 $d, $a, $b;", |a: bf16, b: bf16| bf16::from_f32(a.to_f32() + b.to_f32()));
    two_on(HOPPER, "mul.rn.bf16 $d, $a, $b;", |a: bf16, b: bf16| bf16::from_f32(a.to_f32() * b.to_f32()));
    // Two halves at once: 1 · 2 + 1 below, and 1.5 · 2 + 1 above.
    let packed = results::<u32>(
        AMPERE,
        "mov.b32 %r1, 0x40004000; mov.b32 %r2, 0x3c003c00; fma.rn.f16x2 $d, $a, %r1, %r2;",
        &[column(&[0x3e00_3c00u32])],
    );
    assert_eq!(packed, [0x4400_4200]);
    let packed = results::<u32>(
        AMPERE,
        "mov.b32 %r1, 0x40004000; mov.b32 %r2, 0x3f803f80; fma.rn.bf16x2 $d, $a, %r1, %r2;",
        &[column(&[0x3fc0_3f80u32])],
    );
    assert_eq!(packed, [0x4080_4040]);
}

#[test]
fn comparisons() {
    let flags = |relation: &str| format!("setp.{relation} %p1, $a, $b; selp.u32 $d, 1, 0, %p1;");
    two(&flags("lt.s32"), |a: i32, b: i32| u32::from(a < b));
    two(&flags("lo.u32"), |a: u32, b: u32| u32::from(a < b));
    two(&flags("ge.u64"), |a: u64, b: u64| u32::from(a >= b));
    two(&flags("ne.b16"), |a: u16, b: u16| u32::from(a != b));
    two(&flags("le.f32"), |a: f32, b: f32| u32::from(a <= b));
    two(&flags("neu.f32"), |a: f32, b: f32| u32::from(a != b));
    two(&flags("ne.f32"), |a: f32, b: f32| u32::from(matches!(a.partial_cmp(&b), Some(order) if order.is_ne())));
    two(&flags("gtu.f64"), |a: f64, b: f64| u32::from(a.partial_cmp(&b).is_none_or(|order| order.is_gt())));
    two(&flags("num.f32"), |a: f32, b: f32| u32::from(!a.is_nan() && !b.is_nan()));
    two(&flags("nan.f32"), |a: f32, b: f32| u32::from(a.is_nan() || b.is_nan()));
    two(&flags("eq.ftz.f32"), |a: f32, b: f32| u32::from(flush(a) == flush(b)));
    two("set.lt.u32.f32 $d, $a, $b;", |a: f32, b: f32| if a < b { u32::MAX } else { 0 });
    two("set.ge.f32.s32 $d, $a, $b;", |a: i32, b: i32| if a >= b { 1.0f32 } else { 0.0 });
    // Two predicates, combined with a third.
    two(
        "setp.gt.s32 %p0, $a, 0; setp.lt.and.s32 %p1|%p2, $a, $b, %p0; selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 2, 0, %p2; or.b32 $d, %r1, %r2;",
        |a: i32, b: i32| {
            if a <= 0 {
                0u32
            } else if a < b {
                1
            } else {
                2
            }
        },
    );
    two(
        "setp.gt.s32 %p0, $a, 0; setp.eq.xor.s32 %p1, $a, $b, !%p0; not.pred %p2, %p1; and.pred %p3, %p0, %p2; xor.pred %p3, %p3, %p1; mov.pred %p4, %p3; selp.u32 $d, 1, 0, %p4;",
        |a: i32, b: i32| {
            let (p0, p1) = (a > 0, (a == b) != (a <= 0));
            u32::from((p0 && !p1) != p1)
        },
    );
    three("slct.b32.s32 $d, $a, $b, $c;", |a: u32, b: u32, c: i32| if c >= 0 { a } else { b });
    three("slct.f32.f32 $d, $a, $b, $c;", |a: f32, b: f32, c: f32| if c >= 0.0 { a } else { b });
    one("testp.subnormal.f32 %p1, $a; selp.u32 $d, 1, 0, %p1;", |a: f32| u32::from(a.is_subnormal()));
    one("testp.normal.f32 %p1, $a; selp.u32 $d, 1, 0, %p1;", |a: f32| u32::from(a.is_normal()));
    one("testp.notanumber.f64 %p1, $a; selp.u32 $d, 1, 0, %p1;", |a: f64| u32::from(a.is_nan()));
}

#[test]
fn conversions() {
    one("cvt.s64.s32 $d, $a;", |a: i32| i64::from(a));
    one("cvt.u64.u32 $d, $a;", |a: u32| u64::from(a));
    one("cvt.u32.u64 $d, $a;", |a: u64| a as u32);
    one("cvt.s32.s8 $d, $a;", |a: u32| i32::from(a as i8));
    one("cvt.u8.u32 $d, $a;", |a: u32| a & 0xff);
    one("cvt.sat.u8.s32 $d, $a;", |a: i32| a.clamp(0, 255) as u32);
    one("cvt.sat.s16.s32 $d, $a;", |a: i32| a.clamp(-32768, 32767) as i16);
    one("cvt.rn.f32.s32 $d, $a;", |a: i32| a as f32);
    one("cvt.rn.f32.u64 $d, $a;", |a: u64| a as f32);
    one("cvt.rz.f32.u64 $d, $a;", |a: u64| {
        let nearest = a as f32;
        if nearest as u128 > u128::from(a) { nearest.next_down() } else { nearest }
    });
    one("cvt.rn.f64.s64 $d, $a;", |a: i64| a as f64);
    one("cvt.rn.f16.u32 $d, $a;", |a: u32| f16::from_f32(if a > 70000 { f32::INFINITY } else { a as f32 }));
    one("cvt.rzi.s32.f32 $d, $a;", |a: f32| a as i32);
    one("cvt.rni.s32.f32 $d, $a;", |a: f32| a.round_ties_even() as i32);
    one("cvt.rmi.s64.f64 $d, $a;", |a: f64| a.floor() as i64);
    one("cvt.rpi.u32.f32 $d, $a;", |a: f32| a.ceil() as u32);
    one("cvt.rni.f32.f32 $d, $a;", f32::round_ties_even);
    one("cvt.rmi.f32.f32 $d, $a;", f32::floor);
    one("cvt.rzi.f64.f64 $d, $a;", f64::trunc);
    one("cvt.f64.f32 $d, $a;", |a: f32| f64::from(a));
    one("cvt.rn.f32.f64 $d, $a;", |a: f64| a as f32);
    one("cvt.ftz.f64.f32 $d, $a;", |a: f32| f64::from(flush(a)));
    one("cvt.sat.f32.f32 $d, $a;", |a: f32| if a > 0.0 { a.min(1.0) } else { 0.0 });
    one("cvt.rn.f16.f32 $d, $a;", f16::from_f32);
    one("cvt.f32.f16 $d, $a;", |a: f16| a.to_f32());
    one("cvt.rn.bf16.f32 $d, $a;", bf16::from_f32);
    one("cvt.rn.relu.bf16.f32 $d, $a;", |a: f32| bf16::from_f32(if a.is_nan() { a } else { a.max(0.0) + 0.0 }));
    one("cvt.f32.bf16 $d, $a;", |a: bf16| a.to_f32());
    two("cvt.rn.bf16x2.f32 $d, $a, $b;", |a: f32, b: f32| {
        let half = |x: f32| u32::from(if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() });
        half(a) << 16 | half(b)
    });
    two("cvt.rn.f16x2.f32 $d, $a, $b;", |a: f32, b: f32| {
        let half = |x: f32| u32::from(if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() });
        half(a) << 16 | half(b)
    });
    // Ties go away from zero, and the bits below are gone.
    one("cvt.rna.tf32.f32 $d, $a;", |a: f32| {
        if a.is_nan() {
            0x7fff_ffff
        } else if a.is_infinite() {
            a.to_bits()
        } else {
            a.to_bits().wrapping_add(0x1000) & 0xffff_e000
        }
    });
}

#[test]
fn moves() {
    one("mov.b32 $d, $a;", |a: f32| a.to_bits());
    one("mov.b64 {%r1, %r2}, $a; mov.b64 $d, {%r2, %r1};", |a: u64| a.rotate_left(32));
    one("mov.b32 {%h1, %h2}, $a; mov.b32 $d, {%h2, %h1};", |a: u32| a.rotate_left(16));
    one("mov.b64 {_, %r1}, $a; mov.u32 $d, %r1;", |a: u64| (a >> 32) as u32);
    one("mov.f32 $d, 0f3FC00000; add.f32 $d, $d, $a;", |a: f32| 1.5 + a);
    one("mov.f64 $d, 0dBFF8000000000000; add.f64 $d, $d, $a;", |a: f64| a - 1.5);
    one("mov.u32 $d, -1; xor.b32 $d, $d, $a;", |a: u32| !a);
}
