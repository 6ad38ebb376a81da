//! How long a core stands still while a request goes through all keys: the longest
//! of everything that it does at a time, on one, two and four cores. One run each:
//! `cargo bench --bench whole [-- keys]`, 5,000,000 by default.

use rustix::time::{ClockId, clock_gettime};
use shards::command::OwnedArgs;
use shards::order::{Batch, Call, Client, Node, Placement};
use shards::{Settings, Shard, ShardId, UnixMs, row};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the server asks for between two looks at the clock.
const FREE_STEP: usize = 1024;
const NOW: UnixMs = UnixMs(1);

/// Processor time of this thread: other processes' turns do not count.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// The cores, on one thread, and the longest that each did at a time.
struct Cores {
    nodes: Vec<Node>,
    boxes: Vec<(ShardId, ShardId, Box<Batch>)>,
    /// The last stamp.
    stamp: u64,
    longest: Vec<Duration>,
    /// How often something took more than a tenth of a millisecond.
    long: usize,
    replied: usize,
}

impl Cores {
    fn new(count: u16, keys: usize) -> Self {
        let node = |id| {
            let slots = ShardId(id).slots(count);
            let shard = Shard::new(16, slots, 7, Settings::default());
            Node::new(ShardId(id), count, shard, 7)
        };
        let mut cores = Self {
            nodes: (0..count).map(node).collect(),
            boxes: Vec::new(),
            stamp: 0,
            longest: vec![Duration::ZERO; usize::from(count)],
            long: 0,
            replied: 0,
        };
        for number in 0..keys {
            let words = OwnedArgs::new([
                &b"set"[..],
                format!("key:{number:012}").as_bytes(),
                b"0123456789abcdefghijklmnopqrstuv",
            ]);
            let owner = cores.nodes[0].owner(&words.args()[1]);
            let call = Call::of(row("set").expect("there is such a command"));
            let shard = cores.nodes[owner.index()].shard_mut();
            let done = shard.apply(NOW, &call.request(words.args()), &mut Vec::new());
            assert!(done.is_ok());
        }
        cores
    }

    fn timed(&mut self, core: usize, act: impl FnOnce(&mut Node)) {
        let start = now();
        act(&mut self.nodes[core]);
        let took = now() - start;
        self.longest[core] = self.longest[core].max(took);
        self.long += usize::from(took > Duration::from_micros(100));
    }

    /// A client of the last core asks, and everything happens that follows; how
    /// long the cores were at it together.
    fn ask(&mut self, words: &[&[u8]]) -> Duration {
        let began = now();
        let (words, row) = (
            OwnedArgs::new(words.iter().copied()),
            row(words[0]).expect("there is such a command"),
        );
        let home = self.nodes.len() - 1;
        let client = Client {
            key: 0,
            id: 1,
            place: 0,
        };
        self.timed(home, |node| {
            let args = words.args();
            let call = Call {
                alone: true,
                ..Call::of(row)
            };
            match node.place(row, args) {
                Placement::Several(owners) => node.begin(NOW, client, call, row, args, owners),
                Placement::One(_) => {
                    let done = node
                        .shard_mut()
                        .apply(NOW, &call.request(args), &mut Vec::new());
                    assert!(done.is_ok());
                }
            }
        });
        while self.turn() {}
        now() - began
    }

    /// One turn of every core; false if nothing was to be done.
    fn turn(&mut self) -> bool {
        let mut any = false;
        for (from, target, batch) in std::mem::take(&mut self.boxes) {
            any = true;
            self.nodes[target.index()].receive(from, batch);
        }
        for core in 0..self.nodes.len() {
            self.timed(core, |node| any |= node.catch_up(NOW, u64::MAX));
            if self.nodes[core].has_slices() {
                any = true;
                self.timed(core, |node| node.go_on(NOW));
            }
            let mut replied = 0;
            self.timed(core, |node| {
                node.replies(|it| {
                    let pieces: usize = it.pieces.iter().map(Vec::len).sum();
                    replied += it.reply.len() + pieces;
                    // It goes out a piece at a time.
                    std::mem::forget(it.pieces);
                });
            });
            self.replied += replied;
            let mut sent = Vec::new();
            self.stamp += 1;
            let stamp = self.stamp;
            self.timed(core, |node| {
                node.wants_stamp();
                node.outgoing(stamp, |to, batch| sent.push((to, batch)))
            });
            let from = ShardId(core as u16);
            self.boxes
                .extend(sent.into_iter().map(|(to, batch)| (from, to, batch)));
            any |= !self.boxes.is_empty();
            let mut more = false;
            self.timed(core, |node| more = node.shard_mut().free_some(FREE_STEP));
            any |= more;
        }
        any
    }
}

/// The same for work that surely is as long each time, and takes as much memory in
/// all as the reply to KEYS: what this machine does to whoever runs on it.
fn control(keys: usize) {
    let pieces = keys / 256;
    let (mut longest, mut sum) = (Duration::ZERO, 0u64);
    for piece in 0..pieces {
        let start = now();
        for step in 0..50_000u64 {
            sum = std::hint::black_box(sum.rotate_left(5) ^ step).wrapping_add(piece as u64);
        }
        std::mem::forget(std::hint::black_box(vec![1u8; 256 * 23]));
        longest = longest.max(now() - start);
    }
    println!("control: the longest of {pieces} equal pieces of work {longest:?} ({sum})");
}

fn main() {
    let mut asked = std::env::args().filter_map(|argument| argument.parse().ok());
    let keys: usize = asked.next().unwrap_or(5_000_000);
    for count in [1, 2, 4] {
        let mut cores = Cores::new(count, keys);
        // Several times, because what takes long once is the machine's.
        let keys_of_all = &[&b"keys"[..], b"*"][..];
        for words in [keys_of_all, keys_of_all, keys_of_all, &[b"flushall"]] {
            control(keys);
            cores.longest.fill(Duration::ZERO);
            (cores.replied, cores.long) = (0, 0);
            let took = cores.ask(words);
            let name = words[0].escape_ascii();
            let Cores {
                longest,
                long,
                replied,
                ..
            } = &cores;
            println!(
                "{name} of {keys} keys on {count} cores: {took:?} in all, {replied} bytes \
                 replied; {long} times above 0.1 ms, the longest by core: {longest:?}"
            );
        }
    }
}
