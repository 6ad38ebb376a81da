//! The ring against real sockets, also where it has no room.

use super::*;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;

/// Two ends of a connection.
fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("it is bound");
    let peer = TcpStream::connect(address).expect("it listens");
    (listener.accept().expect("one has connected").0, peer)
}

/// All that the ring has to do, to the last completion.
fn settle(ring: &mut Ring, into: &mut Vec<Completion>) {
    while ring.has_work() {
        ring.enter();
        ring.completions(into);
    }
}

/// Waits until there is something.
fn next(ring: &mut Ring, into: &mut Vec<Completion>) {
    into.clear();
    while into.is_empty() {
        ring.wait(1, Duration::from_secs(60));
        ring.completions(into);
    }
}

fn received(completions: Vec<Completion>, ring: &mut Ring, bytes: &mut [usize]) {
    for completion in completions {
        if let Completion::Received { token, buffer, .. } = completion {
            bytes[token as usize] += buffer.bytes().len();
            ring.recycle(buffer);
        }
    }
}

/// There is room for two completions and need for sixteen.
#[test]
fn no_completion_is_forgotten_where_there_was_no_room_for_it() {
    const PEERS: usize = 16;
    let mut ring = Ring::of_size(2, 2).expect("a ring can be had");
    let mut pairs: Vec<_> = (0..PEERS).map(|_| connected()).collect();
    let mut bytes = [0; PEERS];
    for round in 1..=3 {
        for (token, (socket, _)) in pairs.iter().enumerate() {
            ring.receive_once(token as u32, socket.as_fd());
        }
        ring.enter();
        for (socket, peer) in &mut pairs {
            peer.write_all(b"x").expect("it is connected");
            // So that it has arrived: the ring takes it when it is entered.
            socket.peek(&mut [0]).expect("it is connected");
        }
        let mut completions = Vec::new();
        settle(&mut ring, &mut completions);
        received(completions, &mut ring, &mut bytes);
        assert_eq!(bytes, [round; PEERS]);
    }
}

/// A multishot receive ends where there is no room for its completion, and says so.
#[test]
fn receiving_begins_again_and_sends_end_where_there_was_no_room() {
    const PEERS: usize = 8;
    const ROUNDS: usize = 50;
    const PIECE: usize = 3_000;
    let mut ring = Ring::of_size(2, 2).expect("a ring can be had");
    let mut pairs: Vec<_> = (0..PEERS).map(|_| connected()).collect();
    let (mut bytes, mut sent) = ([0; PEERS], [0; PEERS]);
    for (token, (socket, _)) in pairs.iter().enumerate() {
        ring.receive(token as u32, socket.as_fd());
    }
    for round in 1..=ROUNDS {
        let shared = Piece::shared(vec![2; PIECE]);
        for (token, (socket, peer)) in pairs.iter_mut().enumerate() {
            peer.write_all(&[1; PIECE]).expect("it is connected");
            let piece = match token % 2 {
                0 => Piece::from(vec![2; PIECE]),
                _ => shared.clone(),
            };
            ring.send(token as u32, socket.as_fd(), piece, true);
        }
        while bytes != [round * PIECE; PEERS] || sent != [round * PIECE; PEERS] {
            let mut completions = Vec::new();
            next(&mut ring, &mut completions);
            for completion in completions {
                match completion {
                    Completion::Received {
                        token,
                        buffer,
                        more,
                    } => {
                        bytes[token as usize] += buffer.bytes().len();
                        ring.recycle(buffer);
                        if !more {
                            ring.receive(token, pairs[token as usize].0.as_fd());
                        }
                    }
                    Completion::Sent { token, sent: n, .. } => {
                        sent[token as usize] += n.expect("it is connected");
                    }
                    _ => panic!("nobody has gone"),
                }
            }
        }
        let Piece::Shared(shared) = shared else {
            panic!("it is shared")
        };
        assert!(shared.is_unique(), "it comes back with each send");
        for (_, peer) in &mut pairs {
            let mut read = [0; PIECE];
            peer.read_exact(&mut read).expect("it was sent");
            assert_eq!(read, [2; PIECE]);
        }
    }
}

#[test]
fn it_is_told_how_receiving_and_watching_end() {
    use End::{Again, Broken, SaidAll};
    let mut ring = Ring::of_size(8, 16).expect("a ring can be had");
    for (how, expected) in [("half", SaidAll), ("reset", Broken), ("stop", Again)] {
        for receives in [true, false] {
            let (socket, peer) = connected();
            match receives {
                true => ring.receive(7, socket.as_fd()),
                false => ring.watch(7, socket.as_fd()),
            }
            ring.enter();
            match how {
                "half" => peer.shutdown(Shutdown::Write).expect("it is connected"),
                "stop" if receives => ring.stop_receiving(7),
                // Watching is not stopped; it ends with the connection.
                "stop" => socket.shutdown(Shutdown::Both).expect("it is connected"),
                _ => {
                    let option = socket2::SockRef::from(&peer);
                    option.set_linger(Some(Duration::ZERO)).expect("an option");
                    drop(peer);
                }
            }
            let mut completions = Vec::new();
            next(&mut ring, &mut completions);
            let found = match completions[..] {
                [Completion::ReceiveEnded { token: 7, end }] if receives => end,
                [Completion::WatchEnded { token: 7, end }] if !receives => end,
                _ => panic!("{how}, {receives}: something else"),
            };
            let watched = how == "stop" && !receives;
            assert_eq!(found, if watched { Broken } else { expected }, "{how}");
        }
    }
}

/// The peer's end is seen through what it has sent before, which stays there.
#[test]
fn who_is_watched_is_not_received_from() {
    let mut ring = Ring::of_size(8, 16).expect("a ring can be had");
    let (socket, mut peer) = connected();
    ring.watch(3, socket.as_fd());
    peer.write_all(b"last words").expect("it is connected");
    let mut completions = Vec::new();
    settle(&mut ring, &mut completions);
    assert!(completions.is_empty(), "it is still there");
    drop(peer);
    next(&mut ring, &mut completions);
    let [Completion::WatchEnded { token: 3, end }] = completions[..] else {
        panic!("its end is seen");
    };
    assert_eq!(end, End::SaidAll);
    ring.receive(3, socket.as_fd());
    next(&mut ring, &mut completions);
    let mut bytes = [0; 4];
    received(completions, &mut ring, &mut bytes);
    assert_eq!(bytes[3], b"last words".len());
}
