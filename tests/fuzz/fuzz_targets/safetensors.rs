//! `.safetensors`: reading ends in a checkpoint or an error, and what was read is written and read again
//! without a change.

#![no_main]

use libfuzzer_sys::fuzz_target;
use visage_runtime::checkpoint::Checkpoint;

fuzz_target!(|bytes: &[u8]| {
    // The readers are told apart by this byte; the other formats have their own target.
    if bytes.get(8) != Some(&b'{') {
        return;
    }
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        let written = checkpoint.to_safetensors().expect("what was read can be written");
        let again = Checkpoint::from_bytes(&written).expect("what was written can be read");
        assert_eq!(again.tensors.len(), checkpoint.tensors.len());
        assert!(checkpoint.tensors.iter().all(|(name, array)| again.tensors.get(name) == Some(array)));
        assert_eq!(again.metadata, checkpoint.metadata);
    }
});
