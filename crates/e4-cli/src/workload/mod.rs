//! The workloads: what `aio-stress`, `stress` and `demo` run, and what the tests and benchmarks
//! borrow from them.
//!
//! Map: [`seed`] makes every run repeatable by one number; [`stamp`] writes (file, offset, generation) into every
//! sector, so that whatever a read returns can be named; [`oracle`] knows which generations a read
//! may return while other threads write, truncate and punch; [`ack_log`] is the same knowledge on
//! disk, for judging an image after its process was killed; [`race`] is the engine of `stress`,
//! [`aio_stress`] that of the classic tool; [`raw`] measures the backing file without a filesystem.
//!
//! Decision: the judge knows nothing of ext4. It sees the byte strings that went in and come out.

pub mod ack_log;
pub mod actors;
pub mod aio_stress;
pub mod latency;
pub mod oracle;
pub mod race;
pub mod raw;
pub mod seed;
pub mod stamp;
pub mod stop;
