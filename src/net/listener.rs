//! Listening sockets: one per core and address, sharing the port.
//!
//! The kernel spreads connections over the cores' sockets (SO_REUSEPORT). The
//! same option would let a second server start silently on a port in use, so
//! [`claim`] binds each address without it first and shares the socket only then.
//! It stays open and becomes the first core's: from the claim to the end of the
//! process nobody else can bind the address, and no connection that comes before
//! the cores are ready is lost.

use super::newcomers::Newcomers;
use crate::config::{Config, StartError};
use crate::core::Core;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// One core's listening sockets.
pub struct Listeners {
    sockets: Vec<Socket>,
    /// Sockets on which accepting has ended and must begin again.
    idle: Vec<u32>,
    pub newcomers: Newcomers,
}

impl Listeners {
    /// Begins to accept on every socket.
    pub fn new(core: &mut Core, sockets: Vec<Socket>) -> Self {
        let idle = (0..sockets.len() as u32).collect();
        let newcomers = Newcomers::default();
        let mut listeners = Self {
            sockets,
            idle,
            newcomers,
        };
        listeners.rearm(core);
        listeners
    }

    /// Accepting has ended on this socket, as it does when descriptors run
    /// out: it begins again with the next heartbeat, not at once.
    pub fn rearm_later(&mut self, token: u32) {
        self.idle.push(token);
    }

    /// Accepts again where accepting has ended.
    pub fn rearm(&mut self, core: &mut Core) {
        for token in self.idle.drain(..) {
            core.ring
                .accept(token, self.sockets[token as usize].as_fd());
        }
    }
}

/// An address to listen on, and the socket that keeps others from it.
pub type Claimed = (SocketAddr, Socket);

/// Claims the addresses to listen on. A `bind` of `-address` is skipped when the
/// machine does not have it; `*` is every IPv4 address and `::*` every IPv6 one.
///
/// # Errors
/// An address that cannot be had, with the remedy; nothing is claimed then.
pub fn claim_all(config: &Config) -> Result<Vec<Claimed>, StartError> {
    let mut addresses = Vec::new();
    for name in &config.network.bind {
        let (name, optional) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let name = match name {
            "*" => "0.0.0.0",
            "::*" => "::",
            name => name,
        };
        match resolve(name, config.network.port) {
            Ok(address) => addresses.push(address),
            Err(_) if optional => {}
            Err(error) => {
                return Err(StartError::new(&format!(
                    "bind: cannot resolve '{name}' ({error}); give an address of this machine, e.g. --bind 127.0.0.1"
                )));
            }
        }
    }
    let mut claimed: Vec<Claimed> = Vec::new();
    for address in addresses {
        let optional = config.network.bind.iter().any(|name| {
            name.strip_prefix('-').is_some_and(|name| {
                name == address.ip().to_string() || name == "::*" || name == "*"
            })
        });
        if claimed.iter().any(|(other, _)| overlap(*other, address)) {
            return Err(StartError::new(&format!(
                "bind: {} is given twice, or by a wildcard as well; give each address once",
                address.ip()
            )));
        }
        match once_free(|| claim(address, config.network.tcp_backlog)) {
            Ok(socket) => claimed.push((address, socket)),
            Err(error) if optional && is_missing(&error) => {}
            Err(error) => return Err(describe(address, &error)),
        }
    }
    if claimed.is_empty() {
        return Err(StartError::new(
            "bind: no address to listen on; give one, e.g. --bind 127.0.0.1",
        ));
    }
    Ok(claimed)
}

/// Whether a socket on one keeps others from the other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || all && one.is_ipv4() == other.is_ipv4()
}

fn resolve(name: &str, port: u16) -> io::Result<SocketAddr> {
    let mut found = (name, port).to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::other("no address"))
}

fn is_missing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    [
        Errno::ADDRNOTAVAIL,
        Errno::AFNOSUPPORT,
        Errno::PROTONOSUPPORT,
    ]
    .map(Some)
    .contains(&errno)
}

fn describe(address: SocketAddr, error: &io::Error) -> StartError {
    let text = match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port: {address} is in use; stop the other server or choose another with --port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port: not allowed to listen on {address}; choose a --port above 1023 or run with CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!("bind: {address} is no address of this machine; choose another with --bind")
        }
        _ => format!(
            "bind: cannot listen on {address} ({error}); choose another with --bind or --port"
        ),
    };
    StartError::new(&text)
}

/// The kernel takes the rings of a process apart some time after its end, and with
/// them its listening sockets. Who takes the place of another server waits so long.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

/// Listens as soon as the address is free.
fn once_free(mut listen: impl FnMut() -> io::Result<Socket>) -> io::Result<Socket> {
    let began = Instant::now();
    loop {
        match listen() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PORT_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// The first socket on `address`, which fails if anybody else has one; from then on
/// the address can be shared within the process.
fn claim(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = listen(address, backlog, false)?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// A further core's socket on an address that this process has claimed. Another
/// process that tries to claim it may be in the way for an instant.
pub fn join(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    once_free(|| listen(address, backlog, true))
}

fn listen(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Has the kernel look after a silent peer every `seconds`.
pub fn keep_alive(socket: &OwnedFd, seconds: u32) {
    let probe = Duration::from_secs(u64::from(seconds / 3).max(1));
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(seconds)))
        .with_interval(probe)
        .with_retries(3);
    // A socket that cannot be looked after is still a socket.
    let _ = socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive);
}
