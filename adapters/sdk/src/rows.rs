//! A legacy system as rows of texts, whether they stand in a file or in a table: what a department says about them, and all that it has to say.
//!
//! A department with such a system writes a [`RowMapping`] and nothing else: [`crate::file`] and [`crate::database`] read, go on where they were, and set aside.

use crate::{MappingError, SourceRecord, Violation};

/// Which columns a department reads, and what a row's texts become. Pure.
pub trait RowMapping: Send + Sync + 'static {
    /// What the legacy system calls the columns. The texts of a row are handed over in this order.
    fn columns(&self) -> Vec<&str>;

    /// A row, which is the whole state of its key. `None` is a database's null; an empty text is an empty text.
    ///
    /// # Errors
    /// Every reason why it is no record.
    fn upsert(&self, texts: &[Option<&str>]) -> Result<Mapped, MappingError>;

    /// A row that says that it no longer counts.
    ///
    /// # Errors
    /// Every reason why its key is none.
    fn delete(&self, texts: &[Option<&str>]) -> Result<Mapped, MappingError>;
}

/// What a row became.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// What is published.
    pub record: SourceRecord,
    /// What was repaired or left out.
    pub warnings: Vec<Violation>,
}
