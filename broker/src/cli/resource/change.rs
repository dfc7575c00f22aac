//! `shuqiao apply` and `delete`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use tonic::Code;

use super::{
    super::{
        connection::Connection,
        error::Error,
        exit::Exit,
        manifest::{Dataset, Department, Grant, Manifest, RecordType, Subscription, full_name},
        output,
        schema::own,
    },
    Client, Kind, Resource, connect,
};

/// Manifests are written by people; nothing honest is larger.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;
/// What a directory's manifests are called.
const MANIFEST_EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// `shuqiao apply -f PATH…`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Apply {
    /// YAML or JSON files with manifests, or directories of them (*.yaml, *.yml, *.json); `-` is standard input. The document of a record type, its
    /// directory, or a directory of such ones, as `schema check` reads them, is registered with the code tables beside it. All are read before anything is
    /// sent; departments come first, then record types, datasets, grants and subscriptions. Repeating it changes nothing.
    #[arg(short, long = "file", required = true, num_args = 1.., value_name = "PATH")]
    files: Vec<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Apply {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Error> {
        let mut manifests = Vec::new();
        for path in expand(&self.files)? {
            let text = read(&path)?;
            if own::is_document(&text) {
                manifests.push(Manifest::RecordType(own::resource(text, &path)?));
            } else {
                manifests.extend(Manifest::parse_all(&text, &output::place(&path))?);
            }
        }
        if manifests.is_empty() {
            return Err(Error::Input("there is no manifest in what was given".into()));
        }
        manifests.sort_by_key(Manifest::rank);
        let mut client = connect(&self.connection).await?;
        // An answer that nobody reads any more, or that cannot be written, keeps no manifest from being applied.
        let mut told = Ok(());
        for manifest in manifests {
            let done = match manifest {
                Manifest::Department(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::RecordType(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Dataset(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Grant(wanted) => apply(&mut client, wanted, self.dry_run).await?,
                Manifest::Subscription(wanted) => apply(&mut client, wanted, self.dry_run).await?,
            };
            told = told.and_then(|()| output::print(&done));
        }
        told.map(|()| Exit::Success)
    }
}

/// Each file, and each manifest of a directory in order of name; what lies deeper is looked at only where there is none, for record types.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        if own::is_record_type(path) {
            files.append(&mut own::documents(path)?);
            continue;
        }
        let error = |source| Error::Read { what: path.display().to_string(), source };
        let entries = std::fs::read_dir(path).map_err(error)?;
        let mut found =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(error)?;
        let is_manifest = |path: &PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            path.is_file() && extension.is_some_and(|extension| MANIFEST_EXTENSIONS.contains(&extension))
        };
        found.retain(is_manifest);
        if found.is_empty() {
            found = own::documents(path)?;
        }
        if found.is_empty() {
            let directory = path.display();
            return Err(Error::Input(format!("{directory} holds no *.yaml, *.yml or *.json, and no record type")));
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// What applying a manifest amounts to.
#[derive(Debug, PartialEq, Eq)]
enum Change<R> {
    Create(R),
    Update(R),
    Nothing,
    Impossible(&'static str),
}

/// Compares what is wanted with what is. An etag in the manifest is kept: whoever wrote it down insists on it.
fn change<R: Resource>(mut wanted: R, current: Option<R>) -> Change<R> {
    let Some(current) = current else {
        return Change::Create(wanted);
    };
    if let Some(obstacle) = wanted.obstacle(&current) {
        return Change::Impossible(obstacle);
    }
    let insisted = Some(wanted.etag().to_owned()).filter(|etag| !etag.is_empty());
    wanted.complete(&current);
    if wanted == current {
        return Change::Nothing;
    }
    if let Some(etag) = insisted {
        wanted.set_etag(etag);
    }
    Change::Update(wanted)
}

/// Answers with what is to be said of it.
async fn apply<R: Resource>(client: &mut Client, wanted: R, dry_run: bool) -> Result<String, Error> {
    let name = full_name(R::COLLECTION, wanted.name());
    match put(client, &name, wanted, dry_run).await {
        Ok(done) => Ok(format!("{name} {done}")),
        Err(error) => {
            // What stands before it in the answer is done.
            output::note(&format!("{name} not applied"));
            Err(error)
        }
    }
}

async fn put<R: Resource>(client: &mut Client, name: &str, wanted: R, dry_run: bool) -> Result<&'static str, Error> {
    let current = match R::fetch(client, name.to_owned()).await {
        Ok(wire) => Some(R::from(wire)),
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    Ok(match change(wanted, current) {
        Change::Nothing => "unchanged",
        Change::Impossible(obstacle) => return Err(Error::Conflict(format!("{name} {obstacle}"))),
        Change::Create(_) if dry_run => "would be created",
        Change::Update(_) if dry_run => "would be updated",
        Change::Create(wanted) => {
            R::create(client, wanted.into()).await?;
            "created"
        }
        Change::Update(wanted) => {
            R::update(client, wanted.into()).await?;
            "updated"
        }
    })
}

fn read(path: &Path) -> Result<String, Error> {
    let error = |source| Error::Read { what: output::place(path), source };
    let reader: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(error)?) };
    let mut text = String::new();
    reader.take(MANIFEST_BYTES_MAX + 1).read_to_string(&mut text).map_err(error)?;
    if text.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(Error::Input(format!("{} is larger than 16 MiB: split it", output::place(path))));
    }
    Ok(text)
}

/// `shuqiao delete KIND NAME`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Delete {
    /// What kind of resource.
    #[arg(value_enum)]
    kind: Kind,
    /// Its id, with or without its collection.
    name: String,
    /// Only if it still has this etag [default: the etag that it has now].
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

impl Delete {
    pub(in crate::cli) async fn run(self) -> Result<Exit, Error> {
        let mut client = connect(&self.connection).await?;
        dispatch!(self.kind, delete(&mut client, &self.name, self.etag.clone()))
    }
}

async fn delete<R: Resource>(client: &mut Client, name: &str, etag: Option<String>) -> Result<Exit, Error> {
    let name = full_name(R::COLLECTION, name);
    let etag = match etag {
        Some(etag) => etag,
        None => R::from(R::fetch(client, name.clone()).await?).etag().to_owned(),
    };
    R::remove(client, name.clone(), etag).await?;
    output::print(&format!("{name} {}", if R::KIND == "grant" { "revoked" } else { "deleted" }))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(title: &str) -> Dataset {
        Dataset {
            kind: "dataset".into(),
            name: "taxation.notice".into(),
            owner: "taxation".into(),
            title: title.into(),
            ..Dataset::default()
        }
    }

    fn existing() -> Dataset {
        Dataset {
            name: "datasets/taxation.notice".into(),
            etag: "7".into(),
            partitions: 4,
            retention_seconds: 60,
            create_time: Some("2026-01-01T00:00:00Z".parse().expect("time")),
            ..dataset("Notices")
        }
    }

    #[test]
    fn what_a_manifest_leaves_open_is_no_change() {
        assert_eq!(change(dataset("Notices"), Some(existing())), Change::Nothing);
        assert!(matches!(change(dataset("Notices"), None), Change::Create(_)));
    }

    #[test]
    fn an_update_carries_the_etag_that_was_read_or_the_one_insisted_on() {
        let Change::Update(update) = change(dataset("Tax notices"), Some(existing())) else {
            panic!("a title changed")
        };
        assert_eq!((update.etag.as_str(), update.partitions), ("7", 4));
        let insisted = Dataset { etag: "6".into(), ..dataset("Tax notices") };
        let Change::Update(update) = change(insisted, Some(existing())) else { panic!("a title changed") };
        assert_eq!(update.etag, "6");
    }

    #[test]
    fn a_manifest_written_in_another_order_or_finer_than_a_millisecond_is_no_change() {
        use crate::cli::manifest::Role;
        let department = |roles: &[Role]| Department { roles: roles.to_vec(), ..Department::default() };
        let existing = department(&[Role::Administrator, Role::Auditor]);
        let wanted = department(&[Role::Auditor, Role::Administrator, Role::Auditor]);
        assert_eq!(change(wanted, Some(existing)), Change::Nothing);
        let grant = |end: &str| Grant { end_time: Some(end.parse().expect("time")), ..Grant::default() };
        let wanted = grant("2026-01-01T08:00:00.0019999+08:00");
        assert_eq!(change(wanted, Some(grant("2026-01-01T00:00:00.001Z"))), Change::Nothing);
    }

    #[test]
    fn a_revoked_grant_is_not_called_unchanged() {
        let existing = Grant { revoked: true, ..Grant::default() };
        assert!(matches!(change(Grant::default(), Some(existing.clone())), Change::Impossible(_)));
        assert_eq!(change(existing.clone(), Some(existing)), Change::Nothing);
    }

    #[test]
    fn a_directory_is_its_manifests_in_order_of_name() {
        let directory = tempfile::tempdir().expect("tempdir");
        for name in ["20-grant.yml", "10-dataset.yaml", "README.md", "30.json"] {
            std::fs::write(directory.path().join(name), "").expect("write");
        }
        std::fs::create_dir(directory.path().join("deeper.yaml")).expect("directory");
        let files = expand(&[directory.path().to_path_buf(), PathBuf::from("-")]).expect("readable");
        let names: Vec<_> =
            files.iter().map(|file| file.file_name().and_then(|name| name.to_str()).unwrap_or("")).collect();
        assert_eq!(names, ["10-dataset.yaml", "20-grant.yml", "30.json", "-"]);
        std::fs::create_dir(directory.path().join("empty")).expect("directory");
        assert!(matches!(expand(&[directory.path().join("empty")]), Err(Error::Input(_))));
    }
}
