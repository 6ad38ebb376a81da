//! The real server: what one connection sends takes effect in the order in which it was
//! sent, for everybody, whichever shards the keys are on.
//!
//! Each test has writers that never end in another state than they should, seen in the
//! order of what they send, and readers that would meet it if two requests of a pipeline
//! ran side by side.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::client::{Client, Value};
use support::long_run;
use support::rng::{Rng, seed};
use support::server::Server;

/// Rounds that every reader makes at least.
const ROUNDS: usize = 300;

fn dose() -> Duration {
    match long_run() {
        true => Duration::from_secs(300),
        false => Duration::from_millis(800),
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        other => other.text().parse().expect("a number"),
    }
}

/// A request, from its words with spaces between them.
fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

fn all(lines: &[String]) -> Vec<Vec<Vec<u8>>> {
    lines.iter().map(|line| words(line)).collect()
}

/// What a reply says, with spaces between the elements of an array.
fn flat(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Array(items) => items.iter().map(flat).collect::<Vec<_>>().join(" "),
        value => value.text(),
    }
}

/// Has `write` go on, with the number of the round, until every reader has read long
/// enough.
fn beside(
    server: &Server,
    writers: usize,
    write: impl Fn(&mut Client, usize, u64) + Sync,
    readers: usize,
    read: impl Fn(&mut Client, &mut Rng, usize) + Sync,
) {
    let stop = AtomicBool::new(false);
    let seed = seed("ordering");
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (stop, write) = (&stop, &write);
            let mut client = server.connect();
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    write(&mut client, writer, round);
                }
            });
        }
        let reading = (0..readers).map(|reader| {
            let read = &read;
            let mut client = server.connect();
            let mut rng = Rng::new(seed.wrapping_add(reader as u64));
            scope.spawn(move || {
                let began = Instant::now();
                let mut rounds = 0;
                while rounds < ROUNDS || began.elapsed() < dose() {
                    read(&mut client, &mut rng, reader);
                    rounds += 1;
                }
            })
        });
        let reading: Vec<_> = reading.collect();
        let ended: Vec<_> = reading.into_iter().map(|it| it.join()).collect();
        stop.store(true, Ordering::Relaxed);
        for ended in ended {
            if let Err(panic) = ended {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Keys that two writers keep equal by MSET: who reads one and then the other in one
/// pipeline finds the second at least as new.
#[test]
fn two_reads_in_a_pipeline_are_in_order() {
    for shards in [4, 2] {
        let server = Server::cordis(shards, &[]);
        let write = |client: &mut Client, writer: usize, round: u64| {
            let line = format!("MSET a:{writer} {round} b:{writer} {round} c:{writer} {round}");
            let reply = client.call(&words(&line));
            assert_eq!(reply.to_string(), "OK");
        };
        let read = |client: &mut Client, rng: &mut Rng, _: usize| {
            let writer = rng.below(2);
            let names: Vec<&str> = (0..2 + rng.below(14))
                .map(|_| ["a", "b", "c"][rng.below(3)])
                .collect();
            let lines: Vec<String> = names
                .iter()
                .map(|it| format!("GET {it}:{writer}"))
                .collect();
            let read = client.pipeline(&all(&lines));
            let read: Vec<u64> = read.iter().map(|reply| number(&reply.value())).collect();
            assert!(
                read.windows(2).all(|pair| pair[0] <= pair[1]),
                "{names:?} of {writer}: {read:?}"
            );
        };
        beside(&server, 2, write, 4, read);
    }
}

/// A writer counts up in one key after the other, in one pipeline: nobody finds a later
/// one ahead of an earlier one, by GET, MGET or in a block.
#[test]
fn two_writes_in_a_pipeline_are_in_order() {
    let server = Server::cordis(4, &[]);
    let keys: Vec<String> = (0..8).map(|key| format!("k{key}")).collect();
    let write = |client: &mut Client, _: usize, round: u64| {
        let set = |(at, key): (usize, &String)| match (round + at as u64) % 5 {
            0 => format!("MSET {key} {round} other{at} {round}"),
            1 => format!("INCR {key}"),
            2 => format!("GETSET {key} {round}"),
            _ => format!("SET {key} {round}"),
        };
        let lines: Vec<String> = keys.iter().enumerate().map(set).collect();
        for reply in client.pipeline(&all(&lines)) {
            assert!(!reply.is_error(), "{reply}");
        }
    };
    let read = |client: &mut Client, rng: &mut Rng, _: usize| {
        // Last first: what is read later is at least as new.
        let backwards: Vec<&String> = keys.iter().rev().collect();
        let read: Vec<u64> = match rng.below(3) {
            0 => {
                let line = keys
                    .iter()
                    .rev()
                    .fold("MGET".to_owned(), |line, key| line + " " + key);
                let reply = client.call(&words(&line)).value();
                reply.items().iter().map(number).collect()
            }
            1 => {
                let mut lines = vec!["MULTI".to_owned()];
                lines.extend(backwards.iter().map(|key| format!("GET {key}")));
                lines.push("EXEC".to_owned());
                let replies = client.pipeline(&all(&lines));
                let reply = replies.last().expect("EXEC replies").value();
                reply.items().iter().map(number).collect()
            }
            _ => {
                let lines: Vec<String> = backwards.iter().map(|key| format!("GET {key}")).collect();
                let replies = client.pipeline(&all(&lines));
                replies.iter().map(|reply| number(&reply.value())).collect()
            }
        };
        assert!(read.windows(2).all(|pair| pair[0] <= pair[1]), "{read:?}");
    };
    beside(&server, 1, write, 4, read);
}

/// A job is written, and its name pushed to a queue behind it: a worker that takes the
/// name finds the job, although the shard of the job is busy for longer than that of
/// the queue.
#[test]
fn a_worker_finds_the_job_that_was_written_before_its_name_was_pushed() {
    const WORKERS: usize = 3;
    const WRITERS: usize = 2;
    const TAGS: u64 = 8;
    let server = Server::cordis(4, &["--enable-debug-command", "yes"]);
    let mut client = server.connect();
    // What keeps a shard busy is to keep it so in one piece.
    let whole = client.call(&["DEBUG", "SLICES", "100000000", "1"]);
    assert_eq!(whole.raw, b"+OK\r\n");
    for tag in 0..TAGS {
        let line = format!("SETBIT {{{tag}}}:bits 8000000 1");
        assert_eq!(client.call(&words(&line)).integer(), 0);
    }
    let write = |client: &mut Client, writer: usize, round: u64| {
        if writer >= WRITERS {
            // Meanwhile more comes to that shard than one box.
            let busy = format!("BITCOUNT {{{}}}:bits", round % TAGS);
            client.pipeline(&all(&vec![busy; 20]));
            return;
        }
        let jobs = (0..4).flat_map(|at| {
            let tag = (round + at) % TAGS;
            let job = format!("{{{tag}}}:job:{writer}:{round}:{at}");
            let write = format!("HSET {job} state new");
            let push = format!("LPUSH queue:{} {job}", (round + at) % WORKERS as u64);
            [write, push]
        });
        let lines: Vec<String> = jobs.collect();
        for reply in client.pipeline(&all(&lines)) {
            assert!(!reply.is_error(), "{reply}");
        }
    };
    let read = |client: &mut Client, _: &mut Rng, worker: usize| {
        let taken = client
            .call(&words(&format!("BRPOP queue:{worker} 0")))
            .value();
        let job = taken.items()[1].text();
        // What follows in one go also follows in order.
        let lines = [
            format!("HGET {job} state"),
            format!("DEL {job}"),
            format!("EXISTS {job}"),
        ];
        let replies = client.pipeline(&all(&lines));
        assert!(
            replies[0].is_text("new"),
            "{job}: {}",
            flat(&replies[0].value())
        );
        assert_eq!((replies[1].integer(), replies[2].integer()), (1, 0));
    };
    beside(&server, WRITERS + 2, write, WORKERS, read);
}

/// Every kind of request in one pipeline sees what those before it have done.
#[test]
fn a_pipeline_of_everything_is_in_order() {
    for shards in [1, 2, 4] {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        let mut rng = Rng::new(seed("everything"));
        for round in 0..200 {
            let mut lines = Vec::new();
            let mut expected: Vec<String> = Vec::new();
            let mut say = |line: String, reply: String| {
                lines.push(line);
                expected.push(reply);
            };
            let mut counts = [0u64; 6];
            for _ in 0..40 {
                let at = rng.below(6);
                let other = (at + 1 + rng.below(5)) % 6;
                let key = format!("{round}:{at}");
                match rng.below(9) {
                    0 | 1 => {
                        counts[at] += 1;
                        say(format!("INCR {key}"), counts[at].to_string());
                    }
                    2 => {
                        (counts[at], counts[other]) = (7, 9);
                        say(format!("MSET {key} 7 {round}:{other} 9"), "OK".into());
                    }
                    3 if counts[at] > 0 => {
                        say(format!("GET {key}"), counts[at].to_string());
                    }
                    4 => {
                        let there = usize::from(counts[at] > 0) + usize::from(counts[other] > 0);
                        say(format!("EXISTS {key} {round}:{other}"), there.to_string());
                    }
                    5 if counts[at] > 0 => {
                        (counts[other], counts[at]) = (counts[at], 0);
                        say(format!("RENAME {key} {round}:{other}"), "OK".into());
                    }
                    6 => {
                        counts[at] += 2;
                        say("MULTI".into(), "OK".into());
                        say(format!("INCRBY {key} 2"), "QUEUED".into());
                        say(format!("GET {round}:{other}"), "QUEUED".into());
                        let other = match counts[other] {
                            0 => "nil".to_owned(),
                            count => count.to_string(),
                        };
                        say("EXEC".into(), format!("{} {other}", counts[at]));
                    }
                    7 => {
                        let there = counts.iter().filter(|count| **count > 0).count();
                        say("DBSIZE".into(), there.to_string());
                    }
                    8 => {
                        counts = [0; 6];
                        say("FLUSHDB".into(), "OK".into());
                    }
                    _ => {}
                }
            }
            say("FLUSHDB".into(), "OK".into());
            let replies = client.pipeline(&all(&lines));
            let replies: Vec<String> = replies.iter().map(|it| flat(&it.value())).collect();
            for (at, reply) in replies.iter().enumerate() {
                assert_eq!(reply, &expected[at], "{} of {lines:?}", lines[at]);
            }
        }
    }
}
