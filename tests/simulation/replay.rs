//! What the merged logs of the shards say: every value that every key has had, in
//! order, and which request wrote it.

use crate::workload::{Op, Verb, Workload};
use crate::world::World;
use std::collections::HashMap;

/// The writer of what was there at the beginning.
pub const NOBODY: u32 = u32::MAX;

/// A value that a key has had, from one write to the next.
pub struct Version {
    /// The value; nothing if there was no key.
    pub value: Option<Vec<u8>>,
    /// Node of the graph that made it.
    pub writer: u32,
    pub deadline: Option<i64>,
}

/// The versions of one key.
pub struct Timeline {
    pub versions: Vec<Version>,
    /// Where a value is found among the versions.
    pub by_value: HashMap<Vec<u8>, Vec<u32>>,
    /// Versions with one.
    pub present: Vec<u32>,
    /// Requests that found a version without replacing it, as the log shows:
    /// the version and the request.
    pub readers: Vec<(u32, u32)>,
}

impl Timeline {
    fn new() -> Self {
        let mut timeline = Self {
            versions: Vec::new(),
            by_value: HashMap::new(),
            present: Vec::new(),
            readers: Vec::new(),
        };
        timeline.push(None, NOBODY, None);
        timeline
    }

    pub fn last(&self) -> &Version {
        &self.versions[self.versions.len() - 1]
    }

    fn push(&mut self, value: Option<Vec<u8>>, writer: u32, deadline: Option<i64>) {
        let number = self.versions.len() as u32;
        if let Some(value) = &value {
            self.by_value.entry(value.clone()).or_default().push(number);
            self.present.push(number);
        }
        self.versions.push(Version {
            value,
            writer,
            deadline,
        });
    }
}

/// What a request did, by the logs.
#[derive(Clone, Default)]
pub struct Done {
    /// Keys that it changed, each with the version that it made.
    pub made: Vec<(u16, u32)>,
    /// Keys that it looked at when it ran, all that the logs tell.
    pub covered: Vec<u16>,
}

pub struct Replay {
    pub keys: Vec<Timeline>,
    pub done: Vec<Done>,
    /// Requests that have changed something, in the order of the stream. What expires
    /// has no place in it: it is gone when its time has come, whenever that is recorded.
    pub order: Vec<u32>,
    /// Nodes of the graph: the requests and the expiries.
    pub nodes: u32,
}

impl Replay {
    /// Plays what all shards have recorded.
    pub fn new(world: &World) -> Result<Self, String> {
        let count = world.workload.keys.len();
        let mut replay = Self {
            keys: (0..count).map(|_| Timeline::new()).collect(),
            done: vec![Done::default(); world.ops.len()],
            order: Vec::new(),
            nodes: world.ops.len() as u32,
        };
        let mut db = 0;
        for (now_ms, log) in &world.recorder.stream {
            replay.play(world, &mut db, *now_ms, log)?;
        }
        Ok(replay)
    }

    fn play(
        &mut self,
        world: &World,
        selected: &mut u16,
        now_ms: i64,
        log: &[u8],
    ) -> Result<(), String> {
        for command in Commands(log) {
            let (name, id) = split_name(command[0]);
            let db = *selected;
            match name {
                b"SELECT" => *selected = number(command[1])? as u16,
                b"MULTI" | b"EXEC" if id.is_none() => {}
                b"DEL" if id.is_none() => {
                    let key = find_key(&world.workload, db, command[1])?;
                    self.expire(key, now_ms)?;
                }
                b"flushall" => {
                    let op = named(id, &world.ops, Verb::FlushAll)?;
                    self.order.push(op);
                    for key in 0..world.workload.keys.len() {
                        self.absent(key as u16, op);
                    }
                }
                b"del" | b"unlink" => {
                    let op = id.ok_or("a deletion without a number")?;
                    self.order.push(op);
                    for name in &command[1..] {
                        let key = find_key(&world.workload, db, name)?;
                        self.absent(key, op);
                    }
                }
                _ => self.write(world, db, name, id, &command)?,
            }
        }
        Ok(())
    }

    /// SET, MSET, APPEND and INCR.
    fn write(
        &mut self,
        world: &World,
        db: u16,
        name: &[u8],
        id: Option<u32>,
        command: &[&[u8]],
    ) -> Result<(), String> {
        let deadline = match command.get(3) {
            Some(word) if *word == b"PXAT" => Some(number(command[4])?),
            _ => None,
        };
        if name == b"incr" {
            let key = find_key(&world.workload, db, command[1])?;
            let old = self.keys[usize::from(key)].last().value.clone();
            let old = old.map_or(Ok(0), |value| number(&value))?;
            let op = named(id, &world.ops, Verb::Incr)?;
            self.make(key, op, (old + 1).to_string().into_bytes(), None);
            return Ok(());
        }
        let pairs = if deadline.is_some() {
            1..3
        } else {
            1..command.len()
        };
        for pair in command[pairs].chunks_exact(2) {
            let key = find_key(&world.workload, db, pair[0])?;
            // What stands for another request has no number but in its value.
            let op = match id {
                Some(id) => id,
                None => number_in(pair[1], world.workload.keys[usize::from(key)].counter)?,
            };
            let last = self.keys[usize::from(key)].last();
            let (mut value, mut deadline) = (Vec::new(), deadline);
            if name == b"append" {
                value = last.value.clone().unwrap_or_default();
                deadline = last.deadline;
            }
            value.extend_from_slice(pair[1]);
            self.make(key, op, value, deadline);
        }
        Ok(())
    }

    fn make(&mut self, key: u16, op: u32, value: Vec<u8>, deadline: Option<i64>) {
        let timeline = &mut self.keys[usize::from(key)];
        self.order.push(op);
        let done = &mut self.done[op as usize];
        done.made.push((key, timeline.versions.len() as u32));
        done.covered.push(key);
        timeline.push(Some(value), op, deadline);
    }

    /// A request saw to it that there is no such key.
    fn absent(&mut self, key: u16, op: u32) {
        let timeline = &mut self.keys[usize::from(key)];
        let number = timeline.versions.len() as u32;
        self.done[op as usize].covered.push(key);
        if timeline.last().value.is_none() {
            timeline.readers.push((number - 1, op));
            return;
        }
        self.done[op as usize].made.push((key, number));
        timeline.push(None, op, None);
    }

    fn expire(&mut self, key: u16, now_ms: i64) -> Result<(), String> {
        let timeline = &mut self.keys[usize::from(key)];
        match timeline.last().deadline {
            Some(deadline) if deadline <= now_ms => {}
            _ => return Err(format!("key {key} expired before its time")),
        }
        timeline.push(None, self.nodes, None);
        self.nodes += 1;
        Ok(())
    }
}

/// Reads a log: arrays of bulk strings.
pub struct Commands<'a>(pub &'a [u8]);

impl<'a> Iterator for Commands<'a> {
    type Item = Vec<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let count = self.header()?;
        (0..count)
            .map(|_| {
                let length = self.header()?;
                let (text, rest) = self.0.split_at_checked(length + 2)?;
                self.0 = rest;
                Some(&text[..length])
            })
            .collect()
    }
}

impl Commands<'_> {
    /// The number in a line like `$12`.
    fn header(&mut self) -> Option<usize> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let count = number(&self.0[1..end - 1]).ok()?;
        self.0 = &self.0[end + 1..];
        usize::try_from(count).ok()
    }
}

pub fn number(text: &[u8]) -> Result<i64, String> {
    shards::parse_i64(text)
        .ok_or_else(|| format!("{:?} is no number", text.escape_ascii().to_string()))
}

/// `set 17` apart.
fn split_name(name: &[u8]) -> (&[u8], Option<u32>) {
    match name.iter().position(|byte| *byte == b' ') {
        Some(at) => (
            &name[..at],
            number(&name[at + 1..]).ok().map(|id| id as u32),
        ),
        None => (name, None),
    }
}

/// The number in a value: see `Workload::value`.
fn number_in(value: &[u8], counter: bool) -> Result<u32, String> {
    let digits = if counter {
        value
            .get(1..value.len().saturating_sub(6))
            .unwrap_or_default()
    } else {
        value.get(1..8).unwrap_or_default()
    };
    let digits = String::from_utf8_lossy(digits);
    digits
        .parse()
        .map_err(|_| format!("no number in a value: {digits}"))
}

/// The request with this number, which must be of this kind.
fn named(id: Option<u32>, ops: &[Op], verb: Verb) -> Result<u32, String> {
    let id = id.ok_or("an effect without a number")?;
    match ops.get(id as usize) {
        Some(op) if op.verb == verb => Ok(id),
        _ => Err(format!("request {id} left the effect of a {verb:?}")),
    }
}

fn find_key(workload: &Workload, db: u16, name: &[u8]) -> Result<u16, String> {
    let is = |key: &crate::workload::Key| key.db.0 == db && key.name == name;
    let found = workload.keys.iter().position(is);
    found
        .map(|key| key as u16)
        .ok_or_else(|| format!("nobody named the key {}", name.escape_ascii()))
}
