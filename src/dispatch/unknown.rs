//! What is said of commands that do not exist.

use shards::command::Args;
use shards::{CommandError, until_nul};

/// Bytes of an unknown command's name and of its arguments that are echoed.
const ECHO_BYTES: usize = 128;

#[cold]
pub fn unknown_command(args: Args<'_>) -> CommandError {
    let shown = |bytes: &[u8], room: usize| {
        let bytes = until_nul(bytes);
        bytes[..bytes.len().min(room)].to_vec()
    };
    let mut words = Vec::new();
    for arg in args.iter().skip(1) {
        let Some(room @ 1..) = ECHO_BYTES.checked_sub(words.len()) else {
            break;
        };
        words.extend([b"'", shown(arg, room).as_slice(), b"' "].concat());
    }
    let parts: [&[u8]; 4] = [
        b"ERR unknown command '",
        &shown(&args[0], ECHO_BYTES),
        b"', with args beginning with: ",
        &words,
    ];
    CommandError::Owned(parts.concat().into())
}

#[cold]
pub fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let help = container.to_ascii_uppercase();
    CommandError::quoting(
        "ERR unknown subcommand '",
        &name[..name.len().min(ECHO_BYTES)],
        &format!("'. Try {help} HELP."),
    )
}
