//! Single precision.

use super::Precision;
use std::f32::consts;

impl Precision for f32 {
    type Bits = i32;

    #[inline(always)]
    fn to_bits(self) -> i32 {
        f32::to_bits(self) as i32
    }

    const WIDTH: u32 = 32;
    const FRACTION_BITS: u32 = 23;
    const BIAS: i32 = 127;
    const SIGN: i32 = i32::MIN;
    const MIN_POSITIVE: f32 = f32::MIN_POSITIVE;
    const NORMALISER: f32 = 8_388_608.0;
    const ROUNDER: f32 = 12_582_912.0;

    const LOG2_E: [f32; 2] = [consts::LOG2_E, 1.925_963_2e-8];
    const MINUS_LN_2: [f32; 2] = [-consts::LN_2, 1.904_654_2e-9];
    const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];
    const FRAC_1_SQRT_2: f32 = consts::FRAC_1_SQRT_2;
    const FRAC_1_PI: f32 = consts::FRAC_1_PI;
    const FRAC_2_PI: f32 = consts::FRAC_2_PI;
    const HALF_PI: [f32; 2] = [consts::FRAC_PI_2, -4.371_139e-8];
    const MINUS_PI: [f32; 3] = [-3.141_592_5, -1.509_957_9e-7, -1.078_060_5e-14];
    const PHASE_LIMIT: f32 = 4_194_304.0;

    const EXP_RANGE: [f32; 2] = [-104.0, 89.0];
    const EXP2_RANGE: [f32; 2] = [-151.0, 129.0];
    const EXPM1_LOW: f32 = -18.0;
    const TANH_HIGH: f32 = 10.0;
    const ERF_HIGH: f32 = 4.0;

    /// The error is 3e-9 of eʳ.
    const EXP: &'static [f32] = &[4.9999994e-1, 1.6666521e-1, 4.1668292e-2, 8.368721e-3, 1.3818742e-3];
    /// The error is 4e-10 of eʳ - 1.
    const EXPM1: &'static [f32] = &[0.5, 1.6666666e-1, 4.1666493e-2, 8.333543e-3, 1.3932388e-3, 1.9764433e-4];
    /// The error is 3e-9 of 2ʳ.
    const EXP2: &'static [f32] = &[6.931472e-1, 2.4022648e-1, 5.5503596e-2, 9.618503e-3, 1.3390997e-3, 1.5327828e-4];
    /// The error is 5e-9 of tanh x.
    const TANH: &'static [f32] = &[-3.333328e-1, 1.3331406e-1, -5.3736515e-2, 2.0628167e-2, -5.692296e-3];
    /// The error is 6e-9 of log(1 + f).
    const LOG: &'static [f32] = &[
        3.333333e-1,
        -2.500082e-1,
        2.0001242e-1,
        -1.6623409e-1,
        1.4201581e-1,
        -1.3159613e-1,
        1.27622e-1,
        -7.6363996e-2,
    ];
    /// The error is 1.2e-9 of sin r.
    const SIN: &'static [f32] = &[-1.6666666e-1, 8.333304e-3, -1.9838431e-4, 2.7437625e-6, -2.2778192e-8];
    /// The error is 4e-9 of tan r.
    const TAN: &'static [f32] = &[
        3.3333293e-1,
        1.3334833e-1,
        5.378123e-2,
        2.2983793e-2,
        5.2550496e-3,
        1.0203295e-2,
        -5.1808106e-3,
        3.6812148e-3,
    ];
    /// The error is 3e-9 of atan t.
    const ATAN: &'static [f32] = &[
        -3.33333e-1,
        1.999853e-1,
        -1.4264016e-1,
        1.09508805e-1,
        -8.3993055e-2,
        5.7881333e-2,
        -3.1096842e-2,
        1.08685335e-2,
        -1.7827639e-3,
    ];
    /// The error is 5e-9 of asin x.
    const ASIN: &'static [f32] = &[1.6666754e-1, 7.495249e-2, 4.5476902e-2, 2.414525e-2, 4.222788e-2];
    /// The error is 2e-9 of erf x.
    const ERF_NEAR: &'static [f32] =
        &[1.2837917e-1, -3.7612626e-1, 1.1283579e-1, -2.6853347e-2, 5.187162e-3, -7.997853e-4, 7.806903e-5];
    /// The error is 4e-10 of erf x.
    const ERF_FAR: &'static [f32] =
        &[1.1286943, 6.349697e-1, 1.0653055e-1, -2.400978e-2, 3.7573334e-3, -3.505552e-4, 1.3958597e-5];

    const LOG2_SLOPE: [f32; 2] = [2.885_39, 3.851_926e-8];
    const LOG2_CUBE: [f32; 2] = [9.617_967e-1, -7.028_462e-9];
    /// The error is 9e-12 of the logarithm.
    const LOG2_TAIL: &'static [f32] = &[5.7708025e-1, 4.1184402e-1, 3.379599e-1];
}
