//! Requests of clients that track keys (`tracking`): what they read is remembered in the
//! step in which they run, whatever they had to wait for before.

use super::Site;
use crate::command::Args;
use crate::order::call::Call;

impl Site {
    /// A request is about to run.
    #[inline]
    pub(in crate::order) fn begins(&mut self, call: &Call) {
        if call.caller.is_some() && call.write {
            self.shard.tracking_mut().set_caller(call.caller);
        }
    }

    /// It has run, or a step of it.
    #[inline]
    pub(in crate::order) fn ran(&mut self, call: &Call, args: Args<'_>) {
        if call.caller.is_some() {
            self.ran_for_tracker(call, args);
        }
    }

    #[cold]
    fn ran_for_tracker(&mut self, call: &Call, args: Args<'_>) {
        let tracking = self.shard.tracking_mut();
        tracking.set_caller(None);
        let Some(reader) = call.caller.filter(|_| !call.write) else {
            return;
        };
        let mut positions = Vec::new();
        for spec in call.keys {
            if spec.positions(args, &mut positions).is_none() {
                return; // the handler has refused it
            }
        }
        let keys = positions.iter().filter_map(|at| args.get(*at));
        tracking.remember(reader, keys);
    }
}
