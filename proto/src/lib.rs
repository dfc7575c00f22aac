//! The wire of Shuqiao: shuqiao.exchange.v1, compiled without a protoc.
