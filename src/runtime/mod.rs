//! Cores, their rings and the channels between them: all that touches the
//! machine below the sockets. Nothing else names glommio.

pub mod boot;
pub mod clock;
pub mod disk;
pub mod jobs;
pub mod log;
pub mod memory;
pub mod mesh;
pub mod park;
pub mod pressure;
pub mod random;
pub mod ring;
pub mod sequencer;
pub mod tcp;
pub mod ticks;
pub mod watchdog;
