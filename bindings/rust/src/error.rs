//! What can go wrong, as two kinds that an application must tell apart.
//!
//! Owns the kinds. It knows nothing of sockets and attempts.

use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// Whether what was asked for has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    No,
    Yes,
    Unknown,
}

impl Applied {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Applied::No => "no",
            Applied::Yes => "yes",
            Applied::Unknown => "unknown",
        }
    }
}

/// What the same request may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Never,
    Same,
    Later,
    Other,
}

impl Retry {
    /// The protocol's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Retry::Never => "never",
            Retry::Same => "same",
            Retry::Later => "later",
            Retry::Other => "other",
        }
    }
}

/// What a node, or this library, says of a request that has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A code of the protocol's table, or this library's `timeout`, `lost` and `credentials`.
    pub code: String,
    pub applied: Applied,
    pub retry: Retry,
    /// The leader's name, or empty.
    pub leader: String,
    /// A sentence or two for a person.
    pub words: String,
    /// With `condition_failed`: where the key is, 0 if absent.
    pub key_revision: Option<u64>,
}

impl Failure {
    /// A failure that says that nothing has happened.
    pub(crate) fn new(code: &str, retry: Retry, words: impl Into<String>) -> Self {
        Failure {
            code: code.into(),
            applied: Applied::No,
            retry,
            leader: String::new(),
            words: words.into(),
            key_revision: None,
        }
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It did not happen and will not. Doing it again is safe, if the code makes sense of that.
    Rejected(Failure),
    /// It may have happened, or may yet. Read before you do it again; what a read does not show may
    /// still come.
    Unknown(Failure),
}

impl Error {
    pub(crate) fn rejected(code: &str, words: impl Into<String>) -> Self {
        Error::Rejected(Failure::new(code, Retry::Never, words))
    }

    pub fn failure(&self) -> &Failure {
        match self {
            Error::Rejected(failure) | Error::Unknown(failure) => failure,
        }
    }

    pub fn code(&self) -> &str {
        &self.failure().code
    }

    /// Where the key is (0: absent), if somebody was faster: the key was not at `expected`.
    pub fn conflict(&self) -> Option<u64> {
        let failure = self.failure();
        (failure.code == "condition_failed").then(|| failure.key_revision.unwrap_or(0))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.applied {
            Applied::No => Error::Rejected(failure),
            Applied::Yes | Applied::Unknown => Error::Unknown(failure),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.failure().words)
    }
}

impl std::error::Error for Error {}
