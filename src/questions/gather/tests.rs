//! Three cores on one thread: who is asked, and what waits for the answers.

use super::*;
use crate::config::{Authority, Config};
use crate::core::{Parts, Shared, Snapshots};
use crate::runtime::mesh::connect;
use crate::runtime::park::Park;
use crate::runtime::ring::Ring;
use crate::runtime::sequencer::sequencers;
use crate::runtime::{boot, clock};
use crate::session::{Connection, Session};
use shards::command::Flags;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn cores(park: &Park, count: u16) -> Vec<Core> {
    let config = Config::new(PathBuf::from("/"), count);
    let shared = Arc::new(Shared {
        marks: crate::core::Marks::new(count),
        audience: Arc::new(shards::pubsub::Audience::new(count)),
        run_id: String::new(),
        started_at: clock::now(),
        tcp_port: 0,
        config: Authority::new(config.clone()),
        startup_bytes: AtomicU64::new(0),
        next_slow: AtomicU64::new(0),
        next_client: AtomicU64::new(1),
        clients: AtomicU64::new(0),
        serving: AtomicBool::new(true),
        end_asked: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        changes: Box::default(),
    });
    let ends = connect(count).into_iter().zip(sequencers(count));
    ends.map(|(mesh, sequencer)| {
        Core::new(Parts {
            mesh,
            sequencer,
            ring: Ring::new().expect("a ring can be had"),
            bell: park.bell(),
            config: config.clone(),
            seed: 1,
            row_flags: vec![Flags::default()],
            snapshots: Snapshots::default(),
            shared: Arc::clone(&shared),
        })
    })
    .collect()
}

fn connected(core: &mut Core) -> u32 {
    let (socket, _) = UnixStream::pair().expect("sockets can be had");
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let session = Session::new(7, nowhere, nowhere, core.now);
    let connection = Connection::new(socket.into(), session);
    core.connections.insert(Box::new(connection)) as u32
}

/// What the core has been asked.
fn asked(core: &mut Core) -> Vec<(u32, Arc<Question>)> {
    std::iter::from_fn(|| core.mesh.receive(ShardId(0)))
        .map(|message| match message {
            Message::Ask { ticket, question } => (ticket, question),
            _ => panic!("something else was sent"),
        })
        .collect()
}

fn answer_all(cores: &mut [Core], target: usize) -> usize {
    let questions = asked(&mut cores[target]);
    for (ticket, question) in &questions {
        let (by, from) = (ShardId(0), cores[target].id);
        let asked = QuestionId {
            by,
            ticket: *ticket,
        };
        let answer = answer(&mut cores[target], question, asked).expect("it is at once");
        take_answer(&mut cores[0], *ticket, from, answer);
    }
    questions.len()
}

/// Every core that is asked answers with its number.
fn who(whom: Whom, barrier: bool) -> Inquiry {
    Inquiry {
        question: Question::of(|core| Answer::Count(u64::from(core.id.0))),
        whom,
        finish: |ctx, _, answers| {
            let number = |answer: &Answer| match answer {
                Answer::Count(number) => number.to_string(),
                _ => panic!("another answer"),
            };
            let numbers: Vec<String> = answers.iter().map(number).collect();
            ctx.reply().simple(&numbers.join(" "));
            Ok(())
        },
        barrier,
    }
}

fn pose_to(core: &mut Core, key: u32, whom: Whom, barrier: bool) {
    let words: [&[u8]; 1] = [b"WHO"];
    let args = OwnedArgs::new(words);
    let asker = Asker::request(core, key, 0);
    ask(core, asker, who(whom, barrier), args.args());
}

/// As if a request was answered at once.
fn say(core: &mut Core, key: u32, text: &[u8]) {
    let connection = &mut core.connections[key as usize];
    let out = connection.reply_buffer();
    let before = out.len();
    out.extend_from_slice(text);
    connection.reply_written(before);
}

fn said(core: &mut Core, key: u32) -> String {
    let connection = &mut core.connections[key as usize];
    let mut said = Vec::new();
    while connection.has_output() {
        said.extend_from_slice(&connection.take_output());
    }
    String::from_utf8(said).expect("numbers are text")
}

fn play(cores: &mut [Core]) {
    let key = connected(&mut cores[0]);
    let may_execute = |core: &Core| core.connections[key as usize].may_execute();
    let some = Whom::These(vec![ShardId(2), ShardId(0)]);

    // Some cores, and nothing waits but replies.
    pose_to(&mut cores[0], key, some.clone(), false);
    assert!(may_execute(&cores[0]));
    say(&mut cores[0], key, b"+later\r\n");
    assert_eq!(said(&mut cores[0], key), "", "before what was asked first");
    assert!(asked(&mut cores[1]).is_empty());
    assert_eq!(answer_all(cores, 2), 1);
    assert_eq!(said(&mut cores[0], key), "+0 2\r\n+later\r\n");

    // Its answers end no barrier but its own.
    pose_to(&mut cores[0], key, some, false);
    pose_to(&mut cores[0], key, Whom::These(vec![ShardId(1)]), true);
    assert!(!may_execute(&cores[0]));
    assert_eq!(answer_all(cores, 2), 1);
    assert!(!may_execute(&cores[0]));
    assert_eq!(said(&mut cores[0], key), "+0 2\r\n");
    assert_eq!(answer_all(cores, 1), 1);
    assert!(may_execute(&cores[0]));
    assert_eq!(said(&mut cores[0], key), "+1\r\n");

    // All cores.
    pose_to(&mut cores[0], key, Whom::All, true);
    assert!(!may_execute(&cores[0]));
    assert_eq!(answer_all(cores, 2), 1);
    assert!(!may_execute(&cores[0]));
    assert_eq!(answer_all(cores, 1), 1);
    assert!(may_execute(&cores[0]));
    assert_eq!(said(&mut cores[0], key), "+0 1 2\r\n");
    assert!(cores[0].gatherings.is_empty());
}

#[test]
fn those_are_asked_who_are_to_be_and_requests_wait_if_they_are_to() {
    let (tell, told) = mpsc::channel();
    let main = move || async move {
        let park = Park::without_heartbeat().expect("an eventfd can be had");
        play(&mut cores(&park, 3));
        tell.send(()).expect("the test waits");
    };
    let failed = |error| panic!("an executor can be had: {error}");
    boot::start(0, None, Arc::default(), main, failed).expect("a thread can be had");
    let ended = told.recv_timeout(Duration::from_secs(60));
    ended.expect("it was played to its end");
}
