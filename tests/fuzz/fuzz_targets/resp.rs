//! Any bytes, cut into any pieces: the parser must read the same requests from
//! them as from the whole, and break at the same place.
//!
//! Input: one byte says how many sizes of pieces follow; the rest is the stream.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shards::Span;
use shards::resp::{Limits, Partial, Status, parse};
use shards::{Args, ProtocolError};

const LIMITS: Limits = Limits {
    bulk_len: 4_000,
    request_len: 70_000,
    authenticated: false,
};

fuzz_target!(|data: &[u8]| {
    let Some((count, data)) = data.split_first() else {
        return;
    };
    let (sizes, stream) = data.split_at(usize::from(count % 8).min(data.len()));
    let sizes: Vec<usize> = sizes.iter().map(|size| usize::from(*size) + 1).collect();
    if sizes.is_empty() {
        return;
    }
    assert_eq!(read(stream, &[stream.len().max(1)]), read(stream, &sizes));
});

type Read = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fn read(stream: &[u8], sizes: &[usize]) -> Read {
    let (mut buffer, mut rest) = (Vec::new(), stream);
    let (mut partial, mut spans) = (Partial::default(), Vec::new());
    let mut requests = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        if let Err(error) = requests_of(&buffer, &mut partial, &mut spans, &mut requests) {
            return (requests, Some(error));
        }
        if rest.is_empty() {
            break;
        }
        // The unread part moves to a buffer of exactly its size.
        buffer = buffer[partial.start..].to_vec();
        partial.rebase(&mut spans);
    }
    (requests, None)
}

/// Everything complete in `buffer`.
fn requests_of(
    buffer: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    requests: &mut Vec<Vec<Vec<u8>>>,
) -> Result<(), ProtocolError> {
    loop {
        match parse(buffer, partial, spans, &LIMITS)? {
            Status::Incomplete(more) => {
                assert!(more > 0);
                return Ok(());
            }
            Status::Complete if spans.is_empty() => {}
            Status::Complete => {
                requests.push(words(buffer, spans));
                spans.clear();
            }
            Status::Inline(array) => {
                let limits = Limits {
                    bulk_len: 70_000,
                    request_len: 1 << 20,
                    authenticated: true,
                };
                let status = parse(&array, &mut Partial::default(), spans, &limits);
                assert_eq!(status, Ok(Status::Complete));
                requests.push(words(&array, spans));
                spans.clear();
            }
        }
    }
}

fn words(input: &[u8], spans: &[Span]) -> Vec<Vec<u8>> {
    Args::new(input, spans).iter().map(<[u8]>::to_vec).collect()
}
