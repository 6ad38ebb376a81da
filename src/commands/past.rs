//! How commands came to be what they are: since which version of Redis they take
//! what, and what has replaced them. Only those that have changed, or that are
//! deprecated, stand here; COMMAND DOCS tells it.

/// What COMMAND DOCS says of a command's past.
pub struct Past {
    /// Versions, each with what it changed, from the oldest on.
    pub history: &'static [(&'static str, &'static str)],
    pub deprecated: Option<Deprecated>,
    /// Not for applications.
    pub is_system: bool,
}

pub struct Deprecated {
    pub since: &'static str,
    /// What to use instead.
    pub replaced_by: &'static str,
}

/// The past of a command by its full name, if it has any.
pub fn past_of(name: &str) -> Past {
    let of = |list: &'static [(&str, Changes)]| {
        let found = list.iter().find(|(command, _)| *command == name);
        found.map_or(NO_CHANGES, |(_, changes)| changes)
    };
    let deprecated = DEPRECATED.iter().find(|(command, _, _)| *command == name);
    Past {
        history: of(HISTORY),
        deprecated: deprecated.map(|(_, since, replaced_by)| Deprecated { since, replaced_by }),
        is_system: SYSTEM.contains(&name),
    }
}

type Changes = &'static [(&'static str, &'static str)];

const NO_CHANGES: Changes = &[];

const TIMEOUT: Changes = &[("6.0.0", "The timeout may have a fraction.")];
const CONDITIONS: Changes = &[("7.0.0", "Takes `NX`, `XX`, `GT` and `LT`.")];
const MANY_ELEMENTS: Changes = &[("2.4.0", "Takes several elements.")];
const MANY_ELEMENTS_LATER: Changes = &[("4.0.0", "Takes several elements.")];
const MANY_MEMBERS: Changes = &[("2.4.0", "Takes several members.")];
const COUNT: Changes = &[("6.2.0", "Takes a count.")];
const UNITS: Changes = &[("7.0.0", "Units may be written in upper case.")];
const NO_KEY: Changes = &[("2.8.0", "Replies -2 for a key that does not exist.")];
const FLUSH_MODES: Changes = &[("4.0.0", "Takes `ASYNC`."), ("6.2.0", "Takes `SYNC`.")];
const BITS: Changes = &[("7.0.0", "Takes `BYTE` and `BIT`.")];

static HISTORY: &[(&str, Changes)] = &[
    ("auth", &[("6.0.0", "Takes a user name.")]),
    ("bitcount", BITS),
    ("bitpos", BITS),
    ("blpop", TIMEOUT),
    ("brpop", TIMEOUT),
    ("brpoplpush", TIMEOUT),
    ("bzpopmax", TIMEOUT),
    ("bzpopmin", TIMEOUT),
    (
        "client|kill",
        &[
            ("2.8.12", "Takes filters."),
            ("2.8.12", "Has the filter `ID`."),
            ("3.2.0", "Has the `TYPE` `master`."),
            ("5.0.0", "Calls the `TYPE` `slave` `replica`, too."),
            ("6.2.0", "Has the filter `LADDR`."),
        ],
    ),
    (
        "client|list",
        &[
            ("2.8.12", "Shows `id`."),
            ("5.0.0", "Takes `TYPE`."),
            ("6.0.0", "Shows `user`."),
            (
                "6.2.0",
                "Takes `ID`; shows `argv-mem`, `tot-mem`, `laddr` and `redir`.",
            ),
            ("7.0.0", "Shows `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "Shows `ssub`."),
        ],
    ),
    ("client|pause", &[("6.2.0", "Takes `WRITE` and `ALL`.")]),
    (
        "command|info",
        &[("7.0.0", "Tells of all commands if none is named.")],
    ),
    ("config|get", &[("7.0.0", "Takes several patterns.")]),
    ("config|set", &[("7.0.0", "Sets several parameters.")]),
    ("exists", &[("3.0.3", "Takes several keys.")]),
    ("expire", CONDITIONS),
    ("expireat", CONDITIONS),
    ("flushall", FLUSH_MODES),
    ("flushdb", FLUSH_MODES),
    ("geoadd", &[("6.2.0", "Takes `CH`, `NX` and `XX`.")]),
    (
        "georadius",
        &[
            ("6.2.0", "`COUNT` takes `ANY`."),
            ("7.0.0", "Units may be written in upper case."),
        ],
    ),
    ("georadius_ro", &[("6.2.0", "`COUNT` takes `ANY`.")]),
    ("georadiusbymember", UNITS),
    ("geosearch", UNITS),
    ("geosearchstore", UNITS),
    ("hdel", &[("2.4.0", "Takes several fields.")]),
    (
        "hello",
        &[("6.2.0", "Without a version, only tells of the connection.")],
    ),
    ("hset", &[("4.0.0", "Sets several fields.")]),
    ("info", &[("7.0.0", "Takes several sections.")]),
    ("lpop", COUNT),
    ("lpush", MANY_ELEMENTS),
    ("lpushx", MANY_ELEMENTS_LATER),
    ("pexpire", CONDITIONS),
    ("pexpireat", CONDITIONS),
    ("pttl", NO_KEY),
    (
        "renamenx",
        &[("3.2.0", "A key may be given the name that it has.")],
    ),
    ("rpop", COUNT),
    ("rpush", MANY_ELEMENTS),
    ("rpushx", MANY_ELEMENTS_LATER),
    ("sadd", MANY_MEMBERS),
    ("scan", &[("6.0.0", "Takes `TYPE`.")]),
    (
        "set",
        &[
            ("2.6.12", "Takes `EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "Takes `KEEPTTL`."),
            ("6.2.0", "Takes `GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "Takes `NX` and `GET` together."),
        ],
    ),
    (
        "shutdown",
        &[("7.0.0", "Takes `NOW`, `FORCE` and `ABORT`.")],
    ),
    (
        "slowlog|get",
        &[("4.0.0", "Shows the client's address and name.")],
    ),
    ("spop", &[("3.2.0", "Takes a count.")]),
    ("srandmember", &[("2.6.0", "Takes a count.")]),
    ("srem", MANY_MEMBERS),
    ("ttl", NO_KEY),
    (
        "zadd",
        &[
            ("2.4.0", "Takes several members."),
            ("3.0.2", "Takes `XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "Takes `GT` and `LT`."),
        ],
    ),
    (
        "zrange",
        &[("6.2.0", "Takes `REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
    ),
    ("zrangebyscore", &[("2.0.0", "Takes `WITHSCORES`.")]),
    ("zrem", MANY_MEMBERS),
    (
        "zrevrangebyscore",
        &[("2.1.6", "`min` and `max` may be exclusive.")],
    ),
];

/// Commands, since when they are deprecated, and what replaces them.
static DEPRECATED: &[(&str, &str, &str)] = &[
    (
        "brpoplpush",
        "6.2.0",
        "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
    ),
    (
        "georadius",
        "6.2.0",
        "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
    ),
    (
        "georadius_ro",
        "6.2.0",
        "`GEOSEARCH` with the `BYRADIUS` argument",
    ),
    (
        "georadiusbymember",
        "6.2.0",
        "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
    ),
    (
        "georadiusbymember_ro",
        "6.2.0",
        "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
    ),
    ("getset", "6.2.0", "`SET` with the `!GET` argument"),
    ("hmset", "4.0.0", "`HSET` with multiple field-value pairs"),
    (
        "rpoplpush",
        "6.2.0",
        "`LMOVE` with the `RIGHT` and `LEFT` arguments",
    ),
    ("substr", "2.0.0", "`GETRANGE`"),
    ("zrangebylex", "6.2.0", "`ZRANGE` with the `BYLEX` argument"),
    (
        "zrangebyscore",
        "6.2.0",
        "`ZRANGE` with the `BYSCORE` argument",
    ),
    ("zrevrange", "6.2.0", "`ZRANGE` with the `REV` argument"),
    (
        "zrevrangebylex",
        "6.2.0",
        "`ZRANGE` with the `REV` and `BYLEX` arguments",
    ),
    (
        "zrevrangebyscore",
        "6.2.0",
        "`ZRANGE` with the `REV` and `BYSCORE` arguments",
    ),
];

/// Not for applications.
static SYSTEM: &[&str] = &["debug", "pfdebug", "pfselftest"];
