//! Deleting entries whose time has come, in slices.
//!
//! Each slot and each group of slots keeps a lower bound of its deadlines. The
//! cycle goes round the slots whose bound has passed, line by line, touches
//! only entries that have a deadline, deletes the due ones and raises the
//! bound to the smallest deadline it met. It may stop after any line: the
//! position it reached does not depend on the tables' sizes. While a slot is
//! being walked its own bound starts anew, so that deadlines set behind the
//! walk are not lost.
//!
//! Fields of a hash may have deadlines of their own. Such a hash counts as due
//! when its earliest field is; then its due fields go, again in slices.

use super::entry::{Draft, Payload};
use super::index::Position;
use super::slab::ROOM_MAX;
use super::store::{GROUP, NEVER, Place, Store};
use super::{Db, Graveyard, Keyspace, hash};
use crate::effects::Effects;
use crate::types::UnixMs;
use crate::value::{Collection, Hash, Type};

/// A slot that is being walked.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    slot: usize,
    position: Position,
    /// The slot's bound when the walk began.
    bound: i64,
    /// The smallest deadline met that is not due.
    met: i64,
}

/// Where the cycle stands.
#[derive(Debug, Default)]
pub struct Cycle {
    walk: Option<Walk>,
    /// Where to look for the next slot that is due.
    next_slot: usize,
}

impl Cycle {
    /// The slot being walked, and a bound of its deadlines.
    pub fn walked(&self) -> Option<(usize, i64)> {
        self.walk.map(|walk| (walk.slot, walk.bound.min(walk.met)))
    }
}

/// What a slice of the cycle has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpireProgress {
    /// Keys deleted.
    pub expired: usize,
    /// There is more to do at once.
    pub more: bool,
    /// When to come back if not: a lower bound of the next deadline.
    pub next: Option<UnixMs>,
}

impl Keyspace {
    /// Deletes entries that are due at `now` and records their `DEL`s, visiting
    /// about `budget` lines and entries.
    pub fn expire_due(
        &mut self,
        now: UnixMs,
        budget: usize,
        effects: &mut Effects,
    ) -> ExpireProgress {
        let (mut spent, mut expired) = (0, 0);
        let due = Due {
            until: effects.keep().until(now),
            hasher: &self.hasher,
        };
        let mut more = true;
        while more && spent < budget {
            if self.cycle.walk.is_none() {
                self.cycle.walk = next_due(&mut self.store, self.cycle.next_slot, due.until);
            }
            let Some(walk) = &mut self.cycle.walk else {
                more = false;
                break;
            };
            let deleted = walk_line(
                &mut self.store,
                &mut self.graveyard,
                walk,
                &due,
                effects,
                &mut spent,
            );
            expired += deleted.0;
            if !deleted.1 {
                let bound = &mut self.store.slots[walk.slot].earliest;
                *bound = walk.met.min(*bound);
                self.cycle.next_slot = walk.slot + 1;
                self.cycle.walk = None;
            }
        }
        self.expired += expired as u64;
        // What stays keeps its slot due. Whoever comes back at once for nothing but
        // that would never end.
        let stays = effects.keep().holds_keys() || self.store.is_being_cut();
        more &= expired > 0 || !stays;
        let next = if more {
            Some(now)
        } else {
            self.next_deadline()
        };
        ExpireProgress {
            expired,
            more,
            next,
        }
    }

    /// A lower bound of the earliest deadline.
    pub fn next_deadline(&self) -> Option<UnixMs> {
        let earliest = self.store.groups.iter().map(|group| group.earliest).min();
        earliest.filter(|at| *at != NEVER).map(UnixMs)
    }
}

/// Finds a slot whose bound has passed, from slot `from` on round the shard,
/// and begins a walk of it. Bounds of groups that turn out not due are raised.
fn next_due(store: &mut Store, from: usize, now: UnixMs) -> Option<Walk> {
    let groups = store.groups.len();
    let from = if from < store.slots.len() { from } else { 0 };
    for number in 0..groups {
        let number = (from / GROUP + number) % groups;
        if store.groups[number].earliest > now.0 {
            continue;
        }
        let start = number * GROUP;
        let end = store.slots.len().min(start + GROUP);
        let slots = &mut store.slots[start..end];
        let due = |slot: &usize| slots[*slot].earliest <= now.0;
        let first = from.saturating_sub(start).min(slots.len());
        let found = (first..slots.len()).chain(0..first).find(due);
        let Some(slot) = found else {
            let earliest = slots.iter().map(|slot| slot.earliest).min();
            store.groups[number].earliest = earliest.unwrap_or(NEVER);
            continue;
        };
        let bound = std::mem::replace(&mut slots[slot].earliest, NEVER);
        return Some(Walk {
            slot: start + slot,
            position: Position::START,
            bound,
            met: NEVER,
        });
    }
    None
}

/// What may go.
struct Due<'a> {
    /// What is due by then, unless its key stays.
    until: UnixMs,
    hasher: &'a ahash::RandomState,
}

/// Walks one home line: how many entries were deleted, and whether the slot
/// goes on. A hash with many due fields is left half-way: then the line is
/// walked again.
fn walk_line(
    store: &mut Store,
    graveyard: &mut Graveyard,
    walk: &mut Walk,
    due: &Due<'_>,
    effects: &mut Effects,
    spent: &mut usize,
) -> (usize, bool) {
    let now = due.until;
    let (mut step, mut deleted, mut last) = (0, 0, None);
    let mut again = false;
    *spent += 1;
    while let Some((next, place)) = store.slots[walk.slot]
        .index
        .next_expiring(walk.position, step)
    {
        *spent += 1;
        let place = Store::place(walk.slot, place);
        let entry = store.entry(place);
        let at = entry.expire_at().map_or(NEVER, |at| at.0);
        // A large value that a snapshot has not encoded keeps its fields until then.
        let stays = at > now.0 && store.is_unmet(place);
        if stays || effects.keep().holds(|| hash(due.hasher, entry.key())) {
            let at = entry.due_at().map_or(NEVER, |at| at.0);
            walk.met = walk.met.min(at);
            step = next;
            continue;
        }
        if at > now.0 {
            let nobody = &mut std::iter::empty();
            let met = expire_fields(store, place, (now, due.hasher), nobody, effects);
            *spent += met.gone;
            if !met.emptied {
                walk.met = walk.met.min(at).min(met.earliest);
                again = met.earliest <= now.0;
                if again {
                    break;
                }
                step = next;
                continue;
            }
        } else {
            let key = entry.key();
            effects.gone(key, entry.type_of());
            effects.expired(key, || hash(due.hasher, key));
        }
        graveyard.bury(store.remove_only(place));
        deleted += 1;
        last = Some(place);
        // Removal has moved a later entry here, if any.
        step = next - 1;
    }
    // Before the table shrinks: the position is right for any size, the end of
    // this line is not.
    let after = store.slots[walk.slot].index.after_line(walk.position);
    if let Some(place) = last {
        store.shrink(place);
    }
    if again {
        return (deleted, true);
    }
    if let Some(position) = after {
        walk.position = position;
    }
    (deleted, after.is_some())
}

/// What is left of a hash.
struct FieldsLeft {
    gone: usize,
    /// No field is left: the entry is to be removed.
    emptied: bool,
    /// A lower bound of the deadlines left.
    earliest: i64,
}

/// Removes due fields of the entry at `place`, if it is a hash with any: about
/// [`FIELDS_TOGETHER`] of them, and those among `named`. Records it.
fn expire_fields(
    store: &mut Store,
    place: Place,
    (now, hasher): (UnixMs, &ahash::RandomState),
    named: &mut dyn Iterator<Item = &[u8]>,
    effects: &mut Effects,
) -> FieldsLeft {
    /// Fields that are looked at in one go.
    const FIELDS_TOGETHER: usize = 1000;
    let bound = |at: Option<UnixMs>| at.map_or(NEVER, |at| at.0);
    let entry = store.entry(place);
    let mut left = FieldsLeft {
        gone: 0,
        emptied: false,
        earliest: bound(entry.elements_due_at()),
    };
    if left.earliest > now.0 {
        return left;
    }
    let (key, mut gone) = (entry.key().to_vec(), Vec::new());
    let expire = |hash: &mut Hash| {
        if hash.expire(now, FIELDS_TOGETHER, &mut |name| gone.push(name.to_vec())) {
            for name in named {
                let field = hash.view().find(name);
                if field.is_some_and(|field| field.is_due(now)) && hash.remove(name) {
                    gone.push(name.to_vec());
                }
            }
        }
        left.emptied = hash.is_empty();
        left.earliest = bound(hash.view().earliest());
    };
    if let Some(value) = store.outside(place) {
        let hash = Hash::of_mut(value).expect("the header names its type");
        expire(hash);
        hash.trim();
    } else {
        let entry = store.entry(place);
        let (expire_at, clock) = (entry.expire_at(), entry.clock());
        let mut hash = Hash::from_flat(entry.encoding(), entry.inline().to_vec());
        expire(&mut hash);
        let draft = Draft {
            key: &key,
            payload: Payload::Flat(Type::Hash, hash.flat().unwrap_or_default(), hash.encoding()),
            expire_at,
            clock,
            snapshot: false,
        };
        // It is not larger than before, so this needs at most another small room.
        if !left.emptied && store.replace(place, draft).is_err() {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; ROOM_MAX]>());
        }
    }
    left.gone = gone.len();
    if !gone.is_empty() {
        effects.expired_fields(&key, || hash(hasher, &key), &gone, left.emptied);
    }
    left
}

impl Db<'_> {
    /// Removes `key` if its time has come, or those of its fields whose time has.
    pub fn expire(&mut self, key: &[u8]) {
        if self.lookup(key).is_some() {
            self.expire_fields(key, std::iter::empty());
        }
    }

    /// Removes fields of the hash at `key` whose time has come: some of them,
    /// and all of those named. To be called before a hash is looked at. Afterwards
    /// fields may still be due: of a large hash, or of one that is to stay. Those
    /// who look judge each field that they show.
    #[inline]
    pub fn expire_fields<'n>(&mut self, key: &[u8], named: impl Iterator<Item = &'n [u8]>) {
        if self.keyspace.store.elements_expire() {
            self.pass_fields(key, named);
        }
    }

    fn pass_fields<'n>(&mut self, key: &[u8], named: impl Iterator<Item = &'n [u8]>) {
        let Some(place) = self.find(key) else {
            return;
        };
        if self.keyspace.store.is_unmet(place) {
            return;
        }
        let keep = self.effects.keep();
        if !keep.holds(|| self.keyspace.hash(key)) {
            let until = keep.until(self.now);
            self.expire_fields_at(place, until, named);
        }
    }

    /// As [`Db::expire_fields`], before a hash is written, whoever wants it to stay:
    /// afterwards none of the fields named is due.
    #[inline]
    pub fn drop_due_fields<'n>(&mut self, key: &[u8], named: impl Iterator<Item = &'n [u8]>) {
        if !self.keyspace.store.elements_expire() {
            return;
        }
        if let Some(place) = self.find_to_write(self.home(key), key) {
            self.expire_fields_at(place, self.now, named);
        }
    }

    fn expire_fields_at<'n>(
        &mut self,
        place: Place,
        until: UnixMs,
        mut named: impl Iterator<Item = &'n [u8]>,
    ) {
        let Keyspace { store, hasher, .. } = &mut *self.keyspace;
        let at = (until, &*hasher);
        if expire_fields(store, place, at, &mut named, self.effects).emptied {
            let value = store.remove(place);
            self.keyspace.graveyard.bury(value);
        }
    }
}
