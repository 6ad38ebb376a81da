//! What happens to disk and process while a dump is written, and dumps that are none.

use crate::support::client::{Client, Value};
use crate::support::long_run;
use crate::support::rng::{Rng, seed};
use crate::support::server::{CORDIS, Server, TempDir, free_port, info_field, mortal};
use crate::support::wait_until;
use crate::{cordis_in, fill, info, names, ok, text, wait_for_dump};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const MISCONF: &[u8] = b"-MISCONF Redis is configured to save RDB snapshots, but it's currently \
    unable to persist to disk. Commands that may modify the data set are disabled, because this \
    instance is configured to report errors during writes if RDB snapshotting fails \
    (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
    error.\r\n";

/// A way to have no dump written.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    FolderGone,
    DiskFull,
    DiskBroken,
    FileMayNotGrow,
    NameTaken,
}

use Trouble::*;

impl Trouble {
    /// What the system calls it.
    fn reason(self) -> &'static str {
        match self {
            FolderGone => "No such file or directory",
            DiskFull => "No space left on device",
            DiskBroken => "Input/output error",
            FileMayNotGrow => "File too large",
            NameTaken => "Is a directory",
        }
    }

    fn begin(self, server: &Server, folder: &Path) {
        match self {
            FolderGone => fs::rename(folder, away(folder)).expect("it is our own"),
            DiskFull | DiskBroken => self.again(server, folder),
            FileMayNotGrow => prlimit(server, "20000:"),
            NameTaken => {
                let dump = folder.join("dump.rdb");
                fs::rename(&dump, folder.join("away")).expect("it is our own");
                fs::create_dir(&dump).expect("own folder is writable");
            }
        }
    }

    /// A link to a device is removed with the file that could not be written.
    fn again(self, server: &Server, folder: &Path) {
        let device = match self {
            DiskFull => "/dev/full",
            DiskBroken => "/proc/self/mem",
            _ => return,
        };
        let temporary = folder.join(format!("temp-{}.rdb", server.pid()));
        symlink(device, temporary).expect("own folder is writable");
    }

    fn end(self, server: &Server, folder: &Path) {
        match self {
            FolderGone => fs::rename(away(folder), folder).expect("it is our own"),
            DiskFull | DiskBroken => {}
            FileMayNotGrow => prlimit(server, "unlimited:"),
            NameTaken => {
                let dump = folder.join("dump.rdb");
                fs::remove_dir(&dump).expect("it is empty");
                fs::rename(folder.join("away"), &dump).expect("it is our own");
            }
        }
    }
}

fn away(folder: &Path) -> PathBuf {
    folder.with_extension("away")
}

/// How large files of the server may become.
fn prlimit(server: &Server, fsize: &str) {
    let pid = server.pid().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--fsize={fsize}")])
        .status();
    assert!(status.expect("prlimit (util-linux) is installed").success());
}

#[test]
fn what_cannot_be_saved_is_told_and_stops_writes() {
    for trouble in [FolderGone, DiskFull, DiskBroken, FileMayNotGrow, NameTaken] {
        let dir = TempDir::new();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).expect("own folder is writable");
        let mut server = cordis_in(&folder, 2, &["--save", "3600 1000000"]);
        let mut client = server.connect();
        fill(&mut client);
        client.call(&["SELECT", "0"]);
        ok(&mut client, &["SAVE"]);
        let before = fs::read(folder.join("dump.rdb")).expect("it is there");
        let reason = trouble.reason();
        trouble.begin(&server, &folder);
        let started = client.call(&["BGSAVE"]);
        assert_eq!(started.raw, b"+Background saving started\r\n");
        wait_for_dump(&mut client);
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
        let told = info(&mut client, "rdb_last_bgsave_error");
        assert!(told.contains(reason), "{trouble:?}: {told}");
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(reason));
        assert_eq!(lines.count(), 1, "{trouble:?}: {log}");
        trouble.again(&server, &folder);
        let reply = client.call(&["SAVE"]).to_string();
        assert!(reply.contains(reason), "{trouble:?}: {reply}");
        writes_stop(&mut client);
        trouble.again(&server, &folder);
        let stays = b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n";
        assert_eq!(client.call(&["SHUTDOWN"]).raw, stays);
        server.assert_alive();
        trouble.end(&server, &folder);
        // The old dump, whole, and nothing else.
        assert_eq!(names(&folder), ["dump.rdb"], "{trouble:?}");
        let after = fs::read(folder.join("dump.rdb")).expect("it is there");
        assert!(before == after, "{trouble:?}");
        client.call(&["BGSAVE"]);
        wait_for_dump(&mut client);
        wait_until("writes go on", || {
            client.call(&["SET", "a", "1"]).raw == b"+OK\r\n"
        });
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    }
}

/// The last background save has failed: what is refused for it.
fn writes_stop(client: &mut Client) {
    for refused in [
        &["SET", "a", "1"][..],
        &["PING"],
        &["FLUSHALL"],
        &["SORT", "a", "STORE", "b"],
    ] {
        wait_until("writes are refused", || client.call(refused).raw == MISCONF);
    }
    assert_eq!(client.call(&["GET", "int"]).raw, b"$7\r\n1234567\r\n");
    assert_eq!(client.call(&["ECHO", "x"]).raw, b"$1\r\nx\r\n");
    ok(client, &["MULTI"]);
    assert_eq!(client.call(&["SET", "a", "1"]).raw, MISCONF);
    assert!(client.call(&["EXEC"]).raw.starts_with(b"-EXECABORT "));
    for (name, off, on) in [
        ("stop-writes-on-bgsave-error", "no", "yes"),
        ("save", "", "3600 1000000"),
    ] {
        ok(client, &["CONFIG", "SET", name, off]);
        ok(client, &["SET", "a", "1"]);
        // Two that are queued while writes go on; the first of them stops them.
        ok(client, &["MULTI"]);
        let queued = client.call(&["CONFIG", "SET", name, on]);
        assert_eq!(queued.raw, b"+QUEUED\r\n");
        assert_eq!(client.call(&["SET", "a", "1"]).raw, b"+QUEUED\r\n");
        let done = client.call(&["EXEC"]);
        assert_eq!(done.raw, b"*2\r\n+OK\r\n+OK\r\n");
        assert_eq!(client.call(&["SET", "a", "1"]).raw, MISCONF);
    }
}

/// What was queued before writes stop is not run after.
#[test]
fn a_block_that_writes_is_discarded_while_writes_are_refused() {
    let dir = TempDir::new();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).expect("own folder is writable");
    let server = cordis_in(&folder, 2, &["--save", "3600 1000000"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    ok(&mut client, &["MULTI"]);
    assert_eq!(client.call(&["SET", "a", "1"]).raw, b"+QUEUED\r\n");
    FolderGone.begin(&server, &folder);
    other.call(&["BGSAVE"]);
    wait_until("writes are refused", || {
        other.call(&["SET", "a", "1"]).raw == MISCONF
    });
    let before = b"-EXECABORT Transaction discarded because of: ";
    let expected = [&before[..], &MISCONF[1..]].concat();
    assert_eq!(client.call(&["EXEC"]).raw, expected);
}

/// While a dump is written over and over, the process is killed: there is a whole dump,
/// and no part of another after the next start.
#[test]
fn killed_at_any_instant_there_is_a_whole_dump() {
    let kills = if long_run() { 200 } else { 24 };
    let mut rng = Rng::new(seed("killed_at_any_instant_there_is_a_whole_dump"));
    let dir = TempDir::new();
    let mut generation = 0u64;
    for kill in 0..kills {
        let mut server = cordis_in(dir.path(), 1 + (kill % 3) as u16, &[]);
        let mut client = server.connect();
        let left = names(dir.path());
        assert!(left.is_empty() || left == ["dump.rdb"], "{left:?}");
        // All keys of a dump are of one generation, which is not older than the last that
        // was answered.
        let found = all_of_one_generation(&mut client);
        assert!(found >= generation, "{found} after {generation}");
        generation = found;
        let pid = server.pid();
        let pause = Duration::from_micros(rng.below(60_000) as u64);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(pause);
            Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .status()
        });
        while next_generation(&mut client, generation + 1) {
            generation += 1;
        }
        let killed = killer.join().expect("it ends");
        assert!(killed.expect("kill(1) is installed").success());
        server.wait_for_end();
    }
}

const KEYS: usize = 3000;

/// Whether the server has said that all keys of a generation are saved.
fn next_generation(client: &mut Client, generation: u64) -> bool {
    let value = format!("{generation}:{}", "x".repeat(200));
    let mut mset = vec!["MSET".to_owned()];
    mset.extend((0..KEYS).flat_map(|key| [format!("key:{key}"), value.clone()]));
    let saved = client
        .try_call(&mset)
        .and_then(|_| client.try_call(&["SAVE"]));
    saved.is_ok_and(|reply| reply.raw == b"+OK\r\n")
}

fn all_of_one_generation(client: &mut Client) -> u64 {
    let mut mget = vec!["MGET".to_owned()];
    mget.extend((0..KEYS).map(|key| format!("key:{key}")));
    let reply = client.call(&mget).value();
    let values = reply.items().iter().map(|value| match value {
        Value::Null => 0,
        value => {
            let text = value.text();
            let number = text.split(':').next().and_then(|it| it.parse().ok());
            number.expect("a generation")
        }
    });
    let mut values: Vec<u64> = values.collect();
    values.dedup();
    assert_eq!(values.len(), 1, "half of a MSET");
    values[0]
}

/// Files that no server can load: one line, with the file, and nothing is served.
#[test]
fn what_is_no_dump_ends_the_start() {
    let dir = TempDir::new();
    let dump = dir.path().join("dump.rdb");
    {
        let server = cordis_in(dir.path(), 2, &[]);
        let mut client = server.connect();
        fill(&mut client);
        ok(&mut client, &["SAVE"]);
    }
    let whole = fs::read(&dump).expect("it is there");
    let middle = whole.len() / 2;
    let mut mutated = whole.clone();
    mutated[middle] ^= 0x10;
    let newer = [b"REDIS0099", &whole[9..]].concat();
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty", b"", "at byte 0"),
        ("no dump", b"hello, this is a text", "at byte 0"),
        ("newer", &newer, "0099"),
        ("cut in the head", &whole[..5], "at byte"),
        ("cut in the middle", &whole[..middle], "at byte"),
        ("cut at the end", &whole[..whole.len() - 1], "at byte"),
        ("mutated", &mutated, "at byte"),
    ];
    for (what, bytes, naming) in cases {
        fs::write(&dump, bytes).expect("own folder is writable");
        refused(dir.path(), what, naming);
    }
    fs::remove_file(&dump).expect("it is our own");
    fs::create_dir(&dump).expect("own folder is writable");
    refused(dir.path(), "folder", "directory");
    fs::remove_dir(&dump).expect("it is our own");
    let made = Command::new("mkfifo").arg(&dump).status();
    assert!(made.expect("mkfifo is installed").success());
    refused(dir.path(), "pipe", "no file");
}

fn refused(dir: &Path, what: &str, naming: &str) {
    for shards in ["1", "3"] {
        let mut command = mortal("timeout");
        command.args(["--signal=KILL", "60", CORDIS, "--shards", shards]);
        command.args(["--dir", text(dir), "--bind", "127.0.0.1"]);
        command.args(["--port", &free_port().to_string()]);
        let output = command.output().expect("setpriv (util-linux) is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{what}: {said}");
        let names_it = said.contains("dump.rdb") && said.contains(naming);
        assert!(names_it, "{what}: {said}");
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(!log.contains("ready on"), "{what}: {log}");
    }
}

/// A file that somebody is writing is not the start's to remove.
#[test]
fn leftovers_are_removed_and_files_under_way_are_not() {
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name);
    for name in [
        "temp-1.rdb",
        "temp-99999.rdb",
        "temp-x.rdb",
        "temp-.rdb",
        "other",
    ] {
        fs::write(path(name), b"REDIS0010").expect("own folder is writable");
    }
    let held = fs::File::open(path("temp-1.rdb")).expect("it is there");
    held.lock().expect("nobody else has it");
    let server = cordis_in(dir.path(), 1, &[]);
    let left = ["other", "temp-.rdb", "temp-1.rdb", "temp-x.rdb"];
    assert_eq!(names(dir.path()), left);
    drop(server);
    drop(held);
    cordis_in(dir.path(), 1, &[]);
    assert_eq!(names(dir.path()), ["other", "temp-.rdb", "temp-x.rdb"]);
}

/// A disk that takes its time: the server's next dump waits for [`Slow::end`].
struct Slow(PathBuf);

impl Slow {
    fn disk(server: &Server, folder: &Path) -> Self {
        let temporary = folder.join(format!("temp-{}.rdb", server.pid()));
        let made = Command::new("mkfifo").arg(&temporary).status();
        assert!(made.expect("mkfifo is installed").success());
        Self(temporary)
    }

    /// What was waited for fails.
    fn end(self) {
        fs::read(self.0).expect("it is there");
    }
}

const IN_PROGRESS: &[u8] = b"-ERR Background save already in progress\r\n";

#[test]
fn clients_go_on_while_the_disk_is_slow() {
    let dir = TempDir::new();
    let mut server = cordis_in(dir.path(), 2, &[]);
    let slow = Slow::disk(&server, dir.path());
    let (mut client, mut other) = (server.connect(), server.connect());
    ok(&mut client, &["SET", "a", "1"]);
    let started = client.call(&["BGSAVE"]);
    assert_eq!(started.raw, b"+Background saving started\r\n");
    assert_eq!(client.call(&["BGSAVE"]).raw, IN_PROGRESS);
    assert_eq!(client.call(&["SAVE"]).raw, IN_PROGRESS);
    ok(&mut client, &["SET", "a", "2"]);
    assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1");
    assert_eq!(info(&mut client, "current_save_keys_total"), "1");
    assert_ne!(info(&mut client, "rdb_current_bgsave_time_sec"), "-1");
    assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "2");
    slow.end();
    wait_for_dump(&mut client);
    // What SAVE writes is waited for by who asked, and by nobody else.
    let slow = Slow::disk(&server, dir.path());
    client.send(&["SAVE"]);
    wait_until("it is under way", || {
        info(&mut other, "current_save_keys_total") == "1"
    });
    ok(&mut other, &["SET", "a", "3"]);
    let mut third = server.connect();
    third.send(&["SAVE"]);
    slow.end();
    assert!(client.read().raw.starts_with(b"-ERR "));
    assert_eq!(third.read().raw, b"+OK\r\n");
    // Nothing is left of what nobody waits for.
    let _slow = Slow::disk(&server, dir.path());
    assert_eq!(client.call(&["BGSAVE"]).raw, started.raw);
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(server.wait_for_end().code(), Some(0));
    assert_eq!(names(dir.path()), ["dump.rdb"]);
}

#[test]
fn an_end_that_is_aborted_has_held_up_writes_and_nothing_else() {
    let dir = TempDir::new();
    let mut server = cordis_in(dir.path(), 2, &["--save", "3600 1"]);
    let slow = Slow::disk(&server, dir.path());
    let (mut ending, mut client) = (server.connect(), server.connect());
    let mut writer = server.connect();
    ok(&mut client, &["SET", "a", "1"]);
    ending.send(&["SHUTDOWN"]);
    wait_until("the dump is under way", || {
        info(&mut client, "current_save_keys_total") == "1"
    });
    assert_eq!(client.call(&["GET", "a"]).raw, b"$1\r\n1\r\n");
    assert_eq!(client.call(&["BGSAVE"]).raw, IN_PROGRESS);
    writer.send(&["SET", "a", "2"]);
    let wait = |client: &mut Client| {
        wait_until("the write waits", || {
            let told = client.call(&["INFO", "clients"]).to_string();
            info_field(&told, "blocked_clients") == Some("1")
        });
    };
    wait(&mut client);
    // That is no pause of clients.
    ok(&mut client, &["CLIENT", "PAUSE", "1000000", "WRITE"]);
    ok(&mut client, &["CLIENT", "UNPAUSE"]);
    wait(&mut client);
    assert_eq!(client.call(&["GET", "a"]).raw, b"$1\r\n1\r\n");
    ok(&mut client, &["SHUTDOWN", "ABORT"]);
    let stays = b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n";
    assert_eq!(ending.read().raw, stays);
    assert_eq!(writer.read().raw, b"+OK\r\n");
    let none = b"-ERR No shutdown in progress.\r\n";
    assert_eq!(client.call(&["SHUTDOWN", "ABORT"]).raw, none);
    slow.end();
    // Once more, and to the end.
    ending.send(&["SHUTDOWN"]);
    assert_eq!(server.wait_for_end().code(), Some(0));
    let server = cordis_in(dir.path(), 1, &[]);
    assert_eq!(server.connect().call(&["GET", "a"]).raw, b"$1\r\n2\r\n");
}

/// A signal ends the server with a dump; who insists does not wait for it.
#[test]
fn who_interrupts_twice_does_not_wait() {
    let dir = TempDir::new();
    let mut server = cordis_in(dir.path(), 2, &["--save", "3600 1"]);
    let _slow = Slow::disk(&server, dir.path());
    let mut client = server.connect();
    ok(&mut client, &["SET", "a", "1"]);
    server.signal("INT");
    wait_until("the dump is under way", || {
        info(&mut client, "current_save_keys_total") == "1"
    });
    server.assert_alive();
    server.signal("INT");
    assert_eq!(server.wait_for_end().code(), Some(1));
    assert!(names(dir.path()).is_empty());
}
