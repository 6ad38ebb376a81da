//! What must be right when everything has arrived.

use super::{Readers, Role, What, check_stream, id_text, key, pairs};
use crate::follower::{Follower, row_of};
use crate::once::{GROUPS, Id, Reply, STREAMS};
use shards::DbIndex;
use shards::command::OwnedArgs;
use shards::order::{Call, Node};

impl Readers {
    fn contents(&mut self, stream: usize) -> Result<Vec<(Id, u64)>, String> {
        let entries = self
            .direct(&format!("XRANGE {} - +", key(stream)))
            .entries()?;
        let entries = entries.into_iter().map(|(id, number)| Some((id, number?)));
        entries
            .collect::<Option<_>>()
            .ok_or_else(|| "deleted".into())
    }

    /// What XINFO says of a group: the field's value; nothing if there is no group.
    pub(super) fn info(&mut self, stream: usize, group: usize, field: &str) -> Option<Reply> {
        let Reply::All(groups) = self.direct(&format!("XINFO GROUPS {}", key(stream))) else {
            return None;
        };
        let name = format!("g{group}");
        let mut groups = groups.into_iter();
        let group = groups.find(|it| it.all().get(1).is_some_and(|it| it.text() == name))?;
        let Reply::All(fields) = group else {
            return None;
        };
        let mut fields = fields.into_iter();
        fields.find(|it| it.text() == field)?;
        fields.next()
    }

    /// Nobody waits for something that is there, or for a group that is not.
    pub(super) fn check_waiting(&mut self) -> Result<(), String> {
        let asked = std::mem::take(&mut self.asked);
        for (id, of) in &asked {
            let wrong = |wrong: &str| Err(format!("client {id} {wrong}: {}", of.line));
            let Some(begun) = of.begun.filter(|_| of.may_wait && !of.ended) else {
                return wrong("has no reply");
            };
            let mut behind = Vec::new();
            match (&of.what, &self.people[of.client.key as usize].role) {
                (What::Reads(last, _), Role::Reads(reader)) => {
                    let is_missed = |it: &usize| self.once.added_after(*it, begun);
                    if last.iter().any(is_missed) && !self.once.lenient {
                        return wrong("waits for what came");
                    }
                    let at = reader.streams.iter().zip(&reader.at);
                    behind.extend(at.filter_map(|(stream, at)| Some((*stream, (*at)?))));
                }
                (What::Works { group, new, .. }, _) => {
                    for stream in new {
                        let last = self.info(*stream, *group, "last-delivered-id");
                        let Some(last) = last.and_then(|last| last.id()) else {
                            return wrong("waits for no group");
                        };
                        behind.push((*stream, last));
                    }
                }
                _ => {}
            }
            for (stream, at) in behind {
                if self.contents(stream)?.iter().any(|(id, _)| *id > at) {
                    return wrong("waits for what is there");
                }
            }
        }
        self.asked = asked;
        Ok(())
    }

    /// Nothing is under way, and nothing contradicts itself.
    pub(super) fn check_rest(&mut self) -> Result<(), String> {
        if let Some((id, asked)) = self.asked.first_key_value() {
            return Err(format!("client {id} has no reply: {}", asked.line));
        }
        let is_restless = |node: &Node| !node.is_at_rest() || node.has_writes();
        if let Some(node) = self.nodes.iter().position(is_restless) {
            return Err(format!("node {node} is not at rest"));
        }
        if self.nodes.iter().any(|node| node.waits() != (0, 0)) {
            return Err("somebody still waits: not at rest".into());
        }
        for node in &self.nodes {
            node.shard().keyspace(DbIndex(0)).check_invariants();
        }
        for key in (0..STREAMS).map(key) {
            let words = OwnedArgs::new([&b"XLEN"[..], key.as_bytes()]);
            let owner = self.nodes[0].owner(key.as_bytes()).index();
            let call = Call {
                handler: check_stream,
                ..Call::of(row_of([&b"xlen"[..]].into_iter()).unwrap())
            };
            let (shard, request) = (self.nodes[owner].shard_mut(), call.request(words.args()));
            assert!(shard.apply(self.now, &request, &mut Vec::new()).is_ok());
        }
        Ok(())
    }

    /// Whoever follows the merged logs has the same entries, groups and records.
    pub(super) fn check_follower(&mut self) -> Result<(), String> {
        self.recorder.finish(&mut self.nodes, self.now.0);
        let mut follower = Follower::new(1);
        for (_, stream) in &self.recorder.stream {
            follower.play(stream)?;
        }
        let keys: Vec<_> = (0..STREAMS)
            .map(|it| (DbIndex(0), key(it).into_bytes()))
            .collect();
        for read in [
            "XRANGE KEY - +",
            "XINFO GROUPS KEY",
            "XPENDING KEY g0 - + 1000000",
            "XPENDING KEY g1 - + 1000000",
        ] {
            follower.same(&mut self.nodes, &keys, read)?;
        }
        Ok(())
    }

    /// Every entry has gone its way, and goes it to the end.
    pub(super) fn check_entries(&mut self) -> Result<(), String> {
        for stream in 0..STREAMS {
            let held = self.contents(stream)?;
            let numbers: Vec<u64> = held.iter().map(|(_, number)| *number).collect();
            self.once.check_contents(stream, &numbers)?;
            self.check_readers(stream, &numbers)?;
            for group in 0..GROUPS {
                let line = format!("XPENDING {} g{group} - + 1000000", key(stream));
                let records = self.direct(&line);
                let number = |record: &Reply| {
                    let [id, name, ..] = record.all() else {
                        return None;
                    };
                    let at = held.binary_search_by_key(&id.id()?, |(id, _)| *id).ok()?;
                    Some((numbers[at], name.text().to_owned()))
                };
                let pending: Vec<_> = records.all().iter().filter_map(number).collect();
                if pending.len() < records.all().len() && !self.once.lenient {
                    return Err("what is pending is no more".into());
                }
                self.once.check_pending((group, stream), &pending)?;
            }
        }
        self.once.check_histories()?;
        self.once.check_turns()?;
        pairs().try_for_each(|(stream, group)| self.finish(stream, group))
    }

    /// What those who go on from where they are have seen is a piece of the stream.
    fn check_readers(&self, stream: usize, numbers: &[u64]) -> Result<(), String> {
        for person in &self.people {
            let Role::Reads(reader) = &person.role else {
                continue;
            };
            let at = reader.streams.iter().position(|it| *it == stream);
            let Some(seen) = at.map(|at| &reader.seen[at]).filter(|it| !it.is_empty()) else {
                continue;
            };
            let first = numbers.iter().position(|number| *number == seen[0]);
            let is_piece = first.is_some_and(|first| {
                numbers[first..].starts_with(seen) && (first == 0 || !reader.from_start)
            });
            if !is_piece && !self.once.lenient {
                return Err(format!("{seen:?} is seen of {numbers:?}"));
            }
        }
        Ok(())
    }

    /// A worker that keeps at it takes over everything, reads the rest and acknowledges
    /// it: then all of it was, once.
    fn finish(&mut self, stream: usize, group: usize) -> Result<(), String> {
        let key = key(stream);
        if self.info(stream, group, "lag").is_none() && self.once.lenient {
            return Ok(());
        }
        let line = format!("XAUTOCLAIM {key} g{group} last 0 0 COUNT 1000000");
        let claimed = self.direct(&line);
        let mut left = claimed.all().get(1).ok_or("too short")?.entries()?;
        let line = format!("XREADGROUP GROUP g{group} last STREAMS {key} >");
        for (_, entries) in self.direct(&line).streams()? {
            for (_, number) in &entries {
                self.once.is_new(group, "last", number.ok_or("deleted")?)?;
            }
            left.extend(entries);
        }
        for (id, number) in left {
            let acked = self.direct(&format!("XACK {key} g{group} {}", id_text(id)));
            if acked != Reply::Number(1) {
                return Err(format!("{acked:?} of entry {number:?} of group {group}"));
            }
            let numbers = [number.ok_or("deleted")?];
            self.once.acks((group, stream), &numbers, 1, self.instant)?;
        }
        self.once.check_acks((group, stream))?;
        let length = self.contents(stream)?.len() as i64;
        for (field, is) in [("pending", 0), ("entries-read", length), ("lag", 0)] {
            let told = self.info(stream, group, field);
            // Of an empty stream nothing may have been counted.
            if told != Some(Reply::Number(is)) && length > 0 && !self.once.lenient {
                return Err(format!("{field} of group {group} is {told:?}, not {is}"));
            }
        }
        Ok(())
    }
}
