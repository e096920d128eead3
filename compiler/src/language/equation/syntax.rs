//! The syntax tree of equations.

use crate::{
    axis::Axis,
    graph::ScalarOp,
    language::{diagnostics::Span, document::Name},
};
use std::collections::BTreeSet;

/// A function, or the equations of a module.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Functions of modules have none.
    pub name: Option<Name>,
    pub parameters: Vec<Parameter>,
    pub outputs: Vec<Declared>,
    pub body: Vec<Statement>,
    /// The signature.
    pub span: Span,
    /// Every name that occurs: the axes that the function may speak of are among them.
    pub mentions: BTreeSet<String>,
}

/// What a function takes.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: Name,
    pub kind: ParameterKind,
}

/// What kind of thing a function takes.
#[derive(Clone, Debug)]
pub(crate) enum ParameterKind {
    /// `x[ray, xyz]`: a tensor that has these axes, and any others that callers bring.
    Tensor(Vec<AxisDeclaration>),
    /// `axis a`: stands for one of the caller's axes.
    Axis,
    /// `octaves` or `slope = 0.2`: a number, a switch or a network, known before anything runs.
    Static(Option<Expression>),
}

/// A name with axes: `sigma[ray, sample]`.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    pub name: Name,
    pub axes: Vec<AxisDeclaration>,
}

/// An axis, with its size where that is not the size of the same name: `sample: coarse + fine`.
#[derive(Clone, Debug)]
pub(crate) struct AxisDeclaration {
    pub axis: Name,
    pub size: Option<Expression>,
}

impl AxisDeclaration {
    pub fn axis(&self) -> Axis {
        Axis::new(&self.axis.text)
    }
}

/// A line of equations.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// `y = …`, `(a, b) = …` or `y[i] = …`
    Assign { targets: Vec<Target>, value: Expression },
    /// `for i in 0..depth { … }`
    For { variable: Name, from: Expression, to: Expression, body: Vec<Statement> },
    /// `if biased { … } else { … }`
    If { condition: Expression, then: Vec<Statement>, otherwise: Vec<Statement> },
}

/// What a statement gives a value to: a name, or a member of a family that has one.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub name: Name,
    /// Which member.
    pub member: Option<Expression>,
}

/// An expression with its place.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub span: Span,
    pub kind: ExpressionKind,
}

/// What an expression is.
#[derive(Clone, Debug)]
pub(crate) enum ExpressionKind {
    Integer(i64),
    Real(f64),
    Switch(bool),
    Name(String),
    Unary(Unary, Box<Expression>),
    Binary(ScalarOp, Box<Expression>, Box<Expression>),
    /// `if c { x } else { y }`
    If(Box<[Expression; 3]>),
    /// `f(x, key, right = true)`
    Call(Box<Expression>, Vec<Argument>),
    /// `levels[i]`: one network of a stack, or one member of a family.
    Level(Box<Expression>, Box<Expression>),
    /// `generator.mapping`: a layer of a network.
    Layer(Box<Expression>, Name),
    /// `x[a as b, sample = 1..]`
    View(Box<Expression>, Vec<ViewItem>),
    /// `sample: coarse`, as an argument where an axis with a size is wanted.
    Sized(Name, Box<Expression>),
}

/// An operation on one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    Negate,
    Not,
    /// `± x`: the interval from −x to x, in initialisers.
    PlusMinus,
}

/// An argument of a call, by position or by name.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub name: Option<Name>,
    pub value: Expression,
}

/// One item between the brackets of a view.
#[derive(Clone, Debug)]
pub(crate) enum ViewItem {
    /// `xyz as feature`, `(octave, xyz) as feature`, `feature as (octave, xyz: 3)`
    Reshape { span: Span, from: Vec<Name>, to: Vec<AxisDeclaration> },
    /// `sample = 0`, `knot = below`
    Select { axis: Name, at: Expression },
    /// `sample = 1..`, `sample = ..-1 by 2`
    Range { span: Span, axis: Name, from: Option<Expression>, to: Option<Expression>, step: Option<Expression> },
}

/// How a stored value starts: `[to, from] ~ uniform(± 1 / sqrt(from))` or `[to] = 0`.
#[derive(Clone, Debug)]
pub(crate) struct StoredDeclaration {
    pub axes: Vec<AxisDeclaration>,
    /// A distribution called by name, or the value of every element.
    pub start: Expression,
    pub random: bool,
}
