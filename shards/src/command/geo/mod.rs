//! Commands on places, which are members of sorted sets: the score of a member
//! is its geohash, a number that neighbours share the beginning of.
//!
//! What a score means is in `value::geohash`; [`query`] reads what a search is
//! asked for and carries it out, [`job`] does so in slices, [`search`] has the commands
//! that search.

mod job;
mod partial_sort;
mod query;
pub mod search;

pub use job::Job;

use super::spec::{Arity, Group, KeySpec, flags};
use super::zsets::limits;
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::{CommandError, Unfinished};
use crate::number::parse_float;
use crate::resp::Reply;
use crate::value::geohash::Point;
use crate::value::{Zset, ZsetRef, ZsetUpdate};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "geoadd",
        syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
        summary: "Add places, or move them.",
        since: "3.2.0",
        complexity: "O(log(N)) for each place, with N the number of places",
        group: Group::Geo,
        arity: Arity::AtLeast(5),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        history: &[("6.2.0", "Takes `CH`, `NX` and `XX`.")],
        run: Run::OneShard(geoadd),
        ..ROW
    },
    Row {
        name: "geodist",
        syntax: "key member1 member2 [M | KM | FT | MI]",
        summary: "The distance between two places.",
        since: "3.2.0",
        complexity: "O(log(N)) with N the number of places",
        group: Group::Geo,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(geodist),
        ..ROW
    },
    Row {
        name: "geohash",
        syntax: "key [member [member ...]]",
        summary: "Places as the geohashes that others use.",
        since: "3.2.0",
        complexity: "O(log(N)) for each place, with N the number of places",
        group: Group::Geo,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(geohash),
        ..ROW
    },
    Row {
        name: "geopos",
        syntax: "key [member [member ...]]",
        summary: "Longitudes and latitudes of places.",
        since: "3.2.0",
        complexity: "O(log(N)) for each place, with N the number of places",
        group: Group::Geo,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(geopos),
        ..ROW
    },
];

const BAD_UNIT: CommandError =
    CommandError::Static("ERR unsupported unit provided. please use M, KM, FT, MI");

/// A finite or infinite number.
fn number(text: &[u8]) -> Option<f64> {
    let float = parse_float(text)?;
    (!float.out_of_range && !float.value.is_nan()).then_some(float.value)
}

/// How many metres a unit has.
fn unit(word: &[u8]) -> Result<f64, CommandError> {
    match word.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(BAD_UNIT),
    }
}

/// A place as two arguments give it.
fn place(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let longitude = number(longitude).ok_or(CommandError::NotAFloat)?;
    let latitude = number(latitude).ok_or(CommandError::NotAFloat)?;
    let point = Point {
        longitude,
        latitude,
    };
    if point.is_valid() {
        return Ok(point);
    }
    let text = format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}");
    Err(CommandError::Owned(text.into_bytes().into()))
}

fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

fn reply_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for coordinate in [point.longitude, point.latitude] {
        let text = format!("{coordinate:.17}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(text.as_bytes());
    }
}

/// What GEOADD is told before the places.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    ch: bool,
}

impl Conditions {
    /// And the places.
    fn parse(args: Args<'_>) -> Result<(Self, Args<'_>), CommandError> {
        let (mut conditions, mut at) = (Self::default(), 2);
        while let Some(word) = args.get(at) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"NX") {
                conditions.nx = true;
            } else if is(b"XX") {
                conditions.xx = true;
            } else if is(b"CH") {
                conditions.ch = true;
            } else {
                break;
            }
            at += 1;
        }
        let places = args.from(at);
        let both = conditions.nx && conditions.xx;
        if both || places.is_empty() || !places.len().is_multiple_of(3) {
            return Err(CommandError::Syntax);
        }
        Ok((conditions, places))
    }

    /// The score a place gets.
    fn choose(&self, old: Option<f64>, new: f64) -> Option<f64> {
        let refused = if old.is_some() { self.nx } else { self.xx };
        (!refused).then_some(new)
    }
}

fn geoadd(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (conditions, places) = Conditions::parse(args)?;
    for at in (0..places.len()).step_by(3) {
        place(&places[at], &places[at + 1])?;
    }
    let (key, limits) = (&args[1], limits(ctx));
    let edited = ctx.db.edit_or_create(key, |zset: &mut Zset| {
        let (mut added, mut moved) = (0, 0);
        for at in (0..places.len()).step_by(3) {
            let score = place(&places[at], &places[at + 1])?.encode() as f64;
            let choose = |old| conditions.choose(old, score);
            let update = zset.update(&places[at + 2], &limits, choose);
            let done = if added + moved > 0 { at / 3 } else { 0 };
            let ZsetUpdate { before, after } =
                update.map_err(|error| Unfinished::after(done, error))?;
            added += usize::from(before.is_none() && after.is_some());
            moved += usize::from(before.is_some() && before != after);
        }
        Ok((added, moved))
    });
    let first = args.len() - places.len();
    let (added, moved) =
        edited.map_err(|it| ctx.give_up(key, Event::ZAdd, args.first(first + 3 * it.done), it))?;
    if added + moved > 0 {
        ctx.changed_times(key, Event::ZAdd, added + moved);
    }
    let counted = if conditions.ch { added + moved } else { added };
    ctx.reply.integer(counted as i64);
    Ok(())
}

/// A member as a place.
fn point_of(zset: Option<ZsetRef<'_>>, member: &[u8]) -> Option<Point> {
    zset?.score(member).map(Point::decode)
}

fn geodist(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let unit = match args.len() {
        4 => 1.0,
        5 => unit(&args[4])?,
        _ => return Err(CommandError::Syntax),
    };
    let zset = ctx.db.read_as::<Zset>(&args[1])?;
    let places = [&args[2], &args[3]].map(|member| point_of(zset, member));
    match places {
        [Some(from), Some(to)] => reply_distance(&mut ctx.reply, from.distance(to) / unit),
        _ => ctx.reply.null(),
    }
    Ok(())
}

fn geohash(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let zset = ctx.db.read_as::<Zset>(&args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        match point_of(zset, member) {
            Some(point) => ctx.reply.bulk(&point.geohash()),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

fn geopos(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let zset = ctx.db.read_as::<Zset>(&args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        match point_of(zset, member) {
            Some(point) => reply_point(&mut ctx.reply, point),
            None => ctx.reply.null_array(),
        }
    }
    Ok(())
}
