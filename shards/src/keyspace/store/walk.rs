//! A store's part in a snapshot: its walk, and the large values that it meets; see `cut`.

use super::{Home, Place, Store};
use crate::keyspace::Located;
use crate::keyspace::cut::{Budget, Cut, Met, Step};
use crate::keyspace::graveyard::Graveyard;
use crate::keyspace::index::Position;
use crate::types::{DbIndex, Settings};

/// What has come of a home line.
enum Line {
    /// All of it is met; where the next begins.
    Over(Option<Position>),
    Again,
    Large(Place),
}

impl Store {
    /// A snapshot begins.
    pub fn begin_cut(&mut self, db: DbIndex, settings: &Settings) {
        if self.len > 0 {
            self.snapshot = !self.snapshot;
            self.cut = Some(Box::new(Cut::new(db, settings)));
        }
    }

    /// Whether a snapshot has not walked all of it.
    #[inline]
    pub fn is_being_cut(&self) -> bool {
        self.cut.is_some()
    }

    pub fn cut(&self) -> Option<&Cut> {
        self.cut.as_deref()
    }

    pub fn cut_mut(&mut self) -> Option<&mut Cut> {
        self.cut.as_deref_mut()
    }

    /// Goes on with the snapshot: with a large value, if one is being encoded, or else by
    /// encoding what it has not met, in the order of entries.
    pub fn walk_cut(&mut self, budget: &mut Budget, graveyard: &mut Graveyard) -> Met {
        let Some(cut) = self.cut.as_deref_mut() else {
            return Met::Nothing;
        };
        if !cut.is_made() && cut.free_some() {
            return Met::Nothing;
        }
        if let Some(number) = cut.next_large() {
            self.step_large(number, budget.elements(), graveyard);
            return Met::Nothing;
        }
        let (slot, position) = cut.at;
        match self.walk_from(slot, position, budget) {
            Some(met) => met,
            None => self.cut.take().map_or(Met::Nothing, |mut cut| {
                cut.end_walk();
                Met::End(cut)
            }),
        }
    }

    /// See [`Store::walk_cut`]; nothing at the end of the store.
    fn walk_from(
        &mut self,
        mut slot: usize,
        mut position: Position,
        budget: &mut Budget,
    ) -> Option<Met> {
        loop {
            let used = self.used_slots(slot..self.slot_count).next()?;
            if used != slot {
                (slot, position) = (used, Position::START);
            }
            let mut next = Some(position);
            while let Some(at) = next {
                if let Some(cut) = &mut self.cut {
                    cut.at = (slot, at);
                }
                next = match self.walk_line(slot, at, budget) {
                    Line::Over(next) => next,
                    Line::Again => Some(at),
                    Line::Large(place) => return Some(Met::Large(place)),
                };
                if let (Some(at), true) = (next, budget.is_spent()) {
                    self.cut.as_mut()?.at = (slot, at);
                    return Some(Met::Nothing);
                }
            }
            (slot, position) = (slot + 1, Position::START);
        }
    }

    /// Encodes what is unmet of a home line.
    fn walk_line(&mut self, slot: usize, at: Position, budget: &mut Budget) -> Line {
        /// More than a line has, as a rule.
        const TOGETHER: usize = 12;
        let mut unmet = [None; TOGETHER];
        let mut rooms = unmet.iter_mut();
        let mut more = false;
        let (index, bit) = (&self.slots[slot].index, self.snapshot);
        let next = index.visit_line(at, &mut |place, entry| {
            if entry.snapshot() != bit {
                match rooms.next() {
                    Some(room) => *room = Some(Place { slot, place }),
                    None => more = true,
                }
            }
        });
        for place in unmet.into_iter().flatten() {
            if budget.is_spent() {
                return Line::Again;
            }
            let (is_made, is_large) = (self.is_made(), self.is_unmet(place));
            if is_large {
                return Line::Large(place);
            }
            // What is compressed takes as long as it is before that.
            let entry = self.entry(place);
            let bytes = match is_made {
                true => entry.size() + entry.outside_bytes(),
                false => 0,
            };
            self.changing(place);
            budget.spend(1, bytes);
        }
        if more {
            return Line::Again;
        }
        budget.spend(1, 0);
        Line::Over(next)
    }

    fn is_made(&self) -> bool {
        self.cut.as_ref().is_some_and(|cut| cut.is_made())
    }

    /// The entry of a key, by what is told of it, if its value is large and a snapshot has
    /// not encoded it.
    pub fn find_unmet(&self, home: Home, is_it: impl Fn(&[u8]) -> bool) -> Option<Place> {
        let cut = self.cut.as_deref().filter(|cut| cut.is_made())?;
        let mut found = None;
        let slot = home.slot;
        let index = &self.slots.get(slot)?.index;
        index.visit_at(home.position, &mut |place, entry| {
            let is_unmet = entry.snapshot() != self.snapshot && entry.outside().is_some();
            if is_unmet && is_it(entry.key()) && cut.is_large(entry) {
                found = Some(Place { slot, place });
            }
        });
        found
    }

    /// Whether a snapshot still has to encode the value of an entry, and it is large.
    pub fn is_unmet(&self, place: Place) -> bool {
        let cut = self.cut.as_ref().filter(|cut| cut.is_made());
        let entry = self.entry(place);
        cut.is_some_and(|cut| entry.snapshot() != self.snapshot && cut.is_large(entry))
    }

    /// The large value of an entry is to be encoded in steps; see [`Cut::begin_large`].
    pub fn begin_large(&mut self, place: Place, position: Position, waited: Option<Located>) {
        let Self { slots, cut, .. } = self;
        let slot = place.slot;
        if let Some(cut) = cut {
            let entry = slots[slot].index.entry(place.place);
            cut.begin_large(entry, Home { slot, position }, waited);
        }
    }

    /// Takes a step of one of the large values that are being encoded.
    pub fn step_large(&mut self, number: usize, elements: usize, graveyard: &mut Graveyard) {
        let bit = self.snapshot;
        let Some(cut) = self.cut.as_deref_mut() else {
            return;
        };
        let home = cut.home_of(number);
        let found = home.and_then(|(home, key)| {
            let index = &self.slots.get(home.slot)?.index;
            Some((home.slot, index.find(home.position, key)?))
        });
        let entry = found.map(|(_, (_, entry))| entry);
        let place = found.map(|(slot, (place, _))| Place { slot, place });
        if let Step::Over(left) = cut.step(number, entry, elements) {
            if let Some(left) = left {
                graveyard.bury_part(left);
            }
            if let Some(Place { slot, place }) = place {
                self.slots[slot].index.entry_mut(place).set_snapshot(bit);
            }
        }
    }
}
