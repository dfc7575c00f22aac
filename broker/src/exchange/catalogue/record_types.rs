//! The record types that this node's software knows, by name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use shuqiao_schemas::engine::RecordType;

/// Compiled record types. Cheap to clone.
#[derive(Clone, Default)]
pub struct RecordTypes(Arc<BTreeMap<Box<str>, Arc<RecordType>>>);

impl RecordTypes {
    /// The compiled record type of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<RecordType>> {
        self.0.get(name)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }
}

impl FromIterator<Arc<RecordType>> for RecordTypes {
    fn from_iter<T: IntoIterator<Item = Arc<RecordType>>>(types: T) -> Self {
        Self(Arc::new(types.into_iter().map(|one| (one.name().into(), one)).collect()))
    }
}

/// The names: a compiled program says nothing to a reader.
impl fmt::Debug for RecordTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
