//! What connections need that no request asks for: idle ones are closed or
//! give their memory back, those over their soft limit of output for too long are closed.
//!
//! A few connections are visited per tick, round robin, so that many
//! connections cost no more per tick than few.

use crate::core::Core;
use crate::runtime::clock;
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
            // Who listens need not say anything.
            && !connection.session.listens
            && (!connection.is_waiting() || connection.is_unread())
            // What it has waited for is about to be sent, or to be executed.
            && !connection.dirty
            && !connection.is_blocked();
        let max = core.output_max[connection.class as usize];
        let soft_s = core
            .config
            .clients
            .output_limits
            .of(connection.class)
            .soft_s;
        let over = connection.judge_output(max, soft_s, core.now, &mut core.stats);
        if timed_out || over {
            connection.close();
            core.mark_dirty(key as u32);
        } else if quiet_ms > QUIET_MS {
            connection.shed();
        }
    }
}
