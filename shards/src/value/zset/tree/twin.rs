//! A clone of a tree that is made leaf by leaf.

use super::{Child, Node, Tree, inner_node};
use crate::counted;
use crate::error::OutOfMemory;

/// How far it has come.
#[derive(Debug, Default)]
pub struct Twin {
    /// The way to the next leaf: of each node on it, the clones of the children before.
    path: Vec<Vec<Child>>,
    root: Option<Node>,
}

impl Tree {
    /// Goes on with a clone, by about `budget` items; whether there are more.
    pub fn clone_some(&self, twin: &mut Twin, budget: usize) -> Result<bool, OutOfMemory> {
        let mut spent = 0;
        while twin.root.is_none() {
            if spent >= budget {
                return Ok(true);
            }
            match self.node_at(&twin.path) {
                Node::Inner(_) => {
                    twin.path.try_reserve(1)?;
                    twin.path.push(inner_node()?);
                }
                Node::Leaf(leaf) => {
                    counted::elements(leaf[0].len());
                    spent += leaf[0].len().max(1);
                    let leaf = Node::Leaf(leaf[0].clone().boxed()?);
                    self.put(twin, leaf);
                }
            }
        }
        Ok(false)
    }

    /// The clone, when it is made.
    pub fn cloned(&self, twin: Twin) -> Option<Self> {
        Some(Self {
            root: twin.root?,
            ..*self
        })
    }

    /// The node that a way leads to.
    fn node_at(&self, path: &[Vec<Child>]) -> &Node {
        let mut node = &self.root;
        for made in path {
            node = match node {
                Node::Inner(children) => &children[made.len()].node,
                Node::Leaf(_) => node,
            };
        }
        node
    }

    /// Puts the clone of the next node where it belongs, and what it completes.
    fn put(&self, twin: &mut Twin, node: Node) {
        let mut node = node;
        while let Some(mut made) = twin.path.pop() {
            let Node::Inner(children) = self.node_at(&twin.path) else {
                break;
            };
            let child = &children[made.len()];
            made.push(Child { node, ..*child });
            if made.len() < children.len() {
                return twin.path.push(made);
            }
            node = Node::Inner(made);
        }
        twin.root = Some(node);
    }
}
