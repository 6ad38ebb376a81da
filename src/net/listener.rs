//! Listening sockets: one per core and address, sharing the port.
//!
//! The kernel spreads connections over the cores' sockets (SO_REUSEPORT). The
//! same option would let a second server start silently on a port in use, so
//! [`check`] binds each address once without it first.

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
}

impl Listeners {
    /// Begins to accept on every socket.
    pub fn new(core: &mut Core, sockets: Vec<Socket>) -> Self {
        let idle = (0..sockets.len() as u32).collect();
        let mut listeners = Self { sockets, idle };
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

/// The addresses to listen on. A `bind` of `-address` is skipped when the
/// machine does not have it; `*` is every IPv4 address and `::*` every IPv6 one.
pub fn addresses(config: &Config) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    for name in &config.bind {
        let (name, optional) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name.as_str(), false),
        };
        let name = match name {
            "*" => "0.0.0.0",
            "::*" => "::",
            name => name,
        };
        match resolve(name, config.port) {
            Ok(address) => addresses.push(address),
            Err(_) if optional => {}
            Err(error) => {
                return Err(StartError::new(&format!(
                    "bind: cannot resolve '{name}' ({error}); give an address of this machine, e.g. --bind 127.0.0.1"
                )));
            }
        }
    }
    let mut usable = Vec::new();
    for address in addresses {
        let optional = config.bind.iter().any(|name| {
            name.strip_prefix('-').is_some_and(|name| {
                name == address.ip().to_string() || name == "::*" || name == "*"
            })
        });
        match wait_until_free(address, config.tcp_backlog) {
            Ok(()) => usable.push(address),
            Err(error) if optional && is_missing(&error) => {}
            Err(error) => return Err(describe(address, &error)),
        }
    }
    if usable.is_empty() {
        return Err(StartError::new(
            "bind: no address to listen on; give one, e.g. --bind 127.0.0.1",
        ));
    }
    Ok(usable)
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

fn wait_until_free(address: SocketAddr, backlog: u32) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match check(address, backlog) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PORT_PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

/// Binds without sharing, to find out whether the address is free.
fn check(address: SocketAddr, backlog: u32) -> io::Result<()> {
    listen(address, backlog, false).map(drop)
}

/// A core's socket on `address`.
pub fn listen(address: SocketAddr, backlog: u32, shared: bool) -> io::Result<Socket> {
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
