//! Numbers of as few bytes as they need, seven bits in each.

/// Bytes that a number takes.
#[inline]
pub fn len(number: u64) -> usize {
    // Lossless: at most 64.
    let bits = (u64::BITS - (number | 1).leading_zeros()) as usize;
    bits.div_ceil(7)
}

/// Writes a number, the low bits first; every byte but the last has the high bit.
#[inline]
pub fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads a number at `at`, which moves behind it.
#[inline]
pub fn take(bytes: &[u8], at: &mut usize) -> u64 {
    let first = bytes[*at];
    *at += 1;
    if first < 0x80 {
        return u64::from(first);
    }
    take_more(bytes, at, u64::from(first & 0x7F))
}

fn take_more(bytes: &[u8], at: &mut usize, mut number: u64) -> u64 {
    for shift in (7..64).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

/// Writes a number that is read from its end: the high bits first; every byte but the
/// first has the high bit.
#[inline]
pub fn put_back(bytes: &mut Vec<u8>, number: u64) {
    let len = len(number);
    for group in (0..len).rev() {
        let more = if group + 1 < len { 0x80 } else { 0 };
        bytes.push((number >> (7 * group)) as u8 & 0x7F | more);
    }
}

/// Reads a number that ends at `end`, which moves before it.
#[inline]
pub fn take_back(bytes: &[u8], end: &mut usize) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        *end -= 1;
        let byte = bytes[*end];
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_both_ends() {
        let edges = (0..64).flat_map(|bit| [(1u64 << bit) - 1, 1 << bit]);
        let numbers: Vec<u64> = edges.chain([u64::MAX]).collect();
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for number in &numbers {
            let before = there.len();
            put(&mut there, *number);
            put_back(&mut back, *number);
            assert_eq!(there.len() - before, len(*number));
            assert_eq!(there.len(), back.len());
        }
        let mut at = 0;
        for number in &numbers {
            assert_eq!(take(&there, &mut at), *number);
        }
        let mut end = back.len();
        for number in numbers.iter().rev() {
            assert_eq!(take_back(&back, &mut end), *number);
        }
        assert_eq!((at, end), (there.len(), 0));
    }
}
