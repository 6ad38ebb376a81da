//! Listpacks that are written as they are kept: all that is to be done is to look at
//! every element of them.

use super::packed::{self, Row};
use super::seen::Seen;
use crate::rdb::form::Form;
use crate::rdb::format::packed::UNCOUNTED;
use crate::rdb::reader::Fault;
use crate::value::{Encoding, Growth, Limit, List, Owned, Type};

/// A longer one is gone through as others are, in slices (bytes).
const ADOPTED_MAX: usize = 64 << 10;

/// Bytes that are not kept: the length, and the mark of the end.
const UNKEPT: usize = 5;

/// The value whose elements all lie in this listpack; nothing if it is to be made of them
/// one by one: they are written in another way, or too many, or too long.
///
/// # Errors
/// It is damaged, or an element comes twice.
pub fn adopt(form: Form, bytes: &[u8], growth: &Growth<'_>) -> Result<Option<Owned>, Fault> {
    let thresholds = growth.thresholds;
    let any = usize::MAX;
    // How many elements each row has, and how many and how long they may be.
    let (of, step, entries, value) = match form {
        Form::HashListpack => (
            Type::Hash,
            2,
            thresholds.hash_max_listpack_entries,
            thresholds.hash_max_listpack_value,
        ),
        Form::SetListpack => (
            Type::Set,
            1,
            thresholds.set_max_listpack_entries,
            thresholds.set_max_listpack_value,
        ),
        Form::Quicklist2 => (Type::List, 1, any, any),
        _ => return Ok(None),
    };
    let count = packed::count_of(bytes)?;
    let len = bytes.len().saturating_sub(UNKEPT);
    let limit = Limit(thresholds.list_max_listpack_size);
    if bytes.len() > ADOPTED_MAX
        || count == UNCOUNTED
        || usize::from(count).div_euclid(step) > entries
        || of == Type::List && !List::may_be_flat(limit, len, count.into())
    {
        return Ok(None);
    }
    let (mut row, mut seen) = (Row::open(bytes)?, Seen::new(growth.seed));
    let mut number = 0usize;
    while row.has_more(bytes)? {
        let start = row.at();
        let element = row.next(bytes)?;
        let end = row.at();
        if !packed::is_as_kept(element, end.saturating_sub(start)) || element.len_bytes() > value {
            return Ok(None);
        }
        let is_name = of != Type::List && number.checked_rem(step) == Some(0);
        if is_name && !seen.insert(bytes, start, end)? {
            return Err(super::making::TWICE);
        }
        number = number.saturating_add(1);
    }
    if number.checked_rem(step) != Some(0) {
        return Err(packed::DAMAGED);
    }
    if number == 0 {
        return Ok(None);
    }
    let elements = packed::elements_of(bytes).ok_or(packed::DAMAGED)?;
    let mut flat = Vec::new();
    flat.try_reserve_exact(len)
        .map_err(|_| Fault::OutOfMemory)?;
    flat.extend_from_slice(&count.to_le_bytes());
    flat.extend_from_slice(elements);
    debug_assert_eq!(flat.len(), len);
    Ok(Some(Owned::flat(of, flat, Encoding::Listpack)))
}
