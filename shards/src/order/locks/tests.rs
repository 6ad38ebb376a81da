//! Who waits for whom, and in which order.

use super::*;
use crate::order::ticket::TicketKind;
use crate::types::ShardId;

fn ticket(number: u32) -> Ticket {
    Ticket {
        home: ShardId(0),
        kind: TicketKind::Transaction,
        number,
        serial: 0,
    }
}

fn key(key: u64, exclusive: bool) -> Lock {
    let slot = Slot(0);
    Lock::of_key(Located { slot, hash: key }, exclusive)
}

fn whole(exclusive: bool) -> Vec<Lock> {
    vec![Lock::of_shard(exclusive)]
}

fn release(locks: &mut Locks, number: u32) -> Vec<u32> {
    locks.release(ticket(number));
    let granted = std::iter::from_fn(|| locks.next_granted());
    granted.map(|ticket| ticket.number).collect()
}

#[test]
fn queues_are_first_come_first_served() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), vec![key(7, true), key(8, true)]));
    assert!(!locks.lock(ticket(2), vec![key(8, true), key(9, true)]));
    assert!(!locks.allows(8, false));
    assert!(locks.allows(10, true));
    assert!(!locks.lock(ticket(3), vec![key(8, false)]));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [3]);
    assert!(locks.allows(8, false) && !locks.allows(8, true));
    assert_eq!(release(&mut locks, 3), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
}

#[test]
fn shared_locks_are_held_together_and_no_reader_overtakes_a_writer() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), vec![key(1, false)]));
    assert!(locks.lock(ticket(2), vec![key(1, false)]));
    assert!(!locks.lock(ticket(3), vec![key(1, true)]));
    assert!(!locks.lock(ticket(4), vec![key(1, false)]));
    assert!(!locks.allows(1, false) && !locks.allows_all(false));
    assert_eq!(release(&mut locks, 1), [0; 0]);
    assert_eq!(release(&mut locks, 2), [3]);
    assert_eq!(release(&mut locks, 3), [4]);
    assert_eq!(release(&mut locks, 4), [0; 0]);
    assert!(locks.is_empty());
}

#[test]
fn a_key_that_is_asked_for_twice_takes_one_place() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), vec![key(1, true), key(1, false), key(1, true)]));
    assert_eq!(release(&mut locks, 1), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
    // To read with another, then to write: it waits for the other.
    assert!(locks.lock(ticket(2), vec![key(1, false)]));
    assert!(!locks.lock(ticket(3), vec![key(1, false), key(1, true)]));
    assert!(!locks.lock(ticket(4), vec![key(1, false)]));
    assert_eq!(release(&mut locks, 2), [3]);
    assert!(!locks.allows(1, false));
    assert_eq!(release(&mut locks, 3), [4]);
    assert_eq!(release(&mut locks, 4), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
}

#[test]
fn the_whole_shard_waits_for_what_came_before_and_holds_up_what_comes_after() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), vec![key(1, true)]));
    assert!(!locks.lock(ticket(2), whole(true)));
    assert!(!locks.allows(5, false), "a request after it waits");
    assert!(!locks.lock(ticket(3), vec![key(5, false)]));
    assert!(!locks.lock(ticket(4), vec![key(5, true)]));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [3]);
    assert_eq!(release(&mut locks, 3), [4]);
    assert_eq!(release(&mut locks, 4), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
}

#[test]
fn readers_pass_a_reader_of_the_whole_shard() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), whole(false)));
    assert!(locks.allows(1, false) && !locks.allows(1, true));
    assert!(locks.lock(ticket(2), vec![key(1, false)]));
    assert!(!locks.lock(ticket(3), vec![key(1, true), key(2, true)]));
    assert!(!locks.lock(ticket(4), vec![key(3, false)]), "in order");
    assert!(!locks.allows(1, false) && locks.allows(9, false));
    assert_eq!(release(&mut locks, 1), [4]);
    assert!(!locks.allows(1, false) && !locks.allows(2, false));
    assert_eq!(release(&mut locks, 2), [3]);
    assert!(!locks.allows(1, false) && !locks.allows(2, false));
    assert_eq!(release(&mut locks, 3), [0; 0]);
    assert_eq!(release(&mut locks, 4), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
}

#[test]
fn several_readers_share_the_whole_shard_until_a_writer_comes() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), vec![key(9, true)]));
    assert!(!locks.lock(ticket(2), whole(false)));
    assert!(!locks.lock(ticket(3), whole(false)));
    assert!(!locks.lock(ticket(4), vec![key(1, false)]));
    assert!(!locks.lock(ticket(5), vec![key(1, true)]));
    assert!(!locks.lock(ticket(6), whole(false)));
    assert!(locks.allows(2, false) && !locks.allows(1, false) && !locks.allows(9, false));
    assert_eq!(release(&mut locks, 1), [2, 3, 4]);
    assert_eq!(release(&mut locks, 2), [0; 0]);
    assert!(!locks.allows(5, true), "the other one still reads");
    assert_eq!(release(&mut locks, 4), [0; 0]);
    assert_eq!(release(&mut locks, 3), [5]);
    assert!(!locks.allows(1, false) && locks.allows(2, false));
    assert_eq!(release(&mut locks, 5), [6]);
    assert_eq!(release(&mut locks, 6), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty());
}

#[test]
fn two_tickets_on_the_whole_shard_take_turns() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), whole(true)));
    assert!(!locks.lock(ticket(2), whole(true)));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [0; 0]);
    assert!(locks.is_empty());
}

#[test]
fn no_reader_overtakes_a_write_of_its_key_behind_the_whole_shard() {
    let mut locks = Locks::default();
    assert!(locks.lock(ticket(1), whole(false)));
    assert!(!locks.lock(ticket(2), vec![key(1, true), key(2, false)]));
    assert!(!locks.lock(ticket(3), vec![key(1, true)]));
    assert!(!locks.allows(1, false) && locks.allows(2, false));
    assert!(!locks.allows_all(false));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [3]);
    assert_eq!(release(&mut locks, 3), [0; 0]);
    assert!(locks.is_empty() && locks.keys.is_empty() && locks.written_behind.is_empty());
    assert!(locks.lock(ticket(4), whole(false)));
    assert!(!locks.lock(ticket(5), whole(true)));
    assert!(!locks.allows(1, false));
    assert_eq!(release(&mut locks, 4), [5]);
    assert_eq!(release(&mut locks, 5), [0; 0]);
}

#[test]
fn what_stands_ahead_waits_for_nobody_and_writers_wait_for_it() {
    let mut locks = Locks::default();
    locks.stand_ahead(ticket(100), None);
    assert!(!locks.is_empty() && locks.are_all_ahead());
    assert!(locks.allows(7, true) && locks.allows_all(true));
    // A writer that has just been granted the key, and one behind it.
    assert!(locks.lock(ticket(1), vec![key(7, true), key(8, true)]));
    assert!(!locks.lock(ticket(2), vec![key(7, true)]));
    let written = locks.written_by(ticket(1));
    assert_eq!(
        written.iter().map(|key| key.hash).collect::<Vec<_>>(),
        [7, 8]
    );
    for (number, hash) in [(101, 7), (102, 8)] {
        locks.stand_ahead(ticket(number), Some(hash));
    }
    assert!(!locks.allows(7, false) && locks.holders(7).eq([ticket(101)]));
    locks.stand_back(ticket(101));
    assert_eq!(locks.next_granted(), None, "it waits for the other key");
    locks.stand_back(ticket(102));
    assert_eq!(locks.next_granted(), Some(ticket(1)));
    assert_eq!(release(&mut locks, 1), [2]);
    assert_eq!(release(&mut locks, 2), [0; 0]);
    // Beside readers, and not there for the whole shard.
    assert!(locks.lock(ticket(3), vec![key(7, false)]));
    locks.stand_ahead(ticket(103), Some(7));
    locks.stand_ahead(ticket(104), Some(9));
    assert!(locks.allows(7, false) && !locks.allows(7, true) && !locks.allows(9, true));
    assert!(
        !locks.lock(ticket(4), whole(true)),
        "the reader is in its way"
    );
    assert_eq!(release(&mut locks, 3), [4]);
    assert!(!locks.lock(ticket(5), vec![key(9, true)]));
    locks.stand_ahead(ticket(105), Some(10));
    assert_eq!(release(&mut locks, 4), [0; 0], "it has the key");
    locks.stand_back(ticket(104));
    assert_eq!(locks.next_granted(), Some(ticket(5)));
    locks.release(ticket(5));
    for number in [100, 103, 105] {
        locks.stand_back(ticket(number));
    }
    assert!(locks.is_empty() && locks.are_all_ahead() && locks.keys.is_empty());
}
