//! XACK and XACKDEL: a group is done with entries.

use super::delete::{Fate, delete};
use super::groups::{edit_group, group_of};
use super::ids;
use super::options::{Chosen, References};
use crate::command::replied::Replied;
use crate::command::spec::{Arity, Group as Family, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::counted;
use crate::effects::Event;
use crate::error::CommandError;
use crate::value::Stream;
use crate::value::stream::StreamId;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "xack",
        syntax: "key group id [id ...]",
        summary: "Say that a group is done with entries it was delivered.",
        since: "5.0.0",
        complexity: "O(log(N)) for each id, with N the number of pending entries",
        group: Family::Stream,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfMuch,
        run: Run::OneShard(xack),
        ..ROW
    },
    Row {
        name: "xackdel",
        syntax: "key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]",
        summary: "Say that a group is done with entries it was delivered, and delete them.",
        since: "8.2.0",
        complexity: "O(log(N)) for each id, with N the number of pending entries; with other words than KEEPREF for each group",
        group: Family::Stream,
        arity: Arity::AtLeast(6),
        keys: &[KeySpec::first(&["RW", "update", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfMuch,
        run: Run::OneShard(xackdel),
        ..ROW
    },
];

/// How far an XACK or XACKDEL has come.
#[derive(Debug, Default)]
pub struct Acking {
    /// So many ids are known to be some, and so many are done with.
    read: usize,
    at: usize,
    /// So many groups there are (XACKDEL).
    groups: usize,
    /// So many were pending.
    acked: usize,
    /// So many entries were deleted, and what became of each (XACKDEL).
    deleted: usize,
    fates: Vec<Fate>,
    replied: Option<Replied>,
}

impl Acking {
    /// Checks ids of the request; whether there are more.
    fn read_some(&mut self, ids: Args<'_>, some: usize) -> Result<bool, CommandError> {
        let end = self.read.saturating_add(some).min(ids.len());
        while self.read < end {
            counted::elements(1);
            ids::strict(&ids[self.read], 0)?;
            self.read += 1;
        }
        Ok(self.read < ids.len())
    }

    /// The next ids.
    fn take<'a>(
        &mut self,
        ids: Args<'a>,
        some: usize,
    ) -> impl Iterator<Item = StreamId> + Clone + use<'a> {
        let (from, end) = (self.at, self.at.saturating_add(some).min(ids.len()));
        self.at = end;
        (from..end).filter_map(move |at| {
            counted::elements(1);
            ids::strict(ids.get(at)?, 0).ok()
        })
    }
}

fn xack(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, name, ids) = (&args[1], &args[2], args.from(3));
    let mut acking = match ctx.work() {
        Some(Work::Ack(acking)) => acking,
        _ => {
            if group_of(ctx, key, name)?.is_none() {
                ctx.reply.integer(0);
                return Ok(());
            }
            ctx.in_slices(ids.len(), (1, 0))?;
            Box::default()
        }
    };
    let some = ctx.slice_of(ids.len());
    if acking.read < ids.len() && acking.read_some(ids, some)? {
        return ctx.leave(Work::Ack(acking));
    }
    let next = acking.take(ids, some);
    let acked = edit_group(ctx, (key, name), |group| {
        next.filter(|id| group.ack(*id).is_some()).count()
    })?;
    acking.acked += acked.unwrap_or(0);
    if acking.at < ids.len() {
        return ctx.leave(Work::Ack(acking));
    }
    if acking.acked > 0 {
        ctx.counts(acking.acked);
    }
    ctx.reply.integer(acking.acked as i64);
    Ok(())
}

fn xackdel(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let chosen = Chosen::words(args, 3)?;
    let (key, name, ids) = (&args[1], &args[2], chosen.all());
    let mut acking = match ctx.work() {
        Some(Work::Ack(acking)) => acking,
        _ => {
            let stream = ctx.db.lookup_as::<Stream>(key)?;
            let groups = stream.map_or(1, |stream| stream.groups.len().max(1));
            ctx.in_slices(ids.len().saturating_mul(groups), (0, 0))?;
            let mut acking = Box::new(Acking {
                groups,
                ..Acking::default()
            });
            let room = acking.fates.try_reserve_exact(ids.len());
            room.map_err(|_| CommandError::OutOfMemory)?;
            acking
        }
    };
    // Each group is asked about each id.
    let all = ids.len().saturating_mul(acking.groups);
    let some = (ctx.slice_of(all) / acking.groups).max(1);
    if acking.read < ids.len() && acking.read_some(ids, some)? {
        return ctx.leave(Work::Ack(acking));
    }
    if acking.at < ids.len() {
        let next = acking.take(ids, some);
        ack_and_delete(ctx, (key, name), (&mut acking, chosen.references), next)?;
        if acking.at < ids.len() {
            return ctx.leave(Work::Ack(acking));
        }
        if acking.acked > 0 {
            ctx.counts(acking.acked);
        }
        if acking.deleted > 0 {
            ctx.changed_times(key, Event::XDel, acking.deleted);
        }
    }
    reply_fates(ctx, acking)
}

/// Acknowledges ids, and deletes their entries where that may be.
fn ack_and_delete(
    ctx: &mut Context<'_>,
    (key, name): (&[u8], &[u8]),
    (acking, references): (&mut Acking, References),
    ids: impl Iterator<Item = StreamId> + Clone,
) -> Outcome {
    let done = ctx.db.edit(key, |stream: &mut Stream| {
        for id in ids.clone() {
            let group = stream.groups.get_mut(name);
            if group.and_then(|mut group| group.ack(id)).is_none() {
                acking.fates.push(Fate::Unknown);
                continue;
            }
            acking.acked += 1;
            // An entry that had gone before has gone.
            let fate = match delete(stream, id, references).0 {
                Fate::Stays => Fate::Stays,
                fate => {
                    acking.deleted += usize::from(fate == Fate::Deleted);
                    Fate::Deleted
                }
            };
            acking.fates.push(fate);
        }
    })?;
    if done.is_none() {
        acking.fates.extend(ids.map(|_| Fate::Unknown));
    }
    Ok(())
}

/// Replies what became of each id; of many in slices.
fn reply_fates(ctx: &mut Context<'_>, mut acking: Box<Acking>) -> Outcome {
    let len = acking.fates.len();
    let mut replied = acking.replied.unwrap_or_else(|| {
        ctx.reply.array(len);
        Replied::of(len)
    });
    let mut slice = replied.slice(ctx);
    let rest = acking.fates.get(replied.done..).unwrap_or_default();
    slice.fill(&mut ctx.reply, rest.iter(), |reply, fate| {
        reply.integer(fate.number());
    });
    if replied.note(slice, ctx)? {
        acking.replied = Some(replied);
        return ctx.leave(Work::Ack(acking));
    }
    Ok(())
}
