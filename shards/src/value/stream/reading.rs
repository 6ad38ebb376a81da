//! How far a group has read, and what is ahead of it. What a group has read can be
//! counted only while nothing ahead of it was deleted; else it is found out where that
//! is possible, or is unknown.

use super::StreamId;
use super::entries::Entries;
use super::group::Group;

impl Entries {
    /// Whether something was deleted that is not before `id`, and not before the first
    /// entry.
    fn has_gaps_from(&self, id: StreamId) -> bool {
        let deleted = self.max_deleted_id();
        !self.is_empty() && !deleted.is_zero() && self.first_id() <= deleted && id <= deleted
    }

    /// How many entries were ever added up to this id, if that can be told.
    pub fn count_until(&self, id: StreamId) -> Option<u64> {
        let added = self.added();
        if added == 0 {
            return Some(0);
        }
        let last = self.last_id();
        if id == last || self.is_empty() && id < last {
            return Some(added);
        }
        if id > last {
            return None;
        }
        let (first, deleted) = (self.first_id(), self.max_deleted_id());
        if !deleted.is_zero() && deleted >= first || id > first {
            return None;
        }
        let before = added.wrapping_sub(self.len() as u64);
        Some(before.wrapping_add(u64::from(id == first)))
    }

    /// How many entries are ahead of a group (`lag`), if that can be told.
    pub fn lag_of(&self, group: &Group) -> Option<u64> {
        if self.added() == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_gaps_from(group.last_id) => Some(read),
            _ => self.count_until(group.last_id),
        };
        Some(self.added().wrapping_sub(read?))
    }

    /// Notes that a group is being delivered the entry with this id, which is greater
    /// than all that it was delivered before.
    pub fn advance(&self, group: &mut Group, id: StreamId) {
        match group.entries_read {
            Some(read) if !self.has_gaps_from(id) => {
                group.entries_read = Some(read.wrapping_add(1));
            }
            _ if self.added() > 0 => group.entries_read = self.count_until(id),
            _ => {}
        }
        group.last_id = id;
    }
}
