//! The format as its documentation has it, written without anything of the engine: for
//! tests, files of servers that are not at hand, and payloads to be damaged.

#![allow(dead_code)] // Each who includes it needs a part.
#![allow(clippy::cast_possible_truncation)] // Lengths here are those of small files.

/// A number as text, if it is one in canonical form.
fn number_of(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

pub fn len(len: u64) -> Vec<u8> {
    match len {
        0..64 => vec![len as u8],
        64..16_384 => vec![0x40 | (len >> 8) as u8, len as u8],
        16_384..=0xFFFF_FFFF => [&[0x80], &(len as u32).to_be_bytes()[..]].concat(),
        _ => [&[0x81], &len.to_be_bytes()[..]].concat(),
    }
}

/// A text as it is.
pub fn raw(text: &[u8]) -> Vec<u8> {
    [len(text.len() as u64), text.to_vec()].concat()
}

/// A text, as a number if it is a short one.
pub fn text(text: &[u8]) -> Vec<u8> {
    let Some(number) = number_of(text) else {
        return raw(text);
    };
    let le = number.to_le_bytes();
    match number {
        -0x80..=0x7F => vec![0xC0, le[0]],
        -0x8000..=0x7FFF => [&[0xC1], &le[..2]].concat(),
        -0x8000_0000..=0x7FFF_FFFF => [&[0xC2], &le[..4]].concat(),
        _ => raw(text),
    }
}

/// A text that is compressed, whether that makes it shorter or not.
pub fn packed(text: &[u8]) -> Vec<u8> {
    let bytes = lzf(text);
    [
        vec![0xC3],
        len(bytes.len() as u64),
        len(text.len() as u64),
        bytes,
    ]
    .concat()
}

/// Literals, and copies of the byte before where it repeats.
fn lzf(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|byte| *byte == first).count();
        if same >= 4 {
            // The first as it is, the others from one byte back.
            let copied = (same - 1).min(264);
            bytes.extend_from_slice(&[0, *first]);
            match copied - 2 {
                few @ 1..7 => bytes.extend_from_slice(&[(few as u8) << 5, 0]),
                more => bytes.extend_from_slice(&[7 << 5, (more - 7) as u8, 0]),
            }
            rest = &rest[copied + 1..];
            continue;
        }
        let (run, behind) = rest.split_at(rest.len().min(same.min(32)));
        bytes.push(run.len() as u8 - 1);
        bytes.extend_from_slice(run);
        rest = behind;
    }
    bytes
}

/// The checksum, bit by bit.
pub fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc: u64, _| {
            (crc >> 1) ^ (crc & 1).wrapping_mul(0x95AC_9329_AC4B_C9B5)
        })
    })
}

/// A payload: type and value, with version and checksum.
pub fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut bytes = [body, &version.to_le_bytes()].concat();
    let sum = crc64(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// A file: what it begins with, its parts, the end; and the checksum from version 5 on.
pub fn file(head: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [head.as_bytes(), &parts.concat(), &[0xFF]].concat();
    let is_valkey = head.starts_with("VALKEY");
    if is_valkey || head.trim_start_matches("REDIS").parse::<u16>().unwrap_or(0) >= 5 {
        let sum = crc64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// The element of a listpack, and its length behind it.
fn listpack_element(text: &[u8]) -> Vec<u8> {
    let mut bytes = match number_of(text) {
        Some(number) => {
            let le = number.to_le_bytes();
            match number {
                0..=127 => vec![le[0]],
                -4096..=4095 => vec![0xC0 | le[1] & 0x1F, le[0]],
                -0x8000..=0x7FFF => [&[0xF1], &le[..2]].concat(),
                -0x80_0000..=0x7F_FFFF => [&[0xF2], &le[..3]].concat(),
                -0x8000_0000..=0x7FFF_FFFF => [&[0xF3], &le[..4]].concat(),
                _ => [&[0xF4], &le[..]].concat(),
            }
        }
        None => {
            let head = match text.len() {
                len @ 0..64 => vec![0x80 | len as u8],
                len @ 64..4096 => vec![0xE0 | (len >> 8) as u8, len as u8],
                len => [&[0xF0], &(len as u32).to_le_bytes()[..]].concat(),
            };
            [&head, text].concat()
        }
    };
    let len = bytes.len();
    let groups = match len {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for group in (0..groups).rev() {
        let more = if group + 1 < groups { 0x80 } else { 0 };
        bytes.push((len >> (7 * group)) as u8 & 0x7F | more);
    }
    bytes
}

pub fn listpack<T: AsRef<[u8]>>(texts: &[T]) -> Vec<u8> {
    let elements: Vec<u8> = texts
        .iter()
        .flat_map(|text| listpack_element(text.as_ref()))
        .collect();
    let count = u16::try_from(texts.len()).unwrap_or(u16::MAX);
    let mut bytes = (elements.len() as u32 + 7).to_le_bytes().to_vec();
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend(elements);
    bytes.push(0xFF);
    bytes
}

/// An entry of a ziplist, with the length of the one before, in five bytes if it is wide.
fn ziplist_entry(before: usize, text: &[u8], is_wide: bool) -> Vec<u8> {
    let mut bytes = match u8::try_from(before) {
        Ok(before @ 0..0xFE) if !is_wide => vec![before],
        _ => [&[0xFE], &(before as u32).to_le_bytes()[..]].concat(),
    };
    if let Some(number) = number_of(text) {
        let le = number.to_le_bytes();
        match number {
            0..=12 => bytes.push(0xF1 + number as u8),
            -0x80..=0x7F => bytes.extend_from_slice(&[0xFE, le[0]]),
            -0x8000..=0x7FFF => bytes.extend_from_slice(&[&[0xC0], &le[..2]].concat()),
            -0x80_0000..=0x7F_FFFF => bytes.extend_from_slice(&[&[0xF0], &le[..3]].concat()),
            -0x8000_0000..=0x7FFF_FFFF => bytes.extend_from_slice(&[&[0xD0], &le[..4]].concat()),
            _ => bytes.extend_from_slice(&[&[0xE0], &le[..]].concat()),
        }
        return bytes;
    }
    match text.len() {
        len @ 0..64 => bytes.push(len as u8),
        len @ 64..16_384 => bytes.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        len => bytes.extend_from_slice(&[&[0x80], &(len as u32).to_be_bytes()[..]].concat()),
    }
    bytes.extend_from_slice(text);
    bytes
}

pub fn ziplist<T: AsRef<[u8]>>(texts: &[T], is_wide: bool) -> Vec<u8> {
    const HEADER: usize = 10;
    let (mut entries, mut before, mut tail) = (Vec::new(), 0, HEADER);
    for text in texts {
        tail = HEADER + entries.len();
        let entry = ziplist_entry(before, text.as_ref(), is_wide);
        before = entry.len();
        entries.extend(entry);
    }
    let count = u16::try_from(texts.len()).unwrap_or(u16::MAX);
    let total = (HEADER + entries.len() + 1) as u32;
    let mut bytes = total.to_le_bytes().to_vec();
    bytes.extend_from_slice(&(tail as u32).to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend(entries);
    bytes.push(0xFF);
    bytes
}

/// A zipmap of fields and values by turns; so many bytes behind each value are not used.
pub fn zipmap<T: AsRef<[u8]>>(texts: &[T], free: u8) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(texts.len() / 2).unwrap_or(0xFE).min(0xFE)];
    for (nth, text) in texts.iter().enumerate() {
        let text = text.as_ref();
        match u8::try_from(text.len()) {
            Ok(len @ 0..0xFE) => bytes.push(len),
            _ => {
                bytes.extend_from_slice(&[&[0xFE], &(text.len() as u32).to_le_bytes()[..]].concat())
            }
        }
        if nth % 2 == 1 {
            bytes.push(free);
            bytes.extend_from_slice(text);
            bytes.extend(std::iter::repeat_n(b'?', free.into()));
        } else {
            bytes.extend_from_slice(text);
        }
    }
    bytes.push(0xFF);
    bytes
}

/// Integers of so many bytes each.
pub fn intset(width: u32, numbers: &[i64]) -> Vec<u8> {
    let mut bytes = [width.to_le_bytes(), (numbers.len() as u32).to_le_bytes()].concat();
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes()[..width.min(8) as usize]);
    }
    bytes
}

/// A count, and texts.
pub fn texts<T: AsRef<[u8]>>(count: u64, all: &[T]) -> Vec<u8> {
    let texts = all.iter().flat_map(|it| text(it.as_ref()));
    len(count).into_iter().chain(texts).collect()
}

/// The id of a stream's entry in sixteen bytes.
pub fn id((ms, seq): (u64, u64)) -> Vec<u8> {
    [ms.to_be_bytes(), seq.to_be_bytes()].concat()
}

/// The same in two lengths.
pub fn short_id((ms, seq): (u64, u64)) -> Vec<u8> {
    [len(ms), len(seq)].concat()
}
