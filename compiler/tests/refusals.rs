//! Which stages stay at 128 bits and why, on graphs that provoke each reason.
//!
//! [`Refusal::Encoder`](visage_compiler::cpu::Refusal::Encoder) is not among them: it is the answer to a defect of the
//! encoder, and no graph that is known provokes it.

use visage_compiler::{
    axis::{Axis, Shape},
    cpu::refusals,
    graph::{Combine, DType, Graph, NodeId, Op, ScalarOp, Type},
    plan::{PlanOptions, plan},
};

fn input(graph: &mut Graph, name: &str, dtype: DType, sizes: &[(&str, usize)]) -> NodeId {
    let shape: Shape = sizes.iter().map(|(name, size)| (Axis::new(name), *size)).collect();
    graph.input(name, Type::new(dtype, shape))
}

/// The reasons of a graph with one output.
fn reasons(build: impl FnOnce(&mut Graph) -> NodeId) -> String {
    let mut graph = Graph::new();
    let output = build(&mut graph);
    graph.set_output("y", output);
    let plan = plan(&graph, &PlanOptions::default()).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let reasons = refusals(&plan);
    let reasons: Vec<String> =
        reasons.iter().map(|refused| format!("stage {}: {}", refused.stage, refused.why)).collect();
    if reasons.is_empty() { "none".to_owned() } else { reasons.join("; ") }
}

fn scanned(graph: &mut Graph, x: NodeId) -> NodeId {
    let scan = Op::Scan { combine: Combine::Sum, axis: Axis::new("feature"), exclusive: false, reverse: false };
    graph.add(scan, &[x])
}

#[test]
fn every_reason_is_told() {
    let of_integers = |op| {
        reasons(move |graph| {
            let x = input(graph, "x", DType::I32, &[("row", 64)]);
            let y = input(graph, "y", DType::I32, &[("row", 64)]);
            graph.map(op, &[x, y])
        })
    };
    let cases = [
        (
            "a map, a scan and a maximum in f32",
            reasons(|graph| {
                let x = input(graph, "x", DType::F32, &[("row", 64), ("feature", 5)]);
                let bent = graph.map(ScalarOp::Sin, &[x]);
                let scanned = scanned(graph, bent);
                graph.add(Op::Reduce { combine: Combine::Max, axes: vec![Axis::new("feature")] }, &[scanned])
            }),
        ),
        (
            "a map in f64",
            reasons(|graph| {
                let x = input(graph, "x", DType::F64, &[("row", 64)]);
                graph.map(ScalarOp::Mul, &[x, x])
            }),
        ),
        (
            "a map from f64 to f32",
            reasons(|graph| {
                let x = input(graph, "x", DType::F64, &[("row", 64)]);
                graph.map(ScalarOp::Cast(DType::F32), &[x])
            }),
        ),
        (
            "a scan in f64",
            reasons(|graph| {
                let x = input(graph, "x", DType::F64, &[("row", 64), ("feature", 5)]);
                scanned(graph, x)
            }),
        ),
        (
            "a gather",
            reasons(|graph| {
                let table = input(graph, "table", DType::F32, &[("entry", 16)]);
                let index = input(graph, "index", DType::I32, &[("row", 64)]);
                graph.add(Op::Gather { axis: Axis::new("entry") }, &[table, index])
            }),
        ),
        ("a quotient of integers", of_integers(ScalarOp::Div)),
        ("a remainder of integers", of_integers(ScalarOp::Mod)),
        (
            "a scan over 4 GiB of tile memory",
            reasons(|graph| {
                let x = input(graph, "x", DType::F32, &[("row", 32), ("feature", 1 << 25)]);
                scanned(graph, x)
            }),
        ),
    ];
    insta::assert_snapshot!(cases.map(|(what, reasons)| format!("{what}: {reasons}\n")).concat());
}
