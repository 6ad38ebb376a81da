//! Entries, form by form.

use super::*;

fn draft<'a>(key: &'a [u8], payload: Payload<'a>, expire_at: Option<UnixMs>) -> Settled<'a> {
    let draft = Draft {
        key,
        payload,
        expire_at,
        clock: 0x00AB_CDEF,
        snapshot: true,
    };
    draft.settle().unwrap()
}

fn bytes(bytes: &[u8]) -> Payload<'_> {
    Payload::Bytes(bytes, Encoding::of_text(bytes))
}

#[test]
fn keeps_what_it_is_given_in_every_form() {
    let mut slab = Slab::default();
    let all = [0usize, 1, 1000, 1024, 3000, 16, 1023, 70_000];
    let lengths = &all[..if cfg!(miri) { 5 } else { all.len() }];
    for &key_len in lengths {
        for &value_len in lengths {
            for expire_at in [None, Some(UnixMs(i64::MAX)), Some(UnixMs(-5))] {
                let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
                let entry = draft(&key, bytes(&value), expire_at)
                    .build(&mut slab)
                    .unwrap();
                let look = entry.look();
                assert_eq!(look.key(), key);
                let value = ValueRef::String(StringRef::Bytes(&value));
                assert_eq!(look.view(), View { value, expire_at });
                assert_eq!((look.clock(), look.snapshot()), (0x00AB_CDEF, true));
                drop(entry.free(&mut slab));
            }
            let key = vec![b'k'; key_len];
            let entry = draft(&key, Payload::Int(-7), None)
                .build(&mut slab)
                .unwrap();
            assert_eq!(entry.look().value(), ValueRef::String(StringRef::Int(-7)));
            assert_eq!(entry.look().encoding().name(), "int");
            assert!(entry.free(&mut slab).is_none());
        }
    }
    assert_eq!(slab.entries(), 0);
}

#[test]
fn a_small_entry_costs_eight_bytes() {
    let settled = draft(b"0123456789abcdef", bytes(&[b'v'; 32]), None);
    assert_eq!(settled.size(), 56);
}

#[test]
fn rewrites_in_place_only_within_its_room() {
    let mut slab = Slab::default();
    let mut entry = draft(b"key", bytes(b"12345"), None)
        .build(&mut slab)
        .unwrap();
    let mut edit = EntryMut {
        at: entry.at,
        of: PhantomData::<&mut Entry>,
    };
    assert!(edit.rewrite(draft(b"key", bytes(b"1234"), None)).is_ok());
    assert_eq!(
        edit.look().value(),
        ValueRef::String(StringRef::Bytes(b"1234"))
    );
    assert!(edit.rewrite(draft(b"key", bytes(b"123456"), None)).is_err());
    assert!(edit.rewrite(draft(b"key", Payload::Int(1), None)).is_err());
    assert!(!edit.set_expire_at(Some(UnixMs(1))));
    assert_eq!(edit.overwrite_inline(4, b"5"), Some(5));
    assert_eq!(edit.overwrite_inline(5, b"6"), None);
    assert_eq!(
        edit.look().value(),
        ValueRef::String(StringRef::Bytes(b"12345"))
    );
    assert_eq!(edit.look().encoding(), Encoding::Raw);
    let _ = &mut entry;
    drop(entry.free(&mut slab));
}

#[test]
fn a_long_key_is_never_copied_again() {
    let mut slab = Slab::default();
    let key = vec![b'k'; 5000];
    let entry = draft(&key, bytes(b"small"), None).build(&mut slab).unwrap();
    let mut edit = EntryMut {
        at: entry.at,
        of: PhantomData::<&mut Entry>,
    };
    assert!(edit.set_expire_at(Some(UnixMs(9))));
    let old = edit.rewrite(draft(&key, Payload::Int(3), Some(UnixMs(8))));
    assert!(old.is_ok_and(|value| value.is_some()));
    assert!(edit.set_expire_at(None));
    assert_eq!(edit.look().key(), key);
    assert_eq!(edit.look().view().expire_at, None);
    assert_eq!(edit.into_number().copied(), Some(3));
    drop(entry.free(&mut slab));
    assert_eq!(slab.entries(), 0);
}
