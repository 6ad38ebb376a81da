//! Every list command, in either encoding.

use super::*;
use crate::command::harness::{Engine, text, words};
use crate::command::{Decision, row};
use crate::resp::Protocol;

const ENCODINGS: [(i64, &str); 2] = [(-2, "listpack"), (1, "quicklist")];

fn engine(limit: i64) -> Engine {
    let mut engine = Engine::new();
    engine.shard.settings.encodings.list_max_listpack_size = limit;
    engine
}

/// Runs a dialogue whose first request makes a list of several elements.
fn in_both_encodings(dialogue: &[(&str, &str)]) {
    for (limit, encoding) in ENCODINGS {
        let mut engine = engine(limit);
        let (first, rest) = dialogue.split_at(1);
        engine.talk(first);
        let key = first[0].0.split(' ').nth(1).unwrap();
        let object = engine.run(&format!("OBJECT ENCODING {key}"));
        assert_eq!(object, format!("${}|{encoding}|", encoding.len()));
        engine.talk(rest);
    }
}

fn encoding(engine: &mut Engine, key: &str) -> String {
    let reply = engine.run(&format!("OBJECT ENCODING {key}"));
    reply.split('|').nth(1).unwrap_or_default().to_owned()
}

/// As Redis 7.2 does: by size or number, and back at half of it.
#[test]
fn encodings_follow_the_limit() {
    let ten = "x".repeat(1000);
    let mut engine = engine(-2);
    for number in 1..=9 {
        engine.run(&format!("RPUSH l {ten}"));
        let expected = if number < 9 { "listpack" } else { "quicklist" };
        assert_eq!(encoding(&mut engine, "l"), expected, "{number}");
    }
    for number in (1..=8).rev() {
        engine.run("LPOP l");
        let expected = if number > 4 { "quicklist" } else { "listpack" };
        assert_eq!(encoding(&mut engine, "l"), expected, "{number}");
    }
    // One element that is too large, and its replacement.
    engine.run(&format!("RPUSH big {}", ten.repeat(9)));
    assert_eq!(encoding(&mut engine, "big"), "quicklist");
    engine.run("LSET big 0 small");
    assert_eq!(encoding(&mut engine, "big"), "listpack");
    engine.run(&format!("LSET big 0 {}", ten.repeat(9)));
    assert_eq!(encoding(&mut engine, "big"), "quicklist");
    for (limit, most) in [(3, 3), (0, 1), (-1, 4), (-3, 16), (-5, 65), (-99, 65)] {
        let mut engine = self::engine(limit);
        for number in 1..=most + 1 {
            engine.run(&format!("LPUSH l {ten}"));
            let expected = if number <= most {
                "listpack"
            } else {
                "quicklist"
            };
            assert_eq!(encoding(&mut engine, "l"), expected, "{limit}: {number}");
        }
    }
    // By number, there is still a bound on the size.
    let mut engine = self::engine(1000);
    for _ in 0..9 {
        engine.run(&format!("LPUSH l {ten}"));
    }
    assert_eq!(encoding(&mut engine, "l"), "quicklist");
    engine.run("LTRIM l 0 7");
    assert_eq!(encoding(&mut engine, "l"), "listpack");
}

#[test]
fn ranks_that_cannot_be_negated() {
    engine(-2).talk(&[(
        "LPOS l a RANK -9223372036854775808",
        "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
    )]);
}

#[test]
fn effects_are_what_happened() {
    for (limit, _) in ENCODINGS {
        let mut engine = engine(limit);
        engine.run("RPUSH l a b c d e");
        for (line, effect) in [
            ("LPOP none", ""),
            ("LPOP l 0", ""),
            ("LPOP l", "*2|$4|LPOP|$1|l|"),
            (
                "LMPOP 2 none l RIGHT COUNT 9223372036854775807",
                "*3|$4|RPOP|$1|l|$1|4|",
            ),
            ("LMPOP 1 l LEFT", ""),
            ("RPUSH l a", "*3|$5|RPUSH|$1|l|$1|a|"),
            ("LREM l 0 z", ""),
            ("LTRIM l 0 -1", ""),
            ("LINSERT l BEFORE z y", ""),
            (
                "LMOVE l m LEFT LEFT",
                "*5|$5|LMOVE|$1|l|$1|m|$4|LEFT|$4|LEFT|",
            ),
            ("LMOVE l m LEFT LEFT", ""),
        ] {
            assert_eq!(engine.effects(line), effect, "{line}");
        }
    }
}

/// What a request on two shards decides after reading.
fn decide(line: &str, read: &[&[u8]]) -> (String, Vec<String>) {
    let args = words(line);
    let Run::ReadThenWrite { decide, .. } = row(&args.args()[0]).unwrap().run else {
        panic!("{line}")
    };
    let (settings, mut out) = (Settings::default(), Vec::new());
    let reply = Reply::new(&mut out, Protocol::Resp2);
    let mut decision = Decision::new(args.args(), read, &settings, reply);
    let decided = decide(&mut decision);
    let writes = std::mem::take(&mut decision.writes);
    let write = |args: Args<'_>| {
        let words: Vec<&[u8]> = args.iter().collect();
        text(&words.join(&b' '))
    };
    let writes = writes.iter().map(|it| write(it.args.args())).collect();
    let reply = match decided {
        Ok(()) => text(&out),
        Err(error) => error.to_string(),
    };
    (reply, writes)
}

#[test]
fn decisions_over_shards() {
    let list: &[u8] = b"*2\r\n$1\r\na\r\n$2\r\nbb\r\n";
    let (none, other): (&[u8], &[u8]) = (b"$-1\r\n", b":0\r\n");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let error = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
    for (line, read, reply, writes) in [
        (
            "LMOVE s d LEFT RIGHT",
            [list, none],
            "$1|a|",
            &["RPUSH d a", "LPOP s"][..],
        ),
        (
            "LMOVE s d RIGHT LEFT",
            [list, list],
            "$2|bb|",
            &["LPUSH d bb", "RPOP s"],
        ),
        (
            "RPOPLPUSH s d",
            [list, none],
            "$2|bb|",
            &["LPUSH d bb", "RPOP s"],
        ),
        ("RPOPLPUSH s d", [none, other], "$-1|", &[]),
        ("RPOPLPUSH s d", [list, other], wrong, &[]),
        ("RPOPLPUSH s d", [other, list], wrong, &[]),
        ("LMOVE s d LEFT UP", [none, none], "ERR syntax error", &[]),
        (
            "LMPOP 2 a b LEFT",
            [b":0\r\n", b":3\r\n"],
            "",
            &["LPOP b 1"],
        ),
        (
            "LMPOP 2 a b RIGHT COUNT 2",
            [b":9\r\n", error],
            "",
            &["RPOP a 2"],
        ),
        ("LMPOP 2 a b RIGHT COUNT 2", [other, error], wrong, &[]),
        ("LMPOP 2 a b LEFT", [b":0\r\n", b":0\r\n"], "*-1|", &[]),
    ] {
        let (said, written) = decide(line, &read);
        assert_eq!(said, reply, "{line}");
        assert_eq!(written, writes, "{line}");
    }
}

/// What the shards are asked for such a decision.
#[test]
fn parts_over_shards() {
    for (limit, _) in ENCODINGS {
        let mut engine = engine(limit);
        engine.run("RPUSH l 1 b c");
        engine.run("RPUSH one z");
        engine.run("SET s v");
        assert_eq!(
            engine.part("LMOVE l one none s"),
            "*4|*2|$1|1|$1|c|*2|$1|z|$1|z|$-1|:0|"
        );
        assert_eq!(
            engine.part("LMPOP l one none s"),
            "*4|:3|:1|:0|-WRONGTYPE Operation against a key holding the wrong kind of value|"
        );
    }
}

/// Recorded from redis-server 7.0.15.
#[test]
fn both_ends() {
    in_both_encodings(&[
        ("RPUSH l a 2 -7", ":3"),
        ("LPUSH l x \"\" 300", ":6"),
        ("LRANGE l 0 -1", "*6|$3|300|$0||$1|x|$1|a|$1|2|$2|-7"),
        ("LLEN l", ":6"),
        ("LPOP l", "$3|300"),
        ("RPOP l", "$2|-7"),
        ("LPOP l 0", "*0"),
        ("LPOP l 2", "*2|$0||$1|x"),
        ("RPOP l 9", "*2|$1|2|$1|a"),
        ("EXISTS l", ":0"),
        ("LPOP l", "$-1"),
        ("RPOP l 1", "*-1"),
        ("LPOP l 0", "*-1"),
        ("LLEN l", ":0"),
        ("LPUSHX l a", ":0"),
        ("RPUSHX l a", ":0"),
        ("RPUSH l a b", ":2"),
        ("LPUSHX l 1 2", ":4"),
        ("RPUSHX l 3 4", ":6"),
        ("LRANGE l 0 -1", "*6|$1|2|$1|1|$1|a|$1|b|$1|3|$1|4"),
        ("LPOP l -1", "-ERR value is out of range, must be positive"),
        ("LPOP l x", "-ERR value is out of range, must be positive"),
        (
            "LPOP l 9223372036854775808",
            "-ERR value is out of range, must be positive",
        ),
        (
            "LPOP l 1 2",
            "-ERR wrong number of arguments for 'lpop' command",
        ),
        (
            "RPOP l 1 2",
            "-ERR wrong number of arguments for 'rpop' command",
        ),
        (
            "LPOP l 9223372036854775807",
            "*6|$1|2|$1|1|$1|a|$1|b|$1|3|$1|4",
        ),
        ("SET s v", "+OK"),
        (
            "LPUSH s a",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "RPUSHX s a",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LPOP s",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LPOP s 0",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("LPOP s -1", "-ERR value is out of range, must be positive"),
        (
            "LLEN s",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

/// Recorded from redis-server 7.0.15.
#[test]
fn places() {
    in_both_encodings(&[
        ("RPUSH l a b 3 d -5", ":5"),
        ("LINDEX l 0", "$1|a"),
        ("LINDEX l 2", "$1|3"),
        ("LINDEX l -1", "$2|-5"),
        ("LINDEX l -5", "$1|a"),
        ("LINDEX l -6", "$-1"),
        ("LINDEX l 5", "$-1"),
        ("LINDEX l x", "-ERR value is not an integer or out of range"),
        ("LINDEX none x", "$-1"),
        ("LINDEX l -9223372036854775808", "$-1"),
        ("LSET l 1 beta", "+OK"),
        ("LSET l -1 a-longer-element-than-before", "+OK"),
        ("LSET l 2 77", "+OK"),
        ("LSET l 5 x", "-ERR index out of range"),
        ("LSET l -6 x", "-ERR index out of range"),
        ("LSET l x x", "-ERR value is not an integer or out of range"),
        ("LSET none 0 x", "-ERR no such key"),
        ("LSET none x x", "-ERR no such key"),
        (
            "LRANGE l 0 -1",
            "*5|$1|a|$4|beta|$2|77|$1|d|$28|a-longer-element-than-before",
        ),
        ("LRANGE l 1 2", "*2|$4|beta|$2|77"),
        ("LRANGE l -2 99", "*2|$1|d|$28|a-longer-element-than-before"),
        ("LRANGE l -99 0", "*1|$1|a"),
        ("LRANGE l 3 1", "*0"),
        ("LRANGE l 5 9", "*0"),
        (
            "LRANGE l -9223372036854775808 9223372036854775807",
            "*5|$1|a|$4|beta|$2|77|$1|d|$28|a-longer-element-than-before",
        ),
        (
            "LRANGE none 0 x",
            "-ERR value is not an integer or out of range",
        ),
        ("LRANGE none 0 -1", "*0"),
        ("LTRIM l 1 -2", "+OK"),
        ("LRANGE l 0 -1", "*3|$4|beta|$2|77|$1|d"),
        ("LTRIM l 0 -1", "+OK"),
        ("LTRIM l -2 9", "+OK"),
        ("LRANGE l 0 -1", "*2|$2|77|$1|d"),
        ("LTRIM l 1 0", "+OK"),
        ("EXISTS l", ":0"),
        ("LTRIM none 0 1", "+OK"),
        (
            "LTRIM none x 1",
            "-ERR value is not an integer or out of range",
        ),
        ("SET s v", "+OK"),
        (
            "LINDEX s x",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LSET s x x",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LRANGE s 0 -1",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LTRIM s 0 -1",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

/// Recorded from redis-server 7.0.15.
#[test]
fn looking_for_elements() {
    in_both_encodings(&[
        ("RPUSH l a b 3 a 3 b a", ":7"),
        ("LPOS l a", ":0"),
        ("LPOS l 3", ":2"),
        ("LPOS l 03", "$-1"),
        ("LPOS l a RANK 2", ":3"),
        ("LPOS l a RANK -1", ":6"),
        ("LPOS l a RANK -9223372036854775807", "$-1"),
        ("LPOS l a RANK 9223372036854775807", "$-1"),
        ("LPOS l a COUNT 0", "*3|:0|:3|:6"),
        ("LPOS l a COUNT 2", "*2|:0|:3"),
        ("LPOS l a COUNT 0 RANK 2", "*2|:3|:6"),
        ("LPOS l a COUNT 0 RANK -2", "*2|:3|:0"),
        ("LPOS l a COUNT 0 MAXLEN 4", "*2|:0|:3"),
        ("LPOS l a COUNT 0 MAXLEN 1 RANK -1", "*1|:6"),
        ("LPOS l b MAXLEN 1", "$-1"),
        ("LPOS l z", "$-1"),
        ("LPOS l z COUNT 1", "*0"),
        ("LPOS none a", "$-1"),
        ("LPOS none a COUNT 0", "*0"),
        (
            "LPOS l a RANK 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
        ),
        (
            "LPOS l a RANK x",
            "-ERR value is not an integer or out of range",
        ),
        ("LPOS l a COUNT -1", "-ERR COUNT can't be negative"),
        ("LPOS l a MAXLEN -1", "-ERR MAXLEN can't be negative"),
        ("LPOS l a COUNT", "-ERR syntax error"),
        ("LPOS l a BAD 1", "-ERR syntax error"),
    ]);
}

/// Recorded from redis-server 7.0.15.
#[test]
fn changes_beside_an_element() {
    in_both_encodings(&[
        ("RPUSH l a b 3 a 3 b a", ":7"),
        ("LREM l 1 a", ":1"),
        ("LRANGE l 0 -1", "*6|$1|b|$1|3|$1|a|$1|3|$1|b|$1|a"),
        ("LREM l -1 b", ":1"),
        ("LRANGE l 0 -1", "*5|$1|b|$1|3|$1|a|$1|3|$1|a"),
        ("LREM l 0 3", ":2"),
        ("LRANGE l 0 -1", "*3|$1|b|$1|a|$1|a"),
        ("LREM l 5 z", ":0"),
        ("LREM l -9223372036854775808 z", ":0"),
        ("LREM l x z", "-ERR value is not an integer or out of range"),
        (
            "LREM none x z",
            "-ERR value is not an integer or out of range",
        ),
        ("LREM none 0 z", ":0"),
        ("LINSERT l BEFORE b 1", ":4"),
        ("LINSERT l after b 2", ":5"),
        ("LINSERT l AFTER a 3", ":6"),
        ("LINSERT l BEFORE 1 0", ":7"),
        ("LINSERT l BEFORE z 0", ":-1"),
        ("LINSERT none BEFORE z 0", ":0"),
        ("LINSERT l NEXT b 0", "-ERR syntax error"),
        ("LRANGE l 0 -1", "*7|$1|0|$1|1|$1|b|$1|2|$1|a|$1|3|$1|a"),
        ("LREM l 0 0", ":1"),
        ("LREM l 0 1", ":1"),
        ("LREM l 0 b", ":1"),
        ("LREM l 0 2", ":1"),
        ("LREM l 0 a", ":2"),
        ("LREM l 0 3", ":1"),
        ("EXISTS l", ":0"),
        ("SET s v", "+OK"),
        (
            "LPOS s a",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LREM s 0 a",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LINSERT s AFTER a b",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ]);
}

/// Recorded from redis-server 7.0.15.
#[test]
fn moving_elements() {
    in_both_encodings(&[
        ("RPUSH a 1 2 3 4 5 6", ":6"),
        ("RPUSH b x y", ":2"),
        ("LMOVE a b LEFT LEFT", "$1|1"),
        ("LMOVE a b LEFT RIGHT", "$1|2"),
        ("LMOVE a b RIGHT LEFT", "$1|6"),
        ("LMOVE a b right right", "$1|5"),
        ("RPOPLPUSH a b", "$1|4"),
        ("LRANGE a 0 -1", "*1|$1|3"),
        ("LRANGE b 0 -1", "*7|$1|4|$1|6|$1|1|$1|x|$1|y|$1|2|$1|5"),
        ("LMOVE b b LEFT RIGHT", "$1|4"),
        ("LMOVE b b RIGHT LEFT", "$1|4"),
        ("LMOVE b b LEFT LEFT", "$1|4"),
        ("RPOPLPUSH b b", "$1|5"),
        ("LRANGE b 0 -1", "*7|$1|5|$1|4|$1|6|$1|1|$1|x|$1|y|$1|2"),
        ("LMOVE a new LEFT RIGHT", "$1|3"),
        ("EXISTS a", ":0"),
        ("LRANGE new 0 -1", "*1|$1|3"),
        ("RPOPLPUSH new new", "$1|3"),
        ("LMOVE none b LEFT LEFT", "$-1"),
        ("RPOPLPUSH none b", "$-1"),
        ("SET s v", "+OK"),
        ("LMOVE none s LEFT LEFT", "$-1"),
        (
            "LMOVE b s LEFT LEFT",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "LMOVE s b LEFT LEFT",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        (
            "RPOPLPUSH b s",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("LMOVE b b LEFT UP", "-ERR syntax error"),
        ("LMOVE none none UP LEFT", "-ERR syntax error"),
        ("LMPOP 2 none b LEFT", "*2|$1|b|*1|$1|5"),
        ("LMPOP 1 b RIGHT COUNT 2", "*2|$1|b|*2|$1|2|$1|y"),
        ("LMPOP 3 none new b LEFT COUNT 99", "*2|$3|new|*1|$1|3"),
        (
            "LMPOP 3 none new b RIGHT COUNT 99",
            "*2|$1|b|*4|$1|x|$1|1|$1|6|$1|4",
        ),
        ("LMPOP 3 none new b LEFT", "*-1"),
        ("RPUSH b 1", ":1"),
        (
            "LMPOP 2 s b LEFT",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("LMPOP 2 b s LEFT", "*2|$1|b|*1|$1|1"),
        ("LMPOP 0 b LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP x b LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP 2 b LEFT", "-ERR syntax error"),
        ("LMPOP 1 b UP", "-ERR syntax error"),
        ("LMPOP 1 b LEFT COUNT", "-ERR syntax error"),
        (
            "LMPOP 1 b LEFT COUNT 0",
            "-ERR count should be greater than 0",
        ),
        (
            "LMPOP 1 b LEFT COUNT x",
            "-ERR count should be greater than 0",
        ),
        ("LMPOP 1 b LEFT COUNT 1 COUNT 1", "-ERR syntax error"),
        ("LMPOP 9223372036854775807 b LEFT", "-ERR syntax error"),
    ]);
}
