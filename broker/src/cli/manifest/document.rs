//! Texts with manifests in them: YAML or JSON, several documents a file, every bad one named.

use serde::Deserialize;

use super::{Dataset, Department, Grant, RecordType, Subscription};
use crate::cli::error::Error;

/// One document of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Manifest {
    Department(Department),
    RecordType(RecordType),
    Dataset(Dataset),
    Grant(Grant),
    Subscription(Subscription),
}

impl Manifest {
    /// What must be there first comes first: a grant needs its dataset, a dataset its record type, and that its department.
    pub(in crate::cli) fn rank(&self) -> u8 {
        match self {
            Self::Department(_) => 0,
            Self::RecordType(_) => 1,
            Self::Dataset(_) => 2,
            Self::Grant(_) => 3,
            Self::Subscription(_) => 4,
        }
    }

    /// Every document of a text. `origin` is named in errors.
    pub(in crate::cli) fn parse_all(text: &str, origin: &str) -> Result<Vec<Self>, Error> {
        let mut manifests = Vec::new();
        let mut mistakes = Vec::new();
        for (number, document) in
            documents(text).map_err(|mistake| Error::Input(format!("{origin}: {mistake}")))?.iter().enumerate()
        {
            match Self::parse(document) {
                Ok(manifest) => manifests.push(manifest),
                Err(mistake) => mistakes.push(format!("{origin}, document {}: {mistake}", number + 1)),
            }
        }
        if mistakes.is_empty() { Ok(manifests) } else { Err(Error::Input(mistakes.join("\n"))) }
    }

    fn parse(document: &str) -> Result<Self, String> {
        /// Read first, so that the rest is read by the types of its kind: codes of digits stay text.
        #[derive(Deserialize)]
        struct Head {
            kind: Option<String>,
        }
        fn of<T: serde::de::DeserializeOwned>(document: &str) -> Result<T, String> {
            serde_saphyr::from_str(document).map_err(|error| {
                // The library begins with a word that the message has already.
                let text = error.to_string();
                text.strip_prefix("error: ").map_or(text.clone(), str::to_owned)
            })
        }
        let head: Head = of(document)?;
        match head.kind.as_deref() {
            Some("department") => of(document).map(Self::Department),
            Some("record-type") => of(document).map(Self::RecordType),
            Some("dataset") => of(document).map(Self::Dataset),
            Some("grant") => of(document).map(Self::Grant),
            Some("subscription") => of(document).map(Self::Subscription),
            Some(other) => {
                Err(format!("kind {other:?} is not department, record-type, dataset, grant or subscription"))
            }
            None => Err("kind is missing: department, record-type, dataset, grant or subscription".into()),
        }
    }
}

/// The documents of a text: a JSON list, JSON objects one after the other, or YAML between lines of `---`.
fn documents(text: &str) -> Result<Vec<String>, String> {
    let json = |value: &serde_json::Value| value.to_string();
    match text.trim_start().chars().next() {
        Some('[') => {
            let list: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(list.iter().map(json).collect())
        }
        Some('{') => serde_json::Deserializer::from_str(text)
            .into_iter::<serde_json::Value>()
            .map(|value| value.map(|value| json(&value)).map_err(|error| error.to_string()))
            .collect(),
        _ => {
            let mut documents = vec![String::new()];
            for line in text.lines() {
                // YAML 1.2.2 section 9.1.2: the marker stands at the beginning of a line, whatever surrounds it.
                if let Some(rest) =
                    line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
                {
                    documents.push(format!("{}\n", rest.trim_start()));
                } else if let Some(document) = documents.last_mut() {
                    document.push_str(line);
                    document.push('\n');
                }
            }
            let says_something = |document: &String| {
                document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
            };
            Ok(documents.into_iter().filter(says_something).collect())
        }
    }
}
