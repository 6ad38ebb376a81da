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

#[cfg(test)]
mod tests {
    use super::super::{NodeLimits, Stream, Trim, TrimTo, pairs};
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId::new(ms, 0)
    }

    /// Entries 1 to 5, and a group that has read the first.
    fn stream() -> Stream {
        let mut stream = Stream::new();
        for ms in 1..6 {
            let fields = pairs([&b"f"[..], b"v"].into_iter());
            let limits = NodeLimits::new(0, 0);
            stream.entries.append(id(ms), fields, limits).unwrap();
        }
        stream.groups.create(b"g", StreamId::MIN, None).unwrap();
        read(&mut stream, 1);
        stream
    }

    fn read(stream: &mut Stream, ms: u64) {
        let mut group = stream.groups.get_mut(b"g").unwrap();
        stream.entries.advance(&mut group, id(ms));
    }

    fn trim(stream: &mut Stream, most: u64) {
        let trim = Trim::new(TrimTo::MaxLen(most), false, 0);
        stream.entries.trim(trim);
    }

    /// `entries-read` and `lag`.
    fn told(stream: &Stream) -> (Option<u64>, Option<u64>) {
        let group = stream.groups.get(b"g").unwrap();
        (group.entries_read, stream.entries.lag_of(group))
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn what_is_known_of_a_group() {
        let mut one = stream();
        assert_eq!(told(&one), (Some(1), Some(4)));
        one.entries.delete(id(2));
        assert_eq!(told(&one), (Some(1), None));
        trim(&mut one, 2);
        assert_eq!(told(&one), (Some(1), Some(4)));
        read(&mut one, 4);
        assert_eq!(told(&one), (Some(2), Some(3)));

        let mut one = stream();
        trim(&mut one, 3);
        assert_eq!(told(&one), (Some(1), Some(4)));
        read(&mut one, 3);
        assert_eq!(told(&one), (Some(2), Some(3)));

        let mut one = stream();
        one.entries.delete(id(1));
        assert_eq!(told(&one), (Some(1), Some(4)));
        read(&mut one, 2);
        assert_eq!(told(&one), (Some(2), Some(3)));
        one.entries.delete(id(5));
        assert_eq!(told(&one), (Some(2), None));
        trim(&mut one, 0);
        assert_eq!(told(&one), (Some(2), Some(3)));
        let set = |one: &mut Stream, ms| {
            let mut group = one.groups.get_mut(b"g").unwrap();
            (group.last_id, group.entries_read) = (id(ms), None);
        };
        set(&mut one, 9);
        assert_eq!(told(&one), (None, None));
        set(&mut one, 3);
        assert_eq!(told(&one), (None, Some(0)));
        one.entries.set_id(id(9), None, None);
        assert_eq!(told(&one), (None, Some(0)));

        let mut one = Stream::new();
        one.groups.create(b"g", StreamId::MIN, None).unwrap();
        assert_eq!(told(&one), (None, Some(0)));
        one.entries.set_id(id(5), Some(9), Some(id(3)));
        assert_eq!(told(&one), (None, Some(0)));
    }
}
