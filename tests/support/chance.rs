//! What a reply left to chance must have in common with what is there.

use super::client::{Client, Reply, Value};
use super::same::{Comparison, comparison, has_pairs, leaves};

/// Whether what a server has picked or come across is there, with the values it
/// said. Asks the server itself, on the connection that had the reply: nothing may
/// have happened in between.
pub fn is_plausible(client: &mut Client, request: &[Vec<u8>], reply: &Reply) -> bool {
    let how = comparison(request);
    if !matches!(how, Comparison::Picked | Comparison::Scanned) {
        return true;
    }
    let found = match (how, reply.value()) {
        (Comparison::Scanned, Value::Array(parts)) if parts.len() == 2 => leaves(&parts[1]),
        (_, value @ (Value::Array(_) | Value::Bulk(_))) => leaves(&value),
        _ => None,
    };
    let Some(found) = found.filter(|found| !found.is_empty()) else {
        return true;
    };
    let width = if has_pairs(request) { 2 } else { 1 };
    let names: Vec<Vec<u8>> = found.iter().step_by(width).cloned().collect();
    let values = found.iter().skip(1).step_by(2);
    let name = request[0].to_ascii_lowercase();
    let question = match name.as_slice() {
        b"scan" | b"randomkey" => {
            return names
                .iter()
                .all(|key| client.call(&[b"EXISTS", key.as_slice()]).integer() == 1);
        }
        b"srandmember" | b"sscan" => &b"SMISMEMBER"[..],
        b"hrandfield" | b"hscan" => b"HMGET",
        _ => b"ZMSCORE",
    };
    let request = [vec![question.to_vec(), request[1].clone()], names].concat();
    let there = client.call(&request).value();
    let there = there.items();
    let all = !there
        .iter()
        .any(|it| matches!(it, Value::Null | Value::Integer(0)));
    all && (width == 1
        || values
            .zip(there)
            .all(|(value, there)| there.bytes() == *value))
}
