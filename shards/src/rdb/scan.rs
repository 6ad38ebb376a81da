//! A file, cut into what it consists of; values are not looked at.
//!
//! ```text
//! buffer  │ passed │ item │ item │ the beginning of one │ room │
//!                  ▲ start                              ▲ filled
//! ```
//!
//! Whoever reads the file reads into [`Scanner::room`], then takes items until there is
//! none that is whole. An item lies where it was read to; what is moved is the beginning
//! of one at the end of the buffer, and only to its front. A value that is longer than
//! what was read grows there, and where its walk has come is kept. So memory is bounded
//! by the largest value, whatever lengths say, and work is linear.

mod walk;

use super::Crc64;
use super::form::{Form, Version};
use super::format::{self, opcode};
use super::reader::{Fault, LoadError, Reader, Text};
use crate::error::OutOfMemory;
use crate::types::{DbIndex, SLOTS, UnixMs};
use crate::value::copy;
use std::ops::Range;
use walk::Walk;

/// A buffer that a large value has left is given back from here on.
const BUFFER_MAX: usize = 4 << 20;

/// Bytes of the magic and the version.
const HEAD: usize = 9;

/// Part of a file.
#[derive(Debug, PartialEq)]
pub enum Item<'a> {
    /// The first.
    Head(Version),
    /// A name and a text about the file.
    Aux(Vec<u8>, Vec<u8>),
    /// What follows is in this database.
    SelectDb(DbIndex),
    /// How many keys and deadlines the database has, says the file.
    ResizeDb {
        keys: u64,
        expires: u64,
    },
    Entry(Entry<'a>),
    /// The source of a library of functions.
    Function(Vec<u8>),
    /// What is of no use here.
    Skipped(Skipped),
    /// The last, with the checksum if there is one. It was right, if that was looked at.
    End {
        checksum: Option<u64>,
    },
}

/// A key and what it holds.
#[derive(Debug, PartialEq)]
pub struct Entry<'a> {
    pub db: DbIndex,
    pub key: &'a [u8],
    pub form: Form,
    /// To be decoded.
    pub value: &'a [u8],
    /// Where the value begins in the file.
    pub offset: u64,
    pub expire_at: Option<UnixMs>,
    /// Seconds since it was accessed.
    pub idle: Option<u64>,
    /// The logarithmic counter of accesses.
    pub freq: Option<u8>,
}

/// See [`Item::Skipped`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// What a module of this name has beside keys.
    Module(String),
    /// How many keys a slot has.
    SlotInfo,
}

/// What was found, and where in the buffer.
enum Found {
    Item(Item<'static>),
    Entry {
        key: Range<usize>,
        form: Form,
        value: Range<usize>,
    },
}

/// A key whose value is being walked; places count from where the entry starts.
#[derive(Debug)]
struct Begun {
    form: Form,
    key: Range<usize>,
    value: usize,
    walked: usize,
}

/// What precedes the next key.
#[derive(Debug, Default)]
struct Ahead {
    expire_at: Option<UnixMs>,
    idle: Option<u64>,
    freq: Option<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct Scanner {
    buffer: Vec<u8>,
    filled: usize,
    start: usize,
    /// Up to here the checksum has come.
    summed: usize,
    /// Where the buffer begins in the file.
    offset: u64,
    /// Of what was passed, if it is to be checked.
    crc: Option<Crc64>,
    version: Option<Version>,
    db: DbIndex,
    ahead: Ahead,
    begun: Option<Begun>,
    walk: Walk,
    /// The module whose data is being passed.
    module: Option<String>,
    /// A key that does not lie in the buffer as it is.
    key: Vec<u8>,
    /// Nothing follows in the file.
    is_whole: bool,
    is_over: bool,
}

impl Scanner {
    /// At the beginning of a file, whose checksum is to be checked or not.
    pub fn new(checked: bool) -> Self {
        Self {
            buffer: Vec::new(),
            filled: 0,
            start: 0,
            summed: 0,
            offset: 0,
            crc: checked.then(Crc64::default),
            version: None,
            db: DbIndex(0),
            ahead: Ahead::default(),
            begun: None,
            walk: Walk::default(),
            module: None,
            key: Vec::new(),
            is_whole: false,
            is_over: false,
        }
    }

    /// Where in the file the next item begins.
    pub fn offset(&self) -> u64 {
        self.offset.saturating_add(self.start as u64)
    }

    /// What was read behind the end.
    pub fn behind(&self) -> &[u8] {
        let behind = self.buffer.get(self.start..self.filled);
        behind.filter(|_| self.is_over).unwrap_or_default()
    }

    /// Room for so many bytes more of the file, at least one. What was read there is told
    /// with [`Scanner::filled`].
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn room(&mut self, bytes: usize) -> Result<&mut [u8], OutOfMemory> {
        self.make_room();
        let end = self.filled.saturating_add(bytes.max(1));
        if let Some(more) = end.checked_sub(self.buffer.len()) {
            self.buffer.try_reserve(more)?;
            self.buffer.resize(end, 0);
        }
        Ok(self.buffer.get_mut(self.filled..).unwrap_or_default())
    }

    /// So many bytes of the room have been read.
    pub fn filled(&mut self, bytes: usize) {
        self.filled = self.filled.saturating_add(bytes).min(self.buffer.len());
    }

    /// Takes more of the file.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let room = self.room(bytes.len())?;
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.filled(bytes.len());
        Ok(())
    }

    /// Nothing follows: what is not whole by now will not be.
    pub fn finish(&mut self) {
        self.is_whole = true;
    }

    /// Drops what was passed.
    fn make_room(&mut self) {
        if self.start == 0 {
            return;
        }
        self.sum_up_to(self.start);
        self.buffer.copy_within(self.start..self.filled, 0);
        self.offset = self.offset();
        self.filled = self.filled.saturating_sub(self.start);
        (self.start, self.summed) = (0, 0);
        if self.buffer.len() > BUFFER_MAX && self.filled < BUFFER_MAX / 4 {
            self.buffer.truncate(BUFFER_MAX / 4);
            self.buffer.shrink_to_fit();
        }
    }

    fn sum_up_to(&mut self, end: usize) {
        if let (Some(crc), Some(bytes)) = (&mut self.crc, self.buffer.get(self.summed..end)) {
            crc.update(bytes);
            self.summed = end;
        }
    }

    /// The next item; nothing if more of the file is needed for it, or it is over.
    ///
    /// # Errors
    /// The file is damaged, or not of a version or type that is known. There is nothing
    /// more to be had from it.
    #[allow(clippy::should_implement_trait)] // It lends what it has.
    pub fn next(&mut self) -> Result<Option<Item<'_>>, LoadError> {
        if self.is_over {
            return Ok(None);
        }
        let found = loop {
            let mut at = self.start;
            match self.step(&mut at) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(Fault::Truncated) if !self.is_whole => return Ok(None),
                Err(kind) => return Err(LoadError::new(at, kind).behind(self.offset)),
            }
        };
        let (key, form, value) = match found {
            Found::Item(item) => return Ok(Some(item)),
            Found::Entry { key, form, value } => (key, form, value),
        };
        let ahead = std::mem::take(&mut self.ahead);
        let offset = self.offset.saturating_add(value.start as u64);
        let bytes = |range| self.buffer.get(range).unwrap_or_default();
        Ok(Some(Item::Entry(Entry {
            db: self.db,
            key: match key.is_empty() {
                true => &self.key,
                false => bytes(key),
            },
            form,
            value: bytes(value),
            offset,
            expire_at: ahead.expire_at,
            idle: ahead.idle,
            freq: ahead.freq,
        })))
    }

    /// Passes what comes next; an item, if it is one. `at` is how far it was read.
    fn step(&mut self, at: &mut usize) -> Result<Option<Found>, Fault> {
        let mut reader = Reader::new(
            self.buffer.get(..self.filled).unwrap_or_default(),
            self.start,
        );
        if self.version.is_none() {
            let version = head(&mut reader)?;
            (self.version, self.start) = (Some(version), reader.at());
            return Ok(Some(Found::Item(Item::Head(version))));
        }
        if let Some(begun) = self.begun.take() {
            return self.go_on_with_value(begun, at);
        }
        let done = match self.module.is_some() {
            true => module_part(&mut reader).map(|more| Done::Module(None, more)),
            false => other(&mut reader),
        };
        *at = match done {
            Err(Fault::Opcode(..)) => self.start,
            _ => reader.at(),
        };
        match done? {
            Done::Entry(number) => self.begin_value(number, at),
            Done::End => self.end(at),
            done => {
                self.start = reader.at();
                Ok(self.note(done).map(Found::Item))
            }
        }
    }

    /// Notes what was read; an item, if it is one.
    fn note(&mut self, done: Done) -> Option<Item<'static>> {
        match done {
            Done::Item(item) => {
                if let Item::SelectDb(db) = item {
                    self.db = db;
                }
                return Some(item);
            }
            Done::ExpireAt(ms) => self.ahead.expire_at = Some(UnixMs(ms)),
            Done::Idle(seconds) => self.ahead.idle = Some(seconds),
            Done::Freq(freq) => self.ahead.freq = Some(freq),
            Done::Module(name, more) => {
                let name = name.or_else(|| self.module.take());
                if more {
                    self.module = name;
                    return None;
                }
                return Some(Item::Skipped(Skipped::Module(name.unwrap_or_default())));
            }
            Done::Entry(_) | Done::End => {}
        }
        None
    }

    /// Reads the key of an entry, and what it can of the value.
    fn begin_value(&mut self, number: u8, at: &mut usize) -> Result<Option<Found>, Fault> {
        *at = self.start;
        let version = self.version.ok_or(Fault::Magic)?;
        let form = Form::of(number, version)?;
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let mut reader = Reader::new(bytes, self.start.saturating_add(1));
        let key = reader.text();
        *at = reader.at();
        let key = match key? {
            // An empty one is the same wherever it lies.
            Text::Raw(key) => {
                self.key.clear();
                let start = reader.at().saturating_sub(key.len());
                start.saturating_sub(self.start)..reader.at().saturating_sub(self.start)
            }
            key => {
                let mut inflated = Vec::new();
                let element = key.element(&mut inflated)?;
                self.key = element.with_bytes(copy)?;
                0..0
            }
        };
        let value = reader.at().saturating_sub(self.start);
        self.walk.begin(form);
        let begun = Begun {
            form,
            key,
            value,
            walked: value,
        };
        self.go_on_with_value(begun, at)
    }

    #[inline]
    fn go_on_with_value(
        &mut self,
        mut begun: Begun,
        at: &mut usize,
    ) -> Result<Option<Found>, Fault> {
        let start = self.start;
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let mut reader = Reader::new(bytes, start.saturating_add(begun.walked));
        let walked = match begun.form {
            Form::String => reader.text().map(|_| ()),
            _ => self.walk.go_on(&mut reader),
        };
        *at = reader.at();
        if let Err(fault) = walked {
            begun.walked = match begun.form {
                Form::String => begun.walked,
                _ => reader.at().saturating_sub(start),
            };
            self.begun = Some(begun);
            return Err(fault);
        }
        let place = |at: usize| at.saturating_add(start);
        let value = place(begun.value)..reader.at();
        let key = match begun.key.is_empty() {
            true => 0..0,
            false => place(begun.key.start)..place(begun.key.end),
        };
        self.start = reader.at();
        Ok(Some(Found::Entry {
            key,
            form: begun.form,
            value,
        }))
    }

    /// The end of the file.
    fn end(&mut self, at: &mut usize) -> Result<Option<Found>, Fault> {
        let behind = self.start.saturating_add(1);
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let mut reader = Reader::new(bytes, behind);
        let mut checksum = None;
        if self.version.is_some_and(Version::has_checksum) {
            let said = reader.array().map(u64::from_le_bytes)?;
            checksum = (said != 0).then_some(said);
        }
        let end = reader.at();
        *at = behind;
        self.sum_up_to(behind);
        if let (Some(said), Some(found)) = (checksum, self.crc.map(Crc64::value))
            && said != found
        {
            return Err(Fault::Checksum { found, said });
        }
        (self.start, self.is_over) = (end, true);
        Ok(Some(Found::Item(Item::End { checksum })))
    }
}

/// What stands between entries, or what begins here.
enum Done {
    Item(Item<'static>),
    ExpireAt(i64),
    Idle(u64),
    Freq(u8),
    /// Data of a module, and whether there is more of it.
    Module(Option<String>, bool),
    /// An entry of this type.
    Entry(u8),
    End,
}

/// The magic and the version.
fn head(reader: &mut Reader<'_>) -> Result<Version, Fault> {
    let head: [u8; HEAD] = reader.array()?;
    let (digits, is_valkey) = match (
        head.strip_prefix(format::MAGIC_VALKEY),
        head.strip_prefix(format::MAGIC),
    ) {
        (Some(digits), _) => (digits, true),
        (_, Some(digits)) => (digits, false),
        _ => return Err(Fault::Magic),
    };
    let text = String::from_utf8_lossy(digits);
    let version = text.parse().ok().and_then(|number| {
        let version = Version { number, is_valkey };
        version.known()
    });
    version.ok_or_else(|| Fault::Version(String::from_utf8_lossy(&head).into_owned()))
}

/// Reads what stands between entries, whole.
#[inline]
fn other(reader: &mut Reader<'_>) -> Result<Done, Fault> {
    let code = reader.byte()?;
    Ok(match code {
        opcode::EXPIRE_MS => Done::ExpireAt(reader.ms()?),
        opcode::EXPIRE_S => {
            let seconds = reader.array().map(i32::from_le_bytes)?;
            Done::ExpireAt(i64::from(seconds).saturating_mul(1000))
        }
        opcode::FREQ => Done::Freq(reader.byte()?),
        opcode::IDLE => Done::Idle(reader.length()?),
        opcode::END => Done::End,
        opcode::MODULE_AUX => {
            let id = reader.length()?;
            // When it is to be loaded, after the mark of a number.
            let (mark, _when) = (reader.length()?, reader.length()?);
            if mark != MODULE_UINT {
                return Err(Fault::Corrupt("a module's data begins in no known way"));
            }
            Done::Module(Some(module_name(id)), true)
        }
        opcode::SELECT_DB..opcode::END | opcode::SLOT_INFO..=opcode::RESIZE_DB => {
            Done::Item(about(code, reader)?)
        }
        opcode::HASH_TEMPLATES => return Err(Fault::Opcode(code, "a template that hashes share")),
        opcode::KEY_METADATA => {
            return Err(Fault::Opcode(
                code,
                "metadata of a key, or a slot that is being imported,",
            ));
        }
        number => Done::Entry(number),
    })
}

/// What a file says about itself or a database.
fn about(code: u8, reader: &mut Reader<'_>) -> Result<Item<'static>, Fault> {
    let owned = |text: Text<'_>| -> Result<Vec<u8>, Fault> {
        let mut inflated = Vec::new();
        Ok(text.element(&mut inflated)?.with_bytes(copy)?)
    };
    Ok(match code {
        opcode::SELECT_DB => {
            let number = u16::try_from(reader.length()?);
            let number = number.map_err(|_| Fault::Corrupt("a database is out of range"))?;
            Item::SelectDb(DbIndex(number))
        }
        opcode::RESIZE_DB => Item::ResizeDb {
            keys: reader.length()?,
            expires: reader.length()?,
        },
        opcode::AUX => {
            let (name, text) = (reader.text()?, reader.text()?);
            Item::Aux(owned(name)?, owned(text)?)
        }
        opcode::SLOT_INFO => {
            let slot = reader.length()?;
            let (_keys, _expires) = (reader.length()?, reader.length()?);
            if slot >= SLOTS.into() {
                return Err(Fault::Corrupt("a slot is out of range"));
            }
            Item::Skipped(Skipped::SlotInfo)
        }
        opcode::FUNCTION => Item::Function(owned(reader.text()?)?),
        _ => {
            let what = "a function as release candidates of Redis 7.0 wrote it";
            return Err(Fault::Opcode(code, what));
        }
    })
}

/// Marks of what modules write.
const MODULE_END: u64 = 0;
const MODULE_INT: u64 = 1;
const MODULE_UINT: u64 = 2;
const MODULE_FLOAT: u64 = 3;
const MODULE_DOUBLE: u64 = 4;
const MODULE_TEXT: u64 = 5;

/// Passes a part of what a module has written; whether there is more.
fn module_part(reader: &mut Reader<'_>) -> Result<bool, Fault> {
    match reader.length()? {
        MODULE_END => return Ok(false),
        MODULE_INT | MODULE_UINT => {
            reader.length()?;
        }
        MODULE_FLOAT => {
            reader.take(4)?;
        }
        MODULE_DOUBLE => {
            reader.take(8)?;
        }
        MODULE_TEXT => {
            reader.text()?;
        }
        _ => return Err(Fault::Corrupt("a module's data goes on in no known way")),
    }
    Ok(true)
}

/// The name of a module: nine letters of six bits each, above ten bits of a version.
fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |nth: u32| {
        let bits = id.wrapping_shr(nth.saturating_mul(6).saturating_add(10)) & 63;
        LETTERS.get(bits as usize).copied().unwrap_or_default()
    };
    (0..9).rev().map(letter).map(char::from).collect()
}

#[cfg(test)]
mod tests;
