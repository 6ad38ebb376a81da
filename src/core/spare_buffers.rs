//! Memory that connections no longer need, for those that do.

use crate::session::connection::SPARE_BYTES_MAX;

/// Empty output buffers, to be used again: a few, and none that is large.
#[derive(Default)]
pub struct SpareBuffers(Vec<Vec<u8>>);

impl SpareBuffers {
    /// Buffers that are kept.
    const KEPT: usize = 256;

    /// An empty buffer: a spare one if there is any.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// A buffer is no longer used, and what it holds no longer needed.
    #[inline]
    pub fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= SPARE_BYTES_MAX && self.0.len() < Self::KEPT {
            buffer.clear();
            self.0.push(buffer);
        }
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum()
    }
}
