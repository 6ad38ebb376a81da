//! Subscriptions beside a twin, and what clients are told.

use super::*;
use crate::resp::read;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NODE: ShardId = ShardId(0);

fn subscriptions() -> Subscriptions {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    Subscriptions::new(NODE, &hasher, Arc::new(Audience::new(2)))
}

/// Who is told what, in order.
fn told(subscriptions: &Subscriptions, kind: Kind, channel: &[u8]) -> (u64, Vec<(u32, String)>) {
    let message = Message::new(kind, channel, b"text").unwrap();
    let mut out = Outgoing::default();
    let heard = subscriptions.hear(&message, u64::MAX, None, &mut out);
    let mut told = Vec::new();
    out.drain(|it| {
        let super::super::Body::Short(body) = it.body else {
            panic!("it is short");
        };
        let push = [it.head, body].concat();
        assert!(read::split_value(&push).is_some_and(|(_, rest)| rest.is_empty()));
        let lines = String::from_utf8(push).unwrap();
        let words = lines.split("\r\n").filter(|it| !it.starts_with(['$', '>']));
        told.push((it.to, words.collect::<Vec<_>>().join(" ").trim().to_owned()));
    });
    assert!(out.is_empty());
    (heard, told)
}

#[test]
fn a_message_goes_to_channels_first_and_then_to_patterns() {
    let mut all = subscriptions();
    for (client, kind, name) in [
        (1, Kind::Channel, "news"),
        (2, Kind::Channel, "news"),
        (2, Kind::Pattern, "n*"),
        (3, Kind::Pattern, "*"),
        (3, Kind::Pattern, "newspaper*"),
        (4, Kind::Sharded, "news"),
    ] {
        assert_eq!(all.subscribe(client, kind, name.as_bytes()), Ok(true));
    }
    assert_eq!(all.subscribe(1, Kind::Channel, b"news"), Ok(false));
    all.check_invariants();
    let (heard, mut lines) = told(&all, Kind::Channel, b"news");
    assert_eq!(heard, 4);
    let direct = [(1, "message news text"), (2, "message news text")];
    assert_eq!(lines.len(), 4);
    for (line, (client, text)) in lines.iter().zip(direct) {
        assert_eq!(*line, (client, text.to_owned()));
    }
    lines.sort();
    assert_eq!(lines[2], (2, "pmessage n* news text".to_owned()));
    assert_eq!(lines[3], (3, "pmessage * news text".to_owned()));
    assert_eq!(
        told(&all, Kind::Sharded, b"news"),
        (1, vec![(4, "smessage news text".to_owned())])
    );
    all.drop_client(3);
    all.drop_client(2);
    all.check_invariants();
    assert_eq!(told(&all, Kind::Channel, b"news").0, 1);
    assert!(all.unsubscribe(1, Kind::Channel, b"news"));
    assert!(!all.unsubscribe(1, Kind::Channel, b"news"));
    assert!(all.ears(Kind::Channel, b"news").is_empty());
    assert_eq!(told(&all, Kind::Channel, b"news"), (0, vec![]));
}

/// A message was sent to this node because of somebody else, and those behind it were not.
#[test]
fn who_subscribes_hears_nothing_that_was_sent_before() {
    let mut all = subscriptions();
    let message = Message::new(Kind::Channel, b"news", b"text").unwrap();
    let hear =
        |all: &Subscriptions, known| all.hear(&message, known, None, &mut Outgoing::default());
    all.subscribe(1, Kind::Pattern, b"n*").unwrap();
    let before = all.topics_of(NODE);
    all.subscribe(2, Kind::Channel, b"news").unwrap();
    all.subscribe(2, Kind::Pattern, b"*").unwrap();
    assert_eq!(
        (hear(&all, before), hear(&all, all.topics_of(NODE))),
        (1, 3)
    );
    all.drop_client(1);
    all.subscribe(1, Kind::Pattern, b"n*").unwrap();
    assert_eq!(hear(&all, before), 0, "it is another one");
    // Who joins others hears what they hear.
    let before = all.topics_of(NODE);
    all.subscribe(3, Kind::Channel, b"news").unwrap();
    assert_eq!(hear(&all, before), 4);
}

#[test]
fn long_bodies_are_shared() {
    let mut all = subscriptions();
    for client in 0..3 {
        all.subscribe(client, Kind::Channel, b"c").unwrap();
    }
    let message = Message::new(Kind::Channel, b"c", &[b'x'; 5000]).unwrap();
    let mut out = Outgoing::default();
    assert_eq!(all.hear(&message, u64::MAX, None, &mut out), 3);
    let mut count = 0;
    out.drain(|it| match it.body {
        super::super::Body::Shared(bytes) => {
            assert_eq!(bytes.as_ptr(), message.body.as_ptr());
            count += 1;
        }
        super::super::Body::Short(_) => panic!("it is long"),
    });
    assert_eq!(count, 3);
}

/// A step: whose, what kind, which name, and whether to leave.
type Step = (u32, usize, usize, u8);

const NAMES: [&[u8]; 8] = [
    b"",
    b"a",
    b"ab",
    b"abcdefghij",
    b"a*",
    b"*",
    b"abcdefgh?j",
    b"[ab]b",
];

proptest! {
    #[test]
    fn every_message_reaches_who_listens(
        steps in proptest::collection::vec((0..6u32, 0..3usize, 0..8usize, 0..10u8), 0..120)
    ) {
        let mut all = subscriptions();
        let mut twin: BTreeMap<u32, BTreeSet<(usize, usize)>> = BTreeMap::new();
        for (client, kind, name, what) in steps as Vec<Step> {
            let held = twin.entry(client).or_default();
            let text = NAMES[name];
            match what {
                0 => {
                    all.drop_client(client);
                    held.clear();
                }
                4 => {
                    let mut names = Vec::new();
                    all.unsubscribe_all(client, Kind::ALL[kind], |name, left| {
                        names.push(name.to_vec());
                        assert!(left < NAMES.len());
                    });
                    names.sort();
                    let mut were: Vec<_> = held.iter().filter(|it| it.0 == kind)
                        .map(|it| NAMES[it.1].to_vec()).collect();
                    were.sort();
                    prop_assert_eq!(names, were);
                    held.retain(|it| it.0 != kind);
                }
                1..4 => {
                    let left = all.unsubscribe(client, Kind::ALL[kind], text);
                    prop_assert_eq!(left, held.remove(&(kind, name)));
                }
                _ => {
                    let came = all.subscribe(client, Kind::ALL[kind], text);
                    prop_assert_eq!(came, Ok(held.insert((kind, name))));
                }
            }
            for kind in Kind::ALL {
                let count = held.iter().filter(|it| it.0 == kind as usize).count();
                prop_assert_eq!(all.count(client, kind), count);
            }
            all.check_invariants();
        }
        for channel in NAMES {
            let listens = |(_, held): &(&u32, &BTreeSet<(usize, usize)>)| {
                held.iter().filter(|(kind, name)| match kind {
                    0 => NAMES[*name] == channel,
                    1 => glob::matches(NAMES[*name], channel),
                    _ => false,
                }).count()
            };
            let mut expected: Vec<(u32, usize)> = twin.iter()
                .map(|it| (*it.0, listens(&it)))
                .filter(|it| it.1 > 0)
                .collect();
            let (heard, lines) = told(&all, Kind::Channel, channel);
            prop_assert_eq!(heard as usize, expected.iter().map(|it| it.1).sum::<usize>());
            let mut got: BTreeMap<u32, usize> = BTreeMap::new();
            lines.iter().for_each(|(to, _)| *got.entry(*to).or_default() += 1);
            expected.sort_unstable();
            prop_assert_eq!(got.into_iter().collect::<Vec<_>>(), expected);
            if heard > 0 {
                prop_assert!(all.ears(Kind::Channel, channel).nodes().any(|it| it == NODE));
            }
        }
    }
}
