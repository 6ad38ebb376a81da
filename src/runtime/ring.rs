//! The shard's own io_uring behind a safe face.
//!
//! One ring per core carries everything that has to do with client sockets:
//! multishot accept, multishot receive into provided buffers, sends, and the
//! wake-ups between cores. glommio's own rings are left to timers and files:
//! its `TcpStream` re-arms a poll after each short read and wakes up through
//! several system calls, where this ring needs one per turn.
//!
//! Safety rests on ownership: a buffer that the kernel may write or read is
//! owned by the ring until the completion that ends its use hands it out.
//! - A provided buffer is in the kernel's hands while its place in
//!   `buffers` is full; [`Completion::Received`] takes it out, and
//!   [`Ring::recycle`] puts it back.
//! - A buffer to send lives in `sends` until [`Completion::Sent`] returns it.
//!
//! A token is the caller's name for a socket. The caller must keep the socket
//! open until every operation started for it has completed.
#![allow(unsafe_code)]

mod completion;
#[cfg(test)]
mod tests;

use completion::{end_of, seen};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use shards::replies::Piece;
use slab::Slab;
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

pub use completion::{Buffer, Completion, End};

/// Bytes in one provided buffer: a pipeline of 100 small commands fits several
/// times, and a large value still arrives in few pieces.
pub const BUFFER_BYTES: usize = 16 * 1024;
/// Provided buffers per core (a power of two).
const BUFFERS: u16 = 256;
const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 4096;
const GROUP: u16 = 0;
const ENTER_GETEVENTS: u32 = 1;
const PAGE: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    Accept = 1,
    Receive,
    Send,
    Rung,
    Watch,
    Ignored,
}

struct Sending {
    token: u32,
    buffer: Piece,
    offset: usize,
    socket: RawFd,
}

/// A core's ring. Must be created and used on one thread.
pub struct Ring {
    uring: IoUring,
    buffers: Vec<Option<Box<[u8]>>>,
    /// The page shared with the kernel that lists the free buffers.
    shared: NonNull<io_uring::types::BufRingEntry>,
    tail: u16,
    sends: Slab<Sending>,
    /// Sends that are queued and not yet submitted.
    sends_queued: usize,
    /// The kernel knows how to wait for several completions with patience.
    counts_patience: bool,
    /// Submissions that did not fit; sent with the next enter.
    backlog: Vec<squeue::Entry>,
}

impl Ring {
    /// Sets the ring up, its provided buffers included.
    ///
    /// # Errors
    /// The kernel's: ENOSYS or EPERM where io_uring is missing or forbidden,
    /// EINVAL before Linux 6.1, ENOMEM when memlock is too small.
    pub fn new() -> io::Result<Self> {
        Self::of_size(SUBMISSIONS, COMPLETIONS)
    }

    fn of_size(submissions: u32, completions: u32) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_cqsize(completions)
            .build(submissions)?;
        let layout = Layout::from_size_align(PAGE, PAGE).expect("a page is a valid layout");
        // SAFETY: the layout has a size above zero.
        let page = unsafe { alloc_zeroed(layout) };
        let Some(shared) = NonNull::new(page.cast()) else {
            handle_alloc_error(layout)
        };
        // SAFETY: the page is aligned, holds BUFFERS entries of 16 bytes, and
        // is never freed: it must outlive the ring, and a core keeps its ring
        // for the life of the process.
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(page as u64, BUFFERS, GROUP, 0)?;
        }
        let mut ring = Self {
            counts_patience: uring.params().is_feature_min_timeout(),
            uring,
            buffers: (0..BUFFERS).map(|_| None).collect(),
            shared,
            tail: 0,
            sends: Slab::new(),
            sends_queued: 0,
            backlog: Vec::new(),
        };
        for id in 0..BUFFERS {
            ring.recycle(Buffer {
                memory: vec![0; BUFFER_BYTES].into(),
                len: 0,
                id,
            });
        }
        // One lookup less per enter; kernels without it do as well.
        let _ = ring.uring.submitter().register_ring_fd();
        Ok(ring)
    }

    /// The ring's file descriptor, for [`Ring::ring_other`] on other cores.
    pub fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Has `eventfd` signalled at completions while [`Ring::signal`] is on.
    pub fn register_eventfd(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.uring
            .submitter()
            .register_eventfd(eventfd.as_raw_fd())?;
        self.signal(false);
        Ok(())
    }

    /// Turns signalling of the registered eventfd on or off.
    pub fn signal(&mut self, on: bool) {
        let completions = self.uring.completion();
        if on {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }

    /// Accepts connections on `listener` until a completion says otherwise.
    pub fn accept(&mut self, token: u32, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(rustix::net::SocketFlags::CLOEXEC.bits() as i32)
            .build();
        self.push(entry, Operation::Accept, token);
    }

    /// Receives from `socket` until a completion says otherwise.
    pub fn receive(&mut self, token: u32, socket: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(entry, Operation::Receive, token);
    }

    /// Receives from `socket` once, into one buffer.
    pub fn receive_once(&mut self, token: u32, socket: BorrowedFd<'_>) {
        let any = std::ptr::null_mut();
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), any, BUFFER_BYTES as u32)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(entry, Operation::Receive, token);
    }

    /// Ends the receiving of `token`; its `ReceiveEnded` follows.
    pub fn stop_receiving(&mut self, token: u32) {
        let entry = opcode::AsyncCancel::new(user_data(Operation::Receive, token)).build();
        self.push(entry, Operation::Ignored, token);
    }

    /// Watches whether the peer of `socket` ends its side of the stream or is gone, also
    /// while nothing is received from it.
    pub fn watch(&mut self, token: u32, socket: BorrowedFd<'_>) {
        let events = rustix::event::PollFlags::RDHUP.bits();
        let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), events.into()).build();
        self.push(entry, Operation::Watch, token);
    }

    /// Sends `buffer`. At most one send per socket may be under way.
    /// `soon`: the socket most probably has room for it, so [`Ring::wait`] may count on its
    /// completion.
    pub fn send(&mut self, token: u32, socket: BorrowedFd<'_>, buffer: Piece, soon: bool) {
        let socket = socket.as_raw_fd();
        self.sends_queued += usize::from(soon);
        let index = self.sends.insert(Sending {
            token,
            buffer,
            offset: 0,
            socket,
        });
        self.push_send(index);
    }

    fn push_send(&mut self, index: usize) {
        let sending = &self.sends[index];
        let rest = &sending.buffer[sending.offset..];
        // One send carries at most 1 GiB; the rest follows as after a short send.
        let len = rest.len().min(1 << 30) as u32;
        let flags = rustix::net::SendFlags::NOSIGNAL.bits() | MSG_WAITALL;
        let entry = opcode::Send::new(Fd(sending.socket), rest.as_ptr(), len)
            .flags(flags as i32)
            .build();
        self.push(entry, Operation::Send, index as u32);
    }

    /// Wakes the core whose ring is `fd`: it gets [`Completion::Rung`].
    pub fn ring_other(&mut self, fd: RawFd) {
        let entry = opcode::MsgRingData::new(Fd(fd), 0, user_data(Operation::Rung, 0), None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(entry, Operation::Ignored, 0);
    }

    /// Gives a received buffer back to the kernel.
    #[inline]
    pub fn recycle(&mut self, buffer: Buffer) {
        let Buffer { mut memory, id, .. } = buffer;
        let at = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: `at` is below BUFFERS, so the entry lies in the page. The
        // kernel does not read it before the tail below moves past it.
        let entry = unsafe { &mut *self.shared.as_ptr().add(at) };
        entry.set_addr(memory.as_mut_ptr() as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.buffers[usize::from(id)] = Some(memory);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a u16 in the first entry; both sides access it
        // atomically, and `set_*` above leave it alone.
        let tail = unsafe {
            &*io_uring::types::BufRingEntry::tail(self.shared.as_ptr()).cast::<AtomicU16>()
        };
        tail.store(self.tail, Ordering::Release);
    }

    /// Whether an [`Ring::enter`] would do anything, or there are completions.
    #[inline]
    pub fn has_work(&mut self) -> bool {
        let submissions = self.uring.submission();
        !submissions.is_empty() || is_owed(&submissions) || {
            drop(submissions);
            !self.uring.completion().is_empty() || !self.backlog.is_empty()
        }
    }

    /// Submits what is queued and lets the kernel finish what it can, without waiting.
    #[inline]
    pub fn enter(&mut self) {
        self.drain_backlog();
        self.sends_queued = 0;
        let submissions = self.uring.submission();
        let (len, owed) = (submissions.len() as u32, is_owed(&submissions));
        drop(submissions);
        if len == 0 && !owed {
            return;
        }
        // SAFETY: no argument is passed. Every queued entry was built by this
        // type, whose buffers live until their completion.
        let result = unsafe {
            self.uring
                .submitter()
                .enter::<()>(len, 0, ENTER_GETEVENTS, None)
        };
        if let Err(error) = result {
            check(&error);
        }
    }

    /// As [`Ring::enter`], waiting for `want` completions beside those of the
    /// sends that are submitted with this and most probably done at once, and not longer
    /// than `patience`.
    pub fn wait(&mut self, want: u32, patience: Duration) {
        self.drain_backlog();
        let time = Timespec::from(patience);
        let mut arguments = SubmitArgs::new().timespec(&time);
        let mut want = want as usize + std::mem::take(&mut self.sends_queued);
        if want > 1 {
            if self.counts_patience {
                arguments = arguments.min_wait_usec(patience.as_micros() as u32);
            } else {
                want = 1; // before Linux 6.12
            }
        }
        if let Err(error) = self.uring.submitter().submit_with_args(want, &arguments) {
            check(&error);
        }
    }

    /// Moves what the kernel has finished into `into`.
    #[inline]
    pub fn completions(&mut self, into: &mut Vec<Completion>) {
        let Self {
            uring,
            buffers,
            sends,
            ..
        } = self;
        let mut resend = Vec::new();
        for cqe in uring.completion() {
            if let Some(completion) = completion(&cqe, buffers, sends, &mut resend) {
                into.push(completion);
            }
        }
        for index in resend {
            self.push_send(index);
        }
    }

    fn push(&mut self, entry: squeue::Entry, kind: Operation, index: u32) {
        let entry = entry.user_data(user_data(kind, index));
        // SAFETY: the memory the entry names is owned by `self` until its
        // completion, and the caller keeps the socket open until then.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.backlog.push(entry);
        }
    }

    fn drain_backlog(&mut self) {
        while !self.backlog.is_empty() {
            if let Err(error) = self.uring.submit() {
                check(&error);
                return;
            }
            let mut submissions = self.uring.submission();
            let room = submissions.capacity() - submissions.len();
            for entry in self.backlog.drain(..room.min(self.backlog.len())) {
                // SAFETY: as in `push`.
                let pushed = unsafe { submissions.push(&entry) };
                debug_assert!(pushed.is_ok());
            }
        }
    }
}

/// Whether the kernel has completions that only an enter brings to the queue: they are
/// still to be made, or the queue was full.
#[inline]
fn is_owed(submissions: &squeue::SubmissionQueue<'_>) -> bool {
    submissions.taskrun() || submissions.cq_overflow()
}

const MSG_WAITALL: u32 = 0x100;

fn user_data(kind: Operation, index: u32) -> u64 {
    ((kind as u64) << 32) | u64::from(index)
}

/// Waiting in vain, being interrupted and being busy are normal; anything else
/// means that the ring is unusable, and a core without a ring is no core.
fn check(error: &io::Error) {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    let normal = [Errno::TIME, Errno::INTR, Errno::BUSY, Errno::AGAIN];
    assert!(
        errno.is_some_and(|errno| normal.contains(&errno)),
        "io_uring_enter: {error}"
    );
}

#[inline]
fn completion(
    cqe: &cqueue::Entry,
    buffers: &mut [Option<Box<[u8]>>],
    sends: &mut Slab<Sending>,
    resend: &mut Vec<usize>,
) -> Option<Completion> {
    let index = cqe.user_data() as u32;
    let kind = (cqe.user_data() >> 32) as u8;
    let result = match cqe.result() {
        error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        value => Ok(value as usize),
    };
    let more = cqueue::more(cqe.flags());
    if kind == Operation::Receive as u8 {
        return Some(received(cqe, index, result, more, buffers));
    }
    if kind == Operation::Send as u8 {
        return sent(index as usize, result, sends, resend);
    }
    if kind == Operation::Accept as u8 {
        use std::os::fd::FromRawFd;
        // SAFETY: the kernel has just opened this descriptor for us alone.
        let socket = result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        return Some(Completion::Accepted {
            token: index,
            socket,
            more,
        });
    }
    if kind == Operation::Watch as u8 {
        let end = seen(result);
        return Some(Completion::WatchEnded { token: index, end });
    }
    (kind == Operation::Rung as u8).then_some(Completion::Rung)
}

#[inline]
fn received(
    cqe: &cqueue::Entry,
    token: u32,
    result: io::Result<usize>,
    more: bool,
    buffers: &mut [Option<Box<[u8]>>],
) -> Completion {
    match (result, cqueue::buffer_select(cqe.flags())) {
        (Ok(len), Some(id)) if len > 0 => {
            let memory = buffers[usize::from(id)].take();
            let memory = memory.expect("the kernel fills only buffers that it was given");
            Completion::Received {
                token,
                buffer: Buffer { memory, len, id },
                more,
            }
        }
        (result, _) => Completion::ReceiveEnded {
            token,
            end: end_of(result),
        },
    }
}

#[inline]
fn sent(
    index: usize,
    result: io::Result<usize>,
    sends: &mut Slab<Sending>,
    resend: &mut Vec<usize>,
) -> Option<Completion> {
    let sending = &mut sends[index];
    if let Ok(sent) = result {
        sending.offset += sent;
        if sent > 0 && sending.offset < sending.buffer.len() {
            resend.push(index);
            return None;
        }
    }
    let Sending {
        token,
        buffer,
        offset,
        ..
    } = sends.remove(index);
    Some(Completion::Sent {
        token,
        buffer,
        sent: result.map(|_| offset),
    })
}
