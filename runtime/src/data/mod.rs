mod error;
pub use error::DataError;
