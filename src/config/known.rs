//! Directives of Redis that have no effect here.
//!
//! A configuration file of Redis names many of them, mostly with their default
//! values. Nobody is helped if it is refused for that; but a file that asks for
//! something must not be told that it got it. So a directive that only tunes
//! what this server does in another way, or does not do at all, may have any
//! value; one that asks for a feature may only have the value that asks for
//! none. All that were met are named in one line of the log.

use super::Reason;
use super::words::parse_memory;

/// A directive without effect.
pub struct Known {
    pub name: &'static str,
    accepts: Accepts,
}

/// Which values do not ask for anything that there is not.
enum Accepts {
    Any,
    Only(&'static str),
    Nothing,
}

pub const fn any(name: &'static str) -> Known {
    let accepts = Accepts::Any;
    Known { name, accepts }
}

pub const fn only(name: &'static str, value: &'static str) -> Known {
    let accepts = Accepts::Only(value);
    Known { name, accepts }
}

pub const fn none(name: &'static str) -> Known {
    let accepts = Accepts::Nothing;
    Known { name, accepts }
}

impl Known {
    /// Checks that a value asks for nothing that there is not.
    ///
    /// # Errors
    /// It does.
    pub fn check(&self, words: &[Vec<u8>]) -> Result<(), Reason> {
        let only = match self.accepts {
            Accepts::Any => return Ok(()),
            Accepts::Only(value) => value,
            Accepts::Nothing => return Err("not available in this server; remove it".into()),
        };
        let value = words.join(&b' ');
        let same_bytes = || {
            let bytes = parse_memory(&value);
            bytes.is_some() && bytes == parse_memory(only.as_bytes())
        };
        if value.eq_ignore_ascii_case(only.as_bytes()) || same_bytes() {
            return Ok(());
        }
        let shown = if only.is_empty() { "\"\"" } else { only };
        let text = format!("not available in this server; remove it, or give {shown}");
        Err(text.into())
    }
}
