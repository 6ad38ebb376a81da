//! The consumer groups of a stream, in the order of their names.

use super::StreamId;
use super::group::Group;
use crate::error::OutOfMemory;
use std::ops::{Deref, DerefMut};

/// See the module.
#[derive(Debug, Default)]
pub struct Groups {
    // Boxes, because all behind it move when one comes or goes.
    #[allow(clippy::vec_box)]
    groups: Vec<Box<Group>>,
    /// Bytes of all groups.
    bytes: usize,
}

impl PartialEq for Groups {
    fn eq(&self, other: &Self) -> bool {
        self.groups == other.groups
    }
}

/// A group that may be changed.
#[derive(Debug)]
pub struct GroupMut<'a> {
    group: &'a mut Group,
    bytes: &'a mut usize,
    before: usize,
}

impl Deref for GroupMut<'_> {
    type Target = Group;

    fn deref(&self) -> &Group {
        self.group
    }
}

impl DerefMut for GroupMut<'_> {
    fn deref_mut(&mut self) -> &mut Group {
        self.group
    }
}

impl Drop for GroupMut<'_> {
    fn drop(&mut self) {
        *self.bytes = *self.bytes + self.group.heap_bytes() - self.before;
    }
}

impl Groups {
    pub const fn new() -> Self {
        Self {
            groups: Vec::new(),
            bytes: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Box<Group>>() + self.bytes
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Group> + Clone + '_ {
        self.groups.iter().map(|group| &**group)
    }

    /// The one with so many before it in the order of the names.
    pub fn at(&self, nth: usize) -> Option<&Group> {
        self.groups.get(nth).map(|group| &**group)
    }

    fn place_of(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| group.name().cmp(name))
    }

    pub fn get(&self, name: &[u8]) -> Option<&Group> {
        let at = self.place_of(name).ok()?;
        Some(&self.groups[at])
    }

    pub fn get_mut(&mut self, name: &[u8]) -> Option<GroupMut<'_>> {
        let at = self.place_of(name).ok()?;
        let group = &mut self.groups[at];
        Some(GroupMut {
            before: group.heap_bytes(),
            group,
            bytes: &mut self.bytes,
        })
    }

    /// Adds a group; whether there was none with this name.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn create(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<bool, OutOfMemory> {
        let Err(at) = self.place_of(name) else {
            return Ok(false);
        };
        let group = Group::new(name, last_id, entries_read)?;
        self.insert(at, group)?;
        Ok(true)
    }

    fn insert(&mut self, at: usize, group: Group) -> Result<(), OutOfMemory> {
        if self.groups.len() == self.groups.capacity() {
            let more = (self.groups.len() / 2).max(1);
            self.groups.try_reserve_exact(more)?;
        }
        self.bytes += group.heap_bytes();
        self.groups.insert(at, Box::new(group));
        Ok(())
    }

    /// Takes a group off, to be freed in slices.
    pub(super) fn take(&mut self, name: &[u8]) -> Option<Self> {
        let at = self.place_of(name).ok()?;
        let group = self.groups.remove(at);
        let bytes = group.heap_bytes();
        self.bytes -= bytes;
        if self.groups.len() < self.groups.capacity() / 4 {
            self.groups.shrink_to(self.groups.capacity() / 2);
        }
        Some(Self {
            groups: vec![group],
            bytes,
        })
    }

    /// Whether any group may still ask for an entry.
    pub fn refer_to(&self, id: StreamId) -> bool {
        self.groups.iter().any(|group| group.refers_to(id))
    }

    /// Has an id not be pending in any group; in how many it was.
    pub fn forget(&mut self, id: StreamId) -> usize {
        let mut forgotten = 0;
        for group in &mut self.groups {
            let before = group.heap_bytes();
            forgotten += usize::from(group.ack(id).is_some());
            self.bytes = self.bytes + group.heap_bytes() - before;
        }
        forgotten
    }

    /// Drops about as much as `budget` elements; whether there is more.
    pub(super) fn free_some(&mut self, budget: &mut usize) -> bool {
        while *budget > 0
            && let Some(group) = self.groups.last_mut()
        {
            let before = group.heap_bytes();
            let more = group.free_some(budget);
            *budget = budget.saturating_sub(1);
            if more {
                self.bytes = self.bytes + group.heap_bytes() - before;
            } else {
                self.bytes -= before;
                self.groups.pop();
            }
        }
        !self.groups.is_empty()
    }

    /// Goes on with a copy that began as nothing; whether there is more.
    pub(super) fn clone_some(
        &self,
        clone: &mut Self,
        budget: &mut usize,
    ) -> Result<bool, OutOfMemory> {
        loop {
            let at = clone.groups.len().saturating_sub(1);
            if let (Some(from), Some(to)) = (self.groups.get(at), clone.groups.last_mut()) {
                let before = to.heap_bytes();
                let more = from.clone_some(to, budget);
                clone.bytes += to.heap_bytes() - before;
                if more? {
                    return Ok(true);
                }
            }
            let Some(next) = self.groups.get(clone.groups.len()) else {
                return Ok(false);
            };
            if *budget == 0 {
                return Ok(true);
            }
            *budget -= 1;
            if clone.groups.is_empty() {
                clone.groups.try_reserve_exact(self.groups.len())?;
            }
            clone.insert(clone.groups.len(), next.begin_clone()?)?;
        }
    }

    /// Checks them; panics if they contradict themselves. For tests.
    pub fn check_invariants(&self) {
        let names: Vec<_> = self.iter().map(Group::name).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        self.iter().for_each(Group::check_invariants);
        let bytes = self.iter().map(Group::heap_bytes).sum::<usize>();
        assert_eq!(bytes, self.bytes);
    }
}
