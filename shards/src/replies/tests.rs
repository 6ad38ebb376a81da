//! By example, and against a twin: a list of places with the bytes that have come.

mod told;

use super::outbox::SHARED_BYTES_MIN;
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

/// Sends all that can be sent: what each send takes.
fn sends(replies: &mut Replies) -> Vec<Piece> {
    let mut sends = Vec::new();
    while replies.has_output() {
        sends.push(replies.take_output());
        replies.sent();
    }
    sends
}

fn sent(replies: &mut Replies) -> Vec<u8> {
    let sends = sends(replies);
    assert!(sends.iter().all(|piece| !piece.is_empty()));
    sends.iter().flat_map(|piece| piece.to_vec()).collect()
}

/// No limit.
const ANY: usize = usize::MAX;

fn push(replies: &mut Replies, message: &str, cause: Option<u32>) {
    let message = Piece::Owned(message.into());
    assert_eq!(replies.push(message, cause, ANY), Ok(()));
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
    assert_eq!(sent(&mut replies), b"a");
    assert_eq!(replies.answer(second, b"b"), Ok(()));
    assert_eq!(sent(&mut replies), b"bcdef");
    assert!(!replies.is_waiting());
    assert_eq!(replies.output_bytes(), 0);
}

#[test]
fn what_is_to_be_waited_for_comes_before_all_others() {
    let mut replies = Replies::new();
    let block = replies.wait_for(Pending::Transaction, false);
    let before = replies.wait_before();
    assert_eq!(replies.answer(block, b"block"), Ok(()));
    assert!(!replies.has_output());
    assert_eq!(replies.answer(before, b"dropped"), Ok(()));
    assert_eq!(sent(&mut replies), b"block");
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
    assert_eq!(sent(&mut replies), b"abc");
    assert_eq!(replies.output_bytes(), 0);
}

#[test]
fn pieces_are_moved_and_not_copied() {
    let mut replies = Replies::new();
    let place = replies.wait(false);
    let piece = vec![7; GATHERED_BYTES_MAX];
    let address = piece.as_ptr();
    let answered = replies.answer_in_pieces(place, b"head", vec![piece]);
    assert_eq!(answered, Ok(()));
    let sends = sends(&mut replies);
    assert_eq!(*sends[0], *b"head");
    assert_eq!(sends[1].as_ptr(), address);
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
    assert_eq!(
        replies.wants_more(OUTPUT_BYTES_LOW),
        None,
        "it has not read yet"
    );
    replies.take_output();
    assert_eq!(
        replies.wants_more(OUTPUT_BYTES_LOW),
        None,
        "nor is it known to have"
    );
    replies.sent();
    assert_eq!(replies.wants_more(OUTPUT_BYTES_LOW), Some(ticket(3)));
    assert_eq!(replies.wants_more(OUTPUT_BYTES_LOW), None, "once");
    assert_eq!(replies.answer(place, b"end"), Ok(()));
    assert_eq!(sends(&mut replies).len(), 2);
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

#[test]
fn a_push_does_not_cut_a_long_reply_in_two() {
    for message in ["<short>".to_owned(), "<>".repeat(SHARED_BYTES_MIN)] {
        for cause in [None, Some(1)] {
            let mut replies = Replies::new();
            let place = replies.wait(false);
            let pieces = |text: &str| vec![text.as_bytes().to_vec()];
            let flows = replies.answer_flowing(place, ticket(1), pieces("*2."));
            assert_eq!(flows, Ok(true));
            push(&mut replies, &message, cause);
            assert_eq!(sent(&mut replies), b"*2.");
            let flows = replies.answer_flowing(place, ticket(1), pieces(":1."));
            assert_eq!(flows, Ok(true));
            push(&mut replies, &message, cause);
            assert_eq!(replies.answer(place, b":2."), Ok(()));
            let expected = format!(":1.:2.{message}{message}");
            assert_eq!(sent(&mut replies), expected.as_bytes());
            assert_eq!(replies.output_bytes(), 0);
        }
    }
}

#[test]
fn a_push_stands_behind_its_cause_and_what_has_come() {
    let mut replies = Replies::new();
    push(&mut replies, "<0>", None);
    let places = [(); 4].map(|()| replies.wait(false));
    push(&mut replies, "<1>", None);
    assert_eq!(sent(&mut replies), b"<0><1>", "it waits for nothing");
    push(&mut replies, "<2>", Some(places[0]));
    assert_eq!(replies.answer(places[1], b"b"), Ok(()));
    push(&mut replies, "<3>", None);
    push(&mut replies, "<4>", Some(places[2]));
    push(&mut replies, "<5>", Some(places[0]));
    assert!(!replies.has_output());
    assert_eq!(replies.answer(places[0], b"a"), Ok(()));
    assert_eq!(sent(&mut replies), b"a<2>b<3>");
    push(&mut replies, "<6>", Some(places[0]));
    assert_eq!(replies.answer(places[2], b"c"), Ok(()));
    assert_eq!(sent(&mut replies), b"c<4><5><6>");
    assert_eq!(replies.answer(places[3], b"d"), Ok(()));
    assert_eq!(sent(&mut replies), b"d");
}

/// The message that comes after the end of a subscription would be none of its.
#[test]
fn a_push_stands_before_what_is_replied_later() {
    let mut replies = Replies::new();
    let place = replies.wait(false);
    reply(&mut replies, b"subscribed,");
    push(&mut replies, "message,", None);
    reply(&mut replies, b"unsubscribed,");
    reply(&mut replies, b"more");
    assert_eq!(replies.answer(place, b"got,"), Ok(()));
    assert_eq!(
        sent(&mut replies),
        b"got,subscribed,message,unsubscribed,more"
    );
}

fn push_late(replies: &mut Replies, message: &str, behind: Option<u32>) {
    let message = Piece::Owned(message.into());
    assert_eq!(replies.push_late(message, behind), Ok(()));
    replies.check_invariants();
}

/// An invalidation stands behind a read that is still under way, as that may bring an older
/// value. Messages on channels do not wait for it.
#[test]
fn a_late_push_stands_behind_what_is_to_come_and_keeps_nothing_back() {
    let mut replies = Replies::new();
    push_late(&mut replies, "<0>", None);
    let places = [(); 3].map(|()| replies.wait(false));
    push_late(&mut replies, "<gone>", Some(places[0].wrapping_sub(1)));
    push_late(&mut replies, "<c>", Some(places[2]));
    push_late(&mut replies, "<b>", Some(places[1]));
    push(&mut replies, "<1>", None);
    assert_eq!(sent(&mut replies), b"<0><gone><1>");
    push(&mut replies, "<2>", Some(places[0]));
    push(&mut replies, "<3>", None);
    push(&mut replies, "<4>", Some(places[1]));
    replies.check_invariants();
    assert_eq!(replies.answer(places[2], b"c"), Ok(()));
    assert_eq!(replies.answer(places[0], b"a"), Ok(()));
    assert_eq!(sent(&mut replies), b"a<2><3>");
    assert_eq!(replies.answer(places[1], b"b"), Ok(()));
    assert_eq!(sent(&mut replies), b"b<b><4>c<c>");
    assert_eq!(replies.output_bytes(), 0);
}

/// Nor does it wait for a blocking command, once that is known to wait.
#[test]
fn a_late_push_passes_a_command_that_is_long_in_coming() {
    for earlier in [false, true] {
        let mut replies = Replies::new();
        let first = earlier.then(|| replies.wait(false));
        let long = replies.wait(false);
        push_late(&mut replies, "<1>", Some(long));
        push_late(&mut replies, "<2>", Some(long));
        assert!(!replies.has_output());
        assert_eq!(replies.let_pass(long), Ok(()));
        replies.check_invariants();
        if let Some(first) = first {
            assert!(!replies.has_output());
            assert_eq!(replies.answer(first, b"first"), Ok(()));
            assert_eq!(sent(&mut replies), b"first<1><2>");
        } else {
            assert_eq!(sent(&mut replies), b"<1><2>");
        }
        assert_eq!(replies.let_pass(long), Ok(()));
        assert_eq!(replies.answer(long, b"last"), Ok(()));
        assert_eq!(sent(&mut replies), b"last");
        assert_eq!(replies.output_bytes(), 0);
    }
}

#[test]
fn who_wants_no_replies_is_told_all_the_same() {
    let mut replies = Replies::new();
    let place = replies.wait(true);
    push(&mut replies, "<1>", Some(place));
    assert_eq!(replies.answer(place, b"dropped"), Ok(()));
    let before = replies.reply_buffer().len();
    replies.reply_buffer().extend_from_slice(b"dropped");
    replies.reply_written(before, true);
    push(&mut replies, "<2>", None);
    assert_eq!(sent(&mut replies), b"<1><2>");
}

/// Whoever makes a long reply learns late that nobody wants it: what is under way by then
/// is nobody's, wherever its place stands.
#[test]
fn what_comes_of_a_reply_that_nobody_wants_is_dropped() {
    for behind in [true, false] {
        let mut replies = Replies::new();
        let first = behind.then(|| replies.wait(false));
        let unwanted = replies.wait(true);
        let last = replies.wait(false);
        let ticket = ticket(1);
        for piece in [b"*2\r\n".to_vec(), b"$1\r\na\r\n".to_vec()] {
            let flows = replies.answer_flowing(unwanted, ticket, vec![piece]);
            assert_eq!(flows, Ok(false));
            replies.check_invariants();
        }
        assert_eq!(replies.answer(unwanted, b"$1\r\nb\r\n"), Ok(()));
        let pieces = vec![b"more".to_vec()];
        assert_eq!(replies.answer_in_pieces(unwanted, b"late", pieces), Ok(()));
        replies.check_invariants();
        if let Some(first) = first {
            assert_eq!(replies.answer(first, b"first,"), Ok(()));
        }
        assert_eq!(replies.answer(last, b"last"), Ok(()));
        assert!(!replies.is_waiting() && !replies.is_unread());
        let expected: &[u8] = if behind { b"first,last" } else { b"last" };
        assert_eq!(sent(&mut replies), expected);
        replies.check_invariants();
    }
}

/// What comes last of a long reply may be so long that it comes in pieces.
#[test]
fn a_long_reply_may_have_a_long_end() {
    for behind in [true, false] {
        let mut replies = Replies::new();
        let first = behind.then(|| replies.wait(false));
        let long = replies.wait(false);
        let last = replies.wait(false);
        let flows = replies.answer_flowing(long, ticket(1), vec![b"a".to_vec()]);
        assert_eq!(flows, Ok(true));
        let pieces = vec![b"c".to_vec(), b"d".to_vec()];
        assert_eq!(replies.answer_in_pieces(long, b"b", pieces), Ok(()));
        replies.check_invariants();
        assert_eq!(replies.answer(last, b"last"), Ok(()));
        if let Some(first) = first {
            assert_eq!(replies.answer(first, b"first,"), Ok(()));
        }
        assert!(!replies.is_waiting() && !replies.is_unread());
        let expected: &[u8] = if behind {
            b"first,abcdlast"
        } else {
            b"abcdlast"
        };
        assert_eq!(sent(&mut replies), expected);
        replies.check_invariants();
    }
}

#[test]
fn long_messages_are_shared_and_short_ones_leave_together() {
    let message = Piece::shared(vec![b'm'; GATHERED_BYTES_MAX]);
    let mut receivers = [(); 3].map(|()| Replies::new());
    for replies in &mut receivers {
        reply(replies, b"before,");
        let pushed = replies.push(message.clone(), None, ANY);
        assert_eq!(pushed, Ok(()));
        reply(replies, b",after");
    }
    for replies in &mut receivers {
        let sends = sends(replies);
        assert_eq!(sends.len(), 3);
        assert_eq!(sends[1].as_ptr(), message.as_ptr());
    }
    let Piece::Shared(message) = message else {
        panic!("it is shared");
    };
    assert!(message.is_unique(), "nobody has it any more");
    let replies = &mut receivers[0];
    for length in [1, SHARED_BYTES_MIN, 10, SHARED_BYTES_MIN] {
        let message = Piece::shared(vec![b'm'; length]);
        assert_eq!(replies.push(message, None, ANY), Ok(()));
    }
    let lengths = |sends: Vec<Piece>| sends.iter().map(|it| it.len()).collect::<Vec<_>>();
    assert_eq!(lengths(sends(replies)), [11 + 2 * SHARED_BYTES_MIN]);
}

#[test]
fn no_more_is_pushed_than_may_wait() {
    let max = OutputMax::new(1 << 20, 0, u64::MAX).hard;
    let mut replies = Replies::new();
    let place = replies.wait(false);
    let message = Piece::shared(vec![1; 100 << 10]);
    let mut pushed = 0;
    let refused = loop {
        let cause = Some(place).filter(|_| pushed % 2 == 0);
        if let Err(why) = replies.push(message.clone(), cause, max) {
            break why;
        }
        pushed += 1;
        replies.check_invariants();
    };
    assert_eq!(refused, Untold::BeyondLimit);
    assert_eq!(pushed, max / message.len());
    // Who is closed is not told what waits, either.
    replies.drop_output();
    assert_eq!(replies.answer(place, b"x"), Ok(()));
    assert_eq!(replies.output_bytes(), 1);
    replies.check_invariants();
}

#[test]
fn a_limit_is_of_a_class_and_of_bytes() {
    let free = OutputMax::new(0, 0, 1000);
    assert_eq!((free.hard, free.soft), (1000, 1000), "memory is a limit");
    let mib = OutputMax::new(1 << 20, 1 << 18, u64::MAX);
    for (bytes, output) in [
        ((1 << 18) + (16 << 10), Output::Within),
        ((1 << 18) + (16 << 10) + 1, Output::BeyondSoft),
        ((1 << 20) + (16 << 10), Output::BeyondSoft),
        ((1 << 20) + (16 << 10) + 1, Output::BeyondHard),
    ] {
        assert_eq!(mib.judge(bytes), output, "{bytes}");
    }
    for (limit, hard) in [
        (1, 16 << 10),
        (20_504, 16 << 10),
        (20_505, 20_505 + (16 << 10)),
    ] {
        let small = OutputMax::new(limit, 0, u64::MAX);
        assert_eq!(small.hard, hard, "{limit}");
    }
    assert_eq!(free.to_pass, None, "which nobody has set");
    for (hard, soft, to_pass) in [
        (1 << 20, 0, mib.hard),
        (1 << 20, 1, mib.hard),
        (0, 1 << 18, mib.soft),
    ] {
        let max = OutputMax::new(hard, soft, u64::MAX);
        assert_eq!(max.to_pass, Some(to_pass), "{hard} {soft}");
    }
    assert!((0..).zip(Class::ALL).all(|(n, class)| class as usize == n));
}

/// Not so many bytes as have ever been held.
#[test]
fn a_pipeline_that_never_ends_owes_what_it_owes() {
    let mut replies = Replies::new();
    let mut next = replies.wait(false);
    for round in 0..10_000 {
        let place = next;
        reply(&mut replies, &[b'r'; 100]);
        next = replies.wait(false);
        assert_eq!(replies.answer(next, b"early"), Ok(()));
        next = replies.wait(false);
        assert_eq!(replies.answer(place, b"late"), Ok(()));
        assert_eq!(sent(&mut replies).len(), 109, "round {round}");
        assert_eq!(replies.output_bytes(), 0);
        assert!(replies.buffer_bytes() < 4 * SPARE_BYTES_MAX);
    }
    replies.check_invariants();
}

/// A reply of the twin, or a push, in the order in which they are to be sent.
struct Owed {
    place: Option<u32>,
    state: State,
    bytes: Vec<u8>,
    pushed: bool,
    /// Nothing that comes later waits for it.
    late: bool,
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
            pushed: false,
            late: false,
        });
        self.settle();
    }

    fn push_late(&mut self, message: &[u8]) {
        self.add(None, State::Complete, message);
        if let Some(last) = self.owed.back_mut() {
            (last.pushed, last.late) = (true, true);
        }
    }

    fn push(&mut self, message: &[u8], cause: Option<u32>) {
        let is_before = |owed: &Owed| {
            let has_come = !matches!(owed.state, State::Waiting { .. });
            has_come && !owed.late || cause.is_some() && owed.place == cause
        };
        let before = self.owed.iter().rposition(is_before);
        let owed = Owed {
            place: None,
            state: State::Complete,
            bytes: message.to_vec(),
            pushed: true,
            late: false,
        };
        let behind = before.map_or(0, |at| at + 1);
        let beside = self.owed.range(behind..).take_while(|owed| owed.late);
        let at = behind + beside.count();
        self.owed.insert(at, owed);
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
    let step = (0..115u8, any::<u8>(), length, any::<bool>());
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
                let silent = flag && which < 64;
                let before = self.replies.reply_buffer().len();
                self.replies.reply_buffer().extend_from_slice(&bytes);
                self.replies.reply_written(before, silent);
                if !silent && !bytes.is_empty() {
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
                assert!(*taken == self.twin.sendable[self.taken..end]);
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
                    pushed: false,
                    late: false,
                });
            }
            100..110 => self.push(which, length, flag),
            110..115 => self.push_late(length),
            98 => self.replies.shed(),
            99 if which < 32 => self.go_away(),
            _ => {}
        }
    }

    fn push(&mut self, which: u8, length: usize, shared: bool) {
        let message = self.bytes(length + 1);
        let open = self.twin.answerable();
        let cause = open.get(usize::from(which) % 8).map(|(place, _)| *place);
        let piece = match shared {
            true => Piece::shared(message.clone()),
            false => Piece::Owned(message.clone()),
        };
        assert_eq!(self.replies.push(piece, cause, ANY), Ok(()));
        self.twin.push(&message, cause);
    }

    fn push_late(&mut self, length: usize) {
        let message = self.bytes(length + 1);
        let behind = self.replies.last_place();
        let piece = Piece::Owned(message.clone());
        assert_eq!(self.replies.push_late(piece, behind), Ok(()));
        self.twin.push_late(&message);
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
        assert_eq!(self.replies.wants_more(OUTPUT_BYTES_LOW), asked.map(ticket));
    }

    /// The client goes away, whatever is under way.
    fn go_away(&mut self) {
        self.replies.drop_output();
        self.twin.sendable.truncate(self.taken);
        self.twin.owed.retain(|owed| !owed.pushed);
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
        let pieces = replies.pieces.iter().map(|piece| &**piece);
        for piece in pieces.chain([&replies.out[..]]) {
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
        assert_eq!(replies.output_bytes(), sendable + owed + self.in_flight);
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
