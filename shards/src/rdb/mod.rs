//! The bytes that values have in a snapshot, and in what DUMP replies.
//!
//! ```text
//! file:   REDIS0010 │ aux … │ db │ entry │ entry │ … │ end │ checksum
//! entry:  deadline? │ idle? │ type │ key │ value
//! DUMP:                       type │ value │ version │ checksum
//! ```
//!
//! | file | has |
//! |---|---|
//! | `format.rs` | opcodes, types, versions |
//! | `crc64.rs` | the checksum |
//! | `lzf.rs` | compression of texts |
//! | `encode/text.rs` | lengths, numbers and texts, as they are written |
//!
//! Bytes only: files, and when they are written, are the server's. What is written is
//! what Redis 7.0 reads, unless a value needs more ([`format::version`]). Nothing here
//! panics, whatever the bytes: modules that read them deny indexing, unchecked
//! arithmetic and casts that lose something.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

pub mod crc64;
mod encode;
pub mod format;
pub mod lzf;

pub use crc64::Crc64;
pub use encode::text::{put_len, put_number, put_text};
