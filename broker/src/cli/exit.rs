//! What the exit code says.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Success,
    /// An error of ours or of this machine.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// What was given breaks a rule: this program or the node refused it.
    Invalid,
    /// It does not exist, or not for you.
    NotFound,
    /// The node does not know you, or you may not.
    Denied,
    /// It changed meanwhile, exists already, or is still referred to.
    Conflict,
    /// The node cannot be reached, is busy, or did not answer in time.
    Unavailable,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::NotFound => 4,
            Self::Denied => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
        }
    }
}

/// Every code and its meaning, as the long help shows it.
pub const TABLE: [(Exit, &str); 8] = [
    (Exit::Success, "done as asked"),
    (Exit::Failure, "an error of this program or this machine; also a configuration with mistakes"),
    (Exit::Usage, "the command line makes no sense"),
    (Exit::Invalid, "what was given breaks a rule, or a promise of compatibility: mend it, repeating does not help"),
    (Exit::NotFound, "it does not exist, or not for you"),
    (Exit::Denied, "the node does not know you, or you may not"),
    (Exit::Conflict, "it changed meanwhile, exists with other content, or is still referred to"),
    (Exit::Unavailable, "the node cannot be reached, is busy, or did not answer in time: repeating is safe"),
];
