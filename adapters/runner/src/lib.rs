//! The shuqiao-adapter binary: one process beside one legacy system.
