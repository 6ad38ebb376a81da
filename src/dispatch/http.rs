//! Requests of HTTP: nothing is said, and the connection ends.

use crate::core::Core;
use crate::session::connection::Phase;

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
