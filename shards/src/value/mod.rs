//! Values and how they are read from text.

mod number;

pub use number::parse_i64;
