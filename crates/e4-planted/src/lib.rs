//! Bugs that can be planted on purpose, so that the lab can show that its checkers see them.
//!
//! A site asks in one line: `if planted!(SkipFlushBeforeRecord) { .. }`. Without the feature `lab` the macro is the
//! literal `false`: neither the question nor the list of bugs exists in the product. Which bug a process carries is
//! decided once, by [`select`] or by the environment variable `E4_PLANTED` (so that any test program can be run
//! against it), and holds for the whole process.
//!
//! A bug that opens a window calls [`pause`] in it; a checker that wants to look through that window registers with
//! [`on_pause`]. Without the feature both do nothing.
//!
//! Decision: one closed list in one crate below all others, instead of a switch per crate: a single feature decides, and
//! a single constant ([`COMPILED_IN`]) tells whoever must never be built with it.

#![cfg_attr(not(feature = "lab"), no_std)]

#[cfg(feature = "lab")]
mod bugs;

#[cfg(feature = "lab")]
pub use bugs::{Bug, is, on_pause, pause, select, selected};

/// In the window that a planted bug opens: lets whoever has registered act.
#[cfg(not(feature = "lab"))]
#[inline]
pub fn pause() {}

/// Registers what happens in the windows that planted bugs open; the first registration of a process holds.
#[cfg(not(feature = "lab"))]
pub fn on_pause(_: impl Fn() + Send + Sync + 'static) {}

/// Whether bugs can be selected in this build.
pub const COMPILED_IN: bool = cfg!(feature = "lab");

/// True if the process carries the named bug. Without the feature `lab`: the literal `false`.
#[cfg(feature = "lab")]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::is($crate::Bug::$bug)
    };
}

/// True if the process carries the named bug. Without the feature `lab`: the literal `false`.
#[cfg(not(feature = "lab"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}
