//! What a client is told without having asked: messages, invalidations, lines of MONITOR.
//!
//! A push stands between replies, never within one, and behind
//! - all replies that have come when it is pushed, whatever they wait for: whoever was
//!   told that a key has changed must not be given an older value of it afterwards;
//! - the reply to the command that has caused it, if one has;
//! - all earlier pushes.
//!
//! And it stands before the replies to all requests that run after it. Only what is told
//! *late* (an invalidation, which must not come before an older reply that is still on its
//! way) stands behind all requests that have been made by then. So the outbox
//! notes for each push the place that it stands behind, and it leaves with that. What
//! stands behind no place leaves at once. Replies that are dropped (CLIENT REPLY) keep
//! nobody from being told.

use super::piece::Piece;
use super::{Lost, Place, Replies, append};
use crate::pubsub::{Body, Told};
use crate::resp::Protocol;
use std::collections::VecDeque;

/// What a RESP3 push begins with, and what stands there for a client that speaks RESP2.
const PUSH: u8 = b'>';
const ARRAY: u8 = b'*';

/// A message that is shorter is copied: its piece would take nearly as much.
pub(super) const SHARED_BYTES_MIN: usize = 1 << 10;

/// Why a client is not told what it should be: it has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    NoMemory,
    /// More would wait for it than its class allows.
    BeyondLimit,
}

/// Writes a push as the client's protocol has it.
#[inline]
fn speak(push: &mut [u8], protocol: Protocol) {
    if protocol == Protocol::Resp2
        && let Some(first @ &mut PUSH) = push.first_mut()
    {
        *first = ARRAY;
    }
}

/// A push that may not leave yet.
#[derive(Debug)]
struct Push {
    /// The place that it stands behind.
    behind: u32,
    /// It does not matter when it comes: earlier ones that are late keep nothing back.
    is_late: bool,
    message: Piece,
}

/// Pushes that may not leave yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// In the order of the places that they stand behind.
    pushes: VecDeque<Push>,
}

impl Outbox {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// Whether something stands directly behind this place.
    #[inline]
    pub fn follows(&self, place: u32) -> bool {
        self.pushes.back().is_some_and(|push| push.behind == place)
    }

    pub fn bytes(&self) -> usize {
        self.pushes.iter().map(|push| push.message.len()).sum()
    }

    pub fn clear(&mut self) {
        self.pushes = VecDeque::new();
    }

    /// The places that pushes stand behind.
    pub fn places(&self) -> impl Iterator<Item = u32> {
        self.pushes.iter().map(|push| push.behind)
    }
}

impl Replies {
    /// Tells the client something that is no reply, and that the command whose reply has
    /// the place `cause` has caused, if one has. No more than `max` bytes may wait. What a
    /// command causes that has no place, because it runs at once, is to be pushed when its
    /// reply has been written.
    pub fn push(&mut self, message: Piece, cause: Option<u32>, max: usize) -> Result<(), Untold> {
        if self.output_bytes() + message.len() > max {
            return Err(Untold::BeyondLimit);
        }
        let Some(behind) = self.stands_behind(cause) else {
            return self.send_push(message).map_err(|Lost| Untold::NoMemory);
        };
        self.keep_push(behind, false, message)
    }

    /// [`Replies::push`] of what many may be told. What is short is copied, what is long is
    /// shared with the others.
    pub fn tell(&mut self, told: &Told<'_>, protocol: Protocol, max: usize) -> Result<(), Untold> {
        let cause = told.cause.map(|cause| cause.place);
        let bytes = told.head.len() + told.body.len();
        if self.output_bytes() + bytes > max {
            return Err(Untold::BeyondLimit);
        }
        if let Body::Short(body) = told.body
            && self.stands_behind(cause).is_none()
        {
            let before = self.out.len();
            if !append(&mut self.out, told.head) || !append(&mut self.out, body) {
                self.out.truncate(before);
                return Err(Untold::NoMemory);
            }
            speak(&mut self.out[before..], protocol);
            return Ok(());
        }
        let mut head = Vec::new();
        let short = match &told.body {
            Body::Short(body) => *body,
            Body::Shared(_) => &[],
        };
        let room = head.try_reserve_exact(told.head.len() + short.len());
        room.map_err(|_| Untold::NoMemory)?;
        head.extend_from_slice(told.head);
        head.extend_from_slice(short);
        speak(&mut head, protocol);
        self.push(Piece::Owned(head), cause, max)?;
        match &told.body {
            Body::Short(_) => Ok(()),
            Body::Shared(body) => self.push(Piece::Shared((*body).clone()), cause, max),
        }
    }

    /// Tells the client something behind the reply for `behind`, whether that has come or
    /// not. What else it is told does not wait for that.
    pub fn push_late(&mut self, message: Piece, behind: Option<u32>) -> Result<(), Untold> {
        let behind = behind.filter(|place| self.index(*place) < self.order.len());
        match behind {
            None => self.send_push(message).map_err(|Lost| Untold::NoMemory),
            Some(behind) => self.keep_push(behind, true, message),
        }
    }

    /// The reply for `place`, the last, will be long in coming: what was to be told behind
    /// it need not wait for that.
    pub fn let_pass(&mut self, place: u32) -> Result<(), Lost> {
        let index = self.index(place);
        let mut passed = Ok(());
        let before = place.wrapping_sub(1);
        let behind = |push: &&mut Push| push.behind == place;
        let pushes = self.outbox.pushes.iter_mut().rev().take_while(behind);
        let count = pushes.map(|push| push.behind = before).count();
        if index == 0 {
            let first = self.outbox.pushes.len() - count;
            for push in self.outbox.pushes.split_off(first) {
                self.kept_bytes -= push.message.len();
                passed = passed.and(self.send_push(push.message));
            }
        }
        passed
    }

    /// Keeps a push until the reply for `behind` has gone.
    fn keep_push(&mut self, behind: u32, is_late: bool, message: Piece) -> Result<(), Untold> {
        let first_place = self.first_place;
        let pushes = &mut self.outbox.pushes;
        pushes.try_reserve(1).map_err(|_| Untold::NoMemory)?;
        let index = |place: u32| place.wrapping_sub(first_place);
        let later = |push: &&Push| index(push.behind) > index(behind);
        let at = pushes.len() - pushes.iter().rev().take_while(later).count();
        self.kept_bytes += message.len();
        let push = Push {
            behind,
            is_late,
            message,
        };
        pushes.insert(at, push);
        Ok(())
    }

    /// The last place whose reply has come, or that of the cause or the last push, if
    /// that is a later one.
    fn stands_behind(&self, cause: Option<u32>) -> Option<u32> {
        let has_come = |place: &Place| !matches!(place, Place::Waiting { .. });
        let come = self.order.iter().rposition(has_come);
        let pushes = self.outbox.pushes.iter().rev();
        let pushed = pushes.filter(|push| !push.is_late).map(|push| push.behind);
        let others = cause.into_iter().chain(pushed.take(1));
        // What is not in the order any more has left.
        let waited = others
            .map(|place| self.index(place))
            .filter(|at| *at < self.order.len());
        let last = waited.chain(come).max()?;
        Some(self.first_place.wrapping_add(last as u32))
    }

    /// A place has gone: so can the pushes behind it.
    #[cold]
    pub(super) fn pop_pushes(&mut self) -> Result<(), Lost> {
        let gone = self.first_place.wrapping_sub(1);
        let mut popped = Ok(());
        while let Some(push) = self.outbox.pushes.front()
            && push.behind == gone
            && let Some(Push { message, .. }) = self.outbox.pushes.pop_front()
        {
            self.kept_bytes -= message.len();
            popped = popped.and(self.send_push(message));
        }
        if self.outbox.is_empty() {
            self.outbox.clear();
        }
        popped
    }

    /// A push can be sent.
    fn send_push(&mut self, message: Piece) -> Result<(), Lost> {
        if message.len() >= SHARED_BYTES_MIN {
            self.send_next([message]);
        } else if !append(&mut self.out, &message) {
            return Err(Lost);
        }
        Ok(())
    }
}
