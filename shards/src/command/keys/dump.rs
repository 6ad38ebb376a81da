//! DUMP: a value as the bytes that RESTORE makes it of again, here or in Redis.

use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Pieces, ROW, Row, Run, Work};
use crate::error::{CommandError, OutOfMemory};
use crate::keyspace::ValueRef;
use crate::rdb::{Crc64, Encoder, elements_of, encode, type_of, version_of};

pub static COMMANDS: &[Row] = &[Row {
    name: "dump",
    syntax: "key",
    summary: "A value as bytes, for RESTORE.",
    since: "2.6.0",
    complexity: "O(N) with N the number of elements and bytes of the value",
    group: Group::Generic,
    arity: Arity::Exactly(2),
    keys: &[KeySpec::first(&["RO", "access"])],
    flags: flags::READONLY,
    slices: InSlices::IfMuch,
    tips: &["nondeterministic_output"],
    run: Run::OneShard(dump),
    ..ROW
}];

/// Version and checksum, which stand behind a value.
const END_BYTES: usize = 10;

/// A large value that is being written.
#[derive(Debug)]
pub struct Dumping {
    encoder: Encoder,
    written: Pieces,
    checksum: Crc64,
}

impl Dumping {
    fn new(value: ValueRef<'_>) -> Self {
        Self {
            encoder: Encoder::new(value),
            written: Pieces::default(),
            checksum: Crc64::default(),
        }
    }

    /// Goes on; whether there is more.
    fn go_on(
        &mut self,
        value: ValueRef<'_>,
        compress: bool,
        budget: usize,
    ) -> Result<bool, CommandError> {
        let Self {
            encoder,
            written,
            checksum,
        } = self;
        let begun = written.bytes > 0;
        written.write_bytes(|out| {
            let start = out.len();
            if !begun {
                out.try_reserve(1)?;
                out.push(type_of(value));
            }
            let more = encoder.go_on(value, compress, budget, out)?;
            checksum.update(&out[start..]);
            if !more {
                put_end(out, version_of(value), checksum)?;
            }
            Ok(more)
        })
    }
}

/// Puts what stands behind a value.
fn put_end(out: &mut Vec<u8>, version: u16, checksum: &mut Crc64) -> Result<(), OutOfMemory> {
    out.try_reserve(END_BYTES)?;
    let version = version.to_le_bytes();
    checksum.update(&version);
    out.extend_from_slice(&version);
    out.extend_from_slice(&checksum.value().to_le_bytes());
    Ok(())
}

/// All of it.
fn payload(value: ValueRef<'_>, compress: bool) -> Result<Vec<u8>, OutOfMemory> {
    let mut out = Vec::new();
    out.try_reserve(64)?;
    out.push(type_of(value));
    encode(value, compress, &mut out)?;
    let mut checksum = Crc64::default();
    checksum.update(&out);
    put_end(&mut out, version_of(value), &mut checksum)?;
    Ok(out)
}

fn dump(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let compress = ctx.settings.rdb_compression;
    let dumping = match ctx.work() {
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        Some(Work::Dump(dumping)) => Some(dumping),
        _ => {
            let at_once = ctx.at_once();
            let Some(view) = ctx.db.read(key) else {
                ctx.reply.null();
                return Ok(());
            };
            let elements = elements_of(view.value);
            if elements <= at_once {
                let payload = payload(view.value, compress)?;
                ctx.reply.bulk(&payload);
                return Ok(());
            }
            ctx.in_slices(elements, (1, 0))?;
            None
        }
    };
    let budget = ctx.step();
    let view = ctx.db.lookup(key).ok_or(CommandError::NoSuchKey)?;
    let mut dumping = dumping.unwrap_or_else(|| Box::new(Dumping::new(view.value)));
    if dumping.go_on(view.value, compress, budget)? {
        if dumping.written.bytes > ctx.settings.reply_max.bytes {
            return Err(CommandError::TooLong);
        }
        return ctx.leave(Work::Dump(dumping));
    }
    let mut written = dumping.written;
    let header = format!("${}\r\n", written.bytes);
    written.write_bytes(|out| {
        out.try_reserve(2)?;
        out.extend_from_slice(b"\r\n");
        Ok(())
    })?;
    ctx.reply.raw(header.as_bytes());
    ctx.reply_pieces(written, 0)
}
