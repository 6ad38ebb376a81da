//! Which slot a key belongs to: CRC16 of the key or of its hash tag.
//!
//! CRC16-CCITT (XMODEM): polynomial 0x1021, initial value 0, as the Redis
//! Cluster specification demands. Slicing by eight: eight table lookups that
//! do not wait for one another per eight bytes of key (Kounavis and Berry,
//! "A Systematic Approach to Building High Performance Software-Based CRC
//! Generators", 2005).

use crate::types::{SLOTS, Slot};

const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[k][b]`: the CRC of byte `b` followed by `k` zero bytes.
static TABLES: [[u16; 256]; 8] = tables();

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ POLYNOMIAL
            } else {
                crc << 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before << 8) ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The bytes in words of eight, in order. What is odd comes first, filled up with
/// zeros in front: to the CRC, whose initial value is 0, they are as good as not
/// there.
#[inline]
fn in_words(bytes: &[u8]) -> (Option<u64>, &[[u8; 8]]) {
    let (start, rest) = bytes.split_at(bytes.len() % 8);
    let first = (!start.is_empty()).then(|| odd_word(bytes, start.len()));
    (first, rest.as_chunks().0)
}

/// The first `len` bytes, 1 to 7, which are all if there are fewer than eight: in
/// reads that overlap, as a read of unknown length is a loop.
#[inline]
fn odd_word(bytes: &[u8], len: usize) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*eight) >> (64 - 8 * len);
    }
    if let (Some(high), Some(low)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let high = u64::from(u32::from_be_bytes(*high));
        return high << (8 * len - 32) | u64::from(u32::from_be_bytes(*low));
    }
    let byte = |at: usize| u64::from(bytes[at]);
    byte(0) << (8 * len - 8) | byte(len / 2) << (8 * (len - 1 - len / 2)) | byte(len - 1)
}

/// The CRC of what has the CRC `crc`, followed by a word.
#[inline]
fn extend(crc: u16, word: u64) -> u16 {
    let chunk = (word ^ u64::from(crc) << 48).to_be_bytes();
    TABLES[7][usize::from(chunk[0])]
        ^ TABLES[6][usize::from(chunk[1])]
        ^ TABLES[5][usize::from(chunk[2])]
        ^ TABLES[4][usize::from(chunk[3])]
        ^ TABLES[3][usize::from(chunk[4])]
        ^ TABLES[2][usize::from(chunk[5])]
        ^ TABLES[1][usize::from(chunk[6])]
        ^ TABLES[0][usize::from(chunk[7])]
}

/// CRC16-CCITT (XMODEM) of `bytes`.
fn crc16(bytes: &[u8]) -> u16 {
    let (first, eights) = in_words(bytes);
    let words = eights.iter().map(|eight| u64::from_be_bytes(*eight));
    first.into_iter().chain(words).fold(0, extend)
}

/// Not zero if one of the bytes of a word is `{`.
#[inline]
fn braces(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    const BRACES: u64 = u64::from_ne_bytes([b'{'; 8]);
    // A byte is zero where the word has a brace; borrows may report a byte above
    // such a one too, but never without it.
    let word = word ^ BRACES;
    word.wrapping_sub(ONES) & !word & HIGH
}

/// The slot of a key. If the key holds a `{…}` with something in it, only what
/// is between the first `{` and the first `}` after it counts (hash tag).
#[inline]
pub fn slot_of(key: &[u8]) -> Slot {
    // Braces are looked for on the way: keys are short, and a call of memchr costs
    // more than all of this.
    let (first, eights) = in_words(key);
    let (mut crc, mut found) = first.map_or((0, 0), |word| (extend(0, word), braces(word)));
    for eight in eights {
        let word = u64::from_be_bytes(*eight);
        crc = extend(crc, word);
        found |= braces(word);
    }
    if found == 0 {
        return Slot(crc % SLOTS);
    }
    slot_of_tag(key)
}

/// [`slot_of`] a key with a brace.
#[cold]
fn slot_of_tag(key: &[u8]) -> Slot {
    let tag = match memchr::memchr(b'{', key) {
        None => key,
        Some(open) => match memchr::memchr(b'}', &key[open + 1..]) {
            None | Some(0) => key,
            Some(length) => &key[open + 1..open + 1 + length],
        },
    };
    Slot(crc16(tag) % SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit at a time, from the definition.
    fn crc16_bitwise(bytes: &[u8]) -> u16 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc: u16, _| {
                if crc & 0x8000 == 0 {
                    crc << 1
                } else {
                    (crc << 1) ^ POLYNOMIAL
                }
            })
        })
    }

    #[test]
    fn agrees_with_the_definition_at_every_length() {
        assert_eq!(crc16(b"123456789"), 0x31C3); // the check value of the catalogue
        let bytes: Vec<u8> = (0..64u8).map(|i| i.wrapping_mul(37) ^ 0xA5).collect();
        for length in 0..bytes.len() {
            assert_eq!(
                crc16(&bytes[..length]),
                crc16_bitwise(&bytes[..length]),
                "{length}"
            );
        }
    }

    #[test]
    fn braces_are_seen_at_every_place() {
        let has_brace = |key: &[u8]| {
            let (first, eights) = in_words(key);
            let words = eights.iter().map(|eight| u64::from_be_bytes(*eight));
            first.into_iter().chain(words).any(|word| braces(word) != 0)
        };
        for length in 0..40 {
            let mut key = vec![0xFFu8; length];
            assert!(!has_brace(&key));
            for at in 0..length {
                key[at] = b'{';
                assert!(has_brace(&key), "{length} {at}");
                key[at] = b'|';
                assert!(!has_brace(&key), "{length} {at}");
            }
        }
    }

    #[test]
    fn hash_tags() {
        assert_eq!(slot_of(b"foo"), Slot(12182));
        assert_eq!(
            slot_of(b"{user1000}.following"),
            slot_of(b"{user1000}.followers")
        );
        assert_eq!(slot_of(b"foo{}{bar}"), Slot(crc16(b"foo{}{bar}") % SLOTS));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"{"), Slot(crc16(b"{") % SLOTS));
    }
}
