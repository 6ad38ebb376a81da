//! The keyspace's doors with random keys. `cargo bench --bench engine`.

use divan::{Bencher, black_box, counter::ItemsCount};
use shards::{Effects, Keyspace, Ttl, UnixMs};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const KEYS: u64 = 1_000_000;
const VALUE: &[u8] = b"a value that has 32 bytes in it.";
/// Operations per sample.
const BATCH: u64 = 1000;

fn main() {
    divan::main();
}

/// Keys in an order that no cache can foresee.
fn keys() -> impl Iterator<Item = [u8; 16]> {
    let mut state = 1u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        key((state >> 33) % KEYS)
    })
}

fn key(number: u64) -> [u8; 16] {
    let text = format!("key:{number:012}");
    text.as_bytes().try_into().expect("4 and 12 bytes")
}

fn filled() -> (Keyspace, Effects) {
    let (mut keyspace, mut effects) = (Keyspace::new(1, 0..16_384), Effects::default());
    for number in 0..KEYS {
        let set = keyspace
            .at(NOW, true, &mut effects)
            .set(&key(number), VALUE, Ttl::Clear);
        set.expect("there is memory");
    }
    (keyspace, effects)
}

/// Runs `work` on batches of random keys of a filled keyspace.
fn on_random_keys(bencher: Bencher<'_, '_>, mut work: impl FnMut(&mut shards::Db<'_>, &[u8])) {
    let (mut keyspace, mut effects) = filled();
    let mut random = keys();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| random.by_ref().take(BATCH as usize).collect::<Vec<_>>())
        .bench_local_refs(|keys| {
            for key in keys {
                work(&mut keyspace.at(NOW, true, &mut effects), key);
            }
        });
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    on_random_keys(bencher, |db, key| {
        black_box(db.read(key));
    });
}

#[divan::bench]
fn set(bencher: Bencher<'_, '_>) {
    on_random_keys(bencher, |db, key| {
        db.set(key, VALUE, Ttl::Clear).expect("there is memory");
    });
}

#[divan::bench]
fn delete_and_set(bencher: Bencher<'_, '_>) {
    on_random_keys(bencher, |db, key| {
        db.delete(key);
        db.set(key, VALUE, Ttl::Clear).expect("there is memory");
    });
}
