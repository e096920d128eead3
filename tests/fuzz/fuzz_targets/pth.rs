//! PyTorch and NumPy files: whatever the bytes, reading ends in a checkpoint or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use visage_runtime::checkpoint::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    if let Err(error) = Checkpoint::from_bytes(bytes) {
        assert!(!error.to_string().is_empty());
    }
});
