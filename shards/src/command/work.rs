//! Requests that go through many elements, in slices.
//!
//! A handler that finds more elements in its way than
//! [`Slices::above`](crate::types::Slices) asks [`Context::in_slices`] how to go
//! about it. If the request stands alone, it fails with [`CommandError::Long`] and
//! is called again when its keys are locked; then, and as a part of a transaction or
//! a command of a block, which have their locks already, it does a slice of its
//! work, leaves with [`Context::leave`] what it has done, and is called again with
//! the same arguments, at the same instant, until it leaves nothing. What it changes
//! meanwhile nobody sees, because of the locks. Only in the last call it says what
//! has changed; a reply may be written bit by bit from when nothing can fail any
//! more but for lack of memory.

use super::choosing::Choosing;
use super::keys::dump::Dumping;
use super::replied::Replied;
use super::scanning::Scanning;
use super::stored::{Made, Stored};
use super::texts::Texts;
use super::{Context, Outcome, Pieces, Sliced};
use super::{
    apart, bitmaps, combining, geo, hashes, keys, lists, sets, sort, streams, strings, zsets,
};
use crate::effects::Event;
use crate::error::CommandError;
use crate::value::{Copying, Purge, SetPlace, Zset, ZsetRemoval};

/// So many elements are copied while one is found.
const FASTER: usize = 8;

/// What a request has done that is not over. It may go from shard to shard.
#[derive(Debug)]
pub enum Work {
    /// Of a range of a sorted set, with how many members it is about.
    Removal {
        removal: ZsetRemoval,
        removed: usize,
    },
    /// Elements that are to be sorted, so far; or all, and whether they are a set's.
    Gathering(Texts, SetPlace),
    Gathered(Texts, bool),
    /// What patterns name on one shard.
    LookUp(sort::LookUp),
    Sort(Box<sort::Job>),
    Search(Box<geo::Job>),
    Combination(Box<combining::Job>),
    /// Of members that all inputs have.
    Count(apart::Counting),
    /// A value that is to be stored; it is, and is being recorded.
    Put(Box<Made>, Event),
    Recording(Stored),
    /// A part of a sorted set, of which so many members are in it.
    Selecting(Zset, usize),
    /// A payload that is being looked at.
    Restore(Box<keys::restore::Job>),
    /// The copy of a value for another key.
    Clone(Box<Copying>),
    /// A value that is being written as bytes.
    Dump(Box<Dumping>),
    /// Elements at an end that are being replied, before they go.
    Taking(Replied),
    /// So many elements of a list are not what is looked for.
    Passed(usize),
    /// Elements of a list that are to go, wherever they are.
    Purge(Purge),
    /// What LPOS has found.
    Found(Box<lists::search::Found>),
    /// Members or fields that are chosen by chance.
    Members(Box<Choosing>),
    Popping(Box<sets::chance::Popping>),
    Ranks(zsets::chance::Choosing),
    Fields(Box<hashes::chance::Job>),
    /// Elements of a collection that are being gone through.
    Scan(Box<Scanning>),
    /// A string has been looked at up to this bit; so many are set.
    Bits(usize, i64),
    Bitop(Box<bitmaps::combine::Combination>),
    Lcs(Box<strings::lcs::Job>),
    /// Entries of a stream that are to go.
    Trim(Box<streams::trim::Job>),
    /// Streams that are being read or delivered.
    Streams(Box<streams::delivery::Job>),
    /// Of what is pending in a group, and of ids that are acknowledged or claimed.
    Pending(Box<streams::pending::Listing>),
    Ack(Box<streams::ack::Acking>),
    Claim(Box<streams::claim::Claiming>),
    /// A consumer goes, with whom so many entries were pending.
    Leaving(usize),
    Info(streams::info::Telling),
    /// The elements of a reply, of which so many pieces are written.
    Reply(Pieces, usize),
}

impl Context<'_> {
    /// How many elements may be gone through at once before [`Context::in_slices`]
    /// is to be asked.
    #[inline]
    pub fn at_once(&self) -> usize {
        match self.alone || self.cargo.divisible {
            true => self.settings.slices.above,
            false => usize::MAX,
        }
    }

    /// Whether going through so many elements is to be done in slices. So many keys
    /// were counted as found, and as missing, before.
    ///
    /// # Errors
    /// It is, but not now: the request is to be called again.
    #[inline]
    pub fn in_slices(
        &mut self,
        elements: usize,
        (hits, misses): (usize, usize),
    ) -> Result<bool, CommandError> {
        if elements <= self.at_once() {
            return Ok(false);
        }
        if !self.cargo.divisible {
            self.db.uncount(hits, misses);
            return Err(CommandError::Long);
        }
        Ok(true)
    }

    /// What earlier calls have left.
    #[inline]
    pub fn work(&mut self) -> Option<Work> {
        self.cargo.sliced.take()?.work
    }

    /// Whether earlier calls have left anything.
    #[inline]
    pub fn has_work(&self) -> bool {
        let sliced = self.cargo.sliced.as_ref();
        sliced.is_some_and(|sliced| sliced.work.is_some())
    }

    /// There is more to do: the request is to be called again with this.
    pub fn leave(&mut self, work: Work) -> Outcome {
        self.cargo.sliced = Some(Box::new(Sliced {
            more: true,
            work: Some(work),
            ..Sliced::default()
        }));
        Ok(())
    }

    /// There is no more to do here: the home core decides where it goes on with this.
    pub fn hand_on(&mut self, work: Work) -> Outcome {
        self.cargo.sliced = Some(Box::new(Sliced {
            work: Some(work),
            ..Sliced::default()
        }));
        Ok(())
    }

    /// Replies elements of which the header has been written, from a piece on.
    pub fn reply_pieces(&mut self, pieces: Pieces, number: usize) -> Outcome {
        match pieces.reply_piece(&mut self.reply, number) {
            true => self.leave(Work::Reply(pieces, number + 1)),
            false => Ok(()),
        }
    }

    /// Replies elements of which the header has been written: at once, if they are not long
    /// or there are no slices.
    pub fn reply_all(&mut self, pieces: Pieces) -> Outcome {
        if self.cargo.divisible && pieces.is_long() {
            return self.reply_pieces(pieces, 0);
        }
        pieces.reply_elements(&mut self.reply);
        Ok(())
    }

    /// Of `left` things to do, how many are to be done in this call.
    pub fn slice_of(&self, left: usize) -> usize {
        match self.cargo.divisible && left > self.settings.slices.above {
            true => left.min(self.step()),
            false => left,
        }
    }

    /// Elements of a slice.
    pub fn step(&self) -> usize {
        self.settings.slices.step
    }

    /// Elements that are copied or replied in a slice: that takes less time than to find
    /// or compare them.
    pub fn long_step(&self) -> usize {
        self.settings.slices.step.saturating_mul(FASTER)
    }
}
