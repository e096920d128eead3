//! From equations to a graph: statements, names, functions and networks.

use super::network::{Instance, LARGEST, Network, elements};
use crate::{
    axis::{Axis, Shape},
    graph::{DType, Graph, NodeId, Op, ScalarOp, Type, TypeError},
    language::{
        diagnostics::{Problem, Span},
        equation::{
            Argument, AxisDeclaration, Declared, Expression, ExpressionKind, Function, Parameter, ParameterKind,
            Statement, Unary,
        },
        scalar::{self, Scalar},
        settings::Settings,
        spec::Spec,
    },
    system::Input,
};
use indexmap::IndexMap;
use rustc_hash::{FxHashMap, FxHashSet};

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
    Network(&'a Network<'a>),
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
    open: Vec<*const Function>,
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

    fn assign(
        &mut self,
        frame: &mut Frame<'a>,
        targets: &'a [crate::language::document::Name],
        value: Value<'a>,
        span: Span,
    ) {
        let values = match (targets, value) {
            ([_], value @ (Value::Scalar(_) | Value::Tensor(_) | Value::Network(_))) => vec![value],
            ([target], Value::Tuple(values)) => {
                let problem = Problem::new(span, format!("this has {} results, but there is one name", values.len()))
                    .label(format!("{} results", values.len()))
                    .other(target.span, "for this name")
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
                self.graph.set_label(node, format!("{}{space}{}", frame.label, target.text));
            }
            frame.variables.insert(target.text.clone(), value);
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
            ExpressionKind::Level(base, level) => {
                let Value::Network(network) = self.expression(frame, base)? else {
                    return self.fail(
                        Problem::new(level.span, "only stacks of networks are picked from by number")
                            .help("to pick from a tensor, name the axis: `x[axis = 0]`"),
                    );
                };
                let Network::Stack(levels) = network else {
                    return self.fail(Problem::new(base.span, "this is a single network, not a stack"));
                };
                let i = self.integer(frame, level)?;
                match usize::try_from(i).ok().and_then(|i| levels.get(i)) {
                    Some(network) => Ok(Value::Network(network)),
                    None => {
                        let message = format!("there is no level {i}: the stack has {}, counted from 0", levels.len());
                        self.fail(Problem::new(level.span, message))
                    }
                }
            }
            ExpressionKind::Layer(base, layer) => match self.expression(frame, base)? {
                Value::Network(Network::One(instance)) => match instance.layers.get(&layer.text) {
                    Some(network) => Ok(Value::Network(network)),
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
                Some(network) => return Ok(Value::Network(network)),
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
            return Ok(Value::Network(network));
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
            Value::Network(_) => {
                self.fail(Problem::new(span, "this is a network, not a tensor").help("call it: `network(x)`"))
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

    /// The element type in which values meet.
    pub fn common(&self, values: &[Value<'a>], float: bool) -> DType {
        let mut target: Option<DType> = None;
        let mut real = float;
        for value in values {
            match value {
                Value::Tensor(node) => {
                    let dtype = self.graph.ty(*node).dtype;
                    target = Some(match target {
                        None | Some(DType::I32) => dtype,
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
                match (self.graph.ty(node).dtype, dtype.is_float()) {
                    (DType::I32, true) => self.emit(Op::Map(ScalarOp::Cast(dtype)), &[node], span),
                    _ => Ok(node),
                }
            }
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

    fn call(
        &mut self,
        frame: &mut Frame<'a>,
        callee: &'a Expression,
        arguments: &'a [Argument],
        span: Span,
    ) -> Elaborated<Value<'a>> {
        if let ExpressionKind::Name(name) = &callee.kind
            && !frame.variables.contains_key(name)
            && !frame.instance.is_some_and(|instance| instance.layers.contains_key(name))
            && !self.networks.contains_key(name)
        {
            let spec = self.spec;
            if let Some(function) = spec.functions.get(name) {
                let label = if frame.label.is_empty() { name.clone() } else { format!("{}/{name}", frame.label) };
                return self.apply(frame, function, None, label, name, arguments, span);
            }
            if super::builtin::exists(name) {
                return self.builtin(frame, name, callee.span, arguments, span);
            }
            if !spec.system.models.contains_key(name) && !self.is_known(frame, name) {
                let mut known: Vec<&str> = Vec::new();
                known.extend(spec.functions.keys().map(String::as_str));
                known.extend(super::builtin::names().map(|name| -> &str { name }));
                known.extend(self.networks.keys().map(String::as_str));
                known.extend(frame.instance.iter().flat_map(|instance| instance.layers.keys().map(String::as_str)));
                let problem = Problem::new(callee.span, format!("there is no function or network `{name}`"));
                return self.fail(problem.label("unknown function").suggest(name, known));
            }
        }
        match self.expression(frame, callee)? {
            Value::Network(Network::One(instance)) => {
                let Some(function) = &instance.module.forward else { return Err(Reported) };
                self.apply(frame, function, Some(instance), instance.label.clone(), &instance.label, arguments, span)
            }
            Value::Network(Network::Stack(_)) => self.fail(
                Problem::new(callee.span, "this is a stack of networks").help("pick one by number: `stack[i](x)`"),
            ),
            Value::Network(Network::Absent) => self.fail(Problem::new(callee.span, "this network is left out here")),
            _ => self.fail(Problem::new(callee.span, "only functions and networks are called")),
        }
    }

    fn is_known(&self, frame: &Frame<'a>, name: &str) -> bool {
        frame.sizes.contains_key(&Axis::new(name))
            || frame.instance.is_some_and(|i| i.stored.contains_key(name) || i.options.contains_key(name))
            || self.settings.get(name).is_some()
            || self.spec.system.schedules.contains_key(name)
    }

    /// A function or the equations of a module, applied to arguments and lifted over the axes that
    /// these bring.
    ///
    /// Inside, axes have the names of the signature; on the way in and out they are renamed, and axes
    /// of the caller that the function would mistake for its own get fresh names.
    #[allow(clippy::too_many_arguments)]
    fn apply(
        &mut self,
        frame: &mut Frame<'a>,
        function: &'a Function,
        instance: Option<&'a Instance<'a>>,
        label: String,
        name: &str,
        arguments: &'a [Argument],
        span: Span,
    ) -> Elaborated<Value<'a>> {
        if self.open.iter().any(|open| std::ptr::eq(*open, function)) {
            return self
                .fail(Problem::new(span, format!("`{name}` calls itself")).help("repeat with `for i in 0..n { … }`"));
        }
        let matched = self.matched(&function.parameters, arguments, name, function.span, span)?;
        let mut inner = Frame { label, instance, ..Frame::default() };
        let mut outer: IndexMap<Axis, Axis> = IndexMap::new();
        if let Some(instance) = instance {
            for (axis, bound) in &instance.axes {
                outer.insert(*axis, bound.caller);
                inner.sizes.insert(*axis, bound.size);
            }
        }
        // Axes and numbers first: the axes of tensors may be spoken of in terms of them.
        let mut failed = false;
        for (parameter, argument) in function.parameters.iter().zip(&matched) {
            let outcome = match (&parameter.kind, argument) {
                (ParameterKind::Axis, Some(argument)) => self.axis_argument(frame, argument).map(|(axis, size)| {
                    let own = Axis::new(&parameter.name.text);
                    outer.insert(own, axis);
                    if let Some(size) = size {
                        inner.sizes.insert(own, size);
                    }
                }),
                (ParameterKind::Static(_), Some(argument)) => {
                    self.expression(frame, argument).and_then(|value| match value {
                        Value::Scalar(_) | Value::Network(_) => {
                            inner.variables.insert(parameter.name.text.clone(), value);
                            Ok(())
                        }
                        _ => self.fail(
                            Problem::new(
                                argument.span,
                                format!("`{}` of `{name}` must be known before anything runs", parameter.name.text),
                            )
                            .other(parameter.name.span, "for a tensor, this would be written with its axes, or `[]`"),
                        ),
                    })
                }
                (ParameterKind::Static(Some(default)), None) => self.expression(&mut inner, default).map(|value| {
                    inner.variables.insert(parameter.name.text.clone(), value);
                }),
                _ => Ok(()),
            };
            failed |= outcome.is_err();
        }
        let mut tensors: Vec<(&'a Parameter, &'a [AxisDeclaration], NodeId, Span)> = Vec::new();
        for (parameter, argument) in function.parameters.iter().zip(&matched) {
            if let (ParameterKind::Tensor(axes), Some(argument)) = (&parameter.kind, argument) {
                match self.expression(frame, argument).and_then(|value| self.tensor(value, argument.span)) {
                    Ok(node) => tensors.push((parameter, axes, node, argument.span)),
                    Err(Reported) => failed = true,
                }
            }
        }
        if failed {
            return Err(Reported);
        }
        let mut lifting = Lifting::new(function, instance, &outer);
        for (_, axes, node, _) in &tensors {
            let declared: Vec<Axis> = axes.iter().map(|axis| lifting.outside(axis.axis())).collect();
            for axis in self.graph.shape(*node).axes().filter(|axis| !declared.contains(axis)) {
                lifting.lift(axis);
            }
        }
        for (parameter, axes, node, span) in tensors {
            let node = self.enter(&mut inner, parameter, axes, node, &lifting, name, span)?;
            inner.variables.insert(parameter.name.text.clone(), Value::Tensor(node));
        }
        for parameter in &function.parameters {
            let own = Axis::new(&parameter.name.text);
            if matches!(parameter.kind, ParameterKind::Axis)
                && !inner.sizes.contains_key(&own)
                && let Some(size) = self.known_size(frame, lifting.outside(own))
            {
                inner.sizes.insert(own, size);
            }
        }
        inner.lifted = lifting.lifted.values().copied().collect();
        self.open.push(function);
        let before = self.problems.len();
        self.statements(&mut inner, &function.body);
        let results = self.results(&mut inner, &function.outputs, &lifting, name, span);
        self.open.pop();
        // What goes wrong inside is reported there; the caller goes on in silence.
        if self.problems.len() > before {
            return Err(Reported);
        }
        let mut results = results?;
        Ok(if results.len() == 1 { results.swap_remove(0) } else { Value::Tuple(results) })
    }

    /// The argument of each parameter.
    fn matched(
        &mut self,
        parameters: &'a [Parameter],
        arguments: &'a [Argument],
        name: &str,
        signature: Span,
        span: Span,
    ) -> Elaborated<Vec<Option<&'a Expression>>> {
        let mut matched: Vec<Option<&'a Expression>> = vec![None; parameters.len()];
        let mut failed = false;
        for (i, argument) in arguments.iter().enumerate() {
            let place = match &argument.name {
                None => Some(i).filter(|i| *i < parameters.len()),
                Some(given) => parameters.iter().position(|parameter| parameter.name.text == given.text),
            };
            let problem = match (place, &argument.name) {
                (Some(place), _) if matched[place].is_none() => {
                    matched[place] = Some(&argument.value);
                    continue;
                }
                (Some(place), _) => {
                    Problem::new(argument.value.span, format!("`{}` is given twice", parameters[place].name.text))
                }
                (None, Some(given)) => {
                    Problem::new(given.span, format!("`{name}` takes nothing called `{}`", given.text))
                        .suggest(&given.text, parameters.iter().map(|parameter| parameter.name.text.as_str()))
                }
                (None, None) => Problem::new(
                    argument.value.span,
                    format!("`{name}` takes {} arguments, not {}", parameters.len(), arguments.len()),
                )
                .other(signature, "its signature"),
            };
            self.problems.push(problem);
            failed = true;
        }
        for (parameter, _) in parameters.iter().zip(&matched).filter(|(_, argument)| argument.is_none()) {
            if !matches!(parameter.kind, ParameterKind::Static(Some(_))) && !failed {
                let problem = Problem::new(span, format!("`{name}` needs `{}`", parameter.name.text))
                    .label(format!("`{}` is missing", parameter.name.text))
                    .other(signature, "its signature");
                self.problems.push(problem);
                failed = true;
            }
        }
        if failed { Err(Reported) } else { Ok(matched) }
    }

    /// An axis of the frame, with a size where one is written.
    pub fn axis_argument(
        &mut self,
        frame: &mut Frame<'a>,
        argument: &'a Expression,
    ) -> Elaborated<(Axis, Option<usize>)> {
        match &argument.kind {
            ExpressionKind::Name(name) => Ok((Axis::new(name), None)),
            ExpressionKind::Sized(axis, size) => Ok((Axis::new(&axis.text), Some(self.size(frame, size)?))),
            _ => self.fail(Problem::new(argument.span, "expected the name of an axis")),
        }
    }

    /// A tensor on its way into a function: its axes checked and given their names inside.
    #[allow(clippy::too_many_arguments)]
    fn enter(
        &mut self,
        inner: &mut Frame<'a>,
        parameter: &Parameter,
        axes: &'a [AxisDeclaration],
        node: NodeId,
        lifting: &Lifting,
        name: &str,
        span: Span,
    ) -> Elaborated<NodeId> {
        let shape = self.graph.shape(node).clone();
        let mut renames = Vec::new();
        for declared in axes {
            let (own, outside) = (declared.axis(), lifting.outside(declared.axis()));
            let Some(size) = shape.size(outside) else {
                let problem =
                    Problem::new(span, format!("`{name}` wants `{}` with an axis `{outside}`", parameter.name.text))
                        .label(format!("this is {shape}"))
                        .other(declared.axis.span, "wanted here")
                        .suggest(outside.name(), shape.axes().map(Axis::name).collect::<Vec<_>>());
                return self.fail(problem);
            };
            let stated = match &declared.size {
                Some(size) => Some(self.size(inner, size)?),
                None => None,
            };
            if let Some(known) = stated.or_else(|| inner.sizes.get(&own).copied())
                && known != size
            {
                let problem =
                    Problem::new(span, format!("`{name}` takes {outside}={known} here, but this has {outside}={size}"))
                        .label(format!("this is {shape}"))
                        .other(declared.axis.span, format!("{own}={known}"));
                return self.fail(problem);
            }
            inner.sizes.insert(own, size);
            renames.push((outside, own));
        }
        let brought: Vec<Axis> =
            shape.axes().filter(|axis| !renames.iter().any(|(outside, _)| outside == axis)).collect();
        renames.extend(brought.into_iter().map(|axis| (axis, lifting.lifted.get(&axis).copied().unwrap_or(axis))));
        self.renamed(node, renames, span)
    }

    /// Other names for axes, where there are any.
    pub fn renamed(&mut self, node: NodeId, renames: Vec<(Axis, Axis)>, span: Span) -> Elaborated<NodeId> {
        let renames: Vec<(Axis, Axis)> = renames.into_iter().filter(|(from, to)| from != to).collect();
        if renames.is_empty() { Ok(node) } else { self.emit(Op::Rename(renames), &[node], span) }
    }

    /// The results of a function, checked against its signature and given the caller's axes.
    fn results(
        &mut self,
        inner: &mut Frame<'a>,
        outputs: &'a [Declared],
        lifting: &Lifting,
        name: &str,
        span: Span,
    ) -> Elaborated<Vec<Value<'a>>> {
        let mut results = Vec::new();
        for output in outputs {
            let node = self.output(
                inner,
                &output.name.text,
                output.name.span,
                &output.axes,
                &lifting.lifted.values().copied().collect::<Vec<_>>(),
            )?;
            let shape = self.graph.shape(node).clone();
            let mut renames: Vec<(Axis, Axis)> = Vec::new();
            for axis in shape.axes() {
                let back = lifting.lifted.iter().find(|(_, own)| **own == axis).map(|(outside, _)| *outside);
                let to = back.unwrap_or_else(|| lifting.outside(axis));
                if renames.iter().any(|(_, other)| *other == to) {
                    let message = format!("`{name}` would give `{}` two axes called `{to}`", output.name.text);
                    let problem = Problem::new(span, message)
                        .label("called here")
                        .help(format!("one is the function's own, one was brought along; rename that: `x[{to} as …]`"));
                    return self.fail(problem);
                }
                renames.push((axis, to));
            }
            results.push(Value::Tensor(self.renamed(node, renames, span)?));
        }
        Ok(results)
    }

    /// The tensor that statements have left under a name that is declared with its axes.
    pub fn output(
        &mut self,
        frame: &mut Frame<'a>,
        name: &str,
        span: Span,
        axes: &'a [AxisDeclaration],
        lifted: &[Axis],
    ) -> Elaborated<NodeId> {
        let value = match frame.variables.get(name) {
            Some(Value::Broken | Value::Withheld) => return Err(Reported),
            Some(value) => value.clone(),
            None => {
                let mut known: Vec<&str> = frame.variables.keys().map(String::as_str).collect();
                known.sort_unstable();
                let problem = Problem::new(span, format!("`{name}` is never computed"));
                let problem = problem.suggest(name, known);
                return self.fail(problem);
            }
        };
        let node = self.tensor(value, span)?;
        let shape = self.graph.shape(node).clone();
        for declared in axes {
            let axis = declared.axis();
            let Some(size) = shape.size(axis) else {
                let problem = Problem::new(
                    declared.axis.span,
                    format!("`{name}` is declared with an axis `{axis}`, but it is {shape}"),
                )
                .help(format!("to repeat it along the axis, write `spread({name}, {axis})`"));
                return self.fail(problem);
            };
            let stated = match &declared.size {
                Some(size) => Some(self.size(frame, size)?),
                // Axes of a program have the sizes of the spec; a module's own axes, those it was given.
                None if self.open.is_empty() => self.known_size(frame, axis),
                None => frame.instance.and_then(|instance| instance.axes.get(&axis)).map(|bound| bound.size),
            };
            if let Some(stated) = stated
                && stated != size
            {
                let message = format!("`{name}` is declared with {axis}={stated}, but it is {shape}");
                return self.fail(Problem::new(declared.axis.span, message));
            }
        }
        for axis in shape.axes() {
            if !lifted.contains(&axis) && !axes.iter().any(|declared| declared.axis() == axis) {
                let problem =
                    Problem::new(span, format!("`{name}` has an axis `{axis}` that is not declared: it is {shape}"))
                        .help(format!("declare it, or get rid of it: `sum(…, {axis})`"));
                return self.fail(problem);
            }
        }
        Ok(node)
    }
}

/// Names that statements assign, at any depth.
fn assigned(statements: &[Statement]) -> Vec<&str> {
    statements
        .iter()
        .flat_map(|statement| match statement {
            Statement::Assign { targets, .. } => targets.iter().map(|target| target.text.as_str()).collect(),
            Statement::For { body, .. } => assigned(body),
            Statement::If { then, otherwise, .. } => [assigned(then), assigned(otherwise)].concat(),
        })
        .collect()
}

/// How axes change their names at the border of a function.
struct Lifting<'f> {
    /// Axes of the signature, each with the caller's axis that it stands for.
    outer: &'f IndexMap<Axis, Axis>,
    /// Axes that only the caller knows, each with its name inside.
    lifted: IndexMap<Axis, Axis>,
    /// Names that mean something inside.
    taken: FxHashSet<Axis>,
}

impl<'f> Lifting<'f> {
    fn new(function: &Function, instance: Option<&Instance<'_>>, outer: &'f IndexMap<Axis, Axis>) -> Lifting<'f> {
        let mut taken: FxHashSet<Axis> = function.mentions.iter().map(|name| Axis::new(name)).collect();
        if let Some(instance) = instance {
            taken.extend(instance.axes.keys());
            taken.extend(instance.stored.values().flatten().flat_map(|slot| slot.ty.shape.axes()));
        }
        Lifting { outer, lifted: IndexMap::new(), taken }
    }

    /// The caller's name of an axis of the signature.
    fn outside(&self, axis: Axis) -> Axis {
        self.outer.get(&axis).copied().unwrap_or(axis)
    }

    fn lift(&mut self, axis: Axis) {
        if !self.lifted.contains_key(&axis) {
            let own = axis.fresh(|name| self.taken.contains(&name));
            self.taken.insert(own);
            self.lifted.insert(axis, own);
        }
    }
}
