//! The spec language: from RON with equations to a checked [`System`].
//!
//! ```text
//!  text ──document──▶ RON tree ──structure──▶ Spec ──settings, elaborate──▶ System, Program
//!                                 (equation)          (sizes, networks)       (graphs)
//! ```
//!
//! Every step collects what is wrong and goes on, so that all errors of a spec are reported at once,
//! each with its place. [`Spec::load`] reads a file with the libraries it uses; what comes of it
//! depends on the sizes, which [`Overrides`] change.
//!
//! ```
//! use std::io;
//! use visage_compiler::language::{Overrides, Spec};
//!
//! let text = r#"
//!     System(
//!         name: "line",
//!         about: "A straight line.",
//!         sizes: { "point": 4 },
//!         tasks: {
//!             "line": Task(
//!                 about: "Points on a line.",
//!                 inputs: { "x": Input(axes: "[point]", about: "Abscissae.") },
//!                 outputs: { "y": "[point]" },
//!                 equations: "y = 2 * x + 1",
//!             ),
//!         },
//!     )
//! "#;
//! let spec = Spec::parse("line.ron", text, &|_| Err(io::ErrorKind::NotFound.into())).unwrap();
//! let system = spec.system(&Overrides::none().set("point", 8)).unwrap();
//! assert_eq!(system.tasks["line"].program.outputs["y"].to_string(), "[point=8]");
//! ```

mod diagnostics;
mod document;
mod elaborate;
mod equation;
mod print;
mod read;
mod scalar;
mod schema;
mod settings;
mod spec;
mod structure;

pub use diagnostics::{Diagnostics, SpecError};
pub use elaborate::ProgramKind;
pub use schema::schema;
pub use settings::Overrides;
pub use spec::Spec;

use crate::system::System;
use std::{io, path::Path};

/// Reads and elaborates a system that uses no other files, with its own sizes.
///
/// # Errors
/// Everything that is wrong with it; whatever the text, it never panics.
pub fn parse_system(text: &str) -> Result<System, Diagnostics> {
    let no_files = |_: &Path| Err(io::Error::new(io::ErrorKind::NotFound, "this spec stands alone"));
    Spec::parse("system.ron", text, &no_files)?.system(&Overrides::none())
}
