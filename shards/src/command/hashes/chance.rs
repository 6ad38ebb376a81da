//! HRANDFIELD: fields chosen by chance, each with the same.

use super::looking;
use crate::command::args::{integer, random_count};
use crate::command::choosing::{Choosing, Named, replied, weight as weight_of};
use crate::command::sets::reply_element;
use crate::command::spec::{Arity, InSlices, flags};
use crate::command::{Args, Context, Outcome, Row, Work};
use crate::error::{CommandError, OutOfMemory};
use crate::resp::{Protocol, Reply};
use crate::types::{Random, UnixMs};
use crate::value::{Collection, Element, Field, Hash, HashRef, Set, SetPlace, below};
use std::collections::{BTreeMap, BTreeSet};

pub static COMMANDS: &[Row] = &[Row {
    since: "6.2.0",
    complexity: "O(N+M) with N the number of fields replied and M the number of those whose time has come",
    flags: flags::READONLY,
    slices: InSlices::IfMuch,
    tips: &["nondeterministic_output"],
    ..looking(
        "hrandfield",
        "key [count [WITHVALUES]]",
        "Fields chosen at random; a negative count may repeat them.",
        Arity::AtLeast(2),
        hrandfield,
    )
}];

fn hrandfield(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    let asked = match (args.get(2), args.get(3)) {
        (None, _) => None,
        (Some(count), option) => Some(parse(integer(count)?, option, args.len())?),
    };
    if let Some(Work::Fields(job)) = ctx.work() {
        return job.go_on(ctx, key, asked);
    }
    ctx.db.expire_fields(key, std::iter::empty());
    let at_once = ctx.at_once();
    let random = &mut ctx.chance.choices;
    let (mut len, mut weight, mut due) = (0, 0, false);
    if let Some(hash) = ctx.db.read_as::<Hash>(key)? {
        len = hash.len();
        due = hash.earliest().is_some_and(|at| at <= now);
        weight = asked.map_or(1, |(count, _)| weight_of(count, len));
        if due && weight > 0 && len > at_once {
            // Who wants few tries to find some that are not due before all are looked at.
            if weight <= at_once
                && let Some(drawn) = draw(hash, now, asked, random)
            {
                reply_drawn(&mut ctx.reply, &drawn, asked);
                return Ok(());
            }
            weight = len;
        }
    }
    if weight > at_once.max(1) && ctx.in_slices(weight, (1, 0))? {
        return Job::begin(ctx, (len, due), asked)?.go_on(ctx, key, asked);
    }
    in_one_piece(ctx, key, asked)
}

/// As many fields that are not due as are asked for, unless it takes too many draws.
fn draw<'a>(
    hash: HashRef<'a>,
    now: UnixMs,
    asked: Option<(i64, bool)>,
    random: &mut Random,
) -> Option<Vec<Field<'a>>> {
    const TRIES: usize = 64;
    let count = asked.map_or(-1, |(count, _)| count);
    let wanted = replied(count, hash.len());
    let (mut drawn, mut names) = (Vec::new(), BTreeSet::new());
    for _ in 0..TRIES + 2 * wanted {
        if drawn.len() == wanted {
            return Some(drawn);
        }
        let field = hash.choose(random);
        let mut is_new = || names.insert(field.name.with_bytes(<[u8]>::to_vec));
        if !field.is_due(now) && (count < 0 || is_new()) {
            drawn.push(field);
        }
    }
    None
}

fn reply_drawn(reply: &mut Reply<'_>, drawn: &[Field<'_>], asked: Option<(i64, bool)>) {
    let values = asked.is_some_and(|(_, values)| values);
    if asked.is_some() {
        array(reply, drawn.len(), values);
    }
    for field in drawn {
        pair(reply, field.name, values.then_some(field.value));
    }
}

fn in_one_piece(ctx: &mut Context<'_>, key: &[u8], asked: Option<(i64, bool)>) -> Outcome {
    let now = ctx.db.now();
    let hash = ctx.db.lookup_as::<Hash>(key)?;
    let mut chooser = hash.map(|hash| Chooser::new(hash, now));
    let (random, reply) = (&mut ctx.chance.choices, &mut ctx.reply);
    let first = match &mut chooser {
        Some(chooser) => chooser.choose(random)?,
        None => None,
    };
    match (asked, chooser.zip(first)) {
        (None, None) => reply.null(),
        (None, Some((_, field))) => reply_element(reply, field.name),
        (Some(_), None) => reply.array(0),
        (Some((count, values)), Some((mut chooser, _))) if count < 0 => {
            array(reply, count.unsigned_abs() as usize, values);
            for _ in 0..count.unsigned_abs() {
                if let Some(field) = chooser.choose(random)? {
                    pair(reply, field.name, values.then_some(field.value));
                }
                reply.complete()?;
            }
        }
        (Some((count, values)), Some((chooser, _))) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            different(reply, chooser, count, values, random)?;
        }
    }
    Ok(())
}

/// Many fields, or some of many of which some are due, in slices.
#[derive(Debug)]
pub struct Job {
    /// How far the fields have been gone through for those that are not due, which are
    /// these. If none is due, there is no need.
    gathering: Option<SetPlace>,
    live: Option<Set>,
    /// The choice among those, or all.
    choosing: Option<Choosing>,
}

impl Job {
    fn begin(
        ctx: &mut Context<'_>,
        (len, due): (usize, bool),
        asked: Option<(i64, bool)>,
    ) -> Result<Box<Self>, CommandError> {
        let mut job = Self {
            gathering: due.then(SetPlace::default),
            live: None,
            choosing: None,
        };
        match due {
            true => job.live = Some(Set::large(&ctx.growth())?),
            false => job.choosing = Some(choosing(ctx, len, asked)?),
        }
        Ok(Box::new(job))
    }

    /// Takes a slice of it.
    fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        key: &[u8],
        asked: Option<(i64, bool)>,
    ) -> Outcome {
        let (now, growth, step) = (ctx.db.now(), ctx.growth(), ctx.step());
        let Some(hash) = ctx.db.lookup_as::<Hash>(key)? else {
            return Ok(());
        };
        if let (Some(at), Some(live)) = (&mut self.gathering, &mut self.live) {
            hash.walk(at, step, |field| {
                if !field.is_due(now) {
                    field.name.with_bytes(|name| live.add(name, &growth))?;
                }
                Ok::<_, CommandError>(())
            })?;
            if at.visited == hash.len() {
                self.gathering = None;
            }
            return ctx.leave(Work::Fields(self));
        }
        if self.choosing.is_none() {
            let len = self.live.as_ref().map_or(0, |live| live.view().len());
            self.choosing = Some(choosing(ctx, len, asked)?);
            return ctx.leave(Work::Fields(self));
        }
        let Some(choosing) = &mut self.choosing else {
            return Ok(());
        };
        let mut slice = choosing.slice(ctx);
        let Some(hash) = ctx.db.lookup_as::<Hash>(key)? else {
            return Ok(());
        };
        let (random, reply) = (&mut ctx.chance.choices, &mut ctx.reply);
        let how = (&mut slice, &growth, random);
        let values = asked.is_some_and(|(_, values)| values);
        let put = |name: Element<'_>, value: Option<Element<'_>>| {
            pair(reply, name, value.filter(|_| values));
            reply.written()
        };
        match &self.live {
            Some(live) => {
                let names = live.view();
                choosing.choose_some(Named { names, hash }, how, put)?;
            }
            None => choosing.choose_some(hash, how, put)?,
        }
        if choosing.replied.note(slice, ctx)? {
            return ctx.leave(Work::Fields(self));
        }
        ctx.db.bury(self.live);
        Ok(())
    }
}

/// Writes the header of a reply, and begins to choose among `len` fields.
fn choosing(
    ctx: &mut Context<'_>,
    len: usize,
    asked: Option<(i64, bool)>,
) -> Result<Choosing, CommandError> {
    let Some((count, values)) = asked else {
        // No array, if there is one.
        if len == 0 {
            ctx.reply.null();
        }
        return Ok(Choosing::again(len.min(1)));
    };
    let replied = replied(count, len);
    array(&mut ctx.reply, replied, values);
    Ok(match count < 0 {
        true => Choosing::again(replied),
        false => Choosing::different(&ctx.growth(), replied, (len, false))?,
    })
}

/// The count, and whether values are wanted.
fn parse(count: i64, option: Option<&[u8]>, len: usize) -> Result<(i64, bool), CommandError> {
    if count == i64::MIN {
        // This before anything else that may be wrong.
        return random_count(count).map(|count| (count, false));
    }
    let values = option.is_some_and(|option| option.eq_ignore_ascii_case(b"WITHVALUES"));
    if len > 4 || option.is_some() && !values {
        return Err(CommandError::Syntax);
    }
    let half = i64::MAX / 2;
    if values && !(-half..=half).contains(&count) {
        return Err(CommandError::Static("ERR value is out of range"));
    }
    Ok((random_count(count)?, values))
}

/// Chooses among the fields that are not due, by drawing until it finds one; where
/// that takes too long, among a list of them.
struct Chooser<'a> {
    hash: HashRef<'a>,
    now: UnixMs,
    /// So many more draws may find a field that is due.
    patience: usize,
    /// All fields that are not due, when patience is at an end.
    listed: Option<Vec<Field<'a>>>,
}

impl<'a> Chooser<'a> {
    fn new(hash: HashRef<'a>, now: UnixMs) -> Self {
        // A draw is slower than a step of a walk, but both are together no more
        // than a walk takes anyway.
        const PATIENCE: usize = 64;
        const SLOWER: usize = 16;
        Self {
            hash,
            now,
            patience: PATIENCE + hash.len() / SLOWER,
            listed: None,
        }
    }

    /// A field that is not due, each with the same chance; nothing if all are.
    fn choose(&mut self, random: &mut Random) -> Result<Option<Field<'a>>, OutOfMemory> {
        while self.listed.is_none() && self.patience > 0 {
            let field = self.hash.choose(random);
            if !field.is_due(self.now) {
                return Ok(Some(field));
            }
            self.patience -= 1;
        }
        let listed = self.list()?;
        Ok(match listed.len() {
            0 => None,
            len => listed.get(below(random, len)).copied(),
        })
    }

    /// All fields that are not due.
    fn list(&mut self) -> Result<&mut Vec<Field<'a>>, OutOfMemory> {
        if self.listed.is_none() {
            let mut fields = Vec::new();
            for field in self.hash.iter().filter(|field| !field.is_due(self.now)) {
                fields.try_reserve(1)?;
                fields.push(field);
            }
            self.listed = Some(fields);
        }
        Ok(self.listed.get_or_insert_default())
    }
}

/// Replies `count` different fields, or all if there are not so many.
fn different(
    reply: &mut Reply<'_>,
    mut chooser: Chooser<'_>,
    count: usize,
    values: bool,
    random: &mut Random,
) -> Outcome {
    if count <= chooser.hash.len() / 4 {
        let mut seen = BTreeMap::new();
        while seen.len() < count
            && chooser.listed.is_none()
            && let Some(field) = chooser.choose(random)?
        {
            seen.insert(field.name.with_bytes(<[u8]>::to_vec), field.value);
        }
        if seen.len() == count {
            array(reply, count, values);
            for (name, value) in &seen {
                pair(reply, Element::Bytes(name), values.then_some(*value));
            }
            return Ok(());
        }
    }
    let fields = chooser.list()?;
    if count < fields.len() {
        for at in 0..count {
            let other = at + below(random, fields.len() - at);
            fields.swap(at, other);
        }
        fields.truncate(count);
    }
    array(reply, fields.len(), values);
    for field in fields {
        pair(reply, field.name, values.then_some(field.value));
    }
    Ok(())
}

/// RESP3 has an array for each pair, RESP2 one for all.
fn array(reply: &mut Reply<'_>, pairs: usize, values: bool) {
    let flat = values && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { pairs * 2 } else { pairs });
}

fn pair(reply: &mut Reply<'_>, name: Element<'_>, value: Option<Element<'_>>) {
    if value.is_some() && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply_element(reply, name);
    if let Some(value) = value {
        reply_element(reply, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Settings;
    use crate::value::{FieldTtl, Growth};

    #[test]
    fn draws_in_vain_are_bounded_by_the_size_of_the_hash() {
        let settings = Settings::default();
        let growth = Growth {
            thresholds: &settings.encodings,
            seed: 1,
        };
        let (mut hash, now, due) = (Hash::new(), UnixMs(5), 20_000);
        let mut set = |name: String, ttl| {
            assert!(hash.set(name.as_bytes(), b"v", ttl, &growth).unwrap());
        };
        (0..due).for_each(|it| set(format!("d{it}"), FieldTtl::At(now)));
        (0..5).for_each(|it| set(format!("a{it}"), FieldTtl::Clear));
        let mut random = Random::new(1);
        let mut chooser = Chooser::new(crate::value::Collection::view(&hash), now);
        let draws = chooser.patience;
        assert!(draws <= due / 8);
        let mut seen = BTreeMap::new();
        for _ in 0..2000 {
            let field = chooser.choose(&mut random).unwrap().unwrap();
            *seen
                .entry(field.name.with_bytes(<[u8]>::to_vec))
                .or_insert(0) += 1;
        }
        assert_eq!(chooser.patience, 0, "it would have taken 8,000,000 draws");
        assert_eq!(seen.len(), 5);
        assert!(seen.values().all(|times| *times > 300), "{seen:?}");
    }
}
