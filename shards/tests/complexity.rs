//! What requests cost, counted: every row of the table at one size and at 16 times
//! that, with keys on one core and on two, with fields of hashes that are due.
//!
//! Counted are lines and elements looked at, bytes copied and shipped
//! (`shards::counted`). What a row promises is its `complexity`; a case says how the
//! request grows with the size of what it is about.

#![cfg(debug_assertions)] // a release build counts nothing
#![allow(clippy::unwrap_used)] // a test may

#[path = "complexity/cases.rs"]
mod cases;
#[path = "complexity/large.rs"]
mod large;

use cases::Growth::{Flat, Linear, Searched};
use cases::{BESIDE, CASES, Case, KNOWN};
use shards::command::OwnedArgs;
use shards::counted::{self, Counts};
use shards::order::{Batch, Call, Client, Node, Placement};
use shards::{COMMANDS, CommandError, Row, Settings, Shard, ShardId, UnixMs, row, slot_of};

const START: UnixMs = UnixMs(1_700_000_000_000);
/// Fields that are due have been for a moment.
const DUE: i64 = START.0 + 1_000;
const LATER: UnixMs = UnixMs(DUE + 1);
const SMALL: usize = 600;
const LARGE: usize = 16 * SMALL;
/// What a request may cost whatever its size: a segment of a table that splits,
/// boxes and locks of a transaction.
const CONSTANT: u64 = 3_000;
/// What a slice may look at: a step of the default settings, and the end of what it
/// is of, or segments of a table that split: they grow alike, so several do at a time.
const SLICE: u64 = 4 * 256 + 4 * CONSTANT;
/// What may be done before there are slices: each element that it goes through counts
/// for itself, and for what is done with it; and a result begins as a listpack, which is
/// searched for each of its first members.
const AT_ONCE: u64 = 3 * 1024 + 128 * 128 / 2 + CONSTANT;
/// And what it may copy: a piece of what was found.
const SLICE_BYTES: u64 = 512 << 10;
/// Bytes that weigh as much as one element.
const BYTES: u64 = 16;

/// By so much a request of another size may go deeper: it takes another way.
const STACK_BYTES: u64 = 8192;

/// Work, in elements.
fn weight(counts: Counts) -> u64 {
    counts.lines + counts.elements + (counts.copied + counts.shipped) / BYTES
}

/// Two cores on this thread.
struct Cores {
    nodes: Vec<Node>,
    /// Both places of keys are on the second core.
    together: bool,
    /// The most that one slice took.
    slice_max: Counts,
    /// What was done at once by what may work in slices.
    at_once: Counts,
    /// The most that one core did of it when boxes had come.
    turn_max: Counts,
    /// The deepest that the stack was, in bytes.
    stack_max: u64,
    now: UnixMs,
    /// What requests are about has so many elements.
    size: usize,
    /// The last stamp.
    stamp: u64,
    reply: Vec<u8>,
}

impl Cores {
    fn new(together: bool) -> Self {
        let node = |id| {
            let shard = Shard::new(2, ShardId(id).slots(2), 7, Settings::default());
            Node::new(ShardId(id), 2, shard, 7)
        };
        Self {
            nodes: (0..2).map(node).collect(),
            together,
            slice_max: Counts::default(),
            at_once: Counts::default(),
            turn_max: Counts::default(),
            stack_max: 0,
            now: START,
            size: 0,
            stamp: 0,
            reply: Vec::new(),
        }
    }

    /// `a@1` stands for a key of core 1.
    fn key(&self, name: &str, place: &str) -> String {
        let place = if self.together {
            1
        } else {
            place.parse().unwrap()
        };
        let mut keys = (0..).map(|number| format!("{name}-{number}"));
        let owner = |key: &String| ShardId::of_slot(slot_of(key.as_bytes()), 2);
        keys.find(|key| owner(key) == ShardId(place)).unwrap()
    }

    fn words(&self, line: &str) -> Vec<Vec<u8>> {
        let ids = || {
            let ids = (1..=self.size).map(|number| number.to_string());
            ids.map(String::into_bytes).collect()
        };
        let word = |word: &str| match word.split_once('@') {
            Some(("", "ids")) => ids(),
            Some(("", "hash" | "zset" | "text")) => vec![self.payload(&word[1..])],
            Some((name, place)) => vec![self.key(name, place).into_bytes()],
            None => vec![word.into()],
        };
        line.split(' ').flat_map(word).collect()
    }

    /// A client of core 1 asks, or of the first if `far`, and everything that
    /// follows is done. What it took.
    fn ask(&mut self, far: bool, line: &str) -> u64 {
        let words = self.words(line);
        let row = row_of(&words).unwrap_or_else(|| panic!("no row for {line}"));
        assert!(row.arity.accepts(words.len()), "{line}");
        let args = OwnedArgs::new(words.iter().map(Vec::as_slice));
        let args = args.args();
        let home = usize::from(!far);
        let client = Client {
            key: 0,
            id: 1,
            place: 0,
        };
        self.reply.clear();
        counted::take();
        // What may work in slices does so.
        let call = Call {
            alone: row.may_be_heavy(),
            ..Call::of(row)
        };
        let node = &mut self.nodes[home];
        match node.place(row, args) {
            Placement::One(owner) if owner.index() == home => {
                let request = call.request(args);
                let ran = node.shard_mut().apply(self.now, &request, &mut self.reply);
                if ran == Err(CommandError::Long) {
                    node.reply_at_length(self.now, client, call, args);
                }
            }
            Placement::One(owner) => node.send(owner, client, call, args),
            Placement::Several(owners) => node.begin(self.now, client, call, row, args, owners),
        }
        let first = counted::take();
        self.stack_max = self.stack_max.max(first.stack);
        let mut sum = weight(first);
        if row.may_be_heavy() {
            self.at_once = first;
        }
        self.turn_max = Counts::default();
        while self.exchange(&mut sum) || self.go_on(&mut sum) {}
        if row.may_be_heavy() && weight(self.turn_max) > weight(self.at_once) {
            self.at_once = self.turn_max;
        }
        sum
    }

    /// What was done since this was last asked.
    fn take(&mut self) -> u64 {
        let counts = counted::take();
        self.stack_max = self.stack_max.max(counts.stack);
        weight(counts)
    }

    fn exchange(&mut self, sum: &mut u64) -> bool {
        let mut boxes: Vec<(ShardId, ShardId, Box<Batch>)> = Vec::new();
        for (from, node) in (0..).zip(&mut self.nodes) {
            self.stamp += u64::from(node.wants_stamp());
            node.outgoing(self.stamp, |to, batch| {
                boxes.push((ShardId(from), to, batch));
            });
        }
        let mut any = !boxes.is_empty();
        for (from, to, batch) in boxes {
            self.nodes[to.index()].receive(from, batch);
        }
        for node in &mut self.nodes {
            any |= node.catch_up(self.now, u64::MAX);
            let turn = counted::take();
            self.stack_max = self.stack_max.max(turn.stack);
            *sum += weight(turn);
            if weight(turn) > weight(self.turn_max) {
                self.turn_max = turn;
            }
            node.replies(|replied| self.reply.extend(replied.whole()));
        }
        *sum += self.take();
        any
    }

    fn go_on(&mut self, sum: &mut u64) -> bool {
        let mut any = false;
        for node in &mut self.nodes {
            if node.has_slices() {
                node.go_on(self.now);
                let slice = counted::take();
                self.stack_max = self.stack_max.max(slice.stack);
                *sum += weight(slice);
                if weight(slice) > weight(self.slice_max) {
                    self.slice_max = slice;
                }
                any = true;
            }
        }
        any
    }

    /// What a request is about, of `size`; so many fields of a thousand are due.
    fn fill(&mut self, size: usize, due: usize, request: &str) {
        self.size = size;
        let numbers = |word: fn(usize) -> String| (0..size).map(word).collect::<Vec<_>>().join(" ");
        let lists = [
            ("SADD s@1", numbers(|n| format!("m{n}"))),
            ("SADD t@0", numbers(|n| format!("m{n}"))),
            ("SADD tiny@0", "m1 m2".to_owned()),
            ("ZADD z@1", numbers(|n| format!("{n} m{n}"))),
            ("ZADD ztiny@0", "1 m1 2 m2".to_owned()),
            ("RPUSH l@1", numbers(|n| n.to_string())),
            ("RPUSH same@1", numbers(|n| "xy"[n % 2..=n % 2].to_owned())),
            ("RPUSH few@0", "1 2".to_owned()),
            ("RPUSH few@1", "1 2".to_owned()),
            ("HSET h@1", numbers(|n| format!("f{n} {n}"))),
            (
                "GEOADD g@1",
                numbers(|n| format!("{} {} m{n}", n % 100, n / 100 % 50)),
            ),
            ("GEOADD g@1", "-170 -80 far".to_owned()),
            ("PFADD p@1", numbers(|n| n.to_string())),
            ("PFADD p@0", numbers(|n| n.to_string())),
            ("PFADD q@1", numbers(|n| n.to_string())),
            ("SET k@1", "x".repeat(size * 64)),
            ("MSET", "a@0 1 b@0 1 a@1 1 b@1 1 n@1 1".to_owned()),
        ];
        let key = |line: &str| {
            line.split(' ')
                .nth(1)
                .is_none_or(|key| request.contains(key))
        };
        for (line, rest) in lists.iter().filter(|(line, _)| key(line)) {
            self.ask(false, &format!("{line} {rest}"));
            assert!(!self.reply.starts_with(b"-"), "{line}");
        }
        if !request.contains('@') {
            for number in 0..size {
                self.ask(true, &format!("SET key{number}@{} 1", number % 2));
            }
        }
        for number in (1..=size).filter(|_| request.contains("x@1")) {
            self.ask(false, &format!("XADD x@1 {number} field v{number}"));
        }
        if request.contains("y@1") {
            self.fill_groups(size, request);
        }
        // The first field stays.
        for number in (1..size).filter(|number| number * 7919 % 1000 < due) {
            self.ask(false, &format!("HPEXPIREAT h@1 {DUE} FIELDS 1 f{number}"));
        }
        self.now = LATER;
    }
}

fn row_of(words: &[Vec<u8>]) -> Option<&'static Row> {
    let row = row(&words[0])?;
    if row.subcommands.is_empty() {
        return Some(row);
    }
    let subcommand = String::from_utf8_lossy(&words[1]).to_lowercase();
    let full = format!("{}|{subcommand}", row.name);
    row.subcommands.iter().find(|row| row.name == full)
}

fn row_of_case(case: &Case) -> &'static Row {
    let words: Vec<Vec<u8>> = case.0.split(' ').map(Into::into).collect();
    row_of(&words).unwrap_or_else(|| panic!("no row for {}", case.0))
}

#[derive(Clone)]
struct Cost {
    work: u64,
    /// The most that one slice took.
    slice: Counts,
    /// What was done at once by what may work in slices.
    at_once: Counts,
    /// How deep the stack was.
    stack: u64,
}

/// What a case takes in all placements: keys together, asked there and from
/// another core; and apart.
fn costs(case: &Case, size: usize, due: usize) -> Vec<Cost> {
    let placements = [(true, false), (true, true), (false, true)];
    let cost = |(together, far)| {
        let mut cores = Cores::new(together);
        cores.fill(size, due, case.0);
        (cores.stack_max, cores.slice_max) = (0, Counts::default());
        let work = cores.ask(far, case.0);
        Cost {
            work,
            slice: cores.slice_max,
            at_once: cores.at_once,
            stack: cores.stack_max,
        }
    };
    placements.map(cost).to_vec()
}

/// What is wrong with a case, if anything.
fn verdict(case: &Case, due: usize) -> Option<String> {
    let (small, large) = (costs(case, SMALL, due), costs(case, LARGE, due));
    let factor = match case.1 {
        Flat => 2,
        Linear => 24,
        Searched => 48,
    };
    let mut pairs = small.iter().zip(&large);
    let grows = pairs.any(|(small, large)| large.work > factor * small.work + CONSTANT);
    // A recursion is as deep for much as for little.
    let mut pairs = small.iter().zip(&large);
    let deeper = pairs.find(|(small, large)| large.stack > small.stack + STACK_BYTES);
    // Who may do all of it may do so only where the keys lie apart.
    let usual = match case.1 {
        Flat => large[0].work,
        Linear | Searched => large[0].work.max(LARGE as u64),
    };
    let apart = large.iter().any(|cost| cost.work > 8 * usual + CONSTANT);
    let too_long = |slice: &Counts| {
        slice.lines + slice.elements > SLICE || slice.copied + slice.shipped > SLICE_BYTES
    };
    let slice = large.iter().find(|cost| too_long(&cost.slice));
    let whole = large.iter().find(|cost| weight(cost.at_once) > AT_ONCE);
    if let Some((small, large)) = deeper {
        let (small, large) = (small.stack, large.stack);
        return Some(format!("{} goes deeper: {small}, {large} bytes", case.0));
    }
    let why = match (grows, apart, slice.or(whole)) {
        (true, ..) => "grows faster than its row says".to_owned(),
        (_, true, _) => "costs more where its keys lie elsewhere".to_owned(),
        (.., Some(cost)) => {
            let Cost { slice, at_once, .. } = cost;
            format!("has a slice of {slice:?} after {at_once:?}")
        }
        _ => return None,
    };
    let costs = |costs: &[Cost]| costs.iter().map(|cost| cost.work).collect::<Vec<_>>();
    let (small, large) = (costs(&small), costs(&large));
    Some(format!(
        "{} ({due} of 1000 due) {why}: {small:?}, {large:?}",
        case.0
    ))
}

#[test]
fn every_row_has_a_case() {
    let rows = COMMANDS.iter().copied().flatten();
    let rows = rows.flat_map(|row| std::iter::once(row).chain(row.subcommands));
    for row in rows {
        let counted = CASES
            .iter()
            .any(|case| std::ptr::eq(row_of_case(case), row));
        assert_ne!(counted, BESIDE.contains(&row.name), "{}", row.name);
    }
    for case in CASES.iter().filter(|case| case.1 != Flat) {
        let complexity = row_of_case(case).complexity;
        assert!(
            complexity.contains('N'),
            "{}: the row says {complexity}",
            case.0
        );
    }
}

#[test]
fn work_grows_as_the_rows_say() {
    let mut wrong = Vec::new();
    for case in CASES {
        let hash = row_of_case(case).name.starts_with('h');
        let dues: &[usize] = if hash { &[0, 500, 999] } else { &[0] };
        wrong.extend(dues.iter().filter_map(|due| verdict(case, *due)));
    }
    let known = |fault: &String| {
        let grows = fault.contains("grows faster");
        KNOWN
            .iter()
            .find(|known| grows && fault.starts_with(known.0))
    };
    for fault in &wrong {
        println!("{}: {fault}", known(fault).map_or("new", |known| known.1));
    }
    for (case, _) in KNOWN {
        if !wrong.iter().any(|fault| fault.starts_with(case)) {
            println!("mended, take it out of KNOWN: {case}");
        }
    }
    assert!(
        wrong.iter().all(|fault| known(fault).is_some()),
        "{wrong:#?}"
    );
}
