//! Judges a run: is what the clients saw one history?
//!
//! The versions of each key are known in order (see [`crate::replay`]), so
//! whoever read a version comes after its writer and before the next one. Who
//! was answered before another was asked comes before it; so does an earlier
//! request of the same connection. The run is strictly serializable, in the order of
//! each connection, if these arrows form no circle.
//!
//! The merged logs of all shards are an order of all that has changed something; that
//! this, too, forms no circle with the arrows says that it is a history that the
//! clients could have seen, in which every request stands whole.
//!
//! A value that a key has had twice (no key at all, a small number) does not
//! say which version was read. Versions that ended before the read began or
//! began after it ended are out of question; the arrows are then those that
//! hold for all that remain.

use crate::graph::Graph;
use crate::replay::{NOBODY, Replay, Version, number};
use crate::workload::{Mode, Op, Verb};
use crate::world::{Event, LAG_MS, World};
use std::collections::HashMap;

/// Judges a world that has come to rest.
pub fn check(world: &mut World) -> Result<(), String> {
    if let Some(wrong) = world.wrong.take() {
        return Err(wrong);
    }
    if let Some(unrest) = world.unrest() {
        return Err(unrest);
    }
    world.check_invariants();
    world.follow()?;
    if world.workload.mode == Mode::Tokens {
        return crate::tokens::check(world);
    }
    let replay = Replay::new(world)?;
    for key in 0..replay.keys.len() {
        let last = replay.keys[key].last();
        let stored = world.stored(key as u16);
        let expired = last.deadline.is_some_and(|at| at <= world.now_ms) && stored == b"$-1\r\n";
        if stored != bulk(last.value.as_deref()) && !expired {
            return Err(format!("key {key} does not hold what was written last"));
        }
    }
    let world = &*world;
    let mut judge = Judge {
        world,
        replay: &replay,
        graph: Graph::default(),
        readers: Vec::new(),
    };
    for id in 0..world.ops.len() as u32 {
        judge
            .reply(id)
            .map_err(|wrong| format!("{wrong}\n  {}", judge.describe(id)))?;
    }
    judge.key_order();
    judge.connection_order();
    judge.stream_order();
    let nodes = judge.real_time();
    match judge.graph.cycle(nodes as usize) {
        None => Ok(()),
        Some(cycle) => {
            let lines: Vec<String> = cycle.iter().map(|node| judge.describe(*node)).collect();
            Err(format!("not one history:\n  {}", lines.join("\n  ")))
        }
    }
}

struct Judge<'a> {
    world: &'a World,
    replay: &'a Replay,
    graph: Graph,
    /// Key, first and last version that may have been read, request.
    readers: Vec<(u16, u32, u32, u32)>,
}

impl Judge<'_> {
    fn op(&self, id: u32) -> &Op {
        &self.world.ops[id as usize]
    }

    fn describe(&self, node: u32) -> String {
        let Some(op) = self.world.ops.get(node as usize) else {
            return match node < self.replay.nodes {
                true => "a key expires".into(),
                false => "time passes".into(),
            };
        };
        let reply = op.reply[..op.reply.len().min(200)].escape_ascii();
        let (verb, keys, client) = (op.verb.name(), &op.keys, op.connection);
        format!(
            "{node}: client {client} {verb} {keys:?} -> {reply} ({}..{:?})",
            op.invoked, op.completed
        )
    }

    /// A reply against the logs; notes what was read.
    fn reply(&mut self, id: u32) -> Result<(), String> {
        let op = &self.world.ops[id as usize];
        let done = &self.replay.done[id as usize];
        if op.completed.is_none() {
            return Ok(());
        }
        let made = done.made.len();
        let written = |expected: bool| match (expected, made) {
            (true, made) if made == op.keys.len() => Ok(()),
            (false, 0) => Ok(()),
            _ => Err(format!("{made} keys were written")),
        };
        match op.verb {
            Verb::Get => self.read(id, op.keys[0], &op.reply)?,
            Verb::MGet => self.read_many(id)?,
            Verb::Set | Verb::MSet => {
                expect(&op.reply, b"+OK\r\n")?;
                written(true)?;
            }
            Verb::FlushAll => {
                expect(&op.reply, b"+OK\r\n")?;
                if done.covered.len() != op.keys.len() {
                    return Err("not all keys were flushed".into());
                }
            }
            Verb::MSetOdd => {
                expect(
                    &op.reply,
                    b"-ERR wrong number of arguments for 'mset' command\r\n",
                )?;
                written(false)?;
            }
            Verb::MSetNx => self.all_or_nothing(id)?,
            Verb::Append | Verb::Incr => {
                written(true)?;
                self.grown(id)?;
            }
            Verb::Del | Verb::Unlink => {
                if integer(&op.reply)? != made as i64 {
                    return Err(format!("{made} keys were deleted"));
                }
                let others = op.keys.iter().filter(|key| !done.covered.contains(key));
                for key in others {
                    self.read(id, *key, b"$-1\r\n")?;
                }
            }
            Verb::Exists | Verb::Touch => {
                let (count, keys) = (integer(&op.reply)?, op.keys.clone());
                if count % self.world.workload.group_size as i64 != 0 {
                    return Err("a part of a group was counted".into());
                }
                self.counted(id, &keys, count)?;
            }
            Verb::Lcs => self.compared(id)?,
            Verb::RenameNx | Verb::SwapDb => {}
            Verb::DbSize | Verb::Keys => {
                let size = size(&op.reply)?;
                if size % self.world.workload.group_size as i64 != 0 {
                    return Err("a part of a group was met".into());
                }
                match op.verb {
                    Verb::Keys => self.listed(id)?,
                    _ => self.counted(id, &self.named(id), size)?,
                }
            }
        }
        Ok(())
    }

    /// A client was told that a key holds what `reply` says.
    fn read(&mut self, id: u32, key: u16, reply: &[u8]) -> Result<(), String> {
        let timeline = &self.replay.keys[usize::from(key)];
        let value = unbulk(reply)?;
        let found = match value {
            None => self.absent(id, key),
            Some(value) => timeline
                .by_value
                .get(value)
                .cloned()
                .ok_or_else(|| format!("key {key} has never held that"))?,
        };
        let Some(range) = self.possible(id, key, &found) else {
            return Err(format!("key {key} held that at another time only"));
        };
        if value.is_some() && self.is_late(id, key, range.1) {
            return Err(format!("key {key} was read after its time"));
        }
        self.readers.push((key, range.0, range.1, id));
        Ok(())
    }

    /// The first and the last of these versions that were there while a request was
    /// under way.
    fn possible(&self, id: u32, key: u16, found: &[u32]) -> Option<(u32, u32)> {
        ends(self.all_possible(id, key, found))
    }

    fn all_possible<'a>(
        &'a self,
        id: u32,
        key: u16,
        found: &'a [u32],
    ) -> impl DoubleEndedIterator<Item = u32> + 'a {
        let op = self.op(id);
        let ops = &self.world.ops;
        let before = move |writer: u32| {
            let done = ops.get(writer as usize).and_then(|op| op.completed);
            done.is_some_and(|done| done < op.invoked)
        };
        let after = move |writer: u32| {
            let writer = ops.get(writer as usize);
            writer.is_some_and(|writer| op.completed.is_some_and(|done| done < writer.invoked))
        };
        let versions = &self.replay.keys[usize::from(key)].versions;
        let possible = move |number: &u32| {
            let number = *number as usize;
            let over = versions.get(number + 1);
            !over.is_some_and(|next| before(next.writer)) && !after(versions[number].writer)
        };
        found.iter().copied().filter(possible)
    }

    /// The versions in which a request may have found no key: those without one, and
    /// those whose time had come. What is due is not shown, also while it stays.
    fn absent(&self, id: u32, key: u16) -> Vec<u32> {
        let until = self.op(id).completed_ms;
        let versions = (0..).zip(&self.replay.keys[usize::from(key)].versions);
        let gone = |version: &Version| match version.value {
            None => true,
            Some(_) => version.deadline.is_some_and(|at| at <= until),
        };
        let found = versions.filter(|(_, version)| gone(version));
        found.map(|(number, _)| number).collect()
    }

    /// Whether a version was due long before a request.
    fn is_late(&self, id: u32, key: u16, version: u32) -> bool {
        let version = &self.replay.keys[usize::from(key)].versions[version as usize];
        let invoked_ms = self.op(id).invoked_ms;
        let deadline = version.deadline;
        deadline.is_some_and(|deadline| deadline + LAG_MS <= invoked_ms)
    }

    fn read_many(&mut self, id: u32) -> Result<(), String> {
        let op = &self.world.ops[id as usize];
        let header = format!("*{}\r\n", op.keys.len());
        let mut rest = op
            .reply
            .strip_prefix(header.as_bytes())
            .ok_or("not an array of the right length")?;
        for key in &op.keys {
            let line = rest
                .iter()
                .position(|byte| *byte == b'\n')
                .ok_or("too short")?
                + 1;
            let length = number(&rest[1..line - 2])?;
            let end = if length < 0 {
                line
            } else {
                line + length as usize + 2
            };
            let (element, after) = rest.split_at_checked(end).ok_or("too short")?;
            rest = after;
            self.read(id, *key, element)?;
        }
        Ok(())
    }

    /// MSETNX wrote everything over nothing, or nothing.
    fn all_or_nothing(&mut self, id: u32) -> Result<(), String> {
        let done = &self.replay.done[id as usize];
        let op = self.op(id);
        let all = done.made.len() == op.keys.len();
        let reply = integer(&op.reply)?;
        if (reply, all) != (1, true) && (reply, done.made.len()) != (0, 0) {
            return Err(format!("{} keys were written", done.made.len()));
        }
        for (key, number) in &done.made {
            let before = &self.replay.keys[usize::from(*key)].versions[*number as usize - 1];
            if before.value.is_some() {
                return Err(format!("key {key} was there"));
            }
        }
        Ok(())
    }

    /// APPEND replies the length and INCR the number that came of it.
    fn grown(&self, id: u32) -> Result<(), String> {
        let (key, version) = self.replay.done[id as usize].made[0];
        let version = &self.replay.keys[usize::from(key)].versions[version as usize];
        let value = version.value.as_deref().unwrap_or_default();
        let op = self.op(id);
        let expected = match op.verb {
            Verb::Append => value.len() as i64,
            _ => number(value)?,
        };
        match integer(&op.reply)? == expected {
            true => Ok(()),
            false => Err(format!("the reply should be {expected}")),
        }
    }

    /// A client was told how many of some keys there are: as many as there were at some
    /// instant, and if that is as few or as many as there can have been, each is known.
    fn counted(&mut self, id: u32, keys: &[u16], count: i64) -> Result<(), String> {
        let replay = self.replay;
        let mut open = Vec::new();
        let mut surely = 0;
        for key in keys.iter().copied() {
            let timeline = &replay.keys[usize::from(key)];
            let there = self.all_possible(id, key, &timeline.present);
            let there = ends(there.filter(|version| !self.is_late(id, key, *version)));
            match (there, self.possible(id, key, &self.absent(id, key))) {
                (Some(there), Some(absent)) => open.push((key, there, absent)),
                (Some(range), None) => {
                    surely += 1;
                    self.readers.push((key, range.0, range.1, id));
                }
                (None, Some(range)) => self.readers.push((key, range.0, range.1, id)),
                (None, None) => return Err(format!("key {key} was never so")),
            }
        }
        let most = surely + open.len() as i64;
        if !(surely..=most).contains(&count) {
            return Err(format!("there were {surely} to {most} keys"));
        }
        for (key, there, absent) in open {
            let (first, last) = if count == most { there } else { absent };
            if count == most || count == surely {
                self.readers.push((key, first, last, id));
            }
        }
        Ok(())
    }

    /// The keys of a request's database among those it names.
    fn named(&self, id: u32) -> Vec<u16> {
        let op = self.op(id);
        let keys = op.keys.iter().copied();
        let key = |key: &u16| &self.world.workload.keys[usize::from(*key)];
        keys.filter(|it| key(it).db == op.db).collect()
    }

    /// KEYS names those there are.
    fn listed(&mut self, id: u32) -> Result<(), String> {
        let reply = &self.world.ops[id as usize].reply;
        let mut names: Vec<&[u8]> = reply
            .split(|byte| *byte == b'\n')
            .skip(2)
            .step_by(2)
            .collect();
        names.retain(|name| !name.is_empty());
        for key in self.named(id) {
            let name = &self.world.workload.keys[usize::from(key)].name;
            let listed = names.iter().any(|it| it.strip_suffix(b"\r") == Some(name));
            self.counted(id, &[key], i64::from(listed))?;
        }
        Ok(())
    }

    /// LCS LEN of what two keys held at some instant. The values of a group differ in
    /// their last byte only.
    fn compared(&mut self, id: u32) -> Result<(), String> {
        /// Of so many comparisons of bytes; beyond that it is believed.
        const CELLS_MAX: usize = 1 << 13;
        let length = integer(&self.op(id).reply)?;
        if self.world.workload.mode == Mode::Groups && length != 0 && length != 9 {
            return Err("two halves of a group differ".into());
        }
        let keys = [self.op(id).keys[0], self.op(id).keys[1]];
        let mut values = Vec::new();
        for key in keys {
            let timeline = &self.replay.keys[usize::from(key)];
            let all: Vec<u32> = (0..timeline.versions.len() as u32).collect();
            let possible = self.all_possible(id, key, &all);
            let value = |number: u32| timeline.versions[number as usize].value.as_deref();
            let held = possible.map(|number| (number, value(number).unwrap_or_default()));
            values.push(held.collect::<Vec<_>>());
        }
        // The versions of each that go with one of the other.
        let mut fitting: [Vec<u32>; 2] = Default::default();
        let bytes = |values: &[(u32, &[u8])]| values.iter().map(|it| it.1.len()).sum::<usize>();
        let believed = bytes(&values[0]) * bytes(&values[1]) > CELLS_MAX;
        for (one, left) in &values[0] {
            for (other, right) in &values[1] {
                let same = keys[0] == keys[1] && one != other;
                if same || !believed && common(left, right) != length {
                    continue;
                }
                fitting[0].push(*one);
                fitting[1].push(*other);
            }
        }
        for (key, fitting) in keys.into_iter().zip(fitting) {
            let (first, last) = (fitting.iter().min(), fitting.iter().max());
            let (Some(first), Some(last)) = (first, last) else {
                return Err("no two values that were there have that in common".into());
            };
            self.readers.push((key, *first, *last, id));
        }
        Ok(())
    }

    /// Writers of a key follow each other, readers stand between them.
    fn key_order(&mut self) {
        for timeline in &self.replay.keys {
            for pair in timeline.versions.windows(2) {
                if pair[0].writer != NOBODY {
                    self.graph.edge(pair[0].writer, pair[1].writer);
                }
            }
        }
        let logged = self
            .replay
            .keys
            .iter()
            .zip(0u16..)
            .flat_map(|(timeline, key)| {
                let readers = timeline.readers.iter();
                readers.map(move |(version, id)| (key, *version, *version, *id))
            });
        for (key, first, last, id) in self.readers.iter().copied().chain(logged) {
            let versions = &self.replay.keys[usize::from(key)].versions;
            let writer = versions[first as usize].writer;
            if writer != NOBODY {
                self.graph.edge(writer, id);
            }
            if let Some(next) = versions.get(last as usize + 1) {
                self.graph.edge(id, next.writer);
            }
        }
    }

    /// What one connection asked for later comes later, whichever shards it concerns.
    fn connection_order(&mut self) {
        let mut lasts: HashMap<u32, u32> = HashMap::new();
        for (id, op) in (0..).zip(&self.world.ops).filter(|(_, op)| op.started) {
            if let Some(before) = lasts.insert(op.connection, id) {
                self.graph.edge(before, id);
            }
        }
    }

    /// What stands behind something in the merged logs comes after it.
    fn stream_order(&mut self) {
        for pair in self.replay.order.windows(2) {
            self.graph.edge(pair[0], pair[1]);
        }
    }

    /// Who was answered before another was asked comes before it. A chain of
    /// further nodes, one per answer, says so with two arrows per request.
    /// Returns the number of nodes.
    fn real_time(&mut self) -> u32 {
        let mut nodes = self.replay.nodes;
        let mut latest = None;
        for event in &self.world.events {
            match *event {
                Event::Invoked(id) => {
                    if let Some(latest) = latest {
                        self.graph.edge(latest, id);
                    }
                }
                Event::Completed(id) => {
                    self.graph.edge(id, nodes);
                    if let Some(latest) = latest {
                        self.graph.edge(latest, nodes);
                    }
                    latest = Some(nodes);
                    nodes += 1;
                }
            }
        }
        nodes
    }
}

/// The first and the last of some versions.
fn ends(mut versions: impl DoubleEndedIterator<Item = u32>) -> Option<(u32, u32)> {
    let first = versions.next()?;
    Some((first, versions.next_back().unwrap_or(first)))
}

fn expect(reply: &[u8], expected: &[u8]) -> Result<(), String> {
    match reply == expected {
        true => Ok(()),
        false => Err(format!("the reply should be {}", expected.escape_ascii())),
    }
}

fn integer(reply: &[u8]) -> Result<i64, String> {
    let digits = reply
        .strip_prefix(b":")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    number(digits.ok_or("not an integer")?)
}

/// The length of the longest common subsequence, as one would write it on a whiteboard.
fn common(left: &[u8], right: &[u8]) -> i64 {
    let mut row = vec![0; right.len() + 1];
    for a in left {
        let mut diagonal = 0;
        for (at, b) in (1..).zip(right) {
            let above = row[at];
            row[at] = match a == b {
                true => diagonal + 1,
                false => above.max(row[at - 1]),
            };
            diagonal = above;
        }
    }
    row[right.len()]
}

/// The number of an integer, or of an array's elements.
fn size(reply: &[u8]) -> Result<i64, String> {
    match reply.strip_prefix(b"*") {
        None => integer(reply),
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'\r');
            number(&rest[..end.ok_or("not an array")?])
        }
    }
}

fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    let Some(value) = value else {
        return b"$-1\r\n".to_vec();
    };
    let mut reply = format!("${}\r\n", value.len()).into_bytes();
    reply.extend_from_slice(value);
    reply.extend_from_slice(b"\r\n");
    reply
}

/// The value of a bulk string.
fn unbulk(reply: &[u8]) -> Result<Option<&[u8]>, String> {
    if reply == b"$-1\r\n" {
        return Ok(None);
    }
    let line = reply
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or("not a bulk string")?;
    match reply[0] {
        b'$' => Ok(Some(&reply[line + 1..reply.len() - 2])),
        _ => Err("not a bulk string".into()),
    }
}
