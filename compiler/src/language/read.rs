//! From RON to the structures of a spec: every field checked against the [schema](super::schema),
//! every equation parsed, nothing resolved yet.

use super::{
    diagnostics::{Problem, Span, listed},
    document::{Name, Node, Text, Value},
    equation::{
        AxisDeclaration, Expression, ExpressionKind, Function, Unary, parse_declaration, parse_expression,
        parse_functions, parse_shape, parse_statements,
    },
    schema::{Kind, SCHEDULES, structure},
    structure::*,
};
use crate::graph::DType;

/// Reads the one structure that a file holds.
pub(crate) fn read_file(node: &Node, problems: &mut Vec<Problem>) -> Option<File> {
    let mut reader = Reader { problems };
    let kind = reader.variant(node, &["System", "Library"])?;
    let mut fields = reader.fields(node, kind)?;
    let r = &mut reader;
    let functions = fields.take("functions").and_then(|node| r.text(node, Kind::Functions));
    Some(File {
        system: kind == "System",
        span: node.span,
        name: fields.take("name").and_then(|node| r.string(node)).unwrap_or_default(),
        about: fields.take("about").and_then(|node| r.string(node)).unwrap_or_default(),
        uses: fields.list(r, "uses", |r, node| r.name(node)).unwrap_or_default(),
        sizes: fields.map(r, "sizes", |r, node| r.setting(node, Kind::Size)),
        constants: fields.map(r, "constants", |r, node| r.setting(node, Kind::Setting)),
        presets: fields.map(r, "presets", |r, node| Some(r.map(node, |r, node| r.setting(node, Kind::Setting)))),
        functions: functions.map(|text| r.functions(text)).unwrap_or_default(),
        function_text: functions.map(|text| text.value.clone()),
        modules: fields.map(r, "modules", Reader::module),
        models: fields.map(r, "models", Reader::model),
        schedules: fields.map(r, "schedules", Reader::schedule),
        losses: fields.map(r, "losses", |r, node| r.program(node, "Loss")),
        train: fields.take("train").and_then(|node| r.train(node)),
        data: fields.map(r, "data", Reader::call),
        tasks: fields.map(r, "tasks", |r, node| r.program(node, "Task")),
        node: node.clone(),
    })
}

struct Fields<'n> {
    given: Vec<(&'n Name, &'n Node)>,
}

impl<'n> Fields<'n> {
    fn take(&mut self, name: &str) -> Option<&'n Node> {
        self.given.iter().find(|(given, _)| given.text == name).map(|(_, node)| *node)
    }

    fn map<'p, T>(
        &mut self,
        r: &mut Reader<'p>,
        name: &str,
        read: impl Fn(&mut Reader<'p>, &'n Node) -> Option<T>,
    ) -> Entries<T> {
        self.take(name).map(|node| r.map(node, read)).unwrap_or_default()
    }

    fn list<'p, T>(
        &mut self,
        r: &mut Reader<'p>,
        name: &str,
        read: impl Fn(&mut Reader<'p>, &'n Node) -> Option<T>,
    ) -> Option<Vec<T>> {
        let node = self.take(name)?;
        Some(r.list(node)?.iter().filter_map(|node| read(r, node)).collect())
    }

    fn number(&mut self, r: &mut Reader<'_>, name: &str) -> Option<Expression> {
        self.take(name).and_then(|node| r.setting(node, Kind::Number))
    }

    fn size(&mut self, r: &mut Reader<'_>, name: &str) -> Option<Expression> {
        self.take(name).and_then(|node| r.setting(node, Kind::Size))
    }

    fn switch(&mut self, r: &mut Reader<'_>, name: &str) -> Option<Expression> {
        self.take(name).and_then(|node| r.setting(node, Kind::Switch))
    }
}

struct Reader<'p> {
    problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    fn fail<T>(&mut self, problem: Problem) -> Option<T> {
        self.problems.push(problem);
        None
    }

    fn wrong<T>(&mut self, node: &Node, kind: Kind) -> Option<T> {
        let wanted = kind.describe();
        self.fail(
            Problem::new(node.span, format!("expected {wanted}, not {}", node.kind()))
                .label(format!("expected {wanted}")),
        )
    }

    /// The fields of a structure, checked against its row: none unknown, none twice, none missing.
    fn fields<'n>(&mut self, node: &'n Node, name: &'static str) -> Option<Fields<'n>> {
        let row = structure(name);
        let given: &[(Name, Node)] = match &node.value {
            Value::Struct(_, fields) => fields,
            Value::Unit => &[],
            _ => return self.wrong(node, Kind::OneOf(std::slice::from_ref(&row.name))),
        };
        let mut fields = Fields { given: Vec::new() };
        for (field, value) in given {
            if !row.fields.iter().any(|known| known.name == field.text) {
                let names: Vec<&str> = row.fields.iter().map(|field| field.name).collect();
                let mut problem =
                    Problem::new(field.span, format!("`{name}` has no field `{}`", field.text)).label("unknown field");
                problem = problem.suggest(&field.text, names.iter().copied());
                if problem.help.is_none() {
                    problem = problem.help(format!("its fields are {}", listed(&names)));
                }
                self.problems.push(problem);
            } else if let Some((first, _)) = fields.given.iter().find(|(other, _)| other.text == field.text) {
                let problem = Problem::new(field.span, format!("field `{}` is given twice", field.text))
                    .label("again here")
                    .other(first.span, "first here");
                self.problems.push(problem);
            } else {
                fields.given.push((field, value));
            }
        }
        for field in row.fields.iter().filter(|field| field.required) {
            if fields.take(field.name).is_none() {
                let span = match &node.value {
                    Value::Struct(Some(name), _) => name.span,
                    _ => Span { end: node.span.start + 1, ..node.span },
                };
                let problem = Problem::new(span, format!("`{name}` needs the field `{}`", field.name))
                    .label(format!("`{}` is missing", field.name))
                    .help(field.about);
                self.problems.push(problem);
            }
        }
        Some(fields)
    }

    /// Which of several structures this is.
    fn variant(&mut self, node: &Node, names: &'static [&'static str]) -> Option<&'static str> {
        let found = match &node.value {
            Value::Struct(Some(name), _) | Value::Tuple(Some(name), _) => name,
            Value::Struct(None, _) | Value::Unit if names.len() == 1 => return Some(names[0]),
            _ => return self.wrong(node, Kind::OneOf(names)),
        };
        match names.iter().find(|name| **name == found.text) {
            Some(name) => Some(name),
            None => {
                let wanted = Kind::OneOf(names).describe();
                let problem = Problem::new(found.span, format!("expected {wanted}, not `{}`", found.text))
                    .label(format!("expected {wanted}"))
                    .suggest(&found.text, names.iter().copied());
                self.fail(problem)
            }
        }
    }

    fn text<'n>(&mut self, node: &'n Node, kind: Kind) -> Option<&'n Text> {
        match &node.value {
            Value::Text(text) => Some(text),
            _ => self.wrong(node, kind),
        }
    }

    fn string(&mut self, node: &Node) -> Option<String> {
        self.text(node, Kind::Text).map(|text| text.value.clone())
    }

    fn name(&mut self, node: &Node) -> Option<Name> {
        let text = self.text(node, Kind::Name)?;
        Some(Name { span: text.span(0, text.value.len()), text: text.value.clone() })
    }

    /// A name that equations can speak of.
    fn identifier(&mut self, node: &Node) -> Option<Name> {
        let name = self.name(node)?;
        let mut letters = name.text.chars();
        let first = letters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
        if first && letters.all(|c| c.is_alphanumeric() || c == '_') {
            return Some(name);
        }
        let problem = Problem::new(name.span, format!("`{}` is not a name that equations can use", name.text))
            .help("names are letters, digits and underscores, and do not begin with a digit");
        self.fail(problem)
    }

    fn list<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) | Value::Tuple(None, items) => Some(items),
            _ => self.wrong(node, Kind::List(&Kind::Text)),
        }
    }

    /// A map from names, each of which occurs once.
    fn map<'n, T>(&mut self, node: &'n Node, read: impl Fn(&mut Self, &'n Node) -> Option<T>) -> Entries<T> {
        let Value::Map(pairs) = &node.value else {
            self.wrong::<()>(node, Kind::Map(&Kind::Text));
            return Entries::new();
        };
        let mut entries = Entries::<T>::new();
        for (key, value) in pairs {
            let Some(name) = self.name(key) else { continue };
            let read = read(self, value);
            if let Some(first) = entries.get(&name.text) {
                let problem = Problem::new(name.span, format!("`{}` is there twice", name.text))
                    .label("again here")
                    .other(first.span, "first here");
                self.problems.push(problem);
            } else if let Some(value) = read {
                entries.insert(name.text, Entry { span: name.span, value });
            }
        }
        entries
    }

    /// The same, where equations use the names.
    fn identifiers<'n, T>(&mut self, node: &'n Node, read: impl Fn(&mut Self, &'n Node) -> Option<T>) -> Entries<T> {
        if let Value::Map(pairs) = &node.value {
            for (key, _) in pairs {
                if matches!(key.value, Value::Text(_)) {
                    self.identifier(key);
                }
            }
        }
        self.map(node, read)
    }

    /// A number, a switch or an expression.
    fn setting(&mut self, node: &Node, kind: Kind) -> Option<Expression> {
        let span = node.span;
        let kind = match &node.value {
            Value::Integer(value) => ExpressionKind::Integer(*value),
            Value::Real(value) => ExpressionKind::Real(*value),
            Value::Bool(value) => ExpressionKind::Switch(*value),
            Value::Text(text) => return parse_expression(text, self.problems),
            _ => return self.wrong(node, kind),
        };
        Some(match kind {
            ExpressionKind::Integer(value) if value < 0 => {
                let magnitude = Expression { span, kind: ExpressionKind::Integer(value.saturating_neg()) };
                Expression { span, kind: ExpressionKind::Unary(Unary::Negate, Box::new(magnitude)) }
            }
            kind => Expression { span, kind },
        })
    }

    fn functions(&mut self, text: &Text) -> Vec<Function> {
        let functions = parse_functions(text, self.problems);
        for function in &functions {
            if function.name.is_none() {
                self.problems.push(Problem::new(function.span, "a function needs a name").help("write `fn name(…)`"));
            }
        }
        functions
    }

    fn axes(&mut self, node: &Node) -> Option<Vec<AxisDeclaration>> {
        let text = self.text(node, Kind::Axes)?;
        parse_shape(text, self.problems)
    }

    fn module(&mut self, node: &Node) -> Option<Module> {
        self.variant(node, &["Module"])?;
        let mut fields = self.fields(node, "Module")?;
        let axes = fields.list(self, "axes", |r, node| r.identifier(node)).unwrap_or_default();
        let options = fields
            .take("options")
            .map(|node| self.identifiers(node, |r, node| r.setting(node, Kind::Setting)))
            .unwrap_or_default();
        let parameters =
            fields.take("parameters").map(|node| self.identifiers(node, Reader::stored)).unwrap_or_default();
        let layers = fields.take("layers").map(|node| self.identifiers(node, Reader::layer)).unwrap_or_default();
        let forward = fields.take("forward").and_then(|node| {
            let text = self.text(node, Kind::Functions)?;
            let mut functions = parse_functions(text, self.problems);
            match functions.len() {
                1 => functions.pop(),
                _ => {
                    if self.problems.is_empty() || functions.len() > 1 {
                        let problem = Problem::new(node.span, "`forward` holds one function without a name")
                            .help("write `fn (x[from]) -> y[to] { … }`");
                        self.problems.push(problem);
                    }
                    None
                }
            }
        });
        let mut seen: Vec<(&str, Span)> = axes.iter().map(|axis| (axis.text.as_str(), axis.span)).collect();
        seen.extend(options.iter().map(|(name, entry)| (name.as_str(), entry.span)));
        seen.extend(parameters.iter().map(|(name, entry)| (name.as_str(), entry.span)));
        seen.extend(layers.iter().map(|(name, entry)| (name.as_str(), entry.span)));
        for (i, (name, span)) in seen.iter().enumerate() {
            if let Some((_, first)) = seen[..i].iter().find(|(other, _)| other == name) {
                let problem = Problem::new(*span, format!("`{name}` already means something else in this module"))
                    .label("again here")
                    .other(*first, "first here");
                self.problems.push(problem);
            }
        }
        Some(Module { axes, options, parameters, layers, forward, node: node.clone() })
    }

    fn stored(&mut self, node: &Node) -> Option<Stored> {
        if let Value::Text(text) = &node.value {
            let declaration = parse_declaration(text, self.problems)?;
            return Some(Stored { declaration, name: None, when: None, buffer: false });
        }
        let kind = self.variant(node, &["Parameter", "Buffer"])?;
        let mut fields = self.fields(node, kind)?;
        let value = fields.take("value").and_then(|node| self.text(node, Kind::Stored));
        Some(Stored {
            declaration: parse_declaration(value?, self.problems)?,
            name: fields.take("name").and_then(|node| self.text(node, Kind::Text)).cloned(),
            when: fields.switch(self, "when"),
            buffer: kind == "Buffer",
        })
    }

    fn layer(&mut self, node: &Node) -> Option<Layer> {
        let (name, given): (&Name, &[(Name, Node)]) = match &node.value {
            Value::Struct(Some(name), fields) => (name, fields),
            _ => return self.wrong(node, Kind::Layer),
        };
        let inner =
            |r: &mut Self, fields: &mut Fields<'_>| fields.take("layer").and_then(|node| r.layer(node)).map(Box::new);
        match name.text.as_str() {
            "Stack" => {
                let mut fields = self.fields(node, "Stack")?;
                let (count, layer) = (fields.size(self, "count"), inner(self, &mut fields));
                let index = fields.take("index").map(|node| self.identifier(node));
                Some(Layer::Stack {
                    count: count?,
                    index: index.unwrap_or_else(|| Some(Name { span: name.span, text: "i".into() }))?,
                    name: fields.take("name").and_then(|node| self.text(node, Kind::Text)).cloned(),
                    layer: layer?,
                })
            }
            "Optional" => {
                let mut fields = self.fields(node, "Optional")?;
                let (when, layer) = (fields.switch(self, "when"), inner(self, &mut fields));
                Some(Layer::Optional { when: when?, layer: layer? })
            }
            "Named" => {
                let mut fields = self.fields(node, "Named")?;
                let name = fields.take("name").and_then(|node| self.text(node, Kind::Text)).cloned();
                let layer = inner(self, &mut fields);
                Some(Layer::Named { name: name?, layer: layer? })
            }
            _ => {
                let mut arguments: Vec<(Name, Expression)> = Vec::new();
                for (field, value) in given {
                    if let Some((first, _)) = arguments.iter().find(|(other, _)| other.text == field.text) {
                        let problem = Problem::new(field.span, format!("`{}` is given twice", field.text))
                            .label("again here")
                            .other(first.span, "first here");
                        self.problems.push(problem);
                    } else if let Some(value) = self.setting(value, Kind::Setting) {
                        arguments.push((field.clone(), value));
                    }
                }
                Some(Layer::Module { name: name.clone(), arguments })
            }
        }
    }

    fn model(&mut self, node: &Node) -> Option<Model> {
        self.variant(node, &["Model"])?;
        let mut fields = self.fields(node, "Model")?;
        let network = fields.take("network").and_then(|node| self.layer(node));
        let rename = fields.map(self, "rename", Reader::string);
        Some(Model {
            network: network?,
            prefix: fields.take("prefix").and_then(|node| self.string(node)),
            frozen: fields.switch(self, "frozen"),
            given: fields.switch(self, "given"),
            starts_from: fields.take("starts_from").and_then(|node| self.name(node)),
            rename: rename.into_iter().map(|(from, to)| (from, to.value)).collect(),
        })
    }

    fn program(&mut self, node: &Node, kind: &'static str) -> Option<Program> {
        self.variant(node, if kind == "Loss" { &["Loss"] } else { &["Task"] })?;
        let mut fields = self.fields(node, kind)?;
        let inputs = fields.take("inputs").map(|node| self.identifiers(node, Reader::input)).unwrap_or_default();
        let outputs = fields.take("outputs").map(|node| self.identifiers(node, Reader::axes)).unwrap_or_default();
        let like = fields.take("like").and_then(|node| self.name(node));
        for field in ["inputs", "outputs", "equations"] {
            match (&like, fields.take(field)) {
                (Some(like), Some(own)) => {
                    let problem = Problem::new(own.span, format!("`{field}` is what `{}` has already", like.text));
                    self.problems.push(problem.other(like.span, "shared here"));
                }
                (None, None) if kind == "Task" && field != "inputs" => {
                    let problem = Problem::new(node.span, format!("`Task` needs the field `{field}`, or `like`"));
                    self.problems.push(problem);
                }
                _ => {}
            }
        }
        let equations = fields.take("equations").and_then(|node| self.text(node, Kind::Statements));
        Some(Program {
            about: fields.take("about").and_then(|node| self.string(node)).unwrap_or_default(),
            like,
            inputs,
            outputs,
            equations: equations.map(|text| parse_statements(text, self.problems)).unwrap_or_default(),
            driver: fields.take("driver").and_then(|node| self.call(node)),
        })
    }

    fn input(&mut self, node: &Node) -> Option<Input> {
        self.variant(node, &["Input"])?;
        let mut fields = self.fields(node, "Input")?;
        let dtype = match fields.take("type").and_then(|node| self.name(node)) {
            None => DType::F32,
            Some(name) => match [DType::F32, DType::I32, DType::Bool].into_iter().find(|ty| ty.name() == name.text) {
                Some(dtype) => dtype,
                None => {
                    let problem = Problem::new(name.span, format!("`{}` is not a type of an input", name.text))
                        .help("there is `f32`, `i32` and `bool`");
                    return self.fail(problem);
                }
            },
        };
        let axes = fields.take("axes").and_then(|node| self.axes(node));
        let about = fields.take("about").and_then(|node| self.string(node)).unwrap_or_default();
        let default = fields.take("default").and_then(|node| self.setting(node, Kind::Expression));
        let optional = fields.switch(self, "optional");
        let when = fields.switch(self, "when");
        Some(Input { axes: axes?, about, dtype, default, optional, when })
    }

    fn train(&mut self, node: &Node) -> Option<Train> {
        self.variant(node, &["Train"])?;
        let mut fields = self.fields(node, "Train")?;
        let rounds = fields.size(self, "rounds");
        let steps = fields.map(self, "steps", Reader::update);
        let reports = fields.list(self, "reports", Reader::report).unwrap_or_default();
        let alarms = fields.map(self, "alarms", Reader::alarm);
        Some(Train { rounds: rounds?, steps, reports, alarms })
    }

    fn update(&mut self, node: &Node) -> Option<Update> {
        self.variant(node, &["Update"])?;
        let mut fields = self.fields(node, "Update")?;
        let loss = fields.take("loss").and_then(|node| self.name(node));
        let optimiser = fields.take("optimiser").and_then(|node| self.optimiser(node));
        let rate = fields.take("rate").and_then(|node| self.schedule(node));
        let clip = fields.take("clip").and_then(|node| self.clip(node));
        let ema = fields.take("ema").and_then(|node| self.schedule(node));
        let batch = fields.map(self, "batch", Reader::name);
        let parameters = fields.list(self, "parameters", Reader::name);
        let when = fields.switch(self, "when");
        let every = fields.size(self, "every");
        let (from, until) = (fields.size(self, "from"), fields.size(self, "until"));
        let accumulate = fields.size(self, "accumulate");
        let factors = fields.map(self, "factors", |r, node| r.setting(node, Kind::Number));
        let sizes = fields.map(self, "sizes", |r, node| r.setting(node, Kind::Setting));
        Some(Update {
            loss: loss?,
            parameters,
            optimiser: optimiser?,
            rate: rate?,
            when,
            every,
            from,
            until,
            accumulate,
            clip,
            ema,
            factors,
            sizes,
            batch,
        })
    }

    fn optimiser(&mut self, node: &Node) -> Option<Optimiser> {
        let kind = self.variant(node, &["Sgd", "Adam", "AdamW"])?;
        let mut fields = self.fields(node, kind)?;
        let weight_decay = fields.number(self, "weight_decay");
        if kind == "Sgd" {
            let momentum = fields.number(self, "momentum");
            return Some(Optimiser::Sgd { momentum, nesterov: fields.switch(self, "nesterov"), weight_decay });
        }
        let betas = match fields.take("betas") {
            None => None,
            Some(node) => match self.list(node)? {
                [first, second] => Some([self.setting(first, Kind::Number)?, self.setting(second, Kind::Number)?]),
                _ => return self.fail(Problem::new(node.span, "there are two betas").help("write `(0.9, 0.999)`")),
            },
        };
        Some(Optimiser::Adam {
            decoupled: kind == "AdamW",
            betas,
            epsilon: fields.number(self, "epsilon"),
            weight_decay,
        })
    }

    fn clip(&mut self, node: &Node) -> Option<Clip> {
        let kind = self.variant(node, &["Norm", "Value"])?;
        match &node.value {
            Value::Tuple(_, items) if items.len() == 1 => {
                let bound = self.setting(&items[0], Kind::Number)?;
                Some(if kind == "Norm" { Clip::Norm(bound) } else { Clip::Value(bound) })
            }
            _ => self.fail(
                Problem::new(node.span, format!("`{kind}` takes one number")).help(format!("write `{kind}(1.0)`")),
            ),
        }
    }

    fn schedule(&mut self, node: &Node) -> Option<Schedule> {
        if matches!(node.value, Value::Integer(_) | Value::Real(_) | Value::Text(_)) {
            return self.setting(node, Kind::Number).map(Schedule::Constant);
        }
        let kind = self.variant(node, SCHEDULES)?;
        let mut fields = self.fields(node, kind)?;
        let start = fields.number(self, "start");
        let end = fields.number(self, "end");
        let factor = fields.number(self, "factor");
        let steps = fields.number(self, "steps");
        let at = fields.list(self, "at", |r, node| r.setting(node, Kind::Size));
        Some(match kind {
            "Exponential" => Schedule::Exponential { start: start?, factor: factor?, steps: steps? },
            "Step" => Schedule::Step { start: start?, factor: factor?, at: at? },
            "Pieces" => {
                let values = fields.list(self, "values", |r, node| r.setting(node, Kind::Number));
                Schedule::Pieces { values: values?, at: at? }
            }
            "Cosine" => Schedule::Cosine { start: start?, end: end?, steps: steps? },
            "Linear" => Schedule::Linear { start: start?, end: end?, steps: steps? },
            "WarmUp" => {
                let then = fields.take("then").and_then(|node| self.schedule(node));
                Schedule::WarmUp { steps: steps?, then: Box::new(then?) }
            }
            "Restart" => {
                let then = fields.take("then").and_then(|node| self.schedule(node));
                Schedule::Restart { at: at?, then: Box::new(then?) }
            }
            "Averaging" => Schedule::Averaging { limit: fields.number(self, "limit")? },
            _ => Schedule::Constant(fields.number(self, "value")?),
        })
    }

    fn report(&mut self, node: &Node) -> Option<Report> {
        self.variant(node, &["Report"])?;
        let mut fields = self.fields(node, "Report")?;
        let task = fields.take("task").and_then(|node| self.name(node));
        let (when, every) = (fields.switch(self, "when"), fields.size(self, "every"));
        let options = match fields.take("options") {
            Some(node) => self.option_map(node)?,
            None => Vec::new(),
        };
        let ema = fields.switch(self, "ema");
        Some(Report { task: task?, when, every: every?, options, ema })
    }

    fn alarm(&mut self, node: &Node) -> Option<Alarm> {
        self.variant(node, &["Alarm"])?;
        let mut fields = self.fields(node, "Alarm")?;
        let measure = fields.take("measure").and_then(|node| self.name(node));
        let about = fields.take("about").and_then(|node| self.string(node)).unwrap_or_default();
        let (below, above) = (fields.number(self, "below"), fields.number(self, "above"));
        let rounds = fields.size(self, "rounds");
        let (when, stop) = (fields.switch(self, "when"), fields.switch(self, "stop"));
        if below.is_some() == above.is_some() {
            let problem = Problem::new(node.span, "an alarm has one bound, `below` or `above`");
            return self.fail(problem.help("write two alarms where both ends are wrong"));
        }
        Some(Alarm { measure: measure?, about, below, above, rounds: rounds?, when, stop })
    }

    fn call(&mut self, node: &Node) -> Option<Call> {
        match &node.value {
            Value::Struct(Some(kind), fields) => {
                let mut options: Vec<(Name, OptionValue)> = Vec::new();
                for (field, value) in fields {
                    if let Some((first, _)) = options.iter().find(|(other, _)| other.text == field.text) {
                        let problem = Problem::new(field.span, format!("`{}` is given twice", field.text))
                            .label("again here")
                            .other(first.span, "first here");
                        self.problems.push(problem);
                    } else if let Some(value) = self.option(value) {
                        options.push((field.clone(), value));
                    }
                }
                Some(Call { kind: kind.clone(), options })
            }
            _ => self.wrong(node, Kind::Call),
        }
    }

    fn option_map(&mut self, node: &Node) -> Option<Vec<(Name, OptionValue)>> {
        let entries = self.map(node, Reader::option);
        Some(entries.into_iter().map(|(text, entry)| (Name { span: entry.span, text }, entry.value)).collect())
    }

    /// An option: texts are texts here, and `Value("…")` holds an expression.
    fn option(&mut self, node: &Node) -> Option<OptionValue> {
        Some(match &node.value {
            Value::Text(text) => OptionValue::Text(text.value.clone()),
            Value::List(items) | Value::Tuple(None, items) => {
                OptionValue::List(items.iter().filter_map(|node| self.option(node)).collect())
            }
            Value::Map(_) => OptionValue::Map(self.option_map(node)?),
            Value::Tuple(Some(name), items) if name.text == "Value" && items.len() == 1 => {
                OptionValue::Setting(self.setting(&items[0], Kind::Setting)?)
            }
            Value::Struct(Some(_), _) => OptionValue::Call(self.call(node)?),
            _ => OptionValue::Setting(self.setting(node, Kind::Setting)?),
        })
    }
}
