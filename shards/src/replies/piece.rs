//! Bytes on their way to clients.

use bytes::Bytes;
use std::ops::Deref;

/// Bytes to send, of one connection alone or shared among many.
#[derive(Clone, Debug)]
pub enum Piece {
    Owned(Vec<u8>),
    /// A message that was encoded once for many receivers, on whatever cores. It goes
    /// when the last of them has been sent it.
    Shared(Bytes),
}

impl Piece {
    /// A message for many: each gets a clone.
    pub fn shared(message: Vec<u8>) -> Self {
        Self::Shared(message.into())
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Owned(bytes)
    }
}
