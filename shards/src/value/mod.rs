//! Values and how they are read from text.

mod long_double;
mod number;

pub use long_double::LongDouble;
pub use number::parse_i64;
