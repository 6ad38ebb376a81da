//! A shard's part of a file: it encodes what it held at the cut, and gives it to the
//! writer.
//!
//! So much may be given and not written yet: while the disk is slow the walk waits, clients
//! do not. What they overwrite meanwhile they encode themselves, and it stays with the shard
//! until there is room. Where nobody takes it any more, the walk goes on all the same,
//! because the next cut relies on its end.

use crate::core::{Answer, Core, Given, Piece, QuestionId, Walk};
use crate::questions::gather;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// What a turn may spend on it while no client asks for anything.
const SLICE: Duration = Duration::from_micros(200);
/// The same beside clients, and how long the shard is theirs alone after that: nobody waits
/// for a dump as for a reply, and a machine has few CPUs for shards, writer and clients.
const SLICE_BESIDE: Duration = Duration::from_micros(100);
const REST: Duration = Duration::from_micros(200);
/// Bytes of a shard that wait for the writer, but for what one step makes.
const UNWRITTEN_MAX: usize = 4 << 20;

/// The cut is made: the shard walks, and gives what it has to `to`. The answer follows
/// when it knows of the cut no more.
pub fn begin(core: &mut Core, to: Sender<Given>, unwritten: Arc<AtomicUsize>, asked: QuestionId) {
    core.snapshots.walk = Some(Walk {
        to,
        unwritten,
        keys: 0,
        rests_until: Instant::now(),
        asked,
    });
    core.snapshots.is_busy = true;
}

/// Goes on for as long as others can wait; whether it did anything. `traffic` says that
/// there are others.
pub fn go_on(core: &mut Core, traffic: bool) -> bool {
    let Some(mut walk) = core.snapshots.walk.take() else {
        return false;
    };
    let began = Instant::now();
    let mut worked = false;
    let slice = match traffic {
        true if began < walk.rests_until => Duration::ZERO,
        true => SLICE_BESIDE,
        false => SLICE,
    };
    while walk.unwritten.load(Ordering::Relaxed) < UNWRITTEN_MAX && began.elapsed() < slice {
        let more = core.node.go_on_cut(core.now);
        worked |= more | give(core, &mut walk);
        if !core.node.is_being_cut() {
            // Nobody may be there to hear of it.
            let _ = walk.to.send((core.id, Piece::Last));
            gather::give_answer(core, walk.asked, Answer::Done);
            return true;
        }
        if !more {
            break;
        }
    }
    if worked {
        walk.rests_until = Instant::now() + REST;
    }
    core.deliver();
    core.snapshots.walk = Some(walk);
    worked
}

/// Gives what has been encoded; whether there was anything.
fn give(core: &mut Core, walk: &mut Walk) -> bool {
    let Ok(chunks) = core.node.take_chunks() else {
        let lacks = Piece::Lacks("there was no memory for a part of it");
        let _ = walk.to.send((core.id, lacks));
        core.node.abandon_cut();
        return true;
    };
    let any = !chunks.is_empty();
    for chunk in chunks {
        walk.keys += u64::from(chunk.keys);
        let bytes = chunk.bytes.len();
        walk.unwritten.fetch_add(bytes, Ordering::Relaxed);
        if walk.to.send((core.id, Piece::Chunk(chunk))).is_err() {
            // Nobody wants it any more.
            walk.unwritten.store(0, Ordering::Relaxed);
            core.node.abandon_cut();
        }
    }
    any
}
