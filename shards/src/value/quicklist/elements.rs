//! The elements of a quicklist, node by node, from either end.

use super::super::listpack::{Element, Entries};
use super::Node;
use std::collections::vec_deque;

/// See [`Quicklist::iter`].
#[derive(Clone, Debug, Default)]
pub struct Elements<'a> {
    pub(super) nodes: vec_deque::Iter<'a, Node>,
    pub(super) front: Entries<'a>,
    pub(super) back: Entries<'a>,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        loop {
            if let Some((_, element)) = self.front.next() {
                return Some(element);
            }
            match self.nodes.next() {
                Some(node) => self.front = node.entries(),
                None => return self.back.next().map(|(_, element)| element),
            }
        }
    }
}

impl DoubleEndedIterator for Elements<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((_, element)) = self.back.next_back() {
                return Some(element);
            }
            match self.nodes.next_back() {
                Some(node) => self.back = node.entries(),
                None => return self.front.next_back().map(|(_, element)| element),
            }
        }
    }
}
