//! Writing one file: the thread's part of saving.
//!
//! ```text
//!   temp-<pid>.rdb, locked ─▶ head, pieces of all shards, end ─▶ fsync ─▶ rename
//!     ─▶ fsync of the folder
//! ```
//!
//! Whatever fails before the renaming leaves the old file as it was and no other. The lock
//! says that somebody is writing: a server that starts removes the temporary files of those
//! who are not any more.

use crate::core::{Given, Piece, SaveOrder};
use crate::runtime::disk::{sync_folder, write_back};
use rustix::fs::{FlockOperation, flock};
use shards::ShardId;
use shards::rdb::{Crc64, file_end};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many bytes are written back at a time.
const WRITE_BACK: u64 = 4 << 20;

/// The file that this process writes to before it gets its name.
fn temporary(folder: &Path) -> PathBuf {
    folder.join(format!("temp-{}.rdb", std::process::id()))
}

/// Writes a file; returns its size.
///
/// # Errors
/// Why there is none, and with which file; what had this name before is as it was.
pub fn write(order: &SaveOrder) -> Result<u64, String> {
    let path = order.folder.join(OsStr::from_bytes(&order.name));
    let temporary = temporary(&order.folder);
    let _under_way = UnderWay::begin(&temporary);
    let about = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    let file = open(&temporary).map_err(|error| about(&temporary, error))?;
    let written = fill(order, file).map_err(|error| match error {
        Unwritten::Because(why) => why.to_owned(),
        Unwritten::Refused(error) => about(&temporary, error),
    });
    let named = written.and_then(|bytes| {
        fs::rename(&temporary, &path).map_err(|error| about(&path, error))?;
        Ok(bytes)
    });
    if named.is_err() {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
    }
    let bytes = named?;
    sync_folder(&order.folder).map_err(|error| about(&order.folder, error))?;
    Ok(bytes)
}

/// The temporary file that this process is writing.
static UNDER_WAY: Mutex<Option<PathBuf>> = Mutex::new(None);

fn under_way() -> MutexGuard<'static, Option<PathBuf>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, a file is being written.
struct UnderWay;

impl UnderWay {
    fn begin(temporary: &Path) -> Self {
        *under_way() = Some(temporary.to_owned());
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *under_way() = None;
    }
}

/// Removes the file that is being written: the process is about to end.
pub fn remove_under_way() {
    if let Some(temporary) = under_way().take() {
        // It may have its name by now.
        let _ = fs::remove_file(temporary);
    }
}

/// Opens the temporary file, empty.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err_and(is_locked) {
        return Err(io::Error::other("another server is writing it"));
    }
    if file.metadata()?.len() > 0 {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Somebody else has the lock. Where files cannot be locked, nobody has.
fn is_locked(errno: rustix::io::Errno) -> bool {
    errno == rustix::io::Errno::WOULDBLOCK
}

/// Why a file was not written.
enum Unwritten {
    Because(&'static str),
    Refused(io::Error),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Refused(error)
    }
}

/// Writes all of it, and has the disk keep it.
fn fill(order: &SaveOrder, file: File) -> Result<u64, Unwritten> {
    let mut output = Output {
        file,
        crc: order.checksum.then(Crc64::default),
        written: 0,
        behind: 0..0,
        incremental: order.incremental_fsync,
    };
    output.put(&order.head)?;
    let mut missing = order.unwritten.len();
    let mut pieces = Pieces::new(&order.given, missing);
    while missing > 0 {
        let (shard, piece) = pieces.next()?;
        if order.cancelled.load(Ordering::Relaxed) {
            return Err(Unwritten::Because("it was cancelled"));
        }
        match piece {
            Piece::Chunk(chunk) => {
                output.put(&chunk.bytes)?;
                order.unwritten[shard.index()].fetch_sub(chunk.bytes.len(), Ordering::Relaxed);
            }
            Piece::Lacks(why) => return Err(Unwritten::Because(why)),
            Piece::Last => missing -= 1,
        }
    }
    let mut end = Vec::new();
    file_end(output.crc.take(), &mut end).map_err(|_| Unwritten::Because("there is no memory"))?;
    output.put(&end)?;
    output.file.sync_all()?;
    Ok(output.written)
}

/// Pieces in an order in which they can be written: a value in several of them is not
/// interrupted by what other shards give meanwhile.
struct Pieces<'a> {
    given: &'a Receiver<Given>,
    /// By shard: what has come and must wait.
    waiting: Vec<VecDeque<Piece>>,
    /// The shard whose value goes on.
    within: Option<ShardId>,
}

impl<'a> Pieces<'a> {
    fn new(given: &'a Receiver<Given>, shards: usize) -> Self {
        Self {
            given,
            waiting: (0..shards).map(|_| VecDeque::new()).collect(),
            within: None,
        }
    }

    fn next(&mut self) -> Result<Given, Unwritten> {
        let (shard, piece) = loop {
            if let Some(next) = self.waited() {
                break next;
            }
            let given = self.given.recv();
            let (shard, piece) = given.map_err(|_| Unwritten::Because("a shard has ended"))?;
            if self.within.is_none_or(|within| within == shard) {
                break (shard, piece);
            }
            self.waiting[shard.index()].push_back(piece);
        };
        let more = matches!(&piece, Piece::Chunk(chunk) if chunk.more);
        self.within = more.then_some(shard);
        Ok((shard, piece))
    }

    /// The next that has come before, if it may follow now.
    fn waited(&mut self) -> Option<Given> {
        let shard = match self.within {
            Some(shard) => shard,
            None => {
                let found = self.waiting.iter().position(|pieces| !pieces.is_empty())?;
                ShardId(u16::try_from(found).ok()?)
            }
        };
        Some((shard, self.waiting[shard.index()].pop_front()?))
    }
}

/// A file that is being written.
struct Output {
    file: File,
    /// Of all that was written.
    crc: Option<Crc64>,
    written: u64,
    /// What the disk was last told to write.
    behind: Range<u64>,
    incremental: bool,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.written += bytes.len() as u64;
        if self.incremental && self.written - self.behind.end >= WRITE_BACK {
            let now = self.behind.end..self.written;
            write_back(&self.file, self.behind.clone(), now.clone())?;
            self.behind = now;
        }
        Ok(())
    }
}

/// Removes what earlier processes have left of files that they did not end writing.
pub fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !is_temporary(name.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let file = OpenOptions::new().write(true).open(&path);
        let locked = file.is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockExclusive).is_err_and(is_locked)
        });
        if locked {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => tracing::info!(file = %path.display(), "removed an unfinished dump"),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot remove an unfinished dump");
            }
        }
    }
}

/// `temp-<digits>.rdb`
fn is_temporary(name: &[u8]) -> bool {
    let number = name.strip_prefix(b"temp-");
    let number = number.and_then(|rest| rest.strip_suffix(b".rdb"));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::Chunk;
    use std::sync::mpsc::channel;

    fn given(shard: u16, text: &str, more: bool) -> Given {
        let chunk = Chunk {
            bytes: text.as_bytes().to_vec(),
            more,
            keys: 0,
        };
        (ShardId(shard), Piece::Chunk(chunk))
    }

    /// What two shards give becomes this text.
    fn written(all: Vec<Given>) -> String {
        let (sender, given) = channel();
        for given in all {
            sender.send(given).unwrap();
        }
        drop(sender);
        let mut pieces = Pieces::new(&given, 2);
        let mut text = String::new();
        while let Ok((_, piece)) = pieces.next() {
            if let Piece::Chunk(chunk) = piece {
                text.push_str(std::str::from_utf8(&chunk.bytes).unwrap());
            }
        }
        text
    }

    #[test]
    fn a_value_in_pieces_is_not_interrupted() {
        let all = vec![
            given(0, "a1 ", true),
            given(1, "b1 ", true),
            given(1, "b2 ", false),
            given(0, "a2 ", true),
            given(1, "b3 ", false),
            given(0, "a3 ", false),
            given(1, "b4 ", true),
            given(0, "a4 ", false),
            given(1, "b5 ", false),
        ];
        assert_eq!(written(all), "a1 a2 a3 b1 b2 b3 b4 b5 a4 ");
    }

    #[test]
    fn names_of_temporary_files() {
        for (name, is) in [
            ("temp-1.rdb", true),
            ("temp-4294967296.rdb", true),
            ("temp-.rdb", false),
            ("temp-1x.rdb", false),
            ("temp-1.rdb.gz", false),
            ("dump.rdb", false),
        ] {
            assert_eq!(is_temporary(name.as_bytes()), is, "{name}");
        }
    }
}
