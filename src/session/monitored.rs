//! A block of which monitors are told as it runs.

use shards::command::{Args, OwnedArgs};
use shards::order::Block;
use std::collections::VecDeque;

/// A command's row and arguments.
pub type Told = (u16, OwnedArgs);

/// What monitors have not been told yet of a block that is under way: whether it runs
/// depends on what was watched, and what its commands are on those of the server in it.
pub struct MonitoredBlock {
    /// With whether they are the server's.
    commands: VecDeque<(Told, bool)>,
    /// EXEC itself.
    pub exec: Told,
    /// It has begun to run.
    runs: bool,
    over: bool,
}

impl MonitoredBlock {
    /// One that EXEC, with this row and these arguments, sends on its way.
    pub fn new((row, args): (u16, Args<'_>), block: &Block) -> Self {
        let own = |args: Args<'_>| OwnedArgs::new(args.iter());
        Self {
            commands: block
                .commands()
                .map(|(row, args, serves)| ((row, own(args)), serves))
                .collect(),
            exec: (row, own(args)),
            runs: false,
            over: false,
        }
    }

    /// It has come to its next command of the server: what stands before that.
    pub fn before_step(&mut self) -> Vec<Told> {
        self.runs = true;
        let mut before = Vec::new();
        while let Some((told, serves)) = self.commands.pop_front() {
            if serves {
                break;
            }
            before.push(told);
        }
        before
    }

    /// It is over, with this reply.
    pub fn ends(&mut self, reply: &[u8]) {
        // Of a failed or refused EXEC nothing has run.
        let refusals = [&b"*-1"[..], b"_", b"-"];
        self.runs |= !refusals.iter().any(|begin| reply.starts_with(begin));
        self.over = true;
    }

    /// Whether all of it can be told.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Takes what is left to be told of one that is over, but EXEC.
    pub fn take_rest(&mut self) -> Vec<Told> {
        let commands = std::mem::take(&mut self.commands);
        let ran = commands.into_iter().filter(|_| self.runs);
        ran.map(|(told, _)| told).collect()
    }
}
