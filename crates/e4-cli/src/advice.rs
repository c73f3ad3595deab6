//! What to do next, for the errors that people meet.
//!
//! Decision: a verb that knows better attaches its own advice with [`Advise::or_try`]; the rest is
//! decided here, from the libraries' typed errors.

use std::fmt;

use e4::Error;
use e4_device::DeviceError;
use e4_format::FormatError;

/// An error with the next thing to try.
#[derive(Debug)]
struct Advised {
    next: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.next)
    }
}

/// Attaches the next thing to try to an error.
pub trait Advise<T> {
    /// `next` is a whole sentence or a command.
    ///
    /// # Errors
    /// The original one, with the advice.
    fn or_try<F: FnOnce() -> String>(self, next: F) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn or_try<F: FnOnce() -> String>(self, next: F) -> anyhow::Result<T> {
        self.map_err(|error| error.into().context(Advised { next: next() }))
    }
}

/// The error's message: its causes, outermost first, each said once, without advice.
#[must_use]
pub fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let advised = error
        .downcast_ref::<Advised>()
        .map(|advice| advice.next.clone());
    for cause in error.chain() {
        let text = cause.to_string();
        let is_advice = advised.as_ref() == Some(&text);
        // Many messages end with their source's message already.
        let said = parts.last().is_some_and(|last| last.contains(&text));
        if !is_advice && !said {
            parts.push(text);
        }
    }
    parts.join(": ")
}

/// What to try, if anything is known.
#[must_use]
pub fn next_step(error: &anyhow::Error) -> Option<String> {
    if let Some(advice) = error.downcast_ref::<Advised>() {
        return Some(advice.next.clone());
    }
    error.chain().find_map(for_cause)
}

fn for_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<Error>() {
        return for_filesystem(error);
    }
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return for_device(error);
    }
    cause.downcast_ref::<FormatError>().and_then(for_format)
}

fn for_filesystem(error: &Error) -> Option<String> {
    match error {
        Error::NotFound { path } => {
            let parent = match path.trim_end_matches('/').rfind('/') {
                None | Some(0) => "/",
                Some(slash) => &path[..slash],
            };
            Some(format!("See what is there: e4 ls IMAGE:{parent}"))
        }
        Error::IsADirectory { path } => Some(format!("List a directory with: e4 ls IMAGE:{path}")),
        Error::NoSpace { .. } => {
            Some("See how much is free: e4 info IMAGE; make a larger image: e4 mkfs NEW 2G".into())
        }
        _ => None,
    }
}

fn for_device(error: &DeviceError) -> Option<String> {
    const ENOENT: i32 = 2;
    match error {
        DeviceError::Open { errno, device } if *errno == ENOENT => {
            Some(format!("Make an image with: e4 mkfs {device} 2G"))
        }
        DeviceError::Locked { .. } => {
            Some("Another e4 (or a mount) has the image open; only readers can share it.".into())
        }
        _ => None,
    }
}

fn for_format(error: &FormatError) -> Option<String> {
    match error {
        FormatError::SuperblockMagic { .. } => {
            Some("If the image may be overwritten, make a filesystem in it: e4 mkfs IMAGE".into())
        }
        FormatError::UnsupportedIncompat { .. } | FormatError::UnsupportedRoCompat { .. } => {
            Some("e4 leaves an image alone whose features it does not know.".into())
        }
        _ => Some("See what else is damaged: e4 check IMAGE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_is_not_part_of_the_message() {
        let error = Err::<(), _>(std::io::Error::other("it broke"))
            .or_try(|| "Mend it.".into())
            .expect_err("an error");
        assert_eq!(message(&error), "it broke");
        assert_eq!(next_step(&error).as_deref(), Some("Mend it."));
    }

    #[test]
    fn a_missing_image_suggests_mkfs() {
        let error = anyhow::Error::from(DeviceError::Open {
            device: "x.img".into(),
            errno: 2,
        });
        assert_eq!(
            next_step(&error).as_deref(),
            Some("Make an image with: e4 mkfs x.img 2G")
        );
    }
}
