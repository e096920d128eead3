//! Calls: arguments matched, axes renamed at the border, results checked against the signature.

use super::{
    network::{Instance, Network},
    program::{Elaborated, Elaborator, Frame, Reported, Value},
};
use crate::{
    axis::Axis,
    graph::{NodeId, Op},
    language::{
        diagnostics::{Problem, Span},
        equation::{
            Argument, AxisDeclaration, Declared, Expression, ExpressionKind, Function, Parameter, ParameterKind,
        },
    },
};
use indexmap::IndexMap;
use rustc_hash::FxHashSet;

/// What is called: a function, or the equations of a network.
struct Callee<'a, 'n> {
    function: &'a Function,
    instance: Option<&'a Instance<'a>>,
    /// Networks that were reached into to get there, the outermost first: their axes stand for others.
    enclosing: Vec<&'a Instance<'a>>,
    label: String,
    name: &'n str,
}

impl<'a> Elaborator<'a> {
    pub(super) fn call(
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
                let callee = Callee { function, instance: None, enclosing: Vec::new(), label, name };
                return self.apply(frame, callee, arguments, span);
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
            Value::Network(Network::One(instance), enclosing) => {
                let Some(function) = &instance.module.forward else { return Err(Reported) };
                let (label, name) = (instance.label.clone(), instance.label.as_str());
                let callee = Callee { function, instance: Some(instance), enclosing, label, name };
                self.apply(frame, callee, arguments, span)
            }
            Value::Network(Network::Stack(_), _) => self.fail(
                Problem::new(callee.span, "this is a stack of networks").help("pick one by number: `stack[i](x)`"),
            ),
            Value::Network(Network::Absent, _) => self.fail(Problem::new(callee.span, "this network is left out here")),
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
    fn apply(
        &mut self,
        frame: &mut Frame<'a>,
        callee: Callee<'a, '_>,
        arguments: &'a [Argument],
        span: Span,
    ) -> Elaborated<Value<'a>> {
        let Callee { function, instance, enclosing, label, name } = callee;
        if self.is_open(function, instance) {
            return self
                .fail(Problem::new(span, format!("`{name}` calls itself")).help("repeat with `for i in 0..n { … }`"));
        }
        let matched = self.matched(&function.parameters, arguments, name, function.span, span)?;
        let mut inner = Frame { label, instance, ..Frame::default() };
        let mut outer: IndexMap<Axis, Axis> = IndexMap::new();
        if let Some(instance) = instance {
            for (axis, bound) in &instance.axes {
                let renamed =
                    |axis: Axis, around: &&Instance<'_>| around.axes.get(&axis).map_or(axis, |bound| bound.caller);
                outer.insert(*axis, enclosing.iter().rev().fold(bound.caller, renamed));
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
                        Value::Scalar(_) | Value::Network(..) => {
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
        self.open.push((function, instance));
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

    /// Whether a call of this would go on for ever: a network that is being run, or a function with
    /// no network between. Networks are finite, so that functions may meet again inside one.
    fn is_open(&self, function: &Function, instance: Option<&Instance<'a>>) -> bool {
        let same = |open: &&(&Function, Option<&Instance<'a>>)| std::ptr::eq(open.0, function);
        match instance {
            Some(instance) => {
                self.open.iter().filter(same).any(|(_, open)| open.is_some_and(|open| std::ptr::eq(open, instance)))
            }
            None => self.open.iter().rev().take_while(|(_, open)| open.is_none()).any(|open| same(&open)),
        }
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
