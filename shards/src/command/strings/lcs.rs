//! The longest common subsequence of two strings.
//!
//! The textbook's table, cell `[i][j]` the length for the first `i` bytes of one
//! and the first `j` of the other, in one bit per cell: whether it is longer than
//! the cell to the left, which neighbours never are by more than one. A row follows
//! from the row above 64 cells at a time (Crochemore, Iliopoulos, Pinzon and Reid,
//! "A fast and practical bit-vector algorithm for the longest common subsequence
//! problem", 2001). On the way back, where the two bytes differ, such a cell has its
//! length from above, and any other as well from the left. Ties go left, which
//! decides which of several subsequences is found.

use super::text_of;
use crate::command::args::integer;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Decision, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::keyspace::StringRef;
use crate::resp::Reply;
use crate::resp::read::bulk_text;
use crate::types::Settings;

pub static COMMANDS: &[Row] = &[Row {
    name: "lcs",
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    summary: "The longest common subsequence of two strings.",
    since: "7.0.0",
    complexity: "O(N*M) with N and M the lengths of the strings",
    group: Group::String,
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::range(1, 1, &["RO", "access"])],
    flags: flags::READONLY,
    run: Run::ReadThenWrite {
        whole: lcs,
        read: lcs_read,
        decide: lcs_decide,
        skip: 0,
    },
    ..ROW
}];

const NOT_STRINGS: CommandError =
    CommandError::Static("ERR The specified keys must contain string values");
const BOTH: CommandError =
    CommandError::Static("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: CommandError = CommandError::Static(
    "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
);
const NO_MEMORY: CommandError =
    CommandError::Static("ERR Insufficient memory, failed allocating transient memory for LCS");
/// What Redis's table takes per cell; its limit is ours.
const CELL_BYTES: usize = 4;

/// What is to be replied.
#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            index += 1;
            if is(b"IDX") {
                parsed.idx = true;
            } else if is(b"LEN") {
                parsed.len = true;
            } else if is(b"WITHMATCHLEN") {
                parsed.with_match_len = true;
            } else if is(b"MINMATCHLEN") {
                let number = integer(options.get(index).ok_or(CommandError::Syntax)?)?;
                parsed.min_match_len = usize::try_from(number).unwrap_or(0);
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if parsed.len && parsed.idx {
            Err(BOTH)
        } else {
            Ok(parsed)
        }
    }
}

fn lcs(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let a = copy_of(ctx, &args[1])?;
    let b = copy_of(ctx, &args[2])?;
    answer(&a, &b, args, ctx.settings, &mut ctx.reply)
}

fn copy_of(ctx: &mut Context<'_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.read_string(key).map_err(|_| NOT_STRINGS)?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    let mut copy = Vec::new();
    copy.try_reserve_exact(text.len()).map_err(|_| NO_MEMORY)?;
    copy.extend_from_slice(text);
    Ok(copy)
}

/// One string per key; a missing one is empty.
fn lcs_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let mut buffer = itoa::Buffer::new();
        let string = ctx.db.read_string(key).map_err(|_| NOT_STRINGS)?;
        ctx.reply.bulk(text_of(
            string.unwrap_or(StringRef::Bytes(b"")),
            &mut buffer,
        ));
    }
    Ok(())
}

fn lcs_decide(decision: &mut Decision<'_>) -> Outcome {
    let text = |index: usize| {
        decision
            .read
            .get(index)
            .map_or(&b""[..], |reply| bulk_text(reply))
    };
    let (a, b) = (text(0), text(1));
    answer(a, b, decision.args, decision.settings, &mut decision.reply)
}

fn answer(
    a: &[u8],
    b: &[u8],
    args: Args<'_>,
    settings: &Settings,
    reply: &mut Reply<'_>,
) -> Outcome {
    let options = Options::parse(args.from(3))?;
    let cells = (a.len() + 1).checked_mul(b.len() + 1);
    let bytes = cells.and_then(|cells| cells.checked_mul(CELL_BYTES));
    if bytes.is_none_or(|bytes| bytes > settings.proto_max_bulk_len) {
        return Err(TOO_LONG);
    }
    let mut table = Table::new(a, b, !options.len)?;
    let length = table.fill();
    if options.len {
        reply.integer(length as i64);
    } else if options.idx {
        reply.map(2);
        reply.bulk(b"matches");
        let (mark, mut count) = (reply.array_deferred(), 0);
        table.walk_back(|found| {
            if found.len >= options.min_match_len {
                count += 1;
                found.reply(reply, options.with_match_len);
            }
        });
        reply.end_array(mark, count);
        reply.bulk(b"len");
        reply.integer(length as i64);
    } else {
        let mut text = Vec::with_capacity(length);
        table.walk_back(|found| text.extend(a[found.a..found.a + found.len].iter().rev()));
        text.reverse();
        reply.bulk(&text);
    }
    Ok(())
}

/// A stretch of bytes that the strings have in common.
struct Match {
    /// Where it begins in either string.
    a: usize,
    b: usize,
    len: usize,
}

impl Match {
    fn reply(&self, reply: &mut Reply<'_>, with_len: bool) {
        reply.array(if with_len { 3 } else { 2 });
        for start in [self.a, self.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + self.len - 1) as i64);
        }
        if with_len {
            reply.integer(self.len as i64);
        }
    }
}

struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// The last row filled: a bit is 0 where the length grows.
    row: Vec<u64>,
    /// All rows, each in whole bytes. Empty when nobody will walk back.
    rows: Vec<u8>,
    /// Per byte value, the number of its mask among `masks`.
    mask_of: [u16; 256],
    /// For each byte value in `a`, where it stands in `b`: as long as a row.
    masks: Vec<u64>,
}

/// `len` times `value`, if there is memory for it.
fn filled<T: Copy>(value: T, len: usize) -> Result<Vec<T>, CommandError> {
    let mut all = Vec::new();
    all.try_reserve_exact(len).map_err(|_| NO_MEMORY)?;
    all.resize(len, value);
    Ok(all)
}

impl<'a> Table<'a> {
    fn new(a: &'a [u8], b: &'a [u8], walk: bool) -> Result<Self, CommandError> {
        const NONE: u16 = u16::MAX;
        let (mut mask_of, mut kinds) = ([NONE; 256], 0);
        for byte in a {
            let number = &mut mask_of[usize::from(*byte)];
            if *number == NONE {
                (*number, kinds) = (kinds, kinds + 1);
            }
        }
        let width = b.len().div_ceil(64);
        let mut masks = filled(0u64, usize::from(kinds) * width)?;
        for (j, byte) in b.iter().enumerate() {
            let number = mask_of[usize::from(*byte)];
            if number != NONE {
                masks[usize::from(number) * width + j / 64] |= 1 << (j % 64);
            }
        }
        let kept = if walk { a.len() * Self::stride(b) } else { 0 };
        Ok(Self {
            a,
            b,
            row: filled(u64::MAX, width)?,
            rows: filled(0u8, kept)?,
            mask_of,
            masks,
        })
    }

    /// Bytes of a row.
    fn stride(b: &[u8]) -> usize {
        b.len().div_ceil(8)
    }

    /// Fills the table; the length of the longest common subsequence.
    fn fill(&mut self) -> usize {
        let (width, stride) = (self.row.len(), Self::stride(self.b));
        let mut rows = self.rows.chunks_exact_mut(stride.max(1));
        for byte in self.a {
            let start = usize::from(self.mask_of[usize::from(*byte)]) * width;
            let mut carry = false;
            for (cells, mask) in self.row.iter_mut().zip(&self.masks[start..]) {
                let (sum, over) = cells.overflowing_add(*cells & mask);
                let (sum, over_too) = sum.overflowing_add(u64::from(carry));
                carry = over || over_too;
                *cells = sum | (*cells & !mask);
            }
            if let Some(kept) = rows.next() {
                for (kept, cells) in kept.chunks_mut(8).zip(&self.row) {
                    kept.copy_from_slice(&cells.to_le_bytes()[..kept.len()]);
                }
            }
        }
        // What is behind the end of `b` never grows.
        self.row
            .iter()
            .map(|cells| cells.count_zeros() as usize)
            .sum()
    }

    /// Calls `found` with every match, from the last to the first.
    fn walk_back(&self, mut found: impl FnMut(Match)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut len = 0;
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                (i, j, len) = (i - 1, j - 1, len + 1);
                continue;
            }
            if len > 0 {
                found(Match { a: i, b: j, len });
                len = 0;
            }
            let cells = self.rows[(i - 1) * Self::stride(self.b) + (j - 1) / 8];
            if cells >> ((j - 1) % 8) & 1 == 0 {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        if len > 0 {
            found(Match { a: i, b: j, len });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::command::harness::Engine;
    use crate::resp::Protocol;
    use crate::types::Random;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn subsequences() {
        let ranges = "*2|*2|*2|:4|:7|*2|:5|:8|*2|*2|:2|:3|*2|:0|:1|$3|len|:6";
        let long = "*1|*3|*2|:4|:7|*2|:5|:8|:4|$3|len|:6";
        Engine::new().talk(&[
            ("MSET a ohmytext b mynewtext", "+OK"),
            ("LCS a b", "$6|mytext"),
            ("LCS a b LEN", ":6"),
            ("LCS a b IDX", &format!("*4|$7|matches|{ranges}")),
            (
                "LCS a b IDX MINMATCHLEN -1",
                &format!("*4|$7|matches|{ranges}"),
            ),
            (
                "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                &format!("*4|$7|matches|{long}"),
            ),
            ("LCS a nokey", "$0|"),
            ("LCS a nokey IDX", "*4|$7|matches|*0|$3|len|:0"),
            (
                "LCS a b LEN IDX",
                "-ERR If you want both the length and indexes, please just use IDX.",
            ),
            ("LCS a b IDX MINMATCHLEN", "-ERR syntax error"),
            ("LCS a b foo", "-ERR syntax error"),
            (
                "LCS a b MINMATCHLEN a",
                "-ERR value is not an integer or out of range",
            ),
        ]);
    }

    /// Two rows of lengths, and the way back by the rule that ties go left.
    fn by_the_textbook(a: &[u8], b: &[u8]) -> (Vec<u8>, usize) {
        let mut lengths = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths[i][j] = match a[i - 1] == b[j - 1] {
                    true => lengths[i - 1][j - 1] + 1,
                    false => lengths[i - 1][j].max(lengths[i][j - 1]),
                };
            }
        }
        let (mut i, mut j, mut text) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                text.push(a[i - 1]);
                (i, j) = (i - 1, j - 1);
            } else if lengths[i - 1][j] > lengths[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        text.reverse();
        (text, lengths[a.len()][b.len()])
    }

    #[test]
    fn words_of_cells_do_as_single_cells_do() {
        let mut random = Random::new(3);
        let lengths = [0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200];
        for a_len in lengths {
            for b_len in lengths {
                for letters in [1, 2, 4, 26, 256] {
                    let mut text = |len| -> Vec<u8> {
                        let letter = |_| (random.next() % letters) as u8;
                        (0..len).map(letter).collect()
                    };
                    let (a, b) = (text(a_len), text(b_len));
                    let (subsequence, length) = by_the_textbook(&a, &b);
                    let mut table = Table::new(&a, &b, true).unwrap();
                    assert_eq!(table.fill(), length);
                    let mut found: Vec<u8> = Vec::new();
                    table.walk_back(|it| found.extend(a[it.a..it.a + it.len].iter().rev()));
                    found.reverse();
                    assert_eq!(found, subsequence);
                    assert_eq!(Table::new(&a, &b, false).unwrap().fill(), length);
                }
            }
        }
    }

    #[test]
    fn a_table_has_a_largest_size() {
        let mut engine = Engine::new();
        engine.run("SETRANGE a 20000 x");
        let too_long =
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        engine.talk(&[("LCS a a", too_long)]);
    }

    #[test]
    fn a_map_in_resp3() {
        let mut engine = Engine::new();
        engine.protocol = Protocol::Resp3;
        engine.talk(&[("LCS a b IDX", "%2|$7|matches|*0|$3|len|:0")]);
    }
}
