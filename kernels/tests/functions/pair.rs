//! Numbers of twice the precision of `f64`.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// The sum of two doubles, of which the second is at most half a unit in the last place of the first: 106 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub high: f64,
    pub low: f64,
}

/// ln 2.
pub const LN_2: Pair = Pair { high: std::f64::consts::LN_2, low: 2.3190468138462996e-17 };
/// π.
pub const PI: Pair = Pair { high: std::f64::consts::PI, low: 1.2246467991473532e-16 };
/// 2/√π.
pub const FRAC_2_SQRT_PI: Pair = Pair { high: std::f64::consts::FRAC_2_SQRT_PI, low: 1.533545961316588e-17 };

impl Pair {
    /// a + b, exactly.
    pub fn sum(a: f64, b: f64) -> Pair {
        let high = a + b;
        let of_b = high - a;
        Pair { high, low: (a - (high - of_b)) + (b - of_b) }
    }

    /// a · b, exactly unless the low part is subnormal.
    pub fn product(a: f64, b: f64) -> Pair {
        let high = a * b;
        Pair { high, low: a.mul_add(b, -high) }
    }

    /// This times a power of two.
    pub fn scaled(self, by: f64) -> Pair {
        Pair { high: self.high * by, low: self.low * by }
    }

    pub fn sqrt(self) -> Pair {
        let root = self.high.sqrt();
        if root == 0.0 {
            return self;
        }
        let rest = self - Pair::product(root, root);
        Pair::sum(root, rest.high / (2.0 * root))
    }
}

impl From<f64> for Pair {
    fn from(high: f64) -> Pair {
        Pair { high, low: 0.0 }
    }
}

impl Neg for Pair {
    type Output = Pair;
    fn neg(self) -> Pair {
        Pair { high: -self.high, low: -self.low }
    }
}

impl<T: Into<Pair>> Add<T> for Pair {
    type Output = Pair;
    fn add(self, other: T) -> Pair {
        let other = other.into();
        let (high, low) = (Pair::sum(self.high, other.high), Pair::sum(self.low, other.low));
        let middle = Pair::sum(high.high, high.low + low.high);
        Pair::sum(middle.high, middle.low + low.low)
    }
}

impl<T: Into<Pair>> Sub<T> for Pair {
    type Output = Pair;
    fn sub(self, other: T) -> Pair {
        self + -other.into()
    }
}

impl<T: Into<Pair>> Mul<T> for Pair {
    type Output = Pair;
    fn mul(self, other: T) -> Pair {
        let other = other.into();
        let Pair { high, low } = Pair::product(self.high, other.high);
        Pair::sum(high, low + self.high.mul_add(other.low, self.low * other.high))
    }
}

impl<T: Into<Pair>> Div<T> for Pair {
    type Output = Pair;
    fn div(self, other: T) -> Pair {
        let other = other.into();
        let first = self.high / other.high;
        let rest = self - other * first;
        let second = rest.high / other.high;
        let rest = rest - other * second;
        Pair::sum(first, second) + rest.high / other.high
    }
}
