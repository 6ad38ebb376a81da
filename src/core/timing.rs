//! What is noted of how long commands took, and what the configuration says of it.

use super::Core;
use crate::config::Config;
use crate::runtime::ticks;
use crate::stats::latency::EventKind;
use crate::stats::slowlog::{SlowEntry, cut};
use shards::ReplyMax;
use shards::command::{Args, flags};
use shards::order::Timing;
use shards::replies::{Class, OutputMax};
use shards::resp::FRAME_BYTES;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Core {
    /// What must be known of the configuration where commands run and are timed.
    pub fn time_as_configured(&mut self) {
        let slow_us = u64::try_from(self.config.logs.slowlog_log_slower_than);
        let slow_ns = slow_us.map_or(u64::MAX, |us| us.saturating_mul(1000));
        let event_ns = match self.config.logs.latency_monitor_threshold_ms {
            0 => u64::MAX,
            ms => ms.saturating_mul(1_000_000),
        };
        self.noteworthy_ticks = match slow_ns.min(event_ns) {
            u64::MAX => u64::MAX,
            ns => ticks::of_ns(ns),
        };
        self.node.time_with(Timing {
            clock: ticks::now,
            slow: self.noteworthy_ticks,
        });
        if self.is_monitored() {
            self.noteworthy_ticks = 0;
        }
        self.node.shard_mut().settings.reply_max = reply_max(&self.config);
        self.output_max = Class::ALL.map(|class| output_max(&self.config, class));
        let tracked_max = match self.config.clients.tracking_table_max_keys {
            0 => usize::MAX,
            keys => usize::try_from(keys.div_ceil(u64::from(self.shards))).unwrap_or(usize::MAX),
        };
        self.node.shard_mut().tracking_mut().limit(tracked_max);
        self.stats.tracking = self.config.logs.latency_tracking;
        if !self.stats.tracking {
            self.stats.forget_histograms();
        }
    }

    /// A slice of deleting expired keys that began then is over.
    pub fn note_expire_cycle(&mut self, began: Instant) {
        let threshold_ms = self.config.logs.latency_monitor_threshold_ms;
        if threshold_ms == 0 {
            return;
        }
        let took_ms = began.elapsed().as_millis() as u64;
        if took_ms >= threshold_ms {
            let at_s = self.now.0 / 1000;
            self.events.add(EventKind::ExpireCycle, at_s, took_ms);
        }
    }

    /// A command of client `id` took long: SLOWLOG and LATENCY hear of it, if
    /// it was long enough for them.
    #[cold]
    pub fn note(&mut self, key: u32, id: u64, row: u16, ticks: u64, args: Args<'_>) {
        let took_us = ticks::to_ns(ticks) / 1000;
        let (at_s, took_ms) = (self.now.0 / 1000, took_us / 1000);
        let row_flags = self.row_flags[usize::from(row)];
        let threshold_ms = self.config.logs.latency_monitor_threshold_ms;
        if threshold_ms > 0 && took_ms >= threshold_ms {
            let fast = row_flags.has(flags::FAST);
            let kind = if fast {
                EventKind::FastCommand
            } else {
                EventKind::Command
            };
            self.events.add(kind, at_s, took_ms);
        }
        let slow_us = u64::try_from(self.config.logs.slowlog_log_slower_than);
        let is_slow = slow_us.is_ok_and(|slow_us| took_us >= slow_us);
        if !is_slow || row_flags.has(flags::SKIP_SLOWLOG) {
            return;
        }
        // A client that has gone meanwhile has left neither address nor name.
        let client = self.client(key, id).map(|connection| {
            let session = &connection.session;
            (session.peer.to_string(), session.name.clone())
        });
        let (address, name) = client.unwrap_or_default();
        let entry = SlowEntry {
            id: self.shared.next_slow.fetch_add(1, Ordering::Relaxed),
            at_s,
            took_us,
            args: cut(args, &self.secret),
            address,
            name,
        };
        self.slow_log.push(entry, self.config.logs.slowlog_max_len);
    }
}

/// How much may wait for a client of this class, which is not more than the machine's
/// memory.
fn output_max(config: &Config, class: Class) -> OutputMax {
    let limit = config.clients.output_limits.of(class);
    let memory = crate::runtime::memory::total();
    OutputMax::new(limit.hard_bytes, limit.soft_bytes, memory)
}

/// How long the reply to one request may be: as long as what may wait for its client.
fn reply_max(config: &Config) -> ReplyMax {
    let bytes = output_max(config, Class::Normal).hard;
    let memory = OutputMax::new(0, 0, crate::runtime::memory::total()).hard;
    ReplyMax {
        // A string asks for room for a longer frame than it has. What it is too long by
        // is noticed when it is to be sent.
        bytes: bytes.saturating_add(FRAME_BYTES),
        closes: bytes < memory,
    }
}
