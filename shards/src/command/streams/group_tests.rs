//! Consumer groups; what redis-server 7.0 knows of them, the differential tests ask.

use super::tests::in_slices;
use crate::command::harness::{Engine, text};
use crate::resp::Protocol;
use crate::types::UnixMs;

/// A stream of so many entries, a group `g` that was delivered nothing, and a consumer.
fn grouped(entries: u64) -> Engine {
    let mut engine = Engine::new();
    for number in 1..=entries {
        engine.run(&format!("XADD s {number} f v{number}"));
    }
    engine.run("XGROUP CREATE s g 0 MKSTREAM");
    engine.run("XGROUP CREATECONSUMER s g c");
    engine
}

fn ids(numbers: std::ops::RangeInclusive<u64>) -> String {
    let words: Vec<String> = numbers.map(|number| number.to_string()).collect();
    words.join(" ")
}

fn later(engine: &mut Engine, ms: i64) {
    engine.now = UnixMs(engine.now.0 + ms);
}

#[test]
fn a_consumer_was_seen_when_it_tried_and_active_when_it_got_something() {
    let mut engine = grouped(2);
    let told = |idle: i64, inactive: i64, pending: usize| {
        format!("*1|*8|$4|name|$1|c|$7|pending|:{pending}|$4|idle|:{idle}|$8|inactive|:{inactive}|")
    };
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(0, -1, 0));
    later(&mut engine, 10);
    engine.talk(&[("XCLAIM s g c 0 1", "*0"), ("XCLAIM s g c 0 9 FORCE", "*0")]);
    later(&mut engine, 5);
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(5, -1, 0));
    engine.run("XCLAIM s g c 0 1 FORCE");
    later(&mut engine, 7);
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(7, 7, 1));
    // Nothing is idle for that long.
    engine.talk(&[("XAUTOCLAIM s g c 100 0", "*3|$3|0-0|*0|*0")]);
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(0, 7, 1));
    engine.talk(&[("XGROUP CREATECONSUMER s g c", ":0")]);
    later(&mut engine, 1);
    engine.talk(&[("XPENDING s g - + 9 c", "*1|*4|$3|1-0|$1|c|:8|:2")]);
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(1, 8, 1));
    engine.run("XAUTOCLAIM s g c 8 0");
    assert_eq!(engine.run("XINFO CONSUMERS s g"), told(0, 0, 1));
}

/// Since 7.2; 7.0 waits until there is something to claim.
#[test]
fn who_claims_is_a_consumer_whatever_he_gets() {
    let mut engine = grouped(1);
    let names = |engine: &mut Engine| {
        let told = engine.run("XINFO STREAM s FULL");
        let names = told.split("|$4|name|$1|").skip(1);
        names.map(|rest| rest[..1].to_owned()).collect::<String>()
    };
    engine.run("XCLAIM s g d 0 7");
    engine.run("XAUTOCLAIM s g e 0 0");
    assert_eq!(names(&mut engine), "gcde");
    assert_eq!(
        engine.effects("XCLAIM s g d 0 7"),
        "",
        "it is there already"
    );
    let created =
        |consumer: &str| format!("*5|$6|XGROUP|$14|CREATECONSUMER|$1|s|$1|g|$1|{consumer}|");
    assert_eq!(engine.effects("XCLAIM s g i 0 7"), created("i"));
    assert_eq!(engine.effects("XAUTOCLAIM s g j 0 0"), created("j"));
}

#[test]
fn claims_are_recorded_as_what_came_of_them() {
    let mut engine = grouped(3);
    let claim = |consumer: &str, id: &str, count: u64| {
        format!(
            "*14|$6|XCLAIM|$1|s|$1|g|$1|{consumer}|$1|0|$3|{id}|$4|TIME|$13|1000000000000|\
             $10|RETRYCOUNT|$1|{count}|$5|FORCE|$6|JUSTID|$6|LASTID|$3|0-0|"
        )
    };
    let block = |commands: &[String]| format!("*1|$5|MULTI|{}*1|$4|EXEC|", commands.concat());
    assert_eq!(
        engine.effects("XCLAIM s g c 0 1 FORCE"),
        claim("c", "1-0", 2)
    );
    assert_eq!(
        engine.effects("XCLAIM s g d 0 1 2 JUSTID FORCE"),
        block(&[claim("d", "1-0", 2), claim("d", "2-0", 1)])
    );
    engine.run("XDEL s 1");
    // The record of an entry that has gone names who had it.
    assert_eq!(
        engine.effects("XAUTOCLAIM s g c 0 0"),
        block(&[claim("d", "1-0", 2), claim("c", "2-0", 2)])
    );
    assert_eq!(engine.effects("XAUTOCLAIM s g c 5 0"), "");
    assert_eq!(
        engine.effects("XCLAIM s g c 5 2 LASTID 3"),
        "*7|$6|XGROUP|$5|SETID|$1|s|$1|g|$3|3-0|$11|ENTRIESREAD|$2|-1|"
    );
    assert_eq!(engine.effects("XCLAIM s g c 5 2 LASTID 3"), "");
    assert_eq!(
        engine.effects("XACK s g 2 2"),
        "*5|$4|XACK|$1|s|$1|g|$1|2|$1|2|"
    );
    assert_eq!(engine.effects("XACK s g 2"), "");
    let verbatim = "*5|$6|XGROUP|$5|SETID|$1|s|$1|g|$1|$|";
    assert_eq!(engine.effects("XGROUP SETID s g $"), verbatim);
    assert_eq!(engine.effects("XGROUP CREATECONSUMER s g c"), "");
    assert_eq!(engine.effects("XGROUP DELCONSUMER s g no"), "");
    assert_eq!(engine.effects("XGROUP DESTROY s no"), "");
}

/// Who follows has no clock, and must not take what it is told for a wrong one.
#[test]
fn effects_say_when_entries_were_delivered() {
    let mut engine = grouped(1);
    engine.now = UnixMs(i64::MIN);
    engine.run("XCLAIM s g c 0 1 TIME 1000000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1");
    engine.now = UnixMs(1_000_000_000_007);
    engine.talk(&[
        ("XPENDING s g - + 9", "*1|*4|$3|1-0|$1|c|:7|:1"),
        // But a client's clock may be wrong.
        ("XCLAIM s g c 0 1 TIME 1000000000008 JUSTID", "*1|$3|1-0"),
        ("XPENDING s g - + 9", "*1|*4|$3|1-0|$1|c|:0|:1"),
    ]);
}

#[test]
fn all_that_7_2_tells_of_a_stream_is_told() {
    let mut engine = grouped(1);
    engine.run("XCLAIM s g c 0 1 FORCE JUSTID");
    engine.protocol = Protocol::Resp3;
    let entry = "*2|$3|1-0|*2|$1|f|$2|v1|";
    let consumer = "%5|$4|name|$1|c|$9|seen-time|:1000000000000|$11|active-time|:1000000000000|\
                    $9|pel-count|:1|$7|pending|*1|*3|$3|1-0|:1000000000000|:1|";
    let group = format!(
        "%7|$4|name|$1|g|$17|last-delivered-id|$3|0-0|$12|entries-read|_|$3|lag|:1|\
         $9|pel-count|:1|$7|pending|*1|*4|$3|1-0|$1|c|:1000000000000|:1|$9|consumers|*1|{consumer}"
    );
    let first = "$6|length|:1|$15|radix-tree-keys|:1|$16|radix-tree-nodes|:1|\
                 $17|last-generated-id|$3|1-0|$20|max-deleted-entry-id|$3|0-0|\
                 $13|entries-added|:1|$23|recorded-first-entry-id|$3|1-0|";
    assert_eq!(
        engine.run("XINFO STREAM s FULL"),
        format!("%9|{first}$7|entries|*1|{entry}$6|groups|*1|{group}")
    );
    assert_eq!(
        engine.run("XINFO STREAM s"),
        format!("%10|{first}$6|groups|:1|$11|first-entry|{entry}$10|last-entry|{entry}")
    );
}

/// From the documentation and the behaviour of Redis 8.2.
#[test]
fn what_is_done_with_goes() {
    let delivered = || {
        let mut engine = grouped(3);
        engine.run("XGROUP CREATE s h 9");
        engine.run("XCLAIM s g c 0 1 2 FORCE");
        engine.run("XCLAIM s h c 0 1 2 3 FORCE");
        engine.run("XGROUP SETID s g 9");
        engine
    };
    const PENDING: &str = "XPENDING s h";
    let mut engine = delivered();
    engine.talk(&[
        ("XACKDEL s g IDS 3 1 2 3", "*3|:1|:1|:-1"),
        ("XLEN s", ":1"),
        (PENDING, "*4|:3|$3|1-0|$3|3-0|*1|*2|$1|c|$1|3"),
        ("XACKDEL s g IDS 1 1", "*1|:-1"),
        // It has gone before; the acknowledgement is what is replied.
        ("XACKDEL s h KEEPREF IDS 1 1", "*1|:1"),
    ]);
    let mut engine = delivered();
    engine.talk(&[
        ("XACKDEL s g DELREF IDS 2 1 2", "*2|:1|:1"),
        (PENDING, "*4|:1|$3|3-0|$3|3-0|*1|*2|$1|c|$1|1"),
        ("XACKDEL s h delref ids 1 1", "*1|:-1"),
        ("XLEN s", ":1"),
    ]);
    let mut engine = delivered();
    engine.talk(&[
        ("XACKDEL s g ACKED IDS 1 1", "*1|:2"),
        ("XLEN s", ":3"),
        ("XACKDEL s h ACKED IDS 2 1 2", "*2|:1|:2"),
        ("XLEN s", ":2"),
        ("XACKDEL s g IDS 1 2 ACKED", "*1|:1"),
        ("XLEN s", ":1"),
    ]);
    let count = "-ERR Number of IDs must be a positive integer";
    let other = "-ERR The `numids` parameter must match the number of arguments";
    let invalid = "-ERR Invalid stream ID specified as stream command argument";
    engine.talk(&[
        ("XACKDEL none g IDS 2 1 2", "*2|:-1|:-1"),
        ("XACKDEL s none IDS 2 1 2", "*2|:-1|:-1"),
        ("XACKDEL s g IDS x 1", count),
        ("XACKDEL s g IDS 0 1", count),
        ("XACKDEL s g IDS -1 1", count),
        ("XACKDEL s g IDS 3 1 2", other),
        ("XACKDEL s g IDS 1 1 2", "-ERR syntax error"),
        ("XACKDEL s g KEEPREF DELREF IDS 1 1", "-ERR syntax error"),
        ("XACKDEL s g 1 2 3", "-ERR syntax error"),
        ("XACKDEL s h IDS 2 3 x", invalid),
        ("XPENDING s h", "*4|:1|$3|3-0|$3|3-0|*1|*2|$1|c|$1|1"),
    ]);
    assert_eq!(
        engine.effects("XACKDEL s h ACKED IDS 2 3 4"),
        "*8|$7|XACKDEL|$1|s|$1|h|$5|ACKED|$3|IDS|$1|2|$1|3|$1|4|"
    );
    assert_eq!(engine.effects("XACKDEL s h IDS 1 4"), "");
}

/// The same in slices of one element as at once: replies, and what is left.
#[test]
fn what_is_much_is_done_in_slices() {
    const MUCH: u64 = 40;
    let all = ids(1..=MUCH);
    for (line, least) in [
        ("XPENDING s g".to_owned(), 2),
        ("XPENDING s g - + 100".to_owned(), 5),
        ("XPENDING s g IDLE 1 (2 30 9 d".to_owned(), 2),
        (format!("XACK s g {all}"), 70),
        (format!("XACKDEL s g ACKED IDS {MUCH} {all}"), 70),
        (format!("XACKDEL s g DELREF IDS {MUCH} {all}"), 70),
        (format!("XACKDEL none g IDS {MUCH} {all}"), 40),
        (format!("XCLAIM s g d 0 {all} FORCE IDLE 5"), 70),
        (format!("XCLAIM s g d 2000 {all} JUSTID"), 70),
        ("XAUTOCLAIM s g d 0 0 COUNT 100".to_owned(), 30),
        ("XAUTOCLAIM s g e 2000 5 COUNT 3 JUSTID".to_owned(), 20),
        ("XGROUP DELCONSUMER s g c".to_owned(), 15),
        (
            "XREADGROUP GROUP other d COUNT 10 STREAMS s s s s s s > > 0 > > >".to_owned(),
            30,
        ),
        ("XINFO STREAM s FULL COUNT 0".to_owned(), 10),
        ("XINFO STREAM s FULL COUNT 3".to_owned(), 2),
        ("XINFO GROUPS s".to_owned(), 2),
        ("XINFO CONSUMERS s g".to_owned(), 2),
    ] {
        let prepared = || {
            let mut engine = grouped(MUCH);
            engine.run("XGROUP CREATE s other 3");
            engine.run(&format!("XCLAIM s g c 0 {} FORCE", ids(1..=30)));
            engine.run(&format!("XCLAIM s g d 0 {} FORCE", ids(20..=MUCH)));
            engine.run("XCLAIM s other c 0 7 FORCE");
            engine.run("XGROUP CREATECONSUMER s g e");
            engine.run("XDEL s 5 25 26");
            later(&mut engine, 1000);
            engine.shard.effects().record(true);
            engine
        };
        let left = |engine: &mut Engine| {
            // What the slices of a ticket leave stands together; here there is none.
            let log = text(&engine.shard.effects().take());
            let log = log.replace("*1|$5|MULTI|", "").replace("*1|$4|EXEC|", "");
            let told = engine.run("XINFO STREAM s FULL COUNT 0");
            (told, log, engine.shard.effects().changes())
        };
        let (mut one, mut other) = (prepared(), prepared());
        let expected = one.run(&line);
        let (reply, slices) = in_slices(&mut other, &line);
        assert_eq!(reply, expected, "{line}");
        assert!(slices >= least, "{line}: {slices} slices");
        assert_eq!(left(&mut other), left(&mut one), "{line}");
    }
}

/// A stream that is named more than once is read on each time.
#[test]
fn no_entry_is_delivered_twice_by_one_request() {
    let mut engine = grouped(5);
    let entry = |id: u64| format!("*2|$3|{id}-0|*2|$1|f|$2|v{id}|");
    let of = |ids: &[u64]| {
        let entries: String = ids.iter().map(|id| entry(*id)).collect();
        format!("*2|$1|s|*{}|{entries}", ids.len())
    };
    let twice = format!("*2|{}{}", of(&[1, 2]), of(&[3, 4]));
    let again = "XREADGROUP GROUP g c COUNT 2 STREAMS s s > >";
    assert_eq!(engine.run(again), twice);
    assert_eq!(engine.run(again), format!("*1|{}", of(&[5])));
    assert_eq!(engine.run(again), "*-1|");
    engine.run("XGROUP SETID s g 3");
    let beside = "XREADGROUP GROUP g d STREAMS s s s > 0 >";
    let both = of(&[4, 5]);
    assert_eq!(engine.run(beside), format!("*2|{both}{both}"));
}
