//! The logs of all shards as one stream of commands.
//!
//! Each shard says what it has recorded and how far that is complete. What lies
//! before the least of these is emitted, in the order of stamps: so the stream is a
//! history that clients could have seen, and applied to one shard it gives
//! the state of all of them.
//!
//! - The records of one shard have no decreasing stamps, so each key changes in the
//!   stream as it did on its shard.
//! - What was answered before another request came has a smaller stamp
//!   ([`Stamp`]), on whatever shards: nobody who follows the stream sees an effect without
//!   its cause.
//! - The parts of a ticket have the same stamp. When the stream comes to it, all
//!   shards are complete up to there, so all parts are there, and they are emitted
//!   as one block.
//!
//! The cut of a snapshot takes such a place on every shard and leaves it empty
//! (`command/snapshot.rs`): a record of it would say where in the stream the snapshot stands.
//!
//! What expires is in the stream when it is found: a key is gone when its time has
//! come, so who reads before that `DEL` may have missed the key already.

use crate::log::{Notified, Record, Stamp, Stream, TicketId};
use crate::types::ShardId;
use std::collections::VecDeque;

/// What one shard has recorded.
#[derive(Debug, Default)]
struct Source {
    records: VecDeque<Record>,
    /// It is complete before this.
    until: Stamp,
}

/// See the module.
#[derive(Debug)]
pub struct LogMerge {
    sources: Vec<Source>,
    stream: Stream,
}

impl LogMerge {
    /// Of so many shards, of which nothing has come.
    pub fn new(shards: u16) -> Self {
        Self {
            sources: (0..shards).map(|_| Source::default()).collect(),
            stream: Stream::default(),
        }
    }

    /// Takes what a shard has recorded since, after which everything before `until` has
    /// come from it.
    pub fn take(&mut self, shard: ShardId, records: impl Iterator<Item = Record>, until: Stamp) {
        let source = &mut self.sources[shard.index()];
        source.records.extend(records);
        source.until = until;
    }

    /// Appends what is complete: commands, and what clients are to be notified of.
    pub fn emit(&mut self, out: &mut Vec<u8>, notices: &mut Vec<Notified>) {
        let until = self.sources.iter().map(|source| source.until).min();
        let until = until.unwrap_or(Stamp::FIRST);
        let mut group = Vec::new();
        while let Some(ticket) = self.next(until, &mut group) {
            if ticket.is_some() {
                let stamp = group[0].stamp();
                let same = |record: &Record| record.stamp() == stamp && record.ticket() == ticket;
                for source in &mut self.sources {
                    if source.records.front().is_some_and(same) {
                        group.extend(source.records.pop_front());
                    }
                }
            }
            self.stream.append(&group, out);
            append_notices(&mut group, notices);
            group.clear();
        }
    }

    /// Takes the first record before `until`; whose it is, or that there is none.
    fn next(&mut self, until: Stamp, group: &mut Vec<Record>) -> Option<Option<TicketId>> {
        let first = |source: &Source| Some(source.records.front()?.stamp());
        let fronts = self.sources.iter_mut();
        let fronts = fronts.filter_map(|source| Some((first(source)?, source)));
        let (stamp, source) = fronts.min_by_key(|(stamp, _)| *stamp)?;
        if stamp >= until {
            return None;
        }
        group.extend(source.records.pop_front());
        group.first().map(Record::ticket)
    }

    /// Whether everything that has come is emitted.
    pub fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| source.records.is_empty())
    }
}

/// Appends what is to be notified of what belongs together: of several shards, in the order
/// in which one server would have done it.
fn append_notices(group: &mut [Record], notices: &mut Vec<Notified>) {
    let from = notices.len();
    let is_one = group.len() <= 1;
    for record in group {
        let mut of_shard = record.take_notices();
        if !is_one {
            set_phases(&mut of_shard);
        }
        notices.append(&mut of_shard);
    }
    if !is_one {
        notices[from..].sort_by_key(|it| it.rank);
    }
}

/// Says what comes later where one command has done something on several shards: what it is
/// told after. Words that are not named stand first.
fn set_phases(notices: &mut [Notified]) {
    for at in 0..notices.len() {
        let Notified { key, word, .. } = &notices[at];
        let (key, word) = (key.clone(), *word);
        let beside = |at: Option<usize>| {
            let it = at.and_then(|at| notices.get(at))?;
            (it.key == key).then_some((it.word, it.rank.phase))
        };
        let phase = match word {
            "rename_to" => 2,
            // LMOVE pushes before it pops, SMOVE removes before it adds.
            "rename_from" | "lpop" | "rpop" | "sadd" => 1,
            "new" => u8::from(beside(Some(at + 1)).is_some_and(|(next, _)| next == "sadd")),
            "del" => beside(at.checked_sub(1)).map_or(0, |(_, phase)| phase),
            _ => 0,
        };
        notices[at].rank.phase = phase;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Log;
    use crate::types::DbIndex;

    const SHARDS: u16 = 3;

    /// Chance that repeats.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) % bound
        }
    }

    fn write(log: &mut Log, db: u16, words: &str, common: bool) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        log.write(DbIndex(db), words.into_iter(), common);
    }

    /// What a ticket writes: on which shard, or on all.
    type Writes = Vec<(Option<usize>, u16, String)>;

    /// Tickets on several shards and requests of one come, run and end in a random order; the
    /// stream has them as they came, each whole, with what all shards record once.
    #[test]
    fn the_stream_is_the_order_in_which_everything_came() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let mut logs: Vec<Log> = (0..SHARDS).map(|_| Log::new(seed)).collect();
            let mut expected = Log::new(seed);
            let mut merge = LogMerge::new(SHARDS);
            let mut stream = Vec::new();
            let mut open: Vec<(TicketId, Writes)> = Vec::new();
            for turn in 1..200 {
                come(&mut random, turn, &mut logs, &mut expected, &mut open);
                if !open.is_empty() && random.below(3) == 0 {
                    let at = random.below(open.len() as u64) as usize;
                    let (ticket, writes) = open.swap_remove(at);
                    run(&mut logs, ticket, &writes);
                }
                for (shard, log) in (0..).zip(&mut logs) {
                    if random.below(4) == 0 {
                        let until = log.until();
                        merge.take(ShardId(shard), log.take(), until);
                        merge.emit(&mut stream, &mut Vec::new());
                    }
                }
            }
            for (ticket, writes) in open {
                run(&mut logs, ticket, &writes);
            }
            for (shard, log) in (0..).zip(&mut logs) {
                merge.take(ShardId(shard), log.take(), Stamp::LAST);
            }
            merge.emit(&mut stream, &mut Vec::new());
            assert!(merge.is_empty());
            let (mut whole, mut writer) = (Vec::new(), Stream::default());
            for record in expected.take() {
                writer.append(&[record], &mut whole);
            }
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", " ");
            assert_eq!(text(&stream), text(&whole), "seed {seed}");
        }
    }

    /// Something comes to some shards at once: it takes its place, and either runs or will.
    fn come(
        random: &mut Random,
        turn: u64,
        logs: &mut [Log],
        expected: &mut Log,
        open: &mut Vec<(TicketId, Writes)>,
    ) {
        let db = random.below(2) as u16;
        let log = expected;
        if random.below(2) == 0 {
            let shard = random.below(u64::from(SHARDS)) as usize;
            let words = format!("SET {shard} {turn}");
            let stamp = Stamp::at_once(turn, turn);
            logs[shard].stand(stamp);
            write(&mut logs[shard], db, &words, false);
            log.stand(stamp);
            write(log, db, &words, false);
            return;
        }
        let (ticket, stamp) = (TicketId(u128::from(turn)), Stamp::sent(turn, 0));
        let everywhere = random.below(3) == 0;
        let mut writes: Writes = Vec::new();
        for number in 0..random.below(4) {
            let shard = random.below(u64::from(SHARDS)) as usize;
            let words = format!("SET {shard} {turn}-{number}");
            writes.push((Some(shard), db, words));
            if everywhere && random.below(2) == 0 {
                writes.push((None, random.below(2) as u16, format!("FLUSHDB {turn}")));
            }
        }
        for other in logs.iter_mut() {
            other.stand(stamp);
            other.reserve(ticket, (std::iter::empty(), false), true);
        }
        log.stand(stamp);
        log.enter(ticket);
        // Between what all shards have, the order is that of shards.
        for segment in writes.split_inclusive(|(shard, ..)| shard.is_none()) {
            let mut segment = segment.to_vec();
            segment.sort_by_key(|(shard, ..)| shard.unwrap_or(usize::MAX));
            for (_, db, words) in &segment {
                write(log, *db, words, false);
            }
        }
        log.leave();
        log.close(ticket);
        open.push((ticket, writes));
    }

    fn run(logs: &mut [Log], ticket: TicketId, writes: &Writes) {
        for (shard, log) in logs.iter_mut().enumerate() {
            log.enter(ticket);
            for (of, db, words) in writes {
                if of.is_none_or(|of| of == shard) {
                    write(log, *db, words, of.is_none());
                }
            }
            log.leave();
            log.close(ticket);
        }
    }
}
