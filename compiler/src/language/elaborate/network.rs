//! Networks: modules with their arguments put in, down to the last stored value.

use crate::{
    axis::{Axis, Shape},
    graph::{DType, Type},
    language::{
        diagnostics::{Problem, Sources, Span},
        document::{Name, Text},
        equation::{AxisDeclaration, Expression, ExpressionKind, Unary, parse_expression},
        scalar::{Scalar, evaluate},
        settings::Settings,
        spec::Spec,
        structure::{Entry, Layer, Module, Stored},
    },
    system::Initialiser,
};
use indexmap::IndexMap;
use rustc_hash::FxHashMap;

/// The largest size of an axis: positions along it are `i32`.
pub(crate) const LARGEST: i64 = i32::MAX as i64;

/// How many networks a system may hold, sub-networks counted.
const MOST: usize = 20_000;

/// A network, a row of them, or one that is left out.
#[derive(Debug)]
pub(crate) enum Network<'s> {
    One(Box<Instance<'s>>),
    Stack(Vec<Network<'s>>),
    Absent,
}

/// A module with its arguments.
#[derive(Debug)]
pub(crate) struct Instance<'s> {
    pub module: &'s Module,
    /// What listings call it: `coarse.pts_linears.3`.
    pub label: String,
    /// Its own axes, each with the caller's axis that it stands for.
    pub axes: IndexMap<Axis, BoundAxis>,
    pub options: FxHashMap<String, Scalar>,
    /// Stored values; `None` for those that are left out.
    pub stored: IndexMap<String, Option<Slot>>,
    pub layers: IndexMap<String, Network<'s>>,
}

/// What an axis of a module stands for.
#[derive(Clone, Debug)]
pub(crate) struct BoundAxis {
    pub caller: Axis,
    pub size: usize,
    /// The size of the spec that this is, where it is one by name.
    pub size_name: Option<String>,
}

/// A stored value.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// The full official name.
    pub name: String,
    pub span: Span,
    /// Axes in storage order, by the names that the module uses.
    pub ty: Type,
    pub size_names: Vec<String>,
    pub initialiser: Initialiser,
    pub buffer: bool,
}

impl Network<'_> {
    /// Every stored value inside, in the order of the spec.
    pub fn slots<'n>(&'n self, all: &mut Vec<&'n Slot>) {
        match self {
            Network::Absent => {}
            Network::Stack(levels) => levels.iter().for_each(|level| level.slots(all)),
            Network::One(instance) => {
                all.extend(instance.stored.values().flatten());
                instance.layers.values().for_each(|layer| layer.slots(all));
            }
        }
    }
}

/// Names with a value where a network is described.
#[derive(Clone, Copy)]
struct Scope<'c> {
    statics: &'c FxHashMap<String, Scalar>,
    axes: &'c IndexMap<Axis, BoundAxis>,
}

/// Makes the networks of a system.
pub(crate) struct Builder<'s, 'p> {
    pub spec: &'s Spec,
    pub settings: &'p Settings,
    pub sources: &'p Sources,
    pub problems: &'p mut Vec<Problem>,
    /// Modules that are being put together.
    open: Vec<&'s str>,
    made: usize,
}

impl<'s, 'p> Builder<'s, 'p> {
    pub fn new(
        spec: &'s Spec,
        settings: &'p Settings,
        sources: &'p Sources,
        problems: &'p mut Vec<Problem>,
    ) -> Builder<'s, 'p> {
        Builder { spec, settings, sources, problems, open: Vec::new(), made: 0 }
    }

    /// The network of a model; `prefix` begins its parameters' names.
    pub fn model(&mut self, layer: &'s Layer, label: &str, prefix: &str) -> Option<Network<'s>> {
        let (statics, axes) = (FxHashMap::default(), IndexMap::new());
        self.layer(layer, Scope { statics: &statics, axes: &axes }, label, prefix, "")
    }

    fn fail<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }

    fn scalar(&mut self, expression: &Expression, scope: Scope<'_>) -> Option<Scalar> {
        let settings = self.settings;
        let known = |name: &str| {
            let size = scope.axes.get(&Axis::new(name)).map(|axis| Scalar::Integer(axis.size as i64));
            scope.statics.get(name).copied().or(size).or_else(|| settings.get(name))
        };
        let value = evaluate(expression, &mut |name, span| {
            known(name).ok_or_else(|| {
                let options = scope.statics.keys().map(String::as_str);
                settings.unknown(name, span, options.chain(scope.axes.keys().map(|axis| axis.name())))
            })
        });
        match value {
            Ok(value) => Some(value),
            Err(problem) => self.fail(problem),
        }
    }

    fn size(&mut self, expression: &Expression, scope: Scope<'_>) -> Option<usize> {
        let value = self.scalar(expression, scope)?;
        match value.whole().filter(|size| (1..=LARGEST).contains(size)) {
            Some(size) => Some(size as usize),
            None => self.fail(
                Problem::new(expression.span, format!("{value} is not the size of an axis"))
                    .help("sizes of axes are whole numbers from 1"),
            ),
        }
    }

    fn truth(&mut self, expression: &Expression, scope: Scope<'_>) -> Option<bool> {
        let value = self.scalar(expression, scope)?;
        match value.truth() {
            Some(truth) => Some(truth),
            None => self.fail(Problem::new(expression.span, format!("expected true or false, not {value}"))),
        }
    }

    /// The size of an axis as it is written: the name of a size of the spec where it is one.
    fn written(&self, axis: &AxisDeclaration, scope: Scope<'_>) -> String {
        let name = match &axis.size {
            None => &axis.axis.text,
            Some(Expression { kind: ExpressionKind::Name(name), .. }) => name,
            Some(Expression { span, .. }) => {
                return self.sources.text(span.source)[span.start as usize..span.end as usize].to_owned();
            }
        };
        if let Some(option) = scope.statics.get(name) {
            return option.to_string();
        }
        match scope.axes.get(&Axis::new(name)) {
            Some(axis) => axis.size_name.clone().unwrap_or_else(|| axis.size.to_string()),
            None => name.clone(),
        }
    }

    fn layer(
        &mut self,
        layer: &'s Layer,
        scope: Scope<'_>,
        label: &str,
        parent: &str,
        own: &str,
    ) -> Option<Network<'s>> {
        match layer {
            Layer::Optional { when, layer } => match self.truth(when, scope)? {
                true => self.layer(layer, scope, label, parent, own),
                false => Some(Network::Absent),
            },
            Layer::Named { name, layer } => {
                let own = self.template(name, scope)?;
                self.layer(layer, scope, label, parent, &own)
            }
            Layer::Stack { count, index, name, layer } => {
                let value = self.scalar(count, scope)?;
                let Some(count) = value.whole().filter(|count| (0..=MOST as i64).contains(count)) else {
                    return self.fail(Problem::new(count.span, format!("{value} is not a number of networks")));
                };
                let parent = join(parent, own);
                let mut levels = Vec::new();
                for i in 0..count {
                    self.made += 1;
                    if self.made > MOST {
                        let message = format!("the system holds more than {MOST} networks");
                        return self.fail(Problem::new(index.span, message));
                    }
                    let mut statics = scope.statics.clone();
                    statics.insert(index.text.clone(), Scalar::Integer(i));
                    let scope = Scope { statics: &statics, ..scope };
                    let own = match name {
                        Some(name) => self.template(name, scope)?,
                        None => i.to_string(),
                    };
                    levels.push(self.layer(layer, scope, &format!("{label}.{i}"), &parent, &own)?);
                }
                Some(Network::Stack(levels))
            }
            Layer::Module { name, arguments } => self.instance(name, arguments, scope, label, &join(parent, own)),
        }
    }

    /// A text in which braces hold expressions.
    fn template(&mut self, text: &Text, scope: Scope<'_>) -> Option<String> {
        let mut filled = String::new();
        let mut rest = 0;
        while let Some(open) = text.value[rest..].find('{') {
            let open = rest + open;
            let Some(length) = closing(&text.value[open..]) else {
                return self.fail(Problem::new(text.span(open, open + 1), "this brace is never closed"));
            };
            filled.push_str(&text.value[rest..open]);
            let inside = text.slice(open + 1, open + length);
            let expression = parse_expression(&inside, self.problems)?;
            filled.push_str(&self.scalar(&expression, scope)?.to_string());
            rest = open + length + 1;
        }
        filled.push_str(&text.value[rest..]);
        Some(filled)
    }

    fn instance(
        &mut self,
        name: &'s Name,
        arguments: &'s [(Name, Expression)],
        scope: Scope<'_>,
        label: &str,
        prefix: &str,
    ) -> Option<Network<'s>> {
        let spec = self.spec;
        let Some(Entry { value: module, .. }) = spec.modules.get(&name.text) else {
            let wrappers = ["Stack", "Optional", "Named"];
            let known = spec.modules.keys().map(String::as_str).chain(wrappers);
            let problem =
                Problem::new(name.span, format!("there is no module `{}`", name.text)).label("unknown module");
            return self.fail(problem.suggest(&name.text, known));
        };
        if self.open.contains(&name.text.as_str()) {
            let chain = [self.open.as_slice(), &[name.text.as_str()]].concat().join("` holds `");
            let problem = Problem::new(name.span, format!("the module `{}` holds itself", name.text));
            return self.fail(problem.help(format!("`{chain}`")));
        }
        self.made += 1;
        if self.made > MOST {
            return self.fail(Problem::new(name.span, format!("the system holds more than {MOST} networks")));
        }
        let before = self.problems.len();
        let mut options = FxHashMap::default();
        let mut axes = IndexMap::new();
        for (given, value) in arguments {
            if module.axes.iter().any(|axis| axis.text == given.text) {
                if let Some(bound) = self.axis_argument(value, scope) {
                    axes.insert(Axis::new(&given.text), bound);
                }
            } else if module.options.contains_key(&given.text) {
                if let Some(value) = self.scalar(value, scope) {
                    options.insert(given.text.clone(), value);
                }
            } else {
                let known =
                    module.axes.iter().map(|axis| axis.text.as_str()).chain(module.options.keys().map(String::as_str));
                let problem =
                    Problem::new(given.span, format!("`{}` has no axis or option `{}`", name.text, given.text));
                self.problems.push(problem.suggest(&given.text, known));
            }
        }
        for axis in &module.axes {
            if !arguments.iter().any(|(given, _)| given.text == axis.text) {
                let problem = Problem::new(name.span, format!("`{}` needs the axis `{}`", name.text, axis.text))
                    .label(format!("`{}` is missing", axis.text))
                    .help(format!("write `{}: \"…\"` with an axis of the caller", axis.text));
                self.problems.push(problem);
            }
        }
        let no_axes = IndexMap::new();
        for (option, default) in &module.options {
            if !options.contains_key(option)
                && let Some(value) = self.scalar(&default.value, Scope { statics: &options.clone(), axes: &no_axes })
            {
                options.insert(option.clone(), value);
            }
        }
        if self.problems.len() > before {
            return None;
        }
        self.open.push(&name.text);
        let scope = Scope { statics: &options, axes: &axes };
        let mut stored = IndexMap::new();
        for (name, entry) in &module.parameters {
            if let Some(slot) = self.stored(name, entry, scope, prefix) {
                stored.insert(name.clone(), slot);
            }
        }
        let mut layers = IndexMap::new();
        for (name, entry) in &module.layers {
            if let Some(layer) = self.layer(&entry.value, scope, &format!("{label}.{name}"), prefix, name) {
                layers.insert(name.clone(), layer);
            }
        }
        self.open.pop();
        if self.problems.len() > before {
            return None;
        }
        Some(Network::One(Box::new(Instance { module, label: label.to_owned(), axes, options, stored, layers })))
    }

    /// An axis of the caller, with its size: `hidden`, `feature: 3 + 6 * octaves`.
    fn axis_argument(&mut self, value: &Expression, scope: Scope<'_>) -> Option<BoundAxis> {
        let (axis, size) = match &value.kind {
            ExpressionKind::Name(name) => (Name { span: value.span, text: name.clone() }, None),
            ExpressionKind::Sized(axis, size) => (axis.clone(), Some(size.as_ref().clone())),
            _ => {
                let problem = Problem::new(value.span, "expected an axis").help("write `\"axis\"` or `\"axis: size\"`");
                return self.fail(problem);
            }
        };
        let caller = Axis::new(&axis.text);
        let written = Expression { span: axis.span, kind: ExpressionKind::Name(axis.text.clone()) };
        let size_value = self.size(size.as_ref().unwrap_or(&written), scope)?;
        let size_name = match size.as_ref().unwrap_or(&written) {
            Expression { kind: ExpressionKind::Name(name), .. } => match scope.axes.get(&Axis::new(name)) {
                Some(axis) => axis.size_name.clone(),
                None => self.settings.sizes.contains_key(name).then(|| name.clone()),
            },
            _ => None,
        };
        Some(BoundAxis { caller, size: size_value, size_name })
    }

    fn stored(&mut self, name: &str, entry: &Entry<Stored>, scope: Scope<'_>, prefix: &str) -> Option<Option<Slot>> {
        let Stored { declaration, name: official, when, buffer } = &entry.value;
        if let Some(when) = when
            && !self.truth(when, scope)?
        {
            return Some(None);
        }
        let mut axes: Vec<(Axis, usize)> = Vec::new();
        let mut size_names = Vec::new();
        for declared in &declaration.axes {
            let axis = declared.axis();
            if axes.iter().any(|(other, _)| *other == axis) {
                return self.fail(Problem::new(declared.axis.span, format!("axis `{axis}` is there twice")));
            }
            let written =
                Expression { span: declared.axis.span, kind: ExpressionKind::Name(declared.axis.text.clone()) };
            let size = self.size(declared.size.as_ref().unwrap_or(&written), scope)?;
            axes.push((axis, size));
            size_names.push(self.written(declared, scope));
        }
        elements(&axes, entry.span).map_err(|problem| self.problems.push(problem)).ok()?;
        let official = match official {
            Some(official) => self.template(official, scope)?,
            None => name.to_owned(),
        };
        Some(Some(Slot {
            name: format!("{prefix}{official}"),
            span: entry.span,
            ty: Type::new(DType::F32, Shape::new(axes)),
            size_names,
            initialiser: self.initialiser(&declaration.start, declaration.random, scope)?,
            buffer: *buffer,
        }))
    }

    fn initialiser(&mut self, start: &Expression, random: bool, scope: Scope<'_>) -> Option<Initialiser> {
        if !random {
            return Some(Initialiser::Constant(self.scalar(start, scope)?.number()));
        }
        if let ExpressionKind::If(parts) = &start.kind {
            let [condition, then, otherwise] = parts.as_ref();
            let chosen = if self.truth(condition, scope)? { then } else { otherwise };
            return self.initialiser(chosen, true, scope);
        }
        let unknown = || {
            Problem::new(start.span, "this is not a distribution").help(
                "there is `uniform(± bound)`, `uniform(low, high)`, `normal(mean, deviation)` and \
                 `truncated_normal(mean, deviation, cut)`",
            )
        };
        let ExpressionKind::Call(callee, arguments) = &start.kind else {
            return self.initialiser(start, false, scope);
        };
        let ExpressionKind::Name(name) = &callee.kind else { return self.fail(unknown()) };
        if let ("uniform", [only]) = (name.as_str(), arguments.as_slice())
            && let ExpressionKind::Unary(Unary::PlusMinus, bound) = &only.value.kind
        {
            let bound = self.scalar(bound, scope)?.number();
            return Some(Initialiser::Uniform { low: -bound, high: bound });
        }
        let values: Option<Vec<f64>> =
            arguments.iter().map(|argument| self.scalar(&argument.value, scope).map(Scalar::number)).collect();
        match (name.as_str(), values?.as_slice()) {
            ("uniform", &[low, high]) => Some(Initialiser::Uniform { low, high }),
            ("normal", &[mean, deviation]) => Some(Initialiser::Normal { mean, deviation }),
            ("truncated_normal", &[mean, deviation, cut]) => {
                Some(Initialiser::TruncatedNormal { mean, deviation, cut })
            }
            _ => self.fail(unknown()),
        }
    }
}

/// Where the brace is closed that a text begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The prefix inside a layer; layers without a name of their own add nothing.
fn join(parent: &str, own: &str) -> String {
    if own.is_empty() { parent.to_owned() } else { format!("{parent}{own}.") }
}

/// Refuses a tensor that could not be held by any machine.
pub(crate) fn elements(axes: &[(Axis, usize)], span: Span) -> Result<(), Problem> {
    let mut product: u128 = 1;
    for (_, size) in axes {
        product = product.saturating_mul(*size as u128);
    }
    match product <= 1 << 40 {
        true => Ok(()),
        false => Err(Problem::new(span, format!("a tensor of {product} elements is more than any machine holds"))),
    }
}
