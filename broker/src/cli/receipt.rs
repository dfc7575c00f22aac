//! Receipts as lines of JSON: what `publish --receipts` writes and `receipt verify` reads.
//!
//! A receipt's signature says that the node holds some accepted records of one batch; its digest says which (`shuqiao_proto::receipt` lays out both). Whoever
//! publishes compares the digest with what it sent, before the receipt is written; whoever is handed the file later verifies the signature.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use shuqiao_proto::{
    receipt::{Accepted, BatchDigest, verify},
    v1,
};

use super::{
    error::Error,
    exit::Exit,
    output::{self, Format, count},
};

/// A file of receipts, at most: some 150,000 of them.
const FILE_BYTES_MAX: u64 = 64 << 20;
const KEY_BYTES: usize = 32;

/// `v1::Receipt` with its bytes as hexadecimal digits.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    node: String,
    dataset: String,
    source: String,
    first_sequence: u64,
    last_sequence: u64,
    accepted_count: u32,
    digest: String,
    sign_time_ms: i64,
    signature: String,
}

impl From<&v1::Receipt> for Line {
    fn from(receipt: &v1::Receipt) -> Self {
        Self {
            node: receipt.node.clone(),
            dataset: receipt.dataset.clone(),
            source: receipt.source.clone(),
            first_sequence: receipt.first_sequence,
            last_sequence: receipt.last_sequence,
            accepted_count: receipt.accepted_count,
            digest: hex::encode(&receipt.digest),
            sign_time_ms: receipt.sign_time_ms,
            signature: hex::encode(&receipt.signature),
        }
    }
}

impl Line {
    /// Nothing where digest or signature are no hexadecimal digits.
    fn receipt(&self) -> Option<v1::Receipt> {
        Some(v1::Receipt {
            node: self.node.clone(),
            dataset: self.dataset.clone(),
            source: self.source.clone(),
            first_sequence: self.first_sequence,
            last_sequence: self.last_sequence,
            accepted_count: self.accepted_count,
            digest: hex::decode(&self.digest).ok()?,
            sign_time_ms: self.sign_time_ms,
            signature: hex::decode(&self.signature).ok()?,
        })
    }
}

/// A file that receipts are appended to.
#[derive(Debug)]
pub(super) struct Receipts {
    path: PathBuf,
    file: File,
}

impl Receipts {
    /// Opens it, before anything is published.
    pub(super) fn append_to(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::Keep { what: path.display().to_string(), source })?;
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Compares the receipt of an acknowledgement with what was sent, and writes it. Nothing accepted, nothing written.
    pub(super) fn take(
        &mut self,
        acknowledgement: &v1::PublishAcknowledgement,
        sent: &[v1::PublishRecord],
    ) -> Result<(), Error> {
        let (digest, number) = digest(&acknowledgement.results, sent);
        if number == 0 {
            return Ok(());
        }
        let receipt = acknowledgement.receipt.as_ref();
        let receipt =
            receipt.filter(|receipt| receipt.digest == digest && receipt.accepted_count == number).ok_or_else(|| {
                Error::Input(format!(
                    "the receipt of batch {} is not of the records that were sent: keep what you have and tell the operators",
                    acknowledgement.batch_id
                ))
            })?;
        let text = serde_json::to_string(&Line::from(receipt)).map_err(|error| Error::Write(error.into()))?;
        writeln!(self.file, "{text}")
            .and_then(|()| self.file.sync_data())
            .map_err(|source| Error::Keep { what: self.path.display().to_string(), source })
    }
}

/// Digest and number of the accepted records, as the node lays them out.
fn digest(results: &[v1::PublishResult], sent: &[v1::PublishRecord]) -> (Vec<u8>, u32) {
    let mut digest = BatchDigest::default();
    let mut number = 0;
    let accepted = |(result, _): &(&v1::PublishResult, _)| result.status() == v1::PublishStatus::Accepted;
    for (result, record) in results.iter().zip(sent).filter(accepted) {
        let position = result.position.unwrap_or_default();
        digest.add(&Accepted {
            sequence: record.sequence,
            position: (position.partition, position.offset),
            operation: u8::try_from(record.operation).unwrap_or_default(),
            source_version: record.source_version,
            key: &record.key,
            payload: &record.payload,
        });
        number += 1;
    }
    (digest.finish(), number)
}

/// `shuqiao receipt …`.
#[derive(Debug, Subcommand)]
pub(super) enum Receipt {
    /// Verify signatures, without a node. Exit code 3 if a line is no receipt that the node signed.
    Verify(Verify),
}

/// `shuqiao receipt verify`.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// Receipts, one a line, as `publish --receipts` writes them; `-` is standard input.
    #[arg(default_value = "-")]
    file: PathBuf,
    /// The node's Ed25519 key, 64 hexadecimal digits: `receipt_public_key` in `shuqiao status -o json`, or what `shuqiao pki receipt-key` shows.
    #[arg(long, value_name = "HEX", required_unless_present = "status", conflicts_with = "status")]
    public_key: Option<String>,
    /// What `shuqiao status -o json` printed: the key, and the node whose receipts these must be.
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// The members of `shuqiao status -o json` that matter here.
#[derive(Deserialize)]
struct Status {
    node: String,
    receipt_public_key: String,
}

/// What a receipt turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// Changed since, or signed with another key.
    BadSignature,
    OtherNode,
    NoReceipt,
}

#[derive(Serialize)]
struct Answer {
    line: usize,
    verdict: Verdict,
    #[serde(flatten)]
    receipt: Option<Line>,
}

impl Receipt {
    pub(super) fn run(self) -> Result<Exit, Error> {
        let Self::Verify(verify) = self;
        verify.run()
    }
}

impl Verify {
    fn run(self) -> Result<Exit, Error> {
        let (key, node) = self.key()?;
        let text = read(&self.file)?;
        let lines = (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty());
        let answers: Vec<_> = lines.map(|(line, text)| judge(line, text, &key, node.as_deref())).collect();
        if answers.is_empty() {
            return Err(Error::Input("there is no receipt in what was given".into()));
        }
        show(&answers, self.output)?;
        let bad = answers.iter().filter(|answer| answer.verdict != Verdict::Good).count();
        if bad == 0 {
            output::note(&format!("{}, signed by this node's key", count(answers.len(), "receipt")));
            return Ok(Exit::Success);
        }
        output::note(&format!(
            "error: {bad} of {} not signed by this node's key\n  next: compare the key with the node's (`shuqiao status -o json`; a node that lost its \
             receipt.key.pem has a new one); a receipt that is still bad was changed",
            count(answers.len(), "receipt")
        ));
        Ok(Exit::Invalid)
    }

    /// The key, and the node if it is known.
    fn key(&self) -> Result<(Vec<u8>, Option<String>), Error> {
        let (digits, node) = match (&self.public_key, &self.status) {
            (Some(digits), _) => (digits.clone(), None),
            (None, Some(path)) if path.as_os_str() == "-" && self.file.as_os_str() == "-" => {
                return Err(Error::Usage("receipts and status cannot both come from standard input".into()));
            }
            (None, Some(path)) => {
                let status: Status = serde_json::from_str(&read(path)?).map_err(|error| {
                    Error::Input(format!(
                        "{} is not what `shuqiao status -o json` prints: {error}",
                        output::place(path)
                    ))
                })?;
                (status.receipt_public_key, Some(status.node))
            }
            (None, None) => return Err(Error::Usage("whose receipts? Say --public-key or --status".into())),
        };
        let key = hex::decode(digits.trim()).ok().filter(|key| key.len() == KEY_BYTES);
        let key = key.ok_or_else(|| Error::Usage("a node's public key is 64 hexadecimal digits".into()))?;
        Ok((key, node))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let error = |source| Error::Read { what: output::place(path), source };
    let reader: Box<dyn Read> =
        if path.as_os_str() == "-" { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(error)?) };
    let mut text = String::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(error)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::Input(format!("{} is larger than 64 MiB: split it", output::place(path))));
    }
    Ok(text)
}

fn judge(line: usize, text: &str, key: &[u8], node: Option<&str>) -> Answer {
    let Some(parsed) = serde_json::from_str::<Line>(text).ok() else {
        return Answer { line, verdict: Verdict::NoReceipt, receipt: None };
    };
    let verdict = match parsed.receipt() {
        None => Verdict::NoReceipt,
        Some(receipt) if !verify(&receipt, key) => Verdict::BadSignature,
        Some(receipt) if node.is_some_and(|node| node != receipt.node) => Verdict::OtherNode,
        Some(_) => Verdict::Good,
    };
    Answer { line, verdict, receipt: Some(parsed) }
}

fn show(answers: &[Answer], format: Format) -> Result<(), Error> {
    output::print(&match format {
        Format::Json => output::json(&answers)?,
        Format::Yaml => output::yaml(&answers)?,
        Format::Table => output::table(
            ["line", "verdict", "node", "dataset", "source", "sequences", "records", "signed"],
            answers.iter().map(row),
        ),
    })
}

fn row(answer: &Answer) -> Vec<String> {
    let verdict = match answer.verdict {
        Verdict::Good => "good",
        Verdict::BadSignature => "bad signature",
        Verdict::OtherNode => "of another node",
        Verdict::NoReceipt => "no receipt",
    };
    let mut row = vec![answer.line.to_string(), verdict.to_owned()];
    if let Some(line) = &answer.receipt {
        let time = jiff::Timestamp::from_millisecond(line.sign_time_ms).map(|time| time.to_string());
        row.extend([
            line.node.clone(),
            line.dataset.clone(),
            line.source.clone(),
            format!("{}-{}", line.first_sequence, line.last_sequence),
            line.accepted_count.to_string(),
            time.unwrap_or_default(),
        ]);
    }
    row
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use shuqiao_proto::receipt::signed_bytes;

    use super::*;

    fn signed() -> (Line, Vec<u8>) {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("32 bytes");
        let mut receipt =
            v1::Receipt { node: "node-1".into(), dataset: "a.b".into(), last_sequence: 9, ..v1::Receipt::default() };
        receipt.signature = key.sign(&signed_bytes(&receipt)).as_ref().to_vec();
        (Line::from(&receipt), key.public_key().as_ref().to_vec())
    }

    #[test]
    fn a_line_is_good_until_any_member_is_another() {
        let (line, key) = signed();
        let text = serde_json::to_string(&line).expect("JSON");
        let verdict = |text: &str, key: &[u8], node| judge(1, text, key, node).verdict;
        assert_eq!(verdict(&text, &key, None), Verdict::Good);
        assert_eq!(verdict(&text, &key, Some("node-1")), Verdict::Good);
        assert_eq!(verdict(&text, &key, Some("node-2")), Verdict::OtherNode);
        assert_eq!(verdict(&text, &[8; 32], None), Verdict::BadSignature);
        for (from, to) in [("a.b", "a.c"), ("node-1", "node-2"), ("\"last_sequence\":9", "\"last_sequence\":8")] {
            assert_eq!(verdict(&text.replace(from, to), &key, None), Verdict::BadSignature, "{to}");
        }
        for nonsense in ["{}", "x", &text.replace("\"signature\":\"", "\"signature\":\"x")] {
            assert_eq!(verdict(nonsense, &key, None), Verdict::NoReceipt, "{nonsense}");
        }
    }

    #[test]
    fn a_receipt_of_other_records_than_were_sent_is_not_written() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("receipts.jsonl");
        let mut receipts = Receipts::append_to(&path).expect("opened");
        let record = v1::PublishRecord { sequence: 3, key: "k".into(), operation: 1, ..Default::default() };
        let status = v1::PublishStatus::Accepted.into();
        let results = vec![v1::PublishResult { sequence: 3, status, ..Default::default() }];
        let (digest, accepted_count) = digest(&results, std::slice::from_ref(&record));
        let receipt = Some(v1::Receipt { digest, accepted_count, ..v1::Receipt::default() });
        let acknowledgement = v1::PublishAcknowledgement { batch_id: 1, results, receipt };
        receipts.take(&acknowledgement, &[v1::PublishRecord { key: "l".into(), ..record.clone() }]).expect_err("other");
        let without = v1::PublishAcknowledgement { receipt: None, ..acknowledgement.clone() };
        receipts.take(&without, std::slice::from_ref(&record)).expect_err("none");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), "");
        receipts.take(&acknowledgement, &[record]).expect("of what was sent");
        assert_eq!(std::fs::read_to_string(&path).expect("there").lines().count(), 1);
    }
}
