//! Judges a world of blocks in which every request finds its place at once: all of
//! them must have run in that place, on every key. Nobody is overtaken, so nobody
//! starves: neither a request on one key by a stream of blocks, nor a block by a
//! stream of single requests or of other blocks, nor a writer by readers.

use crate::appends::{elements, numbers};
use crate::blocks::{Blocks, Part};

/// Judges a world that has come to rest: who has overtaken whom. Operations and
/// numbers are counted in the order in which they began.
pub fn check(world: &mut Blocks) -> Result<(), String> {
    if let Some(unrest) = world.unrest() {
        return Err(unrest);
    }
    let lists = (0..world.lists.len()).map(|list| numbers(&world.stored(list)));
    let lists: Vec<Vec<u32>> = lists.collect();
    for (list, numbers) in lists.iter().enumerate() {
        if let Some(pair) = numbers.windows(2).find(|pair| pair[0] > pair[1]) {
            let [one, other] = [pair[0], pair[1]];
            return Err(format!("in list {list}, {one} has overtaken {other}"));
        }
    }
    // What an operation should find in each list.
    let mut lengths = vec![0; lists.len()];
    for (id, op) in world.ops.iter().enumerate() {
        if op.completed.is_none() {
            return Err(format!("operation {id} was never answered"));
        }
        let replies = match op.block {
            true => elements(&op.reply).ok_or("not an array")?,
            false => vec![&op.reply[..]],
        };
        for (part, reply) in op.parts.iter().zip(replies) {
            match part {
                Part::Append(list, _) => lengths[*list] += 1,
                Part::Read(list) if numbers(reply).len() != lengths[*list] => {
                    return Err(format!(
                        "operation {id} read {} of the {} numbers of list {list}",
                        numbers(reply).len(),
                        lengths[*list]
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
