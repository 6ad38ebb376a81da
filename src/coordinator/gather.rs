//! Requests that several cores answer: split, send, collect, merge.
//!
//! A request whose keys turn out to lie on one shard is no gathering: it runs
//! there whole. Otherwise each shard gets the request reduced to its own keys
//! (with the arguments that belong to them), and the replies are merged on the
//! connection's core. A gathering is addressed by its ticket in
//! `core.gatherings`; it outlives its connection if that goes away, because
//! answers still come in.

use crate::commands::{Call, Entry, Job};
use crate::core::{Answer, Core, Finish, Gathered, Gathering, KeyParts, Question, Reads};
use crate::dispatch;
use crate::router::{Destination, Order, shard_of};
use shards::command::{self, Args, Decision, Find, Merge, OwnedArgs, Span, keys_of};
use shards::resp::{Protocol, Reply};
use shards::{Row, ShardId};
use std::rc::Rc;
use std::sync::Arc;

/// Runs an engine row that may concern several shards.
pub fn begin(core: &mut Core, key: u32, entry: &'static Entry, row: &'static Row, args: Args<'_>) {
    let connection = &core.connections[key as usize];
    let order = |handler| Order {
        handler,
        row: entry.number,
        db: connection.session.db,
        protocol: connection.session.protocol,
        no_touch: connection.session.no_touch,
    };
    let mut positions = Vec::new();
    if keys_of(row, args, &mut positions).is_none() {
        // The keys cannot be told apart; the handler says why.
        let handler = match row.run {
            command::Run::OneShard(handler) => handler,
            command::Run::EachShard { part, .. } => part,
            command::Run::ReadThenWrite { whole, .. } => whole,
        };
        let order = order(handler);
        dispatch::here(core, key, order, args);
        return;
    }
    let shards = core.shards;
    let owners: Vec<ShardId> = positions
        .iter()
        .filter_map(|at| args.get(*at))
        .map(|key| shard_of(key, shards))
        .collect();
    let one = match owners.split_first() {
        None => (core.shards == 1).then_some(core.id),
        Some((first, rest)) => rest.iter().all(|owner| owner == first).then_some(*first),
    };
    let (handler, owner) = match (row.run, one) {
        (command::Run::OneShard(handler), owner) => (handler, owner.unwrap_or(core.id)),
        (command::Run::EachShard { part, .. }, Some(owner)) => (part, owner),
        (command::Run::ReadThenWrite { whole, .. }, Some(owner)) => (whole, owner),
        (command::Run::EachShard { part, merge }, None) => {
            let parts = KeyParts::new(owners);
            let split = Split::new(args, &positions, &parts.owners, key_step(row));
            let messages = split.parts(core.shards);
            let kind = Gathered::Merge {
                merge,
                sum: 0,
                error: None,
                parts,
            };
            start(core, key, order(part), args, messages, kind);
            return;
        }
        (command::Run::ReadThenWrite { read, decide, .. }, None) => {
            let order = Order {
                protocol: Protocol::Resp2,
                ..order(read)
            };
            let parts = KeyParts::new(owners);
            let split = Split::new(args, &positions, &parts.owners, 1);
            let messages = split.parts(core.shards);
            let request = OwnedArgs::new(args.iter());
            let protocol = core.connections[key as usize].session.protocol;
            let reads = Reads {
                request,
                decide,
                parts,
                error: None,
                order,
                protocol,
            };
            core.connections[key as usize].barrier = true;
            start(
                core,
                key,
                order,
                args,
                messages,
                Gathered::Reads(Box::new(reads)),
            );
            return;
        }
    };
    let order = order(handler);
    dispatch::on(core, key, owner, order, args);
}

/// From one key to the next, in arguments.
fn key_step(row: &Row) -> usize {
    let step = row.keys.first().map(|spec| match spec.find {
        Find::Range { step, .. } | Find::Count { step, .. } => step,
    });
    step.and_then(|step| usize::try_from(step).ok())
        .unwrap_or(1)
}

/// A request that is about to be cut into parts.
struct Split<'a> {
    args: Args<'a>,
    /// Where its keys stand, and who owns each of them.
    positions: &'a [usize],
    owners: &'a [ShardId],
    /// Arguments that go with a key, the key included.
    step: usize,
}

impl<'a> Split<'a> {
    fn new(args: Args<'a>, positions: &'a [usize], owners: &'a [ShardId], step: usize) -> Self {
        Self {
            args,
            positions,
            owners,
            step,
        }
    }

    /// Each shard that takes part with the spans of its part: the owners of
    /// keys with their own keys, or all shards with the whole request if it
    /// has no keys.
    fn parts(&self, shards: u16) -> Vec<(ShardId, Vec<Span>)> {
        let spans = self.args.spans();
        if self.owners.is_empty() {
            return (0..shards)
                .map(|shard| (ShardId(shard), spans.to_vec()))
                .collect();
        }
        let mut parts: Vec<(ShardId, Vec<Span>)> = Vec::new();
        for (at, owner) in self.positions.iter().zip(self.owners) {
            let index = parts
                .iter()
                .position(|(shard, _)| shard == owner)
                .unwrap_or_else(|| {
                    parts.push((*owner, spans.first().copied().into_iter().collect()));
                    parts.len() - 1
                });
            parts[index]
                .1
                .extend(spans.iter().skip(*at).take(self.step));
        }
        parts.sort_unstable_by_key(|(shard, _)| *shard);
        parts
    }
}

/// Takes a place in the connection's order and sends every part on its way.
fn start(
    core: &mut Core,
    key: u32,
    order: Order,
    args: Args<'_>,
    parts: Vec<(ShardId, Vec<Span>)>,
    kind: Gathered,
) {
    let connection = &mut core.connections[key as usize];
    let id = connection.session.id;
    let place = connection.wait();
    let gathering = Gathering {
        key,
        id,
        place,
        missing: parts.len() as u16,
        kind,
    };
    let ticket = core.gatherings.insert(gathering) as u32;
    for (target, spans) in &parts {
        let part = Args::new(args.buffer(), spans);
        send_part(core, ticket, *target, order, part);
    }
}

/// Runs a part here, or sends it to the shard that owns its keys.
fn send_part(core: &mut Core, ticket: u32, target: ShardId, order: Order, args: Args<'_>) {
    if target == core.id {
        let mut reply = Vec::new();
        let request = dispatch::request(order, args);
        let failed = core.shard.apply(core.now, &request, &mut reply).is_err();
        take_part(core, ticket, target, failed, &reply);
    } else {
        core.batch_for(target)
            .push(order, Destination::Part { ticket }, args.iter());
    }
}

/// A part's reply has come.
pub fn take_part(core: &mut Core, ticket: u32, from: ShardId, failed: bool, reply: &[u8]) {
    let Some(gathering) = core.gatherings.get_mut(ticket as usize) else {
        return;
    };
    gathering.missing -= 1;
    let (error, parts) = match &mut gathering.kind {
        Gathered::Merge {
            merge: Merge::Sum,
            sum,
            error,
            ..
        } if !failed => {
            *sum += integer_reply(reply);
            (error, None)
        }
        Gathered::Merge {
            merge,
            error,
            parts,
            ..
        } => (error, (*merge == Merge::KeyOrder).then_some(parts)),
        Gathered::Reads(reads) => (&mut reads.error, Some(&mut reads.parts)),
        Gathered::Writes { error, .. } => (error, None),
        Gathered::Answers { .. } => return,
    };
    if failed {
        // The first in shard order, whatever came in first.
        if error.as_ref().is_none_or(|(shard, _)| from < *shard) {
            *error = Some((from, reply.into()));
        }
    } else if let Some(parts) = parts {
        parts.replies.push((from, reply.to_vec()));
    }
    if gathering.missing == 0 {
        let gathering = core.gatherings.remove(ticket as usize);
        complete(core, gathering);
    }
}

/// All parts are in.
fn complete(core: &mut Core, gathering: Gathering) {
    let Gathering {
        key,
        id,
        place,
        kind,
        ..
    } = gathering;
    let mut out = Vec::new();
    match kind {
        Gathered::Merge {
            error: Some((_, error)),
            ..
        }
        | Gathered::Writes {
            error: Some((_, error)),
            ..
        } => {
            out = error;
        }
        Gathered::Merge {
            merge: Merge::Sum,
            sum,
            ..
        } => {
            Reply::new(&mut out, Protocol::Resp2).integer(sum);
        }
        Gathered::Merge {
            merge: Merge::Ok, ..
        } => Reply::new(&mut out, Protocol::Resp2).ok(),
        Gathered::Merge {
            merge: Merge::KeyOrder,
            parts,
            ..
        } => {
            let elements = parts.in_key_order();
            Reply::new(&mut out, Protocol::Resp2).array(elements.len());
            for element in elements {
                out.extend_from_slice(element);
            }
        }
        Gathered::Reads(reads) => {
            decide(core, key, id, place, &reads);
            return;
        }
        Gathered::Writes { reply, .. } => out = reply,
        Gathered::Answers {
            answers,
            finish,
            request,
        } => {
            let answers: Vec<Answer> = answers.into_iter().flatten().collect();
            if core.client(key, id).is_none() {
                return;
            }
            let mut call = Call {
                core,
                key,
                out: &mut out,
            };
            if let Err(error) = finish(&mut call, request.args(), answers) {
                out.clear();
                Reply::new(&mut out, Protocol::Resp2).error(&error);
            }
        }
    }
    deliver(core, key, id, place, &out);
}

/// Everything is read: the row decides what the reply is and what to write.
fn decide(core: &mut Core, key: u32, id: u64, place: u32, reads: &Reads) {
    if let Some((_, error)) = &reads.error {
        deliver(core, key, id, place, error);
        return;
    }
    let mut reply = Vec::new();
    let elements = reads.parts.in_key_order();
    let mut decision = Decision {
        args: reads.request.args(),
        read: &elements,
        settings: &core.shard.settings,
        reply: Reply::new(&mut reply, reads.protocol),
        writes: Vec::new(),
    };
    let decided = (reads.decide)(&mut decision);
    let writes = std::mem::take(&mut decision.writes);
    if let Err(error) = decided {
        reply.clear();
        Reply::new(&mut reply, reads.protocol).error(&error);
        deliver(core, key, id, place, &reply);
        return;
    }
    if writes.is_empty() {
        deliver(core, key, id, place, &reply);
        return;
    }
    let kind = Gathered::Writes { reply, error: None };
    let gathering = Gathering {
        key,
        id,
        place,
        missing: writes.len() as u16,
        kind,
    };
    let ticket = core.gatherings.insert(gathering) as u32;
    for write in writes {
        let args = write.args.args();
        let target = args
            .get(1)
            .map_or(core.id, |key| shard_of(key, core.shards));
        send_part(
            core,
            ticket,
            target,
            Order {
                handler: write.handler,
                ..reads.order
            },
            args,
        );
    }
}

/// Gives the merged reply to the connection, if it still is there.
pub fn deliver(core: &mut Core, key: u32, id: u64, place: u32, reply: &[u8]) {
    if let Some(connection) = core.client(key, id) {
        connection.barrier = false;
        connection.answer(place, reply);
        core.mark_dirty(key);
    }
}

/// Asks all cores, this one included; `finish` writes the reply.
pub fn ask(core: &mut Core, key: u32, question: Question, finish: Finish, args: Args<'_>) {
    let question = Arc::new(question);
    let ticket = await_answers(core, key, core.shards, finish, args);
    core.ask_others(ticket, &question);
    let own = crate::commands::answer(core, &question);
    take_answer(core, ticket, core.id, own);
}

/// Has a thread of the blocking pool do a job; `finish` writes the reply. The
/// answer is picked up in a turn of the loop, at the latest by its heartbeat.
pub fn wait(core: &mut Core, key: u32, job: Job, finish: Finish, args: Args<'_>) {
    let ticket = await_answers(core, key, 1, finish, args);
    let finished = Rc::clone(&core.finished);
    glommio::spawn_local(async move {
        let answer = glommio::executor().spawn_blocking(job).await;
        finished.borrow_mut().push((ticket, answer));
    })
    .detach();
}

/// Gives the answers of finished jobs to those who wait for them.
pub fn take_finished(core: &mut Core) {
    let finished = std::mem::take(&mut *core.finished.borrow_mut());
    for (ticket, answer) in finished {
        take_answer(core, ticket, core.id, answer);
    }
}

/// Holds a place in the connection's order for a reply that `count` answers
/// make, and all later requests back.
fn await_answers(core: &mut Core, key: u32, count: u16, finish: Finish, args: Args<'_>) -> u32 {
    let connection = &mut core.connections[key as usize];
    connection.barrier = true;
    let (id, place) = (connection.session.id, connection.wait());
    let kind = Gathered::Answers {
        answers: (0..core.shards).map(|_| None).collect(),
        finish,
        request: OwnedArgs::new(args.iter()),
    };
    let gathering = Gathering {
        key,
        id,
        place,
        missing: count,
        kind,
    };
    core.gatherings.insert(gathering) as u32
}

/// A core has answered a question.
pub fn take_answer(core: &mut Core, ticket: u32, from: ShardId, answer: Answer) {
    let Some(gathering) = core.gatherings.get_mut(ticket as usize) else {
        return;
    };
    let Gathered::Answers { answers, .. } = &mut gathering.kind else {
        return;
    };
    answers[from.index()] = Some(answer);
    gathering.missing -= 1;
    if gathering.missing == 0 {
        let gathering = core.gatherings.remove(ticket as usize);
        complete(core, gathering);
    }
}

impl KeyParts {
    fn new(owners: Vec<ShardId>) -> Self {
        Self {
            owners,
            replies: Vec::new(),
        }
    }

    /// One element per key, in the order of the request's keys.
    fn in_key_order(&self) -> Vec<&[u8]> {
        let mut rests: Vec<(ShardId, &[u8])> = self
            .replies
            .iter()
            .map(|(shard, reply)| (*shard, after_line(reply)))
            .collect();
        let mut elements = Vec::with_capacity(self.owners.len());
        for owner in &self.owners {
            let Some((_, rest)) = rests.iter_mut().find(|(shard, _)| shard == owner) else {
                continue;
            };
            let (element, after) = rest.split_at(element_len(rest));
            *rest = after;
            elements.push(element);
        }
        elements
    }
}

/// What follows the first line.
fn after_line(reply: &[u8]) -> &[u8] {
    match memchr::memchr(b'\n', reply) {
        Some(at) => &reply[at + 1..],
        None => &[],
    }
}

/// The number of an integer reply.
fn integer_reply(reply: &[u8]) -> i64 {
    let digits = reply
        .strip_prefix(b":")
        .and_then(|rest| rest.strip_suffix(b"\r\n"));
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.expect("a part that is summed replies an integer")
}

/// Length of the first reply in `bytes`, which the engine wrote.
fn element_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut missing = 1usize;
    while missing > 0 && at < bytes.len() {
        missing -= 1;
        let rest = &bytes[at..];
        let line = rest.len() - after_line(rest).len();
        let number = || -> usize {
            let digits = rest.get(1..line.saturating_sub(2)).unwrap_or_default();
            std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(0)
        };
        at += line;
        match rest[0] {
            // A null bulk string has no body: its length is no usize.
            b'$' | b'=' if rest[1] != b'-' => at += number() + 2,
            b'*' | b'~' | b'>' => missing += number(),
            b'%' => missing += number() * 2,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_laid_out_in_key_order() {
        let parts = KeyParts {
            owners: vec![ShardId(1), ShardId(0), ShardId(1), ShardId(2)],
            replies: vec![
                (ShardId(2), b"*1\r\n*2\r\n:1\r\n$2\r\n\r\n\r\n".to_vec()),
                (ShardId(1), b"*2\r\n$1\r\na\r\n$-1\r\n".to_vec()),
                (ShardId(0), b"*1\r\n_\r\n".to_vec()),
            ],
        };
        let expected: Vec<&[u8]> = vec![
            b"$1\r\na\r\n",
            b"_\r\n",
            b"$-1\r\n",
            b"*2\r\n:1\r\n$2\r\n\r\n\r\n",
        ];
        assert_eq!(parts.in_key_order(), expected);
    }
}
