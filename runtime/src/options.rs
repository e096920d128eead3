//! Options of what the runtime provides to specs: data sources and task drivers.
//!
//! A reader takes each option that it knows; what is left over at the end was misspelt.

use crate::names::suggestion;
use std::{collections::BTreeMap, path::PathBuf};
use thiserror::Error;
use visage_compiler::system::{Call, Value};

/// An option that is not what it should be.
#[derive(Clone, Debug, PartialEq, Error, miette::Diagnostic)]
#[error("{owner}: {problem}")]
pub struct OptionError {
    /// The data source or driver, such as `Render`.
    owner: String,
    problem: String,
}

/// The options of one call, being read.
#[derive(Debug)]
pub struct Options {
    owner: String,
    left: BTreeMap<String, Value>,
    known: Vec<&'static str>,
}

type Read<T> = Result<T, OptionError>;

impl Options {
    /// The options of a call, with others in place of some of its own.
    pub fn new(call: &Call, replaced: &BTreeMap<String, Value>) -> Options {
        let mut left = call.options.clone();
        left.extend(replaced.iter().map(|(name, value)| (name.clone(), value.clone())));
        Options { owner: call.kind.clone(), left, known: Vec::new() }
    }

    /// An error about these options.
    pub fn error(&self, problem: impl Into<String>) -> OptionError {
        OptionError { owner: self.owner.clone(), problem: problem.into() }
    }

    /// Takes an option as it stands.
    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.remove(name)
    }

    fn read<T>(&mut self, name: &'static str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Read<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.error(format!("`{name}` must be {wanted}, not {}", show(&value)))),
        }
    }

    /// A number.
    pub fn number(&mut self, name: &'static str) -> Read<Option<f64>> {
        self.read(name, "a number", number)
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, name: &'static str, least: usize) -> Read<Option<usize>> {
        let wanted = format!("a whole number from {least} up");
        self.read(name, &wanted, |value| {
            let value = number(value)?;
            (value.fract() == 0.0 && value >= least as f64 && value < 1e15).then_some(value as usize)
        })
    }

    /// A switch; numbers are off where they are 0.
    pub fn switch(&mut self, name: &'static str) -> Read<Option<bool>> {
        self.read(name, "true or false", |value| match value {
            Value::Bool(switch) => Some(*switch),
            Value::Number(number) => Some(*number != 0.0),
            _ => None,
        })
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Read<Option<String>> {
        self.read(name, "a text in quotes", text)
    }

    /// Texts: a list, or one text.
    pub fn texts(&mut self, name: &'static str) -> Read<Option<Vec<String>>> {
        self.read(name, "a list of texts", |value| match value {
            Value::List(list) => list.iter().map(text).collect(),
            value => Some(vec![text(value)?]),
        })
    }

    /// A path.
    pub fn path(&mut self, name: &'static str) -> Read<Option<PathBuf>> {
        Ok(self.text(name)?.map(PathBuf::from))
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Read<Option<T>> {
        let Some(word) = self.text(name)? else { return Ok(None) };
        match choices.iter().find(|(choice, _)| *choice == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                Err(self.error(format!("`{name}` cannot be `{word}`: {}", suggestion(&word, words))))
            }
        }
    }

    /// Numbers: a list, or one number for all of them.
    pub fn numbers<const N: usize>(&mut self, name: &'static str) -> Read<Option<[f64; N]>> {
        self.read(name, &format!("a list of {N} numbers"), |value| match value {
            Value::List(list) => list.iter().map(number).collect::<Option<Vec<f64>>>()?.try_into().ok(),
            value => Some([number(value)?; N]),
        })
    }

    /// Numbers, as many as there are: a list, or one number.
    pub fn list(&mut self, name: &'static str) -> Read<Option<Vec<f64>>> {
        self.read(name, "a number or a list of numbers", |value| match value {
            Value::List(list) => list.iter().map(number).collect(),
            value => Some(vec![number(value)?]),
        })
    }

    /// A map from names to numbers, switches or expressions, as `--set` writes them.
    pub fn settings(&mut self, name: &'static str) -> Read<Option<BTreeMap<String, String>>> {
        let written = |value: &Value| match value {
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(switch) => Some(switch.to_string()),
            value => text(value),
        };
        self.read(name, "a map from names to numbers and switches", |value| match value {
            Value::Map(map) => map.iter().map(|(key, value)| Some((key.clone(), written(value)?))).collect(),
            _ => None,
        })
    }

    /// The two ends of a range, within `bounds`; one number is both.
    pub fn range(&mut self, name: &'static str, [least, most]: [f64; 2]) -> Read<Option<[f64; 2]>> {
        let Some([low, high]) = self.numbers(name)? else { return Ok(None) };
        if low <= high && low >= least && high <= most {
            return Ok(Some([low, high]));
        }
        let bounds = match (least, most) {
            (least, f64::MAX) if least == f64::MIN_POSITIVE => " above 0".to_owned(),
            (least, f64::MAX) => format!(" from {least} up"),
            (least, most) => format!(" between {least} and {most}"),
        };
        Err(self.error(format!("`{name}` must be a lower and an upper end{bounds}, not [{low}, {high}]")))
    }

    /// A probability, or a switch for 0 and 1.
    pub fn probability(&mut self, name: &'static str) -> Read<Option<f64>> {
        self.read(name, "a number between 0 and 1, or true or false", |value| match value {
            Value::Bool(switch) => Some(f64::from(u8::from(*switch))),
            Value::Number(number) => (0.0..=1.0).contains(number).then_some(*number),
            _ => None,
        })
    }

    /// A map from names to texts.
    pub fn names(&mut self, name: &'static str) -> Read<Option<BTreeMap<String, String>>> {
        self.read(name, "a map from names to texts", |value| match value {
            Value::Map(map) => map.iter().map(|(key, value)| Some((key.clone(), text(value)?))).collect(),
            _ => None,
        })
    }

    /// Something else that the runtime provides.
    pub fn call(&mut self, name: &'static str) -> Read<Option<Call>> {
        self.read(name, "a source with options in parentheses", |value| match value {
            Value::Call(call) => Some(call.clone()),
            _ => None,
        })
    }

    /// A map from names to other things that the runtime provides.
    pub fn calls(&mut self, name: &'static str) -> Read<Option<BTreeMap<String, Call>>> {
        self.read(name, "a map from names to things with options in parentheses", |value| match value {
            Value::Map(map) => {
                let call = |value: &Value| if let Value::Call(call) = value { Some(call.clone()) } else { None };
                map.iter().map(|(key, value)| Some((key.clone(), call(value)?))).collect()
            }
            _ => None,
        })
    }

    /// The end of reading.
    ///
    /// # Errors
    /// There are options that nobody took: the message names the nearest known one.
    pub fn finish(&self) -> Read<()> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                let help = suggestion(name, self.known.iter().copied());
                Err(self.error(format!("there is no option `{name}`: {help}")))
            }
        }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Bool(switch) => switch.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a map".into(),
        Value::Call(call) => format!("{}(…)", call.kind),
    }
}

/// The value of an option that was written on the command line: a switch, a number, a list of
/// numbers with commas, or a text.
pub fn parse_value(text: &str) -> Value {
    let plain = |text: &str| match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => text.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Number),
    };
    let parts: Vec<Value> = text.split(',').map(|part| plain(part.trim())).collect();
    match parts.as_slice() {
        [Value::Number(_), _, ..] if parts.iter().all(|part| matches!(part, Value::Number(_))) => Value::List(parts),
        _ => plain(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        let options = pairs.iter().map(|(name, value)| ((*name).to_owned(), parse_value(value))).collect();
        Options::new(&Call { kind: "Render".into(), options }, &BTreeMap::new())
    }

    #[test]
    fn options_are_read_by_kind() {
        let mut read = options(&[("frames", "60"), ("loop", "true"), ("low", "-1,-1,0.5"), ("path", "orbit")]);
        assert_eq!(read.count("frames", 1), Ok(Some(60)));
        assert_eq!(read.switch("loop"), Ok(Some(true)));
        assert_eq!(read.numbers::<3>("low"), Ok(Some([-1.0, -1.0, 0.5])));
        assert_eq!(read.choice("path", &[("orbit", 1), ("spiral", 2)]), Ok(Some(1)));
        assert_eq!(read.number("size"), Ok(None));
        assert_eq!(read.finish(), Ok(()));
        let mut read = options(&[("blur", "0.5,2"), ("shrink", "3"), ("grey", "0.25"), ("strokes", "true")]);
        assert_eq!(read.range("blur", [0.0, 2.0]), Ok(Some([0.5, 2.0])));
        assert_eq!(read.range("shrink", [1.0, f64::MAX]), Ok(Some([3.0, 3.0])));
        assert_eq!((read.probability("grey"), read.probability("strokes")), (Ok(Some(0.25)), Ok(Some(1.0))));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_right() {
        let message = |result: Read<Option<usize>>| result.unwrap_err().to_string();
        let mut read = options(&[("frames", "0"), ("path", "orbt")]);
        assert_eq!(message(read.count("frames", 1)), "Render: `frames` must be a whole number from 1 up, not 0");
        let wrong = read.choice("path", &[("orbit", 1), ("spiral", 2)]);
        assert_eq!(message(wrong), "Render: `path` cannot be `orbt`: did you mean `orbit`?");
        let mut read = options(&[("frame", "3")]);
        assert_eq!(read.count("frames", 1), Ok(None));
        let error = read.finish().unwrap_err();
        assert_eq!(error.to_string(), "Render: there is no option `frame`: did you mean `frames`?");
    }
}
