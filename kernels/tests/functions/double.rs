//! Double precision against sums of two doubles: arguments drawn from all bit patterns and from where something
//! happens, and the neighbourhoods of particular ones; with `VISAGE_EXHAUSTIVE=1`, a thousand times as many.

use crate::{
    exhaustive,
    pair::Pair,
    random,
    series::{self, Scaled},
};
use rayon::prelude::*;

/// The error of `got` in units in the last place at a finite truth.
fn ulps(got: f64, truth: Scaled) -> f64 {
    let Scaled { value, exponent } = truth;
    let power = |exponent: i32| 2.0_f64.powi(exponent.clamp(-1022, 1023));
    // In units of the power of two; what lies beyond the largest number counts as the distance to where infinity is.
    let got = got * power(-exponent / 2) * power(exponent / 2 - exponent);
    let top = if exponent > 900 { power(1024 - exponent) } else { f64::MAX };
    let (got, high) = (got.clamp(-top, top), value.high.clamp(-top, top));
    let low = if high == value.high { value.low } else { 0.0 };
    let size = (value.high.abs().to_bits() >> 52) as i32 - 1023 + exponent;
    let unit = power(size.clamp(-1022, 1023) - 52 - exponent);
    if got.is_nan() { f64::INFINITY } else { ((got - high) - low).abs() / unit }
}

/// The error of `got`, where `of_std` is the standard library's value. That decides where the function has no value,
/// and at `special` arguments, with the sign of zeros.
fn error(got: f64, of_std: f64, special: bool, truth: impl FnOnce() -> Scaled) -> f64 {
    if got.is_nan() && of_std.is_nan() {
        return 0.0;
    }
    match special || of_std.is_nan() {
        true if got.to_bits() == of_std.to_bits() => 0.0,
        true if got.is_finite() && of_std.is_finite() && of_std != 0.0 => ulps(got, Scaled::from(Pair::from(of_std))),
        true => f64::INFINITY,
        false => ulps(got, truth()),
    }
}

/// Reports the largest error of a function, and checks it.
fn report<A: std::fmt::Debug>(name: &str, bound: f64, (error, at): (f64, A)) {
    println!("{name:>8} in double precision: {error:.3} ulp at {at:?}");
    assert!(error <= bound, "{name} of {at:?} is off by {error} ulp");
}

/// A number of [0, 1) from random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * 2.0_f64.powi(-53)
}

fn count() -> u64 {
    if exhaustive() { 1 << 26 } else { 1 << 16 }
}

/// The numbers next to one on both sides, and their negatives.
fn around(centre: f64) -> impl Iterator<Item = f64> {
    let next = move |i: u64| f64::from_bits(centre.to_bits().wrapping_add(i).wrapping_sub(50));
    (0..100).map(next).flat_map(|x| [x, -x])
}

/// Checks a function of one argument: of any bits, evenly in ±`range`, evenly by logarithm in the same, and near
/// particular arguments.
fn check(
    name: &str,
    bound: f64,
    function: impl Fn(f64) -> f64 + Sync,
    of_std: impl Fn(f64) -> f64 + Sync,
    truth: impl Fn(f64) -> Scaled + Sync,
    range: f64,
    neighbourhoods: &[f64],
) {
    let drawn = (0..count()).into_par_iter().flat_map_iter(|i| {
        let (bits, more) = (random(2 * i), random(2 * i + 1));
        let even = (2.0 * unit(more) - 1.0) * range;
        let small = even * 2.0_f64.powf(-40.0 * unit(bits));
        [f64::from_bits(bits), even, small]
    });
    let particular = [0.0, 5e-324, f64::MIN_POSITIVE, 1e-300, 1e-20, 1e-8, 1e-4, 0.25, 0.5, 1.0, 2.0, 1e10, 1e300];
    let ends = [f64::MAX, f64::INFINITY, f64::NAN];
    let near = particular.par_iter().chain(&ends).chain(neighbourhoods).flat_map_iter(|centre| around(*centre));
    let error_at = |x: f64| {
        let expected = of_std(x);
        let pole_or_zero = expected == 0.0 || expected.is_infinite();
        let special = !x.is_finite() || x == 0.0 || x.abs() == 1.0 && pole_or_zero;
        (error(function(x), expected, special, || truth(x)), x)
    };
    let worst = drawn.chain(near).map(error_at).reduce(|| (0.0, 0.0), |a, b| if a.0 > b.0 { a } else { b });
    report(name, bound, worst);
}

#[test]
fn exponentials() {
    let ends = [709.782712893384, 708.3964185322641, 745.1332191019412, 744.4400719213812, 0.34657359027997264];
    check("exp", 1.1, fast!(DoubleScalar, f64, exp(x)), f64::exp, |x| series::exp(x.into()), 750.0, &ends);
    let ends2 = [1024.0, 1022.0, 1074.0, 1075.0, 0.5];
    check("exp2", 0.9, fast!(DoubleScalar, f64, exp2(x)), f64::exp2, series::exp2, 1080.0, &ends2);
    for range in [2.0, 50.0] {
        check("expm1", 1.9, fast!(DoubleScalar, f64, expm1(x)), f64::exp_m1, series::expm1, range, &ends);
    }
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    check("sigmoid", 1.7, fast!(DoubleScalar, f64, sigmoid(x)), sigmoid, series::sigmoid, 40.0, &ends);
    check("tanh", 1.4, fast!(DoubleScalar, f64, tanh(x)), f64::tanh, series::tanh, 2.0, &[0.625, 19.06, 20.0]);
}

#[test]
fn logarithms() {
    let roots = [std::f64::consts::SQRT_2, std::f64::consts::FRAC_1_SQRT_2, 0.41421356237309503, 0.2928932188134524];
    check("log", 1.0, fast!(DoubleScalar, f64, log(x)), f64::ln, |x| series::log(x).into(), 4.0, &roots);
    check("log2", 1.1, fast!(DoubleScalar, f64, log2(x)), f64::log2, series::log2, 4.0, &roots);
    let log1p = |x: f64| series::log1p(x.into()).into();
    check("log1p", 1.1, fast!(DoubleScalar, f64, log1p(x)), f64::ln_1p, log1p, 1.5, &roots);
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let softplus = |x: f64| if x.is_nan() { x } else { softplus(x) };
    check("softplus", 1.8, fast!(DoubleScalar, f64, softplus(x)), softplus, series::softplus, 40.0, &[745.13, 708.4]);
}

#[test]
fn circular_functions() {
    /// A function over one lane, the standard library's, and the precise one.
    struct Case<'a> {
        name: &'a str,
        function: &'a (dyn Fn(f64) -> f64 + Sync),
        of_std: fn(f64) -> f64,
        truth: fn(f64) -> Scaled,
        /// Bounds for arguments less than 2⁴⁶, and for those less than 2⁵¹.
        bounds: [f64; 2],
    }
    let (sin, cos, tan) =
        (fast!(DoubleScalar, f64, sin(x)), fast!(DoubleScalar, f64, cos(x)), fast!(DoubleScalar, f64, tan(x)));
    let multiples: Vec<f64> = (1..2000).map(|k| f64::from(k) * std::f64::consts::FRAC_PI_2).collect();
    for Case { name, function, of_std, truth, bounds } in [
        Case { name: "sin", function: &sin, of_std: f64::sin, truth: series::sin, bounds: [1.8, 2.6] },
        Case { name: "cos", function: &cos, of_std: f64::cos, truth: series::cos, bounds: [1.8, 2.6] },
        Case { name: "tan", function: &tan, of_std: f64::tan, truth: series::tan, bounds: [1.6, 1.6] },
    ] {
        for (bound, limit) in bounds.into_iter().zip([2.0_f64.powi(46), 2.0_f64.powi(51)]) {
            let within = |x: f64| if x.abs() < limit || !x.is_finite() { x } else { 0.0 };
            for range in [4.0, 1e5, 2.0_f64.powi(30), limit] {
                let (function, of_std) = (|x| function(within(x)), |x| of_std(within(x)));
                let truth = |x| match within(x) {
                    0.0 => Scaled::from(Pair::from(of_std(0.0))),
                    x => truth(x),
                };
                check(name, bound, function, of_std, truth, range, &multiples);
            }
        }
        for beyond in [2.0_f64.powi(51), 1e300, f64::MAX] {
            assert_eq!([function(beyond), function(-beyond)], [of_std(0.0); 2], "{name} of {beyond:e}");
        }
    }
}

#[test]
fn sines_stay_within_one() {
    let (sin, cos) = (fast!(DoubleScalar, f64, sin(x)), fast!(DoubleScalar, f64, cos(x)));
    for k in 1..20_000 {
        for x in around(f64::from(k) * std::f64::consts::FRAC_PI_2) {
            assert!(sin(x).abs() <= 1.0 && cos(x).abs() <= 1.0, "{x}");
        }
    }
}

#[test]
fn inverse_circular_functions() {
    let atan = |x: f64| series::atan2(x, 1.0);
    check("atan", 1.6, fast!(DoubleScalar, f64, atan(x)), f64::atan, atan, 4.0, &[0.41421356237309503]);
    check("asin", 1.4, fast!(DoubleScalar, f64, asin(x)), f64::asin, series::asin, 1.0, &[]);
    check("acos", 1.4, fast!(DoubleScalar, f64, acos(x)), f64::acos, series::acos, 1.0, &[]);
}

#[test]
fn error_function_and_root() {
    // The standard library has none; at special arguments the value is the argument, or its sign.
    let special = |x: f64| if x.is_infinite() { x.signum() } else { x };
    check("erf", 1.2, fast!(DoubleScalar, f64, erf(x)), special, series::erf, 6.5, &[5.9, 6.0]);
    check("rsqrt", 1.5, fast!(DoubleScalar, f64, rsqrt(x)), |x| 1.0 / x.sqrt(), series::rsqrt, 4.0, &[]);
}

/// Checks a function of two arguments at all pairs of particular ones, and at pairs drawn from two words.
fn check_pairs(
    name: &str,
    bound: f64,
    function: impl Fn(f64, f64) -> f64 + Sync,
    of_std: impl Fn(f64, f64) -> f64 + Sync,
    truth: impl Fn(f64, f64) -> Scaled + Sync,
    draw: impl Fn(u64, u64) -> (f64, f64) + Sync,
) {
    let positive = [0.0, 5e-324, 1e-310, f64::MIN_POSITIVE, 1e-10, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 101.0, 1e10];
    let large = [9007199254740991.0, 9007199254740992.0, f64::MAX, f64::INFINITY, f64::NAN];
    let near_one = [1.0 - f64::EPSILON / 2.0, 1.0 + f64::EPSILON];
    let particular: Vec<f64> = positive.into_iter().chain(large).chain(near_one).flat_map(|x| [x, -x]).collect();
    let pairs: Vec<(f64, f64)> = particular.iter().flat_map(|a| particular.iter().map(move |b| (*a, *b))).collect();
    let error_at = |(a, b): (f64, f64)| {
        let special = [a, b].into_iter().any(|x| !x.is_finite() || x == 0.0);
        (error(function(a, b), of_std(a, b), special, || truth(a, b)), (a, b))
    };
    let drawn = (0..2 * count()).into_par_iter().map(|i| draw(random(2 * i), random(2 * i + 1)));
    let worst = drawn.chain(pairs).map(error_at).reduce(|| (0.0, (0.0, 0.0)), |a, b| if a.0 > b.0 { a } else { b });
    report(name, bound, worst);
}

#[test]
fn functions_of_two_arguments() {
    let any = |a, b| (f64::from_bits(a), f64::from_bits(b));
    let near = |a, b| (unit(a) - 0.5, unit(b) - 0.5);
    let atan2 = fast!(DoubleScalar, f64, atan2(y, x));
    check_pairs("atan2", 1.6, atan2, f64::atan2, series::atan2, any);
    check_pairs("atan2", 1.6, atan2, f64::atan2, series::atan2, near);
    let pow = fast!(DoubleScalar, f64, pow(x, y));
    check_pairs("pow", 1.2, pow, f64::powf, series::pow, any);
    // A base near one, where the logarithm must be exact, and any base, with an exponent that keeps the result in
    // range.
    let power = |x: f64, b| (x, (unit(b) - 0.5) * 2200.0 / x.log2().abs().max(1e-15));
    check_pairs("pow", 1.2, pow, f64::powf, series::pow, |a, b| power(0.5 + unit(a), b));
    check_pairs("pow", 1.2, pow, f64::powf, series::pow, |a, b| power(f64::from_bits(a >> 1), b));
}
