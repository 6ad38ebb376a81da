//! Streams that most entries have gone from.

use super::{Kind, NOW, ask, elements, remove, scattered, send, shard, shrink};
use shards::command::{Context, OwnedArgs};
use shards::stream::Stream;
use shards::{Args, CommandError, Request, Shard};

/// The same for a stream whose entries have one field.
pub fn afresh(shard: &mut Shard, fresh: &mut Shard, key: &str) {
    let entries = ask(shard, &format!("XRANGE {key} - +"));
    let lines = entries.split(|byte| *byte == b'\n');
    let words = lines.filter_map(|line| line.strip_suffix(b"\r"));
    let words: Vec<&[u8]> = words
        .filter(|word| !word.starts_with(b"*") && !word.starts_with(b"$"))
        .collect();
    for entry in words.chunks(3) {
        let words = [b"XADD", key.as_bytes()];
        let words = words.into_iter().chain(entry.iter().copied());
        send(fresh, words, &mut Vec::new());
    }
    let words = OwnedArgs::new([&b"x"[..], key.as_bytes()]);
    let mut reply = Vec::new();
    let request = Request::new(remembered, words.args());
    shard.apply(NOW, &request, &mut reply).unwrap();
    ask(
        fresh,
        &String::from_utf8(elements(&reply)[0].clone()).unwrap(),
    );
}

/// Replies what has another stream remember what this one does.
fn remembered(ctx: &mut Context<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let stream = ctx.db.lookup_as::<Stream>(&args[1])?.unwrap();
    let entries = &stream.entries;
    let ids = [entries.last_id(), entries.max_deleted_id()].map(|id| (id.ms, id.seq));
    let line = format!(
        "XSETID {} {}-{} ENTRIESADDED {} MAXDELETEDID {}-{}",
        String::from_utf8_lossy(&args[1]),
        ids[0].0,
        ids[0].1,
        entries.added(),
        ids[1].0,
        ids[1].1
    );
    ctx.reply.array(1);
    ctx.reply.bulk(line.as_bytes());
    Ok(())
}

const STREAMS: Kind = Kind {
    add: |at| format!("XADD stream-0 {} field value:{at}", at + 1),
    shrink: &[
        ("XDEL in any order", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("XDEL stream-0 {}", at + 1)
            });
        }),
        ("XDEL in order", |shard, count| {
            remove(shard, 0..count - count / 1000, |at| {
                format!("XDEL stream-0 {}", at + 1)
            });
        }),
        ("XDELEX from the end", |shard, count| {
            remove(shard, (count / 1000..count).rev(), |at| {
                format!("XDELEX stream-0 ACKED IDS 1 {}", at + 1)
            });
        }),
        ("XTRIM", |shard, count| {
            ask(shard, &format!("XTRIM stream-0 MAXLEN {}", count / 1000));
        }),
        ("XTRIM of parts", |shard, count| {
            for part in (1..1000).rev() {
                ask(
                    shard,
                    &format!("XTRIM stream-0 MAXLEN {}", part * count / 1000),
                );
            }
        }),
        ("XADD with MAXLEN", |shard, count| {
            remove(shard, 0..5_000, |at| {
                format!(
                    "XADD stream-0 MAXLEN {} {} field x",
                    count / 1000,
                    1_000_000 + at
                )
            });
        }),
        ("XTRIM of what is acknowledged", |shard, count| {
            let most = count / 1000;
            ask(shard, &format!("XTRIM stream-0 MAXLEN {most} ACKED"));
        }),
    ],
};

#[test]
fn a_stream_that_lost_most_entries_is_as_small_as_a_new_one() {
    shrink(shard, &STREAMS, 50_000);
}
