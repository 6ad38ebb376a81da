//! The one lookup: the engine's rows and the server's rows, by name and by number.

use super::{SERVER_COMMANDS, ServerRow};
use shards::Row;
use shards::command::{
    Args, Arity, Begin, Command, Deprecated, Find, Flags, Group, InMulti, KeySpec, Waits, flags,
};
use std::sync::OnceLock;

/// Whose row it is.
pub enum RowOf {
    Engine(&'static Row),
    Server(&'static ServerRow),
}

/// A row of either table, as it is looked up.
pub struct AnyRow {
    /// What it is looked up by: for a subcommand, without its container.
    pub name: &'static str,
    /// `container|sub` for a subcommand.
    pub full_name: &'static str,
    pub syntax: &'static str,
    pub summary: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    pub history: &'static [(&'static str, &'static str)],
    pub deprecated: Option<Deprecated>,
    pub is_system: bool,
    pub group: Group,
    pub tips: &'static [&'static str],
    pub arity: Arity,
    pub flags: Flags,
    pub categories: &'static [&'static str],
    /// May leave effects: a pause of writes holds it up.
    pub may_write: bool,
    pub in_multi: InMulti,
    pub waits: Waits,
    pub keys: &'static [KeySpec],
    /// The argument that is the first key, if that is always the same.
    pub first_key: Option<usize>,
    one_key: OneKey,
    short_name: Option<u64>,
    /// Position in [`Registry::commands`] and in the statistics.
    pub number: u16,
    pub row: RowOf,
    pub subcommands: Vec<AnyRow>,
}

/// When a request has exactly one key.
#[derive(Clone, Copy)]
enum OneKey {
    Always,
    /// With this many arguments, name included.
    At(usize),
    Never,
}

impl OneKey {
    /// With it, the argument that is the first key, if that is always the same.
    fn find(keys: &[KeySpec]) -> (Option<usize>, Self) {
        let [
            KeySpec {
                begin: Begin::Index(index),
                find: Find::Range { last, step, .. },
                ..
            },
        ] = keys
        else {
            return (None, Self::Never);
        };
        let one_key = match last {
            0 => Self::Always,
            -1 => usize::try_from(index + step).map_or(Self::Never, Self::At),
            _ => Self::Never,
        };
        (usize::try_from(*index).ok(), one_key)
    }
}

/// All rows, in table order, and the hash table over their names.
pub struct Registry {
    pub commands: Vec<AnyRow>,
    /// Number of rows, subcommands included.
    pub rows: u16,
    /// Open addressing; an index into `commands` plus one, or zero.
    slots: Box<[u16; SLOTS]>,
}

/// Far more places than commands, so that most lookups are one comparison.
const SLOTS: usize = 2048;

/// The table of all commands.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::build)
}

impl Registry {
    fn build() -> Self {
        let mut rows = 0;
        let engine = shards::COMMANDS.iter().copied().flatten();
        let server = SERVER_COMMANDS.iter().copied().flatten();
        let mut commands: Vec<AnyRow> = engine
            .map(|row| AnyRow::new(row, &RowOf::Engine, &mut rows))
            .collect::<Vec<_>>()
            .into_iter()
            .chain(server.map(|row| AnyRow::new(row, &RowOf::Server, &mut rows)))
            .collect();
        merge_containers(&mut commands);
        let mut slots = Box::new([0u16; SLOTS]);
        for (index, command) in commands.iter().enumerate() {
            let mut at = hash(command.name.as_bytes());
            while slots[at] != 0 {
                at = (at + 1) % SLOTS;
            }
            slots[at] = index as u16 + 1;
        }
        Self {
            commands,
            rows,
            slots,
        }
    }

    /// The row called `name`, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&AnyRow> {
        let mut at = hash(name);
        loop {
            let command = self
                .commands
                .get(usize::from(self.slots[at]).checked_sub(1)?)?;
            if is_name(name, command) {
                return Some(command);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

impl Registry {
    /// The row called `name`, which may be `container|sub`.
    pub fn find_full(&self, name: &[u8]) -> Option<&AnyRow> {
        let Some(bar) = name.iter().position(|byte| *byte == b'|') else {
            return self.find(name);
        };
        self.find(&name[..bar])?.subcommand(&name[bar + 1..])
    }

    /// The row of a request: of its subcommand, for a container.
    pub fn find_with_sub(&self, args: Args<'_>) -> Option<&AnyRow> {
        let command = self.find(args.get(0)?)?;
        match args.get(1) {
            Some(name) if !command.subcommands.is_empty() => command.subcommand(name),
            _ => Some(command),
        }
    }

    /// Every row, subcommands after their containers.
    pub fn all(&self) -> impl Iterator<Item = &AnyRow> {
        let commands = self.commands.iter();
        commands.flat_map(|command| std::iter::once(command).chain(&command.subcommands))
    }

    /// The flags of every row, by its number.
    pub fn flags(&self) -> Vec<Flags> {
        let mut flags = vec![Flags::default(); usize::from(self.rows)];
        for command in self.all() {
            flags[usize::from(command.number)] = command.flags;
        }
        flags
    }

    /// Row `number`.
    pub fn by_number(&self, number: u16) -> Option<&AnyRow> {
        self.all().find(|command| command.number == number)
    }

    /// The full name of row `number`.
    pub fn name_of(&self, number: u16) -> &'static str {
        self.by_number(number)
            .map_or("", |command| command.full_name)
    }
}

/// A container whose subcommands are partly the engine's and partly the
/// server's has two rows; they become one.
fn merge_containers(commands: &mut Vec<AnyRow>) {
    let mut at = 0;
    while at < commands.len() {
        let (before, rest) = commands.split_at_mut(at);
        let twin = before
            .iter_mut()
            .find(|command| command.name == rest[0].name);
        match twin {
            Some(twin) => {
                twin.subcommands.append(&mut rest[0].subcommands);
                commands.remove(at);
            }
            None => at += 1,
        }
    }
}

/// Makes both cases of a letter one; no other byte becomes a lower-case letter.
const CASE: u64 = 0x2020_2020_2020_2020;

/// Whether a client's word is this row's name, in any case. Short names are
/// compared at once.
#[inline]
fn is_name(word: &[u8], command: &AnyRow) -> bool {
    match command.short_name {
        Some(short) => word.len() == command.name.len() && head(word) | CASE == short,
        None => word.eq_ignore_ascii_case(command.name.as_bytes()),
    }
}

/// A name of at most eight letters as [`head`] reads it.
fn short_name(name: &str) -> Option<u64> {
    let short = name.len() <= 8 && name.bytes().all(|byte| byte.is_ascii_lowercase());
    short.then(|| head(name.as_bytes()) | CASE)
}

/// Length and the first eight bytes, case folded, tell nearly all names apart.
#[inline]
fn hash(name: &[u8]) -> usize {
    let folded = (head(name) | CASE) ^ name.len() as u64;
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize
}

/// The first eight bytes, or as many as there are, as a number: in two reads
/// that overlap, because a copy of unknown length is a call.
#[inline]
fn head(name: &[u8]) -> u64 {
    if let Some(eight) = name.first_chunk::<8>() {
        return u64::from_le_bytes(*eight);
    }
    if let (Some(low), Some(high)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let shift = (name.len() - 4) * 8;
        return u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << shift;
    }
    name.iter()
        .rev()
        .fold(0, |head, byte| head << 8 | u64::from(*byte))
}

impl AnyRow {
    /// Whether a request of `args` arguments has the first key as its only one.
    #[inline]
    pub fn has_one_key(&self, args: usize) -> bool {
        match self.one_key {
            OneKey::Always => true,
            OneKey::At(len) => args == len,
            OneKey::Never => false,
        }
    }

    /// The subcommand called `name`, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&AnyRow> {
        let named = |sub: &&AnyRow| name.eq_ignore_ascii_case(sub.name.as_bytes());
        self.subcommands.iter().find(named)
    }

    fn new<R>(
        row: &'static Command<R>,
        typed: &dyn Fn(&'static Command<R>) -> RowOf,
        rows: &mut u16,
    ) -> Self {
        let number = *rows;
        *rows += 1;
        let (first_key, one_key) = OneKey::find(row.keys);
        Self {
            name: row.name.split_once('|').map_or(row.name, |(_, sub)| sub),
            short_name: short_name(row.name),
            full_name: row.name,
            syntax: row.syntax,
            summary: row.summary,
            since: row.since,
            complexity: row.complexity,
            history: row.history,
            deprecated: row.deprecated,
            is_system: row.is_system,
            group: row.group,
            tips: row.tips,
            arity: row.arity,
            flags: row.flags,
            categories: row.categories,
            may_write: row.flags.has(flags::WRITE) || row.may_replicate,
            in_multi: row.in_multi,
            waits: row.waits,
            keys: row.keys,
            first_key,
            one_key,
            number,
            row: typed(row),
            subcommands: row
                .subcommands
                .iter()
                .map(|sub| Self::new(sub, typed, rows))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{command_info::categories, syntax};
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for command in registry().all() {
            let upper = command.full_name.to_ascii_uppercase();
            let found = registry().find_full(upper.as_bytes());
            let found = found.unwrap_or_else(|| panic!("{upper} is not found"));
            assert_eq!(found.full_name, command.full_name, "stands twice");
            assert_eq!(registry().name_of(command.number), command.full_name);
        }
        for name in ["", "nosuch", "config|", "config|nosuch", "get|x", "|"] {
            assert!(registry().find_full(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn every_category_that_a_row_names_is_one() {
        for command in registry().all() {
            let all = categories(command);
            let is_one = |name: &&str| all.contains(name);
            assert!(
                command.categories.iter().all(is_one),
                "{}",
                command.full_name
            );
        }
    }

    /// The notation of every row is understood, and its arguments fit the arity.
    #[test]
    fn every_row_is_documented() {
        for command in registry().all() {
            let name = command.full_name;
            for text in [command.summary, command.since, command.complexity] {
                assert!(!text.is_empty(), "{name} lacks documentation");
            }
            let arguments = syntax::arguments(command.syntax, !command.keys.is_empty());
            assert_eq!(
                command.syntax.is_empty(),
                arguments.is_empty(),
                "{name}: {}",
                command.syntax
            );
            let balance = |open: char, close: char| {
                let count = |mark| command.syntax.matches(mark).count();
                count(open) == count(close)
            };
            assert!(
                balance('[', ']') && balance('<', '>'),
                "{name}: {}",
                command.syntax
            );
        }
    }
}
