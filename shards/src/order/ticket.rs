//! Who waits for a reply, and what holds locks.

use crate::log::TicketId;
use crate::types::ShardId;

/// Who waits for a reply: the connection `key` of its core, below 2^31, if it still is
/// client `id`, at `place` in the order of its replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub key: u32,
    pub id: u64,
    pub place: u32,
}

impl Client {
    /// Marks a key that no connection has.
    const COUNTS: u32 = 1 << 31;

    /// For an answer that is not brought to the client: it tells how a command of a
    /// block went, whose reply is in that to the block.
    pub fn only_counted(self) -> Self {
        Self {
            key: self.key | Self::COUNTS,
            ..self
        }
    }

    /// Whether it is [`Client::only_counted`].
    pub fn is_only_counted(&self) -> bool {
        self.key & Self::COUNTS != 0
    }

    /// The connection that the answer is about, whether it is brought there or not.
    pub fn connection(&self) -> u32 {
        self.key & !Self::COUNTS
    }
}

/// What a ticket stands for: how it is acted on when its locks are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TicketKind {
    /// A request on several shards, which its home core drives.
    Transaction,
    /// A block on several shards, or with commands of the server.
    Program,
    /// The parts of a convoy on one shard.
    Convoy,
    /// A request or a block on its home's shard alone.
    Request,
    /// A key of its home's shard that is offered to somebody who waits for it, or is to
    /// be looked at for those who do.
    Key,
    /// What a snapshot shares until it is encoded.
    Snapshot,
}

/// What asks for locks: the core it belongs to and its number there, among those of
/// its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub home: ShardId,
    pub kind: TicketKind,
    pub number: u32,
    /// Tells apart those that have had the same number.
    pub serial: u32,
}

// Boxes carry them by the hundred.
const _: () = assert!(size_of::<Ticket>() == 12);

impl Ticket {
    /// Of no transaction yet.
    pub(super) const NONE: Self = Self {
        home: ShardId(u16::MAX),
        kind: TicketKind::Transaction,
        number: u32::MAX,
        serial: 0,
    };

    /// Its number, as an index.
    #[inline]
    pub(super) fn index(self) -> usize {
        self.number as usize
    }

    /// What its effects are kept together by.
    #[inline]
    pub(super) fn id(self) -> TicketId {
        self.part_id(0)
    }

    /// What those of one member of a convoy are kept together by.
    #[inline]
    pub(super) fn part_id(self, member: usize) -> TicketId {
        let Self {
            home,
            kind,
            number,
            serial,
        } = self;
        let whose = u128::from(home.0) << 16 | u128::from(kind as u16);
        let ticket = whose << 64 | u128::from(number) << 32 | u128::from(serial);
        TicketId(ticket << 32 | member as u128)
    }
}

/// The tickets of one core.
pub(super) struct Tickets {
    home: ShardId,
    /// Serial of the last.
    serial: u32,
}

impl Tickets {
    pub fn of(home: ShardId) -> Self {
        Self { home, serial: 0 }
    }

    /// A new one for what has this index among those of its kind.
    pub fn issue(&mut self, kind: TicketKind, index: usize) -> Ticket {
        self.serial = self.serial.wrapping_add(1);
        Ticket {
            home: self.home,
            kind,
            number: number_of(index),
            serial: self.serial,
        }
    }
}

/// Numbers of things that memory bounds far below 2^32.
pub(super) fn number_of(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 of anything")
}
