//! Streams as values: what they hold, counted by the allocator as jemalloc would; every
//! allocation that fails; and that what is large goes in slices.

#![allow(clippy::unwrap_used)] // a test may
#![allow(unsafe_code)] // an allocator

use shards::stream::{
    Consumer, ConsumerId, Group, NodeLimits, Stream, StreamId, Trim, TrimTo, pairs,
};
use shards::{Collection, Effects, Keyspace, UnixMs};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const NOW: UnixMs = UnixMs(1_700_000_000_000);

thread_local! {
    /// Bytes this thread has.
    static HELD: Cell<isize> = const { Cell::new(0) };
    /// So many allocations succeed, then all fail.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

struct Counting;

/// What jemalloc takes for so many bytes: four sizes between a power of two and the next.
fn rounded(size: usize) -> isize {
    let step = (size.next_power_of_two() / 8).max(16);
    size.next_multiple_of(step) as isize
}

/// A box of bounded size is not asked for in vain.
fn is_small_thing(layout: Layout) -> bool {
    [size_of::<Consumer>(), size_of::<Group>()].contains(&layout.size())
}

fn fails(layout: Layout) -> bool {
    if is_small_thing(layout) {
        return false;
    }
    LEFT.with(|left| {
        let now = left.get();
        left.set(match now {
            usize::MAX => now,
            _ => now.saturating_sub(1),
        });
        now == 0
    })
}

// SAFETY: everything is done by the system's allocator; null is a failure.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails(layout) {
            return std::ptr::null_mut();
        }
        HELD.set(HELD.get() + rounded(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - rounded(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What becomes smaller stays where it is.
        if size > layout.size() && fails(layout) {
            return std::ptr::null_mut();
        }
        HELD.set(HELD.get() + rounded(size) - rounded(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `make` leaves allocated, and what it made.
fn held<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = HELD.get();
    let made = make();
    ((HELD.get() - before).try_into().unwrap(), made)
}

/// Numbers without a pattern.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            numbers.swap(at, self.below(at + 1));
        }
        numbers
    }
}

fn limits() -> NodeLimits {
    NodeLimits::new(4096, 100)
}

/// Entries come some milliseconds apart, several in some of them.
fn id(number: usize) -> StreamId {
    StreamId::new(1_700_000_000_000 + number as u64 / 3 * 5, number as u64 % 3)
}

fn add(stream: &mut Stream, number: usize, value: &[u8]) {
    let words = [&b"f"[..], value];
    let fields = pairs(words.into_iter());
    stream.entries.append(id(number), fields, limits()).unwrap();
}

fn filled(count: usize, value: &[u8]) -> Stream {
    let mut stream = Stream::new();
    (0..count).for_each(|number| add(&mut stream, number, value));
    stream
}

#[test]
fn a_million_entries_of_one_short_field_are_small() {
    for (value, most) in [(&b"12345678"[..], 20), (b"1234567890123456", 29)] {
        let (bytes, mut stream) = held(|| filled(1_000_000, value));
        assert!(bytes / 1_000_000 <= most, "{bytes}");
        let known = Collection::heap_bytes(&stream);
        assert!(known <= bytes && known > bytes * 3 / 4, "{known} {bytes}");
        while stream.free_some(256) {}
    }
}

/// A group whose consumers have so many entries each that are pending, delivered one by
/// one in turn.
fn reading(consumers: usize, each: usize) -> Stream {
    let mut stream = Stream::new();
    stream
        .groups
        .create(b"group", StreamId::MIN, Some(0))
        .unwrap();
    let mut group = stream.groups.get_mut(b"group").unwrap();
    let name = |number: usize| format!("consumer {number:04}").into_bytes();
    let ids: Vec<ConsumerId> = (0..consumers)
        .map(|number| group.consumer_or_create(&name(number), NOW).unwrap().0)
        .collect();
    for number in 0..consumers * each {
        let consumer = ids[number % consumers];
        group.claim(id(number), consumer, NOW, 1).unwrap();
    }
    drop(group);
    stream
}

#[test]
fn a_pending_entry_takes_at_most_80_bytes() {
    for (consumers, each, most) in [(1, 1_000_000, 58), (1000, 1000, 64)] {
        let (bytes, mut stream) = held(|| reading(consumers, each));
        assert!(bytes / (consumers * each) < most, "{consumers}: {bytes}");
        let known = Collection::heap_bytes(&stream);
        assert!(known <= bytes && known > bytes * 3 / 4, "{known} {bytes}");
        // Claimed by others in no order, it is not much more.
        let (more, ()) = held(|| {
            let mut group = stream.groups.get_mut(b"group").unwrap();
            let (to, _) = group.consumer_or_create(b"another", NOW).unwrap();
            for number in Random(7).shuffled(consumers * each).drain(..).step_by(3) {
                group.claim(id(number), to, NOW, 2).unwrap();
            }
        });
        assert!((bytes + more) / (consumers * each) < 80, "{bytes} {more}");
        while stream.free_some(256) {}
    }
}

#[test]
fn what_is_acknowledged_gives_memory_back() {
    let mut random = Random(3);
    for consumers in [1, 100] {
        let count = 100_000;
        let mut stream = reading(consumers, count / consumers);
        for (at, number) in random.shuffled(count).into_iter().enumerate() {
            stream
                .groups
                .get_mut(b"group")
                .unwrap()
                .ack(id(number))
                .unwrap();
            if (at + 1) % (count / 8) == 0 {
                let (now, fresh) = held(|| stream.try_clone().unwrap());
                let known = Collection::heap_bytes(&stream);
                assert!(
                    known <= 2 * now + 4096 * consumers.min(10),
                    "{at}: {known} {now}"
                );
                assert!(fresh == stream);
            }
        }
        assert_eq!(stream.groups.get(b"group").unwrap().pending_len(), 0);
    }
}

#[test]
fn what_is_deleted_gives_memory_back() {
    let (count, mut random) = (100_000, Random(5));
    for sizes in [8, 300] {
        let value = vec![b'v'; sizes];
        let (begun, mut stream) = held(|| filled(count, &value));
        let mut kept: Vec<usize> = (0..count).collect();
        for part in [2, 10, 100, 2000, count] {
            let mut left = Vec::new();
            let (change, ()) = held(|| ());
            assert_eq!(change, 0);
            for (at, number) in std::mem::take(&mut kept).into_iter().enumerate() {
                if at % part == 0 && part < count || random.below(part) == 0 {
                    left.push(number);
                } else {
                    assert!(stream.entries.delete(id(number)));
                }
            }
            kept = left;
            let (fresh, other) = held(|| {
                let mut other = Stream::new();
                kept.iter()
                    .for_each(|number| add(&mut other, *number, &value));
                other
            });
            let known = Collection::heap_bytes(&stream);
            let same = Collection::heap_bytes(&other).max(fresh);
            assert!(known <= 2 * same + 512, "{part}: {known} {same} of {begun}");
            stream.check_invariants();
        }
    }
}

#[test]
fn consumers_that_have_gone_leave_nothing() {
    let mut stream = Stream::new();
    stream.groups.create(b"group", StreamId::MIN, None).unwrap();
    let count = 20_000;
    let (change, ()) = held(|| {
        let mut group = stream.groups.get_mut(b"group").unwrap();
        for number in 0..count {
            let name = number.to_string().into_bytes();
            let (consumer, created) = group.consumer_or_create(&name, NOW).unwrap();
            assert!(created);
            group.claim(id(number), consumer, NOW, 1).unwrap();
        }
        for number in Random(9).shuffled(count) {
            if number != 77 && number != count - 1 {
                let name = number.to_string().into_bytes();
                assert_eq!(group.remove_consumer(&name), Some(1));
            }
        }
        let left = group
            .consumers()
            .map(|(_, consumer)| consumer.name().to_vec());
        assert_eq!(left.collect::<Vec<_>>(), [&b"19999"[..], b"77"]);
        group.check_invariants();
    });
    assert!(change < 2048, "{change}");
}

#[test]
fn trimming_a_million_entries_goes_in_steps() {
    let mut stream = filled(1_000_000, b"12345678");
    let mut trim = Trim::new(TrimTo::MaxLen(50), false, 0);
    let mut steps = 0;
    while stream.trim_some(&mut trim, 256) {
        steps += 1;
    }
    assert!(steps > 100, "{steps}");
    assert_eq!((trim.removed, stream.entries.len()), (999_950, 50));
    assert!(Collection::heap_bytes(&stream) < 8192);
    assert_eq!(stream.entries.first_id(), id(999_950));
    assert_eq!(stream.entries.max_deleted_id(), StreamId::MIN);
}

#[test]
fn dropping_what_a_consumer_has_goes_in_steps() {
    let mut stream = reading(2, 100_000);
    let mut group = stream.groups.get_mut(b"group").unwrap();
    let consumer = group.find_consumer(b"consumer 0001").unwrap();
    let mut steps = 0;
    while group.drop_pending_of(consumer, 256) {
        steps += 1;
    }
    assert!(steps >= 390, "{steps}");
    assert_eq!(group.remove_consumer(b"consumer 0001"), Some(0));
    assert_eq!(group.pending_len(), 100_000);
    group.check_invariants();
}

/// Slices in which a keyspace frees what `end` leaves of a stream.
fn slices(stream: Stream, end: impl FnOnce(&mut shards::Db<'_>)) -> usize {
    let mut keyspace = Keyspace::new(1, 0..16_384);
    let mut effects = Effects::default();
    let mut db = keyspace.at(NOW, true, &mut effects);
    let mut stream = Some(stream);
    db.edit_or_create(b"key", |fresh: &mut Stream| {
        *fresh = stream.take().unwrap();
        Ok(())
    })
    .unwrap();
    end(&mut db);
    keyspace.check_invariants();
    let mut slices = 0;
    while keyspace.free_some(256) {
        slices += 1;
    }
    slices
}

#[test]
fn what_is_large_is_freed_in_slices() {
    let delete = |db: &mut shards::Db<'_>| assert!(db.delete(b"key"));
    assert!(slices(filled(1_000_000, b"12345678"), delete) > 100);
    assert!(slices(reading(1, 300_000), delete) > 50);
    assert!(slices(reading(1000, 300), delete) > 50);
    let mut many = Stream::new();
    for number in 0..20_000 {
        let name = number.to_string().into_bytes();
        many.groups.create(&name, StreamId::MIN, None).unwrap();
    }
    assert!(slices(many, delete) > 50);
    let destroy = |db: &mut shards::Db<'_>| {
        let destroy = |stream: &mut Stream| stream.destroy_group(b"group");
        let gone = db.edit(b"key", destroy).unwrap().flatten();
        assert!(gone.is_some());
        db.bury(gone);
        let stream = db.read_as::<Stream>(b"key").unwrap().unwrap();
        assert!(stream.groups.is_empty());
    };
    assert!(slices(reading(1, 300_000), destroy) > 50);
    assert_eq!(slices(filled(10, b"12345678"), delete), 0);
}

#[test]
fn an_empty_stream_stays() {
    let mut stream = filled(3, b"value");
    (0..3).for_each(|number| assert!(stream.entries.delete(id(number))));
    slices(stream, |db| {
        let stream = db.read_as::<Stream>(b"key").unwrap().unwrap();
        assert_eq!((stream.entries.len(), stream.entries.last_id()), (0, id(2)));
        db.edit(b"key", |stream: &mut Stream| stream.entries.delete(id(1)))
            .unwrap();
        assert!(db.lookup_as::<Stream>(b"key").unwrap().is_some());
    });
}

/// Lets every allocation of a change fail in turn: nothing has changed then, and without
/// a failure it is done.
fn every_failure(what: &str, begin: impl Fn() -> Stream, change: impl Fn(&mut Stream) -> bool) {
    for nth in 0.. {
        let (mut stream, before) = (begin(), begin());
        LEFT.set(nth);
        let done = change(&mut stream);
        LEFT.set(usize::MAX);
        stream.check_invariants();
        if done {
            assert!(nth > 0 && stream != before, "{what}: {nth}");
            return;
        }
        assert!(stream == before, "{what}: {nth}");
        assert!(change(&mut stream), "{what}: {nth}");
        stream.check_invariants();
        assert!(nth < 100, "{what} never succeeds");
    }
}

#[test]
fn every_allocation_may_fail() {
    let append = |number: usize, len: usize| {
        move |stream: &mut Stream| {
            let (words, value) = ([&b"another name"[..]], &ZEROS[..len]);
            let words = [words[0], value, b"f", value];
            let fields = pairs(words.into_iter());
            stream.entries.append(id(number), fields, limits()).is_ok()
        }
    };
    every_failure("first", Stream::new, append(1, 10));
    every_failure("huge", Stream::new, append(1, 100_000));
    every_failure("huge behind", || filled(5, b"value"), append(9, 100_000));
    every_failure("next node", || filled(100, b"value"), append(999, 10));
    every_failure(
        "next chunk",
        || filled(12_800, b"value"),
        append(99_999, 10),
    );
    let create = |stream: &mut Stream| stream.groups.create(b"g", id(1), None).is_ok();
    every_failure("group", || filled(5, b"value"), create);
    let consumer = |stream: &mut Stream| {
        let mut group = stream.groups.get_mut(b"group").unwrap();
        group.consumer_or_create(b"new", NOW).is_ok()
    };
    every_failure("consumer", || reading(8, 10), consumer);
    let claim = |number: usize| {
        move |stream: &mut Stream| {
            let mut group = stream.groups.get_mut(b"group").unwrap();
            let consumer = group.find_consumer(b"consumer 0001").unwrap();
            group.claim(id(number), consumer, NOW, 9).is_ok()
        }
    };
    every_failure("claim", || reading(2, 64), claim(1000));
    every_failure("claim of another's", || reading(2, 63), claim(4));
    let gap = || {
        let mut stream = reading(2, 1280);
        let mut group = stream.groups.get_mut(b"group").unwrap();
        (0..2560).step_by(20).for_each(|at| _ = group.ack(id(at)));
        drop(group);
        stream
    };
    every_failure("claim in a full chunk", gap, claim(700));
}

static ZEROS: [u8; 100_000] = [0; 100_000];

#[test]
fn a_copy_may_fail_at_every_allocation() {
    let mut stream = reading(3, 300);
    (0..500).for_each(|number| add(&mut stream, number, b"value"));
    for nth in 0.. {
        LEFT.set(nth);
        let copy = stream.try_clone();
        LEFT.set(usize::MAX);
        if let Ok(copy) = copy {
            assert!(nth > 10 && copy == stream);
            return;
        }
        assert!(nth < 1000);
    }
}
