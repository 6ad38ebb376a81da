//! Runs commands on one shard, for the tests of the command families.

use super::{Args, Handler, OwnedArgs, Run, row};
use crate::resp::{Limits, Partial, Protocol, Status, parse};
use crate::shard::{Request, Shard};
use crate::types::{DbIndex, Settings, UnixMs};

/// A shard with two databases and a clock that stands still.
pub struct Engine {
    pub shard: Shard,
    pub now: UnixMs,
    pub db: DbIndex,
    pub protocol: Protocol,
    /// As CLIENT NO-TOUCH.
    pub no_touch: bool,
}

impl Engine {
    pub fn new() -> Self {
        Self {
            shard: Shard::new(2, 0..crate::types::SLOTS, 1, Settings::default()),
            now: UnixMs(1_000_000_000_000),
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: false,
        }
    }

    /// Runs a request written as on a terminal. CRLF in the reply becomes `|`.
    pub fn run(&mut self, line: &str) -> String {
        let args = words(line);
        let args = args.args();
        let name = args[0].to_ascii_lowercase();
        let mut row = row(&name).unwrap();
        if let (false, Some(sub)) = (row.subcommands.is_empty(), args.get(1)) {
            let full = [&name, &b"|"[..], &sub.to_ascii_lowercase()].concat();
            let mut rows = row.subcommands.iter();
            row = rows.find(|row| row.name.as_bytes() == full).unwrap();
        }
        assert!(row.arity.accepts(args.len()), "{line}");
        self.apply(row.run.whole(), args)
    }

    /// Runs what a shard is asked to read for a request on several shards.
    pub fn part(&mut self, line: &str) -> String {
        let args = words(line);
        let Run::ReadThenWrite { read, .. } = row(&args.args()[0]).unwrap().run else {
            panic!("{line}")
        };
        self.apply(read, args.args())
    }

    /// Runs a function with what is in a line.
    pub fn handler(&mut self, handler: Handler, line: &str) -> String {
        self.apply(handler, words(line).args())
    }

    fn apply(&mut self, handler: Handler, args: Args<'_>) -> String {
        let request = Request {
            db: self.db,
            protocol: self.protocol,
            no_touch: self.no_touch,
            ..Request::new(handler, args)
        };
        let mut out = Vec::new();
        let _ = self.shard.apply(self.now, &request, &mut out);
        text(&out)
    }

    /// Runs each line and compares its reply.
    pub fn talk(&mut self, dialogue: &[(&str, &str)]) {
        for (line, reply) in dialogue {
            assert_eq!(self.run(line), format!("{reply}|"), "{line}");
        }
    }

    /// The effects of `line`.
    pub fn effects(&mut self, line: &str) -> String {
        self.shard.effects().record(true);
        self.run(line);
        let log = text(&self.shard.effects().take());
        let (select, multi) = ("*2|$6|SELECT|$1|0|", "*1|$5|MULTI|");
        let (multi, rest) = match log.strip_prefix(multi) {
            Some(rest) => (multi, rest),
            None => ("", log.as_str()),
        };
        format!("{multi}{}", rest.strip_prefix(select).unwrap_or(rest))
    }
}

/// Printable, CRLF as `|`.
pub fn text(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\r\\n", "|")
        .replace("\\'", "'")
}

/// The words of a line, quotes as on a terminal.
pub fn words(line: &str) -> OwnedArgs {
    let limits = Limits {
        bulk_len: 1 << 20,
        request_len: 1 << 20,
        authenticated: true,
    };
    let input = format!("{line}\n");
    let mut spans = Vec::new();
    let status = parse(
        input.as_bytes(),
        &mut Partial::default(),
        &mut spans,
        &limits,
    );
    let Ok(Status::Inline(array)) = status else {
        panic!("{line}: {status:?}")
    };
    parse(&array, &mut Partial::default(), &mut spans, &limits).unwrap();
    OwnedArgs::new(super::Args::new(&array, &spans).iter())
}
