//! The notices that clients want, in the order in which things have happened.
//!
//! Handlers say what they have done when it is done. So that a key has come to be there,
//! or that the last element of its value has gone, is known before the event that it
//! belongs to, and waits here for that.

use super::event::{Event, Notice, Notify};
use crate::log::{Notified, Rank};
use crate::types::DbIndex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices {
    pub wanted: Notify,
    pub list: Vec<Notified>,
    /// Keys that have come to be there, of which no event has told yet.
    created: Vec<Notified>,
    /// Keys that went with their last element, likewise.
    emptied: Vec<Notified>,
}

impl Notices {
    /// Something has happened to a key.
    pub fn add(&mut self, db: DbIndex, key: &[u8], event: Event) {
        if !self.created.is_empty() {
            // Redis tells of the new name of what is moved before it tells of the old one.
            let moved = matches!(event, Event::RenameFrom | Event::MoveFrom);
            let told = |new: &mut Notified| moved || new.is_of(db, key);
            self.list.extend(self.created.extract_if(.., told));
        }
        for notice in event.notices() {
            self.push(db, key, *notice);
        }
        if !self.emptied.is_empty() {
            let told = |gone: &mut Notified| gone.is_of(db, key);
            self.list.extend(self.emptied.extract_if(.., told));
        }
    }

    fn push(&mut self, db: DbIndex, key: &[u8], notice: Notice) {
        if self.wanted.wants(notice.class) {
            self.list.push(notified(db, key, notice));
        }
    }

    /// A key has come to be there, or another one in its place.
    pub fn created(&mut self, db: DbIndex, key: &[u8]) {
        later(&mut self.created, self.wanted, (db, key), Event::New);
    }

    /// A key has gone with its last element.
    pub fn emptied(&mut self, db: DbIndex, key: &[u8]) {
        later(&mut self.emptied, self.wanted, (db, key), Event::Del);
    }

    /// Nothing more will be told of what the request at hand has done.
    pub fn settle(&mut self) {
        self.created.clear();
        self.emptied.clear();
    }

    /// Whether all has been told.
    pub fn is_settled(&self) -> bool {
        self.created.is_empty() && self.emptied.is_empty()
    }

    /// As many misses as the last are found again.
    pub fn forget_misses(list: &mut Vec<Notified>, mut misses: usize) {
        let is_miss = |it: &Notified| it.word == Event::KeyMiss.notices()[0].word;
        while misses > 0
            && let Some(at) = list.iter().rposition(is_miss)
        {
            list.remove(at);
            misses -= 1;
        }
    }
}

fn notified(db: DbIndex, key: &[u8], notice: Notice) -> Notified {
    Notified {
        db,
        key: key.into(),
        word: notice.word,
        rank: Rank::default(),
    }
}

fn later(list: &mut Vec<Notified>, wanted: Notify, (db, key): (DbIndex, &[u8]), event: Event) {
    for notice in event.notices() {
        if wanted.wants(notice.class) && !list.iter().any(|it| it.is_of(db, key)) {
            list.push(notified(db, key, *notice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbIndex = DbIndex(0);

    fn all() -> Notices {
        Notices {
            wanted: Notify::parse(b"EAnm").unwrap(),
            ..Notices::default()
        }
    }

    fn told(notices: &mut Notices) -> String {
        assert!(notices.is_settled());
        let words = notices.list.drain(..);
        let words = words.map(|it| format!("{} {}", it.word, it.key.escape_ascii()));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_was_known_before_its_event_stands_beside_it() {
        let mut notices = all();
        // An element goes from one list, of which it was the last, to a new one.
        notices.emptied(DB, b"from");
        notices.created(DB, b"to");
        notices.created(DB, b"to");
        notices.add(DB, b"to", Event::LPush);
        notices.add(DB, b"from", Event::RPop);
        assert_eq!(told(&mut notices), "new to, lpush to, rpop from, del from");
        // The other way round.
        notices.created(DB, b"to");
        notices.emptied(DB, b"from");
        notices.add(DB, b"from", Event::SRem);
        notices.add(DB, b"to", Event::SAdd);
        assert_eq!(told(&mut notices), "srem from, del from, new to, sadd to");
    }

    #[test]
    fn a_new_name_is_told_before_the_old_one() {
        let mut notices = all();
        notices.created(DbIndex(1), b"k");
        notices.add(DB, b"k", Event::MoveFrom);
        notices.add(DbIndex(1), b"k", Event::MoveTo);
        assert_eq!(told(&mut notices), "new k, move_from k, move_to k");
    }

    #[test]
    fn what_is_taken_back_is_not_told() {
        let mut notices = all();
        notices.created(DB, b"k");
        notices.settle();
        notices.add(DB, b"a", Event::KeyMiss);
        notices.add(DB, b"b", Event::Expired);
        notices.add(DB, b"c", Event::KeyMiss);
        Notices::forget_misses(&mut notices.list, 2);
        Notices::forget_misses(&mut notices.list, 1);
        assert_eq!(told(&mut notices), "expired b");
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_wants() {
        let mut notices = Notices {
            wanted: Notify::parse(b"El").unwrap(),
            ..Notices::default()
        };
        notices.created(DB, b"l");
        notices.add(DB, b"l", Event::LPush);
        notices.emptied(DB, b"l");
        notices.add(DB, b"l", Event::LPop);
        notices.add(DB, b"s", Event::SetFor);
        assert_eq!(told(&mut notices), "lpush l, lpop l");
    }
}
