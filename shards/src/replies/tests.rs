//! By example, and against a twin: a list of places with the bytes that have come.

use super::*;
use crate::order::TicketKind;
use crate::types::ShardId;
use proptest::prelude::*;

fn ticket(number: u32) -> Ticket {
    Ticket {
        home: ShardId(0),
        kind: TicketKind::Request,
        number,
        serial: 1,
    }
}

fn reply(replies: &mut Replies, bytes: &[u8]) {
    let before = replies.reply_buffer().len();
    replies.reply_buffer().extend_from_slice(bytes);
    replies.reply_written(before, false);
}

/// Sends all that can be sent, each piece apart.
fn sent(replies: &mut Replies) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    while replies.has_output() {
        sent.push(replies.take_output());
        replies.sent();
    }
    sent
}

#[test]
fn replies_leave_in_the_order_of_the_requests() {
    let mut replies = Replies::new();
    reply(&mut replies, b"a");
    let second = replies.wait(false);
    reply(&mut replies, b"c");
    let fourth = replies.wait(false);
    assert_eq!(replies.answer(fourth, b"d"), Ok(()));
    reply(&mut replies, b"e");
    reply(&mut replies, b"f");
    assert_eq!(replies.places(), 3, "neighbours share a place");
    assert_eq!(sent(&mut replies), [b"a"]);
    assert_eq!(replies.answer(second, b"b"), Ok(()));
    assert_eq!(sent(&mut replies), [b"bcdef"]);
    assert!(!replies.is_waiting());
    assert_eq!(replies.output_bytes(), 0);
}

#[test]
fn what_is_to_be_waited_for_comes_before_all_others() {
    let mut replies = Replies::new();
    let block = replies.wait_for(Kind::Transaction, false);
    let before = replies.wait_before();
    assert_eq!(replies.answer(block, b"block"), Ok(()));
    assert!(!replies.has_output());
    assert_eq!(replies.answer(before, b"dropped"), Ok(()));
    assert_eq!(sent(&mut replies), [b"block"]);
    // The number of a place that stands before the first one is below zero.
    assert_eq!(before, u32::MAX);
    assert!(replies.wait(false) > block);
}

#[test]
fn nothing_empty_is_sent() {
    let mut replies = Replies::new();
    let places = [(); 4].map(|()| replies.wait(false));
    let pieces = |pieces: &[&[u8]]| {
        pieces
            .iter()
            .map(|piece| piece.to_vec())
            .collect::<Vec<_>>()
    };
    let answered = replies.answer_in_pieces(places[0], b"", pieces(&[b"a", b""]));
    assert_eq!(answered, Ok(()));
    for some in [&[b"".as_slice(), b"b"][..], &[b""]] {
        let flows = replies.answer_flowing(places[1], ticket(1), pieces(some));
        assert_eq!(flows, Ok(true));
    }
    assert_eq!(replies.answer(places[1], b""), Ok(()));
    let answered = replies.answer_in_pieces(places[2], b"", pieces(&[b""]));
    assert_eq!(answered, Ok(()));
    assert_eq!(replies.answer(places[3], b"c"), Ok(()));
    assert_eq!(sent(&mut replies), [b"a", b"b", b"c"]);
    assert_eq!(replies.output_bytes(), 0);
}

#[test]
fn pieces_are_moved_and_not_copied() {
    let mut replies = Replies::new();
    let place = replies.wait(false);
    let piece = vec![7; 100];
    let address = piece.as_ptr();
    let answered = replies.answer_in_pieces(place, b"head", vec![piece]);
    assert_eq!(answered, Ok(()));
    let sent = sent(&mut replies);
    assert_eq!(sent[0], b"head");
    assert_eq!(sent[1].as_ptr(), address);
}

#[test]
fn a_long_reply_is_asked_for_as_it_is_read() {
    let mut replies = Replies::new();
    let place = replies.wait(false);
    let piece = || vec![vec![1; OUTPUT_BYTES_LOW / 2]];
    for _ in 0..2 {
        let flows = replies.answer_flowing(place, ticket(3), piece());
        assert_eq!(flows, Ok(true));
    }
    assert_eq!(replies.wants_more(), None, "it has not read yet");
    replies.take_output();
    assert_eq!(replies.wants_more(), None, "nor is it known to have");
    replies.sent();
    assert_eq!(replies.wants_more(), Some(ticket(3)));
    assert_eq!(replies.wants_more(), None, "once");
    assert_eq!(replies.answer(place, b"end"), Ok(()));
    assert_eq!(sent(&mut replies).len(), 2);
    assert!(!replies.is_waiting());
}

#[test]
fn who_has_gone_is_answered_in_vain() {
    let mut replies = Replies::new();
    let (first, second) = (replies.wait(false), replies.wait(false));
    for place in [first, second] {
        let flows = replies.answer_flowing(place, ticket(place), vec![vec![1; 9]]);
        assert_eq!(flows, Ok(true));
    }
    replies.drop_output();
    assert_eq!(replies.take_flows(), [ticket(first), ticket(second)]);
    assert_eq!(replies.output_bytes(), 0);
    let flows = replies.answer_flowing(second, ticket(second), vec![vec![1; 9]]);
    assert_eq!(flows, Ok(false), "nobody wants the rest");
    assert_eq!(replies.answer(first, b"x"), Ok(()));
    assert!(!replies.is_waiting() && !replies.has_output());
}

/// A reply of the twin, in the order of the requests.
struct Owed {
    place: Option<u32>,
    state: State,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Waiting { silent: bool },
    Flowing { asked: bool },
    Complete,
}

/// What is to come, and everything that could ever be sent.
#[derive(Default)]
struct Twin {
    owed: VecDeque<Owed>,
    sendable: Vec<u8>,
}

impl Twin {
    fn add(&mut self, place: Option<u32>, state: State, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.owed.push_back(Owed {
            place,
            state,
            bytes,
        });
        self.settle();
    }

    /// Those that can be answered now.
    fn answerable(&self) -> Vec<(u32, State)> {
        let open = |owed: &Owed| {
            let flows = owed.state == State::Flowing { asked: false };
            (owed.state != State::Complete && !flows).then_some((owed.place?, owed.state))
        };
        self.owed.iter().filter_map(open).collect()
    }

    fn answer(&mut self, place: u32, state: State, bytes: &[u8]) {
        let at = self.owed.iter_mut().find(|owed| owed.place == Some(place));
        let owed = at.expect("it is there");
        if owed.state == (State::Waiting { silent: true }) {
            owed.state = State::Complete;
        } else {
            owed.bytes.extend_from_slice(bytes);
            owed.state = state;
        }
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(first) = self.owed.front_mut() {
            if matches!(first.state, State::Waiting { .. }) {
                break;
            }
            self.sendable.append(&mut first.bytes);
            if first.state != State::Complete {
                break;
            }
            self.owed.pop_front();
        }
    }
}

/// A number of any kind, and what to do with it.
type Step = (u8, u8, usize, bool);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![
        3 => 0..20usize,
        1 => (HOLD_BYTES / 2)..HOLD_BYTES,
        1 => (OUTPUT_BYTES_LOW / 2)..OUTPUT_BYTES_LOW,
    ];
    let step = (0..100u8, any::<u8>(), length, any::<bool>());
    proptest::collection::vec(step, 0..200)
}

/// Both, and what was taken to be sent.
#[derive(Default)]
struct Pair {
    replies: Replies,
    twin: Twin,
    taken: usize,
    in_flight: usize,
    written: usize,
}

impl Pair {
    /// Bytes unlike any others.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.written += 1;
        let first = self.written * 31;
        (first..first + length).map(|at| at as u8).collect()
    }

    /// Some of the bytes, in pieces.
    fn cut(bytes: &[u8], many: u8) -> Vec<Vec<u8>> {
        let piece = bytes.len() / (usize::from(many % 4) + 1) + 1;
        let mut pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
        if many.is_multiple_of(3) {
            pieces.insert(pieces.len() / 2, Vec::new());
        }
        pieces
    }

    fn play(&mut self, (what, which, length, flag): Step) {
        match what {
            0..15 => {
                let bytes = self.bytes(length);
                let before = self.replies.reply_buffer().len();
                self.replies.reply_buffer().extend_from_slice(&bytes);
                self.replies.reply_written(before, flag && which < 64);
                if !(flag && which < 64) {
                    self.twin.add(None, State::Complete, &bytes);
                }
            }
            15..35 => {
                let silent = flag && which < 64;
                let place = self.replies.wait(silent);
                self.twin.add(Some(place), State::Waiting { silent }, &[]);
            }
            35..70 => self.answer(what, which, length),
            70..85 if self.in_flight == 0 && self.replies.has_output() => {
                let taken = self.replies.take_output();
                assert!(!taken.is_empty());
                let end = self.taken + taken.len();
                assert!(taken == self.twin.sendable[self.taken..end]);
                (self.taken, self.in_flight) = (end, taken.len());
            }
            85..92 => {
                self.replies.sent();
                self.in_flight = 0;
            }
            92..97 => self.ask(),
            97 if !self.replies.is_unread() => {
                let place = self.replies.wait_before();
                self.twin.owed.push_front(Owed {
                    place: Some(place),
                    state: State::Waiting { silent: true },
                    bytes: Vec::new(),
                });
            }
            98 => self.replies.shed(),
            99 if which < 32 => self.go_away(),
            _ => {}
        }
    }

    fn answer(&mut self, what: u8, which: u8, length: usize) {
        let open = self.twin.answerable();
        if open.is_empty() {
            return;
        }
        let (place, state) = open[usize::from(which) % open.len()];
        let silent = state == State::Waiting { silent: true };
        assert_eq!(self.replies.is_unheard(place), silent);
        let bytes = self.bytes(length);
        match what {
            35..50 => {
                assert_eq!(self.replies.answer(place, &bytes), Ok(()));
                self.twin.answer(place, State::Complete, &bytes);
            }
            50..57 if matches!(state, State::Waiting { .. }) => {
                let (head, rest) = bytes.split_at(bytes.len() / 5);
                let pieces = Self::cut(rest, which);
                let answered = self.replies.answer_in_pieces(place, head, pieces);
                assert_eq!(answered, Ok(()));
                self.twin.answer(place, State::Complete, &bytes);
            }
            _ => {
                let pieces = Self::cut(&bytes, which);
                let flows = self.replies.answer_flowing(place, ticket(place), pieces);
                assert_eq!(flows, Ok(!silent));
                let flowing = State::Flowing { asked: false };
                self.twin.answer(place, flowing, &bytes);
            }
        }
    }

    /// Asks for the next piece of a long reply, if its client has read.
    fn ask(&mut self) {
        let unread = self.twin.sendable.len() - self.taken + self.in_flight;
        let asked = match self.twin.owed.front_mut() {
            Some(Owed {
                place,
                state: State::Flowing {
                    asked: asked @ false,
                },
                ..
            }) if unread < OUTPUT_BYTES_LOW => {
                *asked = true;
                *place
            }
            _ => None,
        };
        assert_eq!(self.replies.wants_more(), asked.map(ticket));
    }

    /// The client goes away, whatever is under way.
    fn go_away(&mut self) {
        self.replies.drop_output();
        self.twin.sendable.truncate(self.taken);
        let mut given_up = Vec::new();
        for owed in &mut self.twin.owed {
            if matches!(owed.state, State::Flowing { .. }) {
                given_up.extend(owed.place.map(ticket));
                owed.state = State::Waiting { silent: true };
                owed.bytes.clear();
            }
        }
        assert_eq!(self.replies.take_flows(), given_up);
    }

    fn check(&self) {
        let (replies, twin) = (&self.replies, &self.twin);
        replies.check_invariants();
        let mut rest = &twin.sendable[self.taken..];
        let sendable = rest.len();
        for piece in replies.pieces.iter().chain([&replies.out]) {
            let (next, after) = rest.split_at(piece.len());
            assert!(next == piece);
            rest = after;
        }
        assert!(rest.is_empty());
        assert_eq!(replies.has_output(), sendable > 0);
        assert_eq!(replies.is_in_flight(), self.in_flight > 0);
        assert_eq!(replies.is_waiting(), !twin.owed.is_empty());
        let flowing = |owed: &Owed| matches!(owed.state, State::Flowing { .. });
        assert_eq!(replies.is_unread(), twin.owed.front().is_some_and(flowing));
        let owed: usize = twin.owed.iter().map(|owed| owed.bytes.len()).sum();
        let bytes = sendable + owed + self.in_flight;
        if replies.output_bytes() != bytes {
            // What was popped of `held` is given back when nothing waits any more.
            assert!(replies.is_waiting() && replies.output_bytes() > bytes);
        }
        if replies.holds_back() {
            assert!(replies.is_waiting() && sendable < HOLD_BYTES);
        }
    }
}

proptest! {
    #[test]
    fn every_step_is_that_of_a_list_of_places(steps in steps()) {
        let mut pair = Pair::default();
        for step in steps {
            pair.play(step);
            pair.check();
        }
        // Everything that is still owed comes, and can be sent.
        while let Some((place, _)) = pair.twin.answerable().first().copied() {
            prop_assert_eq!(pair.replies.answer(place, b"z"), Ok(()));
            pair.twin.answer(place, State::Complete, b"z");
            pair.check();
        }
    }
}
