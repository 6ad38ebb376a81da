//! XDEL and XDELEX: entries that go by their ids.

use super::ids;
use super::options::{Chosen, References};
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::value::Stream;
use crate::value::stream::StreamId;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "xdel",
        syntax: "key id [id ...]",
        summary: "Remove entries of a stream by their ids; how many there were.",
        since: "5.0.0",
        complexity: "O(log(N)) for each id, with N the number of entries",
        group: Group::Stream,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(xdel),
        ..ROW
    },
    Row {
        name: "xdelex",
        syntax: "key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        summary: "Remove entries of a stream by their ids, with regard to groups that refer to them.",
        since: "8.2.0",
        complexity: "O(log(N)) for each id, with N the number of entries",
        group: Group::Stream,
        arity: Arity::AtLeast(5),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(xdelex),
        ..ROW
    },
];

fn xdel(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, all) = (&args[1], args.from(2));
    let deleted = ctx.db.try_edit(key, |stream: &mut Stream| {
        // Nothing goes if one of them is no id.
        for id in all.iter() {
            ids::strict(id, 0)?;
        }
        let mut deleted = 0;
        for id in all.iter() {
            deleted += usize::from(stream.entries.delete(ids::strict(id, 0)?));
        }
        Ok(deleted)
    })?;
    let deleted = deleted.unwrap_or(0);
    if deleted > 0 {
        ctx.changed_times(key, Event::XDel, deleted);
    }
    ctx.reply.integer(deleted as i64);
    Ok(())
}

/// What became of an entry that was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is none.
    Unknown,
    Deleted,
    /// A group still refers to it.
    Stays,
}

impl Fate {
    /// What is replied for it.
    pub fn number(self) -> i64 {
        match self {
            Self::Unknown => -1,
            Self::Deleted => 1,
            Self::Stays => 2,
        }
    }
}

/// Has an entry go, if it may; what became of it, and whether groups have forgotten it.
pub fn delete(stream: &mut Stream, id: StreamId, references: References) -> (Fate, bool) {
    let forgotten = references == References::Delete && stream.groups.forget(id) > 0;
    let stays = references == References::Acknowledged && stream.groups.refer_to(id);
    let fate = match stays {
        true if stream.entries.contains(id) => Fate::Stays,
        false if stream.entries.delete(id) => Fate::Deleted,
        _ => Fate::Unknown,
    };
    (fate, forgotten)
}

fn xdelex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    let chosen = Chosen::read(args, 2)?;
    let reply = &mut ctx.reply;
    let done = ctx.db.edit(key, |stream: &mut Stream| {
        reply.array(chosen.ids().len());
        let (mut deleted, mut forgotten) = (0, 0);
        for id in chosen.ids() {
            let (fate, forgot) = delete(stream, id, chosen.references);
            reply.integer(fate.number());
            deleted += usize::from(fate == Fate::Deleted);
            forgotten += usize::from(forgot && fate != Fate::Deleted);
        }
        (deleted, forgotten)
    })?;
    let Some((deleted, forgotten)) = done else {
        reply.array(chosen.ids().len());
        chosen
            .ids()
            .for_each(|_| reply.integer(Fate::Unknown.number()));
        return Ok(());
    };
    if deleted > 0 {
        ctx.changed_times(key, Event::XDel, deleted);
    }
    if forgotten > 0 {
        ctx.changed_times(key, Event::Silent, forgotten);
    }
    Ok(())
}
