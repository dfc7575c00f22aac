//! A registry of invented enterprises: seeded, with valid codes and a realistic share of dirt.
//!
//! Promises: the same seed and size give the same bytes; every code that is not dirty passes both checks of GB 32100; nobody in it exists. The layout is that of a
//! registry's own export: ten columns, a header row, GB18030.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write},
    path::Path,
};

use encoding_rs::GB18030;
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use shuqiao_schemas::identifier::{OrganisationCode, RegistrationNumber, Uscc};

/// The header row, as registries export it.
pub const HEADER: [&str; 10] = [
    "企业名称",
    "统一社会信用代码",
    "注册日期",
    "企业类型",
    "法人代表",
    "注册资金",
    "经营范围",
    "所在省份",
    "地区",
    "注册地址",
];

const CITY_REGIONS: [(&str, &str); 6] = [
    ("320602", "崇川区"),
    ("320612", "通州区"),
    ("320623", "如东县"),
    ("320681", "启东市"),
    ("320682", "如皋市"),
    ("320684", "海门市"),
];
const SYLLABLES: [&str; 20] = [
    "华", "润", "江", "海", "通", "达", "恒", "信", "新", "源", "瑞", "丰", "金", "桥", "天", "成", "东", "升", "宏",
    "𠮷",
];
const TRADES: [(&str, &str); 8] = [
    ("纺织", "纺织品、服装的制造、加工、销售。"),
    ("机械", "通用机械及配件制造、销售；机械设备维修。"),
    ("建筑", "许可经营项目：房屋建筑工程施工。一般经营项目：建筑材料销售。"),
    ("食品", "许可经营项目：食品生产、销售。"),
    ("化工", "化工产品（危险化学品除外）销售。"),
    ("物流", "道路普通货物运输；货物仓储服务。"),
    ("电子", "电子元器件、电子产品的研发、制造、销售。"),
    ("水产", "水产品养殖、收购、冷藏、销售。"),
];
const SURNAMES: [&str; 10] = ["顾", "陈", "张", "王", "李", "徐", "黄", "陆", "沈", "欧阳"];
const TYPES: [&str; 4] = ["有限责任公司(自然人投资或控股)", "有限责任公司(自然人独资)", "集体所有制", "N/A"];
const CAPITALS: [&str; 5] = ["158(万元人民币)", "50万人民币", "30(万美元)", "1000万元人民币", "N/A"];

/// What is wrong with a row, as found in real registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirt {
    /// A fifteen-digit registration number from before 2015 stands where the credit code should.
    RegistrationNumber,
    /// Excel turned the code into a number.
    ScientificNotation,
    /// One character was mistyped.
    WrongCheck,
    /// A byte that GB18030 cannot decode.
    BadByte,
    /// Full-width letters and digits: repaired by normalisation, so no dead letter.
    FullWidth,
}

impl Dirt {
    /// Whether an adapter may repair it (and say so) rather than set the row aside.
    pub fn is_repairable(self) -> bool {
        self == Self::FullWidth
    }
}

/// One row, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the order of [`HEADER`].
    pub columns: [String; 10],
    /// `None` for a clean row.
    pub dirt: Option<Dirt>,
}

/// Yields rows for ever.
#[derive(Clone, Debug)]
pub struct Generator {
    random: ChaCha8Rng,
    number: u32,
}

impl Generator {
    /// The same seed gives the same rows.
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), number: 0 }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        // The tables above are not empty.
        from.choose(&mut self.random).copied().unwrap_or(from[0])
    }

    /// One enterprise in sixteen is dirty in some way, as in the real file that this imitates (4 % old numbers, and worse elsewhere).
    fn dirt(&mut self) -> Option<Dirt> {
        match self.random.random_range(0..100_u32) {
            0..3 => Some(Dirt::RegistrationNumber),
            3 => Some(Dirt::ScientificNotation),
            4 => Some(Dirt::WrongCheck),
            5 if self.random.random_bool(0.3) => Some(Dirt::BadByte),
            6 => Some(Dirt::FullWidth),
            _ => None,
        }
    }

    fn row(&mut self) -> Row {
        self.number += 1;
        let (region, place) = self.pick(&CITY_REGIONS);
        let (trade, scope) = self.pick(&TRADES);
        let word = format!("{}{}", self.pick(&SYLLABLES), self.pick(&SYLLABLES));
        let uscc = credit_code(region, self.number);
        let dirt = self.dirt();
        let code = match dirt {
            None | Some(Dirt::BadByte) => uscc,
            Some(Dirt::RegistrationNumber) => registration_number(region, self.number),
            Some(Dirt::ScientificNotation) => "9.13206E+17".to_owned(),
            Some(Dirt::WrongCheck) => mistype(&uscc),
            Some(Dirt::FullWidth) => full_width(&uscc),
        };
        let date = format!(
            "{}-{:02}-{:02}",
            self.random.random_range(1985..2024),
            self.random.random_range(1..=12),
            self.random.random_range(1..=28)
        );
        let columns = [
            format!("南通{word}{trade}有限公司"),
            code,
            date,
            self.pick(&TYPES).to_owned(),
            format!("{}某某", self.pick(&SURNAMES)),
            self.pick(&CAPITALS).to_owned(),
            scope.to_owned(),
            "江苏".to_owned(),
            "南通".to_owned(),
            format!("{place}示例路 {} 号", self.random.random_range(1..900)),
        ];
        Row { columns, dirt }
    }
}

impl Iterator for Generator {
    type Item = Row;
    fn next(&mut self) -> Option<Row> {
        Some(self.row())
    }
}

/// A valid credit code: registration authority 9, enterprise 1, an `MA` body of the number.
pub fn credit_code(region: &str, number: u32) -> String {
    let body = format!("MA{:06}", number % 1_000_000);
    OrganisationCode::from_body(&body)
        .and_then(|organisation_code| Uscc::compose("91", region, &organisation_code))
        .map(|uscc| uscc.as_str().to_owned())
        .unwrap_or_default()
}

fn registration_number(region: &str, number: u32) -> String {
    RegistrationNumber::from_body(&format!("{region}{:08}", number % 30_000_000))
        .map(|number| number.as_str().to_owned())
        .unwrap_or_default()
}

/// Changes the last character but one, which no check misses.
fn mistype(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    if let Some(digit) = bytes.get_mut(10) {
        *digit = if *digit == b'7' { b'1' } else { b'7' };
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn full_width(code: &str) -> String {
    code.chars().map(|c| char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c)).collect()
}

/// Writes `rows` enterprises as a GB18030 CSV, through a temporary file so that a reader never sees half of one. Returns how many rows are dirty beyond repair.
///
/// # Errors
/// Those of the file system.
pub fn write_csv(path: &Path, seed: u64, rows: usize) -> io::Result<usize> {
    let partial = path.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial)?);
    let beyond_repair = write_rows(&mut out, seed, rows)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&partial, path)?;
    Ok(beyond_repair)
}

/// How a file stands to what [`write_csv`] would write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// Byte for byte.
    Same,
    /// It ends sooner: a registry before it grew.
    Beginning,
    /// Somebody has edited it.
    Other,
}

/// Compares a file with what [`write_csv`] would write, without writing.
///
/// # Errors
/// Those of the file system.
pub fn compare_csv(path: &Path, seed: u64, rows: usize) -> io::Result<Likeness> {
    let mut comparing = Comparing { file: BufReader::new(File::open(path)?), verdict: Likeness::Same };
    match write_rows(&mut comparing, seed, rows) {
        Ok(_) if comparing.file.fill_buf()?.is_empty() => Ok(Likeness::Same),
        Ok(_) => Ok(Likeness::Other),
        Err(_) if comparing.verdict != Likeness::Same => Ok(comparing.verdict),
        Err(error) => Err(error),
    }
}

/// A registry's rows, the header left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// Whether somebody has edited the file: they are counted in it, then.
    pub edited: bool,
}

/// How many rows a file has, whatever they say: by line ends outside of quotes, so that none of its bytes needs to be decoded (in GB18030 neither a quote, a comma
/// nor a line end is part of another character).
///
/// # Errors
/// Those of the file system.
pub fn count_csv(path: &Path) -> io::Result<u64> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_path(path).map_err(io::Error::other)?;
    let (mut record, mut rows) = (csv::ByteRecord::new(), 0);
    while reader.read_byte_record(&mut record).map_err(io::Error::other)? {
        rows += 1;
    }
    Ok(rows)
}

/// Takes what is written and holds it against a file; refuses more where they part.
struct Comparing {
    file: BufReader<File>,
    verdict: Likeness,
}

impl Write for Comparing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let held = self.file.fill_buf()?;
        let length = held.len().min(bytes.len());
        if bytes.is_empty() || (length > 0 && held[..length] == bytes[..length]) {
            self.file.consume(length);
            return Ok(length);
        }
        self.verdict = if held.is_empty() { Likeness::Beginning } else { Likeness::Other };
        Err(io::Error::other("the file is another one"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_rows(out: &mut impl Write, seed: u64, rows: usize) -> io::Result<usize> {
    write_line(out, &HEADER.map(str::to_owned), None)?;
    let mut beyond_repair = 0;
    for row in Generator::new(seed).take(rows) {
        beyond_repair += usize::from(row.dirt.is_some_and(|dirt| !dirt.is_repairable()));
        write_line(out, &row.columns, row.dirt)?;
    }
    Ok(beyond_repair)
}

fn write_line(out: &mut impl Write, columns: &[String; 10], dirt: Option<Dirt>) -> io::Result<()> {
    let mut line = csv::WriterBuilder::new().from_writer(Vec::new());
    line.write_record(columns)?;
    let line = line.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let text = String::from_utf8(line).map_err(io::Error::other)?;
    let (encoded, _, unmappable) = GB18030.encode(&text);
    debug_assert!(!unmappable, "GB18030 covers Unicode");
    if dirt == Some(Dirt::BadByte) {
        // A lead byte with nothing to lead, at the row's beginning: decoding fails at once and inside the first column.
        out.write_all(&[0xFF])?;
    }
    out.write_all(&encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_city_and_clean_codes_are_valid() {
        let rows: Vec<_> = Generator::new(7).take(500).collect();
        assert_eq!(rows, Generator::new(7).take(500).collect::<Vec<_>>());
        assert_ne!(rows, Generator::new(8).take(500).collect::<Vec<_>>());
        let mut dirty = 0;
        for row in &rows {
            let valid = Uscc::parse(&row.columns[1]).is_ok();
            match row.dirt {
                None | Some(Dirt::BadByte) => assert!(valid, "{}", row.columns[1]),
                Some(_) => assert!(!valid, "{:?} {}", row.dirt, row.columns[1]),
            }
            dirty += usize::from(row.dirt.is_some());
        }
        assert!((15..60).contains(&dirty), "{dirty} of 500 rows are dirty");
    }

    #[test]
    fn a_file_is_recognised_as_it_was_written_before_it_grew_and_after_an_edit() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("registry.csv");
        write_csv(&path, 7, 300).expect("writes");
        assert_eq!(compare_csv(&path, 7, 300).expect("reads"), Likeness::Same);
        assert_eq!(count_csv(&path).expect("reads"), 300);
        assert_eq!(compare_csv(&path, 7, 301).expect("reads"), Likeness::Beginning);
        assert_eq!(compare_csv(&path, 7, 299).expect("reads"), Likeness::Other);
        assert_eq!(compare_csv(&path, 8, 300).expect("reads"), Likeness::Other);
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[200] ^= 1;
        std::fs::write(&path, bytes).expect("writes");
        assert_eq!(compare_csv(&path, 7, 300).expect("reads"), Likeness::Other);
    }
}
