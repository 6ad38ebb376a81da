//! Taking entries off the front of a stream: XTRIM, and XADD with MAXLEN or MINID.

use super::entries::Entries;
use super::{Stream, StreamId};

/// What is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// So many of the last entries.
    MaxLen(u64),
    /// The entries whose ids are not less.
    MinId(StreamId),
}

/// What becomes of an entry that groups refer to, as its reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum References {
    /// It goes, and stays pending (KEEPREF).
    Keep,
    /// It goes, and is not pending any more (DELREF).
    Delete,
    /// It stays: only what all groups have read and acknowledged goes (ACKED).
    Acknowledged,
}

/// How far a trimming is to go, and has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub to: TrimTo,
    /// Only whole nodes go (`~`).
    pub approx: bool,
    /// At most about so many entries go, if not 0 (LIMIT).
    pub limit: u64,
    pub references: References,
    /// So many have gone.
    pub removed: u64,
    /// Where it goes on.
    at: StreamId,
    /// Up to here is looked at entry by entry.
    until: Option<StreamId>,
}

impl Trim {
    pub fn new(to: TrimTo, approx: bool, limit: u64) -> Self {
        Self {
            to,
            approx,
            limit,
            references: References::Keep,
            removed: 0,
            at: StreamId::MIN,
            until: None,
        }
    }

    pub fn with(self, references: References) -> Self {
        Self { references, ..self }
    }
}

impl Stream {
    /// Goes on with trimming, by about as much work as `budget` elements are; whether
    /// there is more to do.
    #[inline]
    pub fn trim_some(&mut self, trim: &mut Trim, budget: usize) -> bool {
        if trim.references == References::Keep || self.groups.is_empty() {
            return self.entries.trim_some(trim, budget);
        }
        self.trim_referenced(trim, budget)
    }

    /// Whether a trimming is more work than so many elements, once so many entries are
    /// added.
    pub fn trim_exceeds(&self, trim: &Trim, added: u64, elements: usize) -> bool {
        let entries = &self.entries;
        let over = |most: u64| (entries.len() as u64 + added).saturating_sub(most);
        if trim.references == References::Keep || self.groups.is_empty() {
            let to = match trim.to {
                TrimTo::MaxLen(most) => TrimTo::MaxLen(most.saturating_sub(added)),
                TrimTo::MinId(_) => trim.to,
            };
            return entries.trim_exceeds(&Trim { to, ..*trim }, elements);
        }
        match (trim.to, trim.references) {
            // All may have to be looked at for the few that may go.
            (TrimTo::MaxLen(most), References::Acknowledged) => {
                over(most) > 0 && entries.len() > elements
            }
            (TrimTo::MaxLen(most), _) => over(most) > elements as u64,
            (TrimTo::MinId(min), _) => min.prev().is_some_and(|last| {
                let gone = entries.range(StreamId::MIN, last);
                gone.take(elements.saturating_add(1)).count() > elements
            }),
        }
    }

    /// What a trimming that is over would have been to do the same without `~` and limits.
    pub fn trimmed_to(&self, trim: &Trim) -> TrimTo {
        match trim.to {
            TrimTo::MaxLen(_) => TrimTo::MaxLen(self.entries.len() as u64),
            // What is behind was not looked at.
            TrimTo::MinId(_) if trim.at > StreamId::MIN => TrimTo::MinId(trim.at),
            // Nothing is left: all was before it.
            TrimTo::MinId(min) if self.entries.is_empty() => TrimTo::MinId(min),
            TrimTo::MinId(_) => TrimTo::MinId(self.entries.first_id()),
        }
    }

    /// Trims entry by entry, because groups have a say in it.
    fn trim_referenced(&mut self, trim: &mut Trim, mut budget: usize) -> bool {
        loop {
            let len = self.entries.len() as u64;
            let enough = |most| len <= most;
            if matches!(trim.to, TrimTo::MaxLen(most) if enough(most)) {
                return false;
            }
            let Some((id, node)) = self.entries.first_from(trim.at) else {
                return false;
            };
            if matches!(trim.to, TrimTo::MinId(min) if id >= min) {
                return false;
            }
            if trim.until.is_none_or(|until| until < id) {
                let (live, last) = (node.live() as u64, node.last());
                let whole = match trim.to {
                    TrimTo::MaxLen(most) => len.saturating_sub(live) >= most,
                    TrimTo::MinId(min) => last < min,
                };
                let over = trim.limit > 0 && trim.removed.saturating_add(live) > trim.limit;
                if over || trim.approx && !whole {
                    return false;
                }
                trim.until = Some(last);
            }
            if budget == 0 {
                return true;
            }
            budget -= 1;
            trim.at = id.next().unwrap_or(StreamId::MAX);
            if trim.references == References::Acknowledged && self.groups.refer_to(id) {
                if id == StreamId::MAX {
                    return false;
                }
                continue;
            }
            self.groups.forget(id);
            trim.removed += u64::from(self.entries.take_out(id));
        }
    }
}

impl Entries {
    /// Trims; how many entries have gone.
    pub fn trim(&mut self, mut trim: Trim) -> u64 {
        self.trim_some(&mut trim, usize::MAX);
        trim.removed
    }

    /// Goes on with trimming, by about as much work as `budget` elements are; whether
    /// there is more to do.
    #[inline]
    pub fn trim_some(&mut self, trim: &mut Trim, mut budget: usize) -> bool {
        loop {
            if let TrimTo::MaxLen(most) = trim.to
                && self.len() as u64 <= most
            {
                return false;
            }
            let Some(node) = self.front() else {
                return false;
            };
            let live = node.live() as u64;
            if trim.limit > 0 && trim.removed.saturating_add(live) > trim.limit {
                return false;
            }
            let whole = match trim.to {
                TrimTo::MaxLen(most) => self.len() as u64 - live >= most,
                TrimTo::MinId(id) => node.last() < id,
            };
            if whole {
                if budget == 0 {
                    return true;
                }
                budget = budget.saturating_sub(super::entries::NODE_COST);
                trim.removed += self.drop_front_node() as u64;
                continue;
            }
            if !trim.approx {
                trim.removed += self.trim_within(trim.to);
            }
            return false;
        }
    }

    /// Whether a trimming is more work than so many elements.
    fn trim_exceeds(&self, trim: &Trim, elements: usize) -> bool {
        let mut left = self.len() as u64;
        for (passed, node) in self.iter_nodes().enumerate() {
            let live = node.live() as u64;
            let removed = self.len() as u64 - left + live;
            let whole = match trim.to {
                TrimTo::MaxLen(most) => left - live >= most,
                TrimTo::MinId(id) => node.last() < id,
            };
            if !whole || trim.limit > 0 && removed > trim.limit {
                return false;
            }
            if passed >= elements / super::entries::NODE_COST {
                return true;
            }
            left -= live;
        }
        false
    }

    /// Drops those entries of the first node that are too many; how many.
    fn trim_within(&mut self, to: TrimTo) -> u64 {
        let mut left = match to {
            TrimTo::MaxLen(most) => (self.len() as u64).saturating_sub(most),
            TrimTo::MinId(_) => u64::MAX,
        };
        let dropped = self.drop_in_front_node(|id| {
            let wanted = match to {
                TrimTo::MaxLen(_) => left > 0,
                TrimTo::MinId(min) => id < min,
            };
            left -= u64::from(wanted);
            wanted
        });
        // The last one that lives goes with its node. What is behind `last` of a node has
        // gone already, so it may be too old as well.
        let all = self.front().is_some_and(|node| node.live() == 1)
            && match to {
                TrimTo::MaxLen(_) => left > 0,
                TrimTo::MinId(min) => self.first_id() < min,
            };
        dropped as u64
            + if all {
                self.drop_front_node() as u64
            } else {
                0
            }
    }
}
