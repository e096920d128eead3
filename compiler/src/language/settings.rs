//! Sizes and constants, resolved: what the spec says, what a preset replaces, what `--set` replaces.

use super::{
    diagnostics::{Problem, Sources, Span},
    document::Text,
    equation::{Expression, ExpressionKind, parse_expression},
    scalar::{Scalar, evaluate},
    spec::Spec,
};
use indexmap::IndexMap;
use std::collections::BTreeMap;

/// Other sizes and constants than the spec's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// One of the spec's presets.
    pub preset: Option<String>,
    /// Names with numbers, switches or expressions, as `--set` gives them. They win over presets.
    pub sets: BTreeMap<String, String>,
}

impl Overrides {
    /// No changes.
    pub fn none() -> Overrides {
        Overrides::default()
    }

    /// One more `name = value`.
    pub fn set(mut self, name: &str, value: impl ToString) -> Overrides {
        self.sets.insert(name.to_owned(), value.to_string());
        self
    }

    /// The preset called `name`.
    pub fn preset(mut self, name: &str) -> Overrides {
        self.preset = Some(name.to_owned());
        self
    }
}

/// Every size and constant with its value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub sizes: IndexMap<String, i64>,
    pub constants: IndexMap<String, Scalar>,
    /// Sizes that are written as numbers, so that files may decide them.
    pub free: Vec<String>,
    /// Names whose values have been reported as wrong.
    broken: Vec<String>,
}

impl Settings {
    pub fn get(&self, name: &str) -> Option<Scalar> {
        self.sizes.get(name).map(|size| Scalar::Integer(*size)).or_else(|| self.constants.get(name).copied())
    }

    /// What to say of a name that is neither; `local` holds names that only its surroundings know.
    pub fn unknown<'n>(&'n self, name: &str, span: Span, local: impl Iterator<Item = &'n str>) -> Problem {
        if self.broken.iter().any(|broken| broken == name) {
            return Problem::echo(span);
        }
        let known: Vec<&str> = local.chain(self.names()).collect();
        Problem::new(span, format!("there is no size or constant `{name}`")).suggest(name, known)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sizes.keys().chain(self.constants.keys()).map(String::as_str)
    }
}

/// Resolves everything; what cannot be resolved is reported and left out.
pub(crate) fn resolve(
    spec: &Spec,
    overrides: &Overrides,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Settings {
    let mut written: IndexMap<&str, (Expression, bool)> = IndexMap::new();
    for (name, entry) in &spec.sizes {
        written.insert(name, (entry.value.clone(), true));
    }
    for (name, entry) in &spec.constants {
        written.insert(name, (entry.value.clone(), false));
    }
    let mut replace = |name: &str, span: Span, value: &Expression, problems: &mut Vec<Problem>| match written
        .get_mut(name)
    {
        Some((expression, _)) => *expression = value.clone(),
        None => {
            let known: Vec<&str> = spec.sizes.keys().chain(spec.constants.keys()).map(String::as_str).collect();
            problems.push(Problem::new(span, format!("there is no size or constant `{name}`")).suggest(name, known));
        }
    };
    // Presets are checked whether they are chosen or not.
    for (preset, entries) in &spec.system.presets {
        let chosen = overrides.preset.as_deref() == Some(preset);
        for (name, entry) in &entries.value {
            if chosen || !(spec.sizes.contains_key(name) || spec.constants.contains_key(name)) {
                replace(name, entry.span, &entry.value, problems);
            }
        }
    }
    if let Some(preset) = &overrides.preset
        && !spec.system.presets.contains_key(preset)
    {
        let source = sources.add("--preset", preset);
        let span = Span { source, start: 0, end: preset.len() as u32 };
        let known = spec.system.presets.keys().map(String::as_str);
        problems.push(Problem::new(span, format!("there is no preset `{preset}`")).suggest(preset, known));
    }
    for (name, value) in &overrides.sets {
        let start = name.len() as u32 + 1;
        let source = sources.add("--set", &format!("{name}={value}"));
        let span = Span { source, start: 0, end: start - 1 };
        if let Some(value) = parse_expression(&Text::verbatim(source, start, value), problems) {
            replace(name, span, &value, problems);
        }
    }
    let mut resolver = Resolver { written: &written, done: IndexMap::new(), open: Vec::new() };
    let mut settings = Settings::default();
    for (name, (expression, is_size)) in &written {
        match resolver.value(name, expression.span) {
            Ok(value) if *is_size => match value.whole() {
                Some(size) => {
                    settings.sizes.insert((*name).to_owned(), size);
                    if matches!(expression.kind, ExpressionKind::Integer(_)) {
                        settings.free.push((*name).to_owned());
                    }
                }
                None => {
                    settings.broken.push((*name).to_owned());
                    let message = format!("the size `{name}` is {value}, which is not a whole number");
                    problems.push(Problem::new(expression.span, message));
                }
            },
            Ok(value) => {
                settings.constants.insert((*name).to_owned(), value);
            }
            Err(problem) => {
                settings.broken.push((*name).to_owned());
                problems.push(problem);
            }
        }
    }
    settings
}

struct Resolver<'w> {
    written: &'w IndexMap<&'w str, (Expression, bool)>,
    done: IndexMap<String, Result<Scalar, Problem>>,
    open: Vec<String>,
}

impl Resolver<'_> {
    fn value(&mut self, name: &str, span: Span) -> Result<Scalar, Problem> {
        if let Some(done) = self.done.get(name) {
            return done.clone();
        }
        let Some((expression, _)) = self.written.get(name) else {
            let problem = Problem::new(span, format!("there is no size or constant `{name}`"));
            return Err(problem.suggest(name, self.written.keys().copied()));
        };
        if self.open.iter().any(|open| open == name) {
            let chain = self.open.join("` needs `");
            return Err(
                Problem::new(span, format!("`{name}` depends on itself")).help(format!("`{chain}` needs `{name}`"))
            );
        }
        if self.open.len() > 200 {
            return Err(Problem::new(span, "sizes depend on each other more than 200 deep"));
        }
        self.open.push(name.to_owned());
        let value = evaluate(expression, &mut |name, span| self.value(name, span));
        self.open.pop();
        self.done.insert(name.to_owned(), value.clone());
        value
    }
}
