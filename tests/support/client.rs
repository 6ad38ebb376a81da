//! A blocking RESP2/RESP3 client that keeps every reply's exact bytes.
//!
//! Differential tests compare [`Reply::raw`]; other tests look at
//! [`Reply::value`]. The decoder panics on bytes that are not RESP: a server
//! that sends such bytes has failed the test.

use super::{PATIENCE, show};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};

/// Bytes that the kernel takes off a sender whatever the receiver does.
const SURELY_ACCEPTED: usize = 16 * 1024;

/// A connection.
pub struct Client {
    stream: TcpStream,
    /// Received; `consumed` bytes of it have been handed out as replies.
    received: Vec<u8>,
    consumed: usize,
}

/// One reply as it came over the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    pub raw: Vec<u8>,
}

/// A reply, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`.
    Null,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(Vec<u8>),
    Boolean(bool),
    BigNumber(Vec<u8>),
    /// Format and text.
    Verbatim(Vec<u8>, Vec<u8>),
}

/// Encodes one request.
pub fn encode<A: AsRef<[u8]>>(args: &[A], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        let arg = arg.as_ref();
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

impl Client {
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("the server accepts connections")
    }

    pub fn try_connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        // A reply that never comes must fail the test, not hang it.
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
            consumed: 0,
        })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes as they are, to a server that may close before it has taken all.
    pub fn send_what_is_taken(&mut self, bytes: &[u8]) {
        let closed = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        if let Err(error) = self.stream.write_all(bytes) {
            assert!(closed.contains(&error.kind()), "the server reads: {error}");
        }
    }

    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut request = Vec::new();
        encode(args, &mut request);
        self.send_raw(&request);
    }

    /// One request, one reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Reply {
        self.send(args);
        self.read()
    }

    /// As [`Client::call`], for when the server may be gone.
    pub fn try_call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        let mut request = Vec::new();
        encode(args, &mut request);
        self.stream.write_all(&request)?;
        self.try_read()
    }

    /// Sends all requests at once while it reads all replies; more than a few
    /// from a second thread, for a server may rightly stop reading from a
    /// client that does not.
    pub fn pipeline(&mut self, requests: &[Vec<Vec<u8>>]) -> Vec<Reply> {
        let mut bytes = Vec::new();
        for request in requests {
            encode(request, &mut bytes);
        }
        if bytes.len() <= SURELY_ACCEPTED {
            self.send_raw(&bytes);
            return requests.iter().map(|_| self.read()).collect();
        }
        let mut writer = self.stream.try_clone().expect("a socket can be shared");
        std::thread::scope(|scope| {
            scope.spawn(move || writer.write_all(&bytes).expect("the server reads"));
            requests.iter().map(|_| self.read()).collect()
        })
    }

    pub fn read(&mut self) -> Reply {
        self.try_read().expect("the server replies")
    }

    /// The next reply; `UnexpectedEof` when the server has closed.
    pub fn try_read(&mut self) -> io::Result<Reply> {
        loop {
            let unread = &self.received[self.consumed..];
            if let Some(length) = frame_len(unread) {
                let raw = unread[..length].to_vec();
                self.consumed += length;
                if self.consumed == self.received.len() {
                    self.received.clear();
                    self.consumed = 0;
                }
                return Ok(Reply { raw });
            }
            self.receive(unread.len())?;
        }
    }

    /// The replies that have come by now, and whether the server has closed. Waits for
    /// nothing.
    pub fn read_what_is_there(&mut self) -> (Vec<Reply>, bool) {
        self.stream.set_nonblocking(true).expect("it can be set");
        let error = loop {
            if let Err(error) = self.receive(0) {
                break error;
            }
        };
        self.stream.set_nonblocking(false).expect("it can be set");
        let mut replies = Vec::new();
        while let Some(length) = frame_len(&self.received[self.consumed..]) {
            let raw = self.received[self.consumed..][..length].to_vec();
            self.consumed += length;
            replies.push(Reply { raw });
        }
        (replies, error.kind() != io::ErrorKind::WouldBlock)
    }

    /// Everything until the server closes, replies or not. A reset counts as
    /// closing: it is what a close with unread input looks like from here.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = self.received.split_off(self.consumed);
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server neither sends nor closes: {error}"),
        }
        bytes
    }

    /// Tells the server that no more requests will come.
    pub fn finish_sending(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("the connection is open");
    }

    /// Whether the server has closed. Waits for that; data instead is a no.
    pub fn is_closed(&mut self) -> bool {
        match self.try_read() {
            Ok(_) => false,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ),
        }
    }

    /// Receives more. `pending` bytes of a reply are already here, so a big
    /// reply is received in steps that grow with it.
    fn receive(&mut self, pending: usize) -> io::Result<()> {
        let step = pending.clamp(64 * 1024, 16 * 1024 * 1024);
        let old = self.received.len();
        self.received.resize(old + step, 0);
        let got = self.stream.read(&mut self.received[old..]);
        self.received.truncate(old + *got.as_ref().unwrap_or(&0));
        match got {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Length of the complete reply at the beginning of `bytes`, if there is one.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let (line, mut at) = header(bytes)?;
    let count = || -> i64 {
        let text = std::str::from_utf8(&line[1..]).ok();
        text.and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("not RESP: {}", show(bytes)))
    };
    let children = match line[0] {
        b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => 0,
        b'$' | b'=' | b'!' => match count() {
            -1 => 0,
            length => {
                at += usize::try_from(length).expect("a length is not negative") + 2;
                return (bytes.len() >= at).then_some(at);
            }
        },
        b'*' | b'~' | b'>' => count().max(0),
        b'%' | b'|' => 2 * count(),
        _ => panic!("not RESP: {}", show(bytes)),
    };
    for _ in 0..children {
        at += frame_len(&bytes[at..])?;
    }
    Some(at)
}

/// The first line without its CRLF, and where the next one begins.
fn header(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    assert!(
        end >= 2 && bytes[end - 1] == b'\r',
        "not RESP: {}",
        show(bytes)
    );
    Some((&bytes[..end - 1], end + 1))
}

/// Decodes the reply at the beginning of `bytes`, which must be complete.
fn decode(bytes: &[u8]) -> (Value, usize) {
    let (line, mut at) = header(bytes).expect("the reply is complete");
    let text = || line[1..].to_vec();
    let number = || -> i64 {
        let text = std::str::from_utf8(&line[1..]).expect("numbers are ASCII");
        text.parse().expect("a number was announced")
    };
    let value = match line[0] {
        b'+' => Value::Simple(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Integer(number()),
        b'_' => Value::Null,
        b'#' => Value::Boolean(line[1] == b't'),
        b',' => Value::Double(text()),
        b'(' => Value::BigNumber(text()),
        b'$' | b'*' if number() < 0 => Value::Null,
        b'$' | b'=' | b'!' => {
            let end = at + usize::try_from(number()).expect("checked above");
            let body = bytes[at..end].to_vec();
            at = end + 2;
            match line[0] {
                b'$' => Value::Bulk(body),
                b'!' => Value::Error(body),
                _ => Value::Verbatim(body[..3].to_vec(), body[4..].to_vec()),
            }
        }
        kind => {
            let count = number() * if kind == b'%' { 2 } else { 1 };
            let mut items = Vec::new();
            for _ in 0..count {
                let (item, length) = decode(&bytes[at..]);
                items.push(item);
                at += length;
            }
            match kind {
                b'*' => Value::Array(items),
                b'~' => Value::Set(items),
                b'>' => Value::Push(items),
                _ => Value::Map(
                    items
                        .chunks(2)
                        .map(|pair| (pair[0].clone(), pair[1].clone()))
                        .collect(),
                ),
            }
        }
    };
    (value, at)
}

impl Reply {
    pub fn value(&self) -> Value {
        decode(&self.raw).0
    }

    pub fn is_error(&self) -> bool {
        matches!(self.raw[0], b'-' | b'!')
    }

    pub fn integer(&self) -> i64 {
        match self.value() {
            Value::Integer(number) => number,
            other => panic!("expected an integer, got {other:?}"),
        }
    }

    /// Whether it is a string of this text.
    pub fn is_text(&self, text: &str) -> bool {
        !self.is_error() && self.value() == Value::Bulk(text.as_bytes().to_vec())
    }

    /// The bytes of a string reply of any kind.
    pub fn bytes(&self) -> Vec<u8> {
        self.value().bytes()
    }
}

/// The text of a string reply of any kind, errors included.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Value::Integer(number) => write!(f, "{number}"),
            value => f.write_str(&String::from_utf8_lossy(&value.bytes())),
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.raw))
    }
}

impl Value {
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Simple(text)
            | Self::Error(text)
            | Self::Bulk(text)
            | Self::Double(text)
            | Self::BigNumber(text)
            | Self::Verbatim(_, text) => text.clone(),
            other => panic!("expected a string, got {other:?}"),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The elements of an array, set or push.
    pub fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("expected an array, got {other:?}"),
        }
    }

    /// The pairs of a map, or of an array that stands for one in RESP2.
    pub fn pairs(&self) -> Vec<(Value, Value)> {
        match self {
            Self::Map(pairs) => pairs.clone(),
            Self::Array(items) => items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()))
                .collect(),
            other => panic!("expected a map, got {other:?}"),
        }
    }
}
