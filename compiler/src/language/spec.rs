//! Reading a spec with the libraries it uses.

use super::{
    diagnostics::{Diagnostics, Problem, Sources, Span},
    document,
    equation::{Expression, Function},
    read,
    structure::{Entries, Entry, File, Module},
};
use indexmap::IndexMap;
use std::{
    io,
    path::{Path, PathBuf},
};

/// How the text of a used file is found: from its path, relative to nothing.
type Loader<'l> = &'l dyn Fn(&Path) -> io::Result<String>;

/// A spec that has been read with everything it uses, but not elaborated: sizes may still change.
#[derive(Clone, Debug)]
pub struct Spec {
    pub(crate) sources: Sources,
    pub(crate) system: File,
    /// Of the libraries and of the system; the system's own stand in for a library's.
    pub(crate) sizes: Entries<Expression>,
    pub(crate) constants: Entries<Expression>,
    pub(crate) functions: IndexMap<String, Function>,
    pub(crate) modules: Entries<Module>,
    /// The text of all functions, libraries first.
    pub(crate) function_text: String,
}

impl Spec {
    /// Reads a system from a file.
    ///
    /// # Errors
    /// Everything that is wrong with it as text, in one go: files that cannot be read, broken RON,
    /// unknown or missing fields, equations that cannot be parsed, names given twice.
    pub fn load(path: impl AsRef<Path>) -> Result<Spec, Diagnostics> {
        let path = path.as_ref();
        let read = |path: &Path| std::fs::read_to_string(path);
        match read(path) {
            Ok(text) => Spec::read(path, &text, &read),
            Err(error) => {
                let mut sources = Sources::default();
                let source = sources.add(&path.display().to_string(), "");
                let problem =
                    Problem::new(Span { source, start: 0, end: 0 }, format!("the file cannot be read: {error}"));
                Err(Diagnostics::new(&sources, vec![problem]))
            }
        }
    }

    /// Reads a system from a text called `name`; `loader` gives the texts of the files it uses.
    ///
    /// # Errors
    /// As [`load`](Spec::load).
    pub fn parse(name: &str, text: &str, loader: &dyn Fn(&Path) -> io::Result<String>) -> Result<Spec, Diagnostics> {
        Spec::read(Path::new(name), text, loader)
    }

    /// The system's name.
    pub fn name(&self) -> &str {
        &self.system.name
    }

    /// The names of the presets.
    pub fn presets(&self) -> impl Iterator<Item = &str> {
        self.system.presets.keys().map(String::as_str)
    }

    /// The names of the losses.
    pub fn losses(&self) -> impl Iterator<Item = &str> {
        self.system.losses.keys().map(String::as_str)
    }

    /// The names of the tasks.
    pub fn tasks(&self) -> impl Iterator<Item = &str> {
        self.system.tasks.keys().map(String::as_str)
    }

    fn read(path: &Path, text: &str, loader: Loader<'_>) -> Result<Spec, Diagnostics> {
        let mut gatherer = Gatherer { sources: Sources::default(), problems: Vec::new(), done: Vec::new(), loader };
        let system = gatherer.file(path, text, &mut Vec::new());
        let Gatherer { sources, mut problems, done: mut files, .. } = gatherer;
        let Some(system) = system else { return Err(Diagnostics::new(&sources, problems)) };
        if !system.system {
            let start = Span { end: system.span.start + 7, ..system.span };
            problems
                .push(Problem::new(start, "a library is not a system by itself").help("give a file with `System(…)`"));
        }
        let mut spec = Spec {
            sources,
            system,
            sizes: Entries::new(),
            constants: Entries::new(),
            functions: IndexMap::new(),
            modules: Entries::new(),
            function_text: String::new(),
        };
        for (_, library) in &mut files {
            spec.merge(library, &mut problems);
        }
        let mut own = spec.system.clone();
        spec.merge(&mut own, &mut problems);
        spec.clashes(&mut problems);
        if problems.is_empty() { Ok(spec) } else { Err(Diagnostics::new(&spec.sources, problems)) }
    }

    /// Names that equations could not tell apart.
    fn clashes(&self, problems: &mut Vec<Problem>) {
        fn places<'e, T>(
            entries: &'e Entries<T>,
            kind: &'static str,
        ) -> impl Iterator<Item = (&'e str, Span, &'static str)> {
            entries.iter().map(move |(name, entry)| (name.as_str(), entry.span, kind))
        }
        let mut seen: IndexMap<&str, (Span, &str)> = IndexMap::new();
        let sizes = places(&self.sizes, "a size").chain(places(&self.constants, "a constant"));
        let system = places(&self.system.schedules, "a schedule").chain(places(&self.system.models, "a model"));
        for (name, span, kind) in sizes.chain(system) {
            match seen.get(name) {
                Some((first, other)) => {
                    let problem = Problem::new(span, format!("`{name}` is {kind} as well as {other}"));
                    problems.push(problem.other(*first, *other));
                }
                None => {
                    seen.insert(name, (span, kind));
                }
            }
        }
    }

    fn merge(&mut self, file: &mut File, problems: &mut Vec<Problem>) {
        self.sizes.extend(std::mem::take(&mut file.sizes));
        self.constants.extend(std::mem::take(&mut file.constants));
        let mut twice = |name: &str, span: Span, first: Span| {
            let problem = Problem::new(span, format!("`{name}` is defined twice")).label("again here");
            problems.push(problem.other(first, "first here"));
        };
        for function in std::mem::take(&mut file.functions) {
            let Some(name) = function.name.clone() else { continue };
            match self.functions.get(&name.text) {
                Some(first) => twice(&name.text, name.span, first.name.as_ref().map_or(first.span, |name| name.span)),
                None => {
                    self.functions.insert(name.text, function);
                }
            }
        }
        for (name, entry) in std::mem::take(&mut file.modules) {
            match self.modules.get(&name) {
                Some(first) => twice(&name, entry.span, first.span),
                None => {
                    self.modules.insert(name, Entry { span: entry.span, value: entry.value });
                }
            }
        }
        if let Some(text) = &file.function_text {
            self.function_text.push_str(text.trim_end());
            self.function_text.push('\n');
        }
    }
}

struct Gatherer<'l> {
    sources: Sources,
    problems: Vec<Problem>,
    /// Libraries, those that others use first.
    done: Vec<(PathBuf, File)>,
    loader: Loader<'l>,
}

impl Gatherer<'_> {
    /// Reads a file after the libraries it uses; `open` holds the files that are being read.
    fn file(&mut self, path: &Path, text: &str, open: &mut Vec<PathBuf>) -> Option<File> {
        let source = self.sources.add(&path.display().to_string(), text);
        let file = match document::parse(source, text) {
            Ok(node) => read::read_file(&node, &mut self.problems)?,
            Err(problem) => {
                self.problems.push(problem);
                return None;
            }
        };
        open.push(path.to_owned());
        for used in &file.uses {
            let target = normalised(&path.parent().unwrap_or(Path::new("")).join(&used.text));
            if self.done.iter().any(|(done, _)| *done == target) {
                continue;
            }
            if open.contains(&target) {
                let chain: Vec<String> = open.iter().chain([&target]).map(|path| path.display().to_string()).collect();
                let problem = Problem::new(used.span, format!("`{}` uses itself", used.text));
                self.problems.push(problem.help(format!("by way of {}", chain.join(" → "))));
                continue;
            }
            match (self.loader)(&target) {
                Err(error) => {
                    let message = format!("`{}` cannot be read: {error}", target.display());
                    self.problems.push(Problem::new(used.span, message));
                }
                Ok(text) => {
                    let Some(library) = self.file(&target, &text, open) else { continue };
                    if library.system {
                        let problem = Problem::new(used.span, format!("`{}` is a system, not a library", used.text));
                        self.problems.push(problem.help("what systems share stands in a file with `Library(…)`"));
                    } else {
                        self.done.push((target, library));
                    }
                }
            }
        }
        open.pop();
        Some(file)
    }
}

/// The path without `.` and without `..` where those can be taken back.
fn normalised(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}
