//! Texts that nobody would write: the language answers with errors, never with a panic.

use proptest::prelude::*;
use std::path::Path;
use visage_compiler::language::{Overrides, Spec, parse_system};

fn nerf() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/nerf/nerf.ron");
    let spec = Spec::load(path).unwrap_or_else(|errors| panic!("{errors}"));
    spec.flattened(&Overrides::none().preset("quick")).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is put in the place of something.
const PIECES: [&str; 44] = [
    "",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "r#\"",
    "\"#",
    ",",
    ":",
    "=",
    "..",
    "-",
    "*",
    "^",
    "±",
    "~",
    "0",
    "-1",
    "9223372036854775807",
    "1e308",
    "ray",
    "sample",
    "xyz",
    "feature",
    "axis ",
    "fn ",
    "for i in 0..9 {",
    "if ",
    " as ",
    "z",
    "sum(",
    "sort(",
    "concat(",
    "stack(",
    "pad(",
    "window(",
    "fold(",
    "coarse_field",
    "i",
    "é",
    "\\u{0}",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spoilt_spec_is_refused_or_understood(
        edits in prop::collection::vec((0.0..1.0_f64, 0..40_usize, 0..PIECES.len()), 1..4)
    ) {
        let mut text = nerf();
        for (place, length, piece) in edits {
            let mut start = (place * text.len() as f64) as usize;
            while !text.is_char_boundary(start) {
                start -= 1;
            }
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, PIECES[piece]);
        }
        if let Err(errors) = parse_system(&text) {
            prop_assert!(!errors.errors().is_empty(), "refused without a reason");
        }
    }

    #[test]
    fn noise_is_refused(text in "\\PC{0,60}") {
        prop_assert!(parse_system(&text).is_err());
    }
}

/// A task with one input `x[i]` and these equations.
fn task(equations: &str) -> String {
    format!(
        r##"System(
            name: "a",
            about: "b",
            sizes: {{ "i": 4 }},
            tasks: {{
                "t": Task(
                    about: "c",
                    inputs: {{ "x": Input(axes: "[i]", about: "d") }},
                    outputs: {{ "y": "[i]" }},
                    equations: r#"{equations}"#,
                ),
            }},
        )"##
    )
}

#[test]
fn depth_and_length_are_bounded() {
    for equations in [
        format!("y = {}x{}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("y = {}x", "-".repeat(50_000)),
        format!("y = x{}", " + x".repeat(50_000)),
        format!("y = x{}", "[i as i]".repeat(50_000)),
        format!("{} y = x {}", "if true {".repeat(50_000), "}".repeat(50_000)),
        "y = x\nfor a in 0..1000000000 { for b in 0..1000000000 { y = y + x } }".to_owned(),
        "y = x\nfor a in 0..40 { y = concat(y, y, i) }".to_owned(),
        "y = pad(x, i, 9223372036854775807, 9223372036854775807)".to_owned(),
        "y = spread(x, a: 2147483647, b: 2147483647, c: 2147483647, d: 2147483647)".to_owned(),
        "y = window(x, i, p, t: 2147483647, dilation = 1048576)".to_owned(),
        "y = x[i as (a: 2147483647, b: 2147483647, c: 2147483647)]".to_owned(),
        "y = x[i = -9223372036854775807..9223372036854775807 by 9223372036854775807]".to_owned(),
    ] {
        let shown: String = equations.chars().take(60).collect();
        assert!(parse_system(&task(&equations)).is_err(), "{shown}");
    }
}

#[test]
fn networks_are_bounded() {
    let text = r#"System(
        name: "a",
        about: "b",
        modules: { "M": Module(forward: "fn (x[]) -> y[] { y = x }") },
        models: {
            "m": Model(network: Stack(count: 20000, layer: Stack(count: 20000, layer: Optional(when: false, layer: M())))),
        },
    )"#;
    assert!(parse_system(text).is_err());
}
