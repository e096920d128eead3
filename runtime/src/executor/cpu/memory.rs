//! Aligned memory.

use memmap2::MmapMut;
use std::io;
use visage_kernels::LANES;

/// Memory of whole pages, zero until it is written, with room past its end for the vector access of a
/// last panel. Large memory asks for large pages.
pub(super) struct Lines(MmapMut);

/// Bytes from which large pages are worth having.
const LARGE: usize = 4 << 20;

impl Lines {
    /// `bytes` of zeros.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn zeroed(bytes: usize) -> io::Result<Lines> {
        let memory = MmapMut::map_anon(bytes + LANES * 8)?;
        #[cfg(target_os = "linux")]
        if bytes >= LARGE {
            // Without large pages it is slower, not wrong.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        Ok(Lines(memory))
    }

    /// `bytes` of one eight-byte pattern.
    ///
    /// # Errors
    /// The system has no such memory.
    pub fn filled(bytes: usize, pattern: u64) -> io::Result<Lines> {
        let mut lines = Lines::zeroed(bytes)?;
        for pair in lines.0.chunks_exact_mut(8) {
            pair.copy_from_slice(&pattern.to_ne_bytes());
        }
        Ok(lines)
    }

    /// The first byte: a multiple of the page size. What is written through it is shared by whoever has
    /// the address; the executor alone decides who that is.
    pub fn pointer(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut()
    }
}
