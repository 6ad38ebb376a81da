//! One element: how it is kept, and how it is encoded. [`super`] has the table.

use crate::number::parse_i64;

/// An element as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element<'a> {
    Int(i64),
    Bytes(&'a [u8]),
}

impl<'a> From<&'a [u8]> for Element<'a> {
    /// A number, if it is one in canonical form.
    #[inline]
    fn from(text: &'a [u8]) -> Self {
        // The longest number has 20 characters, and most texts fail at once.
        match text {
            [b'-' | b'0'..=b'9', ..] if text.len() <= 20 => {
                parse_i64(text).map_or(Self::Bytes(text), Self::Int)
            }
            _ => Self::Bytes(text),
        }
    }
}

impl From<i64> for Element<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a> Element<'a> {
    /// Whether it is this text; a number is not formatted for that.
    #[inline]
    pub fn eq_bytes(self, text: &[u8]) -> bool {
        match self {
            Self::Int(number) => parse_i64(text) == Some(number),
            Self::Bytes(bytes) => bytes == text,
        }
    }

    /// Its text. `buffer` holds that of a number.
    #[inline]
    pub fn to_bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Self::Int(number) => buffer.format(number).as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Hands its text to `look`.
    #[inline]
    pub fn with_bytes<R>(self, look: impl FnOnce(&[u8]) -> R) -> R {
        look(self.to_bytes(&mut itoa::Buffer::new()))
    }

    /// Length of its text.
    #[inline]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Int(number) => {
                let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(number < 0)
            }
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Bytes it takes in a listpack.
    #[inline]
    pub fn room(self) -> usize {
        let encoded = Encoded::new(self);
        encoded.len()
    }
}

/// A text to be looked for, read once.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    text: &'a [u8],
    element: Element<'a>,
}

impl<'a> Wanted<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            element: Element::from(text),
        }
    }

    /// Whether this is it.
    #[inline]
    pub fn is(self, element: Element<'_>) -> bool {
        match (self.element, element) {
            (Element::Int(wanted), Element::Int(number)) => wanted == number,
            // Nothing here writes a number as text, but a file may.
            (_, Element::Bytes(bytes)) => self.text == bytes,
            _ => false,
        }
    }
}

/// An element on its way into a listpack.
pub struct Encoded<'a> {
    head: [u8; 9],
    head_len: usize,
    text: &'a [u8],
    back: [u8; 5],
    back_len: usize,
}

// None is empty.
#[allow(clippy::len_without_is_empty)]
impl<'a> Encoded<'a> {
    #[inline]
    pub fn new(element: Element<'a>) -> Self {
        let (head, head_len, text) = match element {
            Element::Int(number) => {
                let (head, len) = encode_number(number);
                (head, len, &[][..])
            }
            Element::Bytes(text) => {
                let (head, len) = encode_length(text.len());
                (head, len, text)
            }
        };
        let (back, back_len) = encode_back(head_len + text.len());
        Self {
            head,
            head_len,
            text,
            back,
            back_len,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.head_len + self.text.len() + self.back_len
    }

    /// Writes it to a place of its length.
    #[inline]
    pub fn write(&self, place: &mut [u8]) {
        if let ((1, 1), [head, text @ .., back]) = ((self.head_len, self.back_len), &mut *place) {
            *head = self.head[0];
            text.copy_from_slice(self.text);
            *back = self.back[0];
            return;
        }
        let (head, rest) = place.split_at_mut(self.head_len);
        let (text, back) = rest.split_at_mut(self.text.len());
        head.copy_from_slice(self.head());
        text.copy_from_slice(self.text);
        back.copy_from_slice(self.back());
    }

    /// Writes it to the end; there is room.
    #[inline]
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        if (self.head_len, self.back_len) == (1, 1) {
            bytes.push(self.head[0]);
            bytes.extend_from_slice(self.text);
            bytes.push(self.back[0]);
            return;
        }
        bytes.extend_from_slice(self.head());
        bytes.extend_from_slice(self.text);
        bytes.extend_from_slice(self.back());
    }

    /// What stands before its text.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// What stands behind its text.
    #[inline]
    pub fn back(&self) -> &[u8] {
        &self.back[..self.back_len]
    }
}

/// The lowest byte.
#[inline]
pub fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[inline]
fn encode_number(number: i64) -> ([u8; 9], usize) {
    let le = number.to_le_bytes();
    let mut head = [0; 9];
    let len = match number {
        0..=127 => {
            head[0] = le[0];
            return (head, 1);
        }
        -4096..=4095 => {
            head[0] = 0xC0 | le[1] & 0x1F;
            head[1] = le[0];
            return (head, 2);
        }
        -0x8000..=0x7FFF => 2,
        -0x80_0000..=0x7F_FFFF => 3,
        -0x8000_0000..=0x7FFF_FFFF => 4,
        _ => 8,
    };
    head[0] = match len {
        2 => 0xF1,
        3 => 0xF2,
        4 => 0xF3,
        _ => 0xF4,
    };
    head[1..=len].copy_from_slice(&le[..len]);
    (head, len + 1)
}

#[inline]
fn encode_length(len: usize) -> ([u8; 9], usize) {
    let le = (len as u64).to_le_bytes();
    let mut head = [0; 9];
    if len < 64 {
        head[0] = 0x80 | le[0];
        (head, 1)
    } else if len < 4096 {
        head[0] = 0xE0 | le[1];
        head[1] = le[0];
        (head, 2)
    } else {
        // A request is below 4 GiB, and so is each of its arguments.
        head[0] = 0xF0;
        head[1..5].copy_from_slice(&le[..4]);
        (head, 5)
    }
}

/// The length behind an element. Redis goes over to the next size one number
/// earlier than it must, but for the first.
#[inline]
pub fn encode_back(len: usize) -> ([u8; 5], usize) {
    let mut back = [0; 5];
    if len <= 127 {
        back[0] = low_byte(len as u64);
        return (back, 1);
    }
    let size = match len {
        0..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for (at, byte) in back[..size].iter_mut().enumerate() {
        let bits = low_byte(len as u64 >> (7 * (size - 1 - at))) & 0x7F;
        // All but the leftmost say that there is more to the left.
        *byte = if at == 0 { bits } else { bits | 0x80 };
    }
    (back, size)
}

/// Length of the head and text of the element that begins at `at`.
#[inline]
fn len_of(bytes: &[u8], at: usize) -> usize {
    let head = bytes[at];
    match head {
        0x00..=0x7F => 1,
        0x80..=0xBF => 1 + usize::from(head & 0x3F),
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 2 + (usize::from(head & 0x0F) << 8 | usize::from(bytes[at + 1])),
        0xF0 => 5 + usize::try_from(u32_at(bytes, at + 1)).expect("a length fits"),
        0xF1 => 3,
        0xF2 => 4,
        0xF3 => 5,
        0xF4 => 9,
        0xF5..=0xFF => unreachable!("no element begins so"),
    }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let chunk = bytes[at..].first_chunk().expect("elements are whole");
    u32::from_le_bytes(*chunk)
}

/// Where the element after that at `at` begins.
#[inline]
pub fn end_of(bytes: &[u8], at: usize) -> usize {
    let len = len_of(bytes, at);
    let back_len = if len <= 127 { 1 } else { encode_back(len).1 };
    at + len + back_len
}

/// Where the element that ends at `end` begins.
#[inline]
pub fn start_before(bytes: &[u8], end: usize) -> usize {
    let (mut at, mut len, mut shift) = (end, 0, 0);
    loop {
        at -= 1;
        let byte = bytes[at];
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return at - len;
        }
        shift += 7;
    }
}

/// The element that begins at `at`.
#[inline]
pub fn read(bytes: &[u8], at: usize) -> Element<'_> {
    let head = bytes[at];
    let rest = &bytes[at + 1..];
    match head {
        0x00..=0x7F => Element::Int(i64::from(head)),
        0x80..=0xBF => Element::Bytes(&rest[..usize::from(head & 0x3F)]),
        0xC0..=0xDF => {
            let bits = i64::from(head & 0x1F) << 8 | i64::from(rest[0]);
            Element::Int(signed(bits, 13))
        }
        0xE0..=0xEF => {
            let len = usize::from(head & 0x0F) << 8 | usize::from(rest[0]);
            Element::Bytes(&rest[1..=len])
        }
        0xF0 => {
            let end = len_of(bytes, at);
            Element::Bytes(&bytes[at + 5..at + end])
        }
        _ => {
            let size = len_of(bytes, at) - 1;
            let mut le = [0; 8];
            le[..size].copy_from_slice(&rest[..size]);
            Element::Int(signed(i64::from_le_bytes(le), 8 * size))
        }
    }
}

/// A number of so many bits, as two's complement.
#[inline]
fn signed(number: i64, bits: usize) -> i64 {
    let unused = 64 - bits;
    number << unused >> unused
}

/// Length of the head and text of the first element, if they are whole.
pub fn checked_len(bytes: &[u8]) -> Option<usize> {
    let head = *bytes.first()?;
    let needed = match head {
        0xE0..=0xEF => 2,
        0xF0 => 5,
        0xF5..=0xFF => return None,
        _ => 1,
    };
    bytes.get(..needed)?;
    let len = len_of(bytes, 0);
    (len <= bytes.len()).then_some(len)
}
