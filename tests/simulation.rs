//! Layer 3: several nodes on one thread, with every delivery, delay and
//! disconnection taken from a seed, and a check that what the clients saw is
//! one history.
//!
//! A failing run names its seed; with `CORDIS_SEED=n` that run comes first, and
//! fails again. `CORDIS_LONG=1` plays a hundred times as many, or as many as
//! `CORDIS_RUNS` says.

// Tests may unwrap; the lint knows test functions, not what they call.
#![allow(clippy::unwrap_used)]

#[path = "simulation/appends.rs"]
mod appends;
#[path = "simulation/blocks.rs"]
mod blocks;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/effects.rs"]
mod effects;
#[path = "simulation/fairness.rs"]
mod fairness;
#[path = "simulation/follower.rs"]
mod follower;
#[path = "simulation/graph.rs"]
mod graph;
#[path = "simulation/hearing.rs"]
mod hearing;
#[path = "simulation/history.rs"]
mod history;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/once.rs"]
mod once;
#[path = "simulation/readers.rs"]
mod readers;
#[path = "simulation/replay.rs"]
mod replay;
#[path = "support/rng.rs"]
#[allow(dead_code)]
mod rng;
#[path = "simulation/sets.rs"]
mod sets;
#[path = "simulation/snapshots.rs"]
mod snapshots;
#[path = "simulation/streams.rs"]
mod streams;
#[path = "simulation/tokens.rs"]
mod tokens;
#[path = "simulation/unions.rs"]
mod unions;
#[path = "simulation/waits.rs"]
mod waits;
#[path = "simulation/workload.rs"]
mod workload;
#[path = "simulation/world.rs"]
mod world;

use follower::Careless;
use rng::Rng;
use workload::{Mode, Verb};
use world::{Broken, World};

/// Requests of the usual dose, per kind of run.
const REQUESTS: usize = 1_500_000;
/// Runs in which a broken rule must be noticed.
const PATIENCE: u64 = 1000;

/// What came of a run.
struct Outcome {
    requests: usize,
    disconnects: u64,
    judgement: Result<(), String>,
}

fn simulate(seed: u64, mode: Mode, broken: Broken) -> Outcome {
    let length = 100 + Rng::new(!seed).below(6000);
    let mut world = World::new(seed, mode, broken);
    world.run(length);
    let judgement = history::check(&mut world);
    Outcome {
        requests: world.ops.len(),
        disconnects: world.disconnects,
        judgement,
    }
}

/// How many runs are asked for, whatever the dose.
fn runs() -> Option<u64> {
    let runs = std::env::var("CORDIS_RUNS").ok()?;
    Some(runs.parse().expect("CORDIS_RUNS is a number"))
}

/// Plays runs of one kind; every one must be one history.
fn play(test: &str, mode: Mode) {
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    // Most requests on tokens name all keys.
    let usual = REQUESTS / if mode == Mode::Tokens { 5 } else { 1 };
    let most = if long { usual * 100 } else { usual };
    let runs = runs();
    let (mut requests, mut disconnects) = (0, 0);
    let first = rng::seed(test);
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let outcome = simulate(seed, mode, Broken::Nothing);
        if let Err(wrong) = outcome.judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        requests += outcome.requests;
        disconnects += outcome.disconnects;
        if requests >= most && runs.is_none() {
            break;
        }
    }
    assert!(runs.is_some() || disconnects > 0, "clients must go away");
    println!("{test}: {requests} requests, {disconnects} disconnected clients");
}

#[test]
fn everything_on_every_key_is_one_history() {
    play("everything_on_every_key_is_one_history", Mode::Mixed);
}

#[test]
fn nobody_sees_a_part_of_a_group() {
    play("nobody_sees_a_part_of_a_group", Mode::Groups);
}

#[test]
fn keys_expire_once_and_in_time() {
    play("keys_expire_once_and_in_time", Mode::Expiry);
}

#[test]
fn tokens_that_wander_are_all_there_and_none_twice() {
    play(
        "tokens_that_wander_are_all_there_and_none_twice",
        Mode::Tokens,
    );
}

#[test]
fn a_seed_decides_everything_that_happens() {
    let replies = |seed| {
        let mut world = World::new(seed, Mode::Mixed, Broken::Nothing);
        world.run(2000);
        let replies = world.ops.iter().map(|op| (op.completed, op.reply.clone()));
        replies.collect::<Vec<_>>()
    };
    assert!(replies(7) == replies(7));
    assert!(replies(7) != replies(8));
}

/// Breaks a rule until the checks notice, which they must soon: by what the
/// clients saw, or else by what is left behind.
fn notice(broken: Broken, mode: Mode) {
    let left_behind = |wrong: &String| wrong.contains("not at rest");
    let wrong = |seed| {
        let wrong = simulate(seed, mode, broken).judgement.err();
        wrong.filter(|wrong| left_behind(wrong) == (broken == Broken::LostBox))
    };
    let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
    let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed in {mode:?}"));
    println!("{broken:?} in {mode:?}, seed {seed}: {wrong}");
}

#[test]
fn work_before_all_have_granted_is_noticed() {
    notice(Broken::EarlyGrant, Mode::Mixed);
    notice(Broken::EarlyGrant, Mode::Groups);
    notice(Broken::EarlyGrant, Mode::Tokens);
}

#[test]
fn an_early_release_is_noticed() {
    notice(Broken::EarlyRelease, Mode::Mixed);
    notice(Broken::EarlyRelease, Mode::Groups);
    notice(Broken::EarlyRelease, Mode::Tokens);
}

#[test]
fn a_local_request_that_ignores_locks_is_noticed() {
    notice(Broken::SkippedLocks, Mode::Mixed);
    notice(Broken::SkippedLocks, Mode::Groups);
}

#[test]
fn a_request_that_does_not_follow_the_transaction_before_it_is_noticed() {
    notice(Broken::UnfollowedConvoy, Mode::Mixed);
}

#[test]
fn pipelined_requests_side_by_side_are_noticed() {
    notice(Broken::SideBySide, Mode::Mixed);
    notice(Broken::SideBySide, Mode::Groups);
}

#[test]
fn requests_that_run_before_what_came_before_them_are_noticed() {
    notice(Broken::StaleInput, Mode::Mixed);
}

#[test]
fn boxes_that_are_opened_out_of_order_are_noticed() {
    notice(Broken::NoFrontier, Mode::Mixed);
    notice(Broken::NoFrontier, Mode::Groups);
}

/// Neither the order of the logs nor whether a request stands whole in it is what one of
/// them alone says.
#[test]
fn logs_that_are_merged_carelessly_are_noticed() {
    for careless in [Careless::EarlyMerge, Careless::NoStamps] {
        notice(Broken::Merges(careless), Mode::Mixed);
        notice_in_blocks(blocks::Broken::Merges(careless));
    }
}

/// In runs in which groups do not tell.
#[test]
fn a_count_that_is_off_by_one_is_noticed() {
    for verb in [Verb::DbSize, Verb::Exists, Verb::Touch, Verb::Lcs] {
        notice(Broken::Miscounts(verb), Mode::Mixed);
    }
    notice(Broken::Miscounts(Verb::Exists), Mode::Expiry);
}

#[test]
fn a_lock_left_behind_is_noticed() {
    notice(Broken::LostBox, Mode::Mixed);
}

/// Operations of the usual dose of blocks.
const BLOCKS: usize = 1_000_000;

fn play_blocks(seed: u64, broken: blocks::Broken) -> (usize, u64, Result<(), String>) {
    let length = 100 + Rng::new(!seed).below(3000);
    let mut world = blocks::Blocks::new(seed, broken);
    world.run(length);
    let mut judgement = appends::check(&mut world);
    // A broken rule is to be noticed by what clients see, if it is not about the logs.
    if matches!(broken, blocks::Broken::Nothing | blocks::Broken::Merges(_)) {
        judgement = judgement.and_then(|()| effects::check(&mut world));
    }
    (world.ops.len(), world.disconnects, judgement)
}

#[test]
fn blocks_are_one_history() {
    let test = "blocks_are_one_history";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { BLOCKS * 100 } else { BLOCKS };
    let (mut ops, mut disconnects) = (0, 0);
    let (first, runs) = (rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, gone, judgement) = play_blocks(seed, blocks::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        (ops, disconnects) = (ops + count, disconnects + gone);
        if ops >= most && runs.is_none() {
            break;
        }
    }
    assert!(runs.is_some() || disconnects > 0, "clients must go away");
    println!("{test}: {ops} operations, {disconnects} disconnected clients");
}

/// Plays a crowd on few keys; who has overtaken whom, if anybody has.
fn play_fairly(seed: u64, broken: blocks::Broken) -> (usize, Result<(), String>) {
    let mut world = blocks::Blocks::fair(seed, broken);
    world.run(1000);
    (world.ops.len(), fairness::check(&mut world))
}

#[test]
fn nobody_is_overtaken() {
    let test = "nobody_is_overtaken";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { BLOCKS * 20 } else { BLOCKS / 5 };
    let (mut ops, first, runs) = (0, rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, judgement) = play_fairly(seed, blocks::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        ops += count;
        if ops >= most && runs.is_none() {
            break;
        }
    }
    println!("{test}: {ops} operations");
    let overtakes = |seed| play_fairly(seed, blocks::Broken::SkippedLocks).1.is_err();
    assert!((1..=PATIENCE).any(overtakes), "overtaking goes unnoticed");
}

/// Requests of the usual dose of queues.
const WAITS: usize = 500_000;

fn play_waits(seed: u64, broken: waits::Broken) -> (usize, usize, Result<(), String>) {
    let length = 50 + Rng::new(!seed).below(4000);
    let mut world = waits::Waits::new(seed, broken);
    let judgement = world.run(length);
    (world.requests, world.served, judgement)
}

#[test]
fn who_waits_is_served_and_every_element_goes_to_one() {
    let test = "who_waits_is_served_and_every_element_goes_to_one";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { WAITS * 100 } else { WAITS };
    let (mut requests, mut served) = (0, 0);
    let (first, runs) = (rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, waited, judgement) = play_waits(seed, waits::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        (requests, served) = (requests + count, served + waited);
        if requests >= most && runs.is_none() {
            break;
        }
    }
    assert!(runs.is_some() || served > 0, "some must wait and be served");
    println!("{test}: {requests} requests, {served} of them waited and were served");
    for broken in [waits::Broken::LostBox(200), waits::Broken::SkippedLocks] {
        let goes_wrong = |seed| play_waits(seed, broken).2.is_err();
        assert!((1..=PATIENCE).any(goes_wrong), "{broken:?} goes unnoticed");
    }
}

/// Breaks a rule until what the clients saw tells.
fn notice_in_blocks(broken: blocks::Broken) {
    let wrong = |seed| {
        let (_, _, judgement) = play_blocks(seed, broken);
        judgement.err().filter(|wrong| !wrong.contains("at rest"))
    };
    let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
    let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed in blocks"));
    println!("{broken:?} in blocks, seed {seed}: {wrong}");
}

#[test]
fn blocks_before_all_have_granted_are_noticed() {
    notice_in_blocks(blocks::Broken::EarlyGrant);
}

#[test]
fn blocks_that_release_early_are_noticed() {
    notice_in_blocks(blocks::Broken::EarlyRelease);
}

#[test]
fn requests_beside_blocks_that_ignore_locks_are_noticed() {
    notice_in_blocks(blocks::Broken::SkippedLocks);
}

#[test]
fn an_exec_that_forgets_what_is_watched_is_noticed() {
    notice_in_blocks(blocks::Broken::SkippedWatch);
}

/// A run of clients that read at length: requests, replies in several pieces, and
/// what is wrong.
fn play_streams(seed: u64, broken: bool) -> (usize, usize, Result<(), String>) {
    let steps = 200 + Rng::new(!seed).below(3000);
    let mut world = streams::Streams::new(seed, broken);
    let judgement = world.run(steps);
    (world.requests, world.long, judgement)
}

#[test]
fn a_long_reply_is_of_one_instant_and_nobody_waits_for_its_reader() {
    let test = "a_long_reply_is_of_one_instant_and_nobody_waits_for_its_reader";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let usual = if long { 400_000 } else { 4000 };
    let first = rng::seed(test);
    let (mut requests, mut pieces) = (0, 0);
    for seed in first..first + runs().unwrap_or(usual) {
        let (count, long, judgement) = play_streams(seed, false);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        requests += count;
        pieces += long;
    }
    assert!(
        pieces * 20 > requests,
        "{pieces} pieces, {requests} requests"
    );
}

#[test]
fn a_long_reply_whose_lock_is_ignored_is_noticed() {
    let goes_wrong = |seed| play_streams(seed, true).2.is_err();
    assert!((0..PATIENCE).any(goes_wrong));
}

/// Operations on sets of the usual dose, most of them in slices.
const SETS: usize = 150_000;

/// Plays clients whose requests go on in slices: operations, slices, and what is wrong.
fn play_sets(seed: u64, broken: sets::Broken) -> (usize, usize, Result<(), String>) {
    let length = 30 + Rng::new(!seed).below(300);
    let mut world = sets::Sets::new(seed, broken);
    world.run(length);
    let judgement = unions::check(&mut world);
    (world.ops.len(), world.slices, judgement)
}

#[test]
fn what_goes_on_in_slices_is_in_one_history() {
    let test = "what_goes_on_in_slices_is_in_one_history";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { SETS * 100 } else { SETS };
    let (mut ops, mut slices, first, runs) = (0, 0, rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, went_on, judgement) = play_sets(seed, sets::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        (ops, slices) = (ops + count, slices + went_on);
        if ops >= most && runs.is_none() {
            break;
        }
    }
    assert!(
        runs.is_some() || slices > ops,
        "{slices} slices, {ops} operations"
    );
    println!("{test}: {ops} operations, {slices} slices");
}

#[test]
fn what_is_seen_between_two_slices_is_noticed() {
    for broken in [
        sets::Broken::EarlyGrant,
        sets::Broken::EarlyRelease,
        sets::Broken::SkippedLocks,
        sets::Broken::Merges(Careless::EarlyMerge),
        sets::Broken::Merges(Careless::NoStamps),
        sets::Broken::Merges(Careless::Unfinished),
    ] {
        let wrong = |seed| {
            let (_, _, judgement) = play_sets(seed, broken);
            judgement.err().filter(|wrong| !wrong.contains("at rest"))
        };
        let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
        let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
        println!("{broken:?} in slices, seed {seed}: {wrong}");
    }
}

/// Requests of the usual dose of streams.
const READERS: usize = 300_000;

fn play_readers(seed: u64, broken: readers::Broken) -> ([usize; 3], Result<(), String>) {
    let steps = 50 + Rng::new(!seed).below(4000);
    let mut world = readers::Readers::new(seed, broken);
    let judgement = world.run(steps);
    ([world.requests, world.served, world.killed], judgement)
}

#[test]
fn every_entry_goes_its_way_once() {
    let test = "every_entry_goes_its_way_once";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { READERS * 100 } else { READERS };
    let mut counts = [0; 3];
    let (first, runs) = (rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, judgement) = play_readers(seed, readers::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        counts
            .iter_mut()
            .zip(count)
            .for_each(|(all, of)| *all += of);
        if counts[0] >= most && runs.is_none() {
            break;
        }
    }
    let [requests, served, killed] = counts;
    assert!(runs.is_some() || served > 0 && killed > 0, "{counts:?}");
    println!("{test}: {requests} requests, {served} waited and were served, {killed} killed");
}

/// Breaks a rule until what the clients saw tells; or what is left behind, if what gets
/// lost is no rule.
fn notice_in_readers(broken: readers::Broken) {
    let wrong = |seed| {
        let wrong = play_readers(seed, broken).1.err();
        let is_lost = matches!(broken, readers::Broken::LostBox(_));
        wrong.filter(|wrong| is_lost || !wrong.contains("at rest"))
    };
    let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
    let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed by readers"));
    println!("{broken:?} among readers, seed {seed}: {wrong}");
}

#[test]
fn a_wait_that_begins_anew_with_each_entry_is_noticed() {
    notice_in_readers(readers::Broken::StaysRelative);
}

#[test]
fn an_entry_that_wakes_the_first_only_is_noticed() {
    notice_in_readers(readers::Broken::WakesFirst);
}

#[test]
fn a_group_that_forgets_is_noticed() {
    notice_in_readers(readers::Broken::Forgets);
    notice_in_readers(readers::Broken::LostRecord);
}

#[test]
fn streams_whose_locks_are_not_kept_are_noticed() {
    notice_in_readers(readers::Broken::EarlyGrant);
    notice_in_readers(readers::Broken::EarlyRelease);
    notice_in_readers(readers::Broken::SkippedLocks);
    notice_in_readers(readers::Broken::LostBox(200));
}

/// Requests of the usual dose of messages.
const MESSAGES: usize = 300_000;

/// Plays clients who publish and listen: requests, messages that came, and what is wrong.
fn play_hearing(seed: u64, broken: hearing::Broken) -> ([usize; 2], Result<(), String>) {
    let length = 50 + Rng::new(!seed).below(2000);
    let mut world = hearing::Hearing::new(seed, broken);
    let judgement = world.run(length);
    ([world.requests, world.heard], judgement)
}

#[test]
fn messages_come_in_one_order_behind_what_was_written() {
    let test = "messages_come_in_one_order_behind_what_was_written";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { MESSAGES * 100 } else { MESSAGES };
    let (mut requests, mut heard, first, runs) = (0, 0, rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let ([count, came], judgement) = play_hearing(seed, hearing::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        (requests, heard) = (requests + count, heard + came);
        if requests >= most && runs.is_none() {
            break;
        }
    }
    assert!(runs.is_some() || heard > requests / 4, "{heard} messages");
    println!("{test}: {requests} requests, {heard} messages came");
}

#[test]
fn messages_that_break_a_rule_are_noticed() {
    use hearing::Broken;
    for broken in [
        Broken::AtOnce,
        Broken::NoFrontier,
        Broken::Alone,
        Broken::UnfollowedConvoy,
        Broken::Inherits,
    ] {
        let wrong = |seed| play_hearing(seed, broken).1.err();
        let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
        let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
        println!("{broken:?} of messages, seed {seed}: {wrong}");
    }
}

/// Requests of the usual dose of snapshots.
const SNAPSHOTS: usize = 60_000;

/// Plays a world of snapshots; how many requests and snapshots there were.
fn play_snapshots(seed: u64, broken: snapshots::Broken) -> (usize, usize, Result<(), String>) {
    let length = 100 + Rng::new(!seed).below(2000);
    let mut world = snapshots::Snapshots::new(seed, broken);
    let judgement = world.run(length).and_then(|()| world.check());
    (world.requests, world.made.len(), judgement)
}

#[test]
fn a_snapshot_is_an_instant_of_the_history() {
    let test = "a_snapshot_is_an_instant_of_the_history";
    let long = std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0");
    let most = if long { SNAPSHOTS * 100 } else { SNAPSHOTS };
    let (mut requests, mut made) = (0, 0);
    let (first, runs) = (rng::seed(test), runs());
    for seed in first..first.saturating_add(runs.unwrap_or(u64::MAX)) {
        let (count, snapshots, judgement) = play_snapshots(seed, snapshots::Broken::Nothing);
        if let Err(wrong) = judgement {
            panic!("{wrong}\nreplay with CORDIS_SEED={seed} cargo test --test simulation {test}");
        }
        (requests, made) = (requests + count, made + snapshots);
        if requests >= most && runs.is_none() {
            break;
        }
    }
    assert!(runs.is_some() || made > 50, "{made} snapshots");
    println!("{test}: {requests} requests, {made} snapshots");
}

#[test]
fn a_snapshot_that_is_no_instant_is_noticed() {
    use snapshots::Broken;
    for broken in [
        Broken::Uncut,
        Broken::SkippedLocks,
        Broken::TornValue,
        Broken::LostChunk,
    ] {
        let wrong = |seed| play_snapshots(seed, broken).2.err();
        let noticed = (1..=PATIENCE).find_map(|seed| Some((seed, wrong(seed)?)));
        let (seed, wrong) = noticed.unwrap_or_else(|| panic!("{broken:?} goes unnoticed"));
        println!("{broken:?}, seed {seed}: {wrong}");
    }
}
