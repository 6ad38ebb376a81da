//! Taking entries off the front of a stream: XTRIM, and XADD with MAXLEN or MINID.

use super::StreamId;
use super::entries::Entries;

/// What is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// So many of the last entries.
    MaxLen(u64),
    /// The entries whose ids are not less.
    MinId(StreamId),
}

/// How far a trimming is to go, and has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    pub to: TrimTo,
    /// Only whole nodes go (`~`).
    pub approx: bool,
    /// At most about so many entries go, if not 0 (LIMIT).
    pub limit: u64,
    /// So many have gone.
    pub removed: u64,
}

impl Trim {
    pub fn new(to: TrimTo, approx: bool, limit: u64) -> Self {
        Self {
            to,
            approx,
            limit,
            removed: 0,
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
