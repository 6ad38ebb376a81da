//! Dumps: files of all that the server holds at one instant.
//!
//! ```text
//!  core 0                      all cores                      the thread for dumps
//!  cut: all shards ──────────▶ begin_cut, at one instant
//!  head of the file ─────────────────────────────────────────▶ temp-<pid>.rdb
//!  walk ─────────────────────▶ slices ── bounded queue ──────▶ append, write back
//!                                                              fsync, rename, fsync
//!  over ◀──────────────────── all has been given ◀──────────── done, or why not
//! ```
//!
//! Core 0 decides about all of them (`Conductor`): there is one cut at a time, because
//! shards have one bit for it. Other cores ask it by questions.

pub mod ending;
pub mod loading;
mod reader;
pub mod reload;
pub mod saving;
pub mod thread;
mod walk;
pub mod writer;

use crate::core::{Core, Report, Snapshots};
use shards::ShardId;
use std::sync::atomic::Ordering;

/// The core that has the conductor.
pub const CONDUCTOR: ShardId = ShardId(0);

/// Whether anything is due is looked at so often.
const LOOK_MS: i64 = 100;

/// Goes on with what is under way; whether there was anything to do. `traffic` says that
/// clients have asked for something of late.
#[cold]
pub fn turn(core: &mut Core, traffic: bool) -> bool {
    let mut works = false;
    for reply in std::mem::take(&mut core.own_replies) {
        match &core.conductor().reload {
            Some(reload) if reload.exchanges => reload::exchanged(core),
            _ => saving::cut_made(core, &reply),
        }
        works = true;
    }
    works |= walk::go_on(core, traffic) | loading::go_on(core);
    let conductor = core.snapshots.conductor.as_ref();
    let awaits = conductor.is_some_and(|conductor| {
        let saving = conductor.saving.as_ref();
        let reload = conductor.reload.as_ref();
        saving.is_some_and(|saving| saving.changes.is_none())
            || reload.is_some_and(|reload| reload.exchanges)
    });
    let Snapshots { walk, load, .. } = &core.snapshots;
    core.snapshots.is_busy = walk.is_some() || load.is_some() || awaits;
    core.snapshots.works = works && core.snapshots.is_busy;
    works
}

/// What each core does now and then; whether something has come of it.
pub fn tick(core: &mut Core) -> bool {
    let changes = core.node.shard_mut().effects().changes();
    core.shared.changes[core.id.index()].store(changes, Ordering::Relaxed);
    let Some(conductor) = &mut core.snapshots.conductor else {
        return false;
    };
    let mut works = false;
    if let Ok(report) = conductor.reports.try_recv() {
        works = true;
        core.snapshots.awaits_report = false;
        match report {
            Report::Saved(result) => saving::written(core, result),
            Report::Read(read) => core.conductor().read = Some(read),
        }
    }
    if core.shared.end_asked.load(Ordering::Relaxed) {
        core.shared.end_asked.store(false, Ordering::Relaxed);
        works = true;
        ending::asked_by_signal(core);
    }
    let elapsed_ms = core.now.0 - core.conductor().looked_at.0;
    // A clock that was set back is followed.
    if !(0..LOOK_MS).contains(&elapsed_ms) {
        core.conductor().looked_at = core.now;
        works |= saving::begin_if_due(core);
    }
    works
}
