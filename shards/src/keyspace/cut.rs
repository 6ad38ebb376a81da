//! A snapshot's part in one store: what it was at an instant, the *cut*, while it goes
//! on being changed.
//!
//! At the cut the store's bit flips, and every entry with the other bit belongs to the
//! snapshot. The walk saves entry after entry, and whatever is about to be changed or
//! removed is saved before (`store::before_change`); both give the entry the new bit,
//! and new entries have it from the beginning, so each is saved once. The walk follows
//! the order of entries, which growth, splits and moves keep.
//!
//! A store that is cleared is handed on until it is walked; with SWAPDB the walk goes
//! where the store goes, and what it saves is still of the database of the cut.
//!
//! Saving copies; where there is no memory for that, the snapshot is lost, not the write.
//! Then, too, the walk goes on to its end, because the next cut relies on the bits.

use super::entry::EntryRef;
use super::index::Position;
use super::{Keyspace, Parcel, Store};
use crate::error::OutOfMemory;
use crate::types::DbIndex;

/// An entry as it was at the cut.
#[derive(Debug)]
pub struct Saved {
    /// The database it was in.
    pub db: DbIndex,
    pub key: Vec<u8>,
    pub parcel: Parcel,
}

/// What a snapshot still has to do in a store, and what it has saved of it.
#[derive(Debug)]
pub struct Cut {
    db: DbIndex,
    /// Where the walk goes on: a slot, and a position in it.
    pub at: (usize, Position),
    saved: Result<Vec<Saved>, OutOfMemory>,
}

impl Cut {
    /// Nothing is saved yet.
    pub fn new(db: DbIndex) -> Self {
        Self {
            db,
            at: (0, Position::START),
            saved: Ok(Vec::new()),
        }
    }

    /// Saves an entry that the snapshot has not met.
    pub fn save(&mut self, entry: EntryRef<'_>) {
        if let Ok(saved) = &mut self.saved
            && let Err(lacking) = save(saved, self.db, entry)
        {
            self.saved = Err(lacking);
        }
    }

    /// What was saved since this was last asked.
    ///
    /// # Errors
    /// Something is missing, for lack of memory.
    pub fn take(&mut self) -> Result<Vec<Saved>, OutOfMemory> {
        match &mut self.saved {
            Ok(saved) => Ok(std::mem::take(saved)),
            Err(lacking) => Err(*lacking),
        }
    }
}

fn save(saved: &mut Vec<Saved>, db: DbIndex, entry: EntryRef<'_>) -> Result<(), OutOfMemory> {
    saved.try_reserve(1)?;
    saved.push(Saved {
        db,
        key: crate::value::copy(entry.key())?,
        parcel: Parcel::copy_of(entry)?,
    });
    Ok(())
}

impl Keyspace {
    /// A snapshot begins: everything that is here now will be saved as it is now, as of
    /// database `db`. None may be under way.
    pub fn begin_cut(&mut self, db: DbIndex) {
        assert!(!self.is_being_cut(), "one snapshot at a time");
        self.store.begin_cut(db);
    }

    /// Whether a snapshot is not over: there is more to walk, or what was saved was not
    /// taken.
    pub fn is_being_cut(&self) -> bool {
        self.store.is_being_cut() || !self.leaving.is_empty() || !self.walked.is_empty()
    }

    /// Goes on with the snapshot that is under way, over about `budget` entries, those
    /// of cleared stores first; whether there is more to walk.
    pub fn walk_cut(&mut self, budget: usize) -> bool {
        let (store, is_leaving) = match self.leaving.last_mut() {
            Some(store) => (store, true),
            None => (&mut self.store, false),
        };
        self.walked.extend(store.walk_cut(budget));
        if is_leaving && let Some(store) = self.leaving.pop_if(|store| !store.is_being_cut()) {
            self.graveyard.bury_store(store);
        }
        self.store.is_being_cut() || !self.leaving.is_empty()
    }

    /// Takes what was saved since it was last asked.
    ///
    /// # Errors
    /// The snapshot lacks something for which there was no memory.
    pub fn take_saved(&mut self) -> Result<Vec<Saved>, OutOfMemory> {
        let walked = std::mem::take(&mut self.walked);
        let stores = self.leaving.iter_mut().chain([&mut self.store]);
        let under_way = stores.filter_map(|store| store.take_saved());
        let mut all = Vec::new();
        for saved in walked.into_iter().map(|cut| cut.saved).chain(under_way) {
            all.append(&mut saved?);
        }
        Ok(all)
    }

    /// The store of a database that is cleared: for the snapshot, or to be freed.
    pub(super) fn leave(&mut self, store: Store) {
        match store.is_being_cut() {
            true => self.leaving.push(store),
            false => self.graveyard.bury_store(store),
        }
    }
}
