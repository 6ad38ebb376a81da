//! SSCAN, HSCAN and ZSCAN that are to look at many elements with one call, in slices
//! (`work.rs`).

use super::{Context, Outcome, Pieces, Work};
use crate::error::CommandError;
use crate::resp::Protocol;

/// How far such a call has come.
#[derive(Debug)]
pub struct Scanning {
    pub cursor: u64,
    /// Elements that are still to be looked at.
    left: usize,
    found: Pieces,
    /// Elements that this slice has met, and why it cannot go on.
    met: usize,
    failed: Outcome,
}

impl Scanning {
    pub fn new(cursor: u64, count: usize) -> Box<Self> {
        Box::new(Self {
            cursor,
            left: count,
            found: Pieces::default(),
            met: 0,
            failed: Ok(()),
        })
    }

    /// What earlier calls have left, if this is not the first; or else the reply goes on,
    /// and there is nothing to do.
    pub fn resumed(ctx: &mut Context<'_>) -> Option<Result<Box<Self>, Outcome>> {
        match ctx.work()? {
            Work::Scan(scanning) => Some(Ok(scanning)),
            Work::Reply(pieces, number) => Some(Err(ctx.reply_pieces(pieces, number))),
            _ => None,
        }
    }

    /// How many elements this slice is to look at.
    pub fn budget(&self, ctx: &Context<'_>) -> usize {
        self.left.min(ctx.step())
    }

    /// An element was met.
    pub fn meet(&mut self) {
        self.met += 1;
    }

    /// It is to be replied.
    pub fn add(&mut self, protocol: Protocol, bytes: &[u8]) {
        if self.failed.is_ok() {
            self.failed = self.found.bulk(protocol, bytes);
        }
    }

    /// The end of a slice; the next one begins at a cursor.
    pub fn end(mut self: Box<Self>, ctx: &mut Context<'_>, next: u64) -> Outcome {
        std::mem::replace(&mut self.failed, Ok(()))?;
        if self.found.bytes > ctx.settings.reply_max.bytes {
            return Err(CommandError::TooLong);
        }
        self.left = self.left.saturating_sub(self.met.max(1));
        (self.cursor, self.met) = (next, 0);
        if next != 0 && self.left > 0 {
            return ctx.leave(Work::Scan(self));
        }
        ctx.reply.array(2);
        ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        ctx.reply.array(self.found.len);
        ctx.reply_pieces(self.found, 0)
    }
}
