//! Replies of many elements that are written slice by slice (`work.rs`), behind a
//! header that says how many there are.

use super::Context;
use crate::error::CommandError;
use crate::resp::Reply;

/// How far such a reply has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replied {
    /// Elements that are written, and all that there will be.
    pub done: usize,
    pub of: usize,
    /// Bytes of them.
    bytes: usize,
}

/// What one call may write of it.
#[derive(Debug)]
pub struct Slice {
    /// Elements that it may look at, and reply.
    looks: usize,
    left: usize,
    begin: usize,
    full_at: usize,
    written: usize,
}

impl Replied {
    /// Nothing is written yet.
    pub fn of(count: usize) -> Self {
        Self {
            of: count,
            ..Self::default()
        }
    }

    /// Whether all is written.
    pub fn is_over(&self) -> bool {
        self.done >= self.of
    }

    /// So many elements that are only copied, and about as many bytes as a piece has;
    /// all of them where there are no slices.
    pub fn slice(&self, ctx: &Context<'_>) -> Slice {
        self.slice_of(ctx, ctx.long_step())
    }

    /// As [`Replied::slice`], with so many elements.
    pub fn slice_of(&self, ctx: &Context<'_>, elements: usize) -> Slice {
        let (begin, left) = (ctx.reply.written(), self.of - self.done);
        let (left, room) = match ctx.cargo.divisible {
            true => (elements.max(1).min(left), ctx.settings.long_replies.piece),
            false => (left, usize::MAX),
        };
        Slice {
            looks: elements.max(1),
            left,
            begin,
            full_at: begin.saturating_add(room),
            written: 0,
        }
    }

    /// The end of a slice; whether there is more to write.
    ///
    /// # Errors
    /// There is no room for it, or the client may not have so much: nothing has
    /// changed yet.
    pub fn note(&mut self, slice: Slice, ctx: &Context<'_>) -> Result<bool, CommandError> {
        ctx.reply.complete()?;
        self.done += slice.written;
        self.bytes += ctx.reply.written().saturating_sub(slice.begin);
        match self.bytes > ctx.settings.reply_max.bytes && !ctx.cargo.inner {
            true => Err(CommandError::TooLong),
            false => Ok(self.done < self.of),
        }
    }
}

impl Slice {
    /// Elements that may be looked at, at most.
    pub fn elements(&self) -> usize {
        self.looks
    }

    /// Whether it is enough when so many bytes are in the reply.
    pub fn is_full_at(&self, written: usize) -> bool {
        written >= self.full_at
    }

    /// An element has been written.
    pub fn wrote(&mut self) {
        self.written += 1;
    }

    /// Writes elements until it is enough, or there are no more.
    pub fn fill<E>(
        &mut self,
        reply: &mut Reply<'_>,
        mut elements: impl Iterator<Item = E>,
        mut write: impl FnMut(&mut Reply<'_>, E),
    ) {
        while self.written < self.left && !self.is_full_at(reply.written()) && !reply.is_cut() {
            let Some(element) = elements.next() else {
                return;
            };
            write(reply, element);
            self.written += 1;
        }
    }
}
