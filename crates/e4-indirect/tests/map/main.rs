//! Block maps against a per-block array: every small layout, long random histories, failures at every point, and maps
//! that are none.

mod exhaustive;
mod hostile;
mod random;
mod store;
