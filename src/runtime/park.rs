//! Where a core's loop sleeps inside glommio.
//!
//! Two tasks can wake it, and whoever has a [`Bell`]: one reads the core's eventfd
//! through glommio, one is the heartbeat. Neither is ever cancelled, so no read is left half done.
#![allow(unsafe_code)]

use glommio::io::BufferedFile;
use glommio::timer::sleep;
use rustix::event::{EventfdFlags, eventfd};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// A parked loop looks around so often whatever happens.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// The parking place of one core.
pub struct Park {
    eventfd: OwnedFd,
    state: Rc<State>,
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

impl Park {
    /// Starts the tasks that wake. Must be called inside the core's executor.
    pub fn new() -> io::Result<Self> {
        let park = Self::without_heartbeat()?;
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
        Ok(Self { eventfd, state })
    }

    /// What wakes this loop from within the core's executor.
    pub fn bell(&self) -> Bell {
        Bell(Rc::clone(&self.state))
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
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Sleeps until the eventfd is signalled or the heart beats. A signal from
    /// before counts.
    pub async fn park(&self) {
        poll_fn(|context| {
            if self.state.rung.replace(false) {
                return Poll::Ready(());
            }
            *self.state.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// As [`Park::park`], but no longer than this.
    pub async fn park_at_most(&self, most: Duration) {
        let parked = std::pin::pin!(self.park());
        let over = std::pin::pin!(sleep(most));
        futures::future::select(parked, over).await;
    }
}
