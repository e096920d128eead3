//! The scalar operations that a [`Map`](super::Op::Map) applies element by element.

use super::DType;

/// A function of one to three numbers.
///
/// Comparisons and logic take and give `bool`; everything else keeps its operands' common type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScalarOp {
    /// The operand itself, with no gradient: `stop(x)`.
    Stop,
    /// Conversion to another element type; to integers by truncation towards zero.
    Cast(DType),
    Neg,
    Abs,
    /// −1, 0 or 1 as the operand is negative, zero or positive.
    Sign,
    Sqrt,
    Rsqrt,
    Recip,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Tanh,
    /// The logistic function 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
    Erf,
    Floor,
    Ceil,
    /// The nearest integer, ties to even.
    Round,
    Not,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Atan2,
    /// The remainder with the sign of the divisor: `x - y * floor(x / y)`.
    Mod,
    Min,
    Max,
    Less,
    LessEqual,
    Equal,
    NotEqual,
    And,
    Or,
    /// `select(condition, x, y)`: `x` where the condition holds, else `y`.
    Select,
}

impl ScalarOp {
    /// Every operation with a fixed form (`Cast` is listed once, to `f32`).
    pub const ALL: [ScalarOp; 42] = {
        use ScalarOp::*;
        [
            Stop,
            Cast(DType::F32),
            Neg,
            Abs,
            Sign,
            Sqrt,
            Rsqrt,
            Recip,
            Exp,
            Expm1,
            Log,
            Log1p,
            Sin,
            Cos,
            Tan,
            Asin,
            Acos,
            Atan,
            Tanh,
            Sigmoid,
            Softplus,
            Erf,
            Floor,
            Ceil,
            Round,
            Not,
            Add,
            Sub,
            Mul,
            Div,
            Pow,
            Atan2,
            Mod,
            Min,
            Max,
            Less,
            LessEqual,
            Equal,
            NotEqual,
            And,
            Or,
            Select,
        ]
    };

    /// The number of operands.
    pub fn arity(self) -> usize {
        use ScalarOp::*;
        match self {
            Add | Sub | Mul | Div | Pow | Atan2 | Mod | Min | Max | Less | LessEqual | Equal | NotEqual | And | Or => 2,
            Select => 3,
            _ => 1,
        }
    }

    /// Whether the result is a truth value.
    pub fn is_predicate(self) -> bool {
        use ScalarOp::*;
        matches!(self, Less | LessEqual | Equal | NotEqual | And | Or | Not)
    }

    /// Whether the operation is defined on floating-point operands alone.
    pub fn is_float_only(self) -> bool {
        use ScalarOp::*;
        matches!(
            self,
            Sqrt | Rsqrt
                | Recip
                | Exp
                | Expm1
                | Log
                | Log1p
                | Sin
                | Cos
                | Tan
                | Asin
                | Acos
                | Atan
                | Tanh
                | Sigmoid
                | Softplus
                | Erf
                | Floor
                | Ceil
                | Round
                | Pow
                | Atan2
        )
    }

    /// The name used in listings and in the equation language.
    pub fn name(self) -> &'static str {
        use ScalarOp::*;
        match self {
            Stop => "stop",
            Cast(DType::F64) => "f64",
            Cast(DType::F32) => "f32",
            Cast(DType::F16) => "f16",
            Cast(DType::BF16) => "bf16",
            Cast(DType::I32) => "i32",
            Cast(DType::Bool) => "bool",
            Neg => "neg",
            Abs => "abs",
            Sign => "sign",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Recip => "recip",
            Exp => "exp",
            Expm1 => "expm1",
            Log => "log",
            Log1p => "log1p",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Asin => "asin",
            Acos => "acos",
            Atan => "atan",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Softplus => "softplus",
            Erf => "erf",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Not => "not",
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Pow => "pow",
            Atan2 => "atan2",
            Mod => "mod",
            Min => "min",
            Max => "max",
            Less => "less",
            LessEqual => "less_equal",
            Equal => "equal",
            NotEqual => "not_equal",
            And => "and",
            Or => "or",
            Select => "select",
        }
    }
}
