//! What clients of streams have seen, and whether every entry went its way once: it is
//! new to one consumer of a group, pending with those who got it, acknowledged once;
//! and whoever reads on sees it once, in order, with all that came in the same block.

use std::collections::{BTreeSet, HashMap, HashSet};

pub const STREAMS: usize = 4;
pub const GROUPS: usize = 2;

pub type Id = (u64, u64);

/// An entry of a stream: its id and its number, if it has not been deleted.
pub type Entry = (Id, Option<u64>);

/// A reply, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Nothing,
    Number(i64),
    Text(String),
    Error(String),
    All(Vec<Reply>),
}

impl Reply {
    /// Reads a reply, which must be one and whole.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wrong = || format!("no reply: {}", bytes.escape_ascii());
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let mut lines = text.split("\r\n");
        let reply = Self::read(&mut lines).ok_or_else(wrong)?;
        match (lines.next(), lines.next()) {
            (Some(""), None) => Ok(reply),
            _ => Err(wrong()),
        }
    }

    fn read<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let line = lines.next()?;
        let rest = line.get(1..)?;
        Some(match line.as_bytes()[0] {
            b'+' => Self::Text(rest.to_owned()),
            b'-' => Self::Error(rest.to_owned()),
            b':' => Self::Number(rest.parse().ok()?),
            b'$' | b'*' if rest == "-1" => Self::Nothing,
            b'$' => Self::Text(lines.next()?.to_owned()),
            b'*' => {
                let count: usize = rest.parse().ok()?;
                Self::All(
                    (0..count)
                        .map(|_| Self::read(lines))
                        .collect::<Option<_>>()?,
                )
            }
            _ => return None,
        })
    }

    pub fn all(&self) -> &[Self] {
        match self {
            Self::All(all) => all,
            _ => &[],
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    pub fn id(&self) -> Option<Id> {
        let (ms, seq) = self.text().split_once('-')?;
        Some((ms.parse().ok()?, seq.parse().ok()?))
    }

    /// The entries of a range.
    pub fn entries(&self) -> Result<Vec<Entry>, String> {
        let entry = |entry: &Self| {
            let [id, fields] = entry.all() else {
                return None;
            };
            match fields {
                Self::Nothing => Some((id.id()?, None)),
                fields => Some((id.id()?, Some(fields.all().get(1)?.text().parse().ok()?))),
            }
        };
        let entries: Option<Vec<Entry>> = self.all().iter().map(entry).collect();
        let is_range = matches!(self, Self::All(_));
        let entries = entries.filter(|_| is_range);
        entries.ok_or_else(|| format!("no entries: {self:?}"))
    }

    /// What was read of streams, by number.
    pub fn streams(&self) -> Result<Vec<(usize, Vec<Entry>)>, String> {
        let stream = |stream: &Self| match stream.all() {
            [key, entries] => {
                let number = key.text().rsplit(':').next().and_then(|it| it.parse().ok());
                let number = number.ok_or_else(|| format!("no stream: {key:?}"))?;
                Ok((number, entries.entries()?))
            }
            _ => Err(format!("no stream: {stream:?}")),
        };
        self.all().iter().map(stream).collect()
    }
}

/// An entry that somebody wants to add.
struct Added {
    stream: usize,
    /// Numbers of those that are added in one piece with it.
    with: Vec<u64>,
    invoked: usize,
    completed: Option<usize>,
}

/// A consumer that has waited and was served.
pub struct Served {
    pub group: usize,
    pub invoked: usize,
    pub begun: usize,
    /// Where it waited.
    pub streams: Vec<usize>,
    /// The first new entry that it got of a stream.
    pub first: HashMap<usize, Id>,
}

/// A worker's own history, as it was read.
struct History {
    group: usize,
    consumer: String,
    number: u64,
    invoked: usize,
}

#[derive(Default)]
pub struct Once {
    added: Vec<Added>,
    /// Whose each entry was when it was new, in each group.
    new: HashMap<(usize, u64), String>,
    /// Who has got what, new or not.
    got: HashSet<(usize, String, u64)>,
    histories: Vec<History>,
    /// How often, and when, each was acknowledged by its own.
    acked: HashMap<(usize, u64), (usize, usize)>,
    /// All that were, of each group and stream.
    acks: [[usize; STREAMS]; GROUPS],
    served: Vec<Served>,
    /// Streams and groups go and come: what was lost with them is.
    pub lenient: bool,
}

impl Once {
    /// Entries that are added in one piece, one to each of these streams; their numbers.
    pub fn add(&mut self, streams: &[usize], invoked: usize) -> Vec<u64> {
        let first = self.added.len() as u64;
        let numbers: Vec<u64> = (first..first + streams.len() as u64).collect();
        self.added.extend(streams.iter().map(|stream| Added {
            stream: *stream,
            with: numbers.clone(),
            invoked,
            completed: None,
        }));
        numbers
    }

    pub fn is_added(&mut self, number: u64, instant: usize) {
        self.added[number as usize].completed = Some(instant);
    }

    /// Whether something was added to a stream by who began after this instant.
    pub fn added_after(&self, stream: usize, instant: usize) -> bool {
        let mut added = self.added.iter();
        added.any(|it| it.stream == stream && it.invoked > instant)
    }

    /// An entry was there before somebody asked for what comes after.
    pub fn is_old(&self, number: u64, asked: usize) -> bool {
        let completed = self.added[number as usize].completed;
        completed.is_some_and(|completed| completed < asked)
    }

    /// Of each block that somebody has seen something of, everything that is in the
    /// streams that were read at once has been seen.
    pub fn whole(
        &self,
        seen: &BTreeSet<u64>,
        streams: &[usize],
        numbers: &[u64],
    ) -> Result<(), String> {
        for number in numbers {
            let with = &self.added[*number as usize].with;
            let missing = with.iter().find(|other| {
                let stream = self.added[**other as usize].stream;
                streams.contains(&stream) && !seen.contains(other)
            });
            if let Some(missing) = missing
                && !self.lenient
            {
                return Err(format!(
                    "entry {number} is seen without {missing} of its block"
                ));
            }
        }
        Ok(())
    }

    /// An entry that nobody of a group has got before.
    pub fn is_new(&mut self, group: usize, consumer: &str, number: u64) -> Result<(), String> {
        self.gets(group, consumer, number);
        match self.new.insert((group, number), consumer.to_owned()) {
            None => Ok(()),
            Some(other) => Err(format!(
                "entry {number} is new to {other} and to {consumer} of group {group}"
            )),
        }
    }

    pub fn gets(&mut self, group: usize, consumer: &str, number: u64) {
        self.got.insert((group, consumer.to_owned(), number));
    }

    /// An entry was pending with a consumer that asked for its history at this instant.
    pub fn is_pending(&mut self, group: usize, consumer: &str, number: u64, invoked: usize) {
        self.histories.push(History {
            group,
            consumer: consumer.to_owned(),
            number,
            invoked,
        });
    }

    /// So many of these entries of a stream were acknowledged.
    pub fn acks(
        &mut self,
        (group, stream): (usize, usize),
        numbers: &[u64],
        count: usize,
        instant: usize,
    ) -> Result<(), String> {
        if count > numbers.len() {
            return Err(format!(
                "{count} of {} entries are acknowledged",
                numbers.len()
            ));
        }
        self.acks[group][stream] += count;
        for number in numbers.iter().filter(|_| count == numbers.len()) {
            let (times, at) = self.acked.entry((group, *number)).or_default();
            (*times, *at) = (*times + 1, instant);
            if *times > 1 && !self.lenient {
                return Err(format!(
                    "entry {number} is acknowledged twice in group {group}"
                ));
            }
        }
        Ok(())
    }

    pub fn serves(&mut self, served: Served) {
        self.served.push(served);
    }

    /// First come, first served: whatever wakes who came second, and waits for nothing
    /// else than who came first, has woken that one before.
    pub fn check_turns(&self) -> Result<(), String> {
        if self.lenient {
            return Ok(());
        }
        for first in &self.served {
            let behind = |it: &&Served| {
                let woken_too = it.streams.iter().all(|of| first.streams.contains(of));
                it.group == first.group && it.invoked > first.begun && woken_too
            };
            for second in self.served.iter().filter(behind) {
                let mut ids = second
                    .streams
                    .iter()
                    .filter_map(|it| first.first.get(it).zip(second.first.get(it)));
                if let Some((one, other)) = ids.find(|(one, other)| one > other) {
                    return Err(format!(
                        "who waits since {} of group {} gets {one:?}, who came at {} gets {other:?}",
                        first.begun, first.group, second.invoked
                    ));
                }
            }
        }
        Ok(())
    }

    /// What is pending with whom when all is over: whoever got it, and did not acknowledge it.
    pub fn check_pending(
        &self,
        (group, stream): (usize, usize),
        pending: &[(u64, String)],
    ) -> Result<(), String> {
        for (number, consumer) in pending {
            if !self.got.contains(&(group, consumer.clone(), *number)) {
                return Err(format!(
                    "{consumer} of group {group} never got entry {number}"
                ));
            }
            if self.acked.contains_key(&(group, *number)) && !self.lenient {
                return Err(format!(
                    "entry {number} is acknowledged and pending in group {group}"
                ));
            }
        }
        let of = |number: u64| self.added[number as usize].stream == stream;
        let delivered = self
            .new
            .keys()
            .filter(|(in_group, number)| *in_group == group && of(*number));
        let (delivered, acked) = (delivered.count(), self.acks[group][stream]);
        if delivered != pending.len() + acked && !self.lenient {
            return Err(format!(
                "of {delivered} entries {} are pending and {acked} acknowledged in group {group}",
                pending.len()
            ));
        }
        Ok(())
    }

    /// Whatever was shown as pending with somebody was, as far as anybody knows.
    pub fn check_histories(&self) -> Result<(), String> {
        for History {
            group,
            consumer,
            number,
            invoked,
        } in &self.histories
        {
            if !self.got.contains(&(*group, consumer.clone(), *number)) {
                return Err(format!(
                    "{consumer} is shown entry {number}, which it never got"
                ));
            }
            let acked = self.acked.get(&(*group, *number));
            if acked.is_some_and(|(_, at)| at < invoked) && !self.lenient {
                return Err(format!(
                    "{consumer} is shown entry {number}, which is acknowledged"
                ));
            }
        }
        Ok(())
    }

    /// Every entry of a stream has been acknowledged, once.
    pub fn check_acks(&self, (group, stream): (usize, usize)) -> Result<(), String> {
        let added = self.added.iter().filter(|it| it.stream == stream).count();
        match self.acks[group][stream] {
            acked if acked == added || self.lenient => Ok(()),
            acked => Err(format!(
                "{acked} of {added} entries are acknowledged in group {group}"
            )),
        }
    }

    /// What a stream holds is all that was added to it.
    pub fn check_contents(&self, stream: usize, numbers: &[u64]) -> Result<(), String> {
        let mut held = numbers.to_vec();
        held.sort_unstable();
        let added =
            (0..self.added.len() as u64).filter(|it| self.added[*it as usize].stream == stream);
        let added: Vec<u64> = added.collect();
        match held == added || self.lenient {
            true => Ok(()),
            false => Err(format!("stream {stream} holds {held:?} of {added:?}")),
        }
    }
}
