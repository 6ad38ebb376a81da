//! Families that redis-server 7.0 does not know, held against the documentation
//! of later versions.

use crate::support::server::Server;
use crate::support::wait_until;

/// From the documentation of Redis 7.4 and 8.0.
#[test]
fn fields_have_deadlines() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    for (request, reply) in [
        ("HSETEX h EX 1000 FIELDS 2 a 1 b 2", ":1\r\n"),
        ("HEXPIREAT h 70000000000 GT FIELDS 1 a", "*1\r\n:1\r\n"),
        (
            "HEXPIRETIME h FIELDS 2 a x",
            "*2\r\n:70000000000\r\n:-2\r\n",
        ),
        ("HPEXPIREAT h 60000000000000 FIELDS 1 b", "*1\r\n:1\r\n"),
        ("HPEXPIRETIME h FIELDS 1 b", "*1\r\n:60000000000000\r\n"),
        ("HPERSIST h FIELDS 2 a b", "*2\r\n:1\r\n:1\r\n"),
        ("HTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
        ("HPTTL h FIELDS 1 a", "*1\r\n:-1\r\n"),
        ("HGETEX h PX 1 FIELDS 1 a", "*1\r\n$1\r\n1\r\n"),
        ("HGETDEL h FIELDS 1 b", "*1\r\n$1\r\n2\r\n"),
        ("HSET t a 1 b 2", ":2\r\n"),
        ("HEXPIRE t 0 FIELDS 1 a", "*1\r\n:2\r\n"),
        ("HPEXPIRE t 1 FIELDS 1 b", "*1\r\n:1\r\n"),
    ] {
        let words: Vec<&str> = request.split(' ').collect();
        let got = String::from_utf8_lossy(&client.call(&words).raw).into_owned();
        assert_eq!(got, reply, "{request}");
    }
    // Nobody asks for the fields: the keys go by themselves.
    wait_until("the keys are gone by themselves", || {
        client.call(&["DBSIZE"]).integer() == 0
    });
}

/// From the documentation of Redis 8.2.
#[test]
fn entries_go_with_regard_to_groups() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    for (request, reply) in [
        ("XADD s KEEPREF 1 f v", "$3\r\n1-0\r\n"),
        ("XADD s NOMKSTREAM acked MAXLEN 5 2 f v", "$3\r\n2-0\r\n"),
        ("XADD s MINID ~ 1 LIMIT 5 DELREF 3 f v", "$3\r\n3-0\r\n"),
        ("XADD s ACKED ACKED 4 f v", INVALID_ID),
        ("XADD s ACKED KEEPREF 4 f v", INVALID_ID),
        ("XDELEX s IDS 2 1 9", "*2\r\n:1\r\n:-1\r\n"),
        ("XDELEX s KEEPREF IDS 1 1", "*1\r\n:-1\r\n"),
        ("XDELEX none ACKED IDS 2 1 2", "*2\r\n:-1\r\n:-1\r\n"),
        ("XTRIM s MAXLEN 1 ACKED", ":1\r\n"),
        ("XTRIM s DELREF MAXLEN 0", ":1\r\n"),
        ("XTRIM s MAXLEN 0 ACKED DELREF", "-ERR syntax error\r\n"),
        ("XDELEX s IDS 1 x", INVALID_ID),
        (
            "XDELEX s IDS 0 1",
            "-ERR Number of IDs must be a positive integer\r\n",
        ),
        (
            "XDELEX s IDS 3 1 2",
            "-ERR The `numids` parameter must match the number of arguments\r\n",
        ),
        ("XDELEX s IDS 1 1 2", "-ERR syntax error\r\n"),
        ("XDELEX s ACKED KEEPREF IDS 1 1", "-ERR syntax error\r\n"),
        ("XLEN s", ":0\r\n"),
        // Redis 7.2 mends what 7.0 says of these.
        (
            "XADD t 5-18446744073709551615 f v",
            "$22\r\n5-18446744073709551615\r\n",
        ),
        (
            "XADD t 5-* f v",
            "-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n",
        ),
        ("XADD u 7-4 f v", "$3\r\n7-4\r\n"),
        ("XDEL u 7-4", ":1\r\n"),
        (
            "XSETID u 7-3",
            "-ERR The ID specified in XSETID is smaller than current max_deleted_entry_id\r\n",
        ),
    ] {
        let words: Vec<&str> = request.split(' ').collect();
        let got = String::from_utf8_lossy(&client.call(&words).raw).into_owned();
        assert_eq!(got, reply, "{request}");
    }
}

/// From the documentation of Redis 8.2: what is pending, with groups that read.
#[test]
fn what_is_acknowledged_goes_with_regard_to_other_groups() {
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &[]);
        let mut client = cordis.connect();
        for id in ["1", "2", "3", "4", "5", "6", "7"] {
            client.call(&["XADD", "s", id, "f", "v"]);
        }
        client.call(&["XGROUP", "CREATE", "s", "g", "0"]);
        client.call(&["XGROUP", "CREATE", "s", "h", "0"]);
        client.call(&["XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", ">"]);
        let some = "XREADGROUP GROUP h b COUNT 2 STREAMS s >";
        client.call(&some.split(' ').collect::<Vec<_>>());
        for (request, reply) in [
            // Another group still has it, and nothing more to read of it.
            ("XACKDEL s g IDS 1 1", "*1\r\n:1\r\n"),
            ("XPENDING s g 1 1 9", "*0\r\n"),
            ("XACK s h 1", ":1\r\n"),
            ("XACKDEL s h IDS 1 1", "*1\r\n:-1\r\n"),
            // Only when the last has acknowledged it.
            ("XACKDEL s g ACKED IDS 2 2 9", "*2\r\n:2\r\n:-1\r\n"),
            ("XLEN s", ":6\r\n"),
            ("XACKDEL s h ACKED IDS 1 2", "*1\r\n:1\r\n"),
            ("XLEN s", ":5\r\n"),
            // The other group has not got it yet.
            ("XACKDEL s g acked ids 1 3", "*1\r\n:2\r\n"),
            ("XDELEX s ACKED IDS 1 3", "*1\r\n:2\r\n"),
            ("XTRIM s MAXLEN 0 ACKED", ":0\r\n"),
            ("XADD s ACKED MAXLEN 1 8 f v", "$3\r\n8-0\r\n"),
            ("XLEN s", ":6\r\n"),
            (
                "XREADGROUP GROUP h b COUNT 2 STREAMS s >",
                "*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n3-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n\
                 *2\r\n$3\r\n4-0\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
            ),
            ("XACK s h 3", ":1\r\n"),
            ("XTRIM s MAXLEN 0 ACKED", ":1\r\n"),
            // What goes is pending nowhere.
            ("XACKDEL s g DELREF IDS 2 4 5", "*2\r\n:1\r\n:1\r\n"),
            ("XPENDING s h", "*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n"),
            ("XDELEX s DELREF IDS 1 6", "*1\r\n:1\r\n"),
            (
                "XPENDING s g",
                "*4\r\n:1\r\n$3\r\n7-0\r\n$3\r\n7-0\r\n*1\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n",
            ),
            ("XTRIM s MAXLEN 0 KEEPREF", ":2\r\n"),
            (
                "XREADGROUP GROUP g a STREAMS s 0",
                "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n7-0\r\n*-1\r\n",
            ),
            ("XACKDEL s g IDS 1 7", "*1\r\n:1\r\n"),
            ("XACKDEL none g IDS 2 1 2", "*2\r\n:-1\r\n:-1\r\n"),
            ("XACKDEL s none IDS 1 1", "*1\r\n:-1\r\n"),
            (
                "XACKDEL s g KEEPREF DELREF IDS 1 1",
                "-ERR syntax error\r\n",
            ),
            ("XACKDEL s g IDS 1 x", INVALID_ID),
            (
                "XACKDEL s g IDS 2 1",
                "-ERR The `numids` parameter must match the number of arguments\r\n",
            ),
        ] {
            let words: Vec<&str> = request.split(' ').collect();
            let got = String::from_utf8_lossy(&client.call(&words).raw).into_owned();
            assert_eq!(got, reply, "{request} on {shards}");
        }
    }
}

/// From the documentation of Redis 7.2: a consumer is seen when it tries, and active when
/// it gets something.
#[test]
fn consumers_that_never_got_anything_say_so() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    for request in [
        "XGROUP CREATE s g 0 MKSTREAM",
        "XGROUP CREATECONSUMER s g idle",
        "XREADGROUP GROUP g tries STREAMS s >",
        "XADD s 1 f v",
        "XREADGROUP GROUP g works STREAMS s >",
    ] {
        client.call(&request.split(' ').collect::<Vec<_>>());
    }
    let told = client.call(&["XINFO", "CONSUMERS", "s", "g"]).raw;
    let told = String::from_utf8_lossy(&told).replace("\r\n", " ");
    let after = |text: &str, word: &str| -> i64 {
        let (_, rest) = text.split_once(&format!("{word} :")).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    for (name, works) in [("idle", false), ("tries", false), ("works", true)] {
        let (_, of) = told.split_once(&format!("{name} $7 pending")).unwrap();
        assert!(after(of, "idle") >= 0, "{told}");
        assert_eq!(after(of, "inactive") >= 0, works, "{name}: {told}");
        assert!(works || after(of, "inactive") == -1, "{name}: {told}");
    }
    let full = client.call(&["XINFO", "STREAM", "s", "FULL"]).raw;
    let full = String::from_utf8_lossy(&full).replace("\r\n", " ");
    for (name, works) in [("idle", false), ("tries", false), ("works", true)] {
        let (_, of) = full.split_once(&format!("{name} $9 seen-time")).unwrap();
        let (seen, active) = (
            after(&format!("seen-time{of}"), "seen-time"),
            after(of, "active-time"),
        );
        assert!(seen > 1_600_000_000_000, "{full}");
        let expected = if works { seen } else { -1 };
        assert_eq!(active, expected, "{name}: {full}");
    }
}

const INVALID_ID: &str = "-ERR Invalid stream ID specified as stream command argument\r\n";

#[test]
fn newer_than_the_reference() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let expected: &[(&[&str], &str)] = &[
        (&["CLIENT", "SETINFO", "LIB-NAME", "redis-py"], "+OK\r\n"),
        (&["CLIENT", "SETINFO", "lib-ver", "5.0.1"], "+OK\r\n"),
        (
            &["CLIENT", "SETINFO", "LIB-NAME", "two words"],
            "-ERR LIB-NAME cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-VER", "1\n2"],
            "-ERR LIB-VER cannot contain spaces, newlines or special characters.\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-WHAT", "x"],
            "-ERR Unrecognized option 'LIB-WHAT'\r\n",
        ),
        (
            &["CLIENT", "SETINFO", "LIB-NAME"],
            "-ERR wrong number of arguments for 'client|setinfo' command\r\n",
        ),
        (&["ZADD", "z", "1.5", "a", "2", "b"], ":2\r\n"),
        (&["ZRANK", "z", "b", "WITHSCORE"], "*2\r\n:1\r\n$1\r\n2\r\n"),
        (
            &["ZREVRANK", "z", "a", "withscore"],
            "*2\r\n:1\r\n$3\r\n1.5\r\n",
        ),
        (&["CLIENT", "NO-TOUCH", "ON"], "+OK\r\n"),
        (&["CLIENT", "NO-TOUCH", "off"], "+OK\r\n"),
        (&["CLIENT", "NO-TOUCH", "maybe"], "-ERR syntax error\r\n"),
        (
            &["CLIENT", "NO-TOUCH"],
            "-ERR wrong number of arguments for 'client|no-touch' command\r\n",
        ),
    ];
    for (request, reply) in expected {
        let got = String::from_utf8_lossy(&client.call(request).raw).into_owned();
        assert_eq!(&got, reply, "{request:?}");
    }
    let info = client.call(&["CLIENT", "INFO"]).to_string();
    assert!(info.contains(" lib-name=redis-py lib-ver=5.0.1"), "{info}");
}
