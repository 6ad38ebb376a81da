//! Dialogues recorded from redis-server, and what chance must keep to.

use crate::command::harness::Engine;
use crate::types::Thresholds;
use std::collections::BTreeSet;

/// An engine in which new sets of words, and of numbers, have this encoding.
fn engine(encoding: &str) -> Engine {
    let mut engine = Engine::new();
    let thresholds: &mut Thresholds = &mut engine.shard.settings.encodings;
    if encoding != "intset" {
        thresholds.set_max_intset_entries = 0;
    }
    if encoding == "hashtable" {
        thresholds.set_max_listpack_entries = 0;
    }
    engine
}

const ENCODINGS: [&str; 3] = ["intset", "listpack", "hashtable"];

fn sorted(reply: &str) -> Vec<String> {
    let mut words: Vec<String> = reply.split('|').skip(1).map(str::to_owned).collect();
    words.sort();
    words
}

#[test]
fn members_in_every_encoding() {
    for encoding in ENCODINGS {
        let mut engine = engine(encoding);
        engine.talk(&[
            ("SADD s 1 2 3 2", ":3"),
            ("SADD s 3 4", ":1"),
            ("SCARD s", ":4"),
            ("SISMEMBER s 4", ":1"),
            ("SISMEMBER s 04", ":0"),
            ("SMISMEMBER s 1 x 2", "*3|:1|:0|:1"),
            ("SREM s 1 x 1", ":1"),
            ("SCARD s", ":3"),
            ("SMOVE s t 2", ":1"),
            ("SMOVE s t 2", ":0"),
            ("SMOVE s s 3", ":1"),
            ("SMEMBERS t", "*1|$1|2"),
            ("TYPE s", "+set"),
        ]);
        let reply = format!("${}|{encoding}|", encoding.len());
        assert_eq!(engine.run("OBJECT ENCODING s"), reply);
        assert_eq!(engine.run("OBJECT ENCODING t"), reply);
        assert_eq!(
            sorted(&engine.run("SMEMBERS s")),
            ["", "$1", "$1", "3", "4"]
        );
        engine.talk(&[
            ("SREM s 3 4", ":2"),
            ("EXISTS s", ":0"),
            ("SMEMBERS s", "*0"),
            ("SCARD s", ":0"),
        ]);
    }
}

#[test]
fn algebra_in_every_encoding() {
    for encoding in ENCODINGS {
        let mut engine = engine(encoding);
        engine.talk(&[
            ("SADD a 1 2 3 4", ":4"),
            ("SADD b 3 4 5", ":3"),
            ("SADD c 4", ":1"),
            ("SINTER a b c", "*1|$1|4"),
            ("SINTER a nokey", "*0"),
            ("SINTERSTORE d a b", ":2"),
            ("SCARD d", ":2"),
            ("SDIFFSTORE d a b c nokey", ":2"),
            ("SMISMEMBER d 1 2 3", "*3|:1|:1|:0"),
            ("SDIFFSTORE a a b", ":2"),
            ("SMISMEMBER a 1 2 3", "*3|:1|:1|:0"),
            ("SUNIONSTORE d a b nokey", ":5"),
            ("SINTERCARD 2 a b", ":0"),
            ("SINTERCARD 2 d b LIMIT 2", ":2"),
            ("SINTERCARD 2 d b LIMIT 0", ":3"),
            ("SINTERCARD 1 d LIMIT 3", ":3"),
            ("SINTERSTORE d a nokey", ":0"),
            ("EXISTS d", ":0"),
        ]);
    }
}

#[test]
fn effects() {
    for encoding in ENCODINGS {
        let mut engine = engine(encoding);
        for (line, effect) in [
            ("SADD s 1", "*3|$4|SADD|$1|s|$1|1|"),
            ("SADD s 1", ""),
            ("SREM s 2", ""),
            ("SRANDMEMBER s", ""),
            ("SPOP s", "*2|$3|DEL|$1|s|"),
            ("SPOP s", ""),
            ("SINTERSTORE s s", ""),
        ] {
            assert_eq!(engine.effects(line), effect, "{line}");
        }
        engine.run("SADD s 1 2 3");
        let popped = engine.effects("SPOP s 2");
        assert!(popped.starts_with("*4|$4|SREM|$1|s|$1|"), "{popped}");
    }
}

#[test]
fn chance_is_fair_in_every_encoding() {
    for encoding in ENCODINGS {
        let mut engine = engine(encoding);
        engine.run("SADD s 10 11 12 13 14 15 16 17 18 19");
        let mut times = [0; 10];
        for _ in 0..2_000 {
            let reply = engine.run("SRANDMEMBER s");
            times[reply.as_bytes()[4] as usize - usize::from(b'0')] += 1;
        }
        assert!(
            times.iter().all(|times| (130..270).contains(times)),
            "{times:?}"
        );
        for (count, expected) in [(3, 3), (10, 10), (50, 10), (0, 0)] {
            let reply = engine.run(&format!("SRANDMEMBER s {count}"));
            let members: BTreeSet<&str> = reply.split("$2|").skip(1).collect();
            assert_eq!(members.len(), expected);
        }
        assert!(engine.run("SRANDMEMBER s -30").starts_with("*30|"));
        let (mut left, mut popped) = (10, BTreeSet::new());
        while left > 0 {
            let reply = engine.run(&format!("SPOP s {}", left.min(3)));
            popped.extend(reply.split("$2|").skip(1).map(str::to_owned));
            left -= left.min(3);
        }
        assert_eq!(
            (popped.len(), engine.run("EXISTS s")),
            (10, ":0|".to_owned())
        );
    }
}

/// Recorded from redis-server 7.0.15.
#[test]
fn errors() {
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let positive = "-ERR value is out of range, must be positive";
    Engine::new().talk(&[
        ("SADD s a", ":1"),
        ("SET k x", "+OK"),
        ("SADD k a", wrong),
        ("SPOP k", wrong),
        ("SPOP k x", positive),
        ("SPOP nokey -1", positive),
        ("SPOP s 1 1", "-ERR syntax error"),
        ("SRANDMEMBER s x", "-ERR value is not an integer or out of range"),
        ("SRANDMEMBER s 1 1", "-ERR syntax error"),
        (
            "SRANDMEMBER s -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("SMOVE k s a", wrong),
        ("SMOVE s k a", wrong),
        ("SMOVE nokey k a", ":0"),
        ("SINTER nokey k", wrong),
        ("SDIFF nokey k", wrong),
        ("SUNION s k", wrong),
        ("SINTERSTORE d s k", wrong),
        ("SINTERCARD 0 s", "-ERR numkeys should be greater than 0"),
        ("SINTERCARD x s", "-ERR numkeys should be greater than 0"),
        (
            "SINTERCARD 3 s s",
            "-ERR Number of keys can't be greater than number of args",
        ),
        ("SINTERCARD 1 k LIMIT -1", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT x", "-ERR LIMIT can't be negative"),
        ("SINTERCARD 1 s LIMIT", "-ERR syntax error"),
        ("SINTERCARD 1 s FOO 1", "-ERR syntax error"),
        ("SSCAN s x", "-ERR invalid cursor"),
        ("SSCAN nokey 0 FOO", "*2|$1|0|*0"),
        ("SSCAN s 0 COUNT 0", "-ERR syntax error"),
        ("SSCAN s 0 COUNT x", "-ERR value is not an integer or out of range"),
        ("SSCAN s 0 MATCH", "-ERR syntax error"),
        ("SSCAN s 0 NOVALUES", "-ERR syntax error"),
        ("SSCAN s 0 MATCH b*", "*2|$1|0|*0"),
        ("SSCAN s 0 match a* COUNT 5", "*2|$1|0|*1|$1|a"),
        ("SCARD s", ":1"),
    ]);
}
