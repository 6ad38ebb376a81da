//! What requests cost, counted rather than timed, for `tests/complexity.rs`.
//!
//! Only where debug assertions are compiled in: in a release build the functions
//! are empty and nothing is kept. Counts are those of the thread. What is counted
//! stands at the few places that every walk and every copy passes; a new way
//! through a collection should say so here, too.

/// What a thread has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines, nodes and slots looked at to find something.
    pub lines: u64,
    /// Elements, members, fields and entries that were visited.
    pub elements: u64,
    /// Bytes copied into replies and arguments that outlive their request.
    pub copied: u64,
    /// Bytes put into boxes for other cores.
    pub shipped: u64,
    /// How deep the stack was where any of that happened, in bytes below where the
    /// counts were taken before.
    pub stack: u64,
}

#[cfg(debug_assertions)]
mod kept {
    use super::Counts;
    use std::cell::Cell;

    thread_local! {
        static COUNTS: Cell<Counts> = const { Cell::new(Counts {
            lines: 0,
            elements: 0,
            copied: 0,
            shipped: 0,
            stack: 0,
        }) };
        /// Where the stack was when the counts were taken.
        static TOP: Cell<usize> = const { Cell::new(0) };
    }

    /// About where the stack is.
    #[inline(never)]
    fn here() -> usize {
        let place = 0u8;
        std::ptr::from_ref(std::hint::black_box(&place)).addr()
    }

    pub fn change(change: impl FnOnce(&mut Counts)) {
        let mut counts = COUNTS.get();
        change(&mut counts);
        let deep = TOP.get().saturating_sub(here()) as u64;
        counts.stack = counts.stack.max(deep);
        COUNTS.set(counts);
    }

    pub fn take() -> Counts {
        TOP.set(here());
        COUNTS.take()
    }
}

#[cfg(not(debug_assertions))]
mod kept {
    use super::Counts;

    #[inline(always)]
    pub fn change(_: impl FnOnce(&mut Counts)) {}

    pub fn take() -> Counts {
        Counts::default()
    }
}

/// What this thread has done since this was last asked.
pub fn take() -> Counts {
    kept::take()
}

#[inline(always)]
pub(crate) fn line() {
    kept::change(|counts| counts.lines += 1);
}

#[inline(always)]
pub(crate) fn elements(number: usize) {
    kept::change(|counts| counts.elements += number as u64);
}

#[inline(always)]
pub(crate) fn copied(bytes: usize) {
    kept::change(|counts| counts.copied += bytes as u64);
}

#[inline(always)]
pub(crate) fn shipped(bytes: usize) {
    kept::change(|counts| counts.shipped += bytes as u64);
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{line, take};

    fn deep(levels: usize) -> usize {
        line();
        match levels {
            0 => 0,
            // Not a call at the end, which could become a loop.
            _ => std::hint::black_box(deep(levels - 1)) + 1,
        }
    }

    #[test]
    fn a_recursion_is_seen() {
        let stack = |levels| {
            take();
            assert_eq!(deep(levels), levels);
            take().stack
        };
        let (flat, shallow, far) = (stack(0), stack(10), stack(1000));
        assert!(flat < shallow && shallow < 4096, "{flat}, {shallow}");
        assert!(far > shallow + 900 * 16, "{shallow}, {far}");
    }
}
