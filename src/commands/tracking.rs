//! What clients ask about client-side caching: it is always off.

use super::{Context, Flow};
use shards::CommandError;
use shards::command::Args;

/// Words that may follow ON and OFF, and whether each takes a value.
const OPTIONS: &[(&str, bool)] = &[
    ("redirect", true),
    ("prefix", true),
    ("bcast", false),
    ("optin", false),
    ("optout", false),
    ("noloop", false),
];

pub fn tracking(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut rest = args.iter().skip(3);
    while let Some(word) = rest.next() {
        let known = |(name, _): &&(&str, bool)| word.eq_ignore_ascii_case(name.as_bytes());
        let (_, takes_value) = OPTIONS.iter().find(known).ok_or(CommandError::Syntax)?;
        if *takes_value && rest.next().is_none() {
            return Err(CommandError::Syntax);
        }
    }
    if args[2].eq_ignore_ascii_case(b"on") {
        let text = "ERR Client-side caching is not available in this server";
        return Err(CommandError::Static(text));
    }
    if !args[2].eq_ignore_ascii_case(b"off") {
        return Err(CommandError::Syntax);
    }
    ctx.reply().ok();
    Ok(Flow::Done)
}

pub fn caching(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Static(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
         OPTOUT mode enabled",
    ))
}

pub fn getredir(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.reply().integer(-1);
    Ok(Flow::Done)
}

pub fn trackinginfo(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let mut reply = ctx.reply();
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(Flow::Done)
}
