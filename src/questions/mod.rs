//! What one core asks others, and how the answers become a reply.

pub mod gather;
pub mod pause;
