//! What a department may see of a dataset, compiled: rows, fields, treatments.
//!
//! Promises: compiled once per version of a grant (and of its dataset), then shared; whatever a grant does not name is absent; what cannot be judged is not
//! shown. Two accesses with the same [`ViewId`] give the same bytes for the same record, so a record is projected once for all of them.

use std::{collections::BTreeSet, fmt, sync::Arc};

use bytes::Bytes;
use ring::{digest, hmac};
use shuqiao_schemas::engine::{
    FieldRule, HashAlgorithm, HashKeys, Projection, RecordType, SchemaError, Scratch, Treatment as Shown,
};

use super::resource::{Dataset, FieldGrant, Grant, RowCondition, Treatment};
use crate::exchange::{
    Error,
    model::{DepartmentAlias, GrantId},
};

/// The exchange's secret behind keyed hashes, the same on every node. `Debug` does not show it.
#[derive(Clone)]
pub struct HashSecret(hmac::Key);

impl HashSecret {
    /// Sets the secret up.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The key under which one department is shown hashes: it can link fields of one pointer across what it was granted, and two departments that compare
    /// notes cannot.
    pub(super) fn for_grantee(&self, grantee: &DepartmentAlias) -> Result<HashKeys, Error> {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"shuqiao grantee hash key v1\0");
        context.update(grantee.as_str().as_bytes());
        HashKeys::new(HashAlgorithm::HmacSha256, context.sign().as_ref()).map_err(Error::internal)
    }
}

impl fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSecret")
    }
}

/// Number of an indexed field and the values that pass, sorted.
type Condition = (usize, Box<[Box<str>]>);

/// Row conditions, compiled for one record type.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RowFilter(Arc<[Condition]>);

/// The values may be somebody's.
impl fmt::Debug for RowFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFilter").field("conditions", &self.0.len()).finish_non_exhaustive()
    }
}

/// A condition names no indexed field of the record type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("condition {number} is on no indexed field")]
pub struct NotIndexed {
    /// Which condition, 0-based.
    pub number: usize,
}

impl RowFilter {
    /// Compiles conditions.
    ///
    /// # Errors
    /// [`NotIndexed`] names the first condition on another field.
    pub fn compile(record_type: &RecordType, conditions: &[RowCondition]) -> Result<Self, NotIndexed> {
        let fields = record_type.indexed_fields();
        let compile = |(number, condition): (usize, &RowCondition)| {
            let field = fields.iter().position(|field| field.name == condition.field).ok_or(NotIndexed { number })?;
            let values: BTreeSet<Box<str>> = condition.values.iter().map(|value| value.as_str().into()).collect();
            Ok((field, values.into_iter().collect()))
        };
        let mut compiled = conditions.iter().enumerate().map(compile).collect::<Result<Vec<_>, NotIndexed>>()?;
        // All must hold, so their order means nothing: sorted, equal filters are equal.
        compiled.sort_unstable();
        compiled.dedup();
        Ok(Self(compiled.into()))
    }

    /// Shows no record, and no access grants it: a filter that cannot be judged. No record type has so many indexed fields.
    pub(super) fn nothing() -> Self {
        Self(Arc::new([(usize::MAX, Box::new([]))]))
    }

    /// Shows everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every condition holds for a live record's payload. A payload that is no valid record of the type (an empty one included) is not shown.
    pub fn shows(&self, record_type: &RecordType, payload: &[u8], scratch: &mut Scratch) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let Ok(facts) = record_type.validate(payload, scratch) else { return false };
        self.0.iter().all(|(field, values)| {
            facts.indexed(*field).is_some_and(|value| values.binary_search_by(|one| (**one).cmp(&*value)).is_ok())
        })
    }

    /// Numbers of the indexed fields that it asks about.
    pub fn fields(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(field, _)| *field)
    }
}

/// Says which view this is. Equal for equal datasets, fields, treatments and rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ViewId([u8; 32]);

impl ViewId {
    /// SHA-256 over what the view depends on.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ViewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a department may see of a dataset.
#[derive(Clone)]
pub struct Access {
    /// What is read.
    pub dataset: Arc<Dataset>,
    /// By which grant and version of it; `None`: the owner itself.
    pub grant: Option<(GrantId, u64)>,
    /// First millisecond at which it ends; `None`: until revoked.
    pub until_ms: Option<i64>,
    /// The purpose of the grant; empty for the owner.
    pub purpose: Arc<str>,
    /// Which view.
    pub view_id: ViewId,
    record_type: Arc<RecordType>,
    projection: Arc<Projection>,
    rows: RowFilter,
    keys: Arc<HashKeys>,
    clear: Arc<BTreeSet<Box<str>>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("dataset", &self.dataset.id)
            .field("grant", &self.grant)
            .field("until_ms", &self.until_ms)
            .field("view_id", &self.view_id)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// The owner's own: everything, as it is.
    pub(super) fn of_owner(dataset: &Arc<Dataset>, secret: &HashSecret) -> Result<Self, Error> {
        let whole = [FieldGrant { path: String::new(), treatment: Treatment::Clear }];
        let owner = dataset.owner.clone();
        Self::compile(dataset, &whole, &[], None, None, "", secret.for_grantee(&owner)?, &owner)
    }

    /// What a grant shows.
    pub(super) fn of_grant(dataset: &Arc<Dataset>, grant: &Grant, secret: &HashSecret) -> Result<Self, Error> {
        Self::compile(
            dataset,
            &grant.fields,
            &grant.rows,
            Some((grant.id.clone(), grant.version)),
            grant.end_ms,
            &grant.purpose,
            secret.for_grantee(&grant.grantee)?,
            &grant.grantee,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "the two callers above are its whole use")]
    fn compile(
        dataset: &Arc<Dataset>,
        fields: &[FieldGrant],
        conditions: &[RowCondition],
        grant: Option<(GrantId, u64)>,
        until_ms: Option<i64>,
        purpose: &str,
        keys: HashKeys,
        grantee: &DepartmentAlias,
    ) -> Result<Self, Error> {
        let record_type = dataset.standard()?;
        let projection = project(record_type, fields).map_err(Error::internal)?;
        let rows = RowFilter::compile(record_type, conditions).map_err(Error::internal)?;
        let hashed_for = fields.iter().any(|field| field.treatment == Treatment::KeyedHash).then_some(grantee);
        let leaves = record_type.fields().iter().filter(|field| field.is_leaf());
        let clear = leaves
            .filter(|field| nearest(fields, &field.pointer) == Some(Treatment::Clear))
            .map(|field| field.pointer.as_str().into())
            .collect();
        Ok(Self {
            dataset: dataset.clone(),
            grant,
            until_ms,
            purpose: purpose.into(),
            view_id: view_id(dataset, &projection, &rows, hashed_for),
            record_type: record_type.clone(),
            projection: Arc::new(projection),
            rows,
            keys: Arc::new(keys),
            clear: Arc::new(clear),
        })
    }

    /// The same access to a newer version of the same dataset (its record type never changes).
    pub(super) fn with_dataset(&self, dataset: &Arc<Dataset>) -> Self {
        Self { dataset: dataset.clone(), ..self.clone() }
    }

    /// The standard of the dataset.
    pub fn record_type(&self) -> &RecordType {
        &self.record_type
    }

    /// Whether some records are hidden.
    pub fn has_row_filter(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Whether a live record with this payload is among the rows. A delete has no payload: judge the state before it.
    pub fn shows(&self, payload: &[u8], scratch: &mut Scratch) -> bool {
        self.rows.shows(&self.record_type, payload, scratch)
    }

    /// Whether every payload passes as it is.
    pub fn is_identity(&self) -> bool {
        self.projection.is_identity()
    }

    /// The payload as this access shows it: the same `Bytes` where it shows everything, and for a delete's empty payload.
    ///
    /// # Errors
    /// [`Error::DataLoss`] if the payload is no valid record: it was one when it was taken.
    pub fn project(&self, payload: &Bytes) -> Result<Bytes, Error> {
        if payload.is_empty() || self.projection.is_identity() {
            return Ok(payload.clone());
        }
        let mut out = Vec::with_capacity(payload.len());
        self.projection.apply(payload, &self.keys, &mut out).map_err(|error| Error::DataLoss(Arc::new(error)))?;
        Ok(out.into())
    }

    /// Whether the purpose is the grant's, or begins with it (`核查：案件 17` under a grant for `核查`). An owner needs nobody's.
    pub fn serves(&self, purpose: &str) -> bool {
        let rest = purpose.trim().strip_prefix(self.purpose.trim());
        self.grant.is_none() || rest.is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_alphanumeric()))
    }

    /// Whether the field is a single value that this access shows as it is. Array elements may be named by number or `*`.
    pub fn grants_field(&self, pointer: &str) -> bool {
        self.clear.contains(pointer) || self.clear.contains(&*any_element(pointer))
    }

    /// Whether the caller may look records up by this indexed field: only by what it is shown, or the answer would disclose the field.
    pub fn grants_index(&self, name: &str) -> bool {
        let mut fields = self.record_type.indexed_fields().iter();
        fields.any(|field| field.name == name && self.grants_field(&field.pointer))
    }

    /// Whether the caller may narrow by this filter, by the same rule. A subscription's filter is judged again whenever the access changes.
    pub fn grants_filter(&self, filter: &RowFilter) -> bool {
        let fields = self.record_type.indexed_fields();
        filter.fields().all(|number| fields.get(number).is_some_and(|field| self.grants_field(&field.pointer)))
    }

    /// Whether the caller may find records by their subject, by the same rule.
    pub fn grants_subject(&self) -> bool {
        use shuqiao_schemas::engine::SubjectOf;
        match self.record_type.subject() {
            Some(SubjectOf::Fixed { value, .. }) => self.grants_field(value),
            Some(SubjectOf::Typed { value, kind_field }) => self.grants_field(value) && self.grants_field(kind_field),
            None => false,
        }
    }
}

/// A grant's fields as the engine compiles them.
pub(super) fn project(record_type: &RecordType, fields: &[FieldGrant]) -> Result<Projection, SchemaError> {
    let rules: Vec<_> = fields
        .iter()
        .map(|field| FieldRule {
            pointer: field.path.clone(),
            treatment: match field.treatment {
                Treatment::Clear => Shown::Clear,
                Treatment::Masked => Shown::Masked,
                Treatment::KeyedHash => Shown::KeyedHash,
            },
        })
        .collect();
    record_type.projection(&rules)
}

/// The treatment that the nearest line gives to a field: the longest path that is the field's or around it.
pub(super) fn nearest(fields: &[FieldGrant], pointer: &str) -> Option<Treatment> {
    let around = |path: &str| pointer.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    fields.iter().filter(|field| around(&field.path)).max_by_key(|field| field.path.len()).map(|field| field.treatment)
}

/// `/a/0/b` as the record type names it: `/a/*/b`.
fn any_element(pointer: &str) -> String {
    let step = |step: &str| {
        let is_number = !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { "*".to_owned() } else { step.to_owned() }
    };
    pointer.split('/').map(step).collect::<Vec<_>>().join("/")
}

fn view_id(
    dataset: &Dataset,
    projection: &Projection,
    rows: &RowFilter,
    hashed_for: Option<&DepartmentAlias>,
) -> ViewId {
    let mut context = digest::Context::new(&digest::SHA256);
    // Every text carries its length, so that no two views share an input.
    let mut text = |text: &str| {
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    };
    text("shuqiao view v1");
    text(dataset.id.as_str());
    text(hashed_for.map_or("", DepartmentAlias::as_str));
    text(&projection.id().to_string());
    for (field, values) in rows.0.iter() {
        text(&field.to_string());
        text(&values.len().to_string());
        values.iter().for_each(|value| text(value));
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    ViewId(bytes)
}
