//! The elements of a collection as they are read: texts one after the other, or texts in
//! which many lie together.

use super::legacy::{Ziplist, Zipmap};
use super::packed::{Intset, Packed, Row as PackedRow};
use crate::number::parse_float;
use crate::rdb::form::Form;
use crate::rdb::format::node;
use crate::rdb::inflate::Inflating;
use crate::rdb::reader::{Fault, NO_SCORE, Reader, Text};
use crate::types::UnixMs;
use crate::value::Element;
use std::ops::Range;

/// What is read at a time: an element of a list or a set, or one with what belongs to it.
#[derive(Debug)]
pub struct Row<'a> {
    pub name: Element<'a>,
    pub value: Element<'a>,
    pub score: f64,
    pub deadline: Option<UnixMs>,
}

impl Row<'_> {
    /// Bytes of its texts.
    pub fn bytes(&self) -> usize {
        let text = |element: &Element<'_>| match element {
            Element::Int(_) => 0,
            Element::Bytes(text) => text.len(),
        };
        text(&self.name).saturating_add(text(&self.value))
    }
}

/// Elements that lie together.
#[derive(Debug)]
enum Blob {
    /// In the bytes of the value.
    Given(Range<usize>),
    Own(Vec<u8>),
}

/// So many texts are begun at once.
const TOGETHER: usize = 64;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Row,
    /// Nothing yet: a large text is being decompressed, or many have had nothing in them.
    Pause,
    End,
}

/// See the module.
#[derive(Debug)]
pub struct Rows {
    form: Form,
    /// Texts that were not begun, or rows, where they do not lie together.
    left: u64,
    /// A row was read.
    begun: bool,
    packed: Option<Packed>,
    blob: Blob,
    /// A blob that is being decompressed, and whether it is a single element.
    inflating: Option<(Inflating, bool)>,
    inflated: [Vec<u8>; 2],
    /// What deadlines are counted from.
    smallest: i64,
}

/// Whether elements of this form lie together.
fn is_packed(form: Form) -> bool {
    !matches!(
        form,
        Form::List
            | Form::Set
            | Form::ZsetText
            | Form::Zset
            | Form::Hash
            | Form::HashValkey
            | Form::HashDeadlines
    )
}

impl Rows {
    /// Reads what precedes them.
    pub fn begin(form: Form, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let smallest = match form {
            Form::HashDeadlines | Form::HashListpackEx => reader.ms()?,
            _ => 0,
        };
        let left = match form {
            Form::Quicklist | Form::Quicklist2 => reader.length()?,
            _ if is_packed(form) => 1,
            _ => reader.length()?,
        };
        Ok(Self {
            form,
            left,
            begun: false,
            packed: None,
            blob: Blob::Given(0..0),
            inflating: None,
            inflated: [Vec::new(), Vec::new()],
            smallest,
        })
    }

    /// How many there are; 0 if that is not told.
    pub fn count(&self) -> u64 {
        if is_packed(self.form) { 0 } else { self.left }
    }

    /// The listpack with all rows, if there is one, and none was read.
    pub fn whole<'b>(&'b self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        match self.packed {
            Some(Packed::Listpack(_)) if self.left == 0 && !self.begun => Some(self.blob(bytes)),
            _ => None,
        }
    }

    fn blob<'b>(&'b self, bytes: &'b [u8]) -> &'b [u8] {
        match &self.blob {
            Blob::Given(range) => bytes.get(range.clone()).unwrap_or_default(),
            Blob::Own(blob) => blob,
        }
    }

    /// Where in the bytes of the value the walk is, if it is in a text that lies there.
    pub fn place(&self) -> Option<usize> {
        match (&self.blob, &self.packed) {
            (Blob::Given(range), Some(packed)) => Some(range.start.saturating_add(packed.at())),
            _ => None,
        }
    }

    /// Makes ready for what comes next; decompresses about so many bytes.
    pub fn advance(
        &mut self,
        bytes: &[u8],
        reader: &mut Reader<'_>,
        budget: usize,
    ) -> Result<Next, Fault> {
        for _ in 0..TOGETHER {
            if let Some((inflating, is_plain)) = &mut self.inflating {
                if inflating.go_on(bytes, budget)? {
                    return Ok(Next::Pause);
                }
                let is_plain = *is_plain;
                if let Some((inflating, _)) = self.inflating.take() {
                    self.blob = Blob::Own(inflating.into_text());
                }
                self.open(bytes, is_plain)?;
            }
            if let Some(packed) = &self.packed {
                if packed.has_more(self.blob(bytes))? {
                    return Ok(Next::Row);
                }
                self.packed = None;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(Next::End);
            };
            if !is_packed(self.form) {
                return Ok(Next::Row);
            }
            self.left = left;
            self.read_blob(bytes, reader)?;
        }
        Ok(Next::Pause)
    }

    /// Reads a text with elements.
    fn read_blob(&mut self, bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), Fault> {
        let is_plain = match self.form {
            Form::Quicklist2 => match reader.length()? {
                node::PLAIN => true,
                node::PACKED => false,
                _ => return Err(Fault::Corrupt("a list's node is of no known kind")),
            },
            _ => false,
        };
        let end = |reader: &Reader<'_>| reader.at();
        match reader.text()? {
            Text::Raw(text) => {
                let end = end(reader);
                self.blob = Blob::Given(end.saturating_sub(text.len())..end);
                self.open(bytes, is_plain)
            }
            Text::Int(number) => {
                // Nobody writes a number where elements lie together; one element may be.
                self.blob = Blob::Own(itoa::Buffer::new().format(number).into());
                self.open(bytes, is_plain)
            }
            Text::Lzf(packed, len) => {
                let end = end(reader);
                let place = end.saturating_sub(packed.len())..end;
                self.inflating = Some((Inflating::new(place, len)?, is_plain));
                Ok(())
            }
        }
    }

    fn open(&mut self, bytes: &[u8], is_plain: bool) -> Result<(), Fault> {
        let blob = self.blob(bytes);
        self.packed = Some(match self.form {
            _ if is_plain => Packed::Plain(false),
            Form::Zipmap => Packed::Zipmap(Zipmap::open(blob)?),
            Form::Intset => Packed::Intset(Intset::open(blob)?),
            Form::ListZiplist | Form::ZsetZiplist | Form::HashZiplist | Form::Quicklist => {
                Packed::Ziplist(Ziplist::open(blob)?)
            }
            _ => Packed::Listpack(PackedRow::open(blob)?),
        });
        Ok(())
    }

    /// The row that [`Rows::advance`] has found.
    pub fn read<'b, 'i: 'b>(
        &'b mut self,
        bytes: &'i [u8],
        reader: &mut Reader<'i>,
    ) -> Result<Row<'b>, Fault> {
        self.begun = true;
        let row = match &mut self.packed {
            Some(packed) => {
                let blob = match &self.blob {
                    Blob::Given(range) => bytes.get(range.clone()).unwrap_or_default(),
                    Blob::Own(blob) => blob,
                };
                packed_row(self.form, packed, blob)?
            }
            None => {
                self.left = self.left.saturating_sub(1);
                text_row(self.form, self.smallest, reader, &mut self.inflated)?
            }
        };
        // The length of an element in a listpack has four bytes.
        match u32::try_from(row.bytes()) {
            Ok(_) => Ok(row),
            Err(_) => Err(Fault::Corrupt("an element is too long")),
        }
    }
}

const NOTHING: Element<'static> = Element::Bytes(b"");

fn packed_row<'b>(form: Form, packed: &mut Packed, blob: &'b [u8]) -> Result<Row<'b>, Fault> {
    let mut row = Row {
        name: packed.next(blob)?,
        value: NOTHING,
        score: 0.0,
        deadline: None,
    };
    match form {
        Form::Zipmap | Form::HashZiplist | Form::HashListpack => row.value = packed.next(blob)?,
        Form::HashListpackEx => {
            row.value = packed.next(blob)?;
            row.deadline = match packed.next(blob)? {
                Element::Int(0) => None,
                Element::Int(at) => Some(deadline(at)),
                Element::Bytes(_) => return Err(Fault::Corrupt("a deadline is no number")),
            };
        }
        Form::ZsetZiplist | Form::ZsetListpack => {
            row.score = match packed.next(blob)? {
                Element::Int(number) => number as f64,
                Element::Bytes(text) => {
                    let float = parse_float(text).ok_or(Fault::Corrupt(NO_SCORE))?;
                    float.value
                }
            };
        }
        _ => {}
    }
    Ok(row)
}

fn text_row<'b, 'i: 'b>(
    form: Form,
    smallest: i64,
    reader: &mut Reader<'i>,
    inflated: &'b mut [Vec<u8>; 2],
) -> Result<Row<'b>, Fault> {
    let [name, value] = inflated;
    let mut deadline = None;
    if form == Form::HashDeadlines {
        let more = reader.length()?;
        if let Some(more) = more.checked_sub(1) {
            let more = i64::try_from(more).ok();
            let at = more.and_then(|more| smallest.checked_add(more));
            deadline = Some(UnixMs(
                at.ok_or(Fault::Corrupt("a deadline is out of range"))?,
            ));
        }
    }
    let mut row = Row {
        name: reader.text()?.element(name)?,
        value: NOTHING,
        score: 0.0,
        deadline,
    };
    match form {
        Form::ZsetText => row.score = reader.text_score()?,
        Form::Zset => row.score = reader.score()?,
        Form::Hash | Form::HashDeadlines => row.value = reader.text()?.element(value)?,
        Form::HashValkey => {
            row.value = reader.text()?.element(value)?;
            let at = reader.ms()?;
            row.deadline = (at != NO_DEADLINE).then(|| self::deadline(at));
        }
        _ => {}
    }
    Ok(row)
}

/// Instead of a deadline, where Valkey writes one for every field.
const NO_DEADLINE: i64 = -1;

/// The deadline of a field. None is 0, which says that there is none; nor so late that
/// it is no deadline.
fn deadline(at: i64) -> UnixMs {
    UnixMs(at.clamp(1, i64::MAX.saturating_sub(1)))
}
