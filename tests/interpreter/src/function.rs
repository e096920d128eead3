//! What an instruction computes, as a function of whole registers.

use crate::lanes::{Lanes, Mask, Scalar, map1, map2, map3, test2};

/// A function of one to four registers, without any effect. What distinguishes instructions of a
/// family (type, rounding, saturation) is decided when it is made.
pub(crate) enum Function {
    One(Box<OfOne>),
    Two(Box<OfTwo>),
    Three(Box<OfThree>),
    Four(Box<OfFour>),
}

type OfOne = dyn Fn(&Lanes) -> Lanes + Send + Sync;
type OfTwo = dyn Fn(&Lanes, &Lanes) -> Lanes + Send + Sync;
type OfThree = dyn Fn(&Lanes, &Lanes, &Lanes) -> Lanes + Send + Sync;
type OfFour = dyn Fn(&Lanes, &Lanes, &Lanes, &Lanes) -> Lanes + Send + Sync;

/// A comparison of two registers: the lanes in which it holds.
pub(crate) type Test = Box<dyn Fn(&Lanes, &Lanes) -> Mask + Send + Sync>;

impl Function {
    /// A function of one value a lane.
    pub fn one<A: Scalar, R: Scalar>(f: impl Fn(A) -> R + Send + Sync + 'static) -> Function {
        Function::One(Box::new(move |a| map1(a, &f)))
    }

    /// A function of two values a lane.
    pub fn two<A: Scalar, B: Scalar, R: Scalar>(f: impl Fn(A, B) -> R + Send + Sync + 'static) -> Function {
        Function::Two(Box::new(move |a, b| map2(a, b, &f)))
    }

    /// A function of three values a lane.
    pub fn three<A: Scalar, B: Scalar, C: Scalar, R: Scalar>(
        f: impl Fn(A, B, C) -> R + Send + Sync + 'static,
    ) -> Function {
        Function::Three(Box::new(move |a, b, c| map3(a, b, c, &f)))
    }

    /// How many registers it reads.
    pub fn arity(&self) -> usize {
        match self {
            Function::One(_) => 1,
            Function::Two(_) => 2,
            Function::Three(_) => 3,
            Function::Four(_) => 4,
        }
    }
}

/// A comparison of two values a lane.
pub(crate) fn test<A: Scalar>(f: impl Fn(A, A) -> bool + Send + Sync + 'static) -> Test {
    Box::new(move |a, b| test2(a, b, &f))
}
