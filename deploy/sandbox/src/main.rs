//! A whole small city on one machine.

fn main() {}
