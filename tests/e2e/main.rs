//! The built binary as a person meets it: few and long.

mod up_lifecycle;
mod up_process;
