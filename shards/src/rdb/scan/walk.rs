//! Where a value ends, without looking at what is in it.

use crate::rdb::form::{Form, Part};
use crate::rdb::reader::{Fault, Reader};

/// Parts of which so many rows are still to be passed, this one included.
#[derive(Clone, Copy, Debug)]
struct Frame {
    parts: &'static [Part],
    next: usize,
    left: u64,
}

/// A walk over a value that can be interrupted where its bytes end for the time being.
#[derive(Debug, Default)]
pub struct Walk {
    /// The parts of parts, the innermost last.
    frames: Vec<Frame>,
}

impl Walk {
    /// Begins with a value of this form.
    pub fn begin(&mut self, form: Form) {
        self.frames.clear();
        self.enter(form.parts(), 1);
    }

    fn enter(&mut self, parts: &'static [Part], left: u64) {
        if left > 0 {
            self.frames.push(Frame {
                parts,
                next: 0,
                left,
            });
        }
    }

    /// Goes on from where the reader is to the end of the value. What was passed stays
    /// passed when it fails: the reader is behind it then.
    pub fn go_on(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(part) = frame.parts.get(frame.next) else {
                frame.left = frame.left.saturating_sub(1);
                frame.next = 0;
                if frame.left == 0 {
                    self.frames.pop();
                }
                continue;
            };
            let mut ahead = *reader;
            let rows = pass(part, &mut ahead)?;
            *reader = ahead;
            frame.next = frame.next.saturating_add(1);
            if let Some((parts, count)) = rows {
                self.enter(parts, count);
            }
        }
        Ok(())
    }
}

/// Passes a part, but for what it has so many times.
fn pass(
    part: &'static Part,
    reader: &mut Reader<'_>,
) -> Result<Option<(&'static [Part], u64)>, Fault> {
    match part {
        Part::Text => {
            reader.text()?;
        }
        Part::Length => {
            reader.length()?;
        }
        Part::Score => {
            reader.text_score()?;
        }
        Part::Fixed(bytes) => {
            reader.take_long(*bytes)?;
        }
        Part::Many(parts) => {
            let count = reader.length()?;
            if let [Part::Fixed(bytes)] = parts {
                reader.take_long(count.checked_mul(*bytes).ok_or(Fault::Truncated)?)?;
                return Ok(None);
            }
            return Ok(Some((parts, count)));
        }
    }
    Ok(None)
}
