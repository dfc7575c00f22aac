//! Compiles the .proto files with protox (no protoc to install) into messages, services and a descriptor set for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const PACKAGE: &str = "shuqiao.exchange.v1";

/// Messages that hold keys, payloads or values.
const PRIVATE: [&str; 9] = [
    "CompareRecordRequest",
    "ComparedField",
    "GetRecordRequest",
    "ListRecordHistoryRequest",
    "ListRecordsRequest",
    "ListSubjectRecordsRequest",
    "PublishRecord",
    "Record",
    "RowCondition",
];

fn main() -> Result<(), Box<dyn Error>> {
    let directory = "shuqiao/exchange/v1";
    println!("cargo:rerun-if-changed={directory}");
    let mut files =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let messages = tonic_prost_build::configure()
        .build_server(false)
        // Payloads are slices of the received message: nothing copies them between the socket and the log.
        .bytes(".shuqiao.exchange.v1.PublishRecord.payload")
        .bytes(".shuqiao.exchange.v1.Record.payload");
    // What may be personal is not printed: see `private` in lib.rs.
    messages.skip_debug(PRIVATE.map(|name| format!(".{PACKAGE}.{name}"))).compile_fds(descriptors.clone())?;
    // The servers speak of the same messages, but for the one that a node sends with records that are encoded already.
    let server = out.join("server");
    fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(server)
        .extern_path(format!(".{PACKAGE}"), "crate::v1")
        .extern_path(format!(".{PACKAGE}.SubscribeResponse"), "crate::encoded::SubscribeResponse")
        .compile_fds(descriptors)?;
    Ok(())
}
