//! Random histories of streams beside a twin of plain maps.

use super::*;
use crate::types::{Random, UnixMs};
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Clone, Default, Debug)]
struct GroupTwin {
    last_id: StreamId,
    /// Whose, when, how often.
    pending: BTreeMap<StreamId, (Vec<u8>, i64, u64)>,
    consumers: BTreeMap<Vec<u8>, i64>,
}

#[derive(Clone, Default, Debug)]
struct Twin {
    entries: BTreeMap<StreamId, Pairs>,
    last_id: StreamId,
    deleted: StreamId,
    added: u64,
    groups: BTreeMap<Vec<u8>, GroupTwin>,
}

fn borrowed(fields: &Pairs) -> impl super::Pairs<'_> {
    fields.iter().map(|(name, value)| (&name[..], &value[..]))
}

fn owned(entry: Entry<'_>) -> (StreamId, Pairs) {
    let fields = entry.fields;
    let fields = fields.map(|(name, value)| (name.to_vec(), value.to_vec()));
    (entry.id, fields.collect())
}

struct Play {
    random: Random,
    stream: Stream,
    twin: Twin,
    limits: NodeLimits,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sizes = [0, 1, 100, 4096, 1 << 20];
        let counts = [0, 1, 3, 100, 1 << 20];
        let limits = NodeLimits::new(
            sizes[random.next() as usize % sizes.len()],
            counts[random.next() as usize % counts.len()],
        );
        Self {
            random,
            stream: Stream::new(),
            twin: Twin::default(),
            limits,
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.next() % limit
    }

    fn text(&mut self) -> Vec<u8> {
        let len = match self.below(60) {
            0 => 0,
            1 => 120 + self.below(20),
            2 => 2_000,
            3 => self.below(20_000),
            // More than a node may have beside others.
            4 if self.below(10) == 0 => 70_000,
            _ => self.below(12),
        };
        vec![self.below(3) as u8; len as usize]
    }

    fn fields(&mut self) -> Pairs {
        let count = match self.below(30) {
            0 => 200,
            1 => 0,
            n => n % 4,
        };
        let other = self.below(4) == 0;
        let mut name = |number: u64| match other {
            false => format!("field {number}").into_bytes(),
            true => self.text(),
        };
        let names: Vec<_> = (0..count).map(&mut name).collect();
        names.into_iter().map(|name| (name, self.text())).collect()
    }

    /// An id that is there, or near to one, or any.
    fn some_id(&mut self) -> StreamId {
        let near = match self.below(10) {
            0 => StreamId::new(self.below(1 << 40), self.below(3)),
            1 => StreamId::MIN,
            2 => StreamId::MAX,
            _ => {
                let len = self.twin.entries.len().max(1) as u64;
                let nth = self.below(len) as usize;
                let id = self.twin.entries.keys().nth(nth);
                id.copied().unwrap_or(StreamId::new(5, 5))
            }
        };
        match self.below(6) {
            0 => near.next().unwrap_or(near),
            1 => near.prev().unwrap_or(near),
            _ => near,
        }
    }

    fn name(&mut self, of: &str, count: u64) -> Vec<u8> {
        format!("{of} {}", self.below(count)).into_bytes()
    }

    fn append(&mut self) {
        let last = self.twin.last_id;
        let id = match self.below(4) {
            0 => StreamId::new(last.ms + self.below(100_000) + 1, self.below(3)),
            1 => StreamId::new(last.ms, last.seq + 1 + self.below(1000)),
            _ => last.next().unwrap(),
        };
        let fields = self.fields();
        let entries = &mut self.stream.entries;
        entries.append(id, borrowed(&fields), self.limits).unwrap();
        self.twin.entries.insert(id, fields);
        self.twin.last_id = id;
        self.twin.added += 1;
    }

    fn delete(&mut self) {
        let id = self.some_id();
        let was_there = self.twin.entries.remove(&id).is_some();
        assert_eq!(self.stream.entries.delete(id), was_there);
        if was_there {
            self.twin.deleted = self.twin.deleted.max(id);
        }
    }

    fn trim(&mut self) {
        let to = match self.below(2) {
            0 => TrimTo::MaxLen(self.below(self.twin.entries.len() as u64 + 3)),
            _ => TrimTo::MinId(self.some_id()),
        };
        let approx = self.below(2) == 0;
        let limit = if approx { self.below(3) * 20 } else { 0 };
        let mut trim = Trim::new(to, approx, limit);
        let before = self.twin.entries.len();
        let budget = [0, 1, 10, usize::MAX][self.below(4) as usize];
        // Without a budget it would not go on.
        while self.stream.entries.trim_some(&mut trim, budget.max(1)) {
            self.stream.check_invariants();
        }
        let kept = match to {
            TrimTo::MaxLen(most) => before.min(most as usize),
            TrimTo::MinId(min) => self.twin.entries.range(min..).count(),
        };
        let gone = trim.removed as usize;
        assert!(gone <= before - kept && (limit == 0 || trim.removed <= limit));
        assert!(approx || gone == before - kept, "{trim:?}");
        for _ in 0..gone {
            self.twin.entries.pop_first();
        }
    }

    /// Trims as groups allow it.
    fn trim_referenced(&mut self) {
        let to = match self.below(2) {
            0 => TrimTo::MaxLen(self.below(self.twin.entries.len() as u64 + 3)),
            _ => TrimTo::MinId(self.some_id()),
        };
        let references = match self.below(2) {
            0 => References::Delete,
            _ => References::Acknowledged,
        };
        let mut trim = Trim::new(to, false, 0).with(references);
        while self.stream.trim_some(&mut trim, 3) {
            self.stream.check_invariants();
        }
        let (mut left, mut gone) = (self.twin.entries.len() as u64, Vec::new());
        for id in self.twin.entries.keys() {
            let wanted = match to {
                TrimTo::MaxLen(most) => left > most,
                TrimTo::MinId(min) => *id < min,
            };
            let mut groups = self.twin.groups.values();
            let refers = groups.any(|group| group.last_id < *id || group.pending.contains_key(id));
            if wanted && (references == References::Delete || !refers) {
                gone.push(*id);
                left -= 1;
            }
        }
        assert_eq!(trim.removed, gone.len() as u64, "{trim:?}");
        for id in gone {
            self.twin.entries.remove(&id);
            for group in self.twin.groups.values_mut() {
                group.pending.remove(&id);
            }
        }
    }

    fn look(&mut self) {
        let (from, to) = (self.some_id(), self.some_id());
        let entries = &self.stream.entries;
        let owned_twin = |(id, fields): (&StreamId, &Pairs)| (*id, fields.clone());
        let count = 30;
        let wanted: Vec<_> = if from <= to {
            let range = self.twin.entries.range(from..=to);
            range.take(count).map(owned_twin).collect()
        } else {
            Vec::new()
        };
        let found: Vec<_> = entries.range(from, to).take(count).map(owned).collect();
        assert!(found == wanted, "{from:?} {to:?}");
        let wanted: Vec<_> = if from <= to {
            let range = self.twin.entries.range(from..=to);
            range.rev().take(count).map(owned_twin).collect()
        } else {
            Vec::new()
        };
        let found = entries.range_back(from, to).take(count).map(owned);
        assert!(found.collect::<Vec<_>>() == wanted, "{from:?} {to:?}");
        let found = entries.get(from).map(|entry| owned(entry).1);
        assert!(found.as_ref() == self.twin.entries.get(&from));
    }

    fn set_id(&mut self) {
        let top = self.twin.entries.last_key_value().map(|(id, _)| *id);
        let id = self.twin.last_id.max(top.unwrap_or_default());
        let id = StreamId::new(id.ms + self.below(3), id.seq);
        let (added, deleted) = (self.below(2) == 0, self.below(2) == 0);
        let (added, deleted) = (added.then_some(1 << 20), deleted.then_some(id));
        self.stream.entries.set_id(id, added, deleted);
        self.twin.last_id = id;
        self.twin.added = added.unwrap_or(self.twin.added);
        self.twin.deleted = deleted.unwrap_or(self.twin.deleted);
    }

    fn create_or_destroy_group(&mut self) {
        let name = self.name("group", 3);
        if self.below(10) == 0 {
            let gone = self.stream.destroy_group(&name);
            if let Some(mut gone) = gone {
                gone.check_invariants();
                while gone.free_some(1) {}
            }
            self.twin.groups.remove(&name);
            return;
        }
        let last_id = self.some_id();
        let created = self.stream.groups.create(&name, last_id, None).unwrap();
        assert_eq!(created, !self.twin.groups.contains_key(&name));
        let twin = GroupTwin {
            last_id,
            ..GroupTwin::default()
        };
        self.twin.groups.entry(name).or_insert(twin);
    }

    fn change_group(&mut self) {
        let (name, consumer) = (self.name("group", 3), self.name("consumer", 40));
        let (id, now) = (self.some_id(), self.below(1 << 40) as i64);
        let what = self.below(20);
        let Some(mut group) = self.stream.groups.get_mut(&name) else {
            assert!(!self.twin.groups.contains_key(&name));
            return;
        };
        let twin = self.twin.groups.get_mut(&name).unwrap();
        match what {
            0..9 => {
                let (number, created) = group.consumer_or_create(&consumer, UnixMs(now)).unwrap();
                assert_eq!(created, !twin.consumers.contains_key(&consumer));
                twin.consumers.entry(consumer.clone()).or_insert(now);
                group.claim(id, number, UnixMs(now), what).unwrap();
                twin.pending.insert(id, (consumer, now, what));
            }
            9..14 => {
                let was = group.ack(id).map(|record| record.delivered.0);
                assert_eq!(was, twin.pending.remove(&id).map(|record| record.1));
            }
            14 => {
                let of = |record: &(Vec<u8>, i64, u64)| record.0 == consumer;
                let had = twin.pending.values().filter(|record| of(record)).count();
                let had = twin.consumers.remove(&consumer).map(|_| had);
                assert_eq!(group.remove_consumer(&consumer), had);
                twin.pending.retain(|_, record| !of(record));
            }
            15 => {
                if let Some(number) = group.find_consumer(&consumer) {
                    group.note_seen(number, UnixMs(now));
                    twin.consumers.insert(consumer, now);
                }
            }
            _ => {
                let wanted = twin.pending.range(id..).take(9);
                let found = group.pending_from(id).take(9);
                let found = found.map(|record| (record.id, record.deliveries));
                assert!(found.eq(wanted.map(|(id, record)| (*id, record.2))));
                let wanted = twin.pending.range(id..);
                let wanted = wanted.filter(|(_, record)| record.0 == consumer);
                if let Some(number) = group.find_consumer(&consumer) {
                    let found = group.pending_of(number, id).map(|record| record.id);
                    assert!(found.eq(wanted.map(|(id, _)| *id)));
                }
            }
        }
        drop(group);
        if what == 16 {
            let forgotten = self.stream.groups.forget(id);
            let groups = self.twin.groups.values_mut();
            let gone = groups.filter_map(|group| group.pending.remove(&id)).count();
            assert_eq!(forgotten, gone);
        }
        let pending = |group: &GroupTwin| group.last_id < id || group.pending.contains_key(&id);
        let wanted = self.twin.groups.values().any(pending);
        assert_eq!(self.stream.groups.refer_to(id), wanted);
    }

    fn copy(&mut self) {
        let budget = [1, 7, 100][self.below(3) as usize];
        let mut clone = Stream::new();
        while self.stream.clone_some(&mut clone, budget).unwrap() {}
        clone.check_invariants();
        assert!(clone == self.stream);
        let bytes = |stream: &Stream| Collection::heap_bytes(stream);
        assert!(bytes(&clone) <= bytes(&self.stream));
        let mut old = std::mem::replace(&mut self.stream, clone);
        while old.free_some(budget) {}
    }

    fn check(&self) {
        self.stream.check_invariants();
        let entries = &self.stream.entries;
        assert_eq!(entries.len(), self.twin.entries.len());
        assert_eq!(entries.last_id(), self.twin.last_id);
        assert_eq!(entries.max_deleted_id(), self.twin.deleted);
        assert_eq!(entries.added(), self.twin.added);
        let first = self.twin.entries.first_key_value();
        let first = first.map_or(StreamId::MIN, |(id, _)| *id);
        assert_eq!(entries.first_id(), first);
        let names = self.stream.groups.iter().map(Group::name);
        assert!(names.eq(self.twin.groups.keys().map(Vec::as_slice)));
        for (group, twin) in self.stream.groups.iter().zip(self.twin.groups.values()) {
            let consumers = group.consumers().map(|(_, of)| (of.name(), of.seen.0));
            let wanted = twin.consumers.iter().map(|(name, at)| (&name[..], *at));
            assert!(consumers.eq(wanted));
            assert_eq!(group.pending_len(), twin.pending.len());
        }
    }

    fn step(&mut self) {
        match self.below(100) {
            0..40 => self.append(),
            40..52 => self.delete(),
            52 => self.trim(),
            53 => self.trim_referenced(),
            54..70 => self.look(),
            70 => self.set_id(),
            71 => self.copy(),
            72..75 => self.create_or_destroy_group(),
            _ => self.change_group(),
        }
        self.check();
    }
}

/// Many small nodes, from which is deleted what leaves them sparse.
#[test]
fn nodes_that_become_sparse_are_joined() {
    let mut random = Random::new(3);
    for (bytes, entries) in [(0, 3), (200, 0), (0, 0)] {
        let (mut stream, limits) = (Stream::new(), NodeLimits::new(bytes, entries));
        let mut twin = std::collections::BTreeSet::new();
        for number in 0..10_000 {
            let id = StreamId::new(number / 4 + 1, number % 4);
            let name = [&b"f"[..], b"another"][(random.next() % 2) as usize];
            let fields = pairs([name, b"value"].into_iter());
            stream.entries.append(id, fields, limits).unwrap();
            twin.insert(id);
        }
        let all: Vec<StreamId> = twin.iter().copied().collect();
        for step in 0..40_000 {
            let id = all[random.next() as usize % all.len()];
            assert_eq!(stream.entries.delete(id), twin.remove(&id));
            if step % 500 == 0 {
                stream.check_invariants();
                let ids = stream.entries.range(StreamId::MIN, StreamId::MAX);
                assert!(ids.map(|entry| entry.id).eq(twin.iter().copied()));
                let ids = stream.entries.range_back(StreamId::MIN, StreamId::MAX);
                assert!(ids.map(|entry| entry.id).eq(twin.iter().rev().copied()));
            }
        }
        assert!(stream.entries.nodes() <= twin.len() / 12 + 3);
    }
}

#[test]
fn random_histories_are_those_of_the_twin() {
    for seed in 0..60 {
        let mut play = Play::new(seed);
        for _ in 0..600 {
            play.step();
        }
        // All of it, from both ends, and then nothing.
        let all = play.stream.entries.range(StreamId::MIN, StreamId::MAX);
        let wanted = play.twin.entries.iter();
        assert!(all.map(owned).eq(wanted.map(|(id, of)| (*id, of.clone()))));
        for id in play.twin.entries.keys() {
            assert!(play.stream.entries.delete(*id));
        }
        play.stream.check_invariants();
        assert_eq!(play.stream.entries.first_id(), StreamId::MIN);
    }
}
