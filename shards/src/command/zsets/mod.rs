//! Commands on sorted sets.
//!
//! What changes them is in [`writes`], what asks about members in [`reads`];
//! [`ranges`] replies or stores parts, [`pops`] takes from an end, and
//! [`combine`] makes one out of several.

pub mod blocking;
mod bounds;
pub mod chance;
pub mod combine;
pub mod inputs;
pub mod pops;
pub mod ranges;
pub mod reads;
pub mod writes;

use super::Context;
use crate::error::CommandError;
use crate::number::parse_float;
use crate::resp::{Protocol, Reply};
use crate::value::{Element, Walk, ZsetLimits};

const NAN_SCORE: CommandError = CommandError::Static("ERR resulting score is not a number (NaN)");

/// Up to where sorted sets stay small, as configured.
pub fn limits(ctx: &mut Context<'_>) -> ZsetLimits {
    let seed = ctx.seed();
    let encodings = &ctx.settings.encodings;
    ZsetLimits {
        entries: encodings.zset_max_listpack_entries,
        value: encodings.zset_max_listpack_value,
        seed,
    }
}

/// A score or an increment, which is not NaN.
fn score(text: &[u8]) -> Result<f64, CommandError> {
    let float = parse_float(text).filter(|float| !float.out_of_range && !float.value.is_nan());
    Ok(float.ok_or(CommandError::NotAFloat)?.value)
}

pub fn reply_member(reply: &mut Reply<'_>, member: Element<'_>) {
    match member {
        Element::Int(number) => reply.bulk_integer(number),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

/// Members, or with `scores` members and scores: one after the other, in RESP3
/// in pairs.
fn reply_members(reply: &mut Reply<'_>, walk: Walk<'_>, scores: bool) {
    members_header(reply, walk.len(), scores);
    for found in walk {
        reply_found(reply, found, scores);
    }
}

/// What stands before `len` members, or members and scores.
pub fn members_header(reply: &mut Reply<'_>, len: usize, scores: bool) {
    let flat = scores && reply.protocol() == Protocol::Resp2;
    reply.array(len * if flat { 2 } else { 1 });
}

/// One of them.
#[inline]
pub fn reply_found(reply: &mut Reply<'_>, (member, score): (Element<'_>, f64), scores: bool) {
    if scores && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply_member(reply, member);
    if scores {
        reply.double(score);
    }
}

#[cfg(test)]
mod tests;
