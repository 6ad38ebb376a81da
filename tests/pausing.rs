//! CLIENT PAUSE: what has begun when it is asked for is over when it is answered, on
//! every core, and from then on nothing is written until it ends.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use support::client::Client;
use support::rng::Rng;
use support::server::{Server, info_field};
use support::{PATIENCE, long_run, show, wait_until, words};

const PAUSE: &[&str] = &["CLIENT", "PAUSE", "100000", "WRITE"];

/// Keys whose names are long, so that a KEYS takes its time with each of them.
fn long_names(server: &Server) {
    let mut client = server.connect();
    let name = "ab".repeat(400);
    for chunk in (0..20_000).collect::<Vec<_>>().chunks(500) {
        let mut request = words(&["MSET"]);
        for number in chunk {
            request.push(format!("{name}{number}").into_bytes());
            request.push(Vec::new());
        }
        assert_eq!(client.call(&request).raw, b"+OK\r\n");
    }
}

/// Matches none of them, which it only finds out at the end of each.
const WALK: &[&str] = &["KEYS", "*a*b*ba*ab*baa*"];

/// A client by which others see what it is doing.
struct Watched {
    client: Client,
    id: String,
}

impl Watched {
    fn new(server: &Server) -> Self {
        let mut client = server.connect();
        let id = client.call(&["CLIENT", "ID"]).integer().to_string();
        Self { client, id }
    }

    /// Sends requests and waits until the last, a `cmd`, has begun.
    fn begin(&mut self, by: &mut Client, cmd: &str, requests: &[&[&str]]) {
        self.begin_unless(by, cmd, requests, || false);
    }

    /// As [`Watched::begin`], but gives up waiting if `is_late`: then it may be held.
    fn begin_unless(
        &mut self,
        by: &mut Client,
        cmd: &str,
        requests: &[&[&str]],
        is_late: impl Fn() -> bool,
    ) {
        for request in requests {
            self.client.send(request);
        }
        let cmd = format!(" cmd={cmd} ");
        wait_until("a request has begun", || {
            let list = by.call(&["CLIENT", "LIST", "ID", &self.id]);
            list.to_string().contains(&cmd) || is_late()
        });
    }

    /// Whether something has come that is not read yet.
    fn has_reply(&self) -> bool {
        let stream = self.client.stream();
        stream.set_nonblocking(true).expect("a socket can be asked");
        let come = stream.peek(&mut [0]).is_ok();
        let blocking = stream.set_nonblocking(false);
        blocking.expect("a socket can be asked");
        come
    }
}

/// Plays `scene` until what it has begun was met under way.
fn until_met(mut scene: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + PATIENCE;
    while !scene() {
        assert!(std::time::Instant::now() < end, "never met under way");
    }
}

/// Writers of each kind wait for the locks of a KEYS: they have begun.
#[test]
fn a_pause_is_answered_when_what_has_begun_is_over() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        long_names(&server);
        let (mut by, mut pauser) = (server.connect(), server.connect());
        until_met(|| {
            by.call(&["DEL", "q", "r", "s", "a", "b", "c", "d", "e", "f"]);
            let mut all: Vec<Watched> = (0..8).map(|_| Watched::new(&server)).collect();
            let [walk, one, many, block, push, move_1, move_2, move_3] = &mut all[..] else {
                unreachable!("there are eight");
            };
            // One after the other, on several shards, once there is an element.
            move_1.begin(
                &mut by,
                "blmove",
                &[&["BLMOVE", "q", "r", "LEFT", "LEFT", "0"]],
            );
            move_2.begin(
                &mut by,
                "blmove",
                &[&["BLMOVE", "r", "s", "LEFT", "LEFT", "0"]],
            );
            move_3.begin(&mut by, "blpop", &[&["BLPOP", "nothing", "s", "0"]]);
            wait_until("three wait", || {
                let info = by.call(&["INFO", "clients"]).to_string();
                info.contains("blocked_clients:3\r\n")
            });
            walk.begin(&mut by, "keys", &[WALK]);
            one.begin(&mut by, "set", &[&["SET", "a", "new"]]);
            many.begin(
                &mut by,
                "mset",
                &[&["MSET", "b", "new", "c", "new", "d", "new"]],
            );
            let set = ["SET", "e", "new"];
            block.begin(
                &mut by,
                "exec",
                &[&["MULTI"], &set, &["SET", "f", "new"], &["EXEC"]],
            );
            push.begin(&mut by, "rpush", &[&["RPUSH", "q", "element"]]);
            let met = !walk.has_reply();
            assert_eq!(pauser.call(PAUSE).raw, b"+OK\r\n");
            for key in ["a", "b", "c", "d", "e", "f"] {
                let value = pauser.call(&["GET", key]).raw;
                assert_eq!(value, b"$3\r\nnew\r\n", "{key} on {shards} shards");
            }
            for key in ["q", "r", "s"] {
                assert_eq!(pauser.call(&["EXISTS", key]).integer(), 0, "{key}");
            }
            assert_eq!(pauser.call(&["CLIENT", "UNPAUSE"]).raw, b"+OK\r\n");
            met
        });
    }
}

/// A writer waits for the locks of the very block that pauses: it has begun, and the
/// block is answered when it is over.
#[test]
fn a_block_that_pauses_is_answered_when_what_waits_for_it_is_over() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        long_names(&server);
        let mut by = server.connect();
        until_met(|| {
            by.call(&["DEL", "a", "b"]);
            let [mut pauser, mut walker, mut writer] = [(); 3].map(|()| Watched::new(&server));
            let block = [
                &["MULTI"][..],
                &["SET", "a", "old"],
                WALK,
                PAUSE,
                &["GET", "a"],
                &["EXEC"],
            ];
            pauser.begin(&mut by, "exec", &block);
            // Behind the block, and before the writer.
            walker.begin(&mut by, "keys", &[WALK]);
            for _ in 0..5 {
                pauser.client.read();
            }
            let mset = ["MSET", "a", "new", "b", "new"];
            writer.begin_unless(&mut by, "mset", &[&mset], || pauser.has_reply());
            let met = !pauser.has_reply();
            assert_eq!(
                pauser.client.read().raw,
                b"*4\r\n+OK\r\n*0\r\n+OK\r\n$3\r\nold\r\n"
            );
            if met {
                for key in ["a", "b"] {
                    let value = by.call(&["GET", key]).raw;
                    assert_eq!(value, b"$3\r\nnew\r\n", "{key} on {shards} shards");
                }
            }
            assert_eq!(by.call(&["CLIENT", "UNPAUSE"]).raw, b"+OK\r\n");
            assert_eq!(writer.client.read().raw, b"+OK\r\n");
            met
        });
    }
}

/// Two blocks, each of which waits for what has begun, pause at the same time, again
/// and again, among writers: nobody waits for ever, and nothing changes in a pause.
#[test]
fn nothing_is_written_in_a_pause() {
    const KEYS: usize = 48;
    let server = Server::cordis(4, &[]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (server, over) = (&server, &over);
        for number in 0..6 {
            scope.spawn(move || {
                let mut client = server.connect();
                let mut rng = Rng::new(number);
                while !over.load(Ordering::Relaxed) {
                    let mut requests = Vec::new();
                    for _ in 0..64 {
                        let [a, b, c] = [(); 3].map(|()| format!("key:{}", rng.below(KEYS)));
                        let request: &[&str] = match rng.below(8) {
                            0 => &["MSET", &a, "1", &b, "2", &c, "3"],
                            1 => &["COPY", &a, &b, "REPLACE"],
                            2 => &["MULTI"],
                            3 => &["EXEC"],
                            4 => &["RPUSH", "from", "x"],
                            5 => &["BLMOVE", "from", "to", "LEFT", "LEFT", "0.01"],
                            _ => &["INCR", &c],
                        };
                        requests.push(words(request));
                    }
                    client.pipeline(&requests);
                }
            });
        }
        let (mut reader, mut ender) = (server.connect(), server.connect());
        let mut look = || {
            let get = |key| words(&["GET", &format!("key:{key}")]);
            let mut requests: Vec<_> = (0..KEYS).map(get).collect();
            requests.push(words(&["LLEN", "from"]));
            requests.push(words(&["LLEN", "to"]));
            reader.pipeline(&requests)
        };
        let mut pausers = [Watched::new(server), Watched::new(server)];
        for round in 0..if long_run() { 20_000 } else { 300 } {
            // Both blocks are collected before the pause of one holds up the other.
            if round % 4 == 0 {
                for pauser in &mut pausers {
                    for request in [&["MULTI"][..], &["INCR", "key:1"], PAUSE] {
                        assert!(!pauser.client.call(request).is_error());
                    }
                }
                pausers.iter_mut().for_each(|it| it.client.send(&["EXEC"]));
            } else {
                pausers.iter_mut().for_each(|it| it.client.send(PAUSE));
            }
            // The block of one may be held up by the pause of the other.
            while !pausers.iter().any(Watched::has_reply) {
                std::thread::yield_now();
            }
            let first = look();
            if first != look() {
                over.store(true, Ordering::Relaxed);
                ender.call(&["CLIENT", "UNPAUSE"]);
                panic!("something was written in a pause");
            }
            for pauser in &mut pausers {
                while !pauser.has_reply() {
                    ender.call(&["CLIENT", "UNPAUSE"]);
                }
                assert!(!pauser.client.read().is_error());
            }
            ender.call(&["CLIENT", "UNPAUSE"]);
        }
        over.store(true, Ordering::Relaxed);
    });
}

/// Keys whose time comes in a pause are not seen, but they are there until it ends, as
/// in Redis.
#[test]
fn keys_that_are_due_stay_in_a_pause() {
    let options = &["--enable-debug-command", "yes"];
    for shards in [1, 4] {
        let servers = [Server::redis(options), Server::cordis(shards, options)];
        let mut clients = servers.each_ref().map(Server::connect);
        let told = clients.each_mut().map(|client| {
            // All in one go: the pause begins before the first of them is due.
            let due = [
                "MULTI",
                "SET k v PX 50",
                "HSET h f v",
                "PEXPIRE h 50",
                "SET stays v",
            ];
            let mut requests: Vec<_> = due.map(words_of).into();
            requests.push(words(PAUSE));
            requests.push(words(&["EXEC"]));
            for reply in client.pipeline(&requests) {
                assert!(!reply.is_error(), "{reply:?}");
            }
            wait_until("they are due", || {
                let seen = client.call(&["EXISTS", "k", "h"]).integer();
                seen == 0
            });
            let mut told: Vec<String> = DUE
                .iter()
                .map(|request| show(&client.call(&words_of(request)).raw))
                .collect();
            told.push(expired_keys(client));
            assert!(!client.call(&["CLIENT", "UNPAUSE"]).is_error());
            wait_until("they are gone", || client.call(&["DBSIZE"]).integer() == 1);
            told.push(expired_keys(client));
            told
        });
        assert_eq!(told[0], told[1], "on {shards} shards");
    }
}

/// What is asked while they are due.
const DUE: &[&str] = &[
    "DBSIZE",
    "GET k",
    "MGET k stays",
    "TYPE k",
    "TTL k",
    "KEYS *",
    "SCAN 0",
    "TOUCH k h",
    "OBJECT ENCODING k",
    "HGETALL h",
    "HLEN h",
    "BITCOUNT k",
    "SINTERCARD 1 h",
    "DBSIZE",
];

fn words_of(line: &str) -> Vec<Vec<u8>> {
    words(&line.split(' ').collect::<Vec<_>>())
}

fn expired_keys(client: &mut Client) -> String {
    let info = client.call(&["INFO", "stats"]).to_string();
    info_field(&info, "expired_keys")
        .expect("INFO has it")
        .to_owned()
}
