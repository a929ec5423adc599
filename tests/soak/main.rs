//! The night: schedules tick each second while everything is killed in turn. Each tick has one order, or an event that says why
//! it has none.
//!
//! `NIGHT=600` is how many seconds long (`make soak`); a short form runs with the other tests. What watches the night beside it (mails,
//! say) is put through the same one: see [`night::Night`].

mod night;
mod ticks;
