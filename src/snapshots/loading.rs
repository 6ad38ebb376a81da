//! Loading: what a dump has becomes what the server holds.
//!
//! ```text
//!  the thread for dumps             each core
//!  1 MiB of the file ─▶ entries ─▶ batch by shard ── bounded queue ─▶ decode, store
//! ```
//!
//! All cores at once, straight into the tables of their shards, in slices. At the start of
//! the server clients are refused meanwhile (-LOADING), except by commands that have the
//! flag; if anything is wrong with the file, the server ends, because half of what there
//! was is worse than nothing served.

use super::{reader, reload};
use crate::config::{Config, StartError};
use crate::core::{
    Answer, Batch, BatchEntry, BatchValue, Core, Load, LoadFigures, LoadOrder, Loaded, Order,
    Progress, Question, QuestionId, ReadFile, ReloadOptions, Report, Whom,
};
use crate::questions::gather;
use crate::runtime::{clock, random};
use shards::command::OwnedArgs;
use shards::rdb::{Terms, decode};
use shards::{DbIndex, Growth, Request, Shard, UnixMs, Unloadable};
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Batches that wait for a shard at most.
const QUEUE: usize = 64;
/// What a turn may spend on it.
const SLICE: Duration = Duration::from_micros(500);

/// The file that the configuration names.
fn path(config: &Config) -> PathBuf {
    let name = OsStr::from_bytes(&config.server.dbfilename);
    config.server.dir.join(name)
}

/// Opens the file that the configuration names, if it is there. It waits for the disk.
///
/// # Errors
/// Something is there, and cannot be read.
pub fn find(config: &Config) -> Result<Option<File>, StartError> {
    if config.server.dbfilename.is_empty() {
        return Ok(None);
    }
    let path = path(config);
    match reader::open(&path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(&format!("{}: {error}", path.display()))),
    }
}

/// Why the server does not start.
fn refused(why: &str) -> StartError {
    StartError::new(&format!(
        "--dbfilename {why}; move it away, or give one that is whole"
    ))
}

/// Begins to load a dump into shards that hold nothing.
pub fn begin(core: &mut Core, file: File) {
    let options = ReloadOptions {
        save: false,
        flush: false,
        merge: false,
    };
    begin_with(core, Some(file), options);
}

/// Begins to load the dump once more.
pub fn begin_reload(core: &mut Core, options: ReloadOptions) {
    begin_with(core, None, options);
}

fn begin_with(core: &mut Core, file: Option<File>, options: ReloadOptions) {
    let (to, from): (Vec<_>, Vec<_>) = (0..core.shards).map(|_| sync_channel(QUEUE)).unzip();
    let progress = Arc::new(Progress::new(clock::now()));
    let path = path(&core.config);
    // Nobody must be able to tell where the elements of a table will be.
    let [one, two, three, four] = [(); 4].map(|()| random::number());
    let seeds = ahash::RandomState::with_seeds(one, two, three, four);
    let order = LoadOrder {
        path: path.clone(),
        file,
        to,
        now: clock::now(),
        databases: core.config.server.databases,
        checked: core.config.persistence.rdbchecksum,
        settings: core.config.engine.clone(),
        seeds: seeds.clone(),
        progress: Arc::clone(&progress),
        alarm: core.conductor().alarm.clone(),
    };
    let conductor = core.conductor();
    conductor.loading = Some((progress, path));
    // The shards learn of a thread that has ended by their queues.
    let _ = conductor.orders.send(Order::Load(order));
    core.snapshots.awaits_report = true;
    let queues: Vec<_> = from
        .into_iter()
        .map(|queue| Mutex::new(Some(queue)))
        .collect();
    let load = Question::begin(move |core, asked| {
        let queue = &queues[core.id.index()];
        let queue = queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        begin_here(core, (queue, seeds.clone()), options, asked);
    });
    gather::ask_by_itself(core, load, &Whom::All, over);
}

fn begin_here(
    core: &mut Core,
    (queue, seeds): (Option<Receiver<Batch>>, ahash::RandomState),
    options: ReloadOptions,
    asked: QuestionId,
) {
    if options.flush {
        core.node.shard_mut().prepare();
    }
    core.snapshots.is_busy = true;
    core.snapshots.load = queue.map(|from| Load {
        from,
        batch: Batch::default(),
        loaded: Loaded::default(),
        seeds,
        merge: options.merge && !options.flush,
        asked,
    });
}

/// Goes on for as long as others can wait; whether it did anything.
pub fn go_on(core: &mut Core) -> bool {
    let Some(mut load) = core.snapshots.load.take() else {
        return false;
    };
    let began = Instant::now();
    let mut worked = false;
    while began.elapsed() < SLICE {
        if load.batch.entries.is_empty() {
            load.batch = match load.from.try_recv() {
                Ok(batch) => batch,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    let answer = Answer::Loaded(load.loaded);
                    gather::give_answer(core, load.asked, answer);
                    return true;
                }
            };
        }
        worked = true;
        if let Err(why) = store_some(core, &mut load) {
            load.loaded.failed = Some(why);
            gather::give_answer(core, load.asked, Answer::Loaded(load.loaded));
            return true;
        }
    }
    core.snapshots.load = Some(load);
    worked
}

/// Entries between two looks at the clock.
const STEP: usize = 32;

fn store_some(core: &mut Core, load: &mut Load) -> Result<(), String> {
    for _ in 0..STEP {
        let Some((entry, key, value)) = load.batch.next() else {
            break;
        };
        let BatchEntry {
            db,
            form,
            offset,
            expire_at,
            idle_s,
            ..
        } = entry;
        let shard = core.node.shard_mut();
        let value = match entry.value {
            BatchValue::Decoded(value) => Some(value),
            BatchValue::Bytes(_) => {
                let terms = Terms {
                    growth: Growth {
                        thresholds: &shard.settings.encodings,
                        seed: load.seeds.hash_one(offset),
                    },
                    now: core.now,
                };
                decode(form, value, &terms).map_err(|error| error.behind(offset).to_string())?
            }
        };
        let Some(value) = value else {
            load.loaded.empty += 1;
            continue;
        };
        if load.merge {
            delete(shard, core.now, db, key);
        }
        match shard.load(core.now, db, key, value, (expire_at, idle_s)) {
            Ok(shards::Loaded::Stored) => load.loaded.keys += 1,
            Ok(shards::Loaded::Past) => load.loaded.expired += 1,
            Err(Unloadable::Duplicate) => {
                let key = key.escape_ascii();
                return Err(format!("key '{key}' is there twice (at byte {offset})"));
            }
            Err(Unloadable::OutOfMemory) => {
                return Err(format!("there is no memory for it (at byte {offset})"));
            }
        }
    }
    Ok(())
}

fn delete(shard: &mut Shard, now: UnixMs, db: DbIndex, key: &[u8]) {
    let del = shards::row("del").expect("the engine has it");
    let args = OwnedArgs::new([b"DEL".as_slice(), key]);
    let request = Request {
        db,
        ..Request::new(del.run.whole(), args.args())
    };
    // There is nothing that it could refuse.
    let _ = shard.apply(now, &request, &mut Vec::new());
}

/// All shards have what there is for them, or cannot take it.
fn over(core: &mut Core, answers: Vec<Answer>) {
    core.snapshots.awaits_report = false;
    let mut sum = Loaded::default();
    for answer in answers {
        if let Answer::Loaded(part) = answer {
            sum.add(part);
        }
    }
    let conductor = core.conductor();
    // It has said so before the shards could see the end of their queues.
    let read = conductor
        .read
        .take()
        .or_else(|| match conductor.reports.try_recv() {
            Ok(Report::Read(read)) => Some(read),
            _ => None,
        });
    let read = read.unwrap_or(Err(None));
    let Some((progress, path)) = conductor.loading.take() else {
        return;
    };
    let failed = match &read {
        Err(Some(why)) => Some(why.clone()),
        _ => sum.failed.take(),
    };
    let result = match (failed, read) {
        (None, Ok(read)) => {
            done(core, &progress, &sum, read);
            Ok(())
        }
        (failed, _) => {
            let why = failed.unwrap_or_else(|| "the thread for dumps has ended".to_owned());
            let why = format!("{}: {why}", path.display());
            tracing::error!("cannot load the dump: {why}");
            Err(why)
        }
    };
    match core.conductor().started.take() {
        // Who waits for it is there until the server ends.
        Some(started) => drop(started.send(result.map_err(|why| refused(&why)))),
        None => reload::loaded(core, result),
    }
}

fn done(core: &mut Core, progress: &Progress, sum: &Loaded, read: ReadFile) {
    let (keys, expired, empty) = (sum.keys, sum.expired + read.expired, sum.empty + read.empty);
    let seconds = progress.began.elapsed().as_secs_f64();
    tracing::info!(
        keys,
        expired,
        empty,
        "the dump is loaded in {seconds:.3} seconds"
    );
    let conductor = core.conductor();
    conductor.libraries = read.libraries;
    conductor.loaded = LoadFigures { keys, expired };
    let serve = Question::of(|core| {
        core.hindrances.loading = false;
        Answer::Done
    });
    gather::ask_by_itself(core, serve, &Whom::All, |_, _| {});
}
