//! Whether others want the CPUs that this process uses.
//!
//! The kernel counts for how long some runnable task of the machine has had to wait
//! for a CPU (pressure stall information, `Documentation/accounting/psi.rst` of the
//! kernel). Where it does not, nobody is ever known to wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const FILE: &str = "/proc/pressure/cpu";
/// A look costs some microseconds, more on machines of many CPUs.
const EVERY: Duration = Duration::from_millis(100);
/// What lies further back says nothing about now.
const STALE: Duration = Duration::from_millis(500);
/// The CPUs are contended when tasks wait for so many hundredths of the time. With a
/// load generator that has CPUs of its own it is 2 to 7, with one that shares those
/// of the server 35 to 80.
const CONTENDED_PERCENT: u128 = 15;

/// What is known about the contention for CPUs.
pub struct Pressure {
    file: Option<File>,
    looked_at: Instant,
    /// Microseconds of waiting until then, since the machine was started.
    waited_us: u64,
    contended: bool,
}

impl Pressure {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            file: File::open(FILE).ok(),
            looked_at: now,
            // The first look finds no increase.
            waited_us: u64::MAX,
            contended: false,
        }
    }

    /// Whether tasks wait for CPUs, as far as is known; at times looks again.
    pub fn is_high(&mut self, now: Instant) -> bool {
        let elapsed = now.duration_since(self.looked_at);
        if elapsed < EVERY {
            return self.contended;
        }
        let Some(Ok(waited_us)) = self.file.as_ref().map(read) else {
            (self.file, self.contended) = (None, false);
            return false;
        };
        let before = std::mem::replace(&mut self.waited_us, waited_us);
        self.looked_at = now;
        self.contended = elapsed < STALE && {
            let waited = u128::from(waited_us.saturating_sub(before));
            waited * 100 > elapsed.as_micros() * CONTENDED_PERCENT
        };
        self.contended
    }
}

fn read(file: &File) -> io::Result<u64> {
    let mut text = [0; 256];
    let len = file.read_at(&mut text, 0)?;
    some_total(&text[..len]).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`.
fn some_total(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_once("total=")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let text =
            b"some avg10=0.00 avg60=1.50 avg300=2.00 total=1234567\nfull avg10=0.00 total=9\n";
        assert_eq!(some_total(text), Some(1_234_567));
        assert_eq!(some_total(b"some avg10=0.00 total=x\n"), None);
        assert_eq!(some_total(b"full avg10=0.00 total=9\n"), None);
        assert_eq!(some_total(b""), None);
        assert_eq!(some_total(b"some \xff total=1"), None);
    }

    /// Counters for a look: waiting of 20 ms in 100 ms is contention, the first look
    /// and one after a long time say nothing.
    #[test]
    fn contention_is_what_has_just_been() {
        let dir = std::env::temp_dir().join(format!("cordis-pressure-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("cpu");
        let write = |total: u64| std::fs::write(&path, format!("some avg10=0.00 total={total}\n"));
        write(5_000_000).unwrap();
        let began = Instant::now();
        let mut pressure = Pressure::new(began);
        pressure.file = Some(File::open(&path).unwrap());
        let at = |ms| began + Duration::from_millis(ms);
        assert!(!pressure.is_high(at(200)), "the first look");
        write(5_020_000).unwrap();
        assert!(!pressure.is_high(at(250)), "too early to look again");
        assert!(pressure.is_high(at(300)));
        write(5_030_000).unwrap();
        assert!(!pressure.is_high(at(400)), "10 %");
        write(9_000_000).unwrap();
        assert!(!pressure.is_high(at(3_000)), "who knows when that was");
        std::fs::write(&path, "nonsense").unwrap();
        assert!(!pressure.is_high(at(3_200)));
        assert!(pressure.file.is_none(), "nobody asks again");
        assert!(!pressure.is_high(at(3_400)));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
