//! Cuts a request into one part per shard, and puts the replies together.

use crate::command::{Args, Find, KeySpec, OwnedArgs, PartArgs, Row, Run, keys_of, reach_any_key};
use crate::keyspace::Located;
use crate::resp::read;
use crate::types::ShardId;

/// Room for the arguments of a part; most need no more.
const ROOM_BYTES: usize = 512;

/// Where the keys of a request lie.
#[derive(Default)]
pub struct Owners {
    /// Positions of the keys among the arguments.
    pub positions: Vec<usize>,
    /// The shard of each.
    pub shards: Vec<ShardId>,
    /// Where each belongs there, if that was asked.
    pub located: Vec<Located>,
}

impl Owners {
    /// Finds the keys of a request, none if it may reach any key; nothing if they cannot be told apart or the
    /// last one lacks what belongs to it (the request's handler says why).
    pub fn find(row: &Row, args: Args<'_>, of: impl Fn(&[u8]) -> ShardId) -> Option<Self> {
        Self::default().found(row, args, of)
    }

    /// As [`Owners::find`], in the memory of this one.
    pub fn found(
        mut self,
        row: &Row,
        args: Args<'_>,
        of: impl FnMut(&[u8]) -> ShardId,
    ) -> Option<Self> {
        let Self {
            positions, shards, ..
        } = &mut self;
        positions.clear();
        shards.clear();
        if reach_any_key(row.keys, args) {
            return Some(self);
        }
        keys_of(row, args, positions)?;
        // A key without all that belongs to it (`MSET a 1 b`), or none where
        // some must be (`LMPOP 0 a LEFT`).
        let whole = match positions.last() {
            Some(at) => at + key_step(row) <= args.len(),
            None => row.keys.is_empty(),
        };
        if !whole {
            return None;
        }
        shards.extend(positions.iter().filter_map(|at| args.get(*at)).map(of));
        Some(self)
    }

    /// The only shard with keys of the request, if there is exactly one.
    pub fn only(&self) -> Option<ShardId> {
        let (first, rest) = self.shards.split_first()?;
        rest.iter().all(|shard| shard == first).then_some(*first)
    }

    /// Each shard that takes part, in shard order; without keys, all of
    /// `shards`.
    pub fn participants(&self, shards: u16) -> Vec<ShardId> {
        if self.shards.is_empty() {
            return (0..shards).map(ShardId).collect();
        }
        distinct(&self.shards)
    }

    /// The part of each shard that runs one, in shard order: the name and its
    /// own keys after those that the row skips, each with the arguments up to
    /// the next key if the row's shards do all there is to do, or what else its
    /// [`PartArgs`] say. The whole request without keys.
    pub fn parts(&self, row: &Row, args: Args<'_>, shards: u16) -> Vec<(ShardId, OwnedArgs)> {
        if self.shards.is_empty() || matches!(row.run, Run::Relocate { .. }) {
            let participants = self.participants(shards).into_iter();
            let whole = |shard| (shard, OwnedArgs::new(args.iter()));
            return participants.map(whole).collect();
        }
        let (skip, step) = (row.run.skip(), part_step(row));
        let targets = distinct(self.shards.get(skip..).unwrap_or_default());
        let last = match row.part_args {
            PartArgs::Keys => None,
            PartArgs::KeysAndIds => {
                let part = |target| (target, self.with_ids(args, target));
                return targets.into_iter().map(part).collect();
            }
            PartArgs::KeysAndLast => args.len().checked_sub(1),
            PartArgs::All => {
                let whole = |shard| (shard, OwnedArgs::new(args.iter()));
                return targets.into_iter().map(whole).collect();
            }
        };
        let last = last.and_then(|at| args.get(at));
        let count = 1 + step * self.positions.len() + last.iter().len();
        let part = |target| {
            let own = self
                .positions
                .iter()
                .zip(&self.shards)
                .skip(skip)
                .filter(|(_, shard)| **shard == target);
            let own = own.flat_map(|(at, _)| (*at..at + step).filter_map(|index| args.get(index)));
            let own = args.get(0).into_iter().chain(own).chain(last);
            OwnedArgs::with_room(own, count, ROOM_BYTES)
        };
        targets
            .into_iter()
            .map(|target| (target, part(target)))
            .collect()
    }
}

impl Owners {
    /// The part of a shard by [`PartArgs::KeysAndIds`].
    fn with_ids(&self, args: Args<'_>, target: ShardId) -> OwnedArgs {
        let first = self.positions.first().copied().unwrap_or(args.len());
        let own = |behind: usize| {
            let all = self.positions.iter().zip(&self.shards);
            let own = all.filter(move |(_, shard)| **shard == target);
            own.filter_map(move |(at, _)| args.get(at + behind))
        };
        let count = self.positions.len();
        OwnedArgs::new(args.iter().take(first).chain(own(0)).chain(own(count)))
    }
}

fn distinct(shards: &[ShardId]) -> Vec<ShardId> {
    let mut distinct = shards.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// How many arguments each key brings along in a part.
pub fn part_step(row: &Row) -> usize {
    match row.run {
        Run::EachShard { .. } => key_step(row),
        _ => 1,
    }
}

/// Where the keys of a part stand of a request of a row that reads, then writes.
pub fn keys_of_part(row: &'static Row) -> &'static [KeySpec] {
    const ALL: &[KeySpec] = &[KeySpec::every(1, &["RO"])];
    const BUT_THE_LAST: &[KeySpec] = &[KeySpec::range(-2, 1, &["RO"])];
    match row.part_args {
        PartArgs::Keys => ALL,
        PartArgs::KeysAndLast => BUT_THE_LAST,
        PartArgs::KeysAndIds | PartArgs::All => row.keys,
    }
}

/// From one key of a row to the next, in arguments.
fn key_step(row: &Row) -> usize {
    let step = row.keys.first().map(|spec| match spec.find {
        Find::Range { step, .. } | Find::Count { step, .. } => step,
    });
    step.and_then(|step| usize::try_from(step).ok())
        .unwrap_or(1)
        .max(1)
}

/// Replies of several shards with one element per key, put in the order in
/// which `owners` names the shards.
pub fn in_key_order<'a>(owners: &[ShardId], replies: &'a [(ShardId, Vec<u8>)]) -> Vec<&'a [u8]> {
    let elements = |(shard, reply): &'a (ShardId, Vec<u8>)| {
        let elements = read::all_elements(reply).unwrap_or_default();
        (*shard, elements)
    };
    let mut rests: Vec<(ShardId, &[u8])> = replies.iter().map(elements).collect();
    let mut elements = Vec::with_capacity(owners.len());
    for owner in owners {
        let of_owner = rests.iter_mut().find(|(shard, _)| shard == owner);
        if let Some((_, rest)) = of_owner
            && let Some((element, after)) = read::split_value(rest)
        {
            *rest = after;
            elements.push(element);
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::row;

    #[test]
    fn a_request_that_does_not_divide_evenly_is_not_cut() {
        let found = |name, args: &[&[u8]]| {
            let args = OwnedArgs::new(args.iter().copied());
            Owners::find(row(name).unwrap(), args.args(), |_| ShardId(0)).is_some()
        };
        assert!(found("mset", &[b"MSET", b"a", b"1", b"b", b"2"]));
        assert!(!found("mset", &[b"MSET", b"a", b"1", b"b"]));
        assert!(!found("msetnx", &[b"MSETNX", b"a", b"1", b"b"]));
        assert!(!found("lmpop", &[b"LMPOP", b"0", b"a", b"LEFT"]));
        assert!(found("lmpop", &[b"LMPOP", b"1", b"a", b"LEFT"]));
        assert!(found("del", &[b"DEL", b"a", b"1", b"b"]));
        assert!(found("zunion", &[b"ZUNION", b"1", b"b"]));
        assert!(!found("zunion", &[b"ZUNION", b"0", b"b"]));
        assert!(!found("zunion", &[b"ZUNION", b"2", b"b"]));
        assert!(found("sintercard", &[b"SINTERCARD", b"1", b"a"]));
        assert!(!found("sintercard", &[b"SINTERCARD", b"0", b"a"]));
    }

    #[test]
    fn elements_are_laid_out_in_key_order() {
        let owners = [ShardId(1), ShardId(0), ShardId(1), ShardId(2)];
        let replies = [
            (ShardId(2), b"*1\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n".to_vec()),
            (ShardId(1), b"*2\r\n$1\r\na\r\n$-1\r\n".to_vec()),
            (ShardId(0), b"*1\r\n_\r\n".to_vec()),
        ];
        let expected: Vec<&[u8]> = vec![
            b"$1\r\na\r\n",
            b"_\r\n",
            b"$-1\r\n",
            b"*2\r\n:1\r\n$2\r\n\r\n\r\n",
        ];
        assert_eq!(in_key_order(&owners, &replies), expected);
    }
}
