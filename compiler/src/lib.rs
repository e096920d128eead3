//! The visage compiler.
