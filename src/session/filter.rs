//! Which clients a command means.

use super::Session;
use shards::CommandError;

/// What TYPE may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientClass {
    Normal,
    Pubsub,
    /// No client of this server is one yet.
    Nobody,
}

/// Which clients a CLIENT LIST or KILL means; nothing given means any.
#[derive(Debug, Clone, Default)]
pub struct ClientFilter {
    pub ids: Option<Vec<i64>>,
    class: Option<ClientClass>,
    pub addr: Option<Vec<u8>>,
    pub laddr: Option<Vec<u8>>,
    /// The client that is not meant.
    pub not: Option<u64>,
}

impl ClientFilter {
    /// Whether this client is meant.
    pub fn matches(&self, session: &Session) -> bool {
        let same = |wanted: &Option<Vec<u8>>, address: std::net::SocketAddr| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| wanted == address.to_string().as_bytes())
        };
        let id = |ids: &Vec<i64>| ids.iter().any(|id| u64::try_from(*id) == Ok(session.id));
        let class = match session.listens {
            true => ClientClass::Pubsub,
            false => ClientClass::Normal,
        };
        self.class.is_none_or(|wanted| wanted == class)
            && self.not != Some(session.id)
            && self.ids.as_ref().is_none_or(id)
            && same(&self.addr, session.peer)
            && same(&self.laddr, session.local)
    }

    /// TYPE: the word for a kind of client.
    ///
    /// # Errors
    /// The word is none.
    pub fn set_type(&mut self, word: &[u8]) -> Result<(), CommandError> {
        let word_is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        self.class = Some(if word_is("normal") {
            ClientClass::Normal
        } else if word_is("pubsub") {
            ClientClass::Pubsub
        } else if ["master", "slave", "replica"].into_iter().any(word_is) {
            ClientClass::Nobody
        } else {
            return Err(CommandError::quoting(
                "ERR Unknown client type '",
                word,
                "'",
            ));
        });
        Ok(())
    }
}
