//! Client-side caching: CLIENT TRACKING and what belongs to it.
//!
//! All shards are told of a client that tracks before it is answered, so that it misses
//! nothing from then on; see `shards::tracking`.

use super::{Context, Flow, ok};
use crate::core::{Answer, Core, Message, Question, Whom};
use crate::questions::gather;
use crate::session::tracking::{Mode, Tracking};
use shards::command::Args;
use shards::tracking::{Letter, Tracker, Wish, overlap};
use shards::{CommandError, ShardId, parse_i64};

/// What CLIENT TRACKING is given after ON or OFF.
#[derive(Debug, Default)]
struct Options {
    bcast: bool,
    optin: bool,
    optout: bool,
    noloop: bool,
    prefixes: Vec<Box<[u8]>>,
}

/// Reads the options: the client that is to be told, once it was named, and the options
/// or what is wrong with them. Redis looks for that client first.
fn parse(args: Args<'_>) -> (Option<i64>, Result<Options, CommandError>) {
    let mut redirect = None;
    let options = parse_options(args, &mut redirect);
    (redirect, options)
}

fn parse_options(args: Args<'_>, redirect: &mut Option<i64>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut rest = args.iter().skip(3);
    while let Some(word) = rest.next() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("redirect")
            && let Some(id) = rest.clone().next()
        {
            rest.next();
            if redirect.is_some() {
                return Err(CommandError::Static(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            *redirect = Some(parse_i64(id).ok_or(CommandError::NotAnInteger)?);
        } else if is("bcast") {
            options.bcast = true;
        } else if is("optin") {
            options.optin = true;
        } else if is("optout") {
            options.optout = true;
        } else if is("noloop") {
            options.noloop = true;
        } else if is("prefix")
            && let Some(prefix) = rest.next()
        {
            options.prefixes.push(prefix.into());
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(options)
}

/// What ON asks for, given what the client has said before.
fn check(options: &Options, now: Option<&Tracking>) -> Result<Mode, CommandError> {
    let error = |text| Err(CommandError::Static(text));
    let Options {
        bcast,
        optin,
        optout,
        ref prefixes,
        ..
    } = *options;
    if !bcast && !prefixes.is_empty() {
        return error("ERR PREFIX option requires BCAST mode to be enabled");
    }
    let mode = now.map(|now| now.mode);
    if mode.is_some_and(|mode| (mode == Mode::Broadcast) != bcast) {
        return error(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
             and then re-enabling it with a different mode.",
        );
    }
    if bcast && (optin || optout) {
        return error("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if optin && optout {
        return error("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    if optin && mode == Some(Mode::OptOut) || optout && mode == Some(Mode::OptIn) {
        return error(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
             and then re-enabling it with a different mode.",
        );
    }
    for (index, prefix) in prefixes.iter().enumerate() {
        let had = now.iter().flat_map(|now| &now.prefixes);
        if let Some(other) = had.into_iter().find(|other| overlap(prefix, other)) {
            return Err(overlaps(prefix, "an existing", other));
        }
        let others = &prefixes[index + 1..];
        if let Some(other) = others.iter().find(|other| overlap(prefix, other)) {
            return Err(overlaps(prefix, "another provided", other));
        }
    }
    Ok(match (bcast, optin, optout) {
        (true, ..) => Mode::Broadcast,
        (_, true, _) => Mode::OptIn,
        (.., true) => Mode::OptOut,
        _ => Mode::Reads,
    })
}

fn overlaps(prefix: &[u8], which: &str, other: &[u8]) -> CommandError {
    let text = [
        b"ERR Prefix '",
        prefix,
        b"' overlaps with ",
        which.as_bytes(),
        b" prefix '",
        other,
        b"'. Prefixes for a single client must not overlap.",
    ];
    CommandError::Owned(text.concat().into())
}

pub fn tracking(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (redirect, options) = parse(args);
    let Some(id) = redirect else {
        return switch(ctx, args, options?, None);
    };
    // Who is told is known to the core that it is a client of.
    let id = u64::try_from(id).unwrap_or_default();
    let look = move |core: &mut Core| {
        let found = core.connections.iter();
        let found = found.filter(|(_, it)| it.is_listed() && it.session.id == id);
        let key = found.map(|(key, _)| key as u64).next();
        Answer::Count(key.map_or(0, |key| key + 1))
    };
    Ok(Flow::ask_all(look, redirect_finish))
}

/// All cores have said whether they know the client that is to be told.
fn redirect_finish(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let key_on = |(core, answer): (u16, &Answer)| match answer {
        Answer::Count(key @ 1..) => Some((ShardId(core), u32::try_from(key - 1).ok()?)),
        _ => None,
    };
    let Some(found) = (0..).zip(&answers).find_map(key_on) else {
        let text = "ERR The client ID you want redirect to does not exist";
        return Err(CommandError::Static(text));
    };
    let (redirect, options) = parse(args);
    let id = redirect.and_then(|id| u64::try_from(id).ok());
    let target = id.map(|id| (found.0, (found.1, id)));
    if let Flow::Ask(further) = switch(ctx, args, options?, target)? {
        ctx.core.further = Some(further);
    }
    Ok(())
}

/// ON or OFF, with a client to be told in the caller's place: its core, key and id.
fn switch(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    options: Options,
    redirect: Option<(ShardId, (u32, u64))>,
) -> Result<Flow, CommandError> {
    if args[2].eq_ignore_ascii_case(b"off") {
        let Some(tracker) = leave(ctx.core, ctx.key) else {
            ctx.reply().ok();
            return Ok(Flow::Done);
        };
        return Ok(Flow::ask_all(move |core| forget_here(core, tracker), ok));
    }
    if !args[2].eq_ignore_ascii_case(b"on") {
        return Err(CommandError::Syntax);
    }
    let mode = check(&options, ctx.session().tracking.as_deref())?;
    let own = (ctx.key, ctx.session().id);
    let told_on = redirect.map_or(ctx.core.id, |(core, _)| core);
    let before = ctx.session().tracking.take();
    let moves = before.as_ref().is_some_and(|it| it.told_on != told_on);
    let (tracker, mut prefixes, caching) = match before {
        Some(before) => (before.tracker, before.prefixes, before.caching),
        None => (ctx.core.number_tracker(own), Vec::new(), false),
    };
    let named = options.prefixes.len();
    prefixes.extend(options.prefixes);
    if mode == Mode::Broadcast && named == 0 {
        prefixes.push(Box::default());
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    let wish = Wish {
        told_on,
        noloop: options.noloop,
        prefixes: (mode == Mode::Broadcast).then(|| prefixes.clone()),
    };
    let told = (
        redirect.map_or(own, |(_, client)| client),
        redirect.is_some(),
    );
    ctx.session().tracking = Some(Box::new(Tracking {
        tracker,
        mode,
        noloop: options.noloop,
        told_on,
        moves,
        redirect: redirect.map(|(_, (_, id))| id),
        broken: false,
        caching,
        prefixes,
    }));
    let begin = move |core: &mut Core| {
        core.tell_tracker_on(wish.told_on, tracker, told);
        core.node.shard_mut().track(tracker, wish.clone());
        Answer::Done
    };
    Ok(Flow::ask_all(begin, begun))
}

/// All cores know of a client that tracks. If it is told on another core than before, that
/// may not have known of it when it was to tell it something: it is told of all keys.
fn begun(ctx: &mut Context<'_>, _: Args<'_>, _: Vec<Answer>) -> Result<(), CommandError> {
    if let Some(tracking) = &mut ctx.session().tracking
        && std::mem::take(&mut tracking.moves)
    {
        let letter = Letter::of_all(tracking.tracker);
        let to = tracking.told_on;
        send(ctx.core, to, vec![letter]);
    }
    ctx.reply().ok();
    Ok(())
}

/// A client tracks no more, if it has: its number, which all cores are to forget.
fn leave(core: &mut Core, key: u32) -> Option<Tracker> {
    let session = &mut core.connections[key as usize].session;
    let tracker = session.tracking.take()?.tracker;
    core.forget_tracker(tracker);
    Some(tracker)
}

fn forget_here(core: &mut Core, tracker: Tracker) -> Answer {
    core.forget_tracker(tracker);
    core.node.shard_mut().untrack(tracker);
    Answer::Done
}

/// A client tracks no more, or is gone. It need not wait for the shards to know.
pub fn untrack(core: &mut Core, key: u32) {
    if let Some(tracker) = leave(core, key) {
        let forget = Question::of(move |core| forget_here(core, tracker));
        gather::ask_by_itself(core, forget, &Whom::All, |_, _| {});
    }
}

/// Sends what the shard of this core has for trackers on its way. To be called before any
/// reply leaves to what has caused it.
#[inline]
pub fn tell(core: &mut Core) {
    if core.node.has_letters() {
        tell_letters(core);
    }
}

#[cold]
fn tell_letters(core: &mut Core) {
    for (to, letters) in core.node.take_letters() {
        send(core, to, letters);
    }
}

fn send(core: &mut Core, to: ShardId, letters: Vec<Letter>) {
    if to == core.id {
        deliver(core, letters);
    } else {
        core.mesh.send_urgent(to, Message::Letters(letters));
    }
}

/// Letters have come for trackers that are told on this core.
pub fn deliver(core: &mut Core, letters: Vec<Letter>) {
    for tracker in core.take_letters(letters) {
        let home = tracker.home(core.shards);
        let broken = Question::of(move |core| {
            core.redirection_is_broken(tracker);
            Answer::Done
        });
        gather::ask_by_itself(core, broken, &Whom::These(vec![home]), |_, _| {});
    }
}

pub fn caching(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let error = |text| Err(CommandError::Static(text));
    let Some(tracking) = &mut ctx.session().tracking else {
        return error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        );
    };
    if args[2].eq_ignore_ascii_case(b"yes") {
        if tracking.mode != Mode::OptIn {
            return error(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            );
        }
    } else if !args[2].eq_ignore_ascii_case(b"no") {
        return Err(CommandError::Syntax);
    } else if tracking.mode != Mode::OptOut {
        return error(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        );
    }
    tracking.caching = true;
    ctx.reply().ok();
    Ok(Flow::Done)
}

pub fn getredir(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let redirection = ctx.session().redirection();
    ctx.reply().integer(redirection);
    Ok(Flow::Done)
}

pub fn trackinginfo(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let redirection = ctx.session().redirection();
    let mut words = Vec::new();
    let mut prefixes = Vec::new();
    match &ctx.session().tracking {
        None => words.push("off"),
        Some(tracking) => {
            words.push("on");
            let (mode, said) = match tracking.mode {
                Mode::Reads => (None, None),
                Mode::Broadcast => (Some("bcast"), None),
                Mode::OptIn => (Some("optin"), Some("caching-yes")),
                Mode::OptOut => (Some("optout"), Some("caching-no")),
            };
            words.extend(mode);
            words.extend(said.filter(|_| tracking.caching));
            words.extend(tracking.noloop.then_some("noloop"));
            words.extend(tracking.broken.then_some("broken_redirect"));
            prefixes.clone_from(&tracking.prefixes);
        }
    }
    let mut reply = ctx.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(words.len());
    words.iter().for_each(|word| reply.bulk(word.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirection);
    reply.bulk(b"prefixes");
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(Flow::Done)
}
