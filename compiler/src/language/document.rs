//! Reading RON into a tree that remembers where everything stands.
//!
//! A spec is ordinary RON. It is read here rather than through serde because an error in an equation
//! must point into the string that holds the equation, and because all errors of a file are reported
//! at once.

use super::diagnostics::{Problem, Span};

/// How deeply structures may nest: far more than a person writes, far less than a stack holds.
const DEEPEST: usize = 64;

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub span: Span,
    pub value: Value,
}

/// A RON value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Unit,
    Bool(bool),
    Integer(i64),
    Real(f64),
    Text(Text),
    List(Vec<Node>),
    /// Values in parentheses, with the name before them if there is one: `(0.9, 0.999)`, `Norm(1.0)`.
    Tuple(Option<Name>, Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// Named fields in parentheses; a bare name is a structure without fields.
    Struct(Option<Name>, Vec<(Name, Node)>),
}

/// A name with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub span: Span,
    pub text: String,
}

/// The contents of a string, which can be traced back to the file.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub value: String,
    source: u32,
    /// `(offset in the value, offset in the file)`, ascending, one for each stretch that was copied as it stands.
    stretches: Vec<(u32, u32)>,
}

impl Text {
    /// The place in the file of a range of the contents.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let locate = |offset: u32| {
            let after = self.stretches.partition_point(|(inside, _)| *inside <= offset);
            let (inside, outside) = self.stretches[after.saturating_sub(1)];
            outside + (offset - inside)
        };
        let start = locate(start as u32);
        Span { source: self.source, start, end: locate(end as u32).max(start) }
    }

    /// Contents that stand in a source as they are, from an offset on.
    pub fn verbatim(source: u32, start: u32, value: &str) -> Text {
        Text { value: value.to_owned(), source, stretches: vec![(0, start)] }
    }

    /// The part from one byte of the contents to another, which must lie between characters.
    pub fn slice(&self, start: usize, end: usize) -> Text {
        let shift = start as u32;
        let mut stretches = vec![(0, self.span(start, start).start)];
        let inside = self.stretches.iter().filter(|(offset, _)| *offset > shift && (*offset as usize) < end);
        stretches.extend(inside.map(|(offset, place)| (offset - shift, *place)));
        Text { value: self.value[start..end].to_owned(), source: self.source, stretches }
    }
}

impl Node {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Unit => "an empty pair of parentheses",
            Value::Bool(_) => "a switch",
            Value::Integer(_) | Value::Real(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Tuple(..) => "a tuple",
            Value::Map(_) => "a map",
            Value::Struct(..) => "a structure",
        }
    }
}

/// Reads a whole file.
pub(crate) fn parse(source: u32, text: &str) -> Result<Node, Problem> {
    if text.len() >= u32::MAX as usize {
        return Err(Problem::new(Span { source, start: 0, end: 0 }, "the file is larger than 4 GiB"));
    }
    let mut reader = Reader { source, text, at: 0, depth: 0 };
    reader.blank()?;
    let node = reader.value()?;
    reader.blank()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.unexpected("the end of the file")),
    }
}

struct Reader<'t> {
    source: u32,
    text: &'t str,
    at: usize,
    depth: usize,
}

type Read<T> = Result<T, Problem>;

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn span(&self, start: usize) -> Span {
        Span { source: self.source, start: start as u32, end: self.at as u32 }
    }

    fn here(&self) -> Span {
        let width = self.peek().map_or(0, char::len_utf8);
        Span { source: self.source, start: self.at as u32, end: (self.at + width) as u32 }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = self.peek().map_or("the file ends".to_owned(), |c| format!("there is `{}`", c.escape_debug()));
        Problem::new(self.here(), format!("expected {wanted}, but {found}")).label(format!("expected {wanted}"))
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    /// Skips white space and comments.
    fn blank(&mut self) -> Read<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                let start = self.at;
                let mut open = 0;
                loop {
                    let rest = self.rest();
                    if rest.starts_with("/*") {
                        (self.at, open) = (self.at + 2, open + 1);
                    } else if rest.starts_with("*/") {
                        (self.at, open) = (self.at + 2, open - 1);
                    } else if let Some(c) = rest.chars().next() {
                        self.at += c.len_utf8();
                    } else {
                        let span = Span { end: start as u32 + 2, ..self.span(start) };
                        return Err(Problem::new(span, "this comment is never closed"));
                    }
                    if open == 0 {
                        break;
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Read<Node> {
        if self.depth == DEEPEST {
            return Err(Problem::new(self.here(), format!("values are nested more than {DEEPEST} deep")));
        }
        self.depth += 1;
        let start = self.at;
        let value = match self.peek() {
            Some('"') => Value::Text(self.text_value()?),
            Some('r') if self.rest()[1..].starts_with(['"', '#']) => Value::Text(self.raw_text()?),
            Some('[') => {
                self.at += 1;
                Value::List(self.items(']')?)
            }
            Some('{') => {
                self.at += 1;
                Value::Map(self.entries()?)
            }
            Some('(') => self.parenthesised(None)?,
            Some(c) if c.is_ascii_digit() || matches!(c, '+' | '-' | '.') => self.number()?,
            Some(c) if c.is_alphabetic() || c == '_' => {
                let name = self.name()?;
                match name.text.as_str() {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    _ => {
                        let after = self.at;
                        self.blank()?;
                        if self.peek() == Some('(') {
                            self.parenthesised(Some(name))?
                        } else {
                            self.at = after;
                            Value::Struct(Some(name), Vec::new())
                        }
                    }
                }
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.depth -= 1;
        Ok(Node { span: self.span(start), value })
    }

    fn name(&mut self) -> Read<Name> {
        let start = self.at;
        let rest = self.rest();
        let first = rest.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        if !first {
            return Err(self.unexpected("a name"));
        }
        self.at += rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        Ok(Name { span: self.span(start), text: self.text[start..self.at].to_owned() })
    }

    /// Steps over the comma after an item; whether the closing bracket follows.
    fn closes(&mut self, close: char) -> Read<bool> {
        self.blank()?;
        if self.eat(',') {
            self.blank()?;
            return Ok(self.eat(close));
        }
        if self.eat(close) { Ok(true) } else { Err(self.unexpected(&format!("`,` or `{close}`"))) }
    }

    fn items(&mut self, close: char) -> Read<Vec<Node>> {
        let mut items = Vec::new();
        self.blank()?;
        let mut closed = self.eat(close);
        while !closed {
            items.push(self.value()?);
            closed = self.closes(close)?;
        }
        Ok(items)
    }

    fn entries(&mut self) -> Read<Vec<(Node, Node)>> {
        let mut entries = Vec::new();
        self.blank()?;
        let mut closed = self.eat('}');
        while !closed {
            let key = self.value()?;
            self.colon()?;
            entries.push((key, self.value()?));
            closed = self.closes('}')?;
        }
        Ok(entries)
    }

    fn colon(&mut self) -> Read<()> {
        self.blank()?;
        if !self.eat(':') {
            return Err(self.unexpected("`:`"));
        }
        self.blank()
    }

    /// What stands between parentheses: named fields or plain values.
    fn parenthesised(&mut self, name: Option<Name>) -> Read<Value> {
        self.at += 1;
        self.blank()?;
        let start = self.at;
        let named = self.name().is_ok() && {
            self.blank()?;
            self.peek() == Some(':')
        };
        self.at = start;
        if !named {
            let items = self.items(')')?;
            return Ok(match (name, items.is_empty()) {
                (None, true) => Value::Unit,
                (Some(name), true) => Value::Struct(Some(name), Vec::new()),
                (name, false) => Value::Tuple(name, items),
            });
        }
        let mut fields = Vec::new();
        let mut closed = false;
        while !closed {
            let field = self.name()?;
            self.colon()?;
            fields.push((field, self.value()?));
            closed = self.closes(')')?;
        }
        Ok(Value::Struct(name, fields))
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.at;
        let rest = self.rest();
        let mut previous = ' ';
        let end = rest
            .find(|c: char| {
                let sign = matches!(c, '+' | '-') && matches!(previous, ' ' | 'e' | 'E');
                previous = c;
                !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign)
            })
            .unwrap_or(rest.len());
        self.at += end;
        let written: String = rest[..end].chars().filter(|c| *c != '_').collect();
        let plain = written.strip_prefix('+').unwrap_or(&written);
        if let Ok(integer) = plain.parse::<i64>() {
            return Ok(Value::Integer(integer));
        }
        match plain.parse::<f64>() {
            Ok(real) if plain.contains(|c: char| c.is_ascii_digit()) => Ok(Value::Real(real)),
            _ => Err(Problem::new(self.span(start), format!("`{written}` is not a number"))),
        }
    }

    fn text_value(&mut self) -> Read<Text> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        let mut stretches = vec![(0, self.at as u32)];
        loop {
            let rest = self.rest();
            let Some(stop) = rest.find(['"', '\\']) else {
                let span = Span { end: start as u32 + 1, ..self.span(start) };
                return Err(Problem::new(span, "this text is never closed"));
            };
            value.push_str(&rest[..stop]);
            self.at += stop;
            if self.eat('"') {
                return Ok(Text { value, source: self.source, stretches });
            }
            value.push(self.escape()?);
            stretches.push((value.len() as u32, self.at as u32));
        }
    }

    fn escape(&mut self) -> Read<char> {
        let start = self.at;
        self.at += 1;
        let Some(kind) = self.peek() else { return Err(self.unexpected("an escape")) };
        self.at += kind.len_utf8();
        let code = |digits: &str| u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let escaped = match kind {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '0' => Some('\0'),
            '"' | '\\' | '\'' => Some(kind),
            'x' => {
                let digits = self.rest().get(..2).unwrap_or("");
                self.at += digits.len();
                code(digits)
            }
            'u' if self.rest().starts_with('{') => self.rest().find('}').and_then(|close| {
                let digits = &self.rest()[1..close];
                self.at += close + 1;
                code(digits)
            }),
            _ => None,
        };
        escaped.ok_or_else(|| Problem::new(self.span(start), "this is not an escape that RON knows"))
    }

    fn raw_text(&mut self) -> Read<Text> {
        let start = self.at;
        self.at += 1;
        let hashes = self.rest().chars().take_while(|c| *c == '#').count();
        self.at += hashes;
        if !self.eat('"') {
            return Err(self.unexpected("`\"`"));
        }
        let inside = self.at;
        let close = format!("\"{}", "#".repeat(hashes));
        let Some(length) = self.rest().find(&close) else {
            return Err(
                Problem::new(self.span(start), "this text is never closed").help(format!("close it with {close}"))
            );
        };
        self.at += length + close.len();
        let value = self.text[inside..inside + length].to_owned();
        Ok(Text { value, source: self.source, stretches: vec![(0, inside as u32)] })
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    #[test]
    fn strings_lead_back_to_the_file() {
        let source = r##"(a: "x\ty\\z", b: r#"raw "text""#)"##;
        let node = parse(0, source).unwrap();
        let Value::Struct(None, fields) = node.value else { panic!("not a structure") };
        let Value::Text(escaped) = &fields[0].1.value else { panic!("not a text") };
        assert_eq!(escaped.value, "x\ty\\z");
        let span = escaped.span(4, 5);
        assert_eq!(&source[span.start as usize..span.end as usize], "z");
        let Value::Text(raw) = &fields[1].1.value else { panic!("not a text") };
        let span = raw.span(5, 9);
        assert_eq!(&source[span.start as usize..span.end as usize], "text");
    }

    #[test]
    fn what_is_read_is_ron() {
        let source =
            "System(a: [1, -2.5e-3, true,], /* a /* nested */ comment */ b: {\"k\": (1, 2)}, // end\n c: Unit, d: ())";
        parse(0, source).unwrap();
        ron::from_str::<ron::Value>(source).unwrap();
    }

    #[test]
    fn what_is_not_ron_is_refused_with_its_place() {
        for (source, start) in
            [("(a: )", 4), ("[1, 2", 5), ("{\"a\" 1}", 5), ("(a: 1) x", 7), ("\"abc", 0), ("1.2.3", 0)]
        {
            assert_eq!(parse(0, source).unwrap_err().span.start, start, "{source}");
        }
        assert!(parse(0, &"[".repeat(100_000)).is_err());
    }
}
