//! Ctrl-C and termination: the first asks the run to stop after a checkpoint, the second stops it at once.

use std::sync::atomic::{AtomicUsize, Ordering};

static REQUESTS: AtomicUsize = AtomicUsize::new(0);

/// The exit code of a command that a signal stopped: 128 + SIGINT, as shells expect.
pub const EXIT_CODE: u8 = 130;

/// From here on the first Ctrl-C (or SIGTERM) makes [`requested`] true and the second ends the process.
/// Calling it again changes nothing.
pub fn listen() {
    let heard = ctrlc::set_handler(|| {
        if REQUESTS.fetch_add(1, Ordering::Relaxed) > 0 {
            std::process::exit(i32::from(EXIT_CODE));
        }
        crate::console::line("stopping after a checkpoint (Ctrl-C again: at once)");
    });
    if let Err(error) = heard {
        tracing::debug!("signals are not listened to: {error}");
    }
}

/// Whether the run was asked to stop.
pub fn requested() -> bool {
    REQUESTS.load(Ordering::Relaxed) > 0
}
