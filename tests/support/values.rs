//! Arguments worth sending: few keys, so that commands meet; values and
//! numbers at the edges.

use super::payloads;
use super::rng::Rng;
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys. Some share a hash tag, some only look as if they did.
pub const KEYS: &[&[u8]] = &[
    b"a",
    b"b",
    b"c",
    b"key:1",
    b"key:2",
    b"{t}1",
    b"{t}2",
    b"x{t}y",
    b"{}a",
    b"{}b",
    b"a{b",
    b"",
    b"\x00\xff\r\n",
    b"a rather long key, longer than any small buffer for names: 0123456789",
];

/// Commands that mostly get keys of their own, so that their values are not
/// forever overwritten by those of other types.
const FAVOURITES: &[(&[&str], &[&[u8]])] = &[
    (
        &[
            "lpush",
            "rpush",
            "lpushx",
            "rpushx",
            "lpop",
            "rpop",
            "llen",
            "lindex",
            "lset",
            "lrange",
            "ltrim",
            "linsert",
            "lpos",
            "lrem",
            "lmove",
            "rpoplpush",
            "lmpop",
        ],
        &[b"list:1", b"list:2", b"list:3", b"{t}list"],
    ),
    (&["geo"], &[b"geo:1", b"geo:2", b"{t}geo"]),
    (&["z"], &[b"zset:1", b"zset:2", b"zset:3", b"{t}zset"]),
    (
        &[
            "sadd",
            "srem",
            "scard",
            "sismember",
            "smismember",
            "smembers",
            "sscan",
            "spop",
            "srandmember",
            "smove",
            "sinter",
            "sintercard",
            "sinterstore",
            "sunion",
            "sunionstore",
            "sdiff",
            "sdiffstore",
        ],
        &[b"set:1", b"set:2", b"set:3", b"{t}set"],
    ),
    (&["h"], &[b"hash:1", b"hash:2", b"hash:3", b"{t}hash"]),
    (&["x"], &[b"stream:1", b"stream:2", b"{t}stream"]),
];

/// Whole families by what their names begin with; else a command by its name.
const FAMILIES: &[&str] = &["geo", "z", "h", "x"];

const VALUES: &[&[u8]] = &[
    b"",
    b"x",
    b"hello",
    b"hello world",
    b"HELLO",
    b"\x00",
    b"\r\n",
    b"\xff\xfe\x00binary",
    b"0",
    b"1",
    b"-1",
    b"10",
    b"3.14",
    b"ohmytext",
    b"mynewtext",
    b"$5\r\nhello\r\n",
];

/// Numbers as commands read them, and texts that are almost numbers. None of
/// them makes SETRANGE or SETBIT allocate more than a few kilobytes.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "5",
    "7",
    "10",
    "-2",
    "-5",
    "-100",
    "100",
    "255",
    "1000",
    "4294967296",
    "-4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "007",
    "-0",
    "+1",
    " 1",
    "1 ",
    "",
    "abc",
    "0x10",
    "1.0",
    "1e3",
    "inf",
    "nan",
    "1\u{0}",
    "9223372036854775806",
    "-9223372036854775807",
    "-2147483649",
    "0x7fffffffffffffff",
    "0x7FFFFFFFFFFFFF",
];

const FLOATS: &[&str] = &[
    "0.1",
    "-0.5",
    "1.5",
    "3.0e3",
    "1e-7",
    "0.30000000000000004",
    "3.14159265358979",
    "1e17",
    "-1e17",
    "123456789.123456789",
    "5.0e-10",
    "inf",
    "-inf",
    "nan",
    "1.5x",
    ".5",
    "5.",
    "0x1.8p1",
    "-0x.8",
    "0x1p-1074",
    "5e-324",
    "2.2250738585072011e-308",
    "1e-400",
    "-1e-5000",
    "1e5000",
    "1.7976931348623157e308",
];

/// Deadlines keep this far from each other, so that two servers which run a
/// command some milliseconds apart still agree on which comes first.
const TIME_STEP_S: i64 = 1000;

/// Sorted sets whose scores are all 0: what lies between two members is only
/// defined for those. No other commands get them.
pub const LEXICAL_KEYS: &[&[u8]] = &[b"lex:1", b"lex:2"];

/// Fills placeholders by name.
pub struct Values {
    /// The request at hand has such a key.
    lexical: bool,
    rng: Rng,
    /// Seconds since 1970 when this was made.
    epoch_s: i64,
    /// How many relative times were given out; none is given out twice.
    times: i64,
    /// Milliseconds of the last id that an entry of a stream was to have.
    entry_ms: u64,
}

impl Values {
    pub fn new(rng: Rng) -> Self {
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("the clock is after 1970");
        let epoch_s = i64::try_from(epoch.as_secs()).expect("the clock is before the year 292e9");
        Self {
            lexical: false,
            rng,
            epoch_s,
            times: 0,
            entry_ms: 0,
        }
    }

    /// Something for the placeholder `name` of `command`.
    pub fn fill(&mut self, command: &str, name: &str) -> Vec<u8> {
        let name = name.to_ascii_lowercase();
        let is_key = name.starts_with("key")
            || name.ends_with("key")
            || ["source", "destination", "dst", "src"].contains(&name.as_str());
        match name.as_str() {
            "seconds" | "milliseconds" | "unix-time-seconds" | "unix-time-milliseconds" => {
                self.time(&name)
            }
            "increment" if command.ends_with("float") => self.float(),
            "id" if command == "xadd" => self.new_id(),
            "last-id" if command == "xsetid" => (self.entry_ms + 1).to_string().into_bytes(),
            "id" | "max-deleted-id" if command.starts_with('x') => self.known_id(),
            "start" | "end" if command.starts_with('x') => self.bound_of_ids(),
            "threshold" if self.rng.one_in(2) => self.known_id(),
            "score" if self.lexical => b"0".to_vec(),
            "score" | "weight" | "increment" if command.starts_with('z') => self.score(),
            "min" | "max" | "start" | "stop" if self.lexical => {
                self.one_of(&["-", "+", "[a", "(b", "[c", "(1", "[", "(", "a"])
            }
            "min" | "max" if command.ends_with("score") || command == "zcount" => {
                self.one_of(&["-inf", "+inf", "(1", "1", "2.5", "(-3", "10", "(x"])
            }
            "cursor" if !self.rng.one_in(3) => b"0".to_vec(),
            "longitude" => self.coordinate(200_000),
            "latitude" => self.coordinate(90_000),
            "radius" | "width" | "height" => self.extent(),
            "member" | "member1" | "member2" if command.starts_with("geo") => {
                self.one_of(&["p", "q", "r", "s", "17", "", "a longer name of a place"])
            }
            "value" if command == "setbit" => self.one_of(&["0", "1", "1", "1", "2"]),
            "value" if command == "bitfield" => self.number(),
            "subcommand" if command == "pfdebug" => {
                self.one_of(&["GETREG", "DECODE", "ENCODING", "todense", "x"])
            }
            "encoding" => self.one_of(&["u1", "i1", "u7", "i8", "u63", "i64", "i33", "u64"]),
            "increment" | "decrement" | "offset" | "start" | "end" | "stop" | "index" | "count"
            | "min-match-len" | "cursor" | "bit" | "min" | "max" | "len" | "maxlen" | "limit"
            | "threshold" | "num-matches" | "entries-added" | "frequency" => self.number(),
            "numkeys" => self
                .rng
                .pick(&["1", "2", "2", "3", "0", "-1", "x"])
                .as_bytes()
                .to_vec(),
            "pattern" => self
                .rng
                .pick(&["*", "a*", "?", "[ab]", "key:*", "\\*", "["])
                .as_bytes()
                .to_vec(),
            "index1" | "index2" | "db" | "destination-db" => self
                .rng
                .pick(&["0", "1", "2", "15", "16", "-1", "x"])
                .as_bytes()
                .to_vec(),
            // Not the smallest number, which Redis 7.2 refuses and 7.0 does not.
            "rank" => self.one_of(&["1", "2", "-1", "-2", "0", "9223372036854775807", "x"]),
            // Few, so that they are found again.
            "member" | "member1" | "member2" | "field" if !self.rng.one_in(3) => self.one_of(&[
                "a",
                "b",
                "c",
                "d",
                "1",
                "17",
                "-300",
                "a member of some length",
            ]),
            "element" | "pivot" if !self.rng.one_in(3) => self.one_of(&["a", "b", "1", "-300"]),
            _ if is_key => self.key(command),
            _ if command.starts_with('x') => self.of_group(&name),
            "ttl" | "serialized-value" => self.of_restore(&name),
            _ => self.value(),
        }
    }

    /// Something for a placeholder of RESTORE.
    fn of_restore(&mut self, name: &str) -> Vec<u8> {
        match name {
            "serialized-value" => payloads::any(&mut self.rng),
            _ if self.rng.one_in(3) => self.time("milliseconds"),
            _ if self.rng.one_in(3) => self.time("unix-time-milliseconds"),
            _ => b"0".to_vec(),
        }
    }

    /// Something for a placeholder of a command on consumer groups.
    fn of_group(&mut self, name: &str) -> Vec<u8> {
        match name {
            "group" => self.one_of(&["g", "g", "g", "h", ""]),
            "consumer" => self.one_of(&["c", "d", ""]),
            "min-idle-time" => self.one_of(&["0", "-1", "100000000", "x"]),
            "entries-read" => self.number(),
            _ => self.value(),
        }
    }

    fn key(&mut self, command: &str) -> Vec<u8> {
        self.lexical = match command {
            "zadd" | "zrem" | "zrange" => self.rng.one_in(4),
            _ => command.ends_with("lex") || command == "zlexcount",
        };
        if self.lexical {
            return self.rng.pick(LEXICAL_KEYS).to_vec();
        }
        let family = FAMILIES.iter().find(|begin| command.starts_with(**begin));
        let name = family.unwrap_or(&command);
        let own = FAVOURITES.iter().find(|(names, _)| names.contains(name));
        match own {
            Some((_, keys)) if !self.rng.one_in(8) => self.rng.pick(keys).to_vec(),
            None if self.rng.one_in(10) => {
                let (_, keys) = self.rng.pick(FAVOURITES);
                self.rng.pick(keys).to_vec()
            }
            _ => self.rng.pick(KEYS).to_vec(),
        }
    }

    /// An id that is greater than those before, mostly.
    fn new_id(&mut self) -> Vec<u8> {
        if self.rng.one_in(8) {
            return self.known_id();
        }
        self.entry_ms += self.rng.below(3) as u64;
        let seq = self.rng.pick(&["-*", "-*", "-*", "", "-1", "-7", "-12"]);
        format!("{}{seq}", self.entry_ms).into_bytes()
    }

    /// An id that an entry may have.
    fn known_id(&mut self) -> Vec<u8> {
        if self.rng.one_in(10) {
            return self.one_of(&["0", "0-1", "-", "+", "x", "1-x", "", " 5", "007-01", "(3"]);
        }
        let ms = self.entry_ms.saturating_sub(self.rng.below(40) as u64);
        let seq = self
            .rng
            .pick(&["", "-0", "-0", "-1", "-1", "-2", "-7", "-8"]);
        format!("{ms}{seq}").into_bytes()
    }

    /// Where a range of ids begins or ends.
    fn bound_of_ids(&mut self) -> Vec<u8> {
        match self.rng.below(6) {
            0 => self.one_of(&["-", "+"]),
            1 => [b"(".as_slice(), &self.known_id()].concat(),
            _ => self.known_id(),
        }
    }

    /// A score that is one, mostly.
    fn score(&mut self) -> Vec<u8> {
        match self.rng.below(12) {
            0 => self.float(),
            1 => self.one_of(&["inf", "-inf", "+inf", "nan", "1e400", "0x10", ""]),
            2..5 => self.one_of(&["0.1", "-0.5", "2.5", "1e17", "-3.75", "1e-7"]),
            _ => self.one_of(&["0", "1", "1", "2", "3", "10", "-1", "100"]),
        }
    }

    fn one_of(&mut self, choices: &[&str]) -> Vec<u8> {
        self.rng.pick(choices).as_bytes().to_vec()
    }

    /// Degrees, up to so many thousandths; no two places are the same.
    fn coordinate(&mut self, limit: usize) -> Vec<u8> {
        if self.rng.one_in(30) {
            return self.float();
        }
        let thousandths = self.rng.below(2 * limit) as f64 - limit as f64;
        format!("{}", thousandths / 1000.0).into_bytes()
    }

    /// From a stone's throw to once around the earth, in whatever unit.
    fn extent(&mut self) -> Vec<u8> {
        if self.rng.one_in(10) {
            return self.float();
        }
        let digits = self.rng.below(9) as i32;
        let leading = 1 + self.rng.below(99);
        format!("{}", leading as f64 * 10f64.powi(digits - 2)).into_bytes()
    }

    /// Any argument at all, to put where it does not belong.
    pub fn anything(&mut self) -> Vec<u8> {
        match self.rng.below(5) {
            0 => self.rng.pick(KEYS).to_vec(),
            1 => self.value(),
            2 => self.float(),
            3 => self
                .rng
                .pick(&["NX", "EX", "GET", "KEEPTTL", "*", "COUNT", "("])
                .as_bytes()
                .to_vec(),
            _ => self.number(),
        }
    }

    fn value(&mut self) -> Vec<u8> {
        match self.rng.below(8) {
            0 => self.number(),
            1 => self.float(),
            2 => {
                let length = self.rng.below(300);
                self.rng.bytes(length)
            }
            3 => vec![b'v'; self.rng.below(100)],
            _ => self.rng.pick(VALUES).to_vec(),
        }
    }

    fn number(&mut self) -> Vec<u8> {
        // Mostly small ones, or nearly every command would only be refused.
        let choices = if self.rng.one_in(3) {
            NUMBERS
        } else {
            &NUMBERS[..14]
        };
        self.rng.pick(choices).as_bytes().to_vec()
    }

    fn float(&mut self) -> Vec<u8> {
        if self.rng.one_in(3) {
            return self.number();
        }
        self.rng.pick(FLOATS).as_bytes().to_vec()
    }

    /// A time that is long past, far ahead, or impossible. What lies ahead is
    /// a multiple of the step plus a part that depends on the unit, so that no
    /// two deadlines are close unless they are equal on both servers.
    fn time(&mut self, unit: &str) -> Vec<u8> {
        if self.rng.one_in(8) {
            return self.number_not_near_now();
        }
        self.times += 1;
        let relative = (1 + self.times * 7919 % 100_000) * TIME_STEP_S;
        let absolute = self.epoch_s + (1 + self.rng.below(100_000) as i64) * TIME_STEP_S;
        let number = match unit {
            "seconds" => relative + TIME_STEP_S / 2,
            "milliseconds" => (relative + TIME_STEP_S / 4) * 1000,
            "unix-time-seconds" => absolute + 3 * TIME_STEP_S / 4,
            _ => absolute * 1000,
        };
        number.to_string().into_bytes()
    }

    /// A number that is no deadline within the next minutes, in any unit.
    fn number_not_near_now(&mut self) -> Vec<u8> {
        let choices = [
            "0",
            "-1",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775",
            "-9223372036854775",
            "9223372036854775808",
            "abc",
            "",
            "1.5",
            "007",
        ];
        self.rng.pick(&choices).as_bytes().to_vec()
    }
}
