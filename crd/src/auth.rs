//! Who may connect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{KeyReference, NameReference};

/// Who may connect. A user and a password there always are; where none is named, the operator makes one up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Auth {
    /// A Secret with the keys `username` and `password` (as of type kubernetes.io/basic-auth). A change of either rolls the servers. Default:
    /// the operator makes a Secret, whose name the status tells, with a password of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameReference>,
    /// Further users, each with a hash of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<UsersFile>,
    /// Failed attempts that an address (of IPv6: a /64) may make at once, and again within each minute; 0: no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub failure_limit: i32,
    /// The same in one user's name, from all addresses from which that user has not been let in before; 0: no limit.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub user_failure_limit: i32,
}

impl Default for Auth {
    fn default() -> Self {
        Self { secret_ref: None, users: None, failure_limit: 10, user_failure_limit: 100 }
    }
}

/// Further users. The servers read a change of it while they run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsersFile {
    /// A key of a Secret: lines of `name:hash`, as `tickwire hash-password` makes them.
    pub secret_ref: KeyReference,
}
