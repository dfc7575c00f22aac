//! Compiles the .proto files with protox (no protoc to install) into messages, services and a descriptor set for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let package = "shuqiao/exchange/v1";
    println!("cargo:rerun-if-changed={package}");
    let mut files =
        fs::read_dir(package)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Payloads are slices of the received message: nothing copies them between the socket and the log.
        .bytes(".shuqiao.exchange.v1.PublishRecord.payload")
        .bytes(".shuqiao.exchange.v1.Record.payload")
        .compile_fds(descriptors)?;
    Ok(())
}
