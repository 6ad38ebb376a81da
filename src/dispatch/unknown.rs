//! What is said of commands that do not exist, or nothing where they are HTTP.

use crate::core::Core;
use crate::session::connection::Phase;
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

/// The request line or a header of HTTP. A web page can make a browser send a
/// POST to a server that only its user can reach, with commands in its body.
pub fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Closes the connection: nothing that follows runs, and this has no answer.
#[cold]
pub fn drop_http(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    tracing::debug!(
        client = connection.session.id,
        "closed: it speaks HTTP, maybe for a web page that is not to come here"
    );
    connection.phase = Phase::Closing;
    core.mark_dirty(key);
}
