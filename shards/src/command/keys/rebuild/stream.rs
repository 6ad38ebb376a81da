//! The commands that make a stream anew.
//!
//! What is pending may be an entry that has gone, and only what is there can be claimed.
//! So such entries are added first, claimed, and taken off again; then come those that
//! are there, and at last what the stream remembers.

use super::{PER_COMMAND, Words, digits};
use crate::value::Stream;
use crate::value::stream::{ConsumerId, Group, Pending, StreamId};

/// The field and value of entries that do not stay.
const PASSING: [&[u8]; 2] = [b"x", b"y"];

struct Rebuilding<'a> {
    key: &'a [u8],
    commands: &'a mut Vec<Words>,
}

impl Rebuilding<'_> {
    fn command<'w>(&mut self, name: &[u8], words: impl IntoIterator<Item = &'w [u8]>) {
        let words = words.into_iter().map(<[u8]>::to_vec);
        let before = [name.to_vec(), self.key.to_vec()];
        self.commands
            .push(before.into_iter().chain(words).collect());
    }

    /// As [`Rebuilding::command`], for a subcommand of XGROUP.
    fn of_group<'w>(&mut self, name: &[u8], words: impl IntoIterator<Item = &'w [u8]>) {
        self.command(b"XGROUP", words);
        if let Some(command) = self.commands.last_mut() {
            command.insert(1, name.to_vec());
        }
    }

    fn add<'w>(&mut self, id: StreamId, words: impl IntoIterator<Item = &'w [u8]>) {
        self.command(b"XADD", words);
        if let Some(command) = self.commands.last_mut() {
            command.insert(2, id.text().as_bytes().to_vec());
        }
    }

    fn groups(&mut self, stream: &Stream) {
        for group in stream.groups.iter() {
            let (name, last) = (group.name(), group.last_id.text());
            let read = group.entries_read.map(|read| read.to_string());
            let read = read.as_ref().map(|read| [b"ENTRIESREAD", read.as_bytes()]);
            let words = [name, last.as_bytes()].into_iter();
            self.of_group(b"CREATE", words.chain(read.into_iter().flatten()));
            for (_, consumer) in group.consumers() {
                self.of_group(b"CREATECONSUMER", [name, consumer.name()]);
            }
        }
    }

    /// What is pending of those entries that are `wanted`.
    fn claims(&mut self, group: &Group, wanted: impl Fn(StreamId) -> bool) {
        for (number, _) in group.consumers() {
            let pending = group.pending_of(number, StreamId::MIN);
            let mut pending = pending.filter(|pending| wanted(pending.id)).peekable();
            while let Some(first) = pending.next() {
                let mut ids = vec![first.id];
                let alike = |other: &&Pending| {
                    let what = |of: &Pending| (of.delivered, of.deliveries);
                    what(first) == what(other)
                };
                while ids.len() < PER_COMMAND
                    && let Some(next) = pending.next_if(alike)
                {
                    ids.push(next.id);
                }
                self.claim(group, number, first, &ids);
            }
        }
    }

    fn claim(&mut self, group: &Group, consumer: ConsumerId, of: &Pending, ids: &[StreamId]) {
        let Some(consumer) = group.consumer(consumer) else {
            return;
        };
        let ids: Vec<_> = ids.iter().map(|id| id.text()).collect();
        let (time, count) = (digits(of.delivered.0), of.deliveries.to_string());
        let before: [&[u8]; 3] = [group.name(), consumer.name(), b"0"];
        let behind: [&[u8]; 6] = [
            b"TIME",
            &time,
            b"RETRYCOUNT",
            count.as_bytes(),
            b"FORCE",
            b"JUSTID",
        ];
        let ids = ids.iter().map(|id| id.as_bytes());
        self.command(b"XCLAIM", before.into_iter().chain(ids).chain(behind));
    }
}

/// Adds the commands that make `stream` where nothing is.
pub fn stream(commands: &mut Vec<Words>, key: &[u8], stream: &Stream) {
    let mut rebuilding = Rebuilding { key, commands };
    let entries = &stream.entries;
    let gone = |id: StreamId| !entries.contains(id);
    let pending = stream.groups.iter().flat_map(|group| {
        let ids = group.pending_from(StreamId::MIN).map(|pending| pending.id);
        ids.filter(|id| gone(*id))
    });
    let mut passing: Vec<StreamId> = pending.collect();
    passing.sort_unstable();
    passing.dedup();
    for id in &passing {
        rebuilding.add(*id, PASSING);
    }
    if !passing.is_empty() {
        rebuilding.groups(stream);
        for group in stream.groups.iter() {
            rebuilding.claims(group, gone);
        }
        rebuilding.command(b"XTRIM", [&b"MAXLEN"[..], b"0"]);
        rebuilding.command(b"XSETID", [&b"0-0"[..]]);
    }
    for entry in entries.range(StreamId::MIN, StreamId::MAX) {
        let fields = entry.fields.flat_map(|(name, value)| [name, value]);
        rebuilding.add(entry.id, fields);
    }
    if passing.is_empty() {
        if entries.is_empty() {
            let id = StreamId::new(0, 1).text();
            let words: [&[u8]; 3] = [b"MAXLEN", b"0", id.as_bytes()];
            rebuilding.command(b"XADD", words.into_iter().chain(PASSING));
        }
        rebuilding.groups(stream);
    }
    for group in stream.groups.iter() {
        rebuilding.claims(group, |id| !gone(id));
    }
    let (last, deleted) = (entries.last_id().text(), entries.max_deleted_id().text());
    let added = entries.added().to_string();
    let words: [&[u8]; 5] = [
        last.as_bytes(),
        b"ENTRIESADDED",
        added.as_bytes(),
        b"MAXDELETEDID",
        deleted.as_bytes(),
    ];
    rebuilding.command(b"XSETID", words);
}
