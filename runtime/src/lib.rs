//! The visage runtime.
