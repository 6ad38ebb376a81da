//! The commands of one core's clients that took long.
//!
//! Numbers come from one counter of the process, so the logs of all cores
//! merge into one by their numbers, newest first.

use shards::Args;
use std::collections::VecDeque;

/// Arguments that are kept, and bytes of each, as in Redis.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One command that took long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowEntry {
    /// Unique over all cores, and increasing.
    pub id: u64,
    /// Seconds since 1970.
    pub at_s: i64,
    pub took_us: u64,
    /// Cut: see [`cut`].
    pub args: Vec<Vec<u8>>,
    pub address: String,
    pub name: Box<[u8]>,
}

/// The log of one core.
#[derive(Debug, Default)]
pub struct SlowLog {
    /// Oldest first.
    entries: VecDeque<SlowEntry>,
}

impl SlowLog {
    /// Keeps `entry`, and of all entries the last `max`.
    pub fn push(&mut self, entry: SlowEntry, max: usize) {
        self.entries.push_back(entry);
        while self.entries.len() > max {
            self.entries.pop_front();
        }
    }

    /// The last `count` entries, newest first.
    pub fn newest(&self, count: usize) -> Vec<SlowEntry> {
        self.entries.iter().rev().take(count).cloned().collect()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries = VecDeque::new();
    }
}

/// The arguments of a command as its entry keeps them; those in `secret` are
/// not shown.
pub fn cut(args: Args<'_>, secret: &[usize]) -> Vec<Vec<u8>> {
    let shown = if args.len() > ARGS_MAX {
        ARGS_MAX - 1
    } else {
        args.len()
    };
    let mut kept: Vec<Vec<u8>> = args.iter().take(shown).map(cut_one).collect();
    for at in secret {
        if let Some(arg) = kept.get_mut(*at) {
            *arg = b"(redacted)".to_vec();
        }
    }
    if shown < args.len() {
        kept.push(format!("... ({} more arguments)", args.len() - shown).into());
    }
    kept
}

fn cut_one(arg: &[u8]) -> Vec<u8> {
    let mut kept = arg[..arg.len().min(ARG_BYTES_MAX)].to_vec();
    if arg.len() > ARG_BYTES_MAX {
        let more = format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX);
        kept.extend_from_slice(more.as_bytes());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::command::OwnedArgs;

    fn entry(id: u64) -> SlowEntry {
        SlowEntry {
            id,
            at_s: 0,
            took_us: 1,
            args: Vec::new(),
            address: String::new(),
            name: Box::default(),
        }
    }

    #[test]
    fn the_oldest_go_first() {
        let mut log = SlowLog::default();
        for id in 0..5 {
            log.push(entry(id), 3);
        }
        assert_eq!(log.newest(2), [entry(4), entry(3)]);
        assert_eq!((log.len(), log.newest(9).len()), (3, 3));
        log.push(entry(9), 0);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn long_commands_are_cut() {
        let long = [b'x'; 200];
        let words: Vec<&[u8]> = (0..40).map(|_| &long[..]).collect();
        let args = OwnedArgs::new(words.iter().copied());
        let kept = cut(args.args(), &[1]);
        assert_eq!(kept.len(), 32);
        assert_eq!(kept[0].len(), 128 + "... (72 more bytes)".len());
        assert_eq!(kept[1], b"(redacted)");
        assert_eq!(kept[31], b"... (9 more arguments)");
        let args = OwnedArgs::new(words.iter().copied().take(32));
        assert_eq!(cut(args.args(), &[]).len(), 32);
    }
}
