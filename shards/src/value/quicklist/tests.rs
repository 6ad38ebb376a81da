//! Long lists against a deque of texts.

use super::*;
use proptest::prelude::*;

fn texts(list: &Quicklist) -> Vec<Vec<u8>> {
    let texts = list.iter();
    texts.map(|it| it.with_bytes(<[u8]>::to_vec)).collect()
}

fn element(text: &[u8]) -> Element<'_> {
    text.into()
}

impl Quicklist {
    /// Panics if the structure contradicts itself.
    pub fn check_invariants(&self) {
        let mut len = 0;
        for node in &self.nodes {
            assert!(node.count > 0, "no node is empty");
            assert_eq!(node.entries().count(), node.count);
            let mut flat = u16::MAX.to_le_bytes().to_vec();
            flat.extend_from_slice(&node.bytes[node.start..]);
            assert!(crate::value::listpack::validate(&flat));
            let bound = NODE_BYTES.max(2 * node.live());
            assert!(node.count == 1 || node.live() <= NODE_BYTES);
            assert!(node.bytes.capacity() <= bound);
            len += node.count;
        }
        let bytes: usize = self.nodes.iter().map(|node| node.bytes.capacity()).sum();
        assert_eq!((self.len, self.bytes), (len, bytes));
    }
}

#[derive(Clone, Debug)]
enum Change {
    Push(End, Vec<u8>, usize),
    Pop(End, usize),
    Drop(End, usize),
    Cut(End, usize),
    Set(usize, Vec<u8>),
    Insert(Vec<u8>, bool, Vec<u8>),
    Remove(Vec<u8>, usize, End),
    ThereAndBack,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0i64..40).prop_map(|number| number.to_string().into_bytes()),
        2 => proptest::collection::vec(b'a'..b'c', 0..3),
        2 => (100usize..900).prop_map(|len| vec![b'x'; len]),
        1 => (3_000usize..9_000).prop_map(|len| vec![b'y'; len]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let end = || prop_oneof![Just(End::Front), Just(End::Back)];
    prop_oneof![
        6 => (end(), text(), 1usize..40).prop_map(|(end, text, times)| Change::Push(end, text, times)),
        3 => (end(), 0usize..30).prop_map(|(end, count)| Change::Pop(end, count)),
        1 => (end(), 0usize..60).prop_map(|(end, count)| Change::Drop(end, count)),
        1 => (end(), 0usize..400).prop_map(|(end, count)| Change::Cut(end, count)),
        3 => (any::<usize>(), text()).prop_map(|(index, text)| Change::Set(index, text)),
        4 => (text(), any::<bool>(), text())
            .prop_map(|(pivot, after, text)| Change::Insert(pivot, after, text)),
        2 => (text(), 0usize..20, end()).prop_map(|(text, count, end)| Change::Remove(text, count, end)),
        1 => Just(Change::ThereAndBack),
    ]
}

fn pop(twin: &mut VecDeque<Vec<u8>>, end: End) -> Option<Vec<u8>> {
    match end {
        End::Front => twin.pop_front(),
        End::Back => twin.pop_back(),
    }
}

/// Makes one change to both.
fn make(change: Change, list: &mut Quicklist, twin: &mut VecDeque<Vec<u8>>) {
    match change {
        Change::Push(end, text, times) => {
            for time in 0..times {
                let text = [&text[..], if time % 3 == 0 { b"7" } else { b"" }].concat();
                list.push(end, element(&text)).unwrap();
                match end {
                    End::Front => twin.push_front(text),
                    End::Back => twin.push_back(text),
                }
            }
        }
        Change::Pop(end, count) => {
            for _ in 0..count {
                let mut popped = None;
                let found = list.pop(end, &mut |it| popped = Some(it.with_bytes(<[u8]>::to_vec)));
                assert_eq!(found, popped.is_some());
                assert_eq!(popped, pop(twin, end));
            }
        }
        Change::Drop(end, count) => {
            list.drop_some(end, count);
            for _ in 0..count {
                pop(twin, end);
            }
        }
        Change::Cut(end, count) => {
            let before = list.len();
            let cut = list.cut(end, count);
            for _ in 0..count {
                pop(twin, end);
            }
            if let Some(cut) = cut {
                cut.check_invariants();
                assert!(cut.len() <= before - list.len());
            }
        }
        Change::Set(index, text) => {
            if let Some(index) = index.checked_rem(twin.len()) {
                list.set(index, element(&text)).unwrap();
                twin[index] = text;
            }
        }
        Change::Insert(pivot, after, text) => {
            let at = twin.iter().position(|it| *it == pivot);
            let found = list.insert(&pivot, after, element(&text)).unwrap();
            assert_eq!(found, at.is_some());
            if let Some(at) = at {
                twin.insert(at + usize::from(after), text);
            }
        }
        Change::Remove(text, count, end) => {
            let mut at: Vec<usize> = (0..twin.len()).filter(|at| twin[*at] == text).collect();
            if end == End::Back {
                at.reverse();
            }
            at.truncate(count);
            assert_eq!(remove(list, &text, (count, end)), at.len());
            at.sort_unstable();
            for at in at.into_iter().rev() {
                twin.remove(at);
            }
        }
        Change::ThereAndBack => {
            let flat = list.to_listpack().unwrap();
            *list = Quicklist::from_listpack(Listpack::new(&flat)).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn changes_are_those_of_a_deque(changes in proptest::collection::vec(change(), 0..50)) {
        let (mut list, mut twin) = (Quicklist::default(), VecDeque::new());
        for change in changes {
            make(change, &mut list, &mut twin);
            list.check_invariants();
            prop_assert_eq!(list.len(), twin.len());
        }
        prop_assert_eq!(&texts(&list), twin.make_contiguous());
        let mut backwards: Vec<_> = list.iter().rev().map(|it| it.with_bytes(<[u8]>::to_vec)).collect();
        backwards.reverse();
        prop_assert_eq!(&backwards, twin.make_contiguous());
        for (index, text) in twin.iter().enumerate() {
            prop_assert!(list.get(index).unwrap().eq_bytes(text));
            prop_assert_eq!(list.iter_from(index).count(), twin.len() - index);
            prop_assert_eq!(list.iter_from(index).next(), list.get(index));
        }
        prop_assert_eq!(list.get(twin.len()), None);
        let copy = list.try_clone().unwrap();
        copy.check_invariants();
        prop_assert!(copy.iter().eq(list.iter()));
        let flat = list.to_listpack().unwrap();
        prop_assert!(list.fits_into(flat.len()));
        prop_assert!(list.is_empty() || !list.fits_into(flat.len() - 1));
    }
}

/// From both ends of a list, in turns: nothing is moved more than now and then.
#[test]
fn both_ends_meet() {
    let mut list = Quicklist::default();
    for number in 0..100_000 {
        list.push(End::Front, Element::Int(-number)).unwrap();
        list.push(End::Back, Element::Int(number)).unwrap();
        if number % 3 == 0 {
            assert!(list.pop(End::Back, &mut |_| ()));
        }
    }
    list.check_invariants();
    assert!(list.heap_bytes() < 8 * list.len());
    while list.pop(End::Front, &mut |_| ()) {
        list.pop(End::Back, &mut |_| ());
    }
    list.check_invariants();
    assert!(list.heap_bytes() < 8192);
}

/// A queue that stays about as long as it is does not grow.
#[test]
fn a_queue_stays_small() {
    let mut list = Quicklist::default();
    for number in 0..50_000 {
        list.push(End::Back, element(b"some job of the queue"))
            .unwrap();
        if number >= 10 {
            list.pop(End::Front, &mut |_| ());
        }
    }
    list.check_invariants();
    assert!(list.heap_bytes() < 4096);
}

#[test]
fn a_million_elements_of_32_bytes_take_less_than_36_each() {
    for end in [End::Front, End::Back] {
        let mut list = Quicklist::default();
        for number in 0..1_000_000 {
            let text = format!("{number:032x}g");
            list.push(end, element(&text.as_bytes()[1..])).unwrap();
        }
        assert!(list.heap_bytes() < 36_000_000, "{}", list.heap_bytes());
        assert!(list.get(500_000).is_some());
    }
}

#[test]
fn a_list_is_freed_in_slices() {
    let mut list = Quicklist::default();
    for number in 0..10_000 {
        list.push(End::Back, Element::Int(number)).unwrap();
    }
    let mut slices = 1;
    while list.free_some(1_000) {
        slices += 1;
    }
    assert!((4..=10).contains(&slices), "{slices}");
}

#[test]
fn what_is_cut_off_is_not_freed_at_once() {
    const LEN: usize = 50_000;
    for end in [End::Front, End::Back] {
        for count in [10, 20_000, 40_000, LEN, LEN + 1] {
            let mut list = Quicklist::default();
            for number in 0..LEN as i64 {
                list.push(End::Back, Element::Int(number)).unwrap();
            }
            let mut twin: VecDeque<_> = texts(&list).into();
            let cut = list.cut(end, count);
            (0..count).for_each(|_| drop(pop(&mut twin, end)));
            assert_eq!(&texts(&list), twin.make_contiguous());
            list.check_invariants();
            let Some(cut) = cut else {
                assert_eq!(count, 10);
                continue;
            };
            cut.check_invariants();
            // All but what came from the node in which the cut is.
            assert!(cut.len() + 2_000 > count.min(LEN));
        }
    }
}

/// Removes elements, some at a time; how many.
fn remove(list: &mut Quicklist, text: &[u8], (count, end): (usize, End)) -> usize {
    let mut purge = Purge::new(end, count);
    let budget = [1, 40, usize::MAX][list.len() % 3];
    while list.purge(&mut purge, Wanted::new(text), budget) {
        // The nodes that were passed are counted as the others are.
        let counts = list.nodes.iter().map(|node| node.count);
        assert_eq!(counts.sum::<usize>(), list.len());
        let bytes = list.nodes.iter().map(|node| node.bytes.capacity());
        assert_eq!(bytes.sum::<usize>(), list.bytes);
    }
    purge.removed
}

#[test]
fn what_is_left_after_removals_is_joined() {
    let mut list = Quicklist::default();
    for number in 0..20_000 {
        let text: &[u8] = if number % 100 == 0 { b"stays" } else { b"goes" };
        list.push(End::Back, element(text)).unwrap();
    }
    assert_eq!(remove(&mut list, b"goes", (usize::MAX, End::Back)), 19_800);
    list.check_invariants();
    assert!(list.nodes.len() < 3);
    assert!(list.heap_bytes() < 4096);
}

#[test]
fn elements_that_are_small_again_take_little_memory() {
    const LEN: usize = 2000;
    let number = |at: usize| (at % 7).to_string().into_bytes();
    let mut fresh = Quicklist::default();
    (0..LEN).for_each(|at| fresh.push(End::Back, element(&number(at))).unwrap());
    // Forwards, backwards, and in no order.
    let orders: [fn(usize) -> usize; 3] = [|at| at, |at| LEN - 1 - at, |at| at * 777 % LEN];
    for order in orders {
        let mut list = fresh.try_clone().unwrap();
        for at in (0..LEN).map(order) {
            list.set(at, element(&[b'x'; 4000])).unwrap();
        }
        list.check_invariants();
        assert!(list.heap_bytes() > LEN * 4000);
        for at in (0..LEN).map(order) {
            list.set(at, element(&number(at))).unwrap();
        }
        list.check_invariants();
        assert_eq!(texts(&list), texts(&fresh));
        let (held, needed) = (list.heap_bytes(), fresh.heap_bytes());
        assert!(held <= 2 * needed + 2 * NODE_BYTES, "{held} of {needed}");
    }
}
