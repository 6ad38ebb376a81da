//! Judges what a world of blocks has left in the logs of its shards: whoever
//! follows them, however they are cut, sees each block's part on a shard at once,
//! and ends with the same data.

use crate::blocks::{Blocks, DBS, NOW, Part, bulk, call_of, words};
use crate::replay::{Commands, number};
use shards::{DbIndex, Settings, Shard};
use std::collections::{HashMap, HashSet};

/// Judges a world that has come to rest.
pub fn check(world: &mut Blocks) -> Result<(), String> {
    let mut writers = HashMap::new();
    for (id, op) in world.ops.iter().enumerate() {
        for part in &op.parts {
            if let Part::Append(_, number) = part {
                writers.insert(*number, id);
            }
        }
    }
    for node in 0..world.nodes.len() {
        let logs = std::mem::take(&mut world.logs[node]);
        let mut complete = HashSet::new();
        for log in &logs {
            together(log, &writers, &mut complete).map_err(|wrong| {
                let log = log.escape_ascii();
                format!("in the log of shard {node}, {wrong}:\n  {log}")
            })?;
        }
        same(world, node, &logs)?;
    }
    Ok(())
}

/// What one operation has left stands between MULTI and EXEC, and nothing else
/// does. `complete` has those that have come already.
fn together(
    log: &[u8],
    writers: &HashMap<u32, usize>,
    complete: &mut HashSet<usize>,
) -> Result<(), String> {
    let (mut open, mut of) = (false, None);
    for command in Commands(log) {
        match command[0] {
            b"SELECT" => continue,
            b"MULTI" if open => return Err("a block stands in a block".into()),
            b"MULTI" => {
                (open, of) = (true, None);
                continue;
            }
            b"EXEC" => {
                open = false;
                complete.extend(of.take());
                continue;
            }
            _ => {}
        }
        if command[0].eq_ignore_ascii_case(b"append") {
            let text = command[2].strip_suffix(b",").unwrap_or_default();
            let appended = u32::try_from(number(text)?).map_err(|_| "a large number")?;
            let op = writers[&appended];
            if complete.contains(&op) {
                return Err(format!("operation {op} comes in two pieces"));
            }
            if of.is_some_and(|other| other != op) {
                return Err(format!("operation {op} stands in the block of another"));
            }
            of = Some(op);
        }
        if !open {
            complete.extend(of.take());
        }
    }
    match open {
        true => Err("a block has no end".into()),
        false => Ok(()),
    }
}

/// Whether a shard that plays the logs holds what the first one holds.
fn same(world: &mut Blocks, node: usize, logs: &[Vec<u8>]) -> Result<(), String> {
    let mut follower = Shard::new(DBS, 0..16_384, 1, Settings::default());
    let mut db = DbIndex(0);
    for command in logs.iter().flat_map(|log| Commands(log)) {
        match command[0] {
            b"MULTI" | b"EXEC" => {}
            b"SELECT" => db = DbIndex(number(command[1])? as u16),
            name => {
                let name = String::from_utf8_lossy(name).to_lowercase();
                let (call, args) = (call_of(&name, db), words(&command));
                let mut reply = Vec::new();
                let _ = follower.apply(NOW, &call.request(args.args()), &mut reply);
                if reply.starts_with(b"-") {
                    return Err(format!("a follower fails: {}", reply.escape_ascii()));
                }
            }
        }
    }
    let lists = world.lists.iter().cloned();
    let others = [&b"counter"[..], b"scratch"].map(<[u8]>::to_vec);
    let others = world.accounts.iter().cloned().chain(others);
    let others = others.map(|key| (DbIndex(0), key));
    for (db, key) in lists.chain(others).collect::<Vec<_>>() {
        if world.nodes[node].owner(&key) != world.nodes[node].id() {
            continue;
        }
        let (call, args) = (call_of("get", db), words(&[b"GET", &key]));
        let ask = |shard: &mut Shard| {
            let mut reply = Vec::new();
            let _ = shard.apply(NOW, &call.request(args.args()), &mut reply);
            bulk(&reply)
        };
        let (here, there) = (ask(world.nodes[node].shard_mut()), ask(&mut follower));
        if here != there {
            let key = key.escape_ascii();
            return Err(format!(
                "{key} is {here:?} here and {there:?} with a follower"
            ));
        }
    }
    Ok(())
}
