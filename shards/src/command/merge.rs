//! How the replies of a request's parts become one.
//!
//! A row that runs on each shard names the function that does it
//! ([`Run::EachShard`](super::Run::EachShard)). Those here serve several families; one
//! that a single family needs stands there.

use super::Sliced;
use crate::resp::{Reply, read};
use crate::types::ShardId;

/// Writes the reply to a request of which all parts have run, none with an error.
pub type Merge = fn(&mut Parts<'_>, &mut Reply<'_>);

/// What the parts of a request have come to.
#[derive(Default)]
pub struct Parts<'a> {
    /// The reply of each shard, by its number; empty if it had no part.
    pub replies: Vec<&'a [u8]>,
    /// The shard of each key, in the order of the request; without keys, all shards.
    pub owners: &'a [ShardId],
    /// What parts in slices have found, in shard order.
    pub sliced: Vec<Sliced>,
    /// What follows the reply that is written, if it is long.
    pub pieces: Vec<Vec<u8>>,
}

/// Each part has replied an integer: their sum.
pub fn sum(parts: &mut Parts<'_>, reply: &mut Reply<'_>) {
    let there = parts.replies.iter().filter(|part| !part.is_empty());
    let number = |part: &&[u8]| read::integer(part).expect("a part that is summed is an integer");
    reply.integer(there.map(number).sum());
}

/// Each part has replied `+OK`: the same once.
pub fn all_ok(_: &mut Parts<'_>, reply: &mut Reply<'_>) {
    reply.ok();
}

/// Each part has replied an array with one element for each key of its own: an array of
/// all, in the order in which the request names the keys.
pub fn in_key_order(parts: &mut Parts<'_>, reply: &mut Reply<'_>) {
    reply.array(parts.owners.len());
    for part in &mut parts.replies {
        *part = read::all_elements(part).unwrap_or_default();
    }
    for owner in parts.owners {
        let part = &mut parts.replies[owner.index()];
        let (element, rest) = read::split_value(part).expect("a part has an element for each key");
        *part = rest;
        reply.raw(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Protocol;

    fn merged(merge: Merge, replies: &[&[u8]], owners: &[u16]) -> Vec<u8> {
        let owners: Vec<ShardId> = owners.iter().copied().map(ShardId).collect();
        let mut parts = Parts {
            replies: replies.to_vec(),
            owners: &owners,
            ..Parts::default()
        };
        let mut out = Vec::new();
        merge(&mut parts, &mut Reply::new(&mut out, Protocol::Resp2));
        out
    }

    #[test]
    fn a_shard_without_a_part_adds_nothing() {
        assert_eq!(
            merged(sum, &[b":-2\r\n", b"", b":12\r\n"], &[0, 2]),
            b":10\r\n"
        );
        assert_eq!(merged(all_ok, &[b"", b"+OK\r\n"], &[1]), b"+OK\r\n");
        let replies = [&b""[..], b"*1\r\n:7\r\n"];
        assert_eq!(merged(in_key_order, &replies, &[1]), b"*1\r\n:7\r\n");
    }

    #[test]
    fn elements_are_laid_out_in_the_order_of_the_keys() {
        let replies = [
            &b"*1\r\n_\r\n"[..],
            b"*2\r\n$1\r\na\r\n$-1\r\n",
            b"*1\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n",
        ];
        assert_eq!(
            merged(in_key_order, &replies, &[1, 0, 1, 2]),
            b"*4\r\n$1\r\na\r\n_\r\n$-1\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n"
        );
    }
}
