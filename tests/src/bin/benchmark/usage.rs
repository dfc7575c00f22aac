//! What a process has used, as the kernel counts it.

use std::time::Duration;

use crate::Result;

/// Processor time and memory of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// User and system time of all its threads, seconds.
    pub(crate) cpu_seconds: f64,
    /// Most memory that it ever had in RAM, bytes.
    pub(crate) peak_bytes: u64,
}

/// Asks `/proc` (proc(5): `stat` fields 14 and 15 in clock ticks, `status` VmHWM in KiB).
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("stat without a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).ok_or("stat is short")?.parse()?) };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("status without VmHWM")?;
    let kib: u64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    // State is the first field after the name, so field 14 of the manual is number 11 here.
    Ok(Usage { cpu_seconds: (ticks(11)? + ticks(12)?) / per_second, peak_bytes: kib << 10 })
}

/// As [`of`], once the process has done what it still had to do: it used less than a tenth of a processor for half a second, or a minute has passed.
pub(crate) async fn settled(pid: u32) -> Result<Usage> {
    let mut before = of(pid)?;
    for _ in 0..120 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = of(pid)?;
        if now.cpu_seconds - before.cpu_seconds < 0.05 {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}
