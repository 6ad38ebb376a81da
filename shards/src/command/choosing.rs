//! Members and fields that are chosen by chance in slices (`work.rs`), each with the
//! same, and replied as they are chosen.

use super::replied::{Replied, Slice};
use super::{Context, Outcome};
use crate::error::{CommandError, OutOfMemory};
use crate::types::Random;
use crate::value::{Collection, Element, Growth, HashRef, Set, SetPlace, SetRef, below};

/// So many are chosen before the bytes of them are looked at.
const TOGETHER: usize = 16;

/// What is chosen from: elements, and what belongs to each.
pub trait Source: Copy {
    fn len(self) -> usize;

    /// Shows one of all, each with the same chance.
    fn choose(self, random: &mut Random, show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>));

    /// Shows up to `count` from a place on.
    fn walk(
        self,
        at: &mut SetPlace,
        count: usize,
        show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>) -> Outcome,
    ) -> Outcome;
}

impl Source for SetRef<'_> {
    fn len(self) -> usize {
        SetRef::len(self)
    }

    fn choose(self, random: &mut Random, show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>)) {
        show(SetRef::choose(self, random), None);
    }

    fn walk(
        self,
        at: &mut SetPlace,
        count: usize,
        show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>) -> Outcome,
    ) -> Outcome {
        SetRef::walk(self, at, count, |member| show(member, None))
    }
}

impl Source for HashRef<'_> {
    fn len(self) -> usize {
        HashRef::len(self)
    }

    fn choose(self, random: &mut Random, show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>)) {
        let field = HashRef::choose(self, random);
        show(field.name, Some(field.value));
    }

    fn walk(
        self,
        at: &mut SetPlace,
        count: usize,
        show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>) -> Outcome,
    ) -> Outcome {
        HashRef::walk(self, at, count, |field| show(field.name, Some(field.value)))
    }
}

/// Some of the fields of a hash, by their names.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub names: SetRef<'a>,
    pub hash: HashRef<'a>,
}

impl Named<'_> {
    fn value(&self, name: Element<'_>) -> Option<Element<'_>> {
        let field = name.with_bytes(|name| self.hash.find(name));
        field.map(|field| field.value)
    }
}

impl Source for Named<'_> {
    fn len(self) -> usize {
        self.names.len()
    }

    fn choose(self, random: &mut Random, show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>)) {
        let name = self.names.choose(random);
        show(name, self.value(name));
    }

    fn walk(
        self,
        at: &mut SetPlace,
        count: usize,
        show: &mut dyn FnMut(Element<'_>, Option<Element<'_>>) -> Outcome,
    ) -> Outcome {
        self.names
            .walk(at, count, |name| show(name, self.value(name)))
    }
}

/// How many elements a count asks for, of `len`.
pub fn replied(count: i64, len: usize) -> usize {
    let replied = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match count < 0 && len > 0 {
        true => replied,
        false => replied.min(len),
    }
}

/// How many elements that takes to go through.
pub fn weight(count: i64, len: usize) -> usize {
    let replied = replied(count, len);
    match count > 0 && is_much(replied, len) {
        true => len,
        false => replied,
    }
}

/// Whether so many of all are so much that it is better to go through all of them.
fn is_much(count: usize, len: usize) -> bool {
    count > len / 4
}

/// How far a choice has come.
#[derive(Debug)]
pub struct Choosing {
    pub replied: Replied,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each is any of all, whatever was chosen before.
    Again,
    /// All of them.
    All(SetPlace),
    /// Each that is met is chosen as often as there are still some to be chosen among
    /// those that are still to be met. What is chosen is kept if it is to be known.
    Met(SetPlace, Option<Set>),
    /// Any of all, until there are enough different ones.
    Drawn(Set),
}

impl Choosing {
    /// So many elements, whether or not they are the same.
    pub fn again(count: usize) -> Self {
        Self {
            replied: Replied::of(count),
            way: Way::Again,
        }
    }

    /// So many different ones of `len`; afterwards it is known which they are if they
    /// are to be `kept`.
    pub fn different(
        growth: &Growth<'_>,
        count: usize,
        (len, kept): (usize, bool),
    ) -> Result<Self, OutOfMemory> {
        let chosen = Set::large(growth)?;
        let way = match (count == len, is_much(count, len)) {
            (true, _) => Way::All(SetPlace::default()),
            (_, true) => Way::Met(SetPlace::default(), kept.then_some(chosen)),
            (_, false) => Way::Drawn(chosen),
        };
        Ok(Self {
            replied: Replied::of(count),
            way,
        })
    }

    /// What one call may reply: less where each is looked for, or kept.
    pub fn slice(&self, ctx: &Context<'_>) -> Slice {
        match self.way {
            Way::All(_) | Way::Met(_, None) => self.replied.slice(ctx),
            _ => self.replied.slice_of(ctx, ctx.step()),
        }
    }

    /// Which they are, if they are known, and not all.
    pub fn chosen(&self) -> Option<&Set> {
        match &self.way {
            Way::Met(_, Some(chosen)) | Way::Drawn(chosen) => Some(chosen),
            _ => None,
        }
    }

    /// As [`Choosing::chosen`].
    pub fn into_chosen(self) -> Option<Set> {
        match self.way {
            Way::Met(_, chosen) => chosen,
            Way::Drawn(chosen) => Some(chosen),
            _ => None,
        }
    }

    /// Goes on with a slice: hands what is chosen to `put`, which replies it and says
    /// how much has been written.
    pub fn choose_some(
        &mut self,
        source: impl Source,
        (slice, growth, random): (&mut Slice, &Growth<'_>, &mut Random),
        mut put: impl FnMut(Element<'_>, Option<Element<'_>>) -> usize,
    ) -> Result<(), CommandError> {
        let Replied { done, of, .. } = self.replied;
        let (mut looks, mut left, mut is_full) = (slice.elements(), of - done, false);
        while looks > 0 && left > 0 && !is_full {
            let some = looks.min(TOGETHER);
            looks -= some;
            let before = left;
            let mut put = |name: Element<'_>, value: Option<Element<'_>>| {
                is_full = slice.is_full_at(put(name, value));
                left -= 1;
            };
            match &mut self.way {
                Way::Again => {
                    (0..some.min(before)).for_each(|_| source.choose(random, &mut put));
                }
                Way::All(at) => source.walk(at, some, &mut |name, value| {
                    put(name, value);
                    Ok(())
                })?,
                Way::Met(at, chosen) => {
                    let (mut unmet, mut wanted) = (source.len() - at.visited, before);
                    source.walk(at, some, &mut |name, value| {
                        if below(random, unmet) < wanted {
                            wanted -= 1;
                            if let Some(chosen) = chosen {
                                name.with_bytes(|name| chosen.add(name, growth))?;
                            }
                            put(name, value);
                        }
                        unmet -= 1;
                        Ok(())
                    })?;
                }
                Way::Drawn(chosen) => {
                    let mut lacks = Ok(());
                    for _ in 0..some {
                        source.choose(random, &mut |name, value| {
                            if lacks.is_err() || chosen.view().len() == of {
                                return;
                            }
                            match name.with_bytes(|name| chosen.add(name, growth)) {
                                Ok(true) => put(name, value),
                                Ok(false) => {}
                                Err(error) => lacks = Err(error),
                            }
                        });
                    }
                    lacks?;
                }
            }
            (left..before).for_each(|_| slice.wrote());
        }
        Ok(())
    }
}
