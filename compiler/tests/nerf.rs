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
