//! What the exit code says. A service manager restarts after 1 and 7; 2, 3 and 4 wait for a person.

use shuqiao_adapter_sdk::ErrorClass;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Success,
    /// An error of ours or of this machine.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// Somebody has to change something first.
    Configuration,
    /// The other side does not keep what it promised.
    Protocol,
    /// The question was answered, and the answer is not good.
    NotWell,
    /// Gave up on something that may pass by itself.
    Unavailable,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Configuration => 3,
            Self::Protocol => 4,
            Self::NotWell => 5,
            Self::Unavailable => 7,
        }
    }
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Transient => Self::Unavailable,
            ErrorClass::Configuration => Self::Configuration,
            ErrorClass::Protocol => Self::Protocol,
        }
    }
}

/// Every code and its meaning, as the long help shows it.
pub const TABLE: [(Exit, &str); 7] = [
    (Exit::Success, "done as asked; dead letters are told, and are no failure"),
    (Exit::Failure, "an error of this program or this machine, or ended by a second signal"),
    (Exit::Usage, "the command line makes no sense"),
    (Exit::Configuration, "somebody has to change something first: a setting, a certificate, a permission, a table"),
    (Exit::Protocol, "the legacy system, the inbox or the exchange does not keep what it promised"),
    (Exit::NotWell, "check found a failure, reconcile a difference, replay a letter that is still bad"),
    (Exit::Unavailable, "gave up waiting for the exchange or the legacy system: repeating is safe"),
];
