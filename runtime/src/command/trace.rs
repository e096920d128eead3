//! A run of a program as a trace that viewers of profiles show: Perfetto, `chrome://tracing`, Speedscope.

use super::failure::{Because, Code, Failure, Outcome};
use crate::{
    executor::{Piece, StepProfile},
    files::write_atomically,
};
use serde_json::{Value, json};
use std::{io::Write, path::Path};

/// Writes pieces of steps as complete events of the Trace Event Format, one track a thread; times are microseconds.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, program: &str, steps: &[StepProfile], pieces: &[Piece]) -> Outcome {
    let threads = pieces.iter().map(|piece| piece.thread + 1).max().unwrap_or(0);
    let named = |what: &str, thread: usize, name: String| json!({ "name": what, "ph": "M", "pid": 1, "tid": thread, "args": { "name": name } });
    let mut events: Vec<Value> = vec![named("process_name", 0, program.to_owned())];
    events.extend((0..threads).map(|thread| named("thread_name", thread, format!("thread {thread}"))));
    events.extend(pieces.iter().map(|piece| {
        let step = &steps[piece.step];
        json!({
            "name": step.name,
            "cat": if step.flops > 0.0 { "contraction" } else { "other" },
            "ph": "X",
            "pid": 1,
            "tid": piece.thread,
            "ts": piece.start * 1e6,
            "dur": piece.seconds * 1e6,
            "args": { "step": piece.step, "flops of the step": step.flops, "bytes of the step": step.bytes },
        })
    }));
    let text = serde_json::to_string(&json!({ "traceEvents": events, "displayTimeUnit": "ms" })).failed()?;
    write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(|error| Failure::new(Code::Failed, format!("{}: {error}", path.display())))
}
