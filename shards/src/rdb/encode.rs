//! Values as bytes.

pub mod text;
