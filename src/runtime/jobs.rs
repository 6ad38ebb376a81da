//! Work that would block a core, on threads of its own.

use super::park::Bell;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Jobs of one core, each with a result of this type.
pub struct Jobs<T> {
    results: Rc<RefCell<Vec<T>>>,
    running: Rc<Cell<usize>>,
    bell: Bell,
}

impl<T: Send + 'static> Jobs<T> {
    /// `bell` is rung for each result.
    pub fn new(bell: Bell) -> Self {
        Self {
            results: Rc::default(),
            running: Rc::default(),
            bell,
        }
    }

    /// Runs `job` on a thread of glommio's blocking pool. Must be called inside the
    /// core's executor.
    pub fn run(&self, job: impl FnOnce() -> T + Send + 'static) {
        let (results, running) = (Rc::clone(&self.results), Rc::clone(&self.running));
        let bell = self.bell.clone();
        running.set(running.get() + 1);
        glommio::spawn_local(async move {
            let result = glommio::executor().spawn_blocking(job).await;
            results.borrow_mut().push(result);
            running.set(running.get() - 1);
            bell.ring();
        })
        .detach();
    }

    /// Whether results are still to come. They are heard of where the core parks, and
    /// not where it waits for its ring.
    #[inline]
    pub fn are_running(&self) -> bool {
        self.running.get() > 0
    }

    /// The results that have come in.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.results.borrow_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{boot, park::Park};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    /// Without a heartbeat, which would end the sleep sooner or later.
    #[test]
    fn a_job_that_is_done_ends_the_sleep() {
        let (tell, told) = mpsc::channel();
        let main = move || async move {
            let park = Park::without_heartbeat().expect("an eventfd can be had");
            let jobs = Jobs::new(park.bell());
            for number in 0..10 {
                jobs.run(move || number);
                assert!(jobs.are_running());
                let mut results = jobs.take();
                while results.is_empty() {
                    park.park().await;
                    results = jobs.take();
                }
                assert_eq!(results, [number]);
                assert!(!jobs.are_running());
            }
            tell.send(()).expect("the test waits");
        };
        let failed = |error| panic!("an executor can be had: {error}");
        boot::start(0, None, Arc::default(), main, failed).expect("a thread can be had");
        let ended = told.recv_timeout(Duration::from_secs(60));
        ended.expect("the core wakes up");
    }
}
