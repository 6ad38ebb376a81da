//! What spans cores.

pub mod gather;
pub mod pause;
