//! Tells the crate what it is built from, as `VISAGE_BUILD`: machine code that is kept on disk must never be read by a
//! build that would have generated other code, or that has other functions for it to call.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What the code generator is made of, beside its dependencies, whose versions and checksums are in `Cargo.lock`.
const SOURCES: [&str; 5] = ["src", "Cargo.toml", "../kernels/src", "../kernels/Cargo.toml", "../Cargo.lock"];

/// What else can make one build differ from another.
const SETTINGS: [&str; 5] = ["TARGET", "PROFILE", "OPT_LEVEL", "CARGO_CFG_TARGET_FEATURE", "CARGO_ENCODED_RUSTFLAGS"];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the crate's folder"));
    let mut build = blake3::Hasher::new();
    // Each part with its length, so that none can be taken for the end of another.
    let mut add = |bytes: &[u8]| {
        build.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    };
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        for file in files(&root.join(source)) {
            add(file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().as_bytes());
            add(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        }
    }
    for setting in SETTINGS {
        println!("cargo:rerun-if-env-changed={setting}");
        add(env::var(setting).unwrap_or_default().as_bytes());
    }
    let rustc = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(rustc).arg("-vV").output().expect("the compiler tells its version");
    add(&version.stdout);
    println!("cargo:rustc-env=VISAGE_BUILD={}", build.finalize().to_hex());
}

/// A file, or the files below a folder in order of their names; none where there is nothing.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return if path.is_file() { vec![path.to_owned()] } else { Vec::new() };
    };
    let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries.iter().flat_map(|entry| files(entry)).collect()
}
