//! What shards have read of the streams of one request, put together at its home core.
//!
//! Each shard hands on what its streams have, as the client is to read it, in pieces. They
//! are moved from core to core and into the reply; copied is what is short.

use super::delivery::Found;
use super::reading::{Reading, begin_stream, begin_streams};
use crate::command::{Decision, Work};
use crate::error::CommandError;
use crate::resp::{Protocol, Reply};
use crate::types::ShardId;

/// A piece with more bytes is not copied.
const SHORT: usize = 1 << 10;

/// A buffer for what is short is not grown beyond so many bytes.
const FULL: usize = 64 << 10;

/// What a shard has of one stream.
#[derive(Debug)]
pub struct Part {
    pub found: Found,
    /// Its entries, an array, if there are any.
    pub pieces: Vec<Vec<u8>>,
}

/// What shards have handed on, in the order of the keys of the request.
///
/// # Errors
/// The first that a stream has led to.
pub fn of(decision: &mut Decision<'_>) -> Result<Vec<Part>, CommandError> {
    let mut shards: Vec<ShardId> = decision.owners.to_vec();
    shards.sort_unstable();
    shards.dedup();
    let jobs = std::mem::take(&mut decision.works).into_iter();
    let jobs = jobs.filter_map(|work| match work {
        Work::Streams(job) => Some(job.into_parts()),
        _ => None,
    });
    let mut jobs: Vec<_> = shards.into_iter().zip(jobs).collect();
    let mut parts = Vec::new();
    for owner in decision.owners {
        let job = jobs.binary_search_by_key(owner, |(shard, _)| *shard);
        let job = job.ok().and_then(|at| jobs.get_mut(at));
        let Some(part) = job.and_then(|(_, parts)| parts.next()) else {
            continue;
        };
        match part.found {
            Found::Error(error) => return Err(error),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// Replies the streams that have entries; how many have.
pub fn reply(decision: &mut Decision<'_>, reading: &Reading<'_>, parts: &mut [Part]) -> usize {
    let count = parts.iter().filter(|part| part.found.has_any()).count();
    if count == 0 {
        return 0;
    }
    begin_streams(&mut decision.reply, count);
    let mut joined = Joined {
        protocol: decision.reply.protocol(),
        begin: &mut decision.reply,
        pieces: Vec::new(),
    };
    for ((key, _), part) in reading.all().zip(parts) {
        if part.found.has_any() {
            joined.write(|reply| begin_stream(reply, key));
            for piece in std::mem::take(&mut part.pieces) {
                joined.add(piece);
            }
        }
    }
    decision.pieces = joined.pieces;
    count
}

/// A reply, and what follows it, of which the last is short or empty.
struct Joined<'r, 'a> {
    protocol: Protocol,
    begin: &'r mut Reply<'a>,
    pieces: Vec<Vec<u8>>,
}

impl Joined<'_, '_> {
    fn write(&mut self, write: impl FnOnce(&mut Reply<'_>)) {
        match self.pieces.last_mut() {
            Some(last) => write(&mut Reply::new(last, self.protocol)),
            None => write(self.begin),
        }
        if self.pieces.last().is_some_and(|last| last.len() >= FULL) {
            self.pieces.push(Vec::new());
        }
    }

    fn add(&mut self, piece: Vec<u8>) {
        if piece.len() <= SHORT {
            return self.write(|reply| reply.raw(&piece));
        }
        if self.pieces.last().is_some_and(Vec::is_empty) {
            self.pieces.pop();
        }
        self.pieces.extend([piece, Vec::new()]);
    }
}
