//! What clients hear, and what they make of it.

use super::{Asked, Broken, Person, Readers, Role, What, id_text, key};
use crate::once::{Entry, Id, Reply, Served};
use shards::order::{Client, Rest};
use std::collections::{BTreeSet, HashMap};

impl Readers {
    pub(super) fn hand_out(&mut self, node: usize) -> Result<(), String> {
        while let Some(client) = self.nodes[node].begun_to_wait() {
            if let Some(asked) = self.asked.get_mut(&client.id) {
                asked.begun.get_or_insert(self.instant);
            }
        }
        while self.nodes[node].has_replies() {
            let mut come = Vec::new();
            self.nodes[node].replies(|it| come.push((it.client, it.whole(), it.rest)));
            for (client, reply, rest) in come {
                self.hear(node, client, &reply, rest)?;
            }
        }
        Ok(())
    }

    /// A reply has come, or a piece of one.
    fn hear(
        &mut self,
        node: usize,
        client: Client,
        reply: &[u8],
        rest: Rest,
    ) -> Result<(), String> {
        if client.is_only_counted() || self.dropped.contains(&client.id) {
            return Ok(());
        }
        self.heard.entry(client.id).or_default().extend(reply);
        match rest {
            Rest::Follows(ticket) => {
                let is_gone = self.people[client.key as usize].id != client.id;
                let what = self.asked.get(&client.id).map(|asked| &asked.what);
                // What a worker got that was killed is to be known.
                if is_gone && matches!(what, Some(What::Reads(..))) {
                    self.nodes[node].drop_reply(self.now, ticket);
                    self.asked.remove(&client.id);
                    self.dropped.insert(client.id);
                } else {
                    self.nodes[node].ask(self.now, ticket);
                }
                Ok(())
            }
            Rest::Lost => Err("a reply is lost".into()),
            Rest::InVain => {
                self.asked.remove(&client.id);
                Ok(())
            }
            Rest::Nothing => {
                let reply = self.heard.remove(&client.id).unwrap_or_default();
                self.complete(client, &reply)
            }
        }
    }

    pub(super) fn complete(&mut self, client: Client, bytes: &[u8]) -> Result<(), String> {
        let Some(asked) = self.asked.remove(&client.id) else {
            return Err(format!("client {} has two replies", client.id));
        };
        let understood = Reply::parse(bytes).and_then(|reply| self.understand(&asked, &reply));
        let reply = bytes.escape_ascii();
        understood.map_err(|wrong| format!("{wrong}\n  {}: {reply}", asked.line))
    }

    fn understand(&mut self, asked: &Asked, reply: &Reply) -> Result<(), String> {
        self.served += usize::from(asked.begun.is_some() && !reply.all().is_empty());
        let instant = self.instant;
        if let Reply::Error(error) = reply {
            let is_expected = self.once.lenient || error.starts_with("UNBLOCKED");
            return is_expected.then_some(()).ok_or_else(|| "an error".into());
        }
        match &asked.what {
            What::Adds(numbers) => {
                let ids = match reply {
                    Reply::All(ids) => &ids[..],
                    id => std::slice::from_ref(id),
                };
                if ids.len() != numbers.len() || ids.iter().any(|id| id.id().is_none()) {
                    return Err("not added".into());
                }
                numbers
                    .iter()
                    .for_each(|it| self.once.is_added(*it, instant));
                Ok(())
            }
            What::Reads(last, all) => self.has_read(asked, last, *all, &reply.streams()?),
            What::Works { .. } => self.has_got(asked, &reply.streams()?),
            What::Acks(group, stream, numbers) => match reply {
                Reply::Number(count) => {
                    let count = *count as usize;
                    self.once.acks((*group, *stream), numbers, count, instant)
                }
                _ => Err("no number".into()),
            },
            What::TakesOver(group, name, stream) => {
                let entries = reply.all().get(1).ok_or("too short")?.entries()?;
                for (_, number) in &entries {
                    self.once.gets(*group, name, number.ok_or("deleted")?);
                }
                self.in_hand(asked, *stream, &entries);
                Ok(())
            }
            What::Other => Ok(()),
        }
    }

    /// Somebody who has not gone meanwhile.
    fn person(&mut self, client: Client) -> Option<&mut Person> {
        let person = &mut self.people[client.key as usize];
        (person.id == client.id).then_some(person)
    }

    fn in_hand(&mut self, asked: &Asked, stream: usize, entries: &[Entry]) {
        if let Some(Person {
            role: Role::Works(worker),
            ..
        }) = self.person(asked.client)
        {
            for (id, number) in entries {
                let number = number.map(|number| (stream, *id, number));
                worker.in_hand.extend(number);
            }
        }
    }

    /// XREAD has a reply: with what was read from `$` on, and perhaps with all there was.
    fn has_read(
        &mut self,
        asked: &Asked,
        last: &[usize],
        all: bool,
        read: &[(usize, Vec<Entry>)],
    ) -> Result<(), String> {
        let mut numbers = Vec::new();
        for (stream, entries) in read {
            for (_, number) in entries {
                let number = number.ok_or("deleted")?;
                numbers.push(number);
                if last.contains(stream) && self.once.is_old(number, asked.invoked) {
                    return Err(format!("entry {number} was there before"));
                }
            }
        }
        let Some(Person {
            role: Role::Reads(reader),
            ..
        }) = self.person(asked.client)
        else {
            return Ok(());
        };
        for (stream, entries) in read {
            let at = reader.streams.iter().position(|it| it == stream);
            let at = at.ok_or("nobody asked for this stream")?;
            for (id, number) in entries {
                if reader.at[at] >= Some(*id) {
                    return Err(format!("{} is read again", id_text(*id)));
                }
                reader.at[at] = Some(*id);
                reader.seen[at].extend(number);
            }
        }
        // Else it does not know which instant it has seen.
        if all && !reader.is_late && (last.is_empty() || last.len() == reader.streams.len()) {
            let seen: BTreeSet<u64> = reader.seen.iter().flatten().copied().collect();
            let streams = reader.streams.clone();
            return self.once.whole(&seen, &streams, &numbers);
        }
        Ok(())
    }

    /// XREADGROUP has a reply.
    fn has_got(&mut self, asked: &Asked, got: &[(usize, Vec<Entry>)]) -> Result<(), String> {
        let What::Works {
            group,
            name,
            new,
            old,
        } = &asked.what
        else {
            return Ok(());
        };
        let mut first = HashMap::new();
        for (stream, entries) in got {
            if old.contains(stream) {
                for number in entries.iter().filter_map(|(_, number)| *number) {
                    self.once.is_pending(*group, name, number, asked.invoked);
                }
            } else if new.contains(stream) && !entries.is_empty() {
                first.insert(*stream, entries[0].0);
                for (id, number) in entries {
                    self.once.is_new(*group, name, number.ok_or("deleted")?)?;
                    self.break_group(*group, *stream, *id);
                }
            } else {
                return Err("nobody asked for this stream".into());
            }
            self.in_hand(asked, *stream, entries);
        }
        if let Some(begun) = asked.begun {
            self.once.serves(Served {
                group: *group,
                invoked: asked.invoked,
                begun,
                streams: new.clone(),
                first,
            });
        }
        Ok(())
    }

    /// Something happens to a group that has delivered an entry, if that is broken.
    fn break_group(&mut self, group: usize, stream: usize, (ms, seq): Id) {
        let (key, id) = (key(stream), id_text((ms, seq)));
        if self.broken == Broken::Forgets && self.rng.one_in(20) {
            let before = if seq > 0 {
                id_text((ms, seq - 1))
            } else {
                "0".into()
            };
            self.direct(&format!("XGROUP SETID {key} g{group} {before}"));
        } else if self.broken == Broken::LostRecord && self.rng.one_in(20) {
            self.direct(&format!("XACK {key} g{group} {id}"));
        }
    }
}
