//! The checksum of files and payloads: CRC-64 with the polynomial of David T. Jones,
//! reflected, which begins with 0 and is not inverted.
//!
//! Sixteen bytes at a time: a table for each place in a block says what a byte there
//! contributes when the block has passed, so the sixteen look-ups do not wait for one
//! another.

/// The polynomial, its bits in reverse.
const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

/// Bytes of a block.
const BLOCK: usize = 16;

/// `TABLES[n]` is for bytes with n bytes of the block behind them.
static TABLES: [[u64; 256]; BLOCK] = tables();

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // At build time.
const fn tables() -> [[u64; 256]; BLOCK] {
    let mut tables = [[0; 256]; BLOCK];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            let low = crc & 1;
            crc = (crc >> 1) ^ (POLYNOMIAL * low);
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < BLOCK {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[behind - 1][byte];
            tables[behind][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

/// A running checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc64(u64);

impl Crc64 {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut crc = Self::default();
        crc.update(bytes);
        crc.value()
    }

    /// Takes what follows into account.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut crc = self.0;
        for block in blocks {
            crc = after_block(crc, block);
        }
        for byte in rest {
            let [low, ..] = crc.to_le_bytes();
            crc = (crc >> 8) ^ look_up(&TABLES[0], low ^ byte);
        }
        self.0 = crc;
    }

    /// Of all that was seen.
    pub fn value(self) -> u64 {
        self.0
    }
}

#[inline]
fn look_up(table: &[u64; 256], byte: u8) -> u64 {
    // A byte is always within: nothing is checked here in the end.
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[inline]
fn after_block(crc: u64, block: &[u8; BLOCK]) -> u64 {
    let block = u128::from_le_bytes(*block) ^ u128::from(crc);
    let bytes = block.to_le_bytes().into_iter();
    let parts = bytes.zip(TABLES.iter().rev());
    parts.fold(0, |sum, (byte, table)| sum ^ look_up(table, byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is defined, bit by bit.
    fn twin(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc: u64, _| {
                let next = crc >> 1;
                if crc & 1 == 1 {
                    next ^ POLYNOMIAL
                } else {
                    next
                }
            })
        })
    }

    #[test]
    fn it_is_that_of_redis() {
        assert_eq!(Crc64::of(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        assert_eq!(Crc64::of(b""), 0);
    }

    #[test]
    fn pieces_of_every_length_make_the_whole() {
        let text: Vec<u8> = (0..100u8).map(|n| n.wrapping_mul(151) ^ 0x5A).collect();
        for len in 0..text.len() {
            let whole = &text[..len];
            for cut in 0..=len {
                let mut crc = Crc64::default();
                crc.update(&whole[..cut]);
                crc.update(&whole[cut..]);
                assert_eq!(crc.value(), twin(whole), "{cut} of {len}");
            }
        }
    }
}
