//! What connections need that no request asks for: idle ones are closed or
//! give their memory back. Those that are owed much are looked at more often: whether
//! they have been over their soft limit of output for too long, and whether they read.
//!
//! A few connections are visited per tick, round robin, so that many
//! connections cost no more per tick than few.

use crate::core::Core;
use crate::runtime::clock;
use crate::session::Monitoring;
use crate::session::connection::Phase;
use shards::ShardId;

/// Connections that are visited per tick.
const VISITS: usize = 64;
/// A connection that has been quiet for so long gives up its spare memory.
const QUIET_MS: i64 = 1000;

/// Visits the next few connections, and looks at how the core's counters grow.
pub fn visit(core: &mut Core) {
    core.stats.note_work(core.turn, clock::thread_cpu());
    core.stats.sample(core.now);
    if core.id == ShardId(0) && core.now.0 - core.peak_noted_at.0 >= 1000 {
        core.peak_noted_at = core.now;
        crate::runtime::memory::note_peak();
    }
    let capacity = core.connections.capacity();
    for _ in 0..VISITS.min(capacity) {
        core.next_visit = (core.next_visit + 1) % capacity;
        let key = core.next_visit;
        let Some(connection) = core.connections.get_mut(key) else {
            continue;
        };
        let quiet_ms = core.now.0 - connection.session.active_at.0;
        let timed_out = core.config.network.timeout_s > 0
            && quiet_ms > i64::from(core.config.network.timeout_s) * 1000
            // Who listens or monitors need not say anything.
            && !connection.session.listens
            && connection.session.monitoring == Monitoring::No
            && (!connection.is_waiting() || connection.is_unread())
            // What it has waited for is about to be sent, or to be executed.
            && !connection.dirty
            && !connection.is_blocked();
        if timed_out {
            connection.close();
            core.mark_dirty(key as u32);
        } else if quiet_ms > QUIET_MS {
            connection.shed();
        }
        // The limit may have been lowered.
        judge_output(core, key as u32);
    }
    visit_owed(core);
}

/// Closes a connection that is owed more than its limits allow, if it is open.
pub fn judge_output(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    let max = core.output_max[connection.class as usize];
    let within = connection.output_bytes() <= max.soft;
    if within && connection.over_soft_limit_since.is_none() || connection.phase == Phase::Closed {
        return;
    }
    let limits = &core.config.clients.output_limits;
    let soft_s = limits.of(connection.class).soft_s;
    if connection.judge_output(max, soft_s, core.now, &mut core.stats) {
        core.mark_dirty(key);
    } else if connection.over_soft_limit_since.is_some() {
        look_later(core, key);
    }
}

/// A connection is owed so much that it is to be looked at by and by.
#[cold]
pub fn look_later(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    if !std::mem::replace(&mut connection.owed_much, true) {
        core.owed_much.push_back(key);
    }
}

/// Looks at the next few of those that are owed much: closes who has been over its soft
/// limit for too long, and goes on for who does not read (see `session::connection`).
fn visit_owed(core: &mut Core) {
    for _ in 0..VISITS.min(core.owed_much.len()) {
        let Some(key) = core.owed_much.pop_front() else {
            return;
        };
        // One of an earlier connection under this key may be left in the list.
        let connection = core.connections.get_mut(key as usize);
        let Some(connection) = connection.filter(|connection| connection.owed_much) else {
            continue;
        };
        connection.owed_much = false;
        if connection.phase == Phase::Closed {
            continue;
        }
        judge_output(core, key);
        let connection = &mut core.connections[key as usize];
        let max = core.output_max[connection.class as usize];
        let goes_on = connection.look_at_reader(max.to_pass, core.now);
        if connection.waits_for_reader() {
            look_later(core, key);
        }
        if goes_on {
            core.mark_dirty(key);
        }
    }
}
