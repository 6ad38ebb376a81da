//! The thread that reads and writes dumps: it may wait for the disk, cores may not.
//!
//! It is started by the process, not by a core, so it runs on whatever CPU is free.

use super::{reader, writer};
use crate::core::{Order, Report};
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};

/// Where its orders go, and where its reports come.
pub type Ends = (Sender<Order>, Receiver<Report>);

/// Starts it. It ends when nobody can give it orders any more.
///
/// # Errors
/// The machine grants no thread.
pub fn start() -> io::Result<Ends> {
    let (orders, to_do) = mpsc::channel::<Order>();
    let (report, reports) = mpsc::channel();
    let work = move || {
        for order in to_do {
            let alarm = match order {
                Order::Save(order) => {
                    let _ = report.send(Report::Saved(writer::write(&order)));
                    order.alarm
                }
                Order::Load(mut order) => {
                    let read = reader::read(&mut order);
                    // Before the shards see the end of their queues.
                    let _ = report.send(Report::Read(read));
                    order.alarm
                }
            };
            alarm.ring();
        }
    };
    let builder = std::thread::Builder::new().name("dumps".into());
    builder.spawn(work)?;
    Ok((orders, reports))
}
