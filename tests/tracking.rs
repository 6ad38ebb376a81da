//! Client-side caching: who is told of which changes, and when; nobody keeps a copy that
//! is older than what a writer was told to have written.
//!
//! What the real server says is the measure, on one shard and on four, for keys that lie
//! anywhere. `tests/interop.rs` has caches of stock clients.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::client::{Client, Value};
use support::rng::{Rng, seed};
use support::server::{Server, info_field};
use support::{long_run, wait_until};

/// Lines, parted by `;`, are said one after the other, each by the client whose name stands before it:
/// - a command, whose reply is noted; `#r` stands for the id of client `r`;
/// - `?`: what it has been told unasked is noted, until a PING is answered;
/// - `UNTIL`: the command is repeated until the reply has a word in it;
/// - `ENDS`: it goes, and is known to be gone;
/// - `WAITS`: the command is known to wait, and what comes then is noted by `NEXT`.
///
/// `K`, `L`, `M` and `N` are keys of their own for each place.
const SCRIPTS: &[&str] = &[
    // Reads of all kinds are remembered until the key changes.
    "a HELLO 3; a CLIENT TRACKING ON; a GET K; w SET K 1; a ?; w SET K 2; a ?; a MGET K L M \
     N; a EXISTS K L M N; w MSET N 1 M 2 L 3 K 4; a ?sorted; a TTL K; w EXPIRE K 100; a ?; \
     a HGET K f; w DEL K L; a ?; a SUNION K L; w SADD L 1; a ?; w SADD K 1; a ?; a XREAD \
     STREAMS K L 0 0; w DEL K L; a ?sorted; a SORT_RO K; w RPUSH K 2 1; a ?; a OBJECT \
     REFCOUNT K; a LRANGE K 0 -1; w LSET K 0 3; a ?; a GET K; w RENAME K L; a ?; a CLIENT \
     TRACKING OFF; a GET K; w SET K 1; a ?",
    // What commands that write read is not, nor what nothing is read of.
    "a HELLO 3; a CLIENT TRACKING ON; a SUNIONSTORE K L M; a SORT L; a GETEX M; a WATCH N; \
     a KEYS *; a DBSIZE; w MSET K 1 L 1 M 1 N 1; a ?; a GET K; w SET K 2 NX; w DEL nosuch; \
     w GETEX K; a ?",
    // Its own changes, in blocks as well: it is told behind the reply.
    "a HELLO 3; a CLIENT TRACKING ON; a GET K; a SET K 1; a ?; a MGET K L; a MSET K 1 L 2; \
     a ?sorted; a MULTI; a GET K; a SET K 2; a GET K; a GET L; a EXEC; a ?; w MULTI; w SET \
     L 2; w SET K 2; w EXEC; a ?sorted",
    // All keys at once. One table for all databases.
    "a HELLO 3; a CLIENT TRACKING ON; b HELLO 3; b CLIENT TRACKING ON BCAST PREFIX x; a GET \
     K; w FLUSHALL; a ?; b ?; w SET K 1; a ?; w SELECT 3; w FLUSHDB ASYNC; a ?; b ?; a \
     FLUSHDB; a ?; b ?; a GET K; w SET K 1; a ?",
    // Who wants no loop.
    "a HELLO 3; a CLIENT TRACKING ON NOLOOP; a CLIENT TRACKINGINFO; a GET K; a SET K 1; a \
     ?; w SET K 2; a ?; a GET K; w SET K 2; a ?; a MGET K L; a RENAME K L; a ?; a MGET K L \
     M; a MULTI; a SET K 1; a MSET L 1 M 2; a EXEC; a ?; a FLUSHALL; a ?; b HELLO 3; b \
     CLIENT TRACKING ON NOLOOP BCAST PREFIX K PREFIX L; b SET K 1; b ?; w SET K 2; b ?; w \
     SET M 2; b ?",
    // Prefixes.
    "a HELLO 3; a CLIENT TRACKING ON BCAST; a CLIENT TRACKINGINFO; b HELLO 3; b CLIENT \
     TRACKING ON BCAST PREFIX K PREFIX M; b CLIENT TRACKINGINFO; w SET K 1; a ?; b ?; a SET \
     L 1; a ?; b ?; w MSET {K}2 1 {K}1 2; a ?; b ?; a CLIENT TRACKING ON BCAST PREFIX M; b \
     CLIENT TRACKING ON BCAST PREFIX K; b CLIENT TRACKING ON BCAST PREFIX L; b CLIENT \
     TRACKINGINFO; w SET L 1; b ?; b CLIENT TRACKING ON BCAST; b CLIENT TRACKINGINFO; w SET \
     L 1; b ?; b CLIENT TRACKING OFF; b CLIENT TRACKINGINFO; w SET L 1; b ?",
    // What the client picks out.
    "a HELLO 3; a CLIENT TRACKING ON OPTIN; a GET K; w SET K 1; a ?; a CLIENT CACHING YES; \
     a CLIENT TRACKINGINFO; a GET K; a CLIENT TRACKINGINFO; a GET L; w MSET K 1 L 1; a ?; a \
     CLIENT CACHING YES; a MULTI; a GET K; a MGET L M; a EXEC; a GET N; w MSET K 1 L 1 M 1 \
     N 1; a ?sorted; a MULTI; a GET K; a CLIENT CACHING YES; a GET L; a GET M; a EXEC; a \
     GET N; w MSET K 1 L 1 M 1 N 1; a ?sorted; a CLIENT CACHING YES; a CLIENT ID; a GET K; \
     w SET K 1; a ?; a CLIENT CACHING YES; a PING; a GET K; w SET K 1; a ?; a CLIENT \
     CACHING YES; a GET; a GET K; w SET K 1; a ?; a CLIENT CACHING YES; a MULTI; a DISCARD; \
     a GET K; w SET K 1; a ?; a CLIENT CACHING NO; b HELLO 3; b CLIENT TRACKING ON OPTOUT; \
     b GET K; w SET K 1; b ?; b CLIENT CACHING NO; b CLIENT TRACKINGINFO; b GET K; b GET L; \
     w MSET K 1 L 1; b ?; b CLIENT CACHING YES",
    // Who cannot be told, and who begins anew.
    "a HELLO 3; a CLIENT TRACKING ON; a GET K; a HELLO 2; w SET K 1; a ?; a HELLO 3; a ?; a \
     GET K; a RESET; a CLIENT TRACKINGINFO; w SET K 1; a ?; a CLIENT TRACKING ON; a CLIENT \
     GETREDIR; a GET K; w SET K 2; a ?; a GET K; a HELLO 3; w SET K 2; a ?",
    // Somebody else is told.
    "r HELLO 3; a CLIENT TRACKING ON REDIRECT #r; a CLIENT TRACKINGINFO; a GET K; w SET K \
     1; r ?; a ?; a GET K; a SET K 1; r ?; a CLIENT TRACKING OFF; a CLIENT TRACKING ON \
     BCAST REDIRECT #r; a CLIENT TRACKING ON REDIRECT #r; w SET K 1; r ?; a CLIENT TRACKING \
     ON BCAST PREFIX L REDIRECT #r; w MSET K 1; r ?; r ENDS; a CLIENT TRACKINGINFO; w SET K \
     1; a UNTIL broken_redirect CLIENT TRACKINGINFO; a HELLO 3; a CLIENT TRACKING OFF; \
     a CLIENT TRACKING ON BCAST; \
     a CLIENT TRACKINGINFO; w SET M 1; a ?",
    "a HELLO 3; r HELLO 3; a CLIENT TRACKING ON REDIRECT #r; b HELLO 3; b CLIENT TRACKING \
     ON REDIRECT #r BCAST; a GET K; w FLUSHALL; r NEXT; r NEXT; r ?; a ?",
    // In RESP2 it must listen, to whatever channel.
    "a CLIENT TRACKING ON REDIRECT #r; a GET K; w SET K 1; r SUBSCRIBE \
     __redis__:invalidate; a GET K; w SET K 1; r NEXT; a GET K; w FLUSHALL; r NEXT; r \
     UNSUBSCRIBE; a GET K; w SET K 1; r PING; r SUBSCRIBE other; a GET K; w SET K 1; r \
     NEXT; r PING",
    // All that within a block.
    "r HELLO 3; a MULTI; a CLIENT TRACKING ON REDIRECT #r; a GET K; a CLIENT TRACKING ON \
     BCAST; a CLIENT TRACKING ON REDIRECT 99999999; a EXEC; a CLIENT TRACKINGINFO; w SET K 1; \
     r ?; a MULTI; a CLIENT TRACKING OFF; a GET K; a CLIENT TRACKING ON BCAST NOLOOP PREFIX L; \
     a SET L 1; a EXEC; w SET K 2; r ?; a HELLO 3; a ?; w SET L 2; a ?",
    // Who waits is told meanwhile.
    "a HELLO 3; a CLIENT TRACKING ON; a GET K; a WAITS BLPOP L 0; w SET K 1; a NEXT; w \
     RPUSH L 1; a NEXT; a ?; w XADD M 1-1 f v; \
     a XREAD BLOCK 0 STREAMS M 0; w XADD M 1-2 f v; a ?",
    // What is wrong changes nothing.
    "a CLIENT TRACKING; a CLIENT TRACKING FOO; a CLIENT TRACKING OFF FOO; a CLIENT TRACKING \
     ON FOO; a CLIENT TRACKING ON REDIRECT; a CLIENT TRACKING ON REDIRECT x; a CLIENT \
     TRACKING ON REDIRECT 99999999; a CLIENT TRACKING ON REDIRECT 0; a CLIENT TRACKING ON \
     REDIRECT -1; a CLIENT TRACKING ON REDIRECT 9223372036854775808; a CLIENT TRACKING OFF \
     REDIRECT 99999999; a CLIENT TRACKING ON REDIRECT 99999999 FOO; a CLIENT TRACKING ON \
     FOO REDIRECT 99999999; a CLIENT TRACKING ON REDIRECT #w REDIRECT #w; a CLIENT TRACKING \
     ON REDIRECT #w FOO; a CLIENT TRACKING FOO REDIRECT #w; a CLIENT TRACKING ON PREFIX; a \
     CLIENT TRACKING ON PREFIX a; a CLIENT TRACKING ON BCAST OPTIN; a CLIENT TRACKING ON \
     OPTOUT BCAST; a CLIENT TRACKING ON OPTIN OPTOUT; a CLIENT TRACKING ON BCAST PREFIX a \
     PREFIX ab; a CLIENT TRACKING ON BCAST PREFIX ab PREFIX a; a CLIENT CACHING YES; a \
     CLIENT CACHING NO; a CLIENT CACHING MAYBE; a CLIENT GETREDIR; a CLIENT TRACKINGINFO; a \
     CLIENT TRACKING ON; a CLIENT TRACKING ON BCAST; a CLIENT CACHING YES; a CLIENT CACHING \
     NO; a CLIENT CACHING MAYBE; a CLIENT TRACKING ON OPTIN; a CLIENT TRACKING ON OPTOUT; a \
     CLIENT CACHING NO; a CLIENT TRACKINGINFO; a CLIENT TRACKING OFF; a CLIENT TRACKING ON \
     BCAST PREFIX a PREFIX b; a CLIENT TRACKING ON BCAST PREFIX bb; a CLIENT TRACKING ON \
     OPTIN; a CLIENT TRACKINGINFO",
];

fn lines(script: &'static str) -> impl Iterator<Item = &'static str> {
    script.split(';').map(str::trim)
}

/// A server with those who talk to it.
struct Stage<'a> {
    server: &'a Server,
    clients: BTreeMap<&'static str, Client>,
    /// The ids that they have, or had.
    ids: BTreeMap<&'static str, i64>,
}

impl Stage<'_> {
    fn client(&mut self, name: &'static str) -> &mut Client {
        let (server, ids) = (self.server, &mut self.ids);
        self.clients.entry(name).or_insert_with(|| {
            let mut client = server.connect();
            ids.insert(name, client.call(&["CLIENT", "ID"]).integer());
            client
        })
    }

    /// Says a script; what is said and what is told.
    fn perform(&mut self, script: &'static str, place: usize) -> Vec<String> {
        lines(script).map(|line| self.say(line, place)).collect()
    }

    fn say(&mut self, line: &'static str, place: usize) -> String {
        let (name, line) = line.split_once(' ').expect("a name stands first");
        for named in ["r", "w"]
            .into_iter()
            .filter(|it| line.contains(&format!("#{it}")))
        {
            self.client(named);
        }
        self.client(name);
        let ids = self.ids.clone();
        let words = line.split(' ').map(|word| match word.split_at(1) {
            ("#", of) => ids[of].to_string(),
            ("K" | "L" | "M" | "N", "") => format!("{word}:{place}"),
            ("{", rest) if rest.starts_with("K}") => format!("K{{{place}}}{}", &rest[2..]),
            _ => word.to_owned(),
        });
        let words: Vec<String> = words.collect();
        let server = self.server;
        let client = self.client(name);
        let said = match words[0].as_str() {
            "?" => told(client).concat(),
            "?sorted" => {
                let mut told = told(client);
                told.sort();
                told.concat()
            }
            "ENDS" => {
                let id = ids[name];
                self.clients.remove(name);
                let mut other = server.connect();
                wait_until("a client ends", || {
                    let id = id.to_string();
                    other
                        .call(&["CLIENT", "LIST", "ID", &id])
                        .bytes()
                        .is_empty()
                });
                return String::new();
            }
            "WAITS" => {
                client.send(&words[1..]);
                await_one_blocked(server);
                String::new()
            }
            "UNTIL" => {
                let mut reply = String::new();
                wait_until("a reply changes", || {
                    reply = format!("{:?}", client.call(&words[2..]));
                    reply.contains(&words[1])
                });
                reply
            }
            "NEXT" => format!("{:?}", client.read()),
            // What differs from server to server.
            "HELLO" => {
                client.call(&words);
                return String::new();
            }
            _ => format!("{:?}", client.call(&words)),
        };
        if !line.contains("TRACKINGINFO") {
            return if line == "CLIENT ID" {
                String::new()
            } else {
                said
            };
        }
        ids.iter().fold(said, |said, (name, id)| {
            said.replace(&format!(":{id}\\r"), &format!(":{name}\\r"))
        })
    }
}

/// Somebody waits in a blocking command.
fn await_one_blocked(server: &Server) {
    let mut client = server.connect();
    wait_until("a client waits", || {
        let info = client.call(&["INFO", "clients"]).to_string();
        info_field(&info, "blocked_clients") == Some("1")
    });
}

/// What a client has been told since.
fn told(client: &mut Client) -> Vec<String> {
    client.send(&["PING", "all?"]);
    let mut told = Vec::new();
    loop {
        let reply = client.read();
        if reply.is_text("all?") {
            return told;
        }
        told.push(format!("{reply:?}"));
    }
}

#[test]
fn trackers_are_told_what_redis_tells_them() {
    let redis = Server::redis(&[]);
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &[]);
        for (number, script) in SCRIPTS.iter().enumerate() {
            for place in 0..6 {
                let [expected, got] = [&redis, &cordis].map(|server| {
                    server.connect().call(&["FLUSHALL"]);
                    let mut stage = Stage {
                        server,
                        clients: BTreeMap::new(),
                        ids: BTreeMap::new(),
                    };
                    stage.perform(script, place)
                });
                for ((line, expected), got) in lines(script).zip(expected).zip(got) {
                    assert_eq!(
                        got, expected,
                        "script {number}, `{line}`, place {place} of {shards} shards"
                    );
                }
            }
        }
    }
}

/// Redis says nothing, and leaves copies behind that are of another database.
#[test]
fn databases_that_change_places_are_told_of() {
    let cordis = Server::cordis(4, &[]);
    let mut reader = cordis.connect_with(3);
    reader.call(&["CLIENT", "TRACKING", "ON"]);
    reader.call(&["GET", "a"]);
    cordis.connect().call(&["SWAPDB", "0", "1"]);
    assert_eq!(
        told(&mut reader),
        [">2\\r\\n$10\\r\\ninvalidate\\r\\n_\\r\\n"]
    );
}

fn tracking_figures(client: &mut Client) -> [usize; 4] {
    let info = client.call(&["INFO", "everything"]).to_string();
    let names = ["clients", "total_keys", "total_items", "total_prefixes"];
    names.map(|name| {
        let field = info_field(&info, &format!("tracking_{name}"));
        field.expect("INFO has it").parse().expect("a number")
    })
}

#[test]
fn info_and_client_list_know_who_tracks() {
    for server in [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ] {
        let (mut one, mut other) = (server.connect_with(3), server.connect_with(3));
        let mut third = server.connect();
        let id = one.call(&["CLIENT", "ID"]).integer().to_string();
        let field = |client: &mut Client, name: &str| {
            let line = client.call(&["CLIENT", "LIST", "ID", &id]).to_string();
            let mut fields = line.trim_end().split(' ');
            let found = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            found.expect("the line has it").to_owned()
        };
        assert_eq!(tracking_figures(&mut third), [0; 4]);
        one.call(&["CLIENT", "TRACKING", "ON"]);
        assert_eq!(field(&mut third, "flags"), "t");
        assert_eq!(field(&mut third, "redir"), "0");
        one.call(&["MGET", "a", "b", "c"]);
        other.call(&["CLIENT", "TRACKING", "ON"]);
        other.call(&["GET", "a"]);
        assert_eq!(tracking_figures(&mut third), [2, 3, 4, 0]);
        third.call(&["SET", "a", "1"]);
        assert_eq!(tracking_figures(&mut third), [2, 2, 2, 0]);
        told(&mut one);
        one.call(&["CLIENT", "TRACKING", "OFF"]);
        one.call(&[
            "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x", "PREFIX", "y",
        ]);
        assert_eq!(field(&mut third, "flags"), "tB");
        assert_eq!(tracking_figures(&mut third)[3], 2);
        third.call(&["FLUSHALL"]);
        assert_eq!(tracking_figures(&mut third), [2, 0, 0, 2]);
        told(&mut one);
        one.call(&["CLIENT", "TRACKING", "OFF"]);
        assert_eq!(field(&mut third, "flags"), "N");
        assert_eq!(field(&mut third, "redir"), "-1");
        drop(other);
        wait_until("nobody tracks", || tracking_figures(&mut third) == [0; 4]);
    }
}

/// Who has gone leaves nothing in the table.
#[test]
fn a_client_that_ends_is_forgotten() {
    let cordis = Server::cordis(4, &[]);
    let mut third = cordis.connect();
    let mut stays = cordis.connect_with(3);
    stays.call(&["CLIENT", "TRACKING", "ON"]);
    stays.call(&["MGET", "k1", "k2", "none"]);
    for how in ["drop", "off", "reset"] {
        let mut client = cordis.connect_with(3);
        client.call(&["CLIENT", "TRACKING", "ON"]);
        for number in 0..200 {
            let keys: Vec<String> = (0..50).map(|at| format!("k{}", number * 50 + at)).collect();
            let mget = ["MGET".to_owned()].into_iter().chain(keys);
            client.call(&mget.collect::<Vec<_>>());
        }
        assert_eq!(tracking_figures(&mut third), [2, 10_001, 10_003, 0]);
        let stays_connected = match how {
            "off" => {
                client.call(&["CLIENT", "TRACKING", "OFF"]);
                Some(client)
            }
            "reset" => {
                client.call(&["RESET"]);
                Some(client)
            }
            _ => {
                drop(client);
                None
            }
        };
        wait_until("it is forgotten", || {
            tracking_figures(&mut third) == [1, 3, 3, 0]
        });
        drop(stays_connected);
    }
    third.call(&["SET", "k1", "1"]);
    assert_eq!(told(&mut stays).len(), 1);
}

/// The key that a push is about.
fn key_in(push: &Value) -> String {
    match push {
        Value::Push(items) => items[1].items()[0].text(),
        other => panic!("expected a push, got {other:?}"),
    }
}

/// Sends a request and waits for the reply; what comes before it is put there.
fn call_beside(client: &mut Client, request: &[&str], told: &mut Vec<Value>) -> Value {
    client.send(request);
    loop {
        match client.read().value() {
            push @ Value::Push(_) => told.push(push),
            reply => return reply,
        }
    }
}

/// No more keys are remembered than may be. What falls out is told of, as it could change
/// unseen.
#[test]
fn the_table_has_a_bound() {
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &["--tracking-table-max-keys", "1000"]);
        let mut third = cordis.connect();
        let mut reader = cordis.connect_with(3);
        reader.call(&["CLIENT", "TRACKING", "ON"]);
        let keys: Vec<String> = (0..5000).map(|number| format!("k{number}")).collect();
        let mut told = Vec::new();
        for key in &keys {
            call_beside(&mut reader, &["GET", key], &mut told);
        }
        call_beside(&mut reader, &["PING"], &mut told);
        let [_, held, copies, _] = tracking_figures(&mut third);
        assert!((900..=1000).contains(&held) && held == copies, "{held}");
        assert_eq!(told.len(), keys.len() - held);
        third.call(&["CONFIG", "SET", "tracking-table-max-keys", "0"]);
        let config = third.call(&["CONFIG", "GET", "tracking-table-max-keys"]);
        assert_eq!(config.value().pairs()[0].1.text(), "0");
        for key in &keys {
            third.call(&["SET", key, "1"]);
        }
        call_beside(&mut reader, &["PING"], &mut told);
        let distinct: BTreeSet<String> = told.iter().map(key_in).collect();
        assert_eq!((told.len(), distinct.len()), (keys.len(), keys.len()));
        for key in &keys {
            call_beside(&mut reader, &["GET", key], &mut told);
        }
        assert_eq!(tracking_figures(&mut third)[1], keys.len(), "no limit");
    }
}

/// As in Redis, which ends with an error and `+OK` where the second of them overlaps.
#[test]
fn prefixes_that_overlap_are_refused() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let refused = client.call(&[
        "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x", "PREFIX", "a", "PREFIX", "ab",
    ]);
    assert_eq!(
        refused.to_string(),
        "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single \
         client must not overlap."
    );
    assert_eq!(client.call(&["CLIENT", "GETREDIR"]).integer(), -1);
}

/// One in whose place another is told: on whatever core that is, and however it ends.
#[test]
fn who_is_told_in_anothers_place_may_be_on_any_core() {
    let cordis = Server::cordis(4, &[]);
    let mut writer = cordis.connect();
    for round in 0..40 {
        let (mut target, mut reader) = (cordis.connect_with(3), cordis.connect_with(3));
        let mut listener = cordis.connect();
        listener.call(&["SUBSCRIBE", "__redis__:invalidate"]);
        let id = target.call(&["CLIENT", "ID"]).to_string();
        let on = ["CLIENT", "TRACKING", "ON", "REDIRECT", &id];
        assert_eq!(reader.call(&on).to_string(), "OK");
        let key = format!("k{round}");
        reader.call(&["GET", &key]);
        writer.call(&["SET", &key, "1"]);
        let mut pushes = Vec::new();
        call_beside(&mut target, &["PING"], &mut pushes);
        assert_eq!(
            pushes.iter().map(key_in).collect::<Vec<_>>(),
            [key.as_str()]
        );
        reader.call(&["GET", &key]);
        drop(target);
        wait_until("the target is gone", || {
            writer
                .call(&["CLIENT", "LIST", "ID", &id])
                .bytes()
                .is_empty()
        });
        writer.call(&["SET", &key, "2"]);
        let broken = format!(">2\\r\\n$21\\r\\ntracking-redir-broken\\r\\n:{id}\\r\\n");
        let mut all = Vec::new();
        wait_until("it is told", || {
            all.extend(told(&mut reader));
            !all.is_empty()
        });
        assert_eq!(all, [broken.as_str()]);
        let info = reader.call(&["CLIENT", "TRACKINGINFO"]);
        assert!(format!("{info:?}").contains("broken_redirect"));
        drop(listener);
    }
}

/// What is told while a tracker moves from one core to another may be lost on the way.
#[test]
fn who_is_told_elsewhere_from_now_on_begins_anew() {
    let cordis = Server::cordis(4, &[]);
    let mut reader = cordis.connect();
    let mut places = BTreeSet::new();
    let mut targets: Vec<(Client, String)> = Vec::new();
    for _ in 0..16 {
        let mut target = cordis.connect_with(3);
        let id = target.call(&["CLIENT", "ID"]).to_string();
        targets.push((target, id));
    }
    for (target, id) in &mut targets {
        let on = ["CLIENT", "TRACKING", "ON", "REDIRECT", id];
        assert_eq!(reader.call(&on).to_string(), "OK");
        let mut pushes = Vec::new();
        call_beside(target, &["PING"], &mut pushes);
        assert!(pushes.iter().all(|push| push.items()[1] == Value::Null));
        places.insert(pushes.len());
    }
    assert!(places.contains(&1), "not all are on one core");
    let (target, _) = targets.last_mut().expect("there are some");
    reader.call(&["GET", "k"]);
    cordis.connect().call(&["SET", "k", "1"]);
    assert_eq!(told(target).len(), 1);
}

/// What a client that reads nothing is told does not grow for ever.
#[test]
fn a_tracker_that_does_not_read_is_dropped() {
    let limit = ["--client-output-buffer-limit", "pubsub 1mb 0 0"];
    let cordis = Server::cordis(2, &limit);
    let mut writer = cordis.connect();
    let mut tracker = cordis.connect_with(3);
    tracker.call(&["CLIENT", "TRACKING", "ON", "BCAST"]);
    let key = "k".repeat(100_000);
    wait_until("it is dropped", || {
        for _ in 0..20 {
            writer.call(&["SET", &key, "1"]);
        }
        tracking_figures(&mut writer)[0] == 0
    });
    let info = writer.call(&["INFO", "stats"]).to_string();
    let dropped = info_field(&info, "client_output_buffer_limit_disconnections");
    assert_eq!(dropped, Some("1"));
    // A reply of any length is none of that.
    let mut tracker = cordis.connect_with(3);
    tracker.call(&["CLIENT", "TRACKING", "ON"]);
    writer.call(&["SET", "big", &"v".repeat(8 << 20)]);
    tracker.send(&["GET", "big"]);
    wait_until("it is read", || {
        let info = writer.call(&["INFO", "commandstats"]).to_string();
        info.contains("cmdstat_get:calls=1,")
    });
    writer.call(&["SET", "big", "1"]);
    assert_eq!(tracker.read().bytes().len(), 8 << 20);
    assert_eq!(told(&mut tracker).len(), 1);
}

const CACHES: usize = 4;
const KEYS: usize = 24;

/// A client with a cache: what it has read, unless it was told that it has changed.
struct Cache {
    client: Client,
    copies: BTreeMap<String, Option<i64>>,
}

impl Cache {
    fn new(server: &Server, mode: &[&str]) -> Self {
        let mut client = server.connect_with(3);
        let on = [&["CLIENT", "TRACKING", "ON"], mode].concat();
        assert_eq!(client.call(&on).to_string(), "OK");
        Self {
            client,
            copies: BTreeMap::new(),
        }
    }

    /// Takes what has come up to the reply.
    fn reply(&mut self) -> Value {
        loop {
            match self.client.read().value() {
                Value::Push(items) => match &items[1] {
                    Value::Null => self.copies.clear(),
                    keys => {
                        for key in keys.items() {
                            self.copies.remove(&key.text());
                        }
                    }
                },
                reply => return reply,
            }
        }
    }

    fn ping(&mut self) {
        self.client.send(&["PING"]);
        self.reply();
    }

    /// Reads some keys in one go, by several requests.
    fn read(&mut self, rng: &mut Rng, keys: &[String]) {
        let mut requests: Vec<(usize, Vec<String>)> = Vec::new();
        for _ in 0..=rng.below(4) {
            let some: Vec<String> = (0..=rng.below(3)).map(|_| rng.pick(keys).clone()).collect();
            requests.push((rng.below(3), some));
        }
        for (how, some) in &requests {
            match how {
                0 => self.client.send(&["GET", &some[0]]),
                1 => {
                    let mget = ["MGET".to_owned()].into_iter().chain(some.iter().cloned());
                    self.client.send(&mget.collect::<Vec<_>>());
                }
                _ => {
                    self.client.send(&["MULTI"]);
                    some.iter().for_each(|key| self.client.send(&["GET", key]));
                    self.client.send(&["EXEC"]);
                }
            }
        }
        for (how, some) in &requests {
            if *how == 2 {
                (0..=some.len()).for_each(|_| drop(self.reply()));
            }
            let reply = self.reply();
            let values = match &reply {
                Value::Array(values) => values.clone(),
                one => vec![one.clone()],
            };
            for (key, value) in some.iter().zip(values) {
                let number = match value {
                    Value::Null => None,
                    value => Some(value.text().parse().expect("values are numbers")),
                };
                self.copies.insert(key.clone(), number);
            }
        }
    }
}

/// Sends requests about other keys.
fn keep_busy(server: &Server, seed: u64, stop: &AtomicBool, busy: &AtomicUsize) {
    let mut client = server.connect();
    let mut rng = Rng::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let request = |_| {
            let other = format!("other:{}", rng.below(50));
            let another = format!("other:{}", rng.below(50));
            let request = match rng.below(3) {
                0 => vec!["SET", &other, "1"],
                1 => vec!["MSET", &other, "1", &another, "2"],
                _ => vec!["MGET", &other, &another],
            };
            support::words(&request)
        };
        let requests: Vec<Vec<Vec<u8>>> = (0..20).map(request).collect();
        client.pipeline(&requests);
        busy.fetch_add(1, Ordering::Relaxed);
    }
}

/// One writes at a time, so it is known what each key has held. Whoever learns from a
/// writer that it has its reply, and then hears from the server, has no copy that is older.
#[test]
fn no_cache_is_stale() {
    let server = Server::cordis(4, &[]);
    let seed = seed("no_cache_is_stale");
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key:{number}")).collect();
    let doses = if long_run() { 60_000 } else { 1500 };
    let modes: [&[&str]; CACHES] = [&[], &["BCAST"], &["NOLOOP"], &["BCAST", "PREFIX", "key:"]];
    let stop = AtomicBool::new(false);
    let busy = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        // Cores have other things to do, too.
        for number in 0..3 {
            let (server, stop, busy) = (&server, &stop, &busy);
            scope.spawn(move || keep_busy(server, seed + number, stop, busy));
        }
        let mut rng = Rng::new(seed);
        let mut writers: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let mut caches: Vec<Cache> = modes.iter().map(|mode| Cache::new(&server, mode)).collect();
        let mut now: BTreeMap<String, Option<i64>> = BTreeMap::new();
        for version in 1..doses {
            let readers: Vec<usize> = (0..rng.below(CACHES)).map(|_| rng.below(CACHES)).collect();
            // Those read while it is written.
            let mut write = write(&mut rng, &keys, version, &mut now);
            let writer = rng.below(writers.len());
            let seeds: Vec<u64> = readers.iter().map(|_| rng.next()).collect();
            let (reading, keys) = (&readers, &keys);
            std::thread::scope(|scope| {
                let writer = &mut writers[writer];
                scope.spawn(move || {
                    for request in write.drain(..) {
                        let reply = writer.call(&request);
                        assert!(!reply.is_error(), "{request:?}: {reply:?}");
                    }
                });
                for (number, cache) in caches.iter_mut().enumerate() {
                    if let Some(at) = reading.iter().position(|reader| *reader == number) {
                        let seed = seeds[at];
                        scope.spawn(move || cache.read(&mut Rng::new(seed), keys));
                    }
                }
            });
            for (number, cache) in caches.iter_mut().enumerate() {
                cache.ping();
                for (key, copy) in &cache.copies {
                    let is = now.get(key).copied().flatten();
                    assert_eq!(
                        *copy, is,
                        "{key} of cache {number}, version {version}, {seed}"
                    );
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(busy.load(Ordering::Relaxed) > 0);
        let copies: usize = caches.iter().map(|cache| cache.copies.len()).sum();
        assert!(copies > 0, "something was kept");
    });
}

/// What is written next, and what the keys hold then.
fn write(
    rng: &mut Rng,
    keys: &[String],
    version: i64,
    now: &mut BTreeMap<String, Option<i64>>,
) -> Vec<Vec<String>> {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (rng.pick(keys).clone(), rng.pick(keys).clone());
    let held = now.get(&one).copied().flatten();
    match rng.below(10) {
        0 => {
            now.insert(one.clone(), None);
            vec![words(&format!("DEL {one}"))]
        }
        1 => {
            now.insert(one.clone(), None);
            vec![words(&format!("PEXPIREAT {one} 1"))]
        }
        2 if one != other && held.is_some() => {
            now.insert(one.clone(), None);
            now.insert(other.clone(), held);
            vec![words(&format!("RENAME {one} {other}"))]
        }
        3 | 4 => {
            now.insert(one.clone(), Some(version));
            now.insert(other.clone(), Some(version));
            vec![words(&format!("MSET {one} {version} {other} {version}"))]
        }
        5 | 6 => {
            now.insert(one.clone(), Some(version));
            now.insert(other.clone(), Some(version));
            let lines = [
                "MULTI".to_owned(),
                format!("SET {one} {version}"),
                format!("SET {other} {version}"),
                "EXEC".to_owned(),
            ];
            lines.iter().map(|line| words(line)).collect()
        }
        7 if rng.one_in(20) => {
            now.clear();
            vec![words("FLUSHALL")]
        }
        _ => {
            now.insert(one.clone(), Some(version));
            vec![words(&format!("SET {one} {version}"))]
        }
    }
}
