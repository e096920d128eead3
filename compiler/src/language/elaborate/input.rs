//! Inputs of programs.

use super::{
    program::{Elaborator, Frame, Reported, Value},
    size_name,
};
use crate::{
    axis::{Axis, Shape},
    graph::{Op, Type},
    language::{
        diagnostics::Problem,
        equation::Expression,
        structure::{self, Entry},
    },
    system::Input,
};

/// Brings an input into a program: as such, or as what the spec has for it when it is not given.
pub(super) fn declare<'a>(
    elaborator: &mut Elaborator<'a>,
    frame: &mut Frame<'a>,
    name: &str,
    entry: &'a Entry<structure::Input>,
    given: bool,
) -> Result<(), Reported> {
    let input = &entry.value;
    let mut axes: Vec<(Axis, usize)> = Vec::new();
    let mut failed = false;
    for declared in &input.axes {
        let axis = declared.axis();
        match elaborator.declared_size(frame, declared) {
            Ok(Some(size)) => {
                if axes.iter().any(|(other, _)| *other == axis) {
                    elaborator.problems.push(Problem::new(declared.axis.span, format!("axis `{axis}` is there twice")));
                    failed = true;
                } else {
                    axes.push((axis, size));
                }
            }
            Ok(None) => {
                let known: Vec<&str> = elaborator.settings.sizes.keys().map(String::as_str).collect();
                let problem = Problem::new(declared.axis.span, format!("nothing says what size the axis `{axis}` has"));
                let problem = match problem.clone().suggest(axis.name(), known) {
                    suggested if suggested.help.as_ref().is_some_and(|help| help.starts_with("did")) => suggested,
                    _ => problem.help(format!("add it to `sizes`, or write `{axis}: 4`")),
                };
                elaborator.problems.push(problem);
                failed = true;
            }
            Err(Reported) => failed = true,
        }
    }
    if failed {
        return Err(Reported);
    }
    let mut switch = |expression: &'a Option<Expression>, default: bool| match expression {
        None => Ok(default),
        Some(expression) => {
            let value = elaborator.scalar(frame, expression)?;
            match value.truth() {
                Some(truth) => Ok(truth),
                None => elaborator.fail(Problem::new(expression.span, format!("expected true or false, not {value}"))),
            }
        }
    };
    if !switch(&input.when, true)? {
        frame.variables.insert(name.to_owned(), Value::Withheld);
        return Ok(());
    }
    let optional = switch(&input.optional, false)? || input.default.is_some();
    let shape = Shape::new(axes);
    let ty = Type::new(input.dtype, shape.clone());
    let size_names = input.axes.iter().map(|axis| match size_name(axis) {
        "" => axis.size.as_ref().map_or_else(String::new, |_| shape.size(axis.axis()).unwrap_or(0).to_string()),
        name => name.to_owned(),
    });
    let described = Input {
        ty: ty.clone(),
        size_names: size_names.collect(),
        about: input.about.clone(),
        optional,
        schedule: false,
    };
    elaborator.inputs.insert(name.to_owned(), described);
    frame.given.insert(name.to_owned(), given || !optional);
    let node = match &input.default {
        _ if given || !optional => {
            let node = elaborator.graph.input(name, ty);
            elaborator.graph.set_label(node, name);
            node
        }
        None => {
            frame.variables.insert(name.to_owned(), Value::Withheld);
            return Ok(());
        }
        Some(default) => {
            let value = elaborator.expression(frame, default)?;
            let node = elaborator.converted(value, input.dtype, default.span)?;
            let node = elaborator.rounded(node, input.dtype);
            let found = elaborator.graph.shape(node).clone();
            for (axis, size) in found.iter() {
                if shape.size(axis) != Some(size) {
                    let message = format!("the default of `{name}` is {found}, but the input is {shape}");
                    return elaborator.fail(Problem::new(default.span, message));
                }
            }
            let missing: Vec<(Axis, usize)> = shape.iter().filter(|(axis, _)| !found.contains(*axis)).collect();
            match missing.is_empty() {
                true => node,
                false => elaborator.emit(Op::Spread(Shape::new(missing)), &[node], default.span)?,
            }
        }
    };
    frame.variables.insert(name.to_owned(), Value::Tensor(node));
    Ok(())
}
