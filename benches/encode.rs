//! What it costs to write values as a snapshot has them: entries with short strings,
//! what compression adds to that, and the checksum. Beside it stands what SAVE of
//! redis-server takes of the processor per key (`README.md`).

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use shards::rdb::{Crc64, Meta, encode_entry, lzf};
use shards::{StringRef, ValueRef};

/// Keys of an iteration.
const KEYS: usize = 10_000;

fn main() {
    divan::main();
}

/// The next of a row of numbers without order.
fn next(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    *state >> 33
}

/// What strings consist of.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Any bytes.
    Random,
    /// Hexadecimal digits.
    Digits,
    /// A small object of JSON.
    Words,
}

const KINDS: [Kind; 3] = [Kind::Random, Kind::Digits, Kind::Words];

/// A string of 32 to 64 bytes.
fn text(kind: Kind, state: &mut u64) -> Vec<u8> {
    let len = 32 + next(state) as usize % 33;
    let mut text: Vec<u8> = match kind {
        Kind::Random => (0..len).map(|_| next(state) as u8).collect(),
        Kind::Digits => (0..len)
            .map(|_| b"0123456789abcdef"[next(state) as usize % 16])
            .collect(),
        Kind::Words => {
            let (id, other) = (next(state) % 1_000_000, next(state) % 10_000);
            format!("{{\"id\":{id},\"name\":\"user:{id}\",\"last\":{other},\"level\":{other}}}")
                .into_bytes()
        }
    };
    text.truncate(len);
    text
}

/// Entries of `KEYS` strings, with the checksum over them.
#[divan::bench(args = KINDS)]
fn entries(bencher: Bencher<'_, '_>, kind: Kind) {
    measure(bencher, kind, true);
}

#[divan::bench(args = KINDS)]
fn entries_uncompressed(bencher: Bencher<'_, '_>, kind: Kind) {
    measure(bencher, kind, false);
}

fn measure(bencher: Bencher<'_, '_>, kind: Kind, compress: bool) {
    let mut state = 7;
    let entries: Vec<(String, Vec<u8>)> = (0..KEYS)
        .map(|number| (format!("key:{number:012}"), text(kind, &mut state)))
        .collect();
    let mut out = Vec::with_capacity(2 << 20);
    bencher.counter(ItemsCount::new(KEYS)).bench_local(|| {
        out.clear();
        for (key, text) in &entries {
            let value = ValueRef::String(StringRef::Bytes(text));
            let done = encode_entry(key.as_bytes(), value, &Meta::default(), compress, &mut out);
            assert!(done.is_ok());
        }
        let mut checksum = Crc64::default();
        checksum.update(&out);
        black_box(checksum.value())
    });
}

/// A long string of JSON, which is compressed in steps.
#[divan::bench(args = [8_000, 20_000, 200_000])]
fn long(bencher: Bencher<'_, '_>, len: usize) {
    let text = json(len);
    let mut out = Vec::with_capacity(2 * len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        let value = ValueRef::String(StringRef::Bytes(&text));
        let done = encode_entry(b"key", value, &Meta::default(), true, &mut out);
        assert!(done.is_ok());
        black_box(out.len())
    });
}

#[divan::bench]
fn checksum(bencher: Bencher<'_, '_>) {
    let bytes: Vec<u8> = (0..1_u32 << 20).map(|at| ((at * 31) >> 3) as u8).collect();
    bencher
        .counter(BytesCount::of_slice(&bytes))
        .bench_local(|| Crc64::of(black_box(&bytes)));
}

/// A text of JSON of so many bytes.
fn json(len: usize) -> Vec<u8> {
    let mut state = 7;
    let mut all = Vec::new();
    while all.len() < len {
        all.extend(text(Kind::Words, &mut state));
    }
    all.truncate(len);
    all
}

#[divan::bench(args = [64, 256, 1_024, 4_096, 65_536])]
fn compressed(bencher: Bencher<'_, '_>, len: usize) {
    let text = json(len);
    let mut out = Vec::with_capacity(len);
    bencher.counter(BytesCount::new(len)).bench_local(|| {
        out.clear();
        lzf::compress(black_box(&text), &mut out)
    });
}
