//! Keys and bytes by prefix, as a tree of bounded size.

use std::collections::HashMap;

use serde::Serialize;

use super::inspection::Sizes;

/// Keys with a common prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PrefixNode {
    /// The prefix, including the separator at its end; invalid UTF-8 is replaced.
    pub prefix: String,
    /// All keys under it.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Longer prefixes, the largest (in bytes) first.
    pub children: Vec<PrefixNode>,
    /// Keys that are under none of the children: names that end here, and prefixes that were dropped when there were
    /// too many.
    pub other: Sizes,
}

#[derive(Debug, Default)]
struct Node {
    sizes: Sizes,
    other: Sizes,
    children: HashMap<Box<[u8]>, usize>,
}

/// The tree under construction.
#[derive(Debug)]
pub(super) struct Prefixes {
    separator: u8,
    depth: usize,
    most: usize,
    nodes: Vec<Node>,
    exact: bool,
}

impl Prefixes {
    pub(super) fn new(separator: u8, depth: usize, most: usize) -> Prefixes {
        Prefixes { separator, depth, most: most.max(1), nodes: vec![Node::default()], exact: true }
    }

    /// True while no prefix was dropped.
    pub(super) fn exact(&self) -> bool {
        self.exact
    }

    pub(super) fn add(&mut self, name: &[u8], one: Sizes) {
        let mut at = 0;
        let mut rest = name;
        for _ in 0..self.depth {
            let Some(end) = rest.iter().position(|byte| *byte == self.separator) else { break };
            let (part, after) = rest.split_at(end + 1);
            rest = after;
            let fresh = self.nodes.len();
            let Some(node) = self.nodes.get_mut(at) else { return };
            node.sizes += one;
            at = match node.children.get(part) {
                Some(child) => *child,
                None => {
                    node.children.insert(part.into(), fresh);
                    self.nodes.push(Node::default());
                    fresh
                }
            };
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.sizes += one;
            node.other += one;
        }
        if self.nodes.len() > self.most {
            self.shrink();
        }
    }

    /// Drops the smaller half of the prefixes; their keys are counted as other keys of their parents.
    fn shrink(&mut self) {
        self.exact = false;
        let mut sizes: Vec<u64> = self.nodes.iter().map(|node| node.sizes.bytes).collect();
        let half = self.most / 2;
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let least = sizes.get(half).copied().unwrap_or(0);
        let mut kept = vec![Node::default()];
        let old = std::mem::take(&mut self.nodes);
        copy(&old, 0, least, half, &mut kept, 0);
        self.nodes = kept;
    }

    /// The finished tree.
    pub(super) fn finish(&self) -> PrefixNode {
        self.tell(0, &[])
    }

    fn tell(&self, at: usize, prefix: &[u8]) -> PrefixNode {
        let Some(node) = self.nodes.get(at) else { return PrefixNode::default() };
        let mut children: Vec<PrefixNode> = node
            .children
            .iter()
            .map(|(part, child)| self.tell(*child, &[prefix, part.as_ref()].concat()))
            .collect();
        children.sort_by(|a, b| b.sizes.bytes.cmp(&a.sizes.bytes).then_with(|| a.prefix.cmp(&b.prefix)));
        let prefix = String::from_utf8_lossy(prefix).into_owned();
        PrefixNode { prefix, sizes: node.sizes, children, other: node.other }
    }
}

/// Copies a node and its large enough descendants, at most `most` in total; the depth of the tree is bounded.
fn copy(old: &[Node], from: usize, least: u64, most: usize, kept: &mut Vec<Node>, to: usize) {
    let Some(node) = old.get(from) else { return };
    let mut other = node.other;
    let mut children = HashMap::new();
    for (part, child) in &node.children {
        let Some(size) = old.get(*child).map(|child| child.sizes) else { continue };
        if size.bytes > least && kept.len() < most {
            let fresh = kept.len();
            kept.push(Node::default());
            children.insert(part.clone(), fresh);
            copy(old, *child, least, most, kept, fresh);
        } else {
            other += size;
        }
    }
    if let Some(copied) = kept.get_mut(to) {
        *copied = Node { sizes: node.sizes, other, children };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: u64) -> Sizes {
        Sizes { keys: 1, bytes, elements: 1, expires: 0 }
    }

    #[test]
    fn a_tree_of_parts() {
        let mut prefixes = Prefixes::new(b':', 2, 100);
        for (name, bytes) in
            [("bot:status:KRW-BTC", 10), ("bot:status:KRW-ETH", 20), ("bot:x", 1), ("plain", 5)]
        {
            prefixes.add(name.as_bytes(), one(bytes));
        }
        prefixes.add(b"a:b:c:d", one(3));
        let tree = prefixes.finish();
        assert_eq!((tree.sizes.keys, tree.sizes.bytes, tree.other.keys), (5, 39, 1));
        let bot = &tree.children[0];
        assert_eq!((bot.prefix.as_str(), bot.sizes.keys, bot.other.keys), ("bot:", 3, 1));
        assert_eq!((bot.children[0].prefix.as_str(), bot.children[0].sizes.bytes), ("bot:status:", 30));
        let deep = &tree.children[1].children[0];
        assert!(deep.prefix == "a:b:" && deep.children.is_empty() && deep.other.keys == 1);
        assert!(prefixes.exact());
    }

    #[test]
    fn many_prefixes_stay_few_and_totals_exact() {
        let mut prefixes = Prefixes::new(b':', 8, 50);
        for n in 0..10_000_u32 {
            prefixes.add(format!("user:{n}:profile").as_bytes(), one(1));
            prefixes.add(b"big:thing", one(100));
            assert!(prefixes.nodes.len() <= 54);
        }
        let tree = prefixes.finish();
        assert!(!prefixes.exact());
        assert_eq!((tree.sizes.keys, tree.sizes.bytes), (20_000, 1_010_000));
        assert_eq!((tree.children[0].prefix.as_str(), tree.children[0].sizes.keys), ("big:", 10_000));
        let user = &tree.children[1];
        assert_eq!((user.prefix.as_str(), user.sizes.keys), ("user:", 10_000));
        let below: u64 = user.children.iter().map(|child| child.sizes.keys).sum();
        assert_eq!(below + user.other.keys, 10_000);
    }
}
