//! Servers as child processes: Cordis and the real redis-server.
//!
//! A server gets a loopback port that the system chose, a folder of its own,
//! and dies with the test: by `Drop`, and by the kernel's parent-death signal
//! when the test itself is killed. That signal follows the *thread* that
//! started the server, so a server must not outlive its test's thread.

use super::client::Client;
use super::{PATIENCE, wait_until};
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The server under test, as cargo built it for this run.
pub const CORDIS: &str = env!("CARGO_BIN_EXE_cordis-server");

/// Another process may take the chosen port first; this often in a row it will not.
const PORT_ATTEMPTS: usize = 20;

/// A running server.
pub struct Server {
    child: Child,
    port: u16,
    password: Option<String>,
    /// What failure messages call it.
    pub name: String,
    dir: TempDir,
}

/// A folder under the system's temporary one, removed on drop.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "cordis-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A leftover folder is no reason to fail a test.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A loopback port that nobody listens on at this instant.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// `program` as a command that the kernel kills when its parent thread ends.
pub fn mortal(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

impl Server {
    /// Cordis with `shards` shards and further options. It writes no dump unless they
    /// say so.
    pub fn cordis(shards: u16, options: &[&str]) -> Self {
        Self::cordis_that_saves(shards, &[&["--save", ""], options].concat())
    }

    /// Cordis that writes dumps as it does by itself.
    pub fn cordis_that_saves(shards: u16, options: &[&str]) -> Self {
        let count = shards.to_string();
        let options = [&["--shards", count.as_str()], options].concat();
        let name = format!("cordis with {shards} shard(s)");
        Self::start(&name, &[CORDIS], None, &options)
    }

    /// Cordis with as many shards as it chooses itself.
    pub fn cordis_with_default_shards(options: &[&str]) -> Self {
        Self::start(
            "cordis",
            &[CORDIS],
            None,
            &[&["--save", ""], options].concat(),
        )
    }

    /// Cordis that reads a configuration file first.
    pub fn cordis_from_file(path: &str, options: &[&str]) -> Self {
        Self::start("cordis with a file", &[CORDIS, path], None, options)
    }

    /// Cordis as `script` starts it when it is called in the folder `from`.
    /// Options that are no `--directive` come first, as files do.
    pub fn of_script(script: &str, from: &Path, options: &[&str]) -> Self {
        let first = options.iter().position(|option| option.starts_with("--"));
        let (files, options) = options.split_at(first.unwrap_or(options.len()));
        Self::start("run.sh", &[&[script], files].concat(), Some(from), options)
    }

    /// The real server that replies are compared with.
    ///
    /// Its absence fails the test: a comparison that did not take place must
    /// not look like one that succeeded.
    pub fn redis(options: &[&str]) -> Self {
        let found = Command::new("redis-server").arg("--version").output();
        let version =
            found.expect("redis-server is not installed: run tests/run.sh, which installs it");
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        assert!(
            version.contains("v=7.0."),
            "replies are compared with redis-server 7.0, but this is {version}"
        );
        let defaults = [
            "--save",
            "",
            "--appendonly",
            "no",
            "--enable-debug-command",
            "yes",
        ];
        Self::start(
            "redis",
            &["redis-server"],
            None,
            &[&defaults, options].concat(),
        )
    }

    /// Starts `command` (a program and what must come first) in the folder
    /// `from` on a free port, and waits until it serves.
    fn start(name: &str, command: &[&str], from: Option<&Path>, options: &[&str]) -> Self {
        let password = options
            .windows(2)
            .find(|pair| pair[0] == "--requirepass")
            .map(|pair| pair[1].to_string());
        for _ in 0..PORT_ATTEMPTS {
            let dir = TempDir::new();
            let port = free_port();
            let log = fs::File::create(dir.path().join("log")).expect("own folder is writable");
            let child = mortal(command[0])
                .args(&command[1..])
                .current_dir(from.unwrap_or(dir.path()))
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .arg("--dir")
                .arg(dir.path())
                .args(options)
                .stdin(Stdio::null())
                .stdout(log.try_clone().expect("a file can be shared"))
                .stderr(log)
                .spawn()
                .expect("setpriv (util-linux) is installed");
            let mut server = Self {
                child,
                port,
                password: password.clone(),
                name: name.to_string(),
                dir,
            };
            if server.serves() {
                return server;
            }
            let log = server.log();
            assert!(
                log.contains("in use") || log.contains("Address already"),
                "{name} did not start:\n{log}"
            );
        }
        panic!("{name}: no port stayed free long enough to start on");
    }

    /// Waits until this very process answers. False when it ended instead, or
    /// when somebody else answers on the port.
    fn serves(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.exit_status().is_some() {
                return false;
            }
            // Whoever answers a port that was taken meanwhile is a stranger.
            if self.listens() && self.answers().unwrap_or(false) {
                return true;
            }
            assert!(
                Instant::now() < deadline,
                "{} runs but does not answer:\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it serves commands, and does not load a dump any more.
    fn answers(&self) -> std::io::Result<bool> {
        let mut client = Client::try_connect(self.port)?;
        if let Some(password) = &self.password {
            client.try_call(&["AUTH", password])?;
        }
        let reply = client.try_call(&["PING"])?;
        Ok(!reply.raw.starts_with(b"-LOADING "))
    }

    /// Whether this very process listens on the port: one of its descriptors
    /// is a listening socket that the kernel's table shows there.
    fn listens(&self) -> bool {
        let pid = self.pid();
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        let address = format!("0100007F:{:04X}", self.port);
        let inodes = table.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listening = fields.len() > 9 && fields[1] == address && fields[3] == "0A";
            listening.then(|| format!("socket:[{}]", fields[9]))
        });
        let inodes: Vec<String> = inodes.collect();
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors.flatten().any(|descriptor| {
            let target = fs::read_link(descriptor.path());
            target.is_ok_and(|target| {
                inodes
                    .iter()
                    .any(|inode| target.as_os_str() == inode.as_str())
            })
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// All the server has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A new RESP2 connection, authenticated if the server wants that.
    pub fn connect(&self) -> Client {
        let mut client = Client::connect(self.port);
        if let Some(password) = &self.password {
            assert_eq!(client.call(&["AUTH", password]).to_string(), "OK");
        }
        client
    }

    /// A new connection that speaks `protocol` (2 or 3).
    pub fn connect_with(&self, protocol: u8) -> Client {
        let mut client = self.connect();
        if protocol == 3 {
            client.call(&["HELLO", "3"]);
        }
        client
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("the child is ours to wait for")
    }

    /// Panics with the server's output if it has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.exit_status() {
            panic!("{} ended with {status}:\n{}", self.name, self.log());
        }
    }

    /// Sends a signal by name, as kill(1) knows it.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .expect("kill(1) is installed");
        assert!(status.success());
    }

    /// Resident memory, bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .expect("VmRSS is a number")
            * 1024
    }

    /// Number of open file descriptors.
    pub fn open_files(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs");
        entries.count()
    }

    /// Waits for the process to end by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_until(&format!("{name} ends"), || self.exit_status().is_some());
        self.exit_status().expect("it has just been seen to end")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- output of {}:\n{}", self.name, self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of `field` in the text of INFO.
pub fn info_field<'a>(info: &'a str, field: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .map(str::trim_end)
}
