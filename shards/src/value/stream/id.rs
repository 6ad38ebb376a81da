//! The ids of a stream's entries: a time and a number within it.

/// Milliseconds, and a number that makes it unique. Ordered as entries are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

impl StreamId {
    /// No entry has it.
    pub const MIN: Self = Self { ms: 0, seq: 0 };

    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    #[inline]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    #[inline]
    pub fn is_zero(self) -> bool {
        self == Self::MIN
    }

    /// The one that follows.
    #[inline]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The one before.
    #[inline]
    pub fn prev(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => Some(Self::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    /// As clients see it: `ms-seq`.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText {
            bytes: [0; IdText::MAX],
            len: 0,
        };
        text.push(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b"-");
        text.push(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }
}

/// See [`StreamId::text`].
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl IdText {
    /// Two numbers of 20 digits and what is between them.
    const MAX: usize = 41;

    #[inline]
    fn push(&mut self, part: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + part.len()].copy_from_slice(part);
        // Lossless: at most MAX.
        #[allow(clippy::cast_possible_truncation)]
        let len = part.len() as u8;
        self.len += len;
    }

    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_lead_back() {
        for id in [
            StreamId::new(0, 1),
            StreamId::new(0, u64::MAX),
            StreamId::new(7, 0),
            StreamId::new(u64::MAX, 5),
        ] {
            assert_eq!(id.next().unwrap().prev(), Some(id));
            assert_eq!(id.prev().unwrap().next(), Some(id));
            assert!(id.prev() < Some(id) && Some(id) < id.next());
        }
        assert_eq!(StreamId::MIN.prev(), None);
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::new(0, u64::MAX).next(), Some(StreamId::new(1, 0)));
    }

    #[test]
    fn texts_have_room() {
        assert_eq!(StreamId::new(0, 10).text().as_bytes(), b"0-10");
        assert_eq!(
            StreamId::MAX.text().as_bytes(),
            b"18446744073709551615-18446744073709551615"
        );
    }
}
