//! What a command is: one row and one function.
//!
//! A [`Command`] says all there is to know of a command before it runs; lookup,
//! arity errors, routing, refusals, COMMAND INFO/DOCS/GETKEYS, the table in the
//! README and the generated tests are derived from it. Rows are immutable and
//! `static`; statistics live in per-core arrays indexed by the row's number.
//!
//! The type parameter `R` of [`Command`] is how a row runs: [`Run`] here in the
//! engine, a function on the session in the server.

mod args;
mod keys;
mod spec;
mod strings;

pub use args::{Args, Span};
pub use spec::{Access, Arity, Begin, Command, Find, Flags, Group, KeySpec, flags, keys_of};

use crate::effects::{Effects, Event};
use crate::error::CommandError;
use crate::keyspace::Db;
use crate::resp::Reply;
use crate::shard::Settings;

/// A row of the engine.
pub type Row = Command<Run>;

/// Nothing to say on success: the reply is already written.
pub type Outcome = Result<(), CommandError>;

/// A command's function. It parses and validates everything, then writes, then
/// calls [`Context::changed`], then replies: an error means nothing changed,
/// nothing was replied and nothing will be propagated.
pub type Handler = fn(&mut Context<'_>, Args<'_>) -> Outcome;

/// How a row runs when its keys are spread over shards.
#[derive(Clone, Copy)]
pub enum Run {
    /// One key: runs whole on the shard that owns it.
    OneShard(Handler),
    /// Each shard runs `part` on its own keys (or on everything it has, for a
    /// command without keys); the replies are merged. A write of this kind
    /// cannot fail once its arguments are parsed.
    EachShard { part: Handler, merge: Merge },
    /// Two hops: every shard runs `first` on its keys, the connection's core
    /// looks at all the answers and either replies or has every shard run
    /// `second` on its keys. With all keys on one shard, `whole` runs there.
    TwoHops {
        whole: Handler,
        first: Handler,
        decide: Decide,
        second: Option<Handler>,
    },
}

/// How the replies of the parts become one reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Add up integer replies.
    Sum,
    /// All parts reply `+OK`; reply it once.
    Ok,
    /// Each part replies an array with one element per key of its own; lay
    /// them out in the order of the request's keys.
    KeyOrder,
}

/// Looks at the first hop's replies (RESP, one element per key, in the order
/// of the request's keys) and either writes the final reply and says `Done`,
/// or asks for the second hop. `DoneAfter` writes the final reply now and has
/// the second hop run before it is sent.
pub type Decide = fn(&[&[u8]], Args<'_>, &mut Reply<'_>) -> Result<Next, CommandError>;

/// What follows the first hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The reply is written; no second hop.
    Done,
    /// The reply is written and is sent once every shard has run `second`.
    DoneAfter,
}

/// What a handler may touch.
pub struct Context<'a> {
    /// The selected database on this shard, at the request's time. The only
    /// way to entries.
    pub db: Db<'a>,
    pub reply: Reply<'a>,
    pub settings: &'a Settings,
}

impl Context<'_> {
    /// Says that the request changed `key`: counts it, marks the request to be
    /// propagated as it stands, and records the event. Call it after the write
    /// and before the reply, once per changed key.
    #[inline]
    pub fn changed(&mut self, key: &[u8], event: Event) {
        self.effects().changed(key, event);
    }

    /// Propagates `parts` in place of the request. For handlers whose result
    /// depends on chance, relative time or arithmetic of the machine.
    #[inline]
    pub fn propagate(&mut self, parts: &[&[u8]]) {
        self.effects().replace(parts);
    }

    fn effects(&mut self) -> &mut Effects {
        self.db.effects()
    }
}

/// All families of the engine.
pub static COMMANDS: &[&[Row]] = &[strings::COMMANDS, keys::COMMANDS];
