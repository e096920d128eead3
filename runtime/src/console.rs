//! The terminal: log lines, progress bars that they do not tear, and the log file of a run.
//!
//! Results go to standard output; everything here goes to standard error.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::Path,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
static LOG_FILE: Mutex<Option<File>> = Mutex::new(None);

fn log_file() -> MutexGuard<'static, Option<File>> {
    LOG_FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Errors and warnings, no progress.
    Quiet,
    /// What happens, in a line each.
    Normal,
    /// Why it happens, too.
    Verbose,
}

/// Starts logging. `RUST_LOG`, where set, decides what is shown; else `verbosity` does.
pub fn start(verbosity: Verbosity) {
    let default = match verbosity {
        Verbosity::Quiet => "warn",
        Verbosity::Normal => "warn,visage_runtime=info,visage_compiler=info",
        Verbosity::Verbose => "info,visage_runtime=debug,visage_compiler=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(|| Terminal)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .with_filter(filter);
    let file = tracing_subscriber::fmt::layer()
        .with_writer(RunLog)
        .with_ansi(false)
        .with_filter(EnvFilter::new("info,visage_runtime=debug,visage_compiler=debug"));
    // A second start (in tests) keeps the first one's settings.
    let _ = tracing_subscriber::registry().with(terminal).with(file).try_init();
    if verbosity == Verbosity::Quiet {
        BARS.set_draw_target(ProgressDrawTarget::hidden());
    }
}

/// From here on log lines go to the end of this file as well.
///
/// # Errors
/// The file cannot be opened.
pub fn log_into(path: &Path) -> io::Result<()> {
    *log_file() = Some(OpenOptions::new().append(true).create(true).open(path)?);
    Ok(())
}

/// Writes a line to standard error, above any progress bar.
pub fn line(text: &str) {
    BARS.suspend(|| {
        // Nobody reads a closed standard error; the work goes on.
        let _ = writeln!(io::stderr(), "{text}");
    });
}

/// Whether progress is drawn as bars: standard error is a terminal and nobody asked for quiet.
pub fn draws_bars() -> bool {
    !BARS.is_hidden()
}

/// A bar of `length` steps with a message; drawn where [`draws_bars`], silent elsewhere.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = BARS.add(ProgressBar::new(length));
    let style = ProgressStyle::with_template(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    bar.set_style(style.progress_chars("━╸─"));
    bar
}

/// Standard error, with bars out of the way.
struct Terminal;

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        BARS.suspend(|| io::stderr().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The log file, where there is one.
struct RunLog;

impl<'a> MakeWriter<'a> for RunLog {
    type Writer = RunLog;

    fn make_writer(&'a self) -> RunLog {
        RunLog
    }
}

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match log_file().as_mut() {
            Some(file) => file.write_all(bytes).map(|()| bytes.len()),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        log_file().as_mut().map_or(Ok(()), File::flush)
    }
}
