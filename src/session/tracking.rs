//! What a client has said about client-side caching (CLIENT TRACKING).

use shards::ShardId;
use shards::tracking::{Tracker, Tracks};

/// Which keys a client is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those that it has read.
    Reads,
    /// Of these only the ones after CLIENT CACHING YES.
    OptIn,
    /// All but those after CLIENT CACHING NO.
    OptOut,
    /// Those with certain prefixes, read or not.
    Broadcast,
}

/// A client that tracks keys.
#[derive(Debug)]
pub struct Tracking {
    pub tracker: Tracker,
    pub mode: Mode,
    /// It is not told of its own changes.
    pub noloop: bool,
    /// The core on which it, or somebody in its place, is told.
    pub told_on: ShardId,
    /// That has changed, and what was told in between may have been lost.
    pub moves: bool,
    /// The client that is told in its place, by its id.
    pub redirect: Option<u64>,
    /// That client was gone when it was to be told something.
    pub broken: bool,
    /// CLIENT CACHING was said of the next command.
    pub caching: bool,
    /// In order.
    pub prefixes: Vec<Box<[u8]>>,
}

impl Tracking {
    /// For whom commands run now.
    pub fn tracks(&self) -> Tracks {
        let reads = match self.mode {
            Mode::Reads => true,
            Mode::OptIn => self.caching,
            Mode::OptOut => !self.caching,
            Mode::Broadcast => false,
        };
        Tracks {
            reads: reads.then_some(self.tracker),
            writes: self.noloop.then_some(self.tracker),
        }
    }
}
