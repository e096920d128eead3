//! Places in spec files and the errors that point at them.

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use std::{fmt, sync::Arc};

/// A stretch of bytes in one of the files that make up a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub source: u32,
    pub start: u32,
    pub end: u32,
}

impl Span {
    /// The stretch from the start of this one to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { end: other.end.max(self.start), ..self }
    }
}

/// The files read so far, by [`Span::source`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<Arc<NamedSource<String>>>);

impl Sources {
    pub fn add(&mut self, name: &str, text: &str) -> u32 {
        self.0.push(Arc::new(NamedSource::new(name, text.to_owned())));
        self.0.len() as u32 - 1
    }

    pub fn text(&self, source: u32) -> &str {
        self.0[source as usize].inner()
    }

    /// `file:line:column`, both counted from 1.
    pub fn place(&self, span: Span) -> String {
        let source = &self.0[span.source as usize];
        let (line, column) = line_and_column(source.inner(), span.start as usize);
        format!("{}:{line}:{column}", source.name())
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// Something wrong with a spec, while its files are still being worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub span: Span,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
    /// A second place that has to do with it.
    pub other: Option<Box<(Span, String)>>,
}

impl Problem {
    pub fn new(span: Span, message: impl Into<String>) -> Problem {
        Problem { span, message: message.into(), label: String::new(), help: None, other: None }
    }

    /// Stands for a problem that is reported where it arose.
    pub fn echo(span: Span) -> Problem {
        Problem::new(span, "")
    }

    /// The words under the underlined place.
    pub fn label(mut self, label: impl Into<String>) -> Problem {
        self.label = label.into();
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }

    pub fn other(mut self, span: Span, label: impl Into<String>) -> Problem {
        self.other = Some(Box::new((span, label.into())));
        self
    }

    /// Suggests the candidate nearest to `name`, or lists the candidates where they are few.
    pub fn suggest<'a>(self, name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Problem {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        match nearest(name, &candidates) {
            Some(near) => self.help(format!("did you mean `{near}`?")),
            None if !candidates.is_empty() && candidates.len() <= 12 => {
                self.help(format!("there {} {}", if candidates.len() == 1 { "is" } else { "are" }, listed(&candidates)))
            }
            None => self,
        }
    }
}

/// Names in back-quotes: `` `a`, `b` and `c` ``.
pub(crate) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        None => "nothing".into(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// The candidate that a reader would take `name` for a misspelling of.
fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count().min(name.chars().count()) / 4)
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// An error in a spec, with the place it points at.
#[derive(Clone, Debug)]
pub struct SpecError {
    source: Arc<NamedSource<String>>,
    message: String,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
}

impl SpecError {
    /// The line and the column, both counted from 1.
    pub fn place(&self) -> (usize, usize) {
        line_and_column(self.source.inner(), self.labels[0].offset())
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        self.source.name()
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SpecError {}

impl Diagnostic for SpecError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// Everything that is wrong with a spec, in the order of the files: never empty.
///
/// As a [`miette::Diagnostic`] it renders each error with its line of the spec underlined; as plain
/// text it is one line an error, `file:line:column: message (help)`.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    errors: Vec<SpecError>,
}

impl Diagnostics {
    pub(crate) fn new(sources: &Sources, mut problems: Vec<Problem>) -> Diagnostics {
        problems.sort_by_key(|problem| problem.span);
        let mut kept: Vec<Problem> = Vec::new();
        for problem in problems {
            if !problem.message.is_empty()
                && !kept.iter().any(|other| other.span == problem.span && other.message == problem.message)
            {
                kept.push(problem);
            }
        }
        let errors = kept
            .into_iter()
            .map(|problem| {
                let range = |span: Span| span.start as usize..span.end as usize;
                let mut labels = vec![LabeledSpan::new_primary_with_span(
                    Some(problem.label).filter(|label| !label.is_empty()),
                    range(problem.span),
                )];
                let mut help = problem.help;
                if let Some(other) = problem.other {
                    let (span, label) = *other;
                    if span.source == problem.span.source {
                        labels.push(LabeledSpan::new_with_span(Some(label), range(span)));
                    } else {
                        let note = format!("{}: {label}", sources.place(span));
                        help = Some(help.map_or(note.clone(), |help| format!("{help}\n{note}")));
                    }
                }
                let source = sources.0[problem.span.source as usize].clone();
                SpecError { source, message: problem.message, labels, help }
            })
            .collect();
        Diagnostics { errors }
    }

    /// The errors, in the order of the files.
    pub fn errors(&self) -> &[SpecError] {
        &self.errors
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let (line, column) = error.place();
            let break_ = if i == 0 { "" } else { "\n" };
            write!(f, "{break_}{}:{line}:{column}: {error}", error.file())?;
            if let Some(help) = &error.help {
                write!(f, " ({})", help.replace('\n', "; "))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        (self.errors.len() > 1)
            .then(|| Box::new(self.errors.iter().map(|error| error as &dyn Diagnostic)) as Box<dyn Iterator<Item = _>>)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.single().and_then(Diagnostic::help)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.single().and_then(Diagnostic::source_code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.single().and_then(Diagnostic::labels)
    }
}

impl Diagnostics {
    fn single(&self) -> Option<&SpecError> {
        match self.errors.as_slice() {
            [error] => Some(error),
            _ => None,
        }
    }
}
