//! The commands that make a value anew where nobody has it yet: what the log of
//! a shard says of a value that came from another shard.
//!
//! Large collections take several commands of at most [`PER_COMMAND`] elements
//! each. The words are copied, since the effects are reached through the same
//! door as the value; that happens only while somebody records.

mod stream;

use crate::keyspace::{Db, StringRef, ValueRef};
use crate::number::float_text;
use crate::types::UnixMs;
use crate::value::{Element, HashRef};

/// Elements of one command.
const PER_COMMAND: usize = 500;

/// A command of the log.
type Words = Vec<Vec<u8>>;

/// Propagates what makes the value of a key anew, whatever the key held before;
/// nothing if its time has come, for then it is gone.
pub fn rebuild(db: &mut Db<'_>, key: &[u8]) {
    let mut commands: Vec<Words> = Vec::new();
    if db.effects().is_recording()
        && let Some(view) = db.lookup(key)
    {
        match view.value {
            ValueRef::String(text) => commands.push(string(key, text, view.expire_at)),
            value => {
                commands.push(vec![b"DEL".to_vec(), key.to_vec()]);
                collection(&mut commands, key, value);
                if let Some(at) = view.expire_at {
                    commands.push(vec![b"PEXPIREAT".to_vec(), key.to_vec(), digits(at.0)]);
                }
            }
        }
    }
    // Without a command, nothing stands in place of the request.
    db.effects().replace(&[]);
    for words in commands {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        db.effects().replace(&words);
    }
}

fn string(key: &[u8], text: StringRef<'_>, expire_at: Option<UnixMs>) -> Words {
    let value = match text {
        StringRef::Int(number) => digits(number),
        StringRef::Bytes(bytes) => bytes.to_vec(),
    };
    let mut words = vec![b"SET".to_vec(), key.to_vec(), value];
    if let Some(at) = expire_at {
        words.extend([b"PXAT".to_vec(), digits(at.0)]);
    }
    words
}

fn collection(commands: &mut Vec<Words>, key: &[u8], value: ValueRef<'_>) {
    match value {
        ValueRef::String(_) => {}
        ValueRef::List(list) => {
            let elements = list.iter().map(|element| [owned(element)]);
            in_batches(commands, b"RPUSH", key, elements);
        }
        ValueRef::Set(set) => {
            let members = set.iter().map(|member| [owned(member)]);
            in_batches(commands, b"SADD", key, members);
        }
        ValueRef::Zset(zset) => {
            let score = |score| float_text(score).as_bytes().to_vec();
            let members = zset.iter().map(|(member, at)| [score(at), owned(member)]);
            in_batches(commands, b"ZADD", key, members);
        }
        ValueRef::Hash(hash) => fields(commands, key, hash),
        ValueRef::Stream(stream) => stream::stream(commands, key, stream),
    }
}

fn fields(commands: &mut Vec<Words>, key: &[u8], hash: HashRef<'_>) {
    let pairs = hash
        .iter()
        .map(|field| [owned(field.name), owned(field.value)]);
    in_batches(commands, b"HSET", key, pairs);
    for field in hash.iter() {
        let Some(at) = field.expire_at else {
            continue;
        };
        let words: [&[u8]; 5] = [b"HPEXPIREAT", key, &digits(at.0), b"FIELDS", b"1"];
        let mut words: Words = words.map(<[u8]>::to_vec).into();
        words.push(owned(field.name));
        commands.push(words);
    }
}

/// Commands of this name with all elements, each of `N` words.
fn in_batches<const N: usize>(
    commands: &mut Vec<Words>,
    name: &[u8],
    key: &[u8],
    elements: impl Iterator<Item = [Vec<u8>; N]>,
) {
    let mut elements = elements.peekable();
    while elements.peek().is_some() {
        let mut words = vec![name.to_vec(), key.to_vec()];
        words.extend(elements.by_ref().take(PER_COMMAND).flatten());
        commands.push(words);
    }
}

fn owned(element: Element<'_>) -> Vec<u8> {
    element.with_bytes(<[u8]>::to_vec)
}

fn digits(number: i64) -> Vec<u8> {
    itoa::Buffer::new().format(number).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::rebuild;
    use crate::command::harness::{Engine, text};
    use crate::command::{Args, Context, Outcome, OwnedArgs};
    use crate::shard::Request;
    use crate::types::UnixMs;
    use crate::value::Stream;
    use crate::value::stream::{NodeLimits, StreamId, Trim, TrimTo, pairs};

    fn remake(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
        rebuild(&mut ctx.db, &args[1]);
        Ok(())
    }

    /// What the log says to make `key` anew.
    fn made_anew(engine: &mut Engine, key: &str) -> String {
        engine.shard.effects().record(true);
        let args = OwnedArgs::new([&b"REMAKE"[..], key.as_bytes()]);
        let request = Request::new(remake, args.args());
        let _ = engine.shard.apply(engine.now, &request, &mut Vec::new());
        let log = text(&engine.shard.effects().take());
        let log = log.replace("*2|$6|SELECT|$1|0|", "");
        engine.shard.effects().record(false);
        log
    }

    #[test]
    fn every_type_is_made_anew() {
        let mut engine = Engine::new();
        for (line, log) in [
            (
                "SET k 1 PXAT 2000000000000",
                "*5|$3|SET|$1|k|$1|1|$4|PXAT|$13|2000000000000|",
            ),
            (
                "RPUSH k a 2",
                "*1|$5|MULTI|*2|$3|DEL|$1|k|*4|$5|RPUSH|$1|k|$1|a|$1|2|*1|$4|EXEC|",
            ),
            (
                "SADD k a",
                "*1|$5|MULTI|*2|$3|DEL|$1|k|*3|$4|SADD|$1|k|$1|a|*1|$4|EXEC|",
            ),
            (
                "ZADD k 1.5 a -inf b",
                "*1|$5|MULTI|*2|$3|DEL|$1|k|*6|$4|ZADD|$1|k|$4|-inf|$1|b|$3|1.5|$1|a|*1|$4|EXEC|",
            ),
            (
                "HSET k f v",
                "*1|$5|MULTI|*2|$3|DEL|$1|k|*4|$4|HSET|$1|k|$1|f|$1|v|*1|$4|EXEC|",
            ),
        ] {
            engine.run("DEL k");
            engine.run(line);
            assert_eq!(made_anew(&mut engine, "k"), log, "{line}");
        }
        assert_eq!(made_anew(&mut engine, "nokey"), "");
    }

    /// Makes a stream at `k`: an entry of two that were added, and of three that one
    /// consumer has, one is there.
    fn make_stream(ctx: &mut Context<'_>, _: Args<'_>) -> Outcome {
        let make = |stream: &mut Stream| {
            for number in 1..4 {
                let fields = pairs([&b"f"[..], b"v"].into_iter());
                let (id, limits) = (StreamId::new(number, 0), NodeLimits::new(0, 0));
                stream.entries.append(id, fields, limits)?;
            }
            stream.groups.create(b"g", StreamId::new(2, 0), Some(7))?;
            stream.groups.create(b"idle", StreamId::MIN, None)?;
            let mut group = stream.groups.get_mut(b"g").unwrap();
            let (consumer, _) = group.consumer_or_create(b"c", UnixMs(1))?;
            for number in 1..4 {
                let (id, at) = (StreamId::new(number, 0), UnixMs(50 + number as i64 / 3));
                group.claim(id, consumer, at, 4)?;
            }
            drop(group);
            stream.entries.trim(Trim::new(TrimTo::MaxLen(2), false, 0));
            stream.entries.delete(StreamId::new(3, 0));
            stream.entries.set_id(StreamId::new(9, 9), Some(20), None);
            Ok(())
        };
        ctx.db.edit_or_create(b"k", make)?;
        Ok(())
    }

    #[test]
    fn a_stream_is_made_anew_with_its_groups() {
        let mut engine = Engine::new();
        let args = OwnedArgs::new([&b"MAKE"[..]]);
        let request = Request::new(make_stream, args.args());
        let _ = engine.shard.apply(engine.now, &request, &mut Vec::new());
        assert_eq!(engine.run("TYPE k"), "+stream|");
        assert_eq!(engine.run("OBJECT ENCODING k"), "$6|stream|");
        assert_eq!(engine.run("SCAN 0 TYPE stream"), "*2|$1|0|*1|$1|k|");
        let log = made_anew(&mut engine, "k");
        let mut words = log.split('|').filter(|word| !word.starts_with(['*', '$']));
        let mut said = Vec::new();
        words.by_ref().for_each(|word| said.push(word));
        assert_eq!(
            said.join(" "),
            "MULTI DEL k XADD k 1-0 x y XADD k 3-0 x y \
             XGROUP CREATE k g 2-0 ENTRIESREAD 7 XGROUP CREATECONSUMER k g c \
             XGROUP CREATE k idle 0-0 \
             XCLAIM k g c 0 1-0 TIME 50 RETRYCOUNT 4 FORCE JUSTID \
             XCLAIM k g c 0 3-0 TIME 51 RETRYCOUNT 4 FORCE JUSTID \
             XTRIM k MAXLEN 0 XSETID k 0-0 XADD k 2-0 f v \
             XCLAIM k g c 0 2-0 TIME 50 RETRYCOUNT 4 FORCE JUSTID \
             XSETID k 9-9 ENTRIESADDED 20 MAXDELETEDID 3-0 EXEC "
        );
    }

    #[test]
    fn an_empty_stream_is_made_anew() {
        let mut engine = Engine::new();
        let make = |ctx: &mut Context<'_>, _: Args<'_>| {
            ctx.db.edit_or_create(b"k", |_: &mut Stream| Ok(()))?;
            Ok(())
        };
        let args = OwnedArgs::new([&b"MAKE"[..]]);
        let request = Request::new(make, args.args());
        let _ = engine.shard.apply(engine.now, &request, &mut Vec::new());
        assert_eq!(
            made_anew(&mut engine, "k"),
            "*1|$5|MULTI|*2|$3|DEL|$1|k|*7|$4|XADD|$1|k|$6|MAXLEN|$1|0|$3|0-1|$1|x|$1|y|\
             *7|$6|XSETID|$1|k|$3|0-0|$12|ENTRIESADDED|$1|0|$12|MAXDELETEDID|$3|0-0|*1|$4|EXEC|"
        );
    }

    #[test]
    fn deadlines_come_last() {
        let mut engine = Engine::new();
        engine.run("HSET k f v");
        engine.run("HPEXPIREAT k 2000000000001 FIELDS 1 f");
        engine.run("PEXPIREAT k 2000000000000");
        assert_eq!(
            made_anew(&mut engine, "k"),
            "*1|$5|MULTI|*2|$3|DEL|$1|k|*4|$4|HSET|$1|k|$1|f|$1|v|\
             *6|$10|HPEXPIREAT|$1|k|$13|2000000000001|$6|FIELDS|$1|1|$1|f|\
             *3|$9|PEXPIREAT|$1|k|$13|2000000000000|*1|$4|EXEC|"
        );
    }

    #[test]
    fn a_large_one_takes_several_commands() {
        let mut engine = Engine::new();
        for number in 0..1_001 {
            engine.run(&format!("RPUSH k {number}"));
        }
        let log = made_anew(&mut engine, "k");
        assert_eq!(log.matches("*502|$5|RPUSH|").count(), 2);
        assert_eq!(log.matches("*3|$5|RPUSH|$1|k|$4|1000|").count(), 1);
    }
}
