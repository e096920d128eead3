//! Single against double precision: every 257th of all 2³² arguments, and the neighbourhoods of those where something
//! happens; with `VISAGE_EXHAUSTIVE=1`, all of them.

use crate::{exhaustive, random};
use rayon::prelude::*;

/// The error of `got` in units in the last place of single precision at `truth`.
fn ulps(got: f32, truth: f64) -> f64 {
    let rounded = truth as f32;
    if got == rounded || got.is_nan() && rounded.is_nan() {
        return if got == 0.0 && got.is_sign_negative() != rounded.is_sign_negative() { f64::INFINITY } else { 0.0 };
    }
    if !got.is_finite() || !truth.is_finite() {
        // An overflow a little early or late counts as the distance to where infinity would be.
        let top = |value: f64| value.clamp(-2.0_f64.powi(128), 2.0_f64.powi(128));
        return if got.is_nan() || truth.is_nan() { f64::INFINITY } else { ulps_of(top(f64::from(got)), top(truth)) };
    }
    ulps_of(f64::from(got), truth)
}

fn ulps_of(got: f64, truth: f64) -> f64 {
    let exponent = (truth.abs().to_bits() >> 52) as i32 - 1023;
    let ulp = 2.0_f64.powi(exponent.clamp(-126, 127) - 23);
    (got - truth).abs() / ulp
}

/// The largest error over a block of bit patterns, and the argument that has it.
fn worst(function: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, patterns: impl Iterator<Item = u32>) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for bits in patterns {
        let x = f32::from_bits(bits);
        let error = ulps(function(x), truth(f64::from(x)));
        if error > worst.0 {
            worst = (error, x);
        }
    }
    worst
}

/// Checks a function of one argument over its whole range.
fn check(
    name: &str,
    bound: f64,
    function: impl Fn(f32) -> f32 + Sync,
    truth: impl Fn(f64) -> f64 + Sync,
    neighbourhoods: &[f32],
) {
    let step = if exhaustive() { 1 } else { 257 };
    let blocks: u64 = 4096;
    let size = (1_u64 << 32) / blocks;
    let everywhere = (0..blocks).into_par_iter().map(|block| {
        let start = (block * size).next_multiple_of(step);
        worst(&function, &truth, (start..(block + 1) * size).step_by(step as usize).map(|bits| bits as u32))
    });
    let specials = [0.0, f32::MIN_POSITIVE, 1e-20, 1e-4, 0.25, 0.5, 1.0, 2.0, 1e10, f32::MAX, f32::INFINITY];
    let near = specials.par_iter().chain(neighbourhoods).map(|&centre| {
        let around = |centre: f32| (0..4000).map(move |i| centre.to_bits().wrapping_add(i).wrapping_sub(2000));
        worst(&function, &truth, around(centre).chain(around(-centre)))
    });
    let (error, x) = everywhere.chain(near).reduce(|| (0.0, 0.0), |a, b| if a.0 > b.0 { a } else { b });
    let (got, expected) = (function(x), truth(f64::from(x)));
    println!("{name:>8}: {error:.3} ulp at {x:e} ({got:e}, truth {expected:e})");
    assert!(error <= bound, "{name}({x:e}) = {got:e} is {error} ulp from {expected:e}");
}

#[test]
fn exponentials() {
    check("exp", 1.1, fast!(Scalar, f32, exp(x)), f64::exp, &[88.722_84, 87.336_55, 103.278_93, 103.972_08]);
    check("exp2", 0.9, fast!(Scalar, f32, exp2(x)), f64::exp2, &[128.0, 126.0, 149.0, 150.0]);
    check("expm1", 1.5, fast!(Scalar, f32, expm1(x)), f64::exp_m1, &[88.722_84, 0.346_573_6, 17.3, 18.0]);
    check("sigmoid", 1.7, fast!(Scalar, f32, sigmoid(x)), |x| 1.0 / (1.0 + (-x).exp()), &[87.336_55, 103.972_08, 17.3]);
    check("tanh", 1.4, fast!(Scalar, f32, tanh(x)), f64::tanh, &[0.625, 9.01, 10.0]);
}

#[test]
fn logarithms() {
    check(
        "log",
        1.0,
        fast!(Scalar, f32, log(x)),
        f64::ln,
        &[std::f32::consts::SQRT_2, std::f32::consts::FRAC_1_SQRT_2],
    );
    check("log1p", 1.1, fast!(Scalar, f32, log1p(x)), f64::ln_1p, &[0.414_213_56, 0.292_893_23, 1.0]);
    check(
        "softplus",
        1.8,
        fast!(Scalar, f32, softplus(x)),
        |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        &[87.3, 103.972_08],
    );
    check(
        "log2",
        1.1,
        fast!(Scalar, f32, log2(x)),
        f64::log2,
        &[std::f32::consts::SQRT_2, std::f32::consts::FRAC_1_SQRT_2],
    );
}

#[test]
fn circular_functions() {
    let multiples: Vec<f32> = (1..2000).map(|k| k as f32 * std::f32::consts::FRAC_PI_2).collect();
    for (name, near_bound, far_bound, function, truth) in [
        ("sin", 1.8, 2.6, &fast!(Scalar, f32, sin(x)) as &(dyn Fn(f32) -> f32 + Sync), f64::sin as fn(f64) -> f64),
        ("cos", 1.8, 2.6, &fast!(Scalar, f32, cos(x)), f64::cos),
        ("tan", 1.6, 1.6, &fast!(Scalar, f32, tan(x)), f64::tan),
    ] {
        // The argument where it is less than the limit, and a zero or NaN beyond.
        let within = |limit: f64| move |x: f64| if x.abs() < limit { x } else { x - x };
        let (near, far) = (within(131_072.0), within(4_194_304.0));
        check(name, near_bound, |x| function(near(f64::from(x)) as f32), |x| truth(near(x)), &multiples);
        check(name, far_bound, function, |x| truth(far(x)), &multiples);
    }
}

#[test]
fn sines_stay_within_one() {
    let (sin, cos) = (fast!(Scalar, f32, sin(x)), fast!(Scalar, f32, cos(x)));
    for k in 0..20_000 {
        let centre = (f64::from(k) * std::f64::consts::FRAC_PI_2) as f32;
        for bits in centre.to_bits().saturating_sub(50)..centre.to_bits() + 50 {
            let x = f32::from_bits(bits);
            assert!(sin(x).abs() <= 1.0 && cos(x).abs() <= 1.0, "{x}");
        }
    }
}

#[test]
fn inverse_circular_functions() {
    check("atan", 1.6, fast!(Scalar, f32, atan(x)), f64::atan, &[0.414_213_56]);
    check("asin", 1.4, fast!(Scalar, f32, asin(x)), f64::asin, &[]);
    check("acos", 1.4, fast!(Scalar, f32, acos(x)), f64::acos, &[]);
}

/// The error function in double precision, by its series of positive terms.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[test]
fn error_function_and_root() {
    check("erf", 1.2, fast!(Scalar, f32, erf(x)), erf, &[3.9, 4.0]);
    check("rsqrt", 1.5, fast!(Scalar, f32, rsqrt(x)), |x| 1.0 / x.sqrt(), &[]);
}

/// Arguments at which functions of two arguments do something particular.
fn particular() -> Vec<f32> {
    let positive =
        [0.0, 1e-45, 1e-40, f32::MIN_POSITIVE, 1e-10, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 101.0, 1e10, 16_777_215.0];
    let rest = [16_777_216.0, f32::MAX, f32::INFINITY, f32::NAN, 1.0 - f32::EPSILON / 2.0, 1.0 + f32::EPSILON];
    positive.iter().chain(&rest).flat_map(|&x| [x, -x]).collect()
}

/// Checks a function of two arguments at all pairs of particular ones, and at pairs drawn by `draw` from 64 random
/// bits.
fn check_pairs(
    name: &str,
    bound: f64,
    function: impl Fn(f32, f32) -> f32 + Sync,
    truth: impl Fn(f64, f64) -> f64 + Sync,
    draw: impl Fn(u64) -> (f32, f32) + Sync,
) {
    let particular = particular();
    let pairs = particular.iter().flat_map(|&a| particular.iter().map(move |&b| (a, b))).collect::<Vec<_>>();
    let count: u64 = if exhaustive() { 1 << 32 } else { 1 << 24 };
    let error = |(a, b): (f32, f32)| (ulps(function(a, b), truth(f64::from(a), f64::from(b))), (a, b));
    let (error, (a, b)) = (0..count)
        .into_par_iter()
        .map(|i| error(draw(random(i))))
        .chain(pairs.into_par_iter().map(error))
        .reduce(|| (0.0, (0.0, 0.0)), |a, b| if a.0 > b.0 { a } else { b });
    let (got, expected) = (function(a, b), truth(f64::from(a), f64::from(b)));
    println!("{name:>8}: {error:.3} ulp at {a:e}, {b:e} ({got:e}, truth {expected:e})");
    assert!(error <= bound, "{name}({a:e}, {b:e}) = {got:e} is {error} ulp from {expected:e}");
}

/// Two floats of any bits.
fn any_pair(bits: u64) -> (f32, f32) {
    (f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32))
}

/// A float in 0..1 from 32 random bits.
fn unit(bits: u64) -> f32 {
    (bits as u32 >> 8) as f32 / 16_777_216.0
}

#[test]
fn functions_of_two_arguments() {
    check_pairs("atan2", 1.6, fast!(Scalar, f32, atan2(y, x)), f64::atan2, any_pair);
    let near = |bits: u64| (unit(bits) - 0.5, unit(bits >> 32) - 0.5);
    check_pairs("atan2", 1.6, fast!(Scalar, f32, atan2(y, x)), f64::atan2, near);
    check_pairs("pow", 1.2, fast!(Scalar, f32, pow(x, y)), f64::powf, any_pair);
    // A base near one, where the logarithm must be exact, and any base, with an exponent that keeps the result in
    // range.
    let near_one = |bits: u64| {
        let x = 0.5 + unit(bits);
        (x, (unit(bits >> 32) - 0.5) * 300.0 / x.log2().abs().max(1e-7))
    };
    check_pairs("pow", 1.2, fast!(Scalar, f32, pow(x, y)), f64::powf, near_one);
    let in_range = |bits: u64| {
        let x = f32::from_bits((bits as u32) >> 1);
        (x, (unit(bits >> 32) - 0.5) * 300.0 / x.log2().abs().max(1e-7))
    };
    check_pairs("pow", 1.2, fast!(Scalar, f32, pow(x, y)), f64::powf, in_range);
}
