//! Which grants a change of a record type hits: from manifests, or as a node has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use serde::Serialize;
use shuqiao_schemas::engine::{
    IndexedField, RecordType,
    compatibility::{self, Difference},
};

use super::super::{
    error::Error,
    manifest::{Dataset, Grant, Manifest},
    output,
};
use crate::exchange::clock::Clock;

/// The most bytes of one file of manifests.
const BYTES_MAX: u64 = 64 << 20;

/// Grants, and what is known of their datasets.
#[derive(Debug, Default)]
pub(super) struct Grants {
    grants: Vec<Grant>,
    /// Record types by dataset.
    record_types: BTreeMap<String, String>,
}

/// One grant, hit by one difference.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Hit {
    pub(super) grant: String,
    dataset: String,
    grantee: String,
    against: String,
    change: &'static str,
    class: &'static str,
    /// Those of the grant's fields, and of the fields that its rows are chosen by, that the difference touches. The empty one is the whole record.
    fields: Vec<String>,
}

/// A name without its collection: manifests may leave it out.
fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Grants {
    /// Those of the documents of files; `-` is standard input.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut all = Self::default();
        for file in files {
            let found = Self::parse(&text(file)?, &output::place(file))?;
            all.grants.extend(found.grants);
            all.record_types.extend(found.record_types);
        }
        Ok(all)
    }

    pub(super) fn parse(text: &str, origin: &str) -> Result<Self, Error> {
        let (mut datasets, mut grants) = (Vec::new(), Vec::new());
        for manifest in Manifest::parse_all(text, origin)? {
            match manifest {
                Manifest::Dataset(dataset) => datasets.push(dataset),
                Manifest::Grant(grant) => grants.push(grant),
                Manifest::Department(_) | Manifest::RecordType(_) | Manifest::Subscription(_) => {}
            }
        }
        Ok(Self::new((datasets, grants)))
    }

    pub(super) fn new((datasets, grants): (Vec<Dataset>, Vec<Grant>)) -> Self {
        let record_types = datasets.into_iter().map(|dataset| (id(&dataset.name).to_owned(), dataset.record_type));
        Self { grants, record_types: record_types.collect() }
    }

    /// How many grants that are in force or will be there are whose dataset's record type is not known.
    pub(super) fn unplaced(&self) -> usize {
        let unplaced = |grant: &&Grant| !self.record_types.contains_key(id(&grant.dataset));
        self.in_force().filter(unplaced).count()
    }

    /// Those that are in force or will be.
    fn in_force(&self) -> impl Iterator<Item = &Grant> {
        let now_ms = Clock::system().now_ms();
        let over =
            move |grant: &Grant| grant.revoked || grant.end_time.is_some_and(|end| end.as_millisecond() <= now_ms);
        self.grants.iter().filter(move |grant| !over(grant))
    }

    /// What these differences from an earlier version hit: grants on datasets of that version that are in force or will be, a line for each grant and
    /// difference. A grant whose dataset is not known counts: whoever gave it alone means it.
    pub(super) fn hit_by(&self, old: &RecordType, differences: &[Difference]) -> Vec<Hit> {
        let is_of = |grant: &&Grant| self.record_types.get(id(&grant.dataset)).is_none_or(|name| name == old.name());
        self.in_force().filter(is_of).flat_map(|grant| hits_of(grant, old, differences)).collect()
    }
}

fn hits_of(grant: &Grant, old: &RecordType, differences: &[Difference]) -> Vec<Hit> {
    let mut pointers: Vec<&str> = grant.fields.iter().map(|field| field.path.as_str()).collect();
    // Rows are chosen by the names of indexed fields.
    let chosen_by = |field: &&IndexedField| grant.rows.iter().any(|row| row.field == field.name);
    for field in old.indexed_fields().iter().filter(chosen_by) {
        if !pointers.contains(&&*field.pointer) {
            pointers.push(&field.pointer);
        }
    }
    let told = |hit: compatibility::Hit<'_>| Hit {
        grant: id(&grant.name).to_owned(),
        dataset: id(&grant.dataset).to_owned(),
        grantee: grant.grantee.clone(),
        against: old.name().to_owned(),
        change: hit.difference.name,
        class: hit.difference.class.as_str(),
        fields: hit.pointers.into_iter().map(str::to_owned).collect(),
    };
    compatibility::hits(differences, &pointers).into_iter().map(told).collect()
}

/// A line for each grant and difference.
pub(super) fn table(hits: &[Hit]) -> String {
    let rows = hits.iter().map(|hit| {
        let fields = hit.fields.iter().map(|field| if field.is_empty() { "(record)" } else { field.as_str() });
        vec![
            hit.grant.clone(),
            hit.dataset.clone(),
            hit.grantee.clone(),
            hit.against.clone(),
            hit.change.to_owned(),
            hit.class.to_owned(),
            fields.collect::<Vec<_>>().join(" "),
        ]
    });
    output::table(["grant", "dataset", "grantee", "against", "change", "class", "fields"], rows)
}

/// How many grants are hit.
pub(super) fn grants(hits: &[Hit]) -> usize {
    hits.iter().map(|hit| &hit.grant).collect::<BTreeSet<_>>().len()
}

fn text(file: &Path) -> Result<String, Error> {
    let error = |source| Error::Read { what: output::place(file), source };
    let mut text = String::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).map_err(error)?.take(BYTES_MAX + 1).read_to_string(&mut text)
    };
    if read.map_err(error)? as u64 > BYTES_MAX {
        return Err(Error::Input(format!("{} is larger than {BYTES_MAX} bytes", output::place(file))));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use shuqiao_schemas::engine::CodeTables;

    use super::*;

    fn version(number: u32, note: &str) -> RecordType {
        let schema = format!(
            r#"{{"$id":"urn:shuqiao:record-type:t:v{number}","type":"object","additionalProperties":false,"required":["id"],"x-key":["/id"],
            "x-indexed":["/region"],"properties":{{"id":{{"type":"string","maxLength":9}},"region":{{"type":"string","x-identifier":"region"}},
            "holder":{{"type":"object","additionalProperties":false,"properties":{{"name":{{"type":"string","maxLength":9}}{note}}}}}}}}}"#
        );
        RecordType::compile(schema.as_bytes(), &CodeTables::new()).expect("in the profile")
    }

    fn grant(name: &str, dataset: &str, rest: &str) -> String {
        format!(
            "---\nkind: grant\nname: {name}\ndataset: {dataset}\ngrantee: taxation\npurpose: x\nlegal_basis: x\n{rest}\n"
        )
    }

    /// `grant change fields` for each hit.
    fn hit(manifests: &str, differences: &[Difference]) -> Vec<String> {
        let grants = Grants::parse(manifests, "test").expect("manifests");
        let hits = grants.hit_by(&version(1, ""), differences);
        hits.iter().map(|hit| format!("{} {} {}", hit.grant, hit.change, hit.fields.join(","))).collect()
    }

    #[test]
    fn a_grant_is_hit_over_the_dataset_and_the_fields_that_change() {
        let differences =
            compatibility::compare(&version(1, ""), &version(2, r#","phone":{"type":"string","maxLength":9}"#));
        let dataset = |name: &str, record_type: &str| {
            format!(
                "---\nkind: dataset\nname: {name}\nrecord_type: {record_type}\ntitle: x\nsharing_class: conditional\n"
            )
        };
        let name = "fields: [{path: /holder/name, treatment: clear}]";
        let holder = "fields: [{path: /id, treatment: clear}, {path: /holder, treatment: clear}]";
        let manifests = [
            dataset("a.ours", "t/v1"),
            dataset("a.other", "u/v1"),
            grant("a.neighbour", "a.ours", name),
            grant("a.around", "datasets/a.ours", holder),
            grant("a.elsewhere", "a.other", holder),
            grant("a.unknown", "a.nobody", holder),
            grant("a.whole", "a.ours", "fields: [{path: '', treatment: clear}]"),
            grant("a.revoked", "a.ours", &format!("{holder}\nrevoked: true")),
            grant("a.ended", "a.ours", &format!("{holder}\nend_time: 2001-01-01T00:00:00Z")),
            grant("a.past", "a.nobody", &format!("{holder}\nend_time: 2001-01-01T00:00:00Z")),
        ]
        .concat();
        assert_eq!(Grants::parse(&manifests, "test").expect("manifests").unplaced(), 1);
        assert_eq!(
            hit(&manifests, &differences),
            ["a.around field-added /holder", "a.unknown field-added /holder", "a.whole field-added "]
        );
    }

    #[test]
    fn a_grant_is_hit_where_its_rows_are_chosen_by_what_changes() {
        let old = version(1, "");
        let new = version(2, "");
        assert_eq!(
            hit(&grant("a.b", "a.c", "fields: [{path: /id, treatment: clear}]"), &compatibility::compare(&old, &new)),
            [""; 0]
        );
        let differences = [Difference {
            name: "identifier-changed",
            class: compatibility::Class::Breaking,
            fields: vec!["/region".to_owned()],
        }];
        let by_rows = "fields: [{path: /id, treatment: clear}]\nrows: [{field: region, values: ['330106']}]";
        assert_eq!(hit(&grant("a.b", "a.c", by_rows), &differences), ["a.b identifier-changed /region"]);
    }

    #[test]
    fn what_list_prints_is_what_is_read() {
        let differences = [Difference { name: "x", class: compatibility::Class::Full, fields: vec!["/id".to_owned()] }];
        let manifest = Grants::parse(&grant("grants/a.b", "a.c", "fields: [{path: /id, treatment: masked}]"), "test");
        let listed = output::json(&manifest.expect("a manifest").grants).expect("JSON");
        assert_eq!(hit(&listed, &differences), ["a.b x /id"]);
        assert!(Grants::parse("kind: city", "test").is_err());
    }
}
