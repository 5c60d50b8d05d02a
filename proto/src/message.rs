//! The messages of `stream.proto` and `feed.proto`, as prost generates them (`cargo xtask generate`).

#[expect(missing_docs, reason = "generated; the files' comments are carried over where they have them")]
#[path = "gen/tickwire.v1.rs"]
mod generated;

use std::fmt;

pub use generated::{Auth, DataBatch, Error, ErrorCode, Heartbeat, Mode, Resume, Subscribe, Tick, Trade};

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_debug_output() {
        let auth = Auth { username: "ann".into(), password: "hunter2".into() };
        assert_eq!(format!("{auth:?}"), "Auth { username: \"ann\", .. }");
    }
}
