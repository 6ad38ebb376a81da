//! Large collections, in steps. Each keeps a place in its collection and, if it is within
//! a long text there, how far it has come with that.

use super::Budget;
use super::long::{LONG, LongText};
use super::packed::put_elements;
use super::text::{put, put_len, put_text};
use crate::error::OutOfMemory;
use crate::rdb::format::node;
use crate::types::UnixMs;
use crate::value::{Element, Field, HashRef, Quicklist, SetPlace, SetRef, ZsetRef};

/// A list's node with a single element of more bytes is written as that element.
const PLAIN_ABOVE: usize = 64 << 10;

/// Why a walk ends before its end.
enum Stop {
    /// The step is over.
    Spent,
    /// What comes next has a long text.
    Long,
    Lacking(OutOfMemory),
}

impl From<OutOfMemory> for Stop {
    fn from(lacking: OutOfMemory) -> Self {
        Self::Lacking(lacking)
    }
}

/// How far a list has come.
#[derive(Debug, Default)]
pub struct ListSteps {
    begun: bool,
    /// Nodes that are written.
    nodes: usize,
    text: Option<LongText>,
}

impl ListSteps {
    pub fn go_on(
        &mut self,
        list: &Quicklist,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        if !self.begun {
            put_len(out, list.nodes() as u64)?;
            self.begun = true;
        }
        while let Some((elements, count)) = list.node(self.nodes) {
            if budget.is_spent() {
                return Ok(true);
            }
            if count == 1
                && elements.len() > PLAIN_ABOVE
                && let Some(Element::Bytes(text)) = list.first_of_node(self.nodes)
            {
                if self.text.is_none() {
                    put_len(out, node::PLAIN)?;
                }
                let steps = self.text.get_or_insert_default();
                if steps.go_on(text, budget, out)? {
                    return Ok(true);
                }
                self.text = None;
            } else {
                put_len(out, node::PACKED)?;
                put_elements(out, count, elements, budget.compress)?;
                budget.spend(elements.len());
            }
            self.nodes = self.nodes.saturating_add(1);
        }
        Ok(false)
    }
}

/// How far a set has come.
#[derive(Debug, Default)]
pub struct SetSteps {
    begun: bool,
    place: SetPlace,
    text: Option<LongText>,
}

impl SetSteps {
    pub fn go_on(
        &mut self,
        set: SetRef<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        if !self.begun {
            put_len(out, set.len() as u64)?;
            self.begun = true;
        }
        while self.place.visited < set.len() {
            if budget.is_spent() || self.is_within(set, budget, out)? {
                return Ok(true);
            }
            let (mut next, mut written) = (self.place, 0_usize);
            let walked = set.walk(&mut next, budget.elements, |member| {
                let Element::Bytes(text) = member else {
                    return Ok(());
                };
                if budget.is_spent() {
                    return Err(Stop::Spent);
                }
                if text.len() > LONG {
                    return Err(Stop::Long);
                }
                put_text(out, text, budget.compress)?;
                budget.spend(text.len());
                written = written.saturating_add(1);
                Ok(())
            });
            match walked {
                Ok(()) => self.place = next,
                Err(Stop::Lacking(lacking)) => return Err(lacking),
                Err(stop) => {
                    set.walk(&mut self.place, written, |_| Ok::<_, OutOfMemory>(()))?;
                    self.text = matches!(stop, Stop::Long).then(LongText::default);
                }
            }
        }
        Ok(false)
    }

    /// Goes on with a long member, if there is one; whether there is more of it.
    fn is_within(
        &mut self,
        set: SetRef<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let Some(steps) = &mut self.text else {
            return Ok(false);
        };
        let (mut next, mut more) = (self.place, false);
        set.walk(&mut next, 1, |member| {
            if let Element::Bytes(text) = member {
                more = steps.go_on(text, budget, out)?;
            }
            Ok::<_, OutOfMemory>(())
        })?;
        if !more {
            (self.place, self.text) = (next, None);
        }
        Ok(more)
    }
}

/// How far a hash has come.
#[derive(Debug, Default)]
pub struct HashSteps {
    begun: bool,
    place: SetPlace,
    long: Option<LongField>,
}

/// How far a field has come that has a long text.
#[derive(Debug, Default)]
struct LongField {
    begun: bool,
    named: bool,
    text: LongText,
}

impl HashSteps {
    pub fn go_on(
        &mut self,
        hash: HashRef<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let least = hash.earliest();
        if !self.begun {
            if let Some(UnixMs(at)) = least {
                put(out, &at.to_le_bytes())?;
            }
            put_len(out, hash.len() as u64)?;
            self.begun = true;
        }
        while self.place.visited < hash.len() {
            if budget.is_spent() || self.is_within(hash, budget, out)? {
                return Ok(true);
            }
            let (mut next, mut written) = (self.place, 0_usize);
            let walked = hash.walk(&mut next, budget.elements, |field| {
                let (Element::Bytes(name), Element::Bytes(value)) = (field.name, field.value)
                else {
                    return Ok(());
                };
                if budget.is_spent() {
                    return Err(Stop::Spent);
                }
                if name.len() > LONG || value.len() > LONG {
                    return Err(Stop::Long);
                }
                put_deadline(out, least, &field)?;
                put_text(out, name, budget.compress)?;
                put_text(out, value, budget.compress)?;
                budget.spend(name.len().saturating_add(value.len()));
                written = written.saturating_add(1);
                Ok(())
            });
            match walked {
                Ok(()) => self.place = next,
                Err(Stop::Lacking(lacking)) => return Err(lacking),
                Err(stop) => {
                    hash.walk(&mut self.place, written, |_| Ok::<_, OutOfMemory>(()))?;
                    self.long = matches!(stop, Stop::Long).then(LongField::default);
                }
            }
        }
        Ok(false)
    }

    /// Goes on with a field that has a long text, if there is one; whether there is more
    /// of it.
    fn is_within(
        &mut self,
        hash: HashRef<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let Some(long) = &mut self.long else {
            return Ok(false);
        };
        let (mut next, mut more) = (self.place, false);
        hash.walk(&mut next, 1, |field| {
            more = long.go_on(hash.earliest(), &field, budget, out)?;
            Ok::<_, OutOfMemory>(())
        })?;
        if !more {
            (self.place, self.long) = (next, None);
        }
        Ok(more)
    }
}

impl LongField {
    fn go_on(
        &mut self,
        least: Option<UnixMs>,
        field: &Field<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let (Element::Bytes(name), Element::Bytes(value)) = (field.name, field.value) else {
            return Ok(false);
        };
        if !self.begun {
            put_deadline(out, least, field)?;
            self.begun = true;
        }
        if !self.named {
            if go_on_with(&mut self.text, name, budget, out)? {
                return Ok(true);
            }
            (self.named, self.text) = (true, LongText::default());
        }
        go_on_with(&mut self.text, value, budget, out)
    }
}

/// Goes on with a text, which need not be long; whether there is more of it.
pub fn go_on_with(
    steps: &mut LongText,
    text: &[u8],
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<bool, OutOfMemory> {
    if text.len() > LONG {
        return steps.go_on(text, budget, out);
    }
    put_text(out, text, budget.compress)?;
    budget.spend(text.len());
    Ok(false)
}

/// How much later than the least deadline that of a field is, and one; 0 for none. If no
/// field has any, nothing.
fn put_deadline(
    out: &mut Vec<u8>,
    least: Option<UnixMs>,
    field: &Field<'_>,
) -> Result<(), OutOfMemory> {
    let Some(UnixMs(least)) = least else {
        return Ok(());
    };
    let behind = |at: UnixMs| at.0.saturating_sub(least).saturating_add(1);
    let behind = field.expire_at.map_or(0, behind);
    put_len(out, u64::try_from(behind).unwrap_or(1))
}

/// How far a sorted set has come. The last member is the first: so who reads it adds
/// each before all others.
#[derive(Debug, Default)]
pub struct ZsetSteps {
    begun: bool,
    written: usize,
    text: LongText,
}

impl ZsetSteps {
    pub fn go_on(
        &mut self,
        zset: ZsetRef<'_>,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        if !self.begun {
            put_len(out, zset.len() as u64)?;
            self.begun = true;
        }
        let left = zset.len().saturating_sub(self.written);
        for (member, score) in zset.range(0..left, true) {
            let Element::Bytes(member) = member else {
                continue;
            };
            if budget.is_spent() || go_on_with(&mut self.text, member, budget, out)? {
                return Ok(true);
            }
            self.text = LongText::default();
            put(out, &score.to_le_bytes())?;
            self.written = self.written.saturating_add(1);
        }
        Ok(false)
    }
}
