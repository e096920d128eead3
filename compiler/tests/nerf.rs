//! The NeRF spec: what it stores and what its programs take and give.

use indexmap::IndexMap;
use safetensors::SafeTensors;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use visage_compiler::{
    autodiff::gradients,
    graph::DType,
    language::{Overrides, ProgramKind, Spec},
    random::RandomKey,
    reference::{Feeds, evaluate},
    system::Initialiser,
    tensor::Tensor,
};

fn nerf() -> Spec {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../graphs/nerf/nerf.ron");
    Spec::load(path).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_networks_have_the_papers_number_of_parameters() {
    let system = nerf().system(&Overrides::none()).unwrap_or_else(|errors| panic!("{errors}"));
    let count: usize = system.parameters.values().map(|parameter| parameter.ty.shape.elements()).sum();
    assert_eq!(count, 2 * 595_844);
    for program in system.losses.values().chain(system.tasks.values().map(|task| &task.program)) {
        program.graph.verify().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn the_spec_of_a_run_stands_by_itself() {
    let overrides = Overrides::none().preset("quick").set("ray", 64);
    let spec = nerf();
    let text = spec.flattened(&overrides).unwrap_or_else(|errors| panic!("{errors}"));
    let alone =
        Spec::parse("run.ron", &text, &|_| panic!("it uses other files")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let (system, again) = (spec.system(&overrides).unwrap(), alone.system(&Overrides::none()).unwrap());
    assert_eq!(format!("{system:?}"), format!("{again:?}"));
    assert_eq!(alone.flattened(&Overrides::none()).unwrap(), text);
}

/// A file of the shared reference data; `None`, with a notice, where there is none.
fn shared(path: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("VISAGE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let file = root.join(path);
    let read = std::fs::read(&file);
    if read.is_err() {
        eprintln!("skipped: {} is not there", file.display());
    }
    read.ok()
}

/// Tensors of a file, with their dimensions.
fn tensors(bytes: &[u8]) -> BTreeMap<String, (Vec<usize>, Vec<f64>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let values =
        |data: &[u8]| data.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.data())))).collect()
}

/// The outputs of a program on the golden inputs in `given`, with sizes taken from the files.
fn golden_outputs(
    golden: &BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    kind: ProgramKind,
    name: &str,
    given: &[&str],
) -> IndexMap<String, Tensor> {
    let spec = nerf();
    let dims = |prefix: &str, name: &str| (name.to_owned(), golden[&format!("{prefix}.{name}")].0.clone());
    let inputs: Vec<_> = given.iter().map(|name| dims("in", name)).collect();
    let weights: Vec<_> =
        golden.keys().filter_map(|name| name.strip_prefix("w.")).map(|name| dims("w", name)).collect();
    let overrides = Overrides::none().set("coarse", 16).set("fine", 32);
    let overrides = spec.sizes_from(kind, name, &overrides, &inputs, &weights).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((overrides.sets["hidden"].as_str(), overrides.sets["ray"].as_str()), ("64", "8"));
    let given: BTreeSet<String> = given.iter().map(|name| (*name).to_owned()).collect();
    let mut program = spec.program(kind, name, &overrides, &given).unwrap_or_else(|e| panic!("{e}"));
    if let Some(loss) = program.graph.output("loss") {
        let (names, nodes): (Vec<_>, Vec<_>) =
            program.parameters.iter().map(|(name, node)| (name.clone(), *node)).unzip();
        for (name, gradient) in names.iter().zip(gradients(&mut program.graph, loss, &nodes).unwrap()) {
            let shape = program.graph.shape(program.parameters[name]).clone();
            program.graph.set_output(&format!("grad.{name}"), gradient);
            program.outputs.insert(format!("grad.{name}"), shape);
        }
    }
    let mut feeds = Feeds::default();
    for (name, input) in program.inputs.iter().filter(|(name, _)| given.contains(*name)) {
        let value = Tensor::new(DType::F32, input.ty.shape.clone(), golden[&format!("in.{name}")].1.clone());
        feeds.inputs.insert(name.clone(), value);
    }
    for (name, node) in &program.parameters {
        let (dims, data) = &golden[&format!("w.{name}")];
        let shape = program.graph.shape(*node).clone();
        assert_eq!(shape.iter().map(|(_, size)| size).collect::<Vec<_>>(), *dims, "{name}");
        feeds.parameters.insert(name.clone(), Tensor::new(DType::F32, shape, data.clone()));
    }
    let outputs = evaluate(&program.graph, &feeds, RandomKey::default()).unwrap_or_else(|e| panic!("{e}"));
    outputs
        .into_iter()
        .map(|(name, value)| {
            let value = value.reordered(&program.outputs[&name]);
            (name, value)
        })
        .collect()
}

#[track_caller]
fn assert_close(name: &str, found: &Tensor, expected: &[f64]) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut found.data.iter().zip(expected).map(|(a, b)| a - b));
    let relative = difference / norm(&mut expected.iter().copied());
    assert!(found.data.len() == expected.len() && relative < 2e-6, "{name}: relative difference {relative:e}");
}

#[test]
fn rays_are_rendered_as_the_authors_code_does() {
    let Some(bytes) = shared("golden/nerf.safetensors") else { return };
    let golden = tensors(&bytes);
    type Case<'c> = (&'c str, ProgramKind, &'c str, &'c [&'c str], &'c [&'c str]);
    let cases: [Case; 3] = [
        ("out.det", ProgramKind::Task, "rays", &["rays_o", "rays_d"], &["rgb", "rgb0", "depth", "acc"]),
        ("out", ProgramKind::Task, "rays", &["rays_o", "rays_d", "t_rand", "u"], &["rgb", "rgb0", "depth", "acc"]),
        (
            "out",
            ProgramKind::Loss,
            "photometric",
            &["rays_o", "rays_d", "target", "t_rand", "u"],
            &["loss", "rgb", "rgb0", "depth", "acc"],
        ),
    ];
    for (prefix, kind, name, given, outputs) in cases {
        let found = golden_outputs(&golden, kind, name, given);
        for output in outputs {
            assert_close(&format!("{name} {output}"), &found[*output], &golden[&format!("{prefix}.{output}")].1);
        }
        if kind == ProgramKind::Loss {
            for (name, (_, expected)) in golden.iter().filter(|(name, _)| name.starts_with("grad.")) {
                assert_close(name, &found[name], expected);
            }
        }
    }
}

#[test]
fn parameters_have_the_official_names_and_shapes() {
    let system = nerf().system(&Overrides::none()).unwrap_or_else(|errors| panic!("{errors}"));
    let listed: Vec<String> = system
        .parameters
        .iter()
        .filter(|(name, _)| name.starts_with("coarse."))
        .map(|(name, parameter)| {
            let sizes: Vec<usize> = parameter.ty.shape.iter().map(|(_, size)| size).collect();
            format!("{name} {sizes:?}")
        })
        .collect();
    insta::assert_snapshot!(listed.join("\n"));
    let default = Initialiser::Uniform { low: -1.0 / 63_f64.sqrt(), high: 1.0 / 63_f64.sqrt() };
    assert_eq!(system.parameters["coarse.pts_linears.0.bias"].initialiser, default);
    let glorot = nerf().system(&Overrides::none().set("glorot", true)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(glorot.parameters["coarse.pts_linears.0.bias"].initialiser, Initialiser::Constant(0.0));
}

#[test]
fn every_variant_of_the_method_elaborates() {
    for (name, value) in
        [("noise", "1.0"), ("in_disparity", "true"), ("white_background", "false"), ("octaves", "0"), ("depth", "2")]
    {
        nerf().system(&Overrides::none().set(name, value)).unwrap_or_else(|errors| panic!("{name}: {errors}"));
    }
    nerf().system(&Overrides::none().preset("quick")).unwrap_or_else(|errors| panic!("{errors}"));
}
