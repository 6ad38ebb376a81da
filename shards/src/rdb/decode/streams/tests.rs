//! Streams, written here as the format has them.

use crate::rdb::decode::tests::{refused, whole_and_sliced};
use crate::rdb::form::Form;
use crate::rdb::reader::Fault;
use crate::rdb::written::{len, listpack, packed, text};
use crate::types::UnixMs;
use crate::value::ValueRef;
use crate::value::stream::{Stream, StreamId};

const fn id(ms: u64, seq: u64) -> StreamId {
    StreamId::new(ms, seq)
}

fn raw(id: StreamId) -> Vec<u8> {
    [id.ms.to_be_bytes(), id.seq.to_be_bytes()].concat()
}

fn short(id: StreamId) -> Vec<u8> {
    [len(id.ms), len(id.seq)].concat()
}

/// A node: its key, and the elements of its listpack.
fn node(key: StreamId, elements: &str) -> Vec<u8> {
    let elements: Vec<&str> = elements.split(' ').collect();
    [text(&raw(key)), text(&listpack(&elements))].concat()
}

/// What is remembered of a stream: length, last, first and largest deleted id, how many
/// were added.
fn about(form: Form, count: u64, last: StreamId) -> Vec<u8> {
    let mut bytes = [len(count), short(last)].concat();
    if form != Form::Stream {
        bytes.extend([short(id(1, 0)), short(id(2, 0)), len(9)].concat());
    }
    bytes
}

/// Three entries, the last of which has its own fields; one more is deleted.
const ENTRIES: &str = "3 1 2 f g 0 2 0 0 a b 5 3 1 0 x y 5 2 2 0 c d 5 0 2 1 1 h e 6";

fn entries() -> Vec<u8> {
    [len(1), node(id(1, 0), ENTRIES)].concat()
}

struct Group<'a> {
    name: &'a str,
    pending: &'a [StreamId],
    consumers: &'a [(&'a str, &'a [StreamId])],
}

fn group(form: Form, group: &Group<'_>) -> Vec<u8> {
    let mut bytes = [text(group.name.as_bytes()), short(id(3, 0))].concat();
    if form != Form::Stream {
        bytes.extend(len(2));
    }
    bytes.extend(len(group.pending.len() as u64));
    for (nth, id) in (0..).zip(group.pending) {
        bytes.extend([raw(*id), (100i64 + nth).to_le_bytes().to_vec(), len(7)].concat());
    }
    bytes.extend(len(group.consumers.len() as u64));
    for (name, ids) in group.consumers {
        bytes.extend([text(name.as_bytes()), 50i64.to_le_bytes().to_vec()].concat());
        if form == Form::Stream3 {
            bytes.extend((-1i64).to_le_bytes());
        }
        bytes.extend(len(ids.len() as u64));
        ids.iter().for_each(|id| bytes.extend(raw(*id)));
    }
    bytes
}

fn with_groups(form: Form, groups: &[Group<'_>]) -> Vec<u8> {
    let count = len(groups.len() as u64);
    let groups: Vec<u8> = groups.iter().flat_map(|it| group(form, it)).collect();
    [entries(), about(form, 3, id(5, 0)), count, groups].concat()
}

fn check(form: Form, bytes: &[u8], look: impl FnOnce(&Stream)) {
    let value = whole_and_sliced(form, bytes).unwrap().unwrap();
    let ValueRef::Stream(stream) = value.view() else {
        panic!("it is a stream");
    };
    stream.check_invariants();
    look(stream);
}

const GROUP: Group<'static> = Group {
    name: "g",
    pending: &[id(1, 0), id(3, 0), id(3, 1)],
    consumers: &[("c", &[id(3, 0)]), ("d", &[id(3, 1), id(1, 0)])],
};

#[test]
fn entries_are_read() {
    for form in [Form::Stream, Form::Stream2, Form::Stream3] {
        let bytes = [entries(), about(form, 3, id(5, 0)), len(0)].concat();
        check(form, &bytes, |stream| {
            let found = stream.entries.range(StreamId::MIN, StreamId::MAX);
            let found: Vec<String> = found
                .map(|entry| {
                    let words = entry.fields.flat_map(|(field, value)| [field, value]);
                    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
                    format!("{}-{} {}", entry.id.ms, entry.id.seq, words.join(" "))
                })
                .collect();
            assert_eq!(found, ["1-0 f a g b", "3-0 f c g d", "3-1 h e"]);
            assert_eq!(stream.entries.last_id(), id(5, 0));
            let (deleted, added) = (stream.entries.max_deleted_id(), stream.entries.added());
            match form {
                Form::Stream => assert_eq!((deleted, added), (id(0, 0), 3)),
                _ => assert_eq!((deleted, added), (id(2, 0), 9)),
            }
            assert!(stream.groups.is_empty());
        });
    }
    let empty = [len(0), about(Form::Stream2, 0, id(5, 0)), len(0)].concat();
    check(Form::Stream2, &empty, |stream| {
        assert!(stream.entries.is_empty())
    });
}

#[test]
fn groups_are_read() {
    for form in [Form::Stream, Form::Stream2, Form::Stream3] {
        let other = Group {
            name: "other",
            pending: &[],
            consumers: &[],
        };
        check(form, &with_groups(form, &[GROUP, other]), |stream| {
            assert_eq!(stream.groups.len(), 2);
            let group = stream.groups.get(b"g").unwrap();
            assert_eq!((group.last_id, group.pending_len()), (id(3, 0), 3));
            let read = match form {
                Form::Stream => None,
                _ => Some(2),
            };
            assert_eq!(group.entries_read, read);
            for (at, (owner, delivered)) in [("d", 100), ("c", 101), ("d", 102)].iter().enumerate()
            {
                let pending = group.pending(GROUP.pending[at]).unwrap();
                let consumer = group.consumer(pending.consumer).unwrap();
                assert_eq!(consumer.name(), owner.as_bytes());
                assert_eq!(pending.delivered, UnixMs(*delivered));
                assert_eq!(pending.deliveries, 7);
                assert_eq!(consumer.seen, UnixMs(50));
                let active = (form != Form::Stream3).then_some(UnixMs(50));
                assert_eq!(consumer.active, active);
            }
        });
    }
    // Nobody knows how much was read.
    let unknown = with_groups(Form::Stream2, &[]);
    let bytes = [
        &unknown[..unknown.len() - 1],
        &len(1),
        &text(b"g"),
        &short(id(1, 0)),
        &len(u64::MAX),
        &len(0),
        &len(0),
    ];
    check(Form::Stream2, &bytes.concat(), |stream| {
        assert_eq!(stream.groups.get(b"g").unwrap().entries_read, None);
    });
}

#[track_caller]
fn refuse_group(pending: &[StreamId], consumers: &[(&str, &[StreamId])], text: &'static str) {
    let group = Group {
        name: "g",
        pending,
        consumers,
    };
    let bytes = with_groups(Form::Stream3, &[group]);
    refused(Form::Stream3, &bytes, Fault::Corrupt(text));
}

#[test]
fn what_is_pending_has_one_owner() {
    let form = Form::Stream3;
    let (one, two, three) = (id(1, 0), id(3, 0), id(3, 1));
    let all = &[one, two, three];
    let owners = "an id is pending with two consumers";
    refuse_group(all, &[("c", &[two]), ("d", &[two])], owners);
    refuse_group(all, &[("c", &[two, two])], owners);
    let none = "an id is pending with no consumer";
    refuse_group(all, &[("c", &[two])], none);
    refuse_group(all, &[], none);
    let unknown = "a consumer has an id that is not pending";
    refuse_group(all, &[("c", &[id(9, 9)])], unknown);
    refuse_group(&[], &[("c", &[two])], unknown);
    let twice = "an id is pending twice";
    refuse_group(&[one, one], &[("c", &[one])], twice);
    refuse_group(&[one, two, one], &[("c", &[one, two])], twice);
    let names = "a group has two consumers of one name";
    refuse_group(&[], &[("c", &[]), ("c", &[])], names);
    let groups = "a stream has two groups of one name";
    refused(
        form,
        &with_groups(form, &[GROUP, GROUP]),
        Fault::Corrupt(groups),
    );
    // The order does not matter, while there are few.
    let unsorted = Group {
        name: "h",
        pending: &[three, two, one],
        consumers: &[("d", &[three, one]), ("c", &[two])],
    };
    check(form, &with_groups(form, &[unsorted, GROUP]), |stream| {
        assert_eq!(stream.groups.get(b"h").unwrap().pending_len(), 3);
    });
    let many: Vec<StreamId> = (0..5_000).rev().map(|ms| id(ms, 0)).collect();
    let bytes = group(
        form,
        &Group {
            name: "g",
            pending: &many,
            consumers: &[("c", &many)],
        },
    );
    let bytes = [entries(), about(form, 3, id(5, 0)), len(1), bytes].concat();
    let unsorted = "names or ids of a stream's group are not in order";
    refused(form, &bytes, Fault::Corrupt(unsorted));
}

#[test]
fn entries_that_contradict_themselves_are_refused() {
    let form = Form::Stream2;
    let stream = |entries: &str| {
        [
            len(1),
            node(id(1, 0), entries),
            about(form, 3, id(5, 0)),
            len(0),
        ]
        .concat()
    };
    let bad = "a node of a stream contradicts itself";
    for entries in [
        "",
        "3",
        "x 1 0 0",
        "-1 0 0 0",
        "0 0 -1 0",
        "0 0 1 f",
        // The mark behind the names, more or fewer entries, the length of one.
        "0 0 1 f 1",
        "1 0 1 f 0",
        "0 0 1 f 0 2 0 0 a 4",
        "0 1 1 f 0 2 0 0 a 4",
        "1 0 1 f 0 3 0 0 a 4",
        "1 0 1 f 0 2 0 0 a 5",
        "1 0 1 f 0 0 0 0 -1 a 4",
        "1 0 1 f 0 0 0 0 9223372036854775807 a 4",
        "1 0 1 f 0 2 0 0",
        "1 0 1 f 0 2 0 0 a",
    ] {
        match whole_and_sliced(form, &stream(entries)) {
            Err(Fault::Corrupt(text)) => assert!([bad, "a listpack is damaged"].contains(&text)),
            other => panic!("{entries}: {other:?}"),
        }
    }
}

#[test]
fn entries_are_in_order_and_as_many_as_is_said() {
    let form = Form::Stream2;
    let refuse = |bytes: &[u8], text: &'static str| refused(form, bytes, Fault::Corrupt(text));
    let stream = |entries: &str| {
        [
            len(1),
            node(id(1, 0), entries),
            about(form, 3, id(5, 0)),
            len(0),
        ]
        .concat()
    };
    let order = "the entries of a stream are not in order";
    refuse(&stream("2 0 1 f 0 2 1 0 a 4 2 0 0 b 4"), order);
    refuse(&stream("2 0 1 f 0 2 1 0 a 4 2 1 0 b 4"), order);
    let two_nodes = |second: StreamId| {
        let nodes = [
            node(id(7, 0), "1 0 0 0 2 0 0 3"),
            node(second, "1 0 0 0 2 0 0 3"),
        ];
        [len(2), nodes.concat(), about(form, 2, id(9, 0)), len(0)].concat()
    };
    check(form, &two_nodes(id(7, 1)), |stream| {
        assert_eq!(stream.entries.len(), 2)
    });
    refuse(&two_nodes(id(7, 0)), order);
    refuse(&two_nodes(id(6, 9)), order);
    let with = |count, last| [entries(), about(form, count, last), len(0)].concat();
    for count in [0, 2, 4, u64::MAX] {
        refuse(
            &with(count, id(5, 0)),
            "a stream's length is not that of its entries",
        );
    }
    refuse(
        &with(3, id(3, 0)),
        "a stream's last id is less than that of an entry",
    );
    let key = "the key of a stream's node is no id";
    for bytes in [&[0; 15][..], &[0; 17], b""] {
        refuse(
            &[len(1), text(bytes), text(&listpack(&["0"]))].concat(),
            key,
        );
    }
    // A sequence number may be less than that of the node.
    let bytes = [
        len(1),
        node(id(7, 5), "1 0 0 0 2 1 -5 3"),
        about(form, 1, id(9, 0)),
        len(0),
    ];
    check(form, &bytes.concat(), |stream| {
        assert_eq!(stream.entries.first_id(), id(8, 0))
    });
}

#[test]
fn compressed_nodes_are_read() {
    let elements = ["3", "0", "1", "f", "0"]
        .map(str::to_owned)
        .into_iter()
        .chain((0..3).flat_map(|ms| {
            [
                "2".to_owned(),
                ms.to_string(),
                "0".to_owned(),
                "x".repeat(5_000),
                "4".to_owned(),
            ]
        }));
    let elements: Vec<String> = elements.collect();
    let packed = packed(&listpack(&elements));
    assert!(packed.len() < 1_000);
    let form = Form::Stream2;
    let bytes = [
        len(1),
        text(&raw(id(1, 0))),
        packed,
        about(form, 3, id(9, 0)),
        len(0),
    ]
    .concat();
    check(form, &bytes, |stream| {
        assert_eq!(stream.entries.len(), 3);
        let entry = stream.entries.get(id(3, 0)).unwrap();
        assert_eq!(entry.fields.clone().next().unwrap().1.len(), 5_000);
    });
}
