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
        // One of the server's, whose secrets are known when it has run, is told then.
        let ran = commands
            .into_iter()
            .filter(|(_, serves)| self.runs && !serves);
        ran.map(|(told, _)| told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> MonitoredBlock {
        let mut block = Block::default();
        let args = |word: &str| OwnedArgs::new([word.as_bytes()]);
        let get = shards::row("get").expect("there is one");
        assert!(block.push(1, get, None, args("get").args()));
        assert!(block.push_server(2, false, args("auth").args()));
        assert!(block.push(3, get, None, args("get").args()));
        assert!(block.push_server(4, false, args("select").args()));
        assert!(block.push(5, get, None, args("get").args()));
        MonitoredBlock::new((9, args("exec").args()), &block)
    }

    fn rows(told: &[Told]) -> Vec<u16> {
        told.iter().map(|(row, _)| *row).collect()
    }

    #[test]
    fn commands_are_told_in_their_order_and_the_servers_when_they_run() {
        let mut told = block();
        assert_eq!(rows(&told.before_step()), [1]);
        assert_eq!(rows(&told.before_step()), [3]);
        assert!(!told.is_over());
        // Its reply is dropped.
        told.ends(b"");
        assert!(told.is_over());
        assert_eq!(rows(&told.take_rest()), [5]);
        assert_eq!(told.exec.0, 9);
    }

    #[test]
    fn of_what_has_not_run_nothing_is_told() {
        for (reply, runs) in [
            (&b"*-1\r\n"[..], false),
            (b"_\r\n", false),
            (b"-EXECABORT no\r\n", false),
            (b"*0\r\n", true),
            (b"*1\r\n", true),
        ] {
            let mut told = block();
            told.ends(reply);
            let rest = rows(&told.take_rest());
            let expected: &[u16] = if runs { &[1, 3, 5] } else { &[] };
            assert_eq!(rest, expected, "{reply:?}");
        }
    }
}
