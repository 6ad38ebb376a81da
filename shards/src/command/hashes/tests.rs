//! Dialogues recorded from redis-server, or taken from its documentation where
//! 7.0 does not know the command.

use crate::command::harness::Engine;
use crate::types::UnixMs;

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

/// An engine in which new hashes have one of the two encodings.
fn engines() -> [Engine; 2] {
    let mut large = Engine::new();
    large.shard.settings.encodings.hash_max_listpack_entries = 0;
    [Engine::new(), large]
}

fn encoding(engine: &mut Engine, key: &str) -> String {
    let reply = engine.run(&format!("OBJECT ENCODING {key}"));
    reply.split('|').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn fields_in_every_encoding() {
    for (mut engine, name) in engines().into_iter().zip(["listpack", "hashtable"]) {
        engine.talk(&[
            ("HSET h a 1 b two a 3", ":2"),
            ("HSET h b 2 c 4", ":1"),
            ("HMSET h a 1 d \"\"", "+OK"),
            ("HSETNX h a 9", ":0"),
            ("HSETNX h e 5", ":1"),
            ("HGET h a", "$1|1"),
            ("HGET h x", "$-1"),
            ("HMGET h a x d", "*3|$1|1|$-1|$0|"),
            ("HLEN h", ":5"),
            ("HEXISTS h d", ":1"),
            ("HEXISTS h x", ":0"),
            ("HSTRLEN h b", ":1"),
            ("HSTRLEN h x", ":0"),
            ("HINCRBY h a -3", ":-2"),
            ("HINCRBY h new 7", ":7"),
            ("HINCRBYFLOAT h a 0.5", "$4|-1.5"),
            ("HINCRBYFLOAT h f 3.0e3", "$4|3000"),
            ("HDEL h b c d e new f x", ":6"),
            ("HGETALL h", "*2|$1|a|$4|-1.5"),
            ("HKEYS h", "*1|$1|a"),
            ("HVALS h", "*1|$4|-1.5"),
            ("HSCAN h 0", "*2|$1|0|*2|$1|a|$4|-1.5"),
            ("HSCAN h 0 NOVALUES", "*2|$1|0|*1|$1|a"),
            ("HSCAN h 0 MATCH x*", "*2|$1|0|*0"),
            ("HRANDFIELD h", "$1|a"),
            ("HRANDFIELD h -2", "*2|$1|a|$1|a"),
            ("HRANDFIELD h 5 WITHVALUES", "*2|$1|a|$4|-1.5"),
            ("HRANDFIELD h 0", "*0"),
        ]);
        assert_eq!(encoding(&mut engine, "h"), name);
        engine.talk(&[
            ("HDEL h a a", ":1"),
            ("EXISTS h", ":0"),
            ("HGETALL h", "*0"),
            ("HRANDFIELD h", "$-1"),
            ("HRANDFIELD h 3", "*0"),
        ]);
    }
}

/// Recorded from redis-server 7.0.15.
#[test]
fn errors() {
    let no_integer = "-ERR value is not an integer or out of range";
    Engine::new().talk(&[
        ("SET k x", "+OK"),
        ("HSET k a 1", WRONG),
        ("HGET k a", WRONG),
        ("HMGET k a", WRONG),
        ("HGETALL k", WRONG),
        ("HDEL k a", WRONG),
        ("HINCRBY k a x", no_integer),
        ("HINCRBY k a 1", WRONG),
        ("HINCRBYFLOAT k a x", "-ERR value is not a valid float"),
        ("HINCRBYFLOAT k a 1", WRONG),
        ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
        ("EXISTS h", ":0"),
        ("HSET h t text n 9223372036854775807", ":2"),
        ("HINCRBY h t 1", "-ERR hash value is not an integer"),
        ("HINCRBY h n 1", "-ERR increment or decrement would overflow"),
        ("HINCRBYFLOAT h t 1", "-ERR hash value is not a float"),
        ("HINCRBYFLOAT h n inf", "-ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h n nan", "-ERR value is not a valid float"),
        ("HRANDFIELD h x", no_integer),
        ("HRANDFIELD h 1 x", "-ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES x", "-ERR syntax error"),
        (
            "HRANDFIELD h -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("HRANDFIELD h -9223372036854775807 WITHVALUES", "-ERR value is out of range"),
        ("HRANDFIELD h 4611686018427387904 WITHVALUES", "-ERR value is out of range"),
        ("HSCAN h x", "-ERR invalid cursor"),
        ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
    ]);
}

/// From the documentation of Redis 8.0.
#[test]
fn fields_expire_in_every_encoding() {
    for (mut engine, name) in engines().into_iter().zip(["listpackex", "hashtable"]) {
        engine.talk(&[
            ("HEXPIRE h 10 FIELDS 1 a", "*1|:-2"),
            ("HSET h a 1 b 2 c 3", ":3"),
            ("HEXPIRE h 10 FIELDS 3 a b x", "*3|:1|:1|:-2"),
            ("HTTL h FIELDS 3 a c x", "*3|:10|:-1|:-2"),
            ("HPEXPIRE h 5000 NX FIELDS 2 a c", "*2|:0|:1"),
            ("HPEXPIRE h 6000 GT FIELDS 2 a c", "*2|:0|:1"),
            ("HPEXPIRE h 5000 LT FIELDS 1 c", "*1|:1"),
            ("HPEXPIRE h 7000 XX FIELDS 1 c", "*1|:1"),
            ("HPTTL h FIELDS 3 a b c", "*3|:10000|:10000|:7000"),
            ("HPEXPIRETIME h FIELDS 1 c", "*1|:1000000007000"),
            ("HEXPIRETIME h FIELDS 1 c", "*1|:1000000007"),
            ("HPERSIST h FIELDS 3 b b x", "*3|:1|:1|:-2"),
            ("HPERSIST h FIELDS 1 b", "*1|:-1"),
            ("HSET h a 1", ":0"),
            ("HTTL h FIELDS 1 a", "*1|:-1"),
            ("HINCRBY h c 1", ":4"),
            ("HPTTL h FIELDS 1 c", "*1|:7000"),
            ("HEXPIRE h 0 FIELDS 1 a", "*1|:2"),
            ("HEXISTS h a", ":0"),
        ]);
        assert_eq!(encoding(&mut engine, "h"), name);
        engine.now = UnixMs(engine.now.0 + 7000);
        assert_eq!(engine.effects("HGET h c"), "*3|$4|HDEL|$1|h|$1|c|");
        engine.talk(&[
            ("HGETALL h", "*2|$1|b|$1|2"),
            ("HEXPIREAT h 1 FIELDS 1 b", "*1|:2"),
            ("EXISTS h", ":0"),
            ("HSETEX h EX 5 FIELDS 2 a 1 b 2", ":1"),
            ("HSETEX h FNX FIELDS 2 a 3 c 3", ":0"),
            ("HSETEX h FXX FIELDS 2 a 3 c 3", ":0"),
            ("HSETEX h FXX KEEPTTL FIELDS 1 a 3", ":1"),
            ("HTTL h FIELDS 2 a b", "*2|:5|:5"),
            ("HSETEX h FIELDS 1 a 4", ":1"),
            ("HTTL h FIELDS 2 a b", "*2|:-1|:5"),
            ("HGETEX h PX 900 FIELDS 2 a x", "*2|$1|4|$-1"),
            ("HPTTL h FIELDS 1 a", "*1|:900"),
            ("HGETEX h PERSIST FIELDS 2 a b", "*2|$1|4|$1|2"),
            ("HTTL h FIELDS 2 a b", "*2|:-1|:-1"),
            ("HGETEX h FIELDS 1 b", "*1|$1|2"),
            ("HGETEX h PXAT 5 FIELDS 1 b", "*1|$1|2"),
            ("HGETDEL h FIELDS 3 a b a", "*3|$1|4|$-1|$-1"),
            ("EXISTS h", ":0"),
            ("HGETDEL h FIELDS 1 a", "*1|$-1"),
            ("HSETEX h PXAT 5 FIELDS 1 a 1", ":1"),
            ("EXISTS h", ":0"),
        ]);
    }
}

#[test]
fn due_fields_go_without_being_asked_for() {
    for mut engine in engines() {
        for field in 0..300 {
            engine.run(&format!("HSETEX h PX 100 FIELDS 1 f{field} v"));
            engine.run(&format!(
                "HSETEX keep PX {} FIELDS 1 f{field} v",
                50 + field
            ));
        }
        engine.run("EXPIRE keep 1000");
        engine.run("PERSIST keep");
        engine.run("RENAME keep kept");
        engine.now = UnixMs(engine.now.0 + 100);
        while engine.shard.expire_due(engine.now, 50).more {}
        let keyspace = engine.shard.keyspace(engine.db);
        keyspace.check_invariants();
        assert_eq!(keyspace.len(), 1);
        assert_eq!(engine.run("HLEN kept"), ":249|");
        engine.now = UnixMs(engine.now.0 + 1000);
        while engine.shard.expire_due(engine.now, 50).more {}
        assert_eq!(engine.shard.keyspace(engine.db).len(), 0);
    }
}

#[test]
fn wrong_words_about_deadlines() {
    let missing = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    let mismatch = "-ERR The `numfields` parameter must match the number of arguments";
    Engine::new().talk(&[
        ("SET k x", "+OK"),
        ("HSET h a 1", ":1"),
        ("HEXPIRE k x FIELDS 1 a", WRONG),
        ("HTTL k FIELDS 0 a", WRONG),
        (
            "HEXPIRE h -1 FIELDS 1 a",
            "-ERR invalid expire time, must be >= 0",
        ),
        (
            "HEXPIRE h x FIELDS 1 a",
            "-ERR value is not an integer or out of range",
        ),
        (
            "HEXPIRE h 70368744178 FIELDS 1 a",
            "-ERR invalid expire time in 'hexpire' command",
        ),
        (
            "HPEXPIREAT h 70368744177664 FIELDS 1 a",
            "-ERR invalid expire time in 'hpexpireat' command",
        ),
        ("HEXPIRE h 1 FOO 1 a", missing),
        (
            "HEXPIRE h 1 FIELDS 0 a",
            "-ERR Parameter `numFields` should be greater than 0",
        ),
        ("HEXPIRE h 1 NX FIELDS 2 a", mismatch),
        ("HTTL h FIELDS 2 a", mismatch),
        ("HTTL h FOO 1 a", missing),
        (
            "HTTL h FIELDS x a",
            "-ERR Number of fields must be a positive integer",
        ),
        (
            "HGETEX h EX 1 PX 1 FIELDS 1 a",
            "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
        ),
        ("HGETEX h FOO FIELDS 1 a", "-ERR unknown argument: FOO"),
        (
            "HSETEX h FNX FXX FIELDS 1 a 1",
            "-ERR Only one of FXX or FNX arguments can be specified",
        ),
        (
            "HSETEX h FIELDS 1 a 1 b",
            "-ERR wrong number of arguments for 'hsetex' command",
        ),
        ("HSETEX h FIELDS 0 a 1", "-ERR invalid number of fields"),
        ("HGETDEL h FIELDS 2 a", mismatch),
        ("HTTL h FIELDS 1 a", "*1|:-1"),
    ]);
}

#[test]
fn effects() {
    for mut engine in engines() {
        for (line, effect) in [
            ("HSET h a 1", "*4|$4|HSET|$1|h|$1|a|$1|1|"),
            ("HSETNX h a 1", ""),
            ("HDEL h x", ""),
            (
                "HEXPIRE h 1 FIELDS 2 a x",
                "*6|$10|HPEXPIREAT|$1|h|$13|1000000001000|$6|FIELDS|$1|1|$1|a|",
            ),
            (
                "HINCRBYFLOAT h a 1",
                "*1|$5|MULTI|*4|$4|HSET|$1|h|$1|a|$1|2|\
                 *6|$10|HPEXPIREAT|$1|h|$13|1000000001000|$6|FIELDS|$1|1|$1|a|*1|$4|EXEC|",
            ),
            (
                "HPERSIST h FIELDS 1 a",
                "*5|$8|HPERSIST|$1|h|$6|FIELDS|$1|1|$1|a|",
            ),
            ("HPERSIST h FIELDS 1 a", ""),
            (
                "HSETEX h PX 5 FIELDS 1 b 2",
                "*8|$6|HSETEX|$1|h|$4|PXAT|$13|1000000000005|$6|FIELDS|$1|1|$1|b|$1|2|",
            ),
            ("HGETEX h FIELDS 1 a", ""),
            ("HEXPIRE h 0 FIELDS 1 a", "*3|$4|HDEL|$1|h|$1|a|"),
            ("HGETDEL h FIELDS 2 b x", "*3|$4|HDEL|$1|h|$1|b|"),
            ("HGETDEL h FIELDS 1 b", ""),
        ] {
            assert_eq!(engine.effects(line), effect, "{line}");
        }
    }
}

#[test]
fn fields_by_chance_are_found_among_many_that_are_due() {
    const ALIVE: usize = 5;
    for due in [0, 2000, 20_000] {
        let mut engine = Engine::new();
        // Some go with every look: the others are met.
        engine.shard.keep().hold_all(true);
        let at = engine.now.0 + 1;
        for start in (0..due).step_by(100) {
            let fields: Vec<String> = (start..start + 100).map(|it| format!("d{it} v")).collect();
            engine.run(&format!(
                "HSETEX h PXAT {at} FIELDS 100 {}",
                fields.join(" ")
            ));
        }
        for field in 0..ALIVE {
            engine.run(&format!("HSET h a{field} v"));
        }
        engine.now = UnixMs(at);
        for (line, count) in [
            ("HRANDFIELD h", 1),
            ("HRANDFIELD h -2000", 2000),
            ("HRANDFIELD h 3", 3),
            ("HRANDFIELD h 100", ALIVE),
        ] {
            let reply = engine.run(line);
            assert_eq!(reply.matches("$2|a").count(), count, "{line}: {reply:.100}");
            assert!(!reply.contains("|d"), "{line}");
        }
    }
}
