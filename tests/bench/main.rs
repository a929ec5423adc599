//! `make bench`: what Ordo reaches, beside what the machine can do.

fn main() {}
