//! Commands on one stream; what redis-server knows of them, the differential tests ask.

use super::ids;
use crate::command::harness::{Engine, text, words};
use crate::command::{Args, Cargo, Context, Outcome, Row, row};
use crate::resp::Protocol;
use crate::shard::Request;
use crate::types::UnixMs;
use crate::value::Stream;

const SMALLER: &str =
    "-ERR The ID specified in XADD is equal or smaller than the target stream top item";

fn filled(entries: u64) -> Engine {
    let mut engine = Engine::new();
    for number in 1..=entries {
        engine.run(&format!("XADD s {number} f v{number}"));
    }
    engine
}

/// All ids of a stream.
fn all(engine: &mut Engine) -> Vec<u64> {
    let reply = engine.run("XRANGE s - +");
    let words = reply.split('|');
    let ids = words.filter_map(|word| word.strip_suffix("-0")?.parse().ok());
    ids.collect()
}

/// Runs a request that may work in slices, each of one element, to its end; its reply,
/// and how many there were.
pub fn in_slices(engine: &mut Engine, line: &str) -> (String, usize) {
    engine.shard.settings.slices.above = 1;
    engine.shard.settings.slices.step = 1;
    let args = words(line);
    let container = row(&args.args()[0]).unwrap();
    let full = [&args.args()[0], &b"|"[..], &args.args()[1]].concat();
    let mut rows = container.subcommands.iter();
    let is = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(&full);
    let handler = rows.find(is).unwrap_or(container).run.whole();
    let request = Request::new(handler, args.args());
    let mut cargo = Cargo {
        divisible: true,
        ..Cargo::default()
    };
    let (mut out, mut slices) = (Vec::new(), 0);
    loop {
        let now = engine.now;
        engine
            .shard
            .apply_with(now, &request, &mut cargo, &mut out)
            .unwrap();
        slices += 1;
        if !cargo.goes_on() {
            return (text(&out), slices);
        }
    }
}

#[test]
fn ids_never_go_backwards() {
    let mut engine = Engine::new();
    engine.talk(&[
        ("XADD s * a 1", "$15|1000000000000-0"),
        ("XADD s * a 1", "$15|1000000000000-1"),
    ]);
    engine.now = UnixMs(999);
    engine.talk(&[
        ("XADD s * a 1", "$15|1000000000000-2"),
        ("XADD s 1000000000000-* a 1", "$15|1000000000000-3"),
        ("XADD s 999-* a 1", SMALLER),
        ("XADD s 1000000000000-3 a 1", SMALLER),
    ]);
    engine.now = UnixMs(1_000_000_000_001);
    engine.talk(&[
        ("XADD s * a 1", "$15|1000000000001-0"),
        (
            "XADD s 1000000000001-18446744073709551615 a 1",
            "$34|1000000000001-18446744073709551615",
        ),
        ("XADD s 1000000000001-* a 1", SMALLER),
        ("XADD s * a 1", "$15|1000000000002-0"),
        ("XLEN s", ":7"),
    ]);
    engine.now = UnixMs(-5);
    engine.talk(&[
        ("XADD t * a 1", "$3|0-1"),
        ("XADD u 0-* a 1", "$3|0-1"),
        (
            "XADD u 0-0 a 1",
            "-ERR The ID specified in XADD must be greater than 0-0",
        ),
        (
            "XADD v 0 a 1",
            "-ERR The ID specified in XADD must be greater than 0-0",
        ),
        ("EXISTS v", ":0"),
        (
            "XADD u 18446744073709551615-18446744073709551615 a 1",
            "$41|18446744073709551615-18446744073709551615",
        ),
        (
            "XADD u * a 1",
            "-ERR The stream has exhausted the last possible ID, unable to add more items",
        ),
        ("XLEN u", ":2"),
    ]);
}

#[test]
fn effects_say_which_id_and_how_much_was_left() {
    let mut engine = Engine::new();
    let id = "$15|1000000000000-0|";
    let one = "$1|f|$1|v|";
    assert_eq!(
        engine.effects("XADD s * f v"),
        format!("*5|$4|XADD|$1|s|{id}{one}")
    );
    assert_eq!(
        engine.effects("XADD s NOMKSTREAM 1000000000000-* f v"),
        format!("*6|$4|XADD|$1|s|$10|NOMKSTREAM|$15|1000000000000-1|{one}")
    );
    assert_eq!(
        engine.effects("XADD s 1000000000001 f v"),
        format!("*5|$4|XADD|$1|s|$13|1000000000001|{one}")
    );
    assert_eq!(
        engine.effects("XADD s limit 5 MAXLEN ~ 1 LIMIT 7 * f v"),
        format!("*8|$4|XADD|$1|s|$6|MAXLEN|$1|=|$1|4|$15|1000000000001-1|{one}")
    );
    assert_eq!(
        engine.effects("XADD s MAXLEN 2 1000000000002-0 f v"),
        format!("*7|$4|XADD|$1|s|$6|MAXLEN|$1|2|$15|1000000000002-0|{one}")
    );
    assert_eq!(
        engine.effects("XADD s MINID ~ 5 1000000000003-0 f v"),
        format!("*8|$4|XADD|$1|s|$5|MINID|$1|=|$15|1000000000001-1|$15|1000000000003-0|{one}")
    );
    assert_eq!(engine.effects("XTRIM s MAXLEN ~ 2"), "", "nothing went");
    assert_eq!(
        engine.effects("XTRIM s MAXLEN 2"),
        "*4|$5|XTRIM|$1|s|$6|MAXLEN|$1|2|"
    );
    assert_eq!(
        engine.effects("XTRIM s MINID ~ 1000000000009 LIMIT 0"),
        "*5|$5|XTRIM|$1|s|$5|MINID|$1|=|$15|1000000000009-0|"
    );
    assert_eq!(engine.effects("XDEL s 1-1"), "");
    assert_eq!(engine.effects("XADD none NOMKSTREAM * f v"), "");
    assert_eq!(engine.effects("XADD s 5 f v"), "", "an error");
    let mut engine = filled(250);
    assert_eq!(
        engine.effects("XTRIM s MAXLEN ~ 120"),
        "*5|$5|XTRIM|$1|s|$6|MAXLEN|$1|=|$3|150|"
    );
    assert_eq!(
        engine.effects("XADD s MINID ~ 220 * f v"),
        format!("*8|$4|XADD|$1|s|$5|MINID|$1|=|$5|201-0|{id}{one}")
    );
}

#[test]
fn trimming_in_slices_does_the_same() {
    for line in [
        "XTRIM s MAXLEN 120",
        "XTRIM s MAXLEN ~ 120",
        "XTRIM s MINID 777",
        "XTRIM s MINID ~ 777 LIMIT 350",
        "XTRIM s MAXLEN 0",
        "XTRIM s MAXLEN 33 DELREF",
        "XTRIM s MINID 777 ACKED",
        "XTRIM s MAXLEN ~ 33 LIMIT 301 DELREF",
        "XADD s MAXLEN 120 2000 f v",
        "XADD s MAXLEN 0 2000 f v",
        "XADD s MINID 777 ACKED 2000 f v",
        "XADD s MINID 3000 DELREF 2000 f v",
    ] {
        let (mut whole, mut sliced) = (filled(1000), filled(1000));
        whole.shard.effects().record(true);
        sliced.shard.effects().record(true);
        let expected = whole.run(line);
        let (reply, slices) = in_slices(&mut sliced, line);
        assert_eq!(reply, expected, "{line}");
        assert!(slices > 2, "{line}");
        assert_eq!(
            text(&sliced.shard.effects().take()),
            text(&whole.shard.effects().take()),
            "{line}"
        );
        assert_eq!(all(&mut sliced), all(&mut whole), "{line}");
        let changes = [&mut sliced, &mut whole].map(|engine| engine.shard.effects().changes());
        assert_eq!(changes[0], changes[1], "{line}");
    }
}

/// What is too much to be done at once is refused before anything has changed.
#[test]
fn what_is_long_has_changed_nothing() {
    let mut engine = filled(1000);
    engine.shard.settings.slices.above = 1;
    for line in [
        "XTRIM s MAXLEN 0",
        "XADD s MAXLEN 10 * f v",
        "XADD s MINID 900 ACKED * f v",
    ] {
        let args = words(line);
        let container = row(&args.args()[0]).unwrap();
        let full = [&args.args()[0], &b"|"[..], &args.args()[1]].concat();
        let mut rows = container.subcommands.iter();
        let is = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(&full);
        let handler = rows.find(is).unwrap_or(container).run.whole();
        let request = Request {
            alone: true,
            ..Request::new(handler, args.args())
        };
        let (now, before) = (engine.now, engine.shard.effects().changes());
        let ran = engine.shard.apply(now, &request, &mut Vec::new());
        assert_eq!(ran, Err(crate::CommandError::Long), "{line}");
        assert_eq!(engine.shard.effects().changes(), before);
    }
    assert_eq!(engine.run("XLEN s"), ":1000|");
}

/// Pieces of a long reply are what it is in one.
#[test]
fn long_ranges_come_in_pieces() {
    let mut engine = filled(1000);
    engine.run("XDEL s 300 301 302 999");
    engine.shard.settings.long_replies.piece = 100;
    for line in [
        "XRANGE s - +",
        "XREVRANGE s + -",
        "XRANGE s 299 (777",
        "XREVRANGE s 777 (299 COUNT 100",
        "XRANGE s 50 + COUNT 5000",
        "XRANGE s 300 302",
        "XRANGE s 998 + COUNT 1",
        "XREVRANGE s (3 -",
        "XRANGE s 900 100",
    ] {
        let expected = engine.run(line);
        let args = words(line);
        let container = row(&args.args()[0]).unwrap();
        let full = [&args.args()[0], &b"|"[..], &args.args()[1]].concat();
        let mut rows = container.subcommands.iter();
        let is = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(&full);
        let handler = rows.find(is).unwrap_or(container).run.whole();
        let request = Request::new(handler, args.args());
        let mut cargo = Cargo {
            long: Some(crate::command::Long::default()),
            ..Cargo::default()
        };
        let (mut out, mut pieces) = (Vec::new(), 0);
        loop {
            let now = engine.now;
            let mut piece = Vec::new();
            engine
                .shard
                .apply_with(now, &request, &mut cargo, &mut piece)
                .unwrap();
            out.extend(piece);
            pieces += 1;
            if !cargo.more() {
                break;
            }
        }
        assert_eq!(text(&out), expected, "{line}");
        assert_eq!(pieces > 3, expected.len() > 500, "{line}");
    }
}

#[test]
fn nothing_and_less() {
    let mut engine = filled(3);
    engine.talk(&[
        ("XRANGE s - + COUNT 0", "*-1"),
        ("XRANGE s - + COUNT -3", "*-1"),
        ("XRANGE none - + COUNT 0", "*0"),
        ("XRANGE s - + COUNT 1 COUNT 0", "*-1"),
        ("XRANGE s - + COUNT", "-ERR syntax error"),
        ("XREVRANGE s - +", "*0"),
        ("XRANGE s (1 (3-0", "*1|*2|$3|2-0|*2|$1|f|$2|v2"),
    ]);
    engine.protocol = Protocol::Resp3;
    engine.talk(&[("XRANGE s - + COUNT 0", "_")]);
}

/// Has a group exist that was delivered entries up to an id, some of which are pending.
fn delivered(engine: &mut Engine, line: &str) {
    let deliver = |ctx: &mut Context<'_>, args: Args<'_>| {
        let ids = args.from(2).iter().map(|id| ids::strict(id, 0).unwrap());
        let mut ids = ids.collect::<Vec<_>>().into_iter();
        ctx.db.edit(&args[1], |stream: &mut Stream| {
            let last = ids.next().unwrap();
            stream.groups.create(b"g", last, None).unwrap();
            let mut group = stream.groups.get_mut(b"g").unwrap();
            let (consumer, _) = group.consumer_or_create(b"c", UnixMs(1)).unwrap();
            for id in ids {
                group.claim(id, consumer, UnixMs(1), 1).unwrap();
            }
        })?;
        Ok(())
    };
    engine.handler(deliver, line);
}

/// How many entries are pending in that group.
fn pending(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let stream = ctx.db.lookup_as::<Stream>(&args[1])?.unwrap();
    stream.check_invariants();
    let pending = stream.groups.get(b"g").unwrap().pending_len();
    ctx.reply.integer(pending as i64);
    Ok(())
}

#[test]
fn what_goes_by_name_minds_groups_only_if_told() {
    let mut engine = filled(5);
    delivered(&mut engine, "x s 4 2 4");
    engine.talk(&[
        ("XDELEX s ACKED IDS 4 1 2 5 9", "*4|:1|:2|:2|:-1"),
        ("XDELEX s DELREF IDS 2 2 2", "*2|:1|:-1"),
        ("XDELEX s IDS 1 4", "*1|:1"),
        ("XLEN s", ":2"),
        ("XDELEX none IDS 2 1 2", "*2|:-1|:-1"),
        (
            "XDELEX s IDS 0 1",
            "-ERR Number of IDs must be a positive integer",
        ),
        (
            "XDELEX s IDS x 1",
            "-ERR Number of IDs must be a positive integer",
        ),
        (
            "XDELEX s IDS 2 1",
            "-ERR The `numids` parameter must match the number of arguments",
        ),
        ("XDELEX s IDS 1 1 2", "-ERR syntax error"),
        ("XDELEX s KEEPREF ACKED IDS 1 1", "-ERR syntax error"),
        ("XDELEX s KEEPREF 1 1 1", "-ERR syntax error"),
        ("XDELEX s IDS 1 1 DELREF", "*1|:-1"),
        (
            "XDELEX s IDS 2 5 -",
            "-ERR Invalid stream ID specified as stream command argument",
        ),
        ("XLEN s", ":2"),
    ]);
    // What is pending without its entry is forgotten with it.
    let forgot = "*6|$6|XDELEX|$1|s|$6|DELREF|$3|IDS|$1|1|$1|4|";
    assert_eq!(engine.effects("XDELEX s DELREF IDS 1 4"), forgot);
    assert_eq!(engine.effects("XDELEX s DELREF IDS 1 4"), "");
    assert_eq!(engine.effects("XDELEX s ACKED IDS 1 5"), "");

    let mut engine = filled(300);
    delivered(&mut engine, "x s 200 10 150");
    engine.talk(&[("XTRIM s MAXLEN 5 ACKED", ":198"), ("XLEN s", ":102")]);
    let left = all(&mut engine);
    assert_eq!(left[..3], [10, 150, 201]);
    engine.talk(&[
        ("XADD s ACKED MINID 100 400 f v", "$5|400-0"),
        ("XLEN s", ":103"),
        ("XTRIM s MINID 200 DELREF", ":2"),
        ("XTRIM s MAXLEN 10 KEEPREF", ":91"),
        ("XTRIM s MAXLEN 10 KEEPREF KEEPREF", "-ERR syntax error"),
    ]);
    let pending = engine.handler(pending, "x s");
    assert_eq!(pending, ":0|");
}
