//! Judges a world of sets: is what the clients saw one history?
//!
//! The merged logs say which versions each set has had, in order, and the number that a
//! version brings says who has made it. Who read a version comes after its writer and
//! before the next one's; where a union could have been made of several versions, the
//! arrows are those that hold for all of them. The order of the logs, and who was
//! answered before another asked, go on from there, as in `history`.

use crate::appends::elements;
use crate::blocks::bulk;
use crate::graph::Graph;
use crate::replay::Commands;
use crate::sets::{Event, Op, Part, SETS, Sets, name};
use std::collections::{BTreeSet, HashMap};

type Set = BTreeSet<u32>;

/// A version of a set, and the operation that made it.
struct Version {
    set: Set,
    writer: Option<u32>,
}

/// Judges a world that has come to rest.
pub fn check(world: &mut Sets) -> Result<(), String> {
    if let Some(unrest) = world.unrest() {
        return Err(unrest);
    }
    world.follow()?;
    let mut judge = Judge {
        ops: &world.ops,
        versions: (0..SETS)
            .map(|_| {
                vec![Version {
                    set: Set::new(),
                    writer: None,
                }]
            })
            .collect(),
        order: Vec::new(),
        graph: Graph::default(),
    };
    let logs: Vec<u8> = world
        .recorder
        .stream
        .iter()
        .flat_map(|it| it.1.clone())
        .collect();
    judge.replay(&logs)?;
    for id in 0..judge.ops.len() {
        judge
            .judge(id)
            .map_err(|wrong| format!("{wrong}\n  {}", judge.describe(id as u32)))?;
    }
    judge.key_order();
    for pair in judge.order.windows(2) {
        judge.graph.edge(pair[0], pair[1]);
    }
    let nodes = judge.real_time(&world.events);
    match judge.graph.cycle(nodes as usize) {
        None => Ok(()),
        Some(cycle) => {
            let lines: Vec<String> = cycle.iter().map(|node| judge.describe(*node)).collect();
            Err(format!("not one history:\n  {}", lines.join("\n  ")))
        }
    }
}

struct Judge<'a> {
    ops: &'a [Op],
    versions: Vec<Vec<Version>>,
    /// Who has written, as the logs have it.
    order: Vec<u32>,
    graph: Graph,
}

fn number(text: &[u8]) -> Result<u32, String> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{} is no number", text.escape_ascii()))
}

/// The members in a reply.
fn members(reply: &[u8]) -> Result<Set, String> {
    let elements = elements(reply).ok_or("not an array")?;
    let count = elements.len();
    let member = |element: &[u8]| number(bulk(element).unwrap_or_default().as_bytes());
    let set: Set = elements.into_iter().map(member).collect::<Result<_, _>>()?;
    match set.len() == count {
        true => Ok(set),
        false => Err("a member is there twice".into()),
    }
}

impl Judge<'_> {
    fn describe(&self, node: u32) -> String {
        let Some(op) = self.ops.get(node as usize) else {
            return "time passes".into();
        };
        let reply = op.reply[..op.reply.len().min(200)].escape_ascii();
        let (client, parts, block, number) = (op.client, &op.parts, op.block, op.number);
        format!("{node}: client {client} block {block} {parts:?} {number} -> {reply}")
    }

    /// Plays the logs: what stands between MULTI and EXEC is one step.
    fn replay(&mut self, log: &[u8]) -> Result<(), String> {
        let writers = (0..).zip(self.ops).filter(|(_, op)| op.number > 0);
        let writers = writers.filter(|(_, op)| !matches!(op.parts[..], [Part::Mark]));
        let writers: HashMap<u32, u32> = writers.map(|(id, op)| (op.number, id)).collect();
        let mut sets: HashMap<Vec<u8>, Set> = HashMap::new();
        let (mut open, mut seen) = (false, Set::new());
        for command in Commands(log) {
            let verb = command[0].to_ascii_lowercase();
            let key = command.get(1).map(|key| key.to_vec()).unwrap_or_default();
            let rest = command.get(2..).unwrap_or_default();
            match &verb[..] {
                b"multi" => open = true,
                b"exec" => open = false,
                b"select" => {}
                b"del" => drop(sets.remove(&key)),
                b"sadd" | b"srem" => {
                    let set = sets.entry(key).or_default();
                    for member in rest {
                        let member = number(member)?;
                        let new = match verb == b"sadd" {
                            true => set.insert(member),
                            false => set.remove(&member),
                        };
                        if !new {
                            return Err(format!("{member} changes nothing in the log"));
                        }
                    }
                }
                b"sunionstore" => {
                    let sources = rest.iter().filter_map(|source| sets.get(*source));
                    let union = sources.flatten().copied().collect();
                    sets.insert(key, union);
                }
                other => return Err(format!("{} in the log", other.escape_ascii())),
            }
            if !open {
                self.step(&sets, &writers, &mut seen)?;
            }
        }
        Ok(())
    }

    /// Notes what one step has changed.
    fn step(
        &mut self,
        sets: &HashMap<Vec<u8>, Set>,
        writers: &HashMap<u32, u32>,
        seen: &mut Set,
    ) -> Result<(), String> {
        for (number, versions) in self.versions.iter_mut().enumerate() {
            let nothing = Set::new();
            let set = sets.get(name(number).as_bytes()).unwrap_or(&nothing);
            if versions.last().is_some_and(|last| last.set == *set) {
                continue;
            }
            let new: Vec<u32> = set.difference(seen).copied().collect();
            let [new] = new[..] else {
                return Err(format!("a step of the log brings {new:?} to set {number}"));
            };
            let writer = writers.get(&new).copied();
            let writer = writer.ok_or_else(|| format!("nobody has brought {new}"))?;
            seen.insert(new);
            versions.push(Version {
                set: set.clone(),
                writer: Some(writer),
            });
            self.order.push(writer);
        }
        Ok(())
    }

    /// The reply to an operation, against the versions.
    fn judge(&mut self, id: usize) -> Result<(), String> {
        let op = &self.ops[id];
        if !op.completed {
            return Ok(());
        }
        let replies = match op.block {
            true => elements(&op.reply).ok_or("not an array")?,
            false => vec![&op.reply[..]],
        };
        if replies.len() != op.parts.len() {
            return Err("too few or too many replies".into());
        }
        let mut popped = Set::new();
        for (part, reply) in op.parts.iter().zip(replies) {
            match part {
                Part::Mark => expect(reply, 1)?,
                Part::Members(set) => self.union(id, &[*set], &members(reply)?, None)?,
                Part::Union(sets) => self.union(id, sets, &members(reply)?, None)?,
                Part::Pop => popped = members(reply)?,
                Part::Add(set) => {
                    expect(reply, 1)?;
                    let (before, made) = self.made(id, *set)?;
                    let mut set = before.clone();
                    if !popped.iter().all(|member| set.remove(member)) {
                        return Err("what was taken was not there".into());
                    }
                    set.insert(op.number);
                    if set != *made {
                        return Err("it has made something else of it".into());
                    }
                }
                Part::Store(set, sources) => {
                    let (_, made) = self.made(id, *set)?;
                    let made = made.clone();
                    expect(reply, made.len())?;
                    self.union(id, sources, &made, Some(*set))?;
                }
            }
        }
        Ok(())
    }

    /// What an operation has made of a set, and what that was before.
    fn made(&self, id: usize, set: usize) -> Result<(&Set, &Set), String> {
        let versions = &self.versions[set];
        let mut pairs = versions.windows(2);
        let pair = pairs.find(|pair| pair[1].writer == Some(id as u32));
        let pair = pair.ok_or("the log does not tell of it")?;
        Ok((&pair[0].set, &pair[1].set))
    }

    /// An operation has found that sets have this union. If it was stored in a set,
    /// the number that it brought is in it, too.
    fn union(
        &mut self,
        id: usize,
        sets: &[usize],
        union: &Set,
        stored: Option<usize>,
    ) -> Result<(), String> {
        let number = self.ops[id].number;
        let mut union = union.clone();
        if stored.is_some() && !union.remove(&number) {
            return Err("its mark is missing".into());
        }
        let mut sets = sets.to_vec();
        sets.sort_unstable();
        sets.dedup();
        let mut fits: Vec<Vec<usize>> = vec![Vec::new(); sets.len()];
        let mut chosen = Vec::new();
        self.fitting(id, &sets, stored, &union, &mut chosen, &mut fits);
        for (set, fits) in sets.iter().zip(fits) {
            let (Some(first), Some(last)) = (fits.iter().min(), fits.iter().max()) else {
                return match sets.is_empty() && union.is_empty() {
                    true => Ok(()),
                    false => Err(format!("{sets:?} were never that")),
                };
            };
            let versions = &self.versions[*set];
            if let Some(writer) = versions[*first].writer {
                self.graph.edge(writer, id as u32);
            }
            if let Some(next) = versions.get(last + 1).and_then(|next| next.writer) {
                self.graph.edge(id as u32, next);
            }
        }
        match sets.is_empty() && !union.is_empty() {
            true => Err("it has stored what is in no source".into()),
            false => Ok(()),
        }
    }

    /// Finds the versions of sets that have a union.
    fn fitting(
        &self,
        id: usize,
        sets: &[usize],
        stored: Option<usize>,
        union: &Set,
        chosen: &mut Vec<usize>,
        fits: &mut [Vec<usize>],
    ) {
        if chosen.len() == sets.len() {
            let parts = sets.iter().zip(&*chosen);
            let parts = parts.map(|(set, version)| &self.versions[*set][*version].set);
            let all: BTreeSet<&u32> = parts.flatten().collect();
            if all.len() == union.len() {
                fits.iter_mut()
                    .zip(&*chosen)
                    .for_each(|(fits, at)| fits.push(*at));
            }
            return;
        }
        let set = sets[chosen.len()];
        for (at, version) in self.versions[set].iter().enumerate() {
            let next = self.versions[set].get(at + 1).and_then(|next| next.writer);
            // What it stores over it has read.
            if stored == Some(set) && next != Some(id as u32) || !version.set.is_subset(union) {
                continue;
            }
            chosen.push(at);
            self.fitting(id, sets, stored, union, chosen, fits);
            chosen.pop();
        }
    }

    /// Writers of a set follow each other.
    fn key_order(&mut self) {
        for versions in &self.versions {
            for pair in versions.windows(2) {
                if let (Some(before), Some(after)) = (pair[0].writer, pair[1].writer) {
                    self.graph.edge(before, after);
                }
            }
        }
    }

    /// Who was answered before another asked comes before it. Returns the number of nodes.
    fn real_time(&mut self, events: &[Event]) -> u32 {
        let mut nodes = self.ops.len() as u32;
        let mut latest = None;
        for event in events {
            match *event {
                Event::Invoked(op) => {
                    if let Some(latest) = latest {
                        self.graph.edge(latest, op as u32);
                    }
                }
                Event::Completed(op) => {
                    self.graph.edge(op as u32, nodes);
                    if let Some(latest) = latest {
                        self.graph.edge(latest, nodes);
                    }
                    latest = Some(nodes);
                    nodes += 1;
                }
            }
        }
        nodes
    }
}

fn expect(reply: &[u8], expected: usize) -> Result<(), String> {
    match reply == format!(":{expected}\r\n").as_bytes() {
        true => Ok(()),
        false => Err(format!("the reply should be {expected}")),
    }
}
