//! How much may wait to be sent to a client.

/// The classes of clients that have limits of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    #[default]
    Normal,
    Replica,
    Pubsub,
    /// Which the directive does not name: a client in MONITOR mode.
    Monitor,
}

impl Class {
    /// In the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Replica, Self::Pubsub, Self::Monitor];

    /// As the directive has it, if it does.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Replica => "replica",
            Self::Pubsub => "pubsub",
            Self::Monitor => "monitor",
        }
    }
}

/// Redis keeps so much in a client's first buffer, and counts only what comes after it.
const UNCOUNTED: u64 = 16 << 10;
/// As so much counts the smallest buffer that comes next, however little it holds.
const COUNTED_MIN: u64 = 20_504;

/// Up to how many bytes may wait for a client of some class, as
/// [`Replies::output_bytes`](super::Replies::output_bytes) counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputMax {
    /// Beyond it the client is closed.
    pub hard: usize,
    /// Beyond it for some time, too. Not above `hard`, which it is if there is none.
    pub soft: usize,
    /// The highest that is configured, if one is: a client that is to be judged must be
    /// able to pass it.
    pub to_pass: Option<usize>,
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Within,
    BeyondSoft,
    BeyondHard,
}

impl OutputMax {
    /// From the directive, where zero is no limit, and the memory that there is.
    pub fn new(hard: u64, soft: u64, memory: u64) -> Self {
        let counted = |limit: u64| match limit {
            0 => u64::MAX,
            1..=COUNTED_MIN => UNCOUNTED,
            limit => limit.saturating_add(UNCOUNTED),
        };
        let bytes = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        let hard_max = counted(hard).min(memory);
        let soft_max = counted(soft).min(hard_max);
        let to_pass = match (hard, soft) {
            (0, 0) => None,
            (0, _) => Some(bytes(soft_max)),
            _ => Some(bytes(hard_max)),
        };
        Self {
            hard: bytes(hard_max),
            soft: bytes(soft_max),
            to_pass,
        }
    }

    /// How much so many bytes are.
    pub fn judge(self, bytes: usize) -> Output {
        if bytes > self.hard {
            Output::BeyondHard
        } else if bytes > self.soft {
            Output::BeyondSoft
        } else {
            Output::Within
        }
    }
}
