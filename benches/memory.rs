//! What a key costs: memory of the whole process, processor time of random reads
//! and writes, and the longest single insertion. Not statistics but one run each:
//! `cargo bench --bench memory [-- keys]`.

use rustix::time::{ClockId, clock_gettime};
use shards::{Effects, Keyspace, Ttl, UnixMs};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const SLOTS: u16 = 16_384;
const VALUE: [u8; 32] = *b"a value that has 32 bytes in it.";

/// Sixteen bytes that differ for each number.
fn key(number: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let (mut at, mut rest) = (16, number);
    while rest > 0 {
        at -= 1;
        key[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Processor time of this thread: other processes' turns do not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

/// Nanoseconds per call of `work` with random keys.
fn time(keys: u64, mut work: impl FnMut(&[u8])) -> f64 {
    const CALLS: u64 = 2_000_000;
    let mut random = 7;
    let start = now();
    for _ in 0..CALLS {
        work(&key(mix(&mut random) % keys));
    }
    (now() - start).as_nanos() as f64 / CALLS as f64
}

fn many_keys(keys: u64) {
    let (mut keyspace, mut effects) = (Keyspace::new(1, 0..SLOTS), Effects::default());
    let mut worst = Duration::ZERO;
    let start = now();
    for number in 0..keys {
        let one = now();
        let set = keyspace
            .at(NOW, true, &mut effects)
            .set(&key(number), &VALUE, Ttl::Clear);
        set.expect("there is memory");
        worst = worst.max(now() - one);
    }
    let each = (now() - start).as_nanos() as f64 / keys as f64;
    let bytes = resident_bytes() as f64 / keys as f64;
    println!("{keys} keys: {bytes:.1} B of RSS per key, insert {each:.0} ns, worst {worst:?}");

    let get = time(keys, |key| {
        std::hint::black_box(keyspace.at(NOW, true, &mut effects).read(key));
    });
    let set = time(keys, |key| {
        let set = keyspace
            .at(NOW, true, &mut effects)
            .set(key, &VALUE, Ttl::Clear);
        set.expect("there is memory");
    });
    println!("{keys} keys: random GET {get:.0} ns, SET {set:.0} ns");

    let mut random = 7;
    let start = now();
    const BATCHES: u64 = 100_000;
    for _ in 0..BATCHES {
        let keys: [_; 16] = std::array::from_fn(|_| key(mix(&mut random) % keys));
        let located = keys.each_ref().map(|key| keyspace.locate(key));
        located
            .iter()
            .for_each(|located| keyspace.prefetch_line(located));
        located
            .iter()
            .for_each(|located| keyspace.prefetch_entry(located));
        for (key, located) in keys.iter().zip(located) {
            let mut db = keyspace.at(NOW, true, &mut effects);
            db.hint(located, key);
            std::hint::black_box(db.read(key));
        }
    }
    let get = (now() - start).as_nanos() as f64 / (BATCHES * 16) as f64;
    println!("{keys} keys: random GET in prefetched batches of 16 {get:.0} ns");

    let start = now();
    keyspace.clear();
    let cleared = now() - start;
    let mut slice = Duration::ZERO;
    loop {
        let start = now();
        let more = keyspace.free_some(1000);
        slice = slice.max(now() - start);
        if !more {
            break;
        }
    }
    println!("{keys} keys: cleared in {cleared:?}, longest slice of freeing {slice:?}");
}

/// All keys in one slot.
fn one_slot(keys: u64) {
    let (mut keyspace, mut effects) = (Keyspace::new(1, 0..SLOTS), Effects::default());
    let mut times: Vec<Duration> = Vec::with_capacity(keys as usize);
    for number in 0..keys {
        let mut name = *b"{x}:000000000000";
        name[4..].copy_from_slice(&key(number)[4..]);
        let one = now();
        let set = keyspace
            .at(NOW, true, &mut effects)
            .set(&name, &VALUE, Ttl::Clear);
        set.expect("there is memory");
        times.push(now() - one);
    }
    times.sort_unstable();
    let (last, tenth) = (times.last(), times.iter().nth_back(9));
    println!("{keys} keys in one slot: worst insert {last:?}, tenth worst {tenth:?}");
}

fn main() {
    let asked = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next();
    match asked {
        Some(keys) => many_keys(keys),
        None => {
            many_keys(1_000_000);
            one_slot(2_000_000);
        }
    }
}
