//! The structures of a spec as they are written: equations parsed, nothing resolved yet.

use super::{
    diagnostics::Span,
    document::{Name, Node, Text},
    equation::{AxisDeclaration, Expression, Function, Statement, StoredDeclaration},
};
use crate::graph::DType;
use indexmap::IndexMap;

/// A named thing with the place of its name.
#[derive(Clone, Debug)]
pub(crate) struct Entry<T> {
    pub span: Span,
    pub value: T,
}

/// Things by name, in the order of the file.
pub(crate) type Entries<T> = IndexMap<String, Entry<T>>;

/// What a `System` or a `Library` holds.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub system: bool,
    pub span: Span,
    pub name: String,
    pub about: String,
    pub uses: Vec<Name>,
    pub sizes: Entries<Expression>,
    pub constants: Entries<Expression>,
    pub presets: Entries<Entries<Expression>>,
    pub functions: Vec<Function>,
    pub function_text: Option<String>,
    pub modules: Entries<Module>,
    pub models: Entries<Model>,
    pub schedules: Entries<Schedule>,
    pub losses: Entries<Program>,
    pub train: Option<Train>,
    pub data: Entries<Call>,
    pub tasks: Entries<Program>,
    /// As it stands in the file, for printing.
    pub node: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub axes: Vec<Name>,
    pub options: Entries<Expression>,
    pub parameters: Entries<Stored>,
    pub layers: Entries<Layer>,
    pub forward: Option<Function>,
    /// As it stands in the file, for printing.
    pub node: Node,
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub declaration: StoredDeclaration,
    pub name: Option<Text>,
    pub when: Option<Expression>,
    pub buffer: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Layer {
    Module { name: Name, arguments: Vec<(Name, Expression)> },
    Stack { count: Expression, index: Name, name: Option<Text>, layer: Box<Layer> },
    Optional { when: Expression, layer: Box<Layer> },
    Named { name: Text, layer: Box<Layer> },
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub network: Layer,
    pub prefix: Option<String>,
    pub frozen: Option<Expression>,
    pub given: Option<Expression>,
    pub starts_from: Option<Name>,
    pub rename: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub about: String,
    /// The task that this one shares its program with.
    pub like: Option<Name>,
    pub inputs: Entries<Input>,
    pub outputs: Entries<Vec<AxisDeclaration>>,
    pub equations: Vec<Statement>,
    pub driver: Option<Call>,
}

#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub axes: Vec<AxisDeclaration>,
    pub about: String,
    pub dtype: DType,
    pub default: Option<Expression>,
    pub optional: Option<Expression>,
    pub when: Option<Expression>,
}

#[derive(Clone, Debug)]
pub(crate) struct Train {
    pub rounds: Expression,
    pub steps: Entries<Update>,
    pub reports: Vec<Report>,
    pub alarms: Entries<Alarm>,
}

#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub loss: Name,
    pub parameters: Option<Vec<Name>>,
    pub optimiser: Optimiser,
    pub rate: Schedule,
    pub when: Option<Expression>,
    pub every: Option<Expression>,
    pub from: Option<Expression>,
    pub until: Option<Expression>,
    pub accumulate: Option<Expression>,
    pub clip: Option<Clip>,
    pub ema: Option<Schedule>,
    pub factors: Entries<Expression>,
    pub sizes: Entries<Expression>,
    pub batch: Entries<Name>,
}

#[derive(Clone, Debug)]
pub(crate) enum Optimiser {
    Sgd {
        momentum: Option<Expression>,
        nesterov: Option<Expression>,
        weight_decay: Option<Expression>,
    },
    Adam {
        decoupled: bool,
        betas: Option<[Expression; 2]>,
        epsilon: Option<Expression>,
        weight_decay: Option<Expression>,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Clip {
    Norm(Expression),
    Value(Expression),
}

#[derive(Clone, Debug)]
pub(crate) enum Schedule {
    Constant(Expression),
    Exponential { start: Expression, factor: Expression, steps: Expression },
    Step { start: Expression, factor: Expression, at: Vec<Expression> },
    Cosine { start: Expression, end: Expression, steps: Expression },
    Linear { start: Expression, end: Expression, steps: Expression },
    Pieces { values: Vec<Expression>, at: Vec<Expression> },
    WarmUp { steps: Expression, then: Box<Schedule> },
    Restart { at: Vec<Expression>, then: Box<Schedule> },
    Averaging { limit: Expression },
}

#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub task: Name,
    pub when: Option<Expression>,
    pub every: Expression,
    pub options: Vec<(Name, OptionValue)>,
    pub ema: Option<Expression>,
}

#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub measure: Name,
    pub about: String,
    pub below: Option<Expression>,
    pub above: Option<Expression>,
    pub rounds: Expression,
    pub when: Option<Expression>,
    pub stop: Option<Expression>,
}

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub kind: Name,
    pub options: Vec<(Name, OptionValue)>,
}

/// The value of an option that the runtime is handed.
#[derive(Clone, Debug)]
pub(crate) enum OptionValue {
    Setting(Expression),
    Text(String),
    List(Vec<OptionValue>),
    Map(Vec<(Name, OptionValue)>),
    Call(Call),
}
