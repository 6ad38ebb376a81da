//! What stands in a file beside values.

use super::text::{put, put_len, put_text};
use super::{encode, type_of};
use crate::error::OutOfMemory;
use crate::rdb::Crc64;
use crate::rdb::format::{MAGIC, opcode};
use crate::types::{DbIndex, UnixMs};
use crate::value::ValueRef;

/// Of a key: what is told beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub expire_at: Option<UnixMs>,
    /// Seconds since it was accessed.
    pub idle: Option<u64>,
    /// How often it is accessed.
    pub freq: Option<u8>,
}

/// The beginning of a file: its version, and what is told about it.
pub fn file_head(
    version: u16,
    about: &[(&str, String)],
    out: &mut Vec<u8>,
) -> Result<(), OutOfMemory> {
    put(out, MAGIC)?;
    put(out, format!("{version:04}").as_bytes())?;
    about
        .iter()
        .try_for_each(|(name, text)| aux(name.as_bytes(), text.as_bytes(), out))
}

/// Something about the file.
pub fn aux(name: &[u8], text: &[u8], out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    put(out, &[opcode::AUX])?;
    put_text(out, name, false)?;
    put_text(out, text, false)
}

/// What follows is in this database.
pub fn select_db(db: DbIndex, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    put(out, &[opcode::SELECT_DB])?;
    put_len(out, db.index() as u64)
}

/// How many keys the database has, and how many of them have a deadline.
pub fn resize_db(keys: u64, deadlines: u64, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    put(out, &[opcode::RESIZE_DB])?;
    put_len(out, keys)?;
    put_len(out, deadlines)
}

/// A library of functions.
pub fn function(source: &[u8], compress: bool, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    put(out, &[opcode::FUNCTION])?;
    put_text(out, source, compress)
}

/// The end of a file, all of whose bytes so far are in `checksum`, if there is to be one.
pub fn file_end(checksum: Option<Crc64>, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    const END: &[u8] = &[opcode::END];
    let checksum = checksum.map_or(0, |mut checksum| {
        checksum.update(END);
        checksum.value()
    });
    put(out, END)?;
    put(out, &checksum.to_le_bytes())
}

/// A key and its value.
///
/// # Errors
/// There is no memory; nothing is written.
#[inline]
pub fn encode_entry(
    key: &[u8],
    value: ValueRef<'_>,
    meta: &Meta,
    compress: bool,
    out: &mut Vec<u8>,
) -> Result<(), OutOfMemory> {
    let start = out.len();
    let done = encode_entry_head(key, value, meta, compress, out)
        .and_then(|()| encode(value, compress, out));
    done.inspect_err(|_| out.truncate(start))
}

/// What stands before the value of a key.
///
/// # Errors
/// There is no memory; nothing is written.
#[inline]
pub fn encode_entry_head(
    key: &[u8],
    value: ValueRef<'_>,
    meta: &Meta,
    compress: bool,
    out: &mut Vec<u8>,
) -> Result<(), OutOfMemory> {
    /// A deadline, idle time, frequency and type, each with its opcode.
    const FEW: usize = 9 + 10 + 2 + 1;
    let start = out.len();
    out.try_reserve(FEW)?;
    if let Some(UnixMs(at)) = meta.expire_at {
        out.push(opcode::EXPIRE_MS);
        out.extend_from_slice(&at.to_le_bytes());
    }
    if let Some(seconds) = meta.idle {
        out.push(opcode::IDLE);
        put_len(out, seconds)?;
    }
    if let Some(freq) = meta.freq {
        out.extend_from_slice(&[opcode::FREQ, freq]);
    }
    out.push(type_of(value));
    put_text(out, key, compress).inspect_err(|_| out.truncate(start))
}
