//! What an error comes of.

use std::error::Error;

/// An error with its causes: the text of clients says only at which step they failed.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let part = cause.to_string();
        if !said.contains(&part) {
            said = format!("{said}: {part}");
        }
        source = cause.source();
    }
    said
}
