//! Values that lie outside their entry.
//!
//! [`Value`] is what an entry refers to when its value is too large or too
//! changeable to lie within the entry itself.

mod long_double;

pub use long_double::LongDouble;

/// A value outside its entry. One variant per Redis type.
#[derive(Debug)]
pub enum Value {
    String(Vec<u8>),
}

impl Value {
    /// Bytes it holds on the heap, for deciding how to free it.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.capacity(),
        }
    }
}
