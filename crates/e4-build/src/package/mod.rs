//! What is put around an image so that something can boot, verify or flash it.

mod android;
mod gpt;
mod verity;
mod window;

pub use android::write_android_sparse;
pub use gpt::{Gpt, PARTITION_START};
pub use verity::{Verity, VerityInfo};
pub use window::Window;
