//! Memory that a group of requests will touch is fetched before the first of them
//! runs, so that the group waits for memory about once.

use super::group::Parsed;
use crate::core::Core;
use shards::{Keyspace, Located, Span};

/// First the lines of the tables, then the entries they lead to, then elements of
/// large values.
#[inline]
pub fn fetch(core: &Core, key: u32, group: &[Parsed], words: (&[u8], &[Span])) {
    if group.len() < 2 {
        return;
    }
    let keyspace = core
        .node
        .shard()
        .keyspace(core.connections[key as usize].session.db);
    own_keys(core, group).for_each(|it| keyspace.prefetch_line(it));
    own_keys(core, group).for_each(|it| keyspace.prefetch_entry(it));
    let mut start = 0;
    while start < group.len() {
        let located = group[start].located;
        let same = |parsed: &&Parsed| parsed.located == located;
        let end = start + group[start..].iter().take_while(same).count();
        if let Some(located) = located
            && end - start > 1
            && core.node.owner_of(&located) == core.id
        {
            fetch_elements(keyspace, &located, group, start..end, words);
        }
        start = end;
    }
}

/// The first keys of requests that belong here; of neighbours that are the same, one.
#[inline]
fn own_keys<'g>(core: &Core, group: &'g [Parsed]) -> impl Iterator<Item = &'g Located> {
    let mut last = None;
    let located = group.iter().filter_map(|parsed| parsed.located.as_ref());
    located.filter(move |located| {
        last.replace(**located) != Some(**located) && core.node.owner_of(located) == core.id
    })
}

/// Requests in a row that go to one key name elements of its value as a rule, behind
/// the key. Where they do not, something is fetched in vain.
fn fetch_elements(
    keyspace: &Keyspace,
    located: &Located,
    group: &[Parsed],
    run: std::ops::Range<usize>,
    (input, spans): (&[u8], &[Span]),
) {
    let word = |at: usize, behind_key: usize| {
        let first = at
            .checked_sub(1)
            .map_or(0, |before| group[before].spans_end);
        let args = &spans[first..group[at].spans_end];
        let span = args.get(group[at].command?.first_key? + behind_key)?;
        Some(span.of(input))
    };
    if let Some(key) = word(run.start, 0) {
        keyspace.fetch_elements(located, key, run.filter_map(|at| word(at, 1)));
    }
}
