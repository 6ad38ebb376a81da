//! Dialogues recorded from redis-server 7.0.15, once per encoding. Scores are
//! chosen so that 7.2, which writes the shortest text, writes the same.

use crate::command::harness::Engine;
use crate::resp::Protocol;

/// Runs a dialogue with small sorted sets and with large ones.
fn talk(dialogue: &[(&str, &str)]) {
    for (entries, encoding) in [(128, "listpack"), (0, "skiplist")] {
        let mut engine = Engine::new();
        engine.shard.settings.encodings.zset_max_listpack_entries = entries;
        engine.run("ZADD probe 1 a");
        let expected = format!("${}|{encoding}|", encoding.len());
        assert_eq!(engine.run("OBJECT ENCODING probe"), expected);
        engine.talk(dialogue);
    }
}

const NAN: &str = "-ERR resulting score is not a number (NaN)";
const NO_FLOAT: &str = "-ERR value is not a valid float";
const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "-ERR syntax error";

#[test]
fn adding() {
    talk(&[
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("ZADD z CH 9 a 2 b 4 d", ":2"),
        ("ZADD z NX 1 a 5 e", ":1"),
        ("ZADD z XX CH 8 a 5 f", ":1"),
        ("ZADD z GT CH 7 a 3 b", ":1"),
        ("ZADD z LT CH 9 a 2 b", ":1"),
        ("ZADD z INCR 0.5 a", "$3|8.5"),
        ("ZADD z NX INCR 1 a", "$-1"),
        ("ZADD z XX INCR 1 nosuch", "$-1"),
        ("ZADD z inf i", ":1"),
        ("ZADD z INCR -inf i", NAN),
        ("ZINCRBY z -inf i", NAN),
        ("ZINCRBY z nan i", NO_FLOAT),
        ("ZADD z 1e400 a", NO_FLOAT),
        ("ZADD z 1 a x b", NO_FLOAT),
        ("ZADD z 1 a 2", SYNTAX),
        ("ZINCRBY z 0x10 a", "$4|24.5"),
        ("ZSCORE z a", "$4|24.5"),
        ("ZSCORE z i", "$3|inf"),
        ("ZMSCORE z b nosuch", "*2|$1|2|$-1"),
        ("ZMSCORE missing b", "*1|$-1"),
        ("ZCARD z", ":6"),
        ("ZREM z a nosuch b", ":2"),
        ("ZREM z c d e i", ":4"),
        ("EXISTS z", ":0"),
        ("SET s x", "+OK"),
        ("ZADD s 1 a", WRONG_TYPE),
        ("ZINCRBY s 1 a", WRONG_TYPE),
        ("ZREM s a", WRONG_TYPE),
    ]);
}

#[test]
fn ranks() {
    talk(&[
        ("ZADD z 1 a 1 b 2 c", ":3"),
        ("ZRANK z c", ":2"),
        ("ZREVRANK z c", ":0"),
        ("ZRANK z nosuch", "$-1"),
        ("ZRANK z b WITHSCORE", "*2|:1|$1|1"),
        ("ZREVRANK z a withscore", "*2|:2|$1|1"),
        ("ZRANK z nosuch WITHSCORE", "*-1"),
        ("ZRANK z a WITHSCORES", SYNTAX),
        (
            "ZRANK z a WITHSCORE x",
            "-ERR wrong number of arguments for 'zrank' command",
        ),
        ("ZCOUNT z (1 2", ":1"),
        ("ZCOUNT z -inf +inf", ":3"),
        ("ZCOUNT z 1 x", "-ERR min or max is not a float"),
        ("ZLEXCOUNT z - +", ":3"),
        (
            "ZLEXCOUNT z a +",
            "-ERR min or max not valid string range item",
        ),
        ("ZREMRANGEBYRANK z -2 -2", ":1"),
        ("ZREMRANGEBYSCORE z (1 2", ":1"),
        ("ZRANGE z 0 -1", "*1|$1|a"),
        ("ZREMRANGEBYLEX z [a [a", ":1"),
        ("EXISTS z", ":0"),
    ]);
}

#[test]
fn ranges() {
    talk(&[
        ("ZADD z 1 a 2 b 3 c 4 d", ":4"),
        ("ZRANGE z 1 2 WITHSCORES", "*4|$1|b|$1|2|$1|c|$1|3"),
        ("ZRANGE z 0 0 REV", "*1|$1|d"),
        ("ZRANGE z (1 3 BYSCORE", "*2|$1|b|$1|c"),
        ("ZRANGE z 3 (1 BYSCORE REV LIMIT 1 5", "*1|$1|b"),
        ("ZRANGE z -inf inf BYSCORE LIMIT -1 5", "*0"),
        ("ZRANGE z -inf inf BYSCORE LIMIT 3 -1", "*1|$1|d"),
        ("ZRANGE z [b (d BYLEX", "*2|$1|b|$1|c"),
        ("ZRANGE z (d [b BYLEX REV", "*2|$1|c|$1|b"),
        (
            "ZRANGE z 0 1 LIMIT 0 1",
            "-ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ),
        (
            "ZRANGE z - + BYLEX WITHSCORES",
            "-ERR syntax error, WITHSCORES not supported in combination with BYLEX",
        ),
        ("ZRANGEBYSCORE z 1 2 REV", SYNTAX),
        ("ZREVRANGEBYSCORE z 2 1", "*2|$1|b|$1|a"),
        ("ZRANGEBYLEX z - [a", "*1|$1|a"),
        ("ZREVRANGEBYLEX z [a -", "*1|$1|a"),
        ("ZREVRANGE z 0 0", "*1|$1|d"),
        ("ZRANGESTORE y z 2 9", ":2"),
        ("ZRANGE y 0 -1", "*2|$1|c|$1|d"),
        ("ZRANGESTORE z z 9 9", ":0"),
        ("EXISTS z", ":0"),
        ("ZRANGE z 0 -1", "*0"),
    ]);
}

#[test]
fn popping() {
    talk(&[
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("ZPOPMIN z", "*2|$1|a|$1|1"),
        ("ZPOPMAX z 1", "*2|$1|c|$1|3"),
        ("ZPOPMIN z 0", "*0"),
        (
            "ZPOPMIN z -1",
            "-ERR value is out of range, must be positive",
        ),
        ("ZPOPMIN z 1 1", SYNTAX),
        ("ZPOPMAX z 9", "*2|$1|b|$1|2"),
        ("EXISTS z", ":0"),
        ("ZPOPMAX z", "*0"),
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("ZMPOP 2 none z MIN", "*2|$1|z|*1|*2|$1|a|$1|1"),
        (
            "ZMPOP 1 z max COUNT 9",
            "*2|$1|z|*2|*2|$1|c|$1|3|*2|$1|b|$1|2",
        ),
        ("ZMPOP 2 none z MIN", "*-1"),
        ("ZMPOP 0 z MIN", "-ERR numkeys should be greater than 0"),
        (
            "ZMPOP 1 z MIN COUNT 0",
            "-ERR count should be greater than 0",
        ),
        ("ZMPOP 1 z MIN COUNT", SYNTAX),
        ("ZMPOP 2 z MIN", SYNTAX),
        ("ZMPOP 1 z MID", SYNTAX),
        ("SET s x", "+OK"),
        ("ZMPOP 2 none s MIN", WRONG_TYPE),
    ]);
}

#[test]
fn combining() {
    talk(&[
        ("ZADD a 1 x 2 y", ":2"),
        ("ZADD b 10 y 20 z", ":2"),
        (
            "ZUNION 2 a b WITHSCORES",
            "*6|$1|x|$1|1|$1|y|$2|12|$1|z|$2|20",
        ),
        ("ZINTER 2 a b WEIGHTS 2 1 WITHSCORES", "*2|$1|y|$2|14"),
        ("ZINTER 2 a b AGGREGATE MIN WITHSCORES", "*2|$1|y|$1|2"),
        ("ZDIFF 2 a b WITHSCORES", "*2|$1|x|$1|1"),
        ("ZINTERCARD 2 a b LIMIT 1", ":1"),
        ("ZINTERCARD 2 a b LIMIT -1", "-ERR LIMIT can't be negative"),
        (
            "ZUNION 0 a",
            "-ERR at least 1 input key is needed for 'zunion' command",
        ),
        (
            "ZUNION 2 a b WEIGHTS 1 x",
            "-ERR weight value is not a float",
        ),
        ("SET s x", "+OK"),
        ("ZUNION 2 a s FOO", WRONG_TYPE),
        ("ZUNIONSTORE s 2 a b", ":3"),
        ("ZINTERSTORE s 2 a none", ":0"),
        ("EXISTS s", ":0"),
        ("ZDIFFSTORE a 2 a b", ":1"),
        ("ZRANGE a 0 -1", "*1|$1|x"),
    ]);
}

/// The shapes of RESP3, recorded likewise.
#[test]
fn newer_replies() {
    for entries in [128, 0] {
        let mut engine = Engine::new();
        engine.shard.settings.encodings.zset_max_listpack_entries = entries;
        engine.protocol = Protocol::Resp3;
        engine.talk(&[
            ("ZADD z 1 a 2.5 b", ":2"),
            ("ZRANGE z 0 -1 WITHSCORES", "*2|*2|$1|a|,1|*2|$1|b|,2.5"),
            ("ZSCORE z b", ",2.5"),
            ("ZADD z INCR -inf b", ",-inf"),
            ("ZMSCORE z a nosuch", "*2|,1|_"),
            ("ZRANK z nosuch WITHSCORE", "_"),
            ("ZUNION 1 z WITHSCORES", "*2|*2|$1|b|,-inf|*2|$1|a|,1"),
            ("ZPOPMIN z", "*2|$1|b|,-inf"),
            ("ZSCAN z 0", "*2|$1|0|*2|$1|a|$1|1"),
            ("ZRANDMEMBER z 1 WITHSCORES", "*1|*2|$1|a|,1"),
            ("ZPOPMAX z 2", "*1|*2|$1|a|,1"),
        ]);
    }
}

/// A small sorted set forgets the sign of -0, a large one does not. A result that is
/// large has never been small.
#[test]
fn large_results_keep_the_sign_of_zero() {
    let mut engine = Engine::new();
    engine.shard.settings.encodings.zset_max_listpack_entries = 2;
    let three = "*6|$1|x|$2|-0|$1|y|$2|-0|$1|z|$2|-0";
    let two = "*4|$1|x|$1|0|$1|y|$1|0";
    engine.talk(&[
        ("ZADD a 1 x 2 y 3 z", ":3"),
        ("ZADD b 1 x 2 y", ":2"),
        ("ZUNIONSTORE d 1 a WEIGHTS -0", ":3"),
        ("ZRANGE d 0 -1 WITHSCORES", three),
        ("ZINTERSTORE d 1 a WEIGHTS -0", ":3"),
        ("ZRANGE d 0 -1 WITHSCORES", three),
        ("ZUNIONSTORE d 2 a b WEIGHTS -0 -0", ":3"),
        ("ZRANGE d 0 -1 WITHSCORES", three),
        ("ZUNIONSTORE d 2 b b WEIGHTS -0 -0", ":2"),
        ("ZRANGE d 0 -1 WITHSCORES", two),
        ("OBJECT ENCODING d", "$8|listpack"),
        ("ZUNIONSTORE a 1 a WEIGHTS -0", ":3"),
        ("ZRANGESTORE d a 0 -1", ":3"),
        ("ZRANGE d 0 -1 WITHSCORES", three),
        ("ZRANGESTORE d a 0 1", ":2"),
        ("ZRANGE d 0 -1 WITHSCORES", two),
        ("OBJECT ENCODING d", "$8|listpack"),
    ]);
}

#[test]
fn random_members_are_any_members() {
    for entries in [128, 0] {
        let mut engine = Engine::new();
        engine.shard.settings.encodings.zset_max_listpack_entries = entries;
        engine.run("ZADD z 1 a 2 b 3 c 4 d");
        let mut counts = [0; 4];
        for _ in 0..1000 {
            for reply in [engine.run("ZRANDMEMBER z"), engine.run("ZRANDMEMBER z -1")] {
                let at = "abcd"
                    .find(&reply[reply.len() - 2..reply.len() - 1])
                    .unwrap();
                counts[at] += 1;
            }
            let two = engine.run("ZRANDMEMBER z 2");
            let members: Vec<&str> = two
                .split('|')
                .filter(|word| "abcd".contains(*word))
                .collect();
            assert!(two.starts_with("*2|") && members[0] < members[1], "{two}");
        }
        assert!(
            counts.iter().all(|count| (400..600).contains(count)),
            "{counts:?}"
        );
        assert!(
            engine
                .run("ZRANDMEMBER z -5 WITHSCORES")
                .starts_with("*10|")
        );
        assert!(
            engine
                .run("ZRANDMEMBER z -9999999999")
                .starts_with("-ERR out of memory")
        );
    }
}

#[test]
fn effects() {
    let mut engine = Engine::new();
    assert_eq!(
        engine.effects("ZADD z 1 a 2 b"),
        "*6|$4|ZADD|$1|z|$1|1|$1|a|$1|2|$1|b|"
    );
    assert_eq!(engine.effects("ZADD z 1 a"), "");
    assert_eq!(engine.effects("ZADD z XX 1 nosuch"), "");
    assert_eq!(engine.effects("ZREM z nosuch"), "");
    assert_eq!(engine.effects("ZPOPMIN z 0"), "");
    assert_eq!(engine.effects("ZDIFFSTORE none 1 missing"), "");
    assert_eq!(engine.effects("ZPOPMIN z"), "*2|$7|ZPOPMIN|$1|z|");
    let popped = "*3|$7|ZPOPMAX|$1|z|$1|3|";
    assert_eq!(engine.effects("ZMPOP 2 none z MAX COUNT 3"), popped);
}
