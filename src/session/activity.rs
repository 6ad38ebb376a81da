//! Who sends how much: what a core knows of its clients when it plans its waits.

/// What was received since the last tick.
#[derive(Clone, Copy, Default)]
pub struct Activity {
    tick: u32,
    /// Completions that a core waits for: receives, and other cores that rang.
    pub receives: u32,
    /// Messages of other cores.
    pub messages: u32,
    /// Receives of clients, and the squares of what each connection has, in all.
    of_clients: u32,
    squares: u64,
}

/// What a connection has received in a tick.
#[derive(Clone, Copy)]
pub struct Share {
    tick: u32,
    receives: u32,
}

impl Share {
    pub fn new() -> Self {
        Self {
            tick: u32::MAX,
            receives: 0,
        }
    }
}

impl Activity {
    /// A connection has sent something; `share` is its own.
    #[inline]
    pub fn received(&mut self, share: &mut Share) {
        self.receives += 1;
        self.of_clients += 1;
        if share.tick != self.tick {
            share.tick = self.tick;
            share.receives = 0;
        }
        // From n² to (n + 1)².
        self.squares += u64::from(2 * share.receives + 1);
        share.receives += 1;
    }

    /// Another core has rung: it has requests or replies for us.
    #[inline]
    pub fn rung(&mut self) {
        self.receives += 1;
    }

    /// How many connections sent, as if each had sent equally much: of a few that
    /// send all the time and many that send now and then, the few (the effective
    /// number of Laakso and Taagepera, 1979: one over the sum of squared shares).
    pub fn active(&self) -> u32 {
        let all = u64::from(self.of_clients);
        // Lossless: not more than there are connections.
        ((all * all + self.squares / 2) / self.squares.max(1)) as u32
    }

    /// Ends the tick: what there was in it.
    pub fn next(&mut self) -> Self {
        let next = Self {
            tick: self.tick.wrapping_add(1),
            ..Self::default()
        };
        std::mem::replace(self, next)
    }

    /// So many receives of each of so many connections.
    #[cfg(test)]
    pub fn of(connections: &[(u32, u32)]) -> Self {
        let mut activity = Self::default();
        for (number, receives) in connections {
            for _ in 0..*number {
                let mut share = Share::new();
                (0..*receives).for_each(|_| activity.received(&mut share));
            }
        }
        activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_count_who_send_most() {
        assert_eq!(Activity::default().active(), 0);
        assert_eq!(Activity::of(&[(50, 20)]).active(), 50);
        assert_eq!(Activity::of(&[(5, 400), (20, 2)]).active(), 5);
        assert_eq!(Activity::of(&[(1, 1)]).active(), 1);
        assert_eq!(Activity::of(&[(10, 100), (10, 50)]).active(), 18);
    }

    #[test]
    fn every_tick_counts_anew() {
        let mut activity = Activity::default();
        let mut shares = [Share::new(); 3];
        for round in 0..2 {
            shares.iter_mut().for_each(|share| activity.received(share));
            activity.received(&mut shares[0]);
            activity.rung();
            let tick = activity.next();
            assert_eq!((tick.receives, tick.active()), (5, 3), "{round}");
        }
    }
}
