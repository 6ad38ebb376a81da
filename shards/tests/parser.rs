//! The parser under random input: however a stream is cut into pieces, it
//! reads the same requests and breaks at the same place.

use proptest::prelude::*;
use shards::Span;
use shards::resp::{Limits, Partial, Status, parse};
use shards::{Args, ProtocolError};

const LIMITS: Limits = Limits {
    bulk_len: 100_000,
    request_len: 300_000,
    authenticated: false,
};

/// What a stream says: its requests, then whether it broke.
type Read = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fn words(input: &[u8], spans: &[Span]) -> Vec<Vec<u8>> {
    Args::new(input, spans).iter().map(<[u8]>::to_vec).collect()
}

/// Feeds `input` in pieces of `sizes`, again and again from the first, moving
/// what is left to a new buffer after each piece.
fn read(input: &[u8], sizes: &[usize]) -> Read {
    let (mut buffer, mut rest) = (Vec::new(), input);
    let (mut partial, mut spans) = (Partial::default(), Vec::new());
    let mut requests = Vec::new();
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at((*size).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match parse(&buffer, &mut partial, &mut spans, &LIMITS) {
                Ok(Status::Complete) => {}
                Ok(Status::Inline(array)) => {
                    assert!(spans.is_empty());
                    let open = Limits {
                        authenticated: true,
                        ..LIMITS
                    };
                    let status = parse(&array, &mut Partial::default(), &mut spans, &open);
                    assert_eq!(status, Ok(Status::Complete));
                    requests.push(words(&array, &spans));
                    spans.clear();
                }
                Ok(Status::Incomplete(more)) => {
                    assert!(more > 0);
                    break;
                }
                Err(error) => return (requests, Some(error)),
            }
            if !spans.is_empty() {
                requests.push(words(&buffer, &spans));
                spans.clear();
            }
        }
        if rest.is_empty() {
            return (requests, None);
        }
        buffer.drain(..partial.start);
        partial.rebase(&mut spans);
    }
    unreachable!("sizes are not empty");
}

/// Pieces of the protocol, whole and broken.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let bulk = prop::collection::vec(any::<u8>(), 0..120)
        .prop_map(|text| [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat());
    let array = prop::collection::vec(bulk, 1..12)
        .prop_map(|bulks| [format!("*{}\r\n", bulks.len()).into_bytes(), bulks.concat()].concat());
    let inline = "[a-z]{1,5}( [a-z]{0,3}| \"[a-z\\\\x]{0,5}\"| '[a-z]*'){0,3}\r?\n";
    prop_oneof![
        8 => array,
        3 => inline.prop_map(String::into_bytes),
        1 => "\\*-?[0-9]{0,3}\r\n".prop_map(String::into_bytes),
        1 => "\\*1\r\n\\$-?[0-9]{0,6}\r\n".prop_map(String::into_bytes),
        1 => prop::collection::vec(prop::sample::select(b"*$\r\n01x \"'\0".to_vec()), 0..20),
        1 => (60_000usize..70_000).prop_map(|len| vec![b'7'; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_do_not_matter(
        fragments in prop::collection::vec(fragment(), 0..12),
        sizes in prop::collection::vec(1usize..200, 1..8),
    ) {
        let input = fragments.concat();
        prop_assert_eq!(read(&input, &[input.len().max(1)]), read(&input, &sizes));
    }

    #[test]
    fn arrays_are_read_back(
        requests in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1200), 1..10),
            0..6,
        ),
        size in 1usize..2000,
    ) {
        let mut input = Vec::new();
        for request in &requests {
            input.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
            for word in request {
                input.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                input.extend_from_slice(word);
                input.extend_from_slice(b"\r\n");
            }
        }
        prop_assert_eq!(read(&input, &[size]), (requests, None));
    }
}
