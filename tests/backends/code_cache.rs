//! Code from the cache is the code that was compiled, and is there only for the same kernel, options and build.

use crate::support::{Sketch, axes, check_bits, run_reusing};
use std::{
    fs,
    path::{Path, PathBuf},
};
use visage_compiler::graph::{Combine, DType, Op, ScalarOp};
use visage_runtime::executor::{Contraction, ExecuteOptions, Maps};

/// A program that calls everything that kernels call: contractions and their gradients, packing, sorting, elementary
/// functions of either width, copies past the caches.
fn sketch() -> Sketch {
    let mut sketch = Sketch::new();
    let (x, w) = (sketch.float("x", &[("row", 300), ("from", 20)]), sketch.weight("w", &[("to", 30), ("from", 20)]));
    let product = sketch.add(Op::Contract { over: axes(&["from"]) }, &[x, w]);
    let bent = sketch.map(ScalarOp::Sin, &[product]);
    sketch.show(Op::Sort { axis: axes(&["to"])[0] }, &[bent]);
    let double = sketch.map(ScalarOp::Cast(DType::F64), &[bent]);
    let double = sketch.map(ScalarOp::Exp, &[double]);
    let double = sketch.add(Op::Reduce { combine: Combine::Sum, axes: axes(&["to"]) }, &[double]);
    sketch.show(Op::Map(ScalarOp::Cast(DType::F32)), &[double]);
    sketch.differentiate();
    sketch
}

/// One operation a kernel: fused, the program is a single one.
fn options(folder: &Path) -> ExecuteOptions {
    let code_cache = Some(folder.join("code"));
    ExecuteOptions { threads: Some(1), fuse: false, code_cache, ..ExecuteOptions::default() }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("code")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_second_time_all_code_is_there_and_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = sketch();
    let without = ExecuteOptions { code_cache: None, ..options(folder.path()) };
    let (plain, none) = run_reusing(&sketch.graph, &sketch.feeds, &without);
    let (first, cold) = run_reusing(&sketch.graph, &sketch.feeds, &options(folder.path()));
    let (second, warm) = run_reusing(&sketch.graph, &sketch.feeds, &options(folder.path()));
    assert_eq!((none.reused, cold.reused), (0, 0));
    assert!(warm.kernels > 3);
    assert_eq!(warm.reused, warm.kernels);
    assert_eq!(files(folder.path()).len(), warm.kernels);
    check_bits(("without a cache", &plain), ("with an empty one", &first));
    check_bits(("compiled", &first), ("from the cache", &second));
}

#[test]
fn other_options_are_other_code() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = sketch();
    let run = |options: &ExecuteOptions| run_reusing(&sketch.graph, &sketch.feeds, options).1;
    let whole = options(folder.path());
    run(&whole);
    let cranelift = run(&ExecuteOptions { contraction: Contraction::Cranelift, ..whole.clone() });
    assert_eq!(cranelift.reused, 0, "contractions in other code");
    let fused = run(&ExecuteOptions { fuse: true, ..whole.clone() });
    assert_eq!(fused.reused, 0, "other stages");
    let narrow = run(&ExecuteOptions { maps: Maps::Cranelift, ..whole.clone() });
    let is_wide = visage_compiler::cpu::Maps::detect() == visage_compiler::cpu::Maps::Wide;
    assert_eq!(narrow.reused, if is_wide { 0 } else { narrow.kernels }, "maps in other code");
    let again = run(&whole);
    assert_eq!(again.reused, again.kernels, "the others have replaced nothing");
}

#[test]
fn damaged_files_are_not_run_but_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = sketch();
    let options = options(folder.path());
    let (expected, first) = run_reusing(&sketch.graph, &sketch.feeds, &options);
    // One byte of each file: of its head, its key, its code or its checksum, whatever the number of the file leads to.
    for (i, path) in files(folder.path()).iter().enumerate() {
        let mut bytes = fs::read(path).unwrap();
        let at = [3, 20, 60, bytes.len() / 2, bytes.len() - 7][i % 5];
        bytes[at] ^= 0x40;
        fs::write(path, bytes).unwrap();
    }
    let (found, damaged) = run_reusing(&sketch.graph, &sketch.feeds, &options);
    assert_eq!((damaged.kernels, damaged.reused), (first.kernels, 0));
    check_bits(("compiled", &expected), ("after the damage", &found));
    let (_, repaired) = run_reusing(&sketch.graph, &sketch.feeds, &options);
    assert_eq!(repaired.reused, repaired.kernels);
}

#[test]
fn programs_compiled_at_the_same_time_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = sketch();
    let options = options(folder.path());
    let expected = run_reusing(&sketch.graph, &sketch.feeds, &ExecuteOptions { code_cache: None, ..options.clone() }).0;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let found = run_reusing(&sketch.graph, &sketch.feeds, &options).0;
                    check_bits(("alone", &expected), ("beside others", &found));
                }
            });
        }
    });
    let (_, last) = run_reusing(&sketch.graph, &sketch.feeds, &options);
    assert_eq!(last.reused, last.kernels);
    assert_eq!(files(folder.path()).len(), last.kernels);
}

#[test]
fn a_folder_that_cannot_be_used_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let sketch = sketch();
    fs::write(folder.path().join("code"), "a file, not a folder").unwrap();
    let (_, reuse) = run_reusing(&sketch.graph, &sketch.feeds, &options(folder.path()));
    assert_eq!(reuse.reused, 0);
}
