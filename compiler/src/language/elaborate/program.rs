//! From equations to a graph: statements, names, functions and networks.

use super::network::{Instance, LARGEST, Network, elements};
use crate::{
    axis::{Axis, Shape},
    graph::{DType, Graph, NodeId, Op, ScalarOp, Type, TypeError},
    language::{
        diagnostics::{Problem, Span},
        equation::{AxisDeclaration, Expression, ExpressionKind, Function, Statement, Target, Unary},
        scalar::{self, Scalar},
        settings::Settings,
        spec::Spec,
    },
    system::Input,
};
use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// How deeply calls and expressions may nest, all functions together.
const DEEPEST: usize = 250;

/// How many statements a program may run through, loops unrolled.
const LONGEST: usize = 200_000;

/// A problem has been reported; what depends on it is skipped in silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

pub(super) type Elaborated<T> = Result<T, Reported>;

/// What an expression stands for while a program is put together.
#[derive(Clone)]
pub(super) enum Value<'a> {
    Scalar(Scalar),
    Tensor(NodeId),
    Tuple(Vec<Value<'a>>),
    /// Values by number.
    Family(BTreeMap<i64, Value<'a>>),
    /// A network, and those that were reached into to get there, the outermost first.
    Network(&'a Network<'a>, Vec<&'a Instance<'a>>),
    /// An input that is not given here.
    Withheld,
    /// Something that has been reported already.
    Broken,
}

/// Where statements run: a program, a function or the equations of a module.
#[derive(Default)]
pub(super) struct Frame<'a> {
    /// What labels of nodes begin with.
    pub label: String,
    pub variables: FxHashMap<String, Value<'a>>,
    /// Axes that the signature speaks of, with their sizes here.
    pub sizes: IndexMap<Axis, usize>,
    pub instance: Option<&'a Instance<'a>>,
    /// Axes that callers brought and the signature does not mention.
    pub lifted: Vec<Axis>,
    /// How many random tensors have been drawn here.
    pub draws: u32,
    /// Inputs of a program, and whether each is given.
    pub given: FxHashMap<String, bool>,
}

/// Puts programs together.
pub(super) struct Elaborator<'a> {
    pub spec: &'a Spec,
    pub settings: &'a Settings,
    pub networks: &'a IndexMap<String, Network<'a>>,
    pub graph: Graph,
    pub inputs: IndexMap<String, Input>,
    pub problems: Vec<Problem>,
    parameters: FxHashMap<&'a str, NodeId>,
    streams: FxHashSet<u32>,
    /// Functions that are being called, those of modules with their network.
    pub open: Vec<(&'a Function, Option<&'a Instance<'a>>)>,
    depth: usize,
    steps: usize,
}

impl<'a> Elaborator<'a> {
    pub fn new(spec: &'a Spec, settings: &'a Settings, networks: &'a IndexMap<String, Network<'a>>) -> Elaborator<'a> {
        Elaborator {
            spec,
            settings,
            networks,
            graph: Graph::new(),
            inputs: IndexMap::new(),
            problems: Vec::new(),
            parameters: FxHashMap::default(),
            streams: FxHashSet::default(),
            open: Vec::new(),
            depth: 0,
            steps: 0,
        }
    }

    pub fn fail<T>(&mut self, problem: Problem) -> Elaborated<T> {
        self.problems.push(problem);
        Err(Reported)
    }

    /// Adds an operation, with errors of its type rule pointing at `span`.
    pub fn emit(&mut self, op: Op, operands: &[NodeId], span: Span) -> Elaborated<NodeId> {
        if self.graph.len() > 1_000_000 {
            return self.fail(Problem::new(span, "the program has more than a million operations"));
        }
        match self.graph.try_add(op, operands) {
            Ok(node) => match elements(&self.graph.shape(node).iter().collect::<Vec<_>>(), span) {
                Ok(()) => Ok(node),
                Err(problem) => self.fail(problem),
            },
            Err(error) => {
                let shapes: Vec<String> = operands.iter().map(|node| self.graph.ty(*node).to_string()).collect();
                let problem = Problem::new(span, error.to_string()).label(shapes.join(" with "));
                let problem = match &error {
                    TypeError::Conflict(conflict) => problem.help(format!(
                        "axes of one name have one size; if these are different axes, give one another name: `x[{} as …]`",
                        conflict.axis
                    )),
                    TypeError::MissingAxis { axis, shape } => {
                        problem.suggest(axis.name(), shape.axes().map(Axis::name).collect::<Vec<_>>())
                    }
                    _ => problem,
                };
                self.fail(problem)
            }
        }
    }

    pub fn constant(&mut self, value: f64, dtype: DType) -> NodeId {
        self.graph.constant(value, dtype)
    }

    /// Runs statements; a statement that fails leaves its names broken and the next one goes on.
    pub fn statements(&mut self, frame: &mut Frame<'a>, statements: &'a [Statement]) {
        for statement in statements {
            self.steps += 1;
            if self.steps > LONGEST {
                return;
            }
            match statement {
                Statement::Assign { targets, value } => {
                    let outcome = self.expression(frame, value).unwrap_or(Value::Broken);
                    self.assign(frame, targets, outcome, value.span);
                }
                Statement::If { condition, then, otherwise } => match self.truth(frame, condition) {
                    Ok(true) => self.statements(frame, then),
                    Ok(false) => self.statements(frame, otherwise),
                    Err(Reported) => {
                        for name in assigned(then).into_iter().chain(assigned(otherwise)) {
                            frame.variables.insert(name.to_owned(), Value::Broken);
                        }
                    }
                },
                Statement::For { variable, from, to, body } => {
                    let bounds = self.integer(frame, from).and_then(|from| Ok((from, self.integer(frame, to)?)));
                    let Ok((from, to)) = bounds else {
                        for name in assigned(body) {
                            frame.variables.insert(name.to_owned(), Value::Broken);
                        }
                        continue;
                    };
                    for i in from..to {
                        frame.variables.insert(variable.text.clone(), Value::Scalar(Scalar::Integer(i)));
                        self.statements(frame, body);
                        self.steps += 1;
                        if self.steps > LONGEST {
                            let message = format!("the program runs through more than {LONGEST} statements");
                            self.problems.push(Problem::new(variable.span, message).label("in this loop"));
                            return;
                        }
                    }
                }
            }
        }
    }

    fn assign(&mut self, frame: &mut Frame<'a>, targets: &'a [Target], value: Value<'a>, span: Span) {
        let values = match (targets, value) {
            ([_], value @ (Value::Scalar(_) | Value::Tensor(_) | Value::Network(..))) => vec![value],
            ([target], Value::Tuple(values)) => {
                let problem = Problem::new(span, format!("this has {} results, but there is one name", values.len()))
                    .label(format!("{} results", values.len()))
                    .other(target.name.span, "for this name")
                    .help("write `(a, b) = …`");
                self.problems.push(problem);
                vec![Value::Broken]
            }
            (targets, Value::Tuple(values)) if values.len() == targets.len() => values,
            (targets, Value::Broken | Value::Withheld) => vec![Value::Broken; targets.len()],
            (targets, value) => {
                let count = if let Value::Tuple(values) = &value { values.len() } else { 1 };
                let message =
                    format!("this has {count} result{}, not {}", if count == 1 { "" } else { "s" }, targets.len());
                self.problems.push(Problem::new(span, message));
                vec![Value::Broken; targets.len()]
            }
        };
        for (target, value) in targets.iter().zip(values) {
            if let Value::Tensor(node) = value
                && self.graph.node(node).label.is_none()
            {
                let space = if frame.label.is_empty() { "" } else { " " };
                self.graph.set_label(node, format!("{}{space}{}", frame.label, target.name.text));
            }
            self.give(frame, target, value);
        }
    }

    /// Gives a value to a name, or to a member of the family that has this name.
    fn give(&mut self, frame: &mut Frame<'a>, target: &'a Target, value: Value<'a>) {
        let name = &target.name.text;
        let Some(member) = &target.member else {
            frame.variables.insert(name.clone(), value);
            return;
        };
        let Ok(number) = self.integer(frame, member) else {
            frame.variables.insert(name.clone(), Value::Broken);
            return;
        };
        match frame.variables.get_mut(name) {
            Some(Value::Family(members)) => {
                members.insert(number, value);
            }
            Some(Value::Broken) => {}
            None => {
                frame.variables.insert(name.clone(), Value::Family(BTreeMap::from([(number, value)])));
            }
            Some(_) => self.problems.push(
                Problem::new(target.name.span, format!("`{name}` is one value, which has no member {number}"))
                    .help("a family of values has a name of its own, and all its members are numbered"),
            ),
        }
    }

    /// One network of a stack, or one member of a family.
    fn numbered(
        &mut self,
        frame: &mut Frame<'a>,
        base: &'a Expression,
        number: &'a Expression,
    ) -> Elaborated<Value<'a>> {
        let stack = match self.expression(frame, base)? {
            stack @ (Value::Network(Network::Stack(_), _) | Value::Family(_)) => stack,
            Value::Network(..) => {
                return self.fail(Problem::new(base.span, "this is a single network, not a stack"));
            }
            _ => {
                return self.fail(
                    Problem::new(
                        number.span,
                        "only stacks of networks and families of values are picked from by number",
                    )
                    .help("to pick from a tensor, name the axis: `x[axis = 0]`"),
                );
            }
        };
        let i = self.integer(frame, number)?;
        let (found, there_are) = match &stack {
            Value::Family(members) => {
                let known: Vec<String> = members.keys().map(i64::to_string).collect();
                (members.get(&i).cloned(), format!("there is no member {i}: the family has {}", known.join(", ")))
            }
            Value::Network(Network::Stack(levels), enclosing) => {
                let level = usize::try_from(i).ok().and_then(|i| levels.get(i));
                let found = level.map(|network| Value::Network(network, enclosing.clone()));
                (found, format!("there is no level {i}: the stack has {}, counted from 0", levels.len()))
            }
            _ => (None, String::new()),
        };
        match found {
            Some(Value::Broken | Value::Withheld) => Err(Reported),
            Some(value) => Ok(value),
            None => self.fail(Problem::new(number.span, there_are)),
        }
    }

    /// The value of an expression.
    pub fn expression(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<Value<'a>> {
        if self.depth == DEEPEST {
            return self.fail(Problem::new(
                expression.span,
                format!("calls and expressions are nested more than {DEEPEST} deep"),
            ));
        }
        self.depth += 1;
        let value = self.unguarded(frame, expression);
        self.depth -= 1;
        value
    }

    fn unguarded(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<Value<'a>> {
        let span = expression.span;
        match &expression.kind {
            ExpressionKind::Integer(value) => Ok(Value::Scalar(Scalar::Integer(*value))),
            ExpressionKind::Real(value) => Ok(Value::Scalar(Scalar::Real(*value))),
            ExpressionKind::Switch(value) => Ok(Value::Scalar(Scalar::Switch(*value))),
            ExpressionKind::Name(name) => self.name(frame, name, span),
            ExpressionKind::Unary(op, operand) => {
                let op = match op {
                    Unary::Negate => ScalarOp::Neg,
                    Unary::Not => ScalarOp::Not,
                    Unary::PlusMinus => {
                        return self
                            .fail(Problem::new(span, "`±` has a meaning only in `uniform(± …)` of a stored value"));
                    }
                };
                let operand = self.expression(frame, operand)?;
                self.map(op, vec![operand], span)
            }
            ExpressionKind::Binary(op @ (ScalarOp::And | ScalarOp::Or), left, right) => {
                let left = self.expression(frame, left)?;
                if let Value::Scalar(value) = left
                    && value.truth() == Some(*op == ScalarOp::Or)
                {
                    return Ok(left);
                }
                let right = self.expression(frame, right)?;
                self.map(*op, vec![left, right], span)
            }
            ExpressionKind::Binary(op, left, right) => {
                let left = self.expression(frame, left);
                let right = self.expression(frame, right)?;
                self.map(*op, vec![left?, right], span)
            }
            ExpressionKind::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match self.expression(frame, condition)? {
                    Value::Scalar(value) => match value.truth() {
                        Some(true) => self.expression(frame, then),
                        Some(false) => self.expression(frame, otherwise),
                        None => self.fail(Problem::new(condition.span, format!("expected true or false, not {value}"))),
                    },
                    choice => {
                        let (then, otherwise) = (self.expression(frame, then), self.expression(frame, otherwise)?);
                        self.map(ScalarOp::Select, vec![choice, then?, otherwise], span)
                    }
                }
            }
            ExpressionKind::Call(callee, arguments) => self.call(frame, callee, arguments, span),
            ExpressionKind::Level(base, number) => self.numbered(frame, base, number),
            ExpressionKind::Layer(base, layer) => match self.expression(frame, base)? {
                Value::Network(Network::One(instance), mut enclosing) => match instance.layers.get(&layer.text) {
                    Some(network) => {
                        enclosing.push(instance);
                        Ok(Value::Network(network, enclosing))
                    }
                    None => {
                        let problem = Problem::new(layer.span, format!("there is no layer `{}`", layer.text));
                        self.fail(problem.suggest(&layer.text, instance.layers.keys().map(String::as_str)))
                    }
                },
                _ => self.fail(Problem::new(base.span, "only networks have layers")),
            },
            ExpressionKind::View(base, items) => {
                let value = self.expression(frame, base)?;
                let node = self.tensor(value, base.span)?;
                self.view(frame, node, items).map(Value::Tensor)
            }
            ExpressionKind::Sized(axis, _) => {
                let problem = Problem::new(span, format!("`{}: …` is an axis with its size, not a value", axis.text));
                self.fail(problem)
            }
        }
    }

    /// What a name stands for: a variable, a size of an axis, something of the module, a size or
    /// constant of the spec, a schedule, a model.
    fn name(&mut self, frame: &mut Frame<'a>, name: &str, span: Span) -> Elaborated<Value<'a>> {
        match frame.variables.get(name) {
            Some(Value::Broken) => return Err(Reported),
            Some(Value::Withheld) => {
                let problem = Problem::new(span, format!("`{name}` is optional and may not be there"))
                    .help(format!("use it inside `if given({name}) {{ … }}`"));
                return self.fail(problem);
            }
            Some(value) => return Ok(value.clone()),
            None => {}
        }
        if let Some(size) = frame.sizes.get(&Axis::new(name)) {
            return Ok(Value::Scalar(Scalar::Integer(*size as i64)));
        }
        if let Some(instance) = frame.instance {
            if let Some(value) = instance.options.get(name) {
                return Ok(Value::Scalar(*value));
            }
            match instance.stored.get(name) {
                Some(Some(slot)) => {
                    let node = match self.parameters.get(slot.name.as_str()) {
                        Some(node) => *node,
                        None => {
                            let node = self.graph.parameter(&slot.name, slot.ty.clone());
                            self.parameters.insert(&slot.name, node);
                            node
                        }
                    };
                    return Ok(Value::Tensor(node));
                }
                Some(None) => {
                    let problem = Problem::new(span, format!("`{name}` is left out here"));
                    let place = instance.module.parameters.get(name).map(|entry| entry.span);
                    return self.fail(match place {
                        Some(place) => problem.other(place, "its `when` is false"),
                        None => problem,
                    });
                }
                None => {}
            }
            match instance.layers.get(name) {
                Some(Network::Absent) => {
                    let problem = Problem::new(span, format!("the layer `{name}` is left out here"));
                    let place = instance.module.layers.get(name).map(|entry| entry.span);
                    return self.fail(match place {
                        Some(place) => problem.other(place, "its `when` is false"),
                        None => problem,
                    });
                }
                Some(network) => return Ok(Value::Network(network, Vec::new())),
                None => {}
            }
        }
        if let Some(value) = self.settings.get(name) {
            return Ok(Value::Scalar(value));
        }
        if name == "pi" {
            return Ok(Value::Scalar(Scalar::Real(std::f64::consts::PI)));
        }
        if self.spec.system.schedules.contains_key(name) {
            return Ok(Value::Tensor(self.schedule(name)));
        }
        if let Some(network) = self.networks.get(name) {
            return Ok(Value::Network(network, Vec::new()));
        }
        if self.spec.system.models.contains_key(name) {
            // The model has been reported.
            return Err(Reported);
        }
        let problem = Problem::new(span, format!("there is nothing called `{name}` here")).label("unknown name");
        if self.spec.functions.contains_key(name) || super::builtin::exists(name) {
            return self.fail(problem.help(format!("`{name}` is a function: call it as `{name}(…)`")));
        }
        let mut known: Vec<&str> = frame.variables.keys().map(String::as_str).collect();
        known.sort_unstable();
        known.extend(frame.sizes.keys().map(|axis| axis.name()));
        if let Some(instance) = frame.instance {
            known.extend(instance.options.keys().map(String::as_str));
            known.extend(instance.stored.keys().chain(instance.layers.keys()).map(String::as_str));
        }
        known.extend(self.settings.names());
        known.extend(self.spec.system.schedules.keys().map(String::as_str));
        known.extend(self.networks.keys().map(String::as_str));
        self.fail(problem.suggest(name, known))
    }

    fn schedule(&mut self, name: &str) -> NodeId {
        let ty = Type::new(DType::F32, Shape::SCALAR);
        let existing = self.graph.ids().find(|node| matches!(self.graph.op(*node), Op::Input(input) if input == name));
        existing.unwrap_or_else(|| {
            let about = format!("The schedule `{name}` at this step.");
            let input = Input { ty: ty.clone(), size_names: Vec::new(), about, optional: false, schedule: true };
            self.inputs.insert(name.to_owned(), input);
            self.graph.input(name, ty)
        })
    }

    /// A value as a tensor; numbers become constants.
    pub fn tensor(&mut self, value: Value<'a>, span: Span) -> Elaborated<NodeId> {
        match value {
            Value::Tensor(node) => Ok(node),
            Value::Scalar(Scalar::Switch(value)) => Ok(self.constant(f64::from(u8::from(value)), DType::Bool)),
            Value::Scalar(value) => Ok(self.constant(value.number(), DType::F32)),
            Value::Tuple(values) => {
                let problem = Problem::new(span, format!("this has {} results where one is wanted", values.len()))
                    .help("name them first: `(a, b) = …`");
                self.fail(problem)
            }
            Value::Network(..) => {
                self.fail(Problem::new(span, "this is a network, not a tensor").help("call it: `network(x)`"))
            }
            Value::Family(_) => {
                self.fail(Problem::new(span, "this is a family of values").help("pick one by number: `family[0]`"))
            }
            Value::Withheld | Value::Broken => Err(Reported),
        }
    }

    /// A scalar operation on values; numbers are folded, and integers become floats where they meet floats.
    pub fn map(&mut self, op: ScalarOp, values: Vec<Value<'a>>, span: Span) -> Elaborated<Value<'a>> {
        let scalars: Vec<Scalar> = values
            .iter()
            .filter_map(|value| if let Value::Scalar(value) = value { Some(*value) } else { None })
            .collect();
        if scalars.len() == values.len() {
            return match scalar::apply(op, &scalars) {
                Some(value) => Ok(Value::Scalar(value)),
                None => {
                    let shown: Vec<String> = scalars.iter().map(Scalar::to_string).collect();
                    let message = format!("`{}` cannot be applied to {}", op.name(), shown.join(" and "));
                    self.fail(Problem::new(span, message))
                }
            };
        }
        // A square is a product: cheaper, and exact.
        if op == ScalarOp::Pow
            && let [base @ Value::Tensor(_), Value::Scalar(exponent)] = values.as_slice()
            && exponent.whole() == Some(2)
        {
            return self.map(ScalarOp::Mul, vec![base.clone(), base.clone()], span);
        }
        let condition = usize::from(op == ScalarOp::Select);
        let float = op.is_float_only() || op == ScalarOp::Div;
        let target = self.common(&values[condition..], float);
        let mut operands = Vec::new();
        for (i, value) in values.into_iter().enumerate() {
            operands.push(if i < condition { self.tensor(value, span)? } else { self.converted(value, target, span)? });
        }
        self.emit(Op::Map(op), &operands, span).map(Value::Tensor)
    }

    /// The element type in which values meet: the widest of them.
    pub fn common(&self, values: &[Value<'a>], float: bool) -> DType {
        let mut target: Option<DType> = None;
        let mut real = float;
        for value in values {
            match value {
                Value::Tensor(node) => {
                    let dtype = self.graph.ty(*node).dtype;
                    target = Some(match target {
                        None | Some(DType::I32) => dtype,
                        Some(DType::F32) if dtype == DType::F64 => dtype,
                        Some(other) => other,
                    });
                }
                Value::Scalar(Scalar::Real(_)) => real = true,
                _ => {}
            }
        }
        match target {
            Some(DType::I32) if real => DType::F32,
            Some(dtype) => dtype,
            None => DType::F32,
        }
    }

    /// A value as a tensor of `dtype`, where that loses nothing.
    pub fn converted(&mut self, value: Value<'a>, dtype: DType, span: Span) -> Elaborated<NodeId> {
        match value {
            Value::Scalar(value @ (Scalar::Integer(_) | Scalar::Real(_))) if dtype != DType::Bool => {
                Ok(self.constant(value.number(), dtype))
            }
            value => {
                let node = self.tensor(value, span)?;
                match (self.graph.ty(node).dtype, dtype) {
                    (DType::I32, to) if to.is_float() => self.emit(Op::Map(ScalarOp::Cast(dtype)), &[node], span),
                    (DType::F32, DType::F64) => self.emit(Op::Map(ScalarOp::Cast(dtype)), &[node], span),
                    _ => Ok(node),
                }
            }
        }
    }

    /// A floating-point value as it meets what is outside of equations: an `f64` loses its last digits.
    pub fn rounded(&mut self, node: NodeId, dtype: DType) -> NodeId {
        match (self.graph.ty(node).dtype, dtype) {
            (DType::F64, DType::F32) => self.graph.map(ScalarOp::Cast(dtype), &[node]),
            _ => node,
        }
    }

    /// A number that must be known before anything runs.
    pub fn scalar(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<Scalar> {
        match self.expression(frame, expression)? {
            Value::Scalar(value) => Ok(value),
            _ => self.fail(
                Problem::new(expression.span, "this must be known before anything runs, and a tensor is not")
                    .help("sizes, constants, options and loop variables are"),
            ),
        }
    }

    pub fn integer(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<i64> {
        let value = self.scalar(frame, expression)?;
        match value.whole() {
            Some(integer) => Ok(integer),
            None => self.fail(Problem::new(expression.span, format!("expected a whole number, not {value}"))),
        }
    }

    /// The size of an axis.
    pub fn size(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<usize> {
        let value = self.integer(frame, expression)?;
        if (1..=LARGEST).contains(&value) {
            return Ok(value as usize);
        }
        self.fail(
            Problem::new(expression.span, format!("{value} is not the size of an axis"))
                .help("sizes are whole numbers from 1"),
        )
    }

    fn truth(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<bool> {
        match self.expression(frame, expression)? {
            Value::Scalar(value) => match value.truth() {
                Some(truth) => Ok(truth),
                None => self.fail(Problem::new(expression.span, format!("expected true or false, not {value}"))),
            },
            _ => self.fail(
                Problem::new(
                    expression.span,
                    "this condition is a tensor, but statements are chosen before anything runs",
                )
                .help("choose values instead: `y = if c { a } else { b }`"),
            ),
        }
    }

    /// The size that a declared axis is said to have, if anything says so.
    pub fn declared_size(&mut self, frame: &mut Frame<'a>, declared: &'a AxisDeclaration) -> Elaborated<Option<usize>> {
        match &declared.size {
            Some(size) => self.size(frame, size).map(Some),
            None => Ok(self.known_size(frame, declared.axis())),
        }
    }

    /// The size of an axis that equations name without one.
    pub fn known_size(&self, frame: &Frame<'a>, axis: Axis) -> Option<usize> {
        let named = || self.settings.sizes.get(axis.name()).and_then(|size| usize::try_from(*size).ok());
        frame.sizes.get(&axis).copied().or_else(named).filter(|size| (1..=LARGEST as usize).contains(size))
    }

    /// A stream of random numbers that no other call of the program draws from.
    pub fn stream(&mut self, frame: &mut Frame<'a>) -> u32 {
        let site = format!("{}#{}", frame.label, frame.draws);
        frame.draws += 1;
        // FNV-1a: short, and the same on every machine.
        let mut stream =
            site.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        while !self.streams.insert(stream) {
            stream = stream.wrapping_add(1);
        }
        stream
    }
}

/// Names that statements assign, at any depth.
fn assigned(statements: &[Statement]) -> Vec<&str> {
    statements
        .iter()
        .flat_map(|statement| match statement {
            Statement::Assign { targets, .. } => targets.iter().map(|target| target.name.text.as_str()).collect(),
            Statement::For { body, .. } => assigned(body),
            Statement::If { then, otherwise, .. } => [assigned(then), assigned(otherwise)].concat(),
        })
        .collect()
}
