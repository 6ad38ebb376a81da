//! What a search is asked for, and the search.

use super::partial_sort::partial_sort;
use super::{number, place, unit};
use crate::command::Args;
use crate::command::args::integer;
use crate::error::{CommandError, OutOfMemory};
use crate::value::geohash::{Area, Point, Shape};
use crate::value::{Cut, Element, Zset, ZsetLimits, ZsetRef};
use std::cmp::Ordering;
use std::ops::Range;

const NO_MEMBER: CommandError = CommandError::Static("ERR could not decode requested zset member");
const ANY_WITHOUT_COUNT: CommandError =
    CommandError::Static("ERR the ANY argument requires COUNT argument");

/// Where a command has what it needs.
#[derive(Clone, Copy)]
pub struct Form {
    pub origin: Origin,
    /// The argument that is the key to search.
    pub source: usize,
    /// The first argument that is an option.
    pub options: usize,
    pub storing: Storing,
}

/// From where distances are measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An option says it, and another one the shape.
    Option,
    /// Arguments 2 and 3; then follows the radius.
    Place,
    /// The member in argument 2; then follows the radius.
    Member,
}

/// What may be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    Never,
    /// Options say where.
    OnDemand,
    /// In the key of argument 1; an option says what.
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As they are found.
    Any,
    NearestFirst,
    FarthestFirst,
}

/// A search.
pub struct Query<'a> {
    /// Nothing only if there is nothing to search.
    center: Option<Point>,
    shape: Shape,
    /// Metres.
    unit: f64,
    pub with_distance: bool,
    pub with_hash: bool,
    pub with_point: bool,
    count: Option<usize>,
    /// The first ones found will do.
    any: bool,
    order: Order,
    /// Where the result is to be stored.
    pub destination: Option<&'a [u8]>,
    store_distance: bool,
}

/// A place that was found.
pub struct Found<'a> {
    pub member: Element<'a>,
    pub score: f64,
    pub point: Point,
    /// In the unit of the query.
    pub distance: f64,
}

/// Arguments still to be read.
struct Words<'a> {
    args: Args<'a>,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word, if it is one and `more` words follow it.
    fn option(&mut self, name: &[u8], more: usize) -> Option<Args<'a>> {
        let word = self.args.get(self.at)?;
        let found = word.eq_ignore_ascii_case(name) && self.at + more < self.args.len();
        found.then(|| {
            let values = self.args.from(self.at + 1);
            self.at += 1 + more;
            values
        })
    }

    fn flag(&mut self, name: &[u8]) -> bool {
        self.option(name, 0).is_some()
    }
}

/// Which of the options that exclude others were given.
#[derive(Default)]
struct Given {
    member: bool,
    place: bool,
    radius: bool,
    rectangle: bool,
}

impl<'a> Query<'a> {
    /// Reads a request. `source` is what the key to be searched holds.
    pub fn parse(
        args: Args<'a>,
        form: Form,
        source: Option<ZsetRef<'_>>,
    ) -> Result<Self, CommandError> {
        let mut query = Self {
            center: None,
            shape: Shape::Circle { radius: 0.0 },
            unit: 1.0,
            with_distance: false,
            with_hash: false,
            with_point: false,
            count: None,
            any: false,
            order: Order::Any,
            destination: None,
            store_distance: false,
        };
        match form.origin {
            Origin::Option => {}
            Origin::Place => {
                query.center = Some(place(&args[2], &args[3])?);
                query.circle(&args[4], &args[5])?;
            }
            // Without a key not even the radius is looked at.
            Origin::Member if source.is_none() => {}
            Origin::Member => {
                query.start_at_member(source, &args[2])?;
                query.circle(&args[3], &args[4])?;
            }
        }
        if form.storing == Storing::Always {
            query.destination = args.get(1);
        }
        query.read_options(args, form, source)?;
        if query.order == Order::Any && query.count.is_some() && !query.any {
            query.order = Order::NearestFirst;
        }
        Ok(query)
    }

    fn read_options(
        &mut self,
        args: Args<'a>,
        form: Form,
        source: Option<ZsetRef<'_>>,
    ) -> Result<(), CommandError> {
        let mut words = Words {
            args,
            at: form.options,
        };
        let mut given = Given::default();
        while words.at < args.len() {
            let known = self.read_common(&mut words)?
                || match form.origin {
                    Origin::Option => {
                        self.read_area(&mut words, &mut given, source)?
                            || form.storing == Storing::Always && self.read_what(&mut words)
                    }
                    _ => form.storing == Storing::OnDemand && self.read_where(&mut words),
                };
            if !known {
                return Err(CommandError::Syntax);
            }
        }
        if self.destination.is_some() && (self.with_distance || self.with_hash || self.with_point) {
            let text = if form.storing == Storing::Always {
                "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            } else {
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            };
            return Err(CommandError::Static(text));
        }
        if form.origin == Origin::Option {
            let one_of = |names| {
                let before = format!("ERR exactly one of {names} can be specified for ");
                Err(CommandError::quoting(&before, &args[0], ""))
            };
            if !given.member && !given.place {
                return one_of("FROMMEMBER or FROMLONLAT");
            }
            if !given.radius && !given.rectangle {
                return one_of("BYRADIUS and BYBOX");
            }
        }
        if self.any && self.count.is_none() {
            return Err(ANY_WITHOUT_COUNT);
        }
        Ok(())
    }

    /// Whether the next option is one of those all commands have.
    fn read_common(&mut self, words: &mut Words<'a>) -> Result<bool, CommandError> {
        if words.flag(b"WITHDIST") {
            self.with_distance = true;
        } else if words.flag(b"WITHHASH") {
            self.with_hash = true;
        } else if words.flag(b"WITHCOORD") {
            self.with_point = true;
        } else if words.flag(b"ANY") {
            self.any = true;
        } else if words.flag(b"ASC") {
            self.order = Order::NearestFirst;
        } else if words.flag(b"DESC") {
            self.order = Order::FarthestFirst;
        } else if let Some(values) = words.option(b"COUNT", 1) {
            let count = usize::try_from(integer(&values[0])?).ok();
            let count = count.filter(|count| *count > 0);
            let none = CommandError::Static("ERR COUNT must be > 0");
            self.count = Some(count.ok_or(none)?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether the next option is one of GEORADIUS for storing.
    fn read_where(&mut self, words: &mut Words<'a>) -> bool {
        for (name, distance) in [(&b"STORE"[..], false), (b"STOREDIST", true)] {
            if let Some(values) = words.option(name, 1) {
                self.destination = values.get(0);
                self.store_distance = distance;
                return true;
            }
        }
        false
    }

    /// Whether the next option is the one of GEOSEARCHSTORE.
    fn read_what(&mut self, words: &mut Words<'a>) -> bool {
        let found = words.flag(b"STOREDIST");
        self.store_distance |= found;
        found
    }

    /// Whether the next option is one of GEOSEARCH for the area.
    fn read_area(
        &mut self,
        words: &mut Words<'a>,
        given: &mut Given,
        source: Option<ZsetRef<'_>>,
    ) -> Result<bool, CommandError> {
        if !given.place
            && let Some(values) = words.option(b"FROMMEMBER", 1)
        {
            given.member = true;
            if source.is_some() {
                self.start_at_member(source, &values[0])?;
            }
        } else if !given.member
            && let Some(values) = words.option(b"FROMLONLAT", 2)
        {
            given.place = true;
            self.center = Some(place(&values[0], &values[1])?);
        } else if !given.rectangle
            && let Some(values) = words.option(b"BYRADIUS", 2)
        {
            given.radius = true;
            self.circle(&values[0], &values[1])?;
        } else if !given.radius
            && let Some(values) = words.option(b"BYBOX", 3)
        {
            given.rectangle = true;
            self.rectangle(&values[0], &values[1], &values[2])?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn start_at_member(
        &mut self,
        source: Option<ZsetRef<'_>>,
        member: &[u8],
    ) -> Result<(), CommandError> {
        self.center = Some(super::point_of(source, member).ok_or(NO_MEMBER)?);
        Ok(())
    }

    fn circle(&mut self, radius: &[u8], word: &[u8]) -> Result<(), CommandError> {
        let radius = number(radius).ok_or(CommandError::Static("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(CommandError::Static("ERR radius cannot be negative"));
        }
        self.unit = unit(word)?;
        self.shape = Shape::Circle {
            radius: radius * self.unit,
        };
        Ok(())
    }

    fn rectangle(&mut self, width: &[u8], height: &[u8], word: &[u8]) -> Result<(), CommandError> {
        let width = number(width).ok_or(CommandError::Static("ERR need numeric width"))?;
        let height = number(height).ok_or(CommandError::Static("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::Static(
                "ERR height or width cannot be negative",
            ));
        }
        self.unit = unit(word)?;
        self.shape = Shape::Box {
            width: width * self.unit,
            height: height * self.unit,
        };
        Ok(())
    }

    /// What is searched; nothing only if there is nothing to search.
    pub fn area(&self) -> Option<Area> {
        let shape = self.shape;
        self.center.map(|center| Area { center, shape })
    }

    /// How many places are wanted.
    pub fn count(&self) -> usize {
        self.count.unwrap_or(usize::MAX)
    }

    /// Whether the first `found` places will do.
    pub fn is_enough(&self, found: usize) -> bool {
        self.any && found >= self.count()
    }

    /// Metres in the unit of the query.
    pub fn in_unit(&self, metres: f64) -> f64 {
        metres / self.unit
    }

    /// Whether places are wanted in an order.
    pub fn has_order(&self) -> bool {
        self.order != Order::Any
    }

    /// Which of two distances comes first.
    pub fn compare(&self, one: f64, other: f64) -> Ordering {
        match self.order {
            Order::FarthestFirst => other.total_cmp(&one),
            _ => one.total_cmp(&other),
        }
    }

    /// What a place is stored with.
    pub fn stored_score(&self, score: f64, distance: f64) -> f64 {
        match self.store_distance {
            true => distance,
            false => score,
        }
    }

    /// The places that were asked for, in the order asked for; nothing if more than
    /// `looks` would have to be looked at.
    pub fn search<'z>(
        &self,
        zset: ZsetRef<'z>,
        looks: usize,
    ) -> Result<Option<Vec<Found<'z>>>, OutOfMemory> {
        let mut found = Vec::new();
        let Some(area) = self.area() else {
            return Ok(Some(found));
        };
        let mut looked = 0;
        for range in area.ranges() {
            let ranks = ranks(zset, range);
            if !self.any && ranks.len() > looks - looked {
                return Ok(None);
            }
            for (member, score) in zset.range(ranks, false) {
                if self.is_enough(found.len()) {
                    return Ok(Some(self.arranged(found)));
                }
                if looked == looks {
                    return Ok(None);
                }
                looked += 1;
                let point = Point::decode(score);
                if let Some(distance) = area.distance_within(point) {
                    found.try_reserve(1)?;
                    found.push(Found {
                        member,
                        score,
                        point,
                        distance: self.in_unit(distance),
                    });
                }
            }
        }
        Ok(Some(self.arranged(found)))
    }

    /// As many as wanted, in order. Of equal distances the one found first comes
    /// first, if all are wanted; else it is the sort that decides, as in Redis.
    fn arranged<'z>(&self, mut found: Vec<Found<'z>>) -> Vec<Found<'z>> {
        let compare = |a: &Found<'_>, b: &Found<'_>| self.compare(a.distance, b.distance);
        let count = self.count().min(found.len());
        match self.order {
            Order::Any => {}
            _ if count == found.len() => found.sort_by(compare),
            _ => partial_sort(&mut found, count, compare),
        }
        found.truncate(count);
        found
    }

    /// What is to be stored of the places found.
    pub fn result(&self, found: &[Found<'_>], limits: &ZsetLimits) -> Result<Zset, OutOfMemory> {
        let mut zset = Zset::new();
        for place in found {
            let score = self.stored_score(place.score, place.distance);
            place
                .member
                .with_bytes(|member| zset.set(member, score, limits))?;
        }
        Ok(zset)
    }
}

/// The ranks of the points with these numbers.
pub fn ranks(zset: ZsetRef<'_>, numbers: Range<u64>) -> Range<usize> {
    let [min, max] = [numbers.start, numbers.end].map(|bits| Cut::BelowScore(bits as f64));
    zset.between(min, max, false)
}
