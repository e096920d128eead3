//! The language reference: every example compiles, every field and function is in it.

use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write, path::Path};
use visage_compiler::language::{Overrides, Spec, schema};

const HEADING: &str = "## Every field\n";

fn reference() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md");
    std::fs::read_to_string(path).unwrap()
}

/// The examples in a language, each with the line it begins on.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let text = reference();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (i, line) in text.lines().enumerate() {
        match &mut open {
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, block)) => writeln!(block, "{line}").unwrap(),
            None if line == format!("```{language}") => open = Some((i + 2, String::new())),
            None => {}
        }
    }
    assert!(!blocks.is_empty());
    blocks
}

#[track_caller]
fn compile(line: usize, text: &str, library: &str) {
    let spec = Spec::parse("example.ron", text, &|_| Ok(library.to_owned()));
    if let Err(errors) = spec.and_then(|spec| spec.system(&Overrides::none())) {
        panic!("the example at line {line}: {errors}");
    }
}

#[test]
fn structures_compile() {
    for (line, block) in blocks("ron") {
        if block.starts_with("System") {
            compile(line, &block, "");
            continue;
        }
        let models = match block.contains("\"Perceptron\"") {
            true => {
                r#""plain": Model(network: Perceptron(from: "x", hidden: "y")),
                   "gated": Model(network: Perceptron(from: "y", hidden: "y", depth: 2, gated: true)),"#
            }
            false => "",
        };
        let tasks = match models {
            "" => "",
            _ => {
                r#""all": Task(
                    about: "Calls what the library has.",
                    outputs: { "a": "[]", "b": "[]" },
                    equations: "a = plain(index(x) / 2)\nb = gated(index(y) / 2)",
                )"#
            }
        };
        let system = format!(
            r#"System(name: "a", about: "b", uses: ["library.ron"], sizes: {{ "x": 3, "y": 4 }},
                models: {{ {models} }}, tasks: {{ {tasks} }})"#
        );
        compile(line, &system, &block);
    }
}

#[test]
fn equations_compile() {
    for (line, block) in blocks("equations") {
        let (functions, equations) = match block.starts_with("fn") {
            false => (String::new(), block),
            true => (block.clone(), calls(&block)),
        };
        let system = format!(
            r##"System(
                name: "a",
                about: "b",
                sizes: {{ "ray": 4, "xyz": 3, "sample": 9 }},
                constants: {{ "white_background": true }},
                functions: r#"{functions}"#,
                tasks: {{
                    "example": Task(
                        about: "c",
                        inputs: {{
                            "x": Input(axes: "[ray, xyz]", about: "Points."),
                            "w": Input(axes: "[ray, sample]", about: "Weights."),
                            "k": Input(axes: "[ray]", type: "i32", about: "Positions."),
                        }},
                        outputs: {{}},
                        equations: r#"{equations}"#,
                    ),
                }},
            )"##
        );
        compile(line, &system, "");
    }
}

/// A call of each function, on `x` and where it takes one, its axis `xyz`.
fn calls(functions: &str) -> String {
    let mut calls = String::new();
    for signature in functions.lines().filter_map(|line| line.strip_prefix("fn ")) {
        let (name, rest) = signature.split_once('(').unwrap();
        let (parameters, results) = rest.split_once(" -> ").unwrap();
        let results = results.split(" {").next().unwrap().matches('[').count();
        let targets: Vec<String> = (0..results).map(|i| format!("{name}_{i}")).collect();
        let axis = if parameters.contains("axis") { ", xyz" } else { "" };
        let targets = if results == 1 { targets[0].clone() } else { format!("({})", targets.join(", ")) };
        writeln!(calls, "{targets} = {name}(x{axis})").unwrap();
    }
    calls
}

/// What a field holds, in words.
fn kind(field: &Value) -> String {
    let names = || {
        let names = field["structures"].as_array().unwrap().iter().map(|name| format!("`{}`", name.as_str().unwrap()));
        names.collect::<Vec<_>>().join(", ")
    };
    match field["kind"].as_str().unwrap() {
        "structure" => names(),
        "schedule" => "number or schedule".into(),
        "list" => format!("list of {}", kind(&field["of"])),
        "map" => format!("map of {}", kind(&field["of"])),
        other => other.into(),
    }
}

/// The members of an object in alphabetical order.
fn sorted(object: &Value) -> BTreeMap<String, Value> {
    object.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn every_field_is_in_the_reference() {
    let mut section = String::from(HEADING);
    for (name, structure) in sorted(&schema()["structures"]) {
        write!(
            section,
            "\n### {name}\n\n{}\n\n| field | holds | |\n|---|---|---|\n",
            structure["about"].as_str().unwrap()
        )
        .unwrap();
        for (field, value) in sorted(&structure["fields"]) {
            let mark = if value["required"] == true { " (required)" } else { "" };
            let about = value["about"].as_str().unwrap().replace('|', "\\|");
            writeln!(section, "| `{field}`{mark} | {} | {about} |", kind(&value)).unwrap();
        }
    }
    let text = reference();
    let (before, found) = text.split_at(text.find(HEADING).unwrap());
    if std::env::var_os("VISAGE_UPDATE_REFERENCE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/language.md"), format!("{before}{section}"))
            .unwrap();
        return;
    }
    assert!(found == section, "the tables of fields are out of date: run this test with VISAGE_UPDATE_REFERENCE=1");
}

#[test]
fn every_function_is_in_the_reference() {
    let text = reference();
    for name in schema()["functions"].as_object().unwrap().keys() {
        assert!(
            text.contains(&format!("`{name}(")) || text.contains(&format!("`{name}`")),
            "`{name}` is not in the reference"
        );
    }
}
