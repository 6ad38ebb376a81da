//! Judges a world of blocks: is what the clients saw one history?
//!
//! Every number is appended once, so a list that was read says which appends
//! came before, in order, and the list that is left says which came after. Who
//! read a list comes after the last writer of it and before the next one; who
//! was answered before another asked comes before it. If these arrows form no
//! circle, there is one order of all operations that explains everything.

use crate::blocks::{ACCOUNTS, Blocks, Event, MONEY, Op, Part, bulk};
use crate::graph::Graph;
use std::collections::HashMap;

/// What an operation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    /// EXEC found that something watched had changed.
    Nothing,
    /// The client was gone before.
    Unknown,
}

/// Judges a world that has come to rest.
pub fn check(world: &mut Blocks) -> Result<(), String> {
    if let Some(unrest) = world.unrest() {
        return Err(unrest);
    }
    let lists = (0..world.lists.len()).map(|list| numbers(&world.stored(list)));
    let lists: Vec<Vec<u32>> = lists.collect();
    let counter = bulk(&world.counter()).map_or(Ok(0), |text| text.parse());
    let counter: usize = counter.map_err(|_| "the counter is no number")?;
    let mut judge = Judge {
        world,
        writers: HashMap::new(),
        graph: Graph::default(),
    };
    judge.counted(counter)?;
    judge.writes(&lists)?;
    for op in 0..judge.world.ops.len() {
        judge
            .reads(op, &lists)
            .map_err(|wrong| format!("{wrong}\n  {}", judge.describe(op as u32)))?;
    }
    let nodes = judge.real_time();
    match judge.graph.cycle(nodes as usize) {
        None => Ok(()),
        Some(cycle) => {
            let lines: Vec<String> = cycle.iter().map(|node| judge.describe(*node)).collect();
            Err(format!("not one history:\n  {}", lines.join("\n  ")))
        }
    }
}

/// The numbers of a list, as it is stored.
pub fn numbers(reply: &[u8]) -> Vec<u32> {
    let text = bulk(reply).unwrap_or_default();
    let numbers = text.split(',').filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// The elements of an array, or nothing for a null one.
pub fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = reply;
    let count = line(&mut rest).strip_prefix(b"*")?;
    let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
    let element = |_| {
        let before = rest;
        skip(&mut rest);
        &before[..before.len() - rest.len()]
    };
    Some((0..count).map(element).collect())
}

/// Takes a line off, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap();
    let (line, after) = rest.split_at(end + 1);
    *rest = after;
    &line[..end - 1]
}

/// Takes a reply off.
fn skip(rest: &mut &[u8]) {
    let head = line(rest);
    let number = || {
        let text = std::str::from_utf8(&head[1..]).unwrap();
        text.parse::<i64>().unwrap_or(0)
    };
    match head[0] {
        b'$' if number() >= 0 => *rest = &rest[number() as usize + 2..],
        b'*' => (0..number()).for_each(|_| skip(rest)),
        _ => {}
    }
}

struct Judge<'a> {
    world: &'a Blocks,
    /// Which operation has appended a number, and to which list.
    writers: HashMap<u32, (usize, usize)>,
    graph: Graph,
}

impl Judge<'_> {
    fn describe(&self, node: u32) -> String {
        let Some(op) = self.world.ops.get(node as usize) else {
            return "time passes".into();
        };
        let reply = op.reply[..op.reply.len().min(200)].escape_ascii();
        let (client, parts, block) = (op.client, &op.parts, op.block);
        format!(
            "{node}: client {client} block {block} {parts:?} -> {reply} ({}..{:?})",
            op.invoked, op.completed
        )
    }

    fn fate(op: &Op) -> Fate {
        match op.completed {
            None => Fate::Unknown,
            Some(_) if op.block && op.reply == b"*-1\r\n" => Fate::Nothing,
            Some(_) => Fate::Done,
        }
    }

    /// The counter says how often it was raised.
    fn counted(&self, counter: usize) -> Result<(), String> {
        let count = |fate| {
            let ops = self.world.ops.iter().filter(|op| op.counts);
            ops.filter(|op| Self::fate(op) == fate).count()
        };
        let (least, unknown) = (count(Fate::Done), count(Fate::Unknown));
        match (least..=least + unknown).contains(&counter) {
            true => Ok(()),
            false => Err(format!("raised {least} times, the counter says {counter}")),
        }
    }

    /// What is left in the lists, against who wrote it.
    fn writes(&mut self, lists: &[Vec<u32>]) -> Result<(), String> {
        let mut missing = 0;
        for (id, op) in self.world.ops.iter().enumerate() {
            for part in &op.parts {
                let Part::Append(list, number) = part else {
                    continue;
                };
                self.writers.insert(*number, (id, *list));
                let there = lists[*list].contains(number);
                match Self::fate(op) {
                    Fate::Done if !there => missing += 1,
                    Fate::Nothing if there => return Err(format!("{number} was not to be")),
                    _ => {}
                }
            }
        }
        if missing > 0 {
            return Err(format!("{missing} appends are lost"));
        }
        for (list, numbers) in lists.iter().enumerate() {
            let mut before: Option<usize> = None;
            for number in numbers {
                let Some((writer, of)) = self.writers.get(number).copied() else {
                    return Err(format!("nobody wrote {number}"));
                };
                if of != list {
                    return Err(format!("{number} is in the wrong list"));
                }
                if let Some(before) = before.replace(writer) {
                    self.graph.edge(before as u32, writer as u32);
                }
            }
        }
        Ok(())
    }

    /// What an operation has read.
    fn reads(&mut self, id: usize, lists: &[Vec<u32>]) -> Result<(), String> {
        let op = &self.world.ops[id];
        if Self::fate(op) != Fate::Done {
            return Ok(());
        }
        let replies = if op.block {
            elements(&op.reply).ok_or("not an array")?
        } else {
            vec![&op.reply[..]]
        };
        if replies.len() != op.parts.len() {
            return Err("too few or too many replies".into());
        }
        for (part, reply) in op.parts.iter().zip(replies) {
            if reply.starts_with(b"-") {
                return Err("an error".into());
            }
            match part {
                Part::Append(..) | Part::Other => {}
                Part::Read(list) => self.read(id, *list, reply, lists)?,
                Part::ReadAll(read) => {
                    let elements = elements(reply).ok_or("not an array")?;
                    for (list, element) in read.iter().zip(elements) {
                        self.read(id, *list, element, lists)?;
                    }
                }
                Part::Audit => {
                    let elements = elements(reply).ok_or("not an array")?;
                    let balance =
                        |element: &&[u8]| bulk(element).map_or(Ok(0), |text| text.parse::<i64>());
                    let sum: i64 = elements.iter().map(|e| balance(e).unwrap()).sum();
                    if sum != MONEY || elements.len() != ACCOUNTS {
                        return Err(format!("the accounts hold {sum}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        id: usize,
        list: usize,
        reply: &[u8],
        lists: &[Vec<u32>],
    ) -> Result<(), String> {
        let read = numbers(reply);
        let all = &lists[list];
        if !all.starts_with(&read) {
            return Err(format!("list {list} was never that"));
        }
        let writer = |number: &u32| self.writers[number].0 as u32;
        if let Some(last) = read.last() {
            self.graph.edge(writer(last), id as u32);
        }
        if let Some(next) = all.get(read.len()) {
            self.graph.edge(id as u32, writer(next));
        }
        Ok(())
    }

    /// Who was answered before another asked comes before it. A chain of further
    /// nodes, one per answer, says so. Returns the number of nodes.
    fn real_time(&mut self) -> u32 {
        let mut nodes = self.world.ops.len() as u32;
        let mut latest = None;
        for event in &self.world.events {
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
