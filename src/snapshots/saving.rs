//! Saving, as core 0 conducts it: from who wants a dump to what came of it.

use super::{ending, reload, walk};
use crate::config::SavePoint;
use crate::core::{Answer, Core, Order, Question, QuestionId, SaveKind, SaveOrder, Saving, Whom};
use crate::questions::gather;
use crate::runtime::memory;
use shards::command::snapshot::{Begun, CUT};
use shards::{CommandError, rdb};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

/// After a background save that failed the next one is not begun sooner.
const RETRY_S: i64 = 5;

const IN_PROGRESS: CommandError = CommandError::Static("ERR Background save already in progress");

/// SAVE: the answer comes when the dump is there.
pub fn save(core: &mut Core, asked: QuestionId) {
    wanted(core, SaveKind::Foreground, asked);
}

/// BGSAVE: the answer comes when the instant is fixed that the dump is of. `later`: it is
/// only noted that one is to begin.
pub fn save_in_background(core: &mut Core, asked: QuestionId, later: bool) {
    let conductor = core.conductor();
    let is_free = conductor.is_free();
    if later && is_free {
        conductor.scheduled = true;
        let scheduled = Answer::Text(b"Background saving scheduled".to_vec());
        return gather::give_answer(core, asked, scheduled);
    }
    wanted(core, SaveKind::Background, asked);
}

fn wanted(core: &mut Core, kind: SaveKind, asked: QuestionId) {
    let conductor = core.conductor();
    match &conductor.saving {
        // A client of Redis would be served after it.
        Some(saving) if saving.kind == SaveKind::Foreground => {
            conductor.waiting.push_back((kind, asked));
        }
        None if conductor.is_free() => begin(core, kind, Some(asked)),
        _ => gather::give_answer(core, asked, Answer::Error(IN_PROGRESS)),
    }
}

/// Begins a dump; none may be under way.
pub fn begin(core: &mut Core, kind: SaveKind, asked: Option<QuestionId>) {
    let now = core.now;
    let conductor = core.conductor();
    assert!(conductor.saving.is_none(), "one dump at a time");
    // Those that nobody has asked for do not count, as in Redis.
    let counts = matches!(kind, SaveKind::Foreground | SaveKind::Background);
    conductor.figures.saves += u64::from(counts);
    if kind == SaveKind::Background {
        conductor.scheduled = false;
        conductor.figures.last_try_s = now.0 / 1000;
        conductor.figures.background_since = Some(now);
    }
    conductor.saving = Some(Saving {
        kind,
        began_at: now,
        asked,
        changes: None,
        walked: false,
        written: None,
        cancelled: Arc::default(),
    });
    core.snapshots.is_busy = true;
    core.run_by_itself(&CUT);
}

/// The instant is fixed: shards walk, and the writer writes.
pub fn cut_made(core: &mut Core, reply: &[u8]) {
    let Some(begun) = Begun::read(reply) else {
        return not_cut(core, reply);
    };
    let Ok(head) = head(core, &begun) else {
        return not_cut(core, b"there is no memory");
    };
    let (sender, given) = channel();
    let unwritten: Vec<Arc<AtomicUsize>> = (0..core.shards).map(|_| Arc::default()).collect();
    let order = SaveOrder {
        folder: core.config.server.dir.clone(),
        name: core.config.server.dbfilename.clone(),
        head,
        given,
        unwritten: unwritten.clone(),
        checksum: core.config.persistence.rdbchecksum,
        incremental_fsync: core.config.persistence.rdb_save_incremental_fsync,
        cancelled: Arc::default(),
        alarm: core.conductor().alarm.clone(),
    };
    let conductor = core.conductor();
    let Some(saving) = &mut conductor.saving else {
        return;
    };
    saving.changes = Some(begun.changes);
    conductor.figures.keys = begun.dbs.values().map(|db| db.keys).sum();
    let cancelled = Arc::clone(&saving.cancelled);
    let asked = match saving.kind {
        SaveKind::Background => saving.asked.take(),
        _ => None,
    };
    let order = Order::Save(SaveOrder { cancelled, ..order });
    if conductor.orders.send(order).is_err() {
        saving.written = Some(Err("the thread for dumps has ended".to_owned()));
    }
    core.snapshots.awaits_report = true;
    let walk = Question::begin(move |core, asked| {
        let unwritten = Arc::clone(&unwritten[core.id.index()]);
        walk::begin(core, sender.clone(), unwritten, asked);
    });
    gather::ask_by_itself(core, walk, &Whom::All, walked);
    if let Some(asked) = asked {
        tracing::info!("background saving started");
        let started = Answer::Text(b"Background saving started".to_vec());
        gather::give_answer(core, asked, started);
    }
}

/// What comes before the entries.
fn head(core: &mut Core, begun: &Begun) -> Result<Vec<u8>, CommandError> {
    let mut head = Vec::new();
    let version = if begun.fields_expire { 12 } else { 10 };
    let aux = [
        ("redis-ver", crate::config::REDIS_VERSION.to_owned()),
        ("redis-bits", usize::BITS.to_string()),
        ("ctime", (core.now.0 / 1000).to_string()),
        ("used-mem", memory::allocated().to_string()),
        ("aof-base", "0".to_owned()),
    ];
    rdb::file_head(version, &aux, &mut head)?;
    for (db, keys) in &begun.dbs {
        rdb::select_db(*db, &mut head)?;
        rdb::resize_db(keys.keys, keys.expires, &mut head)?;
    }
    let compress = core.config.engine.rdb_compression;
    for library in &core.conductor().libraries {
        rdb::function(library, compress, &mut head)?;
    }
    Ok(head)
}

/// Some shard could not begin; none may keep what it has begun.
fn not_cut(core: &mut Core, reply: &[u8]) {
    let why = String::from_utf8_lossy(reply).trim().to_owned();
    let Some(saving) = &mut core.conductor().saving else {
        return;
    };
    saving.changes = Some(0);
    saving.written = Some(Err(format!("no cut could be made: {why}")));
    let abandon = Question::of(|core| {
        core.node.abandon_cut();
        Answer::Done
    });
    gather::ask_by_itself(core, abandon, &Whom::All, walked);
}

/// All shards have given what they had.
fn walked(core: &mut Core, _: Vec<Answer>) {
    if let Some(saving) = &mut core.conductor().saving {
        saving.walked = true;
    }
    settle(core);
}

/// The writer is done.
pub fn written(core: &mut Core, result: Result<u64, String>) {
    if let Some(saving) = &mut core.conductor().saving {
        saving.written = Some(result);
    }
    settle(core);
}

/// Ends it when both are over: the next cut is made when no shard knows of this one.
fn settle(core: &mut Core) {
    let is_over = |saving: &mut Saving| saving.walked && saving.written.is_some();
    let Some(mut saving) = core.conductor().saving.take_if(is_over) else {
        return;
    };
    let result = saving.written.take().expect("it is over");
    let was_cancelled = saving.cancelled.load(Ordering::Relaxed);
    note(core, &saving, &result, was_cancelled);
    if let Some(asked) = saving.asked {
        let answer = match &result {
            Ok(_) => Answer::Done,
            Err(why) => Answer::Error(CommandError::quoting("ERR ", why.as_bytes(), "")),
        };
        gather::give_answer(core, asked, answer);
    }
    match saving.kind {
        SaveKind::Ending if !was_cancelled => ending::saved(core, result.is_ok()),
        SaveKind::Reload => reload::saved(core, &result),
        _ => {}
    }
    if ending::goes_on(core) {
        return;
    }
    if core.conductor().is_free()
        && let Some((kind, asked)) = core.conductor().waiting.pop_front()
    {
        begin(core, kind, Some(asked));
    }
}

/// What is to be known of a dump, or of why there is none.
fn note(core: &mut Core, saving: &Saving, result: &Result<u64, String>, was_cancelled: bool) {
    let now_s = core.now.0 / 1000;
    let took_s = (core.now.0 - saving.began_at.0).max(0) / 1000;
    let conductor = core.conductor();
    let figures = &mut conductor.figures;
    let in_background = saving.kind == SaveKind::Background;
    if in_background {
        figures.background_since = None;
        figures.last_took_s = took_s;
    }
    let had_failed = figures.failed.is_some();
    match result {
        Ok(bytes) => {
            tracing::info!(bytes, keys = figures.keys, "the dump is on disk");
            figures.last_save_s = now_s;
            figures.changes = saving.changes.unwrap_or(0);
            figures.failed = None;
        }
        Err(_) if was_cancelled => tracing::info!("saving was cancelled"),
        Err(why) => {
            tracing::warn!("cannot save the dump: {why}");
            if in_background {
                figures.failed = Some(why.clone());
            }
        }
    }
    figures.keys = 0;
    let failed = figures.failed.is_some();
    if failed != had_failed {
        let tell = Question::of(move |core| {
            core.snapshots.save_failed = failed;
            hinder(core);
            Answer::Done
        });
        gather::ask_by_itself(core, tell, &Whom::All, |_, _| {});
    }
}

/// Whether writes are refused follows from what the last dump has come to, and from the
/// configuration.
pub fn hinder(core: &mut Core) {
    let persistence = &core.config.persistence;
    let stops = persistence.stop_writes_on_bgsave_error && !persistence.save.is_empty();
    core.hindrances.disk = core.snapshots.save_failed && stops;
}

/// Begins a dump if one was noted, or a save point is reached; whether it has.
pub fn begin_if_due(core: &mut Core) -> bool {
    let now_s = core.now.0 / 1000;
    let counted = core.shared.changes.iter();
    let changes: u64 = counted.map(|it| it.load(Ordering::Relaxed)).sum();
    let Some(conductor) = &core.snapshots.conductor else {
        return false;
    };
    let is_free = conductor.is_free();
    let figures = &conductor.figures;
    let may_try = figures.failed.is_none() || now_s - figures.last_try_s > RETRY_S;
    let unsaved = changes.saturating_sub(figures.changes);
    let age_s = now_s - figures.last_save_s;
    let reached = |point: &&SavePoint| unsaved >= point.changes && age_s > point.seconds;
    let point = core.config.persistence.save.iter().find(reached);
    let is_due = point.is_some() || conductor.scheduled;
    if !is_free || !may_try || !is_due {
        return false;
    }
    if let Some(SavePoint { seconds, changes }) = point {
        tracing::info!("{changes} changes in {seconds} seconds: saving");
    }
    begin(core, SaveKind::Background, None);
    true
}

/// Has the thread give up the dump under way, if there is one.
pub fn cancel(core: &mut Core) {
    if let Some(saving) = &core.conductor().saving {
        saving.cancelled.store(true, Ordering::Relaxed);
    }
}
