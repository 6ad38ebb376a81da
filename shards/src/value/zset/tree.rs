//! A B+tree of scores and members, with counts.
//!
//! ```text
//!            inner: per child its first item, its count
//!            ┌────────────┬────────────┬───
//!            │ 1.0 a ×45  │ 3.5 k ×61  │ …
//!            └─────┬──────┴─────┬──────┴───
//!     leaf ┌───────┴──────┐ ┌───┴──────────┐
//!          │ scores   ids │ │ scores   ids │    up to 63 of each
//!          └──────────────┘ └──────────────┘
//! ```
//!
//! The tree knows ids, not members: who looks for an item says what comes
//! before it. Every position is a rank, and ranges are read leaf by leaf, each
//! found by its rank; so leaves need no links and iterators no stack.
//!
//! Invariants: all leaves are equally deep; none but the root is empty; what an
//! inner node says of a child (first item, count) is so. Two neighbours below a
//! third of their size are merged, but for ends that grew by appending. Costs:
//! O(log n) for everything; an item takes 12 bytes, at 0.7 of a leaf.

use crate::counted;

/// Items of a leaf: it fits 768 bytes.
const LEAF: usize = 63;

/// Children of an inner node.
const INNER: usize = 32;

/// A score and the id of the member that has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    pub score: f64,
    pub id: u32,
}

#[derive(Clone, Debug)]
struct Leaf {
    scores: [f64; LEAF],
    ids: [u32; LEAF],
    len: u32,
}

/// What an inner node knows of a child.
#[derive(Debug)]
struct Child {
    first: Item,
    count: u32,
    node: Node,
}

#[derive(Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Inner(Vec<Child>),
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    root: Node,
    len: usize,
    /// Bytes of all nodes.
    heap_bytes: usize,
}

/// Items of one leaf, in order.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub scores: &'a [f64],
    pub ids: &'a [u32],
}

/// Chooses the way down to one item.
trait Way {
    fn child(&mut self, children: &[Child]) -> usize;
    fn slot(&mut self, leaf: &Leaf) -> usize;
}

/// To the item with this rank.
struct Rank(usize);

impl Way for Rank {
    fn child(&mut self, children: &[Child]) -> usize {
        let last = children.len() - 1;
        for (index, child) in children[..last].iter().enumerate() {
            if self.0 < child.count as usize {
                return index;
            }
            self.0 -= child.count as usize;
        }
        last
    }

    fn slot(&mut self, _leaf: &Leaf) -> usize {
        self.0
    }
}

/// To the last item for which this holds; it holds for the items up to there
/// and for none behind. If it holds for none: to the first one.
struct Last<F>(F);

impl<F: FnMut(Item) -> bool> Way for Last<F> {
    #[inline]
    fn child(&mut self, children: &[Child]) -> usize {
        let behind = children.partition_point(|child| (self.0)(child.first));
        behind.saturating_sub(1)
    }

    #[inline]
    fn slot(&mut self, leaf: &Leaf) -> usize {
        leaf.behind(&mut self.0).saturating_sub(1)
    }
}

impl Leaf {
    fn new() -> Box<Self> {
        Box::new(Self {
            scores: [0.0; LEAF],
            ids: [0; LEAF],
            len: 0,
        })
    }

    #[inline]
    fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    fn item(&self, at: usize) -> Item {
        counted::elements(1);
        Item {
            score: self.scores[at],
            id: self.ids[at],
        }
    }

    /// How many items `before` holds for; they come first.
    #[inline]
    fn behind(&self, before: &mut impl FnMut(Item) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if before(self.item(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn insert(&mut self, at: usize, item: Item) {
        let len = self.len();
        self.scores.copy_within(at..len, at + 1);
        self.ids.copy_within(at..len, at + 1);
        self.scores[at] = item.score;
        self.ids[at] = item.id;
        self.len += 1;
    }

    fn remove(&mut self, at: usize) -> Item {
        let (item, len) = (self.item(at), self.len());
        self.scores.copy_within(at + 1..len, at);
        self.ids.copy_within(at + 1..len, at);
        self.len -= 1;
        item
    }

    /// Cuts off the items from `at` on.
    fn split(&mut self, at: usize) -> Box<Self> {
        let mut right = Self::new();
        let moved = self.len() - at;
        right.scores[..moved].copy_from_slice(&self.scores[at..self.len()]);
        right.ids[..moved].copy_from_slice(&self.ids[at..self.len()]);
        // Lossless: at most LEAF.
        right.len = moved as u32;
        self.len = at as u32;
        right
    }

    /// Adds all items of the leaf on the right.
    fn append(&mut self, right: &Self) {
        let (len, more) = (self.len(), right.len());
        self.scores[len..len + more].copy_from_slice(&right.scores[..more]);
        self.ids[len..len + more].copy_from_slice(&right.ids[..more]);
        self.len += right.len;
    }
}

/// Where in the tree an insertion happens: at its ends nodes are not halved but
/// left full, so that what grows at one end stays dense.
#[derive(Clone, Copy)]
struct Edges {
    left: bool,
    right: bool,
}

impl Edges {
    fn of_child(self, index: usize, count: usize) -> Self {
        Self {
            left: self.left && index == 0,
            right: self.right && index + 1 == count,
        }
    }

    /// Where to cut a full node of `len`, before inserting at `at`.
    fn cut(self, at: usize, len: usize) -> usize {
        if self.right && at == len {
            len
        } else if self.left && at == 0 {
            0
        } else {
            len / 2
        }
    }
}

fn inner_node() -> Vec<Child> {
    Vec::with_capacity(INNER)
}

impl Child {
    fn of(node: Node) -> Self {
        Self {
            first: node.first(),
            // Lossless: ids are fewer than 2^32.
            count: node.count() as u32,
            node,
        }
    }
}

impl Node {
    fn first(&self) -> Item {
        match self {
            Self::Leaf(leaf) => leaf.item(0),
            Self::Inner(children) => children[0].first,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(children) => children.iter().map(|child| child.count as usize).sum(),
        }
    }

    /// Items of a leaf, or children.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn width_max(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF,
            Self::Inner(_) => INNER,
        }
    }

    const fn leaf_bytes() -> usize {
        size_of::<Leaf>()
    }

    const fn inner_bytes() -> usize {
        INNER * size_of::<Child>()
    }

    fn own_bytes(&self) -> usize {
        match self {
            Self::Leaf(_) => Self::leaf_bytes(),
            Self::Inner(_) => Self::inner_bytes(),
        }
    }

    /// Inserts behind all items `before` holds for. What does not fit becomes a
    /// node on the right. The bytes of new nodes are added to `bytes`.
    fn insert(
        &mut self,
        before: &mut impl FnMut(Item) -> bool,
        item: Item,
        edges: Edges,
        bytes: &mut usize,
    ) -> Option<Node> {
        match self {
            Self::Leaf(leaf) => {
                let at = leaf.behind(before);
                if leaf.len() < LEAF {
                    leaf.insert(at, item);
                    return None;
                }
                let cut = edges.cut(at, LEAF);
                let mut right = leaf.split(cut);
                *bytes += Self::leaf_bytes();
                // At a cut in the middle both sides would do; neither is full.
                if at < cut || cut == 0 {
                    leaf.insert(at, item);
                } else {
                    right.insert(at - cut, item);
                }
                Some(Self::Leaf(right))
            }
            Self::Inner(children) => {
                let index = Last(&mut *before).child(children);
                let edges_below = edges.of_child(index, children.len());
                let child = &mut children[index];
                let sibling = child.node.insert(before, item, edges_below, bytes);
                child.first = child.node.first();
                let Some(sibling) = sibling else {
                    child.count += 1;
                    return None;
                };
                let sibling = Child::of(sibling);
                child.count = child.count + 1 - sibling.count;
                let right = Self::insert_child(children, index + 1, sibling, edges)?;
                *bytes += Self::inner_bytes();
                Some(Self::Inner(right))
            }
        }
    }

    fn insert_child(
        children: &mut Vec<Child>,
        at: usize,
        child: Child,
        edges: Edges,
    ) -> Option<Vec<Child>> {
        if children.len() < INNER {
            children.insert(at, child);
            return None;
        }
        // A child that was split at the left end has the new one behind it.
        let cut = if edges.left && at == 1 {
            1
        } else {
            edges.cut(at, INNER)
        };
        let mut right = inner_node();
        right.extend(children.drain(cut..));
        if at <= cut && cut < INNER {
            children.insert(at, child);
        } else {
            right.insert(at - cut, child);
        }
        Some(right)
    }

    /// Removes the item at the end of `way`. The bytes of nodes that go are
    /// taken from `bytes`.
    fn remove(&mut self, way: &mut impl Way, bytes: &mut usize) -> Item {
        match self {
            Self::Leaf(leaf) => leaf.remove(way.slot(leaf)),
            Self::Inner(children) => {
                let index = way.child(children);
                let child = &mut children[index];
                let item = child.node.remove(way, bytes);
                child.count -= 1;
                if child.count > 0 {
                    child.first = child.node.first();
                }
                if child.node.width() < child.node.width_max() / 3 {
                    Self::mend(children, index, bytes);
                }
                item
            }
        }
    }

    /// Merges a child that has become small with a neighbour, or takes some of
    /// the neighbour's; without one it stays, or goes if it is empty.
    fn mend(children: &mut Vec<Child>, index: usize, bytes: &mut usize) {
        let left = index.saturating_sub(1);
        if children.len() == 1 {
            if children[0].count == 0 {
                *bytes -= children[0].node.own_bytes();
                children.clear();
            }
            return;
        }
        let right = children.remove(left + 1);
        let own_bytes = right.node.own_bytes();
        let rest = children[left].node.balance(right.node);
        children[left].refresh();
        match rest {
            Some(rest) => children.insert(left + 1, Child::of(rest)),
            None => *bytes -= own_bytes,
        }
    }

    /// Takes all that the node on the right has; if it is too much, both are
    /// made equally wide and the right one is handed back.
    fn balance(&mut self, right: Node) -> Option<Node> {
        let sum = self.width() + right.width();
        // One that is merged to the brim would soon be split again.
        let fits = sum <= self.width_max() * 7 / 8;
        let half = sum / 2;
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(mut right)) => {
                if fits {
                    left.append(&right);
                    return None;
                }
                if left.len() > half {
                    let mut moved = left.split(half);
                    moved.append(&right);
                    return Some(Self::Leaf(moved));
                }
                let rest = right.split(half - left.len());
                left.append(&right);
                Some(Self::Leaf(rest))
            }
            (Self::Inner(left), Self::Inner(mut right)) => {
                if fits {
                    left.append(&mut right);
                    return None;
                }
                let mut rest = inner_node();
                if left.len() > half {
                    rest.extend(left.drain(half..));
                    rest.append(&mut right);
                } else {
                    rest.extend(right.drain(half - left.len()..));
                    left.append(&mut right);
                }
                Some(Self::Inner(rest))
            }
            _ => unreachable!("neighbours are equally deep"),
        }
    }

    /// Drops nodes from the right until `budget` items are gone; whether all
    /// is gone.
    fn shed(&mut self, budget: &mut usize) -> bool {
        match self {
            Self::Leaf(leaf) => {
                *budget = budget.saturating_sub(leaf.len().max(1));
                true
            }
            Self::Inner(children) => {
                while *budget > 0
                    && let Some(last) = children.last_mut()
                    && last.node.shed(budget)
                {
                    children.pop();
                }
                children.is_empty()
            }
        }
    }

    fn twin(&self) -> Self {
        match self {
            Self::Leaf(leaf) => Self::Leaf(leaf.clone()),
            Self::Inner(children) => {
                let mut twin = inner_node();
                twin.extend(children.iter().map(|child| Child {
                    node: child.node.twin(),
                    ..*child
                }));
                Self::Inner(twin)
            }
        }
    }
}

impl Child {
    fn refresh(&mut self) {
        self.first = self.node.first();
        // Lossless: ids are fewer than 2^32.
        self.count = self.node.count() as u32;
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            root: Node::Leaf(Leaf::new()),
            len: 0,
            heap_bytes: Node::leaf_bytes(),
        }
    }
}

impl Tree {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// How many items `before` holds for; they are the first ones.
    #[inline]
    pub fn rank(&self, mut before: impl FnMut(Item) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(leaf) => return rank + leaf.behind(&mut before),
                Node::Inner(children) => {
                    let index = Last(&mut before).child(children);
                    let skipped = children[..index].iter();
                    rank += skipped.map(|child| child.count as usize).sum::<usize>();
                    node = &children[index].node;
                }
            }
        }
    }

    /// The items around `rank` that lie together, and which of them it is.
    ///
    /// `rank` must be below the length.
    #[inline]
    pub fn run(&self, rank: usize) -> (Run<'_>, usize) {
        let (mut node, mut way) = (&self.root, Rank(rank));
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let run = Run {
                        scores: &leaf.scores[..leaf.len()],
                        ids: &leaf.ids[..leaf.len()],
                    };
                    return (run, way.0);
                }
                Node::Inner(children) => node = &children[way.child(children)].node,
            }
        }
    }

    /// Inserts an item behind all those that `before` holds for.
    pub fn insert(&mut self, item: Item, mut before: impl FnMut(Item) -> bool) {
        let edges = Edges {
            left: true,
            right: true,
        };
        let bytes = &mut self.heap_bytes;
        if let Some(sibling) = self.root.insert(&mut before, item, edges, bytes) {
            let root = std::mem::replace(&mut self.root, Node::Inner(inner_node()));
            if let Node::Inner(children) = &mut self.root {
                children.push(Child::of(root));
                children.push(Child::of(sibling));
            }
            self.heap_bytes += Node::inner_bytes();
        }
        self.len += 1;
    }

    /// Removes the last item for which `up_to` holds; it holds for one, and for
    /// all before it.
    pub fn remove(&mut self, up_to: impl FnMut(Item) -> bool) -> Item {
        self.remove_by(&mut Last(up_to))
    }

    /// Removes the item with this rank, which must be below the length.
    pub fn remove_at(&mut self, rank: usize) -> Item {
        self.remove_by(&mut Rank(rank))
    }

    fn remove_by(&mut self, way: &mut impl Way) -> Item {
        let item = self.root.remove(way, &mut self.heap_bytes);
        self.len -= 1;
        while let Node::Inner(children) = &mut self.root
            && children.len() < 2
        {
            self.heap_bytes -= Node::inner_bytes();
            let child = children.pop().expect("only what has neighbours is merged");
            self.root = child.node;
        }
        item
    }

    /// Gives the last item for which `up_to` holds another score, if it keeps
    /// its place: if `before` holds for its neighbour on the left and not for
    /// the one on the right. `false`, also when that is not plain to see, leaves
    /// everything as it was.
    pub fn change_score(
        &mut self,
        score: f64,
        up_to: impl FnMut(Item) -> bool,
        mut before: impl FnMut(Item) -> bool,
    ) -> bool {
        let (mut node, mut way) = (&mut self.root, Last(up_to));
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let at = way.slot(leaf);
                    let inside = at > 0 && at + 1 < leaf.len();
                    let stays = inside && before(leaf.item(at - 1)) && !before(leaf.item(at + 1));
                    if stays {
                        leaf.scores[at] = score;
                    }
                    return stays;
                }
                Node::Inner(children) => {
                    let index = way.child(children);
                    node = &mut children[index].node;
                }
            }
        }
    }

    /// Drops about `budget` items; whether there is more. Nothing else may be
    /// done with it afterwards.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut budget = budget;
        !self.root.shed(&mut budget)
    }

    pub fn twin(&self) -> Self {
        Self {
            root: self.root.twin(),
            ..*self
        }
    }

    /// Panics if the structure contradicts itself. `in_order` tells whether one
    /// item comes before another.
    #[cfg(test)]
    pub fn check_invariants(&self, in_order: impl Fn(Item, Item) -> bool) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        self.root.check(&mut items, &mut bytes);
        assert_eq!(items.len(), self.len);
        assert_eq!(bytes, self.heap_bytes);
        assert!(items.windows(2).all(|pair| in_order(pair[0], pair[1])));
    }
}

#[cfg(test)]
impl Node {
    /// Collects the items; returns the height.
    fn check(&self, items: &mut Vec<Item>, bytes: &mut usize) -> usize {
        *bytes += self.own_bytes();
        match self {
            Self::Leaf(leaf) => {
                items.extend((0..leaf.len()).map(|at| leaf.item(at)));
                0
            }
            Self::Inner(children) => {
                assert!(!children.is_empty() && children.len() <= INNER);
                assert_eq!(children.capacity(), INNER);
                let heights: Vec<usize> = children
                    .iter()
                    .map(|child| {
                        let start = items.len();
                        let height = child.node.check(items, bytes);
                        assert_eq!(items.len() - start, child.count as usize);
                        assert_eq!(items[start], child.first);
                        height
                    })
                    .collect();
                assert!(heights.windows(2).all(|pair| pair[0] == pair[1]));
                heights[0] + 1
            }
        }
    }
}
