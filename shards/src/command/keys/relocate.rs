//! A value goes to another key or another database: RENAME, RENAMENX, COPY,
//! MOVE.
//!
//! Within a shard the value changes its place. To another shard it travels as
//! it is, in a parcel, never rebuilt: the shard of the source takes it out while
//! all keys are locked, so nobody sees that it is nowhere. If it turns out that
//! it may not go where it should, it is put back.
//!
//! The log of one shard cannot say `RENAME` of a key that another shard has: the
//! source's has a `DEL` and the destination's what makes the value anew.

use super::rebuild::rebuild;
use crate::command::args::integer;
use crate::command::spec::{Arity, Begin, Group, InSlices, KeySpec, flags};
use crate::command::{
    Args, Context, Decision, Handler, Outcome, OwnedArgs, Put, ROW, Row, Run, Work, Write,
};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::Copied;
use crate::resp::read;
use crate::types::DbIndex;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "rename",
        syntax: "key newkey",
        summary: "Give a key another name, in place of what had it.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(3),
        keys: &[
            KeySpec::first(&["RW", "access", "delete"]),
            KeySpec {
                begin: Begin::Index(2),
                ..KeySpec::first(&["OW", "update"])
            },
        ],
        flags: flags::WRITE,
        run: Run::Relocate {
            whole: rename,
            read: rename_read,
            decide: rename_decide,
        },
        ..ROW
    },
    Row {
        name: "renamenx",
        syntax: "key newkey",
        summary: "Give a key another name, unless there is a key of that name.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(3),
        keys: &[
            KeySpec::first(&["RW", "access", "delete"]),
            KeySpec {
                begin: Begin::Index(2),
                ..KeySpec::first(&["OW", "insert"])
            },
        ],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("3.2.0", "A key may be given the name that it has.")],
        run: Run::Relocate {
            whole: renamenx,
            read: rename_read,
            decide: renamenx_decide,
        },
        ..ROW
    },
    Row {
        name: "copy",
        syntax: "source destination [DB destination-db] [REPLACE]",
        summary: "Copy what a key holds to another key.",
        since: "6.2.0",
        complexity: "O(N) with N the elements of a collection, O(1) for a string",
        group: Group::Generic,
        arity: Arity::AtLeast(3),
        keys: &[
            KeySpec::first(&["RO", "access"]),
            KeySpec {
                begin: Begin::Index(2),
                ..KeySpec::first(&["OW", "update"])
            },
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        slices: InSlices::IfMuch,
        run: Run::Relocate {
            whole: copy,
            read: copy_read,
            decide: copy_decide,
        },
        ..ROW
    },
    Row {
        name: "move",
        syntax: "key db",
        summary: "Move a key to another database, unless it has the key already.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(move_key),
        ..ROW
    },
];

fn rename(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    relocate(ctx, args)?;
    ctx.reply.ok();
    Ok(())
}

fn renamenx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, new] = args.exactly()?;
    if ctx.db.lookup(key).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if ctx.db.lookup(new).is_some() {
        ctx.reply.integer(0);
        return Ok(());
    }
    relocate(ctx, args)?;
    ctx.reply.integer(1);
    Ok(())
}

/// RENAME on one shard.
fn relocate(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, new] = args.exactly()?;
    if key == new {
        let found = ctx.db.lookup(key).map(|_| ());
        return found.ok_or(CommandError::NoSuchKey);
    }
    let parcel = ctx.db.take(key)?.ok_or(CommandError::NoSuchKey)?;
    ctx.db.put_parcel(new, parcel)?;
    ctx.changed(key, Event::RenameFrom);
    ctx.also_changed(new, Event::RenameTo);
    Ok(())
}

/// Of the source: takes the value out. Of the destination: whether it is there.
fn rename_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, new] = args.exactly()?;
    let exists = if ctx.cargo.key == 0 {
        ctx.cargo.parcel = ctx.db.take(key)?.map(Box::new);
        ctx.cargo.parcel.is_some()
    } else {
        ctx.db.lookup(new).is_some()
    };
    ctx.reply.array(1);
    ctx.reply.integer(i64::from(exists));
    Ok(())
}

fn rename_decide(decision: &mut Decision<'_>) -> Outcome {
    put_renamed(decision)?;
    decision.reply.ok();
    Ok(())
}

fn renamenx_decide(decision: &mut Decision<'_>) -> Outcome {
    let [key, _] = decision.args.exactly()?;
    let taken = decision.read.get(1).and_then(|it| read::integer(it)) == Some(1);
    if !taken {
        put_renamed(decision)?;
        decision.reply.integer(1);
        return Ok(());
    }
    let parcel = decision.parcel.take().ok_or(CommandError::NoSuchKey)?;
    decision.put = Some(Put {
        write: write(put_back, key),
        db: None,
        parcel,
    });
    decision.reply.integer(0);
    Ok(())
}

/// Puts what was taken to its new key, and says of the old one that it is gone.
fn put_renamed(decision: &mut Decision<'_>) -> Outcome {
    let [key, new] = decision.args.exactly()?;
    let parcel = decision.parcel.take().ok_or(CommandError::NoSuchKey)?;
    decision.put = Some(Put {
        write: write(put_new, new),
        db: None,
        parcel,
    });
    decision.writes.push(write(gone, key));
    Ok(())
}

fn write(handler: Handler, key: &[u8]) -> Write {
    let args = OwnedArgs::new([&b"RENAME"[..], key]);
    Write { handler, args }
}

/// The source has been where it is no more.
fn gone(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    ctx.also_changed(key, Event::RenameFrom);
    ctx.propagate(&[b"DEL", key]);
    Ok(())
}

/// The destination could not have it: as if nothing had happened.
fn put_back(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    if let Some(parcel) = ctx.cargo.parcel.take() {
        ctx.db.put_parcel(key, *parcel)?;
    }
    ctx.db.effects().put_back();
    Ok(())
}

fn put_new(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    unpack(ctx, args, Event::RenameTo)
}

fn put_copy(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    unpack(ctx, args, Event::CopyTo)
}

/// Has a key hold what came from another shard.
fn unpack(ctx: &mut Context<'_>, args: Args<'_>, event: Event) -> Outcome {
    let [key] = args.exactly()?;
    let Some(parcel) = ctx.cargo.parcel.take() else {
        return Ok(());
    };
    ctx.db.put_parcel(key, *parcel)?;
    ctx.changed(key, event);
    rebuild(&mut ctx.db, key);
    Ok(())
}

/// What COPY's options say.
struct CopyTo<'a> {
    key: &'a [u8],
    new: &'a [u8],
    db: DbIndex,
    replace: bool,
}

impl<'a> CopyTo<'a> {
    fn parse(ctx: &Context<'_>, args: Args<'a>) -> Result<Self, CommandError> {
        let mut parsed = Self {
            key: args.get(1).unwrap_or_default(),
            new: args.get(2).unwrap_or_default(),
            db: ctx.selected(),
            replace: false,
        };
        let mut index = 3;
        while let Some(option) = args.get(index) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            index += 1;
            if is(b"REPLACE") {
                parsed.replace = true;
            } else if let (true, Some(number)) = (is(b"DB"), args.get(index)) {
                parsed.db = database(ctx, number)?;
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if parsed.key == parsed.new && parsed.db == ctx.selected() {
            return Err(CommandError::SameObject);
        }
        Ok(parsed)
    }

    /// Whether there is something where the copy would go that must stay.
    fn is_barred(&self, ctx: &mut Context<'_>) -> bool {
        let there = ctx.in_db(self.db, |db| db.lookup(self.new).is_some());
        there && !self.replace
    }
}

/// A database by its number.
fn database(ctx: &Context<'_>, number: &[u8]) -> Result<DbIndex, CommandError> {
    const OUT_OF_RANGE: CommandError = CommandError::Static(
        "ERR value is out of range, value must between -2147483648 and 2147483647",
    );
    let number = i32::try_from(integer(number)?).map_err(|_| OUT_OF_RANGE)?;
    ctx.database(number).ok_or(CommandError::DbOutOfRange)
}

fn copy(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let to = CopyTo::parse(ctx, args)?;
    if !ctx.has_work() {
        let found = ctx.db.read(to.key).is_some();
        if !found || to.is_barred(ctx) {
            ctx.reply.integer(0);
            return Ok(());
        }
    }
    let parcel = match copied(ctx, to.key)? {
        Copied::All(parcel) => parcel,
        Copied::Some(copying) => return ctx.leave(Work::Clone(copying)),
    };
    ctx.in_db(to.db, |db| db.put_parcel(to.new, parcel))?;
    ctx.changed_in(to.db, to.new, Event::CopyTo, 1);
    ctx.reply.integer(1);
    Ok(())
}

/// A copy of what a key holds that is there, or a slice of it.
fn copied(ctx: &mut Context<'_>, key: &[u8]) -> Result<Copied, CommandError> {
    let copying = match ctx.work() {
        Some(Work::Clone(copying)) => Some(copying),
        _ => {
            let elements = ctx.db.copied_elements(key);
            if !ctx.in_slices(elements, (1, 0))? {
                let parcel = ctx.db.copy_of(key)?.ok_or(CommandError::NoSuchKey)?;
                return Ok(Copied::All(parcel));
            }
            None
        }
    };
    ctx.db.copy_some(key, copying, ctx.settings.slices.step)
}

/// Of the source: copies the value. Of the destination: which database it is in,
/// or -1 if the copy may not go there.
fn copy_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let to = CopyTo::parse(ctx, args)?;
    let mut reply = i64::from(to.db.0);
    if ctx.cargo.key == 0 {
        let found = ctx.has_work() || ctx.db.read(to.key).is_some();
        match found.then(|| copied(ctx, to.key)).transpose()? {
            Some(Copied::Some(copying)) => return ctx.leave(Work::Clone(copying)),
            Some(Copied::All(parcel)) => ctx.cargo.parcel = Some(Box::new(parcel)),
            None => {}
        }
    } else if to.is_barred(ctx) {
        reply = -1;
    }
    ctx.reply.array(1);
    ctx.reply.integer(reply);
    Ok(())
}

fn copy_decide(decision: &mut Decision<'_>) -> Outcome {
    let new = decision.args.get(2).unwrap_or_default();
    let db = decision
        .read
        .get(1)
        .and_then(|reply| u16::try_from(read::integer(reply)?).ok().map(DbIndex));
    let copied = match (decision.parcel.take(), db) {
        (Some(parcel), Some(_)) => {
            let write = write(put_copy, new);
            decision.put = Some(Put { write, db, parcel });
            true
        }
        _ => false,
    };
    decision.reply.integer(i64::from(copied));
    Ok(())
}

fn move_key(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, number] = args.exactly()?;
    let db = database(ctx, number)?;
    if db == ctx.selected() {
        return Err(CommandError::SameObject);
    }
    let found = ctx.db.lookup(key).is_some();
    let moves = found && !ctx.in_db(db, |db| db.lookup(key).is_some());
    if moves && let Some(parcel) = ctx.db.take(key)? {
        ctx.in_db(db, |db| db.put_parcel(key, parcel))?;
        ctx.changed(key, Event::MoveFrom);
        ctx.changed_in(db, key, Event::MoveTo, 0);
    }
    ctx.reply.integer(i64::from(moves));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::types::{DbIndex, UnixMs};

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn keys_are_renamed() {
        Engine::new().talk(&[
            ("SET a 1 PXAT 2000000000000", "+OK"),
            ("RENAME a a", "+OK"),
            ("RENAME nokey nokey", "-ERR no such key"),
            ("RENAME nokey b", "-ERR no such key"),
            ("RENAMENX a a", ":0"),
            ("RENAMENX nokey nokey", "-ERR no such key"),
            ("SET b 2", "+OK"),
            ("RENAMENX a b", ":0"),
            ("RENAME a b", "+OK"),
            ("GET b", "$1|1"),
            ("PEXPIRETIME b", ":2000000000000"),
            ("EXISTS a", ":0"),
            ("RENAMENX b c", ":1"),
            ("PEXPIRETIME c", ":2000000000000"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn keys_are_copied() {
        let same = "-ERR source and destination objects are the same";
        let mut engine = Engine::new();
        engine.talk(&[
            ("SET b 1 PXAT 2000000000000", "+OK"),
            ("COPY b b", same),
            ("COPY b b DB 0", same),
            ("COPY nokey nokey", same),
            ("COPY nokey b", ":0"),
            ("COPY b c", ":1"),
            ("COPY b c", ":0"),
            ("COPY b c REPLACE replace", ":1"),
            ("PEXPIRETIME c", ":2000000000000"),
            ("COPY b b DB 1", ":1"),
            ("COPY b b DB 1", ":0"),
            ("COPY b b db 1 REPLACE", ":1"),
            ("COPY b b DB 16", "-ERR DB index is out of range"),
            ("COPY b b DB -1", "-ERR DB index is out of range"),
            (
                "COPY b b DB x",
                "-ERR value is not an integer or out of range",
            ),
            ("COPY b b DB", "-ERR syntax error"),
            ("COPY b c FOO", "-ERR syntax error"),
            ("COPY b c DB 1 DB 0 REPLACE", ":1"),
        ]);
        engine.db = DbIndex(1);
        engine.talk(&[("GET b", "$1|1"), ("PEXPIRETIME b", ":2000000000000")]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn keys_are_moved() {
        let mut engine = Engine::new();
        engine.talk(&[
            ("SET a 1 PXAT 2000000000000", "+OK"),
            ("MOVE a 1", ":1"),
            ("MOVE a 1", ":0"),
            ("MOVE nokey 1", ":0"),
            (
                "MOVE nokey 0",
                "-ERR source and destination objects are the same",
            ),
            ("MOVE a 16", "-ERR DB index is out of range"),
            ("MOVE a x", "-ERR value is not an integer or out of range"),
            (
                "MOVE a 99999999999",
                "-ERR value is out of range, value must between -2147483648 and 2147483647",
            ),
            ("SET a 2", "+OK"),
            ("MOVE a 1", ":0"),
        ]);
        engine.db = DbIndex(1);
        engine.talk(&[("GET a", "$1|1"), ("PEXPIRETIME a", ":2000000000000")]);
    }

    #[test]
    fn what_has_expired_elsewhere_is_deleted_there() {
        let mut engine = Engine::new();
        engine.run("MSET k one other 1");
        engine.db = DbIndex(1);
        engine.run("SET k gone PX 1");
        engine.db = DbIndex(0);
        engine.now = UnixMs(engine.now.0 + 1);
        assert_eq!(
            engine.effects("MOVE k 1"),
            "*2|$6|SELECT|$1|1|*2|$3|DEL|$1|k|*2|$6|SELECT|$1|0|*3|$4|MOVE|$1|k|$1|1|"
        );
        assert_eq!(
            engine.effects("RENAMENX other nokey"),
            "*3|$8|RENAMENX|$5|other|$5|nokey|"
        );
        assert_eq!(engine.effects("RENAMENX nokey nokey"), "");
        assert_eq!(
            engine.effects("COPY nokey b DB 1"),
            "*5|$4|COPY|$5|nokey|$1|b|$2|DB|$1|1|"
        );
        assert_eq!(engine.effects("COPY nokey b DB 1"), "");
    }
}
