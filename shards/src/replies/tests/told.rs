//! What many are told: as each of them speaks, shared, and within the limit of each.

use super::*;
use crate::pubsub::{Body, Cause, Told};
use crate::resp::Protocol;

/// What somebody is told, in parts.
fn told<'a>(head: &'a [u8], body: Body<'a>, cause: Option<u32>) -> Told<'a> {
    Told {
        to: 7,
        id: None,
        cause: cause.map(|place| Cause { key: 7, place }),
        head,
        body,
    }
}

#[test]
fn what_many_are_told_is_written_as_each_speaks() {
    let long = bytes::Bytes::from(vec![b'm'; SHARED_BYTES_MIN]);
    for (protocol, first) in [(Protocol::Resp2, "*"), (Protocol::Resp3, ">")] {
        for body in [Body::Short(b"body"), Body::Shared(&long)] {
            let mut replies = Replies::new();
            let text = String::from_utf8(match &body {
                Body::Short(bytes) => bytes.to_vec(),
                Body::Shared(bytes) => bytes.to_vec(),
            });
            let text = text.unwrap();
            let place = replies.wait(false);
            // At once, behind what has come, behind its cause, behind what was told before.
            for (head, cause) in [(">0", None), (">1", Some(place)), (">2", None)] {
                let told = told(head.as_bytes(), body.clone(), cause);
                assert_eq!(replies.tell(&told, protocol, ANY), Ok(()));
                replies.check_invariants();
            }
            // No push: what a client wants to know although it wants no replies.
            let plain = told(b"", body.clone(), None);
            assert_eq!(replies.tell(&plain, protocol, ANY), Ok(()));
            assert_eq!(sent(&mut replies), format!("{first}0{text}").as_bytes());
            reply(&mut replies, b"late,");
            assert_eq!(replies.answer(place, b"reply,"), Ok(()));
            let expected = format!("reply,{first}1{text}{first}2{text}{text}late,");
            assert_eq!(sent(&mut replies), expected.as_bytes());
            assert_eq!(replies.output_bytes(), 0);
            replies.check_invariants();
        }
    }
}

#[test]
fn a_long_body_is_shared_by_all_who_are_told() {
    let body = bytes::Bytes::from(vec![b'm'; GATHERED_BYTES_MAX]);
    for waits in [false, true] {
        let mut receivers = [(); 3].map(|()| Replies::new());
        for replies in &mut receivers {
            let place = waits.then(|| replies.wait(false));
            let told = told(b">3head", Body::Shared(&body), place);
            assert_eq!(replies.tell(&told, Protocol::Resp3, ANY), Ok(()));
            assert_eq!(
                replies.output_bytes(),
                6 + body.len(),
                "each owes all of it"
            );
            if let Some(place) = place {
                assert_eq!(replies.answer(place, b""), Ok(()));
            }
            let sends = sends(replies);
            assert!(sends.iter().any(|piece| piece.as_ptr() == body.as_ptr()));
        }
    }
    assert!(body.is_unique(), "nobody has it any more");
}

/// A client that would owe more is told nothing of it, not even a part.
#[test]
fn no_more_is_told_than_may_wait() {
    let long = bytes::Bytes::from(vec![b'm'; 5000]);
    for (body, waits) in [
        (Body::Short(&[b's'; 100]), false),
        (Body::Short(&[b's'; 100]), true),
        (Body::Shared(&long), false),
        (Body::Shared(&long), true),
    ] {
        let mut replies = Replies::new();
        let place = waits.then(|| replies.wait(false));
        let told = told(b">3", body.clone(), place);
        let length = 2 + body.len();
        for _ in 0..3 {
            assert_eq!(replies.tell(&told, Protocol::Resp3, 3 * length), Ok(()));
        }
        let untold = replies.tell(&told, Protocol::Resp3, 4 * length - 1);
        assert_eq!(untold, Err(Untold::BeyondLimit));
        assert_eq!(replies.output_bytes(), 3 * length);
        replies.check_invariants();
        if let Some(place) = place {
            assert_eq!(replies.answer(place, b""), Ok(()));
        }
        assert_eq!(sent(&mut replies).len(), 3 * length);
        // What has been read makes room.
        assert_eq!(replies.tell(&told, Protocol::Resp3, length), Ok(()));
    }
}
