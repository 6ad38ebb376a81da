//! The exchange: all that a server holds for what it has loaded beside, at one instant.

use super::spec::{Arity, Group, InSlices, flags};
use super::{Args, Context, Outcome, ROW, Row, Run, merge};
use crate::effects::Event;
use crate::types::DbIndex;

/// Not in the table: the server runs it when every shard has all of it
/// (`Shard::prepare`). It locks all shards.
pub static EXCHANGE: Row = Row {
    name: "exchange",
    summary: "Has what was loaded take the place of what is there.",
    since: "1.0.0",
    complexity: "O(N) where N is the number of keys that are watched",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: flags::WRITE,
    // It takes one, but is never run without the locks of all shards.
    slices: InSlices::Always,
    run: Run::EachShard {
        part: exchange,
        merge: merge::all_ok,
    },
    ..ROW
};

fn exchange(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let dbs: Vec<DbIndex> = (0..).map_while(|number| ctx.database(number)).collect();
    for index in dbs {
        for key in ctx.effects().watches().in_db(index) {
            let concerned = ctx.in_db(index, |db| {
                db.deadline(&key).is_some() || db.is_prepared(&key)
            });
            if concerned {
                ctx.effects().watch(|watches| watches.touch(index, &key));
            }
        }
        ctx.in_db(index, |db| db.renew());
    }
    // Not as a change: who follows is to be sent all of it anew.
    ctx.effects().replace(&[]);
    ctx.changed_times(b"", Event::SwapDb, 0);
    ctx.reply.ok();
    Ok(())
}
