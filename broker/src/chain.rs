//! An error and its causes as one line.

use std::{error::Error, io, sync::Arc};

/// The error and each of its causes, the outermost first; a cause with which its effect has ended already is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What the system said, where that is why an error came about.
pub(crate) fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        // A shared error stands for what it shares, and has its cause's cause for a cause.
        if let Some(shared) = cause.downcast_ref::<Arc<dyn Error + Send + Sync>>() {
            next = Some(&**shared);
            continue;
        }
        let shared = cause.downcast_ref::<Arc<io::Error>>().map(|shared| &**shared);
        if let Some(io) = shared.or_else(|| cause.downcast_ref()) {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}
