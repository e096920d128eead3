//! NeRF's programs with maps at 512 and at 128 bits: the same bits, in every output and in the state after a step.

use crate::support::check_bits;
use indexmap::{IndexMap, IndexSet};
use std::path::Path;
use visage_compiler::{
    graph::{DType, Distribution, Type},
    language::{Overrides, Spec},
    random::{RandomKey, draw},
    system::{Program, System},
    training::{gradient_program, step_program},
};
use visage_runtime::{
    buffer::{Buffer, State},
    executor::{Executable, ExecuteOptions, Maps},
};

pub fn nerf(overrides: &Overrides) -> System {
    shipped("nerf", overrides)
}

/// A system of `graphs`.
pub fn shipped(name: &str, overrides: &Overrides) -> System {
    let spec = Spec::load(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("graphs/{name}/{name}.ron")));
    spec.unwrap_or_else(|error| panic!("{error}")).system(overrides).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Numbers that look like data; zeros where they are not `f32`.
pub fn random(ty: &Type, stream: u32, distribution: Distribution, factor: f64) -> Buffer {
    let mut buffer = Buffer::zeros(ty.clone());
    if ty.dtype == DType::F32 {
        for (index, element) in buffer.as_f32_mut().iter_mut().enumerate() {
            let drawn = draw(distribution, RandomKey { seed: 1, step: 0 }, stream, index as u32);
            *element = (factor * drawn) as f32;
        }
    }
    buffer
}

/// Runs a program both ways.
fn check(name: &str, program: &Program, updates: &IndexMap<String, String>) {
    let state: State = (0..)
        .zip(&program.parameters)
        .map(|(i, (name, node))| (name.clone(), random(program.graph.ty(*node), i, Distribution::Normal, 0.1)))
        .collect();
    let inputs: IndexMap<String, Buffer> = (1000..)
        .zip(&program.inputs)
        .map(|(i, (name, input))| (name.clone(), random(&input.ty, i, Distribution::Uniform, 1.0)))
        .collect();
    for fuse in [true, false] {
        let run = |maps| {
            let options = ExecuteOptions { maps, fuse, ..ExecuteOptions::default() };
            let mut executable = Executable::new(program, updates, &options).unwrap();
            let mut state = state.clone();
            let mut found = executable.run(&mut state, &inputs, RandomKey { seed: 3, step: 5 }).unwrap();
            found.extend(state.into_iter().map(|(name, value)| (format!("state {name}"), value)));
            found
        };
        println!("{name}, {}", if fuse { "fused" } else { "one operation a kernel" });
        check_bits(("at 512 bits", &run(Maps::Wide)), ("at 128", &run(Maps::Cranelift)));
    }
}

fn check_all(system: &System) {
    let none = IndexMap::new();
    let mut seen = IndexSet::new();
    for (name, task) in &system.tasks {
        // Tasks that differ in their drivers alone.
        if seen.insert(task.program.graph.to_string()) {
            check(name, &task.program, &none);
        }
    }
    for (name, loss) in &system.losses {
        check(name, &gradient_program(loss, &system.parameters).unwrap().program, &none);
    }
    for (name, step) in &system.training.steps {
        let step = step_program(&system.losses[&step.loss], step, &system.parameters).unwrap();
        check(name, &step.program, &step.updates);
    }
}

#[test]
fn programs_of_the_quick_preset() {
    let quick = Overrides { preset: Some("quick".to_owned()), ..Overrides::none() };
    check_all(&nerf(&quick.set("ray", "70")));
}

#[test]
fn programs_of_the_whole_network() {
    check_all(&nerf(&Overrides::none().set("ray", "33").set("coarse", "16").set("fine", "24")));
}
