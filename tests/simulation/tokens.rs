//! Judges a run in which tokens wander: requests only give keys other names and
//! databases other numbers, so whoever looks at all names of a database finds
//! all tokens or none, and none twice.

use crate::workload::{Op, Verb};
use crate::world::World;
use std::collections::HashSet;

/// Judges a world that has come to rest.
pub fn check(world: &World) -> Result<(), String> {
    let tokens = world.workload.tokens();
    for (id, op) in world.ops.iter().enumerate() {
        if op.completed.is_some() {
            reply(op, tokens).map_err(|wrong| {
                format!(
                    "{wrong}\n  {id}: {:?} -> {}",
                    op.verb,
                    op.reply.escape_ascii()
                )
            })?;
        }
    }
    match world.keys_stored() {
        stored if stored == tokens => Ok(()),
        stored => Err(format!("{stored} keys are left of {tokens}")),
    }
}

fn reply(op: &Op, tokens: usize) -> Result<(), String> {
    let text = String::from_utf8_lossy(&op.reply);
    let mut lines = text.split_terminator("\r\n");
    let head = lines.next().unwrap_or_default();
    let there: Vec<&str> = match op.verb {
        Verb::RenameNx => {
            return match head {
                ":0" | ":1" | "-ERR no such key" => Ok(()),
                _ => Err("not a reply to RENAMENX".into()),
            };
        }
        Verb::SwapDb => {
            return match head {
                "+OK" => Ok(()),
                _ => Err("not a reply to SWAPDB".into()),
            };
        }
        Verb::Exists => {
            return match head == ":0" || head == format!(":{tokens}") {
                true => Ok(()),
                false => Err("some of the tokens were counted".into()),
            };
        }
        _ => lines.filter(|line| !line.starts_with('$')).collect(),
    };
    if op.verb == Verb::Get || there.is_empty() {
        return Ok(());
    }
    let distinct: HashSet<&&str> = there.iter().collect();
    match there.len() == tokens && distinct.len() == tokens {
        true => Ok(()),
        false => Err("some of the tokens were seen, or one twice".into()),
    }
}
