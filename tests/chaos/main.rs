//! Everything is killed under load; nothing is lost, nothing runs twice.

mod cleanup_under_load;
mod every_process;
mod long_job;
mod support;
mod takeover;
