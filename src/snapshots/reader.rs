//! Reading one file: the thread's part of loading.
//!
//! The file is cut into entries, which go to their shards in batches; a bounded queue to
//! each, so that what was read and not stored stays small. Values are not looked at here
//! unless they are large: a shard would be busy with one for long.

use crate::config::REDIS_VERSION;
use crate::core::{Batch, BatchEntry, BatchValue, LoadOrder, ReadFile};
use shards::rdb::{Entry, Item, LoadError, Scanner, Skipped, Terms, decode};
use shards::{DbIndex, Growth, ShardId, slot_of};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What is read at once.
const CHUNK: usize = 1 << 20;
/// A batch goes to its shard when it has so many bytes, …
const BATCH_BYTES: usize = 128 << 10;
/// … or so many entries.
const BATCH_ENTRIES: usize = 2048;
/// From so many bytes on a value is decoded here.
const LARGE: usize = 64 << 10;
/// The log hears of the progress so often.
const TELL: Duration = Duration::from_secs(5);

/// Why a file cannot be loaded.
enum Unread {
    Wrong(String),
    /// A shard does not take any more of it, and says why.
    Unwanted,
}

impl From<LoadError> for Unread {
    fn from(error: LoadError) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Reads it all and hands it to the shards.
///
/// # Errors
/// Why that ended early, if it is not for a shard that says why itself. Shards have what
/// came before.
pub fn read(order: &mut LoadOrder) -> Result<ReadFile, Option<String>> {
    read_all(order).map_err(|unread| match unread {
        Unread::Wrong(why) => Some(why),
        Unread::Unwanted => None,
    })
}

/// Opens a file. To open something else may take for ever.
pub fn open(path: &Path) -> io::Result<File> {
    let metadata = path.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::other("it is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    File::open(path)
}

fn read_all(order: &mut LoadOrder) -> Result<ReadFile, Unread> {
    let wrong = |error: io::Error| Unread::Wrong(error.to_string());
    let mut file = match order.file.take() {
        Some(file) => file,
        None => open(&order.path).map_err(wrong)?,
    };
    let total = file.metadata().map_err(wrong)?.len();
    order.progress.total.store(total, Ordering::Relaxed);
    let mut scanner = Scanner::new(order.checked);
    let mut reading = Reading {
        batches: order.to.iter().map(|_| Batch::default()).collect(),
        found: ReadFile::default(),
        order,
    };
    let mut told = Instant::now();
    let mut is_whole = false;
    loop {
        while let Some(item) = scanner.next()? {
            let is_end = matches!(item, Item::End { .. });
            reading.take(item)?;
            if is_end {
                reading.send_all()?;
                return Ok(reading.found);
            }
        }
        if is_whole {
            // The end of a file is an item, or an error.
            return Err(Unread::Wrong("it has no end".to_owned()));
        }
        let at = scanner.offset();
        let room = scanner.room(CHUNK).map_err(|_| lacking(at))?;
        let most = room.len().min(CHUNK);
        match file.read(&mut room[..most]) {
            Ok(0) => {
                is_whole = true;
                scanner.finish();
            }
            Ok(read) => {
                scanner.filled(read);
                let progress = &reading.order.progress;
                progress.read.fetch_add(read as u64, Ordering::Relaxed);
                if told.elapsed() >= TELL {
                    told = Instant::now();
                    tracing::info!("{:.1} % of the dump are read", progress.percent());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(Unread::Wrong(format!("{error} (at byte {at})"))),
        }
    }
}

fn lacking(offset: u64) -> Unread {
    Unread::Wrong(format!("there is no memory for it (at byte {offset})"))
}

struct Reading<'a> {
    order: &'a mut LoadOrder,
    /// By shard.
    batches: Vec<Batch>,
    found: ReadFile,
}

impl Reading<'_> {
    fn take(&mut self, item: Item<'_>) -> Result<(), Unread> {
        match item {
            Item::Entry(entry) => return self.entry(&entry),
            Item::Head(version) => {
                let whose = if version.is_valkey { "Valkey" } else { "Redis" };
                tracing::info!("loading a dump of format {} of {whose}", version.number);
            }
            Item::Aux(name, value) => self.about(&name, &value),
            Item::Function(source) => self.found.libraries.push(source),
            Item::Skipped(Skipped::Module(name)) => {
                tracing::warn!("not loaded: data of the module '{}'", name.escape_debug());
            }
            Item::Skipped(Skipped::SlotInfo) => tracing::debug!("not loaded: sizes of slots"),
            Item::SelectDb(_) | Item::ResizeDb { .. } | Item::End { .. } => {}
        }
        Ok(())
    }

    /// A line of the log for what people want to know of a file.
    fn about(&mut self, name: &[u8], value: &[u8]) {
        let value = String::from_utf8_lossy(value);
        let number = value.parse::<u64>().unwrap_or(0);
        match name {
            b"redis-ver" | b"valkey-ver" => {
                tracing::info!("it was produced by version {value}; this is {REDIS_VERSION}");
            }
            b"ctime" => {
                let now_s = u64::try_from(self.order.now.0 / 1000).unwrap_or(0);
                tracing::info!("it is {} seconds old", now_s.saturating_sub(number));
            }
            b"used-mem" => {
                self.order.progress.memory.store(number, Ordering::Relaxed);
                tracing::info!(
                    "{:.2} MB were in use when it was written",
                    number as f64 / 1048576.0
                );
            }
            _ => tracing::debug!(name = %String::from_utf8_lossy(name), %value, "about the dump"),
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Unread> {
        let DbIndex(db) = entry.db;
        if db >= self.order.databases {
            let text = format!(
                "database {db} is not there, raise --databases (at byte {})",
                entry.offset
            );
            return Err(Unread::Wrong(text));
        }
        if entry.expire_at.is_some_and(|at| at <= self.order.now) {
            self.found.expired += 1;
            return Ok(());
        }
        let value = match entry.value.len() > LARGE {
            true => {
                let terms = Terms {
                    growth: Growth {
                        thresholds: &self.order.settings.encodings,
                        seed: self.order.seeds.hash_one(entry.offset),
                    },
                    now: self.order.now,
                };
                let decoded = decode(entry.form, entry.value, &terms);
                let value = decoded.map_err(|error| error.behind(entry.offset))?;
                match value {
                    Some(value) => BatchValue::Decoded(value),
                    None => {
                        self.found.empty += 1;
                        return Ok(());
                    }
                }
            }
            false => BatchValue::Bytes(entry.value.len()),
        };
        let shard = ShardId::of_slot(slot_of(entry.key), self.batches.len() as u16);
        let batch = &mut self.batches[shard.index()];
        batch.bytes.extend_from_slice(entry.key);
        if let BatchValue::Bytes(_) = value {
            batch.bytes.extend_from_slice(entry.value);
        }
        batch.entries.push_back(BatchEntry {
            db: entry.db,
            key_len: entry.key.len(),
            form: entry.form,
            value,
            offset: entry.offset,
            expire_at: entry.expire_at,
            idle_s: entry.idle.unwrap_or(0),
        });
        if batch.bytes.len() >= BATCH_BYTES || batch.entries.len() >= BATCH_ENTRIES {
            self.send(shard)?;
        }
        Ok(())
    }

    fn send_all(&mut self) -> Result<(), Unread> {
        (0..self.batches.len() as u16).try_for_each(|shard| self.send(ShardId(shard)))
    }

    fn send(&mut self, shard: ShardId) -> Result<(), Unread> {
        let next = Batch {
            bytes: Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 4),
            ..Batch::default()
        };
        let batch = std::mem::replace(&mut self.batches[shard.index()], next);
        if batch.entries.is_empty() {
            return Ok(());
        }
        let sent = self.order.to[shard.index()].send(batch);
        sent.map_err(|_| Unread::Unwanted)
    }
}
