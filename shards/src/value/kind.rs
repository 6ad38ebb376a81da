//! The names of encodings.

/// How a value is kept, by the names OBJECT ENCODING uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Int,
    Embstr,
    Raw,
    Listpack,
    /// A listpack whose fields may have deadlines.
    ListpackEx,
    Intset,
    Quicklist,
    Hashtable,
    Skiplist,
    Stream,
}

impl Encoding {
    /// Redis keeps strings up to this length (bytes) in one allocation with
    /// their object and calls them embstr.
    const EMBSTR_MAX: usize = 44;

    pub const ALL: [Self; 10] = [
        Self::Int,
        Self::Embstr,
        Self::Raw,
        Self::Listpack,
        Self::ListpackEx,
        Self::Intset,
        Self::Quicklist,
        Self::Hashtable,
        Self::Skiplist,
        Self::Stream,
    ];

    /// The encoding a freshly set string gets.
    #[inline]
    pub fn of_text(text: &[u8]) -> Self {
        if text.len() <= Self::EMBSTR_MAX {
            Self::Embstr
        } else {
            Self::Raw
        }
    }

    /// The name OBJECT ENCODING replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Embstr => "embstr",
            Self::Raw => "raw",
            Self::Listpack => "listpack",
            Self::ListpackEx => "listpackex",
            Self::Intset => "intset",
            Self::Quicklist => "quicklist",
            Self::Hashtable => "hashtable",
            Self::Skiplist => "skiplist",
            Self::Stream => "stream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_encodings_lead_back() {
        assert!((0..).zip(Encoding::ALL).all(|(n, of)| of as usize == n));
    }
}
