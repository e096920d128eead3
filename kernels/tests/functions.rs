//! The elementary functions against double precision: every 257th of all 2³² arguments, and the neighbourhoods of those where
//! something happens; with `VISAGE_EXHAUSTIVE=1`, all of them. Run with `--nocapture` to see the largest error of each function.

use rayon::prelude::*;
use visage_kernels::math::{self, Scalar};

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
    let step = if std::env::var_os("VISAGE_EXHAUSTIVE").is_some() { 1 } else { 257 };
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

/// A function over [`Scalar`], compiled with the machine's fused multiply-add where it has one.
macro_rules! fast {
    ($name:ident($($argument:ident),+)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "fma")]
            fn fused($($argument: f32),+) -> f32 {
                math::$name(&mut Scalar, $($argument),+)
            }
            assert!(is_x86_feature_detected!("fma"), "these tests need fused multiply-add to be fast");
            // SAFETY: the machine has it.
            |$($argument: f32),+| unsafe { fused($($argument),+) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            |$($argument: f32),+| math::$name(&mut Scalar, $($argument),+)
        }
    }};
}

#[test]
fn exponentials() {
    check("exp", 1.1, fast!(exp(x)), f64::exp, &[88.722_84, 87.336_55, 103.278_93, 103.972_08]);
    check("exp2", 1.0, fast!(exp2(x)), f64::exp2, &[128.0, 126.0, 149.0, 150.0]);
    check("expm1", 1.5, fast!(expm1(x)), f64::exp_m1, &[88.722_84, 0.346_573_6, 17.3, 18.0]);
    check("sigmoid", 2.0, fast!(sigmoid(x)), |x| 1.0 / (1.0 + (-x).exp()), &[87.336_55, 103.972_08, 17.3]);
    check("tanh", 2.0, fast!(tanh(x)), f64::tanh, &[0.625, 9.01, 10.0]);
}

#[test]
fn logarithms() {
    check("log", 1.0, fast!(log(x)), f64::ln, &[std::f32::consts::SQRT_2, std::f32::consts::FRAC_1_SQRT_2]);
    check("log2", 1.0, fast!(log2(x)), f64::log2, &[std::f32::consts::SQRT_2, std::f32::consts::FRAC_1_SQRT_2]);
}

#[test]
fn circular_functions() {
    let multiples: Vec<f32> = (1..2000).map(|k| k as f32 * std::f32::consts::FRAC_PI_2).collect();
    for (name, function, truth) in [
        ("sin", &fast!(sin(x)) as &(dyn Fn(f32) -> f32 + Sync), f64::sin as fn(f64) -> f64),
        ("cos", &fast!(cos(x)), f64::cos),
    ] {
        // The argument where it is less than the limit, and a zero or NaN beyond.
        let within = |limit: f64| move |x: f64| if x.abs() < limit { x } else { x - x };
        let (near, far) = (within(131_072.0), within(4_194_304.0));
        check(name, 1.7, |x| function(near(f64::from(x)) as f32), |x| truth(near(x)), &multiples);
        check(name, 2.3, function, |x| truth(far(x)), &multiples);
    }
}
