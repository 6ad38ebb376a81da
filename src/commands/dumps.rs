//! SAVE, BGSAVE, LASTSAVE, SHUTDOWN: files of all that there is, and the end.

use super::{Context, Flow, ServerRow, sum};
use crate::core::{Answer, Question, Whom};
use crate::snapshots::{CONDUCTOR, ending, saving};
use shards::CommandError;
use shards::command::{Args, Arity, Group, flags};

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "save",
        summary: "Write a dump, and wait for it.",
        complexity: "O(N) where N is the total number of keys in all databases",
        arity: Arity::Exactly(1),
        flags: ADMIN.with(flags::NO_ASYNC_LOADING).with(flags::NO_MULTI),
        run: save,
        ..ROW
    },
    ServerRow {
        name: "bgsave",
        syntax: "[SCHEDULE]",
        summary: "Begin to write a dump of what there is now.",
        arity: Arity::AtLeast(1),
        flags: ADMIN.with(flags::NO_ASYNC_LOADING),
        history: &[("3.2.2", "Takes `SCHEDULE`.")],
        run: bgsave,
        ..ROW
    },
    ServerRow {
        name: "lastsave",
        summary: "When the last dump was written.",
        arity: Arity::Exactly(1),
        flags: flags::LOADING.with(flags::STALE).with(flags::FAST),
        categories: &["@admin", "@dangerous"],
        tips: &["nondeterministic_output"],
        run: lastsave,
        ..ROW
    },
    ServerRow {
        name: "shutdown",
        syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        summary: "End the server.",
        complexity: "O(N) when saving, N being the number of keys; otherwise O(1).",
        arity: Arity::AtLeast(1),
        flags: ADMIN
            .with(flags::LOADING)
            .with(flags::STALE)
            .with(flags::NO_MULTI)
            .with(flags::ALLOW_BUSY),
        history: &[("7.0.0", "Takes `NOW`, `FORCE` and `ABORT`.")],
        run: shutdown,
        ..ROW
    },
];

const ADMIN: shards::command::Flags = flags::ADMIN.with(flags::NOSCRIPT);

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    since: "1.0.0",
    complexity: "O(1)",
    group: Group::Server,
    ..super::ROW
};

fn ask(question: Question, finish: crate::core::Finish) -> Result<Flow, CommandError> {
    Ok(Flow::ask(question, Whom::These(vec![CONDUCTOR]), finish))
}

fn save(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ask(Question::begin(saving::save), reply)
}

fn bgsave(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.get(1) {
        Some(word) if args.len() > 2 || !word.eq_ignore_ascii_case(b"schedule") => {
            return Err(CommandError::Syntax);
        }
        // With `SCHEDULE` it would wait for an append-only log; there is none.
        _ => {}
    }
    // The locks of a block would have to be released before the cut can be made.
    let later = ctx.connection().runs_block;
    let begin = Question::begin(move |core, asked| saving::save_in_background(core, asked, later));
    ask(begin, reply)
}

fn lastsave(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let last = Question::of(|core| {
        Answer::Count(u64::try_from(core.conductor().figures.last_save_s).unwrap_or(0))
    });
    ask(last, sum)
}

fn shutdown(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (mut save, mut nosave, mut now, mut force, mut abort) = (false, false, false, false, false);
    for word in args.iter().skip(1) {
        let word_is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if word_is("nosave") => nosave = true,
            () if word_is("save") => save = true,
            // There are no replicas to wait for.
            () if word_is("now") => now = true,
            () if word_is("force") => force = true,
            () if word_is("abort") => abort = true,
            () => return Err(CommandError::Syntax),
        }
    }
    if (abort && (save || nosave || now || force)) || (save && nosave) {
        return Err(CommandError::Syntax);
    }
    if abort {
        return ask(Question::of(ending::abort), reply);
    }
    let save = match (save, nosave) {
        (false, false) => None,
        (save, _) => Some(save),
    };
    let manner = ending::Manner { save, force };
    let end = Question::begin(move |core, asked| ending::asked_by_client(core, manner, asked));
    ask(end, reply)
}

/// Replies what the core that conducts has answered.
pub(super) fn reply(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    match answers.into_iter().next() {
        Some(Answer::Error(error)) => return Err(error),
        Some(Answer::Text(text)) => ctx.reply().simple(&String::from_utf8_lossy(&text)),
        _ => ctx.reply().ok(),
    }
    Ok(())
}
