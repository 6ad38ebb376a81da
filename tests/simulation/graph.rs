//! A directed graph of what must come before what, and the search for a cycle.

/// Edges as they were found; sorted into rows only when a cycle is looked for.
#[derive(Default)]
pub struct Graph {
    edges: Vec<(u32, u32)>,
}

impl Graph {
    /// `before` comes before `after`.
    pub fn edge(&mut self, before: u32, after: u32) {
        if before != after {
            self.edges.push((before, after));
        }
    }

    /// Nodes of one cycle, each before the next and the last before the first;
    /// nothing if there is an order of all `nodes` that respects every edge.
    pub fn cycle(&self, nodes: usize) -> Option<Vec<u32>> {
        let mut starts = vec![0u32; nodes + 1];
        let mut missing = vec![0u32; nodes];
        for (before, after) in &self.edges {
            starts[*before as usize + 1] += 1;
            missing[*after as usize] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut targets = vec![0u32; self.edges.len()];
        for (before, after) in &self.edges {
            let place = &mut next[*before as usize];
            targets[*place as usize] = *after;
            *place += 1;
        }
        let mut free: Vec<u32> = (0..nodes as u32)
            .filter(|node| missing[*node as usize] == 0)
            .collect();
        let mut ordered = 0;
        while let Some(node) = free.pop() {
            ordered += 1;
            let row = starts[node as usize] as usize..starts[node as usize + 1] as usize;
            for after in &targets[row] {
                missing[*after as usize] -= 1;
                if missing[*after as usize] == 0 {
                    free.push(*after);
                }
            }
        }
        (ordered < nodes).then(|| self.shortest(&starts, &targets, &missing))
    }

    /// A short cycle among the nodes that could not be ordered: the shortest
    /// one through some of them.
    fn shortest(&self, starts: &[u32], targets: &[u32], missing: &[u32]) -> Vec<u32> {
        let stuck: Vec<u32> = (0..missing.len() as u32)
            .filter(|node| missing[*node as usize] > 0)
            .collect();
        let around = |from: u32| -> Option<Vec<u32>> {
            let mut parent = vec![u32::MAX; missing.len()];
            let mut queue = std::collections::VecDeque::from([from]);
            while let Some(node) = queue.pop_front() {
                let row = starts[node as usize] as usize..starts[node as usize + 1] as usize;
                for after in &targets[row] {
                    if *after == from {
                        let mut path = vec![node];
                        while path[path.len() - 1] != from {
                            path.push(parent[path[path.len() - 1] as usize]);
                        }
                        path.reverse();
                        return Some(path);
                    }
                    if missing[*after as usize] > 0 && parent[*after as usize] == u32::MAX {
                        parent[*after as usize] = node;
                        queue.push_back(*after);
                    }
                }
            }
            None
        };
        let found = stuck.iter().take(200).filter_map(|node| around(*node));
        found
            .min_by_key(Vec::len)
            .unwrap_or_else(|| stuck.into_iter().take(20).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Graph;

    #[test]
    fn a_cycle_is_found_and_an_order_is_not_called_one() {
        let mut graph = Graph::default();
        for (before, after) in [(0, 1), (1, 2), (0, 2), (2, 3)] {
            graph.edge(before, after);
        }
        assert_eq!(graph.cycle(5), None);
        graph.edge(3, 1);
        let cycle = graph.cycle(5).unwrap();
        assert_eq!(cycle.len(), 3);
    }
}
