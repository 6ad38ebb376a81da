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
//! | `reader.rs` | lengths, numbers and texts, as they are read, and what may be wrong |
//! | `form.rs` | which forms of values are read, and what each is made of |
//! | `scan.rs` | a file, cut into entries |
//! | `decode.rs` | values, made of their bytes |
//! | `encode.rs` | values, at once or in steps |
//! | `encode/text.rs`, `long.rs` | lengths, numbers and texts, as they are written |
//! | `encode/packed.rs`, `large.rs`, `stream.rs` | collections |
//! | `encode/file.rs` | what stands in a file beside values |
//!
//! Bytes only: files, and when they are written, are the server's. What is written is
//! what Redis 7.0 reads, unless a value needs more ([`version_of`]). Nothing here
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
mod decode;
mod encode;
mod form;
pub mod format;
mod inflate;
pub mod lzf;
mod reader;
mod scan;

pub use crc64::Crc64;
pub use decode::{Decoder, Terms, decode, elements_told, plain_text};
pub use encode::file::{
    Meta, aux, encode_entry, encode_entry_head, file_end, file_head, function, resize_db, select_db,
};
pub use encode::text::{put_len, put_number, put_text};
pub use encode::{Encoder, elements_of, encode, type_of, version_of};
pub use form::{Form, Version};
pub use reader::{Fault, LoadError};
pub use scan::{Entry, Item, Scanner, Skipped};

#[cfg(test)]
#[path = "../../tests/rdb/written.rs"]
pub mod written;
