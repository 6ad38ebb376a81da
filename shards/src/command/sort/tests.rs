//! SORT on one shard: options, patterns, and the effects of STORE.

use crate::command::harness::Engine;
use crate::resp::Protocol;

/// Recorded from redis-server 7.0.15.
#[test]
fn elements_are_sorted() {
    let not_a_number = "-ERR One or more scores can't be converted into double";
    Engine::new().talk(&[
        ("RPUSH l 3 1 2", ":3"),
        ("SORT l", "*3|$1|1|$1|2|$1|3"),
        ("SORT l DESC LIMIT 0 2", "*2|$1|3|$1|2"),
        ("SORT l LIMIT -1 2", "*2|$1|1|$1|2"),
        ("SORT l LIMIT 1 -1", "*2|$1|2|$1|3"),
        ("SORT l LIMIT 5 2", "*0"),
        ("SORT l BY nosort LIMIT 1 1", "*1|$1|1"),
        ("SORT l BY nosort DESC", "*3|$1|2|$1|1|$1|3"),
        ("SORT_RO l BY nosort DESC LIMIT 0 1", "*1|$1|2"),
        ("SORT l BY nosort DESC LIMIT 1 2 STORE d", ":2"),
        ("LRANGE d 0 -1", "*2|$1|1|$1|3"),
        ("SORT l BY", "-ERR syntax error"),
        ("SORT_RO l STORE d", "-ERR syntax error"),
        (
            "SORT l LIMIT x 1",
            "-ERR value is not an integer or out of range",
        ),
        ("RPUSH t b a", ":2"),
        ("SORT t", not_a_number),
        ("SORT t ALPHA", "*2|$1|a|$1|b"),
        ("RPUSH e 1 \"\" \" -1\"", ":3"),
        ("SORT e", "*3|$3| -1|$0||$1|1"),
        ("RPUSH n nan", ":1"),
        ("SORT n", not_a_number),
        ("ZADD z 1 c 2 a 3 b", ":3"),
        ("SORT z BY nosort DESC LIMIT 1 1", "*1|$1|a"),
        ("SADD s b a", ":2"),
        ("SORT s BY nosort STORE d", ":2"),
        ("LRANGE d 0 -1", "*2|$1|a|$1|b"),
        ("SORT nokey STORE d", ":0"),
        ("EXISTS d", ":0"),
    ]);
}

/// Recorded from redis-server 7.0.15.
#[test]
fn patterns_name_other_keys() {
    let mut engine = Engine::new();
    engine.talk(&[
        ("RPUSH l 3 1 2", ":3"),
        ("MSET w_1 3 w_2 2", "+OK"),
        ("SORT l BY w_*", "*3|$1|3|$1|2|$1|1"),
        ("SORT l BY w_* BY nosort", "*3|$1|3|$1|1|$1|2"),
        ("HSET h_1 f 5", ":1"),
        (
            "SORT l GET h_*->f GET # GET w_1",
            "*9|$1|5|$1|1|$-1|$-1|$1|2|$-1|$-1|$1|3|$-1",
        ),
        ("SORT l GET h_*->", "*3|$-1|$-1|$-1"),
        ("SORT l GET h_*", "*3|$-1|$-1|$-1"),
        ("SORT l GET w_* STORE d", ":3"),
        ("LRANGE d 0 -1", "*3|$1|3|$1|2|$0|"),
    ]);
    engine.protocol = Protocol::Resp3;
    engine.talk(&[("SORT l GET w_*", "*3|$1|3|$1|2|_")]);
}

#[test]
fn what_is_stored_is_propagated_as_it_is() {
    let mut engine = Engine::new();
    engine.run("RPUSH l 2 1");
    let pushed = "*4|$5|RPUSH|$1|d|$1|1|$1|2|";
    assert_eq!(engine.effects("SORT l"), "");
    assert_eq!(engine.effects("SORT l STORE d"), pushed);
    assert_eq!(
        engine.effects("SORT l STORE d"),
        format!("*1|$5|MULTI|*2|$3|DEL|$1|d|{pushed}*1|$4|EXEC|")
    );
    assert_eq!(engine.effects("SORT nokey STORE d"), "*2|$3|DEL|$1|d|");
    assert_eq!(engine.effects("SORT nokey STORE d"), "");
}
