//! What lies in one piece: listpacks, and sets of integers.

use super::text::{COMPRESSED_MAX, Few, put, put_compressed, put_len, put_number, put_text};
use crate::error::OutOfMemory;
use crate::number::float_text;
use crate::rdb::format::{node, packed};
use crate::types::UnixMs;
use crate::value::{
    Element, Field, HashRef, ListRef, SetRef, ZsetRef,
    listpack::{self, Listpack},
};

/// A text in pieces that is no number.
fn put_blob(out: &mut Vec<u8>, parts: &[&[u8]], compress: bool) -> Result<(), OutOfMemory> {
    let len = parts.iter().map(|part| part.len());
    let len = len.fold(0, usize::saturating_add);
    if compress && len <= COMPRESSED_MAX {
        let mut text = Vec::new();
        text.try_reserve_exact(len)?;
        parts.iter().for_each(|part| text.extend_from_slice(part));
        if put_compressed(out, &text)? {
            return Ok(());
        }
    }
    let head = Few::of_len(len as u64);
    out.try_reserve(len.saturating_add(Few::MAX))?;
    out.extend_from_slice(head.as_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

/// A listpack whose elements lie in `elements`.
pub fn put_elements(
    out: &mut Vec<u8>,
    count: usize,
    elements: &[u8],
    compress: bool,
) -> Result<(), OutOfMemory> {
    let head = head(elements.len(), count)?;
    put_blob(out, &[&head, elements, &[packed::END]], compress)
}

/// What stands before the elements of a listpack.
///
/// # Errors
/// It would be longer than a listpack can be.
pub fn head(elements: usize, count: usize) -> Result<[u8; packed::HEADER], OutOfMemory> {
    let total = elements.saturating_add(packed::HEADER).saturating_add(1);
    let [a, b, c, d] = u32::try_from(total).map_err(|_| OutOfMemory)?.to_le_bytes();
    let count = u16::try_from(count).unwrap_or(packed::UNCOUNTED);
    let [e, f] = count.to_le_bytes();
    Ok([a, b, c, d, e, f])
}

/// A listpack of ours.
fn put_listpack(
    out: &mut Vec<u8>,
    listpack: Listpack<'_>,
    compress: bool,
) -> Result<(), OutOfMemory> {
    put_flat(out, listpack.bytes(), compress)
}

/// A listpack of these bytes of ours, which begin with the count.
pub fn put_flat(out: &mut Vec<u8>, flat: &[u8], compress: bool) -> Result<(), OutOfMemory> {
    let (count, elements) = flat.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
    let count = usize::from(u16::from_le_bytes(*count));
    put_elements(out, count, elements, compress)
}

/// A short list: one node.
pub fn put_list(out: &mut Vec<u8>, list: ListRef<'_>, compress: bool) -> Result<(), OutOfMemory> {
    let ListRef::Listpack(listpack) = list else {
        return Ok(());
    };
    put_len(out, 1)?;
    put_len(out, node::PACKED)?;
    put_listpack(out, listpack, compress)
}

/// A small set.
pub fn put_set(out: &mut Vec<u8>, set: SetRef<'_>, compress: bool) -> Result<(), OutOfMemory> {
    let SetRef::Intset(intset) = set else {
        put_len(out, set.len() as u64)?;
        return set.iter().try_for_each(|it| put_element(out, it, compress));
    };
    let (width, numbers) = intset.parts();
    let word = |number: usize| u32::try_from(number).map_err(|_| OutOfMemory);
    let (width, len) = (word(width)?, word(intset.len())?);
    let parts: [&[u8]; 3] = [&width.to_le_bytes(), &len.to_le_bytes(), numbers];
    put_blob(out, &parts, compress)
}

/// An element by itself.
pub fn put_element(
    out: &mut Vec<u8>,
    element: Element<'_>,
    compress: bool,
) -> Result<(), OutOfMemory> {
    match element {
        Element::Int(number) => put_number(out, number),
        Element::Bytes(text) => put_text(out, text, compress),
    }
}

/// A small sorted set. Scores that are no integers are written as text.
pub fn put_zset(out: &mut Vec<u8>, zset: ZsetRef<'_>, compress: bool) -> Result<(), OutOfMemory> {
    let ZsetRef::Listpack(listpack) = zset else {
        return Ok(());
    };
    let mut scores = listpack.iter().skip(1).step_by(2);
    if scores.all(|score| matches!(score, Element::Int(_))) {
        return put_listpack(out, listpack, compress);
    }
    let mut flat = Vec::new();
    flat.try_reserve(listpack.bytes().len())?;
    for (member, score) in zset.iter() {
        listpack::push_back(&mut flat, member)?;
        listpack::push_back(&mut flat, float_text(score).as_bytes())?;
    }
    put_flat(out, &flat, compress)
}

/// A small hash.
pub fn put_hash(out: &mut Vec<u8>, hash: HashRef<'_>, compress: bool) -> Result<(), OutOfMemory> {
    match (hash, hash.earliest()) {
        (HashRef::Listpack(listpack), _) => put_listpack(out, listpack, compress),
        (_, None) => {
            // Room for deadlines, and none of them left.
            let mut flat = Vec::new();
            for Field { name, value, .. } in hash.iter() {
                listpack::append(&mut flat, [name, value].into_iter())?;
            }
            put_flat(out, &flat, compress)
        }
        (_, Some(_)) => put_hash_with_deadlines(out, hash, compress),
    }
}

/// The least deadline, then fields, values and deadlines: in the order of these, as
/// who reads them may want them, those without one last.
fn put_hash_with_deadlines(
    out: &mut Vec<u8>,
    hash: HashRef<'_>,
    compress: bool,
) -> Result<(), OutOfMemory> {
    const NEVER: UnixMs = UnixMs(i64::MAX);
    let mut fields = Vec::new();
    fields.try_reserve_exact(hash.len())?;
    fields.extend(hash.iter().enumerate());
    fields.sort_unstable_by_key(|(at, field)| (field.expire_at.unwrap_or(NEVER), *at));
    let least = fields.first().and_then(|(_, field)| field.expire_at);
    let mut flat = Vec::new();
    for (_, field) in fields {
        let deadline = Element::Int(field.expire_at.map_or(0, |at| at.0));
        let row = [field.name, field.value, deadline];
        listpack::append(&mut flat, row.into_iter())?;
    }
    // If all deadlines have been taken away since, it is that which is known.
    let least = least.or(hash.earliest()).unwrap_or(NEVER);
    put(out, &least.0.to_le_bytes())?;
    put_flat(out, &flat, compress)
}
