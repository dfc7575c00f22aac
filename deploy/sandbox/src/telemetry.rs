//! Log lines of everything in this process, in a file: the terminal is for the newcomer.

use std::{fs::File, sync::Mutex};

use tracing_subscriber::{EnvFilter, fmt};

use crate::{Error, directory::Directory};

/// In the data directory; begun anew at every start, so that it cannot grow for ever.
pub(crate) const FILE: &str = "sandbox.log";

/// Begins to write.
pub(crate) fn install(directory: &Directory) -> Result<(), Error> {
    let path = directory.path(FILE);
    let file = File::create(&path).map_err(Error::io("write", path))?;
    let filter = EnvFilter::new("info");
    // A second subscriber in one process is a test's; the first one goes on.
    drop(fmt().with_writer(Mutex::new(file)).with_ansi(false).with_env_filter(filter).try_init());
    Ok(())
}
