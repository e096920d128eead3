//! The NeRF spec: what it stores and what its programs take and give.

use std::path::{Path, PathBuf};
use visage_compiler::language::{Overrides, Spec};

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
