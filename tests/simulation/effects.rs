//! Judges what a world of blocks has left in the merged logs of its shards: whoever
//! follows them, however they are cut, sees each block at once, and those that
//! followed each other in their order, and ends with the same data.

use crate::blocks::{Blocks, DBS, Op, Part};
use crate::follower::Follower;
use crate::replay::{Commands, number};
use shards::DbIndex;
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
    let mut follower = Follower::new(DBS);
    let mut order = Vec::new();
    for (_, log) in &world.recorder.stream {
        together(log, &writers, &mut order)
            .map_err(|wrong| format!("in the log, {wrong}:\n  {}", log.escape_ascii()))?;
        follower.play(log)?;
    }
    in_order(&order, &world.ops)?;
    let lists = world.lists.iter().cloned();
    let others = [&b"counter"[..], b"scratch"].map(<[u8]>::to_vec);
    let others = world.accounts.iter().cloned().chain(others);
    let others = others.map(|key| (DbIndex(0), key));
    let keys: Vec<_> = lists.chain(others).collect();
    follower.same(&mut world.nodes, &keys, "GET KEY")
}

/// Whether every operation comes once, and behind all that were over when it began.
fn in_order(order: &[usize], ops: &[Op]) -> Result<(), String> {
    let mut seen = HashSet::new();
    let mut began = 0;
    for id in order {
        if !seen.insert(*id) {
            return Err(format!("operation {id} comes in two pieces"));
        }
        let op = &ops[*id];
        began = began.max(op.invoked);
        if op.completed.is_some_and(|completed| completed < began) {
            return Err(format!(
                "operation {id} comes behind one that began after it"
            ));
        }
    }
    Ok(())
}

/// What one operation has left stands between MULTI and EXEC, and nothing else
/// does. Appends the operations to `order`.
fn together(
    log: &[u8],
    writers: &HashMap<u32, usize>,
    order: &mut Vec<usize>,
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
                order.extend(of.take());
                continue;
            }
            _ => {}
        }
        if command[0].eq_ignore_ascii_case(b"append") {
            let text = command[2].strip_suffix(b",").unwrap_or_default();
            let appended = u32::try_from(number(text)?).map_err(|_| "a large number")?;
            let op = writers[&appended];
            if of.is_some_and(|other| other != op) {
                return Err(format!("operation {op} stands in the block of another"));
            }
            of = Some(op);
        }
        if !open {
            order.extend(of.take());
        }
    }
    match open {
        true => Err("a block has no end".into()),
        false => Ok(()),
    }
}
