//! What every adapter shares: traits, the runner's loop, checkpoints, dead letters and reconciliation.
