//! A snapshot's part in one store: what it was at an instant, the *cut*, while it goes
//! on being changed.
//!
//! At the cut the store's bit flips, and every entry with the other bit is *unmet*: it
//! belongs to the snapshot, which has not encoded it yet. The walk encodes entry after
//! entry, and whatever is about to be changed is encoded before (`store::before_change`);
//! both give the entry the new bit, and new entries have it from the beginning, so each is
//! encoded once. The walk follows the order of entries, which growth, splits and moves keep.
//!
//! ```text
//!   walk, changes ──▶ open chunk ── full ──▶ closed chunks ──▶ Shard::take_chunks
//!   large values, each by itself, in steps ──▶ pieces ───────▶
//! ```
//!
//! A *large* value is encoded in steps. It stays where it is, and nobody changes it
//! meanwhile: `order/site/snapshot.rs` keeps those who want to waiting. One that is removed
//! without locks (it expires, it is overwritten, its database is cleared) is handed over:
//! the snapshot owns it until it is encoded, and buries it. Whoever changes one all the same
//! has it encoded in one piece.
//!
//! A chunk begins with its database, so chunks may stand in a file in any order; but the
//! pieces of one value follow each other. To take as little memory as may be, pieces of
//! one large value are given away before the rest of it is made: it *streams*. Only one
//! value of the shard does so at a time.
//!
//! A store that is cleared is handed on until it is walked; with SWAPDB the walk goes
//! where the store goes, and what it encodes is still of the database of the cut.
//!
//! Where there is no memory for a chunk, the snapshot is lost, not the write. Then, and
//! when it is abandoned, the walk goes on to its end without encoding anything, because the
//! next cut relies on the bits.

use super::entry::{EntryMut, EntryRef};
use super::index::Position;
use super::store::Home;
use super::{Keyspace, Located, Store};
use crate::error::OutOfMemory;
use crate::rdb::{self, Encoder, Meta};
use crate::types::{DbIndex, Settings};
use crate::value::{Encoding, Value};
use std::collections::VecDeque;

/// From so many bytes on a chunk is closed.
const CHUNK_BYTES: usize = 64 << 10;
/// Room for what its last entry needs beyond that, as a rule.
const SPARE_BYTES: usize = 4 << 10;
/// So many bytes are as much work as one small entry, or one element.
const ENTRY_BYTES: usize = 128;
/// Chunks that are freed in one step.
const FREED_TOGETHER: usize = 8;

/// A part of a file.
#[derive(Debug, Default)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// The next chunk of the shard is to follow it at once: it has more of the same value.
    pub more: bool,
    /// So many keys end in it.
    pub keys: u32,
}

/// What is to become of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Made,
    /// There was no memory for something.
    Lost,
    Abandoned,
}

/// A large value that is being encoded.
#[derive(Debug)]
struct Large {
    key: Box<[u8]>,
    at: Place,
    encoder: Encoder,
    /// What has been encoded and not been closed, and what has been closed.
    bytes: Vec<u8>,
    pieces: Vec<Chunk>,
    /// Some of its pieces have been given away.
    streams: bool,
}

/// Where a large value is.
#[derive(Debug)]
enum Place {
    /// In the store. Those who want to change it wait for the end, if they were told so.
    Home(Home, Option<Located>),
    /// Here.
    Left(Value),
}

/// What a step of a walk has come to.
pub enum Met {
    Nothing,
    /// A value that is not to be encoded in one piece.
    Large(super::store::Place),
    /// All is encoded.
    End(Box<Cut>),
}

/// What has come of a step of a large value.
pub enum Step {
    More,
    /// It is encoded, and to be buried if it was handed over.
    Over(Option<Value>),
}

/// What a snapshot still has to do in a store, and what it has encoded of it.
#[derive(Debug)]
pub struct Cut {
    db: DbIndex,
    compress: bool,
    /// A value with more elements is large.
    large_above: usize,
    /// Where the walk goes on: a slot, and a position in it.
    pub at: (usize, Position),
    state: State,
    open: Chunk,
    closed: Vec<Chunk>,
    /// First those in the store, then those that were handed over, which may be many; of
    /// those the first streams if any does.
    large: VecDeque<Large>,
    /// How many are in the store.
    homes: usize,
    /// The last pieces of a value that streams.
    tail: Vec<Chunk>,
    /// Keys for whose values nobody need wait any more.
    ended: Vec<Located>,
    /// So many large values were encoded in one piece.
    whole: u64,
}

impl Cut {
    /// Nothing is encoded yet.
    pub fn new(db: DbIndex, settings: &Settings) -> Self {
        Self {
            db,
            compress: settings.rdb_compression,
            large_above: settings.slices.above / 2,
            at: (0, Position::START),
            state: State::Made,
            open: Chunk::default(),
            closed: Vec::new(),
            large: VecDeque::new(),
            homes: 0,
            tail: Vec::new(),
            ended: Vec::new(),
            whole: 0,
        }
    }

    /// Whether it encodes what it meets.
    pub fn is_made(&self) -> bool {
        self.state == State::Made
    }

    /// Whether the value of an entry is not to be encoded in one piece.
    pub fn is_large(&self, entry: EntryRef<'_>) -> bool {
        entry.outside().is_some_and(|value| {
            let elements = value.heap_bytes() / ENTRY_BYTES;
            elements.max(rdb::elements_of(value.view())) > self.large_above
        })
    }

    /// Encodes an entry that the snapshot has not met, in one piece.
    pub fn save(&mut self, entry: EntryRef<'_>) {
        if self.state != State::Made {
            return;
        }
        let saved = match self.number_of(entry) {
            Some(number) => self.finish(number, entry),
            None => self.encode(entry),
        };
        if saved.is_err() {
            self.lose();
        }
    }

    fn encode(&mut self, entry: EntryRef<'_>) -> Result<(), OutOfMemory> {
        self.whole += u64::from(self.is_large(entry));
        let out = &mut self.open.bytes;
        if out.is_empty() {
            out.try_reserve_exact(CHUNK_BYTES + SPARE_BYTES)?;
            rdb::select_db(self.db, out)?;
        }
        rdb::encode_entry(
            entry.key(),
            entry.value(),
            &meta_of(entry),
            self.compress,
            out,
        )?;
        self.open.keys += 1;
        if self.open.bytes.len() >= CHUNK_BYTES {
            self.close()?;
        }
        Ok(())
    }

    /// The open chunk is full.
    fn close(&mut self) -> Result<(), OutOfMemory> {
        if self.open.keys > 0 {
            self.closed.try_reserve(1)?;
            self.closed.push(std::mem::take(&mut self.open));
        }
        Ok(())
    }

    /// The walk is over: what has been encoded is complete.
    pub fn end_walk(&mut self) {
        if self.close().is_err() {
            self.lose();
        }
    }

    fn lose(&mut self) {
        self.state = State::Lost;
    }

    /// The large value of an entry that is being encoded.
    fn number_of(&self, entry: EntryRef<'_>) -> Option<usize> {
        if self.homes == 0 || entry.outside().is_none() {
            return None;
        }
        let mut homes = self.large.iter().take(self.homes);
        homes.position(|large| *large.key == *entry.key())
    }

    /// Takes one out; those behind it move up.
    fn remove(&mut self, number: usize) -> Large {
        self.homes -= usize::from(number < self.homes);
        let large = self.large.remove(number);
        large.expect("it is one of them")
    }

    /// Of which pieces may be there, or have been given away.
    fn begun(&mut self) -> impl Iterator<Item = &mut Large> {
        self.large.iter_mut().take(self.homes + 1)
    }

    /// Encodes the rest of a large value in one piece.
    fn finish(&mut self, number: usize, entry: EntryRef<'_>) -> Result<(), OutOfMemory> {
        let mut large = self.remove(number);
        self.whole += 1;
        let (value, compress) = (entry.value(), self.compress);
        let encoder = &mut large.encoder;
        while encoder.go_on(value, compress, usize::MAX, &mut large.bytes)? {}
        self.end(large)?;
        Ok(())
    }

    /// The large value of an entry of this store is to be encoded in steps. Those who wait
    /// for it are told at the end by `waited`.
    pub fn begin_large(&mut self, entry: EntryRef<'_>, home: Home, waited: Option<Located>) {
        if self.state == State::Made
            && self.number_of(entry).is_none()
            && self.add_large(entry, Place::Home(home, waited)).is_err()
        {
            self.lose();
        }
    }

    fn add_large(&mut self, entry: EntryRef<'_>, at: Place) -> Result<(), OutOfMemory> {
        self.large.try_reserve(1)?;
        self.ended.try_reserve(self.large.len() + 1)?;
        let (key, value) = (entry.key(), entry.value());
        let mut bytes = Vec::new();
        bytes.try_reserve(SPARE_BYTES)?;
        rdb::select_db(self.db, &mut bytes)?;
        rdb::encode_entry_head(key, value, &meta_of(entry), self.compress, &mut bytes)?;
        let is_home = matches!(at, Place::Home(..));
        let large = Large {
            key: crate::value::copy(key)?.into_boxed_slice(),
            at,
            encoder: Encoder::new(value),
            bytes,
            pieces: Vec::new(),
            streams: false,
        };
        self.homes += usize::from(is_home);
        match is_home {
            true => self.large.push_front(large),
            false => self.large.push_back(large),
        }
        Ok(())
    }

    /// The large value of an entry that is about to be removed is the snapshot's from now
    /// on; the entry has an empty one of its type instead.
    pub fn hand_over(&mut self, entry: &mut EntryMut<'_>) {
        let known = self.number_of(entry.look());
        if known.is_none() {
            let empty = Place::Left(Value::String(Vec::new()));
            if self.add_large(entry.look(), empty).is_err() {
                return self.lose();
            }
        }
        let last = self.large.len() - 1;
        let Some(value) = entry.outside() else {
            return;
        };
        let empty = Value::from_flat(value.type_of(), Encoding::Listpack, Vec::new());
        let left = Place::Left(std::mem::replace(value, empty));
        let large = &mut self.large[known.unwrap_or(last)];
        if let Place::Home(_, waited) = std::mem::replace(&mut large.at, left) {
            self.ended.extend(waited);
        }
        if let Some(number) = known {
            let large = self.remove(number);
            let streams = |large: &Large| large.streams;
            let behind = self.large.get(self.homes).is_some_and(streams);
            self.large.insert(self.homes + usize::from(behind), large);
        }
    }

    /// The large value that the walk is to go on with: one that streams, or one that was
    /// handed over and takes memory, or the first.
    pub fn next_large(&self) -> Option<usize> {
        let mut begun = self.large.iter().take(self.homes + 1);
        let left = || (self.homes < self.large.len()).then_some(self.homes);
        let first = || (!self.large.is_empty()).then_some(0);
        let streams = begun.position(|large| large.streams);
        streams.or_else(left).or_else(first)
    }

    /// The large value for which somebody waits by this key.
    pub fn waited_for(&self, key: Located) -> Option<usize> {
        let is_it =
            |large: &Large| matches!(large.at, Place::Home(_, Some(waited)) if waited == key);
        self.large.iter().take(self.homes).position(is_it)
    }

    /// Nobody waits any more: the store cannot be reached.
    pub fn forget_waiting(&mut self) {
        for large in self.large.iter_mut().take(self.homes) {
            if let Place::Home(_, waited) = &mut large.at {
                self.ended.extend(waited.take());
            }
        }
    }

    /// Where a large value is, if it is in the store.
    pub fn home_of(&self, number: usize) -> Option<(Home, &[u8])> {
        let large = self.large.get(number)?;
        match &large.at {
            Place::Home(home, _) => Some((*home, &large.key)),
            Place::Left(_) => None,
        }
    }

    /// Takes a step of about so many elements of a large value, which is that of `entry`
    /// unless it was handed over.
    pub fn step(&mut self, number: usize, entry: Option<EntryRef<'_>>, elements: usize) -> Step {
        match self.try_step(number, entry, elements) {
            Ok(true) => Step::More,
            Ok(false) => self.step_over(number),
            Err(_) => {
                self.lose();
                self.step_over(number)
            }
        }
    }

    fn try_step(
        &mut self,
        number: usize,
        entry: Option<EntryRef<'_>>,
        elements: usize,
    ) -> Result<bool, OutOfMemory> {
        if self.state != State::Made {
            return Ok(false);
        }
        let large = &mut self.large[number];
        let value = match (&large.at, entry) {
            (Place::Left(value), _) => value.view(),
            (Place::Home(..), Some(entry)) => entry.value(),
            (Place::Home(..), None) => unreachable!("what goes is handed over"),
        };
        let compress = self.compress;
        let more = large
            .encoder
            .go_on(value, compress, elements, &mut large.bytes)?;
        if more && large.bytes.len() >= CHUNK_BYTES {
            large.pieces.try_reserve(1)?;
            large.pieces.push(Chunk {
                bytes: std::mem::take(&mut large.bytes),
                more: true,
                keys: 0,
            });
        }
        Ok(more)
    }

    fn step_over(&mut self, number: usize) -> Step {
        let large = self.remove(number);
        match self.end(large) {
            Ok(left) => Step::Over(left),
            Err(_) => {
                self.lose();
                Step::Over(None)
            }
        }
    }

    /// A large value is encoded; it, if it was handed over.
    fn end(&mut self, large: Large) -> Result<Option<Value>, OutOfMemory> {
        let Large {
            at,
            bytes,
            mut pieces,
            streams,
            ..
        } = large;
        let left = match at {
            Place::Home(_, waited) => {
                self.ended.extend(waited);
                None
            }
            Place::Left(value) => Some(value),
        };
        if self.state != State::Made {
            return Ok(left);
        }
        pieces.try_reserve(1)?;
        pieces.push(Chunk {
            bytes,
            more: false,
            keys: 1,
        });
        let to = match streams {
            true => &mut self.tail,
            false => &mut self.closed,
        };
        to.try_reserve(pieces.len())?;
        to.append(&mut pieces);
        Ok(left)
    }

    /// Whether pieces of a value have been given away, and not all of them.
    fn streams(&self) -> bool {
        let mut begun = self.large.iter().take(self.homes + 1);
        !self.tail.is_empty() || begun.any(|large| large.streams)
    }

    /// Gives away what is there of a value that streams; whether there will be more.
    fn give_stream(&mut self, to: &mut Vec<Chunk>) -> bool {
        to.append(&mut self.tail);
        let large = self.begun().find(|large| large.streams);
        large.map(|large| to.append(&mut large.pieces)).is_some()
    }

    /// Has a value stream of which there are pieces, if there is one.
    fn begin_stream(&mut self, to: &mut Vec<Chunk>) -> bool {
        let Some(large) = self.begun().find(|large| !large.pieces.is_empty()) else {
            return false;
        };
        large.streams = true;
        to.append(&mut large.pieces);
        true
    }

    /// Frees some of what nobody will take; whether there was any.
    pub fn free_some(&mut self) -> bool {
        self.open = Chunk::default();
        let next = self.next_large();
        let pieces = next.and_then(|number| self.large.get_mut(number));
        let pieces = pieces.map(|large| &mut large.pieces);
        let mut all = [&mut self.closed, &mut self.tail].into_iter().chain(pieces);
        let Some(chunks) = all.find(|chunks| !chunks.is_empty()) else {
            return false;
        };
        chunks.truncate(chunks.len().saturating_sub(FREED_TOGETHER));
        true
    }
}

/// What is told of an entry beside its value. Without a policy of eviction nobody asks when
/// it was used.
fn meta_of(entry: EntryRef<'_>) -> Meta {
    Meta {
        expire_at: entry.expire_at(),
        ..Meta::default()
    }
}

/// How much a step of a walk may still do.
pub struct Budget {
    entries: usize,
}

impl Budget {
    pub fn new(entries: usize) -> Self {
        Self {
            entries: entries.max(1),
        }
    }

    pub fn is_spent(&self) -> bool {
        self.entries == 0
    }

    /// So many entries were looked at, and so many of their bytes were encoded.
    pub fn spend(&mut self, entries: usize, bytes: usize) {
        self.entries = self.entries.saturating_sub(entries + bytes / ENTRY_BYTES);
    }

    /// What is left of it, in elements.
    pub fn elements(&self) -> usize {
        self.entries
    }
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walked {
    /// There is more to do.
    pub more: bool,
    /// It has met a large value of this key, which is encoded in steps from now on. It must
    /// not be changed meanwhile.
    pub met: Option<Located>,
}

impl Keyspace {
    /// A snapshot begins: everything that is here now will be encoded as it is now, as of
    /// database `db`. None may be under way.
    pub fn begin_cut(&mut self, db: DbIndex, settings: &Settings) {
        assert!(!self.is_being_cut(), "one snapshot at a time");
        self.walked.reserve(1);
        self.store.begin_cut(db, settings);
    }

    /// Whether a snapshot is not over: there is more to walk, or what was encoded was not
    /// taken.
    pub fn is_being_cut(&self) -> bool {
        self.is_being_walked() || !self.walked.is_empty()
    }

    /// Whether there is more to walk.
    #[inline]
    pub fn is_being_walked(&self) -> bool {
        self.store.is_being_cut() || !self.leaving.is_empty()
    }

    /// Whether [`Keyspace::walk_cut`] has anything to do.
    fn goes_on(&self) -> bool {
        self.is_being_walked() || self.walked.iter().any(|cut| cut.state == State::Abandoned)
    }

    fn cuts(&mut self) -> impl Iterator<Item = &mut Cut> {
        let stores = self.leaving.iter_mut().chain([&mut self.store]);
        self.walked
            .iter_mut()
            .chain(stores.filter_map(Store::cut_mut))
    }

    /// Goes on with the snapshot that is under way, by about as much as so many entries
    /// take, with cleared stores first.
    pub fn walk_cut(&mut self, budget: usize) -> Walked {
        let mut met = None;
        let abandoned = |cut: &Cut| cut.state == State::Abandoned;
        if self.walked.iter().any(abandoned) {
            self.walked
                .retain_mut(|cut| !abandoned(cut) || cut.free_some());
            let more = self.goes_on();
            return Walked { more, met };
        }
        let (store, is_leaving) = match self.leaving.last_mut() {
            Some(store) => (store, true),
            None => (&mut self.store, false),
        };
        match store.walk_cut(&mut Budget::new(budget), &mut self.graveyard) {
            Met::Nothing => {}
            Met::Large(place) => {
                let key = store.entry(place).key();
                let located = Located {
                    slot: super::slot_of(key),
                    hash: super::hash(&self.hasher, key),
                };
                met = (!is_leaving).then_some(located);
                store.begin_large(place, Position::of_hash(located.hash), met);
            }
            Met::End(cut) => {
                self.walked.push(*cut);
                if is_leaving && let Some(store) = self.leaving.pop() {
                    self.graveyard.bury_store(store);
                }
            }
        }
        let more = self.goes_on();
        Walked { more, met }
    }

    /// Whether the value of a key is large and has not been encoded.
    pub fn is_unmet(&self, key: Located) -> bool {
        self.store.is_being_cut() && self.unmet(key).is_some()
    }

    fn unmet(&self, key: Located) -> Option<super::store::Place> {
        let home = self.home(&key);
        let is_it = |name: &[u8]| super::hash(&self.hasher, name) == key.hash;
        self.store.find_unmet(home, is_it)
    }

    /// Has the large value of a key encoded, if it is unmet, by
    /// [`Keyspace::encode_large`].
    pub fn begin_large(&mut self, key: Located) {
        if let Some(place) = self.unmet(key) {
            let position = Position::of_hash(key.hash);
            self.store.begin_large(place, position, Some(key));
        }
    }

    /// Takes a step of the encoding of the value of a key; whether there was anything to do.
    pub fn encode_large(&mut self, key: Located, elements: usize) -> bool {
        let cut = self.store.cut_mut();
        let Some(number) = cut.and_then(|cut| cut.waited_for(key)) else {
            return false;
        };
        self.store.step_large(number, elements, &mut self.graveyard);
        true
    }

    /// Keys for whose values nobody need wait any more, since the last call.
    pub fn take_ended(&mut self, to: &mut Vec<Located>) {
        self.cuts().for_each(|cut| to.append(&mut cut.ended));
        to.append(&mut self.ended);
    }

    /// So many large values were encoded in one piece.
    pub fn encoded_whole(&self) -> u64 {
        let stores = self.leaving.iter().chain([&self.store]);
        let cuts = self.walked.iter().chain(stores.filter_map(Store::cut));
        self.encoded_whole + cuts.map(|cut| cut.whole).sum::<u64>()
    }

    /// The snapshot that is under way is of no use: what was encoded is freed, and nothing
    /// more is. It is over when the walk is.
    pub fn abandon_cut(&mut self) {
        self.cuts().for_each(|cut| cut.state = State::Abandoned);
    }

    /// The store of a database that is cleared: for the snapshot, or to be freed.
    pub(super) fn leave(&mut self, mut store: Store) {
        match store.cut_mut() {
            Some(cut) => {
                cut.forget_waiting();
                self.leaving.push(store);
            }
            None => self.graveyard.bury_store(store),
        }
    }

    fn forget_walked(&mut self) {
        for mut cut in self.walked.drain(..) {
            self.ended.append(&mut cut.ended);
            self.encoded_whole += cut.whole;
        }
    }
}

/// Takes what has been encoded in all databases of a shard since it was last asked.
///
/// # Errors
/// The snapshot lacks something for which there was no memory.
pub fn take_chunks(dbs: &mut [Keyspace]) -> Result<Vec<Chunk>, OutOfMemory> {
    let mut all: Vec<&mut Cut> = dbs.iter_mut().flat_map(Keyspace::cuts).collect();
    let mut chunks = Vec::new();
    if all.iter().any(|cut| cut.state == State::Lost) {
        return Err(OutOfMemory);
    }
    if all.iter().any(|cut| cut.state == State::Abandoned) {
        return Ok(chunks);
    }
    let streaming = all.iter_mut().find(|cut| cut.streams());
    if streaming.is_some_and(|cut| cut.give_stream(&mut chunks)) {
        return Ok(chunks);
    }
    for cut in &mut all {
        chunks.append(&mut cut.closed);
    }
    let _ = all.iter_mut().any(|cut| cut.begin_stream(&mut chunks));
    dbs.iter_mut().for_each(Keyspace::forget_walked);
    Ok(chunks)
}

/// Goes on with the snapshot in the databases of a shard; see [`Keyspace::walk_cut`].
pub fn walk(dbs: &mut [Keyspace], budget: usize) -> Walked {
    // What streams comes first: all else waits for its end.
    let streaming = dbs.iter_mut().position(|keyspace| {
        keyspace
            .cuts()
            .any(|cut| cut.streams() && !cut.large.is_empty())
    });
    let under_way = dbs.iter().position(Keyspace::goes_on);
    let Some(keyspace) = streaming.or(under_way).and_then(|at| dbs.get_mut(at)) else {
        return Walked {
            more: false,
            met: None,
        };
    };
    let walked = keyspace.walk_cut(budget);
    let more = walked.more || dbs.iter().any(Keyspace::goes_on);
    Walked { more, ..walked }
}
