//! What spans cores.

pub mod gather;
