//! Typed bounded channels between cores, and the bells that wake sleepers.
//!
//! There is one single-producer single-consumer queue per ordered pair of
//! cores, so that no core ever contends with another for a queue. A queue
//! that is full is not an error: what does not fit waits in the sender's
//! `overdue` list and goes out first next turn.
//!
//! What must be there before anything else that its sender does has an effect does not
//! take that way: it is *urgent*, and goes into a queue without bound that all share.
//!
//! Sleeping without losing a message (Dekker's pattern): the sleeper publishes
//! `asleep`, fences, and looks at its queues once more before it waits; the
//! sender pushes, fences, and rings if it sees `asleep`. One of the two always
//! sees the other. Whoever rings takes the flag down, so that a sleeper is
//! rung at most once.
//!
//! A core that is found *asleep* by [`Mesh::who_sleeps`] had looked at its queues after it
//! had said that it dozes off, and nobody has sent it anything that it had not seen then
//! and called [`Mesh::sleepers`] since.

use rtrb::{Consumer, Producer, RingBuffer};
use shards::ShardId;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Messages in one queue. A message is a batch of up to a turn's commands.
const QUEUE_LEN: usize = 256;

/// It is up.
const AWAKE: u8 = 0;
/// It looks at its queues once more before it waits.
const DOZES: u8 = 1;
/// It waits.
const ASLEEP: u8 = 2;

/// What every core can see of a core.
#[derive(Debug)]
struct Peer {
    rest: AtomicU8,
    /// Something urgent has been sent to it since it has last looked.
    urgent: AtomicBool,
    /// File descriptor of its ring; -1 until it has one.
    ring: AtomicI32,
}

/// One core's ends of all its queues.
pub struct Mesh<T> {
    id: ShardId,
    peers: Arc<[Peer]>,
    /// Indexed by core; nothing at the own index.
    to: Vec<Option<Producer<T>>>,
    from: Vec<Option<Consumer<T>>>,
    /// What is urgent, by core that it is for; and what is for this one.
    urgent_to: Vec<Sender<T>>,
    urgent_from: Receiver<T>,
    overdue: Vec<VecDeque<T>>,
    overdue_len: usize,
    /// Cores that were sent something since the last [`Mesh::sleepers`].
    sent_to: Vec<bool>,
}

/// Connects `cores` cores with each other; one [`Mesh`] for each.
pub fn connect<T>(cores: u16) -> Vec<Mesh<T>> {
    let count = usize::from(cores);
    let peers: Arc<[Peer]> = (0..cores)
        .map(|_| Peer {
            rest: AtomicU8::new(AWAKE),
            urgent: AtomicBool::new(false),
            ring: AtomicI32::new(-1),
        })
        .collect();
    let (urgent_to, urgent_from): (Vec<_>, Vec<_>) = (0..cores).map(|_| channel()).unzip();
    let mut meshes: Vec<Mesh<T>> = (0..cores)
        .zip(urgent_from)
        .map(|(id, urgent_from)| Mesh {
            id: ShardId(id),
            peers: Arc::clone(&peers),
            to: (0..count).map(|_| None).collect(),
            from: (0..count).map(|_| None).collect(),
            urgent_to: urgent_to.clone(),
            urgent_from,
            overdue: (0..count).map(|_| VecDeque::new()).collect(),
            overdue_len: 0,
            sent_to: vec![false; count],
        })
        .collect();
    for source in 0..count {
        for target in (0..count).filter(|target| *target != source) {
            let (producer, consumer) = RingBuffer::new(QUEUE_LEN);
            meshes[source].to[target] = Some(producer);
            meshes[target].from[source] = Some(consumer);
        }
    }
    meshes
}

impl<T> Mesh<T> {
    /// The core this end belongs to.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Makes this core's ring known to the others.
    pub fn publish_ring(&self, fd: RawFd) {
        self.peers[self.id.index()]
            .ring
            .store(fd, Ordering::Release);
    }

    /// Whether every core has published its ring.
    pub fn all_ready(&self) -> bool {
        self.peers
            .iter()
            .all(|peer| peer.ring.load(Ordering::Acquire) >= 0)
    }

    /// Sends a message to another core. Messages between two cores keep their order.
    pub fn send(&mut self, target: ShardId, message: T) {
        let index = target.index();
        self.sent_to[index] = true;
        let queue = self.to[index]
            .as_mut()
            .expect("a core sends nothing to itself");
        if self.overdue[index].is_empty() {
            match queue.push(message) {
                Ok(()) => {}
                Err(rtrb::PushError::Full(message)) => {
                    self.overdue[index].push_back(message);
                    self.overdue_len += 1;
                }
            }
        } else {
            self.overdue[index].push_back(message);
            self.overdue_len += 1;
        }
    }

    /// Sends what is urgent: it is in the receiver's queue when this returns, and stands in
    /// no order with what is not.
    pub fn send_urgent(&mut self, target: ShardId, message: T) {
        let index = target.index();
        // Nobody receives any more only when all end.
        let _ = self.urgent_to[index].send(message);
        self.peers[index].urgent.store(true, Ordering::Release);
        self.sent_to[index] = true;
    }

    /// All that is urgent, if there is any.
    #[inline]
    pub fn receive_urgent(&mut self) -> Option<Vec<T>> {
        let urgent = &self.peers[self.id.index()].urgent;
        // First the flag: what is sent meanwhile raises it again.
        let any = urgent.load(Ordering::Acquire) && urgent.swap(false, Ordering::AcqRel);
        any.then(|| self.urgent_from.try_iter().collect())
    }

    /// Whether everything that was sent has reached the queues.
    #[inline]
    pub fn has_sent_all(&self) -> bool {
        self.overdue_len == 0
    }

    /// Sends what did not fit earlier; whether something is still waiting.
    pub fn send_overdue(&mut self) -> bool {
        if self.overdue_len == 0 {
            return false;
        }
        for (index, waiting) in self.overdue.iter_mut().enumerate() {
            let Some(queue) = self.to[index].as_mut() else {
                continue;
            };
            while !queue.is_full()
                && let Some(message) = waiting.pop_front()
            {
                self.overdue_len -= 1;
                self.sent_to[index] = true;
                let pushed = queue.push(message);
                assert!(pushed.is_ok(), "the only producer saw room");
            }
        }
        self.overdue_len > 0
    }

    /// The next message from `source`.
    #[inline]
    pub fn receive(&mut self, source: ShardId) -> Option<T> {
        self.from[source.index()].as_mut()?.pop().ok()
    }

    /// Calls `ring` with the ring of each core that was sent something and sleeps.
    #[inline]
    pub fn sleepers(&mut self, mut ring: impl FnMut(RawFd)) {
        let mut fenced = false;
        for (index, sent) in self.sent_to.iter_mut().enumerate() {
            if !std::mem::take(sent) {
                continue;
            }
            if !std::mem::replace(&mut fenced, true) {
                fence(Ordering::SeqCst);
            }
            let peer = &self.peers[index];
            // Who dozes is not rung: it finds that it is not to fall asleep.
            if peer.rest.load(Ordering::Relaxed) != AWAKE
                && peer.rest.swap(AWAKE, Ordering::AcqRel) == ASLEEP
            {
                ring(peer.ring.load(Ordering::Acquire));
            }
        }
    }

    /// Announces that this core is about to wait. If it returns false there is
    /// something to do, and the core must not wait.
    pub fn fall_asleep(&mut self) -> bool {
        let rest = &self.peers[self.id.index()].rest;
        rest.store(DOZES, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let idle = self.from.iter().flatten().all(|queue| queue.is_empty())
            && self.overdue_len == 0
            && !self.peers[self.id.index()].urgent.load(Ordering::Relaxed);
        // What this core has done before is seen by who sees that it sleeps.
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        let idle = idle
            && rest
                .compare_exchange(DOZES, ASLEEP, order.0, order.1)
                .is_ok();
        if !idle {
            self.wake_up();
        }
        idle
    }

    /// Announces that this core is up again: what it looks at afterwards is not older than
    /// what they looked at who still find it asleep.
    pub fn wake_up(&self) {
        let rest = &self.peers[self.id.index()].rest;
        rest.store(AWAKE, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Which cores sleep: everything that this core has looked at before is older than what
    /// those look at next.
    pub fn who_sleeps(&self) -> impl Fn(ShardId) -> bool {
        fence(Ordering::SeqCst);
        |id| self.peers[id.index()].rest.load(Ordering::Acquire) == ASLEEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_order_also_when_the_queue_overflows() {
        let mut meshes = connect::<usize>(2);
        let mut target = meshes.pop().expect("two cores");
        let mut source = meshes.pop().expect("two cores");
        let count = QUEUE_LEN * 3 + 7;
        for message in 0..count {
            source.send(ShardId(1), message);
        }
        let mut received = Vec::new();
        loop {
            while let Some(message) = target.receive(ShardId(0)) {
                received.push(message);
            }
            if received.len() == count {
                break;
            }
            source.send_overdue();
        }
        assert_eq!(received, (0..count).collect::<Vec<_>>());
        assert!(!source.send_overdue());
    }

    /// However much else waits: whoever hears of what its sender did later finds it.
    #[test]
    fn what_is_urgent_waits_for_nothing() {
        let mut meshes = connect::<usize>(3);
        let mut target = meshes.remove(1);
        let (mut source, mut other) = (meshes.remove(0), meshes.remove(0));
        target.publish_ring(77);
        assert_eq!(target.receive_urgent(), None);
        for message in 0..=QUEUE_LEN {
            source.send(ShardId(1), message);
        }
        assert!(!source.has_sent_all());
        source.send_urgent(ShardId(1), 1000);
        source.send_urgent(ShardId(1), 1001);
        other.send_urgent(ShardId(1), 2000);
        assert_eq!(target.receive_urgent(), Some(vec![1000, 1001, 2000]));
        assert_eq!(target.receive_urgent(), None);
        while target.receive(ShardId(0)).is_some() {}
        assert!(target.fall_asleep());
        let mut rung = Vec::new();
        other.send_urgent(ShardId(1), 2001);
        other.sleepers(|fd| rung.push(fd));
        assert_eq!(rung, [77]);
        assert!(!target.fall_asleep(), "something urgent has come");
        assert_eq!(target.receive_urgent(), Some(vec![2001]));
        assert!(target.fall_asleep());
    }

    #[test]
    fn a_sleeper_is_rung_once_and_never_sleeps_on_a_message() {
        let mut meshes = connect::<u8>(2);
        let mut target = meshes.pop().expect("two cores");
        let mut source = meshes.pop().expect("two cores");
        target.publish_ring(77);
        assert!(target.fall_asleep());
        let mut rung = Vec::new();
        source.send(ShardId(1), 1);
        source.sleepers(|fd| rung.push(fd));
        source.send(ShardId(1), 2);
        source.sleepers(|fd| rung.push(fd));
        assert_eq!(rung, [77]);
        assert!(!target.fall_asleep(), "two messages wait");
        assert_eq!(target.receive(ShardId(0)), Some(1));
        assert_eq!(target.receive(ShardId(0)), Some(2));
        assert!(target.fall_asleep());
    }
}
