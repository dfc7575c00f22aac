//! The exchange: a gRPC broker over a durable log, and the shuqiao command line.
