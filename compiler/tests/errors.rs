//! What a writer of specs is told: each mistake with the message it earns.

use miette::{GraphicalReportHandler, GraphicalTheme};
use std::{io, path::Path};
use visage_compiler::language::{Diagnostics, Overrides, ProgramKind, Spec};

fn render(errors: &Diagnostics) -> String {
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    for error in errors.errors() {
        handler.render_report(&mut text, error).unwrap();
    }
    text
}

fn errors(text: &str, overrides: &Overrides) -> Diagnostics {
    let library = |path: &Path| match path.to_str() {
        Some("layers.ron") => Ok(include_str!("../../graphs/common/layers.ron").to_owned()),
        Some("loop.ron") => Ok(r#"Library(about: "A loop.", uses: ["loop.ron"])"#.to_owned()),
        Some("system.ron") => Ok(r#"System(name: "other", about: "Another.")"#.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    };
    match Spec::parse("spec.ron", text, &library).and_then(|spec| spec.system(overrides)) {
        Ok(_) => panic!("nothing is wrong with this:\n{text}"),
        Err(errors) => errors,
    }
}

/// A snapshot of what a whole spec is told.
#[track_caller]
fn check(name: &str, text: &str) {
    insta::assert_snapshot!(name, render(&errors(text, &Overrides::none())));
}

/// A snapshot of what a task with these equations is told. It has the inputs `x[ray, xyz]`,
/// `w[sample]` and, optionally, `t[ray]`, and gives `y[ray]`.
#[track_caller]
fn check_equations(name: &str, equations: &str) {
    check(name, &task(equations, ""));
}

fn task(equations: &str, more: &str) -> String {
    format!(
        r##"System(
    name: "test",
    about: "A test.",
    uses: ["layers.ron"],
    sizes: {{ "ray": 8, "xyz": 3, "sample": 16, "hidden": 4 }},
    constants: {{ "far": 6.0, "white": true }},
    {more}
    models: {{ "field": Model(network: Linear(from: "xyz", to: "hidden")) }},
    tasks: {{
        "task": Task(
            about: "A task.",
            inputs: {{
                "x": Input(axes: "[ray, xyz]", about: "Points."),
                "w": Input(axes: "[sample]", about: "Weights."),
                "t": Input(axes: "[ray]", about: "Times.", optional: true),
            }},
            outputs: {{ "y": "[ray]" }},
            equations: r#"
{equations}
            "#,
        ),
    }},
)"##
    )
}

#[test]
fn broken_ron() {
    check("ron_comma", "System(\n    name: \"a\"\n    about: \"b\",\n)");
    check("ron_unclosed", "System(\n    name: \"a,\n)");
    check("ron_not_a_system", "Sistem(name: \"a\", about: \"b\")");
}

#[test]
fn fields() {
    check("field_unknown", "System(\n    name: \"a\",\n    about: \"b\",\n    modles: {},\n)");
    check("field_missing", "System(\n    about: \"b\",\n)");
    check("field_twice", "System(\n    name: \"a\",\n    about: \"b\",\n    name: \"c\",\n)");
    check(
        "field_kind",
        "System(\n    name: \"a\",\n    about: \"b\",\n    sizes: [1, 2],\n    tasks: { \"t\": 3 },\n)",
    );
}

#[test]
fn names() {
    check_equations("name_misspelt", "y = sum(x, xyz) * fra");
    check_equations("name_of_function", "y = sum(x, xyz) * relu");
    check_equations("function_misspelt", "y = norn(x, xyz)");
    check_equations("axis_misspelt", "y = sum(x, xzy)");
    check_equations("never_computed", "z = sum(x, xyz)");
    check_equations("optional_input", "y = sum(x, xyz) + t");
}

#[test]
fn axes() {
    check_equations("axes_disagree", "a = x[xyz as sample]\ny = sum(a * w, sample)");
    check_equations("axis_left_over", "y = x * 2");
    check_equations("axis_missing_in_argument", "y = norm(w, xyz)");
    check_equations("axis_missing_in_result", "y = sum(w, sample)");
    check_equations("size_of_layer", "h = field(x[xyz = 1..])\ny = sum(h, hidden)");
    check_equations("split", "a = w[sample as (i: 3, j)]\ny = sum(x, xyz)");
    check_equations("range", "a = w[sample = 20..]\nb = w[sample = 16]\ny = sum(x, xyz)");
    check_equations("index_of_floats", "y = w[sample = sum(x, xyz)]");
    check(
        "captured_axis",
        &task(
            "y = sum(wave(x), octave)",
            r#"functions: "fn wave(v[xyz]) -> e[] { e = sum(v, xyz) * index(octave: 4) }","#,
        ),
    );
}

#[test]
fn syntax() {
    check_equations("missing_operand", "y = 2 * * sum(x, xyz)");
    check_equations("unclosed_call", "y = sum(x, xyz");
    check_equations("chained_comparison", "y = if 0 < sum(x, xyz) < 1 { 1 } else { 0 }");
    check_equations("stray_character", "y = sum(x, xyz) § 2");
    check_equations("keyword", "for = 2");
    check_equations("two_on_a_line", "a = 1 y = sum(x, xyz)");
}

#[test]
fn before_anything_runs() {
    check_equations("condition_is_a_tensor", "y = sum(x, xyz)\nif y > 0 { y = 2 * y }");
    check_equations("bound_is_a_tensor", "y = sum(x, xyz)\nfor i in 0..y { y = y + i }");
    check_equations("level_of_a_model", "y = field[0](x)");
    check_equations("results", "(y, z) = sum(x, xyz)");
}

#[test]
fn several_at_once() {
    check_equations("several", "a = sum(x, xzy)\nb = nrom(x, xyz)\nc = a + b\ny = sum(x, xyz) * fra");
}

#[test]
fn recursion() {
    check("function_calls_itself", &task("y = f(x)", r#"functions: "fn f(v[xyz]) -> e[] { e = f(v) }","#));
    check(
        "module_holds_itself",
        r#"System(
    name: "a",
    about: "b",
    modules: {
        "A": Module(layers: { "b": B() }, forward: "fn (x[]) -> y[] { y = b(x) }"),
        "B": Module(layers: { "a": A() }, forward: "fn (x[]) -> y[] { y = a(x) }"),
    },
    models: { "m": Model(network: A()) },
)"#,
    );
    check(
        "sizes_in_a_circle",
        "System(\n    name: \"a\",\n    about: \"b\",\n    sizes: { \"m\": \"n + 1\", \"n\": \"2 * m\" },\n)",
    );
    check("library_uses_itself", "System(\n    name: \"a\",\n    about: \"b\",\n    uses: [\"loop.ron\"],\n)");
}

#[test]
fn libraries() {
    check("library_missing", "System(\n    name: \"a\",\n    about: \"b\",\n    uses: [\"layer.ron\"],\n)");
    check("library_is_a_system", "System(\n    name: \"a\",\n    about: \"b\",\n    uses: [\"system.ron\"],\n)");
    check("function_twice", &task("y = norm(x, xyz)", r#"functions: "fn relu(x[]) -> y[] { y = x }","#));
}

#[test]
fn networks() {
    check(
        "module_arguments",
        r#"System(
    name: "a",
    about: "b",
    uses: ["layers.ron"],
    sizes: { "xyz": 3, "hidden": "7 / 2" },
    models: {
        "one": Model(network: Linea(from: "xyz", to: "xyz")),
        "two": Model(network: Linear(from: "xyz", too: "xyz")),
        "three": Model(network: Linear(from: "xzy", to: "xyz")),
        "four": Model(network: Stack(count: -1, layer: Linear(from: "xyz", to: "xyz"))),
    },
)"#,
    );
    check(
        "parameters_twice",
        r#"System(
    name: "a",
    about: "b",
    uses: ["layers.ron"],
    sizes: { "xyz": 3 },
    models: {
        "one": Model(network: Linear(from: "xyz", to: "xyz"), prefix: ""),
        "two": Model(network: Linear(from: "xyz", to: "xyz"), prefix: ""),
    },
)"#,
    );
}

#[test]
fn training() {
    check(
        "training",
        r#"System(
    name: "a",
    about: "b",
    uses: ["layers.ron"],
    sizes: { "xyz": 3, "ray": 8 },
    models: { "field": Model(network: Linear(from: "xyz", to: "xyz"), frozen: true) },
    losses: {
        "fit": Loss(
            about: "A loss.",
            inputs: { "x": Input(axes: "[ray, xyz]", about: "Points.") },
            outputs: { "loss": "[]" },
            equations: "loss = mean(field(x) ^ 2)",
        ),
    },
    data: { "views": PosedImages() },
    train: Train(
        rounds: 10,
        steps: {
            "one": Update(loss: "fti", optimiser: Adam(), rate: 1e-3, batch: {}),
            "two": Update(loss: "fit", optimiser: Adam(), rate: 1e-3, batch: { "z": "view.origin" }, parameters: ["field"]),
            "three": Update(loss: "fit", optimiser: Adam(), rate: 1e-3, batch: { "x": "views" }),
        },
    ),
)"#,
    );
}

#[test]
fn families() {
    check_equations("family_without_member", "kept[1] = x\nkept[3] = x\ny = sum(kept[2], xyz)");
    check_equations("family_whole", "kept[1] = x\ny = sum(kept, xyz)");
    check_equations("member_of_a_value", "y = sum(x, xyz)\ny[1] = x");
}

#[test]
fn stages() {
    check(
        "stages",
        r#"System(
    name: "a",
    about: "b",
    uses: ["layers.ron"],
    sizes: { "xyz": 3 },
    models: { "one": Model(network: Linear(from: "xyz", to: "xyz"), starts_from: "tow") },
    schedules: { "weight": Pieces(values: [1, 2], at: [10, 20]) },
)"#,
    );
}

#[test]
fn structures() {
    check(
        "optimiser_misspelt",
        r#"System(
    name: "a",
    about: "b",
    train: Train(rounds: 1, steps: { "one": Update(loss: "fit", optimiser: Adma(), rate: Cosin(), batch: {}) }),
)"#,
    );
}

#[test]
fn alarms() {
    let spec = |alarms: &str| {
        format!(
            r#"System(
    name: "a",
    about: "b",
    sizes: {{ "ray": 8 }},
    modules: {{ "M": Module(parameters: {{ "w": "[] = 0" }}, forward: "fn (x[]) -> y[] {{ y = w * x }}") }},
    models: {{ "m": Model(network: M()) }},
    losses: {{
        "fit": Loss(
            about: "A loss.",
            inputs: {{ "x": Input(axes: "[ray]", about: "Numbers.") }},
            outputs: {{ "loss": "[]", "spread": "[]", "each": "[ray]" }},
            equations: "each = m(x)\n loss = mean(each)\n spread = max(each, ray)",
        ),
    }},
    data: {{ "d": Table() }},
    train: Train(
        rounds: 1,
        steps: {{ "step": Update(loss: "fit", optimiser: Sgd(), rate: 1, batch: {{ "x": "d.x" }}) }},
        alarms: {{
{alarms}
        }},
    ),
)"#
        )
    };
    check(
        "alarm_measures",
        &spec(
            r#"            "misspelt": Alarm(measure: "step.spraed", below: 1, rounds: 9, about: "c"),
            "of many numbers": Alarm(measure: "step.each", below: 1, rounds: 9, about: "c", when: false),
            "of a loss": Alarm(measure: "fit.loss", above: 1, rounds: 0, about: "c"),
            "at once": Alarm(measure: "step.loss", above: 1, rounds: 0, about: "c"),"#,
        ),
    );
    check(
        "alarm_bounds",
        &spec(
            r#"            "neither": Alarm(measure: "step.loss", rounds: 9, about: "c"),
            "both": Alarm(measure: "step.loss", below: 1, above: 2, rounds: 9, about: "c"),
            "more": Alarm(measure: "step.loss", over: 1, rounds: 9),"#,
        ),
    );
}

#[test]
fn command_line() {
    let text = task("y = sum(x, xyz)", "");
    let overrides = Overrides::none().set("rya", 3).set("far", "2 *").set("hidden", "7 / 2");
    insta::assert_snapshot!("set", render(&errors(&text, &overrides)));
    insta::assert_snapshot!("preset", render(&errors(&text, &Overrides::none().preset("quick"))));
}

#[test]
fn files_that_disagree() {
    let spec = Spec::parse("spec.ron", &task("y = sum(x, xyz)", ""), &|_| {
        Ok(include_str!("../../graphs/common/layers.ron").to_owned())
    });
    let inputs = [("x".to_owned(), vec![4, 3]), ("t".to_owned(), vec![5]), ("w".to_owned(), vec![2, 2])];
    let found = spec.unwrap().sizes_from(ProgramKind::Task, "task", &Overrides::none(), &inputs, &[]);
    insta::assert_snapshot!("files_that_disagree", render(&found.unwrap_err()));
}

/// Files decide what has a name in `sizes`. Numbers, and options of modules, decide themselves, whatever else they are beside.
#[test]
fn numbers_are_not_for_files_to_decide() {
    let text = r#"System(
        name: "a",
        about: "b",
        sizes: { "row": 2, "taps": 9 },
        modules: {
            "Taps": Module(
                options: { "taps": 3 },
                parameters: { "weight": "[tap: taps, two: 2] = 0" },
                forward: "fn (x[]) -> y[] { y = x * sum(weight, tap, two) }",
            ),
        },
        models: { "three": Model(network: Taps()), "five": Model(network: Taps(taps: 5)) },
        tasks: {
            "task": Task(
                about: "c",
                inputs: {
                    "x": Input(axes: "[row, four: 4]", about: "d"),
                    "z": Input(axes: "[row, six: 6]", about: "e"),
                },
                outputs: { "y": "[row]" },
                equations: "y = three(five(sum(x, four) + sum(z, six)))",
            ),
        },
    )"#;
    let spec = Spec::parse("spec.ron", text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let inputs = [("x".to_owned(), vec![7, 4]), ("z".to_owned(), vec![7, 6])];
    let weights = [("three.weight".to_owned(), vec![3, 2]), ("five.weight".to_owned(), vec![5, 2])];
    let found = spec.sizes_from(ProgramKind::Task, "task", &Overrides::none(), &inputs, &weights).unwrap();
    let decided: Vec<_> = found.sets.iter().map(|(name, size)| (name.as_str(), size.as_str())).collect();
    assert_eq!(decided, [("row", "7")]);
}

#[test]
fn sizes_of_steps() {
    let spec = |update: &str| {
        format!(
            r#"System(
    name: "a",
    about: "b",
    sizes: {{ "ray": 8, "hidden": 4 }},
    modules: {{ "M": Module(parameters: {{ "w": "[hidden] = 0" }}, forward: "fn (x[]) -> y[] {{ y = sum(w * x, hidden) }}") }},
    models: {{ "m": Model(network: M()) }},
    losses: {{
        "fit": Loss(
            about: "A loss.",
            inputs: {{ "x": Input(axes: "[ray]", about: "Numbers.") }},
            outputs: {{ "loss": "[]" }},
            equations: "loss = mean(m(x))",
        ),
    }},
    data: {{ "d": Table() }},
    train: Train(
        rounds: 1,
        steps: {{
            "step": Update(
                loss: "fit", optimiser: Sgd(), rate: 1, batch: {{ "x": "d.x" }},
                {update}
            ),
        }},
    ),
)"#
        )
    };
    check("step_sizes_unknown", &spec(r#"sizes: { "rays": 4 },"#));
    check("step_sizes_of_parameters", &spec(r#"sizes: { "hidden": 8 },"#));
    check("step_factors", &spec(r#"factors: { "n": 0.1 },"#));
    check("step_restarts", &spec(r#"ema: Restart(at: [5, 3], then: Averaging(limit: 0.9)),"#));
}
