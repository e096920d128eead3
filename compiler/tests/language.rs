//! What equations mean: their values by the reference evaluator.

use std::collections::HashMap;
use visage_compiler::{
    axis::{Axis, Shape},
    graph::{DType, Op},
    language::{Overrides, Spec, parse_system},
    random::RandomKey,
    reference::{Feeds, evaluate},
    system::{Bound, Initialiser, Program, System, Value},
    tensor::Tensor,
};

fn system(text: &str) -> System {
    parse_system(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A task with equations over `x[i, j]`, a 2 × 3 tensor of 0 to 5, and `p`, the positions 2, 0.
fn program(functions: &str, equations: &str, output: &str) -> Program {
    let text = format!(
        r##"System(
            name: "a",
            about: "b",
            sizes: {{ "i": 2, "j": 3, "n": 7 }},
            constants: {{ "on": true, "off": false }},
            functions: r#"{functions}"#,
            tasks: {{
                "t": Task(
                    about: "c",
                    inputs: {{
                        "x": Input(axes: "[i, j]", about: "d"),
                        "p": Input(axes: "[i]", about: "e", type: "i32"),
                    }},
                    outputs: {{ "y": "{output}" }},
                    equations: r#"{equations}"#,
                ),
            }},
        )"##
    );
    system(&text).tasks["t"].program.clone()
}

fn value_of(program: &Program) -> Vec<f64> {
    let shape = Shape::new([(Axis::new("i"), 2), (Axis::new("j"), 3)]);
    let x = Tensor::new(DType::F32, shape, (0..6).map(f64::from).collect());
    let p = Tensor::new(DType::I32, Shape::new([(Axis::new("i"), 2)]), vec![2.0, 0.0]);
    let feeds = Feeds { inputs: HashMap::from([("x".into(), x), ("p".into(), p)]), parameters: HashMap::new() };
    let outputs = evaluate(&program.graph, &feeds, RandomKey::default()).unwrap();
    outputs["y"].reordered(&program.outputs["y"]).data
}

#[track_caller]
fn check(equations: &str, output: &str, expected: &[f64]) {
    let found = value_of(&program("", equations, output));
    assert_eq!(found, expected, "{equations}");
}

#[track_caller]
fn check_with(functions: &str, equations: &str, output: &str, expected: &[f64]) {
    let found = value_of(&program(functions, equations, output));
    assert_eq!(found, expected, "{functions} {equations}");
}

#[test]
fn operators_bind_as_documented() {
    for (expression, expected) in [
        ("2 + 3 * 4", 14.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("10 - 3 - 2", 5.0),
        ("12 / 3 / 2", 2.0),
        ("7 / 2", 3.5),
        ("(2 + 3) * 4", 20.0),
        ("if not 1 > 2 and 2 <= 2 or off { 1 } else { 0 }", 1.0),
        ("if on and (1 == 2 or 3 != 4) { 1 } else if off { 2 } else { 3 }", 1.0),
        ("min(3, 2) + max(n, 1) + floor(2.7) + mod(-1, 5)", 15.0),
        ("i * 10 + n", 27.0),
        ("1e3 + 1.5e-1 + 2.", 1002.15),
    ] {
        let found = value_of(&program("", &format!("y = 1.0 * ({expression})"), "[]"));
        assert!((found[0] - expected).abs() < 1e-6, "{expression} gives {found:?}");
    }
}

#[test]
fn lines_end_statements_except_inside_brackets() {
    check("a = sum(\n x,\n j\n)\n// a comment\ny = a\n  + 1", "[i]", &[4.0, 13.0]);
    check_with(
        "fn both(v[j]) -> (a[], b[]) { a = sum(v, j)\n b = 1.0 }",
        "(a, b) = both(x)\ny = a + b",
        "[i]",
        &[4.0, 13.0],
    );
}

#[test]
fn views() {
    check("y = x[j = 1..]", "[i, j: 2]", &[1.0, 2.0, 4.0, 5.0]);
    check("y = x[j = ..-1]", "[i, j: 2]", &[0.0, 1.0, 3.0, 4.0]);
    check("y = x[j = -1]", "[i]", &[2.0, 5.0]);
    check("y = x[j = .. by -1]", "[i, j]", &[2.0, 1.0, 0.0, 5.0, 4.0, 3.0]);
    check("y = x[j = .. by 2]", "[i, j: 2]", &[0.0, 2.0, 3.0, 5.0]);
    check("y = x[j = 2..0 by -1]", "[i, j: 2]", &[2.0, 1.0, 5.0, 4.0]);
    check("y = x[(j, i) as k]", "[k: 6]", &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    check("y = x[(i, j) as k, k as (j: 3, i)]", "[j, i]", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    check("y = x[i as j, j as i]", "[j: 2, i: 3]", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    check("y = x[j = p]", "[i]", &[2.0, 3.0]);
    check("y = x[j = p[i as k]]", "[i, k: 2]", &[2.0, 0.0, 5.0, 3.0]);
}

#[test]
fn functions_of_the_language() {
    check("y = sum(x)", "[]", &[15.0]);
    check("y = mean(x, i)", "[j]", &[1.5, 2.5, 3.5]);
    check("y = max(x, j) + min(x, j)", "[i]", &[2.0, 8.0]);
    check("y = max(x, 2.5)", "[i, j]", &[2.5, 2.5, 2.5, 3.0, 4.0, 5.0]);
    check("y = clamp(x, 1, 4)", "[i, j]", &[1.0, 1.0, 2.0, 3.0, 4.0, 4.0]);
    check("y = cumsum(x, j, exclusive = true)", "[i, j]", &[0.0, 0.0, 1.0, 0.0, 3.0, 7.0]);
    check("y = cumsum(x, j, reverse = true)", "[i, j]", &[3.0, 3.0, 2.0, 12.0, 9.0, 5.0]);
    check("y = sort(-x, j)", "[i, j]", &[-2.0, -1.0, 0.0, -5.0, -4.0, -3.0]);
    check("y = argsort(-x, j)", "[i, j]", &[2.0, 1.0, 0.0, 2.0, 1.0, 0.0]);
    check("y = argmax(x, j) + argmin(x, i)[j = 0]", "[i]", &[2.0, 2.0]);
    check("y = concat(x[j = ..1], x[j = 1..] * 10, j)", "[i, j]", &[0.0, 10.0, 20.0, 3.0, 40.0, 50.0]);
    check("y = stack(p, 1, k)", "[i, k: 2]", &[2.0, 1.0, 0.0, 1.0]);
    check("y = pad(x, j, 1, 0, value = 9)[i = 0]", "[j: 4]", &[9.0, 0.0, 1.0, 2.0]);
    check("y = sum(window(x, j, q, t: 2), t)", "[i, q: 2]", &[1.0, 3.0, 7.0, 9.0]);
    check("y = fold(window(x, j, q, t: 2), q, t, j: 3)", "[i, j]", &[0.0, 2.0, 2.0, 3.0, 8.0, 5.0]);
    check("y = scatter_add(f32(p) + 1, p, k: 3, i)", "[k: 3]", &[1.0, 0.0, 3.0]);
    check("y = search_sorted(x, 1.0, j) + 10 * search_sorted(x, 1.0, j, right = true)", "[i]", &[21.0, 0.0]);
    check("y = index(j) * 2 + n", "[j]", &[7.0, 9.0, 11.0]);
    check("y = spread(p, k: 2)", "[i, k: 2]", &[2.0, 2.0, 0.0, 0.0]);
    check("y = index(j) / 2", "[j]", &[0.0, 0.5, 1.0]);
}

#[test]
fn wide_numbers_spread_and_end_at_outputs() {
    // 2²⁴ + 1 is no `f32`.
    check("y = f32(f64(x) + 16777217 - 16777216)", "[i, j]", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let widened = program("", "y = x + f64(p) * x", "[i, j]");
    let node = widened.graph.output("y").unwrap();
    assert_eq!(widened.graph.ty(node).dtype, DType::F32, "an output is rounded");
    assert!(widened.graph.ids().any(|id| widened.graph.ty(id).dtype == DType::F64), "what is between is not");
    assert_eq!(value_of(&widened), [0.0, 3.0, 6.0, 3.0, 4.0, 5.0]);
}

#[test]
fn wide_losses_and_defaults_train() {
    let text = r#"System(
        name: "wide", about: "A loss that is computed in f64.",
        sizes: { "i": 3 },
        modules: { "M": Module(parameters: { "w": "[i] = 0.5" }, forward: "fn (x[i]) -> y[] { y = sum(w * x, i) }") },
        models: { "m": Model(network: M()) },
        losses: { "l": Loss(
            about: "A square.",
            inputs: { "x": Input(axes: "[i]", about: "Numbers.", default: "f64(index(i)) / 2") },
            outputs: { "loss": "[]" },
            equations: "loss = f64(m(x)) ^ 2",
        ) },
        train: Train(rounds: 1, steps: { "fit": Update(loss: "l", optimiser: Adam(), rate: 0.1, batch: {}) }),
    )"#;
    let system = system(text);
    let step = &system.training.steps["fit"];
    let step = visage_compiler::training::step_program(&system.losses["l"], step, &system.parameters).unwrap();
    step.program.graph.verify().unwrap();
    let loss = step.program.graph.output("loss").unwrap();
    assert_eq!(step.program.graph.ty(loss).dtype, DType::F32);
}

#[test]
fn gradients_are_values() {
    check("y = grad(sum(x ^ 3), x)", "[i, j]", &[0.0, 3.0, 12.0, 27.0, 48.0, 75.0]);
    check("g = grad(sum(x ^ 3), x)\ny = grad(sum(g), x)", "[i, j]", &[0.0, 6.0, 12.0, 18.0, 24.0, 30.0]);
    check("y = grad(sum(stop(x) * x), x)", "[i, j]", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn statements_are_carried_out_at_once() {
    check("y = x\nfor a in 1..4 { y = y * a }", "[i, j]", &[0.0, 6.0, 12.0, 18.0, 24.0, 30.0]);
    check("y = 0.0\nif n > 5 and on { y = 1.0 } else { y = nothing_of_the_kind }", "[]", &[1.0]);
    check("y = if x > 2 { x } else { -1 }", "[i, j]", &[-1.0, -1.0, -1.0, 3.0, 4.0, 5.0]);
}

#[test]
fn functions_are_lifted_over_what_callers_bring() {
    let total = "fn total(v[a], axis a) -> s[] { s = sum(v, a) }";
    check_with(total, "y = total(x, j)", "[i]", &[3.0, 12.0]);
    check_with(total, "y = total(a = i, v = x)", "[j]", &[3.0, 5.0, 7.0]);
    // A sum without axes is over those of the signature alone.
    check_with("fn total(v[j]) -> s[] { s = sum(v) }", "y = total(x)", "[i]", &[3.0, 12.0]);
    // The function's own axis `i` is not the caller's.
    let spread = "fn apart(v[j]) -> s[] { s = sum(v * sum(index(i: 3), i), j) }";
    check_with(spread, "y = apart(x)", "[i]", &[9.0, 36.0]);
    // Axes change their names on the way in and back on the way out.
    let reverse = "fn reverse(v[a], axis a) -> r[a] { r = v[a = .. by -1] }";
    check_with(reverse, "y = reverse(reverse(x, j), i)", "[i, j]", &[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    let size = "fn scaled(v[a], axis a, factor = 2) -> r[a] { r = v * a * factor }";
    check_with(size, "y = scaled(x, i)", "[i, j]", &[0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
}

#[test]
fn products_are_contractions_where_both_factors_have_the_axes() {
    let contractions = |equations: &str| {
        let program = program("", equations, "[i]");
        program.graph.ids().filter(|node| matches!(program.graph.op(*node), Op::Contract { .. })).count()
    };
    assert_eq!(contractions("y = sum(x * x, j)"), 1);
    assert_eq!(contractions("y = sum(x * p, j)"), 0);
    check("y = sum(x * p, j)", "[i]", &[6.0, 0.0]);
}

#[test]
fn each_call_draws_its_own_random_numbers() {
    let functions = "fn noise(v[]) -> r[] { r = v + uniform_like(v) }";
    let program = program(functions, "y = noise(x) - noise(x) + uniform(i, j) - uniform(i, j)", "[i, j]");
    let mut streams: Vec<u32> = program
        .graph
        .ids()
        .filter_map(|node| if let Op::Random { stream, .. } = program.graph.op(node) { Some(*stream) } else { None })
        .collect();
    streams.sort_unstable();
    streams.dedup();
    assert_eq!(streams.len(), 4);
}

const NETWORKS: &str = r##"System(
    name: "a",
    about: "b",
    sizes: { "hidden": 4, "depth": 3 },
    modules: {
        "Linear": Module(
            axes: ["from", "to"],
            options: { "biased": true },
            parameters: {
                "weight": "[to, from] = 1 / from",
                "bias": Parameter(value: "[to] = 1", when: "biased"),
                "count": Buffer(value: "[] = 0", name: "batches"),
            },
            forward: r#"
                fn (x[from]) -> y[to] {
                    y = sum(weight * x, from)
                    if biased { y = y + bias }
                }
            "#,
        ),
        "Row": Module(
            axes: ["channel"],
            layers: {
                "in": Named(name: "stem", layer: Linear(from: "channel", to: "channel")),
                "blocks": Stack(count: "depth", index: "k", name: "{2 * k}", layer: Linear(from: "channel", to: "channel", biased: "k == 0")),
                "none": Optional(when: "depth > 9", layer: Linear(from: "channel", to: "channel")),
            },
            forward: r#"
                fn (x[channel]) -> y[channel] {
                    y = in(x)
                    for k in 0..depth { y = blocks[k](y) }
                }
            "#,
        ),
    },
    models: {
        "row": Model(network: Row(channel: "hidden"), prefix: ""),
        "frozen": Model(network: Linear(from: "hidden", to: "hidden"), frozen: true),
    },
    losses: {
        "l": Loss(
            about: "c",
            inputs: { "x": Input(axes: "[i: 2, hidden]", about: "d") },
            outputs: { "loss": "[]" },
            equations: "loss = mean(frozen(row(x)) + row.blocks[1](x))",
        ),
    },
    data: { "d": Table(rows: Value("2 * hidden"), from: Other(name: "n"), list: [1, true, "t"]) },
    train: Train(
        rounds: 10,
        steps: { "s": Update(loss: "l", optimiser: Adam(), rate: 0.1, batch: { "x": "d.x" }) },
    ),
)"##;

#[test]
fn networks_store_what_their_modules_say() {
    let text = NETWORKS.replace("\"in\":", "\"first\":").replace("= in(x)", "= first(x)");
    let system = system(&text);
    let names: Vec<&str> = system.parameters.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "stem.weight",
            "stem.bias",
            "stem.batches",
            "0.weight",
            "0.bias",
            "0.batches",
            "2.weight",
            "2.batches",
            "4.weight",
            "4.batches",
            "frozen.weight",
            "frozen.bias",
            "frozen.batches",
        ]
        .map(|name| if name.starts_with(char::is_numeric) {
            format!("blocks.{name}")
        } else {
            name.to_owned()
        })
    );
    assert_eq!(system.parameters["stem.weight"].size_names, ["hidden", "hidden"]);
    assert_eq!(system.parameters["stem.weight"].initialiser, Initialiser::Constant(0.25));
    assert!(system.parameters["stem.batches"].buffer);
    let step = &system.training.steps["s"];
    assert!(step.parameters.iter().all(|name| !name.starts_with("frozen") && !name.ends_with("batches")));
    assert_eq!(step.parameters.len(), 6);
    assert_eq!(system.data["d"].options["rows"], Value::Number(8.0));
    assert_eq!(
        system.data["d"].options["list"],
        Value::List(vec![Value::Number(1.0), Value::Bool(true), Value::Text("t".into())])
    );
    system.losses["l"].graph.verify().unwrap();
}

/// Values by number, given in a loop and taken in another order.
#[test]
fn families_of_values() {
    let squares = "for k in 0..3 { kept[2 * k] = k * x }\ny = kept[4] - kept[2] + 0 * kept[0]";
    check(squares, "[i, j]", &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let functions = "fn both(v[j]) -> (a[], b[]) { a = sum(v, j)\n b = 1.0 }";
    check_with(functions, "(kept[1], other) = both(x)\ny = kept[1] * other", "[i]", &[3.0, 12.0]);
}

/// A dot reaches stored values, too; gradients by them are values.
#[test]
fn stored_values_of_layers() {
    let text = NETWORKS.replace("\"in\":", "\"first\":").replace("= in(x)", "= first(x)").replace(
        "mean(frozen(row(x)) + row.blocks[1](x))",
        "sum(grad(sum(row.blocks[1](x)), row.blocks[1].weight)) + sum(frozen.bias)",
    );
    let loss = &system(&text).losses["l"];
    let names: Vec<&str> = loss.parameters.keys().map(String::as_str).collect();
    assert_eq!(names, ["frozen.bias"], "the gradient of a sum of products does not depend on the weight");
}

/// Steps and reports that are there in some stages only, and when steps run.
#[test]
fn steps_have_their_time() {
    let update = "loss: \"l\", optimiser: Adam(), rate: 0.1, batch: { \"x\": \"d.x\" }";
    let text = NETWORKS.replace("\"in\":", "\"first\":").replace("= in(x)", "= first(x)").replace(
        "steps: { \"s\":",
        &format!(
            "steps: {{ \"none\": Update(when: \"depth > 3\", {update}), \"late\": Update(from: 5, until: 12, every: 3, {update}), \"s\":"
        ),
    );
    let steps = system(&text).training.steps;
    assert_eq!(steps.keys().collect::<Vec<_>>(), ["late", "s"]);
    let late = &steps["late"];
    let runs: Vec<u64> = (0..20).filter(|round| late.runs_in(*round)).collect();
    assert_eq!(runs, [6, 9]);
    let before = |round: u64| (0..round).filter(|round| late.runs_in(*round)).count() as u64;
    assert!((0..20).all(|round| late.runs_before(round) == before(round)));
}

/// Alarms are over what steps measure; those of steps that are left out are left out too.
#[test]
fn alarms_watch_what_steps_measure() {
    let text = NETWORKS.replace("\"in\":", "\"first\":").replace("= in(x)", "= first(x)").replace(
        "steps: { \"s\":",
        r#"alarms: {
            "low": Alarm(measure: "s.loss", below: "1 / hidden", rounds: "2 * depth", about: "Too good.", stop: "depth > 1"),
            "high": Alarm(measure: "s.loss", above: 8, rounds: 1, about: "Bad."),
            "off": Alarm(measure: "s.loss", above: 8, rounds: 1, about: "Bad.", when: "depth > 99"),
            "gone": Alarm(measure: "none.loss", above: 8, rounds: 1, about: "Bad."),
        },
        steps: {
            "none": Update(when: "depth > 99", loss: "l", optimiser: Adam(), rate: 0.1, batch: { "x": "d.x" }),
            "s":"#,
    );
    let system = system(&text);
    let (hidden, depth) = (system.sizes["hidden"] as f64, system.sizes["depth"] as u64);
    let alarms = system.training.alarms;
    assert_eq!(alarms.keys().collect::<Vec<_>>(), ["low", "high"]);
    let low = &alarms["low"];
    assert_eq!((low.measure.as_str(), low.bound, low.rounds), ("s.loss", Bound::Below(1.0 / hidden), 2 * depth));
    assert!(low.stop && !alarms["high"].stop);
    assert_eq!((alarms["high"].bound, alarms["high"].about.as_str()), (Bound::Above(8.0), "Bad."));
    // Neither side holds what is not a number.
    assert!(low.bound.holds(-1.0) && !low.bound.holds(f64::NAN) && !Bound::Above(8.0).holds(8.0));
}

/// Braces of an expression inside the braces of a name.
#[test]
fn names_hold_conditions() {
    let text = NETWORKS
        .replace("\"in\":", "\"first\":")
        .replace("= in(x)", "= first(x)")
        .replace("\"{2 * k}\"", "\"{if k == 0 { 7 } else { k }}b\"");
    let names: Vec<String> =
        system(&text).parameters.keys().filter(|name| name.starts_with("blocks")).cloned().collect();
    assert_eq!(names[0], "blocks.7b.weight");
    assert_eq!(names[3], "blocks.1b.weight");
}

#[test]
fn words_of_the_language_name_nothing() {
    let errors = parse_system(NETWORKS).unwrap_err();
    assert!(errors.to_string().contains("`in` is a word of the language"), "{errors}");
}

#[test]
fn overrides_reach_everything() {
    let text = NETWORKS.replace("\"in\":", "\"first\":").replace("= in(x)", "= first(x)");
    let spec = Spec::parse("a.ron", &text, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let system = spec.system(&Overrides::none().set("hidden", "2 * 4").set("depth", 2)).unwrap();
    assert_eq!(system.sizes["hidden"], 8);
    assert_eq!(system.parameters["stem.weight"].ty.shape.elements(), 64);
    assert!(!system.parameters.contains_key("blocks.4.weight"));
}
