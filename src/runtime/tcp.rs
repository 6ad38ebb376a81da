//! What the kernel knows of a TCP connection.
#![allow(unsafe_code)] // One call of the kernel that no crate here wraps.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Where the number stands in `struct tcp_info` of `linux/tcp.h`, which only grows at
/// its end.
const ACKED_AT: usize = 120;
const INFO_BYTES: usize = ACKED_AT + size_of::<u64>();

/// Bytes of what was sent that the other side has acknowledged since the connection began;
/// nothing if the kernel does not tell.
pub fn acked_bytes(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut info = [0u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes, which is what there is.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 || length < INFO_BYTES as libc::socklen_t {
        return None;
    }
    let bytes = info.last_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;

    #[test]
    fn what_the_other_side_has_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let mut sender = TcpStream::connect(address).expect("it listens");
        let (mut receiver, _) = listener.accept().expect("somebody connects");
        // The handshake counts as one.
        let before = acked_bytes(sender.as_fd()).expect("the kernel tells");
        sender.write_all(&[1; 1000]).expect("it is open");
        receiver.read_exact(&mut [0; 1000]).expect("it is sent");
        // Loopback acknowledges before the bytes can be read, or soon after.
        receiver.write_all(b"x").expect("it is open");
        sender.read_exact(&mut [0]).expect("it is sent");
        assert_eq!(acked_bytes(sender.as_fd()), Some(before + 1000));
        let (socket, _) = std::os::unix::net::UnixStream::pair().expect("sockets can be had");
        assert_eq!(acked_bytes(socket.as_fd()), None, "it is no TCP");
    }
}
