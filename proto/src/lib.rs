//! The wire of Shuqiao: `shuqiao.exchange.v1`, compiled without a protoc, and the byte layouts that both ends must agree on.
//!
//! Promises: what is generated here is exactly what `proto/shuqiao/exchange/v1` says; [`receipt`] and [`digest`] lay out the bytes that
//! are signed and compared, so that a broker, an adapter and an auditor's own program compute the same; [`encoded`] is the one message that a node sends in
//! another type than a client reads, with the same bytes; no `Debug` prints a key, a payload or a value.

pub mod digest;
pub mod encoded;
pub mod receipt;

/// `shuqiao.exchange.v1`, as generated.
pub mod v1 {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::pedantic,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        rustdoc::broken_intra_doc_links,
        reason = "generated; the .proto files carry the documentation"
    )]

    tonic::include_proto!("shuqiao.exchange.v1");
    include!(concat!(env!("OUT_DIR"), "/server/shuqiao.exchange.v1.rs"));
}

/// `Debug` of what holds keys, payloads or values says what it is and nothing of what it holds.
mod private {
    use std::fmt::{Debug, Formatter, Result};

    use super::v1;

    macro_rules! private {
        ($($name:ident),*) => {
            $(impl Debug for v1::$name {
                fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                    f.debug_struct(stringify!($name)).finish_non_exhaustive()
                }
            })*
        };
    }

    private!(
        CompareRecordRequest,
        ComparedField,
        GetRecordRequest,
        ListRecordHistoryRequest,
        ListRecordsRequest,
        ListSubjectRecordsRequest,
        PublishRecord,
        Record,
        RowCondition
    );
}

/// The encoded `FileDescriptorSet` of the package and its imports, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The domain of every `google.rpc.ErrorInfo` that the exchange sends.
pub const ERROR_DOMAIN: &str = "exchange.shuqiao";
