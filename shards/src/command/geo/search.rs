//! Commands that look for places in an area.

use super::job::Job;
use super::query::{Form, Found, Origin, Query, Storing};
use super::{reply_distance, reply_point};
use crate::command::spec::{
    Access, Arity, Begin, Deprecated, Find, Group, InSlices, KeySpec, PartArgs, flags,
};
use crate::command::stored::{Made, Stored};
use crate::command::zsets::inputs::{hand_on, store_read};
use crate::command::zsets::{limits, reply_member};
use crate::command::{Args, Context, Decision, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::value::Zset;

const SEARCH_COMPLEXITY: &str =
    "O(N+log(M)) with N the number of places in the cells around the area and M that of all";

pub static COMMANDS: &[Row] = &[
    Row {
        name: "georadius",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        summary: "Find the places within a distance of a point; store them, if asked to.",
        since: "3.2.0",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(6),
        keys: RADIUS_KEYS,
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        part_args: PartArgs::All,
        history: &[
            ("6.2.0", "`COUNT` takes `ANY`."),
            ("7.0.0", "Units may be written in upper case."),
        ],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        }),
        run: Run::ReadThenWrite {
            whole: georadius,
            read: georadius_read,
            decide: georadius_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "georadius_ro",
        syntax: "key longitude latitude radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        summary: "Find the places within a distance of a point.",
        since: "3.2.10",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(6),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        history: &[("6.2.0", "`COUNT` takes `ANY`.")],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
        }),
        run: Run::OneShard(georadius_ro),
        ..ROW
    },
    Row {
        name: "georadiusbymember",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] [STORE key | STOREDIST key]",
        summary: "Find the places within a distance of a member; store them, if asked to.",
        since: "3.2.0",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(5),
        keys: RADIUS_BY_MEMBER_KEYS,
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        part_args: PartArgs::All,
        history: &[("7.0.0", "Units may be written in upper case.")],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        run: Run::ReadThenWrite {
            whole: georadiusbymember,
            read: georadiusbymember_read,
            decide: georadiusbymember_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "georadiusbymember_ro",
        syntax: "key member radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
        summary: "Find the places within a distance of a member.",
        since: "3.2.10",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(5),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        }),
        run: Run::OneShard(georadiusbymember_ro),
        ..ROW
    },
    Row {
        name: "geosearch",
        syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
        summary: "Find the places in a circle or a box.",
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(7),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        history: &[("7.0.0", "Units may be written in upper case.")],
        run: Run::OneShard(geosearch),
        ..ROW
    },
    Row {
        name: "geosearchstore",
        syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> <BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>> [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
        summary: "Store the places in a circle or a box in another key.",
        since: "6.2.0",
        complexity: SEARCH_COMPLEXITY,
        group: Group::Geo,
        arity: Arity::AtLeast(8),
        keys: &[
            KeySpec::first(&["OW", "update"]),
            KeySpec {
                begin: Begin::Index(2),
                ..KeySpec::first(&["RO", "access"])
            },
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        slices: InSlices::IfMuch,
        part_args: PartArgs::All,
        history: &[("7.0.0", "Units may be written in upper case.")],
        run: Run::ReadThenWrite {
            whole: geosearchstore,
            read: geosearchstore_read,
            decide: geosearchstore_decide,
            skip: 1,
        },
        ..ROW
    },
];

const RADIUS_KEYS: &[KeySpec] = &[
    KeySpec::first(&["RO", "access"]),
    stored_by("STORE", 6),
    stored_by("STOREDIST", 6),
];
const RADIUS_BY_MEMBER_KEYS: &[KeySpec] = &[
    KeySpec::first(&["RO", "access"]),
    stored_by("STORE", 5),
    stored_by("STOREDIST", 5),
];

/// The key behind an option.
const fn stored_by(word: &'static str, from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword { word, from },
        find: Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        },
        access: Access(&["OW", "update"]),
        notes: "",
        vary: None,
    }
}

const GEOSEARCH: Form = Form {
    origin: Origin::Option,
    source: 1,
    options: 2,
    storing: Storing::Never,
};
const GEOSEARCHSTORE: Form = Form {
    origin: Origin::Option,
    source: 2,
    options: 3,
    storing: Storing::Always,
};
const GEORADIUS: Form = Form {
    origin: Origin::Place,
    source: 1,
    options: 6,
    storing: Storing::OnDemand,
};
const GEORADIUS_RO: Form = Form {
    storing: Storing::Never,
    ..GEORADIUS
};
const GEORADIUSBYMEMBER: Form = Form {
    origin: Origin::Member,
    source: 1,
    options: 5,
    storing: Storing::OnDemand,
};
const GEORADIUSBYMEMBER_RO: Form = Form {
    storing: Storing::Never,
    ..GEORADIUSBYMEMBER
};

fn geosearch(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEOSEARCH)
}

fn geosearchstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEOSEARCHSTORE)
}

fn geosearchstore_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read(ctx, args, GEOSEARCHSTORE)
}

fn geosearchstore_decide(decision: &mut Decision<'_>) -> Outcome {
    decide(decision, GEOSEARCHSTORE)
}

fn georadius(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEORADIUS)
}

fn georadius_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read(ctx, args, GEORADIUS)
}

fn georadius_decide(decision: &mut Decision<'_>) -> Outcome {
    decide(decision, GEORADIUS)
}

fn georadius_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEORADIUS_RO)
}

fn georadiusbymember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEORADIUSBYMEMBER)
}

fn georadiusbymember_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read(ctx, args, GEORADIUSBYMEMBER)
}

fn georadiusbymember_decide(decision: &mut Decision<'_>) -> Outcome {
    decide(decision, GEORADIUSBYMEMBER)
}

fn georadiusbymember_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, GEORADIUSBYMEMBER_RO)
}

/// The event of storing what was found.
fn stored(form: Form) -> Event {
    match form.storing {
        Storing::Always => Event::GeoSearchStore,
        _ => Event::GeoRadiusStore,
    }
}

/// What a search comes to.
enum Answer {
    /// It is to be stored.
    Made(Zset),
    /// It is replied, or there is more to do.
    Said,
}

/// Searches, at once or in slices.
fn search(
    ctx: &mut Context<'_>,
    work: Option<Work>,
    args: Args<'_>,
    form: Form,
) -> Result<Answer, CommandError> {
    let (key, limits, at_once) = (&args[form.source], limits(ctx), ctx.at_once());
    let job = match work {
        Some(Work::Search(job)) => job,
        _ => {
            let source = ctx.db.read_as::<Zset>(key)?;
            let query = Query::parse(args, form, source)?;
            let found = match source {
                Some(zset) => query.search(zset, at_once)?,
                None => Some(Vec::new()),
            };
            match found {
                Some(found) if query.destination.is_some() => {
                    return Ok(Answer::Made(query.result(&found, &limits)?));
                }
                Some(found) => {
                    reply_found(&mut ctx.reply, &query, &found);
                    return Ok(Answer::Said);
                }
                None => {}
            }
            ctx.in_slices(usize::MAX, (1, 0))?;
            Box::new(Job::new(&query, ctx.db.lookup_as::<Zset>(key)?))
        }
    };
    let query = Query::parse(args, form, ctx.db.lookup_as::<Zset>(key)?)?;
    Ok(match job.go_on(ctx, (&query, key))? {
        Some(made) => Answer::Made(made),
        None => Answer::Said,
    })
}

/// A search where all keys lie on this shard.
fn whole(ctx: &mut Context<'_>, args: Args<'_>, form: Form) -> Outcome {
    let work = ctx.work();
    // What was found may already be where it was looked for.
    let destination = |args| Query::parse(args, form, None).map(|query| query.destination);
    if let Some(Work::Recording(stored)) = work {
        return stored.go_on(ctx, destination(args)?.unwrap_or_default());
    }
    match search(ctx, work, args, form)? {
        Answer::Made(made) => {
            let key = destination(args)?.unwrap_or_default();
            Stored::put_made(ctx, key, Made::Zset(made), stored(form))?.go_on(ctx, key)
        }
        Answer::Said => Ok(()),
    }
}

/// A search whose result is stored on another shard than its source. A part with
/// destinations only has nothing to look for.
fn read(ctx: &mut Context<'_>, args: Args<'_>, form: Form) -> Outcome {
    if ctx.cargo.key > 0 {
        return Ok(());
    }
    let work = ctx.work();
    match search(ctx, work, args, form)? {
        Answer::Made(made) => hand_on(ctx, made, stored(form)),
        Answer::Said => Ok(()),
    }
}

fn decide(decision: &mut Decision<'_>, form: Form) -> Outcome {
    // Whether a member is there is known where the source is.
    let query = Query::parse(decision.args, form, None)?;
    let destination = query.destination.ok_or(CommandError::Syntax)?;
    store_read(decision, destination)
}

fn reply_found(reply: &mut Reply<'_>, query: &Query<'_>, found: &[Found<'_>]) {
    reply.array(found.len());
    for place in found {
        reply_place(reply, query, place);
    }
}

pub fn reply_place(reply: &mut Reply<'_>, query: &Query<'_>, place: &Found<'_>) {
    let extras = [query.with_distance, query.with_hash, query.with_point];
    let extras = extras.iter().filter(|extra| **extra).count();
    if extras > 0 {
        reply.array(1 + extras);
    }
    reply_member(reply, place.member);
    if query.with_distance {
        reply_distance(reply, place.distance);
    }
    if query.with_hash {
        // Truncation intended, as in Redis; what is found is below 2^54.
        #[allow(clippy::cast_possible_truncation)]
        reply.integer(place.score as i64);
    }
    if query.with_point {
        reply_point(reply, place.point);
    }
}

#[cfg(test)]
mod tests {
    use super::RADIUS_KEYS;
    use crate::command::harness::{Engine, words};
    use crate::command::spec::keys_in;

    fn sicily() -> Engine {
        let mut engine = Engine::new();
        engine.talk(&[(
            "GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
            ":2",
        )]);
        engine
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn places_are_found() {
        let full = "*1|*4|$7|Catania|$7|56.4413|:3479447370796909|*2|$20|15.08726745843887329|$20|37.50266842333162032";
        let syntax = "-ERR syntax error";
        sicily().talk(&[
            (
                "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC",
                "*2|$7|Catania|$7|Palermo",
            ),
            (
                "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km DESC",
                "*2|$7|Palermo|$7|Catania",
            ),
            (
                "GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km COUNT 1 WITHHASH WITHCOORD WITHDIST",
                full,
            ),
            ("GEORADIUS g 15 37 100 km WITHHASH WITHCOORD WITHDIST", full),
            ("GEORADIUSBYMEMBER g Palermo 1 km", "*1|$7|Palermo"),
            (
                "GEOSEARCH g FROMMEMBER Catania BYBOX 10 10 mi",
                "*1|$7|Catania",
            ),
            (
                "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 100 km STOREDIST",
                ":1",
            ),
            ("ZSCORE d Catania", "$16|56.4412578701582"),
            ("GEORADIUS g 15 37 100 km STORE d", ":1"),
            ("ZSCORE d Catania", "$16|3479447370796909"),
            ("GEORADIUS g 15 37 1 km STORE d", ":0"),
            ("EXISTS d", ":0"),
            ("GEORADIUS g 15 37 1 km STORE", syntax),
            ("GEORADIUS_RO g 15 37 1 km STORE d", syntax),
        ]);
    }

    #[test]
    fn of_several_destinations_the_last_counts() {
        let mut engine = sicily();
        for (options, destination) in [
            ("STORE d STORE e", "e"),
            ("STOREDIST STORE STORE e", "e"),
            ("STORE STOREDIST", "STOREDIST"),
            ("STORE STORE", "STORE"),
            ("STOREDIST d STORE e", "e"),
            ("STORE d STOREDIST STORE", "STORE"),
        ] {
            engine.talk(&[
                (&format!("GEORADIUS g 15 37 100 km {options}"), ":1"),
                ("DBSIZE", ":2"),
                (&format!("DEL {destination}"), ":1"),
            ]);
            // It is known to be a key, so that the request comes to its shard.
            let request = words(&format!("GEORADIUS g 15 37 100 km {options}"));
            let mut positions = Vec::new();
            keys_in(RADIUS_KEYS, request.args(), &mut positions).unwrap();
            let is_destination = |at: &usize| request.args()[*at] == *destination.as_bytes();
            assert!(positions.iter().any(is_destination), "{options}");
        }
    }

    #[test]
    fn what_is_stored_is_propagated_as_it_is() {
        let mut engine = sicily();
        let members = "*4|$4|ZADD|$1|d|$16|3479447370796909|$7|Catania|";
        let store = "GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 100 km";
        assert_eq!(engine.effects(store), members);
        assert_eq!(
            engine.effects(store),
            format!("*1|$5|MULTI|*2|$3|DEL|$1|d|{members}*1|$4|EXEC|")
        );
        let nothing = "GEORADIUS g 15 37 1 km STORE d";
        assert_eq!(engine.effects(nothing), "*2|$3|DEL|$1|d|");
        assert_eq!(engine.effects(nothing), "");
        assert_eq!(engine.effects("GEOADD g NX 1 2 Palermo"), "");
    }
}
