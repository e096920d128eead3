//! The visage runtime: everything that happens after a spec has become programs.
//!
//! * [`executor`] runs a [`Program`](visage_compiler::system::Program) on a device; values are
//!   [`buffer`]s, row-major in documented axis order;
//!   [`code_cache`] keeps their machine code on disk.
//! * [`training`] runs the training procedure of a spec into a folder that survives being killed;
//!   [`tasks`] run its inference tasks, by drivers that render, evaluate or extract meshes.
//! * [`data`] reads pictures with cameras, [`sources`] makes batches of them, [`scene`] is the data set that
//!   comes with the project; [`media`], [`geometry`], [`faces`] and [`metrics`] are what results are made with.
//! * [`checkpoint`] reads weights from strangers' files, [`files`] writes so that nothing is half written.
//! * [`command`] is the `visage` command.
//!
//! ```
//! use indexmap::IndexMap;
//! use visage_compiler::{axis::{Axis, Shape}, language::{Overrides, ProgramKind, Spec}, random::RandomKey};
//! use visage_runtime::{buffer::{Buffer, State}, executor::{ExecuteOptions, Executable}};
//!
//! let text = r#"System(
//!     name: "line", about: "A straight line.", sizes: { "point": 3 },
//!     tasks: { "line": Task(
//!         about: "Points on a line.",
//!         inputs: { "x": Input(axes: "[point]", about: "Abscissae.") },
//!         outputs: { "y": "[point]" },
//!         equations: "y = 2 * x + 1",
//!     ) },
//! )"#;
//! let spec = Spec::parse("line.ron", text, &|_| Err(std::io::ErrorKind::NotFound.into()))?;
//! let program = spec.program(ProgramKind::Task, "line", &Overrides::none(), &["x".to_owned()].into())?;
//! let mut executable = Executable::new(&program, &IndexMap::new(), &ExecuteOptions::default())?;
//! let x = Buffer::from_f32(Shape::new([(Axis::new("point"), 3)]), &[0.0, 1.0, 2.0]);
//! let inputs = IndexMap::from([("x".to_owned(), x)]);
//! let outputs = executable.run(&mut State::new(), &inputs, RandomKey { seed: 0, step: 0 })?;
//! assert_eq!(outputs["y"].as_f32(), [1.0, 3.0, 5.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod array;
pub mod buffer;
pub mod checkpoint;
pub mod code_cache;
pub mod command;
pub mod console;
pub mod data;
pub mod executor;
pub mod faces;
pub mod files;
pub mod geometry;
pub mod media;
pub mod metrics;
pub mod names;
pub mod options;
pub mod scene;
pub mod sources;
pub mod table;
pub mod tasks;
pub mod training;
