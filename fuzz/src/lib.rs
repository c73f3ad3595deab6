//! Finds a target by name: what all fuzz binaries share.

/// Runs a target of `e4_hostile::target::ALL` on an input.
///
/// # Panics
/// If there is no such target, and when the target finds a bug.
pub fn run(name: &str, data: &[u8]) {
    let target = e4_hostile::target::by_name(name).expect("a target of e4-hostile");
    (target.run)(data);
}
