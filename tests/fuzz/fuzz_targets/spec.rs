//! Specs: reading and elaborating ends in a system or in errors that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use visage_compiler::language::parse_system;

fuzz_target!(|text: &str| match parse_system(text) {
    Ok(system) => assert!(system.losses.values().all(|program| program.graph.verify().is_ok())),
    Err(errors) => assert!(!errors.to_string().is_empty()),
});
