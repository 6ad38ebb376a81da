//! The one lookup: the engine's rows and the server's rows.

mod acl;
mod client;
mod command_info;
mod connection;
mod debug;
mod info;
mod latency;
mod lolwut;
mod memory;
mod pause;
pub mod run;
mod server;
mod slowlog;
mod syntax;
mod tracking;
pub mod transaction;

use crate::coordinator;
use crate::core::{Answer, Asked, Call, Core, Finish, Job, Question};
use shards::command::{Args, Arity, Begin, Command, Deprecated, Find, Flags, Group, KeySpec};
use shards::resp::Protocol;
use shards::{CommandError, Row};
use std::sync::OnceLock;

/// A row of the server: a function on the session.
pub type ServerRow = Command<Handler>;

/// A server command's function.
pub type Handler = fn(&mut Call<'_>, Args<'_>) -> Result<Flow, CommandError>;

/// What follows a server command's function.
pub enum Flow {
    /// The reply is written.
    Done,
    /// Every core is asked; the function writes the reply from the answers,
    /// which come in core order.
    Ask(Question, Finish),
    /// The job runs on another thread, because it waits for the machine; its
    /// answer is given to the function as the only one.
    Wait(Job, Finish),
    /// This row of the engine is run in its place, on the arguments behind the
    /// command's name. Not in a block.
    Engine(&'static Row),
    /// Nothing was done: the replies to earlier requests must be in first.
    Later,
    /// The reply has a place in the connection's order, and comes there.
    Pending,
    /// The same, and until then the session is that of a block with commands of the
    /// server, which change how it is answered.
    Block,
}

/// All families of the server.
static SERVER_COMMANDS: &[&[ServerRow]] = &[
    connection::COMMANDS,
    client::COMMANDS,
    command_info::COMMANDS,
    server::COMMANDS,
    info::COMMANDS,
    slowlog::COMMANDS,
    latency::COMMANDS,
    memory::COMMANDS,
    acl::COMMANDS,
    debug::COMMANDS,
    lolwut::COMMANDS,
    transaction::COMMANDS,
];

/// The defaults of a row; each states what differs.
const ROW: ServerRow = Command::running(container);

/// The function of a container, which never runs: the path of a request looks
/// for the subcommand and refuses what is none.
fn container(_: &mut Call<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

/// How a row runs.
pub enum Run {
    Engine(&'static Row),
    Server(&'static ServerRow),
}

/// A row without the type of what runs it.
pub struct Entry {
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
    pub keys: &'static [KeySpec],
    /// The argument that is the first key, if that is always the same.
    pub first_key: Option<usize>,
    one_key: OneKey,
    short_name: Option<u64>,
    /// Position in [`Registry::entries`] and in the statistics.
    pub number: u16,
    pub run: Run,
    pub subcommands: Vec<Entry>,
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
    pub entries: Vec<Entry>,
    /// Number of rows, subcommands included.
    pub rows: u16,
    /// Open addressing; an index into `entries` plus one, or zero.
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
        let mut entries: Vec<Entry> = engine
            .map(|row| Entry::new(row, &Run::Engine, &mut rows))
            .collect::<Vec<_>>()
            .into_iter()
            .chain(server.map(|row| Entry::new(row, &Run::Server, &mut rows)))
            .collect();
        merge_containers(&mut entries);
        let mut slots = Box::new([0u16; SLOTS]);
        for (index, entry) in entries.iter().enumerate() {
            let mut at = hash(entry.name.as_bytes());
            while slots[at] != 0 {
                at = (at + 1) % SLOTS;
            }
            slots[at] = index as u16 + 1;
        }
        Self {
            entries,
            rows,
            slots,
        }
    }

    /// The row called `name`, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let mut at = hash(name);
        loop {
            let entry = self
                .entries
                .get(usize::from(self.slots[at]).checked_sub(1)?)?;
            if is_name(name, entry) {
                return Some(entry);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

impl Registry {
    /// The row called `name`, which may be `container|sub`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Entry> {
        let Some(bar) = name.iter().position(|byte| *byte == b'|') else {
            return self.find(name);
        };
        self.find(&name[..bar])?.subcommand(&name[bar + 1..])
    }

    /// The row of a request: of its subcommand, for a container.
    pub fn find_with_sub(&self, args: Args<'_>) -> Option<&Entry> {
        let entry = self.find(args.get(0)?)?;
        match args.get(1) {
            Some(name) if !entry.subcommands.is_empty() => entry.subcommand(name),
            _ => Some(entry),
        }
    }

    /// Every row, subcommands after their containers.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        entries.flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands))
    }

    /// The flags of every row, by its number.
    pub fn flags(&self) -> Vec<Flags> {
        let mut flags = vec![Flags::default(); usize::from(self.rows)];
        for entry in self.all() {
            flags[usize::from(entry.number)] = entry.flags;
        }
        flags
    }

    /// Row `number`.
    pub fn by_number(&self, number: u16) -> Option<&Entry> {
        self.all().find(|entry| entry.number == number)
    }

    /// The full name of row `number`.
    pub fn name_of(&self, number: u16) -> &'static str {
        self.by_number(number).map_or("", |entry| entry.full_name)
    }
}

/// A container whose subcommands are partly the engine's and partly the
/// server's has two rows; they become one.
fn merge_containers(entries: &mut Vec<Entry>) {
    let mut at = 0;
    while at < entries.len() {
        let (before, rest) = entries.split_at_mut(at);
        let twin = before.iter_mut().find(|entry| entry.name == rest[0].name);
        match twin {
            Some(twin) => {
                twin.subcommands.append(&mut rest[0].subcommands);
                entries.remove(at);
            }
            None => at += 1,
        }
    }
}

/// Makes both cases of a letter one; no other byte becomes a lower-case letter.
const CASE: u64 = 0x2020_2020_2020_2020;

/// Whether a client's word is this entry's name, in any case. Short names are
/// compared at once.
#[inline]
fn is_name(word: &[u8], entry: &Entry) -> bool {
    match entry.short_name {
        Some(short) => word.len() == entry.name.len() && head(word) | CASE == short,
        None => word.eq_ignore_ascii_case(entry.name.as_bytes()),
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

impl Entry {
    /// Whether a request of `args` arguments has the first key as its only one.
    #[inline]
    pub fn has_one_key(&self, args: usize) -> bool {
        match self.one_key {
            OneKey::Always => true,
            OneKey::At(len) => args == len,
            OneKey::Never => false,
        }
    }

    /// Whether it concerns its connection alone, and so has no order with what others
    /// do, nor with what its own connection does on other cores.
    pub fn concerns_connection_alone(&self) -> bool {
        self.group == Group::Connection && !self.flags.has(shards::command::flags::ADMIN)
    }

    /// The subcommand called `name`, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&Entry> {
        let named = |sub: &&Entry| name.eq_ignore_ascii_case(sub.name.as_bytes());
        self.subcommands.iter().find(named)
    }

    fn new<R>(
        row: &'static Command<R>,
        run: &dyn Fn(&'static Command<R>) -> Run,
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
            keys: row.keys,
            first_key,
            one_key,
            number,
            run: run(row),
            subcommands: row
                .subcommands
                .iter()
                .map(|sub| Self::new(sub, run, rows))
                .collect(),
        }
    }
}

/// Answers a question for this core, at once or later.
pub fn answer(core: &mut Core, question: &Question, asked: Asked) -> Option<Answer> {
    let answer = match question {
        Question::Clients(filter, running) => client::list_here(core, filter, *running),
        Question::Kill(filter) => client::kill_here(core, filter),
        Question::Stats { histograms } => info::stats_here(core, *histograms),
        Question::ResetStats => info::reset_here(core),
        Question::Configure(config) => {
            server::configure_here(core, config);
            Answer::Done
        }
        Question::Slow(count) => slowlog::newest_here(core, *count),
        Question::SlowCount => Answer::Count(core.slow_log.len() as u64),
        Question::ForgetSlow => {
            core.slow_log.clear();
            Answer::Done
        }
        Question::Events => Answer::Events(core.events.clone()),
        Question::ForgetEvents(kinds) => latency::forget_here(core, kinds),
        Question::Pause(new) => {
            coordinator::pause::begin(core, *new, asked);
            return None;
        }
        Question::Still => {
            coordinator::pause::look(core, asked);
            return None;
        }
        Question::Unpause => {
            core.end_pause();
            Answer::Done
        }
        Question::Unblock(id, how) => pause::unblock_here(core, *id, *how),
        Question::ActiveExpire(active) => {
            core.active_expire = *active;
            Answer::Done
        }
        Question::Object { db, key } => debug::object_here(core, *db, key),
        Question::Sleep(duration) => {
            std::thread::sleep(*duration);
            Answer::Done
        }
    };
    Some(answer)
}

/// The sum of counts that cores have answered.
fn total(answers: &[Answer]) -> u64 {
    let count = |answer: &Answer| match answer {
        Answer::Count(count) => *count,
        _ => 0,
    };
    answers.iter().map(count).sum()
}

/// A number that is no integer: a double in RESP3, a bulk string in RESP2.
fn double(call: &mut Call<'_>, text: &str) {
    match call.session().protocol {
        Protocol::Resp2 => call.reply().bulk(text.as_bytes()),
        Protocol::Resp3 => {
            let parts = [b",", text.as_bytes(), b"\r\n"];
            call.out.extend_from_slice(&parts.concat());
        }
    }
}

/// The finish of a question that every core has simply heeded.
fn ok(call: &mut Call<'_>, _: Args<'_>, _: Vec<Answer>) -> Result<(), CommandError> {
    call.reply().ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for entry in registry().all() {
            let upper = entry.full_name.to_ascii_uppercase();
            let found = registry().find_full(upper.as_bytes());
            let found = found.unwrap_or_else(|| panic!("{upper} is not found"));
            assert_eq!(found.full_name, entry.full_name, "stands twice");
            assert_eq!(registry().name_of(entry.number), entry.full_name);
        }
        for name in ["", "nosuch", "config|", "config|nosuch", "get|x", "|"] {
            assert!(registry().find_full(name.as_bytes()).is_none(), "{name}");
        }
    }

    /// The notation of every row is understood, and its arguments fit the arity.
    #[test]
    fn every_row_is_documented() {
        for entry in registry().all() {
            let name = entry.full_name;
            for text in [entry.summary, entry.since, entry.complexity] {
                assert!(!text.is_empty(), "{name} lacks documentation");
            }
            let arguments = syntax::arguments(entry.syntax, !entry.keys.is_empty());
            assert_eq!(
                entry.syntax.is_empty(),
                arguments.is_empty(),
                "{name}: {}",
                entry.syntax
            );
            let balance = |open: char, close: char| {
                let count = |mark| entry.syntax.matches(mark).count();
                count(open) == count(close)
            };
            assert!(
                balance('[', ']') && balance('<', '>'),
                "{name}: {}",
                entry.syntax
            );
        }
    }
}
