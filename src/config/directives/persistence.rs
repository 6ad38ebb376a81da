//! Dumps and the append-only log.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType};
use crate::config::known::{Known, any};
use crate::config::{Config, Reason};

/// When and how dumps are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persistence {
    /// Any of them has a dump written.
    pub save: Vec<SavePoint>,
    /// What a further `save` does to those before.
    pub save_lines: SaveLines,
    pub stop_writes_on_bgsave_error: bool,
    pub rdbchecksum: bool,
    pub rdb_save_incremental_fsync: bool,
    /// Index of the word.
    pub sanitize_dump_payload: usize,
}

/// A dump is due when so much has changed and the last one is older than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: i64,
    pub changes: u64,
}

/// As in Redis: the lines of files and options add up, CONFIG SET replaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SaveLines {
    #[default]
    Replace,
    /// The first replaces the default.
    First,
    Further,
}

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "save",
        default: DefaultValue::Is("3600 1 300 100 60 10000"),
        doc: "Write a dump after so many seconds if there were so many changes; several pairs; \"\": never",
        value: ValueType::Words {
            what: "pairs of seconds and changes, or \"\"",
            get: |c| save_points(c),
            set: set_save,
            lines: |c| {
                vec![match save_points(c) {
                    points if points.is_empty() => "\"\"".to_owned(),
                    points => points,
                }]
            },
        },
        ..ROW
    },
    Directive {
        name: "stop-writes-on-bgsave-error",
        default: DefaultValue::Is("yes"),
        doc: "Refuse writes while the last background save has failed and there are save points",
        value: ValueType::Bool {
            get: |c| c.persistence.stop_writes_on_bgsave_error,
            set: |c, yes| c.persistence.stop_writes_on_bgsave_error = yes,
        },
        ..ROW
    },
    Directive {
        name: "rdbcompression",
        default: DefaultValue::Is("yes"),
        doc: "Compress texts in dumps and in what DUMP replies (LZF)",
        value: ValueType::Bool {
            get: |c| c.engine.rdb_compression,
            set: |c, yes| c.engine.rdb_compression = yes,
        },
        ..ROW
    },
    Directive {
        name: "rdbchecksum",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("yes"),
        doc: "End dumps with a checksum, and look at that of the one that is loaded",
        value: ValueType::Bool {
            get: |c| c.persistence.rdbchecksum,
            set: |c, yes| c.persistence.rdbchecksum = yes,
        },
        ..ROW
    },
    Directive {
        name: "rdb-save-incremental-fsync",
        default: DefaultValue::Is("yes"),
        doc: "Have a dump written back to the disk every 4 MiB, not all of it at its end",
        value: ValueType::Bool {
            get: |c| c.persistence.rdb_save_incremental_fsync,
            set: |c, yes| c.persistence.rdb_save_incremental_fsync = yes,
        },
        ..ROW
    },
    Directive {
        name: "sanitize-dump-payload",
        default: DefaultValue::Is("yes"),
        doc: "Kept for Redis's tools: whatever it says, dumps and payloads are checked",
        value: ValueType::Choice {
            words: &["no", "yes", "clients"],
            get: |c| c.persistence.sanitize_dump_payload,
            set: |c, word| c.persistence.sanitize_dump_payload = word,
        },
        ..ROW
    },
    Directive {
        name: "appendonly",
        default: DefaultValue::Is("no"),
        doc: "Log every write to a file: only no is available yet",
        value: ValueType::Words {
            what: "",
            get: |_| "no".to_owned(),
            set: |_, words| match words {
                [word] if word.eq_ignore_ascii_case(b"no") => Ok(()),
                [word] if word.eq_ignore_ascii_case(b"yes") => {
                    Err("the append-only log is not available yet, only 'no' is accepted".into())
                }
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            lines: |_| vec!["no".to_owned()],
        },
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("aof-disable-auto-gc"),
    any("aof-load-truncated"),
    any("aof-rewrite-incremental-fsync"),
    any("aof-timestamp-enabled"),
    any("aof-use-rdb-preamble"),
    any("aof_rewrite_cpulist"),
    any("appenddirname"),
    any("appendfilename"),
    any("appendfsync"),
    any("auto-aof-rewrite-min-size"),
    any("auto-aof-rewrite-percentage"),
    any("bgsave_cpulist"),
    any("no-appendfsync-on-rewrite"),
    any("rdb-del-sync-files"),
];

fn save_points(config: &Config) -> String {
    let points = config.persistence.save.iter();
    let points = points.map(|point| format!("{} {}", point.seconds, point.changes));
    points.collect::<Vec<_>>().join(" ")
}

fn set_save(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    let (words, none) = match words {
        [word] if word.is_empty() => (&words[1..], true),
        _ => (words, words.is_empty()),
    };
    let wrong = || Reason::from("Invalid save parameters");
    if words.len() % 2 != 0 {
        return Err(wrong());
    }
    let mut points = Vec::with_capacity(words.len() / 2);
    for pair in words.chunks_exact(2) {
        let number = |at: usize| shards::parse_i64(&pair[at]).ok_or_else(wrong);
        let (seconds, changes) = (number(0)?, number(1)?);
        if seconds < 1 {
            return Err(wrong());
        }
        let changes = u64::try_from(changes).map_err(|_| wrong())?;
        points.push(SavePoint { seconds, changes });
    }
    let persistence = &mut config.persistence;
    if none || persistence.save_lines != SaveLines::Further {
        persistence.save.clear();
    }
    if persistence.save_lines == SaveLines::First {
        persistence.save_lines = SaveLines::Further;
    }
    persistence.save.extend(points);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::directives::find;
    use std::path::PathBuf;

    fn config() -> Config {
        Config::new(PathBuf::from("/"), 2)
    }

    fn set(config: &mut Config, line: &str) -> Result<(), Reason> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
        find(b"save").unwrap().set_words(config, &words)
    }

    /// As redis-server 7.0 takes and refuses them.
    #[test]
    fn save_points_are_pairs() {
        let mut config = config();
        assert_eq!(save_points(&config), "3600 1 300 100 60 10000");
        let row = find(b"save").unwrap();
        for (text, shown) in [
            ("3600 1", "3600 1"),
            ("10 0", "10 0"),
            ("60 1000 60 10", "60 1000 60 10"),
            ("", ""),
        ] {
            row.set_text(&mut config, text.as_bytes()).unwrap();
            assert_eq!(save_points(&config), shown);
        }
        for text in [
            "3600 1 300",
            "a b",
            "0 1",
            "10 -1",
            "-1 5",
            "  60  1000  ",
            "60",
        ] {
            let refused = row.set_text(&mut config, text.as_bytes());
            assert_eq!(refused, Err("Invalid save parameters".into()), "{text}");
        }
    }

    #[test]
    fn lines_of_files_add_up_and_the_first_replaces_the_default() {
        let mut config = config();
        config.persistence.save_lines = SaveLines::First;
        set(&mut config, "900 1").unwrap();
        set(&mut config, "300 10 60 10000").unwrap();
        assert_eq!(save_points(&config), "900 1 300 10 60 10000");
        set(&mut config, "").unwrap();
        assert_eq!(save_points(&config), "");
        set(&mut config, "5 1").unwrap();
        config.persistence.save_lines = SaveLines::Replace;
        set(&mut config, "7 1").unwrap();
        assert_eq!(save_points(&config), "7 1");
    }
}
