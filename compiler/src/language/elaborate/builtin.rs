//! Functions that the language itself provides: what the graph's operations are called in equations.

use super::program::{Elaborated, Elaborator, Frame, Value};
use crate::{
    autodiff,
    axis::{Axis, Shape},
    graph::{Combine, DType, Distribution, NodeId, Op, ScalarOp},
    language::{
        diagnostics::{Problem, Span},
        document::Name,
        equation::{Argument, Expression, ExpressionKind},
        scalar::{self, Scalar},
    },
};

/// A built-in function that is not a scalar operation.
pub(crate) struct Builtin {
    pub name: &'static str,
    /// How it is called.
    pub usage: &'static str,
    pub about: &'static str,
    /// Arguments that have names and may be left out.
    named: &'static [&'static str],
}

const fn builtin(
    name: &'static str,
    usage: &'static str,
    named: &'static [&'static str],
    about: &'static str,
) -> Builtin {
    Builtin { name, usage, about, named }
}

/// Every built-in function that is not a scalar operation.
pub(crate) const BUILTINS: &[Builtin] = &[
    builtin(
        "sum",
        "sum(x, a, b)",
        &[],
        "The sum over axes; over all axes that callers did not bring where none is named. The sum of a product is a contraction.",
    ),
    builtin("mean", "mean(x, a, b)", &[], "The mean over axes, named or not as with `sum`."),
    builtin("prod", "prod(x, a)", &[], "The product over axes."),
    builtin("max", "max(x, a)", &[], "The largest over axes; of two values, the larger, element by element."),
    builtin("min", "min(x, a)", &[], "The smallest over axes; of two values, the smaller, element by element."),
    builtin("argmax", "argmax(x, a)", &[], "The position of the largest element along an axis, the first of equals."),
    builtin("argmin", "argmin(x, a)", &[], "The position of the smallest element along an axis, the first of equals."),
    builtin(
        "cumsum",
        "cumsum(x, a, exclusive = false, reverse = false)",
        &["exclusive", "reverse"],
        "The running sum along an axis.",
    ),
    builtin(
        "cumprod",
        "cumprod(x, a, exclusive = false, reverse = false)",
        &["exclusive", "reverse"],
        "The running product along an axis.",
    ),
    builtin("sort", "sort(x, a)", &[], "The elements along an axis in ascending order."),
    builtin("argsort", "argsort(x, a)", &[], "The positions that sort an axis; equals keep their order."),
    builtin(
        "search_sorted",
        "search_sorted(sorted, values, a, right = false)",
        &["right"],
        "How many elements of the sorted axis are below each value; with `right`, below or equal.",
    ),
    builtin("concat", "concat(x, y, a)", &[], "Values one after another along an axis that all have."),
    builtin("stack", "stack(x, y, a)", &[], "Values one after another along a new axis."),
    builtin("spread", "spread(x, a: 4)", &[], "A value repeated along axes that it does not have."),
    builtin("pad", "pad(x, a, before, after, value = 0)", &["value"], "An axis lengthened at both ends by a constant."),
    builtin(
        "window",
        "window(x, a, position, tap: 3, stride = 1, dilation = 1)",
        &["stride", "dilation"],
        "The view `x[position * stride + tap * dilation]` of an axis: what convolutions sum over.",
    ),
    builtin(
        "fold",
        "fold(x, position, tap, a: 9, stride = 1, dilation = 1)",
        &["stride", "dilation"],
        "The adjoint of `window`: adds every tap into an axis of the given size.",
    ),
    builtin(
        "scatter_add",
        "scatter_add(x, index, a: 9, over)",
        &[],
        "Adds each element into a new axis at its position, summing over the axes named last.",
    ),
    builtin("index", "index(a)", &[], "The position 0, 1, 2, … along an axis."),
    builtin(
        "uniform",
        "uniform(a, b: 4)",
        &[],
        "Random numbers, uniform on [0, 1): each call of a program draws its own, and a run repeats them.",
    ),
    builtin("normal", "normal(a, b: 4)", &[], "Random numbers, normal with mean 0 and variance 1."),
    builtin(
        "uniform_like",
        "uniform_like(x)",
        &[],
        "Random numbers, uniform on [0, 1), over all axes of a tensor, those that callers bring included.",
    ),
    builtin(
        "normal_like",
        "normal_like(x)",
        &[],
        "Random numbers, normal with mean 0 and variance 1, over all axes of a tensor.",
    ),
    builtin("stop", "stop(x)", &[], "The value, through which no gradient flows."),
    builtin("grad", "grad(y, x)", &[], "The gradient of a scalar by a tensor that it was computed from."),
    builtin("clamp", "clamp(x, low, high)", &[], "The value, no less than one bound and no more than the other."),
    builtin("f32", "f32(x)", &[], "The value as 32-bit floats."),
    builtin("f64", "f64(x)", &[], "The value as 64-bit floats, for what 32 bits cannot tell apart."),
    builtin("i32", "i32(x)", &[], "The value as 32-bit integers, truncated."),
    builtin(
        "given",
        "given(input)",
        &[],
        "Whether an optional input of the program is given; known before anything runs.",
    ),
];

/// Whether the language provides a function of this name.
pub(crate) fn exists(name: &str) -> bool {
    scalar::operation(name).is_some() || BUILTINS.iter().any(|builtin| builtin.name == name)
}

/// The scalar operations that equations call by name and that no other function stands for.
pub(crate) fn scalar_functions() -> impl Iterator<Item = ScalarOp> {
    let structural = |name: &str| BUILTINS.iter().any(|builtin| builtin.name == name);
    ScalarOp::ALL.into_iter().filter(move |op| scalar::operation(op.name()).is_some() && !structural(op.name()))
}

/// The names of all functions that the language provides.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    scalar_functions().map(ScalarOp::name).chain(BUILTINS.iter().map(|builtin| builtin.name))
}

/// A call of a built-in function.
struct Call<'a> {
    row: &'static Builtin,
    positional: Vec<&'a Expression>,
    named: Vec<(&'a Name, &'a Expression)>,
    span: Span,
}

impl<'a> Elaborator<'a> {
    /// Calls a function of the language.
    pub(super) fn builtin(
        &mut self,
        frame: &mut Frame<'a>,
        name: &str,
        name_span: Span,
        arguments: &'a [Argument],
        span: Span,
    ) -> Elaborated<Value<'a>> {
        let row = BUILTINS.iter().find(|builtin| builtin.name == name);
        let allowed = row.map_or(&[][..], |row| row.named);
        for given in arguments.iter().filter_map(|argument| argument.name.as_ref()) {
            if !allowed.contains(&given.text.as_str()) {
                let problem = Problem::new(given.span, format!("`{name}` takes nothing called `{}`", given.text));
                return self.fail(problem.suggest(&given.text, allowed.iter().copied()));
            }
        }
        let positional: Vec<&Expression> =
            arguments.iter().filter(|argument| argument.name.is_none()).map(|argument| &argument.value).collect();
        if matches!(name, "max" | "min") {
            return self.extreme(frame, name, &positional, span);
        }
        if let Some(op) = scalar::operation(name)
            && name != "stop"
        {
            if positional.len() != op.arity() {
                let message = format!("`{name}` takes {} arguments, not {}", op.arity(), positional.len());
                return self.fail(Problem::new(span, message));
            }
            let mut values = Vec::new();
            for argument in positional {
                values.push(self.expression(frame, argument));
            }
            let values = values.into_iter().collect::<Elaborated<Vec<_>>>()?;
            return self.map(op, values, span);
        }
        let Some(row) = row else {
            return self.fail(Problem::new(name_span, format!("there is no function `{name}`")));
        };
        let named = arguments.iter().filter_map(|argument| Some((argument.name.as_ref()?, &argument.value))).collect();
        self.structural(frame, Call { row, positional, named, span })
    }

    /// `max` and `min`: over axes of a value where such are named, else of two values.
    fn extreme(
        &mut self,
        frame: &mut Frame<'a>,
        name: &str,
        positional: &[&'a Expression],
        span: Span,
    ) -> Elaborated<Value<'a>> {
        let Some((first, rest)) = positional.split_first() else {
            let problem = Problem::new(span, format!("`{name}` takes two values, or a value and axes of it"));
            return self.fail(problem);
        };
        let value = self.expression(frame, first)?;
        let axes: Vec<Axis> = rest
            .iter()
            .filter_map(
                |argument| if let ExpressionKind::Name(name) = &argument.kind { Some(Axis::new(name)) } else { None },
            )
            .collect();
        let (op, combine) = if name == "max" { (ScalarOp::Max, Combine::Max) } else { (ScalarOp::Min, Combine::Min) };
        if let Value::Tensor(node) = value
            && axes.len() == rest.len()
            && axes.iter().all(|axis| self.graph.shape(node).contains(*axis))
        {
            let own = |axis: &Axis| !frame.lifted.contains(axis);
            let axes = if axes.is_empty() { self.graph.shape(node).axes().filter(own).collect() } else { axes };
            return self.reduce(combine, node, axes, span).map(Value::Tensor);
        }
        let [second] = rest else {
            let problem = Problem::new(span, format!("`{name}` takes two values, or a value and axes of it"));
            return self.fail(problem);
        };
        let second = self.expression(frame, second)?;
        self.map(op, vec![value, second], span)
    }

    fn usage<T>(&mut self, call: &Call<'a>) -> Elaborated<T> {
        let problem = Problem::new(call.span, format!("`{}` is not called like this", call.row.name));
        self.fail(problem.help(format!("`{}`: {}", call.row.usage, call.row.about)))
    }

    fn operand(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, position: usize) -> Elaborated<NodeId> {
        let Some(expression) = call.positional.get(position) else { return self.usage(call) };
        let value = self.expression(frame, expression)?;
        self.tensor(value, expression.span)
    }

    /// The axis at a position.
    fn axis(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, position: usize) -> Elaborated<Axis> {
        match call.positional.get(position) {
            Some(expression) => Ok(self.axis_argument(frame, expression)?.0),
            None => self.usage(call),
        }
    }

    /// The axis at a position with its size.
    fn sized_axis(&mut self, frame: &mut Frame<'a>, argument: &'a Expression) -> Elaborated<(Axis, usize)> {
        let (axis, size) = self.axis_argument(frame, argument)?;
        match size.or_else(|| self.known_size(frame, axis)) {
            Some(size) => Ok((axis, size)),
            None => {
                let problem = Problem::new(argument.span, format!("nothing says what size the axis `{axis}` has"));
                self.fail(problem.help(format!("write it: `{axis}: 4`")))
            }
        }
    }

    fn axes_from(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, first: usize) -> Elaborated<Vec<Axis>> {
        (first..call.positional.len()).map(|position| self.axis(frame, call, position)).collect()
    }

    /// An axis that a tensor has.
    fn present(&mut self, node: NodeId, axis: Axis, span: Span) -> Elaborated<usize> {
        let shape = self.graph.shape(node);
        match shape.size(axis) {
            Some(size) => Ok(size),
            None => {
                let shape = shape.clone();
                let problem =
                    Problem::new(span, format!("there is no axis `{axis}`")).label(format!("this is {shape}"));
                self.fail(problem.suggest(axis.name(), shape.axes().map(Axis::name).collect::<Vec<_>>()))
            }
        }
    }

    /// The axes to reduce over: those named, or all that callers did not bring.
    fn reduced(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, node: NodeId) -> Elaborated<Vec<Axis>> {
        let axes = self.axes_from(frame, call, 1)?;
        if axes.is_empty() {
            return Ok(self.graph.shape(node).axes().filter(|axis| !frame.lifted.contains(axis)).collect());
        }
        for (i, axis) in axes.iter().enumerate() {
            self.present(node, *axis, call.positional[i + 1].span)?;
            if axes[..i].contains(axis) {
                return self.fail(Problem::new(call.positional[i + 1].span, format!("axis `{axis}` is there twice")));
            }
        }
        Ok(axes)
    }

    fn structural(&mut self, frame: &mut Frame<'a>, call: Call<'a>) -> Elaborated<Value<'a>> {
        let span = call.span;
        let node = match call.row.name {
            "sum" => self.sum(frame, &call)?,
            "mean" => {
                let x = self.operand(frame, &call, 0)?;
                let x = self.converted(Value::Tensor(x), DType::F32, span)?;
                let axes = self.reduced(frame, &call, x)?;
                let count: usize = axes.iter().filter_map(|axis| self.graph.shape(x).size(*axis)).product();
                let total = self.reduce(Combine::Sum, x, axes, span)?;
                let dtype = self.graph.ty(total).dtype;
                let weight = self.constant(1.0 / count as f64, dtype);
                self.emit(Op::Map(ScalarOp::Mul), &[total, weight], span)?
            }
            "prod" => {
                let x = self.operand(frame, &call, 0)?;
                let axes = self.reduced(frame, &call, x)?;
                self.reduce(Combine::Prod, x, axes, span)?
            }
            "argmax" | "argmin" | "sort" | "argsort" => {
                if call.positional.len() != 2 {
                    return self.usage(&call);
                }
                let x = self.operand(frame, &call, 0)?;
                let axis = self.axis(frame, &call, 1)?;
                self.present(x, axis, call.positional[1].span)?;
                let op = match call.row.name {
                    "argmax" => Op::ArgReduce { largest: true, axis },
                    "argmin" => Op::ArgReduce { largest: false, axis },
                    "sort" => Op::Sort { axis },
                    _ => Op::ArgSort { axis },
                };
                self.emit(op, &[x], span)?
            }
            "cumsum" | "cumprod" => {
                if call.positional.len() != 2 {
                    return self.usage(&call);
                }
                let x = self.operand(frame, &call, 0)?;
                let axis = self.axis(frame, &call, 1)?;
                self.present(x, axis, call.positional[1].span)?;
                let exclusive = self.switch(frame, &call, "exclusive")?;
                let reverse = self.switch(frame, &call, "reverse")?;
                let combine = if call.row.name == "cumsum" { Combine::Sum } else { Combine::Prod };
                self.emit(Op::Scan { combine, axis, exclusive, reverse }, &[x], span)?
            }
            "search_sorted" => {
                if call.positional.len() != 3 {
                    return self.usage(&call);
                }
                let sorted = self.operand(frame, &call, 0)?;
                let values = self.operand(frame, &call, 1)?;
                let axis = self.axis(frame, &call, 2)?;
                self.present(sorted, axis, call.positional[2].span)?;
                let right = self.switch(frame, &call, "right")?;
                let dtype = self.common(&[Value::Tensor(sorted), Value::Tensor(values)], false);
                let sorted = self.converted(Value::Tensor(sorted), dtype, span)?;
                let values = self.converted(Value::Tensor(values), dtype, span)?;
                self.emit(Op::SearchSorted { axis, right }, &[sorted, values], span)?
            }
            "concat" | "stack" => self.joined(frame, &call)?,
            "spread" => {
                let x = self.operand(frame, &call, 0)?;
                let mut axes: Vec<(Axis, usize)> = Vec::new();
                for argument in &call.positional[1..] {
                    let (axis, size) = self.sized_axis(frame, argument)?;
                    if axes.iter().any(|(other, _)| *other == axis) {
                        return self.fail(Problem::new(argument.span, format!("axis `{axis}` is there twice")));
                    }
                    axes.push((axis, size));
                }
                if axes.is_empty() {
                    return self.usage(&call);
                }
                self.emit(Op::Spread(Shape::new(axes)), &[x], span)?
            }
            "pad" => {
                if call.positional.len() != 4 {
                    return self.usage(&call);
                }
                let x = self.operand(frame, &call, 0)?;
                let axis = self.axis(frame, &call, 1)?;
                self.present(x, axis, call.positional[1].span)?;
                let before = self.count(frame, call.positional[2])?;
                let after = self.count(frame, call.positional[3])?;
                let value = self.named_scalar(frame, &call.named, "value", Scalar::Integer(0))?.number();
                self.emit(Op::Pad { axis, before, after, value }, &[x], span)?
            }
            "window" => {
                let &[_, _, position, tap] = call.positional.as_slice() else { return self.usage(&call) };
                let x = self.operand(frame, &call, 0)?;
                let axis = self.axis(frame, &call, 1)?;
                self.present(x, axis, call.positional[1].span)?;
                let (position, _) = self.axis_argument(frame, position)?;
                let (tap, taps) = self.sized_axis(frame, tap)?;
                let stride = self.pace(frame, &call, "stride")?;
                let dilation = self.pace(frame, &call, "dilation")?;
                self.emit(Op::Window { axis, position, tap, taps, stride, dilation }, &[x], span)?
            }
            "fold" => {
                let &[_, _, _, into] = call.positional.as_slice() else { return self.usage(&call) };
                let x = self.operand(frame, &call, 0)?;
                let (position, tap) = (self.axis(frame, &call, 1)?, self.axis(frame, &call, 2)?);
                let (axis, size) = self.sized_axis(frame, into)?;
                let stride = self.pace(frame, &call, "stride")?;
                let dilation = self.pace(frame, &call, "dilation")?;
                self.emit(Op::Fold { axis, size, position, tap, stride, dilation }, &[x], span)?
            }
            "scatter_add" => {
                if call.positional.len() < 4 {
                    return self.usage(&call);
                }
                let updates = self.operand(frame, &call, 0)?;
                let index = self.operand(frame, &call, 1)?;
                let (axis, size) = self.sized_axis(frame, call.positional[2])?;
                let over = self.axes_from(frame, &call, 3)?;
                self.emit(Op::ScatterAdd { axis, size, over }, &[updates, index], span)?
            }
            "index" => {
                let &[axis] = call.positional.as_slice() else { return self.usage(&call) };
                let (axis, size) = self.sized_axis(frame, axis)?;
                self.emit(Op::Iota { axis, size }, &[], span)?
            }
            "uniform" | "normal" => {
                let mut axes: Vec<(Axis, usize)> = Vec::new();
                for argument in &call.positional {
                    let (axis, size) = self.sized_axis(frame, argument)?;
                    if axes.iter().any(|(other, _)| *other == axis) {
                        return self.fail(Problem::new(argument.span, format!("axis `{axis}` is there twice")));
                    }
                    axes.push((axis, size));
                }
                let distribution =
                    if call.row.name == "uniform" { Distribution::Uniform } else { Distribution::Normal };
                let stream = self.stream(frame);
                self.emit(Op::Random { distribution, stream, shape: Shape::new(axes) }, &[], span)?
            }
            "uniform_like" | "normal_like" => {
                let x = self.operand(frame, &call, 0)?;
                let shape = self.graph.shape(x).clone();
                let distribution =
                    if call.row.name == "uniform_like" { Distribution::Uniform } else { Distribution::Normal };
                let stream = self.stream(frame);
                self.emit(Op::Random { distribution, stream, shape }, &[], span)?
            }
            "stop" => {
                let x = self.operand(frame, &call, 0)?;
                self.emit(Op::Map(ScalarOp::Stop), &[x], span)?
            }
            "f32" | "f64" | "i32" => {
                let x = self.operand(frame, &call, 0)?;
                let dtype = match call.row.name {
                    "f32" => DType::F32,
                    "f64" => DType::F64,
                    _ => DType::I32,
                };
                self.emit(Op::Map(ScalarOp::Cast(dtype)), &[x], span)?
            }
            "clamp" => {
                let &[x, low, high] = call.positional.as_slice() else { return self.usage(&call) };
                let (x, low) = (self.expression(frame, x)?, self.expression(frame, low)?);
                let high = self.expression(frame, high)?;
                let raised = self.map(ScalarOp::Max, vec![x, low], span)?;
                return self.map(ScalarOp::Min, vec![raised, high], span);
            }
            "given" => {
                let [Expression { kind: ExpressionKind::Name(name), span }] = call.positional.as_slice() else {
                    return self.usage(&call);
                };
                return match frame.given.get(name) {
                    Some(given) => Ok(Value::Scalar(Scalar::Switch(*given))),
                    None => {
                        let known: Vec<&str> = frame.given.keys().map(String::as_str).collect();
                        let problem = Problem::new(*span, format!("`{name}` is not an input of this program"));
                        self.fail(problem.suggest(name, known))
                    }
                };
            }
            _ => self.gradient(frame, &call)?,
        };
        Ok(Value::Tensor(node))
    }

    fn reduce(&mut self, combine: Combine, x: NodeId, axes: Vec<Axis>, span: Span) -> Elaborated<NodeId> {
        if axes.is_empty() { Ok(x) } else { self.emit(Op::Reduce { combine, axes }, &[x], span) }
    }

    /// A sum; where the summand is a product whose factors both have the axes, a contraction.
    fn sum(&mut self, frame: &mut Frame<'a>, call: &Call<'a>) -> Elaborated<NodeId> {
        let span = call.span;
        if let Some(Expression { kind: ExpressionKind::Binary(ScalarOp::Mul, left, right), .. }) =
            call.positional.first()
            && call.positional.len() > 1
        {
            let left = self.expression(frame, left)?;
            let right = self.expression(frame, right)?;
            if let (Value::Tensor(_), Value::Tensor(_)) = (&left, &right) {
                let values = [left, right];
                let dtype = self.common(&values, false);
                let [left, right] = values;
                let (left, right) = (self.converted(left, dtype, span)?, self.converted(right, dtype, span)?);
                let over = self.axes_from(frame, call, 1)?;
                if over
                    .iter()
                    .all(|axis| self.graph.shape(left).contains(*axis) && self.graph.shape(right).contains(*axis))
                {
                    return self.emit(Op::Contract { over }, &[left, right], span);
                }
                let product = self.emit(Op::Map(ScalarOp::Mul), &[left, right], span)?;
                let axes = self.reduced(frame, call, product)?;
                return self.reduce(Combine::Sum, product, axes, span);
            }
            let product = self.map(ScalarOp::Mul, vec![left, right], span)?;
            let product = self.tensor(product, span)?;
            let axes = self.reduced(frame, call, product)?;
            return self.reduce(Combine::Sum, product, axes, span);
        }
        let x = self.operand(frame, call, 0)?;
        let axes = self.reduced(frame, call, x)?;
        self.reduce(Combine::Sum, x, axes, span)
    }

    /// `concat` along an axis that all operands have, `stack` along one that none has.
    fn joined(&mut self, frame: &mut Frame<'a>, call: &Call<'a>) -> Elaborated<NodeId> {
        let Some((last, values)) = call.positional.split_last().filter(|(_, values)| !values.is_empty()) else {
            return self.usage(call);
        };
        let (axis, _) = self.axis_argument(frame, last)?;
        let mut parts = Vec::new();
        for value in values {
            parts.push(self.expression(frame, value)?);
        }
        let dtype = self.common(&parts, false);
        let mut operands = Vec::new();
        for (part, value) in parts.into_iter().zip(values) {
            let node = self.converted(part, dtype, value.span)?;
            operands.push(match call.row.name {
                "stack" => self.emit(Op::Spread(Shape::new([(axis, 1)])), &[node], value.span)?,
                _ => {
                    self.present(node, axis, value.span)?;
                    node
                }
            });
        }
        self.emit(Op::Concat { axis }, &operands, call.span)
    }

    fn gradient(&mut self, frame: &mut Frame<'a>, call: &Call<'a>) -> Elaborated<NodeId> {
        if call.positional.len() != 2 {
            return self.usage(call);
        }
        let y = self.operand(frame, call, 0)?;
        let x = self.operand(frame, call, 1)?;
        let shape = self.graph.shape(y).clone();
        if shape.rank() > 0 {
            let problem = Problem::new(call.positional[0].span, "only a scalar has a gradient here")
                .label(format!("this is {shape}"));
            return self.fail(problem.help("sum it: `grad(sum(y), x)`"));
        }
        match autodiff::gradients(&mut self.graph, y, &[x]) {
            Ok(gradients) => Ok(gradients[0]),
            Err(error) => self.fail(Problem::new(call.span, error.to_string())),
        }
    }

    fn switch(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, name: &str) -> Elaborated<bool> {
        let value = self.named_scalar(frame, &call.named, name, Scalar::Switch(false))?;
        match value.truth() {
            Some(truth) => Ok(truth),
            None => self.fail(Problem::new(call.span, format!("`{name}` is true or false, not {value}"))),
        }
    }

    fn pace(&mut self, frame: &mut Frame<'a>, call: &Call<'a>, name: &str) -> Elaborated<usize> {
        let value = self.named_scalar(frame, &call.named, name, Scalar::Integer(1))?;
        match value.whole().filter(|pace| (1..=1 << 20).contains(pace)) {
            Some(pace) => Ok(pace as usize),
            None => self.fail(Problem::new(call.span, format!("`{name}` is a whole number from 1, not {value}"))),
        }
    }

    fn count(&mut self, frame: &mut Frame<'a>, expression: &'a Expression) -> Elaborated<usize> {
        let value = self.integer(frame, expression)?;
        match usize::try_from(value).ok().filter(|count| *count <= 1 << 31) {
            Some(count) => Ok(count),
            None => self.fail(Problem::new(expression.span, format!("expected a whole number from 0, not {value}"))),
        }
    }
}
