//! How long requests take, measured where they run and told where they came from.
//!
//! The engine has no clock of its own: whoever owns a node may give it one. The
//! time travels back with the reply, so that the core that serves the client
//! has everything in one hand: the client, the request and how long it took.

use crate::command::{Args, OwnedArgs};

/// What a node measures with.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Counts up, in whatever unit.
    pub clock: fn() -> u64,
    /// From so many units on, a request comes back with its reply.
    pub slow: u64,
}

impl Default for Timing {
    /// A clock that stands still.
    fn default() -> Self {
        Self {
            clock: || 0,
            slow: u64::MAX,
        }
    }
}

impl Timing {
    /// A copy of the arguments of a request that took `ticks`, if that is long.
    #[inline]
    pub(super) fn keep(&self, ticks: u64, args: Args<'_>) -> Option<Box<OwnedArgs>> {
        let copy = (ticks >= self.slow).then(|| OwnedArgs::new(args.iter()));
        copy.filter(|it| !it.args().is_empty()).map(Box::new)
    }
}
