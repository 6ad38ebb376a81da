//! The one lookup: the engine's rows and the server's rows.

mod connection;

use crate::core::{Answer, Core, Finish, Question};
use crate::session::Session;
use shards::command::{Args, Arity, Begin, Command, Find, Flags, KeySpec};
use shards::resp::Reply;
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
}

/// All families of the server.
static SERVER_COMMANDS: &[&[ServerRow]] = &[connection::COMMANDS];

/// What a server command may touch. The reply goes to `out`, never into the
/// connection's own buffers.
pub struct Call<'a> {
    pub core: &'a mut Core,
    /// The connection's key in `core.connections`.
    pub key: u32,
    pub out: &'a mut Vec<u8>,
}

impl Call<'_> {
    /// The client that called.
    pub fn session(&mut self) -> &mut Session {
        &mut self.core.connections[self.key as usize].session
    }

    /// A writer in the client's protocol version.
    pub fn reply(&mut self) -> Reply<'_> {
        let protocol = self.core.connections[self.key as usize].session.protocol;
        Reply::new(self.out, protocol)
    }
}

/// Which clients a CLIENT LIST or KILL means; empty fields mean any.
#[derive(Debug, Clone, Default)]
pub struct ClientFilter {
    pub ids: Vec<u64>,
}

/// How a row runs.
pub enum Run {
    Engine(&'static Row),
    Server(&'static ServerRow),
}

/// A row as the path of a request needs it.
pub struct Entry {
    pub name: &'static str,
    pub arity: Arity,
    pub flags: Flags,
    pub keys: &'static [KeySpec],
    /// The argument that is the only key, for rows with exactly one.
    pub only_key: Option<usize>,
    /// Position in [`Registry::entries`] and in the statistics.
    pub number: u16,
    pub run: Run,
    pub subcommands: Vec<Entry>,
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
        let entries: Vec<Entry> = engine
            .map(|row| Entry::new(row, &Run::Engine, &mut rows))
            .collect::<Vec<_>>()
            .into_iter()
            .chain(server.map(|row| Entry::new(row, &Run::Server, &mut rows)))
            .collect();
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
            if name.eq_ignore_ascii_case(entry.name.as_bytes()) {
                return Some(entry);
            }
            at = (at + 1) % SLOTS;
        }
    }
}

/// Length and the first eight bytes, case folded, tell nearly all names apart.
#[inline]
fn hash(name: &[u8]) -> usize {
    let mut head = [0u8; 8];
    let len = name.len().min(8);
    head[..len].copy_from_slice(&name[..len]);
    let folded = (u64::from_le_bytes(head) | 0x2020_2020_2020_2020) ^ name.len() as u64;
    (folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize
}

impl Entry {
    fn new<R>(
        row: &'static Command<R>,
        run: &dyn Fn(&'static Command<R>) -> Run,
        rows: &mut u16,
    ) -> Self {
        let number = *rows;
        *rows += 1;
        let only_key = match row.keys {
            [
                KeySpec {
                    begin: Begin::Index(index),
                    find: Find::Range { last: 0, .. },
                    ..
                },
            ] => usize::try_from(*index).ok(),
            _ => None,
        };
        Self {
            // Subcommands are looked up by what stands behind the bar.
            name: row.name.split_once('|').map_or(row.name, |(_, sub)| sub),
            arity: row.arity,
            flags: row.flags,
            keys: row.keys,
            only_key,
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

/// Answers a question for this core.
pub fn answer(core: &mut Core, question: &Question) -> Answer {
    match question {
        Question::Configure(config) => {
            core.config = (**config).clone();
            Answer::Done
        }
        Question::Sleep(duration) => {
            std::thread::sleep(*duration);
            Answer::Done
        }
        _ => Answer::Done,
    }
}
