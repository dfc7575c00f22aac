//! Digests: of the live records, for reconciliation (对账), and of every row, by which a rebuild proves that it equals what was there.

use fjall::{Keyspace, Readable};
use ring::digest::{Context, SHA256};
use shuqiao_proto::digest::RecordsDigest;

use super::{
    Error, Reader,
    apply::index,
    layout,
    row::{Kind, Row},
};

/// The part of the versions in the digest of all rows.
const VERSIONS: u8 = 2;

/// What a dataset's rows amount to. Two views that applied the same entries have equal digests, whenever and in whatever batches they did.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest {
    /// Live records.
    pub records: u64,
    /// SHA-256 over the live records, as `shuqiao_proto::digest` lays it out.
    pub records_digest: [u8; 32],
    /// Rows of every kind: records and tombstones, indexes, history, high-water sequences, positions.
    pub rows: u64,
    /// SHA-256 over all these rows, without the number of the space.
    pub rows_digest: [u8; 32],
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest")
            .field("records", &self.records)
            .field("records_digest", &hex::encode(self.records_digest))
            .field("rows", &self.rows)
            .field("rows_digest", &hex::encode(self.rows_digest))
            .finish()
    }
}

impl Reader {
    /// Count and digest of the live records.
    ///
    /// # Errors
    /// The store's. Costs a scan.
    pub fn records_digest(&self) -> Result<(u64, [u8; 32]), Error> {
        let mut digest = RecordsDigest::default();
        for item in self.records(None) {
            let record = item?.record;
            digest.add(&record.key, record.source_version, &record.payload);
        }
        Ok(digest.finish())
    }

    /// The digest of everything that is held of the dataset.
    ///
    /// # Errors
    /// The store's. Costs a scan of every keyspace.
    pub fn digest(&self) -> Result<Digest, Error> {
        self.noted(self.digest_rows())
    }

    fn digest_rows(&self) -> Result<Digest, Error> {
        let (records, records_digest) = self.records_digest()?;
        let (store, space) = (&self.store, self.space.to_be_bytes());
        let mut context = Context::new(&SHA256);
        let mut rows = 0;
        let pruned = self.pruned()?;
        let tagged = |tag: &[u8]| [tag, &space].concat();
        let parts: [(&Keyspace, Vec<u8>); 5] = [
            (&store.records, space.to_vec()),
            (&store.indexes, space.to_vec()),
            (&store.versions, space.to_vec()),
            (&store.meta, tagged(b"p")),
            (&store.meta, tagged(b"h")),
        ];
        for (part, (keyspace, prefix)) in (0_u8..).zip(parts) {
            for row in self.snapshot.prefix(keyspace, &prefix) {
                let (key, value) = row.into_inner()?;
                let key = key.get(prefix.len()..).ok_or(Error::Corrupt("row key"))?;
                let mut value = value.to_vec();
                if part == VERSIONS && Self::is_pruned(key, &pruned)? && Row::decode(&value)?.kind != Kind::Stale {
                    // What it replaced is gone, and a view that is made anew may never have seen it.
                    value = Row::with_kind(value, Kind::First)?;
                }
                context.update(&[part]);
                context.update(&key.len().to_be_bytes());
                context.update(key);
                context.update(&value.len().to_be_bytes());
                context.update(&value);
                rows += 1;
            }
        }
        let mut rows_digest = [0; 32];
        rows_digest.copy_from_slice(context.finish().as_ref());
        Ok(Digest { records, records_digest, rows, rows_digest })
    }

    fn is_pruned(position: &[u8], pruned: &[u64]) -> Result<bool, Error> {
        let own = layout::read_position(position)?;
        Ok(index(own.partition).and_then(|at| pruned.get(at)).is_some_and(|pruned| own.offset < *pruned))
    }
}
