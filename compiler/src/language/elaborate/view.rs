//! Bracket views: `x[a as b, (a, b) as c, c as (a, b), sample = 0, sample = 1.., knot = below]`.

use super::program::{Elaborated, Elaborator, Frame, Value};
use crate::{
    axis::Axis,
    graph::{DType, NodeId, Op},
    language::{
        diagnostics::{Problem, Span},
        document::Name,
        equation::{AxisDeclaration, Expression, ViewItem},
        scalar::Scalar,
    },
};

impl<'a> Elaborator<'a> {
    /// Items apply from left to right; plain renames that stand side by side apply at once, so that
    /// `x[a as b, b as a]` swaps.
    pub(super) fn view(&mut self, frame: &mut Frame<'a>, node: NodeId, items: &'a [ViewItem]) -> Elaborated<NodeId> {
        let mut node = node;
        let mut renames: Vec<(Axis, Axis)> = Vec::new();
        let mut renames_span: Option<Span> = None;
        for item in items {
            if let ViewItem::Reshape { span, from, to } = item
                && let ([from], [AxisDeclaration { axis: to, size: None }]) = (from.as_slice(), to.as_slice())
            {
                self.axis_of(node, from)?;
                renames.push((Axis::new(&from.text), Axis::new(&to.text)));
                renames_span = Some(renames_span.map_or(*span, |first| first.to(*span)));
                continue;
            }
            if let Some(span) = renames_span.take() {
                node = self.renamed(node, std::mem::take(&mut renames), span)?;
            }
            node = match item {
                ViewItem::Reshape { span, from, to } => self.reshape(frame, node, from, to, *span)?,
                ViewItem::Select { axis, at } => self.select(frame, node, axis, at)?,
                ViewItem::Range { span, axis, from, to, step } => {
                    self.range(frame, node, axis, [from.as_ref(), to.as_ref(), step.as_ref()], *span)?
                }
            };
        }
        match renames_span {
            Some(span) => self.renamed(node, renames, span),
            None => Ok(node),
        }
    }

    /// The size of a tensor's axis.
    fn axis_of(&mut self, node: NodeId, axis: &Name) -> Elaborated<usize> {
        let shape = self.graph.shape(node);
        match shape.size(Axis::new(&axis.text)) {
            Some(size) => Ok(size),
            None => {
                let shape = shape.clone();
                let problem = Problem::new(axis.span, format!("there is no axis `{}`", axis.text))
                    .label(format!("this is {shape}"));
                self.fail(problem.suggest(&axis.text, shape.axes().map(Axis::name).collect::<Vec<_>>()))
            }
        }
    }

    fn reshape(
        &mut self,
        frame: &mut Frame<'a>,
        node: NodeId,
        from: &'a [Name],
        to: &'a [AxisDeclaration],
        span: Span,
    ) -> Elaborated<NodeId> {
        let mut whole = 1;
        for (i, axis) in from.iter().enumerate() {
            whole *= self.axis_of(node, axis)?;
            if from[..i].iter().any(|other| other.text == axis.text) {
                return self.fail(Problem::new(axis.span, format!("axis `{}` is there twice", axis.text)));
            }
        }
        if let [into] = to {
            if let Some(size) = &into.size {
                let size = self.size(frame, size)?;
                if size != whole {
                    let message = format!("`{}` would have {whole} elements, not {size}", into.axis.text);
                    return self.fail(Problem::new(into.axis.span, message));
                }
            }
            let axes = from.iter().map(|axis| Axis::new(&axis.text)).collect();
            return self.emit(Op::Merge { axes, into: into.axis() }, &[node], span);
        }
        let [axis] = from else {
            let problem = Problem::new(span, "several axes cannot become several others in one step");
            return self.fail(problem.help("merge them into one first: `x[(a, b) as c, c as (d, e)]`"));
        };
        let mut into: Vec<(Axis, Option<usize>)> = Vec::new();
        for declared in to {
            into.push((declared.axis(), self.declared_size(frame, declared)?));
        }
        let unknown = into.iter().filter(|(_, size)| size.is_none()).count();
        let known = into.iter().filter_map(|(_, size)| *size).fold(1_usize, usize::saturating_mul);
        if unknown > 1 {
            let problem =
                Problem::new(span, "only one of the sizes can be found out").help("write the others: `(a, b: 3)`");
            return self.fail(problem);
        }
        if (unknown == 1 && whole % known != 0) || (unknown == 0 && whole != known) {
            let parts: Vec<String> = into
                .iter()
                .map(|(axis, size)| size.map_or(format!("{axis}=?"), |size| format!("{axis}={size}")))
                .collect();
            let message =
                format!("`{}` has {whole} elements, which is not the product of {}", axis.text, parts.join(" and "));
            return self.fail(Problem::new(span, message));
        }
        let into = into.into_iter().map(|(axis, size)| (axis, size.unwrap_or(whole / known))).collect();
        self.emit(Op::Split { axis: Axis::new(&axis.text), into }, &[node], span)
    }

    /// One position of an axis: a number drops the axis, an index tensor gathers along it.
    fn select(
        &mut self,
        frame: &mut Frame<'a>,
        node: NodeId,
        name: &'a Name,
        at: &'a Expression,
    ) -> Elaborated<NodeId> {
        let size = self.axis_of(node, name)?;
        let axis = Axis::new(&name.text);
        match self.expression(frame, at)? {
            Value::Scalar(position) => {
                let start = position.whole().map(|at| if at < 0 { at + size as i64 } else { at });
                let Some(start) = start.filter(|start| (0..size as i64).contains(start)) else {
                    let message = format!("`{axis}` has {size} elements, so there is no element {position}");
                    return self.fail(Problem::new(at.span, message));
                };
                let one = self.emit(Op::Slice { axis, start: start as usize, size: 1, step: 1 }, &[node], at.span)?;
                self.emit(Op::Split { axis, into: Vec::new() }, &[one], at.span)
            }
            value => {
                let index = self.tensor(value, at.span)?;
                if self.graph.ty(index).dtype != DType::I32 {
                    let found = self.graph.ty(index).to_string();
                    let problem = Problem::new(at.span, format!("positions along `{axis}` are whole numbers"))
                        .label(format!("this is {found}"))
                        .help("convert with `i32(…)`, which truncates");
                    return self.fail(problem);
                }
                self.emit(Op::Gather { axis }, &[node, index], at.span)
            }
        }
    }

    /// Elements from one position up to, not including, another; negative positions count from the end.
    fn range(
        &mut self,
        frame: &mut Frame<'a>,
        node: NodeId,
        name: &'a Name,
        [from, to, step]: [Option<&'a Expression>; 3],
        span: Span,
    ) -> Elaborated<NodeId> {
        let size = self.axis_of(node, name)? as i64;
        let mut position = |expression: Option<&'a Expression>| match expression {
            None => Ok(None),
            Some(expression) => {
                self.integer(frame, expression).map(|at| Some(if at < 0 { at.saturating_add(size) } else { at }))
            }
        };
        let (from, to) = (position(from)?, position(to)?);
        let step = match step {
            None => 1,
            Some(step) => self.integer(frame, step)?,
        };
        let (start, length) = if step > 0 {
            let (start, end) = (from.unwrap_or(0), to.unwrap_or(size));
            (start, (0..=size).contains(&start).then(|| (end - start + step - 1) / step).filter(|_| end <= size))
        } else if step < 0 {
            let (start, end) = (from.unwrap_or(size - 1), to.unwrap_or(-1));
            (start, (0..size).contains(&start).then(|| (start - end - step - 1) / -step).filter(|_| end >= -1))
        } else {
            return self.fail(Problem::new(span, "a step of 0 goes nowhere"));
        };
        let Some(length) = length.filter(|length| *length > 0) else {
            let message = format!("`{}` has {size} elements, and this range holds none or leaves it", name.text);
            return self.fail(Problem::new(span, message));
        };
        let axis = Axis::new(&name.text);
        self.emit(Op::Slice { axis, start: start as usize, size: length as usize, step: step as isize }, &[node], span)
    }

    /// A number given by name to a built-in function, or what holds without it.
    pub(super) fn named_scalar(
        &mut self,
        frame: &mut Frame<'a>,
        named: &[(&'a Name, &'a Expression)],
        name: &str,
        default: Scalar,
    ) -> Elaborated<Scalar> {
        match named.iter().find(|(given, _)| given.text == name) {
            Some((_, expression)) => self.scalar(frame, expression),
            None => Ok(default),
        }
    }
}
