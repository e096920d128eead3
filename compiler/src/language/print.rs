//! Writing a spec back as one RON file: libraries put in, sizes and constants resolved.

use super::{
    diagnostics::Diagnostics,
    document::{Name, Node, Value},
    settings::{Overrides, resolve},
    spec::Spec,
};
use std::fmt;

impl Spec {
    /// The spec as one file that needs no others and no overrides: what a run keeps beside its
    /// results. Reading it again gives the same system.
    ///
    /// # Errors
    /// Overrides that the spec does not know or that have no value.
    pub fn flattened(&self, overrides: &Overrides) -> Result<String, Diagnostics> {
        let mut sources = self.sources.clone();
        let mut problems = Vec::new();
        let settings = resolve(self, overrides, &mut sources, &mut problems);
        if !problems.is_empty() {
            return Err(Diagnostics::new(&sources, problems));
        }
        let mut text = String::from("System(\n");
        for (field, node) in self.own_fields() {
            match field.text.as_str() {
                "uses" | "sizes" | "constants" | "presets" | "functions" | "modules" => {}
                name => line(&mut text, 1, &format!("{name}: {},", Printed { node, depth: 1 })),
            }
            if field.text == "about" {
                line(&mut text, 1, "sizes: {");
                settings.sizes.iter().for_each(|(name, size)| line(&mut text, 2, &format!("{name:?}: {size},")));
                line(&mut text, 1, "},");
                line(&mut text, 1, "constants: {");
                settings.constants.iter().for_each(|(name, value)| line(&mut text, 2, &format!("{name:?}: {value},")));
                line(&mut text, 1, "},");
                if !self.function_text.trim().is_empty() {
                    line(&mut text, 1, &format!("functions: {},", quoted(&format!("{}    ", self.function_text))));
                }
                line(&mut text, 1, "modules: {");
                for (name, module) in &self.modules {
                    line(&mut text, 2, &format!("{name:?}: {},", Printed { node: &module.value.node, depth: 2 }));
                }
                line(&mut text, 1, "},");
            }
        }
        text.push_str(")\n");
        Ok(text)
    }

    fn own_fields(&self) -> &[(Name, Node)] {
        match &self.system.node.value {
            Value::Struct(_, fields) => fields,
            _ => &[],
        }
    }
}

fn line(text: &mut String, depth: usize, content: &str) {
    text.push_str(&"    ".repeat(depth));
    text.push_str(content);
    text.push('\n');
}

/// A text in quotes that RON reads back as it was.
fn quoted(text: &str) -> String {
    if !text.contains(['"', '\\', '\n']) && !text.chars().any(char::is_control) {
        return format!("\"{text}\"");
    }
    let longest =
        text.split('"').skip(1).map(|rest| rest.len() - rest.trim_start_matches('#').len()).max().unwrap_or(0);
    let hashes = "#".repeat(longest + 1);
    format!("r{hashes}\"{text}\"{hashes}")
}

/// A value as RON, its inner lines indented to `depth`.
struct Printed<'n> {
    node: &'n Node,
    depth: usize,
}

impl Printed<'_> {
    /// Items on lines of their own; short ones without structure inside on one line.
    fn items(&self, f: &mut fmt::Formatter<'_>, open: &str, close: &str, items: &[String]) -> fmt::Result {
        let length: usize = items.iter().map(|item| item.len() + 2).sum();
        if length < 80 && !items.iter().any(|item| item.contains('\n')) {
            return write!(f, "{open}{}{close}", items.join(", "));
        }
        let inner = "    ".repeat(self.depth + 1);
        writeln!(f, "{open}")?;
        items.iter().try_for_each(|item| writeln!(f, "{inner}{item},"))?;
        write!(f, "{}{close}", "    ".repeat(self.depth))
    }
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = |node| Printed { node, depth: self.depth + 1 }.to_string();
        match &self.node.value {
            Value::Unit => f.write_str("()"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Integer(value) => write!(f, "{value}"),
            Value::Real(value) => write!(f, "{value:?}"),
            Value::Text(text) => f.write_str(&quoted(&text.value)),
            Value::List(items) => self.items(f, "[", "]", &items.iter().map(inner).collect::<Vec<_>>()),
            Value::Tuple(name, items) => {
                name.iter().try_for_each(|name| f.write_str(&name.text))?;
                self.items(f, "(", ")", &items.iter().map(inner).collect::<Vec<_>>())
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| format!("{}: {}", inner(key), inner(value)));
                self.items(f, "{", "}", &entries.collect::<Vec<_>>())
            }
            Value::Struct(name, fields) => {
                name.iter().try_for_each(|name| f.write_str(&name.text))?;
                let fields = fields.iter().map(|(name, value)| format!("{}: {}", name.text, inner(value)));
                self.items(f, "(", ")", &fields.collect::<Vec<_>>())
            }
        }
    }
}
