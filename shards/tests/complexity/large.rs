//! What requests are about that is not made with one command.

#[path = "../rdb/written.rs"]
mod written;

use super::Cores;

impl Cores {
    /// A stream all of which is pending with one consumer of a group; and a group of many
    /// consumers.
    pub fn fill_groups(&mut self, size: usize, request: &str) {
        for number in 1..=size {
            self.ask(false, &format!("XADD y@1 {number} field v{number}"));
        }
        self.ask(false, "XGROUP CREATE y@1 g 0");
        self.ask(false, "XGROUP CREATECONSUMER y@1 g idle");
        self.ask(false, "XCLAIM y@1 g c 0 @ids FORCE JUSTID");
        self.ask(false, "XPENDING y@1 g");
        let pending = format!("*4\r\n:{size}\r\n");
        assert!(self.reply.starts_with(pending.as_bytes()));
        self.ask(false, "XGROUP CREATE w@0 g 0 MKSTREAM");
        if request.contains("crowd") {
            self.ask(false, "XGROUP CREATE y@1 crowd 0");
            for number in 1..=size {
                self.ask(
                    false,
                    &format!("XCLAIM y@1 crowd c{number} 0 {number} FORCE"),
                );
            }
        }
    }

    /// What DUMP would tell of such a value.
    pub fn payload(&self, of: &str) -> Vec<u8> {
        let element = |number: usize| {
            let member = written::text(format!("m{number}").as_bytes());
            let rest = match of {
                "zset" => (number as f64).to_le_bytes().to_vec(),
                _ => written::text(number.to_string().as_bytes()),
            };
            [member, rest].concat()
        };
        let count = written::len(self.size as u64);
        let elements = count.into_iter().chain((0..self.size).flat_map(element));
        let (number, value) = match of {
            "zset" => (5, elements.collect()),
            "hash" => (4, elements.collect()),
            _ => (0, written::packed(&vec![b'x'; self.size * 256])),
        };
        written::payload(&[vec![number], value].concat(), 10)
    }
}
