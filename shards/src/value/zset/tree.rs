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

mod leaf;
mod twin;

pub use twin::Twin;

pub use leaf::Item;

use crate::error::OutOfMemory;
use leaf::{EMPTY_LEAF, LEAF, Leaf};

/// Children of an inner node.
const INNER: usize = 32;

/// What an inner node knows of a child.
#[derive(Debug)]
struct Child {
    first: Item,
    count: u32,
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// An array of one, because such a box can be had fallibly.
    Leaf(Box<[Leaf; 1]>),
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
pub struct LeafItems<'a> {
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
    /// Inserts into a leaf that is full: some of it moves to a new one on the right.
    #[cold]
    fn overflow<F>(
        &mut self,
        at: usize,
        insertion: &mut Insertion<'_, F>,
        edges: Edges,
        full_above: usize,
    ) -> Result<bool, OutOfMemory> {
        let mut split = Split::of_leaf(full_above)?;
        *insertion.bytes += Node::leaf_bytes() + full_above * Node::inner_bytes();
        let cut = edges.cut(at, LEAF);
        if let Node::Leaf(right) = &mut split.right {
            self.split(cut, &mut right[0]);
            // At a cut in the middle both sides would do; neither is full.
            if at < cut || cut == 0 {
                self.insert(at, insertion.item);
            } else {
                right[0].insert(at - cut, insertion.item);
            }
        }
        insertion.split = Some(split);
        Ok(true)
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

fn inner_node() -> Result<Vec<Child>, OutOfMemory> {
    let mut children = Vec::new();
    children.try_reserve_exact(INNER)?;
    Ok(children)
}

/// What an insertion carries along.
struct Insertion<'t, F> {
    before: F,
    item: Item,
    /// The tree's count of bytes.
    bytes: &'t mut usize,
    /// What a node that was full hands up.
    split: Option<Split>,
}

/// The node on the right of one that was full.
struct Split {
    right: Node,
    /// For the nodes above that will be split in turn.
    spare: Vec<Vec<Child>>,
}

impl Split {
    /// All the memory that a split of a leaf takes below so many full nodes.
    fn of_leaf(full_above: usize) -> Result<Self, OutOfMemory> {
        let mut spare = Vec::new();
        spare.try_reserve_exact(full_above)?;
        for _ in 0..full_above {
            spare.push(inner_node()?);
        }
        let right = Node::Leaf(EMPTY_LEAF.boxed()?);
        Ok(Self { right, spare })
    }
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
            Self::Leaf(leaf) => leaf[0].item(0),
            Self::Inner(children) => children[0].first,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf[0].len(),
            Self::Inner(children) => children.iter().map(|child| child.count as usize).sum(),
        }
    }

    /// Items of a leaf, or children.
    fn width(&self) -> usize {
        match self {
            Self::Leaf(leaf) => leaf[0].len(),
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

    /// Inserts behind all items `before` holds for; whether what did not fit is in
    /// `split`. So many nodes right above are full and will be split if this one is.
    /// When memory is lacking, nothing has changed.
    fn insert<F: FnMut(Item) -> bool>(
        &mut self,
        insertion: &mut Insertion<'_, F>,
        edges: Edges,
        full_above: usize,
    ) -> Result<bool, OutOfMemory> {
        let children = match self {
            Self::Leaf(leaf) => {
                let [leaf] = &mut **leaf;
                let at = leaf.behind(&mut insertion.before);
                if leaf.len() < LEAF {
                    leaf.insert(at, insertion.item);
                    return Ok(false);
                }
                return leaf.overflow(at, insertion, edges, full_above);
            }
            Self::Inner(children) => children,
        };
        let index = Last(&mut insertion.before).child(children);
        let full = children.len() == INNER;
        let edges_below = edges.of_child(index, children.len());
        let child = &mut children[index];
        let full_above = if full { full_above + 1 } else { 0 };
        let split = child.node.insert(insertion, edges_below, full_above)?;
        child.first = child.node.first();
        if !split {
            child.count += 1;
            return Ok(false);
        }
        let Split { right, mut spare } = insertion.split.take().expect("it was said so");
        let sibling = Child::of(right);
        child.count = child.count + 1 - sibling.count;
        let Some(mut right) = spare.pop().filter(|_| full) else {
            children.insert(index + 1, sibling);
            return Ok(false);
        };
        Self::insert_child(children, index + 1, sibling, edges, &mut right);
        let right = Self::Inner(right);
        insertion.split = Some(Split { right, spare });
        Ok(true)
    }

    /// Adds a child to a full node, some of which moves to the empty one on the right.
    fn insert_child(
        children: &mut Vec<Child>,
        at: usize,
        child: Child,
        edges: Edges,
        right: &mut Vec<Child>,
    ) {
        // A child that was split at the left end has the new one behind it.
        let cut = if edges.left && at == 1 {
            1
        } else {
            edges.cut(at, INNER)
        };
        right.extend(children.drain(cut..));
        if at <= cut && cut < INNER {
            children.insert(at, child);
        } else {
            right.insert(at - cut, child);
        }
    }

    /// Gives the item at the end of `way` another id.
    fn rename(&mut self, way: &mut impl Way, id: u32) {
        match self {
            Self::Leaf(leaf) => {
                let [leaf] = &mut **leaf;
                leaf.ids[way.slot(leaf)] = id;
            }
            Self::Inner(children) => {
                let index = way.child(children);
                let child = &mut children[index];
                child.node.rename(way, id);
                child.first = child.node.first();
            }
        }
    }

    /// Removes the item at the end of `way`. The bytes of nodes that go are
    /// taken from `bytes`.
    fn remove(&mut self, way: &mut impl Way, bytes: &mut usize) -> Item {
        match self {
            Self::Leaf(leaf) => {
                let [leaf] = &mut **leaf;
                leaf.remove(way.slot(leaf))
            }
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
                let ([from], [into]) = (&mut *right, &mut **left);
                if fits {
                    from.give_left(from.len(), into);
                    return None;
                }
                match into.len().checked_sub(half) {
                    Some(more) => from.take_left(more, into),
                    None => from.give_left(half - into.len(), into),
                }
                Some(Self::Leaf(right))
            }
            (Self::Inner(left), Self::Inner(mut right)) => {
                if fits {
                    left.append(&mut right);
                    return None;
                }
                if left.len() > half {
                    right.splice(..0, left.drain(half..));
                } else {
                    let less = half - left.len();
                    left.extend(right.drain(..less));
                }
                Some(Self::Inner(right))
            }
            _ => unreachable!("neighbours are equally deep"),
        }
    }

    /// Drops nodes from the right until `budget` items are gone; whether all
    /// is gone.
    fn shed(&mut self, budget: &mut usize) -> bool {
        match self {
            Self::Leaf(leaf) => {
                *budget = budget.saturating_sub(leaf[0].len().max(1));
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
}

impl Child {
    fn refresh(&mut self) {
        self.first = self.node.first();
        // Lossless: ids are fewer than 2^32.
        self.count = self.node.count() as u32;
    }
}

impl Tree {
    /// An empty one.
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Self {
            root: Node::Leaf(EMPTY_LEAF.boxed()?),
            len: 0,
            heap_bytes: Node::leaf_bytes(),
        })
    }

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
                Node::Leaf(leaf) => return rank + leaf[0].behind(&mut before),
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
    pub fn run(&self, rank: usize) -> (LeafItems<'_>, usize) {
        let (mut node, mut way) = (&self.root, Rank(rank));
        loop {
            match node {
                Node::Leaf(leaf) => {
                    let [leaf] = &**leaf;
                    let run = LeafItems {
                        scores: &leaf.scores[..leaf.len()],
                        ids: &leaf.ids[..leaf.len()],
                    };
                    return (run, way.0);
                }
                Node::Inner(children) => node = &children[way.child(children)].node,
            }
        }
    }

    /// Inserts an item behind all those that `before` holds for. When memory is
    /// lacking, nothing has changed.
    pub fn insert(
        &mut self,
        item: Item,
        before: impl FnMut(Item) -> bool,
    ) -> Result<(), OutOfMemory> {
        let edges = Edges {
            left: true,
            right: true,
        };
        let mut insertion = Insertion {
            before,
            item,
            bytes: &mut self.heap_bytes,
            split: None,
        };
        // As if there were a full node above: it is the new root, if the root is split.
        if self.root.insert(&mut insertion, edges, 1)? {
            let Split { right, mut spare } = insertion.split.expect("it was said so");
            let mut children = spare.pop().expect("it was fetched for the new root");
            let root = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
            children.extend([Child::of(root), Child::of(right)]);
            self.root = Node::Inner(children);
        }
        self.len += 1;
        Ok(())
    }

    /// Gives the last item for which `up_to` holds another id.
    pub fn rename(&mut self, id: u32, up_to: impl FnMut(Item) -> bool) {
        self.root.rename(&mut Last(up_to), id);
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
                    let [leaf] = &mut **leaf;
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
                let [leaf] = &**leaf;
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
