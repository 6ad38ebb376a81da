//! Where a core's loop sleeps inside glommio.
//!
//! Two tasks can wake it, and whoever has a [`Bell`]: one reads the core's eventfd
//! through glommio, one is the heartbeat. Neither is ever cancelled, so no read is left half done.
//!
//! All of them need an executor that runs its tasks. One that the kernel keeps from its
//! CPU for long goes to sleep with tasks that are ready, the heartbeat among them; it
//! takes a system call's end to have it look again, and the [`Pulse`] is for that.
#![allow(unsafe_code)]

use glommio::io::BufferedFile;
use glommio::timer::sleep;
use rustix::event::{EventfdFlags, eventfd};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

/// A parked loop looks around so often whatever happens.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The signal that ends a system call of a core: ignored where it is not handled.
pub const INTERRUPTION: i32 = libc::SIGURG;

/// What other threads can see of a core's loop, and how they end a sleep of its executor.
pub struct Pulse {
    /// Its thread; 0 until it has one.
    thread: AtomicI32,
    /// Changes whenever the loop goes to glommio or comes back, and is odd while it is there.
    steps: AtomicU32,
}

impl Default for Pulse {
    /// Of a core that is still to reach its loop: its executor may run and sleep already.
    fn default() -> Self {
        Self {
            thread: AtomicI32::new(0),
            steps: AtomicU32::new(1),
        }
    }
}

impl Pulse {
    /// The calling thread becomes the core's.
    pub fn begin(&self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.thread.store(thread, Ordering::Relaxed);
    }

    // Only the core's thread writes.
    fn leave(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps
            .store(steps.wrapping_add(1) | 1, Ordering::Relaxed);
    }

    fn come_back(&self) {
        let steps = self.steps.load(Ordering::Relaxed);
        self.steps
            .store((steps | 1).wrapping_add(1), Ordering::Relaxed);
    }

    /// Where the loop is, to be compared with what it was.
    pub fn steps(&self) -> u32 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Has the system call end in which the core's thread waits, if it does.
    pub fn interrupt(&self) {
        let thread = self.thread.load(Ordering::Relaxed);
        if thread != 0 {
            let process = rustix::process::getpid().as_raw_nonzero().get();
            // SAFETY: three numbers, and no memory is touched. A thread that has ended is
            // an error without consequence; another of this process in its place handles
            // the signal as well.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, INTERRUPTION) };
        }
    }
}

/// The parking place of one core.
pub struct Park {
    eventfd: OwnedFd,
    state: Rc<State>,
    pulse: Arc<Pulse>,
}

#[derive(Default)]
struct State {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl State {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

/// Wakes the loop of the core that it belongs to.
#[derive(Clone)]
pub struct Bell(Rc<State>);

impl Bell {
    /// Ends the present sleep, or the next one.
    pub fn ring(&self) {
        self.0.ring();
    }
}

/// Wakes the loop of a core from any thread.
#[derive(Clone)]
pub struct Alarm(Arc<OwnedFd>);

impl Alarm {
    /// Ends the present sleep, or the next one.
    pub fn ring(&self) {
        // The only error is that the count is full, and then it is signalled.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Park {
    /// Starts the tasks that wake. Must be called inside the core's executor.
    pub fn new(pulse: Arc<Pulse>) -> io::Result<Self> {
        let mut park = Self::without_heartbeat()?;
        park.pulse = pulse;
        let heart = park.bell();
        glommio::spawn_local(async move {
            loop {
                sleep(HEARTBEAT).await;
                heart.ring();
            }
        })
        .detach();
        Ok(park)
    }

    /// As [`Park::new`], for those who are sure to be woken.
    pub fn without_heartbeat() -> io::Result<Self> {
        // Not non-blocking: glommio's read is to wait for the first signal.
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC)?;
        let state = Rc::new(State::default());
        let reader = eventfd.try_clone()?.into_raw_fd();
        // SAFETY: the duplicate was just made and is given away to the file.
        let file = unsafe { BufferedFile::from_raw_fd(reader) };
        let bell = Rc::clone(&state);
        glommio::spawn_local(async move {
            // Reading takes the count down to zero; an error ends the bell,
            // and the heartbeat keeps the core going.
            while file.read_at(0, 8).await.is_ok() {
                bell.ring();
            }
            tracing::error!("the eventfd of a core cannot be read");
        })
        .detach();
        Ok(Self {
            eventfd,
            state,
            pulse: Arc::default(),
        })
    }

    /// What wakes this loop from within the core's executor.
    pub fn bell(&self) -> Bell {
        Bell(Rc::clone(&self.state))
    }

    /// What wakes this loop from anywhere.
    pub fn alarm(&self) -> io::Result<Alarm> {
        Ok(Alarm(Arc::new(self.eventfd.try_clone()?)))
    }

    /// The descriptor whose signal ends [`Park::park`].
    pub fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// Whether glommio wants to run something else.
    #[inline]
    pub fn should_yield(&self) -> bool {
        glommio::executor().need_preempt()
    }

    /// Lets glommio's other tasks run.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        self.pulse.leave();
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.pulse.come_back();
    }

    /// Sleeps until the eventfd is signalled or the heart beats. A signal from
    /// before counts.
    pub async fn park(&self) {
        self.pulse.leave();
        self.rung().await;
        self.pulse.come_back();
    }

    /// As [`Park::park`], but no longer than this.
    pub async fn park_at_most(&self, most: Duration) {
        self.pulse.leave();
        let rung = std::pin::pin!(self.rung());
        let over = std::pin::pin!(sleep(most));
        futures::future::select(rung, over).await;
        self.pulse.come_back();
    }

    async fn rung(&self) {
        poll_fn(|context| {
            if self.state.rung.replace(false) {
                return Poll::Ready(());
            }
            *self.state.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_tell_where_the_loop_is() {
        let pulse = Pulse::default();
        assert_eq!(
            pulse.steps() % 2,
            1,
            "an executor may sleep before its loop"
        );
        for _ in 0..2 {
            let before = pulse.steps();
            pulse.leave();
            assert_ne!(
                pulse.steps(),
                before,
                "what is there is not what was there before"
            );
            assert_eq!(pulse.steps() % 2, 1);
            pulse.come_back();
            assert_eq!(pulse.steps() % 2, 0);
        }
        pulse.steps.store(u32::MAX - 1, Ordering::Relaxed);
        pulse.leave();
        assert_eq!(pulse.steps(), u32::MAX);
        pulse.come_back();
        assert_eq!(pulse.steps(), 0);
    }
}
